//! `agents/me/registrations`: the other providers with which an agent is registered, and whose mail its node fetches (AMP 02
//! §Multi-Provider; IDN-4). Called by the node's API.

use crate::api::fields::{BadBody, Fields};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `PUT /agents/me/registrations/{provider}`: what the provider answered to the agent's own registration there.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewRegistration {
    /// The base of the provider's API, with or without its version; its host is the provider's domain, or below it.
    pub api_url: String,
    /// The agent's address there.
    pub address: String,
    /// The agent's API key there. Kept, and never shown again.
    pub api_key: String,
}

/// The secret stays out of logs.
impl std::fmt::Debug for NewRegistration {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("NewRegistration").field("address", &self.address).finish_non_exhaustive()
    }
}

impl NewRegistration {
    /// Reads a request body. Members that a client's own file of the registration has besides are passed over.
    ///
    /// # Errors
    /// [`BadBody`] naming the member.
    pub fn parse(body: &[u8]) -> Result<Self, BadBody> {
        let mut fields = Fields::parse(body)?;
        let read = Self {
            api_url: fields.text("api_url")?,
            address: fields.text("address")?,
            api_key: fields.text("api_key")?,
        };
        let fine = |key: &str| key.len() <= KEY_BYTES && key.bytes().all(|byte| byte.is_ascii_graphic());
        if !fine(&read.api_key) {
            let why = format!("expected at most {KEY_BYTES} visible ASCII characters");
            return Err(BadBody::Invalid { field: "api_key", why });
        }
        Ok(read)
    }
}

/// A registration as its agent sees it; without its API key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RegistrationEntry {
    /// The provider's domain.
    pub provider: String,
    /// The agent's address there.
    pub address: String,
    /// Where the node fetches.
    pub api_url: String,
    /// `new` until the provider has answered, then `well` or `failing`.
    pub state: String,
    /// Why it fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether the provider's WebSocket is open and says at once when there is mail; else it is asked from time to time.
    #[serde(default)]
    pub websocket: bool,
    /// RFC 3339: when the provider last answered as it should.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_fetched_at: Option<String>,
}

/// The reply to `GET /agents/me/registrations`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Registrations {
    /// By provider.
    pub registrations: Vec<RegistrationEntry>,
}

/// The reply to `DELETE /agents/me/registrations/{provider}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RegistrationRemoved {
    /// Always true. The agent stays registered at the provider; the node fetches nothing there any more.
    pub removed: bool,
}

const KEY_BYTES: usize = 512;
