//! How a newcomer with a ticket enters: request, name clashes, confirmation, grant (DESIGN §3).

use crate::member::list::Statements;
use crate::member::{EpochSecret, MeshId};
use crate::node_id::NodeId;
use crate::ticket::Token;
use serde::{Deserialize, Serialize};

/// The newcomer's first frame. Its node id is the one that TLS proved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// Lowest and highest protocol version it speaks.
    pub versions: (u16, u16),
    /// Which mesh the ticket is for.
    pub mesh: MeshId,
    /// From the ticket.
    pub token: Token,
    /// The newcomer's host label.
    pub host: String,
    /// Addresses of its agents, to list the clashes before anything is decided.
    pub agents: Vec<String>,
}

/// Which of the newcomer's names a longer-standing member already holds. Waits for a [`JoinConfirm`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct JoinClashes {
    /// Addresses, as the newcomer sent them.
    pub names: Vec<String>,
}

/// The newcomer goes ahead, knowing the clashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinConfirm;

/// The newcomer is a member; sent after the spending of its ticket is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinGrant {
    /// Which mesh.
    pub mesh: MeshId,
    /// Who founded it.
    pub founder: Option<NodeId>,
    /// The secret in force.
    pub secret: EpochSecret,
    /// Every statement, the newcomer's own entry among them.
    pub statements: Statements,
}

/// The newcomer is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRefused {
    /// Why.
    pub code: JoinRefuseCode,
}

/// Reasons of a [`JoinRefused`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinRefuseCode {
    /// No such ticket was written here, or it was revoked.
    Unknown,
    /// Another node used it.
    Spent,
    /// Too late.
    Expired,
    /// The ticket is for another mesh.
    OtherMesh,
    /// A member already has that host label.
    LabelTaken,
    /// The host label is not a DNS label, or equals an organization.
    BadLabel,
    /// The inviter may not introduce members any more.
    NotAllowed,
    /// No common protocol version.
    Version,
    /// Too many at a time, or the member list is full; try again later.
    Busy,
}

impl JoinRefuseCode {
    /// Stable name, for `--json` and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "ticket_unknown",
            Self::Spent => "ticket_spent",
            Self::Expired => "ticket_expired",
            Self::OtherMesh => "other_mesh",
            Self::LabelTaken => "label_taken",
            Self::BadLabel => "label_invalid",
            Self::NotAllowed => "inviter_not_allowed",
            Self::Version => "version",
            Self::Busy => "busy",
        }
    }
}
