//! RSA through aws-lc-rs: PKCS#1 v1.5 and PSS, over the text or over its digest.

use super::KeyError;
use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256};
use sha2::{Digest, Sha256};

pub(super) struct Verifier {
    pkcs1: ParsedPublicKey,
    pss: ParsedPublicKey,
}

impl Verifier {
    pub(super) fn new(der: &[u8]) -> Result<Self, KeyError> {
        let pkcs1 = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der);
        let pss = ParsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, der);
        match (pkcs1, pss) {
            (Ok(pkcs1), Ok(pss)) => Ok(Self { pkcs1, pss }),
            _ => Err(KeyError::Structure),
        }
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let by = |key: &ParsedPublicKey, message: &[u8]| key.verify_sig(message, signature).is_ok();
        if by(&self.pkcs1, message) {
            return true;
        }
        let digest = Sha256::digest(message);
        by(&self.pss, message) || by(&self.pkcs1, &digest) || by(&self.pss, &digest)
    }
}
