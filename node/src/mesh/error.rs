//! Why the mesh did not do what its owner asked. Read by the control socket.

use super::endpoint::EndpointError;
use crate::private::FileError;
use amesh_proto::ticket::TicketError;

/// Why the mesh did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The mesh port.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The mesh file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The mesh file holds something else.
    #[error("{path} cannot be read: {why}; restore it from a copy, or move it aside to found a new mesh")]
    Malformed {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The host label cannot be one.
    #[error("the host label `{0}` is not a lowercase DNS label; set another with --host NAME")]
    HostLabel(String),
    /// The host label cannot be changed to this one.
    #[error(
        "this host is called `{from}` in its mesh and cannot become `{to}`: {error}; start it with --host {from}, or leave the mesh first and join again"
    )]
    Renamed {
        /// The label it has.
        from: String,
        /// The label that is wanted.
        to: String,
        /// Why not.
        error: amesh_proto::member::list::MemberError,
    },
    /// The open secret is not 64 hex digits.
    #[error("the mesh secret must be 64 hex digits (AMESH_MESH_SECRET)")]
    Secret,
    /// The store did not answer.
    #[error("the store did not answer: {0}")]
    Store(String),
}

/// Why an owner's action on the mesh failed. Nothing was changed, unless it says so.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// The ticket's text.
    #[error(transparent)]
    Ticket(#[from] TicketError),
    /// The ticket is too old.
    #[error("the ticket has expired; ask for a new one: amesh invite")]
    Expired,
    /// It is this node's own ticket.
    #[error("this ticket was written by this very node; give it to the machine that is to join")]
    OwnTicket,
    /// Already there.
    #[error("this node is a member of that mesh already")]
    AlreadyMember,
    /// Others would be left behind.
    #[error(
        "this node is in a mesh with {others} other member(s); to leave it first: amesh join --leave TICKET"
    )]
    HasMembers {
        /// How many.
        others: usize,
    },
    /// The inviter could not be reached.
    #[error("cannot reach the inviting node: {0}")]
    Unreachable(String),
    /// The inviter said no.
    #[error("{why}")]
    Refused {
        /// Stable name of the reason.
        code: &'static str,
        /// The reason and what to do.
        why: String,
    },
    /// This node may not do that.
    #[error("{0}")]
    NotAllowed(String),
    /// No such node.
    #[error("no member has the id or host label `{0}`; see: amesh peers")]
    NoSuchMember(String),
    /// Several nodes fit.
    #[error("`{0}` fits more than one member; give the whole node id, see: amesh peers")]
    Ambiguous(String),
    /// The mesh file could not be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The store failed.
    #[error("the store did not take the change: {0}")]
    Store(String),
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

impl MeshError {
    /// Stable name of the reason, for `--json`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Ticket(_) => "ticket_invalid",
            Self::Expired => "ticket_expired",
            Self::OwnTicket => "ticket_own",
            Self::AlreadyMember => "already_member",
            Self::HasMembers { .. } => "has_members",
            Self::Unreachable(_) => "unreachable",
            Self::Refused { code, .. } => code,
            Self::NotAllowed(_) => "not_allowed",
            Self::NoSuchMember(_) => "not_found",
            Self::Ambiguous(_) => "ambiguous",
            Self::File(_) | Self::Store(_) => "internal_error",
            Self::Stopping => "stopping",
        }
    }
}
