//! Wrapping: it comes off byte for byte, one fence stays, and nothing else unwraps.
#![no_main]
use amesh_proto::address::Address;
use amesh_proto::json::parse_object;
use amesh_proto::trust::{Trust, unwrap, wrap};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| {
    let from = Address::parse("mallory@evil.example.com", &[]).expect("address");
    if let Some(original) = unwrap(payload) {
        parse_object(&original).expect("what was unwrapped is JSON");
    }
    for trust in [Trust::External, Trust::Untrusted] {
        let Ok(wrapped) = wrap(payload, &from, trust) else { return };
        assert_eq!(unwrap(&wrapped).as_deref(), Some(payload));
        let document = parse_object(&wrapped).expect("what is wrapped is JSON");
        let message = document.member("message").and_then(|m| m.value.as_text().map(|t| t.decode()));
        let message = message.expect("message").to_lowercase();
        assert_eq!(message.matches("</external-content").count(), 1);
        assert_eq!(message.matches("<external-content").count(), 1);
    }
});
