//! Bad input gets a clear error that names the field, the right status, and changes nothing.

use super::*;
use axum::http::StatusCode;

fn raw(
    method: &str,
    path: &str,
    key: Option<&str>,
    kind: Option<&str>,
    body: impl Into<Body>,
) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    if let Some(kind) = kind {
        request = request.header("content-type", kind);
    }
    request.body(body.into()).unwrap()
}

const JSON: Option<&str> = Some("application/json");

#[tokio::test]
async fn a_bad_route_request_names_its_field_under_both_bases() {
    let rig = Rig::new();
    let (alice, bob) = (rig.register("alice").await, rig.register("bob").await);
    let good = || alice.letter(&bob, "hi");
    let with = |member: &str, value: Value| {
        let mut body = good();
        body[member] = value;
        body.to_string()
    };
    let payload = |value: Value| with("payload", value);
    let to = |address: &str| {
        let there = Client {
            address: address.to_owned(),
            api_key: String::new(),
            key: AgentKey::from_seed(&[1; 32]),
        };
        alice.letter(&there, "hi").to_string()
    };
    let long = "x".repeat(64 * 1024 + 1);
    let table: Vec<(String, u16, &str, Option<&str>)> = vec![
        ("{".into(), 400, "invalid_request", None),
        ("[]".into(), 400, "invalid_request", None),
        ("".into(), 400, "invalid_request", None),
        ("{\"to\":\"a\",\"to\":\"b\"}".into(), 400, "invalid_request", None),
        ("{}".into(), 400, "missing_field", Some("to")),
        (with("to", json!("")), 400, "missing_field", Some("to")),
        (with("to", json!(7)), 400, "invalid_field", Some("to")),
        (with("to", json!("a@b@c.d.e")), 400, "invalid_field", Some("to")),
        (with("to", json!("a|b@default.aimaestro.local")), 400, "invalid_field", Some("to")),
        (with("to", json!("a b@default.aimaestro.local")), 400, "invalid_field", Some("to")),
        (to("nobody@default.aimaestro.local"), 404, "not_found", Some("to")),
        (to("x@acme.crabmail.ai"), 422, "external_provider", Some("to")),
        (with("subject", Value::Null), 400, "missing_field", Some("subject")),
        (with("subject", json!("s".repeat(257))), 400, "invalid_field", Some("subject")),
        (with("priority", json!("asap")), 400, "invalid_field", Some("priority")),
        (with("from", json!("eve@default.aimaestro.local")), 403, "forbidden", None),
        (with("signature", json!("AAAA")), 403, "signature_invalid", Some("signature")),
        (with("expires_at", json!("tomorrow")), 400, "invalid_field", Some("expires_at")),
        (with("id", json!("../../etc/passwd")), 400, "invalid_field", Some("id")),
        (with("in_reply_to", json!("a|b")), 400, "invalid_field", Some("in_reply_to")),
        (with("options", json!("receipt")), 400, "invalid_field", Some("options")),
        (payload(Value::Null), 400, "missing_field", Some("payload")),
        (payload(json!({"message": "m"})), 400, "missing_field", Some("payload.type")),
        (payload(json!({"type": "t"})), 400, "missing_field", Some("payload.message")),
        (payload(json!({"type": "t", "message": long})), 400, "invalid_field", Some("payload.message")),
    ];
    for base in ["/v1", "/api/v1"] {
        for (body, status, code, field) in &table {
            let request = raw("POST", &format!("{base}/route"), Some(&alice.api_key), JSON, body.clone());
            let answer = rig.send(request).await;
            let shown = &body[..body.len().min(200)];
            assert_eq!(
                (answer.status, answer.body["error"].as_str()),
                (*status, Some(*code)),
                "{shown} {}",
                answer.body
            );
            assert_eq!(answer.body["field"].as_str(), *field, "{shown}");
            assert!(answer.body["message"].as_str().is_some_and(|m| !m.is_empty()));
        }
    }
    assert_eq!(rig.get("/v1/messages/pending", &bob).await.body["count"], 0);
}

#[tokio::test]
async fn a_bad_registration_names_its_field_and_registers_nobody() {
    let rig = Rig::new();
    let key = AgentKey::from_seed(&[9; 32]);
    let with = |member: &str, value: Value| {
        let mut body = registration("carol", &key);
        body[member] = value;
        body
    };
    let weak = "0100000000000000000000000000000000000000000000000000000000000000";
    let table = [
        (with("name", Value::Null), "missing_field", "name"),
        (with("tenant", Value::Null), "missing_field", "tenant"),
        (with("public_key", Value::Null), "missing_field", "public_key"),
        (with("key_algorithm", Value::Null), "missing_field", "key_algorithm"),
        (with("name", json!("../carol")), "invalid_field", "name"),
        (with("name", json!("-carol")), "invalid_field", "name"),
        (with("name", json!("c".repeat(64))), "invalid_field", "name"),
        (with("name", json!(["carol"])), "invalid_field", "name"),
        (with("tenant", json!("a.b")), "invalid_field", "tenant"),
        (with("public_key", json!("garbage")), "invalid_field", "public_key"),
        (with("public_key", json!(weak)), "invalid_field", "public_key"),
        (with("key_algorithm", json!("RSA")), "invalid_field", "public_key"),
        (with("key_algorithm", json!("DSA")), "invalid_field", "key_algorithm"),
        (with("home", json!({"at": u64::MAX, "signature": "AA=="})), "invalid_field", "home"),
        (with("home", json!({"at": -1, "signature": "AA=="})), "invalid_field", "home"),
        (with("home", json!({"at": 1})), "invalid_field", "home"),
        (with("metadata", json!(3)), "invalid_field", "metadata"),
        (with("delivery", json!("x")), "invalid_field", "delivery"),
        (with("scope", json!({"repo": "r"})), "invalid_field", "scope"),
    ];
    for (body, code, field) in table {
        let answer = rig.ask(Method::POST, "/v1/register", None, Some(body.clone())).await;
        assert_eq!(
            (answer.status, answer.body["error"].as_str()),
            (400, Some(code)),
            "{body} {}",
            answer.body
        );
        assert_eq!(answer.body["field"], field, "{body}");
    }
    assert_eq!(rig.state.parts.agents.count(), 0);
}

#[tokio::test]
async fn the_body_must_be_json_by_its_own_word_and_of_bounded_size() {
    let rig = Rig::new();
    let alice = rig.register("alice").await;
    for kind in
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "nonsense"]
    {
        let answer = rig.send(raw("POST", "/v1/route", Some(&alice.api_key), Some(kind), "{}")).await;
        assert_eq!((answer.status, answer.body["error"].as_str()), (400, Some("invalid_request")), "{kind}");
    }
    let kinds = [None, JSON, Some("application/json; charset=utf-8"), Some("Application/JSON")];
    for kind in kinds {
        let answer = rig.send(raw("POST", "/v1/route", Some(&alice.api_key), kind, "{}")).await;
        assert_eq!(answer.body["error"], "missing_field", "{kind:?}");
    }
    let huge = vec![b' '; 1024 * 1024 + 1];
    let answer = rig.send(raw("POST", "/v1/route", Some(&alice.api_key), JSON, huge.clone())).await;
    assert_eq!((answer.status, answer.body["error"].as_str()), (413, Some("payload_too_large")));
    let unannounced = Body::from_stream(futures_util::stream::iter(
        huge.chunks(4096).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect::<Vec<_>>(),
    ));
    let answer = rig.send(raw("POST", "/v1/route", Some(&alice.api_key), JSON, unannounced)).await;
    assert_eq!(answer.status, 413);
    let over = json!({"to": alice.address, "subject": "s",
        "payload": {"type": "t", "message": "m", "context": {"a": "x".repeat(200_000)}, "extra": "x".repeat(400_000)}});
    let answer = rig.post("/v1/route", &alice, over).await;
    assert_eq!((answer.status, answer.body["error"].as_str()), (413, Some("payload_too_large")));
}

#[tokio::test]
async fn a_strangers_body_is_not_read() {
    let rig = Rig::new();
    let never = Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let answer = soon(rig.send(raw("POST", "/v1/route", Some("amp_live_sk_wrong"), JSON, never))).await;
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn a_body_that_never_comes_times_out() {
    let rig = Rig::with(Config { body_timeout_s: 1, ..Config::default() });
    let alice = rig.register("alice").await;
    let never = Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let answer = rig.send(raw("POST", "/v1/route", Some(&alice.api_key), JSON, never)).await;
    assert_eq!((answer.status, answer.body["error"].as_str()), (408, Some("request_timeout")));
}

#[tokio::test]
async fn unknown_paths_and_methods_are_answered_in_json() {
    let rig = Rig::new();
    for (method, path, status, code) in [
        ("GET", "/", 404, "not_found"),
        ("GET", "/v2/health", 404, "not_found"),
        ("GET", "/v1/nothing", 404, "not_found"),
        ("POST", "/v1/health", 405, "method_not_allowed"),
        ("GET", "/v1/route", 405, "method_not_allowed"),
        ("POST", "/invite", 404, "not_found"),
        ("POST", "/v1/down", 404, "not_found"),
    ] {
        let answer = rig.send(raw(method, path, None, JSON, "{}")).await;
        assert_eq!((answer.status, answer.body["error"].as_str()), (status, Some(code)), "{method} {path}");
    }
}

#[tokio::test]
async fn ids_and_cursors_that_nobody_gave_are_refused_without_a_500() {
    let rig = Rig::new();
    let alice = rig.register("alice").await;
    for (path, status) in [
        ("/v1/messages/pending?limit=0", 400),
        ("/v1/messages/pending?limit=ten", 400),
        ("/v1/messages/pending?cursor=garbage", 400),
        ("/v1/agents?cursor=%FF", 400),
        ("/v1/messages/msg_1_nothing", 404),
        ("/v1/messages/..%2F..%2Fetc", 400),
        ("/v1/messages/%FF", 400),
        ("/v1/agents/resolve/a%40b%40c", 400),
        ("/v1/agents/nobody", 404),
        ("/v1/agents?tenant=other", 403),
    ] {
        let answer = rig.get(path, &alice).await;
        assert_eq!(answer.status, status, "{path} {}", answer.body);
    }
    for path in ["/v1/messages/pending/msg_1_nothing", "/v1/messages/pending?id=msg_1_nothing"] {
        assert_eq!(rig.delete(path, &alice).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    let answer = rig.delete("/v1/messages/pending", &alice).await;
    assert_eq!((answer.status, answer.body["field"].as_str()), (400, Some("id")));
    for (body, code) in [
        (json!({}), "missing_field"),
        (json!({"ids": []}), "missing_field"),
        (json!({"ids": "msg_1_a"}), "invalid_field"),
        (json!({"ids": vec!["msg_1_a"; 101]}), "invalid_request"),
    ] {
        let answer = rig.post("/v1/messages/pending/ack", &alice, body.clone()).await;
        assert_eq!((answer.status, answer.body["error"].as_str()), (400, Some(code)), "{body}");
    }
}

#[tokio::test]
async fn damaged_requests_are_refused_or_served_and_never_a_fault_of_the_node() {
    let mut profile = crate::http::Profile::local();
    (profile.route_per_minute, profile.other_per_minute, profile.register_per_minute) = (0, 0, 0);
    let rig = Rig::with(Config { local_limits: profile, ..Config::default() });
    let (alice, bob) = (rig.register("alice").await, rig.register("bob").await);
    let full = json!({"envelope": {"id": "msg_1790000000_a", "to": bob.address, "subject": "s", "x": [1.5e300]},
        "payload": {"type": "t", "message": "m", "context": {"a": {"b": [null, true, -0.0]}}}});
    let bodies = [
        ("/v1/route", alice.letter(&bob, "hi").to_string()),
        ("/v1/route", full.to_string()),
        ("/v1/register", registration("dora", &AgentKey::from_seed(&[5; 32])).to_string()),
        ("/v1/messages/pending/ack", json!({"ids": ["msg_1_a", "msg_2_b"]}).to_string()),
    ];
    let mut chance: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut next = |below: usize| {
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        (chance % below as u64) as usize
    };
    for round in 0..1_500 {
        let (path, body) = &bodies[round % bodies.len()];
        let mut bytes = body.clone().into_bytes();
        for _ in 0..=next(3) {
            let at = next(bytes.len());
            match next(4) {
                0 => bytes[at] = next(256) as u8,
                1 => bytes.truncate(at + 1),
                2 => drop(bytes.remove(at)),
                _ => bytes.insert(at, b"{}[]\",:\\\0\xff0e"[next(12)]),
            }
            if bytes.is_empty() {
                break;
            }
        }
        let answer = rig.send(raw("POST", path, Some(&alice.api_key), JSON, bytes.clone())).await;
        assert!(answer.status < 500, "{} {} {}", answer.status, String::from_utf8_lossy(&bytes), answer.body);
    }
}
