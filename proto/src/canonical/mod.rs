//! The text that a signature covers, and the search for the form of it that a sender signed (AMP 04 §Message
//! Signing, A-1… ).
//!
//! `{from}|{to}|{subject}|{priority}|{in_reply_to}|{payload_hash}` (SIG-2). Called by the hallway, by
//! carriers that receive, and by the client.

mod candidates;
mod form;
mod payload;
#[cfg(test)]
mod tests;

pub use form::{CanonicalForm, PayloadForm, SubjectForm};
pub use payload::payload_hash;

use crate::guards::{self, Guard};
use crate::json::{Document, JsonError, parse_object};
use crate::key::PublicKey;
use crate::limits;
use crate::priority::Priority;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use candidates::Search;
use std::borrow::Cow;

/// What a signature may cover.
#[derive(Debug, Clone, Copy)]
pub struct Signable<'a> {
    /// Spellings of the sender, the likeliest first.
    pub from: &'a [&'a str],
    /// Spellings of the recipient, the likeliest first.
    pub to: &'a [&'a str],
    /// The subject as received.
    pub subject: &'a str,
    /// The priority; `normal` where absent (SIG-4).
    pub priority: Priority,
    /// The parent message; absent, null and empty are equal.
    pub in_reply_to: Option<&'a str>,
    /// The payload's JSON text as received.
    pub payload: &'a [u8],
}

/// Why a signature does not stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The payload is no acceptable JSON object.
    #[error("payload: {0}")]
    Payload(#[from] JsonError),
    /// A separator in a field that may not hold one (SIG-14), or a spelling is missing.
    #[error("from, to and in_reply_to may not contain '|' or control characters")]
    Separator,
    /// The signature is no base64.
    #[error("signature is not standard base64")]
    Encoding,
    /// No accepted form verifies under the key.
    #[error("signature does not verify in any accepted form")]
    Invalid,
}

/// Finds the form under which `signature_b64` verifies: `hint` first, then the likeliest, at most
/// [`limits::CANONICAL_CANDIDATES`] distinct texts.
///
/// # Errors
/// When none does, or the message cannot be signed at all.
pub fn verify(
    key: &PublicKey,
    what: &Signable<'_>,
    signature_b64: &str,
    hint: Option<CanonicalForm>,
) -> Result<CanonicalForm, VerifyError> {
    let document = parse_object(what.payload)?;
    verify_document(key, what, &document, signature_b64, hint)
}

/// Like [`verify`] for a caller who has parsed `what.payload` already.
///
/// # Errors
/// When no form verifies, or the message cannot be signed at all.
pub fn verify_document(
    key: &PublicKey,
    what: &Signable<'_>,
    payload: &Document<'_>,
    signature_b64: &str,
    hint: Option<CanonicalForm>,
) -> Result<CanonicalForm, VerifyError> {
    check_separators(what)?;
    let signature = decode_signature(signature_b64)?;
    Search::new(what, payload)
        .find(hint, |text| key.verify(text.as_bytes(), &signature))
        .ok_or(VerifyError::Invalid)
}

/// The text that we sign: first spellings, plain subject, payload sorted (SIG-12).
///
/// # Errors
/// When the payload is no acceptable JSON object, or a field may not be signed.
pub fn emit(what: &Signable<'_>) -> Result<String, VerifyError> {
    check_separators(what)?;
    let document = parse_object(what.payload)?;
    let hash = payload_hash(payload::text(&document, PayloadForm::EMITTED).as_bytes());
    let [from, to] = [what.from, what.to].map(|spellings| spellings.first().copied().unwrap_or_default());
    Ok(signing_text(from, to, what.subject, what.priority, what.in_reply_to, &hash))
}

/// Joins the signed fields (SIG-2, SIG-4).
#[must_use]
pub fn signing_text(
    from: &str,
    to: &str,
    subject: &str,
    priority: Priority,
    in_reply_to: Option<&str>,
    payload_hash: &str,
) -> String {
    [from, to, subject, priority.as_str(), in_reply_to.unwrap_or_default(), payload_hash].join("|")
}

/// Reads a signature's text. Line breaks, as `base64` without `-w0` makes them, do not matter.
pub(crate) fn decode_signature(text: &str) -> Result<Vec<u8>, VerifyError> {
    if text.is_empty() || text.len() > limits::SIGNATURE_TEXT {
        return Err(VerifyError::Encoding);
    }
    let text = if text.bytes().any(|b| b.is_ascii_whitespace()) {
        Cow::Owned(text.split_ascii_whitespace().collect())
    } else {
        Cow::Borrowed(text)
    };
    BASE64_STANDARD.decode(&*text).map_err(|_| VerifyError::Encoding)
}

fn check_separators(what: &Signable<'_>) -> Result<(), VerifyError> {
    let clean = |text: &&str| !text.bytes().any(|b| b == b'|' || b < 0x20 || b == 0x7f);
    let named = |spellings: &[&str]| !spellings.is_empty() && spellings.iter().all(clean);
    let all_clean = named(what.from) && named(what.to) && what.in_reply_to.iter().all(clean);
    if all_clean || guards::is_down(Guard::Separators) { Ok(()) } else { Err(VerifyError::Separator) }
}
