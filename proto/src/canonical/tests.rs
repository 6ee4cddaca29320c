//! Which forms are found, how many are tried, and that nothing signed can be changed (SIG-10, SIG-12).

use super::*;
use crate::guards::{Guard, without};
use crate::json::{KeyOrder, Spelling};
use crate::key::AgentKey;
use crate::sign::sign;
use proptest::prelude::*;
use std::cell::Cell;

fn signable<'a>(from: &'a [&'a str], to: &'a [&'a str], payload: &'a [u8]) -> Signable<'a> {
    Signable { from, to, subject: "Hi", priority: Priority::Normal, in_reply_to: None, payload }
}

/// Signs a text that the test builds itself.
fn signed(text: &str) -> (PublicKey, String) {
    let key = AgentKey::from_seed(&[3; 32]);
    (key.public(), BASE64_STANDARD.encode(key.sign(text.as_bytes())))
}

const SORTED: &str = "4Z/XSV1AZKYKorrN9OyxY5kTmYXHIZY37sGUfOrHkdg=";
const AS_ORDERED: &str = "E3WayERAfyKwcLJ1rYGFnZm4exOtah7E/bzzkFlJXlM=";
const RECEIVED: &[u8] = br#"{"type":"notification","message":"Hello"}"#;

/// `…|x|normal|normal|a|…` is `x|normal` in answer to `a`, or `x` in answer to `normal|a`, and so on.
#[test]
fn no_bar_turns_one_message_into_another_and_one_would_without_the_guard() {
    let honest = Signable {
        subject: "pay|normal|him|normal",
        in_reply_to: Some("msg_1_a"),
        ..signable(&["a@t.p.q"], &["b@t.p.q"], RECEIVED)
    };
    let key = AgentKey::from_seed(&[3; 32]);
    let (public, signature) = (key.public(), sign(&key, &honest).unwrap());
    let another = Signable { subject: "pay", in_reply_to: Some("him|normal|normal|msg_1_a"), ..honest };
    let to_another = Signable { to: &["b@t.p.q|pay"], subject: "normal|him|normal", ..honest };
    for changed in [another, to_another] {
        let judged = || verify(&public, &changed, &signature, None);
        let deceived = without(Guard::Separators, "any: canonical-form confusion, a bar in a field", judged);
        assert!(deceived.is_ok(), "{changed:?}");
        assert_eq!(judged(), Err(VerifyError::Separator));
    }
}

#[test]
fn the_vectors_of_sig_12_hold_and_either_form_verifies() {
    assert_eq!(payload_hash(RECEIVED), AS_ORDERED);
    assert_eq!(payload_hash(br#"{"message":"Hello","type":"notification"}"#), SORTED);
    for (hash, order) in [(SORTED, KeyOrder::Sorted), (AS_ORDERED, KeyOrder::AsReceived)] {
        let (key, signature) = signed(&format!("a@t.p.q|b@t.p.q|Hi|normal||{hash}"));
        let what = signable(&["a@t.p.q"], &["b@t.p.q"], RECEIVED);
        let form = verify(&key, &what, &signature, None).unwrap();
        assert_eq!(form.payload, PayloadForm::of(order, Spelling::Verbatim));
        assert_eq!(verify(&key, &what, &signature, Some(form)), Ok(form));
    }
}

#[test]
fn we_emit_the_sorted_form_over_the_first_spellings() {
    let what = signable(&["a@t.p.q", "A@t.p.q"], &["b@t.p.q"], RECEIVED);
    assert_eq!(emit(&what).unwrap(), format!("a@t.p.q|b@t.p.q|Hi|normal||{SORTED}"));
    let what = Signable { in_reply_to: Some("msg_1_a"), priority: Priority::Urgent, ..what };
    assert_eq!(emit(&what).unwrap(), format!("a@t.p.q|b@t.p.q|Hi|urgent|msg_1_a|{SORTED}"));
}

#[test]
fn other_spellings_of_both_ends_are_found_and_named() {
    let payload = br#"{"message":"Hello","type":"notification"}"#;
    let what = signable(&["a@t.p.q", "Ann@T.p.q"], &["b", "b@t.p.q", "b@h.t.p.q"], payload);
    let (key, signature) = signed(&format!("Ann@T.p.q|b@h.t.p.q|Hi|normal||{SORTED}"));
    let form = verify(&key, &what, &signature, None).unwrap();
    assert_eq!((form.from_index(), form.to_index()), (1, 2));
    assert_eq!(form.settled().from_index(), 0);
}

#[test]
fn attachments_that_were_added_empty_after_signing_are_overlooked_but_full_ones_are_not() {
    let (key, signature) = signed(&format!("a@t.p.q|b@t.p.q|Hi|normal||{SORTED}"));
    let check = |payload: &str| {
        verify(&key, &signable(&["a@t.p.q"], &["b@t.p.q"], payload.as_bytes()), &signature, None)
    };
    let form = check(r#"{"type":"notification","message":"Hello","attachments":[ ]}"#).unwrap();
    assert!(form.payload.without_attachments);
    assert!(check(r#"{"type":"notification","message":"Hello","attachments":[1]}"#).is_err());
    assert!(check(r#"{"type":"notification","message":"Hello","attachments":{}}"#).is_err());
    assert!(check(r#"{"type":"notification","message":"Hello","other":[]}"#).is_err());
}

#[test]
fn at_most_eight_distinct_texts_are_tried_and_none_twice() {
    let from = ["a@t.p.q", "A@t.p.q", "a@t.p.q", "x@t.p.q"];
    let to = ["b@t.p.q", "B@t.p.q", "b@h.t.p.q", "b"];
    let payload = "{\"type\":\"é\\/\u{7f}\",\"message\":\"\\u00e9\",\"1\":0,\"attachments\":[]}";
    let what = Signable { subject: "tab\there", ..signable(&from, &to, payload.as_bytes()) };
    let document = parse_object(what.payload).unwrap();
    let texts = std::cell::RefCell::new(Vec::new());
    let found = Search::new(&what, &document).find(None, |text| {
        texts.borrow_mut().push(text.to_owned());
        false
    });
    let mut texts = texts.into_inner();
    assert_eq!((found, texts.len()), (None, limits::CANONICAL_CANDIDATES));
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), limits::CANONICAL_CANDIDATES);
}

#[test]
fn an_ordinary_message_is_tried_once_or_twice() {
    for (payload, tries) in [(&br#"{"message":"Hello","type":"x"}"#[..], 1), (RECEIVED, 2)] {
        let what = signable(&["a@t.p.q"], &["b@t.p.q"], payload);
        let document = parse_object(payload).unwrap();
        let count = Cell::new(0);
        Search::new(&what, &document).find(None, |_| {
            count.set(count.get() + 1);
            false
        });
        assert_eq!(count.get(), tries);
    }
}

#[test]
fn a_hint_that_does_not_fit_does_no_harm() {
    let what = signable(&["a@t.p.q"], &["b@t.p.q"], RECEIVED);
    let (key, signature) = signed(&format!("a@t.p.q|b@t.p.q|Hi|normal||{AS_ORDERED}"));
    let hint = CanonicalForm {
        from: 200,
        to: 7,
        subject: SubjectForm::Tsv,
        payload: PayloadForm {
            without_attachments: true,
            ..PayloadForm::of(KeyOrder::JavaScript, Spelling::Ascii)
        },
    };
    assert!(verify(&key, &what, &signature, Some(hint)).is_ok());
    assert!(verify(&key, &what, &signature, Some(CanonicalForm { from: 0, to: 0, ..hint })).is_ok());
}

#[test]
fn separators_and_bad_signature_texts_are_refused_by_name() {
    let what = signable(&["a@t.p.q"], &["b@t.p.q"], RECEIVED);
    let (key, good) = signed(&emit(&what).unwrap());
    assert!(verify(&key, &what, &good, None).is_ok());
    let wrapped = format!("{}\n{}\n", &good[..64], &good[64..]);
    assert!(verify(&key, &what, &wrapped, None).is_ok());
    let refused = |what: &Signable<'_>| verify(&key, what, &good, None).unwrap_err();
    assert_eq!(refused(&Signable { in_reply_to: Some("x|y"), ..what }), VerifyError::Separator);
    assert_eq!(refused(&Signable { from: &["a|b"], ..what }), VerifyError::Separator);
    assert_eq!(refused(&Signable { to: &["b@t.p.q", "b\n"], ..what }), VerifyError::Separator);
    assert_eq!(refused(&Signable { to: &[], ..what }), VerifyError::Separator);
    assert_eq!(refused(&Signable { payload: b"[]", ..what }), VerifyError::Payload(JsonError::NotAnObject));
    for text in ["", "!", "AAAA*", &"A".repeat(3000)] {
        assert_eq!(verify(&key, &what, text, None), Err(VerifyError::Encoding));
    }
    assert_eq!(verify(&key, &what, "AAAA", None), Err(VerifyError::Invalid));
    assert!(Signable { subject: "a|b", ..what }.subject.contains('|'));
}

#[test]
fn none_as_a_word_is_not_an_absent_parent() {
    // A-65: Python's `get` without a default writes "None"; that is another text.
    let (key, signature) = signed(&format!("a@t.p.q|b@t.p.q|Hi|normal|None|{SORTED}"));
    let what = signable(&["a@t.p.q"], &["b@t.p.q"], RECEIVED);
    assert_eq!(verify(&key, &what, &signature, None), Err(VerifyError::Invalid));
    let empty = Signable { in_reply_to: Some(""), ..what };
    assert_eq!(emit(&empty), emit(&what));
}

#[test]
fn the_form_is_frozen_in_postcard() {
    let form = CanonicalForm {
        from: 1,
        to: 2,
        subject: SubjectForm::Tsv,
        payload: PayloadForm {
            order: KeyOrder::JavaScript,
            spelling: Spelling::Ascii,
            without_attachments: true,
        },
    };
    let bytes = postcard::to_stdvec(&form).unwrap();
    assert_eq!(bytes, [1, 2, 1, 2, 2, 1]);
    assert_eq!(postcard::from_bytes::<CanonicalForm>(&bytes).unwrap(), form);
}

proptest! {
    /// SIG-10: one change in any signed field, and the signature is void; none, and it stands.
    #[test]
    fn nothing_signed_can_be_changed(
        seed in any::<[u8; 32]>(),
        subject in "[ -~é]{0,20}",
        other in "[ -~é]{0,20}",
        message in "[a-z<>\"\\\\é\n]{0,30}",
        reply in proptest::option::of("[a-z0-9_]{1,9}"),
        field in 0..7,
    ) {
        let key = AgentKey::from_seed(&seed);
        let payload = serde_json::json!({"type": "t", "message": message, "context": {"b": 1, "a": 2}}).to_string();
        let what = Signable {
            from: &["a@t.p.q"], to: &["b@t.p.q"], subject: &subject, priority: Priority::High,
            in_reply_to: reply.as_deref(), payload: payload.as_bytes(),
        };
        let signature = sign(&key, &what).unwrap();
        prop_assert_eq!(verify(&key.public(), &what, &signature, None), Ok(CanonicalForm::EMITTED));
        let changed_payload = payload.replace("\"b\":1", "\"b\":1.0");
        let mut changed = what;
        match field {
            0 => changed.from = &["c@t.p.q"],
            1 => changed.to = &["c@t.p.q"],
            2 => changed.subject = &other,
            3 => changed.priority = Priority::Urgent,
            4 => changed.in_reply_to = Some("msg_2_other"),
            5 => changed.payload = changed_payload.as_bytes(),
            _ => changed.payload = br#"{"type":"t","message":"other"}"#,
        }
        let outcome = verify(&key.public(), &changed, &signature, None);
        // Another subject may be the same one (or the one that the shell would have made of it).
        if field == 2 && (subject == other || candidates::tsv(&other).as_deref() == Some(&subject)) {
            prop_assert!(outcome.is_ok());
        } else {
            prop_assert_eq!(outcome, Err(VerifyError::Invalid));
        }
    }

    #[test]
    fn a_signature_verifies_however_others_rewrite_the_payload(
        message in ".{0,20}", key in "[a-zé0-9]{1,3}", spelling in 0..3usize,
    ) {
        let agent = AgentKey::from_seed(&[5; 32]);
        let payload = serde_json::json!({"type": "t", "message": message, "context": {key: 1}}).to_string();
        let (from, to) = (["a@t.p.q"], ["b@t.p.q"]);
        let canonical = parse_object(payload.as_bytes()).unwrap().write(KeyOrder::Sorted, Spelling::Raw);
        let signature = sign(&agent, &signable(&from, &to, canonical.as_bytes())).unwrap();
        let spelling = [Spelling::Verbatim, Spelling::Raw, Spelling::Ascii][spelling];
        let received = parse_object(payload.as_bytes()).unwrap().write(KeyOrder::AsReceived, spelling);
        prop_assert!(verify(&agent.public(), &signable(&from, &to, received.as_bytes()), &signature, None).is_ok());
    }
}
