//! One provider as mail for it sees it: how it has answered lately, and where it takes deliveries. Shared by its worker and
//! by whoever asks how it is doing.

use crate::message::retry::{self, Kind};
use crate::message::{Condition, Health};
use amesh_proto::provider::delivery_urls;
use amesh_proto::time::UnixMillis;
use amesh_store::Destination;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// See the module.
#[derive(Debug)]
pub(super) struct Far {
    pub(super) domain: String,
    pub(super) destination: Destination,
    /// New mail, or a sign of life.
    pub(super) wake: Notify,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    condition: Condition,
    /// It has a worker.
    served: bool,
    /// When the last failure was counted.
    failed_at: Duration,
    /// Until when it counts as slow.
    slow_until: Duration,
    /// The base of its API, and the URL below it that answered as one that takes deliveries.
    takes_at: Option<(String, String)>,
}

/// How a provider has answered lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// At once.
    Steady,
    /// At length: whoever has an answer trickle in takes no place of the others.
    Slow,
    /// Not yet, or not the last time.
    Doubtful,
}

impl Far {
    pub(super) fn new(domain: &str, retry: retry::Config) -> Self {
        let state = State {
            condition: Condition::new(Kind::Provider, retry),
            served: false,
            failed_at: Duration::ZERO,
            slow_until: Duration::ZERO,
            takes_at: None,
        };
        Self {
            domain: domain.to_owned(),
            destination: Destination::Provider(domain.to_owned()),
            wake: Notify::new(),
            state: Mutex::new(state),
        }
    }

    /// Takes the place of its worker; false where it has one.
    pub(super) fn begin(&self) -> bool {
        !std::mem::replace(&mut self.state().served, true)
    }

    /// Its worker ends.
    pub(super) fn end(&self) {
        self.state().served = false;
    }

    pub(super) fn is_served(&self) -> bool {
        self.state().served
    }

    /// Where it may take deliveries, the likeliest first; only the one that did, once one has.
    pub(super) fn urls(&self, endpoint: &str) -> Vec<String> {
        match &self.state().takes_at {
            Some((base, url)) if base == endpoint => vec![url.clone()],
            _ => delivery_urls(endpoint),
        }
    }

    pub(super) fn took_at(&self, endpoint: &str, url: &str) {
        let mut state = self.state();
        if state.takes_at.as_ref().is_none_or(|(base, known)| base != endpoint || known != url) {
            state.takes_at = Some((endpoint.to_owned(), url.to_owned()));
        }
    }

    /// It answered an attempt that began at `began`. One that was under way before a failure says nothing of what is after.
    pub(super) fn reached(&self, began: Duration, at: UnixMillis) {
        let mut state = self.state();
        if began >= state.failed_at {
            state.condition.reached(at);
        }
    }

    /// An attempt that began at `began` did not reach it, or it takes nothing. Of attempts that were under way together one
    /// counts.
    pub(super) fn failed(&self, began: Duration, now: Duration, reason: String, patience: Option<Duration>) {
        let mut state = self.state();
        if began >= state.failed_at {
            state.failed_at = now;
            state.condition.failed(now, rand::random(), reason, patience);
        }
    }

    /// One message is not taken now; the provider as such is there.
    pub(super) fn grumbled(&self, began: Duration, at: UnixMillis, reason: String) {
        let mut state = self.state();
        if began >= state.failed_at {
            state.condition.grumbled(at, reason);
        }
    }

    /// An attempt that is over at `now` took so long.
    pub(super) fn took(&self, time: Duration, now: Duration) {
        if time > SLOW {
            self.state().slow_until = now + SLOW_FOR;
        }
    }

    /// Which places an attempt at `now` takes.
    pub(super) fn pace(&self, now: Duration) -> Pace {
        let state = self.state();
        match state.condition.is_well() {
            false => Pace::Doubtful,
            true if now < state.slow_until => Pace::Slow,
            true => Pace::Steady,
        }
    }

    /// It came to us.
    pub(super) fn came(&self, at: UnixMillis) {
        self.state().condition.came(at);
        self.wake.notify_one();
    }

    /// This machine slept: the provider may be back.
    pub(super) fn try_again(&self) {
        self.state().condition.try_again();
        self.wake.notify_one();
    }

    /// When it may be tried again. It may lie in the past.
    pub(super) fn next_at(&self) -> Duration {
        self.state().condition.next_at()
    }

    pub(super) fn is_well(&self) -> bool {
        self.state().condition.is_well()
    }

    pub(super) fn health(&self) -> Health {
        self.state().condition.health()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attempt that takes longer is slow, and says that others will be: one quick answer proves nothing.
const SLOW: Duration = Duration::from_secs(2);
const SLOW_FOR: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_answers_slowly_takes_no_place_of_those_who_do_not_for_a_while() {
        let far = Far::new("corp.io", retry::Config::default());
        let (quick, slow, now) = (Duration::from_secs(1), Duration::from_secs(19), Duration::from_secs(100));
        assert_eq!(far.pace(now), Pace::Doubtful);
        far.took(quick, now);
        far.reached(now, UnixMillis(1));
        assert_eq!(far.pace(now), Pace::Steady);
        far.took(slow, now);
        far.took(quick, now);
        assert_eq!((far.pace(now), far.pace(now + SLOW_FOR)), (Pace::Slow, Pace::Steady));
        far.failed(now, now, "502".to_owned(), None);
        assert_eq!(far.pace(now), Pace::Doubtful);
    }

    #[test]
    fn attempts_that_fail_together_count_as_one() {
        let far = Far::new("corp.io", retry::Config::default());
        let (began, then) = (Duration::from_secs(100), Duration::from_secs(130));
        for _ in 0..16 {
            far.failed(began, then, "it did not answer in time".to_owned(), None);
        }
        assert!(far.next_at() <= then + Duration::from_millis(500));
        far.reached(began, UnixMillis(1));
        assert!(!far.is_well(), "that answer was on its way before");
        far.failed(then, then, "again".to_owned(), None);
        assert_eq!(far.health().reason.as_deref(), Some("again"));
    }

    #[test]
    fn the_path_that_took_a_delivery_is_kept_for_as_long_as_the_endpoint_is_the_same() {
        let far = Far::new("corp.io", retry::Config::default());
        assert_eq!(far.urls("https://corp.io").len(), 2);
        let url = "https://corp.io/api/v1/federation/deliver";
        far.took_at("https://corp.io", url);
        assert_eq!(far.urls("https://corp.io"), [url]);
        assert_eq!(far.urls("https://api.corp.io").len(), 2);
    }
}
