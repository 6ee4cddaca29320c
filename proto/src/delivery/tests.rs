//! Deliveries between providers, as others would write and sign them.

use super::*;
use crate::canonical::{CanonicalForm, Signable};
use crate::message::Priority;
use crate::sign::{sign as sign_mail, verify_delivered};
use proptest::prelude::*;

const NOW: u64 = 1_700_000_000;
const ENVELOPE: &[u8] = br#"{"version":"amp/0.1","id":"msg_1_a","from":"a@t.corp.io","to":"b@t.crab.ai","subject":"Gr\u00fc\u00dfe","priority":"normal","n":1.50}"#;

fn key() -> AgentKey {
    AgentKey::from_seed(&[7; 32])
}

#[test]
fn a_body_is_written_as_python_would_write_it_again() {
    let payload = "{\"type\":\"x\",\"message\":\"é😀\\n\",\"context\":{\"a\":[1,2.50,{}],\"b\":[]}}";
    let body = body(
        ENVELOPE,
        payload.as_bytes(),
        Beside { sender_key: Some("-----B\nabc"), queued_at: Some("2026-11-23T07:00:00Z") },
    )
    .unwrap();
    // python3 -c 'import json; print(json.dumps({...}))'
    let python = concat!(
        r#"{"envelope": {"version": "amp/0.1", "id": "msg_1_a", "from": "a@t.corp.io", "to": "b@t.crab.ai", "#,
        r#""subject": "Gr\u00fc\u00dfe", "priority": "normal", "n": 1.50}, "payload": {"type": "x", "#,
        r#""message": "\u00e9\ud83d\ude00\n", "context": {"a": [1, 2.50, {}], "b": []}}, "sender_public_key": "-----B\nabc", "#,
        r#""queued_at": "2026-11-23T07:00:00Z"}"#
    );
    assert_eq!(String::from_utf8(body.clone()).unwrap(), python);
    assert_eq!(parse_object(&body).unwrap().python_dumps(), python);
    let signature = sign(&key(), NOW, &body);
    assert_eq!(verify(&key().public(), "1700000000", &signature, &body), Ok(()));
}

#[test]
fn a_payload_that_would_lose_its_signature_by_being_spelled_anew_stays_verbatim() {
    let payload = r#"{"type":"x","message":"\/ é"}"#;
    let body = String::from_utf8(body(b"{}", payload.as_bytes(), Beside::default()).unwrap()).unwrap();
    assert_eq!(body, format!("{{\"envelope\": {{}}, \"payload\": {payload}}}"));
}

#[test]
fn a_signature_is_taken_over_the_body_as_any_program_writes_it_and_not_over_less() {
    let body = br#"{ "payload": {"type":"x","message":"\u00e9"},"envelope":{"id":"1"} }"#;
    let public = key().public();
    for text in [
        "{ \"payload\": {\"type\":\"x\",\"message\":\"\\u00e9\"},\"envelope\":{\"id\":\"1\"} }",
        r#"{"payload": {"type": "x", "message": "\u00e9"}, "envelope": {"id": "1"}}"#,
        r#"{"payload":{"type":"x","message":"é"},"envelope":{"id":"1"}}"#,
        r#"{"payload":{"type":"x","message":"\u00e9"},"envelope":{"id":"1"}}"#,
        r#"{"envelope":{"id":"1"},"payload":{"message":"é","type":"x"}}"#,
        r#"{"envelope":{"id":"1"},"payload":{"message":"\u00e9","type":"x"}}"#,
    ] {
        let signature = sign(&key(), NOW, text.as_bytes());
        assert_eq!(verify(&public, "1700000000", &signature, body), Ok(()), "{text}");
        assert_eq!(
            verify(&public, "1700000001", &signature, body),
            Err(DeliveryFault::Signature),
            "another time"
        );
        let other = AgentKey::from_seed(&[8; 32]).public();
        assert_eq!(verify(&other, "1700000000", &signature, body), Err(DeliveryFault::Signature));
    }
    for less in [r#"{"type":"x","message":"\u00e9"}"#, r#"{"id":"1"}"#, ""] {
        let signature = sign(&key(), NOW, less.as_bytes());
        assert_eq!(verify(&public, "1700000000", &signature, body), Err(DeliveryFault::Signature), "{less}");
    }
    assert_eq!(verify(&public, "1700000000", "not base64", body), Err(DeliveryFault::Signature));
}

#[test]
fn a_delivery_is_of_now_give_or_take_five_minutes() {
    let at = |timestamp: &str| check_time(timestamp, NOW);
    assert_eq!((at("1699999700"), at("1700000300")), (Ok(()), Ok(())));
    assert_eq!(at("1699999699"), Err(DeliveryFault::Expired));
    assert_eq!(at("1700000301"), Err(DeliveryFault::Future));
    assert_eq!(at("18446744073709551615"), Err(DeliveryFault::Future));
    for odd in ["", "+1700000000", "1700000000.0", "2023-11-14T22:13:20Z", "184467440737095516160"] {
        assert_eq!(at(odd), Err(DeliveryFault::Timestamp), "{odd}");
    }
}

#[test]
fn a_delivery_names_what_is_wrong_with_it() {
    let message = r#""payload":{"type":"x","message":"hi"}"#;
    let whole = |more: &str| {
        format!(
            r#"{{"envelope":{{"id":"msg_1_a","from":"a@t.corp.io","to":"b@t.crab.ai","subject":"s"}},{message}{more}}}"#
        )
    };
    let read = |text: &str| Delivery::parse(text.as_bytes());
    let (public, bare) = (key().public(), read(&whole("")).unwrap());
    assert_eq!((bare.sender_key, bare.request.from.as_deref()), (None, Some("a@t.corp.io")));
    for text in [public.sender_key_text(), crate::json::json_escaped(&public.to_pem())] {
        let with_key = read(&whole(&format!(r#","sender_public_key":"{text}""#))).unwrap();
        assert_eq!(with_key.sender_key.as_ref(), Some(&public), "A-28: either");
    }
    let odd = read(&whole(r#","sender_public_key":"abc""#)).unwrap_err();
    assert_eq!(odd.field(), Some("sender_public_key"));
    assert_eq!(read(&format!("{{{message}}}")).unwrap_err().field(), Some("envelope"));
    assert!(read("[]").is_err());
}

#[test]
fn both_known_shapes_of_an_answer_say_that_a_message_was_taken() {
    let taken = |text: &str| is_taken(&ForwardAnswer::parse(text.as_bytes()).unwrap());
    assert!(taken(r#"{"accepted":true,"id":"1","delivered":false}"#));
    assert!(taken(r#"{"id":"1","status":"queued","method":"relay"}"#));
    assert!(!taken(r#"{"accepted":false,"error":"recipient_not_found","id":"1"}"#));
    assert!(!taken(r#"{"id":"1","status":"failed"}"#));
    assert!(!taken("{}"));
}

proptest! {
    /// DESIGN §1.4: whatever the sender wrote and signed, the far end can still verify it.
    #[test]
    fn what_a_sender_signed_still_verifies_after_the_way_between_providers(
        message in "(\\PC|[\u{0}-\u{a0}]|\u{10000}){0,40}", escaped in any::<bool>(), spaced in any::<bool>(), odd in any::<bool>(),
    ) {
        let text = serde_json::to_string(&message).unwrap();
        let payload = format!("{{\"type\":\"x\",\"message\":{text},\"a\":\"{}\"}}", if odd { "\\/é" } else { "/" });
        let document = parse_object(payload.as_bytes()).unwrap();
        let payload = match (escaped, spaced) {
            (true, true) => document.python_dumps(),
            (true, false) => document.write(KeyOrder::AsReceived, Spelling::Ascii),
            (false, true) => payload.replacen(",\"a\":", " ,\n \"a\" : ", 1),
            (false, false) => payload.clone(),
        };
        let agent = AgentKey::from_seed(&[9; 32]);
        let what = Signable {
            from: &["a@t.corp.io"], to: &["b@t.crab.ai"], subject: "s", priority: Priority::Normal, in_reply_to: None,
            payload: payload.as_bytes(),
        };
        let signature = sign_mail(&agent, &what).unwrap();
        let body = body(ENVELOPE, payload.as_bytes(), Beside::default()).unwrap();
        let arrived = Fields::parse(&body).unwrap().raw("payload").unwrap();
        let what = Signable { payload: arrived.get().as_bytes(), ..what };
        prop_assert!(verify_delivered(&agent.public(), &what, &signature, Some(CanonicalForm::EMITTED)).is_ok());
    }
}
