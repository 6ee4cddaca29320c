//! A link in use between simulated nodes: drives the halves of the link and the pulls of rosters as `session` does.

use super::super::link::{Arrival, LinkReceiver, LinkSender, Offer, Outcome, ReceiveAction, Settled, Window};
use super::super::roster::{self, PartOutcome, RosterSync, Verified};
use super::cast;
use super::node::{Effect, Node, Tag};
use super::sabotage::Sabotage;
use super::store::{Change, Lane, Letter};
use crate::agents::directory::KeyAnswer;
use amesh_proto::member::MeshId;
use amesh_proto::message::Priority;
use amesh_proto::node_id::NodeId;
use amesh_proto::wire::mail::LaneStamp;
use amesh_proto::wire::{Frame, FrameDecoder, MailFrame, RosterAdvert, RosterVersion, Verdict, Verdicts};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Session {
    pub(super) connection: u64,
    sender: LinkSender<Lane>,
    receiver: LinkReceiver<Lane, Letter>,
    sync: RosterSync,
    decoder: FrameDecoder,
    verdicts: Vec<(u64, Verdict)>,
    /// Frames other than mail and verdicts, in order.
    pub(super) out: Vec<Frame>,
    /// How often something came.
    pub(super) packets: u64,
    /// When it is woken next.
    alarm: Duration,
}

impl Session {
    pub(super) fn new(
        connection: u64,
        roster: u64,
        mesh: MeshId,
        decoder: FrameDecoder,
        out: Vec<Frame>,
    ) -> Self {
        Self {
            connection,
            sender: LinkSender::new(Window { count: 16, bytes: 4_000, ..Window::default() }),
            receiver: LinkReceiver::new(roster),
            sync: RosterSync::new(mesh),
            decoder,
            verdicts: Vec::new(),
            out,
            packets: 0,
            alarm: Duration::ZERO,
        }
    }

    pub(super) fn is_owed(&self) -> bool {
        self.sender.in_flight() > 0
    }
}

impl Node {
    fn session(&mut self, peer: usize) -> Option<&mut Session> {
        self.peers.get_mut(&peer)?.session.as_mut()
    }

    /// The link with `peer` over this very connection.
    fn session_over(&mut self, peer: usize, connection: u64) -> Option<&mut Session> {
        self.session(peer).filter(|session| session.connection == connection)
    }

    /// Whom `connection` links with.
    pub(super) fn linked_over(&self, connection: u64) -> Option<usize> {
        let mut linked = self.peers.iter();
        let over = |(_, peer): &(&usize, &super::node::Peer)| {
            peer.session.as_ref().is_some_and(|session| session.connection == connection)
        };
        linked.find(over).map(|(index, _)| *index)
    }

    /// Bytes came over the link.
    pub(super) fn receive(
        &mut self,
        peer: usize,
        bytes: &[u8],
        letters: &HashMap<u64, Letter>,
        now: Duration,
    ) {
        let Some(session) = self.session(peer) else { return };
        session.packets += 1;
        session.decoder.push(bytes);
        let connection = session.connection;
        while let Some(session) = self.session_over(peer, connection)
            && let Some(frame) = session.decoder.next_frame().unwrap()
        {
            self.on_frame(peer, frame, letters, now);
        }
    }

    fn on_frame(&mut self, peer: usize, frame: Frame, letters: &HashMap<u64, Letter>, now: Duration) {
        let mono = self.mono(now);
        let sabotage = self.sabotage;
        let Some(session) = self.session(peer) else { return };
        match frame {
            Frame::Mail(mail) => {
                let mut arrival = arrival(*mail, letters);
                if sabotage == Some(Sabotage::LanesIgnored) {
                    arrival.lane = ((arrival.mail.id.try_into().unwrap(), 0), (0, 0), 0);
                }
                let actions = session.receiver.on_mail(arrival, mono);
                self.act(peer, actions, mono);
            }
            Frame::Verdicts(verdicts) => {
                let mut settled = session.sender.on_verdicts(verdicts.0.clone(), mono);
                if sabotage == Some(Sabotage::LaterIsDelivered) {
                    let later = verdicts.0.into_iter().filter(|(_, one)| matches!(one, Verdict::Later(_)));
                    settled.extend(later.map(|(seq, _)| (seq, Settled::Delivered)));
                }
                let tag = Tag::Settled { connection: session.connection };
                if !settled.is_empty() {
                    self.store.enqueue(tag, Change::Settle { peer, settled });
                }
            }
            Frame::Members(statements) => {
                let changed = self.membership().on_members(&statements).unwrap();
                self.apply(changed, None);
            }
            Frame::Secret(secret) => {
                let changed = self.membership().on_secret(&secret);
                self.apply(changed, None);
            }
            Frame::RosterAdvert(advert) => {
                for RosterVersion { node, version } in advert.0 {
                    self.want(peer, node, version, now);
                }
            }
            Frame::RosterPull(pull) => {
                let held = if pull.node == self.id {
                    Some(self.own_roster())
                } else {
                    self.rosters.get(&pull.node).map(|held| (**held).clone())
                };
                let parts = roster::answer(pull, held).into_iter();
                let parts: Vec<Frame> = parts.map(|part| Frame::RosterPart(Box::new(part))).collect();
                self.session(peer).unwrap().out.extend(parts);
            }
            Frame::RosterPart(part) => {
                let held = self.rosters.get(&part.node).map(|held| (**held).clone());
                match self.session(peer).unwrap().sync.on_part(*part, |_| held, mono) {
                    PartOutcome::Nothing | PartOutcome::Failed(_) => {}
                    PartOutcome::Pull(pull) => self.session(peer).unwrap().out.push(Frame::RosterPull(pull)),
                    PartOutcome::Install(verified) => self.effects.push(Effect::Install(Arc::new(*verified))),
                }
            }
            // It does not take this node for a member, though that took it for one.
            Frame::Refuse(_) => self.refused(peer, now),
            other => panic!("{other:?}"),
        }
    }

    /// `peer` holds that version of the roster of `node`.
    pub(super) fn want(&mut self, peer: usize, node: NodeId, version: u64, now: Duration) {
        if node == self.id || !self.admits(cast::index_of(&node)) {
            return;
        }
        let (held, mono) = (self.rosters.get(&node).map_or(0, |held| held.head.says.version), self.mono(now));
        let Some(session) = self.session(peer) else { return };
        let pull = session.sync.want(RosterVersion { node, version }, held, mono);
        session.out.extend(pull.map(Frame::RosterPull));
    }

    pub(super) fn advert(&self) -> RosterAdvert {
        let own = RosterVersion { node: self.id, version: self.own_version };
        let held = self.rosters.iter();
        let held = held.map(|(node, held)| RosterVersion { node: *node, version: held.head.says.version });
        RosterAdvert(std::iter::once(own).chain(held).collect())
    }

    pub(super) fn tell_rosters(&mut self) {
        let advert = self.advert();
        for session in self.peers.values_mut().filter_map(|peer| peer.session.as_mut()) {
            session.out.push(Frame::RosterAdvert(advert.clone()));
        }
    }

    /// The roster of `peer` is held at `version` now, wherever it came from.
    pub(super) fn roster_came(&mut self, peer: usize, version: u64, now: Duration) {
        let mono = self.mono(now);
        if let Some(session) = self.session(peer) {
            let actions = session.receiver.on_roster(version, mono);
            self.act(peer, actions, mono);
        }
    }

    /// The new mail of this node's agents is on disk.
    pub(super) fn mail_waits(&mut self, peer: usize) {
        if let Some(session) = self.session(peer) {
            session.sender.more();
        }
    }

    pub(super) fn wake(&mut self, peer: usize, now: Duration) {
        let mono = self.mono(now);
        if let Some(session) = self.session(peer) {
            let actions = session.receiver.on_tick(mono);
            self.act(peer, actions, mono);
        }
    }

    fn act(&mut self, peer: usize, actions: Vec<ReceiveAction<Lane, Letter>>, mono: Duration) {
        for action in actions {
            let Some(session) = self.session(peer) else { return };
            let connection = session.connection;
            match action {
                ReceiveAction::Judge(arrival) => self.judge(peer, connection, arrival),
                ReceiveAction::Answer(seq, verdict) => session.verdicts.push((seq, verdict)),
                ReceiveAction::PullRoster { version } => {
                    let node = cast::id_of(peer);
                    let held = self.rosters.get(&node).map_or(0, |held| held.head.says.version);
                    let Some(session) = self.session(peer) else { return };
                    let pull = session.sync.want(RosterVersion { node, version }, held, mono);
                    session.out.extend(pull.map(Frame::RosterPull));
                }
            }
        }
    }

    /// What the hallway does: whose mail is it, and is it signed.
    fn judge(&mut self, peer: usize, connection: u64, arrival: Arrival<Lane, Letter>) {
        let Arrival { mail: letter, stamp, seq, .. } = arrival;
        if self.parted.contains(&peer) {
            self.violations
                .push(format!("{} takes mail of {peer}, which it knows to be removed", self.index));
        }
        let from = cast::address_of(letter.lane.0);
        let answer = self.directory.key_for(cast::id_of(peer), &from, amesh_proto::time::UnixMillis(1));
        if !matches!(answer, KeyAnswer::Valid(_)) {
            let refused = Outcome::Refused { code: "not_found".into() };
            return self.judged(peer, connection, seq, refused);
        }
        if self.sabotage == Some(Sabotage::AckBeforeCommit) && !letter.poison {
            self.judged(peer, connection, seq, Outcome::Committed);
        }
        self.store.enqueue(Tag::Link { peer, connection, seq }, Change::Receive { letter, stamp });
    }

    /// A message that a link brought was judged. What is left of an old connection tells nobody.
    pub(super) fn judged(&mut self, peer: usize, connection: u64, seq: u64, outcome: Outcome) {
        if let Some(session) = self.session_over(peer, connection) {
            session.verdicts.extend(session.receiver.on_outcome(seq, outcome));
        }
    }

    pub(super) fn settled(&mut self, peer: usize, connection: u64, settled: &[(u64, Settled)]) {
        if let Some(session) = self.session_over(peer, connection) {
            session.sender.settled(settled.iter().map(|(seq, _)| *seq));
        }
    }

    /// Everything that can be sent now goes, and the alarms are set.
    pub(super) fn pump(&mut self, now: Duration) {
        let peers: Vec<usize> =
            self.peers.iter().filter(|(_, peer)| peer.session.is_some()).map(|(index, _)| *index).collect();
        for peer in peers {
            self.pump_to(peer, now);
        }
    }

    fn pump_to(&mut self, peer: usize, now: Duration) {
        let (mono, times, roster) = (self.mono(now), self.times(now), self.own_version);
        let early = self.sabotage == Some(Sabotage::SentIsDelivered);
        let Some(session) = self.peers.get_mut(&peer).and_then(|peer| peer.session.as_mut()) else { return };
        let mut frames = Vec::new();
        if !session.verdicts.is_empty() {
            frames.push(Frame::Verdicts(Verdicts(std::mem::take(&mut session.verdicts))));
        }
        frames.append(&mut session.out);
        let mut scans = 0;
        while let Some(scan) = session.sender.scan(mono) {
            scans += 1;
            assert!(scans < 10_000, "the sender asks for ever");
            let page = self.store.outbox(peer, scan.after, scan.limit);
            let offer = |(entry, _): &(super::store::Entry, u64)| Offer {
                seq: entry.seq,
                lane: entry.letter.lane,
                size: entry.letter.size,
                kept_back: self.store.has_expired(entry, times),
            };
            let offers: Vec<Offer<Lane>> = page.iter().map(offer).collect();
            let picked = session.sender.pick(scan, &offers, page.len() < scan.limit);
            for seq in picked {
                let (entry, floor) = page.iter().find(|(entry, _)| entry.seq == seq).unwrap();
                let stamp = LaneStamp { generation: 1, number: entry.number, floor: *floor };
                frames.push(Frame::Mail(Box::new(mail_frame(seq, stamp, &entry.letter, roster))));
                if early {
                    let settled = vec![(seq, Settled::Delivered)];
                    self.store.enqueue(Tag::Nobody, Change::Settle { peer, settled });
                }
            }
        }
        let wake = [session.sender.next_wake(), session.receiver.next_wake()].into_iter().flatten().min();
        let wake = wake.map(|wake| now + wake.saturating_sub(mono).max(Duration::from_millis(1)));
        if let Some(at) = wake.filter(|at| session.alarm <= now || *at < session.alarm) {
            session.alarm = at;
            self.effects.push(Effect::Wake { peer, at });
        }
        if frames.is_empty() {
            return;
        }
        let connection = session.connection;
        if self.parted.contains(&peer) {
            let what = format!("{} sends to {peer}, which it knows to be removed: {frames:?}", self.index);
            self.violations.push(what);
        }
        self.effects.push(Effect::Send { connection, frames });
    }

    /// Whether every roster of `version` and above is held; for the checker.
    pub(super) fn holds(&self, of: &Self) -> bool {
        let held: Option<&Arc<Verified>> = self.rosters.get(&of.id);
        held.is_some_and(|held| held.head.says.version == of.own_version)
    }
}

fn mail_frame(seq: u64, lane: LaneStamp, letter: &Letter, roster_version: u64) -> MailFrame {
    MailFrame {
        outbox_seq: seq,
        lane,
        remaining_ms: 0,
        age_ms: 0,
        roster_version,
        form: None,
        receipt: false,
        id: letter.id.to_string(),
        from: String::new(),
        to: String::new(),
        priority: Priority::Normal,
        envelope: Vec::new(),
        payload: vec![b'x'; letter.size],
    }
}

fn arrival(frame: MailFrame, letters: &HashMap<u64, Letter>) -> Arrival<Lane, Letter> {
    let letter = letters[&frame.id.parse::<u64>().unwrap()].clone();
    Arrival {
        seq: frame.outbox_seq,
        lane: letter.lane,
        stamp: frame.lane,
        roster_version: frame.roster_version,
        size: frame.size(),
        mail: letter,
    }
}
