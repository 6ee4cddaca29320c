//! What a signed roster promises.

use super::*;
use crate::key::AgentKey;

fn entry(name: &str, changed: u64) -> RosterEntry {
    RosterEntry {
        address: Address::parse(&format!("{name}@default.aimaestro.local"), &[]).unwrap(),
        key_algorithm: KeyAlgorithm::Ed25519,
        public_key: vec![1, 2, 3],
        alias: None,
        since: UnixMillis(1),
        changed,
        previous_keys: vec![],
        tombstone: None,
        home: None,
    }
}

#[test]
fn a_head_covers_exactly_the_entries_it_was_signed_over() {
    let key = NodeKey::from_seed(&[1; 32]);
    let entries = [entry("alice", 1), entry("bob", 2)];
    let head = RosterHead::sign(&key, MeshId([0; 16]), 2, &entries);
    assert!(head.is_signed() && head.covers(&entries));
    assert!(!head.covers(&entries[..1]));
    assert!(!head.covers([&entries[1], &entries[0]]));
    let mut other = entries.clone();
    other[0].tombstone = Some(UnixMillis(0));
    assert!(!head.covers(&other));
}

#[test]
fn a_head_is_worth_nothing_once_any_field_is_changed() {
    let head = RosterHead::sign(&NodeKey::from_seed(&[1; 32]), MeshId([0; 16]), 2, &[]);
    let changes: [fn(&mut RosterClaim); 5] = [
        |says| says.node = NodeKey::from_seed(&[2; 32]).id(),
        |says| says.mesh = MeshId([1; 16]),
        |says| says.version = 3,
        |says| says.count = 1,
        |says| says.digest[0] ^= 1,
    ];
    for change in changes {
        let mut forged = head.clone();
        change(&mut forged.says);
        assert!(!forged.is_signed());
    }
}

#[test]
fn a_home_statement_holds_for_its_agent_node_and_mesh_only() {
    let key = AgentKey::from_seed(&[5; 32]);
    let (alice, bob) = (entry("alice", 1).address, entry("bob", 1).address);
    let (node, mesh) = (NodeId::from_bytes([3; 32]), MeshId([4; 16]));
    let text = HomeStatement::text(&alice, &node, &mesh, UnixMillis(9));
    assert_eq!(text, format!("amesh-home|alice@default.aimaestro.local|{node}|{mesh}|9"));
    let statement = HomeStatement { at: UnixMillis(9), signature: key.sign(text.as_bytes()).to_vec() };
    assert!(statement.holds(&key.public(), &alice, &node, &mesh));
    assert!(!statement.holds(&key.public(), &bob, &node, &mesh));
    assert!(!statement.holds(&key.public(), &alice, &NodeId::from_bytes([0; 32]), &mesh));
    assert!(!statement.holds(&key.public(), &alice, &node, &MeshId([5; 16])));
    assert!(!HomeStatement { at: UnixMillis(8), ..statement }.holds(&key.public(), &alice, &node, &mesh));
}
