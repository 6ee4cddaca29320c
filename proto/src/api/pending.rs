//! `messages/pending`: the mailbox as its owner sees it (AMP 05 §Relay Queue; AMP 09 §List Pending).

use crate::api::fields::{BadBody, Fields};
use crate::message::{Envelope, Payload};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// One message as it is handed to its recipient, by polling or by WebSocket.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Delivery {
    /// The id under which the mailbox shows it.
    pub id: String,
    /// The envelope, with the spellings that verified.
    #[schema(value_type = Envelope)]
    pub envelope: Box<RawValue>,
    /// The payload; its `message` is wrapped unless trust is `verified` (TRU-4).
    #[schema(value_type = Payload)]
    pub payload: Box<RawValue>,
    /// RFC 3339.
    pub queued_at: String,
    /// RFC 3339.
    pub expires_at: String,
    /// 64 hex digits of a raw Ed25519 key, PEM for other algorithms (RLY-10). Absent for unsigned mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_public_key: Option<String>,
    /// What this node found out about the message (TRU-7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<Local>,
}

/// `local` of a delivery: nothing in it was signed by the sender.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct Local {
    /// The signature was verified by this node.
    #[serde(default)]
    pub verified: bool,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received_at: Option<String>,
    /// `websocket`, `relay` …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_method: Option<String>,
    /// What this delivery rests on: `mailbox_written` where it was fetched, `socket_written` where it was pushed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<String>,
    /// The judgement.
    #[serde(default)]
    pub security: Security,
    /// The payload as signed, verbatim, when `payload` is wrapped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Payload>)]
    pub original_payload: Option<Box<RawValue>>,
}

/// `local.security`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Security {
    /// `verified`, `external` or `untrusted`.
    #[serde(default)]
    pub trust: String,
    /// Categories of INJ-2.
    #[serde(default)]
    pub injection_flags: Vec<String>,
    /// `payload.message` is wrapped.
    #[serde(default)]
    pub wrapped: bool,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<String>,
}

/// A page of the mailbox, oldest first (RLY-3, RLY-4, API-9).
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct PendingPage {
    /// The messages.
    pub messages: Vec<Delivery>,
    /// How many are in this page.
    pub count: usize,
    /// How many are left after it.
    pub remaining: usize,
    /// How many there are in the mailbox.
    #[serde(default)]
    pub total: usize,
    /// Where the next page begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Whether there is one.
    #[serde(default)]
    pub has_more: bool,
}

/// How much waits, and since when (`GET /messages/pending/count`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PendingCount {
    /// Messages that came after the position asked about; all that wait where none was given.
    pub count: usize,
    /// All that wait.
    pub total: usize,
    /// The position up to which was counted: `after` of the next question, or of the list.
    pub cursor: String,
}

/// The reply to a single acknowledgement (RLY-5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AckOne {
    /// Always true.
    pub acknowledged: bool,
}

/// The reply to a batch (RLY-7): how many were removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AckMany {
    /// The number removed.
    pub acknowledged: usize,
}

/// `{ids:[…]}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AckBatch {
    /// Message ids as shown.
    #[schema(min_items = 1, max_items = 100, example = json!(["msg_1790000000_a1b2c3"]))]
    pub ids: Vec<String>,
}

impl AckBatch {
    /// At most so many in one request (RLY-13).
    pub const MAX: usize = 100;

    /// Reads a request body.
    ///
    /// # Errors
    /// [`BadBody`]; empty `ids` count as missing (RLY-9), more than [`Self::MAX`] as unreadable (RLY-13).
    pub fn parse(body: &[u8]) -> Result<Self, BadBody> {
        let ids: Vec<String> =
            Fields::parse(body)?.optional("ids", "an array of message ids")?.unwrap_or_default();
        match ids.len() {
            0 => Err(BadBody::Missing("ids")),
            n if n > Self::MAX => Err(BadBody::Unreadable(format!(
                "{n} ids are too many; at most {} fit in one request",
                Self::MAX
            ))),
            _ => Ok(Self { ids }),
        }
    }
}
