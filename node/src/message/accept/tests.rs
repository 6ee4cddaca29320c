//! What acceptance refuses, by field, and what it fills in.

use super::*;
use crate::agents::tests::agent;
use amesh_proto::address::{Address, Naming};

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
const ALICE: &str = "alice@default.aimaestro.local";

fn directory() -> Directory {
    let directory = Directory::new(
        Naming::new("default", "aimaestro.local", "host1").unwrap(),
        NodeId::from_bytes([1; 32]),
    );
    directory.put_local(agent(1, ALICE, 1));
    directory.put_local(agent(2, "bob@default.aimaestro.local", 2));
    directory
}

fn accepted(body: &str) -> Result<Draft, Refusal> {
    accepted_with(body, None)
}

fn accepted_with(body: &str, idempotency_key: Option<&str>) -> Result<Draft, Refusal> {
    let request = Box::new(RouteRequest::parse(body.as_bytes())?);
    let config = Config::default();
    let directory = directory();
    let around = Circumstances {
        directory: &directory,
        config: &config,
        now: NOW,
        random: [7; 8],
        thread_of: &|_, id| (id.as_str() == "msg_1_parent").then(|| "msg_1_thread".to_owned()),
    };
    let idempotency_key = idempotency_key.map(ToOwned::to_owned);
    accept(Incoming::FromAgent { agent: agent(1, ALICE, 1), request, idempotency_key }, &around)
}

/// A flat request with `members` besides the required ones.
fn flat(members: &str) -> String {
    format!(r#"{{"to":"bob","subject":"hi","payload":{{"type":"request","message":"m"}}{members}}}"#)
}

fn full(members: &str) -> String {
    format!(
        r#"{{"envelope":{{"to":"bob","subject":"hi","from":"{ALICE}","id":"msg_1_mine"{members}}},"payload":{{"type":"t","message":"m"}}}}"#
    )
}

fn with_payload(payload: &str) -> String {
    format!(r#"{{"to":"bob","subject":"hi","payload":{payload}}}"#)
}

fn refused(body: &str) -> (&'static str, Option<&'static str>) {
    let refusal = accepted(body).expect_err(body);
    let field = refusal.field().map(|field| &*Box::leak(field.to_owned().into_boxed_str()));
    (refusal.code(), field)
}

#[test]
fn a_plain_message_gets_id_time_thread_and_the_full_recipient() {
    let draft = accepted(&flat("")).unwrap();
    assert_eq!(draft.mail.id.as_str(), "msg_1800000000_0707070707070707");
    assert_eq!(draft.mail.to.as_str(), "bob@default.aimaestro.local");
    assert_eq!(draft.mail.expires_at, NOW.plus(Duration::from_secs(7 * 86_400)));
    assert_eq!(draft.envelope.thread_id, draft.envelope.id);
    assert_eq!(draft.envelope.timestamp, NOW.to_rfc3339());
    assert_eq!((draft.envelope.version.as_str(), draft.envelope.priority), ("amp/0.1", Priority::Normal));
    assert_eq!(draft.envelope.in_reply_to, None);
}

#[test]
fn a_thread_is_what_the_client_says_else_the_parents_else_the_parent() {
    let thread = |members: &str| accepted(&flat(members)).unwrap().envelope.thread_id;
    assert_eq!(thread(r#","in_reply_to":"msg_1_x","thread_id":"msg_1_t""#), "msg_1_t");
    assert_eq!(thread(r#","in_reply_to":"msg_1_parent""#), "msg_1_thread");
    assert_eq!(thread(r#","in_reply_to":"msg_1_x","thread_id":null"#), "msg_1_x");
    assert_eq!(accepted(&flat(r#","in_reply_to":"""#)).unwrap().envelope.in_reply_to, None);
}

#[test]
fn a_clients_own_id_is_kept_in_both_forms() {
    assert_eq!(accepted(&flat(r#","id":"msg_5_abc""#)).unwrap().mail.id.as_str(), "msg_5_abc");
    assert_eq!(accepted(&full("")).unwrap().mail.id.as_str(), "msg_1_mine");
}

#[test]
fn what_is_missing_is_named() {
    assert_eq!(refused(&with_payload("{}")), ("missing_field", Some("payload.type")));
    assert_eq!(refused(&with_payload(r#"{"type":"t"}"#)), ("missing_field", Some("payload.message")));
    assert_eq!(
        refused(&with_payload(r#"{"type":"t","message":null}"#)),
        ("missing_field", Some("payload.message"))
    );
    assert_eq!(
        refused(&with_payload(r#"{"type":"","message":"m"}"#)),
        ("missing_field", Some("payload.type"))
    );
    assert_eq!(refused(r#"{"to":"bob","subject":"s"}"#), ("missing_field", Some("payload")));
}

#[test]
fn what_has_the_wrong_shape_is_named() {
    assert_eq!(refused(&with_payload("[]")), ("invalid_field", Some("payload")));
    assert_eq!(
        refused(&with_payload(r#"{"type":7,"message":"m"}"#)),
        ("invalid_field", Some("payload.type"))
    );
    assert_eq!(
        refused(&with_payload(r#"{"type":"t","message":["m"]}"#)),
        ("invalid_field", Some("payload.message"))
    );
    for (members, field) in [
        (r#","priority":"asap""#, "priority"),
        (r#","id":"../../etc/passwd""#, "id"),
        (r#","id":"msg_1_a/b""#, "id"),
        (r#","in_reply_to":"a|b""#, "in_reply_to"),
        (r#","thread_id":"a\u0000b""#, "thread_id"),
        (r#","expires_at":"tomorrow""#, "expires_at"),
    ] {
        assert_eq!(refused(&flat(members)), ("invalid_field", Some(field)), "{members}");
    }
    assert_eq!(refused(&full(r#","timestamp":"now""#)), ("invalid_field", Some("timestamp")));
    assert_eq!(refused(&full(r#","version":"amp/2.0""#)), ("invalid_field", Some("version")));
}

#[test]
fn bad_recipients_are_named() {
    for to in ["@x", "a@b@c", "a@x..y.z", "a b@x.y.z", "a|b", "a@x.y.z|", "b\\u0007ob"] {
        let body = flat("").replace(r#""to":"bob""#, &format!(r#""to":"{to}""#));
        assert_eq!(refused(&body), ("invalid_field", Some("to")), "{to}");
    }
    let long = flat("").replace("bob", &"b".repeat(300));
    assert_eq!(refused(&long), ("invalid_field", Some("to")));
}

#[test]
fn keys_that_come_twice_are_refused_at_any_depth() {
    let twice = r#"{"type":"t","message":"m","context":{"deep":{"k":1,"k":2}}}"#;
    assert_eq!(refused(&with_payload(twice)).0, "invalid_request");
    assert_eq!(refused(r#"{"to":"bob","to":"eve","subject":"s","payload":{}}"#).0, "invalid_request");
}

#[test]
fn limits_count_bytes_of_the_body_and_characters_of_the_subject() {
    let subject = |s: &str| flat("").replace(r#""subject":"hi""#, &format!(r#""subject":"{s}""#));
    assert!(accepted(&subject(&"ü".repeat(256))).is_ok());
    assert_eq!(refused(&subject(&"u".repeat(257))), ("invalid_field", Some("subject")));
    let message =
        |bytes: usize| with_payload(&format!(r#"{{"type":"t","message":"{}"}}"#, "m".repeat(bytes)));
    assert!(accepted(&message(64 * 1024)).is_ok());
    assert_eq!(refused(&message(64 * 1024 + 1)), ("invalid_field", Some("payload.message")));
    let context = |bytes: usize| {
        with_payload(&format!(r#"{{"type":"t","message":"m","context":"{}"}}"#, "c".repeat(bytes)))
    };
    assert!(accepted(&context(256 * 1024 - 2)).is_ok());
    assert_eq!(refused(&context(256 * 1024)), ("invalid_field", Some("payload.context")));
    let total =
        with_payload(&format!(r#"{{"type":"t","message":"m","other":"{}"}}"#, "o".repeat(512 * 1024)));
    assert_eq!(refused(&total).0, "payload_too_large");
}

#[test]
fn the_envelope_counts_too_whatever_its_members_are_called() {
    let long = "x".repeat(512 * 1024);
    assert_eq!(refused(&full(&format!(r#","from_did":"{long}""#))).0, "payload_too_large");
    let expires_at = format!(r#","expires_at":"2027-01-20T00:00:00.{}Z""#, "0".repeat(512 * 1024));
    assert_eq!(refused(&flat(&expires_at)).0, "payload_too_large");
    assert!(accepted(&full(r#","from_did":"did:key:z""#)).is_ok());
}

#[test]
fn every_type_of_amp_and_any_other_is_taken() {
    let known = "request response notification alert task status handoff ack update system";
    for kind in known.split(' ').chain(["github:pull_request", "my own"]) {
        let draft = accepted(&with_payload(&format!(r#"{{"type":"{kind}","message":"m"}}"#))).unwrap();
        assert!(std::str::from_utf8(&draft.mail.payload).unwrap().contains(kind));
    }
}

#[test]
fn a_key_sends_only_as_its_own_agent() {
    let from = |spelling: &str| format!(r#","from":"{spelling}""#);
    assert!(accepted(&flat(&from("ALICE@Default.aimaestro.local"))).is_ok());
    assert_eq!(refused(&flat(&from("bob@default.aimaestro.local"))).0, "forbidden");
    assert_eq!(refused(&flat(&from("alice@default.aimaestro.local.evil.com"))).0, "forbidden");
}

#[test]
fn an_agent_that_left_sends_nothing_however_long_its_socket_stays_open() {
    let around = Circumstances {
        directory: &directory(),
        config: &Config::default(),
        now: NOW,
        random: [7; 8],
        thread_of: &|_, _| None,
    };
    for gone in [agent(9, ALICE, 1), agent(3, "carol@default.aimaestro.local", 3)] {
        let request = Box::new(RouteRequest::parse(flat("").as_bytes()).unwrap());
        let incoming = Incoming::FromAgent { agent: gone, request, idempotency_key: None };
        assert_eq!(accept(incoming, &around).unwrap_err().code(), "forbidden");
    }
}

#[test]
fn the_time_in_a_full_envelope_must_be_near_and_in_a_flat_one_does_not_count() {
    let stamped = |at: UnixMillis| format!(r#","timestamp":"{at}""#);
    let minutes = |n: u64| Duration::from_secs(n * 60);
    assert!(accepted(&full(&stamped(NOW.minus(minutes(4))))).is_ok());
    assert_eq!(refused(&full(&stamped(NOW.minus(minutes(6))))).0, "timestamp_expired");
    assert_eq!(refused(&full(&stamped(NOW.plus(minutes(2))))).0, "timestamp_future");
    assert_eq!(
        accepted(&flat(&stamped(NOW.minus(minutes(60))))).unwrap().envelope.timestamp,
        NOW.to_rfc3339()
    );
}

#[test]
fn an_end_in_the_past_is_refused_and_one_far_ahead_is_cut_to_thirty_days() {
    let ends = |at: UnixMillis| flat(&format!(r#","expires_at":"{at}""#));
    let day = Duration::from_secs(86_400);
    assert_eq!(refused(&ends(NOW)).0, "message_expired");
    assert_eq!(accepted(&ends(NOW.plus(day))).unwrap().mail.expires_at, NOW.plus(day));
    assert_eq!(accepted(&ends(NOW.plus(400 * day))).unwrap().mail.expires_at, NOW.plus(30 * day));
}

#[test]
fn idempotency_keys_are_short_and_not_empty() {
    assert!(accepted_with(&flat(""), Some("order-7")).is_ok());
    for key in ["", &"k".repeat(200)] {
        assert_eq!(accepted_with(&flat(""), Some(key)).unwrap_err().field(), Some("idempotency_key"));
    }
}

mod from_a_peer {
    use super::*;

    fn mail(envelope: &str) -> Mail {
        Mail {
            id: MessageId::parse("msg_1_a").unwrap(),
            from: Address::parse("al@default.aimaestro.local", &["aimaestro.local"]).unwrap(),
            to: Address::parse("bob@default.aimaestro.local", &["aimaestro.local"]).unwrap(),
            priority: Priority::Normal,
            envelope: envelope.as_bytes().to_vec(),
            payload: b"{}".to_vec(),
            form: None,
            accepted_at: NOW,
            expires_at: NOW.plus(Duration::from_secs(60)),
            receipt: false,
        }
    }

    fn envelope(id: &str, from: &str, to: &str, priority: &str) -> String {
        format!(
            r#"{{"version":"amp/0.1","id":"{id}","from":"{from}","to":"{to}","subject":"s","priority":"{priority}","timestamp":"2020-01-01T00:00:00Z","thread_id":"t"}}"#
        )
    }

    fn brought(mail: Mail) -> Result<Draft, Refusal> {
        let (config, directory) = (Config::default(), directory());
        let around = Circumstances {
            directory: &directory,
            config: &config,
            now: NOW,
            random: [7; 8],
            thread_of: &|_, _| None,
        };
        let lane = LaneStamp { generation: 1, number: 1, floor: 1 };
        let incoming = Incoming::FromPeer {
            peer: NodeId::from_bytes([2; 32]),
            mail: Box::new(mail),
            lane,
            outsider: None,
        };
        accept(incoming, &around)
    }

    #[test]
    fn what_agrees_with_itself_is_taken_as_it_is_however_old_it_is() {
        for (from, to) in [
            ("al@default.aimaestro.local", "bob@default.aimaestro.local"),
            ("Al@default.aimaestro.local", "bob"),
            ("al@default.aimaestro.local", "BOB@host1"),
            ("al@default.aimaestro.local", "bob@host1.default.aimaestro.local"),
        ] {
            let text = envelope("msg_1_a", from, to, "normal");
            let draft = brought(mail(&text)).unwrap();
            assert_eq!(draft.mail.envelope, text.as_bytes(), "{from} {to}");
        }
    }

    #[test]
    fn a_frame_that_says_otherwise_than_the_signed_words_is_refused() {
        let (al, bob) = ("al@default.aimaestro.local", "bob@default.aimaestro.local");
        for (text, field) in [
            (envelope("msg_1_b", al, bob, "normal"), "envelope"),
            (envelope("msg_1_a", al, bob, "urgent"), "envelope"),
            (envelope("msg_1_a", "eve@default.aimaestro.local", bob, "normal"), "from"),
            (envelope("msg_1_a", al, "carol@default.aimaestro.local", "normal"), "to"),
            (envelope("msg_1_a", al, "bob@host2", "normal"), "to"),
            ("{}".to_owned(), "envelope"),
        ] {
            assert_eq!(brought(mail(&text)).unwrap_err().field(), Some(field), "{text}");
        }
    }

    #[test]
    fn what_ran_out_on_its_way_is_refused() {
        let text = envelope("msg_1_a", "al@default.aimaestro.local", "bob", "normal");
        let late = Mail { expires_at: NOW, ..mail(&text) };
        assert_eq!(brought(late).unwrap_err().code(), "message_expired");
    }
}
