//! One task per member: it keeps exactly one link to it, or tries to. Started by `shared` when a member appears, fed
//! by `accept` (links that came in), by `discovery` and by the hallway's wakes.
//!
//! Of several links between the same two nodes the newest wins, and the node with the lower id says which that is: the
//! other one adopts a link only after its first frame (see `greet`). So both always end up with the same one, and a
//! fresh link can take over from one that a pulled cable has silenced without either end having to agree first.

use super::boots::{Boots, Judgement};
use super::dial::{self, DialFailure};
use super::endpoint::CloseCode;
use super::greet::Link;
use super::pace::Pulse;
use super::peers::{LinkState, News, PeerHandle, Stop};
use super::session::{Ended, Session};
use super::shared::Shared;
use crate::message::retry::{self, Backoff, Kind};
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
    pulse: Pulse,
    /// The open link may be dead: dial all the same.
    doubted: bool,
    attempts: FuturesUnordered<BoxFuture<'static, Result<Link, DialFailure>>>,
    backoff: Backoff,
    last_error: Option<String>,
    dialed_at: Duration,
    /// Not dialled before this time, whatever the signs: the peer said that it does not want this node.
    not_before: Duration,
    boots: Boots,
}

impl Peer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        node: NodeId,
        handle: Arc<PeerHandle>,
        links: mpsc::Receiver<Link>,
    ) -> Self {
        let now = shared.clock.monotonic();
        let mut backoff = Backoff::new(Kind::Peer, PACE);
        if shared.identity.node_id() > node {
            // Both ends notice each other at the same moment; the lower id dials first.
            backoff.failed(now, 1.0);
        }
        Self {
            node,
            handle,
            links,
            session: None,
            pulse: Pulse::new(now),
            doubted: false,
            attempts: FuturesUnordered::new(),
            backoff,
            last_error: None,
            dialed_at: Duration::ZERO,
            not_before: Duration::ZERO,
            boots: Boots::default(),
            shared,
        }
    }

    /// Runs until told to stop.
    pub(crate) async fn run(mut self) {
        let mut beat = tokio::time::interval(BEAT);
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
                _ = beat.tick(), if self.session.is_some() => self.feel_pulse(),
            }
        }
    }

    fn heard(&mut self, news: &News) {
        let now = self.shared.clock.monotonic();
        if news.life || news.interfaces {
            self.backoff.sign_of_life();
            let patience = if news.interfaces { Duration::ZERO } else { SILENCE };
            self.doubted |= self.session.is_some() && self.pulse.silent_for(now) > patience;
        }
        if let Some(session) = &mut self.session {
            session.tell(news);
        }
    }

    fn adopt(&mut self, link: Link) {
        if self.boots.judge(link.greeting.boot, self.shared.clock.monotonic()) == Judgement::Twin {
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
        self.attempts.clear();
        self.backoff.succeeded();
        self.doubted = false;
        self.last_error = None;
        self.pulse = Pulse::new(self.shared.clock.monotonic());
        let address = link.connection.remote_address();
        let rtt = link.connection.rtt();
        self.shared.reached(&self.node, address);
        let ahead = ahead_ms(link.greeting.clock.plus(rtt / 2), self.shared.clock.now());
        self.shared.peers.update(&self.node, |entry| {
            entry.state = LinkState::Connected { address, rtt };
            (entry.clock_ahead_ms, entry.next_dial) = (Some(ahead), None);
        });
        tracing::info!(peer = %self.node, %address, dialed = link.dialed, "linked");
        self.session = Some(Session::new(self.shared.clone(), link));
        self.shared.peers.linked.notify_waiters();
    }

    fn lost(&mut self, ended: &Ended) {
        tracing::info!(peer = %self.node, reason = %ended, "link ended");
        if let Some(session) = self.session.take() {
            session.abandon(ended.close_code());
        }
        self.doubted = false;
        self.last_error = Some(ended.to_string());
        if ended.is_silence()
            && let Some(lookout) = &self.shared.lookout
        {
            lookout.verify(&self.node);
        }
        let now = self.shared.clock.monotonic();
        self.backoff.failed(now, rand::random());
        if ended.closed_with() == Some(CloseCode::TwoMachines) {
            self.shared.twin_noticed();
            self.not_before = now + UNWANTED;
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
                    self.not_before = self.shared.clock.monotonic() + UNWANTED;
                }
                self.last_error = Some(failure.to_string());
                if self.session.is_none() {
                    self.show_offline();
                }
            }
        }
    }

    /// How long until the next attempt, if one is wanted at all.
    fn next_dial(&self) -> Option<Duration> {
        if (self.session.is_some() && !self.doubted) || self.attempts.len() >= ATTEMPTS {
            return None;
        }
        let now = self.shared.clock.monotonic();
        let due = self.backoff.next_at(self.shared.has_mail_for(&self.node)).max(self.not_before);
        // An attempt under way retransmits by itself for a while.
        let overlap = if self.attempts.is_empty() { Duration::ZERO } else { self.dialed_at + OVERLAP };
        Some(due.max(overlap).saturating_sub(now))
    }

    fn dial(&mut self) {
        let now = self.shared.clock.monotonic();
        // Counted as failed until it succeeds, so that the next one is timed from here and not from this one's end.
        self.backoff.failed(now, rand::random());
        if self.session.is_none() {
            let last_error = self.last_error.clone();
            self.shared.peers.update(&self.node, |entry| entry.state = LinkState::Dialing { last_error });
        }
        self.dialed_at = now;
        self.attempts.push(Box::pin(dial::attempt(self.shared.clone(), self.node)));
    }

    fn feel_pulse(&mut self) {
        let Some(session) = &self.session else { return };
        let now = self.shared.clock.monotonic();
        self.pulse.observe(now, session.packets_received(), session.is_owed());
        if self.pulse.is_doubtful(now) && !self.doubted {
            tracing::debug!(peer = %self.node, "the link is silent while mail is on its way");
            self.doubted = true;
            self.backoff.succeeded();
        }
        if self.pulse.silent_for(now) == Duration::ZERO {
            self.doubted = false;
            self.shared.seen(&self.node, session.rtt());
        }
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

/// While mail waits for a peer on the LAN, a dial every second or two: a cable that comes back without any sign is
/// found well within the 15 s of DESIGN §1.7.
const PACE: retry::Config =
    retry::Config { first_ms: 250, idle_cap_s: 300, waiting_cap_s: 2, provider_cap_s: 3600 };
/// Attempts under way at a time; each one retransmits by itself.
const ATTEMPTS: usize = 3;
/// What an attempt gets before the next one begins beside it.
const OVERLAP: Duration = Duration::from_millis(700);
/// How often the open link is looked at.
const BEAT: Duration = Duration::from_millis(250);
/// Longer than the pause between two keep-alive packets.
const SILENCE: Duration = Duration::from_secs(5);
/// After a refusal.
const UNWANTED: Duration = Duration::from_secs(15);
