//! Rosters of others, peers, pins and tickets.

use super::*;
use amesh_proto::member::MeshId;
use amesh_proto::node_id::NodeKey;
use amesh_proto::roster::{RosterEntry, RosterHead};

fn entry(name: &str, changed: u64) -> RosterEntry {
    RosterEntry::first(address(name), (KeyAlgorithm::Ed25519, name.into()), NOW, changed)
}

fn head(seed: u8, version: u64, entries: &[RosterEntry]) -> RosterHead {
    RosterHead::sign(&NodeKey::from_seed(&[seed; 32]), MeshId::of_open_secret(&[1; 32]), version, entries)
}

#[test]
fn a_roster_is_there_while_its_host_is_off() {
    let (store, disk) = memory();
    let entries = vec![entry("ann", 1), entry("joe", 1)];
    let first = head(1, 1, &entries);
    let other = head(2, 1, &[]);
    store.put_roster(first.clone(), RosterDelta::Whole(entries.clone())).wait().unwrap();
    store.put_roster(other.clone(), RosterDelta::Whole(vec![])).wait().unwrap();
    let store = Store::on_memory(&disk, Config::default()).unwrap();
    assert_eq!(store.roster(&first.says.node).unwrap(), Some(StoredRoster { head: first.clone(), entries }));
    assert_eq!(store.all_rosters().unwrap().len(), 2);
    store.drop_roster(first.says.node).wait().unwrap();
    assert_eq!(store.roster(&first.says.node).unwrap(), None);
    assert_eq!(store.all_rosters().unwrap(), [StoredRoster { head: other, entries: vec![] }]);
}

#[test]
fn a_part_changes_what_it_names_and_a_whole_replaces_all() {
    let (store, _disk) = memory();
    let names = |store: &Store, node| {
        let roster = store.roster(&node).unwrap().unwrap();
        assert!(roster.head.covers(&roster.entries));
        roster.entries.iter().map(|entry| entry.address.name().to_owned()).collect::<Vec<_>>()
    };
    let before = vec![entry("ann", 1), entry("joe", 1)];
    let first = head(1, 1, &before);
    let node = first.says.node;
    store.put_roster(first, RosterDelta::Whole(before)).wait().unwrap();
    let after = [entry("ann", 2), entry("zoe", 2)];
    let part = RosterDelta::Part { put: after.to_vec(), remove: vec![address("joe")] };
    store.put_roster(head(1, 2, &after), part).wait().unwrap();
    assert_eq!(names(&store, node), ["ann", "zoe"]);
    let only = vec![entry("bea", 3)];
    store.put_roster(head(1, 3, &only), RosterDelta::Whole(only)).wait().unwrap();
    assert_eq!(names(&store, node), ["bea"]);
}

#[test]
fn a_ticket_is_spent_once_but_repeatable_by_its_spender() {
    let (store, _disk) = memory();
    let token = [5; 32];
    let spend = |by, now| store.spend_ticket(token, node(by), now).wait().unwrap();
    assert_eq!(spend(1, NOW), SpendOutcome::Unknown);
    store.add_ticket(token, NOW.plus(HOUR), true).wait().unwrap();
    assert_eq!(spend(1, NOW), SpendOutcome::Spent { introducer: true });
    assert_eq!(spend(1, NOW), SpendOutcome::Again { introducer: true });
    assert_eq!(spend(2, NOW), SpendOutcome::ByAnother);
    assert_eq!(spend(1, NOW.plus(HOUR)), SpendOutcome::Expired);
}

#[test]
fn two_spenders_at_once_are_one_spender() {
    let (store, _disk) = memory();
    store.add_ticket([5; 32], NOW.plus(HOUR), false).wait().unwrap();
    let both: Vec<_> = (1..3).map(|by| store.spend_ticket([5; 32], node(by), NOW)).collect();
    let outcomes: Vec<_> = both.into_iter().map(|durable| durable.wait().unwrap()).collect();
    assert_eq!(outcomes, [SpendOutcome::Spent { introducer: false }, SpendOutcome::ByAnother]);
}

#[test]
fn peers_and_pins_are_remembered() {
    let (store, disk) = memory();
    let peer = PeerRecord {
        node: node(3),
        host: "larder".into(),
        addresses: vec!["10.0.0.3:23001".parse().unwrap()],
        last_connected: Some(NOW),
        blocked: false,
        gateway: true,
    };
    store.put_peer(peer.clone()).wait().unwrap();
    store.set_pin("trust/ann", Some("x".into())).wait().unwrap();
    store.set_pin("rename/joe", Some("y".into())).wait().unwrap();
    let store = Store::on_memory(&disk, Config::default()).unwrap();
    assert_eq!(store.peers().unwrap(), [peer]);
    assert_eq!(store.pins("trust/").unwrap(), [("trust/ann".to_owned(), "x".to_owned())]);
    store.set_pin("trust/ann", None).wait().unwrap();
    store.drop_peer(node(3)).wait().unwrap();
    assert!(store.pins("trust/").unwrap().is_empty() && store.peers().unwrap().is_empty());
}
