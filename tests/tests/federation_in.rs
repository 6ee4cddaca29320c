//! What other providers bring (AMP 06 §Forward Endpoint; FED-9…17, FED-20): a real node behind a real certificate, found and
//! posted to by a stand-in for another provider. Every refusal must leave nothing behind but its line in the log.

use amesh_proto::delivery::{PROVIDER, SIGNATURE, TIMESTAMP};
use amesh_proto::key::AgentKey;
use amesh_proto::time::UnixMillis;
use amesh_tests::agent::TestAgent;
use amesh_tests::authority::{Authority, CertificateFiles};
use amesh_tests::https::{Answer, HttpsServer};
use amesh_tests::name_server::NameServer;
use amesh_tests::node::Node;
use amesh_tests::provider::{Message, Post, Said, now};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::time::Duration;

const AWAY: &str = "away.test";
const EVE: &str = "eve@far.away.test";
const BOB: &str = "bob@default.corp.test";
const REGISTRY: &str = "registry.test";
/// Keys are grown from these.
const PROVIDER_KEY: u8 = 1;
const EVES_KEY: u8 = 2;
const ANOTHER_KEY: u8 = 3;

/// The provider corp.test with its agent Bob, and what is outside.
struct World {
    node: Node,
    bob: TestAgent,
    authority: Authority,
    files: CertificateFiles,
    names: NameServer,
    web: HttpsServer,
}

impl World {
    /// With these settings under `[federation]`.
    async fn new(settings: &str) -> Result<Self> {
        let authority = Authority::named("one")?;
        let files = CertificateFiles::with(&authority.vouches_for(&["api.corp.test"])?)?;
        let (names, web) = (NameServer::start()?, HttpsServer::start(&[REGISTRY, "api.away.test"])?);
        for name in [REGISTRY, "api.away.test"] {
            names.is_at(name, &[Ipv4Addr::LOCALHOST]);
        }
        let file = files.path("amesh.toml");
        let options = ["--config", &file.to_string_lossy(), "--api", "0.0.0.0:0", "--provider", "corp.test"];
        let mut node = Node::on_loopback("alpha")?.with(&options);
        let world_outside = (&names, &web);
        write_settings(&files, world_outside, settings)?;
        answer_for(&web, PROVIDER_KEY, true);
        node.start().await?;
        let bob = node.agent("bob").await?;
        Ok(Self { node, bob, authority, files, names, web })
    }

    /// Starts the node anew with other settings.
    async fn settings(&mut self, settings: &str) -> Result<()> {
        write_settings(&self.files, (&self.names, &self.web), settings)?;
        self.node.restart().await
    }

    async fn post(&self, post: &Post) -> Result<Said> {
        let mut door = self.node.ready()?.secure.context("no door with TLS")?;
        door.set_ip(Ipv4Addr::LOCALHOST.into());
        let url = format!("https://api.corp.test:{}/v1/federation/deliver", door.port());
        post.send(&url, door, &self.authority).await
    }

    /// Eve's message of this id, brought by her provider.
    async fn bring(&self, id: &str) -> Result<Said> {
        self.post(&from_eve(id)?.by(AWAY, PROVIDER_KEY)?).await
    }

    /// What the node remembers of strangers: each provider's key, and Eve's.
    async fn remembered(&self) -> Result<(usize, u16)> {
        let status = self.node.amesh(&["federation", "status"]).await?;
        let providers = status["providers"].as_array().context("providers")?;
        let keys = providers.iter().filter(|known| !known["fingerprint"].is_null()).count();
        Ok((keys, self.bob.get(&format!("/v1/agents/resolve/{EVE}")).await?.status))
    }

    /// The log, once it has a line with all of these words.
    async fn audited(&self, words: &[&str]) -> Result<()> {
        amesh_tests::wait::wait_until("a line of the audit", || async {
            let log = self.node.log();
            Ok(log.lines().any(|line| {
                line.contains("federation::audit") && words.iter().all(|word| line.contains(word))
            }))
        })
        .await
        .with_context(|| format!("{words:?} in {}", self.node.log()))
    }
}

fn write_settings(
    files: &CertificateFiles,
    (names, web): (&NameServer, &HttpsServer),
    settings: &str,
) -> Result<()> {
    web.keep_authority(&files.path("outside.pem"))?;
    let text = format!(
        "ca_certificates = [{:?}]\n{}[federation]\non = true\ndomain = \"corp.test\"\nendpoint = \"https://api.corp.test/v1\"\n\
         discovery = [\"registry\"]\nresolvers = [\"{}\"]\nregistry = \"https://{REGISTRY}:{}/providers\"\n\
         allow_addresses = [\"127.0.0.1\"]\n{settings}",
        files.path("outside.pem"),
        files.settings(),
        names.address,
        web.address.port(),
    );
    Ok(std::fs::write(files.path("amesh.toml"), text)?)
}

/// From now on the registry and away.test itself show the key that is grown from `seed`.
fn answer_for(web: &HttpsServer, seed: u8, verified: bool) {
    let (port, key) = (web.address.port(), AgentKey::from_seed(&[seed; 32]).public());
    let endpoint = format!("https://api.away.test:{port}/v1");
    let entry = json!({"provider": AWAY, "endpoint": endpoint, "fingerprint": key.fingerprint(), "verified": verified});
    let info = json!({"provider": AWAY, "public_key": key.to_pem()});
    web.answers(&format!("{REGISTRY}:{port}/providers/{AWAY}"), Answer::Page(entry.to_string()));
    web.answers(&format!("api.away.test:{port}/v1/info"), Answer::Page(info.to_string()));
}

fn from_eve(id: &str) -> Result<Message> {
    Message::new(id, EVE, EVES_KEY, BOB)
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_of_another_provider_is_read_once_with_its_verified_key_also_after_a_restart() -> Result<()> {
    let mut world = World::new("mode = \"open\"\n").await?;
    let post = from_eve("msg_1_first")?.by(AWAY, PROVIDER_KEY)?;
    let said = world.post(&post).await?;
    ensure!(said.status == 200 && said.body["accepted"] == true, "{said:?}");
    ensure!(said.body["id"] == "msg_1_first" && said.body["delivered"] == false, "{said:?}");
    ensure!(said.body["status"] == "queued" && said.body["method"] == "relay", "{said:?}");

    let mail = world.bob.pending().await?;
    ensure!(mail.len() == 1 && mail[0].from == EVE, "{mail:?}");
    let whole = &mail[0].whole;
    let key = AgentKey::from_seed(&[EVES_KEY; 32]).public();
    assert_eq!(whole["sender_public_key"], key.sender_key_text());
    assert_eq!(whole["local"]["security"]["trust"], "external");
    ensure!(whole["local"]["verified"] == true && whole["local"]["security"]["wrapped"] == true, "{whole}");
    assert_eq!(whole["local"]["original_payload"]["message"], "Hello.");
    let resolved = world.bob.get(&format!("/v1/agents/resolve/{EVE}")).await?.ok()?;
    assert_eq!(resolved["fingerprint"], key.fingerprint());
    world.audited(&["federation.received", AWAY, "msg_1_first", EVE, BOB, "delivered=false"]).await?;

    let again = from_eve("msg_1_first")?.by(AWAY, PROVIDER_KEY)?;
    for repeat in [&post, &again] {
        let said = world.post(repeat).await?;
        ensure!(said.status == 200 && said.body["id"] == "msg_1_first", "{said:?}");
    }
    world.node.restart().await?;
    world.bob = world.node.found_by(&world.bob)?;
    ensure!(world.post(&post).await?.status == 200);
    assert_eq!(world.bob.pending().await?.len(), 1);
    world.bob.ack(&["msg_1_first".to_owned()]).await?;
    ensure!(world.post(&post).await?.status == 200);
    assert_eq!(world.bob.pending().await?.len(), 0);
    let other =
        from_eve("msg_1_first")?.with("expires_at", json!(now().plus(Duration::from_secs(900)).to_rfc3339()));
    assert_eq!(world.post(&other.by(AWAY, PROVIDER_KEY)?).await?.refusal(), (409, "duplicate_message"));
    Ok(())
}

/// What is wrong with a delivery, and what is said of it.
type Attack = (&'static str, Post, (u16, &'static str));

fn attacks() -> Result<Vec<Attack>> {
    let eve = || from_eve("msg_1_bad");
    let good = || eve()?.by(AWAY, PROVIDER_KEY);
    let signed_at = |at: UnixMillis| Post::signed(AWAY, PROVIDER_KEY, at.as_secs(), good()?.body);
    let body = |text: &str| Post::signed(AWAY, PROVIDER_KEY, now().as_secs(), text.as_bytes().to_vec());
    let of = |from: &str| Message::new("msg_1_bad", from, EVES_KEY, BOB)?.by(AWAY, PROVIDER_KEY);
    let to = |to: &str| Message::new("msg_1_bad", EVE, EVES_KEY, to)?.by(AWAY, PROVIDER_KEY);
    let far = Duration::from_secs(1_000);
    let mut payload_only = good()?;
    let payload = eve()?.payload.to_string();
    let over_payload = Post::signed(AWAY, PROVIDER_KEY, now().as_secs(), payload.into_bytes())?;
    payload_only.headers.clone_from(&over_payload.headers);
    let mut altered = good()?;
    altered.body = String::from_utf8(altered.body)?.replace("Hello.", "Hullo.").into_bytes();
    let mut files = eve()?;
    files.payload["attachments"] = json!([{"id": "att_1_a", "filename": "a.txt", "content_type": "text/plain",
        "size": 1, "digest": format!("sha256:{}", "0".repeat(64))}]);
    let mut long = eve()?;
    long.payload["context"] = json!("c".repeat(300 * 1024));
    let keyless = Message { sender_key: None, ..eve()? };
    let forged =
        Message { sender_key: Some(AgentKey::from_seed(&[ANOTHER_KEY; 32]).public().to_pem()), ..eve()? };
    let brought = |message: Message| message.by(AWAY, PROVIDER_KEY);
    Ok(vec![
        ("no provider named", good()?.without(PROVIDER), (400, "missing_header")),
        ("no signature", good()?.without(SIGNATURE), (400, "missing_header")),
        ("no time", good()?.without(TIMESTAMP), (400, "missing_header")),
        ("a stale time", signed_at(now().minus(far))?, (400, "timestamp_expired")),
        ("a time to come", signed_at(now().plus(far))?, (400, "timestamp_future")),
        ("no number of seconds", good()?.with(TIMESTAMP, "soon")?, (400, "invalid_field")),
        (
            "a provider that nobody knows",
            good()?.with(PROVIDER, "nobody.test")?,
            (403, "provider_not_trusted"),
        ),
        ("a blocked provider", good()?.with(PROVIDER, "foe.test")?, (403, "provider_not_trusted")),
        (
            "a name of the local network",
            good()?.with(PROVIDER, "printer.local")?,
            (403, "provider_not_trusted"),
        ),
        ("this very provider", good()?.with(PROVIDER, "CORP.test")?, (403, "forbidden")),
        ("another provider's key", eve()?.by(AWAY, ANOTHER_KEY)?, (403, "signature_invalid")),
        ("a signature over the payload alone", payload_only, (403, "signature_invalid")),
        ("another text than was signed", altered, (403, "signature_invalid")),
        ("no JSON", body("<html>")?, (400, "invalid_request")),
        ("a member twice", body(r#"{"envelope":{"to":"a","to":"b"},"payload":{}}"#)?, (400, "invalid_field")),
        ("no envelope", body(r#"{"to":"a","subject":"s","payload":{}}"#)?, (400, "missing_field")),
        ("no sender", brought(eve()?.with("from", Value::Null))?, (400, "missing_field")),
        ("a sender of somebody else", of("eve@far.other.test")?, (403, "forbidden")),
        ("a sender of this domain", of("alice@default.corp.test")?, (403, "forbidden")),
        ("a recipient elsewhere", to("al@default.other.test")?, (404, "recipient_not_found")),
        ("a recipient of the sender's own", to("al@far.away.test")?, (404, "recipient_not_found")),
        ("a recipient that there is not", to("nobody@default.corp.test")?, (404, "recipient_not_found")),
        ("a bare recipient", to("bob")?, (400, "invalid_field")),
        ("no key of the sender", brought(keyless)?, (403, "key_not_found")),
        ("a key that is not the sender's", brought(forged)?, (403, "signature_invalid")),
        (
            "no signature of the sender",
            brought(eve()?.with("signature", Value::Null))?,
            (403, "signature_missing"),
        ),
        (
            "another subject than was signed",
            brought(eve()?.with("subject", json!("s")))?,
            (403, "signature_invalid"),
        ),
        ("another urgency", brought(eve()?.with("priority", json!("urgent")))?, (403, "signature_invalid")),
        (
            "another thread",
            brought(eve()?.with("in_reply_to", json!("msg_0_x")))?,
            (403, "signature_invalid"),
        ),
        ("an id with a path", brought(eve()?.with("id", json!("../../x")))?, (400, "invalid_field")),
        (
            "an old message",
            brought(eve()?.with("timestamp", json!(now().minus(far).to_rfc3339())))?,
            (400, "timestamp_expired"),
        ),
        (
            "an expired one",
            brought(eve()?.with("expires_at", json!("2020-01-01T00:00:00Z")))?,
            (400, "message_expired"),
        ),
        ("files", brought(files)?, (400, "invalid_field")),
        ("more than a context may be", brought(long)?, (400, "invalid_field")),
        ("more than any body may be", body(&" ".repeat(1024 * 1024 + 1))?, (413, "payload_too_large")),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_wrong_is_refused_by_its_code_written_down_and_leaves_nothing_behind() -> Result<()> {
    let settings = "mode = \"open\"\nblocked_providers = [\"foe.test\"]\nlook_ups_per_minute = 1000\n\
        [federation.limits]\nfailures_per_minute = 0\nunlisted_per_minute = 0\n";
    let world = World::new(settings).await?;
    let (attacks, lines) = (attacks()?, || world.node.log().matches("federation.refused").count());
    let attempts = attacks.len();
    for (what, post, expected) in attacks {
        let said = world.post(&post).await.context(what)?;
        assert_eq!(said.refusal(), expected, "{what}: {said:?}");
        ensure!(said.body["accepted"] == false && said.body["message"].is_string(), "{what}: {said:?}");
        world.audited(&["federation.refused", &format!("error={:?}", expected.1), "delivered=false"]).await?;
    }
    amesh_tests::wait::wait_until("a line for each", || async { Ok(lines() == attempts) }).await?;
    let plain = format!("http://{}/v1/federation/deliver", world.node.ready()?.api);
    let good = from_eve("msg_1_bad")?.by(AWAY, PROVIDER_KEY)?;
    let said = good.send(&plain, world.node.ready()?.api, &world.authority).await?;
    assert_eq!(said.refusal(), (403, "forbidden"), "{said:?}");
    assert_eq!((world.remembered().await?, world.bob.pending().await?.len()), ((0, 404), 0));
    let said = world.post(&good).await?;
    ensure!(said.status == 200, "the same without the flaw: {said:?}");
    assert_eq!((world.remembered().await?, world.bob.pending().await?.len()), ((1, 200), 1));
    Ok(())
}

/// Providers that cannot be believed, by the first label of their domain: what the registry says, and the
/// refusal.
fn false_providers(port: u16) -> Vec<(&'static str, Answer, (u16, &'static str))> {
    let entry = |name: &str, endpoint: &str| {
        let print = AgentKey::from_seed(&[PROVIDER_KEY; 32]).public().fingerprint();
        let domain = format!("{name}.test");
        Answer::Page(
            json!({"provider": domain, "endpoint": endpoint, "fingerprint": print, "verified": true})
                .to_string(),
        )
    };
    let (no, silent) = ((403, "provider_not_trusted"), (503, "unavailable"));
    let elsewhere = Answer::Redirect(format!("https://{REGISTRY}:{port}/providers/{AWAY}"));
    vec![
        ("moved", elsewhere, no),
        ("endless", Answer::Endless, no),
        ("junk", Answer::Page("<html>it works</html>".to_owned()), no),
        ("plain", entry("plain", "http://api.away.test/v1"), no),
        ("inward", entry("inward", "https://10.0.0.1/v1"), no),
        ("metadata", entry("metadata", "https://[::ffff:169.254.169.254]/v1"), no),
        ("other", entry("somebody", "https://api.away.test/v1"), no),
        // The certificate there is for other names, so that nothing shows a key.
        ("misnamed", entry("misnamed", &format!("https://wrong.test:{port}/v1")), no),
        ("another-key", entry("another-key", &format!("https://api.away.test:{port}/v9")), no),
        ("broken", Answer::Status(500), silent),
        ("slow", Answer::Drip, silent),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_of_a_provider_that_cannot_be_found_or_believed_is_refused_and_leaves_nothing_behind()
-> Result<()> {
    let settings =
        "mode = \"open\"\nlook_ups_per_minute = 1000\n[federation.limits]\nfailures_per_minute = 0\n";
    let world = World::new(settings).await?;
    let port = world.web.address.port();
    world.names.is_at("wrong.test", &[Ipv4Addr::LOCALHOST]);
    let info = json!({"public_key": AgentKey::from_seed(&[ANOTHER_KEY; 32]).public().to_pem()});
    world.web.answers(&format!("api.away.test:{port}/v9/info"), Answer::Page(info.to_string()));
    for (name, answer, expected) in false_providers(port) {
        let domain = format!("{name}.test");
        world.web.answers(&format!("{REGISTRY}:{port}/providers/{domain}"), answer);
        let mail = Message::new("msg_1_false", &format!("eve@far.{domain}"), EVES_KEY, BOB)?;
        let said = world.post(&mail.by(&domain, PROVIDER_KEY)?).await?;
        assert_eq!(said.refusal(), expected, "{name}: {said:?}");
        ensure!(said.body["accepted"] == false && said.body["message"].is_string(), "{name}: {said:?}");
        assert_eq!(said.retry_after.is_some(), expected.0 == 503, "{name}: {said:?}");
        world.audited(&["federation.refused", &domain, expected.1, "delivered=false"]).await?;
    }
    assert_eq!((world.remembered().await?, world.bob.pending().await?.len()), ((0, 404), 0));
    ensure!(world.bring("msg_1_true").await?.status == 200, "away.test is believed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_than_the_first_waits_for_the_owner_and_a_stolen_one_is_not_believed_again() -> Result<()>
{
    let mut world = World::new("mode = \"open\"\n").await?;
    ensure!(world.bring("msg_1_a").await?.status == 200);
    let other = |id: &str| Message::new(id, EVE, ANOTHER_KEY, BOB)?.by(AWAY, PROVIDER_KEY);
    world.node.restart().await?;
    let said = world.post(&other("msg_1_b")?).await?;
    assert_eq!(said.refusal(), (409, "key_conflict"), "{said:?}");
    let print = |seed: u8| AgentKey::from_seed(&[seed; 32]).public().fingerprint();
    let details = &said.body["details"];
    assert_eq!(
        (&details["knownFingerprint"], &details["presentedFingerprint"]),
        (&json!(print(EVES_KEY)), &json!(print(ANOTHER_KEY)))
    );
    ensure!(world.bring("msg_1_c").await?.status == 200, "the first key is as good as before");

    world.node.amesh(&["federation", "forget", EVE, "--compromised"]).await?;
    world.node.restart().await?;
    assert_eq!(world.bring("msg_1_d").await?.refusal(), (403, "key_revoked"));
    ensure!(world.post(&other("msg_1_e")?).await?.status == 200);
    assert_eq!(world.bring("msg_1_f").await?.refusal(), (403, "key_revoked"));
    world.bob = world.node.found_by(&world.bob)?;
    let page = world.bob.get("/v1/messages/pending").await?.ok()?;
    let keyless =
        |mail: &Value| (mail["id"].as_str().map(str::to_owned), mail["sender_public_key"].is_null());
    let keys: Vec<_> = page["messages"].as_array().context("messages")?.iter().map(keyless).collect();
    let expected = [("msg_1_a", true), ("msg_1_c", true), ("msg_1_e", false)];
    assert_eq!(keys, expected.map(|(id, gone)| (Some(id.to_owned()), gone)));

    // Somebody else answers for the provider, with another key.
    answer_for(&world.web, ANOTHER_KEY, true);
    world.node.restart().await?;
    let impostor = Message::new("msg_1_g", EVE, ANOTHER_KEY, BOB)?.by(AWAY, ANOTHER_KEY)?;
    assert_eq!(world.post(&impostor).await?.refusal(), (409, "key_conflict"));
    world.node.amesh(&["federation", "forget", AWAY]).await?;
    ensure!(world.post(&impostor).await?.status == 200, "the owner says that it is right");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mode_takes_mail_from_whom_it_says_and_what_the_owner_says_counts_at_once() -> Result<()> {
    let mut world = World::new("").await?;
    let refused = (403, "provider_not_trusted");
    assert_eq!(world.bring("msg_1_closed").await?.refusal(), refused);
    world.node.amesh(&["federation", "allow", AWAY]).await?;
    assert_eq!(world.bring("msg_1_closed").await?.refusal(), refused, "closed is closed");
    world.node.amesh(&["federation", "forget", AWAY]).await?;

    world.settings("mode = \"allowlist\"\n").await?;
    assert_eq!(world.bring("msg_1_list").await?.refusal(), refused);
    world.node.amesh(&["federation", "allow", AWAY]).await?;
    ensure!(world.bring("msg_1_list").await?.status == 200);
    world.node.amesh(&["federation", "block", AWAY]).await?;
    assert_eq!(world.bring("msg_1_list").await?.refusal(), refused);
    world.node.amesh(&["federation", "forget", AWAY]).await?;

    // The owner's own proxy has taken the HTTPS off.
    world.settings("mode = \"open\"\nbehind_proxy = true\n").await?;
    let plain = format!("http://{}/v1/federation/deliver", world.node.ready()?.api);
    let post = from_eve("msg_1_proxy")?.by(AWAY, PROVIDER_KEY)?;
    let said = post.send(&plain, world.node.ready()?.api, &world.authority).await?;
    ensure!(said.status == 200, "{said:?}");

    answer_for(&world.web, PROVIDER_KEY, false);
    world.settings("mode = \"registry\"\n").await?;
    assert_eq!(world.bring("msg_1_unchecked").await?.refusal(), refused);
    answer_for(&world.web, PROVIDER_KEY, true);
    world.node.restart().await?;
    ensure!(world.bring("msg_1_checked").await?.status == 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn too_much_is_put_off_with_the_time_to_come_back() -> Result<()> {
    let limits = "mode = \"open\"\n[federation.limits]\nunlisted_per_minute = 3\nrecipient_per_minute = 2\n";
    let mut world = World::new(limits).await?;
    for (id, expected) in [("msg_1_a", (200, "")), ("msg_1_b", (200, "")), ("msg_1_c", (429, "rate_limited"))]
    {
        let said = world.bring(id).await?;
        assert_eq!(said.refusal(), expected, "{said:?}");
    }
    // Three of this provider were counted, and the last was for a recipient that had enough.
    let said = world.bring("msg_1_d").await?;
    assert_eq!(said.refusal(), (429, "rate_limited"));
    ensure!(said.retry_after.is_some_and(|seconds| (1..=60).contains(&seconds)), "{said:?}");
    ensure!(
        said.body["message"].as_str().is_some_and(|text| text.contains("from this provider")),
        "{said:?}"
    );
    assert_eq!(said.body["retry_after"].as_u64(), said.retry_after);

    world.settings("mode = \"open\"\n[federation.limits]\nfailures_per_minute = 2\n").await?;
    for _ in 0..2 {
        let forged = from_eve("msg_1_e")?.by(AWAY, ANOTHER_KEY)?;
        assert_eq!(world.post(&forged).await?.refusal(), (403, "signature_invalid"));
    }
    assert_eq!(world.bring("msg_1_e").await?.refusal(), (429, "rate_limited"));
    world.bob = world.node.found_by(&world.bob)?;
    assert_eq!(world.bob.pending().await?.len(), 2);
    Ok(())
}
