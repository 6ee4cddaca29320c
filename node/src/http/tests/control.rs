//! The owner's socket: closed to others, open to the owner, and nowhere on TCP.

use super::*;
use crate::http::control;
use hyper_util::rt::TokioIo;
use std::os::unix::fs::PermissionsExt;
use tokio::net::UnixStream;

pub(super) async fn ask(rig: &Rig, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
    let stream = UnixStream::connect(rig.data.path().join("control.sock")).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let tasks = rig.state.parts.tasks.clone();
    tasks.spawn(connection);
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
    let request = Request::builder().method(method).uri(path).header("host", "control").body(body).unwrap();
    let (parts, body) = soon(sender.send_request(request)).await.unwrap().into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    (parts.status.as_u16(), serde_json::from_slice(&bytes).unwrap())
}

#[tokio::test]
async fn only_the_owner_can_open_it_and_a_leftover_is_replaced() {
    let rig = Rig::new();
    let path = rig.data.path().join("control.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    control::serve(rig.data.path(), rig.state.clone()).unwrap();
    let mode = |path: &std::path::Path| path.symlink_metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(rig.data.path())), (0o600, 0o700));
    assert_eq!(ask(&rig, Method::GET, "/status", None).await.0, 200);
    soon(rig.state.parts.tasks.shutdown(Duration::from_secs(10))).await.unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn what_is_no_socket_is_not_replaced() {
    let rig = Rig::new();
    std::fs::write(rig.data.path().join("control.sock"), "mine").unwrap();
    assert!(control::serve(rig.data.path(), rig.state.clone()).is_err());
}

#[tokio::test]
async fn the_owner_sees_the_node_its_agents_and_its_queue() {
    let rig = Rig::new();
    let alice = rig.register("alice").await;
    control::serve(rig.data.path(), rig.state.clone()).unwrap();
    rig.post("/v1/route", &alice, alice.letter(&alice, "to myself")).await;
    let (_, status) = ask(&rig, Method::GET, "/status", None).await;
    assert_eq!(
        (&status["agents"], &status["health"], &status["host"]),
        (&json!(1), &json!("healthy"), &json!("alpha"))
    );
    let (_, agents) = ask(&rig, Method::GET, "/agents", None).await;
    assert_eq!(
        (&agents["agents"][0]["address"], &agents["agents"][0]["pending"]),
        (&json!(alice.address), &json!(1))
    );
    assert!(!agents.to_string().contains("amp_live"));
    let (_, queue) = ask(&rig, Method::GET, "/queue", None).await;
    assert_eq!((&queue["total"], &queue["messages"]), (&json!(0), &json!([])));
    let (code, facts) = ask(&rig, Method::GET, "/doctor", None).await;
    assert_eq!((code, &facts["store_ok"]), (200, &json!(true)));
    let (code, report) = ask(&rig, Method::POST, "/db/verify", None).await;
    assert_eq!((code, &report["ok"]), (200, &json!(true)), "{report}");
    assert_eq!(ask(&rig, Method::GET, "/v1/agents/me", None).await.0, 404);
}

#[tokio::test]
async fn the_owner_renames_an_agent_with_its_mail_and_tells_it_and_removes_one() {
    let rig = Rig::new();
    let (alice, bob) = (rig.register("alice").await, rig.register("bob").await);
    control::serve(rig.data.path(), rig.state.clone()).unwrap();
    rig.post("/v1/route", &alice, alice.letter(&bob, "hello")).await;
    let body = json!({"address": "bob", "name": "robert"});
    let (code, renamed) = ask(&rig, Method::POST, "/agents/rename", Some(body)).await;
    assert_eq!((code, &renamed["was"]), (200, &json!(bob.address)), "{renamed}");
    let robert = Client { address: renamed["address"].as_str().unwrap().to_owned(), ..bob };
    assert_eq!(rig.get("/v1/agents/me", &robert).await.body["address"], "robert@default.aimaestro.local");
    let inbox = rig.get("/v1/messages/pending", &robert).await.body;
    let texts: Vec<_> = inbox["messages"].as_array().unwrap().iter().map(|m| &m["payload"]["type"]).collect();
    assert_eq!(texts, [&json!("request"), &json!("system")]);
    assert_eq!(rig.post("/v1/route", &robert, robert.letter(&alice, "as robert")).await.status, 200);
    let body = json!({"address": "robert"});
    let (code, gone) = ask(&rig, Method::POST, "/agents/forget", Some(body.clone())).await;
    assert_eq!((code, &gone["mail"]), (200, &json!(2)), "{gone}");
    assert_eq!(rig.get("/v1/agents/me", &robert).await.status, 401);
    assert_eq!(ask(&rig, Method::POST, "/agents/forget", Some(body)).await.0, 404);
}

#[tokio::test]
async fn the_owners_mistakes_are_named() {
    let rig = Rig::new();
    control::serve(rig.data.path(), rig.state.clone()).unwrap();
    for (path, body, status, field) in [
        ("/join", json!({}), 400, Some("ticket")),
        ("/join", json!({"ticket": "t", "leave": "yes"}), 400, Some("leave")),
        ("/peers/remove", json!({}), 400, Some("id")),
        ("/invite", json!({"ttl_secs": 0}), 400, Some("ttl_secs")),
        ("/invite", json!({"ttl_secs": -1}), 400, Some("ttl_secs")),
        ("/db/backup", json!({"path": "relative"}), 400, Some("path")),
        ("/invite", json!({"introducer": "yes"}), 400, Some("introducer")),
        ("/agents/rename", json!({"address": "bob"}), 400, Some("name")),
        ("/agents/rename", json!({"address": "bob", "name": "bob"}), 404, Some("address")),
        ("/agents/forget", json!({"address": "b b@"}), 400, Some("address")),
        ("/agents/code", json!({"uses": 0}), 400, Some("uses")),
        ("/agents/code", json!({"ttl_secs": 99_999_999}), 400, Some("ttl_secs")),
        ("/agents/code", json!({"tenant": "a.b"}), 400, Some("tenant")),
        ("/owners/add", json!({"limit": 0}), 400, Some("limit")),
        ("/owners/set", json!({"owner_id": "own_1"}), 400, Some("active")),
        ("/owners/remove", json!({"owner_id": "own_1"}), 404, Some("owner_id")),
        ("/leave", json!({}), 503, None),
    ] {
        let (code, answer) = ask(&rig, Method::POST, path, Some(body.clone())).await;
        assert_eq!((code, answer["field"].as_str()), (status, field), "{path} {body} {answer}");
    }
}

#[tokio::test]
async fn down_is_answered_and_then_asked_of_the_node() {
    let rig = Rig::new();
    control::serve(rig.data.path(), rig.state.clone()).unwrap();
    assert_eq!(ask(&rig, Method::POST, "/down", None).await, (200, json!({"done": true})));
    soon(rig.state.parts.stop_requested.notified()).await;
}

#[tokio::test]
async fn no_listener_on_tcp_serves_an_owners_action() {
    let rig = Rig::new();
    let alice = rig.register("alice").await;
    let paths =
        ["/status", "/invite", "/join", "/leave", "/peers", "/peers/remove", "/queue", "/db/backup", "/down"];
    for path in paths {
        for prefix in ["", "/v1", "/api/v1", "/control"] {
            for method in [Method::GET, Method::POST] {
                let answer =
                    rig.ask(method, &format!("{prefix}{path}"), Some(&alice.api_key), Some(json!({}))).await;
                assert_eq!(answer.status, 404, "{prefix}{path}");
            }
        }
    }
}
