//! Who a node is: its Ed25519 key, written as a libp2p peer id. Used by membership, rosters, links and discovery.

use crate::fixed;
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

/// A node's raw Ed25519 public key. As text it is the libp2p peer id (`12D3KooW…`, DESIGN §3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId([u8; 32]);

impl NodeId {
    /// The id whose raw public key is `bytes`.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The raw public key.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The last eight characters of the text form: enough for people to tell nodes apart.
    #[must_use]
    pub fn short(&self) -> String {
        let text = self.to_string();
        text[text.len() - 8..].to_owned()
    }

    /// Whether `signature` over `text` was made with this node's key (strict: weak keys never verify).
    #[must_use]
    pub fn verify(&self, text: &[u8], signature: &Signature) -> bool {
        let Ok(key) = VerifyingKey::from_bytes(&self.0) else { return false };
        key.verify_strict(text, &ed25519_dalek::Signature::from_bytes(&signature.0)).is_ok()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut multihash = [0; 38];
        multihash[..6].copy_from_slice(&PEER_ID_PREFIX);
        multihash[6..].copy_from_slice(&self.0);
        out.write_str(&bs58::encode(multihash).into_string())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "NodeId(…{})", self.short())
    }
}

impl FromStr for NodeId {
    type Err = NodeIdError;

    fn from_str(text: &str) -> Result<Self, NodeIdError> {
        if text.len() > 64 {
            return Err(NodeIdError);
        }
        let bytes = bs58::decode(text).into_vec().map_err(|_| NodeIdError)?;
        let key = bytes.strip_prefix(&PEER_ID_PREFIX).ok_or(NodeIdError)?;
        Ok(Self(key.try_into().map_err(|_| NodeIdError)?))
    }
}

impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        if out.is_human_readable() { out.collect_str(self) } else { fixed::serialize(&self.0, out) }
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        if !input.is_human_readable() {
            return fixed::deserialize(input).map(Self);
        }
        String::deserialize(input)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The text is not the peer id of an Ed25519 key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a node id: expected the peer id of an Ed25519 key, such as 12D3KooW…")]
pub struct NodeIdError;

/// A node's private key. Forgotten securely when dropped.
#[derive(Clone)]
pub struct NodeKey(SigningKey);

impl NodeKey {
    /// The key grown from 32 random bytes.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The 32 bytes it grew from, for the key file and for TLS.
    #[must_use]
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public half.
    #[must_use]
    pub fn id(&self) -> NodeId {
        NodeId(self.0.verifying_key().to_bytes())
    }

    /// Signs `text`.
    #[must_use]
    pub fn sign(&self, text: &[u8]) -> Signature {
        Signature(self.0.sign(text).to_bytes())
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "NodeKey(of {:?})", self.id())
    }
}

/// An Ed25519 signature by a node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Signature(#[serde(with = "crate::fixed")] pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Signature({}…)", fixed::to_hex(&self.0[..4]))
    }
}

/// SHA-256 over several parts laid end to end.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// Identity multihash (00, 36 bytes) of a protobuf public key (type 1 = Ed25519, 32 bytes).
const PEER_ID_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_known_key_prints_as_the_peer_id_that_libp2p_prints() {
        // Public key of RFC 8032 test 1; text computed from the peer-id specification's rules in Python.
        let key = NodeKey::from_seed(
            &fixed::from_hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap(),
        );
        assert_eq!(
            fixed::to_hex(key.id().as_bytes()),
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        );
        assert_eq!(key.id().to_string(), "12D3KooWQK1wnefoLrcVHbbnf5tLzbopUd3K3bFAoJpA7YJgL5pV");
    }

    #[test]
    fn text_that_is_not_a_peer_id_is_refused() {
        for text in
            ["", "12D3KooW", "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N", "0OIl", &"1".repeat(500)]
        {
            assert_eq!(text.parse::<NodeId>(), Err(NodeIdError), "{text}");
        }
    }

    #[test]
    fn a_signature_holds_for_its_text_and_key_only() {
        let (key, other) = (NodeKey::from_seed(&[1; 32]), NodeKey::from_seed(&[2; 32]));
        let signature = key.sign(b"text");
        assert!(key.id().verify(b"text", &signature));
        assert!(!key.id().verify(b"texT", &signature));
        assert!(!other.id().verify(b"text", &signature));
        assert!(!NodeId::from_bytes([0; 32]).verify(b"text", &signature));
    }

    proptest! {
        #[test]
        fn every_id_survives_text_json_and_postcard(bytes: [u8; 32]) {
            let id = NodeId::from_bytes(bytes);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            prop_assert_eq!(serde_json::from_str::<NodeId>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
            let wire = postcard::to_allocvec(&id).unwrap();
            prop_assert_eq!(wire.len(), 32);
            prop_assert_eq!(postcard::from_bytes::<NodeId>(&wire).unwrap(), id);
        }

        #[test]
        fn arbitrary_text_never_panics(text: String) {
            let _outcome = text.parse::<NodeId>();
        }
    }
}
