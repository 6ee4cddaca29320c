//! ECDSA on P-256 through aws-lc-rs: DER and plain r‖s, over the text or over its digest.

use super::KeyError;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use sha2::{Digest, Sha256};

/// Length of r‖s. DER of this length is possible too, so both are tried.
const PLAIN: usize = 64;

pub(super) struct Verifier {
    der: ParsedPublicKey,
    plain: ParsedPublicKey,
}

impl Verifier {
    pub(super) fn new(der: &[u8]) -> Result<Self, KeyError> {
        let plain = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, der);
        let der = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, der);
        match (der, plain) {
            (Ok(der), Ok(plain)) => Ok(Self { der, plain }),
            _ => Err(KeyError::WrongCurve),
        }
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let by = |message: &[u8]| {
            self.der.verify_sig(message, signature).is_ok()
                || (signature.len() == PLAIN && self.plain.verify_sig(message, signature).is_ok())
        };
        by(message) || by(&Sha256::digest(message))
    }
}
