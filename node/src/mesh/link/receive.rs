//! The receiving half of a link: what to judge now, what to put off, and until when to wait for the sender's roster.
//! Pure. `L` names a lane, `M` is whatever the shell hands along with a message.
//!
//! The shell judges and commits in the order in which [`ReceiveAction::Judge`] comes out, and tells what came of each to
//! [`LinkReceiver::on_outcome`]. Verdicts go out only after the commits that they speak of (DESIGN §1.1).

use amesh_proto::wire::mail::LaneStamp;
use amesh_proto::wire::{LaterReason, Verdict};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

/// One message as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arrival<L, M> {
    /// The sender's name for it.
    pub(crate) seq: u64,
    pub(crate) lane: L,
    pub(crate) stamp: LaneStamp,
    /// The version of the sender's roster that it was sent under.
    pub(crate) roster_version: u64,
    pub(crate) size: usize,
    pub(crate) mail: M,
}

/// What the shell is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReceiveAction<L, M> {
    /// Take it through the hallway and commit it; then call [`LinkReceiver::on_outcome`].
    Judge(Arrival<L, M>),
    /// Send this verdict, with the next batch.
    Answer(u64, Verdict),
    /// Pull the peer's roster, at least to this version; then call [`LinkReceiver::on_roster`].
    PullRoster { version: u64 },
}

/// What the hallway made of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Committed,
    Duplicate,
    Later(LaterReason),
    Refused { code: String },
}

/// The state of one connection's receiving half.
#[derive(Debug)]
pub(crate) struct LinkReceiver<L, M> {
    roster_version: u64,
    /// Since when the peer's roster is waited for.
    pulling: Option<Duration>,
    waiting: VecDeque<Arrival<L, M>>,
    judging: BTreeMap<u64, Judging<L>>,
    /// Lanes with something put off: nothing above this number is taken before it returns.
    held: HashMap<L, u64>,
    bytes: usize,
}

#[derive(Debug)]
struct Judging<L> {
    lane: L,
    number: u64,
    size: usize,
}

impl<L: Clone + Eq + Hash, M> LinkReceiver<L, M> {
    /// For a fresh connection; `roster_version` is what this node holds of the peer's roster.
    pub(crate) fn new(roster_version: u64) -> Self {
        Self {
            roster_version,
            pulling: None,
            waiting: VecDeque::new(),
            judging: BTreeMap::new(),
            held: HashMap::new(),
            bytes: 0,
        }
    }

    /// Whether the peer may have one more open here. An honest sender's window is half of what there is.
    pub(crate) fn has_room_for(&self, arrival: &Arrival<L, M>) -> bool {
        self.waiting.len() + self.judging.len() < OPEN_COUNT && self.bytes + arrival.size <= OPEN_BYTES
    }

    /// A message arrived.
    pub(crate) fn on_mail(&mut self, arrival: Arrival<L, M>, now: Duration) -> Vec<ReceiveAction<L, M>> {
        let mut actions = Vec::new();
        if !self.has_room_for(&arrival) || self.judging.contains_key(&arrival.seq) {
            self.put_off(&arrival, LaterReason::Limit, &mut actions);
        } else if self.waiting.is_empty() && arrival.roster_version <= self.roster_version {
            self.pass(arrival, &mut actions);
        } else {
            self.wait_for_roster(arrival, now, &mut actions);
        }
        actions
    }

    /// This node now holds the peer's roster at `version`.
    pub(crate) fn on_roster(&mut self, version: u64, now: Duration) -> Vec<ReceiveAction<L, M>> {
        let mut actions = Vec::new();
        self.roster_version = self.roster_version.max(version);
        self.pulling = None;
        while let Some(next) = self.waiting.pop_front() {
            self.bytes -= next.size;
            if next.roster_version > self.roster_version {
                self.pulling = Some(now);
                actions.push(ReceiveAction::PullRoster { version: next.roster_version });
                self.bytes += next.size;
                self.waiting.push_front(next);
                break;
            }
            self.pass(next, &mut actions);
        }
        actions
    }

    /// The roster could not be had in time: what waits for it is put off.
    pub(crate) fn on_tick(&mut self, now: Duration) -> Vec<ReceiveAction<L, M>> {
        let mut actions = Vec::new();
        if self.pulling.is_some_and(|since| now.saturating_sub(since) >= ROSTER_PATIENCE) {
            self.pulling = None;
            for arrival in std::mem::take(&mut self.waiting) {
                self.bytes -= arrival.size;
                self.put_off(&arrival, LaterReason::RosterBehind, &mut actions);
            }
        }
        actions
    }

    /// When [`Self::on_tick`] should be called.
    pub(crate) fn next_wake(&self) -> Option<Duration> {
        self.pulling.map(|since| since.saturating_add(ROSTER_PATIENCE))
    }

    /// What became of a message that was to be judged; gives the verdict to send.
    pub(crate) fn on_outcome(&mut self, seq: u64, outcome: Outcome) -> Option<(u64, Verdict)> {
        let Judging { lane, number, size } = self.judging.remove(&seq)?;
        self.bytes -= size;
        let verdict = match outcome {
            Outcome::Committed => Verdict::Committed,
            Outcome::Duplicate => Verdict::Duplicate,
            Outcome::Later(reason) => {
                self.hold(lane, number);
                Verdict::Later(reason)
            }
            Outcome::Refused { mut code } => {
                code.truncate(code.floor_char_boundary(Verdict::CODE_LIMIT));
                Verdict::Refused(code)
            }
        };
        Some((seq, verdict))
    }

    fn wait_for_roster(
        &mut self,
        arrival: Arrival<L, M>,
        now: Duration,
        actions: &mut Vec<ReceiveAction<L, M>>,
    ) {
        if self.pulling.is_none() {
            self.pulling = Some(now);
            actions.push(ReceiveAction::PullRoster { version: arrival.roster_version });
        }
        self.bytes += arrival.size;
        self.waiting.push_back(arrival);
    }

    fn pass(&mut self, arrival: Arrival<L, M>, actions: &mut Vec<ReceiveAction<L, M>>) {
        let LaneStamp { number, floor, .. } = arrival.stamp;
        if let Some(held) = self.held.get(&arrival.lane).copied() {
            // Below the floor is what the sender has settled: it will never return.
            if number > held && held >= floor {
                actions.push(ReceiveAction::Answer(arrival.seq, Verdict::Later(LaterReason::LaneHeld)));
                return;
            }
            if number >= held {
                self.held.remove(&arrival.lane);
            }
        }
        let judging = Judging { lane: arrival.lane.clone(), number, size: arrival.size };
        self.judging.insert(arrival.seq, judging);
        self.bytes += arrival.size;
        actions.push(ReceiveAction::Judge(arrival));
    }

    fn put_off(
        &mut self,
        arrival: &Arrival<L, M>,
        reason: LaterReason,
        actions: &mut Vec<ReceiveAction<L, M>>,
    ) {
        self.hold(arrival.lane.clone(), arrival.stamp.number);
        actions.push(ReceiveAction::Answer(arrival.seq, Verdict::Later(reason)));
    }

    fn hold(&mut self, lane: L, number: u64) {
        if self.held.len() >= HELD_LANES {
            // Costs a round trip each: the store still refuses what comes out of order.
            self.held.clear();
        }
        let held = self.held.entry(lane).or_insert(number);
        *held = number.min(*held);
    }
}

/// Messages and bytes that a peer may have open here; twice an honest sender's window.
const OPEN_COUNT: usize = 512;
const OPEN_BYTES: usize = 8 << 20;
/// How long mail waits for the roster it was sent under.
const ROSTER_PATIENCE: Duration = Duration::from_secs(5);
const HELD_LANES: usize = 4096;
