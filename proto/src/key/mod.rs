//! Keys that sign messages: reading every form they arrive in, refusing weak ones, verifying (IDN-10, IDN-11).
//!
//! Called by registration (parse), the hallway and carriers (verify), and the client (sign).

mod did;
mod ecdsa;
mod ed25519;
mod fingerprint;
mod pem;
mod rsa;
mod spki;
#[cfg(test)]
mod tests;

pub use ed25519::AgentKey;

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// The kinds of key that AMP knows (IDN-10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum KeyAlgorithm {
    /// Ed25519, the default.
    Ed25519,
    /// RSA with 2048 bits or more.
    #[serde(rename = "RSA")]
    Rsa,
    /// ECDSA on P-256.
    #[serde(rename = "ECDSA")]
    Ecdsa,
}

impl KeyAlgorithm {
    /// The word that AMP writes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ed25519 => "Ed25519",
            Self::Rsa => "RSA",
            Self::Ecdsa => "ECDSA",
        }
    }

    /// Reads the word that AMP writes, in any case.
    ///
    /// # Errors
    /// For any other word.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        [Self::Ed25519, Self::Rsa, Self::Ecdsa]
            .into_iter()
            .find(|algorithm| algorithm.as_str().eq_ignore_ascii_case(text))
            .ok_or(KeyError::UnknownAlgorithm)
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a key is refused. Registration answers 400 `invalid_field`, `field: "public_key"` (REG-5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Neither PEM, hex nor base64.
    #[error("key is neither PEM, hex nor base64")]
    Encoding,
    /// A private key where a public one is needed. It should be considered published.
    #[error("this is a private key; send the public one (openssl pkey -pubout)")]
    Private,
    /// A public key where a private one is needed, or a private one of another kind.
    #[error("this is not an unencrypted Ed25519 private key in PKCS#8")]
    NotPrivateEd25519,
    /// The DER inside is no public key of this shape.
    #[error("key is not a well-formed SubjectPublicKeyInfo")]
    Structure,
    /// A word other than `Ed25519`, `RSA`, `ECDSA`.
    #[error("key algorithm must be one of Ed25519, RSA, ECDSA")]
    UnknownAlgorithm,
    /// The key is of another kind than was said.
    #[error("key is of another algorithm than key_algorithm says")]
    WrongAlgorithm,
    /// An Ed25519 key of small order or in a second spelling: anybody can sign for it.
    #[error("Ed25519 key is weak or not canonical")]
    Weak,
    /// RSA below 2048 bits.
    #[error("RSA key has {0} bits; at least 2048 are needed")]
    TooSmall(usize),
    /// RSA above 8192 bits, or with an exponent that no tool makes.
    #[error("RSA key is larger than 8192 bits or has an unusable exponent")]
    Unusable,
    /// An elliptic curve other than P-256.
    #[error("ECDSA keys must be on the curve P-256, as an uncompressed point")]
    WrongCurve,
}

/// A public key, parsed once and cheap to clone. Equal when its `SubjectPublicKeyInfo` is.
#[derive(Clone)]
pub struct PublicKey(Arc<Inner>);

struct Inner {
    der: Vec<u8>,
    kind: Kind,
}

enum Kind {
    Ed25519(ed25519::Verifier),
    Rsa(rsa::Verifier),
    Ecdsa(ecdsa::Verifier),
}

impl PublicKey {
    /// Reads a key as PEM, hex (64 digits, Ed25519) or base64 (SPKI DER, or 32 raw bytes), and checks that
    /// it is of kind `algorithm`.
    ///
    /// # Errors
    /// When the text is no such key, or the key is weak.
    pub fn parse(text: &str, algorithm: KeyAlgorithm) -> Result<Self, KeyError> {
        let key = match pem::read(text)? {
            pem::Text::Der(der) => Self::from_spki_der(&der)?,
            pem::Text::Raw(raw) => Self::from_raw_ed25519(&raw)?,
        };
        if key.algorithm() == algorithm { Ok(key) } else { Err(KeyError::WrongAlgorithm) }
    }

    /// Like [`Self::parse`] where nobody says which kind of key it is.
    ///
    /// # Errors
    /// When the text is no key, or the key is weak.
    pub fn parse_any(text: &str) -> Result<Self, KeyError> {
        match pem::read(text)? {
            pem::Text::Der(der) => Self::from_spki_der(&der),
            pem::Text::Raw(raw) => Self::from_raw_ed25519(&raw),
        }
    }

    /// Reads the DER of a `SubjectPublicKeyInfo` of any of the three kinds.
    ///
    /// # Errors
    /// When it is none, or the key is weak.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        let kind = match spki::read(der)? {
            spki::Key::Ed25519(raw) => Kind::Ed25519(ed25519::Verifier::new(&raw)?),
            spki::Key::Rsa { bits, .. } if bits < crate::limits::RSA_MIN_BITS => {
                return Err(KeyError::TooSmall(bits));
            }
            spki::Key::Rsa { bits, plausible } if bits > crate::limits::RSA_MAX_BITS || !plausible => {
                return Err(KeyError::Unusable);
            }
            spki::Key::Rsa { .. } => Kind::Rsa(rsa::Verifier::new(der)?),
            spki::Key::P256 => Kind::Ecdsa(ecdsa::Verifier::new(der)?),
        };
        Ok(Self(Arc::new(Inner { der: der.to_vec(), kind })))
    }

    /// Takes the 32 bytes of an Ed25519 key.
    ///
    /// # Errors
    /// When they are no key, or a weak one.
    pub fn from_raw_ed25519(raw: &[u8; 32]) -> Result<Self, KeyError> {
        let kind = Kind::Ed25519(ed25519::Verifier::new(raw)?);
        Ok(Self(Arc::new(Inner { der: spki::ed25519_der(raw), kind })))
    }

    /// The key's DER, as `openssl pkey -pubin -outform DER` writes it.
    #[must_use]
    pub fn to_spki_der(&self) -> &[u8] {
        &self.0.der
    }

    /// The key's PEM, as `openssl pkey -pubout` writes it.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::write("PUBLIC KEY", &self.0.der)
    }

    /// The 32 bytes of an Ed25519 key; `None` for the other kinds.
    #[must_use]
    pub fn raw_ed25519(&self) -> Option<&[u8; 32]> {
        match &self.0.kind {
            Kind::Ed25519(key) => Some(key.raw()),
            Kind::Rsa(_) | Kind::Ecdsa(_) => None,
        }
    }

    /// What deliveries name `sender_public_key`: 64 hex digits for Ed25519, else PEM (RLY-10, IPR-16).
    #[must_use]
    pub fn sender_key_text(&self) -> String {
        self.raw_ed25519().map_or_else(|| self.to_pem(), |raw| crate::fixed::to_hex(raw))
    }

    /// Which kind of key this is.
    #[must_use]
    pub fn algorithm(&self) -> KeyAlgorithm {
        match &self.0.kind {
            Kind::Ed25519(_) => KeyAlgorithm::Ed25519,
            Kind::Rsa(_) => KeyAlgorithm::Rsa,
            Kind::Ecdsa(_) => KeyAlgorithm::Ecdsa,
        }
    }

    /// `SHA256:` and base64: over the raw key for Ed25519, over the DER for the others.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        match self.raw_ed25519() {
            Some(raw) => fingerprint::of(raw),
            None => fingerprint::of(self.to_spki_der()),
        }
    }

    /// Whether `text` is a fingerprint of this key in any form in circulation.
    #[must_use]
    pub fn matches_fingerprint(&self, text: &str) -> bool {
        fingerprint::matches(text, self.to_spki_der())
            || self.raw_ed25519().is_some_and(|raw| fingerprint::matches(text, raw))
    }

    /// Whether `signature` is this key's over `message`, in any of the encodings of A-6.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.0.kind {
            Kind::Ed25519(key) => key.verify(message, signature),
            Kind::Rsa(key) => key.verify(message, signature),
            Kind::Ecdsa(key) => key.verify(message, signature),
        }
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.der == other.0.der
    }
}

impl Eq for PublicKey {}

impl std::hash::Hash for PublicKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.der.hash(state);
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {})", self.algorithm(), self.fingerprint())
    }
}
