//! The tree `handed_out`: how far each mailbox was handed out, so that only mail never handed out counts against the
//! cap (RLY-2). One mark per mailbox, because mail is handed out in order; messages taken out of order are marked one by
//! one until the mark passes them. Used by `mailbox`.

use crate::codec::{self, Value};
use crate::engine::Read;
use crate::error::StoreError;
use crate::group::Group;
use crate::key::{Range, last_number, with_number};
use crate::mail::{AgentNo, Seq};
use crate::trees::Tree;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// Everything up to here was handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark(pub(crate) u64);

impl Value for Mark {
    const TREE: Tree = Tree::HandedOut;
}

/// Which messages of a mailbox were handed out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct HandedOut {
    pub(crate) mark: u64,
    pub(crate) beyond: BTreeSet<u64>,
}

impl HandedOut {
    pub(crate) fn contains(&self, seq: Seq) -> bool {
        seq.0 <= self.mark || self.beyond.contains(&seq.0)
    }
}

pub(crate) fn of(read: &dyn Read, agent: AgentNo) -> Result<HandedOut, StoreError> {
    let mut handed = HandedOut::default();
    let prefix = agent.0.to_be_bytes();
    let mut damage = None;
    read.scan(Tree::HandedOut, &Range::prefix(&prefix), &mut |key, value| {
        let read = if key.len() == prefix.len() {
            codec::decode::<Mark>(value).map(|mark| handed.mark = mark.0)
        } else {
            last_number(Tree::HandedOut, key).map(|seq| handed.beyond.extend([seq]))
        };
        match read {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                damage = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    damage.map_or(Ok(handed), Err)
}

/// Whether one message was.
pub(crate) fn has(read: &dyn Read, agent: AgentNo, seq: Seq) -> Result<bool, StoreError> {
    let prefix = agent.0.to_be_bytes();
    if let Some(bytes) = read.get(Tree::HandedOut, &prefix)?
        && seq.0 <= codec::decode::<Mark>(&bytes)?.0
    {
        return Ok(true);
    }
    Ok(read.has(Tree::HandedOut, &with_number(&prefix, seq.0))?)
}

/// Marks messages that are in the mailbox. Returns how many were not marked before.
pub(crate) fn mark(group: &mut Group<'_>, agent: AgentNo, seqs: &[Seq]) -> Result<u32, StoreError> {
    let prefix = agent.0.to_be_bytes();
    let handed = of(&group.txn, agent)?;
    let mut new = BTreeSet::new();
    for seq in seqs.iter().filter(|seq| !handed.contains(**seq)) {
        if group.txn.has(Tree::Mailbox, &with_number(&prefix, seq.0))? {
            new.insert(seq.0);
        }
    }
    let Some(highest) = new.last().copied() else { return Ok(0) };
    let count = u32::try_from(new.len()).unwrap_or(u32::MAX);
    let mut mark = handed.mark;
    let end = highest.max(handed.beyond.last().copied().unwrap_or(0)) + 1;
    group.txn.scan(
        Tree::Mailbox,
        &Range::numbers(&prefix, mark + 1, end),
        &mut |key, _| match last_number(Tree::Mailbox, key) {
            Ok(seq) if new.contains(&seq) || handed.beyond.contains(&seq) => {
                mark = seq;
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Break(()),
        },
    )?;
    for seq in handed.beyond.range(..=mark) {
        group.txn.remove(Tree::HandedOut, with_number(&prefix, *seq));
    }
    for seq in new.range(mark + 1..) {
        group.txn.put(Tree::HandedOut, with_number(&prefix, *seq), Vec::new());
    }
    if mark > handed.mark {
        group.txn.put(Tree::HandedOut, prefix.to_vec(), codec::encode(&Mark(mark))?);
    }
    Ok(count)
}

/// Forgets a message that left the mailbox.
pub(crate) fn forget(group: &mut Group<'_>, agent: AgentNo, seq: Seq) -> Result<(), StoreError> {
    let key = with_number(&agent.0.to_be_bytes(), seq.0);
    if group.txn.has(Tree::HandedOut, &key)? {
        group.txn.remove(Tree::HandedOut, key);
    }
    Ok(())
}

/// Forgets a mailbox.
pub(crate) fn forget_all(group: &mut Group<'_>, agent: AgentNo) -> Result<(), StoreError> {
    let handed = of(&group.txn, agent)?;
    let prefix = agent.0.to_be_bytes();
    for seq in handed.beyond {
        group.txn.remove(Tree::HandedOut, with_number(&prefix, seq));
    }
    group.txn.remove(Tree::HandedOut, prefix.to_vec());
    Ok(())
}
