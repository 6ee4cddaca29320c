//! A real node and stand-in hosts of the AMP 06a kind: mail in both directions, forged forwards, a host that is down, hosts
//! that ask to be peers.

use amesh_proto::key::{KeyAlgorithm, PublicKey};
use amesh_tests::agent::{Letter, TestAgent};
use amesh_tests::http::Reply;
use amesh_tests::http_host::{Forward, HttpHost, request};
use amesh_tests::node::Node;
use amesh_tests::wait::{wait_for, wait_until};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use tempfile::TempDir;

/// A node that knows some hosts, and the folder of its configuration file.
async fn node(settings: &str) -> Result<(Node, TempDir)> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("amesh.toml");
    std::fs::write(&file, settings)?;
    let node = Node::on_loopback("alpha")?;
    let mut node = node.with(&["--http-mesh", "127.0.0.1:0", "--config", &file.to_string_lossy()]);
    node.start().await?;
    Ok((node, dir))
}

fn door(node: &Node) -> Result<SocketAddr> {
    node.ready()?.http_mesh.context("no door for hosts")
}

async fn fate(agent: &TestAgent, id: &str, method: &str) -> Result<Value> {
    wait_for("a verdict", || async {
        let fate = agent.fate(id).await?;
        Ok((fate["method"] == method || fate["status"] == "failed").then_some(fate))
    })
    .await
}

fn refused(reply: &Reply, status: u16, code: &str, what: &str) {
    assert_eq!((reply.status, reply.error()), (status, code), "{what}: {}", reply.body);
    assert!(reply.body["message"].as_str().is_some_and(|text| !text.is_empty()), "{what}: {}", reply.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_goes_both_ways_between_a_node_and_an_http_mesh_host() -> Result<()> {
    let den = HttpHost::start("den")?;
    let (node, _dir) = node(&den.setting("strict")).await?;
    let alice = node.agent("alice").await?;
    let kim = den.agent("kim", false);

    let resolve = format!("/v1/agents/resolve/{}", kim.address);
    let early = alice.get(&resolve).await?;
    refused(&early, 404, "not_found", "an agent whose key nobody has seen");
    ensure!(early.body["message"].as_str().is_some_and(|why| why.contains("is at den")), "{}", early.body);
    let id = alice.send(&kim.address, "to kim").await?;
    let fate = fate(&alice, &id, "mesh").await?;
    assert_eq!((&fate["status"], &fate["basis"]), (&json!("queued"), &json!("host_accepted")), "{fate}");
    assert_eq!((&fate["remote_host"], &fate["remote_id"]), (&json!("den"), &json!("msg_1_theirs")));
    let [mail] = den.received().try_into().ok().context("not one message")?;
    mail.check_signature()?;
    assert_eq!(
        (mail.headers["x-forwarded-from"].as_str(), &mail.headers["x-amp-envelope-id"]),
        ("alpha", &id)
    );
    assert!(!mail.headers.contains_key("authorization"));
    assert_eq!(mail.body["to"], "kim");

    let reply = den.forward(&kim, &alice.address, "to alice").send(door(&node)?).await?;
    assert_eq!(reply.status, 200, "{}", reply.body);
    let [mail] = alice.pending().await?.try_into().ok().context("not one message")?;
    assert_eq!((mail.from.as_str(), mail.subject.as_str()), (kim.address.as_str(), "to alice"));
    assert_eq!(mail.whole["local"]["security"]["trust"], "verified", "{}", mail.whole);

    let found = alice.get(&resolve).await?.ok()?;
    let key = mail.whole["sender_public_key"].as_str().context("no key")?;
    let key = PublicKey::parse(key, KeyAlgorithm::Ed25519)?;
    assert_eq!((&found["host"], &found["online"]), (&json!("den"), &json!(false)), "{found}");
    assert_eq!(found["fingerprint"], key.fingerprint());

    alice.send(&mail.from, "an answer").await?;
    alice.send("kim@den", "to kim where kim is").await?;
    wait_until("all of it at the host", || async { Ok(den.subjects().len() == 3) }).await?;
    assert_eq!(den.subjects(), ["to kim", "an answer", "to kim where kim is"]);
    den.received().iter().try_for_each(|mail| mail.check_signature())?;

    let unknown = alice.route(&Letter::new("nobody@default.aimaestro.local", "hello", "x")).await?;
    refused(&unknown, 404, "not_found", "an agent that no host has");
    let url = format!("http://{}/api/agents/by-name/alice", door(&node)?);
    let found = request(IpAddr::from([127, 0, 0, 1]), "GET", &url, &HashMap::new(), None).await?.ok()?;
    assert_eq!((&found["exists"], &found["agent"]["hostId"]), (&json!(true), &json!("alpha")));
    let listed = node.amesh(&["peers"]).await?;
    assert_eq!(
        (&listed["http_hosts"][0]["name"], &listed["http_hosts"][0]["state"]),
        (&json!("den"), &json!("reachable"))
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_forged_forward_is_refused_and_leaves_nothing_behind() -> Result<()> {
    let (den, cave) = (HttpHost::start("den")?, HttpHost::start("cave")?);
    let settings = den.setting("strict") + &cave.setting("strict");
    let (node, _dir) = node(&settings).await?;
    let (alice, door) = (node.agent("alice").await?, door(&node)?);
    let (kim, eve) = (den.agent("kim", true), cave.agent("eve", false));
    let good = || den.forward(&kim, &alice.address, "forged");
    let forged = |spoil: &dyn Fn(&mut Forward)| {
        let mut forward = good();
        spoil(&mut forward);
        forward
    };
    let elsewhere = IpAddr::from([127, 0, 0, 2]);
    let cases: Vec<(&str, Forward, u16, &str)> = vec![
        ("a header only", forged(&|f| f.source = elsewhere), 403, "forbidden"),
        (
            "an unknown host",
            forged(&|f| drop(f.headers.insert("x-forwarded-from", "lair".into()))),
            403,
            "forbidden",
        ),
        ("no host at all", forged(&|f| drop(f.headers.remove("x-forwarded-from"))), 403, "forbidden"),
        ("a bare from", forged(&|f| f.body["from"] = json!("kim")), 400, "invalid_field"),
        ("no from", forged(&|f| f.body["from"] = Value::Null), 400, "missing_field"),
        (
            "another sender key",
            forged(&|f| drop(f.headers.insert("x-amp-sender-key", eve.key_hex()))),
            409,
            "key_conflict",
        ),
        ("another text", forged(&|f| f.body["subject"] = json!("changed")), 403, "signature_invalid"),
        (
            "no signature",
            forged(&|f| {
                f.headers.remove("x-amp-signature");
                f.body["signature"] = Value::Null;
            }),
            403,
            "signature_missing",
        ),
        ("two signatures", forged(&|f| f.body["signature"] = json!("AAAA")), 400, "invalid_field"),
        ("an agent of this node", forged(&|f| f.body["from"] = json!(alice.address)), 409, "key_conflict"),
        ("an agent of another host", den.forward(&eve, &alice.address, "forged"), 403, "forbidden"),
        (
            "an agent that names another host",
            forged(&|f| f.body["from"] = json!("kim@cave.aimaestro.local")),
            403,
            "forbidden",
        ),
        (
            "an agent of another network",
            forged(&|f| f.body["from"] = json!("kim@default.crabmail.ai")),
            403,
            "forbidden",
        ),
        (
            "what another host forwarded before",
            forged(&|f| f.body["_forwarded"]["forwarded_by"] = json!("cave")),
            403,
            "forbidden",
        ),
        (
            "mail for somebody else",
            forged(&|f| f.body["_forwarded"]["original_to"] = json!("bob@default.aimaestro.local")),
            400,
            "invalid_field",
        ),
        ("mail for nobody", den.forward(&kim, "bob@default.aimaestro.local", "forged"), 404, "not_found"),
    ];
    for (what, forward, status, code) in cases {
        refused(&forward.send(door).await?, status, code, what);
    }
    for path in ["/api/agents/by-name/alice", "/api/config", "/api/hosts/identity"] {
        let reply = request(elsewhere, "GET", &format!("http://{door}{path}"), &HashMap::new(), None).await?;
        refused(&reply, 403, "forbidden", path);
    }
    let browser = HashMap::from([("origin", "http://evil.example".to_owned())]);
    let here = IpAddr::from([127, 0, 0, 1]);
    let reply = request(here, "GET", &format!("http://{door}/api/config"), &browser, None).await?;
    refused(&reply, 403, "forbidden", "a web page");
    let reply = request(here, "GET", &format!("http://{door}/v1/agents"), &HashMap::new(), None).await?;
    refused(&reply, 400, "invalid_request", "the agents' API");
    assert!(alice.pending().await?.is_empty(), "a forged forward was delivered");
    assert!(!node.try_amesh(&["hosts", "forget", &kim.address]).await?.status.success(), "a key was pinned");

    let honest = den.forward(&kim, &alice.address, "honest");
    honest.send(door).await?.ok()?;
    honest.send(door).await?.ok()?;
    assert_eq!(alice.pending().await?.len(), 1, "a repeat is told by its id");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_pinned_on_first_use_and_another_is_a_conflict_until_the_owner_forgets_it() -> Result<()> {
    let den = HttpHost::start("den")?;
    let (mut node, _dir) = node(&den.setting("strict")).await?;
    let alice = node.agent("alice").await?;
    let first = den.agent("kim", false);
    den.forward(&first, &alice.address, "first").send(door(&node)?).await?.ok()?;
    node.restart().await?;
    let door = door(&node)?;
    let second = den.agent("kim", true);
    let forward = || den.forward(&second, &alice.address, "second");
    refused(&forward().send(door).await?, 409, "key_conflict", "another key in the header");
    let mut silent = forward();
    silent.headers.remove("x-amp-sender-key");
    refused(&silent.send(door).await?, 403, "signature_invalid", "another key without the header");
    node.amesh(&["hosts", "forget", &first.address]).await?;
    forward().send(door).await?.ok()?;
    let alice = node.found_by(&alice)?;
    let subjects: Vec<_> = alice.pending().await?.into_iter().map(|mail| mail.subject).collect();
    assert_eq!(subjects, ["first", "second"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_for_a_host_that_is_down_waits_across_a_restart_and_arrives_once_and_in_order() -> Result<()> {
    let mut den = HttpHost::start("den")?;
    let (mut node, _dir) = node(&den.setting("strict")).await?;
    let alice = node.agent("alice").await?;
    let kim = den.agent("kim", false);
    let first = alice.send(&kim.address, "0").await?;
    // Not when the host has it: a host that goes down before it has answered is sent the message again.
    assert_eq!(fate(&alice, &first, "mesh").await?["basis"], "host_accepted");
    den.down();
    for n in 1..6 {
        // By its name alone and by its host: both wait, for the place is remembered.
        let to = if n % 2 == 0 { "kim@den" } else { kim.address.as_str() };
        let reply = alice.route(&Letter::new(to, &n.to_string(), "waits")).await?.ok()?;
        assert_eq!(reply["status"], "queued", "{reply}");
        assert_eq!(reply["remote_host"], "den");
        if n == 3 {
            node.restart().await?;
        }
    }
    let queued = node.amesh(&["queue", "list"]).await?;
    assert_eq!(queued["total"], 5, "{queued}");
    den.up()?;
    wait_until("the others", || async { Ok(den.received().len() >= 6) }).await?;
    alice.send("kim@den", "6").await?;
    wait_until("the last", || async { Ok(den.subjects().last().is_some_and(|last| last == "6")) }).await?;
    let (odd, even): (Vec<_>, Vec<_>) =
        den.subjects().into_iter().partition(|subject| ["1", "3", "5"].contains(&subject.as_str()));
    // Order holds in each lane, and the two spellings are two.
    assert_eq!(
        (odd, even),
        (vec!["1".into(), "3".into(), "5".into()], vec!["0".into(), "2".into(), "4".into(), "6".into()])
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_of_a_host_ends_a_message_and_a_not_yet_does_not() -> Result<()> {
    let den = HttpHost::start("den")?;
    let (node, _dir) = node(&den.setting("strict")).await?;
    let alice = node.agent("alice").await?;
    let id = alice.send("nobody@den", "to nobody").await?;
    let fate = fate(&alice, &id, "mesh").await?;
    assert_eq!((&fate["status"], &fate["error"]["code"]), (&json!("failed"), &json!("not_found")), "{fate}");
    wait_until("the notice", || async { Ok(alice.pending().await?.len() == 1) }).await?;
    drop(den.agent("kim", false));
    // IPR-13: its strict mode; the owner of that host can change it.
    den.refuse_all(Some((403, "unauthorized")));
    alice.send("kim@den", "later").await?;
    wait_until("the reason", || async {
        let hosts = node.amesh(&["hosts"]).await?;
        Ok(hosts["hosts"][0]["reason"].as_str().is_some_and(|reason| reason.contains("unauthorized")))
    })
    .await?;
    den.refuse_all(None);
    wait_until("the mail", || async { Ok(den.subjects() == ["later"]) }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn unsigned_mail_is_taken_only_where_the_owner_says_so_and_never_verified() -> Result<()> {
    let (den, cave) = (HttpHost::start("den")?, HttpHost::start("cave")?);
    let settings = den.setting("trusted") + &cave.setting("open");
    let (node, _dir) = node(&settings).await?;
    let (alice, door) = (node.agent("alice").await?, door(&node)?);
    let unsigned = |host: &HttpHost, name: &str, listed: bool| {
        let agent = if listed { host.agent(name, false) } else { HttpHost::start("x")?.agent(name, false) };
        let mut forward = host.forward(&agent, &alice.address, name);
        forward.headers.retain(|header, _| *header == "x-forwarded-from" || *header == "x-amp-envelope-id");
        forward.body["signature"] = Value::Null;
        anyhow::Ok(forward)
    };
    unsigned(&den, "listed", true)?.send(door).await?.ok()?;
    refused(&unsigned(&den, "unlisted", false)?.send(door).await?, 403, "forbidden", "trusted, not listed");
    unsigned(&cave, "anybody", false)?.send(door).await?.ok()?;
    let kim = den.agent("kim", true);
    den.forward(&kim, &alice.address, "signed").send(door).await?.ok()?;
    let page = alice.get("/v1/messages/pending").await?.ok()?;
    let messages = page["messages"].as_array().context("no messages")?;
    let trusts: Vec<_> = messages.iter().map(|mail| mail["local"]["security"]["trust"].clone()).collect();
    assert_eq!(trusts, ["untrusted", "untrusted", "external"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_asks_to_be_a_peer_waits_for_the_owner() -> Result<()> {
    let (den, cave) = (HttpHost::start("den")?, HttpHost::start("cave")?);
    let (mut node, _dir) = node("").await?;
    let (alice, door) = (node.agent("alice").await?, door(&node)?);
    let here = IpAddr::from([127, 0, 0, 1]);
    let post = async |path: &str, body: Value| {
        request(here, "POST", &format!("http://{door}{path}"), &HashMap::new(), Some(&body)).await
    };
    let asks =
        |host: &HttpHost| json!({"host": {"id": host.id, "url": host.url()}, "organization": "theirs"});
    let reply = post("/api/hosts/register-peer", asks(&den)).await?;
    assert_eq!((reply.status, &reply.body["registered"]), (202, &json!(false)), "{}", reply.body);
    assert_eq!(reply.body["knownHosts"], json!([]));
    let kim = den.agent("kim", false);
    let forward = || den.forward(&kim, &alice.address, "hello");
    refused(&forward().send(door).await?, 403, "forbidden", "a host that only asked");
    refused(
        &post("/api/hosts/register-peer", json!({"host": {"id": "x"}})).await?,
        400,
        "missing_field",
        "no url",
    );
    let oneself =
        post("/api/hosts/register-peer", json!({"host": {"id": "alpha", "url": "http://x:1"}})).await?;
    refused(&oneself, 400, "invalid_field", "this node");
    let other = json!({"host": {"id": "den", "url": "http://10.0.0.9:1"}});
    refused(
        &post("/api/hosts/register-peer", other).await?,
        409,
        "conflict",
        "another URL under a name that waits",
    );

    let hosts = node.amesh(&["hosts"]).await?;
    assert_eq!((&hosts["hosts"], &hosts["requests"][0]["name"]), (&json!([]), &json!("den")), "{hosts}");
    assert_eq!(hosts["requests"][0]["from"], "127.0.0.1");
    node.amesh(&["hosts", "accept", "den"]).await?;
    forward().send(door).await?.ok()?;
    let rumour = json!({"fromHost": {"id": "den", "url": den.url()},
        "knownHosts": [{"id": "cave", "url": cave.url()}, {"id": "den", "url": den.url()}]});
    let reply = post("/api/hosts/exchange-peers", rumour).await?.ok()?;
    assert_eq!((&reply["newlyAdded"], &reply["alreadyKnown"]), (&json!([]), &json!(["den"])), "{reply}");

    node.restart().await?;
    let hosts = node.amesh(&["hosts"]).await?;
    assert_eq!(
        (&hosts["hosts"][0]["name"], &hosts["requests"][0]["told_by"]),
        (&json!("den"), &json!("den"))
    );
    node.amesh(&["hosts", "refuse", "cave"]).await?;
    node.amesh(&["hosts", "remove", "den"]).await?;
    let hosts = node.amesh(&["hosts"]).await?;
    assert_eq!((&hosts["hosts"], &hosts["requests"]), (&json!([]), &json!([])));
    refused(&forward().send(self::door(&node)?).await?, 403, "forbidden", "a host that was removed");
    let full = async |n: u32| {
        post("/api/hosts/register-peer", json!({"host": {"id": format!("h{n}"), "url": "http://10.0.0.1:1"}}))
            .await
    };
    for n in 0..8 {
        assert_eq!(full(n).await?.status, 202);
    }
    refused(&full(8).await?, 507, "queue_full", "more requests than a source may have");
    assert_eq!(node.found_by(&alice)?.pending().await?.len(), 1);
    Ok(())
}
