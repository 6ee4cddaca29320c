//! Weak keys, odd DER, and what must not verify. The rest is in `tests/vectors.rs`.

use super::*;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use proptest::prelude::*;

#[test]
fn keys_of_small_order_and_second_spellings_are_refused() {
    let mut one = [0; 32];
    one[0] = 1;
    let order_eight = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a";
    let mut second_spelling_of_one = [0xff; 32];
    second_spelling_of_one[0] = 0xee;
    second_spelling_of_one[31] = 0x7f;
    for raw in [one, [0; 32], crate::fixed::from_hex(order_eight).unwrap(), second_spelling_of_one] {
        assert_eq!(PublicKey::from_raw_ed25519(&raw).err(), Some(KeyError::Weak), "{raw:02x?}");
    }
    // y = 2^255 - 19 + 3 is a second spelling of y = 3, which is a point of full order.
    let mut wide = [0xff; 32];
    (wide[0], wide[31]) = (0xf0, 0x7f);
    assert!(matches!(PublicKey::from_raw_ed25519(&wide), Err(KeyError::Weak | KeyError::Structure)));
    let mut no_point = [0; 32];
    no_point[0] = 2;
    assert_eq!(PublicKey::from_raw_ed25519(&no_point).err(), Some(KeyError::Structure));
}

#[test]
fn an_rsa_key_with_exponent_one_is_refused() {
    // Anybody's text "verifies" under e = 1.
    let pem = include_str!("../../tests/vectors/rsa2048.pub.pem");
    let der = PublicKey::parse(pem, KeyAlgorithm::Rsa).unwrap().to_spki_der().to_vec();
    assert_eq!(&der[der.len() - 5..], [0x02, 0x03, 0x01, 0x00, 0x01]);
    for exponent in [[0x01u8, 0x00, 0x00], [0x01, 0x00, 0x02]] {
        let mut other = der.clone();
        let end = other.len();
        other[end - 3..].copy_from_slice(&exponent);
        assert_eq!(PublicKey::from_spki_der(&other).err(), Some(KeyError::Unusable));
    }
    let mut one = der.clone();
    one.truncate(der.len() - 5);
    one.extend([0x02, 0x01, 0x01]);
    // Lengths: outer SEQUENCE, BIT STRING and inner SEQUENCE are two bytes shorter.
    for at in [2, 21, 26] {
        let length = u16::from_be_bytes([one[at], one[at + 1]]) - 2;
        one[at..at + 2].copy_from_slice(&length.to_be_bytes());
    }
    assert_eq!(PublicKey::from_spki_der(&one).err(), Some(KeyError::Unusable));
}

#[test]
fn a_p256_point_off_the_curve_or_compressed_is_refused() {
    let pem = include_str!("../../tests/vectors/p256.pub.pem");
    let der = PublicKey::parse(pem, KeyAlgorithm::Ecdsa).unwrap().to_spki_der().to_vec();
    let mut off = der.clone();
    let last = off.len() - 1;
    off[last] ^= 1;
    assert_eq!(PublicKey::from_spki_der(&off).err(), Some(KeyError::WrongCurve));
    let mut compressed = der[..der.len() - 32].to_vec();
    (compressed[1], compressed[24], compressed[26]) = (0x39, 0x22, 2);
    assert_eq!(PublicKey::from_spki_der(&compressed).err(), Some(KeyError::WrongCurve));
}

#[test]
fn trailing_bytes_and_base64_of_nothing_are_refused() {
    let key = AgentKey::from_seed(&[7; 32]).public();
    let mut der = key.to_spki_der().to_vec();
    der.push(0);
    assert_eq!(PublicKey::from_spki_der(&der).err(), Some(KeyError::Structure));
    assert_eq!(PublicKey::parse("", KeyAlgorithm::Ed25519).err(), Some(KeyError::Structure));
    let raw = BASE64_STANDARD.encode(key.raw_ed25519().unwrap());
    assert_eq!(PublicKey::parse(&raw, KeyAlgorithm::Ed25519), Ok(key));
    let long = "A".repeat(crate::limits::PUBLIC_KEY_TEXT + 1);
    assert_eq!(PublicKey::parse(&long, KeyAlgorithm::Rsa).err(), Some(KeyError::Encoding));
}

#[test]
fn algorithms_are_written_as_the_protocol_writes_them() {
    for (algorithm, text) in
        [(KeyAlgorithm::Ed25519, "Ed25519"), (KeyAlgorithm::Rsa, "RSA"), (KeyAlgorithm::Ecdsa, "ECDSA")]
    {
        assert_eq!(serde_json::to_value(algorithm).unwrap(), text);
        assert_eq!(KeyAlgorithm::parse(&text.to_lowercase()), Ok(algorithm));
    }
    assert_eq!(KeyAlgorithm::parse("DSA"), Err(KeyError::UnknownAlgorithm));
}

#[test]
fn private_keys_are_not_printed() {
    let key = AgentKey::from_seed(&[9; 32]);
    let printed = format!("{key:?}");
    assert!(printed.contains(&key.public().fingerprint()) && !printed.contains("9, 9"));
    assert_eq!(AgentKey::from_pkcs8_pem("nonsense").err(), Some(KeyError::NotPrivateEd25519));
    assert_eq!(AgentKey::from_pkcs8_pem(&key.public().to_pem()).err(), Some(KeyError::NotPrivateEd25519));
}

proptest! {
    #[test]
    fn every_agent_key_signs_for_its_public_half_only(a in any::<[u8; 32]>(), b in any::<[u8; 32]>(), text in any::<Vec<u8>>()) {
        let (a, b) = (AgentKey::from_seed(&a), AgentKey::from_seed(&b));
        prop_assert!(a.public().verify(&text, &a.sign(&text)));
        prop_assert_eq!(a.public() == b.public(), b.public().verify(&text, &a.sign(&text)));
        prop_assert_eq!(AgentKey::from_pkcs8_pem(&a.to_pkcs8_pem()).unwrap().public(), a.public());
        prop_assert_eq!(PublicKey::from_raw_ed25519(a.public().raw_ed25519().unwrap()), Ok(a.public()));
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in ".{0,200}") {
        let _outcome = PublicKey::parse_any(&text);
    }
}
