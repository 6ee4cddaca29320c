//! With whom a node keeps a link open: about sixteen members of a large mesh, everybody in a small one (DESIGN §3). A
//! pure function of the member list, alike on every node that has the same list.
//!
//! Eight rings: each orders all members by another part of a hash of their ids, and the next and the previous one on a
//! ring are neighbours. So neighbours are mutual; the whole is connected, in fact eight times over, since each ring is
//! a cycle through all; a change reaches a thousand in four or five steps; and a member that comes or goes changes the
//! neighbours of sixteen others only. Past a neighbour that is off, the next one that is not is a neighbour as well.

use amesh_proto::node_id::NodeId;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// The members that `me` keeps links to. `members` may include `me`; `is_off` says who cannot be reached at present.
pub(crate) fn choose(
    me: &NodeId,
    members: impl IntoIterator<Item = NodeId>,
    is_off: impl Fn(&NodeId) -> bool,
) -> BTreeSet<NodeId> {
    let others: Vec<Place> = members.into_iter().filter(|node| node != me).map(Place::of).collect();
    if others.len() <= 2 * RINGS {
        return others.into_iter().map(|place| place.node).collect();
    }
    let own = Place::of(*me);
    let mut chosen = BTreeSet::new();
    for ring in 0..RINGS {
        // Distances from here, one way around the ring; the other way is what is left of the circle.
        let mut after: Option<((u32, NodeId), NodeId)> = None;
        let mut before = None;
        let (mut live_after, mut live_before) = (None, None);
        for place in &others {
            let (ahead, node) = (place.from(&own, ring), place.node);
            let nearest = |held: &mut Option<((u32, NodeId), NodeId)>, nearer: bool| {
                if held.is_none_or(|(best, _)| (ahead < best) == nearer) {
                    *held = Some((ahead, node));
                }
            };
            nearest(&mut after, true);
            nearest(&mut before, false);
            if !is_off(&node) {
                nearest(&mut live_after, true);
                nearest(&mut live_before, false);
            }
        }
        let found = [after, before, live_after, live_before];
        chosen.extend(found.into_iter().flatten().map(|(_, node)| node));
    }
    chosen
}

/// Where a member stands on each ring.
struct Place {
    node: NodeId,
    at: [u8; 4 * RINGS],
}

impl Place {
    fn of(node: NodeId) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"amesh/1 neighbours");
        hash.update(node.as_bytes());
        Self { node, at: hash.finalize().into() }
    }

    /// How far ahead of `other` this one is on `ring`; ids settle what is equal.
    fn from(&self, other: &Self, ring: usize) -> (u32, NodeId) {
        let at = |place: &Self| {
            let at = &place.at[4 * ring..4 * ring + 4];
            at.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte))
        };
        (at(self).wrapping_sub(at(other)), self.node)
    }
}

/// Each gives two neighbours.
const RINGS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn members(count: u16) -> Vec<NodeId> {
        let id = |number: u16| NodeId::from_bytes(Sha256::digest(number.to_be_bytes()).into());
        (0..count).map(id).collect()
    }

    type Links = BTreeMap<NodeId, BTreeSet<NodeId>>;

    fn links(members: &[NodeId], off: &BTreeSet<NodeId>) -> Links {
        let living = members.iter().filter(|node| !off.contains(node));
        living.map(|me| (*me, choose(me, members.iter().copied(), |node| off.contains(node)))).collect()
    }

    /// How many steps a word needs from `from` until all that can be reached have it, and how many these are.
    fn spread(links: &Links, from: NodeId) -> (usize, usize) {
        let (mut known, mut fresh, mut steps) = (BTreeSet::from([from]), vec![from], 0);
        while !fresh.is_empty() {
            let heard = fresh.iter().filter_map(|node| links.get(node)).flatten();
            let next = heard.filter(|node| links.contains_key(node) && known.insert(**node));
            fresh = next.copied().collect();
            steps += usize::from(!fresh.is_empty());
        }
        (known.len(), steps)
    }

    #[test]
    fn a_small_mesh_is_linked_each_with_each() {
        let all = members(17);
        assert!(links(&all, &BTreeSet::new()).values().all(|chosen| chosen.len() == 16));
    }

    #[test]
    fn a_thousand_have_sixteen_neighbours_each_and_a_word_reaches_all_in_five_steps() {
        let all = members(1000);
        let links = links(&all, &BTreeSet::new());
        assert!(links.values().all(|chosen| (12..=16).contains(&chosen.len())));
        let (reached, steps) = spread(&links, all[0]);
        assert_eq!(reached, 1000);
        assert!(steps <= 5, "{steps} steps");
    }

    #[test]
    fn one_that_comes_changes_the_neighbours_of_few() {
        let all = members(501);
        let (before, after) = (links(&all[..500], &BTreeSet::new()), links(&all, &BTreeSet::new()));
        let changed = before.iter().filter(|(node, chosen)| after[node] != **chosen).count();
        assert!(changed <= 16, "{changed} changed");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn those_that_are_not_off_stay_connected_and_mutual(count in 2_u16..160, seed in any::<u64>(), share in 0_u64..9) {
            let all = members(count);
            let is_off = |at: usize| (seed.rotate_left(u32::try_from(at % 64).unwrap()) ^ at as u64) % 10 < share;
            let off: BTreeSet<NodeId> =
                all.iter().enumerate().filter(|(at, _)| *at > 0 && is_off(*at)).map(|(_, node)| *node).collect();
            let links = links(&all, &off);
            prop_assert_eq!(spread(&links, all[0]).0, links.len());
            for (me, chosen) in &links {
                for peer in chosen.iter().filter(|peer| links.contains_key(peer)) {
                    prop_assert!(links[peer].contains(me));
                }
                prop_assert!(chosen.len() <= 32);
            }
        }
    }
}
