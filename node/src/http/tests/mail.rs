//! A message from `/route` to its acknowledgement, by every path the clients use.

use super::*;

#[tokio::test]
async fn a_signed_message_is_queued_fetched_and_acknowledged() {
    let rig = Rig::new();
    let (alice, bob) = (rig.register("alice").await, rig.register("bob").await);
    let sent = rig.post("/v1/route", &alice, alice.letter(&bob, "hi")).await;
    assert_eq!(
        (sent.status, &sent.body["status"], &sent.body["method"]),
        (200, &json!("queued"), &json!("relay"))
    );
    assert!(sent.headers.contains_key("x-ratelimit-limit"));
    let id = sent.body["id"].as_str().unwrap();
    for path in
        ["/v1/messages/pending", "/api/v1/messages/pending", "/v1/inbox", "/api/v1/v1/inbox", "/v1/messages"]
    {
        let page = rig.get(path, &bob).await.body;
        assert_eq!(
            (&page["count"], &page["remaining"], &page["has_more"]),
            (&json!(1), &json!(0), &json!(false))
        );
        let mail = &page["messages"][0];
        assert_eq!((mail["id"].as_str(), mail["envelope"]["id"].as_str()), (Some(id), Some(id)));
        assert_eq!(mail["envelope"]["from"], alice.address);
        assert_eq!(mail["payload"]["message"], "hi");
        assert_eq!(mail["sender_public_key"].as_str().unwrap().len(), 64);
        assert_eq!(mail["local"]["security"]["trust"], "verified");
    }
    assert_eq!(rig.get(&format!("/v1/messages/{id}"), &alice).await.body["status"], "queued");
    assert_eq!(rig.get(&format!("/v1/messages/{id}"), &bob).await.status, 404);
    assert_eq!(rig.delete(&format!("/v1/messages/pending/{id}"), &alice).await.status, 404);
    let acked = rig.delete(&format!("/v1/messages/pending/{id}"), &bob).await;
    assert_eq!((acked.status, acked.body), (200, json!({"acknowledged": true})));
    assert_eq!(rig.get("/v1/messages/pending", &bob).await.body["count"], 0);
    assert_eq!(rig.delete(&format!("/v1/messages/pending/{id}"), &bob).await.status, 404);
}

#[tokio::test]
async fn every_way_to_acknowledge_works() {
    let rig = Rig::new();
    let (alice, bob) = (rig.register("alice").await, rig.register("bob").await);
    let mut ids = Vec::new();
    for n in 0..7 {
        let sent = rig.post("/api/v1/route", &alice, alice.letter(&bob, &format!("no {n}"))).await;
        ids.push(sent.body["id"].as_str().unwrap().to_owned());
    }
    let done = json!({"acknowledged": true});
    assert_eq!(rig.delete(&format!("/v1/messages/pending/{}", ids[0]), &bob).await.body, done);
    assert_eq!(rig.delete(&format!("/api/v1/messages/pending?id={}", ids[1]), &bob).await.body, done);
    let ack = async |path: String| rig.ask(Method::POST, &path, Some(&bob.api_key), None).await.body;
    assert_eq!(ack(format!("/v1/inbox/{}/ack", ids[2])).await, done);
    assert_eq!(ack(format!("/api/v1/v1/inbox/{}/ack", ids[3])).await, done);
    let batch = rig
        .post("/v1/messages/pending/ack", &bob, json!({"ids": [&ids[4], "msg_1_unknown", "nonsense/"]}))
        .await;
    assert_eq!(batch.body, json!({"acknowledged": 1}));
    let batch = rig.post("/v1/messages/pending", &bob, json!({"ids": [&ids[5], &ids[6]]})).await;
    assert_eq!(batch.body, json!({"acknowledged": 2}));
    assert_eq!(rig.get("/v1/messages/pending", &bob).await.body["total"], 0);
}

#[tokio::test]
async fn a_mailbox_is_read_in_order_page_by_page() {
    let rig = Rig::new();
    let (alice, bob) = (rig.register("alice").await, rig.register("bob").await);
    for n in 0..7 {
        rig.post("/v1/route", &alice, alice.letter(&bob, &format!("{n}"))).await;
    }
    let (mut texts, mut left) = (Vec::new(), Vec::new());
    let mut path = "/v1/messages/pending?limit=3".to_owned();
    loop {
        let page = rig.get(&path, &bob).await.body;
        let messages = page["messages"].as_array().unwrap();
        texts.extend(messages.iter().map(|mail| mail["payload"]["message"].as_str().unwrap().to_owned()));
        left.push(page["remaining"].as_u64().unwrap());
        let Some(cursor) = page["cursor"].as_str() else { break };
        path = format!("/v1/messages/pending?limit=3&cursor={cursor}");
    }
    assert_eq!(texts, ["0", "1", "2", "3", "4", "5", "6"]);
    assert_eq!(left, [4, 1, 0]);
}

#[tokio::test]
async fn the_payload_arrives_byte_for_byte() {
    let rig = Rig::new();
    let (alice, bob) = (rig.register("alice").await, rig.register("bob").await);
    let payload =
        r#"{"type":"request","message":"é \u00e9","n":1.50,"big":12345678901234567890123,"e":1E+2,"z":null}"#;
    let what = Signable {
        from: &[&alice.address],
        to: &[&bob.address],
        subject: "s",
        priority: Priority::High,
        in_reply_to: None,
        payload: payload.as_bytes(),
    };
    let signature = sign(&alice.key, &what).unwrap();
    let body = format!(
        r#"{{"to":"{}","subject":"s","priority":"high","signature":"{signature}","payload":{payload}}}"#,
        bob.address
    );
    let request = |method: &str, path: &str, key: &str, body: String| {
        let request = Request::builder().method(method).uri(path).header("host", "localhost");
        request.header("authorization", format!("Bearer {key}")).body(Body::from(body)).unwrap()
    };
    assert_eq!(rig.send(request("POST", "/v1/route", &alice.api_key, body)).await.status, 200);
    let peer = Peer {
        remote: "[::1]:5".parse().unwrap(),
        local: "[::1]:23000".parse().unwrap(),
        shown: None,
        _place: None,
    };
    let asked = request("GET", "/v1/messages/pending", &bob.api_key, String::new());
    let bytes = rig.doors.answer(peer, asked).await.into_body().collect().await.unwrap().to_bytes();
    let text = std::str::from_utf8(&bytes).unwrap();
    assert!(text.contains(payload), "{text}");
}

#[tokio::test]
async fn unsigned_mail_stays_on_this_node_and_is_labelled() {
    let rig = Rig::new();
    let (alice, bob) = (rig.register("alice").await, rig.register("bob").await);
    let mut unsigned = alice.letter(&bob, "hi");
    unsigned["signature"] = json!("");
    assert_eq!(rig.post("/v1/route", &alice, unsigned).await.status, 200);
    let mail = &rig.get("/v1/messages/pending", &bob).await.body["messages"][0];
    assert_eq!(mail["local"]["security"]["trust"], "untrusted");
    assert!(mail["payload"]["message"].as_str().unwrap().starts_with("<external-content"));
    assert_eq!(mail["local"]["original_payload"]["message"], "hi");
    assert!(mail["sender_public_key"].is_null());
}

#[tokio::test]
async fn an_idempotency_key_gives_the_first_result_again_or_a_conflict() {
    let rig = Rig::new();
    let (alice, bob) = (rig.register("alice").await, rig.register("bob").await);
    let post = async |key: &str, body: Value| {
        let request = Request::builder().method("POST").uri("/v1/route").header("host", "localhost");
        let request = request.header("authorization", format!("Bearer {}", alice.api_key));
        rig.send(request.header("idempotency-key", key).body(Body::from(body.to_string())).unwrap()).await
    };
    let first = post("k1", alice.letter(&bob, "one")).await;
    let again = post("k1", alice.letter(&bob, "one")).await;
    assert_eq!((again.status, &again.body["id"]), (200, &first.body["id"]));
    let other = post("k1", alice.letter(&bob, "two")).await;
    assert_eq!((other.status, other.body["error"].as_str()), (409, Some("duplicate_message")));
    assert_eq!(post("", alice.letter(&bob, "three")).await.body["field"], "Idempotency-Key");
    assert_eq!(rig.get("/v1/messages/pending", &bob).await.body["count"], 1);
}

#[tokio::test]
async fn the_full_form_keeps_its_id_and_a_stale_timestamp_is_refused() {
    let rig = Rig::new();
    let (alice, bob) = (rig.register("alice").await, rig.register("bob").await);
    let envelope = |id: &str, timestamp: UnixMillis| {
        let flat = alice.letter(&bob, "full");
        let envelope = json!({"version": "amp/0.1", "id": id, "from": alice.address, "to": bob.address,
            "subject": "hello", "priority": "normal", "timestamp": timestamp.to_rfc3339(), "thread_id": id,
            "signature": flat["signature"]});
        json!({"envelope": envelope, "payload": flat["payload"]})
    };
    let now = rig.state.now();
    let sent = rig.post("/v1/route", &alice, envelope("msg_1790000000_abc", now)).await;
    assert_eq!((sent.status, &sent.body["id"]), (200, &json!("msg_1790000000_abc")), "{}", sent.body);
    let hour = Duration::from_secs(3600);
    let old = rig.post("/v1/route", &alice, envelope("msg_1790000000_abd", now.minus(hour))).await;
    assert_eq!((old.status, old.body["error"].as_str()), (400, Some("timestamp_expired")));
    let new = rig.post("/v1/route", &alice, envelope("msg_1790000000_abe", now.plus(hour))).await;
    assert_eq!((new.status, new.body["error"].as_str()), (400, Some("timestamp_future")));
}

#[tokio::test]
async fn a_page_of_large_messages_is_cut_by_bytes_and_none_is_lost() {
    let rig = Rig::new();
    let (alice, bob) = (rig.register("alice").await, rig.register("bob").await);
    for _ in 0..40 {
        let mut letter = alice.letter(&bob, "large");
        letter["payload"]["context"] = json!({"a": "x".repeat(250_000)});
        letter["signature"] = Value::Null;
        assert_eq!(rig.post("/v1/route", &alice, letter).await.status, 200);
    }
    let (mut seen, mut pages, mut path) = (0, 0, "/v1/messages/pending".to_owned());
    loop {
        let page = rig.get(&path, &bob).await.body;
        seen += page["count"].as_u64().unwrap();
        pages += 1;
        assert_eq!(page["remaining"], 40 - seen);
        let Some(cursor) = page["cursor"].as_str() else { break };
        path = format!("/v1/messages/pending?cursor={cursor}");
    }
    assert_eq!(seen, 40);
    assert!(pages > 1);
}
