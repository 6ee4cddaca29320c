//! Keys: big-endian, so that byte order is number order. Called by every tree's file.

use crate::codec::damaged;
use crate::error::StoreError;
use crate::trees::Tree;
use sha2::{Digest, Sha256};

/// `prefix ‖ number`.
pub(crate) fn with_number(prefix: &[u8], number: u64) -> Vec<u8> {
    join(prefix, &number.to_be_bytes())
}

/// `first ‖ second`.
pub(crate) fn join(first: &[u8], second: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(first.len() + second.len());
    key.extend_from_slice(first);
    key.extend_from_slice(second);
    key
}

/// The number in the last eight bytes.
pub(crate) fn last_number(tree: Tree, key: &[u8]) -> Result<u64, StoreError> {
    key.last_chunk().map(|bytes| u64::from_be_bytes(*bytes)).ok_or_else(|| damaged(tree))
}

/// The number in the first eight bytes.
pub(crate) fn first_number(tree: Tree, key: &[u8]) -> Result<u64, StoreError> {
    key.first_chunk().map(|bytes| u64::from_be_bytes(*bytes)).ok_or_else(|| damaged(tree))
}

/// The first `N` bytes of SHA-256 over the parts, each with its length in front so that no two lists collide.
pub(crate) fn short_hash<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let full: [u8; 32] = hasher.finalize().into();
    let mut short = [0; N];
    short.copy_from_slice(&full[..N]);
    short
}

#[cfg(test)]
mod tests {
    use super::short_hash;

    #[test]
    fn moving_a_byte_between_parts_changes_the_hash() {
        assert_ne!(short_hash::<16>(&[b"ab", b"c"]), short_hash::<16>(&[b"a", b"bc"]));
    }
}
