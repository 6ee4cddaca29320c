//! `GET /info` (API-4), the public discovery document, and `GET /api/organization` (ICL-2).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What this provider is and can do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Info {
    /// The provider domain.
    pub provider: String,
    /// `amp/0.1`.
    pub version: String,
    /// PEM, where the provider has a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// Of that key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Only what is really on (API-14).
    pub capabilities: Vec<String>,
    /// REG-15.
    pub registration_modes: Vec<String>,
    /// RAT-6.
    pub rate_limits: RateLimits,
}

/// The limits in force on this listener.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RateLimits {
    /// Messages an agent may send.
    pub messages_per_minute: u32,
    /// Other requests.
    pub api_requests_per_minute: u32,
    /// Messages an agent may be sent, by all senders together.
    #[serde(default)]
    pub received_per_minute: u32,
    /// `local` or `public` (DESIGN §6).
    #[serde(default)]
    pub profile: String,
}

/// `/.well-known/agent-messaging.json` (FED-3, EXT-2).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WellKnown {
    /// `AMP1`.
    pub version: String,
    /// The base, reachable the way the caller came.
    pub endpoint: String,
    /// The provider domain.
    pub provider: String,
    /// PEM, where the provider has a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// Of that key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// As in [`Info`].
    pub capabilities: Vec<String>,
    /// Whom to ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
}

/// `{organization}` (ICL-2).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Organization {
    /// The tenant of this node's agents.
    pub organization: String,
}
