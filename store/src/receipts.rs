//! The tree `receipts`: word that a message was delivered or read, kept for its sender until it was told (RCP-4, RCP-5).
//! For an agent of this node until one of its sockets has it; for another node until that node has it on disk. Filled
//! through `Store::give_receipts` where the recipient lives and `Store::take_receipts` where the sender does.

use crate::codec::{self, Value, damaged};
use crate::engine::{Range, Read};
use crate::error::StoreError;
use crate::expire::Kind;
use crate::group::Group;
use crate::history::{self, Entry};
use crate::key::{join, last_number, with_number};
use crate::mail::{AgentNo, Destination, MessageState, Place, Seq};
use crate::receipt::{BroughtReceipt, Given, Receipt, ReceiptKind, ReceiptOwner};
use crate::tally::Tally;
use crate::trees::Tree;
use crate::{notice, walk};
use amesh_proto::id::MessageId;
use amesh_proto::node_id::NodeId;
use amesh_proto::time::UnixMillis;
use std::ops::ControlFlow;
use std::time::Duration;

impl Value for Receipt {
    const TREE: Tree = Tree::Receipts;
}

/// Notes what happened to messages of a mailbox, acknowledged ones too, and keeps word of it for their senders. Each
/// kind counts once a message.
pub(crate) fn give(
    group: &mut Group<'_>,
    agent: AgentNo,
    ids: &[MessageId],
    kind: &ReceiptKind,
    now: UnixMillis,
) -> Result<Vec<Given>, StoreError> {
    ids.iter().map(|id| give_one(group, agent, id, kind, now)).collect()
}

fn give_one(
    group: &mut Group<'_>,
    agent: AgentNo,
    id: &MessageId,
    kind: &ReceiptKind,
    now: UnixMillis,
) -> Result<Given, StoreError> {
    let Some((parties, entry)) = history::shown_to(&group.txn, agent, id)? else { return Ok(Given::Unknown) };
    let Some(owner) = owner_of(&entry) else { return Ok(Given::Lost) };
    if let Some(at) = entry.noted(kind) {
        return Ok(Given::Kept { at, owner, again: true });
    }
    let receipt = Receipt {
        id: entry.own_id(id).clone(),
        sender: entry.carried.as_ref().map(|carried| carried.from.clone()),
        to: entry.to.clone(),
        kind: kind.clone(),
        at: now,
    };
    if !put(group, owner, &receipt, now)? {
        return Ok(Given::Lost);
    }
    history::note(group, id, &parties, entry, kind, now)?;
    Ok(Given::Kept { at: now, owner, again: false })
}

fn owner_of(entry: &Entry) -> Option<ReceiptOwner> {
    let here = entry.sender.map(ReceiptOwner::Agent);
    here.or_else(|| entry.carried.as_ref().map(|carried| ReceiptOwner::Node(carried.node)))
}

/// Takes receipts over from the node where the messages went. What that node was not sent, or told before, is passed
/// over; what it was handed on is for the node that had brought it here (DESIGN §3, Moving). Gives for whom something is kept
/// now.
pub(crate) fn take(
    group: &mut Group<'_>,
    node: NodeId,
    receipts: Vec<BroughtReceipt>,
    now: UnixMillis,
) -> Result<Vec<ReceiptOwner>, StoreError> {
    let place = Place::Outbox(Destination::Node(node));
    let mut told = Vec::new();
    for receipt in receipts {
        let sent = history::sent_from(&group.txn, &receipt.sender, &receipt.id)?;
        let Some((parties, entry)) = sent else { continue };
        let Some(owner) = owner_of(&entry).filter(|_| entry.place == place) else { continue };
        if entry.noted(&receipt.kind).is_some() {
            continue;
        }
        let at = receipt.at.min(now);
        if let (ReceiptKind::Failed { .. }, ReceiptOwner::Agent(agent)) = (&receipt.kind, owner) {
            history::note(group, &receipt.id, &parties, entry, &receipt.kind, at)?;
            if let Some(notice) = &receipt.notice {
                notice::put(group, agent, notice, now)?;
            }
            told.push(owner);
            continue;
        }
        let sender = entry.sender.is_none().then_some(receipt.sender);
        let kept = Receipt { id: receipt.id, sender, to: entry.to.clone(), kind: receipt.kind, at };
        history::note(group, &kept.id, &parties, entry, &kept.kind, at)?;
        if put(group, owner, &kept, now)? {
            told.push(owner);
        }
    }
    Ok(told)
}

/// Mail that another node brought for somebody outside the mesh has ended in the outbox. Where it will not arrive, that node
/// hears of it (DESIGN §1.9).
pub(crate) fn carried_on_ended(
    group: &mut Group<'_>,
    (id, seq): (&MessageId, Seq),
    state: MessageState,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let Some((parties, mut entry)) = history::carried_on(&group.txn, id, seq)? else { return Ok(()) };
    let MessageState::Failed { code, detail } = state else {
        entry.state = state;
        entry.changed_at = now;
        return history::write(group, id, &parties, &entry);
    };
    let kind = ReceiptKind::Failed { code, detail };
    if let (Some(owner), Some(carried)) = (owner_of(&entry), entry.carried.clone()) {
        let receipt = Receipt {
            id: entry.own_id(id).clone(),
            sender: Some(carried.from),
            to: entry.to.clone(),
            kind: kind.clone(),
            at: now,
        };
        put(group, owner, &receipt, now)?;
    }
    history::note(group, id, &parties, entry, &kind, now)
}

/// Keeps one, unless too many are kept. The sender who asks is told all the same.
fn put(
    group: &mut Group<'_>,
    owner: ReceiptOwner,
    receipt: &Receipt,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    let count = group.tally().receipts(owner);
    let room = match owner {
        ReceiptOwner::Agent(agent) => group.tally().has_agent(agent) && count < PER_AGENT,
        ReceiptOwner::Node(_) => count < PER_NODE,
    };
    if !room {
        tracing::debug!(?owner, id = %receipt.id, "a receipt was not kept");
        return Ok(false);
    }
    let key = with_number(&key_of(owner), group.next_seq().0);
    group.txn.put(Tree::Receipts, key.clone(), codec::encode(receipt)?);
    group.due.add(now.plus(KEPT), Kind::Receipt, key);
    group.tally_mut().set_receipts(owner, count + 1);
    Ok(true)
}

/// Forgets what its owner has: everything up to `until`.
pub(crate) fn forget(group: &mut Group<'_>, owner: ReceiptOwner, until: Seq) -> Result<(), StoreError> {
    let range = Range::numbers(&key_of(owner), 0, until.0.saturating_add(1));
    let mut keys = Vec::new();
    group.txn.scan(Tree::Receipts, &range, &mut |key, _| {
        keys.push(key.to_vec());
        ControlFlow::Continue(())
    })?;
    let gone = u32::try_from(keys.len()).unwrap_or(u32::MAX);
    keys.into_iter().for_each(|key| group.txn.remove(Tree::Receipts, key));
    let count = group.tally().receipts(owner).saturating_sub(gone);
    group.tally_mut().set_receipts(owner, count);
    Ok(())
}

/// Ends one that nobody fetched.
pub(crate) fn expire(group: &mut Group<'_>, key: Vec<u8>) -> Result<(), StoreError> {
    if group.txn.has(Tree::Receipts, &key)? {
        let owner = owner_in(&key)?;
        let count = group.tally().receipts(owner).saturating_sub(1);
        group.txn.remove(Tree::Receipts, key);
        group.tally_mut().set_receipts(owner, count);
    }
    Ok(())
}

/// Up to `limit` receipts with `after < seq <= until`, oldest first.
pub(crate) fn of(
    read: &dyn Read,
    owner: ReceiptOwner,
    (after, until): (Seq, Seq),
    limit: usize,
) -> Result<Vec<(Seq, Receipt)>, StoreError> {
    let range = Range::numbers(&key_of(owner), after.0.saturating_add(1), until.0.saturating_add(1));
    if after >= until {
        return Ok(Vec::new());
    }
    walk::first(read, Tree::Receipts, &range, limit, |key, value| {
        Ok((Seq(last_number(Tree::Receipts, key)?), codec::decode(value)?))
    })
}

/// Counts them all; at open.
pub(crate) fn count(read: &dyn Read, tally: &mut Tally) -> Result<(), StoreError> {
    walk::each(read, Tree::Receipts, &Range::ALL, |key, _| {
        let owner = owner_in(key)?;
        tally.set_receipts(owner, tally.receipts(owner) + 1);
        Ok(())
    })
}

fn key_of(owner: ReceiptOwner) -> Vec<u8> {
    match owner {
        ReceiptOwner::Agent(agent) => join(b"a", &agent.0.to_be_bytes()),
        ReceiptOwner::Node(node) => join(b"n", node.as_bytes()),
    }
}

pub(crate) fn owner_in(key: &[u8]) -> Result<ReceiptOwner, StoreError> {
    let owner = match key.split_first() {
        Some((b'a', rest)) => {
            rest.first_chunk().map(|no| ReceiptOwner::Agent(AgentNo(u64::from_be_bytes(*no))))
        }
        Some((b'n', rest)) => rest.first_chunk().map(|node| ReceiptOwner::Node(NodeId::from_bytes(*node))),
        _ => None,
    };
    owner.ok_or_else(|| damaged(Tree::Receipts))
}

/// Kept for one agent, and for one node with all its agents.
const PER_AGENT: u32 = 1_000;
const PER_NODE: u32 = 10_000;
/// As long as the mail they tell of may live.
const KEPT: Duration = Duration::from_secs(30 * 86_400);
