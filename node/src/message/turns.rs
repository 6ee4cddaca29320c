//! Whose turn it is among the classes of mail that waits to be pushed or carried (MSG-13): the most urgent first, and now
//! and then another, so that none starves. Pure. Used by sockets, webhooks and links.

use amesh_proto::message::Priority;

/// The turns of one socket, webhook or link. A turn is one page.
#[derive(Debug, Default)]
pub struct Turns {
    taken: u32,
}

impl Turns {
    /// The classes in the order in which they are to be asked for mail. Each comes first in one of twenty-four turns at
    /// least.
    #[must_use]
    pub fn order(&self) -> [Priority; 4] {
        let mut order = Priority::ALL;
        if self.taken % EVERY == EVERY - 1 {
            let lesser = (self.taken / EVERY) as usize % (order.len() - 1) + 1;
            order[..=lesser].rotate_right(1);
        }
        order
    }

    /// A class had mail, and has had its turn.
    pub fn taken(&mut self) {
        self.taken = self.taken.wrapping_add(1);
    }
}

/// One turn in so many is a lesser class's.
const EVERY: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_urgent_goes_first_and_no_class_starves_under_any_flood() {
        let mut turns = Turns::default();
        let firsts: Vec<Priority> = (0..240)
            .map(|_| {
                let mut order = turns.order();
                let first = order[0];
                turns.taken();
                order.sort();
                assert_eq!(order, Priority::ALL, "each class is asked");
                first
            })
            .collect();
        let count = |class| firsts.iter().filter(|first| **first == class).count();
        assert_eq!(Priority::ALL.map(count), [210, 10, 10, 10]);
        assert!(firsts[..7].iter().all(|first| *first == Priority::Urgent));
    }
}
