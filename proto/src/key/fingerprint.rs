//! Key fingerprints: `SHA256:` and base64 (IDN-11), and comparing what others made of them.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

const PREFIX: &str = "SHA256:";

/// Reads base64 with or without its padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(super) fn of(bytes: &[u8]) -> String {
    format!("{PREFIX}{}", BASE64_STANDARD.encode(Sha256::digest(bytes)))
}

/// Whether `text` is the fingerprint of `bytes`, padded or not. Shortened ones match nothing.
pub(super) fn matches(text: &str, bytes: &[u8]) -> bool {
    text.strip_prefix(PREFIX)
        .and_then(|digest| LENIENT.decode(digest).ok())
        .is_some_and(|digest| digest == Sha256::digest(bytes)[..])
}
