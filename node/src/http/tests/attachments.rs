//! Files as the reference client sends them: asked for, put, confirmed, named, fetched; and everything that is refused.

use super::*;
use crate::attachments;
use sha2::{Digest as _, Sha256};

fn described(name: &str, kind: &str, bytes: &[u8]) -> Value {
    let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    json!({"filename": name, "content_type": kind, "size": bytes.len(), "digest": format!("sha256:{digest}")})
}

fn path_of(url: &Value) -> String {
    url.as_str().unwrap().strip_prefix("http://localhost:23000").unwrap().to_owned()
}

fn files(rig: &Rig) -> usize {
    std::fs::read_dir(rig.data.path().join("store/attachments")).unwrap().count()
}

impl Rig {
    async fn put(&self, path: &str, bytes: &[u8]) -> Answer {
        let request = Request::builder().method(Method::PUT).uri(path).header("host", "localhost:23000");
        let request = request.header("content-length", bytes.len()).header("content-type", "text/plain");
        self.send(request.body(Body::from(bytes.to_vec())).unwrap()).await
    }

    async fn download(&self, path: &str, key: Option<&str>) -> (u16, HeaderMap, Vec<u8>) {
        let mut request = Request::builder().uri(path).header("host", "localhost:23000");
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        self.send_raw(request.body(Body::empty()).unwrap()).await
    }

    async fn requested(&self, base: &str, client: &Client, file: Value) -> Value {
        let answer = self.post(&format!("{base}/attachments/upload"), client, file).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.body
    }

    /// Uploads as the reference client does, and gives what it then puts into the payload.
    async fn uploaded(&self, client: &Client, name: &str, kind: &str, bytes: &[u8]) -> Value {
        let ticket = self.requested("/api/v1", client, described(name, kind, bytes)).await;
        let id = ticket["attachment_id"].as_str().unwrap();
        assert_eq!(self.put(&path_of(&ticket["upload_url"]), bytes).await.status, 200);
        let at = format!("/api/v1/attachments/{id}");
        let early = self.get(&at, client).await.body;
        assert!(
            ["pending", "rejected"].contains(&early["scan_status"].as_str().unwrap())
                && early["url"].is_null()
        );
        assert_eq!(self.post(&format!("{at}/confirm"), client, json!({})).await.status, 200);
        let status = self.get(&at, client).await.body;
        let mut entry = described(ticket["filename"].as_str().unwrap(), kind, bytes);
        entry["id"] = ticket["attachment_id"].clone();
        entry["url"] = status["url"].clone();
        entry["scan_status"] = status["scan_status"].clone();
        entry
    }

    async fn sent(&self, from: &Client, to: &Client, attachments: Value) -> Answer {
        let payload = json!({"type": "request", "message": "see attached", "attachments": attachments});
        self.post("/v1/route", from, from.signed(to, payload)).await
    }
}

#[tokio::test]
async fn a_file_is_uploaded_named_and_fetched_by_its_url_and_by_its_recipient() {
    let rig = Rig::on_disk(Config::default());
    let (alice, bob, eve) =
        (rig.register("alice").await, rig.register("bob").await, rig.register("eve1").await);
    let bytes: Vec<u8> = (0..700_000u32).map(|n| (n % 251) as u8).collect();
    let entry = rig.uploaded(&alice, "../data file.bin", "application/octet-stream", &bytes).await;
    assert_eq!(
        (entry["filename"].as_str(), entry["scan_status"].as_str()),
        (Some("data file.bin"), Some("basic_clean"))
    );
    assert_eq!(rig.sent(&alice, &bob, json!([entry])).await.status, 200);
    let mail = rig.get("/v1/messages/pending", &bob).await.body["messages"][0].clone();
    assert_eq!(mail["payload"]["attachments"][0], entry, "never rewritten");
    let by_url = path_of(&mail["payload"]["attachments"][0]["url"]);
    let (status, headers, got) = rig.download(&by_url, None).await;
    assert_eq!((status, got == bytes), (200, true));
    assert_eq!(headers["content-length"], bytes.len().to_string());
    assert_eq!(headers["content-type"], "application/octet-stream");
    assert!(
        headers["content-disposition"]
            .to_str()
            .unwrap()
            .starts_with("attachment; filename=\"data file.bin\"")
    );
    assert_eq!(headers["x-content-type-options"], "nosniff");
    let id = entry["id"].as_str().unwrap();
    for base in ["/v1", "/api/v1", "", "/api"] {
        let path = format!("{base}/attachments/{id}/download");
        assert_eq!(rig.download(&path, Some(&bob.api_key)).await.2, bytes, "{base}");
        assert_eq!(rig.download(&path, Some(&alice.api_key)).await.0, 200);
        assert_eq!(rig.download(&path, Some(&eve.api_key)).await.0, 404);
        assert_eq!(rig.download(&path, None).await.0, 401);
        assert_eq!(rig.download(&format!("{path}?token=0123456789abcdef"), None).await.0, 404);
    }
    // What is acknowledged can still be fetched: the reference client acknowledges first.
    let acked = rig.delete(&format!("/v1/messages/pending/{}", mail["id"].as_str().unwrap()), &bob).await;
    assert_eq!(acked.status, 200);
    assert_eq!(rig.download(&by_url, None).await.2, bytes);
}

#[tokio::test]
async fn clients_that_know_no_version_find_the_same_doors() {
    let rig = Rig::on_disk(Config::default());
    let alice = rig.register("alice").await;
    for base in ["", "/api", "/v1", "/api/v1"] {
        let ticket = rig.requested(base, &alice, described("a.txt", "text/plain", b"hello")).await;
        let url = path_of(&ticket["upload_url"]);
        assert!(url.starts_with(&format!("{base}/attachments/att_")), "{url}");
        assert_eq!(rig.put(&url, b"hello").await.status, 200);
    }
    let info = rig.ask(Method::GET, "/v1/info", None, None).await.body;
    assert!(info["capabilities"].as_array().unwrap().contains(&json!("attachments")));
}

#[tokio::test]
async fn what_is_asked_for_wrongly_is_refused_naming_the_field() {
    let rig = Rig::on_disk(Config::default());
    let alice = rig.register("alice").await;
    let good = described("a.txt", "text/plain", b"hello");
    let with = |member: &str, value: Value| {
        let mut request = good.clone();
        request[member] = value;
        request
    };
    for (request, status, code, field) in [
        (with("filename", json!("")), 400, "missing_field", "filename"),
        (with("filename", json!(7)), 400, "invalid_field", "filename"),
        (with("size", json!(-1)), 400, "invalid_field", "size"),
        (with("size", Value::Null), 400, "missing_field", "size"),
        (with("size", json!(26_214_401)), 413, "payload_too_large", "size"),
        (with("digest", json!("md5:00")), 400, "invalid_field", "digest"),
        (with("content_type", json!("text/plain\r\nX: y")), 400, "invalid_field", "content_type"),
        (with("content_type", json!("application/x-executable")), 422, "attachment_rejected", "content_type"),
        (with("filename", json!("run.exe")), 422, "attachment_rejected", "content_type"),
    ] {
        let answer = rig.post("/v1/attachments/upload", &alice, request.clone()).await;
        let said = (answer.status, answer.body["error"].as_str(), answer.body["field"].as_str());
        assert_eq!(said, (status, Some(code), Some(field)), "{request}");
    }
    assert_eq!(rig.ask(Method::POST, "/v1/attachments/upload", None, Some(good)).await.status, 401);
    for path in ["/v1/attachments/att_1_a", "/v1/attachments/att_1_a/download"] {
        assert_eq!(rig.get(path, &alice).await.status, 404);
    }
    assert_eq!(rig.get("/v1/attachments/..%2f..%2fx", &alice).await.status, 400);
}

#[tokio::test]
async fn bytes_other_than_declared_are_refused_and_leave_nothing() {
    let rig = Rig::on_disk(Config::default());
    let alice = rig.register("alice").await;
    let ticket = rig.requested("/v1", &alice, described("a.txt", "text/plain", b"hello")).await;
    let url = path_of(&ticket["upload_url"]);
    for (bytes, status, field) in
        [(&b"hullo"[..], 400, "digest"), (b"hell", 400, "size"), (b"hello!", 413, "size")]
    {
        let answer = rig.put(&url, bytes).await;
        assert_eq!((answer.status, answer.body["field"].as_str()), (status, Some(field)), "{bytes:?}");
        // In pieces, of which nobody said how many come.
        let pieces = bytes.chunks(2).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect::<Vec<_>>();
        let body = Body::from_stream(futures_util::stream::iter(pieces));
        let request = Request::builder().method(Method::PUT).uri(&url).header("host", "localhost:23000");
        assert_eq!(rig.send(request.body(body).unwrap()).await.status, status, "{bytes:?} in pieces");
        assert_eq!(files(&rig), 0);
    }
    let stranger = url.replace("token=", "token=0");
    assert_eq!(rig.put(&stranger, b"hello").await.status, 404);
    let id = ticket["attachment_id"].as_str().unwrap();
    let early = rig.post(&format!("/v1/attachments/{id}/confirm"), &alice, json!({})).await;
    assert_eq!((early.status, early.body["error"].as_str()), (409, Some("attachment_pending")));
    assert_eq!(rig.put(&url, b"hello").await.status, 200);
    assert_eq!(rig.put(&url, b"hello").await.status, 200, "a lost answer is given again");
    assert_eq!(rig.put(&url, b"hullo").await.status, 400, "never for other bytes");
    assert_eq!(files(&rig), 1);
    let unconfirmed = rig.download(&format!("/v1/attachments/{id}/download"), Some(&alice.api_key)).await;
    assert_eq!(unconfirmed.0, 409);
}

#[tokio::test]
async fn a_program_in_disguise_is_rejected_and_an_odd_file_is_pointed_out() {
    let rig = Rig::on_disk(Config::default());
    let (alice, bob) = (rig.register("alice").await, rig.register("bob").await);
    let program = rig.uploaded(&alice, "notes.txt", "text/plain", b"#!/bin/sh\nrm -rf ~\n").await;
    assert_eq!(
        (program["scan_status"].as_str(), &program["url"], files(&rig)),
        (Some("rejected"), &Value::Null, 0)
    );
    let mut lying = program.clone();
    for status in ["rejected", "clean"] {
        lying["scan_status"] = json!(status);
        let answer = rig.sent(&alice, &bob, json!([lying])).await;
        assert_eq!((answer.status, answer.body["error"].as_str()), (422, Some("attachment_rejected")));
    }
    let odd = rig.uploaded(&alice, "photo.png", "image/png", b"%PDF-1.7 in truth").await;
    assert_eq!(odd["scan_status"], "suspicious");
    assert_eq!(rig.sent(&alice, &bob, json!([odd])).await.status, 200);
}

#[tokio::test]
async fn a_message_names_only_its_senders_confirmed_files() {
    let rig = Rig::on_disk(Config::default());
    let (alice, bob) = (rig.register("alice").await, rig.register("bob").await);
    let entry = rig.uploaded(&alice, "a.txt", "text/plain", b"hello").await;
    let ticket = rig.requested("/v1", &alice, described("b.txt", "text/plain", b"later")).await;
    let mut early = described("b.txt", "text/plain", b"later");
    early["id"] = ticket["attachment_id"].clone();
    let with = |member: &str, value: Value| {
        let mut entry = entry.clone();
        entry[member] = value;
        entry
    };
    for (from, list, status, code, field) in [
        (&bob, json!([entry]), 400, "invalid_field", "payload.attachments[0].id"),
        (&alice, json!([entry, early]), 409, "attachment_pending", "payload.attachments[1].id"),
        (&alice, json!([with("size", json!(6))]), 400, "invalid_field", "payload.attachments[0].size"),
        (
            &alice,
            json!([with("filename", json!("c.txt"))]),
            400,
            "invalid_field",
            "payload.attachments[0].filename",
        ),
        (
            &alice,
            json!([with("filename", json!("../a"))]),
            400,
            "invalid_field",
            "payload.attachments[0].filename",
        ),
        (&alice, json!(vec![entry.clone(); 11]), 400, "invalid_field", "payload.attachments"),
        (&alice, json!("a.txt"), 400, "invalid_field", "payload.attachments"),
    ] {
        let answer = rig.sent(from, &bob, list.clone()).await;
        let said = (answer.status, answer.body["error"].as_str(), answer.body["field"].as_str());
        assert_eq!(said, (status, Some(code), Some(field)), "{list}");
    }
    assert_eq!(rig.get("/v1/messages/pending", &bob).await.body["count"], 0);
    for status in ["pending", "clean", "basic_clean", "suspicious", "unscanned"] {
        let sent = rig.sent(&alice, &bob, json!([with("scan_status", json!(status))])).await;
        assert_eq!(sent.status, 200, "A-57: {status}: {}", sent.body);
    }
}

#[tokio::test]
async fn uploads_at_a_time_are_bounded_and_a_stalled_one_is_given_up() {
    let config = attachments::Config { uploads_per_agent: 1, stall_s: 0, ..attachments::Config::default() };
    let rig = Rig::on_disk(Config { attachments: config, ..Config::default() });
    let alice = rig.register("alice").await;
    let ticket = rig.requested("/v1", &alice, described("a.txt", "text/plain", b"hello")).await;
    let url = path_of(&ticket["upload_url"]);
    let busy = rig.state.uploads.take(1);
    assert!(busy.is_some());
    assert_eq!(rig.put(&url, b"hello").await.status, 503);
    drop(busy);
    let silent = Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let request = Request::builder().method(Method::PUT).uri(&url).header("host", "localhost:23000");
    let answer = soon(rig.send(request.body(silent).unwrap())).await;
    assert_eq!(
        (answer.status, answer.body["error"].as_str(), files(&rig)),
        (408, Some("request_timeout"), 0)
    );
}

#[tokio::test]
async fn an_upload_whose_client_hangs_up_leaves_nothing() {
    let rig = Rig::on_disk(Config::default());
    let alice = rig.register("alice").await;
    let ticket = rig.requested("/v1", &alice, described("a.txt", "text/plain", b"hello")).await;
    let broken = futures_util::stream::iter([Ok(b"he".to_vec()), Err(std::io::Error::other("gone"))]);
    let request = Request::builder().method(Method::PUT).uri(path_of(&ticket["upload_url"]));
    let request = request.header("host", "localhost:23000").body(Body::from_stream(broken)).unwrap();
    assert_eq!((rig.send(request).await.status, files(&rig)), (400, 0));
}

#[tokio::test]
async fn a_full_disk_is_answered_with_507() {
    let data = tempfile::tempdir().unwrap();
    let full = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = full.clone();
    let probe = amesh_store::SpaceProbe::new(move || {
        let available = if seen.load(std::sync::atomic::Ordering::SeqCst) { 1 << 20 } else { 1 << 40 };
        Ok(amesh_store::Space { available, total: 1 << 40 })
    });
    let place = data.path().join("store");
    let store = Store::open_with_probe(&place, amesh_store::Config::default(), probe).unwrap();
    let rig = Rig::over(store, data, Config::default(), None);
    let alice = rig.register("alice").await;
    let ticket = rig.requested("/v1", &alice, described("a.txt", "text/plain", b"hello")).await;
    full.store(true, std::sync::atomic::Ordering::SeqCst);
    let answer = rig.put(&path_of(&ticket["upload_url"]), b"hello").await;
    assert_eq!((answer.status, answer.body["error"].as_str(), files(&rig)), (507, Some("queue_full"), 0));
}
