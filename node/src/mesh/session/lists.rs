//! Member lists only grow: a peer that sends smaller ones than before sends old ones again. They change nothing, and the
//! owner is shown who does it. Called by `session` for every frame.

use super::Session;
use crate::mesh::faults::Fault;
use amesh_proto::wire::Frame;

/// What came over one link so far.
#[derive(Debug, Default)]
pub(super) struct Lists {
    entries: usize,
    removals: usize,
    older: u32,
}

impl Lists {
    /// Whether this list, too, is older than one that came before it. One alone is nobody's fault: it may have been on its
    /// way when the link came about.
    fn is_replayed(&mut self, entries: usize, removals: usize) -> bool {
        if entries < self.entries || removals < self.removals {
            self.older = self.older.saturating_add(1);
            return self.older > 1;
        }
        (self.entries, self.removals) = (entries, removals);
        false
    }
}

impl Session {
    pub(super) fn note_old_list(&mut self, frame: &Frame) {
        if let Frame::Members(list) = frame
            && self.lists.is_replayed(list.entries.len(), list.removals.len())
        {
            self.shared.fault(&self.node, Fault::OldMembers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_that_grow_and_one_that_crossed_another_are_fine_and_old_ones_again_are_not() {
        let mut lists = Lists::default();
        for (entries, removals) in [(2, 0), (2, 0), (3, 0), (3, 1), (3, 0), (4, 1)] {
            assert!(!lists.is_replayed(entries, removals));
        }
        assert!(lists.is_replayed(4, 0));
        assert!(lists.is_replayed(3, 1));
        assert!(!lists.is_replayed(5, 1));
    }
}
