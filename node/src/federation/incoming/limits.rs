//! How often providers may deliver, recipients be written to, and sources fail (FED-15, A-30). Fixed minutes and hours of
//! elapsed time; tables are emptied with their window and hold so many keys at most. Owned by [`super::Deliveries`].

use super::NotTaken;
use crate::federation::config::DeliveryLimits;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// What counts as one source: an address, or a network of IPv6.
    pub network: u64,
    /// It comes through the owner's proxy, as everybody does.
    pub by_proxy: bool,
}

#[derive(Debug)]
pub(super) struct Limits {
    config: DeliveryLimits,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    minute: Duration,
    hour: Duration,
    in_hour: u32,
    in_minute: u32,
    providers: HashMap<String, u32>,
    recipients: HashMap<String, u32>,
    failures: HashMap<u64, u32>,
}

impl Limits {
    pub(super) fn new(config: DeliveryLimits) -> Self {
        Self { config, counts: Mutex::default() }
    }

    /// Refuses a source that has failed too often in this minute.
    pub(super) fn source(&self, caller: Caller, now: Duration) -> Result<(), NotTaken> {
        // Nobody can be told from anybody else behind a proxy.
        let most = self.config.failures_per_minute.saturating_mul(if caller.by_proxy { 20 } else { 1 });
        let counts = self.counts(now);
        let left = counts.left_of_minute(now);
        under(&counts.failures, &caller.network, most, left, "requests that were refused")
    }

    /// A source has failed.
    pub(super) fn failed(&self, caller: Caller, now: Duration) {
        add(&mut self.counts(now).failures, caller.network);
    }

    /// Whether a provider may deliver now. Counts nothing: anybody can name any provider.
    pub(super) fn has_time_for(&self, domain: &str, listed: bool, now: Duration) -> Result<(), NotTaken> {
        self.check(&self.counts(now), domain, listed, now)
    }

    /// Counts what a provider has signed.
    pub(super) fn count(&self, domain: &str, listed: bool, now: Duration) -> Result<(), NotTaken> {
        let mut counts = self.counts(now);
        self.check(&counts, domain, listed, now)?;
        counts.in_minute += 1;
        counts.in_hour += 1;
        add(&mut counts.providers, domain.to_owned());
        Ok(())
    }

    /// Counts one message to a recipient, whoever sends it.
    pub(super) fn recipient(&self, address: &str, now: Duration) -> Result<(), NotTaken> {
        let mut counts = self.counts(now);
        let (most, left) = (self.config.recipient_per_minute, counts.left_of_minute(now));
        under(&counts.recipients, address, most, left, "messages for this recipient")?;
        add(&mut counts.recipients, address.to_owned());
        Ok(())
    }

    fn check(&self, counts: &Counts, domain: &str, listed: bool, now: Duration) -> Result<(), NotTaken> {
        let DeliveryLimits { unlisted_per_minute, listed_per_minute, all_per_minute, all_per_hour, .. } =
            self.config;
        let left = counts.left_of_minute(now);
        let hour = (counts.hour + HOUR).saturating_sub(now);
        let most = if listed { listed_per_minute } else { unlisted_per_minute };
        under(&counts.providers, domain, most, left, "messages from this provider")?;
        let all = "messages from other providers";
        for (count, most, left) in
            [(counts.in_minute, all_per_minute, left), (counts.in_hour, all_per_hour, hour)]
        {
            if most > 0 && count >= most {
                return Err(too_many(all, left));
            }
        }
        Ok(())
    }

    fn counts(&self, now: Duration) -> MutexGuard<'_, Counts> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_sub(counts.minute) >= MINUTE {
            counts.minute = now;
            counts.in_minute = 0;
            counts.providers.clear();
            counts.recipients.clear();
            counts.failures.clear();
        }
        if now.saturating_sub(counts.hour) >= HOUR {
            (counts.hour, counts.in_hour) = (now, 0);
        }
        counts
    }
}

impl Counts {
    fn left_of_minute(&self, now: Duration) -> Duration {
        (self.minute + MINUTE).saturating_sub(now)
    }
}

/// Zero is no limit.
fn under<K, Q>(
    counts: &HashMap<K, u32>,
    key: &Q,
    most: u32,
    left: Duration,
    what: &'static str,
) -> Result<(), NotTaken>
where
    K: Eq + Hash + std::borrow::Borrow<Q>,
    Q: Eq + Hash + ?Sized,
{
    match counts.get(key).copied().unwrap_or_default() {
        count if most > 0 && count >= most => Err(too_many(what, left)),
        _ => Ok(()),
    }
}

fn add<K: Eq + Hash>(counts: &mut HashMap<K, u32>, key: K) {
    // Once it is full, whoever is in it already is counted.
    if counts.len() < KEYS || counts.contains_key(&key) {
        *counts.entry(key).or_default() += 1;
    }
}

fn too_many(what: &'static str, left: Duration) -> NotTaken {
    NotTaken::TooMany { what, retry_after: left.as_secs().max(1) }
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const KEYS: usize = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(10_000);

    fn waits(result: Result<(), NotTaken>) -> Option<u64> {
        result.err().and_then(|fault| fault.retry_after())
    }

    fn times(mut take: impl FnMut() -> bool) -> usize {
        (0..20_000).take_while(|_| take()).count()
    }

    #[test]
    fn each_tier_each_recipient_and_all_together_have_what_the_protocol_gives_them() {
        let limits = || Limits::new(DeliveryLimits::default());
        let one = limits();
        assert_eq!(times(|| one.count("new.test", false, NOW).is_ok()), 100);
        assert_eq!(waits(one.count("new.test", false, NOW + Duration::from_secs(20))), Some(40));
        assert!(one.count("other.test", false, NOW).is_ok(), "one provider costs the others nothing");
        assert_eq!(times(|| one.count("friend.test", true, NOW).is_ok()), 899);
        assert_eq!(times(|| one.recipient("bob@x", NOW).is_ok()), 20);
        assert!(one.recipient("al@x", NOW).is_ok());
        let later = |minute: u32| NOW + MINUTE * minute;
        let hour = limits();
        let all: usize =
            (0..20).map(|minute| times(|| hour.count("f.test", true, later(minute)).is_ok())).sum();
        assert_eq!(all, 10_000);
        assert_eq!(waits(hour.count("f.test", true, later(30))), Some(1_800));
        assert!(hour.count("f.test", true, later(61)).is_ok());
    }

    #[test]
    fn naming_a_provider_uses_up_nothing_of_it_and_failing_only_of_the_source() {
        let limits = Limits::new(DeliveryLimits { failures_per_minute: 2, ..DeliveryLimits::default() });
        assert_eq!(times(|| limits.has_time_for("friend.test", true, NOW).is_ok()), 20_000);
        let from = |network, by_proxy| Caller { network, by_proxy };
        (0..2).for_each(|_| limits.failed(from(1, false), NOW));
        assert_eq!(waits(limits.source(from(1, false), NOW)), Some(60));
        assert!(limits.source(from(2, false), NOW).is_ok() && limits.source(from(1, true), NOW).is_ok());
        assert!(limits.source(from(1, false), NOW + MINUTE).is_ok());
    }

    #[test]
    fn zero_is_no_limit() {
        let none = DeliveryLimits {
            unlisted_per_minute: 0,
            all_per_minute: 0,
            all_per_hour: 0,
            recipient_per_minute: 0,
            ..DeliveryLimits::default()
        };
        let limits = Limits::new(none);
        assert_eq!(
            times(|| limits.count("a.test", false, NOW).is_ok() && limits.recipient("b", NOW).is_ok()),
            20_000
        );
    }
}
