//! The trees `history` and `idempotency`: every message that was committed, long after it left: what the first commit
//! was answered, for repeats; under which id a mailbox showed it; what became of it, for the sender who asks. One entry a
//! message, by (id, sender, recipient): never by the id alone, or one sender could suppress another's mail (DESIGN §1.2).
//! Ids begin with their time, so entries are written where the last ones were. Used by `accept`, `mailbox`, `outbox` and
//! `status`.

use crate::body::BodyPlace;
use crate::codec::{self, Value};
use crate::engine::{Range, Read};
use crate::error::StoreError;
use crate::expire::Kind;
use crate::group::Group;
use crate::key::{join, short_hash};
use crate::mail::{AgentNo, CommitOutcome, CommitReceipt, MessageState, Place, Seq};
use crate::receipt::ReceiptKind;
use crate::trees::Tree;
use crate::walk;
use amesh_proto::address::Address;
use amesh_proto::id::MessageId;
use amesh_proto::message::Mail;
use amesh_proto::node_id::NodeId;
use amesh_proto::time::UnixMillis;
use serde::{Deserialize, Serialize};

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) seq: Seq,
    pub(crate) queued_at: UnixMillis,
    pub(crate) name: Name,
    pub(crate) digest: [u8; 32],
    /// The agent of this node that sent it.
    pub(crate) sender: Option<AgentNo>,
    /// Or the node that brought it.
    pub(crate) carried: Option<Carried>,
    pub(crate) to: Address,
    pub(crate) place: Place,
    pub(crate) body: BodyPlace,
    pub(crate) state: MessageState,
    pub(crate) changed_at: UnixMillis,
    pub(crate) expires_at: UnixMillis,
    /// When its sender was given word of its delivery.
    pub(crate) delivered_at: Option<UnixMillis>,
    /// When its recipient said that it was read.
    pub(crate) read_at: Option<UnixMillis>,
}

/// Through whom a message came, for the way back of its receipts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Carried {
    pub(crate) node: NodeId,
    pub(crate) from: Address,
}

/// What the id in the entry's key is to the message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Name {
    /// Its own, and the one it is shown under.
    Own,
    /// Its own; it is shown under this one, because another sender had used its own.
    ShownAs(MessageId),
    /// The one it is shown under; its own is this one.
    Fresh(MessageId),
}

impl Value for Entry {
    const TREE: Tree = Tree::History;
}

/// What an idempotency key was used for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UsedFor(pub(crate) MessageId);

impl Value for UsedFor {
    const TREE: Tree = Tree::Idempotency;
}

/// The hash of an idempotency key.
pub(crate) type IdempotencyHash = [u8; 16];

/// Hash of the sender's address, then of the recipient's.
pub(crate) type Parties = [u8; 16];

/// Who asks whether a message is known.
pub(crate) struct Question<'a> {
    pub(crate) id: &'a MessageId,
    pub(crate) parties: &'a Parties,
    pub(crate) sender: Option<AgentNo>,
    pub(crate) mailbox: Option<AgentNo>,
    pub(crate) idempotency: Option<&'a IdempotencyHash>,
    pub(crate) digest: &'a [u8; 32],
}

/// What is known of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nobody used the id.
    New,
    /// The mailbox shows, or showed, another message under the id.
    Taken,
    /// The sender used it: the answer.
    Answered(CommitOutcome),
    /// It went on to another node from here, and comes back to where its recipient lives now (DESIGN §3, Moving).
    Returns(Box<Entry>),
}

pub(crate) fn parties_of(mail: &Mail) -> Parties {
    let mut parties = [0; 16];
    #[cfg(test)]
    if mail.id.as_str() == UNGUARDED {
        return parties;
    }
    parties[..8].copy_from_slice(&address_hash(&mail.from));
    parties[8..].copy_from_slice(&address_hash(&mail.to));
    parties
}

/// In tests: the one message that is known by its id alone, to show what that would lead to.
#[cfg(test)]
pub(crate) const UNGUARDED: &str = "msg_1_unguarded";

pub(crate) fn address_hash(address: &Address) -> [u8; 8] {
    short_hash(&[address.as_str().as_bytes()])
}

/// Whether this very message, or another under its id, was committed before.
pub(crate) fn look_up(read: &dyn Read, question: &Question<'_>) -> Result<Known, StoreError> {
    if let Some(answer) = by_idempotency(read, question)? {
        return Ok(Known::Answered(answer));
    }
    let mut known = Known::New;
    for (parties, entry) in of_id(read, question.id)? {
        let fresh = matches!(entry.name, Name::Fresh(_));
        let same_agent = question.sender.is_some() && question.sender == entry.sender;
        if !fresh && (same_agent || parties == *question.parties) {
            let carried = question.sender.is_none() && question.mailbox.is_some();
            if carried && matches!(entry.place, Place::Outbox(_)) {
                return Ok(Known::Returns(Box::new(entry)));
            }
            return Ok(Known::Answered(entry.answer(question.id, question.digest)));
        }
        if question.mailbox.is_some_and(|agent| entry.place == Place::Mailbox(agent)) {
            known = Known::Taken;
        }
    }
    Ok(known)
}

fn by_idempotency(read: &dyn Read, question: &Question<'_>) -> Result<Option<CommitOutcome>, StoreError> {
    let (Some(sender), Some(hash)) = (question.sender, question.idempotency) else { return Ok(None) };
    let Some(bytes) = read.get(Tree::Idempotency, &join(&sender.0.to_be_bytes(), hash))? else {
        return Ok(None);
    };
    let UsedFor(first) = codec::decode(&bytes)?;
    let found = sent_by(read, sender, &first)?;
    Ok(found.map(|(_, entry)| entry.answer(&first, question.digest)))
}

/// Writes down a message that is being committed, as long as anybody may ask for it or repeat it.
pub(crate) fn record(
    group: &mut Group<'_>,
    id: &MessageId,
    parties: &Parties,
    mut entry: Entry,
    forget_at: UnixMillis,
) -> Result<(), StoreError> {
    let key = key_of(id, parties);
    group.txn.put(Tree::History, key.clone(), codec::encode(&entry)?);
    group.due.add(forget_at, Kind::History, key);
    if let Name::ShownAs(shown) = entry.name {
        let key = key_of(&shown, parties);
        entry.name = Name::Fresh(id.clone());
        group.txn.put(Tree::History, key.clone(), codec::encode(&entry)?);
        group.due.add(forget_at, Kind::History, key);
    }
    Ok(())
}

pub(crate) fn record_idempotency(
    group: &mut Group<'_>,
    sender: AgentNo,
    hash: &IdempotencyHash,
    id: &MessageId,
    forget_at: UnixMillis,
) -> Result<(), StoreError> {
    let key = join(&sender.0.to_be_bytes(), hash);
    group.txn.put(Tree::Idempotency, key.clone(), codec::encode(&UsedFor(id.clone()))?);
    group.due.add(forget_at, Kind::Idempotency, key);
    Ok(())
}

/// What is known of one message, by its own id.
pub(crate) fn entry(read: &dyn Read, id: &MessageId, parties: &Parties) -> Result<Option<Entry>, StoreError> {
    read.get(Tree::History, &key_of(id, parties))?.map(|bytes| codec::decode(&bytes)).transpose()
}

/// The message is in a queue now. There it has no name but its own.
pub(crate) fn moved(
    group: &mut Group<'_>,
    id: &MessageId,
    parties: &Parties,
    seq: Seq,
    place: Place,
) -> Result<(), StoreError> {
    if let Some(mut entry) = entry(&group.txn, id, parties)? {
        (entry.seq, entry.place, entry.name) = (seq, place, Name::Own);
        group.txn.put(Tree::History, key_of(id, parties), codec::encode(&entry)?);
    }
    Ok(())
}

/// Forgets the name under which a mailbox showed a message whose own was taken.
pub(crate) fn forget_name(group: &mut Group<'_>, shown: &MessageId, parties: &Parties) {
    group.txn.remove(Tree::History, key_of(shown, parties));
}

/// Whether a mailbox shows, or showed, some message under an id.
pub(crate) fn is_shown(read: &dyn Read, agent: AgentNo, id: &MessageId) -> Result<bool, StoreError> {
    Ok(of_id(read, id)?.iter().any(|(_, entry)| entry.place == Place::Mailbox(agent)))
}

/// The message has ended, one way or the other. Nothing happens where it is forgotten already.
pub(crate) fn set_state(
    group: &mut Group<'_>,
    sender: AgentNo,
    id: &MessageId,
    state: MessageState,
    now: UnixMillis,
) -> Result<(), StoreError> {
    if let Some((parties, mut entry)) = sent_by(&group.txn, sender, id)? {
        entry.state = state;
        entry.changed_at = now;
        group.txn.put(Tree::History, key_of(id, &parties), codec::encode(&entry)?);
    }
    Ok(())
}

/// Writes an entry that was found by `id` down again.
pub(crate) fn write(
    group: &mut Group<'_>,
    id: &MessageId,
    parties: &Parties,
    entry: &Entry,
) -> Result<(), StoreError> {
    group.txn.put(Tree::History, key_of(id, parties), codec::encode(entry)?);
    Ok(())
}

/// Notes a delivery or a reading, under every name of the message; `id` is the one that `entry` was found by.
pub(crate) fn note(
    group: &mut Group<'_>,
    id: &MessageId,
    parties: &Parties,
    mut entry: Entry,
    kind: &ReceiptKind,
    at: UnixMillis,
) -> Result<(), StoreError> {
    entry.write_down(kind, at);
    group.txn.put(Tree::History, key_of(id, parties), codec::encode(&entry)?);
    let twin = match &entry.name {
        Name::Own => return Ok(()),
        Name::ShownAs(twin) | Name::Fresh(twin) => key_of(twin, parties),
    };
    if let Some(bytes) = group.txn.get(Tree::History, &twin)? {
        let mut entry: Entry = codec::decode(&bytes)?;
        entry.write_down(kind, at);
        group.txn.put(Tree::History, twin, codec::encode(&entry)?);
    }
    Ok(())
}

/// The message that a mailbox shows, or showed, under an id.
pub(crate) fn shown(read: &dyn Read, agent: AgentNo, id: &MessageId) -> Result<Option<Entry>, StoreError> {
    Ok(shown_to(read, agent, id)?.map(|(_, entry)| entry))
}

/// The same with its parties.
pub(crate) fn shown_to(
    read: &dyn Read,
    agent: AgentNo,
    id: &MessageId,
) -> Result<Option<(Parties, Entry)>, StoreError> {
    let shown = |(_, entry): &(Parties, Entry)| {
        entry.place == Place::Mailbox(agent) && !matches!(entry.name, Name::ShownAs(_))
    };
    Ok(of_id(read, id)?.into_iter().find(shown))
}

/// The message that an address of this node sent under an id.
pub(crate) fn sent_from(
    read: &dyn Read,
    from: &Address,
    id: &MessageId,
) -> Result<Option<(Parties, Entry)>, StoreError> {
    let from: [u8; 8] = address_hash(from);
    let wanted = |(parties, entry): &(Parties, Entry)| {
        parties.starts_with(&from) && !matches!(entry.name, Name::Fresh(_))
    };
    Ok(of_id(read, id)?.into_iter().find(wanted))
}

/// An id that the mailbox never showed, the same for every repeat of the message.
pub(crate) fn fresh_id(
    read: &dyn Read,
    agent: AgentNo,
    id: &MessageId,
    parties: &Parties,
    accepted_at: UnixMillis,
) -> Result<MessageId, StoreError> {
    for salt in 0..16u8 {
        let fresh = MessageId::mint(accepted_at, short_hash(&[id.as_str().as_bytes(), parties, &[salt]]));
        if shown(read, agent, &fresh)?.is_none() {
            return Ok(fresh);
        }
    }
    Err(codec::damaged(Tree::History))
}

/// The message that an agent of this node sent under an id.
pub(crate) fn sent_by(
    read: &dyn Read,
    sender: AgentNo,
    id: &MessageId,
) -> Result<Option<(Parties, Entry)>, StoreError> {
    let wanted =
        |(_, entry): &(Parties, Entry)| entry.sender == Some(sender) && !matches!(entry.name, Name::Fresh(_));
    Ok(of_id(read, id)?.into_iter().find(wanted))
}

/// The message that another node brought here, and that stands in the outbox as `seq`, or did.
pub(crate) fn carried_on(
    read: &dyn Read,
    id: &MessageId,
    seq: Seq,
) -> Result<Option<(Parties, Entry)>, StoreError> {
    let wanted = |(_, entry): &(Parties, Entry)| {
        entry.seq == seq && entry.carried.is_some() && matches!(entry.place, Place::Outbox(_))
    };
    Ok(of_id(read, id)?.into_iter().find(wanted))
}

/// Every message of an id: nearly always none or one.
fn of_id(read: &dyn Read, id: &MessageId) -> Result<Vec<(Parties, Entry)>, StoreError> {
    walk::all(read, Tree::History, &Range::prefix(&id_part(id)), |key, value| {
        let parties = key.last_chunk().ok_or_else(|| codec::damaged(Tree::History))?;
        Ok((*parties, codec::decode(value)?))
    })
}

impl Entry {
    fn answer(&self, id: &MessageId, digest: &[u8; 32]) -> CommitOutcome {
        if self.digest == *digest {
            CommitOutcome::Repeat { first: self.receipt(id) }
        } else {
            CommitOutcome::Conflict
        }
    }

    /// The message's own id, where it was found under `id`.
    pub(crate) fn own_id<'a>(&'a self, id: &'a MessageId) -> &'a MessageId {
        if let Name::Fresh(own) = &self.name { own } else { id }
    }

    /// When this was noted of the message.
    pub(crate) fn noted(&self, kind: &ReceiptKind) -> Option<UnixMillis> {
        match kind {
            ReceiptKind::Delivered { .. } => self.delivered_at,
            ReceiptKind::Read => self.read_at,
            ReceiptKind::Failed { .. } => {
                matches!(self.state, MessageState::Failed { .. }).then_some(self.changed_at)
            }
        }
    }

    fn write_down(&mut self, kind: &ReceiptKind, at: UnixMillis) {
        match kind {
            ReceiptKind::Delivered { .. } => self.delivered_at = Some(at),
            ReceiptKind::Read => self.read_at = Some(at),
            ReceiptKind::Failed { code, detail } => {
                self.state = MessageState::Failed { code: code.clone(), detail: detail.clone() };
                self.changed_at = at;
            }
        }
    }

    /// What the commit was answered; `id` is the message's own.
    pub(crate) fn receipt(&self, id: &MessageId) -> CommitReceipt {
        let shown_id = if let Name::ShownAs(shown) = &self.name { shown } else { id };
        CommitReceipt { seq: self.seq, id: id.clone(), shown_id: shown_id.clone(), queued_at: self.queued_at }
    }
}

pub(crate) fn key_of(id: &MessageId, parties: &Parties) -> Vec<u8> {
    [id_part(id).as_slice(), parties].concat()
}

/// No id holds a zero byte, so no id's part is the beginning of another's.
fn id_part(id: &MessageId) -> Vec<u8> {
    join(id.as_str().as_bytes(), &[0])
}
