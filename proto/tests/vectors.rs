//! What OpenSSL, Python, jq, bash and Node made (`vectors/make.py`) must verify here, and nothing near it.
// Helpers of tests stand outside `#[test]`, where clippy does not recognise them.
#![allow(clippy::unwrap_used)]

use amesh_proto::canonical::{CanonicalForm, Signable, VerifyError, verify};
use amesh_proto::key::{AgentKey, KeyAlgorithm, KeyError, PublicKey};
use amesh_proto::message::Priority;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

const ED25519: &str = include_str!("vectors/ed25519.pub.pem");
const RSA: &str = include_str!("vectors/rsa2048.pub.pem");
const P256: &str = include_str!("vectors/p256.pub.pem");

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/vectors.json")).unwrap()
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap()
}

fn key(name: &str) -> PublicKey {
    let (pem, algorithm) = match name {
        "ed25519" => (ED25519, KeyAlgorithm::Ed25519),
        "rsa2048" => (RSA, KeyAlgorithm::Rsa),
        _ => (P256, KeyAlgorithm::Ecdsa),
    };
    PublicKey::parse(pem, algorithm).unwrap()
}

fn check(message: &Value, subject: &str, payload: &[u8]) -> Result<CanonicalForm, VerifyError> {
    let what = Signable {
        from: &[text(message, "from")],
        to: &[text(message, "to")],
        subject,
        priority: Priority::parse(text(message, "priority")).unwrap(),
        in_reply_to: message["in_reply_to"].as_str(),
        payload,
    };
    verify(&key("ed25519"), &what, text(message, "signature"), None)
}

#[test]
fn every_message_that_another_program_signed_verifies() {
    let vectors = vectors();
    let messages = vectors["messages"].as_array().unwrap();
    assert!(messages.len() > 70);
    for message in messages {
        let found = check(message, text(message, "subject"), text(message, "payload").as_bytes());
        assert!(found.is_ok(), "{}: {found:?}", text(message, "name"));
    }
}

#[test]
fn the_form_that_verified_verifies_again_as_the_first_one_tried() {
    for message in vectors()["messages"].as_array().unwrap() {
        let payload = text(message, "payload").as_bytes();
        let form = check(message, text(message, "subject"), payload).unwrap();
        let what = Signable {
            from: &[text(message, "from")],
            to: &[text(message, "to")],
            subject: text(message, "subject"),
            priority: Priority::High,
            in_reply_to: Some("msg_1_a"),
            payload,
        };
        let again = verify(&key("ed25519"), &what, text(message, "signature"), Some(form));
        assert_eq!(again, Ok(form), "{}", text(message, "name"));
    }
}

#[test]
fn another_subject_or_payload_does_not_verify() {
    for message in vectors()["messages"].as_array().unwrap() {
        let payload = text(message, "payload");
        let other = payload.replacen("\"m", "\"n", 1);
        let other = if other == payload { payload.replacen("\"t", "\"u", 1) } else { other };
        let name = text(message, "name");
        assert_eq!(
            check(message, text(message, "subject"), other.as_bytes()),
            Err(VerifyError::Invalid),
            "{name}"
        );
        assert_eq!(check(message, "Other", payload.as_bytes()), Err(VerifyError::Invalid), "{name}");
    }
}

#[test]
fn signatures_in_every_encoding_verify_over_their_text_alone() {
    let vectors = vectors();
    let message = text(&vectors, "text").as_bytes();
    for entry in vectors["signatures"].as_array().unwrap() {
        let (key, name) = (key(text(entry, "key")), text(entry, "name"));
        let mut signature = BASE64_STANDARD.decode(text(entry, "signature")).unwrap();
        assert!(key.verify(message, &signature), "{name}");
        assert!(!key.verify(&message[1..], &signature), "{name}");
        let last = signature.len() - 1;
        signature[last] ^= 1;
        assert!(!key.verify(message, &signature), "{name}");
        assert!(!key.verify(message, &signature[..last]), "{name}");
        assert!(!key.verify(message, &[]), "{name}");
    }
}

#[test]
fn one_key_reads_the_same_from_every_text() {
    for name in ["ed25519", "rsa2048", "p256"] {
        let vectors = vectors();
        let (entry, key) = (&vectors["keys"][name], key(name));
        let der = BASE64_STANDARD.decode(text(entry, "der")).unwrap();
        assert_eq!(key.to_spki_der(), der);
        assert_eq!(PublicKey::from_spki_der(&der), Ok(key.clone()));
        assert_eq!(PublicKey::parse(text(entry, "der"), key.algorithm()), Ok(key.clone()));
        assert_eq!(PublicKey::parse(&key.to_pem(), key.algorithm()), Ok(key.clone()));
        assert_eq!(PublicKey::parse_any(&key.sender_key_text()), Ok(key.clone()));
        assert_eq!(PublicKey::parse(&key.to_pem().replace('\n', "\r\n"), key.algorithm()), Ok(key));
    }
    assert_eq!(key("rsa2048").to_pem(), RSA);
    let raw = text(&vectors()["keys"]["ed25519"], "raw_hex").to_owned();
    assert_eq!(PublicKey::parse(&raw, KeyAlgorithm::Ed25519), Ok(key("ed25519")));
    assert_eq!(PublicKey::parse(&raw.to_uppercase(), KeyAlgorithm::Ed25519), Ok(key("ed25519")));
    assert_eq!(key("ed25519").sender_key_text(), raw);
    assert_eq!(key("p256").sender_key_text(), P256, "other kinds of keys have no short form (RLY-10)");
}

#[test]
fn fingerprints_match_in_both_forms_padded_or_not_and_print_in_ours() {
    let vectors = vectors();
    let keys = &vectors["keys"];
    assert_eq!(key("ed25519").fingerprint(), text(&keys["ed25519"], "raw_fingerprint"));
    assert_eq!(key("rsa2048").fingerprint(), text(&keys["rsa2048"], "der_fingerprint"));
    assert_eq!(key("p256").fingerprint(), text(&keys["p256"], "der_fingerprint"));
    for form in ["raw_fingerprint", "der_fingerprint"] {
        let print = text(&keys["ed25519"], form);
        assert!(key("ed25519").matches_fingerprint(print));
        assert!(key("ed25519").matches_fingerprint(print.trim_end_matches('=')));
        assert!(!key("ed25519").matches_fingerprint(&print[..30]));
        assert!(!key("p256").matches_fingerprint(print));
    }
}

#[test]
fn keys_that_may_not_sign_are_refused_with_their_reason() {
    use KeyAlgorithm::{Ecdsa, Ed25519, Rsa};
    let refused = |pem: &str, algorithm| PublicKey::parse(pem, algorithm).unwrap_err();
    assert_eq!(refused(include_str!("vectors/rsa1024.pub.pem"), Rsa), KeyError::TooSmall(1024));
    assert_eq!(refused(include_str!("vectors/p384.pub.pem"), Ecdsa), KeyError::WrongCurve);
    assert_eq!(refused(include_str!("vectors/secp256k1.pub.pem"), Ecdsa), KeyError::WrongCurve);
    assert_eq!(refused(include_str!("vectors/x25519.pub.pem"), Ed25519), KeyError::UnknownAlgorithm);
    assert_eq!(refused(include_str!("vectors/ed25519.pem"), Ed25519), KeyError::Private);
    assert_eq!(refused(ED25519_PEM_OF_RSA, Ed25519), KeyError::WrongAlgorithm);
    assert_eq!(refused("-----BEGIN PUBLIC KEY-----\nAAAA", Ed25519), KeyError::Encoding);
    assert_eq!(refused("hello", Ed25519), KeyError::Encoding);
}

const ED25519_PEM_OF_RSA: &str = RSA;

#[test]
fn a_private_key_of_openssl_is_read_and_written_back_byte_for_byte() {
    let pem = include_str!("vectors/ed25519.pem");
    let private = AgentKey::from_pkcs8_pem(pem).unwrap();
    assert_eq!(private.public(), key("ed25519"));
    assert_eq!(&**private.to_pkcs8_pem(), pem);
    let vectors = vectors();
    let theirs = &vectors["signatures"][0];
    let ours = BASE64_STANDARD.encode(private.sign(text(&vectors, "text").as_bytes()));
    assert_eq!(ours, text(theirs, "signature"));
}
