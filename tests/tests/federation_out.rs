//! Mail to other providers (FED-7, FED-8, FED-19, A-27…; docs/federation.md): a real node delivers over real TLS to
//! providers that stand in, which check what they get with code of their own.

use amesh_proto::key::AgentKey;
use amesh_tests::agent::{Letter, TestAgent};
use amesh_tests::https::{Answer, HttpsServer, Posted};
use amesh_tests::name_server::NameServer;
use amesh_tests::node::Node;
use amesh_tests::wait::{wait_for, wait_until};
use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, VerifyingKey};
use serde::Serialize;
use serde_json::{Value, json};
use std::io;
use std::net::{Ipv4Addr, TcpListener};

const CORP: &str = "corp.test";
const DELIVER: &str = "/v1/federation/deliver";
const KIM: &str = "kim@sales.corp.test";

/// Two providers that stand in, and what everybody knows of them.
struct World {
    names: NameServer,
    corp: HttpsServer,
    dead: HttpsServer,
    /// How long `/route` waits for a provider.
    patience_ms: u64,
}

impl World {
    fn new() -> Result<Self> {
        let (names, corp) = (NameServer::start()?, HttpsServer::start(&[CORP, "api.corp.test"])?);
        let dead = HttpsServer::start(&["dead.test"])?;
        for name in [CORP, "api.corp.test", "dead.test"] {
            names.is_at(name, &[Ipv4Addr::LOCALHOST]);
        }
        let world = Self { names, corp, dead, patience_ms: 250 };
        world.announces("/v1", 1);
        let at = format!("https://dead.test:{}/v1", world.dead.address.port());
        world.names.says("_amp._tcp.dead.test", &[&record(&at, 1)]);
        world.corp_answers(DELIVER, taken(true));
        world.dead.holds(true);
        Ok(world)
    }

    /// A place at corp.test.
    fn at(&self, path: &str) -> String {
        format!("api.corp.test:{}{path}", self.corp.address.port())
    }

    fn corp_answers(&self, path: &str, answer: Answer) {
        self.corp.answers(&self.at(path), answer);
    }

    /// DNS says that corp.test takes deliveries below `base`, and has this key.
    fn announces(&self, base: &str, seed: u8) {
        let at = format!("https://api.corp.test:{}{base}", self.corp.address.port());
        self.names.says("_amp._tcp.corp.test", &[&record(&at, seed)]);
    }

    /// The settings of a node that holds key `seed` for corp.test.
    fn settings(&self, node: &Node, seed: u8, allowed: &str) -> Result<String> {
        let file = node.home().join("ca.pem");
        std::fs::write(&file, format!("{}{}", self.corp.authority_pem(), self.dead.authority_pem()))?;
        let key = |seed| AgentKey::from_seed(&[seed; 32]).public().sender_key_text();
        Ok(format!(
            "provider = \"alpha.test\"\nca_certificates = [{file:?}]\n[message]\npatience_ms = {}\n[federation]\non = true\n\
             domain = \"alpha.test\"\nmode = \"open\"\nresolvers = [\"{}\"]\nregistry = \"https://127.0.0.1:9/providers\"\n\
             allow_addresses = [{allowed}]\ndeliver_timeout_s = 60\n[federation.pins]\n\"{CORP}\" = \"{}\"\n\"dead.test\" = \"{}\"\n",
            self.patience_ms,
            self.names.address,
            key(seed),
            key(1),
        ))
    }

    /// A node that is the provider of alpha.test, and an agent of it.
    async fn node(&self, seed: u8, allowed: &str) -> Result<(Node, TestAgent)> {
        let node = Node::on_loopback("alpha")?;
        let file = node.home().join("amesh.toml");
        std::fs::write(&file, self.settings(&node, seed, allowed)?)?;
        let mut node = node.with(&["--config", &file.to_string_lossy()]);
        node.start().await?;
        let alice = node.agent("alice").await?;
        Ok((node, alice))
    }

    async fn usual(&self) -> Result<(Node, TestAgent)> {
        self.node(1, "\"127.0.0.1\"").await
    }

    /// What corp.test was given with the subjects of the messages, once there is as much.
    async fn given(&self, count: usize) -> Result<Vec<(String, Posted)>> {
        wait_for(&format!("{count} deliveries"), || async {
            let posted = self.corp.posted();
            let subject = |posted: Posted| Ok((body(&posted)?["envelope"]["subject"].to_string(), posted));
            (posted.len() >= count).then(|| posted.into_iter().map(subject).collect()).transpose()
        })
        .await
    }
}

fn record(endpoint: &str, seed: u8) -> String {
    let print = AgentKey::from_seed(&[seed; 32]).public().fingerprint();
    format!("v=AMP1; endpoint={endpoint}; pubkey={print}")
}

fn taken(delivered: bool) -> Answer {
    let answer = json!({"accepted": true, "id": "msg_1_far", "delivered": delivered, "method": "websocket"});
    Answer::Says(200, "x-said: so", answer.to_string())
}

fn says(status: u16, line: &'static str, error: &str) -> Answer {
    Answer::Says(status, line, json!({"accepted": false, "error": error, "message": "no"}).to_string())
}

fn body(posted: &Posted) -> Result<Value> {
    Ok(serde_json::from_slice(&posted.body)?)
}

/// As Python's `json.dumps` writes it.
struct Python;

impl serde_json::ser::Formatter for Python {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }

    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, out: &mut W, text: &str) -> io::Result<()> {
        for unit in text.encode_utf16() {
            match u8::try_from(unit) {
                Ok(byte) if byte.is_ascii() => out.write_all(&[byte])?,
                _ => write!(out, "\\u{unit:04x}")?,
            }
        }
        Ok(())
    }
}

fn dumped(value: &Value) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, Python))?;
    Ok(out)
}

/// Checks what a provider that checks everything would: the signature over the very bytes, and over what Python makes of them.
async fn is_signed_by(node: &Node, posted: &Posted) -> Result<()> {
    let status = node.amesh(&["federation", "status"]).await?;
    let pem = status["provider"]["public_key"].as_str().context("no key")?;
    let der = BASE64.decode(pem.lines().filter(|line| !line.starts_with('-')).collect::<String>())?;
    let raw: [u8; 32] = der[der.len() - 32..].try_into()?;
    let signature = Signature::from_slice(&BASE64.decode(&posted.head["x-amp-signature"])?)?;
    let timestamp = &posted.head["x-amp-timestamp"];
    for text in [posted.body.clone(), dumped(&body(posted)?)?] {
        let signed = [timestamp.as_bytes(), b".", &text].concat();
        VerifyingKey::from_bytes(&raw)?.verify_strict(&signed, &signature)?;
    }
    Ok(())
}

/// What the owner is told of the mail that waits for `domain`, once it says why it waits.
async fn waiting(node: &Node, domain: &str) -> Result<Value> {
    wait_for("a queue that says why it waits", || async {
        let status = node.amesh(&["federation", "status"]).await?;
        let queues = status["queues"].as_array().cloned().unwrap_or_default();
        Ok(queues.into_iter().find(|queue| queue["domain"] == domain && queue["reason"].is_string()))
    })
    .await
}

/// The log has a line of the audit with all of these words.
async fn audited(node: &Node, words: &[&str]) -> Result<()> {
    let is_it =
        |line: &str| line.contains("federation::audit") && words.iter().all(|word| line.contains(word));
    wait_until("a line of the audit", || async { Ok(node.log().lines().any(is_it)) }).await
}

async fn fate(alice: &TestAgent, id: &str, status: &str) -> Result<Value> {
    wait_for(&format!("{id} to be {status}"), || async {
        let fate = alice.fate(id).await?;
        Ok((fate["status"] == status).then_some(fate))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_is_delivered_signed_by_the_provider_and_its_result_is_the_result_of_the_route() -> Result<()> {
    let world = World { patience_ms: 60_000, ..World::new()? };
    let (node, alice) = world.usual().await?;
    let mut letter = Letter::new(KIM, "Grüße 🎈", "schön, \"wie\" geht's?\n");
    letter.priority = "high";
    let first = alice.route(&letter).await?.ok()?;
    let fate = fate(&alice, first["id"].as_str().context("no id")?, "delivered").await?;
    assert_eq!(
        (&fate["basis"], &fate["remote_host"]),
        (&json!("provider_delivered"), &json!(CORP)),
        "{fate}"
    );
    let (_, posted) = world.given(1).await?.remove(0);
    assert_eq!(posted.head["x-amp-provider"], "alpha.test");
    is_signed_by(&node, &posted).await?;
    let said = body(&posted)?;
    let envelope = &said["envelope"];
    assert_eq!((&envelope["from"], &envelope["to"]), (&json!(alice.address), &json!(KIM)));
    assert_eq!((&envelope["id"], &envelope["priority"]), (&first["id"], &json!("high")));
    assert_eq!(said["payload"]["message"], letter.text.as_str());
    assert_eq!(said["sender_public_key"].as_str().map(str::trim), Some(alice.public_key().trim()));
    ensure!(said["queued_at"].is_string() && envelope["signature"].is_string(), "{said}");

    // A provider that is known to answer is waited for (FED-19).
    let second = alice.route(&Letter::new(KIM, "again", "hello")).await?.ok()?;
    assert_eq!(
        (&second["status"], &second["method"]),
        (&json!("delivered"), &json!("websocket")),
        "{second}"
    );
    audited(&node, &["federation.sent", CORP, &alice.address, KIM, "delivered=true"]).await?;
    world.corp_answers(DELIVER, taken(false));
    let third = alice.route(&Letter::new(KIM, "and again", "hello")).await?.ok()?;
    assert_eq!(
        (&third["status"], &third["basis"]),
        (&json!("queued"), &json!("provider_accepted")),
        "{third}"
    );
    assert_eq!(world.corp.connections(), 1, "connections are used again");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_asks_for_patience_is_offered_the_same_message_again_with_a_fresh_signature()
-> Result<()> {
    let world = World::new()?;
    world.corp.answers_first(&world.at(DELIVER), &[says(503, "retry-after: 2", "unavailable")]);
    let (node, alice) = world.usual().await?;
    let id = alice.send(KIM, "hello").await?;
    fate(&alice, &id, "delivered").await?;
    let posted = world.given(2).await?;
    assert_eq!(body(&posted[0].1)?["envelope"]["id"], body(&posted[1].1)?["envelope"]["id"]);
    let [first, second] = [0, 1].map(|at| posted[at].1.head["x-amp-timestamp"].parse::<u64>());
    ensure!(second? > first?, "the second attempt is signed anew, two seconds later at least");
    is_signed_by(&node, &posted[1].1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_provider_will_never_take_comes_back_to_its_sender_once_and_is_not_tried_again() -> Result<()>
{
    let world = World::new()?;
    world.corp.answers_first(&world.at(DELIVER), &[says(404, "x-said: so", "recipient_not_found")]);
    let (mut node, alice) = world.usual().await?;
    let id = alice.send("nobody@sales.corp.test", "hello").await?;
    let ended = fate(&alice, &id, "failed").await?;
    assert_eq!(ended["error"]["code"], "recipient_not_found", "{ended}");
    let notices = wait_for("a notice", || async {
        let notices = alice.take().await?;
        Ok((!notices.is_empty()).then_some(notices))
    })
    .await?;
    ensure!(notices.len() == 1 && notices[0].from.starts_with("system@"), "{notices:?}");
    assert_eq!(notices[0].whole["payload"]["context"]["id"], id);
    audited(&node, &["federation.bounced", CORP, &id, "recipient_not_found", "delivered=false"]).await?;
    node.restart().await?;
    let alice = node.found_by(&alice)?;
    let after = alice.send(KIM, "after").await?;
    fate(&alice, &after, "delivered").await?;
    let given: Vec<String> = world.given(2).await?.into_iter().map(|(subject, _)| subject).collect();
    assert_eq!(given, ["\"hello\"", "\"after\""]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_of_one_lane_arrives_in_order_one_at_a_time_while_other_lanes_go_on() -> Result<()> {
    let world = World::new()?;
    let (node, alice) = world.usual().await?;
    let first = alice.send(KIM, "first").await?;
    fate(&alice, &first, "delivered").await?;
    // Off, so that what is sent now begins together.
    world.corp_answers(DELIVER, Answer::Status(503));
    for round in 0..5 {
        for to in ["kim", "lou", "max"] {
            let mut letter = Letter::new(&format!("{to}@sales.corp.test"), &format!("{to} {round}"), "hello");
            letter.id = None;
            ensure!(alice.route(&letter).await?.status == 200);
        }
    }
    waiting(&node, CORP).await?;
    let before = world.corp.posted().len();
    world.corp_answers(DELIVER, taken(true));
    wait_until("an empty queue", || async { Ok(node.amesh(&["queue", "list"]).await?["total"] == 0) })
        .await?;
    let given = world.given(before).await?;
    for to in ["kim", "lou", "max"] {
        let mut its: Vec<_> =
            given.iter().filter(|(subject, _)| subject.contains(to)).map(|it| it.0.clone()).collect();
        its.dedup();
        let whole: Vec<_> = (0..5).map(|round| format!("\"{to} {round}\"")).collect();
        assert_eq!(its, whole, "every message again until it is taken, and none before an earlier one");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_dead_holds_up_no_other() -> Result<()> {
    let world = World::new()?;
    let (node, alice) = world.usual().await?;
    for number in 0..30 {
        alice.send(&format!("zoe{number}@x.dead.test"), "into the dark").await?;
    }
    wait_until("an attempt", || async { Ok(!world.dead.posted().is_empty()) }).await?;
    for number in 0..10 {
        let id = alice.send(KIM, &format!("{number}")).await?;
        fate(&alice, &id, "delivered").await?;
    }
    assert_eq!(world.dead.posted().len(), 1, "nobody sends a heap to who has not answered yet");
    let status = node.amesh(&["federation", "status"]).await?;
    assert_eq!(
        (&status["queues"][0]["domain"], &status["queues"][0]["waiting"]),
        (&json!("dead.test"), &json!(30))
    );
    let at = format!("dead.test:{}{DELIVER}", world.dead.address.port());
    world.dead.answers(&at, taken(true));
    world.dead.holds(false);
    wait_until("the dead to be back", || async { Ok(node.amesh(&["queue", "list"]).await?["total"] == 0) })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_leads_to_nobody_but_the_provider_that_was_announced_and_the_owner_is_told_why() -> Result<()> {
    let world = World::new()?;
    let plain = TcpListener::bind(("127.0.0.1", 0))?;
    let elsewhere = format!("http://{}/v1/federation/deliver", plain.local_addr()?);
    world.corp_answers(DELIVER, Answer::Redirect(elsewhere));
    for (seed, allowed, why, posts) in [
        (1, "\"127.0.0.1\"", "redirects are not followed", true),
        (2, "\"127.0.0.1\"", "announces another key than the pinned one", false),
        (1, "", "127.0.0.1 is loopback", false),
    ] {
        let before = world.corp.posted().len();
        let (node, alice) = world.node(seed, allowed).await?;
        let id = alice.send(KIM, "hello").await?;
        let queue = waiting(&node, CORP).await?;
        ensure!(queue["reason"].as_str().is_some_and(|said| said.contains(why)), "{why}: {queue}");
        assert_eq!((&queue["state"], &queue["waiting"]), (&json!("unreachable"), &json!(1)));
        assert_eq!(alice.fate(&id).await?["status"], "queued");
        assert_eq!(world.corp.posted().len() > before, posts);
    }
    plain.set_nonblocking(true)?;
    ensure!(plain.accept().is_err(), "a redirect was followed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_waited_through_a_restart_goes_out_once_when_the_provider_is_back() -> Result<()> {
    let world = World::new()?;
    world.announces("", 1);
    // it has its deliveries under the other path.
    let other = "/api/v1/federation/deliver";
    world.corp.forgets(&world.at(DELIVER));
    world.corp_answers(other, Answer::Status(502));
    let (mut node, alice) = world.usual().await?;
    let ids = [alice.send(KIM, "one").await?, alice.send(KIM, "two").await?];
    ensure!(waiting(&node, CORP).await?["reason"].as_str().is_some_and(|why| why.contains("502")));
    node.kill()?;
    let before = world.corp.posted().len();
    world.corp_answers(other, taken(true));
    node.start().await?;
    let alice = node.found_by(&alice)?;
    for id in &ids {
        fate(&alice, id, "delivered").await?;
    }
    let given = world.given(before + 3).await?.split_off(before);
    let places: Vec<_> =
        given.iter().map(|(subject, posted)| (subject.as_str(), posted.place.as_str())).collect();
    let [at, other] = [DELIVER, other].map(|path| world.at(path));
    assert_eq!(places, [("\"one\"", at.as_str()), ("\"one\"", &other), ("\"two\"", &other)]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_can_test_a_provider_without_sending_anything() -> Result<()> {
    let world = World::new()?;
    world.corp_answers("/v1/health", Answer::Page("{\"status\":\"healthy\"}".to_owned()));
    let (node, _) = world.usual().await?;
    let tested = node.amesh(&["federation", "test", CORP]).await?;
    let outcomes: Vec<_> =
        tested["checks"].as_array().context("checks")?.iter().map(|check| &check["outcome"]).collect();
    assert_eq!(outcomes, ["found", "found", "found", "found", "found", "nothing"], "{tested}");
    assert_eq!(
        (&tested["usable"], &tested["resolved"]["provider"]["step"]),
        (&json!(true), &json!("dns_txt"))
    );
    node.amesh(&["federation", "block", CORP]).await?;
    world.corp.forgets(&world.at("/v1/health"));
    let refused = node.try_amesh(&["federation", "test", CORP]).await?;
    assert_eq!(refused.status.code(), Some(1));
    ensure!(String::from_utf8_lossy(&refused.stderr).contains("is blocked here"), "{refused:?}");
    assert!(world.corp.posted().is_empty());
    Ok(())
}
