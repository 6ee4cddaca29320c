//! What must hold of a whole history.

use super::store::Lane;
use super::world::World;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// Every acknowledged message is in its mailbox once, or its sender was told that it failed; all in order.
pub(super) fn everything_arrived(world: &World) {
    check(world, |_| true);
}

/// The same, but for mail to an agent that never reads.
pub(super) fn everything_else_arrived(world: &World, node: usize, agent: usize) {
    check(world, |lane| lane.1 != (node, agent));
    let held = world.nodes.iter().flat_map(|node| node.store.disk.outbox.values()).map(|outbox| outbox.len());
    assert!(held.sum::<usize>() > 0, "the full mailbox never held anything up: the scenario shows nothing");
}

fn check(world: &World, concerns: impl Fn(&Lane) -> bool) {
    let mut acknowledged = 0;
    for (origin, node) in world.nodes.iter().enumerate() {
        once_and_in_order(world, origin);
        for id in &node.acknowledged {
            let letter = &world.letters[id];
            let (to, failed) = (letter.lane.1.0, node.store.disk.failed.contains(id));
            let arrived = world.nodes[to].store.disk.seen.contains(id);
            if concerns(&letter.lane) {
                assert!(arrived || failed, "{id} was acknowledged and lost: {letter:?}");
            }
            if letter.poison {
                assert!(!arrived && failed, "{id} was refused and is in a mailbox");
            }
            acknowledged += 1;
        }
        for id in &node.store.disk.reported {
            let to = world.letters[id].lane.1.0;
            assert!(world.nodes[to].store.disk.seen.contains(id), "{id} was reported delivered and is lost");
        }
        for id in &node.store.disk.failed {
            let letter = &world.letters[id];
            assert!(letter.poison || letter.expires_at <= world.now, "{id} failed without reason");
        }
        for entry in node.store.disk.outbox.values().flat_map(|outbox| outbox.values()) {
            let why = "is still in the outbox";
            assert!(!concerns(&entry.letter.lane), "{} {why}: {:?}", entry.letter.id, entry.letter);
        }
    }
    assert!(acknowledged > 100, "only {acknowledged} messages: the scenario shows nothing");
}

fn once_and_in_order(world: &World, node: usize) {
    let mut ids = HashSet::new();
    let mut last: HashMap<Lane, u64> = HashMap::new();
    for (lane, number, id, _) in &world.nodes[node].store.disk.delivered {
        assert!(ids.insert(id), "{id} is twice in its mailbox");
        let before = last.insert(*lane, *number).unwrap_or(0);
        assert!(before < *number, "{id} overtook: number {number} of {lane:?} came after {before}");
        let origin = &world.nodes[lane.0.0];
        assert!(!origin.store.disk.failed.contains(id) || world.letters[id].expires_at <= world.now);
    }
}

/// From the agent's call to the mailbox, for mail that arrived.
pub(super) fn nobody_waits_longer_than(world: &World, limit: Duration) {
    for (lane, _, id, at) in world.nodes.iter().flat_map(|node| &node.store.disk.delivered) {
        let waited = *at - world.sent_at[id];
        assert!(waited <= limit, "{id} waited {waited:?} in {lane:?}");
    }
}
