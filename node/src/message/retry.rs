//! When to try an unreachable destination again: a state machine without clock, tokio or randomness.
//!
//! Each carrier keeps one [`Backoff`] per destination and feeds it failures, successes and signs of life
//! (DESIGN §1.7): doubling pauses, capped at 5 min with nothing waiting, at 15 s (dial included) while mail waits
//! for a LAN peer, at 1 h for a provider; any sign of life makes the next attempt due at once.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The pauses between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Pause after the first failure, in milliseconds.
    pub first_ms: u64,
    /// Longest pause towards a mesh peer for which nothing waits, in seconds.
    pub idle_cap_s: u64,
    /// Longest pause towards a mesh peer for which mail waits, in seconds. With the time of a dial this stays under 15 s.
    pub waiting_cap_s: u64,
    /// Longest pause towards a provider, in seconds.
    pub provider_cap_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { first_ms: 500, idle_cap_s: 300, waiting_cap_s: 8, provider_cap_s: 3600 }
    }
}

/// What kind of destination is being tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A member of the mesh.
    Peer,
    /// A remote AMP provider.
    Provider,
}

/// The attempts at one destination. Times are monotonic.
#[derive(Debug, Clone)]
pub struct Backoff {
    config: Config,
    kind: Kind,
    failures: u32,
    /// When the last attempt ended, and the share of the pause (1/2 to 1) that its jitter picked.
    last: Option<(Duration, f64)>,
    /// A sign of life since the last attempt.
    awake: bool,
}

impl Backoff {
    /// Nothing tried yet: the first attempt is due at once.
    #[must_use]
    pub fn new(kind: Kind, config: Config) -> Self {
        Self { config, kind, failures: 0, last: None, awake: false }
    }

    /// An attempt failed at `now`. `jitter` in 0..1 spreads the pauses of many nodes.
    pub fn failed(&mut self, now: Duration, jitter: f64) {
        self.failures = self.failures.saturating_add(1);
        self.last = Some((now, 0.5 + jitter.clamp(0.0, 1.0) / 2.0));
        self.awake = false;
    }

    /// An attempt succeeded: the next one, whenever it is wanted, is due at once.
    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.last = None;
        self.awake = false;
    }

    /// The path may be back: link or address change, start, resume, announcement, a packet from there.
    pub fn sign_of_life(&mut self) {
        self.failures = self.failures.min(1);
        self.awake = true;
    }

    /// When the next attempt is due. It may lie in the past.
    #[must_use]
    pub fn next_at(&self, mail_waits: bool) -> Duration {
        let Some((last, share)) = self.last else { return Duration::ZERO };
        // Signs can come many a second (a chatty network): they shorten the pause to its smallest, not to none.
        let pause = if self.awake { SMALLEST_PAUSE } else { self.pause(mail_waits).mul_f64(share) };
        last.saturating_add(pause)
    }

    /// Whether an attempt is due at `now`.
    #[must_use]
    pub fn is_due(&self, now: Duration, mail_waits: bool) -> bool {
        self.next_at(mail_waits) <= now
    }

    /// Failures in a row.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    fn pause(&self, mail_waits: bool) -> Duration {
        let cap = match (self.kind, mail_waits) {
            (Kind::Peer, true) => self.config.waiting_cap_s,
            (Kind::Peer, false) => self.config.idle_cap_s,
            (Kind::Provider, _) => self.config.provider_cap_s,
        };
        let doublings = self.failures.saturating_sub(1).min(20);
        let pause = self.config.first_ms.saturating_mul(1 << doublings);
        Duration::from_millis(pause).min(Duration::from_secs(cap))
    }
}

const SMALLEST_PAUSE: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn after(failures: u32, kind: Kind) -> Backoff {
        let mut backoff = Backoff::new(kind, Config::default());
        for _ in 0..failures {
            backoff.failed(Duration::from_secs(1000), 1.0);
        }
        backoff
    }

    fn pause(backoff: &Backoff, mail_waits: bool) -> Duration {
        backoff.next_at(mail_waits) - Duration::from_secs(1000)
    }

    #[test]
    fn the_first_attempt_is_due_at_once() {
        assert!(Backoff::new(Kind::Peer, Config::default()).is_due(Duration::ZERO, true));
    }

    #[test]
    fn pauses_double_up_to_the_cap_of_their_kind() {
        assert_eq!(pause(&after(1, Kind::Peer), false), Duration::from_millis(500));
        assert_eq!(pause(&after(4, Kind::Peer), false), Duration::from_secs(4));
        assert_eq!(pause(&after(40, Kind::Peer), false), Duration::from_secs(300));
        assert_eq!(pause(&after(40, Kind::Peer), true), Duration::from_secs(8));
        assert_eq!(pause(&after(40, Kind::Provider), true), Duration::from_secs(3600));
    }

    #[test]
    fn a_sign_of_life_makes_the_next_attempt_due_within_two_seconds() {
        let mut backoff = after(30, Kind::Peer);
        assert!(!backoff.is_due(Duration::from_secs(1002), false));
        backoff.sign_of_life();
        assert!(backoff.is_due(Duration::from_secs(1002), false));
    }

    #[test]
    fn signs_of_life_cannot_make_attempts_follow_without_pause() {
        let mut backoff = after(1, Kind::Peer);
        backoff.sign_of_life();
        assert!(!backoff.is_due(Duration::from_secs(1000), true));
    }

    #[test]
    fn after_a_sign_that_came_to_nothing_pauses_start_small_again() {
        let mut backoff = after(30, Kind::Peer);
        backoff.sign_of_life();
        backoff.failed(Duration::from_secs(1000), 1.0);
        assert_eq!(pause(&backoff, false), Duration::from_secs(1));
    }

    #[test]
    fn success_forgets_the_failures() {
        let mut backoff = after(30, Kind::Peer);
        backoff.succeeded();
        assert_eq!(backoff.failures(), 0);
        assert!(backoff.is_due(Duration::ZERO, false));
    }

    proptest! {
        #[test]
        fn while_mail_waits_for_a_peer_no_pause_comes_near_fifteen_seconds(failures in 0_u32..200, jitter in 0.0_f64..1.0) {
            let mut backoff = Backoff::new(Kind::Peer, Config::default());
            for _ in 0..failures {
                backoff.failed(Duration::from_secs(1000), jitter);
            }
            prop_assert!(backoff.next_at(true) <= Duration::from_secs(1008));
        }
    }
}
