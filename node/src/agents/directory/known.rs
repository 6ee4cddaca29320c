//! One agent of another node as that node lists it, and which of its keys was in force when.

use amesh_proto::key::PublicKey;
use amesh_proto::roster::RosterEntry;
use amesh_proto::time::UnixMillis;
use std::sync::{Arc, OnceLock};

/// A roster entry, and its key once it was needed: parsing one costs as much as a fifth of a verification.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) entry: Arc<RosterEntry>,
    current: OnceLock<Option<PublicKey>>,
}

impl Known {
    pub(super) fn new(entry: RosterEntry) -> Self {
        Self { entry: Arc::new(entry), current: OnceLock::new() }
    }

    /// The key it lists now.
    pub(super) fn current(&self) -> Option<PublicKey> {
        let parse = || PublicKey::from_spki_der(&self.entry.public_key).ok();
        self.current.get_or_init(parse).clone()
    }

    /// The key that was in force at `at`. A key revoked as compromised is in force at no time (DESIGN §3).
    pub(super) fn key_at(&self, at: UnixMillis) -> Option<PublicKey> {
        if self.entry.tombstone.is_some_and(|gone| at > gone) {
            return None;
        }
        // Retired keys come with the end of their time: the earliest end after `at` names the key of that time.
        let retired =
            self.entry.previous_keys.iter().filter(|key| key.until > at).min_by_key(|key| key.until);
        match retired {
            None => self.current(),
            Some(key) if key.compromised => None,
            Some(key) => PublicKey::from_spki_der(&key.public_key).ok(),
        }
    }
}
