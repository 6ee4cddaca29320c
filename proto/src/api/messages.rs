//! `GET /messages/{id}`: what became of a message, for its sender (DESIGN §1.9); and its recipient's word that it was read.

use crate::api::fields::{BadBody, Fields};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The state of a sent message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MessageState {
    /// The id given by `/route`.
    pub id: String,
    /// The recipient's full address.
    pub to: String,
    /// `delivered`, `queued` or `failed`; nothing stronger than what is proven.
    pub status: String,
    /// As in the route response.
    #[serde(default)]
    pub method: String,
    /// What `delivered` rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<String>,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_at: Option<String>,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<String>,
    /// RFC 3339, when the recipient said that it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_at: Option<String>,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_at: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// The host that took it, or is to take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_host: Option<String>,
    /// The id that an HTTP mesh host gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_id: Option<String>,
}

/// The body of `POST /messages/{id}/read`, which may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReadRequest {
    /// The reference provider wants it; this node knows whom to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original_sender: Option<String>,
}

impl ReadRequest {
    /// Reads a request body.
    ///
    /// # Errors
    /// [`BadBody`] naming the member.
    pub fn parse(body: &[u8]) -> Result<Self, BadBody> {
        Ok(Self { original_sender: Fields::parse(body)?.optional_text("original_sender")? })
    }
}

/// The reply to `POST /messages/{id}/read`, in both spellings (RCP-2, A-45).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReadReceipt {
    /// Word is kept for the sender, or has reached it; else it will not hear of it (RCP-4, RCP-5).
    pub read_receipt_sent: bool,
    /// The same.
    #[serde(default)]
    pub receipt_sent: bool,
    /// The message.
    #[serde(default)]
    pub message_id: String,
    /// `relay` for a sender of this node, `mesh` for one of another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_via: Option<String>,
    /// RFC 3339: the first time.
    pub read_at: String,
}

/// Why a message failed after it was accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// A code, as in error bodies.
    pub code: String,
    /// For people.
    #[serde(default)]
    pub message: String,
}
