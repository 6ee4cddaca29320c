//! `GET /messages/{id}`: what became of a message, for its sender (DESIGN §1.9).

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
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_at: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// The host that took it, or is to take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_host: Option<String>,
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
