//! What opens a link: the dialer's proof, the listener's proof, and only then what each tells of itself (DESIGN §3).
//!
//! Dialer: [`Hello`]. Listener: [`HelloAck`], with its greeting. Dialer: [`Greeting`], at once followed by anything.
//! Whoever answers at an address thus learns nothing before it has proven the secret too.

use crate::member::MemberEntry;
use crate::time::UnixMillis;
use serde::{Deserialize, Serialize};

/// Knowledge of one epoch's secret, bound to this connection, direction and pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Which secret.
    pub epoch: u64,
    /// See the node's `mesh/proof.rs`.
    #[serde(with = "crate::fixed")]
    pub mac: [u8; 32],
}

/// What each end tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// Its host label.
    pub host: String,
    /// The version of its own roster.
    pub roster_version: u64,
    /// Digest of its member list: where they are equal nothing is exchanged.
    #[serde(with = "crate::fixed")]
    pub members: [u8; 32],
    /// Counts restores of its store from backup: lane numbers begin anew with each.
    pub generation: u64,
    /// Drawn at start. One node id with two of these at a time is two machines with one key.
    pub boot: u64,
    /// Its wall clock as it says this: shown to the owner where the two are far apart, never trusted.
    pub clock: UnixMillis,
    /// Its own member entry and those of its introducers, for a peer that has not heard of it.
    pub evidence: Vec<MemberEntry>,
}

/// The dialer's first frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Lowest and highest protocol version it speaks.
    pub versions: (u16, u16),
    /// For its latest epochs, newest first, at most [`Hello::PROOF_LIMIT`].
    pub proofs: Vec<Proof>,
}

impl Hello {
    /// How many epochs are proven at once: as many as are kept.
    pub const PROOF_LIMIT: usize = crate::member::Secrets::KEPT;
}

/// The listener's answer to a good proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelloAck {
    /// The version spoken from here on.
    pub version: u16,
    /// For the epoch of the dialer's proof that held.
    pub proof: Proof,
    /// About the listener.
    pub greeting: Greeting,
}

/// No admission. A stranger learns nothing more than this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refuse {
    /// Why.
    pub code: RefuseCode,
}

/// Reasons of a [`Refuse`]. Only a node that proved a secret is told more than `Refused`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefuseCode {
    /// No proof held.
    Refused,
    /// No common protocol version.
    Version,
    /// It was a member and was removed.
    Removed,
    /// It knows the secret but is not in the list.
    Unlisted,
    /// Another machine with the same node key is connected.
    TwoMachines,
    /// Too many connections.
    Busy,
}

/// The version of the software at the other end, for its owner to read; nothing depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Software(pub String);

impl Software {
    /// Bytes of it that are kept and shown.
    pub const LIMIT: usize = 64;
}

/// The sender closes the link in good order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Goodbye {
    /// It shuts down.
    Stopping,
    /// Nothing to say for a while; dial when there is.
    Idle,
    /// Another link between the two is kept instead.
    Redundant,
    /// It leaves the mesh.
    Leaving,
}
