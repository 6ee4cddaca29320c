//! Whom the swarm should be connected with, and when to dial: a state machine without I/O. Driven by `running`.
//!
//! Nobody is dialled while every member is linked without help. Otherwise a few members that are linked serve as
//! anchors (to ask, and to be reached through), and the ones sought are dialled. The node with the lower id dials;
//! the other one does if that came to nothing, since an address translator may let only one of them.

use amesh_proto::node_id::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub(super) struct Book {
    own: NodeId,
    members: BTreeMap<NodeId, Entry>,
    /// Members that are sought: there is no direct link to them.
    wanted: BTreeSet<NodeId>,
}

#[derive(Debug, Clone, Default)]
struct Entry {
    /// Where its swarm listens, as it says over the link.
    addresses: Vec<SocketAddr>,
    connected: bool,
    dialing: bool,
    failures: u32,
    not_before: Duration,
    /// Since when a connection is needed.
    needed_since: Option<Duration>,
}

impl Book {
    pub(super) fn new(own: NodeId) -> Self {
        Self { own, members: BTreeMap::new(), wanted: BTreeSet::new() }
    }

    /// The members, and those of them that are sought. Returns who is new and who is gone.
    pub(super) fn follow(
        &mut self,
        members: &BTreeSet<NodeId>,
        wanted: &BTreeSet<NodeId>,
    ) -> (Vec<NodeId>, Vec<NodeId>) {
        let gone: Vec<NodeId> =
            self.members.keys().filter(|node| !members.contains(*node)).copied().collect();
        let is_new = |node: &&NodeId| **node != self.own && !self.members.contains_key(*node);
        let new: Vec<NodeId> = members.iter().filter(is_new).copied().collect();
        for node in &gone {
            self.members.remove(node);
        }
        for node in &new {
            self.members.insert(*node, Entry::default());
        }
        self.wanted = wanted.iter().filter(|node| self.members.contains_key(*node)).copied().collect();
        (new, gone)
    }

    /// Where `node` says that its swarm listens.
    pub(super) fn met(&mut self, node: &NodeId, addresses: &[SocketAddr]) {
        if let Some(entry) = self.members.get_mut(node)
            && entry.addresses != addresses
        {
            entry.addresses = addresses.iter().copied().take(MAX_ADDRESSES).collect();
            entry.sign_of_life();
        }
    }

    /// Something may work now that did not before.
    pub(super) fn sign_of_life(&mut self) {
        self.members.values_mut().for_each(Entry::sign_of_life);
    }

    pub(super) fn connected(&mut self, node: &NodeId) {
        if let Some(entry) = self.members.get_mut(node) {
            (entry.connected, entry.dialing, entry.failures) = (true, false, 0);
        }
    }

    pub(super) fn disconnected(&mut self, node: &NodeId, now: Duration) {
        if let Some(entry) = self.members.get_mut(node) {
            entry.connected = false;
            entry.failed(now);
        }
    }

    pub(super) fn dial_failed(&mut self, node: &NodeId, now: Duration) {
        if let Some(entry) = self.members.get_mut(node) {
            entry.failed(now);
        }
    }

    /// Where `node`'s swarm listens.
    pub(super) fn addresses(&self, node: &NodeId) -> &[SocketAddr] {
        self.members.get(node).map(|entry| entry.addresses.as_slice()).unwrap_or_default()
    }

    pub(super) fn is_wanted(&self, node: &NodeId) -> bool {
        self.wanted.contains(node)
    }

    /// Whether `node` is sought and not connected.
    pub(super) fn is_missing(&self, node: &NodeId) -> bool {
        self.is_wanted(node) && self.members.get(node).is_some_and(|entry| !entry.connected)
    }

    /// Members to be reached through: linked without help, and their swarm's address is known. Everybody picks those of
    /// the lowest ids, so that two who look for each other pick the same where they can.
    pub(super) fn anchors(&self) -> Vec<NodeId> {
        if self.wanted.is_empty() {
            return Vec::new();
        }
        let fit =
            |(node, entry): &(&NodeId, &Entry)| !self.wanted.contains(*node) && !entry.addresses.is_empty();
        self.members.iter().filter(fit).map(|(node, _)| *node).take(ANCHORS).collect()
    }

    /// Anchors that are connected.
    pub(super) fn relays(&self) -> Vec<NodeId> {
        let connected = |node: &NodeId| self.members.get(node).is_some_and(|entry| entry.connected);
        self.anchors().into_iter().filter(connected).collect()
    }

    /// Whom to dial now; each counts as being dialled until told otherwise.
    pub(super) fn due(&mut self, now: Duration) -> Vec<NodeId> {
        let anchors = self.anchors();
        // Without a relay and without an address of its own there is no way to anybody.
        let relayed = !self.relays().is_empty();
        let sought: Vec<NodeId> = anchors.into_iter().chain(self.wanted.iter().copied()).collect();
        let mut room = DIALS.saturating_sub(self.members.values().filter(|entry| entry.dialing).count());
        let mut due = Vec::new();
        for (node, entry) in &mut self.members {
            if !sought.contains(node) || entry.connected {
                entry.needed_since = None;
                continue;
            }
            if entry.addresses.is_empty() && !relayed {
                continue;
            }
            let since = *entry.needed_since.get_or_insert(now);
            let turn = if self.own < *node { since } else { since + COURTESY };
            if room > 0 && !entry.dialing && now >= turn.max(entry.not_before) {
                entry.dialing = true;
                room -= 1;
                due.push(*node);
            }
        }
        due
    }
}

impl Entry {
    fn failed(&mut self, now: Duration) {
        self.dialing = false;
        self.failures = self.failures.saturating_add(1);
        let pause = FIRST_PAUSE * 2_u32.saturating_pow(self.failures.saturating_sub(1).min(16));
        self.not_before = now + pause.min(LONGEST_PAUSE);
    }

    fn sign_of_life(&mut self) {
        (self.failures, self.not_before) = (0, Duration::ZERO);
    }
}

/// Members to be reached through, at a time.
const ANCHORS: usize = 3;
/// Dials under way at a time.
const DIALS: usize = 8;
/// What the node with the lower id gets before the other one dials as well.
const COURTESY: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
const MAX_ADDRESSES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; 32])
    }

    fn nodes(numbers: impl IntoIterator<Item = u8>) -> BTreeSet<NodeId> {
        numbers.into_iter().map(node).collect()
    }

    fn at(number: u8) -> Vec<SocketAddr> {
        vec![SocketAddr::from(([10, 0, 0, number], 23002))]
    }

    const START: Duration = Duration::from_secs(100);

    /// The node 5, with members 1 to 9 of which all but `wanted` are linked and have told their addresses.
    fn book(wanted: &[u8]) -> Book {
        let mut book = Book::new(node(5));
        book.follow(&nodes(1..10), &nodes(wanted.iter().copied()));
        for number in (1..10).filter(|number| !wanted.contains(number)) {
            book.met(&node(number), &at(number));
        }
        book
    }

    #[test]
    fn nobody_is_dialled_while_everybody_is_linked() {
        let mut book = book(&[]);
        assert!(book.due(START).is_empty() && book.anchors().is_empty());
    }

    #[test]
    fn for_one_that_is_missing_a_few_anchors_are_dialled_and_then_the_one() {
        let mut book = book(&[9]);
        assert!(book.due(START).is_empty(), "the anchors have lower ids: they dial first");
        let anchors: Vec<NodeId> = (1..=3).map(node).collect();
        assert_eq!(book.due(START + COURTESY), anchors);
        assert!(book.due(START + COURTESY).is_empty(), "each once");
        book.connected(&node(2));
        assert_eq!(book.relays(), [node(2)]);
        assert_eq!(book.due(START + COURTESY), [node(9)]);
    }

    #[test]
    fn what_fails_is_tried_less_and_less_often_until_a_sign_of_life() {
        let mut book = book(&[9]);
        book.met(&node(9), &at(9));
        let mut now = START;
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let begun = now;
            while !book.due(now).contains(&node(9)) {
                now += Duration::from_millis(500);
            }
            pauses.push((now - begun).as_millis());
            book.dial_failed(&node(9), now);
        }
        assert_eq!(pauses[..5], [0, 500, 1000, 2000, 4000]);
        assert_eq!(pauses[11], LONGEST_PAUSE.as_millis());
        book.sign_of_life();
        assert!(book.due(now).contains(&node(9)));
    }

    #[test]
    fn whoever_is_removed_is_told_once_and_never_dialled() {
        let mut book = book(&[9]);
        let (new, gone) = book.follow(&nodes(1..9), &nodes([9]));
        assert_eq!((new, gone), (vec![], vec![node(9)]));
        assert!(!book.is_wanted(&node(9)) && book.anchors().is_empty());
        assert!(book.due(START + COURTESY).is_empty());
    }

    #[test]
    fn dials_under_way_are_bounded() {
        let mut book = Book::new(node(0));
        book.follow(&nodes(1..200), &nodes(1..200));
        for number in 1..200 {
            book.met(&node(number), &at(number));
        }
        assert_eq!(book.due(START).len(), DIALS);
        assert!(book.due(START).is_empty());
        book.dial_failed(&node(1), START);
        assert_eq!(book.due(START).len(), 1);
    }
}
