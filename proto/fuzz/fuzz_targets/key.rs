//! Keys in every text and DER: no panic, and what is accepted prints to what is accepted.
#![no_main]
use amesh_proto::key::{AgentKey, PublicKey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(key) = PublicKey::from_spki_der(bytes) {
        assert_eq!(key.to_spki_der(), bytes);
        check(&key);
        assert!(!key.verify(b"text", bytes));
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(key) = PublicKey::parse_any(text) {
        check(&key);
    }
    if let Ok(key) = AgentKey::from_pkcs8_pem(text) {
        check(&key.public());
    }
});

fn check(key: &PublicKey) {
    assert_eq!(PublicKey::parse(&key.to_pem(), key.algorithm()).as_ref(), Ok(key));
    assert_eq!(PublicKey::parse_any(&key.sender_key_text()).as_ref(), Ok(key));
    assert!(key.matches_fingerprint(&key.fingerprint()));
}
