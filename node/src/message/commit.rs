//! Step 4 of the hallway: what the store is asked to write, and what its answer means. One commit holds the message,
//! its place in a mailbox or outbox, and its memory against repeats (DESIGN §1.2); nothing is answered before it is
//! on disk (DESIGN §1.1).

use super::Prepared;
use super::accept::{Draft, Source};
use super::error::{Full, Refusal};
use super::guards::{self, Guard};
use super::plan::Plan;
use super::verify::Verified;
use crate::agents::Agent;
use crate::tasks::Tasks;
use amesh_proto::address::Address;
use amesh_proto::id::MessageId;
use amesh_proto::message::{Mail, Priority};
use amesh_proto::time::UnixMillis;
use amesh_store::{
    AgentNo, AttachmentFault, CommitOutcome, Destination, Durable, NewMail, Origin, Seq, StoreError, Target,
};
use sha2::{Digest, Sha256};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::runtime::Handle;

/// A message that is on disk.
#[derive(Debug, Clone)]
pub struct Written {
    /// The id under which the sender knows it.
    pub id: MessageId,
    /// When it was committed.
    pub queued_at: UnixMillis,
    /// It was on disk before: a repeat, answered like the first (DESIGN §1.2).
    pub repeat: bool,
    pub(super) seq: Seq,
    pub(super) sender: Option<AgentNo>,
    pub(super) class: Priority,
    pub(super) place: Place,
}

/// Where it lies.
#[derive(Debug, Clone)]
pub(super) enum Place {
    Mailbox(Arc<Agent>),
    Outbox { destination: Destination, host: Option<String> },
}

/// What is needed of a message after the store has taken it.
#[derive(Debug)]
pub(super) struct Facts {
    id: MessageId,
    to: Address,
    sender: Option<AgentNo>,
    class: Priority,
    place: Place,
}

/// A message on its way to the disk. Dropping this does not stop it.
pub struct Committing {
    under_way: Option<UnderWay>,
    /// It was not handed to the store.
    refused: Option<Refusal>,
    tasks: Tasks,
}

struct UnderWay {
    durable: Durable<CommitOutcome>,
    facts: Facts,
    wake: Box<dyn FnOnce(&Written) + Send>,
}

impl Committing {
    pub(super) fn new(
        durable: Durable<CommitOutcome>,
        facts: Facts,
        tasks: Tasks,
        wake: impl FnOnce(&Written) + Send + 'static,
    ) -> Self {
        Self { under_way: Some(UnderWay { durable, facts, wake: Box::new(wake) }), refused: None, tasks }
    }

    pub(super) fn refused(refusal: Refusal, tasks: Tasks) -> Self {
        Self { under_way: None, refused: Some(refusal), tasks }
    }
}

impl Future for Committing {
    type Output = Result<Written, Refusal>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(refusal) = self.refused.take() {
            return Poll::Ready(Err(refusal));
        }
        let Some(under_way) = &mut self.under_way else { return Poll::Pending };
        let Poll::Ready(answer) = Pin::new(&mut under_way.durable).poll(context) else {
            return Poll::Pending;
        };
        let Some(done) = self.under_way.take() else { return Poll::Pending };
        Poll::Ready(done.finish(answer))
    }
}

impl UnderWay {
    fn finish(self, answer: Result<CommitOutcome, StoreError>) -> Result<Written, Refusal> {
        let written = outcome(self.facts, answer)?;
        (self.wake)(&written);
        Ok(written)
    }
}

impl Drop for Committing {
    fn drop(&mut self) {
        // Without a runtime the node is going down; carriers and sockets read what is on disk when it starts again.
        if let Some(mut under_way) = self.under_way.take()
            && Handle::try_current().is_ok()
        {
            self.tasks.spawn(async move {
                let answer = (&mut under_way.durable).await;
                // The caller is gone: there is nobody to tell a refusal to.
                drop(under_way.finish(answer));
            });
        }
    }
}

impl std::fmt::Debug for Committing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Committing").finish_non_exhaustive()
    }
}

/// A message that has passed every check, as the store wants it.
pub(super) fn prepared(verified: Verified, plan: Plan, now: UnixMillis) -> Prepared {
    let Verified { draft, judged_by } = verified;
    let content_digest = digest(&draft);
    let sender_key = judged_by.map(|key| key.sender_key_text());
    let Draft { source, mut mail, idempotency_key, lane, attachments, .. } = draft;
    if guards::is_down(Guard::Memory) {
        mail.id = MessageId::mint(now, rand::random());
    }
    let origin = match source {
        Source::Agent(agent) => Origin::Agent(agent.no),
        Source::Peer(node) | Source::Gateway(node, _) => Origin::Node(node),
        Source::HttpHost(host) => Origin::HttpHost(host.name.to_string()),
        Source::Provider(provider) | Source::Registration(provider) => {
            Origin::Provider(provider.name.to_string())
        }
    };
    let target = match &plan {
        Plan::Local { agent, trust } => {
            mail.to = agent.address.clone();
            Target::Mailbox { agent: agent.no, trust: *trust }
        }
        Plan::Host { node, address, .. } => {
            mail.to = address.clone();
            Target::Outbox { destination: Destination::Node(*node) }
        }
        Plan::HttpHost { host } => Target::Outbox { destination: Destination::HttpHost(host.to_string()) },
        Plan::Provider { domain } => Target::Outbox { destination: Destination::Provider(domain.clone()) },
    };
    let mail =
        NewMail { mail, origin, target, idempotency_key, content_digest, sender_key, attachments, lane, now };
    Prepared { mail, plan }
}

impl Facts {
    pub(super) fn of(mail: &NewMail, plan: Plan) -> Self {
        let sender = match mail.origin {
            Origin::Agent(agent) => Some(agent),
            _ => None,
        };
        let place = match plan {
            Plan::Local { agent, .. } => Place::Mailbox(agent),
            Plan::Host { node, host, .. } => {
                Place::Outbox { destination: Destination::Node(node), host: Some(host) }
            }
            Plan::HttpHost { host } => {
                let host = host.to_string();
                Place::Outbox { destination: Destination::HttpHost(host.clone()), host: Some(host) }
            }
            Plan::Provider { domain } => {
                Place::Outbox { destination: Destination::Provider(domain.clone()), host: Some(domain) }
            }
        };
        let Mail { id, to, priority, .. } = &mail.mail;
        Self { id: id.clone(), to: to.clone(), sender, class: *priority, place }
    }
}

/// What the store's answer means for the sender.
fn outcome(facts: Facts, answer: Result<CommitOutcome, StoreError>) -> Result<Written, Refusal> {
    let Facts { id, to, sender, class, place } = facts;
    let answer = answer.map_err(|error| match error {
        StoreError::Busy => Refusal::Full(Full::Writer),
        StoreError::DiskFull => Refusal::Full(Full::Disk),
        other => Refusal::Store(other.to_string()),
    })?;
    match answer {
        CommitOutcome::Committed { seq, queued_at, .. } => {
            Ok(Written { id, queued_at, repeat: false, seq, sender, class, place })
        }
        CommitOutcome::Repeat { first } => Ok(Written {
            id: first.id,
            queued_at: first.queued_at,
            repeat: true,
            seq: first.seq,
            sender,
            class,
            place,
        }),
        CommitOutcome::Conflict => Err(Refusal::Duplicate(id)),
        CommitOutcome::MailboxFull => Err(Refusal::Full(Full::Mailbox)),
        CommitOutcome::QueueFull => Err(Refusal::Full(Full::Outbox)),
        CommitOutcome::Departed => Err(Refusal::Moving(to.to_string())),
        CommitOutcome::NoSuchAgent => Err(Refusal::NoRecipient(to.to_string())),
        CommitOutcome::DiskFull => Err(Refusal::Full(Full::Disk)),
        CommitOutcome::Attachment { index, fault } => Err(attachment(index, fault)),
        CommitOutcome::LaneGap { expected } => Err(Refusal::LaneGap { expected }),
    }
}

fn attachment(index: usize, fault: AttachmentFault) -> Refusal {
    let (code, member, why) = match fault {
        AttachmentFault::Unknown => {
            ("invalid_field", "id", "the sender has uploaded no such file, or too long ago".to_owned())
        }
        AttachmentFault::Pending => {
            ("attachment_pending", "id", "the file has not been uploaded and confirmed yet".to_owned())
        }
        AttachmentFault::Rejected(why) => ("attachment_rejected", "id", why),
        AttachmentFault::Differs(member) => {
            ("invalid_field", member, "the upload was declared otherwise".to_owned())
        }
    };
    Refusal::Attachment { code, field: format!("payload.attachments[{index}].{member}"), why }
}

/// Equal for the same message sent twice. Without the signature, which need not be the same twice (ECDSA), and
/// without what the node itself assigns.
fn digest(draft: &Draft) -> [u8; 32] {
    let Mail { from, to, priority, payload, .. } = &draft.mail;
    let envelope = &draft.envelope;
    let mut hash = Sha256::new();
    let parts = [
        from.as_str(),
        to.as_str(),
        priority.as_str(),
        &envelope.subject,
        envelope.in_reply_to.as_deref().unwrap_or_default(),
        envelope.expires_at.as_deref().unwrap_or_default(),
    ];
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.update(payload);
    hash.finalize().into()
}
