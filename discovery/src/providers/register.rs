//! Which providers the registry has checked, for owners who let in only those (FED-14). Owned by [`super::Providers`]. Times are
//! elapsed time that the caller brings.

use super::{AskError, Inner};
use amesh_proto::provider::Announcement;
use std::collections::HashMap;
use std::time::Duration;

/// The fingerprint that the registry has checked, or that it lists none; nothing where it did not answer.
pub(super) type Said = Option<Option<String>>;

#[derive(Debug, Default)]
pub(super) struct Register {
    entries: HashMap<String, (Said, Duration)>,
}

impl Register {
    pub(super) fn said(&self, domain: &str, now: Duration) -> Option<Said> {
        let (said, until) = self.entries.get(domain)?;
        (now < *until).then(|| said.clone())
    }

    pub(super) fn keep(&mut self, domain: &str, said: Said, now: Duration) {
        if self.entries.len() >= DOMAINS {
            self.entries.retain(|_, (_, until)| now < *until);
        }
        let holds = match &said {
            Some(Some(_)) => CHECKED,
            Some(None) => UNLISTED,
            None => SILENT,
        };
        // Whatever finds no room is asked for again.
        if self.entries.len() < DOMAINS {
            self.entries.insert(domain.to_owned(), (said, now + holds));
        }
    }

    pub(super) fn forget(&mut self, domain: &str) {
        self.entries.remove(domain);
    }
}

pub(super) async fn ask(inner: &Inner, domain: &str) -> Said {
    let registry = inner.settings.registry.trim_end_matches('/');
    match inner.pages.page(&format!("{registry}/{domain}")).await {
        Ok(page) => {
            let entry = Announcement::from_registry(&page, domain).ok().filter(|entry| entry.verified);
            Some(entry.and_then(|entry| entry.fingerprint))
        }
        Err(AskError::Nothing) => Some(None),
        Err(AskError::Refused(_) | AskError::Failed(_)) => None,
    }
}

/// FED-5.
const CHECKED: Duration = Duration::from_secs(86_400);
const UNLISTED: Duration = Duration::from_secs(300);
const SILENT: Duration = Duration::from_secs(30);
const DOMAINS: usize = 4096;
