//! Agents that are registered with another provider, too (AMP 06a §Deployment Scenarios; EXT-1…4, A-34): their node fetches
//! their mail there. The provider is an amesh node behind a real certificate, and a stand-in that has an inbox and no more,
//! and forgets every acknowledgement as a crash would.

use amesh_proto::key::AgentKey;
use amesh_tests::agent::TestAgent;
use amesh_tests::authority::{Authority, CertificateFiles};
use amesh_tests::http::{Http, Reply};
use amesh_tests::https::{Answer, HttpsServer};
use amesh_tests::name_server::NameServer;
use amesh_tests::node::Node;
use amesh_tests::provider::Message;
use amesh_tests::wait::{wait_for, wait_until};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::path::Path;

const THERE: &str = "alice@default.corp.test";
const AWAY: &str = "away.test";
const EVES_KEY: u8 = 2;

/// A node that believes `authority` and asks `names`, with these settings under `[registrations]`.
async fn home(
    files: &CertificateFiles,
    authority: &Path,
    names: &NameServer,
    settings: &str,
) -> Result<Node> {
    let text = format!(
        "ca_certificates = [{authority:?}]\n[federation]\nresolvers = [\"{}\"]\n[registrations]\n{settings}",
        names.address
    );
    let file = files.path("home.toml");
    std::fs::write(&file, text)?;
    let mut node = Node::on_loopback("home")?.with(&["--config", &file.to_string_lossy()]);
    node.start().await?;
    Ok(node)
}

const LOOPBACK: &str = "poll_s = 1\nallow_addresses = [\"127.0.0.1\"]\n";

async fn hand_over(node: &Node, agent: &TestAgent, provider: &str, registration: &Value) -> Result<Reply> {
    let path = format!("/v1/agents/me/registrations/{provider}");
    Http::new(node.place(), agent.api())?.put(&path, Some(&agent.key), registration).await
}

/// The agent's one registration, as its node shows it.
async fn state(agent: &TestAgent) -> Result<Value> {
    let shown = agent.get("/v1/agents/me/registrations").await?.ok()?;
    Ok(shown["registrations"][0].clone())
}

/// A provider behind a real certificate, with Alice and Carol, and a node at home that reads `settings`.
struct World {
    files: CertificateFiles,
    corp: Node,
    home: Node,
    _names: NameServer,
}

impl World {
    async fn with(settings: &str) -> Result<Self> {
        let authority = Authority::named("one")?;
        let files = CertificateFiles::with(&authority.vouches_for(&["api.corp.test"])?)?;
        let (names, ca) = (NameServer::start()?, files.path("ca.pem"));
        names.is_at("api.corp.test", &[Ipv4Addr::LOCALHOST]);
        std::fs::write(&ca, authority.pem())?;
        std::fs::write(files.path("corp.toml"), files.settings())?;
        let file = files.path("corp.toml");
        let options = ["--config", &file.to_string_lossy(), "--api", "0.0.0.0:0", "--provider", "corp.test"];
        let mut corp = Node::on_loopback("corp")?.with(&options);
        corp.start().await?;
        let home = home(&files, &ca, &names, settings).await?;
        Ok(Self { files, corp, home, _names: names })
    }

    /// What Alice, who is `there` at the provider, hands over.
    fn registration(&self, there: &TestAgent) -> Result<Value> {
        let port = self.corp.ready()?.secure.context("no door with TLS")?.port();
        let url = format!("https://api.corp.test:{port}");
        Ok(json!({"api_url": url, "address": THERE, "api_key": there.key}))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_at_a_provider_is_fetched_verified_once_and_also_after_a_restart() -> Result<()> {
    let World { files: _files, mut corp, mut home, _names } = World::with(LOOPBACK).await?;
    let (alice_there, carol) = (corp.agent("alice").await?, corp.agent("carol").await?);
    let (alice, bob) = (home.agent("alice").await?, home.agent("bob").await?);
    assert_eq!(alice_there.address, THERE);

    let first = carol.send(THERE, "before").await?;
    let port = corp.ready()?.secure.context("no door with TLS")?.port();
    let registration = json!({"api_url": format!("https://api.corp.test:{port}"), "address": THERE, "api_key": alice_there.key});
    let kept = hand_over(&home, &alice, "corp.test", &registration).await?;
    ensure!(kept.status == 200 && !kept.body.to_string().contains(&alice_there.key), "{kept:?}");
    let mail = wait_for("the first message", || async { Ok(alice.pending().await?.pop()) }).await?;
    ensure!(mail.id == first && mail.from == carol.address && mail.subject == "before", "{mail:?}");
    let local = &mail.whole["local"];
    ensure!(local["verified"] == true && local["security"]["trust"] == "external", "{local}");
    ensure!(mail.whole["sender_public_key"].is_string(), "{:?}", mail.whole);
    wait_until("the acknowledgement there", || async { Ok(alice_there.pending().await?.is_empty()) }).await?;
    wait_until("a registration that is well", || async { Ok(state(&alice).await?["state"] == "well") })
        .await?;
    ensure!(bob.pending().await?.is_empty());

    home.kill()?;
    let second = carol.send(THERE, "meanwhile").await?;
    home.start().await?;
    let (alice, bob) = (home.found_by(&alice)?, home.found_by(&bob)?);
    let both = wait_for("the second message", || async {
        Ok(Some(alice.pending().await?).filter(|mail| mail.len() == 2))
    });
    let ids: Vec<String> = both.await?.into_iter().map(|mail| mail.id).collect();
    assert_eq!(ids, [first, second]);

    corp.kill()?;
    wait_until("the failure", || async { Ok(state(&alice).await?["state"] == "failing") }).await?;
    bob.send(&alice.address, "here").await?;
    assert_eq!(alice.pending().await?.len(), 3);
    let removed = Http::new(home.place(), alice.api())?;
    let path = "/v1/agents/me/registrations/corp.test";
    assert_eq!(removed.delete(path, Some(&alice.key)).await?.status, 200);
    assert_eq!(removed.delete(path, Some(&alice.key)).await?.status, 404);
    ensure!(!home.log().contains(&alice_there.key), "an API key is in the log");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_with_a_websocket_says_at_once_that_there_is_mail() -> Result<()> {
    let mut world = World::with("poll_s = 3600\nallow_addresses = [\"127.0.0.1\"]\n").await?;
    let (there, carol) = (world.corp.agent("alice").await?, world.corp.agent("carol").await?);
    let alice = world.home.agent("alice").await?;
    ensure!(hand_over(&world.home, &alice, "corp.test", &world.registration(&there)?).await?.status == 200);
    let is_open = || async { Ok(state(&alice).await?["websocket"] == true) };
    wait_until("the provider's WebSocket", is_open).await?;
    for subject in ["one", "two"] {
        carol.send(THERE, subject).await?;
        let come = || async { Ok(alice.pending().await?.into_iter().find(|mail| mail.subject == subject)) };
        wait_for(subject, come).await?;
    }
    wait_until("the acknowledgement there", || async { Ok(there.pending().await?.is_empty()) }).await?;
    world.corp.kill()?;
    wait_until("its end", || async { Ok(state(&alice).await?["websocket"] == false) }).await
}

/// A message for Alice at away.test as that provider offers it.
fn offered(message: &Message) -> Value {
    json!({
        "id": message.envelope["id"], "envelope": message.envelope, "payload": message.payload,
        "sender_public_key": message.sender_key,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_only_has_an_inbox_brings_nothing_twice_and_nothing_forged() -> Result<()> {
    let files = CertificateFiles::with(&Authority::named("unused")?.vouches_for(&["unused.test"])?)?;
    let (names, web) = (NameServer::start()?, HttpsServer::start(&["api.away.test"])?);
    names.is_at("api.away.test", &[Ipv4Addr::LOCALHOST]);
    web.keep_authority(&files.path("ca.pem"))?;
    let home = home(&files, &files.path("ca.pem"), &names, LOOPBACK).await?;
    let alice = home.agent("alice").await?;
    let (api, there) = (format!("api.away.test:{}/v1", web.address.port()), "alice@default.away.test");
    let from = |id: &str, from: &str, to: &str| Message::new(id, from, EVES_KEY, to);
    let eve = "eve@far.away.test";
    let messages = [
        from("msg_1_good", eve, there)?,
        from("msg_1_spoilt", eve, there)?.with("subject", json!("another one")),
        Message::new("msg_1_otherkey", eve, 3, there)?,
        from("msg_1_tobob", eve, "bob@default.away.test")?,
        from("msg_1_ours", "bob@default.aimaestro.local", there)?,
        from("msg_1_third", "zoe@far.third.test", there)?,
    ];
    let page = json!({"messages": messages.iter().map(offered).collect::<Vec<_>>()});
    web.answers(&format!("{api}/inbox"), Answer::Page(page.to_string()));
    let registration =
        json!({"api_url": format!("https://{api}"), "address": there, "api_key": "amp_live_sk_secret"});
    ensure!(hand_over(&home, &alice, AWAY, &registration).await?.status == 200);

    // Nothing is acknowledged at first: each turn ends where a crash would.
    let ack = |id: &str| format!("{api}/inbox/{id}/ack");
    web.answers(&ack("msg_1_good"), Answer::Status(500));
    let failed = || async {
        let asked = web.asked().iter().filter(|place| **place == ack("msg_1_good")).count();
        Ok(asked >= 2)
    };
    wait_until("two attempts to acknowledge", failed).await?;
    assert_eq!(alice.pending().await?.len(), 1);
    for message in &messages {
        let id = message.envelope["id"].as_str().context("id")?;
        web.answers(&ack(id), Answer::Page("{}".to_owned()));
    }
    // From now on every turn goes through the whole page, and the page stays the same: what is good is taken once.
    let through =
        || async { Ok(web.asked().iter().filter(|place| **place == ack("msg_1_third")).count() >= 2) };
    wait_until("two whole turns", through).await?;
    let page = alice.get("/v1/messages/pending?limit=100").await?.ok()?;
    let mail = page["messages"].as_array().context("messages")?;
    let by_id = |id: &str| mail.iter().filter(|one| one["id"] == id).collect::<Vec<_>>();
    let good = by_id("msg_1_good");
    ensure!(good.len() == 1 && good[0]["local"]["verified"] == true, "{page}");
    let key = AgentKey::from_seed(&[EVES_KEY; 32]).public().sender_key_text();
    ensure!(good[0]["sender_public_key"] == key.as_str(), "{page}");
    let third = by_id("msg_1_third");
    ensure!(third.len() == 1 && third[0]["local"]["verified"] == false, "{page}");
    assert_eq!(third[0]["local"]["security"]["trust"], "untrusted");
    for id in ["msg_1_spoilt", "msg_1_otherkey", "msg_1_tobob", "msg_1_ours"] {
        let told = mail.iter().filter(|one| {
            let context = &one["payload"]["context"];
            context["event"] == "not_taken_over" && context["id"] == id
        });
        ensure!(by_id(id).is_empty() && told.count() == 1, "{id} in {page}");
    }

    web.answers(&format!("{api}/inbox"), Answer::Status(401));
    let refused = || async {
        let state = state(&alice).await?;
        Ok(state["state"] == "failing" && state["reason"].to_string().contains("API key"))
    };
    wait_until("the refusal of the API key", refused).await?;
    ensure!(!home.log().contains("amp_live_sk_secret"), "an API key is in the log");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_owner_forbids_and_what_is_no_provider_is_refused_and_private_addresses_are_not_reached()
-> Result<()> {
    let files = CertificateFiles::with(&Authority::named("unused")?.vouches_for(&["unused.test"])?)?;
    let (names, web) = (NameServer::start()?, HttpsServer::start(&["api.away.test"])?);
    names.is_at("api.away.test", &[Ipv4Addr::LOCALHOST]);
    web.keep_authority(&files.path("ca.pem"))?;
    let home = home(
        &files,
        &files.path("ca.pem"),
        &names,
        "poll_s = 1\nproviders = [\"away.test\", \"aimaestro.local\"]\n",
    )
    .await?;
    let alice = home.agent("alice").await?;
    let url = format!("https://api.away.test:{}/v1", web.address.port());
    let registration = |address: &str, url: &str| json!({"api_url": url, "address": address, "api_key": "k"});
    let there = "alice@default.away.test";
    let refused = [
        ("third.test", registration("alice@default.third.test", "https://third.test"), (403, "forbidden")),
        ("aimaestro.local", registration(&alice.address, "https://aimaestro.local"), (400, "invalid_field")),
        (AWAY, registration("alice@default.third.test", &url), (400, "invalid_field")),
        (AWAY, registration(there, "https://evil.test/v1"), (400, "invalid_field")),
        (AWAY, json!({"api_url": url, "address": there}), (400, "missing_field")),
    ];
    for (provider, body, expected) in refused {
        let reply = hand_over(&home, &alice, provider, &body).await?;
        ensure!((reply.status, reply.error()) == expected, "{provider} {body}: {reply:?}");
    }
    ensure!(hand_over(&home, &alice, AWAY, &registration(there, &url)).await?.status == 200);
    let kept_away = || async { Ok(state(&alice).await?["reason"].to_string().contains("cannot be reached")) };
    wait_until("the guard's refusal", kept_away).await?;
    assert_eq!(web.connections(), 0);
    Ok(())
}
