//! Signing an outgoing message, and checking one that was delivered, perhaps wrapped. Called by the client.

use crate::canonical::{self, CanonicalForm, Signable, VerifyError};
use crate::key::{AgentKey, PublicKey};
use crate::trust;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// Signs the form that we emit and returns the signature in standard base64 (SIG-6).
///
/// # Errors
/// When the payload is no JSON object, or a field may not be signed (SIG-14).
pub fn sign(key: &AgentKey, what: &Signable<'_>) -> Result<String, VerifyError> {
    let text = canonical::emit(what)?;
    Ok(BASE64_STANDARD.encode(key.sign(text.as_bytes())))
}

/// A delivered message whose signature stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The form that was signed.
    pub form: CanonicalForm,
    /// The payload as signed, where the delivered one was wrapped.
    pub original_payload: Option<Vec<u8>>,
}

/// Verifies a delivered message offline: as it stands, else with the wrapping taken off.
///
/// # Errors
/// When neither verifies; the error is that of the payload as it stands.
pub fn verify_delivered(
    key: &PublicKey,
    what: &Signable<'_>,
    signature_b64: &str,
    hint: Option<CanonicalForm>,
) -> Result<Verified, VerifyError> {
    let error = match canonical::verify(key, what, signature_b64, hint) {
        Ok(form) => return Ok(Verified { form, original_payload: None }),
        Err(error) => error,
    };
    let original = trust::unwrap(what.payload).ok_or(error)?;
    let unwrapped = Signable { payload: &original, ..*what };
    let form = canonical::verify(key, &unwrapped, signature_b64, hint).map_err(|_| error)?;
    Ok(Verified { form, original_payload: Some(original) })
}
