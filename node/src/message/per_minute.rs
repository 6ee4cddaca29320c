//! How often something has happened in the current minute, by whom. The table holds one minute and is then emptied. Used
//! by `faults`, and for the mail that links bring (RAT-3).

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A bound on what happens in a minute, for many keys.
#[derive(Debug)]
pub(super) struct PerMinute<K> {
    most: u32,
    minute: Mutex<Minute<K>>,
}

#[derive(Debug)]
struct Minute<K> {
    began: Duration,
    counts: HashMap<K, u32>,
}

/// Too often; the seconds until the next minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooOften(pub u64);

impl<K: Eq + Hash> PerMinute<K> {
    pub(super) fn new(most: u32) -> Self {
        Self { most, minute: Mutex::new(Minute { began: Duration::ZERO, counts: HashMap::new() }) }
    }

    /// Whether it may happen once more. Counts nothing.
    pub(super) fn check(&self, key: &K, now: Duration) -> Result<(), TooOften> {
        self.with(now, |minute| minute.check(key, self.most, now))
    }

    /// It happened.
    pub(super) fn add(&self, key: K, now: Duration) {
        self.with(now, |minute| minute.add(key));
    }

    /// Counts it, unless that is too often.
    pub(super) fn take(&self, key: K, now: Duration) -> Result<(), TooOften> {
        self.with(now, |minute| {
            minute.check(&key, self.most, now)?;
            minute.add(key);
            Ok(())
        })
    }

    fn with<T>(&self, now: Duration, act: impl FnOnce(&mut Minute<K>) -> T) -> T {
        let mut minute = self.minute.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_sub(minute.began) >= MINUTE {
            minute.began = now;
            minute.counts.clear();
        }
        act(&mut minute)
    }
}

impl<K: Eq + Hash> Minute<K> {
    fn check(&self, key: &K, most: u32, now: Duration) -> Result<(), TooOften> {
        if self.counts.get(key).copied().unwrap_or_default() < most {
            return Ok(());
        }
        Err(TooOften((self.began + MINUTE).saturating_sub(now).as_secs().max(1)))
    }

    fn add(&mut self, key: K) {
        // Keys are agents and members, whose number is bounded; should that fail, the first ones are counted.
        if self.counts.len() < KEYS || self.counts.contains_key(&key) {
            *self.counts.entry(key).or_default() += 1;
        }
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const KEYS: usize = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_count_and_the_next_minute_begins_anew() {
        let second = Duration::from_secs(1);
        let table = PerMinute::new(2);
        assert_eq!([1, 1, 2].map(|key| table.take(key, second)), [Ok(()); 3]);
        assert_eq!(table.take(1, 40 * second), Err(TooOften(20)));
        assert_eq!(table.check(&2, 40 * second), Ok(()));
        assert_eq!(table.take(1, 61 * second), Ok(()));
    }
}
