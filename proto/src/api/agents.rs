//! `agents`: oneself, the others, and where an address leads (AMP 08 §Agent Management; AMP 02 §Resolution API).

use crate::api::fields::{BadBody, Fields};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// `delivery` of a registration or an update. The secret is never echoed (WHK-7).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeliverySettings {
    /// Where mail is posted; empty removes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_url: Option<String>,
    /// Keys the webhook's signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_secret: Option<String>,
    /// WebSocket before webhook; true unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefer_websocket: Option<bool>,
}

/// `GET /agents/me` (API-7).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentSelf {
    /// The full address.
    pub address: String,
    /// `name@tenant.provider`.
    #[serde(default)]
    pub short_address: String,
    /// The agent's id here.
    #[serde(default)]
    pub agent_id: String,
    /// The organization.
    #[serde(default)]
    pub tenant: String,
    /// A name for people.
    pub alias: Option<String>,
    /// Without the secret.
    pub delivery: DeliverySettings,
    /// Of the registered key.
    pub fingerprint: String,
    /// `Ed25519`, `RSA` or `ECDSA`.
    #[serde(default)]
    pub key_algorithm: String,
    /// As registered.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// RFC 3339.
    pub registered_at: String,
    /// RFC 3339.
    pub last_seen_at: Option<String>,
}

/// `PATCH /agents/me` (REG-23). Absent members stay as they are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentPatch {
    /// A new alias; empty removes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// New delivery settings, member by member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliverySettings>,
    /// New metadata, as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
}

impl AgentPatch {
    const FIXED: [&'static str; 6] = ["name", "public_key", "key_algorithm", "tenant", "address", "scope"];

    /// Reads a request body; what cannot be changed is refused by name.
    ///
    /// # Errors
    /// [`BadBody`] naming the member.
    pub fn parse(body: &[u8]) -> Result<Self, BadBody> {
        let mut fields = Fields::parse(body)?;
        if let Some(field) = Self::FIXED.into_iter().find(|field| fields.has(field)) {
            return Err(BadBody::Invalid { field, why: "it cannot be changed".to_owned() });
        }
        Ok(Self {
            alias: fields.optional_text("alias")?,
            delivery: fields
                .optional_object("delivery", "an object {webhook_url, webhook_secret, prefer_websocket}")?,
            metadata: fields.optional("metadata", "an object")?,
        })
    }
}

/// The reply to an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentUpdated {
    /// Always true.
    pub updated: bool,
    /// The agent's address.
    pub address: String,
}

/// The reply to a deregistration (REG-24).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentDeregistered {
    /// Always true.
    pub deregistered: bool,
    /// The address, now withheld for 30 days.
    pub address: String,
    /// RFC 3339.
    pub deregistered_at: String,
}

/// One agent in a list (API-8).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentEntry {
    /// The full address.
    pub address: String,
    /// A name for people.
    pub alias: Option<String>,
    /// Whether it is connected; false where this node cannot know.
    pub online: bool,
    /// The host it lives on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// A page of agents (API-8, API-9).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentPage {
    /// The agents, by address.
    pub agents: Vec<AgentEntry>,
    /// How many match in all.
    pub total: usize,
    /// Where the next page begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Whether there is one.
    #[serde(default)]
    pub has_more: bool,
}

/// Where an address leads (API-10).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResolvedAgent {
    /// The full address.
    pub address: String,
    /// A name for people.
    pub alias: Option<String>,
    /// PEM.
    pub public_key: String,
    /// `Ed25519`, `RSA` or `ECDSA`.
    pub key_algorithm: String,
    /// Of that key.
    pub fingerprint: String,
    /// `did:key:z…` of that key; of Ed25519 keys only (IPR-27).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub did: Option<String>,
    /// Whether it is connected; false where this node cannot know.
    pub online: bool,
    /// The host it lives on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Keys it had in the last 90 days, newest first: mail accepted before such a key's end is judged by it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retired_keys: Vec<OldKey>,
}

/// A key that an agent has replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OldKey {
    /// PEM.
    pub public_key: String,
    /// Of that key.
    pub fingerprint: String,
    /// RFC 3339: when it was replaced.
    pub until: String,
    /// Believed no more, whenever the mail was accepted.
    pub compromised: bool,
}
