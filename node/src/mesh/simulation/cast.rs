//! Who plays: the nodes' keys and the agents' addresses, the same under every seed.

use amesh_proto::address::{Address, Naming};
use amesh_proto::key::{AgentKey, KeyAlgorithm};
use amesh_proto::node_id::{NodeId, NodeKey};
use amesh_proto::roster::RosterEntry;
use amesh_proto::time::UnixMillis;
use std::collections::HashMap;
use std::sync::LazyLock;

/// Agents of its own on each node.
pub(super) const AGENTS: usize = 3;
/// One more, whose name every node may give.
pub(super) const BOB: usize = AGENTS;
/// The most nodes that a history has.
pub(super) const NODES: usize = 12;

static NODE_KEYS: LazyLock<Vec<NodeKey>> =
    LazyLock::new(|| (0..NODES).map(|node| NodeKey::from_seed(&[byte(node) + 1; 32])).collect());

static INDEX: LazyLock<HashMap<NodeId, usize>> =
    LazyLock::new(|| NODE_KEYS.iter().enumerate().map(|(index, key)| (key.id(), index)).collect());

static ADDRESSES: LazyLock<Vec<Vec<Address>>> = LazyLock::new(|| {
    let one = |node, agent| {
        let name = if agent == BOB { "bob".to_owned() } else { format!("agent{agent}-{node}") };
        Address::parse(&format!("{name}@default.aimaestro.local"), &["aimaestro.local"]).unwrap()
    };
    (0..NODES).map(|node| (0..=BOB).map(|agent| one(node, agent)).collect()).collect()
});

/// By node, `BOB` aside: his key differs from node to node.
static AGENT_KEYS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let key = |node| AgentKey::from_seed(&[100 + byte(node); 32]).public().to_spki_der().to_vec();
    (0..NODES).map(key).collect()
});

pub(super) fn key_of(node: usize) -> &'static NodeKey {
    &NODE_KEYS[node]
}

pub(super) fn id_of(node: usize) -> NodeId {
    NODE_KEYS[node].id()
}

/// Which node that is.
pub(super) fn index_of(id: &NodeId) -> usize {
    INDEX[id]
}

pub(super) fn host_of(node: usize) -> String {
    format!("host{node}")
}

pub(super) fn address_of((node, agent): (usize, usize)) -> Address {
    ADDRESSES[node][agent].clone()
}

pub(super) fn naming(node: usize) -> Naming {
    Naming::new("default", "aimaestro.local", &host_of(node)).unwrap()
}

/// What the roster of `node` says of its agent, changed in `version`.
pub(super) fn entry(node: usize, agent: usize, version: u64) -> RosterEntry {
    RosterEntry::first(
        address_of((node, agent)),
        (KeyAlgorithm::Ed25519, AGENT_KEYS[node].clone()),
        UnixMillis(0),
        version,
    )
}

pub(super) fn byte(number: usize) -> u8 {
    u8::try_from(number).unwrap()
}
