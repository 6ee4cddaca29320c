//! `POST /register` (AMP 03 §Registration).

use crate::api::agents::DeliverySettings;
use crate::api::fields::{BadBody, Fields};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// A request to register (REG-2, REG-3).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "name": "anna", "tenant": "default", "key_algorithm": "Ed25519",
    "public_key": "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA63e1wzIWHTQe0g4pNDghKPv7cIhcvW6HW9TJ/jw08IA=\n-----END PUBLIC KEY-----\n"
}))]
pub struct RegisterRequest {
    /// The agent's name.
    #[schema(min_length = 1, max_length = 63, pattern = "^[A-Za-z0-9_][A-Za-z0-9_-]*$", example = "anna")]
    pub name: String,
    /// The organization; required unless an owner is authenticated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "default")]
    pub tenant: Option<String>,
    /// The public key: PEM, hex or base64 DER.
    #[schema(
        min_length = 1,
        max_length = 8192,
        example = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA63e1wzIWHTQe0g4pNDghKPv7cIhcvW6HW9TJ/jw08IA=\n-----END PUBLIC KEY-----\n"
    )]
    pub public_key: String,
    /// `Ed25519`, `RSA` or `ECDSA`.
    #[schema(min_length = 1, example = "Ed25519")]
    pub key_algorithm: String,
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// More labels in the address (REG-12).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// How mail is to be delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliverySettings>,
    /// Anything the agent wants to keep with its registration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
    /// Where registration is by invitation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invite_code: Option<String>,
    /// An id of the agent's own choosing (IPR-20).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// Proof of the key for a repeated registration: base64 of a signature over [`Self::proof_text`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
    /// When `proof` was made, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof_at: Option<String>,
    /// The agent's word that it moves here from the host of the mesh where it lives (DESIGN §3, Moving).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<HomeProof>,
}

/// `home{at,signature}`: the agent lives at this node from now on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HomeProof {
    /// Milliseconds since 1970, as they stand in the signed text.
    pub at: u64,
    /// Base64 of a signature by the agent's key over `amesh-home|{address}|{node id}|{mesh id}|{at}`.
    pub signature: String,
}

/// `scope{platform,repo}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = AgentScope)]
pub struct Scope {
    /// For example `github`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// For example the repository's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
}

impl RegisterRequest {
    /// Reads a request body; unknown members are ignored.
    ///
    /// # Errors
    /// [`BadBody`] naming the member.
    pub fn parse(body: &[u8]) -> Result<Self, BadBody> {
        let mut fields = Fields::parse(body)?;
        let home = fields.optional_object("home", "an object {at, signature}: milliseconds and base64")?;
        if home.as_ref().is_some_and(|home: &HomeProof| i64::try_from(home.at).is_err()) {
            return Err(BadBody::Invalid { field: "home", why: "at is no time in milliseconds".to_owned() });
        }
        Ok(Self {
            name: fields.text("name")?,
            tenant: fields.optional_text("tenant")?,
            public_key: fields.text("public_key")?,
            key_algorithm: fields.text("key_algorithm")?,
            alias: fields.optional_text("alias")?,
            scope: fields.optional_object("scope", "an object {platform, repo} of strings")?,
            delivery: fields
                .optional_object("delivery", "an object {webhook_url, webhook_secret, prefer_websocket}")?,
            metadata: fields.optional("metadata", "an object")?,
            invite_code: fields.optional_text("invite_code")?,
            agent_id: fields.optional_text("agent_id")?,
            proof: fields.optional_text("proof")?,
            proof_at: fields.optional_text("proof_at")?,
            home,
        })
    }

    /// What a proof of key possession signs: `amesh-register|{name}|{tenant}|{provider}|{time}`. The provider's
    /// domain is in it so that one provider cannot show another what it was shown.
    #[must_use]
    pub fn proof_text(name: &str, tenant: &str, provider: &str, at: &str) -> String {
        format!("amesh-register|{name}|{tenant}|{provider}|{at}")
    }
}

/// What a new agent is told, once (REG-8, REG-11).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "address": "anna@default.aimaestro.local", "short_address": "anna@default.aimaestro.local", "local_name": "anna",
    "agent_id": "agt_00000001", "tenant_id": "ten_default", "tenant": "default", "api_key": "amp_live_sk_…",
    "provider": {"name": "aimaestro.local", "endpoint": "http://localhost:23000/v1", "route_url": "http://localhost:23000/v1/route"},
    "fingerprint": "SHA256:…", "registered_at": "2026-09-21T13:33:20Z"
}))]
pub struct RegisterResponse {
    /// The full address.
    pub address: String,
    /// `name@tenant.provider`.
    pub short_address: String,
    /// The name alone.
    pub local_name: String,
    /// The agent's id here.
    pub agent_id: String,
    /// Whose agent it is, where a user key registered it (REG-17).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_id: Option<String>,
    /// Opaque id of the tenant.
    pub tenant_id: String,
    /// The tenant, readable.
    pub tenant: String,
    /// The API key; given here and nowhere else.
    pub api_key: String,
    /// Where to send.
    pub provider: ProviderFace,
    /// Of the registered key.
    pub fingerprint: String,
    /// RFC 3339.
    pub registered_at: String,
}

/// `provider{name,endpoint,route_url}` (REG-10, ICL-4, ICL-5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProviderFace {
    /// The bare provider domain.
    pub name: String,
    /// The base, with its version, without a final slash.
    pub endpoint: String,
    /// The full URL of `POST …/route`.
    pub route_url: String,
}
