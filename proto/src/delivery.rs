//! What one provider posts to another (AMP 06 §Forward Endpoint, §Provider Authentication; FED-7, FED-8, A-27…A-29): the
//! body, the signature over it, and what is answered. Used by the node's federation, in both directions.

use crate::api::fields::{BadBody, Fields};
use crate::api::http_mesh::ForwardAnswer;
use crate::api::route::RouteRequest;
use crate::json::{Document, JsonError, KeyOrder, Spelling, parse_object};
use crate::key::{AgentKey, PublicKey};
use crate::limits;
use crate::time::UnixMillis;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

/// The header with the domain of the provider that posts.
pub const PROVIDER: &str = "x-amp-provider";
/// The header with its signature, in standard base64.
pub const SIGNATURE: &str = "x-amp-signature";
/// The header with the unix seconds at which this attempt was signed.
pub const TIMESTAMP: &str = "x-amp-timestamp";

/// How far the clocks of two providers may be apart, in seconds (FED-20).
pub const CLOCK_DIFFERENCE_S: u64 = 300;

/// What goes beside the message.
#[derive(Debug, Clone, Copy, Default)]
pub struct Beside<'a> {
    /// The sender's public key.
    pub sender_key: Option<&'a str>,
    /// When the sender's provider took the message, RFC 3339: it may have waited longer than an envelope stays fresh.
    pub queued_at: Option<&'a str>,
}

/// The body of a delivery, written as Python's `json.dumps` would write it again. A payload whose strings stand in a
/// spelling of their own stays verbatim: spelled anew, the sender's signature could not be verified (DESIGN §1.4).
///
/// # Errors
/// When the envelope or the payload is no JSON object.
pub fn body(envelope: &[u8], payload: &[u8], beside: Beside<'_>) -> Result<Vec<u8>, JsonError> {
    let envelope = parse_object(envelope)?.python_dumps();
    let payload = parse_object(payload)?;
    let respelled = payload.can_be_respelled().then(|| payload.python_dumps());
    // Escapes are longer than what they stand for, and the receiver measures what it gets.
    let respelled = respelled.filter(|text| text.len() <= limits::CONTEXT_BYTES);
    let payload = respelled.as_deref().unwrap_or_else(|| payload.text());
    let mut body = format!("{{\"envelope\": {envelope}, \"payload\": {payload}");
    for (name, text) in [("sender_public_key", beside.sender_key), ("queued_at", beside.queued_at)] {
        let Some(text) = text else { continue };
        let member = format!("{{\"{name}\":\"{}\"}}", crate::json::json_escaped(text));
        let member = parse_object(member.as_bytes())?.python_dumps();
        body.push_str(", ");
        body.push_str(&member[1..member.len() - 1]);
    }
    body.push('}');
    Ok(body.into_bytes())
}

/// The value of [`SIGNATURE`]: `key` over `{timestamp}.{body}` (FED-8).
#[must_use]
pub fn sign(key: &AgentKey, timestamp_s: u64, body: &[u8]) -> String {
    BASE64_STANDARD.encode(key.sign(&signed(&timestamp_s.to_string(), body)))
}

/// Why a delivery is not its provider's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryFault {
    /// The timestamp is no number of seconds.
    #[error("the header X-AMP-Timestamp is not a number of seconds")]
    Timestamp,
    /// Made too long ago.
    #[error("the header X-AMP-Timestamp is more than {CLOCK_DIFFERENCE_S} seconds old")]
    Expired,
    /// Made in the future.
    #[error("the header X-AMP-Timestamp is more than {CLOCK_DIFFERENCE_S} seconds ahead of the time here")]
    Future,
    /// Not made with this key over this body.
    #[error("the provider's signature does not match the body and its key")]
    Signature,
}

impl DeliveryFault {
    /// Its code (IPR-17).
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Timestamp => "invalid_field",
            Self::Expired => "timestamp_expired",
            Self::Future => "timestamp_future",
            Self::Signature => "signature_invalid",
        }
    }
}

/// Reads [`TIMESTAMP`] and holds it against the time here (FED-20). Done before any key is looked up.
///
/// # Errors
/// [`DeliveryFault`].
pub fn check_time(timestamp: &str, now_s: u64) -> Result<(), DeliveryFault> {
    // `+1` and the like would be read by some and not by others; the signature covers the text as it stands.
    if !timestamp.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(DeliveryFault::Timestamp);
    }
    let made: u64 = timestamp.parse().map_err(|_| DeliveryFault::Timestamp)?;
    if made.saturating_add(CLOCK_DIFFERENCE_S) < now_s {
        return Err(DeliveryFault::Expired);
    }
    if made > now_s.saturating_add(CLOCK_DIFFERENCE_S) {
        return Err(DeliveryFault::Future);
    }
    Ok(())
}

/// Checks a provider's signature: over the body as received, else as other programs would write it again. One over the
/// payload alone is none.
///
/// # Errors
/// [`DeliveryFault::Signature`].
pub fn verify(key: &PublicKey, timestamp: &str, signature: &str, body: &[u8]) -> Result<(), DeliveryFault> {
    let signature = BASE64_STANDARD.decode(signature.trim()).map_err(|_| DeliveryFault::Signature)?;
    if key.verify(&signed(timestamp, body), &signature) {
        return Ok(());
    }
    let document = parse_object(body).map_err(|_| DeliveryFault::Signature)?;
    let mut tried: Vec<String> = Vec::with_capacity(SPELLINGS);
    for spelling in 0..SPELLINGS {
        let text = spelled(&document, spelling);
        if text.as_bytes() == body || tried.contains(&text) {
            continue;
        }
        if key.verify(&signed(timestamp, text.as_bytes()), &signature) {
            return Ok(());
        }
        tried.push(text);
    }
    Err(DeliveryFault::Signature)
}

fn spelled(body: &Document<'_>, spelling: usize) -> String {
    match spelling {
        0 => body.python_dumps(),
        1 => body.write(KeyOrder::AsReceived, Spelling::Raw),
        2 => body.write(KeyOrder::AsReceived, Spelling::Ascii),
        3 => body.write(KeyOrder::Sorted, Spelling::Raw),
        _ => body.write(KeyOrder::Sorted, Spelling::Ascii),
    }
}

fn signed(timestamp: &str, body: &[u8]) -> Vec<u8> {
    [timestamp.as_bytes(), b".", body].concat()
}

/// A delivery as it came.
#[derive(Debug, Clone, Default)]
pub struct Delivery {
    /// The message; always of the full form.
    pub request: RouteRequest,
    /// The sender's key as its provider tells it; a claim.
    pub sender_key: Option<PublicKey>,
    /// When its provider took the message, as it says.
    pub queued_at: Option<UnixMillis>,
}

impl Delivery {
    /// Reads a body.
    ///
    /// # Errors
    /// [`BadBody`] naming the member.
    pub fn parse(body: &[u8]) -> Result<Self, BadBody> {
        let mut fields = Fields::parse(body)?;
        if !fields.has("envelope") {
            return Err(BadBody::Missing("envelope"));
        }
        let text = fields.optional_text("sender_public_key")?.filter(|text| !text.trim().is_empty());
        let read = |text: String| {
            let why = || "expected a public key as PEM or 64 hexadecimal digits".to_owned();
            PublicKey::parse_any(text.trim())
                .map_err(|_| BadBody::Invalid { field: "sender_public_key", why: why() })
        };
        // What is no time says nothing: a stranger's message is not refused for a member that nobody asked for.
        let queued_at = fields.optional_text("queued_at").ok().flatten();
        let queued_at = queued_at.as_deref().and_then(UnixMillis::parse_rfc3339);
        Ok(Self { request: RouteRequest::parse(body)?, sender_key: text.map(read).transpose()?, queued_at })
    }
}

/// The answer to a delivery that was taken: the union of the known shapes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DeliveryAnswer {
    /// Always true; what is not taken is answered with [`DeliveryRefusal`].
    pub accepted: bool,
    /// The message's id.
    pub id: String,
    /// Whether it is with its recipient already, and does not only wait for it.
    pub delivered: bool,
    /// `delivered` or `queued`.
    pub status: String,
    /// How: `websocket`, `webhook`, `local`, `relay` or `mesh`.
    pub method: String,
    /// RFC 3339, of what was delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<String>,
    /// RFC 3339, of what waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_at: Option<String>,
}

/// The answer to a delivery that was not taken (FED-13, FED-15).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DeliveryRefusal {
    /// Always false.
    pub accepted: bool,
    /// A code.
    pub error: String,
    /// What is wrong, for people.
    pub message: String,
    /// The member or header at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// In seconds, with 429.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

/// Whether a 2xx with this body says that the provider has the message: not denied, or said in so many words.
#[must_use]
pub fn is_taken(answer: &ForwardAnswer) -> bool {
    match answer.accepted {
        Some(accepted) => accepted,
        None => answer.is_taken(),
    }
}

/// Those of [`spelled`].
const SPELLINGS: usize = 5;

#[cfg(test)]
mod tests;
