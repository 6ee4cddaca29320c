//! The tree `boxes`: how full each mailbox is, and how far it was handed out, so that only mail never handed out counts
//! against the cap (RLY-2). One mark per mailbox, because mail is handed out in order; messages taken out of order are
//! marked one by one until the mark passes them. Used by `mailbox`; written by the group, once per mailbox.

use crate::codec::{self, Value};
use crate::engine::{Range, Read};
use crate::error::StoreError;
use crate::key::{first_number, last_number, with_number};
use crate::mail::{AgentNo, Seq};
use crate::tally::BoxCount;
use crate::trees::Tree;
use crate::txn::Txn;
use crate::walk;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

impl Value for BoxCount {
    const TREE: Tree = Tree::Boxes;
}

/// Which messages of a mailbox were handed out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct HandedOut {
    pub(crate) count: BoxCount,
    pub(crate) beyond: BTreeSet<u64>,
}

impl HandedOut {
    pub(crate) fn contains(&self, seq: Seq) -> bool {
        seq.0 <= self.count.mark || self.beyond.contains(&seq.0)
    }
}

/// What readers see.
pub(crate) fn of(read: &dyn Read, agent: AgentNo) -> Result<HandedOut, StoreError> {
    let mut handed = HandedOut::default();
    let prefix = agent.0.to_be_bytes();
    walk::each(read, Tree::Boxes, &Range::prefix(&prefix), |key, value| {
        if key.len() == prefix.len() {
            handed.count = codec::decode(value)?;
        } else {
            handed.beyond.extend([last_number(Tree::Boxes, key)?]);
        }
        Ok(())
    })?;
    Ok(handed)
}

/// Whether one message was; `count` is the mailbox's.
pub(crate) fn has(read: &dyn Read, count: BoxCount, agent: AgentNo, seq: Seq) -> Result<bool, StoreError> {
    // Most mailboxes have nothing marked beyond the mark.
    if seq.0 <= count.mark || count.beyond == 0 {
        return Ok(seq.0 <= count.mark);
    }
    Ok(read.has(Tree::Boxes, &with_number(&agent.0.to_be_bytes(), seq.0))?)
}

/// Marks messages that are in the mailbox, whose count was `before`. Gives its count as it is then.
pub(crate) fn mark(
    txn: &mut Txn<'_>,
    before: BoxCount,
    agent: AgentNo,
    seqs: &[Seq],
) -> Result<BoxCount, StoreError> {
    let prefix = agent.0.to_be_bytes();
    let beyond = if before.beyond > 0 { of(txn, agent)?.beyond } else { BTreeSet::new() };
    let mut new = BTreeSet::new();
    for seq in seqs.iter().filter(|seq| seq.0 > before.mark && !beyond.contains(&seq.0)) {
        if txn.has(Tree::Mailbox, &with_number(&prefix, seq.0))? {
            new.insert(seq.0);
        }
    }
    let Some(highest) = new.last().max(beyond.last()).copied() else { return Ok(before) };
    let mut mark = before.mark;
    txn.scan(
        Tree::Mailbox,
        &Range::numbers(&prefix, mark + 1, highest + 1),
        &mut |key, _| match last_number(Tree::Mailbox, key) {
            Ok(seq) if new.contains(&seq) || beyond.contains(&seq) => {
                mark = seq;
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Break(()),
        },
    )?;
    let mut after = before;
    after.mark = mark;
    after.handed_out += count(new.len());
    for seq in beyond.range(..=mark) {
        txn.remove(Tree::Boxes, with_number(&prefix, *seq));
        after.beyond -= 1;
    }
    for seq in new.range(mark + 1..) {
        txn.put(Tree::Boxes, with_number(&prefix, *seq), Vec::new());
        after.beyond += 1;
    }
    Ok(after)
}

/// The mailbox's count once this message has left it; `count` is the one before.
pub(crate) fn forget(
    txn: &mut Txn<'_>,
    mut count: BoxCount,
    agent: AgentNo,
    seq: Seq,
) -> Result<BoxCount, StoreError> {
    count.total = count.total.saturating_sub(1);
    if seq.0 <= count.mark {
        count.handed_out = count.handed_out.saturating_sub(1);
    } else if has(txn, count, agent, seq)? {
        count.handed_out = count.handed_out.saturating_sub(1);
        count.beyond -= 1;
        txn.remove(Tree::Boxes, with_number(&agent.0.to_be_bytes(), seq.0));
    }
    Ok(count)
}

/// Writes a mailbox's count; that of an empty one goes.
pub(crate) fn write(txn: &mut Txn<'_>, agent: AgentNo, count: BoxCount) -> Result<(), StoreError> {
    let key = agent.0.to_be_bytes().to_vec();
    match count.total {
        0 => txn.remove(Tree::Boxes, key),
        _ => txn.put(Tree::Boxes, key, codec::encode(&count)?),
    }
    Ok(())
}

/// Calls for every mailbox with mail; for the counts at open.
pub(crate) fn each(read: &dyn Read, visit: &mut dyn FnMut(AgentNo, BoxCount)) -> Result<(), StoreError> {
    walk::each(read, Tree::Boxes, &Range::ALL, |key, value| {
        if key.len() == size_of::<u64>() {
            visit(AgentNo(first_number(Tree::Boxes, key)?), codec::decode(value)?);
        }
        Ok(())
    })
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
