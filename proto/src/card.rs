//! Agent cards: an agent's address, key and name on one page that the agent itself signs (IPR-28). A node, which has no
//! agent's private key, hands out unsigned ones; `amesh identity card` signs and checks them.

use crate::canonical::decode_signature;
use crate::key::{AgentKey, KeyError, PublicKey};
use crate::time::UnixMillis;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /agents/me/card`, and what agents show each other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentCard {
    /// `did:key:z…` of the key; of Ed25519 keys only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub did: Option<String>,
    /// The full address.
    pub address: String,
    /// The part before the `@`.
    pub name: String,
    /// A name for people.
    pub alias: Option<String>,
    /// PEM.
    pub public_key: String,
    /// `Ed25519`, `RSA` or `ECDSA`.
    pub key_algorithm: String,
    /// Of that key.
    pub fingerprint: String,
    /// The provider's domain.
    pub provider: String,
    /// What the agent can do.
    pub capabilities: Vec<String>,
    /// RFC 3339.
    pub signed_at: String,
    /// Base64, by the agent's key, over `address|public_key|signed_at`; null where only the provider vouches.
    pub signature: Option<String>,
    /// Whether only the provider vouches for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub provider_asserted: bool,
}

/// What is wrong with a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CardError {
    /// Its `public_key` is none.
    #[error("public_key: {0}")]
    Key(#[from] KeyError),
    /// The did belongs to another key: the name was taken apart from the key.
    #[error("did is not that of public_key")]
    Did,
    /// So does the fingerprint.
    #[error("fingerprint is not that of public_key")]
    Fingerprint,
    /// Nobody signed it.
    #[error("signature is missing: only the provider that handed it out vouches for it")]
    Unsigned,
    /// Not by this key, or not over these words.
    #[error("signature is not that of public_key over address, public_key and signed_at")]
    Signature,
}

impl AgentCard {
    /// A card about `address` and `key`, unsigned. `provider` is the address's own.
    #[must_use]
    pub fn new(address: &str, key: &PublicKey, at: UnixMillis) -> Self {
        let (name, domain) = address.split_once('@').unwrap_or((address, ""));
        Self {
            did: key.did(),
            address: address.to_owned(),
            name: name.to_owned(),
            alias: None,
            public_key: key.to_pem(),
            key_algorithm: key.algorithm().as_str().to_owned(),
            fingerprint: key.fingerprint(),
            provider: domain.split_once('.').map_or(domain, |(_, provider)| provider).to_owned(),
            capabilities: CAPABILITIES.map(str::to_owned).to_vec(),
            signed_at: at.to_rfc3339(),
            signature: None,
            provider_asserted: false,
        }
    }

    /// The same, signed by the agent.
    #[must_use]
    pub fn signed(mut self, key: &AgentKey) -> Self {
        self.signature = Some(BASE64_STANDARD.encode(key.sign(self.signed_text().as_bytes())));
        self.provider_asserted = false;
        self
    }

    /// The key that signed the card. Alias and capabilities are not signed, so they prove nothing.
    ///
    /// # Errors
    /// When the card contradicts itself, or nobody or somebody else signed it.
    pub fn verify(&self) -> Result<PublicKey, CardError> {
        let key = PublicKey::parse_any(&self.public_key)?;
        if self.did.as_deref().is_some_and(|did| !key.is_did(did)) {
            return Err(CardError::Did);
        }
        if !key.matches_fingerprint(&self.fingerprint) {
            return Err(CardError::Fingerprint);
        }
        let signature = self.signature.as_deref().ok_or(CardError::Unsigned)?;
        let signature = decode_signature(signature).map_err(|_| CardError::Signature)?;
        let holds = key.verify(self.signed_text().as_bytes(), &signature);
        holds.then_some(key).ok_or(CardError::Signature)
    }

    fn signed_text(&self) -> String {
        format!("{}|{}|{}", self.address, self.public_key, self.signed_at)
    }
}

/// Of every agent: they are the protocol's, not the agent's.
const CAPABILITIES: [&str; 2] = ["messaging", "read_receipts"];

#[cfg(test)]
mod tests {
    use super::{AgentCard, CardError};
    use crate::key::AgentKey;
    use crate::time::UnixMillis;

    const SIGNED_AT: UnixMillis = UnixMillis(1_790_000_000_000);

    fn card() -> (AgentCard, AgentKey) {
        let key = AgentKey::from_seed(&[7; 32]);
        (AgentCard::new("kim@default.aimaestro.local", &key.public(), SIGNED_AT), key)
    }

    #[test]
    fn a_signed_card_names_the_key_that_signed_it_and_an_unsigned_one_names_none() {
        let (card, key) = card();
        assert_eq!((card.name.as_str(), card.provider.as_str()), ("kim", "aimaestro.local"));
        assert_eq!(card.verify().err(), Some(CardError::Unsigned));
        assert_eq!(card.signed(&key).verify().as_ref(), Ok(&key.public()));
    }

    #[test]
    fn whatever_is_changed_in_a_signed_card_is_noticed() {
        let (card, key) = card();
        let signed = card.clone().signed(&key);
        let other = AgentKey::from_seed(&[8; 32]).public();
        let change = |change: &dyn Fn(&mut AgentCard)| {
            let mut changed = signed.clone();
            change(&mut changed);
            changed.verify().err()
        };
        assert_eq!(change(&|card| card.address.insert(0, 'x')), Some(CardError::Signature));
        assert_eq!(change(&|card| card.signed_at.replace_range(3..4, "9")), Some(CardError::Signature));
        assert_eq!(change(&|card| card.did = other.did()), Some(CardError::Did));
        assert_eq!(change(&|card| card.fingerprint = other.fingerprint()), Some(CardError::Fingerprint));
        let swapped = |card: &mut AgentCard| {
            (card.public_key, card.did, card.fingerprint) =
                (other.to_pem(), other.did(), other.fingerprint());
        };
        assert_eq!(change(&swapped), Some(CardError::Signature));
        assert!(matches!(change(&|card| card.public_key.clear()), Some(CardError::Key(_))));
    }

    #[test]
    fn a_did_is_the_one_that_the_did_key_method_gives() {
        // The first Ed25519 vector of the did:key method's own specification.
        let raw =
            crate::fixed::from_hex::<32>("2e6fcce36701dc791488e0d0b1745cc1e33a4c1c9fcc41c63bd343dbbe0970e6");
        let key = crate::key::PublicKey::from_raw_ed25519(&raw.expect("hex")).expect("a key");
        assert_eq!(key.did().as_deref(), Some("did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"));
    }
}
