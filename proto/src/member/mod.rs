//! The signed statements a mesh's membership consists of. [`list`] turns them into one view, [`state`] keeps them
//! beside the secrets. Called by the node's membership and by the wire frames that carry them.
//!
//! A *term* counts how often a node was let in: a removal beats every entry of its term or an earlier one, so that no
//! stale addition undoes it, while an introducer who knows of the removal may let the node in anew (DESIGN §3).

pub mod list;
pub mod state;
#[cfg(test)]
mod tests;
mod view;

pub use list::{Member, MemberList};
pub use state::{EpochSecret, MeshState, Secrets};

use crate::fixed;
use crate::node_id::{NodeId, NodeKey, Signature, sha256};
use crate::time::UnixMillis;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The permanent, random name of a mesh. As text, 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MeshId(#[serde(with = "crate::fixed")] pub [u8; 16]);

impl MeshId {
    /// What multicast shows of it: enough to tell meshes apart, useless for anything else.
    #[must_use]
    pub fn short_hash(&self) -> [u8; 8] {
        let hash = sha256(&[b"amesh/1 mesh hint", &self.0]);
        let mut short = [0; 8];
        short.copy_from_slice(&hash[..8]);
        short
    }

    /// The id of the mesh that everyone who knows `secret` is in (`AMESH_MESH_SECRET`).
    #[must_use]
    pub fn of_open_secret(secret: &[u8; 32]) -> Self {
        let hash = sha256(&[b"amesh/1 open mesh id", secret]);
        let mut id = [0; 16];
        id.copy_from_slice(&hash[..16]);
        Self(id)
    }
}

impl fmt::Display for MeshId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&fixed::to_hex(&self.0))
    }
}

impl fmt::Debug for MeshId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "MeshId({}…)", fixed::to_hex(&self.0[..4]))
    }
}

impl FromStr for MeshId {
    type Err = MeshIdError;

    fn from_str(text: &str) -> Result<Self, MeshIdError> {
        fixed::from_hex(text).map(Self).ok_or(MeshIdError)
    }
}

/// The text is not 32 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a mesh id: expected 32 hex digits")]
pub struct MeshIdError;

/// Names one statement: the start of the SHA-256 of its signed text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StatementId(#[serde(with = "crate::fixed")] pub [u8; 16]);

/// "This node is one of us", said by its introducer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberEntry {
    /// What is said.
    pub says: Membership,
    /// By `says.introducer`.
    pub signature: Signature,
}

/// What a [`MemberEntry`] says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// Who is let in.
    pub node: NodeId,
    /// The label of its host.
    pub host: String,
    /// One more than the greatest order the introducer knew. Less means a member for longer; ties go to the lesser id.
    pub order: u64,
    /// One more than the term of the last removal of this node.
    pub term: u32,
    /// Who lets it in.
    pub introducer: NodeId,
    /// The term in which the introducer was itself a member.
    pub introducer_term: u32,
    /// Whether it may let others in, and remove.
    pub may_introduce: bool,
    /// When.
    pub joined_at: UnixMillis,
}

impl MemberEntry {
    /// Signs `says` for `mesh`; `key` is the introducer's.
    #[must_use]
    pub fn sign(mesh: &MeshId, says: Membership, key: &NodeKey) -> Self {
        let signature = key.sign(&says.text(mesh));
        Self { says, signature }
    }

    /// Whether the introducer named in it signed it for this mesh.
    #[must_use]
    pub fn is_signed(&self, mesh: &MeshId) -> bool {
        self.says.introducer.verify(&self.says.text(mesh), &self.signature)
    }

    /// The name of this statement.
    #[must_use]
    pub fn id(&self, mesh: &MeshId) -> StatementId {
        statement_id(&self.says.text(mesh))
    }
}

impl Membership {
    fn text(&self, mesh: &MeshId) -> Vec<u8> {
        signed_text(b"amesh/1 member", mesh, self)
    }
}

/// "This node is no longer one of us", said by the founder, an introducer, or the node itself as it leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// What is said.
    pub says: Departure,
    /// By `says.by`.
    pub signature: Signature,
}

/// What a [`Removal`] says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Departure {
    /// Who goes.
    pub node: NodeId,
    /// The term that ends; every entry of this node up to it is void.
    pub term: u32,
    /// The epoch that begins, 0 where a node leaves by itself (it could not choose a secret that it does not know).
    pub epoch: u64,
    /// Commitment to the secret of that epoch ([`Secrets::check`]), so that nobody can plant another.
    #[serde(with = "crate::fixed")]
    pub check: [u8; 32],
    /// Who says so.
    pub by: NodeId,
    /// When.
    pub at: UnixMillis,
    /// Entries introduced by `node` that stay valid.
    pub keeps: Vec<StatementId>,
}

impl Removal {
    /// Signs `says` for `mesh`; `key` is that of `says.by`.
    #[must_use]
    pub fn sign(mesh: &MeshId, says: Departure, key: &NodeKey) -> Self {
        let signature = key.sign(&says.text(mesh));
        Self { says, signature }
    }

    /// Whether the node named in it signed it for this mesh.
    #[must_use]
    pub fn is_signed(&self, mesh: &MeshId) -> bool {
        self.says.by.verify(&self.says.text(mesh), &self.signature)
    }

    /// The name of this statement.
    #[must_use]
    pub fn id(&self, mesh: &MeshId) -> StatementId {
        statement_id(&self.says.text(mesh))
    }
}

impl Departure {
    fn text(&self, mesh: &MeshId) -> Vec<u8> {
        signed_text(b"amesh/1 removal", mesh, self)
    }
}

/// Whether `label` can name a host: a lowercase DNS label.
#[must_use]
pub fn is_host_label(label: &str) -> bool {
    let edge = |at: Option<&u8>| at.is_some_and(|byte| *byte != b'-');
    let bytes = label.as_bytes();
    bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-')
}

/// Context, mesh and the frozen binary form of what is said: nothing signed for one purpose or mesh serves another.
pub(crate) fn signed_text<T: Serialize>(context: &[u8], mesh: &MeshId, says: &T) -> Vec<u8> {
    let mut text = Vec::with_capacity(192);
    text.extend_from_slice(context);
    text.push(0);
    text.extend_from_slice(&mesh.0);
    // Serializing plain data into memory cannot fail; an empty tail would verify for nobody.
    postcard::to_extend(says, text).unwrap_or_default()
}

fn statement_id(text: &[u8]) -> StatementId {
    let hash = sha256(&[text]);
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    StatementId(id)
}
