//! The vocabulary of the hallway's tests: a node without doors, agents with keys, and a peer with a roster.

use crate::agents::directory::{Directory, Member};
use crate::agents::{self, Agent, Agents, Registrant};
use crate::clock::{Clock, ManualClock};
use crate::message::{Accepted, Carrier, Config, Hallway, Incoming, Refusal};
use crate::reach::tests::Answers;
use crate::tasks::Tasks;
use amesh_proto::address::Naming;
use amesh_proto::api::pending::Delivery;
use amesh_proto::api::register::RegisterRequest;
use amesh_proto::api::route::RouteRequest;
use amesh_proto::canonical::{self, Signable};
use amesh_proto::key::{AgentKey, PublicKey};
use amesh_proto::message::{Mail, Priority};
use amesh_proto::node_id::NodeId;
use amesh_proto::roster::RosterEntry;
use amesh_proto::time::UnixMillis;
use amesh_store::{Destination, LaneStamp, MemoryDisk, OutboxEntry, Store};
use base64::Engine;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

pub(super) const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

/// A node without doors.
pub(crate) struct House {
    pub hallway: Hallway,
    pub store: Store,
    pub disk: MemoryDisk,
    pub clock: Arc<ManualClock>,
    pub carrier: Arc<Pigeon>,
    agents_config: agents::Config,
    names: Arc<Answers>,
    keys: Mutex<HashMap<String, AgentKey>>,
}

/// A carrier that carries nothing, but notes that it was woken.
#[derive(Debug, Default)]
pub(crate) struct Pigeon {
    pub woken: AtomicUsize,
    pub answers_soon: AtomicBool,
    pub to_providers: AtomicBool,
}

impl Carrier for Pigeon {
    fn serves(&self, destination: &Destination) -> bool {
        match destination {
            Destination::Node(_) => true,
            Destination::Provider(_) => self.to_providers.load(Ordering::SeqCst),
            Destination::HttpHost(_) => false,
        }
    }

    fn wake(&self, _: &Destination) {
        self.woken.fetch_add(1, Ordering::SeqCst);
    }

    fn answers_soon(&self, _: &Destination) -> bool {
        self.answers_soon.load(Ordering::SeqCst)
    }
}

pub(super) fn peer_node() -> NodeId {
    NodeId::from_bytes([2; 32])
}

pub(super) fn there() -> Destination {
    Destination::Node(peer_node())
}

/// Keys are grown from names, so that two nodes agree on them.
pub(super) fn key_of(name: &str) -> AgentKey {
    let mut seed = [7; 32];
    seed[..name.len()].copy_from_slice(name.as_bytes());
    AgentKey::from_seed(&seed)
}

impl House {
    pub(crate) fn new() -> Self {
        Self::with(Config::default(), amesh_store::Config::default())
    }

    pub(super) fn with(config: Config, store_config: amesh_store::Config) -> Self {
        let disk = MemoryDisk::default();
        Self::on_disk(
            disk,
            ManualClock::at(NOW),
            config,
            store_config,
            agents::Config::default(),
            Arc::default(),
        )
    }

    /// With webhooks that may reach the listed targets, and names that mean what the test says.
    pub(super) fn with_webhooks(config: Config, allow: &[&str], names: Arc<Answers>) -> Self {
        let webhook_allow = allow.iter().map(|text| (*text).to_owned().try_into().unwrap()).collect();
        let agents = agents::Config { webhook_allow, ..agents::Config::default() };
        let disk = MemoryDisk::default();
        Self::on_disk(disk, ManualClock::at(NOW), config, amesh_store::Config::default(), agents, names)
    }

    /// The same node after a loss of power; its clock goes on.
    pub(super) fn crash_and_restart(self) -> Self {
        let Self { hallway, store, disk, clock, agents_config, names, .. } = self;
        let config = hallway.config().clone();
        hallway.inner.tasks.stopping().cancel();
        drop((hallway, store));
        disk.crash();
        Self::on_disk(disk, clock, config, amesh_store::Config::default(), agents_config, names)
    }

    fn on_disk(
        disk: MemoryDisk,
        clock: Arc<ManualClock>,
        config: Config,
        store_config: amesh_store::Config,
        agents_config: agents::Config,
        names: Arc<Answers>,
    ) -> Self {
        let store = Store::on_memory(&disk, store_config).unwrap();
        let naming = Naming::new("default", "aimaestro.local", "host1").unwrap();
        let directory = Directory::new(naming, NodeId::from_bytes([1; 32]));
        let time = clock.clone() as Arc<dyn Clock>;
        let agents =
            Agents::load_with(agents_config.clone(), store.clone(), time, directory, names.clone()).unwrap();
        let hallway = Hallway::new(config, store.clone(), agents, clock.clone(), Tasks::new("hallway"));
        let carrier = Arc::new(Pigeon::default());
        hallway.add_carrier(carrier.clone());
        Self { hallway, store, disk, clock, carrier, agents_config, names, keys: Mutex::default() }
    }

    /// A registered agent of this node.
    pub(crate) async fn agent(&self, name: &str) -> Arc<Agent> {
        let key = key_of(name);
        let request = RegisterRequest {
            name: name.to_owned(),
            tenant: Some("default".to_owned()),
            public_key: key.public().to_pem(),
            key_algorithm: "Ed25519".to_owned(),
            ..RegisterRequest::default()
        };
        let by = Registrant { api_key: None, user_key: None, on_loopback: true, own_user: false };
        let agent = self.hallway.agents().register(request, by).await.unwrap().agent;
        self.keys.lock().unwrap().insert(agent.address.to_string(), key);
        agent
    }

    /// A member of the mesh with these agents.
    pub(super) fn peer(&self, names: &[&str]) {
        let entries = names.iter().map(|name| roster_entry(name)).collect();
        let member = Member { node: peer_node(), host: "host2".to_owned(), order: 1 };
        self.hallway.agents().directory().install_roster(member, entries);
    }

    pub(crate) async fn send(&self, agent: &Arc<Agent>, request: RouteRequest) -> Result<Accepted, Refusal> {
        self.send_once(agent, request, None).await
    }

    pub(super) async fn send_once(
        &self,
        agent: &Arc<Agent>,
        request: RouteRequest,
        idempotency_key: Option<&str>,
    ) -> Result<Accepted, Refusal> {
        let idempotency_key = idempotency_key.map(ToOwned::to_owned);
        let incoming =
            Incoming::FromAgent { agent: agent.clone(), request: Box::new(request), idempotency_key };
        self.hallway.submit(incoming).await
    }

    /// What `agent` would fetch.
    pub(super) fn inbox(&self, agent: &Agent) -> Vec<Delivery> {
        let entries = self.hallway.pending(agent, None, 100).unwrap();
        entries
            .iter()
            .map(|entry| self.hallway.render(entry, crate::message::Method::Relay).unwrap())
            .collect()
    }

    pub(super) fn outbox(&self) -> Vec<OutboxEntry> {
        self.store.outbox(&there(), None, 100).unwrap()
    }

    /// Mail as the peer would bring it.
    pub(super) async fn brought(&self, mail: Mail, number: u64) -> Result<(), Refusal> {
        self.brought_with(mail, number, None).await
    }

    /// Mail as the peer would bring it of somebody outside, with the key that it knows for him.
    pub(super) async fn brought_with(
        &self,
        mail: Mail,
        number: u64,
        key: Option<PublicKey>,
    ) -> Result<(), Refusal> {
        let outsider = key.map(Box::new);
        let lane = LaneStamp { generation: 1, number, floor: 1 };
        let incoming = Incoming::FromPeer { peer: peer_node(), mail: Box::new(mail), lane, outsider };
        let prepared = self.hallway.prepare(incoming)?;
        self.hallway.commit(prepared).await.map(drop)
    }
}

pub(super) fn address(name: &str) -> String {
    format!("{name}@default.aimaestro.local")
}

pub(super) fn roster_entry(name: &str) -> RosterEntry {
    let key = key_of(name).public();
    let address = amesh_proto::address::Address::parse(&address(name), &["aimaestro.local"]).unwrap();
    RosterEntry::first(address, (key.algorithm(), key.to_spki_der().to_vec()), UnixMillis(0), 1)
}

/// An unsigned request.
pub(super) fn unsigned(to: &str, message: &str) -> RouteRequest {
    let body =
        format!(r#"{{"to":"{to}","subject":"hello","payload":{{"type":"request","message":"{message}"}}}}"#);
    RouteRequest::parse(body.as_bytes()).unwrap()
}

/// The same, signed by `from` over the spelling `signed_to` of the recipient.
pub(super) fn signed_as(from: &str, to: &str, signed_to: &str, message: &str) -> RouteRequest {
    let mut request = unsigned(to, message);
    let payload = request.payload.clone().unwrap();
    request.signature = Some(signature(from, &address(from), signed_to, payload.get()));
    request
}

/// A request as our own client makes it.
pub(super) fn signed(from: &str, to: &str, message: &str) -> RouteRequest {
    signed_as(from, &address(to), &address(to), message)
}

/// A signed request of a class.
pub(crate) fn signed_by_class(from: &str, to: &str, class: Priority, message: &str) -> RouteRequest {
    let mut request = unsigned(&address(to), message);
    let payload = request.payload.clone().unwrap();
    request.priority = Some(class.as_str().to_owned());
    request.signature = Some(signature_as(class, from, &address(from), &address(to), payload.get()));
    request
}

pub(super) fn signature(signer: &str, from: &str, to: &str, payload: &str) -> String {
    signature_as(Priority::Normal, signer, from, to, payload)
}

fn signature_as(priority: Priority, signer: &str, from: &str, to: &str, payload: &str) -> String {
    let what = Signable {
        from: &[from],
        to: &[to],
        subject: "hello",
        priority,
        in_reply_to: None,
        payload: payload.as_bytes(),
    };
    let text = canonical::emit(&what).unwrap();
    base64::engine::general_purpose::STANDARD.encode(key_of(signer).sign(text.as_bytes()))
}

/// Mail from an agent of the peer to one of this node.
pub(super) fn carried(from: &str, to: &str, id: &str, message: &str) -> Mail {
    letter(from, (&address(from), &address(to)), id, message)
}

/// The same between any two addresses.
pub(super) fn letter(signer: &str, (from, to): (&str, &str), id: &str, message: &str) -> Mail {
    let payload = format!(r#"{{"type":"request","message":"{message}"}}"#);
    let signature = signature(signer, from, to, &payload);
    let envelope = format!(
        r#"{{"version":"amp/0.1","id":"{id}","from":"{from}","to":"{to}","subject":"hello","priority":"normal","timestamp":"2020-01-01T00:00:00Z","thread_id":"{id}","signature":"{signature}"}}"#
    );
    let parse = |text: &str| amesh_proto::address::Address::parse(text, &["aimaestro.local"]).unwrap();
    Mail {
        id: amesh_proto::id::MessageId::parse(id).unwrap(),
        from: parse(from),
        to: parse(to),
        priority: Priority::Normal,
        envelope: envelope.into_bytes(),
        payload: payload.into_bytes(),
        form: None,
        accepted_at: NOW,
        expires_at: NOW.plus(std::time::Duration::from_secs(3600)),
        receipt: false,
    }
}
