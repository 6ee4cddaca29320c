//! Requests RE-CREATED from what the reference shell client sends (ICL-1…27), so that they can be made without it. They
//! stand in for the client where `reference_client.rs` has no checkout of it; they are not the client, and its transcript
//! is the proof, not these. Bodies have the client's shape, spacing and nulls; texts that jq 1.6 makes were measured.

use amesh_tests::agent::public_pem;
use amesh_tests::http::{Http, Reply};
use amesh_tests::node::Node;
use amesh_tests::place::Place;
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// What the client knows of itself.
struct Client {
    http: Http,
    signing: SigningKey,
    /// As its own files say, whatever the node calls it (ICL-9).
    address: String,
    key: String,
}

/// A node with its default domain, and clients registered as `amp-init` does.
async fn a_node_and<const N: usize>(names: [&str; N]) -> Result<(Node, [Client; N])> {
    let mut node = Node::on_loopback("ann")?;
    node.start().await?;
    let mut clients = Vec::new();
    for name in names {
        clients.push(Client::registered(&node, name).await?);
    }
    Ok((node, clients.try_into().ok().context("as many clients as names")?))
}

impl Client {
    /// A client that has made its key and asked for the organization (ICL-2).
    async fn new(node: &Node, name: &str) -> Result<Self> {
        let http = Http::new(&Place::here(), node.ready()?.api)?;
        let tenant = http.get("/api/organization", None).await?.ok()?["organization"].clone();
        let tenant = tenant.as_str().context("no organization")?;
        let address = format!("{name}@{tenant}.aimaestro.local");
        Ok(Self { http, signing: SigningKey::from_bytes(&rand::random()), address, key: String::new() })
    }

    async fn registered(node: &Node, name: &str) -> Result<Self> {
        let mut client = Self::new(node, name).await?;
        let answer = client.register(name).await?.ok()?;
        client.key = answer["api_key"].as_str().context("no api_key")?.to_owned();
        Ok(client)
    }

    /// The body of `amp-init` (ICL-3): the PEM has lost its last line break in `$(cat …)`.
    async fn register(&self, name: &str) -> Result<Reply> {
        let pem = public_pem(&self.signing.verifying_key());
        let body = json!({"name": name, "tenant": "default", "public_key": pem.trim_end(),
            "key_algorithm": "Ed25519"});
        self.http.post("/api/v1/register", None, &body).await
    }

    /// The signature over what the shell has in its variables.
    fn sign(&self, from: &str, to: &str, subject: &str, sorted_payload: &str) -> String {
        let hash = BASE64.encode(Sha256::digest(sorted_payload));
        let text = format!("{from}|{to}|{subject}|normal||{hash}");
        BASE64.encode(self.signing.sign(text.as_bytes()).to_bytes())
    }

    /// Posts text as it stands, as `curl -d` does.
    async fn post(&self, path: &str, body: &str) -> Result<Reply> {
        let body: &serde_json::value::RawValue = serde_json::from_str(body)?;
        self.http.post_text(path, Some(&self.key), body.get()).await
    }

    async fn pending(&self) -> Result<Vec<Value>> {
        let page = self.http.get("/api/v1/messages/pending", Some(&self.key)).await?;
        assert_eq!(page.status, 200);
        Ok(page.body["messages"].as_array().context("no messages")?.clone())
    }
}

/// The body of `amp-send` on the local route (ICL-10), as `jq -n` prints it.
fn flat(to: &str, subject: &str, payload: &str, signature: &str) -> String {
    let (to, subject, signature) = (json!(to), json!(subject), json!(signature));
    format!(
        "{{\n  \"to\": {to},\n  \"subject\": {subject},\n  \"priority\": \"normal\",\n  \"payload\": {payload},\n  \
         \"in_reply_to\": null,\n  \"thread_id\": null,\n  \"signature\": {signature}\n}}"
    )
}

const PAYLOAD: &str =
    "{\n    \"type\": \"notification\",\n    \"message\": \"hello\",\n    \"context\": null\n  }";
const SORTED: &str = r#"{"context":null,"message":"hello","type":"notification"}"#;

#[tokio::test]
async fn registering_answers_with_what_the_client_stores() -> Result<()> {
    let (node, []) = a_node_and([]).await?;
    let client = Client::new(&node, "alice").await?;
    let reply = client.register("alice").await?;
    assert_eq!(reply.status, 201);
    let (answer, api) = (reply.body, node.ready()?.api);
    assert_eq!(answer["address"], "alice@default.aimaestro.local");
    // ICL-4: only exact equality makes the client take the node for its local one; ICL-5: no trailing slash.
    assert_eq!(answer["provider"]["name"], "aimaestro.local");
    assert_eq!(answer["provider"]["endpoint"], format!("http://{api}/api/v1"));
    assert_eq!(answer["provider"]["route_url"], format!("http://{api}/api/v1/route"));
    assert!(answer["api_key"].is_string() && answer["agent_id"].is_string(), "{answer}");
    Ok(())
}

#[tokio::test]
async fn the_same_key_registers_again_and_another_one_is_refused_with_words() -> Result<()> {
    let (node, [alice]) = a_node_and(["alice"]).await?;
    let again = alice.register("alice").await?;
    assert_eq!(again.status, 201, "ICL-8: {}", again.body);
    assert_ne!(again.body["api_key"], json!(alice.key));
    let forced = Client::new(&node, "alice").await?.register("alice").await?;
    assert_eq!(forced.status, 409, "`amp-init --force` made a new key: {}", forced.body);
    assert!(forced.body["error"].is_string() && forced.body["message"].is_string(), "ICL-7");
    Ok(())
}

#[tokio::test]
async fn an_external_registration_works_without_the_api_prefix_and_says_what_is_wrong() -> Result<()> {
    let (node, []) = a_node_and([]).await?;
    let client = Client::new(&node, "alice").await?;
    let pem = public_pem(&client.signing.verifying_key());
    let mut body = json!({"name": "alice", "tenant": "acme", "public_key": pem, "key_algorithm": "Ed25519"});
    let answer = client.http.post("/v1/register", None, &body).await?.ok()?;
    for member in ["agent_id", "api_key", "address", "short_address", "tenant"] {
        assert!(answer[member].is_string(), "ICL-6: {member} of {answer}");
    }
    assert!(
        answer["provider"]["route_url"].as_str().is_some_and(|url| url.ends_with("/v1/route")),
        "{answer}"
    );
    body["tenant"].take();
    let keyed = client.http.post("/v1/register", Some("uk_bm9ib2R5"), &body).await?;
    assert_eq!(keyed.status, 401);
    assert!(keyed.body["message"].is_string(), "ICL-7");
    Ok(())
}

#[tokio::test]
async fn a_subject_is_accepted_as_the_shell_mangled_it_before_signing() -> Result<()> {
    let (_node, [alice, bob]) = a_node_and(["alice", "bob"]).await?;
    // ICL-25: through `@tsv` and `read -r`, which also strips blanks at both ends.
    for (subject, in_the_shell) in [
        ("plain", "plain"),
        ("a\ttab", r"a\ttab"),
        (r"back\slash \t", r"back\\slash \\t"),
        ("  blanks  ", "blanks"),
        ("a line\nbreak\r", r"a line\nbreak\r"),
        ("\"quotes\" | 🦀", "\"quotes\" | 🦀"),
    ] {
        let signature = alice.sign(&alice.address, &bob.address, in_the_shell, SORTED);
        let reply = alice.post("/api/v1/route", &flat(&bob.address, subject, PAYLOAD, &signature)).await?;
        assert_eq!(reply.status, 200, "{subject:?}: {}", reply.body);
        for member in ["id", "status", "method"] {
            assert!(reply.body[member].is_string(), "ICL-10: {member} of {}", reply.body);
        }
    }
    let subjects: Vec<Value> =
        bob.pending().await?.iter().map(|mail| mail["envelope"]["subject"].clone()).collect();
    assert_eq!(subjects[1..3], [json!("a\ttab"), json!(r"back\slash \t")], "the subject itself arrives");
    Ok(())
}

#[tokio::test]
async fn a_payload_is_verified_as_jq_sorted_and_spelled_it() -> Result<()> {
    let (_node, [alice, bob]) = a_node_and(["alice", "bob"]).await?;
    // ICL-23, ICL-24: measured with jq 1.6 from {"z":1.0,"a":{"y":[3,{"q":null,"b":1e3}],"B":0.1},"big":
    // 12345678901234567890123,"neg":-0,"é":"ü\u0001\u007f","10":1,"9":2}.
    let payload = r#"{"type": "task", "message": "DEL \u007f", "context": {"z": 1, "a": {"y": [3, {"q": null, "b": 1000}],
        "B": 0.1}, "big": 12345678901234568000000, "neg": -0, "é": "ü\u0001\u007f", "10": 1, "9": 2}}"#;
    let sorted = r#"{"context":{"10":1,"9":2,"a":{"B":0.1,"y":[3,{"b":1000,"q":null}]},"big":12345678901234568000000,"neg":-0,"z":1,"é":"ü\u0001\u007f"},"message":"DEL \u007f","type":"task"}"#;
    let signature = alice.sign(&alice.address, &bob.address, "context", sorted);
    let reply = alice.post("/api/v1/route", &flat(&bob.address, "context", payload, &signature)).await?;
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(bob.pending().await?[0]["local"]["security"]["trust"], "verified");
    Ok(())
}

#[tokio::test]
async fn a_name_with_capitals_signs_as_it_was_typed() -> Result<()> {
    let (_node, [bob, carol]) = a_node_and(["bob", "Carol"]).await?;
    let signature = carol.sign("Carol@default.aimaestro.local", &bob.address, "s", SORTED);
    let reply = carol.post("/api/v1/route", &flat(&bob.address, "s", PAYLOAD, &signature)).await?;
    assert_eq!(reply.status, 200, "ICL-26: {}", reply.body);
    Ok(())
}

#[tokio::test]
async fn a_name_registered_in_lower_case_may_be_signed_with_the_usual_capitals() -> Result<()> {
    let (_node, [bob, agent]) = a_node_and(["bob", "backend-api"]).await?;
    // `amp-init` lowers the name; the commands after it sign as CLAUDE_AGENT_NAME spells it.
    for (name, subject, in_the_shell) in [
        ("Backend-api", "a\ttab", r"a\ttab"),
        ("Backend-Api", "plain", "plain"),
        ("backend-api", "plain", "plain"),
    ] {
        let from = format!("{name}@default.aimaestro.local");
        let signature = agent.sign(&from, &bob.address, in_the_shell, SORTED);
        let reply = agent.post("/api/v1/route", &flat(&bob.address, subject, PAYLOAD, &signature)).await?;
        assert_eq!(reply.status, 200, "{name}: {}", reply.body);
        let mail = bob.pending().await?.pop().context("no mail")?;
        assert_eq!(mail["envelope"]["from"], from, "the spelling that was signed is delivered");
    }
    let signature = agent.sign("backEnd-api@default.aimaestro.local", &bob.address, "s", SORTED);
    let refused = agent.post("/api/v1/route", &flat(&bob.address, "s", PAYLOAD, &signature)).await?;
    assert_eq!((refused.status, refused.error()), (403, "signature_invalid"));
    Ok(())
}

#[tokio::test]
async fn an_empty_signature_counts_as_none() -> Result<()> {
    let (_node, [alice, bob]) = a_node_and(["alice", "bob"]).await?;
    let reply = alice.post("/api/v1/route", &flat(&bob.address, "s", PAYLOAD, "")).await?;
    assert_eq!(reply.status, 200, "ICL-27: {}", reply.body);
    let mail = &bob.pending().await?[0];
    assert_eq!(mail["local"]["security"]["trust"], "untrusted", "{mail}");
    Ok(())
}

#[tokio::test]
async fn the_recipients_that_the_client_takes_for_local_are_found() -> Result<()> {
    let (_node, [alice, bob]) = a_node_and(["alice", "bob"]).await?;
    for to in ["bob@default.aimaestro.local", "bob@default.local", "bob@default.default.local"] {
        let signature = alice.sign(&alice.address, to, "s", SORTED);
        let reply = alice.post("/api/v1/route", &flat(to, "s", PAYLOAD, &signature)).await?;
        assert_eq!(reply.status, 200, "ICL-12: {to}: {}", reply.body);
    }
    assert_eq!(bob.pending().await?.len(), 3);
    let nobody =
        alice.post("/api/v1/route", &flat("nobody@default.aimaestro.local", "s", PAYLOAD, "")).await?;
    assert_eq!((nobody.status, nobody.error()), (404, "not_found"));
    Ok(())
}

#[tokio::test]
async fn a_full_envelope_keeps_the_clients_own_id() -> Result<()> {
    let (_node, [alice, bob]) = a_node_and(["alice", "bob"]).await?;
    let signature = alice.sign(&alice.address, &bob.address, "tab\there", SORTED);
    let now = amesh_proto::time::UnixMillis(u64::try_from(
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis(),
    )?);
    let id = format!("msg_{}_0a1b2c3d", now.0);
    let envelope = json!({"version": "amp/0.1", "id": id, "from": alice.address, "to": bob.address,
        "subject": "tab\there", "priority": "normal", "timestamp": now.to_rfc3339(), "thread_id": id,
        "in_reply_to": null, "expires_at": null, "signature": signature});
    let body = format!("{{\"envelope\": {envelope}, \"payload\": {PAYLOAD}}}");
    let reply = alice.post("/v1/route", &body).await?;
    assert_eq!((reply.status, &reply.body["id"]), (200, &json!(id)), "ICL-14: {}", reply.body);
    assert!(reply.body["status"].is_string());
    assert_eq!(bob.pending().await?[0]["envelope"]["id"], json!(id));
    Ok(())
}

#[tokio::test]
async fn fetching_lists_what_the_client_reads_and_its_acknowledgement_removes_it() -> Result<()> {
    let (_node, [alice, bob]) = a_node_and(["alice", "bob"]).await?;
    let signature = alice.sign(&alice.address, &bob.address, "s", SORTED);
    alice.post("/api/v1/route", &flat(&bob.address, "s", PAYLOAD, &signature)).await?.ok()?;
    let mail = bob.pending().await?.remove(0);
    for member in ["id", "from", "to", "subject", "priority", "timestamp", "thread_id"] {
        assert!(mail["envelope"][member].is_string(), "ICL-16, ICL-21: {member} of {mail}");
    }
    assert_eq!(mail["payload"]["message"], "hello");
    let id = mail["envelope"]["id"].as_str().context("no id")?;
    let parts: Vec<&str> = id.splitn(3, '_').collect();
    assert!(parts[0] == "msg" && parts[1].bytes().all(|b| b.is_ascii_digit()), "ICL-20: {id}");
    let gone = bob.http.delete(&format!("/api/v1/messages/pending?id={id}"), Some(&bob.key)).await?;
    assert_eq!((gone.status, &gone.body["acknowledged"]), (200, &json!(true)), "ICL-17");
    assert!(bob.pending().await?.is_empty());
    let stranger = bob.http.get("/api/v1/messages/pending", Some("amp_live_sk_wrong")).await?;
    assert_eq!(stranger.status, 401);
    Ok(())
}

#[tokio::test]
async fn an_external_registration_fetches_from_its_inbox_in_both_places() -> Result<()> {
    let (_node, [alice, bob]) = a_node_and(["alice", "bob"]).await?;
    // ICL-18, and ICL-19 for a registration whose `apiUrl` has a version already.
    for base in ["/v1/inbox", "/api/v1/v1/inbox"] {
        let signature = alice.sign(&alice.address, &bob.address, base, SORTED);
        alice.post("/api/v1/route", &flat(&bob.address, base, PAYLOAD, &signature)).await?.ok()?;
        let page = bob.http.get(base, Some(&bob.key)).await?.ok()?;
        let id = page["messages"][0]["envelope"]["id"].as_str().context("no id")?.to_owned();
        let ack = bob.http.post(&format!("{base}/{id}/ack"), Some(&bob.key), &Value::Null).await?;
        assert_eq!(ack.status, 200, "{base}: {}", ack.body);
        assert!(bob.pending().await?.is_empty());
    }
    Ok(())
}

/// Without proof, as the client registers again (ICL-8): each time the agent is told of it, as long as there is room.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_mailbox_does_not_swallow_the_new_api_key_of_who_registers_again() -> Result<()> {
    let mut node = Node::on_loopback("ann")?;
    let config = node.home().join("amesh.toml");
    std::fs::write(&config, "[store]\nmailbox_new = 1\n")?;
    node = node.with(&["--config", &config.display().to_string()]);
    node.start().await?;
    let mut client = Client::registered(&node, "anna").await?;
    let (room, beyond) = (101, 3);
    for _ in 0..room + beyond {
        let again = client.register("anna").await?.ok()?;
        client.key = again["api_key"].as_str().context("no api_key")?.to_owned();
    }
    let count = client.http.get("/v1/messages/pending/count", Some(&client.key)).await?.ok()?;
    assert_eq!(count["total"], room);
    Ok(())
}
