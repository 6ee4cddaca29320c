//! Counts and lane floors, kept in memory so that no change costs a walk over a queue. Rebuilt at open; changed by the
//! writer only; read by `pending_count`, `outbox` and the limits.

use crate::mail::{AgentNo, Holder, LanePart, Seq};
use crate::receipt::ReceiptOwner;
use amesh_proto::message::Priority;
use amesh_proto::node_id::NodeId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound;

/// The first bytes of the hash of (sender, recipient, class).
pub(crate) type LaneId = [u8; 16];

/// All counts.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    agents: HashSet<AgentNo>,
    mailboxes: HashMap<AgentNo, BoxCount>,
    /// Rows of `postings`, for agents that have some.
    postings: HashMap<AgentNo, u32>,
    /// Rows of `classes`, for agents that have some.
    classed: HashMap<AgentNo, u32>,
    destinations: BTreeMap<Vec<u8>, Queue>,
    /// Uploads and their bytes.
    uploads: HashMap<Holder, (u32, u64)>,
    /// Bytes of attached files.
    files: u64,
    receipts: HashMap<ReceiptOwner, u32>,
    /// Agents that moved since the start, and where to.
    departed: HashMap<AgentNo, NodeId>,
}

/// How full a mailbox is, and how far it was handed out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BoxCount {
    pub(crate) total: u32,
    pub(crate) handed_out: u32,
    /// Everything up to here was.
    pub(crate) mark: u64,
    /// How many beyond it were.
    pub(crate) beyond: u32,
}

/// What waits for one destination.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(crate) count: u32,
    pub(crate) bytes: u64,
    per_agent: HashMap<AgentNo, u32>,
    /// The messages of every class but `normal`, which is all the others.
    classes: [BTreeSet<Seq>; Priority::ALL.len()],
    lanes: HashMap<LaneId, Lane>,
}

#[derive(Debug)]
struct Lane {
    class: Priority,
    open: BTreeMap<u64, Seq>,
    last: u64,
}

/// One message of the outbox, as far as it counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    pub(crate) seq: Seq,
    pub(crate) lane: LaneId,
    pub(crate) class: Priority,
    pub(crate) number: u64,
    pub(crate) size: u32,
    pub(crate) sender: Option<AgentNo>,
}

/// What taking a message out of its lane leaves.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LaneAfter {
    /// The open numbers still tell the last one.
    Plain,
    /// The highest number left while others wait: the last number must be written down.
    Remember(u64),
    /// Nothing waits any more.
    Empty,
}

impl Tally {
    pub(crate) fn mailbox(&self, agent: AgentNo) -> BoxCount {
        self.mailboxes.get(&agent).copied().unwrap_or_default()
    }

    pub(crate) fn set_mailbox(&mut self, agent: AgentNo, count: BoxCount) {
        // What was handed out of an empty mailbox is nobody's concern: what comes has higher numbers.
        if count.total == 0 {
            self.mailboxes.remove(&agent);
        } else {
            self.mailboxes.insert(agent, count);
        }
    }

    pub(crate) fn postings(&self, agent: AgentNo) -> u32 {
        self.postings.get(&agent).copied().unwrap_or_default()
    }

    pub(crate) fn add_posting(&mut self, agent: AgentNo) {
        *self.postings.entry(agent).or_default() += 1;
    }

    pub(crate) fn remove_posting(&mut self, agent: AgentNo) {
        one_less(&mut self.postings, agent);
    }

    /// Messages in a mailbox that are not of the class `normal`.
    pub(crate) fn classed(&self, agent: AgentNo) -> u32 {
        self.classed.get(&agent).copied().unwrap_or_default()
    }

    pub(crate) fn add_classed(&mut self, agent: AgentNo) {
        *self.classed.entry(agent).or_default() += 1;
    }

    pub(crate) fn remove_classed(&mut self, agent: AgentNo) {
        one_less(&mut self.classed, agent);
    }

    pub(crate) fn has_agent(&self, agent: AgentNo) -> bool {
        self.agents.contains(&agent)
    }

    /// Where an agent of this node has moved, if that was since the start.
    pub(crate) fn departed(&self, agent: AgentNo) -> Option<NodeId> {
        self.departed.get(&agent).copied()
    }

    pub(crate) fn set_departed(&mut self, agent: AgentNo, home: Option<NodeId>) {
        match home {
            Some(home) => self.departed.insert(agent, home),
            None => self.departed.remove(&agent),
        };
    }

    pub(crate) fn set_agent(&mut self, agent: AgentNo, lives_here: bool) {
        if lives_here {
            self.agents.insert(agent);
        } else {
            self.agents.remove(&agent);
        }
    }

    pub(crate) fn agents(&self) -> usize {
        self.agents.len()
    }

    /// Receipts kept for `owner`.
    pub(crate) fn receipts(&self, owner: ReceiptOwner) -> u32 {
        self.receipts.get(&owner).copied().unwrap_or_default()
    }

    pub(crate) fn set_receipts(&mut self, owner: ReceiptOwner, count: u32) {
        if count == 0 {
            self.receipts.remove(&owner);
        } else {
            self.receipts.insert(owner, count);
        }
    }

    pub(crate) fn queue(&self, destination: &[u8]) -> Option<&Queue> {
        self.destinations.get(destination)
    }

    pub(crate) fn destinations(&self) -> impl Iterator<Item = (&[u8], &Queue)> {
        self.destinations.iter().map(|(key, queue)| (key.as_slice(), queue))
    }

    /// How many uploads of a holder there are, and their bytes.
    pub(crate) fn uploads_of(&self, holder: &Holder) -> (u32, u64) {
        self.uploads.get(holder).copied().unwrap_or_default()
    }

    pub(crate) fn add_upload(&mut self, holder: &Holder, size: u64) {
        let (count, bytes) = self.uploads.entry(holder.clone()).or_default();
        *count += 1;
        *bytes += size;
    }

    pub(crate) fn remove_upload(&mut self, holder: &Holder, size: u64) {
        let Some((count, bytes)) = self.uploads.get_mut(holder) else { return };
        *count = count.saturating_sub(1);
        *bytes = bytes.saturating_sub(size);
        if *count == 0 {
            self.uploads.remove(holder);
        }
    }

    /// Bytes of all attached files.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.files
    }

    pub(crate) fn add_file(&mut self, size: u64) {
        self.files += size;
    }

    pub(crate) fn remove_file(&mut self, size: u64) {
        self.files = self.files.saturating_sub(size);
    }

    /// Messages in all mailboxes, and in all queues.
    pub(crate) fn totals(&self) -> (u64, u64) {
        let mailboxes = self.mailboxes.values().map(|count| u64::from(count.total)).sum();
        let queues = self.destinations.values().map(|queue| u64::from(queue.count)).sum();
        (mailboxes, queues)
    }

    pub(crate) fn add_waiting(&mut self, destination: &[u8], message: Waiting) {
        if !self.destinations.contains_key(destination) {
            self.destinations.insert(destination.to_vec(), Queue::default());
        }
        let Some(queue) = self.destinations.get_mut(destination) else { return };
        queue.count += 1;
        queue.bytes += u64::from(message.size);
        if let Some(agent) = message.sender {
            *queue.per_agent.entry(agent).or_default() += 1;
        }
        if message.class != Priority::Normal {
            queue.classes[message.class as usize].insert(message.seq);
        }
        let begun = || Lane { class: message.class, open: BTreeMap::new(), last: 0 };
        let lane = queue.lanes.entry(message.lane).or_insert_with(begun);
        lane.open.insert(message.number, message.seq);
        lane.last = lane.last.max(message.number);
    }

    /// Raises a lane's last number to what was written down.
    pub(crate) fn remember_last(&mut self, destination: &[u8], lane: &LaneId, last: u64) {
        if let Some(lane) = self.destinations.get_mut(destination).and_then(|queue| queue.lanes.get_mut(lane))
        {
            lane.last = lane.last.max(last);
        }
    }

    pub(crate) fn remove_waiting(&mut self, destination: &[u8], message: Waiting) -> LaneAfter {
        let Some(queue) = self.destinations.get_mut(destination) else { return LaneAfter::Plain };
        queue.count = queue.count.saturating_sub(1);
        queue.bytes = queue.bytes.saturating_sub(u64::from(message.size));
        if let Some(agent) = message.sender {
            one_less(&mut queue.per_agent, agent);
        }
        queue.classes[message.class as usize].remove(&message.seq);
        let after = queue.leave_lane(&message);
        if queue.count == 0 {
            self.destinations.remove(destination);
        }
        after
    }
}

/// Counts one less for an agent; who has none is not listed.
fn one_less(counts: &mut HashMap<AgentNo, u32>, agent: AgentNo) {
    if let Some(count) = counts.get_mut(&agent) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(&agent);
        }
    }
}

impl Queue {
    /// The first messages of a class other than `normal`, with `after < seq <= until`, oldest first.
    pub(crate) fn of_class(&self, class: Priority, (after, until): (Seq, Seq), limit: usize) -> Vec<Seq> {
        let span = (Bound::Excluded(after), Bound::Included(until));
        if after >= until {
            return Vec::new();
        }
        self.classes[class as usize].range(span).take(limit).copied().collect()
    }

    /// The first message of each lane that `part` lets through, among those up to `until`: at most `limit` of them, by class
    /// in `order` and the oldest first. Looks at every lane.
    pub(crate) fn heads(
        &self,
        part: &dyn Fn(&LaneId) -> LanePart,
        order: &[Priority],
        until: Seq,
        limit: usize,
    ) -> Vec<Seq> {
        let head = |(id, lane): (&LaneId, &Lane)| {
            let beyond = match part(id) {
                LanePart::Whole => Bound::Unbounded,
                LanePart::Beyond(number) => Bound::Excluded(number),
                LanePart::Nothing => return None,
            };
            let (_, seq) = lane.open.range((beyond, Bound::Unbounded)).next()?;
            let turn = order.iter().position(|class| *class == lane.class)?;
            (*seq <= until).then_some((turn, *seq))
        };
        let mut heads: Vec<(usize, Seq)> = self.lanes.iter().filter_map(head).collect();
        if heads.len() > limit && limit > 0 {
            heads.select_nth_unstable(limit - 1);
        }
        heads.truncate(limit);
        heads.sort_unstable();
        heads.into_iter().map(|(_, seq)| seq).collect()
    }

    pub(crate) fn of_agent(&self, agent: AgentNo) -> u32 {
        self.per_agent.get(&agent).copied().unwrap_or_default()
    }

    /// The lowest number of a lane that still waits.
    pub(crate) fn floor(&self, lane: &LaneId) -> Option<u64> {
        self.lanes.get(lane)?.open.first_key_value().map(|(number, _)| *number)
    }

    /// The number for the next message of a lane; none where a lane begins.
    pub(crate) fn next_number(&self, lane: &LaneId) -> Option<u64> {
        self.lanes.get(lane).map(|lane| lane.last + 1)
    }

    fn leave_lane(&mut self, message: &Waiting) -> LaneAfter {
        let Some(lane) = self.lanes.get_mut(&message.lane) else { return LaneAfter::Plain };
        lane.open.remove(&message.number);
        match lane.open.last_key_value() {
            None => {
                self.lanes.remove(&message.lane);
                LaneAfter::Empty
            }
            Some((highest, _)) if *highest < lane.last => LaneAfter::Remember(lane.last),
            Some(_) => LaneAfter::Plain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LaneAfter, LaneId, Tally, Waiting};
    use crate::mail::{AgentNo, LanePart, Seq};
    use amesh_proto::message::Priority;

    fn message(number: u64) -> Waiting {
        let class = Priority::Normal;
        Waiting { seq: Seq(number), lane: [1; 16], class, number, size: 10, sender: Some(AgentNo(1)) }
    }

    #[test]
    fn a_lane_whose_highest_number_left_still_counts_on() {
        let mut tally = Tally::default();
        for number in 5..8 {
            tally.add_waiting(b"d", message(number));
        }
        assert_eq!(tally.remove_waiting(b"d", message(7)), LaneAfter::Remember(7));
        let queue = tally.queue(b"d").unwrap();
        assert_eq!((queue.next_number(&[1; 16]), queue.floor(&[1; 16])), (Some(8), Some(5)));
        assert_eq!(tally.remove_waiting(b"d", message(5)), LaneAfter::Remember(7));
        assert_eq!(tally.remove_waiting(b"d", message(6)), LaneAfter::Empty);
        assert!(tally.queue(b"d").is_none());
    }

    #[test]
    fn the_first_of_each_lane_is_found_the_urgent_before_the_old() {
        let mut tally = Tally::default();
        for (lane, class, number) in [
            (1, Priority::Normal, 1),
            (1, Priority::Normal, 2),
            (2, Priority::Normal, 3),
            (3, Priority::Urgent, 4),
            (4, Priority::Normal, 5),
        ] {
            tally.add_waiting(b"d", Waiting { lane: [lane; 16], class, ..message(number) });
        }
        let queue = tally.queue(b"d").unwrap();
        let heads = |part: &dyn Fn(&LaneId) -> LanePart, until, limit| -> Vec<u64> {
            queue.heads(part, &Priority::ALL, Seq(until), limit).into_iter().map(|seq| seq.0).collect()
        };
        assert_eq!(heads(&|_| LanePart::Whole, 9, 9), [4, 1, 3, 5]);
        assert_eq!(heads(&|_| LanePart::Whole, 9, 2), [4, 1]);
        assert_eq!(heads(&|_| LanePart::Whole, 3, 9), [1, 3], "what is not durable yet is nobody's");
        let part = |lane: &LaneId| match lane[0] {
            1 => LanePart::Beyond(1),
            2 => LanePart::Nothing,
            _ => LanePart::Whole,
        };
        assert_eq!(heads(&part, 9, 9), [4, 2, 5]);
        assert_eq!(heads(&|_| LanePart::Whole, 9, 0), [0; 0]);
    }
}
