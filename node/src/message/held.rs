//! Lanes whose next message the far end does not take yet. A state machine without clock or randomness; used by carriers
//! that wait for an answer to each message. A lane that is held keeps its order, and lets others go on.

use super::retry::{self, Backoff, Kind};
use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// See the module. Times are monotonic.
#[derive(Debug)]
pub struct Held<L> {
    config: retry::Config,
    kind: Kind,
    lanes: HashMap<L, Pause>,
}

#[derive(Debug)]
struct Pause {
    backoff: Backoff,
    /// As the far end asked.
    not_before: Duration,
}

impl Pause {
    fn ends_at(&self) -> Duration {
        self.backoff.next_at(false).max(self.not_before)
    }
}

impl<L: Eq + Hash> Held<L> {
    /// Nothing is held.
    #[must_use]
    pub fn new(config: retry::Config, kind: Kind) -> Self {
        Self { config, kind, lanes: HashMap::new() }
    }

    /// Whether the lane still has to wait.
    #[must_use]
    pub fn holds(&self, lane: &L, now: Duration) -> bool {
        self.lanes.get(lane).is_some_and(|pause| pause.ends_at() > now)
    }

    /// The lane's next message was not taken; `patience` is what the far end asked for. False where no more lanes can be
    /// held: then all wait.
    pub fn hold(&mut self, lane: L, now: Duration, jitter: f64, patience: Option<Duration>) -> bool {
        if self.lanes.len() >= LANES && !self.lanes.contains_key(&lane) {
            return false;
        }
        let fresh = || Pause { backoff: Backoff::new(self.kind, self.config), not_before: Duration::ZERO };
        let pause = self.lanes.entry(lane).or_insert_with(fresh);
        pause.backoff.failed(now, jitter);
        pause.not_before = now + patience.unwrap_or_default();
        true
    }

    /// The lane moved on.
    pub fn free(&mut self, lane: &L) {
        self.lanes.remove(lane);
    }

    /// Nothing waits any more.
    pub fn clear(&mut self) {
        self.lanes.clear();
    }

    /// When the next of them may be tried again that may not yet at `now`.
    #[must_use]
    pub fn next_after(&self, now: Duration) -> Option<Duration> {
        self.lanes.values().map(Pause::ends_at).filter(|at| *at > now).min()
    }

    /// When the first of them may be tried again.
    #[must_use]
    pub fn next_at(&self) -> Option<Duration> {
        self.lanes.values().map(Pause::ends_at).min()
    }
}

const LANES: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000);

    #[test]
    fn a_lane_waits_longer_each_time_and_others_do_not_wait() {
        let mut held = Held::new(retry::Config::default(), Kind::Peer);
        assert!(held.hold("a", NOW, 1.0, None));
        assert!(held.holds(&"a", NOW) && !held.holds(&"b", NOW));
        let first = held.next_at().unwrap();
        held.hold("a", NOW, 1.0, None);
        assert!(held.next_at().unwrap() > first);
        let minute = Duration::from_secs(60);
        held.hold("a", NOW, 1.0, Some(minute));
        assert_eq!(held.next_at(), Some(NOW + minute), "who asks for patience gets it");
        assert_eq!(held.next_after(NOW + minute), None);
        held.free(&"a");
        assert_eq!((held.holds(&"a", NOW), held.next_at()), (false, None));
    }

    #[test]
    fn no_more_lanes_are_held_than_there_is_room_for() {
        let mut held = Held::new(retry::Config::default(), Kind::Peer);
        assert!((0..LANES).all(|lane| held.hold(lane, NOW, 0.5, None)));
        assert!(!held.hold(LANES, NOW, 0.5, None));
        assert!(held.hold(0, NOW, 0.5, None), "a lane that is held already has its place");
        held.clear();
        assert!(held.hold(LANES, NOW, 0.5, None));
    }
}
