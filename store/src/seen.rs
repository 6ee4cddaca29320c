//! The tree `seen`: which (recipient, sender, id) were committed, and what the first one was answered. Never keyed by
//! the id alone: one sender could then suppress another's mail (DESIGN §1.2). Used by `accept`.

use crate::codec::{self, Value};
use crate::engine::Read;
use crate::error::StoreError;
use crate::expire::Kind;
use crate::group::Group;
use crate::key::{Range, short_hash};
use crate::mail::{CommitOutcome, CommitReceipt};
use crate::trees::Tree;
use amesh_proto::message::Mail;
use amesh_proto::time::UnixMillis;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

/// Hash of (recipient, id), then hash of the sender.
pub(crate) type SeenKey = [u8; 24];

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SeenValue {
    pub(crate) receipt: CommitReceipt,
    pub(crate) digest: [u8; 32],
}

impl Value for SeenValue {
    const TREE: Tree = Tree::Seen;
}

/// What is known of an id in a mailbox.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nobody used it.
    New,
    /// Another sender used it.
    OfAnother,
    /// This sender used it: the answer.
    Answered(CommitOutcome),
}

pub(crate) fn key_of(mail: &Mail) -> SeenKey {
    let mut key = [0; 24];
    let first: [u8; 16] = short_hash(&[mail.to.as_str().as_bytes(), mail.id.as_str().as_bytes()]);
    let second: [u8; 8] = short_hash(&[mail.from.as_str().as_bytes()]);
    key[..16].copy_from_slice(&first);
    key[16..].copy_from_slice(&second);
    key
}

pub(crate) fn look_up(read: &dyn Read, key: &SeenKey, digest: &[u8; 32]) -> Result<Known, StoreError> {
    let mut known = Ok(Known::New);
    read.scan(Tree::Seen, &Range::prefix(&key[..16]), &mut |found, value| {
        known = if found == key { answer(value, digest) } else { Ok(Known::OfAnother) };
        if found == key { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    known
}

/// Remembers the first receipt until nobody can repeat the message any more.
pub(crate) fn remember(
    group: &mut Group<'_>,
    key: &SeenKey,
    receipt: CommitReceipt,
    digest: [u8; 32],
    forget_at: UnixMillis,
) -> Result<(), StoreError> {
    group.txn.put(Tree::Seen, key.to_vec(), codec::encode(&SeenValue { receipt, digest })?);
    group.due.add(forget_at, Kind::Seen, key.to_vec());
    Ok(())
}

fn answer(value: &[u8], digest: &[u8; 32]) -> Result<Known, StoreError> {
    let value: SeenValue = codec::decode(value)?;
    Ok(Known::Answered(if value.digest == *digest {
        CommitOutcome::Repeat { first: value.receipt }
    } else {
        CommitOutcome::Conflict
    }))
}
