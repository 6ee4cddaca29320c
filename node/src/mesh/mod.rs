//! The carrier between nodes of one mesh: who is a member, links between members, mail over them (DESIGN §3).
//! Built by `node`, asked by the control socket.

mod config;
mod endpoint;
mod error;
mod files;
mod identity;
mod link;
mod membership;
mod proof;
mod roster;

pub use config::Config;
pub use endpoint::EndpointError;
pub use error::{MeshError, StartError};
pub use files::{FileError, private_dir};
pub use identity::{Identity, IdentityError};

use amesh_proto::api::control;
use amesh_proto::node_id::NodeId;
use amesh_proto::ticket::Ticket;
use std::net::SocketAddr;
use std::time::Duration;

/// This node's part in its mesh. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Mesh {
    node: NodeId,
    listen: SocketAddr,
}

impl Mesh {
    /// This node.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.node
    }

    /// Where the mesh port listens, with the port the system gave.
    #[must_use]
    pub fn listen_addr(&self) -> SocketAddr {
        self.listen
    }

    /// A one-time ticket for one more machine.
    ///
    /// # Errors
    /// When this node may not introduce members.
    #[allow(clippy::unused_async, reason = "first landing: the store is asked here")]
    pub async fn invite(&self, _ttl: Option<Duration>) -> Result<Ticket, MeshError> {
        Err(MeshError::Stopping)
    }

    /// Joins the mesh of `ticket`. With names that clash and without `confirm`, tells them and joins nothing.
    ///
    /// # Errors
    /// When the ticket is not good, the inviter refuses or is not there, or others would be left behind.
    #[allow(clippy::unused_async, reason = "first landing: the inviter is asked here")]
    pub async fn join(
        &self,
        _ticket: &str,
        _leave: bool,
        _confirm: bool,
    ) -> Result<control::Joined, MeshError> {
        Err(MeshError::Stopping)
    }

    /// Tells the members, forgets the mesh, and founds one of its own.
    ///
    /// # Errors
    /// When the new state cannot be written.
    #[allow(clippy::unused_async, reason = "first landing: members are told here")]
    pub async fn leave(&self) -> Result<(), MeshError> {
        Err(MeshError::Stopping)
    }

    /// Removes the member that `id` names (node id, its last eight characters, or host label).
    ///
    /// # Errors
    /// When there is no such member, or the state cannot be written.
    #[allow(clippy::unused_async, reason = "first landing: the state is written here")]
    pub async fn remove(&self, _id: &str) -> Result<control::PeerRemoved, MeshError> {
        Err(MeshError::Stopping)
    }

    /// This node, the members, then neighbours that are not members.
    #[must_use]
    pub fn peers(&self) -> Vec<control::Peer> {
        Vec::new()
    }

    /// The mesh in short.
    #[must_use]
    pub fn status(&self) -> control::MeshStatus {
        control::MeshStatus::default()
    }

    /// Whether another machine runs with this node's key (`NodeFacts::duplicate_node_key`).
    #[must_use]
    pub fn has_twin(&self) -> bool {
        false
    }

    /// Lets nobody in any more, finishes what is under way, says goodbye, closes the port.
    #[allow(clippy::unused_async, reason = "first landing: links are closed here")]
    pub async fn shutdown(&self, _deadline: Duration) {}
}
