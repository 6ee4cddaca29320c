//! A node's list of its agents, as it publishes it: the node is its only author, everyone else keeps a copy that its
//! signature covers (DESIGN §3). Made by the store, checked by the node's mesh, read by its directory.

use crate::address::Address;
use crate::key::{KeyAlgorithm, PublicKey};
use crate::member::{MeshId, signed_text};
use crate::node_id::{NodeId, NodeKey, Signature};
use crate::time::UnixMillis;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// One agent. Kept as a tombstone for 90 days after it is gone. Frozen: rosters are signed over it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterEntry {
    /// Its full address.
    pub address: Address,
    /// The kind of its key.
    pub key_algorithm: KeyAlgorithm,
    /// Its key, SPKI DER.
    #[serde(with = "serde_bytes")]
    pub public_key: Vec<u8>,
    /// What people call it.
    pub alias: Option<String>,
    /// Since when it has this key.
    pub since: UnixMillis,
    /// The roster version of its last change.
    pub changed: u64,
    /// Keys it had in the last 90 days, newest first.
    pub previous_keys: Vec<RetiredKey>,
    /// When it was deregistered.
    pub tombstone: Option<UnixMillis>,
    /// Its own word that it moved here from another node.
    pub home: Option<HomeStatement>,
}

impl RosterEntry {
    /// An agent that has always had this key, shown by version `changed` of its node's roster.
    #[must_use]
    pub fn first(
        address: Address,
        (key_algorithm, public_key): (KeyAlgorithm, Vec<u8>),
        since: UnixMillis,
        changed: u64,
    ) -> Self {
        Self {
            address,
            key_algorithm,
            public_key,
            alias: None,
            since,
            changed,
            previous_keys: Vec::new(),
            tombstone: None,
            home: None,
        }
    }

    /// A little more than the bytes that it takes in a frame.
    #[must_use]
    pub fn weight(&self) -> usize {
        let retired: usize = self.previous_keys.iter().map(|key| key.public_key.len() + 16).sum();
        let home = self.home.as_ref().map_or(0, |home| home.signature.len() + 16);
        let alias = self.alias.as_ref().map_or(0, String::len);
        self.address.as_str().len() + self.public_key.len() + alias + retired + home + 64
    }
}

/// A key that an agent no longer uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetiredKey {
    /// SPKI DER.
    #[serde(with = "serde_bytes")]
    pub public_key: Vec<u8>,
    /// Mail accepted before this time is judged by it.
    pub until: UnixMillis,
    /// Mail is never judged by it, whenever it was accepted.
    pub compromised: bool,
}

/// "My home is at this node", signed with the agent's key (DESIGN §3, Moving).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HomeStatement {
    /// When it moved.
    pub at: UnixMillis,
    /// Over [`HomeStatement::text`].
    #[serde(with = "serde_bytes")]
    pub signature: Vec<u8>,
}

impl HomeStatement {
    /// What the agent signs.
    #[must_use]
    pub fn text(address: &Address, node: &NodeId, mesh: &MeshId, at: UnixMillis) -> String {
        format!("amesh-home|{}|{node}|{mesh}|{}", address.as_str(), at.0)
    }

    /// Whether `key` signed that `address` lives at `node`.
    #[must_use]
    pub fn holds(&self, key: &PublicKey, address: &Address, node: &NodeId, mesh: &MeshId) -> bool {
        key.verify(Self::text(address, node, mesh, self.at).as_bytes(), &self.signature)
    }
}

/// The author's signature over all of its roster at one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterHead {
    /// What is said.
    pub says: RosterClaim,
    /// By `says.node`.
    pub signature: Signature,
}

/// What a [`RosterHead`] says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterClaim {
    /// The author.
    pub node: NodeId,
    /// The mesh it is published in.
    pub mesh: MeshId,
    /// Grows with every change, and jumps after a restore from backup.
    pub version: u64,
    /// Over every entry, sorted by address: [`digest`].
    #[serde(with = "crate::fixed")]
    pub digest: [u8; 32],
    /// How many entries, tombstones included.
    pub count: u32,
}

impl RosterHead {
    /// Signs the roster that `entries`, sorted by address, are at `version`.
    #[must_use]
    pub fn sign<'a>(
        key: &NodeKey,
        mesh: MeshId,
        version: u64,
        entries: impl IntoIterator<Item = &'a RosterEntry>,
    ) -> Self {
        let (digest, count) = digest(entries);
        let says = RosterClaim { node: key.id(), mesh, version, digest, count };
        let signature = key.sign(&says.text());
        Self { says, signature }
    }

    /// Whether the author named in it signed it.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.says.node.verify(&self.says.text(), &self.signature)
    }

    /// Whether `entries`, sorted by address, are the roster it speaks of.
    #[must_use]
    pub fn covers<'a>(&self, entries: impl IntoIterator<Item = &'a RosterEntry>) -> bool {
        digest(entries) == (self.says.digest, self.says.count)
    }
}

impl RosterClaim {
    fn text(&self) -> Vec<u8> {
        signed_text(b"amesh/1 roster", &self.mesh, self)
    }
}

/// SHA-256 over the binary form of every entry, each behind its length, and their number. Order matters.
#[must_use]
pub fn digest<'a>(entries: impl IntoIterator<Item = &'a RosterEntry>) -> ([u8; 32], u32) {
    let mut hash = Sha256::new();
    hash.update(b"amesh/1 roster entries");
    let (mut count, mut buffer) = (0u32, Vec::new());
    for entry in entries {
        buffer.clear();
        buffer = postcard::to_extend(entry, buffer).unwrap_or_default();
        hash.update((buffer.len() as u64).to_be_bytes());
        hash.update(&buffer);
        count = count.saturating_add(1);
    }
    hash.update(count.to_be_bytes());
    (hash.finalize().into(), count)
}

/// How long tombstones and retired keys stay.
pub const RETENTION_DAYS: u64 = 90;

/// Entries one node may publish, tombstones included.
pub const ENTRY_LIMIT: usize = 50_000;

/// Bytes one node may publish, by [`RosterEntry::weight`].
pub const BYTE_LIMIT: usize = 64 << 20;

#[cfg(test)]
mod tests;
