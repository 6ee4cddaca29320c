//! A message with fields of a stranger's choice: no panic, what we sign verifies, what is altered does not.
//! The input is subject, priority, in_reply_to, hint and payload, one a line.
#![no_main]
use amesh_proto::canonical::{CanonicalForm, Signable, VerifyError, verify};
use amesh_proto::key::AgentKey;
use amesh_proto::message::Priority;
use amesh_proto::sign::sign;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut lines = text.splitn(5, '\n');
    let (Some(subject), Some(priority), Some(reply), Some(hint), Some(payload)) =
        (lines.next(), lines.next(), lines.next(), lines.next(), lines.next())
    else {
        return;
    };
    let hint: Option<CanonicalForm> = postcard::from_bytes(hint.as_bytes()).ok();
    let what = Signable {
        from: &["a@t.p.q", "A@t.p.q"],
        to: &["b", "b@t.p.q"],
        subject,
        priority: Priority::parse(priority).unwrap_or_default(),
        in_reply_to: Some(reply),
        payload: payload.as_bytes(),
    };
    let key = AgentKey::from_seed(&[1; 32]);
    let Ok(signature) = sign(&key, &what) else {
        assert!(verify(&key.public(), &what, "AAAA", hint).is_err());
        return;
    };
    assert!(verify(&key.public(), &what, &signature, hint).is_ok());
    let other = Signable { to: &["c@t.p.q"], ..what };
    assert_eq!(verify(&key.public(), &other, &signature, hint), Err(VerifyError::Invalid));
});
