//! What keeps members together: newer secrets, where other members were last reached, and where swarms listen.

use crate::member::EpochSecret;
use crate::node_id::NodeId;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// The secret of a newer epoch, given only to a listed member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretFrame(pub EpochSecret);

/// Where one other member was last reached. A hint: the link proves who answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Who.
    pub node: NodeId,
    /// Where.
    pub addresses: Vec<SocketAddr>,
}

/// So that members that cannot hear each other's announcements meet through a third.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Neighbours(pub Vec<Neighbour>);

/// Where the sender's swarm listens (libp2p), for members that look for others through it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SwarmAddresses(pub Vec<SocketAddr>);

impl SwarmAddresses {
    /// Addresses in one frame.
    pub const LIMIT: usize = 8;
}

impl Neighbours {
    /// Neighbours in one frame.
    pub const LIMIT: usize = 256;
    /// Addresses of one neighbour.
    pub const ADDRESS_LIMIT: usize = 8;
}
