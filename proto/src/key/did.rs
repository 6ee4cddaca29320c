//! `did:key`: a name for a key that is made of the key itself, so that the two can never differ (IPR-27).

use super::PublicKey;

const PREFIX: &str = "did:key:z";
/// The multicodec of Ed25519 public keys, as a varint.
const ED25519: [u8; 2] = [0xed, 0x01];

impl PublicKey {
    /// `did:key:z…` in base58btc, for Ed25519 keys; AMP derives none from the other kinds.
    #[must_use]
    pub fn did(&self) -> Option<String> {
        let raw = self.raw_ed25519()?;
        let mut bytes = [0; 34];
        bytes[..2].copy_from_slice(&ED25519);
        bytes[2..].copy_from_slice(raw);
        Some(format!("{PREFIX}{}", bs58::encode(bytes).into_string()))
    }

    /// Whether `text` is the `did:key` of this key. A key that has none is never meant.
    #[must_use]
    pub fn is_did(&self, text: &str) -> bool {
        self.did().is_some_and(|did| did == text)
    }
}
