//! Lanes whose next message a host does not take yet. A state machine without clock or randomness; used by `outgoing`.
//! A lane that is held keeps its order, and lets others go on.

use crate::message::retry::{self, Backoff, Kind};
use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// See the module. Times are monotonic.
#[derive(Debug)]
pub(super) struct Held<L> {
    config: retry::Config,
    lanes: HashMap<L, Backoff>,
}

impl<L: Eq + Hash> Held<L> {
    pub(super) fn new(config: retry::Config) -> Self {
        Self { config, lanes: HashMap::new() }
    }

    /// Whether the lane still has to wait.
    pub(super) fn holds(&self, lane: &L, now: Duration) -> bool {
        self.lanes.get(lane).is_some_and(|backoff| !backoff.is_due(now, false))
    }

    /// The lane's next message was not taken. False where no more lanes can be held: then all wait.
    pub(super) fn hold(&mut self, lane: L, now: Duration, jitter: f64) -> bool {
        if self.lanes.len() >= LANES && !self.lanes.contains_key(&lane) {
            return false;
        }
        let fresh = || Backoff::new(Kind::Peer, self.config);
        self.lanes.entry(lane).or_insert_with(fresh).failed(now, jitter);
        true
    }

    /// The lane moved on.
    pub(super) fn free(&mut self, lane: &L) {
        self.lanes.remove(lane);
    }

    /// Nothing waits any more.
    pub(super) fn clear(&mut self) {
        self.lanes.clear();
    }

    /// When the first of them may be tried again.
    pub(super) fn next_at(&self) -> Option<Duration> {
        self.lanes.values().map(|backoff| backoff.next_at(false)).min()
    }
}

const LANES: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000);

    #[test]
    fn a_lane_waits_longer_each_time_and_others_do_not_wait() {
        let mut held = Held::new(retry::Config::default());
        assert!(held.hold("a", NOW, 1.0));
        assert!(held.holds(&"a", NOW) && !held.holds(&"b", NOW));
        let first = held.next_at().unwrap();
        held.hold("a", NOW, 1.0);
        assert!(held.next_at().unwrap() > first);
        held.free(&"a");
        assert_eq!((held.holds(&"a", NOW), held.next_at()), (false, None));
    }

    #[test]
    fn no_more_lanes_are_held_than_there_is_room_for() {
        let mut held = Held::new(retry::Config::default());
        assert!((0..LANES).all(|lane| held.hold(lane, NOW, 0.5)));
        assert!(!held.hold(LANES, NOW, 0.5));
        assert!(held.hold(0, NOW, 0.5), "a lane that is held already has its place");
        held.clear();
        assert!(held.hold(LANES, NOW, 0.5));
    }
}
