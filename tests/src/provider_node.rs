//! A node that is the provider of alpha.test, without its doors, on a clock that the test moves and a disk that outlives it; and
//! the provider corp.test, which stands in. Used by tests of what is sent to other providers.

use crate::https::HttpsServer;
use crate::name_server::NameServer;
use crate::wait::{patience, wait_until};
use amesh::agents::directory::{Directory, Resolution};
use amesh::agents::{Agent, Agents, Registrant};
use amesh::clock::ManualClock;
use amesh::federation::{Config, Federation, Outgoing, OutgoingParts, OwnProvider, Parts, TrustMode};
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
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

/// An agent of corp.test.
pub const KIM: &str = "kim@sales.corp.test";

/// A disk that outlives the node, a clock, and everybody outside.
#[derive(Debug)]
pub struct World {
    /// What everybody asks for names.
    pub names: NameServer,
    /// corp.test, and lab.corp.test.
    pub corp: HttpsServer,
    /// Stands still but for the test.
    pub clock: Arc<ManualClock>,
    disk: MemoryDisk,
    data: tempfile::TempDir,
}

/// A node that is the provider of alpha.test, without its doors.
#[derive(Debug)]
pub struct House {
    /// Other providers, as it sees them.
    pub federation: Federation,
    /// Where mail goes in.
    pub hallway: Hallway,
    store: Store,
    outgoing: Outgoing,
    tasks: Tasks,
}

impl World {
    /// In which both providers are announced.
    ///
    /// # Errors
    /// When something of it does not start.
    pub fn new() -> Result<Self> {
        let (names, corp) =
            (NameServer::start()?, HttpsServer::start(&["api.corp.test", "api.lab.corp.test"])?);
        let clock = ManualClock::at(UnixMillis::from_secs(1_790_000_000));
        let world = Self { names, corp, disk: MemoryDisk::default(), clock, data: tempfile::tempdir()? };
        for domain in ["corp.test", "lab.corp.test"] {
            world.names.is_at(&format!("api.{domain}"), &[Ipv4Addr::LOCALHOST]);
            world.announces(domain, &format!("api.{domain}"), world.corp.address.port());
        }
        Ok(world)
    }

    /// DNS says that `domain` takes deliveries there.
    pub fn announces(&self, domain: &str, host: &str, port: u16) {
        let print = corps_key().public().fingerprint();
        let record = format!("v=AMP1; endpoint=https://{host}:{port}/v1; pubkey={print}");
        self.names.says(&format!("_amp._tcp.{domain}"), &[&record]);
    }

    /// Where corp.test takes deliveries.
    pub fn place(&self) -> String {
        self.place_of("corp.test")
    }

    /// Where one of the two does.
    pub fn place_of(&self, domain: &str) -> String {
        format!("api.{domain}:{}/v1/federation/deliver", self.corp.address.port())
    }

    /// The node's settings.
    ///
    /// # Errors
    /// When there is no room for a file.
    pub fn settings(&self) -> Result<Config> {
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
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(&self) -> Result<House> {
        self.start_with(&self.settings()?)
    }

    /// The same with other settings.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_with(&self, config: &Config) -> Result<House> {
        let store = Store::on_memory(&self.disk, amesh_store::Config::default())?;
        let naming = Naming::new("default", "alpha.test", "host1")?;
        let directory = Directory::new(naming, NodeId::from_bytes([1; 32]));
        let agents = Agents::load(Default::default(), store.clone(), self.clock.clone(), directory)?;
        let tasks = Tasks::new("hallway");
        let settings = message::Config { patience_ms: 1, ..Default::default() };
        let hallway = Hallway::new(settings, store.clone(), agents, self.clock.clone(), tasks.clone());
        let own = OwnProvider::load_or_create(config, "alpha.test", self.data.path())?;
        let (clock, own_ports) = (self.clock.clone(), OwnPorts::default());
        let parts = Parts { store: store.clone(), clock, own_ports, names: None, own };
        let parts_of_sending = OutgoingParts {
            store: store.clone(),
            hallway: hallway.clone(),
            clock: self.clock.clone(),
            tasks: Tasks::new("federation"),
            waking: Waking::notice(self.clock.clone(), &tasks),
        };
        let federation = Federation::start(config, parts)?;
        let outgoing = federation.start_sending(parts_of_sending)?;
        Ok(House { federation, hallway, store, outgoing, tasks })
    }

    /// The same node after a loss of power.
    ///
    /// # Errors
    /// When it does not happen in time.
    pub async fn restart(&self, house: House) -> Result<House> {
        let House { federation, hallway, store, outgoing, tasks } = house;
        outgoing.shutdown(patience()).await?;
        tasks.shutdown(patience()).await?;
        drop((federation, hallway, store));
        self.disk.crash();
        self.start()
    }

    /// Lets time pass for a node whose last attempt has failed, until the next one has.
    ///
    /// # Errors
    /// When it does not happen in time.
    pub async fn pass(&self, house: &House, time: Duration) -> Result<()> {
        let before = self.given()?.len();
        self.clock.advance(time);
        self.failed(house, before).await
    }

    /// Waits until corp.test was offered more than `before` messages, and is left alone for a while.
    ///
    /// # Errors
    /// When it does not happen in time.
    pub async fn failed(&self, house: &House, before: usize) -> Result<()> {
        let failed =
            || async { Ok(self.given()?.len() > before && house.federation.waits("corp.test").is_some()) };
        wait_until("a failed attempt", failed).await
    }

    /// The ids of the messages that corp.test was given, one for each attempt.
    ///
    /// # Errors
    /// When it does not happen in time.
    pub fn given(&self) -> Result<Vec<String>> {
        let id = |body: &[u8]| {
            let body: Value = serde_json::from_slice(body)?;
            Ok(body["envelope"]["id"].as_str().context("no id")?.to_owned())
        };
        self.corp.posted().iter().map(|posted| id(&posted.body)).collect()
    }
}

impl House {
    /// Alice, registered.
    ///
    /// # Errors
    /// When she is not.
    pub async fn alice(&self) -> Result<Arc<Agent>> {
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
    ///
    /// # Errors
    /// When nobody knows her.
    pub fn found(&self) -> Result<Arc<Agent>> {
        let directory = self.hallway.agents().directory();
        match directory.resolve(&directory.naming().parse("alice@default.alpha.test")?) {
            Resolution::Local(agent) => Ok(agent),
            other => bail!("{other:?}"),
        }
    }

    /// Sends a signed message of Alice's to Kim; gives its id.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn send(&self, alice: &Arc<Agent>, expires_at: Option<UnixMillis>) -> Result<String> {
        self.send_to(KIM, alice, expires_at).await
    }

    /// The same to somebody else.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn send_to(
        &self,
        to: &str,
        alice: &Arc<Agent>,
        expires_at: Option<UnixMillis>,
    ) -> Result<String> {
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

    /// What `GET /v1/messages/{id}` says.
    ///
    /// # Errors
    /// When nothing is known of it.
    pub fn fate(&self, alice: &Agent, id: &str) -> Result<MessageState> {
        self.hallway.status(alice, &MessageId::parse(id)?)?.context("no such message")
    }

    /// Waits for the end of a message.
    ///
    /// # Errors
    /// When it does not end so.
    pub async fn ends(&self, alice: &Agent, id: &str, status: &str) -> Result<()> {
        wait_until("the end of a message", || async { Ok(self.fate(alice, id)?.status == status) }).await
    }

    /// What Alice is told of mail that did not arrive, each with its reason; and she acknowledges it.
    ///
    /// # Errors
    /// When she is told anything else.
    pub async fn told(&self, alice: &Agent) -> Result<Vec<(String, String)>> {
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

    /// Messages that wait for corp.test.
    pub fn waiting(&self) -> u32 {
        self.store.outbox_len(&Destination::Provider("corp.test".to_owned()))
    }
}

fn corps_key() -> AgentKey {
    AgentKey::from_seed(&[1; 32])
}

fn alices_key() -> AgentKey {
    AgentKey::from_seed(&[2; 32])
}
