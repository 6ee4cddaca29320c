//! Changes as data: what callers enqueue and the writer applies. One variant per public call that writes.

use crate::accept::{self, Prepared};
use crate::agents::{
    self, AgentChange, AgentRecord, Deregistered, NewAgent, NewKey, RegisterOutcome, RenameOutcome,
};
use crate::api_keys::KeyHash;
use crate::attachments::{self, Stage, Upload, UploadOutcome};
use crate::endings::{self, Expired};
use crate::error::StoreError;
use crate::files::FilePart;
use crate::group::Group;
use crate::mail::{AgentNo, CommitOutcome, Destination, Holder, Seq, Settlement, Target};
use crate::moving::{self, Onward};
use crate::owners::{self, InviteCode, OwnerId, OwnerRecord};
use crate::peers::{self, PeerRecord};
use crate::postings::{self, Posting};
use crate::receipt::{BroughtReceipt, Given, ReceiptKind, ReceiptOwner};
use crate::rosters::{self, RosterDelta};
use crate::tickets::{self, SpendOutcome, TokenHash};
use crate::{api_keys, mailbox, outbox, own_roster, pins, receipts};
use amesh_proto::address::Address;
use amesh_proto::attachment::AttachmentId;
use amesh_proto::id::MessageId;
use amesh_proto::message::Mail;
use amesh_proto::node_id::NodeId;
use amesh_proto::roster::{HomeStatement, RosterHead};
use amesh_proto::time::UnixMillis;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::oneshot;

/// Where a change's answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// An answer that waits for the group's sync.
pub(crate) type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// A change that was handed in. Resolves when it is durable; dropping it does not cancel the change.
#[must_use = "the change happens anyway, but only the resolved future says that it is durable"]
pub struct Durable<T> {
    state: DurableState<T>,
}

enum DurableState<T> {
    Waiting(oneshot::Receiver<Result<T, StoreError>>),
    Refused(Option<StoreError>),
}

impl<T> Durable<T> {
    pub(crate) fn waiting(receiver: oneshot::Receiver<Result<T, StoreError>>) -> Self {
        Self { state: DurableState::Waiting(receiver) }
    }

    pub(crate) fn refused(error: StoreError) -> Self {
        Self { state: DurableState::Refused(Some(error)) }
    }

    /// Waits on this thread. Not for async code.
    ///
    /// # Errors
    /// When the change failed.
    pub fn wait(self) -> Result<T, StoreError> {
        match self.state {
            DurableState::Waiting(receiver) => receiver.blocking_recv().unwrap_or(Err(StoreError::Closed)),
            DurableState::Refused(error) => Err(error.unwrap_or(StoreError::Closed)),
        }
    }
}

impl<T> Future for Durable<T> {
    type Output = Result<T, StoreError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.get_mut().state {
            DurableState::Waiting(receiver) => {
                Pin::new(receiver).poll(context).map(|answer| answer.unwrap_or(Err(StoreError::Closed)))
            }
            DurableState::Refused(error) => Poll::Ready(Err(error.take().unwrap_or(StoreError::Closed))),
        }
    }
}

// What is waited for needs not be movable for the future to be.
impl<T> Unpin for Durable<T> {}

impl<T> fmt::Debug for Durable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Durable").finish_non_exhaustive()
    }
}

/// Something to write.
pub(crate) enum Change {
    CommitMail(Box<Prepared>, Reply<CommitOutcome>),
    Acknowledge(AgentNo, Vec<MessageId>, Reply<Vec<MessageId>>),
    MarkHandedOut(AgentNo, Vec<Seq>, Reply<()>),
    NotePosting(AgentNo, Seq, Posting, Reply<bool>),
    GiveReceipts(AgentNo, Vec<MessageId>, ReceiptKind, UnixMillis, Reply<Vec<Given>>),
    TakeReceipts(NodeId, Vec<BroughtReceipt>, UnixMillis, Reply<Vec<ReceiptOwner>>),
    ForgetReceipts(ReceiptOwner, Seq, Reply<()>),
    Settle(Destination, Vec<(Seq, Settlement)>, UnixMillis, Reply<()>),
    Expire(UnixMillis, HashMap<Seq, Mail>, Reply<Expired>),
    PutOffExpiry(Expired, Reply<Expired>),
    Register(Box<NewAgent>, Reply<RegisterOutcome>),
    UpdateAgent(AgentNo, Box<AgentChange>, UnixMillis, Reply<AgentRecord>),
    RotateKey(AgentNo, Box<NewKey>, UnixMillis, Reply<Option<Box<AgentRecord>>>),
    RenameAgent(AgentNo, Box<(Address, String)>, UnixMillis, Reply<RenameOutcome>),
    SetHome(AgentNo, Box<HomeStatement>, Reply<()>),
    Depart(AgentNo, (NodeId, Seq), UnixMillis, Reply<bool>),
    HandOn(AgentNo, Vec<Onward>, NodeId, UnixMillis, Reply<u32>),
    Redirect(NodeId, Vec<Onward>, Box<Target>, UnixMillis, Reply<u32>),
    Deregister(AgentNo, UnixMillis, Reply<Deregistered>),
    AddApiKey(AgentNo, KeyHash, Option<UnixMillis>, Reply<()>),
    RotateApiKey(AgentNo, Box<(KeyHash, KeyHash)>, UnixMillis, Reply<bool>),
    RevokeApiKeys(AgentNo, Reply<u32>),
    PutRoster(Box<RosterHead>, RosterDelta, Reply<()>),
    DropRoster(NodeId, Reply<()>),
    PutPeer(Box<PeerRecord>, Reply<()>),
    DropPeer(NodeId, Reply<()>),
    SetPin(String, Option<String>, Reply<()>),
    PutOwner(Box<OwnerRecord>, Reply<bool>),
    DropOwner(OwnerId, Reply<bool>),
    AddInviteCode(KeyHash, Box<InviteCode>, UnixMillis, Reply<bool>),
    AddTicket(TokenHash, UnixMillis, bool, Reply<()>),
    SpendTicket(TokenHash, NodeId, UnixMillis, Reply<SpendOutcome>),
    RequestUpload(Box<Upload>, Reply<UploadOutcome>),
    StoreUpload(Box<StoredUpload>, Reply<Option<Upload>>),
    ConfirmUpload(AttachmentId, Holder, Reply<Option<Upload>>),
}

/// Bytes that came for an upload.
pub(crate) struct StoredUpload {
    pub(crate) id: AttachmentId,
    pub(crate) holder: Holder,
    pub(crate) part: FilePart,
    pub(crate) stage: Stage,
    pub(crate) oddity: Option<String>,
    pub(crate) now: UnixMillis,
}

impl Change {
    /// Bytes that count against the queue's bound.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::CommitMail(mail, _) => mail.size(),
            Self::PutRoster(_, RosterDelta::Whole(entries) | RosterDelta::Part { put: entries, .. }, _) => {
                entries.len() * 256
            }
            Self::TakeReceipts(_, taken, ..) => taken.len() * 256,
            Self::HandOn(_, mail, ..) | Self::Redirect(_, mail, ..) => mail.iter().map(Onward::size).sum(),
            _ => 64,
        }
    }

    /// Applies the change to the group; the answer waits for the sync.
    pub(crate) fn apply(self, group: &mut Group<'_>) -> Answer {
        match self {
            Self::CommitMail(mail, reply) => answer(reply, group.apply(|group| accept::commit(group, &mail))),
            Self::Acknowledge(agent, ids, reply) => {
                answer(reply, group.apply(|group| mailbox::acknowledge(group, agent, ids)))
            }
            Self::MarkHandedOut(agent, seqs, reply) => {
                answer(reply, group.apply(|group| mailbox::mark_handed_out(group, agent, &seqs)))
            }
            Self::NotePosting(agent, seq, posting, reply) => {
                answer(reply, group.apply(|group| postings::note(group, agent, seq, posting)))
            }
            Self::GiveReceipts(agent, ids, kind, now, reply) => {
                answer(reply, group.apply(|group| receipts::give(group, agent, &ids, &kind, now)))
            }
            Self::TakeReceipts(node, taken, now, reply) => {
                answer(reply, group.apply(|group| receipts::take(group, node, taken, now)))
            }
            Self::ForgetReceipts(owner, until, reply) => {
                answer(reply, group.apply(|group| receipts::forget(group, owner, until)))
            }
            Self::Settle(destination, settlements, now, reply) => {
                let key = outbox::key_of(&destination);
                answer(reply, group.apply(|group| outbox::settle(group, &key, settlements, now)))
            }
            Self::Expire(now, notices, reply) => {
                answer(reply, group.apply(|group| endings::expire(group, now, notices)))
            }
            Self::PutOffExpiry(waiting, reply) => answer(reply, group.apply(|_| Ok(waiting))),
            other => other.apply_rare(group),
        }
    }

    fn apply_rare(self, group: &mut Group<'_>) -> Answer {
        match self {
            Self::Register(new, reply) => answer(reply, group.apply(|group| agents::register(group, *new))),
            Self::UpdateAgent(agent, change, now, reply) => {
                answer(reply, group.apply(|group| agents::update(group, agent, *change, now)))
            }
            Self::RotateKey(agent, key, now, reply) => {
                answer(reply, group.apply(|group| agents::rotate_key(group, agent, *key, now)))
            }
            Self::RenameAgent(agent, names, now, reply) => {
                let (address, name) = *names;
                answer(reply, group.apply(|group| agents::rename(group, agent, address, name, now)))
            }
            Self::SetHome(agent, home, reply) => answer(
                reply,
                group.apply(|group| {
                    let record = agents::require(&group.txn, agent)?;
                    own_roster::set_home(group, &record.address, *home)?;
                    group.tally_mut().set_departed(agent, None);
                    Ok(())
                }),
            ),
            Self::Depart(agent, to, now, reply) => {
                answer(reply, group.apply(|group| agents::depart(group, agent, to, now)))
            }
            Self::HandOn(agent, mail, node, now, reply) => {
                answer(reply, group.apply(|group| moving::hand_on(group, agent, &mail, node, now)))
            }
            Self::Redirect(from, mail, to, now, reply) => {
                answer(reply, group.apply(|group| moving::redirect(group, from, &mail, &to, now)))
            }
            Self::Deregister(agent, now, reply) => {
                answer(reply, group.apply(|group| agents::deregister(group, agent, now)))
            }
            Self::AddApiKey(agent, hash, others_until, reply) => answer(
                reply,
                group.apply(|group| {
                    agents::require(&group.txn, agent)?;
                    api_keys::add(group, agent, hash, others_until)
                }),
            ),
            Self::RotateApiKey(agent, keys, until, reply) => {
                let (old, new) = *keys;
                answer(reply, group.apply(|group| api_keys::rotate(group, agent, &old, new, until)))
            }
            Self::RevokeApiKeys(agent, reply) => {
                answer(reply, group.apply(|group| api_keys::revoke_all(group, agent)))
            }
            Self::PutRoster(head, delta, reply) => {
                answer(reply, group.apply(|group| rosters::put(group, *head, delta)))
            }
            Self::DropRoster(node, reply) => {
                answer(reply, group.apply(|group| rosters::drop_node(group, &node)))
            }
            Self::PutPeer(peer, reply) => answer(reply, group.apply(|group| peers::put(group, &peer))),
            Self::DropPeer(node, reply) => answer(
                reply,
                group.apply(|group| {
                    peers::remove(group, &node);
                    Ok(())
                }),
            ),
            Self::SetPin(name, value, reply) => {
                answer(reply, group.apply(|group| pins::set(group, &name, value)))
            }
            Self::PutOwner(owner, reply) => answer(reply, group.apply(|group| owners::put(group, &owner))),
            Self::DropOwner(id, reply) => answer(reply, group.apply(|group| owners::remove(group, &id))),
            Self::AddInviteCode(hash, code, now, reply) => {
                answer(reply, group.apply(|group| owners::add_code(group, hash, &code, now)))
            }
            Self::AddTicket(token, expires_at, introducer, reply) => {
                answer(reply, group.apply(|group| tickets::add(group, token, expires_at, introducer)))
            }
            Self::SpendTicket(token, node, now, reply) => {
                answer(reply, group.apply(|group| tickets::spend(group, token, node, now)))
            }
            Self::RequestUpload(upload, reply) => {
                answer(reply, group.apply(|group| attachments::request(group, &upload)))
            }
            Self::StoreUpload(stored, reply) => answer(
                reply,
                group.apply(|group| {
                    let StoredUpload { id, holder, part, stage, oddity, now } = *stored;
                    attachments::store(group, &id, &holder, part, (stage, oddity), now)
                }),
            ),
            Self::ConfirmUpload(id, holder, reply) => {
                answer(reply, group.apply(|group| attachments::confirm(group, &id, &holder)))
            }
            common => common.apply(group),
        }
    }

    /// Answers without applying.
    pub(crate) fn refuse(self, error: StoreError) {
        match self {
            Self::CommitMail(_, reply) => send(reply, Err(error)),
            Self::Acknowledge(.., reply) => send(reply, Err(error)),
            Self::NotePosting(.., reply) => send(reply, Err(error)),
            Self::GiveReceipts(.., reply) => send(reply, Err(error)),
            Self::TakeReceipts(.., reply) => send(reply, Err(error)),
            Self::Expire(.., reply) | Self::PutOffExpiry(.., reply) => send(reply, Err(error)),
            Self::Register(_, reply) => send(reply, Err(error)),
            Self::UpdateAgent(.., reply) => send(reply, Err(error)),
            Self::RotateKey(.., reply) => send(reply, Err(error)),
            Self::RotateApiKey(.., reply)
            | Self::PutOwner(_, reply)
            | Self::Depart(.., reply)
            | Self::DropOwner(_, reply)
            | Self::AddInviteCode(.., reply) => send(reply, Err(error)),
            Self::RenameAgent(.., reply) => send(reply, Err(error)),
            Self::Deregister(.., reply) => send(reply, Err(error)),
            Self::RevokeApiKeys(_, reply) | Self::HandOn(.., reply) | Self::Redirect(.., reply) => {
                send(reply, Err(error))
            }
            Self::SpendTicket(.., reply) => send(reply, Err(error)),
            Self::RequestUpload(_, reply) => send(reply, Err(error)),
            Self::StoreUpload(_, reply) | Self::ConfirmUpload(.., reply) => send(reply, Err(error)),
            Self::MarkHandedOut(.., reply)
            | Self::ForgetReceipts(.., reply)
            | Self::Settle(.., reply)
            | Self::SetHome(.., reply)
            | Self::AddApiKey(.., reply)
            | Self::PutRoster(.., reply)
            | Self::DropRoster(_, reply)
            | Self::PutPeer(_, reply)
            | Self::DropPeer(_, reply)
            | Self::SetPin(.., reply)
            | Self::AddTicket(.., reply) => send(reply, Err(error)),
        }
    }
}

fn answer<T: Send + 'static>(reply: Reply<T>, result: Result<T, StoreError>) -> Answer {
    Box::new(move |synced| send(reply, synced.and(result)))
}

/// A caller that went away needs no answer.
pub(crate) fn send<T>(reply: Reply<T>, result: Result<T, StoreError>) {
    drop(reply.send(result));
}
