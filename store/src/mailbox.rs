//! The tree `mailbox`: mail for agents of this node, until it is acknowledged or expires. Keys are
//! sequence numbers, never times: a clock that steps back must not hide mail from a cursor.

use crate::body::{Body, BodyPlace};
use crate::codec::{self, Value};
use crate::engine::{Range, Read};
use crate::error::StoreError;
use crate::expire::Kind;
use crate::group::Group;
use crate::key::{last_number, with_number};
use crate::mail::{AgentNo, MailboxEntry, Seq};
use crate::trees::Tree;
use crate::{classes, handed, history, postings, walk};
use amesh_proto::id::MessageId;
use amesh_proto::message::Priority;
use amesh_proto::time::UnixMillis;
use amesh_proto::trust::Trust;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::path::Path;

/// What stands before a message's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) id: MessageId,
    /// The fresh id of a message whose own was taken.
    pub(crate) renamed: Option<MessageId>,
    pub(crate) trust: Trust,
    /// As deliveries name it.
    pub(crate) sender_key: Option<String>,
    pub(crate) queued_at: UnixMillis,
    pub(crate) expires_at: UnixMillis,
    pub(crate) sender: Option<AgentNo>,
    pub(crate) class: Priority,
    pub(crate) body: BodyPlace,
}

impl Value for Head {
    const TREE: Tree = Tree::Mailbox;
    const VERSION: u8 = 2;

    fn read_older(version: u8, bytes: &[u8]) -> Option<(Self, &[u8])> {
        let read = (version == 1).then(|| postcard::take_from_bytes::<FirstHead>(bytes).ok());
        read.flatten().map(|(head, rest)| (head.into(), rest))
    }
}

/// A head of version 1: nobody kept the sender's key.
#[derive(Debug, Serialize, Deserialize)]
struct FirstHead {
    id: MessageId,
    renamed: Option<MessageId>,
    trust: Trust,
    queued_at: UnixMillis,
    expires_at: UnixMillis,
    sender: Option<AgentNo>,
    class: Priority,
    body: BodyPlace,
}

impl From<FirstHead> for Head {
    fn from(first: FirstHead) -> Self {
        let FirstHead { id, renamed, trust, queued_at, expires_at, sender, class, body } = first;
        Self { id, renamed, trust, sender_key: None, queued_at, expires_at, sender, class, body }
    }
}

impl Head {
    pub(crate) fn shown_id(&self) -> &MessageId {
        self.renamed.as_ref().unwrap_or(&self.id)
    }
}

/// Whether there is room for one more (RLY-2, A-49). The node's own notices may go somewhat beyond.
pub(crate) fn has_room(group: &Group<'_>, agent: AgentNo, notice: bool) -> bool {
    let count = group.tally().mailbox(agent);
    let slack = if notice { NOTICE_SLACK } else { 0 };
    count.total.saturating_sub(count.handed_out) < group.config.mailbox_new.saturating_add(slack)
        && count.handed_out < group.config.mailbox_handed_out.saturating_add(slack)
}

/// Puts a message in; the caller has checked everything.
pub(crate) fn put(
    group: &mut Group<'_>,
    agent: AgentNo,
    seq: Seq,
    head: &Head,
    body: &Body,
) -> Result<(), StoreError> {
    let value = body.store(group, head)?;
    let key = with_number(&agent.0.to_be_bytes(), seq.0);
    group.txn.put(Tree::Mailbox, key.clone(), value);
    group.due.add(head.expires_at, Kind::Mailbox, key);
    classes::put(group, agent, head.class, seq);
    let mut count = group.tally().mailbox(agent);
    count.total += 1;
    group.set_mailbox(agent, count);
    Ok(())
}

/// Removes what its owner has. Returns the ids that were there.
pub(crate) fn acknowledge(
    group: &mut Group<'_>,
    agent: AgentNo,
    ids: Vec<MessageId>,
) -> Result<Vec<MessageId>, StoreError> {
    let mut removed = Vec::with_capacity(ids.len());
    for id in ids {
        let Some(entry) = history::shown(&group.txn, agent, &id)? else { continue };
        if group.txn.has(Tree::Mailbox, &with_number(&agent.0.to_be_bytes(), entry.seq.0))? {
            remove(group, agent, entry.seq, entry.body)?;
            removed.push(id);
        }
    }
    Ok(removed)
}

/// Notes what the recipient was given; it stays until acknowledged (DESIGN §1.3).
pub(crate) fn mark_handed_out(group: &mut Group<'_>, agent: AgentNo, seqs: &[Seq]) -> Result<(), StoreError> {
    let before = group.tally().mailbox(agent);
    let count = handed::mark(&mut group.txn, before, agent, seqs)?;
    if count != before {
        group.set_mailbox(agent, count);
    }
    Ok(())
}

/// Takes one message out, whoever wants it gone. Returns its head, if it was there.
pub(crate) fn take(group: &mut Group<'_>, agent: AgentNo, seq: Seq) -> Result<Option<Head>, StoreError> {
    let Some(head) = head(&group.txn, agent, seq)? else { return Ok(None) };
    remove(group, agent, seq, head.body)?;
    Ok(Some(head))
}

/// Takes everything out, for an agent that leaves. Returns the heads.
pub(crate) fn take_all(group: &mut Group<'_>, agent: AgentNo) -> Result<Vec<Head>, StoreError> {
    let mut seqs = Vec::new();
    group.txn.scan(Tree::Mailbox, &Range::prefix(&agent.0.to_be_bytes()), &mut |key, _| {
        seqs.extend(last_number(Tree::Mailbox, key).ok());
        ControlFlow::Continue(())
    })?;
    let mut heads = Vec::with_capacity(seqs.len());
    for seq in seqs {
        heads.extend(take(group, agent, Seq(seq))?);
    }
    Ok(heads)
}

fn remove(group: &mut Group<'_>, agent: AgentNo, seq: Seq, body: BodyPlace) -> Result<(), StoreError> {
    postings::forget(group, agent, seq)?;
    classes::forget(group, agent, seq)?;
    let before = group.tally().mailbox(agent);
    let count = handed::forget(&mut group.txn, before, agent, seq)?;
    body.release(group)?;
    group.txn.remove(Tree::Mailbox, with_number(&agent.0.to_be_bytes(), seq.0));
    group.set_mailbox(agent, count);
    Ok(())
}

/// What the mailbox tells of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    New,
    HandedOut,
    Gone,
}

pub(crate) fn standing(read: &dyn Read, agent: AgentNo, seq: Seq) -> Result<Standing, StoreError> {
    if !read.has(Tree::Mailbox, &with_number(&agent.0.to_be_bytes(), seq.0))? {
        Ok(Standing::Gone)
    } else if handed::of(read, agent)?.contains(seq) {
        Ok(Standing::HandedOut)
    } else {
        Ok(Standing::New)
    }
}

/// Up to `limit` messages with `after < seq <= until`, oldest first.
pub(crate) fn pending(
    read: &dyn Read,
    blobs: Option<&Path>,
    agent: AgentNo,
    (after, until): (Seq, Seq),
    limit: usize,
) -> Result<Vec<MailboxEntry>, StoreError> {
    let range = Range::numbers(&agent.0.to_be_bytes(), after.0.saturating_add(1), until.0.saturating_add(1));
    if limit == 0 || after >= until {
        return Ok(Vec::new());
    }
    let mut entries =
        walk::first(read, Tree::Mailbox, &range, limit, |key, value| entry_of(key, value, blobs))?;
    mark_handed_out_in(read, agent, &mut entries)?;
    Ok(entries)
}

/// The same, of the messages of one class only.
pub(crate) fn pending_of(
    read: &dyn Read,
    blobs: Option<&Path>,
    (agent, class): (AgentNo, Priority),
    (after, until): (Seq, Seq),
    limit: usize,
) -> Result<Vec<MailboxEntry>, StoreError> {
    if limit == 0 || after >= until {
        return Ok(Vec::new());
    }
    let prefix = agent.0.to_be_bytes();
    let mut entries = if classes::has_rows(class) {
        let mut entries = Vec::new();
        for seq in classes::seqs(read, agent, class, (after, until), limit)? {
            let key = with_number(&prefix, seq.0);
            // The walk and this are not one moment: what left in between is left out.
            if let Some(value) = read.get(Tree::Mailbox, &key)? {
                entries.push(entry_of(&key, &value, blobs)?);
            }
        }
        entries
    } else {
        let range = Range::numbers(&prefix, after.0.saturating_add(1), until.0.saturating_add(1));
        walk::first_that(read, Tree::Mailbox, &range, limit, |key, value| {
            let (head, _) = codec::decode_prefix::<Head>(value)?;
            if head.class == class { entry_of(key, value, blobs).map(Some) } else { Ok(None) }
        })?
    };
    mark_handed_out_in(read, agent, &mut entries)?;
    Ok(entries)
}

fn mark_handed_out_in(
    read: &dyn Read,
    agent: AgentNo,
    entries: &mut [MailboxEntry],
) -> Result<(), StoreError> {
    if entries.is_empty() {
        return Ok(());
    }
    let handed = handed::of(read, agent)?;
    for entry in entries {
        entry.handed_out = handed.contains(entry.seq);
    }
    Ok(())
}

/// How many messages there are with `after < seq <= until`; of expired ones only those that outlive `living_at`.
pub(crate) fn count(
    read: &dyn Read,
    agent: AgentNo,
    (after, until): (Seq, Seq),
    living_at: Option<UnixMillis>,
) -> Result<u32, StoreError> {
    let range = Range::numbers(&agent.0.to_be_bytes(), after.0.saturating_add(1), until.0.saturating_add(1));
    let (mut count, mut damage) = (0, None);
    if after >= until {
        return Ok(0);
    }
    read.scan(Tree::Mailbox, &range, &mut |_, value| match codec::decode_prefix::<Head>(value) {
        Ok((head, _)) => {
            count += u32::from(living_at.is_none_or(|now| head.expires_at > now));
            ControlFlow::Continue(())
        }
        Err(error) => {
            damage = Some(error);
            ControlFlow::Break(())
        }
    })?;
    damage.map_or(Ok(count), Err)
}

/// The message under a shown id.
pub(crate) fn entry(
    read: &dyn Read,
    blobs: Option<&Path>,
    agent: AgentNo,
    id: &MessageId,
) -> Result<Option<MailboxEntry>, StoreError> {
    let Some(history::Entry { seq, .. }) = history::shown(read, agent, id)? else { return Ok(None) };
    let key = with_number(&agent.0.to_be_bytes(), seq.0);
    let Some(value) = read.get(Tree::Mailbox, &key)? else { return Ok(None) };
    let mut entry = entry_of(&key, &value, blobs)?;
    entry.handed_out = handed::of(read, agent)?.contains(seq);
    Ok(Some(entry))
}

/// Whether the message is in its mailbox.
pub(crate) fn is_there(read: &dyn Read, agent: AgentNo, seq: Seq) -> Result<bool, StoreError> {
    Ok(read.has(Tree::Mailbox, &with_number(&agent.0.to_be_bytes(), seq.0))?)
}

pub(crate) fn head(read: &dyn Read, agent: AgentNo, seq: Seq) -> Result<Option<Head>, StoreError> {
    let key = with_number(&agent.0.to_be_bytes(), seq.0);
    let Some(value) = read.get(Tree::Mailbox, &key)? else { return Ok(None) };
    codec::decode_prefix::<Head>(&value).map(|(head, _)| Some(head))
}

pub(crate) fn entry_of(key: &[u8], value: &[u8], blobs: Option<&Path>) -> Result<MailboxEntry, StoreError> {
    let (head, rest) = codec::decode_prefix::<Head>(value)?;
    let mail = head.body.read(Tree::Mailbox, rest, blobs)?;
    Ok(MailboxEntry {
        seq: Seq(last_number(Tree::Mailbox, key)?),
        shown_id: head.renamed.unwrap_or(head.id),
        mail,
        trust: head.trust,
        sender_key: head.sender_key,
        queued_at: head.queued_at,
        expires_at: head.expires_at,
        handed_out: false,
    })
}

/// How many notices of the node itself a full mailbox still takes.
const NOTICE_SLACK: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_an_older_node_put_there_is_still_read() {
        let first = FirstHead {
            id: MessageId::mint(UnixMillis(5), 7_u64.to_be_bytes()),
            renamed: None,
            trust: Trust::Verified,
            queued_at: UnixMillis(5),
            expires_at: UnixMillis(9),
            sender: Some(AgentNo(3)),
            class: Priority::Urgent,
            body: BodyPlace::Inline,
        };
        let mut value = postcard::to_extend(&first, vec![1]).unwrap();
        value.extend(b"body");
        let (head, body) = codec::decode_prefix::<Head>(&value).unwrap();
        assert_eq!(
            (head.sender_key.as_deref(), head.expires_at, head.class),
            (None, first.expires_at, first.class)
        );
        assert_eq!((head.id, body), (first.id, b"body".as_slice()));
        value[0] = 3;
        assert!(codec::decode_prefix::<Head>(&value).is_err(), "a version that nobody knows yet");
    }
}
