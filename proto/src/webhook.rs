//! Signing and checking what is posted to webhooks (AMP 05 §Webhook Request, AMP 07 §Webhook Security; WHK-1…3).
//! Used by the node, which signs, and by receivers, which check: a Rust receiver needs nothing but [`verify`].

use crate::fixed;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// `sha256=<hex>`, absent where the agent registered no secret (A-60).
pub const SIGNATURE_HEADER: &str = "x-amp-signature";
/// Unix seconds at which this attempt was signed.
pub const TIMESTAMP_HEADER: &str = "x-amp-timestamp";
/// The message's id; the same in every attempt, so receivers know repeats by it.
pub const ID_HEADER: &str = "x-amp-message-id";
/// In the receiver's answer: `true` acknowledges the message, which then leaves the mailbox.
pub const ACKNOWLEDGED_HEADER: &str = "x-amp-acknowledged";

/// How far the clocks of sender and receiver may be apart, in seconds (WHK-3).
pub const CLOCK_DIFFERENCE_S: u64 = 300;

/// Why a request is not to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WebhookFault {
    /// The timestamp is no number of seconds.
    #[error("the timestamp is missing or not a number of seconds")]
    Timestamp,
    /// The request was made too long ago, or in the future: somebody may be repeating it.
    #[error("the timestamp is more than {CLOCK_DIFFERENCE_S} seconds away from the time here")]
    Stale,
    /// Not made with this secret over this body.
    #[error("the signature does not match the body and the secret")]
    Signature,
}

/// The value of [`SIGNATURE_HEADER`]: HMAC-SHA256 with `secret` over `{timestamp}.{body}` (WHK-2).
#[must_use]
pub fn sign(secret: &str, timestamp_s: u64, body: &[u8]) -> String {
    let tag = match mac(secret, &[timestamp_s.to_string().as_bytes(), b".", body]) {
        Some(mac) => mac.finalize().into_bytes(),
        None => return String::new(),
    };
    format!("{SCHEME}{}", fixed::to_hex(&tag))
}

/// Checks a request: the three texts as they came, the body as raw bytes, `now_s` the time here.
///
/// # Errors
/// [`WebhookFault`]: throw the request away.
pub fn verify(
    secret: &str,
    timestamp: &str,
    signature: &str,
    body: &[u8],
    now_s: u64,
) -> Result<(), WebhookFault> {
    let made: u64 = timestamp.parse().map_err(|_| WebhookFault::Timestamp)?;
    if made.abs_diff(now_s) > CLOCK_DIFFERENCE_S {
        return Err(WebhookFault::Stale);
    }
    check(secret, &[timestamp.as_bytes(), b".", body], signature)
}

/// The reference provider's own form (IPR-22): keyed by the webhook's address, over the body alone. Nothing in it tells
/// a repeated request from a fresh one, so a receiver has to ask for it by name.
///
/// # Errors
/// [`WebhookFault::Signature`].
pub fn verify_provider_form(url: &str, signature: &str, body: &[u8]) -> Result<(), WebhookFault> {
    check(url, &[body], signature)
}

fn check(key: &str, parts: &[&[u8]], signature: &str) -> Result<(), WebhookFault> {
    let hex = signature.strip_prefix(SCHEME).unwrap_or(signature);
    let tag: [u8; 32] = fixed::from_hex(hex).ok_or(WebhookFault::Signature)?;
    let mac = mac(key, parts).ok_or(WebhookFault::Signature)?;
    // In constant time: how long it takes must not tell how much of a guess was right.
    mac.verify_slice(&tag).map_err(|_| WebhookFault::Signature)
}

/// HMAC takes keys of any length; that it might not is the type's word only.
fn mac(key: &str, parts: &[&[u8]]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).ok()?;
    for part in parts {
        mac.update(part);
    }
    Some(mac)
}

const SCHEME: &str = "sha256=";

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"envelope":{},"payload":{}}"#;
    const NOW: u64 = 1_700_000_000;

    #[test]
    fn the_signature_is_the_one_openssl_makes() {
        // printf '1700000000.{"envelope":{},"payload":{}}' | openssl dgst -sha256 -hmac s3cret
        assert_eq!(sign("s3cret", NOW, BODY), OPENSSL);
        assert_eq!(verify("s3cret", "1700000000", OPENSSL, BODY, NOW), Ok(()));
    }

    #[test]
    fn another_secret_body_or_time_does_not_pass() {
        let signature = sign("s3cret", NOW, BODY);
        let fault = Err(WebhookFault::Signature);
        assert_eq!(verify("secret", "1700000000", &signature, BODY, NOW), fault);
        assert_eq!(verify("s3cret", "1700000000", &signature, b"{}", NOW), fault);
        assert_eq!(verify("s3cret", "1700000001", &signature, BODY, NOW), fault);
        assert_eq!(verify("s3cret", "1700000000", "sha256=00", BODY, NOW), fault);
        assert_eq!(verify("s3cret", "1700000000", "", BODY, NOW), fault);
    }

    #[test]
    fn more_than_five_minutes_of_clock_difference_is_refused_either_way() {
        let signature = sign("s3cret", NOW, BODY);
        for (now, expected) in [
            (NOW + 300, Ok(())),
            (NOW - 300, Ok(())),
            (NOW + 301, Err(WebhookFault::Stale)),
            (NOW - 301, Err(WebhookFault::Stale)),
        ] {
            assert_eq!(verify("s3cret", "1700000000", &signature, BODY, now), expected);
        }
        assert_eq!(verify("s3cret", "yesterday", &signature, BODY, NOW), Err(WebhookFault::Timestamp));
    }

    #[test]
    fn the_providers_form_passes_only_where_it_is_asked_for() {
        let url = "https://example.org/hook";
        let tag = mac(url, &[BODY]).unwrap().finalize().into_bytes();
        let signature = fixed::to_hex(&tag);
        assert_eq!(verify_provider_form(url, &signature, BODY), Ok(()));
        assert_eq!(verify(url, "1700000000", &signature, BODY, NOW), Err(WebhookFault::Signature));
    }

    const OPENSSL: &str = "sha256=53697cb0a268e092b4dd6e66053bf2fcaeae19f364998996f3f2cded35ca8637";
}
