//! A message on its way into the store, and what became of it. Used by the hallway; applied by `accept`.

use amesh_proto::address::Address;
use amesh_proto::attachment::Attachment;
use amesh_proto::id::MessageId;
use amesh_proto::message::{Mail, Priority};
use amesh_proto::node_id::NodeId;
use amesh_proto::time::UnixMillis;
use amesh_proto::trust::Trust;
use serde::{Deserialize, Serialize};
use std::fmt;

/// An agent of this node. Never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AgentNo(pub u64);

/// A place in the order of commits. Given by the writer, never a time, never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Seq(pub u64);

/// Where mail leaves this node for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Destination {
    /// Another node of the mesh.
    Node(NodeId),
    /// A remote provider, by domain.
    Provider(String),
    /// A host of the AMP 06a kind, by the name the owner gave it.
    HttpHost(String),
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => node.fmt(f),
            Self::Provider(domain) => f.write_str(domain),
            Self::HttpHost(name) => f.write_str(name),
        }
    }
}

/// Who brought a file, or may have it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Holder {
    /// An agent of this node.
    Agent(AgentNo),
    /// Another node of the mesh.
    Node(NodeId),
    /// A remote provider, by domain.
    Provider(String),
    /// A host of the AMP 06a kind, by name.
    HttpHost(String),
}

/// Through whom a message came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// An agent of this node.
    Agent(AgentNo),
    /// A link of the mesh.
    Node(NodeId),
    /// A remote provider, by domain.
    Provider(String),
    /// A host of the AMP 06a kind, by name.
    HttpHost(String),
    /// This node itself: notices. Never bounced.
    System,
}

/// Where a message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Into the mailbox of an agent of this node.
    Mailbox {
        /// The recipient.
        agent: AgentNo,
        /// How much the recipient may believe it (TRU-*).
        trust: Trust,
    },
    /// Into the queue towards another node or provider.
    Outbox {
        /// Its next host.
        destination: Destination,
    },
}

/// Where a message stands in its lane, as its origin numbered it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneStamp {
    /// The origin store's generation: numbers begin anew after a restore.
    pub generation: u64,
    /// The message's number.
    pub number: u64,
    /// The lowest number that the origin still means to deliver.
    pub floor: u64,
}

/// One order-keeping stream: order holds within it (DESIGN §1.7).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneKey {
    /// Who writes.
    pub sender: Address,
    /// To whom.
    pub recipient: Address,
    /// The priority class.
    pub class: Priority,
}

/// A message to commit.
#[derive(Debug, Clone)]
pub struct NewMail {
    /// The message.
    pub mail: Mail,
    /// Through whom it came.
    pub origin: Origin,
    /// Where it goes.
    pub target: Target,
    /// The sender's `Idempotency-Key`, for mail from an agent of this node.
    pub idempotency_key: Option<String>,
    /// Digest of what the sender meant: the same again is a repeat, another under the same id is a conflict.
    pub content_digest: [u8; 32],
    /// The key that judged its signature, as deliveries name it. A mailbox keeps it with the message: who judges it again
    /// must not depend on whether its sender's host is still a member (DESIGN §1.4).
    pub sender_key: Option<String>,
    /// The files that it names, which its sender must have brought before.
    pub attachments: Vec<Attachment>,
    /// For mail from a link.
    pub lane: Option<LaneStamp>,
    /// The time at the node.
    pub now: UnixMillis,
}

/// What became of a message that was to be committed. Everything but `Committed` has written nothing of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitOutcome {
    /// It is on disk.
    Committed {
        /// Its place in the mailbox or outbox.
        seq: Seq,
        /// The id under which the recipient sees it.
        shown_id: MessageId,
        /// When it was queued.
        queued_at: UnixMillis,
    },
    /// It was on disk before.
    Repeat {
        /// What the first one was answered.
        first: CommitReceipt,
    },
    /// The sender used this id or idempotency key for something else.
    Conflict,
    /// The recipient has too much unread mail.
    MailboxFull,
    /// Too much waits for that destination.
    QueueFull,
    /// An earlier message of the lane is missing.
    LaneGap {
        /// The number that is accepted next.
        expected: u64,
    },
    /// The disk is nearly full.
    DiskFull,
    /// The recipient's mailbox does not exist (any more).
    NoSuchAgent,
    /// Another node brought it for an agent that has moved away.
    Departed,
    /// A file that it names cannot go with it.
    Attachment {
        /// Which one.
        index: usize,
        /// Why.
        fault: AttachmentFault,
    },
}

/// What is wrong with a file that a message names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttachmentFault {
    /// The sender has uploaded no such file, or too long ago.
    Unknown,
    /// Its bytes have not come, or were not confirmed.
    Pending,
    /// It was rejected, for this reason.
    Rejected(String),
    /// The message says something else of it than the upload.
    Differs(&'static str),
}

/// What a committed message was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitReceipt {
    /// Its place in the mailbox or outbox.
    pub seq: Seq,
    /// The id it was committed under.
    pub id: MessageId,
    /// The id under which the recipient sees it.
    pub shown_id: MessageId,
    /// When it was queued.
    pub queued_at: UnixMillis,
}

/// A message in a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailboxEntry {
    /// Its place; a cursor for `pending`.
    pub seq: Seq,
    /// The id under which the recipient sees and acknowledges it.
    pub shown_id: MessageId,
    /// The message as it was accepted.
    pub mail: Mail,
    /// How much the recipient may believe it.
    pub trust: Trust,
    /// The key that judged its signature, where that was kept with it.
    pub sender_key: Option<String>,
    /// When it was queued.
    pub queued_at: UnixMillis,
    /// When it is given up.
    pub expires_at: UnixMillis,
    /// Whether it was handed out before.
    pub handed_out: bool,
}

/// A message in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxEntry {
    /// Its place; what `settle` names.
    pub seq: Seq,
    /// The message as it was accepted.
    pub mail: Mail,
    /// Its lane.
    pub lane: LaneKey,
    /// Its number in the lane.
    pub number: u64,
    /// The lowest number of the lane that still waits.
    pub floor: u64,
    /// The agent of this node that sent it; none for the node's own notices and relayed mail.
    pub sender: Option<AgentNo>,
    /// Whether it is a `system` message, which is never bounced.
    pub system: bool,
    /// When it was queued.
    pub queued_at: UnixMillis,
    /// When it is given up.
    pub expires_at: UnixMillis,
}

/// A lane of the outbox, as its carrier names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LaneMark(pub(crate) [u8; 16]);

/// Which part of a lane a carrier asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LanePart {
    /// All of it.
    Whole,
    /// What has a higher number.
    Beyond(u64),
    /// None of it.
    Nothing,
}

/// How a message left the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// The other side has it.
    Delivered {
        /// What proves it.
        basis: String,
    },
    /// A host that keeps its own books says that it has it.
    Taken {
        /// The id it gave it, which need not be ours (IPR-4).
        remote_id: Option<String>,
    },
    /// The other side will never take it.
    Refused {
        /// The error code.
        code: String,
        /// The reason in words.
        detail: String,
        /// The `system` message for the sender.
        notice: Option<Mail>,
    },
    /// Its time ran out.
    Expired {
        /// The `system` message for the sender.
        notice: Option<Mail>,
    },
    /// The owner dropped it.
    Dropped,
}

/// Where a sent message was put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// In a mailbox of this node.
    Mailbox(AgentNo),
    /// In the queue to another.
    Outbox(Destination),
}

/// What is known of a sent message. Nothing stronger than proven (DESIGN §1.9).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MessageState {
    /// On disk, waiting.
    Queued,
    /// With the recipient or the recipient's host.
    Delivered {
        /// What proves it: `handed_out`, `webhook_2xx` and `acknowledged` for local mailboxes, else what the carrier gave.
        basis: String,
    },
    /// It will not arrive.
    Failed {
        /// The error code: `expired`, `dropped`, `recipient_gone`, or the refusing side's.
        code: String,
        /// The reason in words.
        detail: String,
    },
    /// A host that keeps its own books says that it has it.
    Taken {
        /// The id it gave it, which need not be ours (IPR-4).
        remote_id: Option<String>,
    },
}

/// The answer to a sender who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageStatus {
    /// What the commit was answered.
    pub receipt: CommitReceipt,
    /// The recipient.
    pub to: Address,
    /// Where it was put.
    pub place: Place,
    /// What is known.
    pub state: MessageState,
    /// Since when; the time of queueing for what follows from the mailbox alone.
    pub changed_at: UnixMillis,
    /// When it is, or was to be, given up.
    pub expires_at: UnixMillis,
    /// When its recipient was given it, where the sender asked for word of that.
    pub delivered_at: Option<UnixMillis>,
    /// When its recipient said that it was read.
    pub read_at: Option<UnixMillis>,
}
