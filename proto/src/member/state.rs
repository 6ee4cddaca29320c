//! What a node keeps of its mesh outside the store: `mesh.json`, 0600. The node's membership owns it and writes it.

use super::{MemberEntry, MeshId, Removal};
use crate::node_id::{NodeId, sha256};
use serde::{Deserialize, Serialize};
use std::fmt;
use zeroize::Zeroize;

/// The file `mesh.json`: everything a node knows about its mesh. Version 1, fields only added.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MeshState {
    /// The form of this file.
    pub version: u32,
    /// Which mesh.
    pub mesh: MeshId,
    /// Who founded it; nobody in a mesh that is open by secret.
    pub founder: Option<NodeId>,
    /// This host's label in the mesh.
    pub host: String,
    /// The secrets of the latest epochs.
    pub secrets: Secrets,
    /// Every valid entry known.
    pub entries: Vec<MemberEntry>,
    /// Every valid removal known.
    pub removals: Vec<Removal>,
    /// Nodes blocked by the owner of this machine alone.
    #[serde(default)]
    pub blocked: Vec<NodeId>,
}

/// One epoch's secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochSecret {
    /// Counted from 1; each removal begins another.
    pub epoch: u64,
    /// 32 random bytes.
    #[serde(with = "crate::fixed")]
    pub secret: [u8; 32],
}

impl Drop for EpochSecret {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl fmt::Debug for EpochSecret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "EpochSecret({})", self.epoch)
    }
}

/// The secrets of the latest epochs, newest first; two of one epoch after removals on both sides of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Secrets(Vec<EpochSecret>);

impl Secrets {
    /// How many are kept: a node that slept through more removals than this needs a new ticket.
    pub const KEPT: usize = 8;

    /// Only `secret`, of `epoch`.
    #[must_use]
    pub fn new(epoch: u64, secret: [u8; 32]) -> Self {
        Self(vec![EpochSecret { epoch, secret }])
    }

    /// Adds a secret; says whether it was new and recent enough to keep.
    pub fn add(&mut self, epoch: u64, secret: [u8; 32]) -> bool {
        let new = EpochSecret { epoch, secret };
        if self.0.contains(&new) {
            return false;
        }
        self.0.push(new.clone());
        self.0.sort_by(|a, b| (b.epoch, &b.secret).cmp(&(a.epoch, &a.secret)));
        self.0.truncate(Self::KEPT);
        self.0.contains(&new)
    }

    /// Newest first.
    pub fn iter(&self) -> impl Iterator<Item = &EpochSecret> {
        self.0.iter()
    }

    /// The newest epoch a secret is known of; 0 if there is none.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.0.first().map_or(0, |newest| newest.epoch)
    }

    /// Public commitment to a secret: what a removal says of the epoch it begins.
    #[must_use]
    pub fn check(secret: &[u8; 32]) -> [u8; 32] {
        sha256(&[b"amesh/1 epoch check", secret])
    }
}
