//! One agent as its node lists it: which of its keys was in force when, and whether it said itself that it lives there.

use amesh_proto::key::PublicKey;
use amesh_proto::member::MeshId;
use amesh_proto::node_id::NodeId;
use amesh_proto::roster::RosterEntry;
use amesh_proto::time::UnixMillis;
use std::sync::{Arc, OnceLock};

/// A roster entry, and its key once it was needed: parsing one costs as much as a fifth of a verification.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) entry: Arc<RosterEntry>,
    current: OnceLock<Option<PublicKey>>,
    /// Since when it lives there by its own word (DESIGN §3, Moving).
    pub(super) home: Option<UnixMillis>,
}

impl Known {
    /// As `node` lists it in `mesh`.
    pub(super) fn new(entry: RosterEntry, node: &NodeId, mesh: Option<&MeshId>) -> Self {
        let home = mesh.and_then(|mesh| proven_home(&entry, node, mesh));
        Self { entry: Arc::new(entry), current: OnceLock::new(), home }
    }

    /// The same in another mesh.
    pub(super) fn in_mesh(&self, node: &NodeId, mesh: Option<&MeshId>) -> Self {
        Self::new((*self.entry).clone(), node, mesh)
    }

    /// Whether both are one agent: one of them has, or had, the key of the other.
    pub(super) fn is_same_agent(&self, other: &Self) -> bool {
        self.has_or_had(&other.entry.public_key) || other.has_or_had(&self.entry.public_key)
    }

    fn has_or_had(&self, key: &[u8]) -> bool {
        let mut retired = self.entry.previous_keys.iter().filter(|retired| !retired.compromised);
        self.entry.public_key == key || retired.any(|retired| retired.public_key == key)
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

    /// The keys that are in nobody else's hands, the present one first.
    pub(super) fn good_keys(&self) -> impl Iterator<Item = PublicKey> {
        let retired = self.entry.previous_keys.iter().filter(|retired| !retired.compromised);
        let retired = retired.filter_map(|retired| PublicKey::from_spki_der(&retired.public_key).ok());
        self.current().into_iter().chain(retired).take(KEYS_TRIED)
    }
}

/// A statement may be older than the present key, never one of a key that others may have.
fn proven_home(entry: &RosterEntry, node: &NodeId, mesh: &MeshId) -> Option<UnixMillis> {
    let home = entry.home.as_ref()?;
    let retired = entry.previous_keys.iter().filter(|retired| !retired.compromised);
    let keys = std::iter::once(&entry.public_key).chain(retired.map(|retired| &retired.public_key));
    let mut keys = keys.take(KEYS_TRIED).filter_map(|key| PublicKey::from_spki_der(key).ok());
    keys.any(|key| home.holds(&key, &entry.address, node, mesh)).then_some(home.at)
}

/// A roster could list keys without end.
const KEYS_TRIED: usize = 4;
