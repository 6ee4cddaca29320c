//! How often, how many, how long: full is an answer.

use super::*;
use crate::http::Profile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn an_agent_over_its_limit_gets_429_with_all_headers_before_its_signature_is_looked_at() {
    let profile = Profile { route_per_minute: 2, route_burst: 2, ..Profile::local() };
    let rig = Rig::with(Config { local_limits: profile, ..Config::default() });
    let (alice, bob) = (rig.register("alice").await, rig.register("bob").await);
    for left in ["1", "0"] {
        let sent = rig.post("/v1/route", &alice, alice.letter(&bob, "hi")).await;
        assert_eq!((sent.status, sent.headers["x-ratelimit-remaining"].to_str().unwrap()), (200, left));
    }
    let mut wrong = alice.letter(&bob, "hi");
    wrong["signature"] = json!("AAAA");
    let refused = rig.post("/v1/route", &alice, wrong).await;
    assert_eq!((refused.status, refused.body["error"].as_str()), (429, Some("rate_limited")));
    assert_eq!(refused.headers["x-ratelimit-limit"], "2");
    assert_eq!(refused.headers["x-ratelimit-remaining"], "0");
    let reset: u64 = refused.headers["x-ratelimit-reset"].to_str().unwrap().parse().unwrap();
    assert!(reset > 1_790_000_000);
    let wait: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait));
    assert_eq!(refused.body["retry_after"], wait);
    assert_eq!(rig.post("/v1/route", &bob, bob.letter(&alice, "hi")).await.status, 200);
    assert_eq!(rig.get("/v1/messages/pending", &alice).await.status, 200);
}

#[tokio::test]
async fn who_is_written_to_too_often_is_spared_whoever_writes_and_by_which_door() {
    let profile = Profile { received_per_minute: 2, ..Profile::local() };
    let (rig, address) = Rig::listening(Config { local_limits: profile, ..Config::default() }).await;
    let [alice, carol, bob] =
        [rig.register("alice").await, rig.register("carol").await, rig.register("bob").await];
    assert_eq!(rig.post("/v1/route", &alice, alice.letter(&bob, "1")).await.status, 200);
    let mut ws = socket::Ws::open(address, &carol).await;
    ws.say(json!({"type": "route", "data": carol.letter(&bob, "2")})).await;
    assert_eq!(ws.hear().await["type"], "route.result");
    let mut wrong = alice.letter(&bob, "3");
    wrong["signature"] = json!("AAAA");
    let refused = rig.post("/v1/route", &alice, wrong).await;
    assert_eq!((refused.status, refused.body["error"].as_str()), (429, Some("rate_limited")));
    assert_eq!(
        (&refused.headers["x-ratelimit-limit"], &refused.headers["x-ratelimit-remaining"]),
        (&axum::http::HeaderValue::from_static("2"), &axum::http::HeaderValue::from_static("0"))
    );
    assert!(refused.headers.contains_key("retry-after") && refused.headers.contains_key("x-ratelimit-reset"));
    ws.say(json!({"type": "route", "data": carol.letter(&bob, "4")})).await;
    assert_eq!(ws.hear().await["error"], "rate_limited");
    assert_eq!(rig.post("/v1/route", &alice, alice.letter(&carol, "5")).await.status, 200);
    let limits = rig.ask(Method::GET, "/v1/info", None, None).await.body;
    assert_eq!(limits["rate_limits"]["received_per_minute"], 2);
}

#[tokio::test]
async fn registrations_and_failed_logins_of_one_source_are_counted() {
    let profile = Profile { register_per_minute: 1, failures_per_minute: 1, ..Profile::local() };
    let rig = Rig::with(Config { local_limits: profile, ..Config::default() });
    let alice = rig.register("alice").await;
    let answer = rig.ask(Method::POST, "/v1/register", None, Some(json!({}))).await;
    assert_eq!(answer.status, 429);
    let wrong = async || rig.ask(Method::GET, "/v1/agents/me", Some("amp_live_sk_wrong"), None).await.status;
    assert_eq!((wrong().await, wrong().await), (401, 429));
    assert_eq!(rig.get("/v1/agents/me", &alice).await.status, 200);
}

#[tokio::test]
async fn an_address_off_this_machine_is_refused_at_start() {
    for open in ["0.0.0.0:0", "192.0.2.1:0", "[::]:0"] {
        let config = Config { api: vec![open.parse().unwrap()], ..Config::default() };
        let error = bind(&config, None).await.unwrap_err();
        assert!(error.to_string().contains("TLS"), "{error}");
    }
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let (_rig, address) = Rig::listening(Config::default()).await;
    let error = bind(&Config { api: vec![address], ..Config::default() }, None).await.unwrap_err();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn one_connection_too_many_is_told_so_and_the_others_live() {
    let (_rig, address) = Rig::listening(Config { max_connections: 1, ..Config::default() }).await;
    let mut first = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /v1/health HTTP/1.1\r\nhost: {address}\r\n\r\n");
    first.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 15];
    soon(first.read_exact(&mut head)).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    let mut second = TcpStream::connect(address).await.unwrap();
    let mut text = String::new();
    soon(second.read_to_string(&mut text)).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 503") && text.contains("\"unavailable\""), "{text}");
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("content-length: {}", body.len())), "{text}");
}

#[tokio::test]
async fn a_client_that_says_nothing_is_cut_off() {
    let (_rig, address) = Rig::listening(Config { header_timeout_s: 1, ..Config::default() }).await;
    for said in ["", "P", "PRI * HT", "GET /v1/health HTTP/1.1\r\nhost: loc"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(said.as_bytes()).await.unwrap();
        let mut all = Vec::new();
        soon(stream.read_to_end(&mut all)).await.ok();
    }
}

#[tokio::test]
async fn stopping_closes_idle_connections_and_frees_the_port() {
    let (rig, address) = Rig::listening(Config::default()).await;
    let mut idle = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /v1/health HTTP/1.1\r\nhost: {address}\r\n\r\n");
    idle.write_all(request.as_bytes()).await.unwrap();
    let mut some = [0; 16];
    soon(idle.read_exact(&mut some)).await.unwrap();
    soon(rig.state.parts.tasks.shutdown(Duration::from_secs(10))).await.unwrap();
    let mut rest = Vec::new();
    soon(idle.read_to_end(&mut rest)).await.unwrap();
    bind(&Config { api: vec![address], ..Config::default() }, None).await.unwrap();
}
