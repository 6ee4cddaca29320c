//! What must hold of a whole history (DESIGN §1, promises 1, 2, 3, 7; DESIGN §3, Membership).

use super::cast::{self, BOB};
use super::store::{Lane, Letter};
use super::world::World;
use crate::agents::directory::{Resolution, Standing};
use std::collections::HashMap;
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
    for node in &world.nodes {
        let seen = node.violations.iter().chain(&node.store.history.violations).next();
        assert!(seen.is_none(), "{}", seen.unwrap());
    }
    let mut acknowledged = 0;
    for (origin, node) in world.nodes.iter().enumerate() {
        in_order(world, origin);
        acknowledged += node.acknowledged.len();
        // A removed member keeps what it cannot send any more.
        let concerns =
            |lane: &Lane| concerns(lane) && !world.is_removed(lane.0.0) && !world.is_removed(lane.1.0);
        for id in &node.acknowledged {
            accepted_is_durable(world, origin, *id, &concerns);
        }
        for id in &node.store.history.reported {
            let letter = &world.letters[id];
            let there = world.nodes[letter.lane.1.0].store.history.delivered_ids.contains(id);
            assert!(there || letter.is_short_lived(), "{id} was reported delivered and is lost");
        }
        for id in &node.store.history.failed {
            let letter = &world.letters[id];
            let gone = world.is_removed(letter.lane.0.0) || world.is_removed(letter.lane.1.0);
            assert!(
                letter.poison || letter.is_short_lived() || gone,
                "{id} failed without reason: {letter:?}"
            );
        }
        for letter in waiting(world, origin) {
            let old = letter.is_short_lived();
            assert!(old || !concerns(&letter.lane), "{} is still in the outbox: {letter:?}", letter.id);
        }
    }
    assert!(acknowledged > 100, "only {acknowledged} messages: the scenario shows nothing");
}

fn accepted_is_durable(world: &World, origin: usize, id: u64, concerns: &impl Fn(&Lane) -> bool) {
    let (letter, ours) = (&world.letters[&id], &world.nodes[origin].store.history);
    let theirs = &world.nodes[letter.lane.1.0].store.history;
    let (arrived, failed) = (theirs.delivered_ids.contains(&id), ours.failed.contains(&id));
    // What grows too old in a mailbox goes unread; in an outbox it stays while the clock cannot be believed.
    let kept = || waiting(world, origin).iter().any(|waiting| waiting.id == id);
    let ended = arrived || failed || letter.is_short_lived() && (ours.reported.contains(&id) || kept());
    let lane = concerns(&letter.lane);
    assert!(ended || !lane || !kept(), "{id} was acknowledged and still waits: {letter:?}");
    assert!(ended || !lane, "{id} was acknowledged and lost: {letter:?}");
    if letter.poison {
        assert!(!arrived && (failed || !concerns(&letter.lane)), "{id} was refused and is in a mailbox");
    }
    if arrived && concerns(&letter.lane) && !letter.is_short_lived() {
        assert!(theirs.read.contains(&id), "{id} is in no mailbox any more");
    }
}

fn in_order(world: &World, node: usize) {
    let mut last: HashMap<Lane, u64> = HashMap::new();
    for (lane, number, id, _) in &world.nodes[node].store.history.delivered {
        let before = last.insert(*lane, *number).unwrap_or(0);
        assert!(before < *number, "{id} overtook: number {number} of {lane:?} came after {before}");
        let origin = &world.nodes[lane.0.0].store.history;
        let letter = &world.letters[id];
        let gone = world.is_removed(lane.0.0) || world.is_removed(lane.1.0);
        assert!(!origin.failed.contains(id) || letter.is_short_lived() || gone, "{id} failed and arrived");
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

/// Those who stand agree on who does, share the secret in force, are linked, hold each other's rosters and see the same
/// holder of every name; nobody deals with those who were removed.
pub(super) fn the_mesh_is_whole(world: &World) {
    let (gone, standing): (Vec<usize>, Vec<usize>) =
        (0..world.nodes.len()).partition(|node| world.is_removed(*node));
    let founder = world.nodes[0].membership.as_ref().unwrap();
    let (digest, secret) = (founder.list().digest(), founder.secret_frame());
    for me in &standing {
        let node = &world.nodes[*me];
        let membership = node.membership.as_ref().unwrap();
        assert_eq!(membership.list().digest(), digest, "{me} has another member list than the founder");
        assert_eq!(membership.secret_frame(), secret, "{me} has another secret than the founder");
        for peer in standing.iter().filter(|peer| *peer != me) {
            let linked = node.peers.get(peer).is_some_and(|peer| peer.session.is_some());
            assert!(linked, "{me} and {peer} are not linked");
            assert!(node.holds(&world.nodes[*peer]), "{me} lacks the roster of {peer}");
        }
        for removed in &gone {
            assert!(!node.peers.contains_key(removed), "{me} still deals with {removed}");
            assert!(!node.rosters.contains_key(&cast::id_of(*removed)), "{me} keeps the roster of {removed}");
        }
        names_are_held(world, *me, &standing);
    }
}

/// Of all who give one name the oldest member holds it, whoever is asked.
fn names_are_held(world: &World, me: usize, standing: &[usize]) {
    let node = &world.nodes[me];
    let list = node.membership.as_ref().unwrap().list();
    let claims = standing.iter().filter(|claimant| world.nodes[**claimant].own.contains_key(&BOB));
    let oldest = claims.min_by_key(|claimant| list.member(&cast::id_of(**claimant)).unwrap().seniority());
    let Some(oldest) = oldest.copied() else { return };
    let address = cast::address_of((me, BOB));
    match node.directory.resolve(&address) {
        Resolution::Remote { node: holder, .. } => {
            assert_eq!(cast::index_of(&holder), oldest, "{me} sends mail for bob to the wrong node");
        }
        Resolution::Local(_) => assert_eq!(me, oldest, "{me} keeps mail for bob, who is elsewhere"),
        Resolution::Unknown => panic!("{me} does not know bob"),
    }
    if let Some(agent) = node.directory.local_agent(&address) {
        let holds = node.directory.standing(&agent) == Standing::Holds;
        assert_eq!(holds, me == oldest, "bob of {me} may send, or may not, against seniority");
    }
}
