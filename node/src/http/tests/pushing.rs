//! What a socket is given and when: whose turn it is, and what was acknowledged meanwhile.

use super::socket::Ws;
use super::*;
use crate::message::tests::webhook::receiver::{Answer as Says, Receiver};

/// A node that posts to webhooks on loopback.
async fn posting() -> (Rig, std::net::SocketAddr) {
    let config = Config { api: vec!["127.0.0.1:0".parse().unwrap()], ..Config::default() };
    let bound = bind(&config, None).await.unwrap();
    let address = bound.addresses()[0];
    let (store, _disk) = Store::in_memory(amesh_store::Config::default()).unwrap();
    let webhook_allow = vec!["127.0.0.1".to_owned().try_into().unwrap()];
    let agents = crate::agents::Config { webhook_allow, ..Default::default() };
    let rig = Rig::admitting(agents, store, tempfile::tempdir().unwrap(), config, Some(bound));
    rig.state.parts.hallway.start_webhooks();
    (rig, address)
}

impl Rig {
    async fn webhook(&self, client: &Client, url: &str, prefer_websocket: bool) {
        let delivery =
            json!({"webhook_url": url, "webhook_secret": "s3cret", "prefer_websocket": prefer_websocket});
        let body = Some(json!({"delivery": delivery}));
        let answer = self.ask(Method::PATCH, "/v1/agents/me", Some(&client.api_key), body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
}

#[tokio::test]
async fn an_agent_that_wants_the_webhook_first_gets_on_its_socket_only_what_that_did_not_take() {
    let (rig, address) = posting().await;
    let hook = Receiver::new(Says::Status(200)).await;
    let (alice, bob) = (rig.register("alice").await, rig.register("bob").await);
    rig.webhook(&bob, &hook.url("/"), false).await;
    let mut ws = Ws::open(address, &bob).await;
    let taken = rig.post("/v1/route", &alice, alice.letter(&bob, "taken")).await.body;
    assert_eq!((&taken["status"], &taken["method"]), (&json!("delivered"), &json!("webhook")));
    hook.answers(Says::Status(500));
    let pushed = rig.post("/v1/route", &alice, alice.letter(&bob, "not taken")).await.body;
    assert_eq!((&pushed["status"], &pushed["method"]), (&json!("delivered"), &json!("websocket")));
    assert_eq!(ws.hear().await["payload"]["message"], "not taken", "the other one is on the webhook only");
    let (hallway, agent) = (rig.state.parts.hallway.clone(), rig.agent(&bob));
    soon(async {
        while !hallway.pending(&agent, None, PAGE).unwrap()[1].handed_out {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    // What the socket has, and that is noted, is not posted again.
    rig.clock.advance(Duration::from_secs(300));
    hook.answers(Says::Status(200));
    rig.state.parts.agents.webhooks().have_changed();
    rig.post("/v1/route", &alice, alice.letter(&bob, "last")).await;
    assert_eq!(hook.messages(), ["taken", "not taken", "last"]);
    assert_eq!(rig.get("/v1/messages/pending", &bob).await.body["total"], 3, "all stay until acknowledged");
}

#[tokio::test]
async fn mail_kept_for_the_webhooks_turn_is_pushed_when_the_agent_changes_its_mind() {
    for (url, prefer_websocket) in [("", false), ("same", true)] {
        let (rig, address) = posting().await;
        let hook = Receiver::new(Says::Never).await;
        let (alice, bob) = (rig.register("alice").await, rig.register("bob").await);
        rig.webhook(&bob, &hook.url("/"), false).await;
        let mut ws = Ws::open(address, &bob).await;
        let (alices, letter) = (alice.api_key.clone(), alice.letter(&bob, "hi"));
        let sending = rig.ask(Method::POST, "/v1/route", Some(&alices), Some(letter));
        let changing = async {
            while hook.under_way() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let url = if url.is_empty() { String::new() } else { hook.url("/") };
            rig.webhook(&bob, &url, prefer_websocket).await;
            ws.hear().await
        };
        // The caller of `/route` still waits for the webhook: not so this test.
        let heard = soon(async {
            tokio::pin!(sending);
            tokio::select! {
                heard = changing => heard,
                sent = &mut sending => panic!("{}", sent.body),
            }
        })
        .await;
        assert_eq!(heard["payload"]["message"], "hi");
    }
}

#[tokio::test]
async fn an_agent_that_wants_the_socket_first_gets_nothing_posted_while_it_has_one() {
    let (rig, address) = posting().await;
    let hook = Receiver::new(Says::Status(200)).await;
    let (alice, bob) = (rig.register("alice").await, rig.register("bob").await);
    rig.webhook(&bob, &hook.url("/"), true).await;
    let mut ws = Ws::open(address, &bob).await;
    rig.post("/v1/route", &alice, alice.letter(&bob, "pushed")).await;
    assert_eq!(ws.hear().await["payload"]["message"], "pushed");
    drop(ws);
    soon(async {
        while rig.state.parts.agents.presence().online_count() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let posted = rig.post("/v1/route", &alice, alice.letter(&bob, "posted")).await.body;
    assert_eq!(posted["method"], "webhook");
    assert_eq!(hook.messages(), ["posted"]);
}

#[tokio::test]
async fn mail_acknowledged_while_a_slow_socket_was_being_written_is_not_pushed_there_any_more() {
    let (rig, address) = Rig::listening(Config::default()).await;
    let (alice, bob) = (rig.register("alice").await, rig.register("bob").await);
    let context = json!({"filling": "x".repeat(250 << 10)});
    let mut ids = Vec::new();
    for n in 0..PAGE {
        let payload = json!({"type": "request", "message": format!("{n}"), "context": context});
        ids.push(rig.post("/v1/route", &alice, alice.signed(&bob, payload)).await.body["id"].clone());
    }
    let mut slow = Ws::narrow(address, &bob).await;
    assert_eq!(slow.hear().await["type"], "connected");
    // By now the page is read. The other socket has it all, and says so.
    let mut quick = Ws::open(address, &bob).await;
    for id in &ids {
        assert_eq!(quick.hear().await["id"], *id);
        quick.say(json!({"type": "ack", "id": id})).await;
    }
    soon(async {
        while rig.get("/v1/messages/pending", &bob).await.body["total"] != 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    slow.say(json!({"type": "ping"})).await;
    let mut pushed = 0;
    while slow.hear().await["type"] == "message.new" {
        pushed += 1;
    }
    // What was on its way before cannot be called back: as much as the system's buffers take.
    assert!(pushed < PAGE, "all {pushed} were pushed");
}

/// What a socket reads at once.
const PAGE: usize = 16;
