//! The tree `peers`: how neighbours were last reached. A hint, never trust (DESIGN §1.5). Used by the node's mesh.

use crate::codec::{self, Value};
use crate::engine::{Range, Read};
use crate::error::StoreError;
use crate::group::Group;
use crate::trees::Tree;
use crate::walk;
use amesh_proto::node_id::NodeId;
use amesh_proto::time::UnixMillis;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// What is remembered of a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRecord {
    /// Who.
    pub node: NodeId,
    /// Its host label, as it last said.
    pub host: String,
    /// Where it was last reached, the best first.
    pub addresses: Vec<SocketAddr>,
    /// When it was last connected.
    pub last_connected: Option<UnixMillis>,
    /// Whether the owner of this node will not talk to it.
    pub blocked: bool,
    /// Whether the owner lets it bring mail from foreign domains (DESIGN §3).
    pub gateway: bool,
}

impl Value for PeerRecord {
    const TREE: Tree = Tree::Peers;
}

pub(crate) fn put(group: &mut Group<'_>, peer: &PeerRecord) -> Result<(), StoreError> {
    group.txn.put(Tree::Peers, peer.node.as_bytes().to_vec(), codec::encode(peer)?);
    Ok(())
}

pub(crate) fn remove(group: &mut Group<'_>, node: &NodeId) {
    group.txn.remove(Tree::Peers, node.as_bytes().to_vec());
}

pub(crate) fn all(read: &dyn Read) -> Result<Vec<PeerRecord>, StoreError> {
    walk::all(read, Tree::Peers, &Range::ALL, |_, value| codec::decode(value))
}
