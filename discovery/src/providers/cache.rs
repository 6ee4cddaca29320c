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
    fresh_until: Duration,
    /// The last that was found, and until when it may stand in.
    last: Option<(Provider, Duration)>,
}

impl Cache {
    /// What needs no asking.
    pub(super) fn fresh(&self, domain: &str, now: Duration) -> Option<Looked> {
        self.entries.get(domain).filter(|entry| now < entry.fresh_until).map(|entry| entry.looked.clone())
    }

    /// Keeps what was found out. Where some did not answer and nobody knew the provider, the one found before stands in.
    pub(super) fn keep(&mut self, domain: &str, asked: Asked, now: Duration) -> Looked {
        let Asked { mut looked, holds, unsure } = asked;
        let before =
            self.entries.remove(domain).and_then(|entry| entry.last).filter(|(_, until)| now < *until);
        let last = match (&looked.provider, before) {
            (Some(provider), _) => Some((provider.clone(), now + STALE)),
            (None, Some((provider, until))) if unsure => {
                looked.steps.push((Step::StaleCache, Outcome::Found));
                looked.provider = Some(Provider { step: Step::StaleCache, ..provider.clone() });
                Some((provider, until))
            }
            (None, _) => None,
        };
        self.make_room(now);
        let entry = Entry { looked: looked.clone(), fresh_until: now + holds, last };
        self.entries.insert(domain.to_owned(), entry);
        looked
    }

    pub(super) fn forget(&mut self, domain: &str) {
        if let Some(entry) = self.entries.get_mut(domain) {
            entry.fresh_until = Duration::ZERO;
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
        self.entries.retain(|_, entry| entry.last.is_some() || now < entry.fresh_until);
        while self.entries.len() >= DOMAINS {
            let oldest =
                self.entries.iter().min_by_key(|(_, entry)| (entry.last.is_some(), entry.fresh_until));
            let Some(oldest) = oldest.map(|(domain, _)| domain.clone()) else { return };
            self.entries.remove(&oldest);
        }
    }
}

/// How long a provider that was found may be used while nobody answers.
const STALE: Duration = Duration::from_secs(7 * 86_400);
const DOMAINS: usize = 4096;
