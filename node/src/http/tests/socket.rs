//! The WebSocket, with a stock client.

use super::*;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

pub(super) struct Ws(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Ws {
    /// A client whose system takes little at a time, and which reads nothing until it is asked to.
    pub(super) async fn narrow(address: std::net::SocketAddr, client: &Client) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let stream = MaybeTlsStream::Plain(socket.connect(address).await.unwrap());
        let opened = tokio_tungstenite::client_async(format!("ws://{address}/v1/ws"), stream).await;
        let mut ws = Self(opened.unwrap().0);
        ws.say(json!({"type": "auth", "token": client.api_key})).await;
        ws
    }

    async fn raw(address: std::net::SocketAddr, path: &str) -> Self {
        Self(connect_async(format!("ws://{address}{path}")).await.unwrap().0)
    }

    pub(super) async fn open(address: std::net::SocketAddr, client: &Client) -> Self {
        let mut ws = Self::raw(address, "/v1/ws").await;
        ws.say(json!({"type": "auth", "token": client.api_key})).await;
        assert_eq!(ws.hear().await["type"], "connected");
        ws
    }

    pub(super) async fn say(&mut self, frame: Value) {
        self.0.send(Message::text(frame.to_string())).await.unwrap();
    }

    pub(super) async fn hear(&mut self) -> Value {
        loop {
            match soon(self.0.next()).await.unwrap().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Close(frame) => return json!({"closed": frame.map(|frame| u16::from(frame.code))}),
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn the_auth_frame_or_the_header_opens_the_socket_under_both_bases() {
    let (rig, address) = Rig::listening(Config::default()).await;
    let alice = rig.register("alice").await;
    for base in ["/v1", "/api/v1"] {
        let mut ws = Ws::raw(address, &format!("{base}/ws")).await;
        ws.say(json!({"type": "auth", "token": alice.api_key})).await;
        let connected = ws.hear().await;
        assert_eq!(
            (&connected["type"], &connected["data"]["pending_count"]),
            (&json!("connected"), &json!(0))
        );
        assert_eq!(
            (&connected["address"], &connected["data"]["address"]),
            (&json!(alice.address), &json!(alice.address))
        );

        let mut request = format!("ws://{address}{base}/ws").into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {}", alice.api_key).parse().unwrap());
        let mut ws = Ws(connect_async(request).await.unwrap().0);
        assert_eq!(ws.hear().await["type"], "connected");
        ws.say(json!({"type": "auth", "token": alice.api_key})).await;
        ws.say(json!({"type": "ping"})).await;
        let pong = ws.hear().await;
        assert!(pong["type"] == "pong" && pong["timestamp"].is_string());
    }
}

#[tokio::test]
async fn whoever_does_not_prove_itself_is_told_and_closed() {
    let (rig, address) = Rig::listening(Config::default()).await;
    let alice = rig.register("alice").await;
    for (frame, code) in [
        (json!({"type": "auth", "token": "amp_live_sk_wrong"}), 4003),
        (json!({"type": "ping"}), 4002),
        (json!({"type": "auth"}), 4002),
        (json!([]), 4002),
    ] {
        let mut ws = Ws::raw(address, "/v1/ws").await;
        ws.say(frame.clone()).await;
        let error = ws.hear().await;
        assert_eq!((&error["type"], &error["error"]), (&json!("error"), &json!("unauthorized")), "{frame}");
        assert_eq!(ws.hear().await, json!({"closed": code}), "{frame}");
    }
    for query in [format!("?token={}", alice.api_key), format!("?x={}", alice.api_key)] {
        let refused = connect_async(format!("ws://{address}/v1/ws{query}")).await.unwrap_err();
        assert!(refused.to_string().contains("400"), "{refused}");
    }
    let plain = rig.ask(Method::GET, "/v1/ws", None, None).await;
    assert_eq!((plain.status, plain.body["error"].as_str()), (426, Some("upgrade_required")));
}

#[tokio::test]
async fn mail_is_pushed_live_kept_until_acknowledged_and_replayed_in_order() {
    let (rig, address) = Rig::listening(Config::default()).await;
    let (alice, bob) = (rig.register("alice").await, rig.register("bob").await);
    for n in 0..40 {
        rig.post("/v1/route", &alice, alice.letter(&bob, &format!("{n}"))).await;
    }
    let mut ws = Ws::open(address, &bob).await;
    for n in 0..40 {
        let frame = ws.hear().await;
        assert_eq!((&frame["type"], &frame["data"]["replay"]), (&json!("message.new"), &json!(true)));
        assert_eq!(frame["data"]["payload"]["message"], format!("{n}"));
        assert_eq!((&frame["id"], &frame["payload"]), (&frame["data"]["id"], &frame["data"]["payload"]));
    }
    let sent = rig.post("/v1/route", &alice, alice.letter(&bob, "live")).await;
    assert_eq!((&sent.body["status"], &sent.body["method"]), (&json!("delivered"), &json!("websocket")));
    let live = ws.hear().await;
    assert!(live["replay"].is_null() && live["data"]["replay"].is_null());
    assert_eq!(live["data"]["id"], sent.body["id"]);
    assert_eq!(live["sender_public_key"].as_str().unwrap().len(), 64);
    assert_eq!(rig.get("/v1/messages/pending", &bob).await.body["total"], 41);
    ws.say(json!({"type": "message.ack", "id": sent.body["id"]})).await;
    ws.say(json!({"type": "ack", "data": {"id": "msg_1_unknown"}})).await;
    assert_eq!(ws.hear().await["error"], "not_found");
    assert_eq!(rig.get("/v1/messages/pending", &bob).await.body["total"], 40);
    drop(ws);
    let mut ws = Ws::open(address, &bob).await;
    assert_eq!(ws.hear().await["data"]["payload"]["message"], "0");
}

#[tokio::test]
async fn several_sockets_of_one_agent_each_get_the_message_and_make_it_online() {
    let (rig, address) = Rig::listening(Config::default()).await;
    let (alice, bob) = (rig.register("alice").await, rig.register("bob").await);
    let mut sockets = [Ws::open(address, &bob).await, Ws::open(address, &bob).await];
    assert_eq!(rig.get("/v1/agents/bob", &alice).await.body["online"], true);
    rig.post("/v1/route", &alice, alice.letter(&bob, "both")).await;
    for ws in &mut sockets {
        assert_eq!(ws.hear().await["payload"]["message"], "both");
    }
    let seen = |me: &Value| UnixMillis::parse_rfc3339(me["last_seen_at"].as_str().unwrap()).unwrap();
    let before = seen(&rig.get("/v1/agents/me", &bob).await.body);
    rig.clock.advance(Duration::from_secs(5));
    assert!(seen(&rig.get("/v1/agents/me", &bob).await.body) > before);
    for ws in sockets {
        drop(ws);
    }
    soon(async {
        while rig.state.parts.agents.presence().online_count() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_route_frame_does_what_the_request_does_and_errors_do_not_close() {
    let (rig, address) = Rig::listening(Config::default()).await;
    let (alice, bob) = (rig.register("alice").await, rig.register("bob").await);
    let mut ws = Ws::open(address, &alice).await;
    ws.0.send(Message::text("{")).await.unwrap();
    assert_eq!(ws.hear().await["error"], "invalid_request");
    ws.0.send(Message::binary(vec![1, 2])).await.unwrap();
    assert_eq!(ws.hear().await["error"], "invalid_request");
    ws.say(json!({"type": "dance"})).await;
    assert_eq!(ws.hear().await["error"], "invalid_request");
    ws.say(json!({"type": "route", "ref": 7, "data": {"to": "nobody", "subject": "s", "payload": {"type": "t", "message": "m"}}})).await;
    let error = ws.hear().await;
    assert_eq!(
        (&error["error"], &error["field"], &error["ref"]),
        (&json!("not_found"), &json!("to"), &json!(7))
    );
    for n in 0..100 {
        ws.say(json!({"type": "route", "ref": n, "data": alice.letter(&bob, &format!("{n}"))})).await;
    }
    let mut replies = Vec::new();
    for _ in 0..100 {
        let reply = ws.hear().await;
        assert_eq!(
            (&reply["type"], &reply["data"]["status"]),
            (&json!("route.result"), &json!("queued")),
            "{reply}"
        );
        replies.push(reply["ref"].as_u64().unwrap());
    }
    replies.sort_unstable();
    assert_eq!(replies, (0..100).collect::<Vec<_>>());
    let page = rig.get("/v1/messages/pending", &bob).await.body;
    let texts: Vec<String> = page["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["payload"]["message"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(texts, (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_delivered_route_frame_is_followed_by_message_delivered() {
    let (rig, address) = Rig::listening(Config::default()).await;
    let (alice, bob) = (rig.register("alice").await, rig.register("bob").await);
    let (mut from, mut to) = (Ws::open(address, &alice).await, Ws::open(address, &bob).await);
    from.say(json!({"type": "route", "data": alice.letter(&bob, "hi")})).await;
    let id = to.hear().await["id"].clone();
    let result = from.hear().await;
    assert_eq!((&result["type"], &result["data"]["id"]), (&json!("route.result"), &id));
    let delivered = from.hear().await;
    assert_eq!((&delivered["type"], &delivered["data"]["id"]), (&json!("message.delivered"), &id));
    assert_eq!(delivered["data"]["method"], "websocket");
}

#[tokio::test]
async fn a_socket_ends_with_its_agent_and_with_the_node() {
    let (rig, address) = Rig::listening(Config::default()).await;
    let (alice, bob) = (rig.register("alice").await, rig.register("bob").await);
    let (mut alices, mut bobs) = (Ws::open(address, &alice).await, Ws::open(address, &bob).await);
    rig.delete("/v1/agents/me", &alice).await;
    alices.say(json!({"type": "route", "data": alice.letter(&bob, "ghost")})).await;
    assert_eq!(alices.hear().await["error"], "unauthorized");
    assert_eq!(alices.hear().await, json!({"closed": 4003}));
    let stopping = rig.state.parts.tasks.shutdown(Duration::from_secs(10));
    let (stopped, last) = soon(async { tokio::join!(stopping, bobs.hear()) }).await;
    stopped.unwrap();
    assert_eq!(last, json!({"closed": 1001}));
}

#[tokio::test]
async fn a_socket_that_is_silent_is_closed_before_and_after_it_proved_itself() {
    let (rig, address) =
        Rig::listening(Config { socket_auth_s: 1, socket_idle_s: 1, ..Config::default() }).await;
    let alice = rig.register("alice").await;
    let mut unknown = Ws::raw(address, "/v1/ws").await;
    assert_eq!(unknown.hear().await["error"], "unauthorized");
    assert_eq!(unknown.hear().await, json!({"closed": 4001}));
    let mut idle = Ws::open(address, &alice).await;
    assert_eq!(idle.hear().await, json!({"closed": 1000}));
}
