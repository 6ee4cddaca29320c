//! One simulated node: its store, and one session per peer that drives the two state machines as the real shell does.

use super::super::{Arrival, LinkReceiver, LinkSender, Offer, ReceiveAction, Settled, send::Window};
use super::store::{Change, Crash, Engine, Lane, Letter, Store};
use amesh_proto::message::Priority;
use amesh_proto::wire::mail::LaneStamp;
use amesh_proto::wire::{Frame, FrameDecoder, MailFrame, Verdict, Verdicts};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// To whom the outcome of a change is told.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tag {
    Nobody,
    /// The session over this connection, about the message that its sender calls `seq`.
    Link {
        peer: usize,
        connection: u64,
        seq: u64,
    },
    Settled {
        connection: u64,
    },
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) connection: u64,
    pub(super) sender: LinkSender<Lane>,
    pub(super) receiver: LinkReceiver<Lane, Letter>,
    decoder: FrameDecoder,
    verdicts: Vec<(u64, Verdict)>,
    pub(super) roster_pull: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) up: bool,
    pub(super) store: Store<Tag>,
    pub(super) committing: bool,
    pub(super) sessions: HashMap<usize, Session>,
    pub(super) roster_version: u64,
    /// Of each peer's roster.
    pub(super) rosters: HashMap<usize, u64>,
    /// Ids whose sender was told that they are accepted.
    pub(super) acknowledged: HashSet<u64>,
}

impl Node {
    pub(super) fn on(engine: Box<dyn Engine>) -> Self {
        Self {
            up: true,
            store: Store::on(engine),
            committing: false,
            sessions: HashMap::new(),
            roster_version: 0,
            rosters: HashMap::new(),
            acknowledged: HashSet::new(),
        }
    }

    pub(super) fn link_up(&mut self, peer: usize, connection: u64) {
        let roster = self.rosters.get(&peer).copied().unwrap_or(0);
        self.sessions.insert(
            peer,
            Session {
                connection,
                sender: LinkSender::new(Window { count: 16, bytes: 4_000, ..Window::default() }),
                receiver: LinkReceiver::new(roster),
                decoder: FrameDecoder::default(),
                verdicts: Vec::new(),
                roster_pull: None,
            },
        );
    }

    pub(super) fn crash(&mut self, crash: Crash, now: Duration) {
        self.store.crash(crash, now);
        self.sessions.clear();
        self.up = false;
        self.committing = false;
    }

    /// Bytes came over the link.
    pub(super) fn receive(
        &mut self,
        peer: usize,
        bytes: &[u8],
        letters: &HashMap<u64, Letter>,
        now: Duration,
    ) {
        let Some(session) = self.sessions.get_mut(&peer) else { return };
        session.decoder.push(bytes);
        let mut settle = Vec::new();
        let mut actions = Vec::new();
        while let Some(frame) = session.decoder.next_frame().unwrap() {
            match frame {
                Frame::Mail(mail) => actions.extend(session.receiver.on_mail(arrival(*mail, letters), now)),
                Frame::Verdicts(verdicts) => settle.extend(session.sender.on_verdicts(verdicts.0, now)),
                other => panic!("{other:?}"),
            }
        }
        let connection = session.connection;
        if !settle.is_empty() {
            let change = Change::Settle { peer, settled: settle };
            self.store.enqueue(Tag::Settled { connection }, change);
        }
        self.act(peer, actions);
    }

    pub(super) fn act(&mut self, peer: usize, actions: Vec<ReceiveAction<Lane, Letter>>) {
        let Some(session) = self.sessions.get_mut(&peer) else { return };
        for action in actions {
            match action {
                ReceiveAction::Judge(arrival) => {
                    let tag = Tag::Link { peer, connection: session.connection, seq: arrival.seq };
                    let Arrival { mail: letter, stamp, .. } = arrival;
                    self.store.enqueue(tag, Change::Receive { letter, stamp });
                }
                ReceiveAction::Answer(seq, verdict) => session.verdicts.push((seq, verdict)),
                ReceiveAction::PullRoster { version } => session.roster_pull = Some(version),
            }
        }
    }

    /// A message that a link brought was judged. What is left of an old connection tells nobody.
    pub(super) fn judged(&mut self, peer: usize, connection: u64, seq: u64, outcome: super::super::Outcome) {
        let Some(session) = self.sessions.get_mut(&peer) else { return };
        if session.connection == connection {
            session.verdicts.extend(session.receiver.on_outcome(seq, outcome));
        }
    }

    pub(super) fn settled(&mut self, peer: usize, connection: u64, settled: &[(u64, Settled)]) {
        let Some(session) = self.sessions.get_mut(&peer) else { return };
        if session.connection == connection {
            session.sender.settled(settled.iter().map(|(seq, _)| *seq));
        }
    }

    /// Everything that can be sent to `peer` now, as bytes.
    pub(super) fn pump(&mut self, peer: usize, now: Duration) -> Vec<u8> {
        let mut bytes = Vec::new();
        let Some(session) = self.sessions.get_mut(&peer) else { return bytes };
        if !session.verdicts.is_empty() {
            Frame::Verdicts(Verdicts(std::mem::take(&mut session.verdicts))).encode(&mut bytes).unwrap();
        }
        let mut scans = 0;
        while let Some(scan) = session.sender.scan(now) {
            scans += 1;
            assert!(scans < 10_000, "the sender asks for ever");
            let page = self.store.outbox(peer, scan.after, scan.limit);
            let offers: Vec<Offer<Lane>> = page
                .iter()
                .map(|(entry, _)| Offer {
                    seq: entry.seq,
                    lane: entry.letter.lane,
                    size: entry.letter.size,
                    expired: entry.letter.expires_at <= now,
                })
                .collect();
            let picked = session.sender.pick(scan, &offers, page.len() < scan.limit);
            session.sender.settled(picked.expired);
            for seq in picked.send {
                let (entry, floor) = page.iter().find(|(entry, _)| entry.seq == seq).unwrap();
                let stamp = LaneStamp { generation: 1, number: entry.number, floor: *floor };
                let frame = mail_frame(seq, stamp, &entry.letter, self.roster_version);
                Frame::Mail(Box::new(frame)).encode(&mut bytes).unwrap();
            }
        }
        bytes
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
