//! API keys of agents: how they look, and what is kept of them. Called by `registration` and `Agents`.
//!
//! A key is 256 random bits, so a plain SHA-256 of it is as hard to reverse as the key is to guess; bcrypt, which
//! AMP 07 §API Key Security names, protects guessable secrets and cannot be looked up (A-23, a documented deviation).

use sha2::{Digest, Sha256};

/// What is stored of a key, and what it is found by.
pub type KeyHash = [u8; 32];

/// A fresh key in the form of KEY-1.
#[must_use]
pub fn mint(random: [u8; 32]) -> String {
    let mut key = String::with_capacity(PREFIX.len() + 64);
    key.push_str(PREFIX);
    for byte in random {
        for nibble in [byte >> 4, byte & 15] {
            key.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
        }
    }
    key
}

/// The hash of what was presented, or nothing when it cannot be an agent's key (KEY-1; REG-20: never a user key).
#[must_use]
pub fn hash(presented: &str) -> Option<KeyHash> {
    let known = presented.starts_with(PREFIX) || presented.starts_with(TEST_PREFIX);
    (known && presented.len() <= MAX_LENGTH).then(|| Sha256::digest(presented.as_bytes()).into())
}

const PREFIX: &str = "amp_live_sk_";
const TEST_PREFIX: &str = "amp_test_sk_";
const MAX_LENGTH: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_carries_all_its_randomness() {
        let key = mint([0xa5; 32]);
        assert_eq!(key, format!("amp_live_sk_{}", "a5".repeat(32)));
        assert_ne!(hash(&key), hash(&mint([0xa4; 32])));
    }

    #[test]
    fn user_keys_and_garbage_are_not_agent_keys() {
        assert_eq!(hash("uk_YWxpY2U"), None);
        assert_eq!(hash(""), None);
        assert_eq!(hash(&format!("amp_live_sk_{}", "a".repeat(300))), None);
    }
}
