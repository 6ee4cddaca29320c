//! How often one may ask, and be written to (RAT-1…3, RAT-5, RAT-7; DESIGN §6). Called by the auth extractor, `register` and the WebSocket.
//!
//! Tables are keyed per agent or per source and stay small: sources share a fixed number of slots, and agents that
//! have been quiet for a whole window are swept out.

use amesh_proto::time::UnixMillis;
use axum::http::{HeaderMap, HeaderName};
use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};
use serde::{Deserialize, Serialize};
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

/// One set of limits. Zero anywhere means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Profile {
    /// Messages an agent may send per minute, by HTTP and WebSocket together.
    pub route_per_minute: u32,
    /// Of these, how many at once.
    pub route_burst: u32,
    /// Messages an agent may send per hour.
    pub route_per_hour: u32,
    /// Messages that an agent of this node may be sent per minute, by all senders together.
    pub received_per_minute: u32,
    /// Times an agent may poll or acknowledge per minute.
    pub pending_per_minute: u32,
    /// Other requests of an agent per minute.
    pub other_per_minute: u32,
    /// Registrations per minute from one source.
    pub register_per_minute: u32,
    /// Failed log-ins per minute from one source.
    pub failures_per_minute: u32,
}

impl Profile {
    /// For loopback: room for a program that sends as fast as it can for a while, and for acknowledging one by one
    /// whatever ten of them send.
    #[must_use]
    pub fn local() -> Self {
        Self {
            route_per_minute: 6_000,
            route_burst: 1_000,
            route_per_hour: 0,
            received_per_minute: 60_000,
            pending_per_minute: 60_000,
            other_per_minute: 6_000,
            register_per_minute: 600,
            failures_per_minute: 600,
        }
    }

    /// For everybody else: RAT-1, RAT-2 and RAT-3.
    #[must_use]
    pub fn public() -> Self {
        Self {
            route_per_minute: 60,
            route_burst: 60,
            route_per_hour: 500,
            received_per_minute: 120,
            pending_per_minute: 30,
            other_per_minute: 100,
            register_per_minute: 10,
            failures_per_minute: 30,
        }
    }
}

impl Profile {
    /// For hosts of the HTTP mesh, which the owner has listed: the upper tier of A-30, and RAT-3.
    #[must_use]
    pub fn host() -> Self {
        Self {
            route_per_minute: 1_000,
            route_burst: 1_000,
            route_per_hour: 10_000,
            other_per_minute: 600,
            ..Self::public()
        }
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self::local()
    }
}

/// What a request counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Sending.
    Route,
    /// Polling and acknowledging.
    Pending,
    /// Everything else.
    Other,
}

/// How much is left, as the headers say it (RAT-5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    limit: u32,
    remaining: u32,
    reset_in_secs: u64,
    now: UnixMillis,
}

/// Too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exceeded {
    /// For the headers.
    pub(crate) standing: Standing,
    /// Seconds to wait.
    pub(crate) retry_after: u64,
}

impl Standing {
    /// Writes the three headers.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
        const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
        const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
        headers.insert(LIMIT, self.limit.into());
        headers.insert(REMAINING, self.remaining.into());
        headers.insert(RESET, (self.now.0.div_ceil(1000) + self.reset_in_secs).into());
    }
}

/// The limits in force on one kind of listener.
#[derive(Debug)]
pub(crate) struct Limits<Agent: Hash + Eq + Clone> {
    profile: Profile,
    route: Option<Table<Agent>>,
    hourly: Option<Table<Agent>>,
    received: Option<Table<Agent>>,
    pending: Option<Table<Agent>>,
    other: Option<Table<Agent>>,
    register: Option<Table<u16>>,
    failures: Option<Table<u16>>,
    slots: RandomState,
}

impl<Agent: Hash + Eq + Clone> Limits<Agent> {
    /// Empty tables for `profile`.
    #[must_use]
    pub(crate) fn new(profile: Profile) -> Self {
        let minute = |count| Table::per(count, count, Quota::per_minute);
        Self {
            profile,
            route: Table::per(profile.route_per_minute, profile.route_burst, Quota::per_minute),
            hourly: Table::per(profile.route_per_hour, profile.route_per_hour, Quota::per_hour),
            received: minute(profile.received_per_minute),
            pending: minute(profile.pending_per_minute),
            other: minute(profile.other_per_minute),
            register: Table::per(profile.register_per_minute, profile.register_per_minute, Quota::per_minute),
            failures: Table::per(profile.failures_per_minute, profile.failures_per_minute, Quota::per_minute),
            slots: RandomState::new(),
        }
    }

    /// What is in force.
    pub(crate) fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Counts one request of `agent`.
    ///
    /// # Errors
    /// [`Exceeded`]. What the hour does not allow has been counted in its minute.
    pub(crate) fn agent(
        &self,
        class: Class,
        agent: &Agent,
        now: UnixMillis,
    ) -> Result<Option<Standing>, Exceeded> {
        match class {
            Class::Route => {
                let standing = check(self.route.as_ref(), agent, now)?;
                check(self.hourly.as_ref(), agent, now)?;
                Ok(standing)
            }
            Class::Pending => check(self.pending.as_ref(), agent, now),
            Class::Other => check(self.other.as_ref(), agent, now),
        }
    }

    /// Counts one message to `recipient`, whoever sends it (RAT-3).
    ///
    /// # Errors
    /// [`Exceeded`].
    pub(crate) fn recipient(&self, recipient: &Agent, now: UnixMillis) -> Result<(), Exceeded> {
        check(self.received.as_ref(), recipient, now).map(drop)
    }

    /// Counts one registration from `source`.
    ///
    /// # Errors
    /// [`Exceeded`].
    pub(crate) fn registration(&self, source: IpAddr, now: UnixMillis) -> Result<Option<Standing>, Exceeded> {
        check(self.register.as_ref(), &self.slot(source), now)
    }

    /// Counts one failed log-in from `source`.
    ///
    /// # Errors
    /// [`Exceeded`].
    pub(crate) fn failure(&self, source: IpAddr, now: UnixMillis) -> Result<(), Exceeded> {
        check(self.failures.as_ref(), &self.slot(source), now).map(drop)
    }

    /// Sources share 65,536 slots under a secret hash: the table is bounded, and nobody can choose whom to share with.
    fn slot(&self, source: IpAddr) -> u16 {
        (self.slots.hash_one(network(source)) & 0xffff) as u16
    }
}

/// What counts as one source.
pub(crate) fn network(source: IpAddr) -> u64 {
    match source {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        // A host owns at least a /64 of IPv6.
        IpAddr::V6(v6) => {
            v6.to_ipv4_mapped().map_or_else(|| (v6.to_bits() >> 64) as u64, |v4| u64::from(v4.to_bits()))
        }
    }
}

fn check<K: Hash + Eq + Clone>(
    table: Option<&Table<K>>,
    key: &K,
    now: UnixMillis,
) -> Result<Option<Standing>, Exceeded> {
    table.map(|table| table.check(key, now)).transpose()
}

type Limiter<K> = RateLimiter<K, DefaultKeyedStateStore<K>, DefaultClock, StateInformationMiddleware>;

/// One limit for many keys.
struct Table<K: Hash + Eq + Clone> {
    limiter: Limiter<K>,
    clock: DefaultClock,
    limit: u32,
    until_sweep: AtomicU32,
}

impl<K: Hash + Eq + Clone> std::fmt::Debug for Table<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl<K: Hash + Eq + Clone> Table<K> {
    fn per(count: u32, burst: u32, window: fn(NonZeroU32) -> Quota) -> Option<Self> {
        let count = NonZeroU32::new(count)?;
        let quota = window(count).allow_burst(NonZeroU32::new(burst).unwrap_or(count));
        Some(Self {
            limiter: RateLimiter::keyed(quota).with_middleware(),
            clock: DefaultClock::default(),
            limit: count.get(),
            until_sweep: AtomicU32::new(0),
        })
    }

    fn check(&self, key: &K, now: UnixMillis) -> Result<Standing, Exceeded> {
        if self.until_sweep.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            self.limiter.retain_recent();
        }
        match self.limiter.check_key(key) {
            Ok(state) => {
                let remaining = state.remaining_burst_capacity();
                let quota = state.quota();
                let used = quota.burst_size().get().saturating_sub(remaining);
                let reset_in_secs = (quota.replenish_interval() * used).as_millis().div_ceil(1000);
                Ok(self.standing(remaining, u64::try_from(reset_in_secs).unwrap_or(u64::MAX), now))
            }
            Err(not_until) => {
                let wait = not_until.wait_time_from(self.clock.now());
                let retry_after = u64::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u64::MAX).max(1);
                Err(Exceeded { standing: self.standing(0, retry_after, now), retry_after })
            }
        }
    }

    fn standing(&self, remaining: u32, reset_in_secs: u64, now: UnixMillis) -> Standing {
        Standing { limit: self.limit, remaining, reset_in_secs, now }
    }
}

const SWEEP_EVERY: u32 = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_000_000);

    #[test]
    fn an_agent_over_its_limit_is_told_when_to_come_back_and_others_are_not() {
        let limits = Limits::<u64>::new(Profile::public());
        for left in (0..60).rev() {
            let standing = limits.agent(Class::Route, &1, NOW).unwrap().unwrap();
            assert_eq!((standing.limit, standing.remaining), (60, left));
        }
        let exceeded = limits.agent(Class::Route, &1, NOW).unwrap_err();
        assert_eq!((exceeded.standing.remaining, exceeded.retry_after), (0, 1));
        assert!(limits.agent(Class::Route, &2, NOW).is_ok());
        assert!(limits.agent(Class::Pending, &1, NOW).is_ok());
    }

    #[test]
    fn strangers_get_what_the_protocol_allows_by_the_minute_and_by_the_hour() {
        let profile = Profile { route_per_minute: 0, ..Profile::public() };
        let limits = Limits::<u64>::new(profile);
        let takes = |take: &dyn Fn() -> bool| (0..1_000).take_while(|_| take()).count();
        assert_eq!(takes(&|| limits.agent(Class::Route, &1, NOW).is_ok()), 500);
        let waits = limits.agent(Class::Route, &1, NOW).unwrap_err();
        assert_eq!((waits.standing.limit, waits.standing.remaining), (500, 0));
        assert_eq!(takes(&|| limits.agent(Class::Pending, &1, NOW).is_ok()), 30);
        assert_eq!(takes(&|| limits.agent(Class::Other, &1, NOW).is_ok()), 100);
        assert_eq!(takes(&|| limits.recipient(&1, NOW).is_ok()), 120);
        let source = "192.0.2.1".parse().unwrap();
        assert_eq!(takes(&|| limits.registration(source, NOW).is_ok()), 10);
        let sixty = Limits::<u64>::new(Profile::public());
        assert_eq!(takes(&|| sixty.agent(Class::Route, &1, NOW).is_ok()), 60);
    }

    #[test]
    fn sources_of_one_ipv6_network_share_a_limit() {
        let limits = Limits::<u64>::new(Profile { register_per_minute: 1, ..Profile::public() });
        let (a, b): (IpAddr, IpAddr) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        assert!(limits.registration(a, NOW).is_ok());
        assert!(limits.registration(b, NOW).is_err());
    }

    #[test]
    fn zero_is_no_limit() {
        let limits = Limits::<u64>::new(Profile { route_per_minute: 0, ..Profile::local() });
        assert!((0..10_000).all(|_| limits.agent(Class::Route, &1, NOW).unwrap().is_none()));
    }
}
