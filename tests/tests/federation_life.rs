//! What becomes of mail for a provider that stays away (DESIGN §1.7, §1.9; AMP 05 §Relay Queue): the node's real queue and sender,
//! over real TLS, on a clock that the test moves. Whatever is told is told once, also across a loss of power.

use amesh::agents::directory::{Directory, Resolution};
use amesh::agents::{Agent, Agents, Registrant};
use amesh::clock::{Clock as _, ManualClock};
use amesh::federation::{
    Config, Federation, Outgoing, OutgoingParts, OwnProvider, Parts, TrustMode, Verdict,
};
use amesh::message::{self, Hallway, Incoming, Method};
use amesh::reach::{AllowedTarget, OwnPorts};
use amesh::tasks::Tasks;
use amesh::waking::Waking;
use amesh_proto::address::Naming;
use amesh_proto::api::messages::MessageState;
use amesh_proto::api::register::RegisterRequest;
use amesh_proto::api::route::RouteRequest;
use amesh_proto::canonical::Signable;
use amesh_proto::id::MessageId;
use amesh_proto::key::AgentKey;
use amesh_proto::message::Priority;
use amesh_proto::node_id::NodeId;
use amesh_proto::sign::sign;
use amesh_proto::time::UnixMillis;
use amesh_store::{Destination, MemoryDisk, Store};
use amesh_tests::https::{Answer, HttpsServer};
use amesh_tests::name_server::NameServer;
use amesh_tests::wait::{patience, wait_until};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

const KIM: &str = "kim@sales.corp.test";
const HOUR: Duration = Duration::from_secs(3_600);

/// A disk that outlives the node, a clock, and everybody outside.
struct World {
    names: NameServer,
    corp: HttpsServer,
    disk: MemoryDisk,
    clock: Arc<ManualClock>,
    data: tempfile::TempDir,
}

/// A node that is the provider of alpha.test, without its doors.
struct House {
    federation: Federation,
    hallway: Hallway,
    store: Store,
    outgoing: Outgoing,
    tasks: Tasks,
}

impl World {
    fn new() -> Result<Self> {
        let (names, corp) =
            (NameServer::start()?, HttpsServer::start(&["api.corp.test", "api.lab.corp.test"])?);
        let (print, port) = (corps_key().public().fingerprint(), corp.address.port());
        for domain in ["corp.test", "lab.corp.test"] {
            names.is_at(&format!("api.{domain}"), &[Ipv4Addr::LOCALHOST]);
            let record = format!("v=AMP1; endpoint=https://api.{domain}:{port}/v1; pubkey={print}");
            names.says(&format!("_amp._tcp.{domain}"), &[&record]);
        }
        let clock = ManualClock::at(UnixMillis::from_secs(1_790_000_000));
        Ok(Self { names, corp, disk: MemoryDisk::default(), clock, data: tempfile::tempdir()? })
    }

    /// Where corp.test takes deliveries.
    fn place(&self) -> String {
        self.place_of("corp.test")
    }

    fn place_of(&self, domain: &str) -> String {
        format!("api.{domain}:{}/v1/federation/deliver", self.corp.address.port())
    }

    fn settings(&self) -> Result<Config> {
        let pin = corps_key().public().sender_key_text();
        Ok(Config {
            on: true,
            domain: Some("alpha.test".to_owned()),
            mode: TrustMode::Open,
            resolvers: vec![self.names.address],
            registry: "https://127.0.0.1:9/providers".to_owned(),
            allow_addresses: vec![AllowedTarget::try_from("127.0.0.1".to_owned())?],
            pins: ["corp.test", "lab.corp.test"].map(|domain| (domain.to_owned(), pin.clone())).into(),
            authorities: vec![self.corp.authority()?],
            ..Config::default()
        })
    }

    /// Starts the node over what is on the disk.
    fn start(&self) -> Result<House> {
        let store = Store::on_memory(&self.disk, amesh_store::Config::default())?;
        let naming = Naming::new("default", "alpha.test", "host1")?;
        let directory = Directory::new(naming, NodeId::from_bytes([1; 32]));
        let agents = Agents::load(Default::default(), store.clone(), self.clock.clone(), directory)?;
        let tasks = Tasks::new("hallway");
        let settings = message::Config { patience_ms: 1, ..Default::default() };
        let hallway = Hallway::new(settings, store.clone(), agents, self.clock.clone(), tasks.clone());
        let config = self.settings()?;
        let own = OwnProvider::load_or_create(&config, "alpha.test", self.data.path())?;
        let (clock, own_ports) = (self.clock.clone(), OwnPorts::default());
        let parts = Parts { store: store.clone(), clock, own_ports, names: None, own };
        let parts_of_sending = OutgoingParts {
            store: store.clone(),
            hallway: hallway.clone(),
            clock: self.clock.clone(),
            tasks: Tasks::new("federation"),
            waking: Waking::notice(self.clock.clone(), &tasks),
        };
        let federation = Federation::start(&config, parts)?;
        let outgoing = federation.start_sending(parts_of_sending)?;
        Ok(House { federation, hallway, store, outgoing, tasks })
    }

    /// The same node after a loss of power.
    async fn restart(&self, house: House) -> Result<House> {
        let House { federation, hallway, store, outgoing, tasks } = house;
        outgoing.shutdown(patience()).await?;
        tasks.shutdown(patience()).await?;
        drop((federation, hallway, store));
        self.disk.crash();
        self.start()
    }

    /// Lets time pass for a node whose last attempt has failed, until the next one has.
    async fn pass(&self, house: &House, time: Duration) -> Result<()> {
        let before = self.given()?.len();
        self.clock.advance(time);
        self.failed(house, before).await
    }

    /// Waits until corp.test was offered more than `before` messages, and is left alone for a while.
    async fn failed(&self, house: &House, before: usize) -> Result<()> {
        let failed =
            || async { Ok(self.given()?.len() > before && house.federation.waits("corp.test").is_some()) };
        wait_until("a failed attempt", failed).await
    }

    /// The ids of the messages that corp.test was given, one for each attempt.
    fn given(&self) -> Result<Vec<String>> {
        let id = |body: &[u8]| {
            let body: Value = serde_json::from_slice(body)?;
            Ok(body["envelope"]["id"].as_str().context("no id")?.to_owned())
        };
        self.corp.posted().iter().map(|posted| id(&posted.body)).collect()
    }
}

impl House {
    async fn alice(&self) -> Result<Arc<Agent>> {
        let request = RegisterRequest {
            name: "alice".to_owned(),
            tenant: Some("default".to_owned()),
            public_key: alices_key().public().to_pem(),
            key_algorithm: "Ed25519".to_owned(),
            ..RegisterRequest::default()
        };
        let by = Registrant { api_key: None, user_key: None, on_loopback: true, own_user: true };
        Ok(self.hallway.agents().register(request, by).await?.agent)
    }

    /// Alice, who was registered before.
    fn found(&self) -> Result<Arc<Agent>> {
        let directory = self.hallway.agents().directory();
        match directory.resolve(&directory.naming().parse("alice@default.alpha.test")?) {
            Resolution::Local(agent) => Ok(agent),
            other => bail!("{other:?}"),
        }
    }

    async fn send(&self, alice: &Arc<Agent>, expires_at: Option<UnixMillis>) -> Result<String> {
        self.send_to(KIM, alice, expires_at).await
    }

    async fn send_to(&self, to: &str, alice: &Arc<Agent>, expires_at: Option<UnixMillis>) -> Result<String> {
        let payload = json!({"type": "request", "message": "hello"}).to_string();
        let what = Signable {
            from: &[alice.address.as_str()],
            to: &[to],
            subject: "hello",
            priority: Priority::Normal,
            in_reply_to: None,
            payload: payload.as_bytes(),
        };
        let payload: Value = serde_json::from_str(&payload)?;
        let mut body = json!({"to": to, "subject": "hello", "payload": payload, "signature": sign(&alices_key(), &what)?});
        if let Some(at) = expires_at {
            body["expires_at"] = json!(at.to_rfc3339());
        }
        let request = Box::new(RouteRequest::parse(body.to_string().as_bytes())?);
        let incoming = Incoming::FromAgent { agent: alice.clone(), request, idempotency_key: None };
        Ok(self.hallway.submit(incoming).await?.id.to_string())
    }

    fn fate(&self, alice: &Agent, id: &str) -> Result<MessageState> {
        self.hallway.status(alice, &MessageId::parse(id)?)?.context("no such message")
    }

    async fn ends(&self, alice: &Agent, id: &str, status: &str) -> Result<()> {
        wait_until("the end of a message", || async { Ok(self.fate(alice, id)?.status == status) }).await
    }

    /// What Alice is told of mail that did not arrive, each with its reason; and she acknowledges it.
    async fn told(&self, alice: &Agent) -> Result<Vec<(String, String)>> {
        let mut told = Vec::new();
        for entry in self.hallway.pending(alice, None, 100)? {
            let notice = self.hallway.render(&entry, Method::Relay).context("damaged")?;
            let envelope: Value = serde_json::from_str(notice.envelope.get())?;
            assert_eq!(envelope["from"], "system@default.alpha.test");
            let payload: Value = serde_json::from_str(notice.payload.get())?;
            let context = &payload["context"];
            ensure!(context["event"] == "delivery_failed" && context["to"] == KIM, "{payload}");
            let text = |name: &str| context[name].as_str().map(str::to_owned).context("no text");
            told.push((text("id")?, text("code")?));
            self.hallway.acknowledge(alice, vec![entry.shown_id.clone()]).await?;
        }
        Ok(told)
    }

    fn waiting(&self) -> u32 {
        self.store.outbox_len(&Destination::Provider("corp.test".to_owned()))
    }
}

fn corps_key() -> AgentKey {
    AgentKey::from_seed(&[1; 32])
}

fn alices_key() -> AgentKey {
    AgentKey::from_seed(&[2; 32])
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_outlives_its_time_at_a_provider_that_stays_down_bounces_once_and_is_never_sent_again()
-> Result<()> {
    let world = World::new()?;
    world.corp.answers(&world.place(), Answer::Status(502));
    let house = world.start()?;
    let alice = house.alice().await?;
    let long = house.send(&alice, None).await?;
    let short = house.send(&alice, Some(world.clock.now().plus(HOUR))).await?;
    world.failed(&house, 0).await?;
    house.hallway.expire().await?;
    world.pass(&house, HOUR - Duration::from_secs(120)).await?;
    house.hallway.expire().await?;
    assert_eq!((house.fate(&alice, &short)?.status.as_str(), house.waiting()), ("queued", 2));
    assert_eq!(house.told(&alice).await?, []);

    world.pass(&house, Duration::from_secs(240)).await?;
    house.hallway.expire().await?;
    let fate = house.fate(&alice, &short)?;
    assert_eq!((fate.status.as_str(), fate.error.context("no reason")?.code.as_str()), ("failed", "expired"));
    ensure!(fate.failed_at.is_some());
    assert_eq!(house.told(&alice).await?, [(short.clone(), "expired".to_owned())]);
    assert_eq!((house.fate(&alice, &long)?.status.as_str(), house.waiting()), ("queued", 1));

    // Seven days is what a message gets that says nothing (RLY-1). Every waking is a chance for the provider.
    for _ in 0..6 {
        world.pass(&house, HOUR * 24).await?;
        house.hallway.expire().await?;
        assert_eq!(house.fate(&alice, &long)?.status, "queued");
    }
    world.clock.advance(HOUR * 24);
    house.hallway.expire().await?;
    let fate = house.fate(&alice, &long)?;
    assert_eq!((fate.status.as_str(), fate.error.context("no reason")?.code.as_str()), ("failed", "expired"));
    assert_eq!(house.told(&alice).await?, [(long.clone(), "expired".to_owned())]);
    assert_eq!(house.waiting(), 0);
    ensure!(world.given()?.iter().all(|id| *id == long), "one lane is in order, whatever of it expires");

    let house = world.restart(house).await?;
    let before = world.given()?.len();
    let yes = json!({"accepted": true, "id": "msg_1_far", "delivered": true}).to_string();
    world.corp.answers(&world.place(), Answer::Says(200, "x-said: so", yes));
    let alice = house.found()?;
    let after = house.send(&alice, None).await?;
    house.ends(&alice, &after, "delivered").await?;
    house.hallway.expire().await?;
    assert_eq!(world.given()?.split_off(before), [after]);
    assert_eq!(house.told(&alice).await?, []);
    assert_eq!(house.fate(&alice, &long)?.status, "failed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_for_good_is_told_once_and_neither_told_nor_tried_again_after_a_loss_of_power() -> Result<()>
{
    let world = World::new()?;
    let no = json!({"accepted": false, "error": "recipient_not_found", "message": "no kim here"}).to_string();
    world.corp.answers(&world.place(), Answer::Says(404, "x-said: so", no));
    let house = world.start()?;
    let alice = house.alice().await?;
    let id = house.send(&alice, None).await?;
    house.ends(&alice, &id, "failed").await?;
    let house = world.restart(house).await?;
    let alice = house.found()?;
    assert_eq!(house.told(&alice).await?, [(id.clone(), "recipient_not_found".to_owned())]);
    let failure = house.fate(&alice, &id)?.error.context("no reason")?;
    assert_eq!(failure.code, "recipient_not_found");
    world.clock.advance(HOUR * 24 * 8);
    house.hallway.expire().await?;
    let after = house.send(&alice, None).await?;
    wait_until("the next message", || async { Ok(world.given()?.contains(&after)) }).await?;
    house.ends(&alice, &after, "failed").await?;
    assert_eq!(world.given()?, [id, after]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_goes_to_the_longest_domain_that_is_a_provider_and_not_to_the_one_above_while_that_is_down()
-> Result<()> {
    let world = World::new()?;
    let yes = json!({"accepted": true, "id": "msg_1_far", "delivered": true}).to_string();
    world.corp.answers(&world.place(), Answer::Says(200, "x-said: so", yes));
    world.corp.answers(&world.place_of("lab.corp.test"), Answer::Status(502));
    let house = world.start()?;
    let alice = house.alice().await?;
    let to_lab = house.send_to("kim@team.lab.corp.test", &alice, None).await?;
    wait_until("a failed attempt", || async { Ok(house.federation.waits("lab.corp.test").is_some()) })
        .await?;
    for to in [KIM, "kim@repo.hub.sales.corp.test"] {
        let id = house.send_to(to, &alice, None).await?;
        house.ends(&alice, &id, "delivered").await?;
    }
    let fate = house.fate(&alice, &to_lab)?;
    assert_eq!((fate.status.as_str(), fate.remote_host.as_deref()), ("queued", Some("lab.corp.test")));
    let places: Vec<_> = world.corp.posted().into_iter().map(|posted| posted.place).collect();
    assert_eq!(places, [world.place_of("lab.corp.test"), world.place(), world.place()]);

    house.federation.say("lab.corp.test", Verdict::Blocked).await?;
    let refused = house.send_to("kim@team.lab.corp.test", &alice, None).await;
    ensure!(refused.is_err_and(|error| error.to_string().contains("sends no mail there")));
    Ok(())
}
