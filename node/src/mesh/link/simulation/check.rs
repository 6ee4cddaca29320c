//! What must hold of a whole history.

use super::store::{Lane, Letter};
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
    let waiting = (0..world.nodes.len()).map(|from| waiting(world, from).len());
    assert!(
        waiting.sum::<usize>() > 0,
        "the full mailbox never held anything up: the scenario shows nothing"
    );
}

/// What is still in the outboxes of `from`.
fn waiting(world: &World, from: usize) -> Vec<Letter> {
    let outboxes =
        (0..world.nodes.len()).flat_map(|peer| world.nodes[from].store.outbox(peer, 0, usize::MAX));
    outboxes.map(|(entry, _)| entry.letter).collect()
}

fn check(world: &World, concerns: impl Fn(&Lane) -> bool) {
    let mut acknowledged = 0;
    for (origin, node) in world.nodes.iter().enumerate() {
        once_and_in_order(world, origin);
        for id in &node.acknowledged {
            let letter = &world.letters[id];
            let (to, failed) = (letter.lane.1.0, node.store.history.failed.contains(id));
            let arrived = world.nodes[to].store.history.has_delivered(*id);
            // What grows too old in a mailbox goes unread.
            let expired = letter.expires_at <= world.now;
            let ended = arrived || failed || (expired && node.store.history.reported.contains(id));
            assert!(ended || !concerns(&letter.lane), "{id} was acknowledged and lost: {letter:?}");
            if letter.poison {
                assert!(!arrived && failed, "{id} was refused and is in a mailbox");
            }
            if arrived && concerns(&letter.lane) && !expired {
                assert!(world.nodes[to].store.history.read.contains(id), "{id} is in no mailbox any more");
            }
            acknowledged += 1;
        }
        for id in &node.store.history.reported {
            let letter = &world.letters[id];
            let there = world.nodes[letter.lane.1.0].store.history.has_delivered(*id);
            assert!(there || letter.expires_at <= world.now, "{id} was reported delivered and is lost");
        }
        for id in &node.store.history.failed {
            let letter = &world.letters[id];
            assert!(letter.poison || letter.expires_at <= world.now, "{id} failed without reason");
        }
        for letter in waiting(world, origin) {
            assert!(!concerns(&letter.lane), "{} is still in the outbox: {letter:?}", letter.id);
        }
    }
    assert!(acknowledged > 100, "only {acknowledged} messages: the scenario shows nothing");
}

fn once_and_in_order(world: &World, node: usize) {
    let mut ids = HashSet::new();
    let mut last: HashMap<Lane, u64> = HashMap::new();
    for (lane, number, id, _) in &world.nodes[node].store.history.delivered {
        assert!(ids.insert(id), "{id} is twice in its mailbox");
        let before = last.insert(*lane, *number).unwrap_or(0);
        assert!(before < *number, "{id} overtook: number {number} of {lane:?} came after {before}");
        let origin = &world.nodes[lane.0.0];
        assert!(!origin.store.history.failed.contains(id) || world.letters[id].expires_at <= world.now);
    }
}

/// From the agent's call to the mailbox, for mail that arrived.
pub(super) fn nobody_waits_longer_than(world: &World, limit: Duration) {
    for (lane, _, id, at) in world.nodes.iter().flat_map(|node| &node.store.history.delivered) {
        let waited = *at - world.sent_at[id];
        assert!(waited <= limit, "{id} waited {waited:?} in {lane:?}");
    }
}

/// How many messages are in mailboxes or were.
pub(super) fn delivered(world: &World) -> usize {
    world.nodes.iter().map(|node| node.store.history.delivered.len()).sum()
}

/// After `healed` the first of what had waited came within `limit`; `before` had come until then.
pub(super) fn flowed_again_within(world: &World, before: usize, healed: Duration, limit: Duration) {
    let mut times: Vec<Duration> =
        world.nodes.iter().flat_map(|node| &node.store.history.delivered).map(|(_, _, _, at)| *at).collect();
    times.sort_unstable();
    let first = times[before];
    assert!(first >= healed && first <= healed + limit, "the first came at {first:?}");
}
