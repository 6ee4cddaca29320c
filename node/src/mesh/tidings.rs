//! Which rosters a link has not spoken of yet: a state machine without I/O. A node has one; each of its links remembers
//! how far it has told. So a change costs a line on every link, however many rosters are held. Driven by `rosters` and
//! `session`, and by the simulation.

use amesh_proto::node_id::NodeId;
use std::collections::{BTreeMap, HashMap};

/// The order in which rosters changed here, the last change of each.
#[derive(Debug, Default)]
pub(crate) struct Tidings {
    latest: u64,
    order: BTreeMap<u64, NodeId>,
    places: HashMap<NodeId, u64>,
}

impl Tidings {
    /// The roster of `node` is held in a newer version.
    pub(crate) fn changed(&mut self, node: NodeId) {
        self.forget(&node);
        self.latest += 1;
        self.order.insert(self.latest, node);
        self.places.insert(node, self.latest);
    }

    /// The roster of `node` is held no more.
    pub(crate) fn forget(&mut self, node: &NodeId) {
        if let Some(place) = self.places.remove(node) {
            self.order.remove(&place);
        }
    }

    /// What changed after `told`.
    pub(crate) fn since(&self, told: u64) -> impl Iterator<Item = &NodeId> {
        self.order.range(told + 1..).map(|(_, node)| node)
    }

    /// How far a link has told that has told everything.
    pub(crate) fn latest(&self) -> u64 {
        self.latest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; 32])
    }

    #[test]
    fn a_link_hears_of_each_change_once_and_of_the_last_one_only() {
        let mut tidings = Tidings::default();
        for number in [1, 2, 1] {
            tidings.changed(node(number));
        }
        assert_eq!(tidings.since(0).collect::<Vec<_>>(), [&node(2), &node(1)]);
        let told = tidings.latest();
        assert_eq!(tidings.since(told).count(), 0);
        tidings.changed(node(2));
        assert_eq!(tidings.since(told).collect::<Vec<_>>(), [&node(2)]);
    }

    #[test]
    fn nothing_is_told_of_a_roster_that_is_held_no_more() {
        let mut tidings = Tidings::default();
        tidings.changed(node(1));
        tidings.forget(&node(1));
        assert_eq!(tidings.since(0).count(), 0);
    }
}
