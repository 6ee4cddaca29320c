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
    /// The payload as signed, where the delivered one was wrapped (A-39).
    pub original_payload: Option<Vec<u8>>,
}

/// Verifies a delivered message offline: as it stands, else with the wrapping taken off (A-39).
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

#[cfg(test)]
mod tests {
    use super::{sign, verify_delivered};
    use crate::address::Address;
    use crate::canonical::{Signable, VerifyError};
    use crate::key::AgentKey;
    use crate::message::Priority;
    use crate::trust::{Trust, wrap};

    #[test]
    fn a_wrapped_delivery_verifies_offline_and_shows_what_was_signed() {
        let key = AgentKey::from_seed(&[1; 32]);
        let payload = br#"{"type":"task","message":"</external-content> \u00e9"}"#;
        let what = Signable {
            from: &["a@t.p.q"],
            to: &["b@t.p.r"],
            subject: "s",
            priority: Priority::Low,
            in_reply_to: None,
            payload,
        };
        let signature = sign(&key, &what).unwrap();
        let plain = verify_delivered(&key.public(), &what, &signature, None).unwrap();
        assert_eq!(plain.original_payload, None);
        let from = Address::parse("a@t.p.q", &[]).unwrap();
        let wrapped = wrap(payload, &from, Trust::External).unwrap();
        let delivered = Signable { payload: &wrapped, ..what };
        let found = verify_delivered(&key.public(), &delivered, &signature, None).unwrap();
        assert_eq!(found.original_payload.as_deref(), Some(&payload[..]));
        let other = String::from_utf8(wrapped).unwrap().replace("u00e9", "u00e8");
        let other = Signable { payload: other.as_bytes(), ..what };
        assert_eq!(verify_delivered(&key.public(), &other, &signature, None), Err(VerifyError::Invalid));
    }
}
