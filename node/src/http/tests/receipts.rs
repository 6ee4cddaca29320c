//! Word of delivery and of reading: for those who asked, once, and also for those who were away.

use super::socket::Ws;
use super::*;

/// A letter whose sender wants to hear of its delivery.
fn with_receipt(mut letter: Value) -> Value {
    letter["options"] = json!({"receipt": true});
    letter
}

impl Ws {
    /// The next frame is the answer to a ping: nothing else was waiting.
    async fn hears_nothing(&mut self) {
        self.say(json!({"type": "ping"})).await;
        assert_eq!(self.hear().await["type"], "pong");
    }
}

async fn until_told(rig: &Rig, sender: &Client, id: &Value, member: &str) {
    let path = format!("/v1/messages/{}", id.as_str().unwrap());
    soon(async {
        while rig.get(&path, sender).await.body[member].is_null() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn who_asked_hears_of_a_later_pickup_on_every_socket_and_once() {
    let (rig, address) = Rig::listening(Config::default()).await;
    let (alice, bob) = (rig.register("alice").await, rig.register("bob").await);
    let mut sockets = [Ws::open(address, &alice).await, Ws::open(address, &alice).await];
    let sent = rig.post("/v1/route", &alice, with_receipt(alice.letter(&bob, "later"))).await.body;
    rig.post("/v1/route", &alice, alice.letter(&bob, "no receipt wanted")).await;
    assert_eq!((&sent["status"], &sent["basis"]), (&json!("queued"), &json!("mailbox_written")));
    for _ in 0..2 {
        assert_eq!(rig.get("/v1/messages/pending", &bob).await.body["count"], 2);
    }
    for ws in &mut sockets {
        let told = ws.hear().await;
        assert_eq!((&told["type"], &told["data"]["id"]), (&json!("message.delivered"), &sent["id"]));
        assert_eq!((&told["data"]["to"], &told["data"]["method"]), (&json!(bob.address), &json!("relay")));
        assert_eq!(told["data"]["delivered_at"], UnixMillis::from_secs(1_790_000_000).to_rfc3339());
        ws.hears_nothing().await;
    }
}

#[tokio::test]
async fn receipts_wait_for_a_sender_who_is_away_and_are_told_once() {
    let (rig, address) = Rig::listening(Config::default()).await;
    let (alice, bob) = (rig.register("alice").await, rig.register("bob").await);
    let mut bobs = Ws::open(address, &bob).await;
    let sent = rig.post("/v1/route", &alice, with_receipt(alice.letter(&bob, "hi"))).await.body;
    assert_eq!((&sent["status"], &sent["basis"]), (&json!("delivered"), &json!("socket_written")));
    let mail = bobs.hear().await;
    assert_eq!((&mail["id"], &mail["local"]["basis"]), (&sent["id"], &json!("socket_written")));
    bobs.say(json!({"type": "ack", "id": sent["id"]})).await;
    until_told(&rig, &alice, &sent["id"], "delivered_at").await;
    let path = format!("/v1/messages/{}/read", sent["id"].as_str().unwrap());
    let read = rig.ask(Method::POST, &path, Some(&bob.api_key), None).await.body;
    assert_eq!((&read["read_receipt_sent"], &read["receipt_sent"]), (&json!(true), &json!(true)));
    assert_eq!((&read["message_id"], &read["delivered_via"]), (&sent["id"], &json!("relay")));

    let mut alices = Ws::open(address, &alice).await;
    let delivered = alices.hear().await;
    assert_eq!((&delivered["type"], &delivered["data"]["id"]), (&json!("message.delivered"), &sent["id"]));
    assert_eq!(delivered["data"]["method"], "websocket");
    let told = alices.hear().await;
    assert_eq!((&told["type"], &told["data"]["id"]), (&json!("message.read"), &sent["id"]));
    assert_eq!(told["data"]["read_at"], read["read_at"]);
    alices.hears_nothing().await;
    let owner = amesh_store::ReceiptOwner::Agent(rig.agent(&alice).no);
    soon(async {
        while rig.state.parts.store.receipt_count(owner) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    Ws::open(address, &alice).await.hears_nothing().await;
}

#[tokio::test]
async fn reading_is_told_once_and_acknowledges_nothing() {
    let rig = Rig::new();
    let (alice, bob) = (rig.register("alice").await, rig.register("bob").await);
    let sent = rig.post("/v1/route", &alice, alice.letter(&bob, "hi")).await.body;
    let path = format!("/v1/messages/{}/read", sent["id"].as_str().unwrap());
    let first = rig.post(&path, &bob, json!({"original_sender": "somebody-else"})).await;
    assert_eq!((first.status, &first.body["read_receipt_sent"]), (200, &json!(true)));
    assert_eq!(rig.post(&path, &bob, json!({})).await.body, first.body);
    assert_eq!(rig.get("/v1/messages/pending", &bob).await.body["total"], 1);
    let state = rig.get(&format!("/v1/messages/{}", sent["id"].as_str().unwrap()), &alice).await.body;
    assert_eq!(state["read_at"], first.body["read_at"]);

    assert_eq!(rig.post(&path, &alice, json!({})).await.status, 404, "the sender is no recipient");
    assert_eq!(rig.post("/v1/messages/msg_1_unknown/read", &bob, json!({})).await.status, 404);
    assert_eq!(rig.post(&path, &bob, json!([])).await.status, 400);
    assert_eq!(rig.post(&path, &bob, json!({"original_sender": 7})).await.body["field"], "original_sender");
}

#[tokio::test]
async fn a_read_receipt_that_nobody_will_hear_is_not_said_to_be_sent() {
    let rig = Rig::new();
    let (alice, bob) = (rig.register("alice").await, rig.register("bob").await);
    let sent = rig.post("/v1/route", &alice, alice.letter(&bob, "bye")).await.body;
    rig.delete("/v1/agents/me", &alice).await;
    let path = format!("/v1/messages/{}/read", sent["id"].as_str().unwrap());
    let read = rig.post(&path, &bob, json!({})).await;
    assert_eq!((read.status, &read.body["read_receipt_sent"]), (200, &json!(false)));
    assert!(read.body["delivered_via"].is_null());
}

#[tokio::test]
async fn a_route_frame_that_asks_for_a_receipt_hears_of_its_delivery_once() {
    let (rig, address) = Rig::listening(Config::default()).await;
    let (alice, bob) = (rig.register("alice").await, rig.register("bob").await);
    let (mut from, mut to) = (Ws::open(address, &alice).await, Ws::open(address, &bob).await);
    from.say(json!({"type": "route", "data": with_receipt(alice.letter(&bob, "hi"))})).await;
    let id = to.hear().await["id"].clone();
    let mut heard = [from.hear().await, from.hear().await];
    heard.sort_by_key(|frame| frame["type"].as_str().unwrap().to_owned());
    assert_eq!((&heard[0]["type"], &heard[0]["data"]["id"]), (&json!("message.delivered"), &id));
    assert_eq!((&heard[1]["type"], &heard[1]["data"]["id"]), (&json!("route.result"), &id));
    from.hears_nothing().await;
}
