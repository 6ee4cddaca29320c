//! Ed25519: strict verification of others' signatures, and the private keys of agents (SIG-5).

use super::{KeyError, PublicKey, pem};
use ed25519_dalek::pkcs8::DecodePrivateKey;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use std::fmt;
use zeroize::Zeroizing;

pub(super) struct Verifier(VerifyingKey);

impl Verifier {
    pub(super) fn new(raw: &[u8; 32]) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(raw).map_err(|_| KeyError::Structure)?;
        // The second test refuses a point in a spelling other than its own: one key, one text.
        if key.is_weak() || key.to_edwards().compress().as_bytes() != raw {
            return Err(KeyError::Weak);
        }
        Ok(Self(key))
    }

    pub(super) fn raw(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.0.verify_strict(message, &signature).is_ok())
    }
}

/// PKCS#8 version 1 around a 32-byte seed, the form that every OpenSSL reads.
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// An agent's Ed25519 private key. Wiped from memory when dropped; never printed.
#[derive(Clone)]
pub struct AgentKey(SigningKey);

impl AgentKey {
    /// The key that grows from these 32 random bytes.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// Reads what `openssl genpkey -algorithm ED25519` writes.
    ///
    /// # Errors
    /// When it is no unencrypted Ed25519 private key.
    pub fn from_pkcs8_pem(text: &str) -> Result<Self, KeyError> {
        let der = pem::read_labelled(text, "PRIVATE KEY").map_err(|_| KeyError::NotPrivateEd25519)?;
        let key = SigningKey::from_pkcs8_der(&der).map_err(|_| KeyError::NotPrivateEd25519)?;
        Ok(Self(key))
    }

    /// Writes what `openssl pkey` reads.
    #[must_use]
    pub fn to_pkcs8_pem(&self) -> Zeroizing<String> {
        let mut der = Zeroizing::new(PKCS8_PREFIX.to_vec());
        der.reserve_exact(32);
        der.extend_from_slice(self.0.as_bytes());
        Zeroizing::new(pem::write("PRIVATE KEY", &der))
    }

    /// The 32 bytes that the key grew from.
    #[must_use]
    pub fn to_seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        // A key made from a seed is never weak: its scalar is clamped.
        PublicKey::of_signing_key(self.0.verifying_key())
    }

    /// Signs the bytes themselves, not a digest of them (SIG-5).
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl PublicKey {
    fn of_signing_key(key: VerifyingKey) -> Self {
        let der = super::spki::ed25519_der(key.as_bytes());
        Self(std::sync::Arc::new(super::Inner { der, kind: super::Kind::Ed25519(Verifier(key)) }))
    }
}

impl fmt::Debug for AgentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgentKey(of {})", self.public().fingerprint())
    }
}
