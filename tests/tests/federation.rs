//! How other providers are found (FED-1…6, ADR-12; docs/federation.md): a name server and web servers that stand in for the
//! world outside, over real sockets and real TLS, asked by the node's own code and by a real node's command line.

use amesh::clock::ManualClock;
use amesh::federation::{
    Config, Federation, NotTrusted, Parts, ResolveError, Resolved, Source, TrustMode, Untrusted, Verdict,
};
use amesh::reach::{AllowedTarget, LookingUp, Names, OwnPorts};
use amesh_discovery::providers::{Dns, NotLookedUp, Outcome, Step};
use amesh_proto::key::{AgentKey, PublicKey};
use amesh_proto::time::UnixMillis;
use amesh_store::Store;
use amesh_tests::https::{Answer, HttpsServer};
use amesh_tests::name_server::NameServer;
use amesh_tests::node::Node;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

const DOMAIN: &str = "corp.test";
const RECORD: &str = "_amp._tcp.corp.test";
const WELL_KNOWN: &str = "corp.test/.well-known/agent-messaging.json";
const REGISTRY: &str = "registry.test/providers/corp.test";
const INFO: &str = "api.corp.test/v1/info";
const ELSEWHERE: &str = "elsewhere.test/document.json";
const HERE: &[Ipv4Addr] = &[Ipv4Addr::LOCALHOST];

/// Everybody outside: who is there by what name, and what they answer.
struct World {
    names: NameServer,
    web: HttpsServer,
    clock: Arc<ManualClock>,
    own_ports: OwnPorts,
}

/// Real answers of the name server, with the web server's port in the place of HTTPS's own, which tests cannot have.
#[derive(Debug)]
struct Ported {
    dns: Dns,
    port: u16,
}

impl Names for Ported {
    fn look_up<'a>(&'a self, host: &'a str, port: u16) -> LookingUp<'a> {
        Box::pin(async move {
            let port = if port == 443 { self.port } else { port };
            let found = self.dns.addresses(host).await.map_err(io::Error::other)?;
            Ok(found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
        })
    }
}

impl World {
    /// A world in which everybody knows corp.test, and its key.
    fn new() -> Result<Self> {
        let (names, web) = (
            NameServer::start()?,
            HttpsServer::start(&[DOMAIN, "api.corp.test", "registry.test", "elsewhere.test"])?,
        );
        for name in [DOMAIN, "api.corp.test", "registry.test", "elsewhere.test", "wrong.test"] {
            names.is_at(name, HERE);
        }
        names.says(RECORD, &[&record(1)]);
        web.answers(WELL_KNOWN, Answer::Page(document(1)));
        web.answers(REGISTRY, Answer::Page(entry(1)));
        web.answers(INFO, Answer::Page(info(1)));
        let clock = ManualClock::at(UnixMillis::from_secs(1_790_000_000));
        Ok(Self { names, web, clock, own_ports: OwnPorts::default() })
    }

    fn config(&self, steps: &[Step]) -> Result<Config> {
        Ok(Config {
            on: true,
            discovery: steps.to_vec(),
            resolvers: vec![self.names.address],
            registry: "https://registry.test/providers".to_owned(),
            allow_addresses: vec![AllowedTarget::try_from("127.0.0.1".to_owned())?],
            authorities: vec![self.web.authority()?],
            ..Config::default()
        })
    }

    fn node(&self, config: &Config) -> Result<Federation> {
        let names = Ported { dns: Dns::new(&config.resolvers)?, port: self.web.address.port() };
        let own_ports = self.own_ports.clone();
        let (store, _) = Store::in_memory(amesh_store::Config::default())?;
        let names: Arc<dyn Names> = Arc::new(names);
        let parts = Parts { store, clock: self.clock.clone(), own_ports, names: Some(names), own: None };
        Ok(Federation::start(config, parts)?)
    }

    /// What a node that takes only `steps` finds.
    async fn found_by(&self, steps: &[Step]) -> Result<Resolved> {
        Ok(self.node(&self.config(steps)?)?.resolve(DOMAIN, Source::Owner, false).await?)
    }
}

fn key(seed: u8) -> PublicKey {
    AgentKey::from_seed(&[seed; 32]).public()
}

fn record(seed: u8) -> String {
    format!(
        "v=AMP1; endpoint=https://api.corp.test/v1; pubkey={}; capabilities=e2ee",
        key(seed).fingerprint()
    )
}

fn document(seed: u8) -> String {
    let (pem, print) = (key(seed).to_pem(), key(seed).fingerprint());
    json!({"version": "AMP1", "endpoint": "https://api.corp.test/v1", "public_key": pem, "fingerprint": print})
        .to_string()
}

fn entry(seed: u8) -> String {
    let print = key(seed).fingerprint();
    json!({"provider": DOMAIN, "endpoint": "https://api.corp.test/v1", "fingerprint": print, "verified": true})
        .to_string()
}

fn info(seed: u8) -> String {
    json!({"provider": DOMAIN, "public_key": key(seed).to_pem()}).to_string()
}

fn step_and_key(resolved: &Resolved) -> (Option<Step>, Option<PublicKey>) {
    let provider = resolved.looked.provider.as_ref();
    (provider.map(|provider| provider.step), provider.and_then(|provider| provider.key.clone()))
}

/// What the first step came to that was not off.
fn first(resolved: &Resolved) -> &Outcome {
    let mut outcomes = resolved.looked.steps.iter().map(|(_, outcome)| outcome);
    outcomes.find(|outcome| **outcome != Outcome::Off).unwrap_or(&Outcome::Off)
}

/// Why it refused what it was told, or failed.
fn complaint(resolved: &Resolved) -> &str {
    match first(resolved) {
        Outcome::Refused(why) | Outcome::Failed(why) => why,
        _ => "",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_discovery_step_is_used_when_those_before_it_are_off() -> Result<()> {
    let world = World::new()?;
    let all = [Step::DnsTxt, Step::WellKnown, Step::Registry, Step::StaleCache];
    for (from, step) in [Step::DnsTxt, Step::WellKnown, Step::Registry].into_iter().enumerate() {
        let resolved = world.found_by(&all[from..]).await?;
        assert_eq!(step_and_key(&resolved), (Some(step), Some(key(1))), "{resolved:?}");
        assert_eq!(resolved.refused(), None);
        let off = resolved.looked.steps.iter().filter(|(_, outcome)| *outcome == Outcome::Off);
        assert_eq!(off.count(), from);
    }
    let node = world.node(&world.config(&all[1..])?)?;
    node.resolve(DOMAIN, Source::Owner, false).await?;
    world.clock.advance(Duration::from_secs(3_600));
    for place in [WELL_KNOWN, REGISTRY] {
        world.web.answers(place, Answer::Status(503));
    }
    let stale = node.resolve(DOMAIN, Source::Owner, false).await?;
    assert_eq!(step_and_key(&stale), (Some(Step::StaleCache), Some(key(1))), "{stale:?}");
    assert_eq!((stale.age.as_secs(), stale.fresh_for.as_secs()), (3_600, 30));
    let nobody = world.found_by(&all[3..]).await?;
    assert_eq!((step_and_key(&nobody), nobody.refused().is_some()), ((None, None), true));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn dns_alone_proves_nothing_and_a_pin_of_the_owners_does() -> Result<()> {
    let world = World::new()?;
    let alone = world.found_by(&[Step::DnsTxt]).await?;
    assert_eq!(step_and_key(&alone), (Some(Step::DnsTxt), None));
    assert!(alone.refused().is_some_and(|why| why.contains("only DNS")), "{alone:?}");
    for (seed, proven) in [(1, true), (2, false)] {
        let pins = [(DOMAIN.to_owned(), key(seed).to_pem())].into();
        let node = world.node(&Config { pins, ..world.config(&[Step::DnsTxt])? })?;
        let resolved = node.resolve("Corp.TEST.", Source::Owner, false).await?;
        assert_eq!((step_and_key(&resolved).1.is_some(), resolved.is_pinned), (proven, true), "{resolved:?}");
    }
    assert_eq!(world.web.connections(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_must_not_be_believed_are_refused_and_the_reason_is_named() -> Result<()> {
    let world = World::new()?;
    world.web.answers(ELSEWHERE, Answer::Page(document(1)));
    let plain = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    let plain_port = plain.local_addr()?.port();
    let at = |endpoint: &str| Answer::Page(document(1).replace("https://api.corp.test/v1", endpoint));
    let mixed = document(1).replace(&key(1).fingerprint(), &key(2).fingerprint());
    for (answer, reason) in [
        (Answer::Page(String::new()), "no AMP record"),
        (Answer::Page("<html>it works</html>".to_owned()), "no AMP record"),
        (Answer::Page("{\"version\":\"AMP1\",\"version\":\"AMP1\"}".to_owned()), "no AMP record"),
        (Answer::Page("[".repeat(60_000)), "no AMP record"),
        (Answer::Page(document(1).replace("AMP1", "AMP2")), "version"),
        (Answer::Page(mixed), "not the key of its fingerprint"),
        (Answer::Endless, "longer than 64 KiB"),
        (Answer::Redirect(format!("https://{ELSEWHERE}")), "redirects are not followed"),
        (Answer::Redirect(format!("http://127.0.0.1:{plain_port}/")), "redirects are not followed"),
        (Answer::Redirect(format!("https://{WELL_KNOWN}")), "redirects are not followed"),
        (at("http://api.corp.test/v1"), "no https:// address"),
        (at("https://user@api.corp.test/v1"), "not a host with a path"),
        (at("https://10.0.0.1/v1"), "a private network"),
        (at("https://[::ffff:169.254.169.254]/v1"), "link-local"),
        (at("https://0x0a000001/v1"), "a private network"),
        (at("https://printer.local/v1"), "a name of the local network"),
        (at("https://localhost/v1"), "a name of the local network"),
        (Answer::Status(500), "answered 500"),
    ] {
        world.web.answers(WELL_KNOWN, answer.clone());
        let resolved = world.found_by(&[Step::WellKnown]).await?;
        assert_eq!(resolved.looked.provider, None, "{answer:?}");
        ensure!(complaint(&resolved).contains(reason), "{answer:?}: {:?}", resolved.looked.steps);
    }
    ensure!(!world.web.asked().contains(&ELSEWHERE.to_owned()), "a redirect was followed");
    plain.set_nonblocking(true)?;
    ensure!(plain.accept().is_err(), "a redirect to plain HTTP was followed");
    world.web.forgets(WELL_KNOWN);
    assert_eq!(first(&world.found_by(&[Step::WellKnown]).await?), &Outcome::Nothing);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_contradicts_an_announced_key_or_an_entry_is_refused() -> Result<()> {
    let world = World::new()?;
    world.names.says(RECORD, &[&record(2)]);
    let resolved = world.found_by(&[Step::DnsTxt, Step::WellKnown]).await?;
    ensure!(complaint(&resolved).contains("fingerprint is announced"), "{:?}", resolved.looked.steps);
    assert_eq!(step_and_key(&resolved), (Some(Step::WellKnown), Some(key(1))));
    world.names.says(RECORD, &[&record(1), &record(2)]);
    ensure!(complaint(&world.found_by(&[Step::DnsTxt]).await?).contains("contradict"));
    world.names.says(RECORD, &[&record(1), "v=spf1 -all", &"x".repeat(600)]);
    assert_eq!(step_and_key(&world.found_by(&[Step::DnsTxt, Step::WellKnown]).await?).0, Some(Step::DnsTxt));
    world.web.answers(INFO, Answer::Page(info(2)));
    let impostor = world.found_by(&[Step::Registry]).await?;
    ensure!(complaint(&impostor).contains("fingerprint is announced"), "{:?}", impostor.looked.steps);
    world.web.answers(REGISTRY, Answer::Page(entry(1).replace(DOMAIN, "other.test")));
    ensure!(complaint(&world.found_by(&[Step::Registry]).await?).contains("another provider"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing_holds_nobody_up_for_ever() -> Result<()> {
    let world = World::new()?;
    world.web.answers(WELL_KNOWN, Answer::Silence);
    let resolved = world.found_by(&[Step::WellKnown, Step::Registry]).await?;
    ensure!(complaint(&resolved).contains("did not answer in time"), "{:?}", resolved.looked.steps);
    assert_eq!(step_and_key(&resolved).0, Some(Step::Registry));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_lead_into_this_network_or_node_are_connected_to_by_nobody() -> Result<()> {
    let world = World::new()?;
    let strict = || -> Result<Config> {
        Ok(Config { allow_addresses: Vec::new(), ..world.config(&[Step::WellKnown, Step::Registry])? })
    };
    let public = Ipv4Addr::new(93, 184, 216, 34);
    for (ips, reason) in [
        (vec![Ipv4Addr::LOCALHOST], "loopback"),
        (vec![Ipv4Addr::new(169, 254, 169, 254)], "link-local"),
        (vec![public, Ipv4Addr::new(10, 0, 0, 1)], "a private network"),
    ] {
        world.names.is_at(DOMAIN, &ips);
        let resolved = world.node(&strict()?)?.resolve(DOMAIN, Source::Owner, false).await?;
        ensure!(complaint(&resolved).contains(reason), "{ips:?}: {:?}", resolved.looked.steps);
    }
    world.names.is_at(DOMAIN, HERE);
    world.own_ports.protect(world.web.address.port());
    let own = world.found_by(&[Step::WellKnown]).await?;
    ensure!(complaint(&own).contains("a port of this node itself"), "{:?}", own.looked.steps);
    assert_eq!(world.web.connections(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_another_name_or_by_an_unknown_authority_ends_the_step() -> Result<()> {
    let world = World::new()?;
    let config = world.config(&[Step::WellKnown])?;
    let other = world.node(&config)?.resolve("wrong.test", Source::Owner, false).await?;
    ensure!(complaint(&other).contains("not valid for name"), "{:?}", other.looked.steps);
    let node = world.node(&Config { authorities: Vec::new(), ..config })?;
    let unknown = node.resolve(DOMAIN, Source::Owner, false).await?;
    ensure!(complaint(&unknown).contains("UnknownIssuer"), "{:?}", unknown.looked.steps);
    assert_eq!(world.web.asked(), [""; 0]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_outside_hears_of_local_names_or_of_anything_while_federation_is_off() -> Result<()> {
    let world = World::new()?;
    let config = world.config(&Config::default().discovery)?;
    let node = world.node(&config)?;
    for domain in ["aimaestro.local", "db.internal", "x.localhost", "A.LOCAL."] {
        let answer = node.resolve(domain, Source::Owner, true).await;
        assert_eq!(answer, Err(ResolveError::NotLookedUp(NotLookedUp::Local)), "{domain}");
    }
    let closed = world.node(&Config { on: false, ..config })?;
    assert_eq!(closed.resolve(DOMAIN, Source::Owner, true).await, Err(ResolveError::Off));
    assert_eq!((world.names.asked(), world.web.connections()), (Vec::<String>::new(), 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_source_cannot_have_providers_looked_up_without_end() -> Result<()> {
    let world = World::new()?;
    let node = world.node(&Config { look_ups_per_minute: 2, ..world.config(&[Step::DnsTxt])? })?;
    for domain in ["a.test", "b.test"] {
        node.resolve(domain, Source::Owner, false).await?;
    }
    let third = node.resolve("c.test", Source::Owner, false).await;
    assert_eq!(third, Err(ResolveError::TooOften { retry_after: 60 }));
    assert!(node.resolve("a.test", Source::Owner, false).await.is_ok(), "what is known costs nothing");
    assert!(!world.names.asked().contains(&"_amp._tcp.c.test".to_owned()));
    world.clock.advance(Duration::from_secs(60));
    assert!(node.resolve("c.test", Source::Owner, false).await.is_ok());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registry_lets_in_whom_it_has_checked_and_a_first_key_stays_until_it_is_forgotten() -> Result<()>
{
    let world = World::new()?;
    let all = Config::default().discovery;
    let config = |mode| -> Result<Config> { Ok(Config { mode, ..world.config(&all)? }) };
    let node = world.node(&config(TrustMode::Registry)?)?;
    let found = node.trusted("Corp.TEST", Source::Owner).await?;
    assert_eq!((found.domain.as_str(), &found.key, found.listed), (DOMAIN, &key(1), false));
    world.web.answers(REGISTRY, Answer::Page(entry(1).replace("true", "false")));
    let node = world.node(&config(TrustMode::Registry)?)?;
    let refused = node.trusted(DOMAIN, Source::Owner).await;
    assert_eq!(refused, Err(NotTrusted::NotRegistered(DOMAIN.to_owned()).into()));
    node.say(DOMAIN, Verdict::Allowed).await?;
    let found = node.trusted(DOMAIN, Source::Owner).await?;
    assert!(found.listed && node.met(&found).await?);

    world.names.says(RECORD, &[&record(2)]);
    world.web.answers(WELL_KNOWN, Answer::Page(document(2)));
    node.resolve(DOMAIN, Source::Owner, true).await?;
    let other = node.trusted(DOMAIN, Source::Owner).await;
    assert_eq!(other, Err(Untrusted::OtherKey(DOMAIN.to_owned())));
    assert!(node.forget(DOMAIN).await?);
    node.say(DOMAIN, Verdict::Allowed).await?;
    assert_eq!(node.trusted(DOMAIN, Source::Owner).await?.key, key(2));
    node.say(DOMAIN, Verdict::Blocked).await?;
    let blocked = node.trusted(DOMAIN, Source::Owner).await;
    assert_eq!(blocked, Err(NotTrusted::Blocked(DOMAIN.to_owned()).into()));
    Ok(())
}

/// A node that asks `names` for providers, with `more` settings.
async fn node(names: &NameServer, more: &str) -> Result<Node> {
    let mut node = Node::on_loopback("alpha")?;
    let file = node.home().join("amesh.toml");
    // The registry is a port of nobody.
    let registry = "https://127.0.0.1:9/providers";
    let settings =
        format!("[federation]\nresolvers = [\"{}\"]\nregistry = \"{registry}\"\n{more}", names.address);
    std::fs::write(&file, settings)?;
    node = node.with(&["--config", &file.to_string_lossy()]);
    node.start().await?;
    Ok(node)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_is_told_by_which_step_a_provider_was_found_and_why_one_is_refused() -> Result<()> {
    let names = NameServer::start()?;
    names.says(RECORD, &[&record(1)]);
    names.says("_amp._tcp.other.test", &[&record(1).replace("corp.test", "other.test")]);
    let pinned = key(1).sender_key_text();
    let node = node(&names, &format!("on = true\n[federation.pins]\n\"{DOMAIN}\" = \"{pinned}\"\n")).await?;
    let found = node.amesh(&["federation", "resolve", DOMAIN]).await?;
    assert_eq!((&found["usable"], &found["pinned"]), (&json!(true), &json!(true)), "{found}");
    let provider = &found["provider"];
    assert_eq!(
        (&provider["step"], &provider["endpoint"]),
        (&json!("dns_txt"), &json!("https://api.corp.test/v1"))
    );
    assert_eq!(provider["fingerprint"], key(1).fingerprint());
    assert!(found["fresh_for_s"].as_u64().is_some_and(|left| left <= 300), "{found}");

    let refused = node.try_amesh(&["federation", "resolve", "other.test"]).await?;
    assert_eq!(refused.status.code(), Some(1));
    let said: Value =
        serde_json::from_slice(&refused.stdout).context("what is known is printed all the same")?;
    ensure!(said["refused"].as_str().is_some_and(|why| why.contains("only DNS")), "{said}");
    let outcomes: Vec<_> =
        said["steps"].as_array().context("steps")?.iter().map(|step| &step["outcome"]).collect();
    assert_eq!(outcomes, ["unproven", "failed", "refused"], "{said}");
    ensure!(said["steps"][2]["why"].as_str().is_some_and(|why| why.contains("loopback")), "{said}");

    let local = node.try_amesh(&["federation", "resolve", "aimaestro.local"]).await?;
    ensure!(String::from_utf8_lossy(&local.stderr).contains("local network"), "{local:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn federation_is_off_until_the_owner_says_otherwise() -> Result<()> {
    let names = NameServer::start()?;
    let node = node(&names, "").await?;
    let refused = node.try_amesh(&["federation", "resolve", DOMAIN]).await?;
    assert_eq!(refused.status.code(), Some(1));
    ensure!(String::from_utf8_lossy(&refused.stderr).contains("federation is off"), "{refused:?}");
    assert_eq!(names.asked(), [""; 0]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_the_owner_allows_and_blocks_is_shown_and_outlives_a_restart() -> Result<()> {
    let names = NameServer::start()?;
    let settings = "on = true\nmode = \"allowlist\"\nblocked_providers = [\"foe.test\"]\n";
    let mut node = node(&names, settings).await?;
    node.amesh(&["federation", "allow", "Friend.test"]).await?;
    node.amesh(&["federation", "block", "spam.test"]).await?;
    for (word, domain, why) in [
        ("allow", "foe.test", "blocked_providers"),
        ("allow", "printer.local", "local network"),
        ("block", "nonsense", "no domain name"),
        ("forget", "nobody.test", "nothing is remembered"),
    ] {
        let refused = node.try_amesh(&["federation", word, domain]).await?;
        ensure!(String::from_utf8_lossy(&refused.stderr).contains(why), "{word} {domain}: {refused:?}");
    }
    node.restart().await?;
    let status = node.amesh(&["federation", "status"]).await?;
    let known: Vec<_> = status["providers"]
        .as_array()
        .context("providers")?
        .iter()
        .map(|known| (known["domain"].as_str(), known["verdict"].as_str(), known["refused"].is_null()))
        .collect();
    let expected =
        [("foe.test", "blocked", false), ("friend.test", "allowed", true), ("spam.test", "blocked", false)];
    assert_eq!(known, expected.map(|(domain, said, open)| (Some(domain), Some(said), open)), "{status}");
    assert_eq!(status["mode"], "allowlist");
    node.amesh(&["federation", "forget", "friend.test"]).await?;
    let status = node.amesh(&["federation", "status"]).await?;
    assert_eq!(status["providers"].as_array().map(Vec::len), Some(2), "{status}");
    assert_eq!(names.asked(), [""; 0]);
    Ok(())
}
