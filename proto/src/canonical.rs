//! canonical (being written).

use crate::key::PublicKey;
use crate::message::Priority;
use serde::{Deserialize, Serialize};

/// Which spelling of from, to, subject and payload a signature covered. Remembered per sender and carried in
/// frames as a hint; never believed without verifying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CanonicalForm {
    from: u8,
    to: u8,
    subject: u8,
    payload: u8,
}

impl CanonicalForm {
    /// The form that we emit: first spellings, plain subject, sorted payload.
    pub const EMITTED: Self = Self { from: 0, to: 0, subject: 0, payload: 0 };
    /// Index into [`Signable::from`] of the spelling that verified.
    #[must_use]
    pub fn from_index(self) -> usize {
        usize::from(self.from)
    }
    /// Index into [`Signable::to`] of the spelling that verified.
    #[must_use]
    pub fn to_index(self) -> usize {
        usize::from(self.to)
    }
    /// The same form once the envelope carries the spellings that verified, as the only candidates.
    #[must_use]
    pub fn settled(self) -> Self {
        Self { from: 0, to: 0, ..self }
    }
}

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
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The payload is no acceptable JSON object.
    #[error("payload: {0}")]
    Payload(#[from] crate::json::JsonError),
    /// A separator in a field that may not hold one (SIG-14).
    #[error("from, to and in_reply_to may not contain '|' or control characters")]
    Separator,
    /// The signature is no base64.
    #[error("signature is not standard base64")]
    Encoding,
    /// No accepted form verifies under the key.
    #[error("signature does not verify in any accepted form")]
    Invalid,
}

/// Finds the form under which `signature_b64` verifies; tries `hint` first.
///
/// # Errors
/// When none does, or the message cannot be signed at all.
pub fn verify(
    _key: &PublicKey,
    _what: &Signable<'_>,
    _signature_b64: &str,
    _hint: Option<CanonicalForm>,
) -> Result<CanonicalForm, VerifyError> {
    Err(VerifyError::Invalid)
}
