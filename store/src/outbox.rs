//! The trees `outbox` and `lanes_out`: mail that leaves this node, in numbered lanes, until its carrier settles it.
//! Lanes are numbered by the writer; a lane with nothing waiting is forgotten and begins anew at its sequence number,
//! which is beyond every number it used before.

use crate::body::{Body, BodyPlace};
use crate::codec::{self, Value, damaged};
use crate::engine::{Range, Read};
use crate::error::StoreError;
use crate::expire::Kind;
use crate::group::Group;
use crate::key::{join, last_number, short_hash, with_number};
use crate::mail::{AgentNo, Destination, LaneKey, MessageState, OutboxEntry, Seq, Settlement};
use crate::tally::{LaneAfter, LaneId, Queue, Tally, Waiting};
use crate::trees::Tree;
use crate::{history, notice, receipts, walk};
use amesh_proto::id::MessageId;
use amesh_proto::message::{Mail, Priority};
use amesh_proto::node_id::NodeId;
use amesh_proto::time::UnixMillis;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What stands before a message's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) id: MessageId,
    pub(crate) sender: Option<AgentNo>,
    pub(crate) system: bool,
    pub(crate) lane: LaneId,
    pub(crate) class: Priority,
    pub(crate) number: u64,
    pub(crate) size: u32,
    pub(crate) queued_at: UnixMillis,
    pub(crate) expires_at: UnixMillis,
    pub(crate) body: BodyPlace,
}

impl Value for Head {
    const TREE: Tree = Tree::Outbox;
}

impl Head {
    fn waiting(&self, seq: Seq) -> Waiting {
        let Self { lane, class, number, size, sender, .. } = *self;
        Waiting { seq, lane, class, number, size, sender }
    }
}

/// The last number of a lane whose highest message left before others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastNumber(pub(crate) u64);

impl Value for LastNumber {
    const TREE: Tree = Tree::LanesOut;
}

pub(crate) fn lane_of(mail: &Mail) -> LaneId {
    short_hash(&[
        mail.from.as_str().as_bytes(),
        mail.to.as_str().as_bytes(),
        mail.priority.as_str().as_bytes(),
    ])
}

/// The first part of every key of a destination.
pub(crate) fn key_of(destination: &Destination) -> Vec<u8> {
    match destination {
        Destination::Node(node) => join(b"n", node.as_bytes()),
        Destination::Provider(domain) => [b"p", domain.as_bytes(), b"\0"].concat(),
        Destination::HttpHost(name) => [b"h", name.as_bytes(), b"\0"].concat(),
    }
}

/// The destination of a key.
pub(crate) fn destination_of(key: &[u8]) -> Result<Destination, StoreError> {
    let parsed = match key.split_first() {
        Some((b'n', node)) => node.first_chunk().map(|bytes| Destination::Node(NodeId::from_bytes(*bytes))),
        Some((b'p', rest)) => named(rest).map(Destination::Provider),
        Some((b'h', rest)) => named(rest).map(Destination::HttpHost),
        _ => None,
    };
    parsed.ok_or_else(|| damaged(Tree::Outbox))
}

/// A name up to its zero byte.
fn named(rest: &[u8]) -> Option<String> {
    let name = rest.split(|byte| *byte == 0).next()?;
    std::str::from_utf8(name).ok().map(str::to_owned)
}

/// Whether there is room for one more (DESIGN §3, Links).
pub(crate) fn has_room(group: &Group<'_>, destination: &[u8], sender: Option<AgentNo>, size: usize) -> bool {
    let tally = group.tally();
    let Some(queue) = tally.queue(destination) else { return true };
    let bytes = queue.bytes.saturating_add(size as u64);
    queue.count < group.config.outbox_messages
        && bytes <= u64::from(group.config.outbox_mib) << 20
        && sender.is_none_or(|agent| queue.of_agent(agent) < group.config.outbox_per_agent)
}

/// The number that the next message of a lane gets.
pub(crate) fn next_number(group: &Group<'_>, destination: &[u8], lane: &LaneId, seq: Seq) -> u64 {
    group.tally().queue(destination).and_then(|queue| queue.next_number(lane)).unwrap_or(seq.0)
}

/// Puts a message in; the caller has checked everything.
pub(crate) fn put(
    group: &mut Group<'_>,
    destination: &[u8],
    seq: Seq,
    head: &Head,
    body: &Body,
) -> Result<(), StoreError> {
    let value = body.store(group, head)?;
    let key = with_number(destination, seq.0);
    group.txn.put(Tree::Outbox, key.clone(), value);
    group.due.add(head.expires_at, Kind::Outbox, key);
    group.tally_mut().add_waiting(destination, head.waiting(seq));
    Ok(())
}

/// Ends messages. What is not there (any more) is passed over: carriers may settle twice.
pub(crate) fn settle(
    group: &mut Group<'_>,
    destination: &[u8],
    settlements: Vec<(Seq, Settlement)>,
    now: UnixMillis,
) -> Result<(), StoreError> {
    for (seq, settlement) in settlements {
        settle_one(group, destination, seq, settlement, now)?;
    }
    Ok(())
}

fn settle_one(
    group: &mut Group<'_>,
    destination: &[u8],
    seq: Seq,
    settlement: Settlement,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let Some(head) = take(group, destination, seq)? else { return Ok(()) };
    let (state, notice) = match settlement {
        Settlement::Delivered { basis } => (MessageState::Delivered { basis }, None),
        Settlement::Taken { remote_id } => (MessageState::Taken { remote_id }, None),
        Settlement::Refused { code, detail, notice } => (MessageState::Failed { code, detail }, notice),
        Settlement::Expired { notice } => (expired(), notice),
        Settlement::Dropped => (dropped(), None),
    };
    let Some(sender) = head.sender else {
        return match destination_of(destination)? {
            Destination::Provider(_) => receipts::carried_on_ended(group, (&head.id, seq), state, now),
            // What is handed on inside the mesh is judged where it is brought (DESIGN §3, Moving).
            Destination::Node(_) | Destination::HttpHost(_) => Ok(()),
        };
    };
    history::set_state(group, sender, &head.id, state, now)?;
    match notice {
        // Never about a `system` message (DESIGN §1.9).
        Some(notice) if !head.system => notice::put(group, sender, &notice, now),
        _ => Ok(()),
    }
}

pub(crate) fn head(read: &dyn Read, destination: &[u8], seq: Seq) -> Result<Option<Head>, StoreError> {
    let Some(value) = read.get(Tree::Outbox, &with_number(destination, seq.0))? else { return Ok(None) };
    codec::decode_prefix::<Head>(&value).map(|(head, _)| Some(head))
}

/// Takes a message out, keeping its lane's numbers in order.
pub(crate) fn take(group: &mut Group<'_>, destination: &[u8], seq: Seq) -> Result<Option<Head>, StoreError> {
    let key = with_number(destination, seq.0);
    let Some(value) = group.txn.get(Tree::Outbox, &key)? else { return Ok(None) };
    let (head, _) = codec::decode_prefix::<Head>(&value)?;
    head.body.release(group)?;
    group.txn.remove(Tree::Outbox, key);
    let lane_key = join(destination, &head.lane);
    let after = group.tally_mut().remove_waiting(destination, head.waiting(seq));
    match after {
        LaneAfter::Plain => {}
        LaneAfter::Remember(last) => {
            group.txn.put(Tree::LanesOut, lane_key, codec::encode(&LastNumber(last))?);
        }
        LaneAfter::Empty => {
            if group.txn.has(Tree::LanesOut, &lane_key)? {
                group.txn.remove(Tree::LanesOut, lane_key);
            }
        }
    }
    Ok(Some(head))
}

/// Up to `limit` messages with `after < seq <= until`, oldest first, of one class where `only` names it. Their floors are still
/// their own numbers.
pub(crate) fn entries(
    read: &dyn Read,
    blobs: Option<&Path>,
    destination: &[u8],
    (after, until): (Seq, Seq),
    limit: usize,
    only: Option<Priority>,
) -> Result<Vec<(LaneId, OutboxEntry)>, StoreError> {
    let range = Range::numbers(destination, after.0.saturating_add(1), until.0.saturating_add(1));
    if limit == 0 || after >= until {
        return Ok(Vec::new());
    }
    walk::first_that(read, Tree::Outbox, &range, limit, |key, value| match only {
        Some(class) if codec::decode_prefix::<Head>(value)?.0.class != class => Ok(None),
        _ => entry_of(key, value, blobs).map(Some),
    })
}

/// The same, of the messages of one class only. `waiting` are those of a class that the tally lists, and none else.
pub(crate) fn entries_of(
    read: &dyn Read,
    blobs: Option<&Path>,
    destination: &[u8],
    waiting: &[Seq],
) -> Result<Vec<(LaneId, OutboxEntry)>, StoreError> {
    let mut entries = Vec::with_capacity(waiting.len());
    for seq in waiting {
        let key = with_number(destination, seq.0);
        // What was settled since the tally was asked is left out.
        if let Some(value) = read.get(Tree::Outbox, &key)? {
            entries.push(entry_of(&key, &value, blobs)?);
        }
    }
    Ok(entries)
}

/// Adds the lanes' floors. One that rose since the entries were read never passes an entry's own number.
pub(crate) fn with_floors(entries: Vec<(LaneId, OutboxEntry)>, queue: Option<&Queue>) -> Vec<OutboxEntry> {
    let floor = |lane: &LaneId| queue.and_then(|queue| queue.floor(lane));
    entries
        .into_iter()
        .map(|(lane, entry)| {
            let floor = floor(&lane).map_or(entry.number, |floor| floor.min(entry.number));
            OutboxEntry { floor, ..entry }
        })
        .collect()
}

pub(crate) fn entry_of(
    key: &[u8],
    value: &[u8],
    blobs: Option<&Path>,
) -> Result<(LaneId, OutboxEntry), StoreError> {
    let (head, rest) = codec::decode_prefix::<Head>(value)?;
    let mail = head.body.read(Tree::Outbox, rest, blobs)?;
    let lane = LaneKey { sender: mail.from.clone(), recipient: mail.to.clone(), class: mail.priority };
    let entry = OutboxEntry {
        seq: Seq(last_number(Tree::Outbox, key)?),
        mail,
        lane,
        number: head.number,
        floor: head.number,
        sender: head.sender,
        system: head.system,
        queued_at: head.queued_at,
        expires_at: head.expires_at,
    };
    Ok((head.lane, entry))
}

/// Counts every message and finds every lane; at open.
pub(crate) fn count(read: &dyn Read, tally: &mut Tally) -> Result<(), StoreError> {
    each_head(read, &mut |destination, seq, head| tally.add_waiting(destination, head.waiting(seq)))?;
    walk::each(read, Tree::LanesOut, &Range::ALL, |key, value| {
        let (destination, lane) = key.split_last_chunk().ok_or_else(|| damaged(Tree::LanesOut))?;
        tally.remember_last(destination, lane, codec::decode::<LastNumber>(value)?.0);
        Ok(())
    })
}

/// Calls for every message with its destination's key.
pub(crate) fn each_head(read: &dyn Read, visit: &mut dyn FnMut(&[u8], Seq, &Head)) -> Result<(), StoreError> {
    walk::each(read, Tree::Outbox, &Range::ALL, |key, value| {
        let (destination, seq) = key.split_last_chunk().ok_or_else(|| damaged(Tree::Outbox))?;
        let (head, _) = codec::decode_prefix::<Head>(value)?;
        visit(destination, Seq(u64::from_be_bytes(*seq)), &head);
        Ok(())
    })
}

pub(crate) fn expired() -> MessageState {
    MessageState::Failed {
        code: "expired".into(),
        detail: "the message expired before it was delivered".into(),
    }
}

fn dropped() -> MessageState {
    MessageState::Failed {
        code: "dropped".into(),
        detail: "the owner of the node dropped the message".into(),
    }
}
