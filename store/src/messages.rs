//! The trees `messages` and `idempotency`: what agents of this node sent and what became of it. Used by `accept`,
//! `outbox`, `expire`, and by the sender who asks.

use crate::codec::{self, Value};
use crate::engine::Read;
use crate::error::StoreError;
use crate::expire::Kind;
use crate::group::Group;
use crate::key::{Range, join};
use crate::mail::{AgentNo, CommitOutcome, CommitReceipt, MessageState, MessageStatus, Place};
use crate::mailbox::{self, Standing};
use crate::trees::Tree;
use amesh_proto::address::Address;
use amesh_proto::id::MessageId;
use amesh_proto::time::UnixMillis;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SentValue {
    pub(crate) receipt: CommitReceipt,
    pub(crate) to: Address,
    pub(crate) digest: [u8; 32],
    pub(crate) place: Place,
    pub(crate) state: MessageState,
    pub(crate) changed_at: UnixMillis,
    pub(crate) expires_at: UnixMillis,
}

impl Value for SentValue {
    const TREE: Tree = Tree::Messages;
}

/// What an idempotency key was used for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UsedFor(pub(crate) MessageId);

impl Value for UsedFor {
    const TREE: Tree = Tree::Idempotency;
}

/// The hash of an idempotency key.
pub(crate) type IdempotencyHash = [u8; 16];

/// The first result again, if the sender did this before (DESIGN §1.2).
pub(crate) fn repeat(
    read: &dyn Read,
    sender: AgentNo,
    id: &MessageId,
    idempotency: Option<&IdempotencyHash>,
    digest: &[u8; 32],
) -> Result<Option<CommitOutcome>, StoreError> {
    let mut known = sent(read, sender, id)?;
    if let Some(hash) = idempotency
        && let Some(bytes) = read.get(Tree::Idempotency, &join(&sender.0.to_be_bytes(), hash))?
    {
        let UsedFor(first) = codec::decode(&bytes)?;
        known = sent(read, sender, &first)?.or(known);
    }
    Ok(known.map(|value| {
        if value.digest == *digest {
            CommitOutcome::Repeat { first: value.receipt }
        } else {
            CommitOutcome::Conflict
        }
    }))
}

/// Writes down what was sent, as long as anybody may ask or repeat it.
pub(crate) fn record(
    group: &mut Group<'_>,
    sender: AgentNo,
    value: &SentValue,
    idempotency: Option<&IdempotencyHash>,
    forget_at: UnixMillis,
) -> Result<(), StoreError> {
    let key = key_of(sender, &value.receipt.id);
    group.txn.put(Tree::Messages, key.clone(), codec::encode(value)?);
    group.due.add(forget_at, Kind::Sent, key);
    if let Some(hash) = idempotency {
        let key = join(&sender.0.to_be_bytes(), hash);
        let used = UsedFor(value.receipt.id.clone());
        group.txn.put(Tree::Idempotency, key.clone(), codec::encode(&used)?);
        group.due.add(forget_at, Kind::Idempotency, key);
    }
    Ok(())
}

/// The message has ended, one way or the other. Nothing happens where it is forgotten already.
pub(crate) fn set_state(
    group: &mut Group<'_>,
    sender: AgentNo,
    id: &MessageId,
    state: MessageState,
    now: UnixMillis,
) -> Result<(), StoreError> {
    if let Some(mut value) = sent(&group.txn, sender, id)? {
        value.state = state;
        value.changed_at = now;
        group.txn.put(Tree::Messages, key_of(sender, id), codec::encode(&value)?);
    }
    Ok(())
}

/// The answer to a sender who asks. What the mailbox itself tells is not written down a second time.
pub(crate) fn status(
    read: &dyn Read,
    sender: AgentNo,
    id: &MessageId,
) -> Result<Option<MessageStatus>, StoreError> {
    let Some(value) = sent(read, sender, id)? else { return Ok(None) };
    let mut state = value.state;
    if let (MessageState::Queued, Place::Mailbox(agent)) = (&state, &value.place) {
        match mailbox::standing(read, *agent, value.receipt.seq)? {
            Standing::New => {}
            Standing::HandedOut => state = MessageState::Delivered { basis: "handed_out".into() },
            Standing::Gone => state = MessageState::Delivered { basis: "acknowledged".into() },
        }
    }
    Ok(Some(MessageStatus {
        receipt: value.receipt,
        to: value.to,
        place: value.place,
        state,
        changed_at: value.changed_at,
        expires_at: value.expires_at,
    }))
}

/// Forgets everything that an agent sent; for an agent that leaves.
pub(crate) fn forget_sender(group: &mut Group<'_>, sender: AgentNo) -> Result<(), StoreError> {
    for tree in [Tree::Messages, Tree::Idempotency] {
        let mut keys = Vec::new();
        group.txn.scan(tree, &Range::prefix(&sender.0.to_be_bytes()), &mut |key, _| {
            keys.push(key.to_vec());
            ControlFlow::Continue(())
        })?;
        keys.into_iter().for_each(|key| group.txn.remove(tree, key));
    }
    Ok(())
}

fn sent(read: &dyn Read, sender: AgentNo, id: &MessageId) -> Result<Option<SentValue>, StoreError> {
    read.get(Tree::Messages, &key_of(sender, id))?.map(|bytes| codec::decode(&bytes)).transpose()
}

fn key_of(sender: AgentNo, id: &MessageId) -> Vec<u8> {
    join(&sender.0.to_be_bytes(), id.as_str().as_bytes())
}
