//! An agent replaces or revokes what it proves itself with, at one provider (AMP 03 §API Key Management, §Public Key
//! Rotation). Called by `amesh identity rotate` and `amesh identity api-key`.

use super::http::{Api, ApiError};
use amesh_proto::api::agents::AgentSelf;
use amesh_proto::api::keys::{ApiKeyRevoked, ApiKeyRotated, KeysRotated, RotateKeys};
use amesh_proto::key::AgentKey;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

impl Api {
    /// The agent's own registration.
    ///
    /// # Errors
    /// As any request.
    pub async fn me(&self) -> Result<AgentSelf, ApiError> {
        let url = format!("{}/agents/me", self.base());
        self.answer(self.http.get(&url), url).await
    }

    /// Replaces the API key that this is used with.
    ///
    /// # Errors
    /// As any request.
    pub async fn rotate_api_key(&self) -> Result<ApiKeyRotated, ApiError> {
        let url = format!("{}/auth/rotate-key", self.base());
        self.answer(self.http.post(&url), url).await
    }

    /// Ends every API key of the agent.
    ///
    /// # Errors
    /// As any request.
    pub async fn revoke_api_keys(&self) -> Result<ApiKeyRevoked, ApiError> {
        let url = format!("{}/auth/revoke-key", self.base());
        self.answer(self.http.delete(&url), url).await
    }

    /// Replaces the key pair `old` by `new`. What the proof signs differs between providers: the PEM, else its hex.
    ///
    /// # Errors
    /// As any request.
    pub async fn rotate_keys(
        &self,
        old: &AgentKey,
        new: &AgentKey,
        compromised: bool,
    ) -> Result<KeysRotated, ApiError> {
        let pem = new.public().to_pem();
        match self.rotate_keys_with(&pem, old.sign(pem.as_bytes()).as_ref(), compromised).await {
            Err(ApiError::Refused { status: 401 | 403, body }) if body.error != "unauthorized" => {
                let hex = new.public().sender_key_text();
                self.rotate_keys_with(&pem, old.sign(hex.as_bytes()).as_ref(), compromised).await
            }
            other => other,
        }
    }

    async fn rotate_keys_with(
        &self,
        pem: &str,
        proof: &[u8],
        compromised: bool,
    ) -> Result<KeysRotated, ApiError> {
        let url = format!("{}/auth/rotate-keys", self.base());
        let request = RotateKeys {
            new_public_key: pem.to_owned(),
            key_algorithm: Some("Ed25519".to_owned()),
            proof: STANDARD.encode(proof),
            compromised,
        };
        self.answer(self.http.post(&url).json(&request), url).await
    }
}
