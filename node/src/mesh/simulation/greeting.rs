//! The opening of a link between simulated nodes, as `greet` does it: every step is the membership's.

use super::super::boots::Judgement;
use super::super::keeper::picks_link;
use super::super::membership::{About, Admitted, Proven};
use super::cast;
use super::node::{Effect, Node};
use super::sabotage::Sabotage;
use super::session::Session;
use amesh_proto::wire::{Frame, FrameDecoder, Greeting, Refuse};
use std::time::Duration;

/// A connection that is not a link yet.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) peer: usize,
    /// The round of attempts that it belongs to, if this end dialled.
    dialed: Option<u64>,
    since: Duration,
    phase: Phase,
    decoder: FrameDecoder,
}

#[derive(Debug)]
enum Phase {
    AwaitAck,
    AwaitHello,
    AwaitGreeting(Proven),
    /// What the peer's evidence changed is on its way to the disk.
    Saving(Box<Link>),
    /// The other end picks the link, by speaking first.
    AwaitFirst(Box<Link>),
}

/// The other end is a member.
#[derive(Debug)]
struct Link {
    greeting: Greeting,
    first: Vec<Frame>,
}

impl Opening {
    pub(super) fn is_late(&self, mono: Duration) -> bool {
        mono.saturating_sub(self.since) > DEADLINE
    }
}

impl Node {
    fn about(&self, now: Duration) -> About {
        About { roster_version: self.own_version, generation: 1, boot: self.boot, clock: self.wall(now) }
    }

    /// A connection came about. `dialed`: by this end, in that round of attempts.
    pub(super) fn opened(&mut self, connection: u64, peer: usize, dialed: Option<u64>, now: Duration) {
        let Some(membership) = &self.membership else {
            self.effects.push(Effect::Close { connection });
            return;
        };
        let mut phase = Phase::AwaitHello;
        if dialed.is_some() {
            let hello = membership.hello(&cast::id_of(peer), &exporter(connection));
            self.effects.push(Effect::Send { connection, frames: vec![Frame::Hello(hello)] });
            phase = Phase::AwaitAck;
        }
        let since = self.mono(now);
        let opening = Opening { peer, dialed, since, phase, decoder: FrameDecoder::default() };
        self.openings.insert(connection, opening);
    }

    /// Bytes came over a connection that is no link yet.
    pub(super) fn greeted(&mut self, connection: u64, bytes: &[u8], now: Duration) {
        let Some(opening) = self.openings.get_mut(&connection) else { return };
        opening.decoder.push(bytes);
        if matches!(opening.phase, Phase::AwaitFirst(_)) {
            return self.adopt(connection, now);
        }
        while let Some(opening) = self.openings.get_mut(&connection)
            && matches!(opening.phase, Phase::AwaitAck | Phase::AwaitHello | Phase::AwaitGreeting(_))
            && let Some(frame) = opening.decoder.next_frame().unwrap()
        {
            self.on_greeting_frame(connection, frame, now);
        }
        self.adopt_if_picked(connection, now);
    }

    fn on_greeting_frame(&mut self, connection: u64, frame: Frame, now: Duration) {
        let (peer, binding, about) = (self.openings[&connection].peer, exporter(connection), self.about(now));
        let id = cast::id_of(peer);
        let opening = self.openings.get_mut(&connection).unwrap();
        let membership = self.membership.as_mut().unwrap();
        let phase = std::mem::replace(&mut opening.phase, Phase::AwaitHello);
        match (phase, frame) {
            (Phase::AwaitHello, Frame::Hello(hello)) => {
                match membership.on_hello(&hello, &id, &binding, about) {
                    Ok((ack, proven)) => {
                        opening.phase = Phase::AwaitGreeting(proven);
                        let frames = vec![Frame::HelloAck(Box::new(ack))];
                        self.effects.push(Effect::Send { connection, frames });
                    }
                    Err(reason) => self.refuse(connection, Refuse { code: reason.code() }, now),
                }
            }
            (Phase::AwaitAck, Frame::HelloAck(ack)) => {
                match membership.on_hello_ack(*ack, &id, &binding, about) {
                    Ok(mut admitted) => {
                        let rest = admitted.send.split_off(admitted.send.len().min(1));
                        let frames = std::mem::replace(&mut admitted.send, rest);
                        self.effects.push(Effect::Send { connection, frames });
                        self.admitted(connection, admitted);
                    }
                    Err(_) => self.give_up(connection, true, now),
                }
            }
            (Phase::AwaitGreeting(proven), Frame::Greeting(greeting)) => {
                match membership.on_greeting(*greeting, &id, proven) {
                    Ok(admitted) => self.admitted(connection, admitted),
                    Err(reason) => self.refuse(connection, Refuse { code: reason.code() }, now),
                }
            }
            _ => self.give_up(connection, true, now),
        }
    }

    fn refuse(&mut self, connection: u64, refuse: Refuse, now: Duration) {
        self.effects.push(Effect::Send { connection, frames: vec![Frame::Refuse(refuse)] });
        self.give_up(connection, true, now);
    }

    /// Ends an opening. `unwanted`: one end does not take the other for a member.
    pub(super) fn give_up(&mut self, connection: u64, unwanted: bool, now: Duration) {
        let mono = self.mono(now);
        let Some(opening) = self.openings.remove(&connection) else { return };
        self.effects.push(Effect::Close { connection });
        let Some(round) = opening.dialed else { return };
        self.dial_failed(opening.peer, round);
        if let Some(peer) = self.peers.get_mut(&opening.peer).filter(|_| unwanted) {
            peer.keeper.unwanted(mono);
        }
    }

    fn admitted(&mut self, connection: u64, admitted: Admitted) {
        let Admitted { greeting, changed, send } = admitted;
        let Some(opening) = self.openings.get_mut(&connection) else { return };
        opening.phase = Phase::Saving(Box::new(Link { greeting, first: send }));
        self.apply(changed, Some(connection));
    }

    /// What the peer's evidence changed is on disk.
    pub(super) fn link_saved(&mut self, connection: u64) {
        let Some(opening) = self.openings.get_mut(&connection) else { return };
        match std::mem::replace(&mut opening.phase, Phase::AwaitHello) {
            Phase::Saving(link) => opening.phase = Phase::AwaitFirst(link),
            other => opening.phase = other,
        }
    }

    /// Where this end picks, the link is its own at once; where something came already, too.
    pub(super) fn adopt_if_picked(&mut self, connection: u64, now: Duration) {
        let Some(opening) = self.openings.get(&connection) else { return };
        let ready = matches!(opening.phase, Phase::AwaitFirst(_));
        if ready && (picks_link(&self.id, &cast::id_of(opening.peer)) || opening.decoder.buffered() > 0) {
            self.adopt(connection, now);
        }
    }

    fn adopt(&mut self, connection: u64, now: Duration) {
        let mono = self.mono(now);
        let Some(Opening { peer: index, phase: Phase::AwaitFirst(link), decoder, .. }) =
            self.openings.remove(&connection)
        else {
            return;
        };
        let Link { greeting, mut first } = *link;
        let Some(peer) = self.peers.get_mut(&index) else {
            self.effects.push(Effect::Close { connection });
            return;
        };
        if peer.keeper.linked(greeting.boot, mono) == Judgement::Twin {
            self.violations.push(format!("{} takes {index} for two machines", self.index));
            self.effects.push(Effect::Close { connection });
            return;
        }
        (peer.attempts, peer.round) = (0, peer.round + 1);
        if let Some(old) = peer.session.take() {
            self.effects.push(Effect::Close { connection: old.connection });
        }
        // What changed in the membership between the greeting and now.
        let membership = self.membership.as_ref().unwrap();
        if greeting.members != membership.list().digest() && self.admits(index) {
            first.retain(|frame| !matches!(frame, Frame::Members(_) | Frame::Secret(_)));
            first.push(Frame::Members(membership.list().statements()));
            first.extend(membership.secret_frame());
        }
        first.push(Frame::RosterAdvert(self.advert()));
        let held = self.rosters.get(&cast::id_of(index)).map_or(0, |held| held.head.says.version);
        let held = if self.sabotage == Some(Sabotage::RosterNotAwaited) { u64::MAX } else { held };
        let mesh = self.membership.as_ref().unwrap().mesh();
        let session = Session::new(connection, held, mesh, decoder, first);
        if let Some(peer) = self.peers.get_mut(&index) {
            peer.session = Some(session);
        }
        let others = self.openings.iter().filter(|(_, one)| one.peer == index && one.dialed.is_some());
        let others: Vec<u64> = others.map(|(connection, _)| *connection).collect();
        for other in others {
            self.give_up(other, false, now);
        }
        self.want(index, cast::id_of(index), greeting.roster_version, now);
    }
}

/// Both ends of a connection, and nobody else, have the same.
fn exporter(connection: u64) -> [u8; 32] {
    let mut exporter = [7; 32];
    exporter[..8].copy_from_slice(&connection.to_be_bytes());
    exporter
}

/// For the whole of a greeting.
const DEADLINE: Duration = Duration::from_secs(5);
