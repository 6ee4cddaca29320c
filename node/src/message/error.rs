//! Why the hallway turns a message away, one type for all steps. Doors give it their own shape: `http` a status and a
//! body (API-5), the link a verdict. No status codes here (STYLE §2.13).

use amesh_proto::api::fields::BadBody;
use amesh_proto::attachment::BadAttachment;
use amesh_proto::id::MessageId;
use serde_json::{Map, Value, json};

/// A message that was not accepted. Nothing of it is stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request itself cannot be read.
    #[error("{0}")]
    Body(BadBody),
    /// A field holds a value that is not allowed.
    #[error("the field `{field}` is not valid: {why}")]
    Invalid {
        /// The member.
        field: &'static str,
        /// What is expected of it.
        why: String,
    },
    /// A file that the message names cannot go with it.
    #[error("the field `{field}` is not valid: {why}")]
    Attachment {
        /// `invalid_field`, `attachment_pending`, `attachment_rejected` or `attachment_gone`.
        code: &'static str,
        /// The member, such as `payload.attachments[0].id`.
        field: String,
        /// For people.
        why: String,
    },
    /// The whole message is over its limit.
    #[error("the message has {size} bytes, {limit} are allowed")]
    TooLarge {
        /// Bytes counted.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The envelope's own time is too old, too new or past its end (RPL-2, RPL-5, MSG-10).
    #[error("{why}")]
    Time {
        /// `timestamp_expired`, `timestamp_future` or `message_expired`.
        code: &'static str,
        /// For people.
        why: String,
    },
    /// The sender is not whom this door may speak for (RTE-3, DESIGN §3).
    #[error("{0}")]
    Forbidden(String),
    /// The signature does not hold (SIG-9).
    #[error("{}", .0.explanation())]
    Signature(SignatureFault),
    /// No such recipient (RTE-7).
    #[error("there is no agent {0} here or on any host of this mesh")]
    NoRecipient(String),
    /// The recipient belongs to another provider, to which nothing is sent.
    #[error("{0} is another provider's address, and this node sends no mail there")]
    External(String),
    /// The sender's name is held by another host (DESIGN §3).
    #[error(
        "{address} is held by host {holder}, which has been in the mesh longer. Rename this agent: {mend}"
    )]
    NameLost {
        /// The clashing address.
        address: String,
        /// The host that holds it.
        holder: String,
        /// The command that mends it.
        mend: String,
    },
    /// An HTTP host brings a message of an agent whose name or key is another's here (DESIGN §6).
    #[error("{why}")]
    KeyConflict {
        /// The sender.
        address: String,
        /// For people.
        why: String,
    },
    /// Whether there is such an agent cannot be told at the moment.
    #[error("{0}")]
    Unsure(String),
    /// The sender used this id or idempotency key for another message (DESIGN §1.2).
    #[error("you have already sent a different message as {0}")]
    Duplicate(MessageId),
    /// Something is full; the sender may try again later (A-49, DESIGN §1.8).
    #[error("{}", .0.explanation())]
    Full(Full),
    /// Too many bad signatures from this source lately (DESIGN §6).
    #[error("too many messages with bad signatures; try again in {retry_after} s")]
    Limited {
        /// Seconds to wait.
        retry_after: u64,
    },
    /// A message of this lane is missing before this one; only links see it.
    #[error("message {expected} of this lane has not arrived yet")]
    LaneGap {
        /// The lane number that is wanted next.
        expected: u64,
    },
    /// Its recipient has moved, and what was written before has not followed yet (DESIGN §3, Moving).
    #[error("{0} is just moving, and its earlier mail is still on the way; try again in a moment")]
    Moving(String),
    /// The store failed; nothing was accepted.
    #[error("the message could not be stored: {0}")]
    Store(String),
}

/// What is wrong with a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureFault {
    /// There is none, and the recipient is not on this node or this node demands one.
    Missing,
    /// It verifies for no accepted form of the message.
    Invalid,
    /// The sender's key was not valid when the message was accepted.
    KeyRevoked,
    /// No key of the sender is known.
    KeyUnknown,
}

/// What is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The recipient's mailbox (RLY-2).
    Mailbox,
    /// The outbox towards the recipient's host.
    Outbox,
    /// The disk.
    Disk,
    /// What is remembered of agents at HTTP hosts.
    Outsiders,
    /// The queue of the one writer.
    Writer,
}

impl Refusal {
    /// The machine-readable code of API-6 and its extensions.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Body(bad) => bad.code(),
            Self::Invalid { .. } => "invalid_field",
            Self::TooLarge { .. } => "payload_too_large",
            Self::Time { code, .. } | Self::Attachment { code, .. } => code,
            Self::Forbidden(_) => "forbidden",
            Self::Signature(fault) => fault.code(),
            Self::NoRecipient(_) => "not_found",
            Self::External(_) => "external_provider",
            Self::NameLost { .. } | Self::KeyConflict { .. } => "key_conflict",
            Self::Unsure(_) | Self::Moving(_) => "unavailable",
            Self::Duplicate(_) => "duplicate_message",
            Self::Full(_) => "queue_full",
            Self::Limited { .. } => "rate_limited",
            Self::LaneGap { .. } => "lane_gap",
            Self::Store(_) => "internal_error",
        }
    }

    /// The request member at fault.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Body(bad) => bad.field(),
            Self::Invalid { field, .. } => Some(field),
            Self::Attachment { field, .. } => Some(field),
            Self::NoRecipient(_) | Self::External(_) => Some("to"),
            Self::Signature(_) => Some("signature"),
            Self::NameLost { .. } | Self::KeyConflict { .. } => Some("from"),
            _ => None,
        }
    }

    /// More for machines, by code.
    #[must_use]
    pub fn details(&self) -> Map<String, Value> {
        let details = match self {
            // the reference provider's name for the same thing.
            Self::Signature(SignatureFault::Invalid) => json!({"alias": "invalid_signature"}),
            Self::NameLost { address, holder, mend } => {
                json!({"address": address, "held_by": holder, "mend": mend})
            }
            Self::KeyConflict { address, .. } => json!({"address": address}),
            Self::Duplicate(id) => json!({"id": id.as_str()}),
            Self::Full(full) => json!({"full": full.name()}),
            Self::Limited { retry_after } => json!({"retry_after": retry_after}),
            Self::TooLarge { size, limit } => json!({"size": size, "limit": limit}),
            _ => return Map::new(),
        };
        match details {
            Value::Object(members) => members,
            _ => Map::new(),
        }
    }

    /// Whether the same message may be accepted later, unchanged: a link answers `later` instead of `refused`.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Full(_)
                | Self::Limited { .. }
                | Self::LaneGap { .. }
                | Self::Moving(_)
                | Self::Store(_)
                | Self::Unsure(_)
        )
    }
}

impl From<BadAttachment> for Refusal {
    fn from(bad: BadAttachment) -> Self {
        Self::Attachment { code: "invalid_field", field: bad.field, why: bad.why }
    }
}

impl From<BadBody> for Refusal {
    fn from(bad: BadBody) -> Self {
        Self::Body(bad)
    }
}

impl SignatureFault {
    fn code(self) -> &'static str {
        match self {
            Self::Missing => "signature_missing",
            Self::Invalid => "signature_invalid",
            Self::KeyRevoked => "key_revoked",
            Self::KeyUnknown => "key_not_found",
        }
    }

    fn explanation(self) -> &'static str {
        match self {
            Self::Missing => "this message must be signed by its sender (AMP 04 §Message Signing)",
            Self::Invalid => {
                "the signature matches no accepted form of this message (AMP 04 §Message Signing)"
            }
            Self::KeyUnknown => "this node knows no key of the sender, so its signature proves nothing",
            Self::KeyRevoked => "the sender's key was no longer valid when this message was accepted",
        }
    }
}

impl Full {
    /// As it stands in error details.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mailbox => "mailbox",
            Self::Outbox => "outbox",
            Self::Disk => "disk",
            Self::Outsiders => "http_mesh",
            Self::Writer => "writer",
        }
    }

    fn explanation(self) -> &'static str {
        match self {
            Self::Mailbox => {
                "the recipient's mailbox is full; it takes mail again when the recipient has fetched some"
            }
            Self::Outbox => {
                "too many messages wait for the recipient's host; send again when it has taken some"
            }
            Self::Outsiders => "this node remembers no more agents of HTTP mesh hosts",
            Self::Writer => "too many changes wait to be written; try again in a moment",
            Self::Disk => "the disk of this node is nearly full; it takes mail again when there is space",
        }
    }
}
