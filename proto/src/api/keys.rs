//! `auth/rotate-key`, `auth/revoke-key` and `auth/rotate-keys` (AMP 03 §API Key Management, §Public Key Rotation).

use crate::api::fields::{BadBody, Fields};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The reply to `POST /auth/rotate-key` (KEY-3).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiKeyRotated {
    /// The new key; given here and nowhere else.
    pub api_key: String,
    /// Always null: a key works until it is replaced or revoked.
    pub expires_at: Option<String>,
    /// RFC 3339: until then the earlier key works too.
    pub previous_key_valid_until: String,
}

/// The reply to `DELETE /auth/revoke-key` (KEY-4).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiKeyRevoked {
    /// Always true: no API key of this agent works any more.
    pub revoked: bool,
    /// RFC 3339.
    pub revoked_at: String,
}

/// `POST /auth/rotate-keys` (KEY-5).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RotateKeys {
    /// The new public key: PEM, hex or base64 DER.
    #[schema(
        min_length = 1,
        max_length = 8192,
        example = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA63e1wzIWHTQe0g4pNDghKPv7cIhcvW6HW9TJ/jw08IA=\n-----END PUBLIC KEY-----\n"
    )]
    pub new_public_key: String,
    /// `Ed25519`, `RSA` or `ECDSA`; read off the key where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_algorithm: Option<String>,
    /// Base64 of a signature over the new public key, made with the old private key.
    #[schema(min_length = 1)]
    pub proof: String,
    /// The old private key is in wrong hands: mail signed with it is believed no more, whenever it was sent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub compromised: bool,
}

impl RotateKeys {
    /// Reads a request body; unknown members are ignored.
    ///
    /// # Errors
    /// [`BadBody`] naming the member.
    pub fn parse(body: &[u8]) -> Result<Self, BadBody> {
        let mut fields = Fields::parse(body)?;
        Ok(Self {
            new_public_key: fields.text("new_public_key")?,
            key_algorithm: fields.optional_text("key_algorithm")?.filter(|text| !text.is_empty()),
            proof: fields.text("proof")?,
            compromised: fields.optional("compromised", "true or false")?.unwrap_or(false),
        })
    }
}

/// The reply to `POST /auth/rotate-keys`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeysRotated {
    /// Always true.
    pub rotated: bool,
    /// Whose key it is.
    pub address: String,
    /// Of the new key.
    pub fingerprint: String,
    /// `Ed25519`, `RSA` or `ECDSA`.
    pub key_algorithm: String,
}
