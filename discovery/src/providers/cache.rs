//! What was found out about providers, for how long it holds (FED-5), and what is used when nobody answers. Owned by
//! [`super::Providers`]. Times are elapsed time that the caller brings.

use super::steps::Asked;
use super::{Looked, Outcome, Provider, Step};
use std::collections::HashMap;
use std::time::Duration;

#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: HashMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    looked: Looked,
    /// The last that was found with its key, and when: it may stand in.
    last: Option<(Provider, Duration)>,
}

impl Cache {
    /// What needs no asking.
    pub(super) fn fresh(&self, domain: &str, now: Duration) -> Option<Looked> {
        let looked = &self.entries.get(domain)?.looked;
        (now < looked.fresh_until).then(|| looked.clone())
    }

    /// Keeps what was found out. Where somebody did not answer and nobody proved a key, the provider that was found before
    /// stands in, if it may.
    pub(super) fn keep(&mut self, domain: &str, asked: Asked, now: Duration, may_stand_in: bool) -> Looked {
        let Asked { provider, mut steps, holds, unsure } = asked;
        let before = self.entries.remove(domain).and_then(|entry| entry.last);
        let before = before.filter(|(_, found_at)| unsure && may_stand_in && now < *found_at + STALE);
        let is_proven = provider.as_ref().is_some_and(|provider| provider.key.is_some());
        let (provider, found_at, last) = match before {
            Some((known, found_at)) if !is_proven => {
                steps.push((Step::StaleCache, Outcome::Found));
                let provider = Provider { step: Step::StaleCache, ..known.clone() };
                (Some(provider), found_at, Some((known, found_at)))
            }
            _ => (provider.clone(), now, provider.filter(|_| is_proven).map(|provider| (provider, now))),
        };
        self.make_room(now);
        let looked = Looked { provider, steps, found_at, fresh_until: now + holds };
        self.entries.insert(domain.to_owned(), Entry { looked: looked.clone(), last });
        looked
    }

    pub(super) fn was_found(&self, domain: &str) -> bool {
        self.entries.get(domain).is_some_and(|entry| entry.last.is_some())
    }

    pub(super) fn forget(&mut self, domain: &str) {
        if let Some(entry) = self.entries.get_mut(domain) {
            entry.looked.fresh_until = Duration::ZERO;
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn make_room(&mut self, now: Duration) {
        if self.entries.len() < DOMAINS {
            return;
        }
        // Strangers make this node look up domains that are none: those go first.
        self.entries.retain(|_, entry| entry.last.is_some() || now < entry.looked.fresh_until);
        while self.entries.len() >= DOMAINS {
            let age = |(_, entry): &(&String, &Entry)| (entry.last.is_some(), entry.looked.fresh_until);
            let oldest = self.entries.iter().min_by_key(age);
            let Some(oldest) = oldest.map(|(domain, _)| domain.clone()) else { return };
            self.entries.remove(&oldest);
        }
    }
}

/// How long a provider that was found may be used while nobody answers.
const STALE: Duration = Duration::from_secs(7 * 86_400);
const DOMAINS: usize = 4096;
