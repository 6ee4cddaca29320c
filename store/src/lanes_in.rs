//! The tree `lanes_in`: the last number committed of each lane from another node. Used by `accept` for mail from links.

use crate::codec::{self, Value};
use crate::engine::Read;
use crate::error::StoreError;
use crate::expire::Kind;
use crate::group::Group;
use crate::key::join;
use crate::mail::LaneStamp;
use crate::tally::LaneId;
use crate::trees::Tree;
use amesh_proto::node_id::NodeId;
use amesh_proto::time::UnixMillis;
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LaneValue {
    pub(crate) generation: u64,
    pub(crate) last: u64,
    pub(crate) touched: UnixMillis,
}

impl Value for LaneValue {
    const TREE: Tree = Tree::LanesIn;
}

/// A message's place in its lane.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) origin: NodeId,
    pub(crate) lane: LaneId,
    pub(crate) stamp: LaneStamp,
    pub(crate) now: UnixMillis,
}

/// What a number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Position {
    /// The next one: the lane moves on with it.
    Next { first: bool },
    /// An earlier one. Numbers never lose mail: whether it is a repeat, the seen ids say.
    Earlier,
    /// One before it is missing.
    Gap { expected: u64 },
}

/// Next when everything below it is committed or given up by the origin.
pub(crate) fn position(read: &dyn Read, arrival: &Arrival) -> Result<Position, StoreError> {
    let known = stored(read, &arrival.key())?;
    Ok(arrival.stamp.position(known))
}

/// The lane moves on to this number.
pub(crate) fn advance(group: &mut Group<'_>, arrival: &Arrival, first: bool) -> Result<(), StoreError> {
    let LaneStamp { generation, number, .. } = arrival.stamp;
    let value = LaneValue { generation, last: number, touched: arrival.now };
    let key = arrival.key();
    if first {
        group.due.add(arrival.now.plus(LANE_KEPT), Kind::LaneIn, key.clone());
    }
    group.txn.put(Tree::LanesIn, key, codec::encode(&value)?);
    Ok(())
}

/// Forgets a lane that was idle for long enough; else looks again later.
pub(crate) fn expire(group: &mut Group<'_>, key: Vec<u8>, now: UnixMillis) -> Result<(), StoreError> {
    let Some(value) = stored(&group.txn, &key)? else { return Ok(()) };
    if value.touched.plus(LANE_KEPT) <= now {
        group.txn.remove(Tree::LanesIn, key);
    } else {
        group.due.add(value.touched.plus(LANE_KEPT), Kind::LaneIn, key);
    }
    Ok(())
}

fn stored(read: &dyn Read, key: &[u8]) -> Result<Option<LaneValue>, StoreError> {
    read.get(Tree::LanesIn, key)?.map(|bytes| codec::decode(&bytes)).transpose()
}

impl Arrival {
    fn key(&self) -> Vec<u8> {
        join(self.origin.as_bytes(), &self.lane)
    }
}

impl LaneStamp {
    fn position(&self, known: Option<LaneValue>) -> Position {
        let last = match known {
            Some(lane) if lane.generation == self.generation => lane.last,
            // A frame from before the origin's restore: late, never a reason to turn the lane back.
            Some(lane) if lane.generation > self.generation => return Position::Earlier,
            _ => 0,
        };
        let expected = last.max(self.floor.saturating_sub(1)).saturating_add(1);
        if self.number == expected {
            Position::Next { first: known.is_none() }
        } else if self.number < expected {
            Position::Earlier
        } else {
            Position::Gap { expected }
        }
    }
}

/// Longer than any message lives, so no open number is forgotten.
const LANE_KEPT: Duration = Duration::from_secs(35 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::{LaneStamp, LaneValue, Position};
    use amesh_proto::time::UnixMillis;

    fn at(generation: u64, number: u64, floor: u64, last: Option<u64>) -> Position {
        let known = last.map(|last| LaneValue { generation: 7, last, touched: UnixMillis(0) });
        LaneStamp { generation, number, floor }.position(known)
    }

    #[test]
    fn numbers_are_taken_in_order() {
        assert_eq!(at(7, 5, 3, Some(4)), Position::Next { first: false });
        assert_eq!(at(7, 6, 3, Some(4)), Position::Gap { expected: 5 });
        assert_eq!(at(7, 4, 3, Some(4)), Position::Earlier);
    }

    #[test]
    fn what_the_origin_gave_up_leaves_no_gap() {
        assert_eq!(at(7, 9, 9, Some(4)), Position::Next { first: false });
        assert_eq!(at(7, 10, 9, Some(4)), Position::Gap { expected: 9 });
    }

    #[test]
    fn a_lane_begins_at_its_floor() {
        assert_eq!(at(7, 500, 500, None), Position::Next { first: true });
        assert_eq!(at(7, 501, 500, None), Position::Gap { expected: 500 });
    }

    #[test]
    fn a_new_generation_counts_anew_and_an_old_one_never_turns_back() {
        assert_eq!(at(8, 2, 2, Some(90)), Position::Next { first: false });
        assert_eq!(at(6, 91, 91, Some(90)), Position::Earlier);
    }
}
