//! How one far end of a carrier has answered lately, and when it may be tried again. A state machine without clock or
//! randomness; kept by carriers for each host or provider.

use super::retry::{self, Backoff, Kind};
use amesh_proto::time::UnixMillis;
use std::time::Duration;

/// See the module. Times are monotonic, but for those that are shown.
#[derive(Debug, Clone)]
pub struct Condition {
    backoff: Backoff,
    /// Who asked for patience is left alone until then.
    not_before: Duration,
    /// Whether the last attempt reached it; nothing before the first.
    reached: Option<bool>,
    last_seen: Option<UnixMillis>,
    reason: Option<String>,
}

/// The same, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Whether the last attempt reached it; nothing before the first.
    pub reached: Option<bool>,
    /// When it last answered or came by itself.
    pub last_seen: Option<UnixMillis>,
    /// What was wrong last, if something is.
    pub reason: Option<String>,
}

impl Health {
    /// One word for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self.reached {
            Some(true) => "reachable",
            Some(false) => "unreachable",
            None => "untried",
        }
    }
}

impl Condition {
    /// Nothing was tried yet.
    #[must_use]
    pub fn new(kind: Kind, config: retry::Config) -> Self {
        Self {
            backoff: Backoff::new(kind, config),
            not_before: Duration::ZERO,
            reached: None,
            last_seen: None,
            reason: None,
        }
    }

    /// It answered.
    pub fn reached(&mut self, at: UnixMillis) {
        self.backoff.succeeded();
        (self.reached, self.last_seen, self.reason) = (Some(true), Some(at), None);
        self.not_before = Duration::ZERO;
    }

    /// It did not answer, or takes nothing; `patience` is what it asked for.
    pub fn failed(&mut self, now: Duration, jitter: f64, reason: String, patience: Option<Duration>) {
        self.backoff.failed(now, jitter);
        self.not_before = now + patience.unwrap_or_default();
        (self.reached, self.reason) = (Some(false), Some(reason));
    }

    /// One message is not taken; the far end as such is there.
    pub fn grumbled(&mut self, at: UnixMillis, reason: String) {
        self.backoff.succeeded();
        (self.reached, self.last_seen, self.reason) = (Some(true), Some(at), Some(reason));
    }

    /// It came to us: the way back may be open, too.
    pub fn came(&mut self, at: UnixMillis) {
        self.last_seen = Some(at);
        self.backoff.sign_of_life();
    }

    /// It may be back, for all we know.
    pub fn try_again(&mut self) {
        self.backoff.sign_of_life();
    }

    /// When it may be tried again. It may lie in the past.
    #[must_use]
    pub fn next_at(&self) -> Duration {
        self.backoff.next_at(true).max(self.not_before)
    }

    /// Whether the last attempt reached it.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.reached == Some(true)
    }

    /// For people.
    #[must_use]
    pub fn health(&self) -> Health {
        Health { reached: self.reached, last_seen: self.last_seen, reason: self.reason.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_patience_gets_it_and_a_sign_of_life_shortens_only_the_pause() {
        let mut far = Condition::new(Kind::Provider, retry::Config::default());
        let (now, minute) = (Duration::from_secs(1_000), Duration::from_secs(60));
        assert_eq!((far.next_at(), far.health().word()), (Duration::ZERO, "untried"));
        far.failed(now, 1.0, "503".to_owned(), Some(minute));
        far.came(UnixMillis(1));
        assert_eq!((far.next_at(), far.is_well()), (now + minute, false));
        for _ in 0..20 {
            far.failed(now, 1.0, "503".to_owned(), None);
        }
        assert_eq!(far.next_at(), now + Duration::from_secs(3_600));
        far.try_again();
        assert!(far.next_at() < now + Duration::from_secs(2));
        far.reached(UnixMillis(2));
        assert_eq!((far.next_at(), far.is_well()), (Duration::ZERO, true));
    }
}
