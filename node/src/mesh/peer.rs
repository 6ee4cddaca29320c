//! One task per member: it keeps exactly one link to it, or tries to. Started by `shared` when a member appears, fed
//! by `accept` (links that came in), by `discovery` and by the hallway's wakes.
//!
//! Of several links between the same two nodes the newest wins, and the node with the lower id says which that is: the
//! other one adopts a link only after its first frame (see `greet`). So both always end up with the same one, and a
//! fresh link can take over from one that a pulled cable has silenced without either end having to agree first.

use super::boots::Judgement;
use super::dial::{self, DialFailure};
use super::endpoint::CloseCode;
use super::faults::{self, Fault};
use super::frames::StreamError;
use super::greet::Link;
use super::keeper::{self, Keeper, Sign, picks_link};
use super::peers::{LinkState, News, PeerHandle, Stop};
use super::relay;
use super::session::{Ended, Session};
use super::shared::Shared;
use amesh_proto::node_id::NodeId;
use amesh_proto::time::UnixMillis;
use amesh_proto::wire::Goodbye;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// The task of one peer.
pub(crate) struct Peer {
    shared: Arc<Shared>,
    node: NodeId,
    handle: Arc<PeerHandle>,
    links: mpsc::Receiver<Link>,
    session: Option<Session>,
    keeper: Keeper,
    attempts: FuturesUnordered<BoxFuture<'static, Result<Link, DialFailure>>>,
    last_error: Option<String>,
}

impl Peer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        node: NodeId,
        handle: Arc<PeerHandle>,
        links: mpsc::Receiver<Link>,
    ) -> Self {
        let keeper = Keeper::new(&shared.identity.node_id(), &node, shared.clock.monotonic());
        Self {
            node,
            handle,
            links,
            session: None,
            keeper,
            attempts: FuturesUnordered::new(),
            last_error: None,
            shared,
        }
    }

    /// Runs until told to stop.
    pub(crate) async fn run(mut self) {
        let mut beat = tokio::time::interval(keeper::BEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            let due = self.next_dial();
            self.show_next_dial(due);
            tokio::select! {
                news = self.handle.news() => {
                    self.heard(&news);
                    if let Some(stop) = news.stop {
                        return self.stop(stop).await;
                    }
                }
                Some(link) = self.links.recv() => self.adopt(link),
                Some(outcome) = self.attempts.next(), if !self.attempts.is_empty() => self.dialed(outcome),
                ended = step(&mut self.session), if self.session.is_some() => {
                    if let Err(ended) = ended {
                        self.lost(&ended);
                    }
                }
                () = tokio::time::sleep(due.unwrap_or_default()), if due.is_some() => self.dial(),
                _ = beat.tick(), if self.session.is_some() => {
                    self.feel_pulse();
                    self.rest_if_idle().await;
                }
            }
        }
    }

    fn heard(&mut self, news: &News) {
        if news.life || news.interfaces {
            // What came before the sign is no proof that the link lives after it.
            self.feel_pulse();
            let sign = if news.interfaces { Sign::Interfaces } else { Sign::Life };
            self.keeper.sign(sign, self.shared.clock.monotonic());
        }
        match &mut self.session {
            Some(session) => session.tell(news),
            None if news.sought => {
                self.last_error = None;
                self.keeper.sign(Sign::Life, self.shared.clock.monotonic());
                self.shared.peers.update(&self.node, |entry| entry.state = LinkState::Unknown);
            }
            None => {}
        }
    }

    fn adopt(&mut self, link: Link) {
        let relayed = relay::is_relayed(&link.connection.remote_address());
        // Only the end that picks may turn it away: the other one follows.
        let picks = picks_link(&self.shared.identity.node_id(), &self.node);
        if relayed && picks && !self.keeper.takes_relayed() {
            link.connection.close(CloseCode::Superseded.into(), b"");
            return;
        }
        if self.keeper.linked(link.greeting.boot, self.shared.clock.monotonic()) == Judgement::Twin {
            tracing::warn!(peer = %self.node, "two machines run with the node key of this peer");
            self.shared.peers.update(&self.node, |entry| entry.twin = true);
            link.connection.close(CloseCode::TwoMachines.into(), b"");
            if let Some(session) = &mut self.session {
                session.report_twin();
            }
            return;
        }
        if let Some(session) = self.session.take() {
            session.abandon(CloseCode::Superseded);
        }
        if relayed {
            self.keeper.is_relayed();
        }
        self.attempts.clear();
        self.last_error = None;
        let address = link.connection.remote_address();
        let rtt = link.connection.rtt();
        self.shared.reached(&self.node, address);
        let ahead = ahead_ms(link.greeting.clock.plus(rtt / 2), self.shared.clock.now());
        self.shared.peers.update(&self.node, |entry| {
            entry.state = LinkState::Connected { address, rtt };
            (entry.clock_ahead_ms, entry.next_dial) = (Some(ahead), None);
            (entry.protocol, entry.missing_since) = (Some(link.version), None);
        });
        tracing::info!(peer = %self.node, %address, dialed = link.dialed, "linked");
        self.session = Some(Session::new(self.shared.clone(), link));
        self.shared.peers.linked.notify_waiters();
        self.shared.moves.poke();
    }

    fn lost(&mut self, ended: &Ended) {
        tracing::info!(peer = %self.node, reason = %ended, "link ended");
        if let Some(session) = self.session.take() {
            session.abandon(ended.close_code());
        }
        self.last_error = Some(ended.to_string());
        if let Ended::Protocol(how) = ended {
            self.shared.fault(&self.node, Fault::Protocol(how));
        } else if matches!(ended, Ended::Stream(StreamError::Frame(_))) {
            self.shared.fault(&self.node, Fault::Protocol(faults::UNREADABLE));
        }
        if ended.is_silence()
            && let Some(lookout) = &self.shared.lookout
        {
            lookout.verify(&self.node);
        }
        if matches!(ended, Ended::Goodbye(Goodbye::Idle)) {
            return self.rests();
        }
        let now = self.shared.clock.monotonic();
        self.keeper.lost(now, rand::random());
        if ended.closed_with() == Some(CloseCode::TwoMachines) {
            self.shared.twin_noticed();
            self.keeper.unwanted(now);
        } else if ended.is_refusal() {
            self.keeper.unwanted(now);
        }
        self.show_offline();
    }

    fn dialed(&mut self, outcome: Result<Link, DialFailure>) {
        match outcome {
            Ok(link) => self.adopt(link),
            Err(failure) => {
                tracing::debug!(peer = %self.node, %failure, "not reached");
                if failure.is_twin() {
                    self.shared.twin_noticed();
                }
                if failure.is_twin() || failure.is_refusal() {
                    self.keeper.unwanted(self.shared.clock.monotonic());
                }
                self.last_error = Some(failure.to_string());
                if self.session.is_none() {
                    let now = self.shared.clock.monotonic();
                    self.shared.peers.update(&self.node, |entry| {
                        entry.missing_since = entry.missing_since.or(Some(now));
                    });
                    self.show_offline();
                }
            }
        }
    }

    /// How long until the next attempt, if one is wanted at all.
    fn next_dial(&self) -> Option<Duration> {
        if self.session.is_none() && !self.shared.wants(&self.node) {
            return None;
        }
        let mail_waits = self.shared.has_mail_for(&self.node);
        self.keeper.next_dial(self.shared.clock.monotonic(), mail_waits, self.attempts.len())
    }

    fn dial(&mut self) {
        self.keeper.dialing(self.shared.clock.monotonic(), rand::random());
        if self.session.is_none() {
            let last_error = self.last_error.clone();
            self.shared.peers.update(&self.node, |entry| entry.state = LinkState::Dialing { last_error });
        }
        let direct_only = self.keeper.wants_direct_only();
        self.attempts.push(Box::pin(dial::attempt(self.shared.clone(), self.node, direct_only)));
    }

    fn feel_pulse(&mut self) {
        let Some(session) = &self.session else { return };
        let doubted = self.keeper.doubts();
        let now = self.shared.clock.monotonic();
        if self.keeper.beat(now, session.packets_received(), session.is_owed()) {
            self.shared.seen(&self.node, session.rtt());
        } else if self.keeper.doubts() && !doubted {
            tracing::debug!(peer = %self.node, "the link is silent while mail is on its way");
            self.shared.fault(&self.node, Fault::Stalled);
        }
    }

    /// Closes a link that is nobody's neighbour's and has had nothing to say for a while. Whoever has something dials.
    async fn rest_if_idle(&mut self) {
        let (now, rest) = (self.shared.clock.monotonic(), self.shared.config.rest());
        let idle = self.session.as_ref().is_some_and(|session| {
            session.is_quiet() && self.keeper.may_rest(now, session.active_at(), rest)
        });
        if !idle || self.shared.wants(&self.node) {
            return;
        }
        if let Some(session) = self.session.take() {
            tracing::debug!(peer = %self.node, "the link rests");
            session.close(Goodbye::Idle, CloseCode::Done).await;
            self.rests();
        }
    }

    fn rests(&mut self) {
        self.keeper.rested();
        self.last_error = None;
        self.shared.peers.update(&self.node, |entry| entry.state = LinkState::Unknown);
    }

    fn show_offline(&self) {
        let reason = self.last_error.clone().unwrap_or_default();
        self.shared.peers.update(&self.node, |entry| entry.state = LinkState::Offline { reason });
    }

    fn show_next_dial(&self, due: Option<Duration>) {
        if self.session.is_none() {
            let at = due.map(|due| self.shared.clock.now().plus(due));
            self.shared.peers.update(&self.node, |entry| entry.next_dial = at);
        }
    }

    async fn stop(mut self, stop: Stop) {
        if let Some(session) = self.session.take() {
            match stop {
                Stop::ShuttingDown => session.close(Goodbye::Stopping, CloseCode::ShuttingDown).await,
                Stop::Leaving => session.close(Goodbye::Leaving, CloseCode::Done).await,
                Stop::Removed => session.abandon(CloseCode::Refused),
            }
        }
    }
}

/// By how much the one time is later than the other.
fn ahead_ms(theirs: UnixMillis, ours: UnixMillis) -> i64 {
    i64::try_from(i128::from(theirs.0) - i128::from(ours.0)).unwrap_or(i64::MAX)
}

/// Runs the session until something needs the peer's attention. Safe to cancel.
async fn step(session: &mut Option<Session>) -> Result<(), Ended> {
    match session {
        Some(session) => session.step().await,
        None => std::future::pending().await,
    }
}
