//! The vocabulary of the mesh's tests: whole nodes but for their doors, agents with keys, and waiting for what is true.

use crate::agents::directory::{Directory, Resolution};
use crate::agents::{self, Agent, Agents, RegisterError, Registrant};
use crate::clock::{SharedClock, SystemClock};
use crate::mesh::{Config, Identity, Mesh, MeshError, Parts};
use crate::message::{self, Accepted, Hallway, Refusal};
use crate::tasks::Tasks;
use crate::waking::Waking;
use amesh_discovery::finder::{Candidate, Event, Finder, Source};
use amesh_discovery::hosts::libp2p::{Config as SwarmConfig, Swarm};
use amesh_discovery::hosts::memory::Memory;
use amesh_discovery::interfaces::Interfaces;
use amesh_discovery::manager::{self, Manager};
use amesh_proto::address::{Address, Naming};
use amesh_proto::api::control::{Joined, PeerState};
use amesh_proto::api::register::{HomeProof, RegisterRequest};
use amesh_proto::api::route::RouteRequest;
use amesh_proto::canonical::{self, Signable};
use amesh_proto::key::AgentKey;
use amesh_proto::message::Priority;
use amesh_proto::roster::HomeStatement;
use amesh_store::{MemoryDisk, Store};
use base64::Engine;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::watch;

/// A node without doors.
pub(super) struct Node {
    pub(super) mesh: Mesh,
    pub(super) hallway: Hallway,
    pub(super) store: Store,
    /// What discovery hears and is asked.
    pub(super) finder: Arc<Memory>,
    ears: Tasks,
    /// Sent to when its machine wakes up.
    pub(super) wakes: watch::Sender<()>,
    secret: Option<String>,
    host: String,
    pub(super) disk: MemoryDisk,
    data: TempDir,
    listen: SocketAddr,
    pub(super) swarm: Option<Arc<Swarm>>,
}

impl Node {
    pub(super) async fn start(host: &str) -> Self {
        let (store, disk) = Store::in_memory(amesh_store::Config::default()).unwrap();
        let off = Stopped {
            host: host.to_owned(),
            disk,
            data: tempfile::tempdir().unwrap(),
            listen: any_port(),
            secret: None,
            swarm: false,
        };
        Self::with(off, store).await
    }

    /// Listens at `listen` and has a swarm, which believes nobody who names a loopback address: on this one machine it
    /// goes through others wherever it was not told the way by the mesh.
    pub(super) async fn with_swarm(host: &str, listen: &str) -> Self {
        let (store, disk) = Store::in_memory(amesh_store::Config::default()).unwrap();
        let off = Stopped {
            host: host.to_owned(),
            disk,
            data: tempfile::tempdir().unwrap(),
            listen: listen.parse().unwrap(),
            secret: None,
            swarm: true,
        };
        Self::with(off, store).await
    }

    /// In the mesh of everybody who has `secret`.
    pub(super) async fn open(host: &str, secret: &str) -> Self {
        let (store, disk) = Store::in_memory(amesh_store::Config::default()).unwrap();
        let secret = Some(secret.to_owned());
        let off = Stopped {
            host: host.to_owned(),
            disk,
            data: tempfile::tempdir().unwrap(),
            listen: any_port(),
            secret,
            swarm: false,
        };
        Self::with(off, store).await
    }

    /// With this clock instead of the machine's own.
    pub(super) async fn with_clock(host: &str, clock: SharedClock) -> Self {
        let (store, disk) = Store::in_memory(amesh_store::Config::default()).unwrap();
        let off = Stopped {
            host: host.to_owned(),
            disk,
            data: tempfile::tempdir().unwrap(),
            listen: any_port(),
            secret: None,
            swarm: false,
        };
        Self::by_clock(off, store, clock).await
    }

    async fn with(off: Stopped, store: Store) -> Self {
        Self::by_clock(off, store, Arc::new(SystemClock)).await
    }

    async fn by_clock(off: Stopped, store: Store, clock: SharedClock) -> Self {
        let Stopped { host, disk, data, listen, secret, swarm } = off;
        let identity = Identity::load_or_create(data.path()).unwrap();
        let naming = Naming::new("default", "aimaestro.local", &host).unwrap();
        let directory = Directory::new(naming, identity.node_id());
        let agents =
            Agents::load(agents::Config::default(), store.clone(), clock.clone(), directory).unwrap();
        let config = message::Config { patience_ms: 0, ..message::Config::default() };
        let hallway = Hallway::new(config, store.clone(), agents, clock.clone(), Tasks::new("hallway"));
        let config =
            Config { listen, share_loopback: true, secret: secret.clone(), rest_s: 1, ..Config::default() };
        let (finder, ears) = (Arc::new(Memory::default()), Tasks::new("ears"));
        let swarm = swarm.then(|| {
            Swarm::new(SwarmConfig {
                listen: "127.0.0.1:0".parse().unwrap(),
                key: identity.keypair().unwrap(),
                version: "test".to_owned(),
                share_loopback: false,
                hole_punching: false,
            })
        });
        let mut finders: Vec<Arc<dyn Finder>> = vec![finder.clone()];
        if let Some(swarm) = &swarm {
            finders.push(swarm.clone());
        }
        let nothing = Interfaces { skip: Vec::new(), only: vec!["none".to_owned()] };
        let started = Manager::start(
            manager::Config { own: identity.node_id(), interfaces: nothing },
            finders,
            Arc::new({
                let clock = clock.clone();
                move || clock.monotonic()
            }),
            &ears.stopping(),
        );
        for work in started.work {
            ears.spawn(work);
        }
        let (wakes, waking) = Waking::by_hand();
        let parts = Parts {
            data_dir: Some(data.path().to_owned()),
            identity,
            store: store.clone(),
            hallway: hallway.clone(),
            clock,
            tasks: Tasks::new("mesh"),
            waking,
            discovery: Some((started.manager, started.events)),
            swarm: swarm.clone(),
        };
        let mesh = Mesh::start(config, parts).await.unwrap();
        let listen = mesh.listen_addr();
        Self { mesh, hallway, store, finder, ears, wakes, secret, host, disk, data, listen, swarm }
    }

    /// Stops in good order. What is on disk stays.
    pub(super) async fn stop(self) -> Stopped {
        let Self { mesh, hallway, store, ears, secret, host, disk, data, listen, swarm, .. } = self;
        let swarm = swarm.is_some();
        ears.shutdown(Duration::from_secs(20)).await.unwrap();
        mesh.shutdown(Duration::from_secs(20)).await.unwrap();
        drop((mesh, hallway));
        store.close().await.unwrap();
        port_is_free(listen).await;
        Stopped { host, disk, data, listen, secret, swarm }
    }

    /// Dies: nobody is told, and what was not durable is lost.
    pub(super) async fn die(self) -> Stopped {
        let Self { mesh, hallway, store, ears, secret, host, disk, data, listen, swarm, .. } = self;
        let swarm = swarm.is_some();
        ears.shutdown(Duration::from_secs(20)).await.unwrap();
        disk.crash();
        mesh.vanish().await;
        drop((mesh, hallway, store));
        port_is_free(listen).await;
        Stopped { host, disk, data, listen, secret, swarm }
    }

    /// Another machine with a copy of this one's data directory.
    pub(super) async fn twin(&self) -> Self {
        let data = tempfile::tempdir().unwrap();
        for file in ["node.key", "mesh.json"] {
            std::fs::copy(self.data.path().join(file), data.path().join(file)).unwrap();
        }
        let (store, disk) = Store::in_memory(amesh_store::Config::default()).unwrap();
        for peer in self.store.peers().unwrap() {
            store.put_peer(peer).await.unwrap();
        }
        let off =
            Stopped { host: self.host.clone(), disk, data, listen: any_port(), secret: None, swarm: false };
        Self::with(off, store).await
    }

    /// Discovery tells this node where `other` is.
    pub(super) async fn hears_of(&self, other: &Self) {
        self.hears_of_it_at(other, other.mesh.listen_addr()).await;
    }

    pub(super) async fn hears_of_it_at(&self, other: &Self, address: SocketAddr) {
        self.hears_of_it_among(other, vec![address]).await;
    }

    pub(super) async fn hears_of_it_among(&self, other: &Self, addresses: Vec<SocketAddr>) {
        let candidate = Candidate {
            node: Some(other.mesh.node_id()),
            addresses,
            source: Source::Memory,
            label: Some(other.host.clone()),
            mesh_hint: Some(other.mesh.shared.mesh_id().short_hash()),
            expires_in: None,
        };
        self.finder.say(Event::Found(candidate)).await.unwrap();
    }

    pub(super) async fn invite(&self) -> String {
        self.mesh.invite(None, false).await.unwrap().to_string()
    }

    /// A ticket whose user may invite others.
    pub(super) async fn invite_introducer(&self) -> String {
        self.mesh.invite(None, true).await.unwrap().to_string()
    }

    pub(super) async fn join(&self, ticket: &str) -> Result<Joined, MeshError> {
        self.mesh.join(ticket, false, false).await
    }

    /// Waits until there is a link to `other` here.
    pub(super) async fn linked_to(&self, other: &Self) {
        let node = other.mesh.node_id().to_string();
        until("a link", || {
            self.mesh.peers().iter().any(|peer| peer.node_id == node && peer.state == PeerState::Connected)
        })
        .await;
    }

    /// How `other` is reached, as the owner is shown it.
    pub(super) fn path_to(&self, other: &Self) -> Option<String> {
        let node = other.mesh.node_id().to_string();
        self.mesh.peers().into_iter().find(|peer| peer.node_id == node)?.path
    }

    pub(super) async fn parted_from(&self, other: &Self) {
        let node = other.mesh.node_id().to_string();
        until("no link", || {
            self.mesh.peers().iter().all(|peer| peer.node_id != node || peer.state != PeerState::Connected)
        })
        .await;
    }

    pub(super) async fn agent(&self, name: &str) -> Arc<Agent> {
        let by = Registrant { api_key: None, user_key: None, on_loopback: true, own_user: false };
        self.hallway.agents().register(request(name), by).await.unwrap().agent
    }

    /// Registers `name` here, though it lives elsewhere: by its own word, as `amesh register` does.
    pub(super) async fn moves_in(&self, name: &str) -> Arc<Agent> {
        let by = Registrant { api_key: None, user_key: None, on_loopback: true, own_user: false };
        let agents = self.hallway.agents();
        let request = request(name);
        let refused = agents.register(request.clone(), by).await.unwrap_err();
        let RegisterError::LivesElsewhere { address, node, mesh, at, .. } = refused else {
            panic!("{refused:?}")
        };
        let address = Address::parse(&address, &["aimaestro.local"]).unwrap();
        let signature = key_of(name).sign(HomeStatement::text(&address, &node, &mesh, at).as_bytes());
        let signature = base64::engine::general_purpose::STANDARD.encode(signature);
        let home = Some(HomeProof { at: at.0, signature });
        agents.register(RegisterRequest { home, ..request }, by).await.unwrap().agent
    }

    /// Waits until mail to `name` goes from here to `there`.
    pub(super) async fn sends_to(&self, name: &str, there: &Self) {
        let address = Address::parse(&address(name), &["aimaestro.local"]).unwrap();
        let there = there.mesh.node_id();
        until("the way there", || {
            self.hallway.agents().directory().home_of(&address).is_some_and(|home| home.node == there)
        })
        .await;
    }

    /// Waits until mail to `name` has somewhere to go.
    pub(super) async fn knows(&self, name: &str) {
        until("a name", || self.sees(name)).await;
    }

    /// Whether mail to `name` has somewhere to go.
    pub(super) fn sees(&self, name: &str) -> bool {
        let address = Address::parse(&address(name), &["aimaestro.local"]).unwrap();
        !matches!(self.hallway.agents().directory().resolve(&address), Resolution::Unknown)
    }

    pub(super) async fn send(&self, from: &Arc<Agent>, to: &str, text: &str) -> Result<Accepted, Refusal> {
        self.route(from, signed(from.address.name(), to, text)).await
    }

    pub(super) async fn route(&self, from: &Arc<Agent>, request: RouteRequest) -> Result<Accepted, Refusal> {
        let incoming = message::Incoming::FromAgent {
            agent: from.clone(),
            request: Box::new(request),
            idempotency_key: None,
        };
        self.hallway.submit(incoming).await
    }

    /// The texts in the mailbox of `agent`, in order.
    pub(super) fn texts(&self, agent: &Agent) -> Vec<String> {
        let entries = self.store.pending(agent.no, None, 10_000).unwrap();
        let text = |payload: &[u8]| {
            let payload: serde_json::Value = serde_json::from_slice(payload).unwrap();
            payload["message"].as_str().unwrap().to_owned()
        };
        entries.iter().map(|entry| text(&entry.mail.payload)).collect()
    }

    /// Waits until the mailbox of `agent` holds exactly these, in this order.
    pub(super) async fn receives(&self, agent: &Agent, texts: &[String]) {
        // Not the count: it runs ahead of what is on disk, which for a moment may not be there to be read.
        let there = || self.store.pending(agent.no, None, 10_000);
        until("mail", || there().is_ok_and(|mail| mail.len() >= texts.len())).await;
        let arrived = self.texts(agent);
        let wrong = arrived.iter().zip(texts).position(|(arrived, sent)| arrived != sent);
        let around = wrong.map(|at| &arrived[at.saturating_sub(2)..arrived.len().min(at + 3)]);
        assert!(
            arrived == texts,
            "{} of {} messages; wrong from {wrong:?}: {around:?}",
            arrived.len(),
            texts.len()
        );
    }
}

/// A node that does not run.
pub(super) struct Stopped {
    host: String,
    disk: MemoryDisk,
    data: TempDir,
    listen: SocketAddr,
    secret: Option<String>,
    swarm: bool,
}

impl Stopped {
    pub(super) fn at_any_port(self) -> Self {
        Self { listen: any_port(), ..self }
    }

    pub(super) fn called(self, host: &str) -> Self {
        Self { host: host.to_owned(), ..self }
    }

    pub(super) async fn start(self) -> Node {
        let store = Store::on_memory(&self.disk, amesh_store::Config::default()).unwrap();
        Node::with(self, store).await
    }
}

/// A port that is still free after a restart: where the system has more than one loopback address, each node takes its
/// own, so that no other test is given the port meanwhile.
fn any_port() -> SocketAddr {
    let own = Ipv4Addr::new(127, rand::random_range(1..255), rand::random(), rand::random_range(1..255));
    SocketAddr::from((if cfg!(target_os = "linux") { own } else { Ipv4Addr::LOCALHOST }, 0))
}

/// The socket goes a moment after its last owner.
async fn port_is_free(port: SocketAddr) {
    until("the port", || std::net::UdpSocket::bind(port).is_ok()).await;
}

/// Two nodes in one mesh, linked.
pub(super) async fn pair() -> (Node, Node) {
    let (a, b) = (Node::start("alpha").await, Node::start("beta").await);
    assert!(b.join(&a.invite().await).await.unwrap().joined);
    a.linked_to(&b).await;
    b.linked_to(&a).await;
    (a, b)
}

/// Waits until `is_so`, and complains about `what` when it takes far too long.
pub(super) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(super) fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("message {number}")).collect()
}

pub(super) fn key_of(name: &str) -> AgentKey {
    let mut seed = [7; 32];
    seed[..name.len()].copy_from_slice(name.as_bytes());
    AgentKey::from_seed(&seed)
}

fn request(name: &str) -> RegisterRequest {
    RegisterRequest {
        name: name.to_owned(),
        tenant: Some("default".to_owned()),
        public_key: key_of(name).public().to_pem(),
        key_algorithm: "Ed25519".to_owned(),
        ..RegisterRequest::default()
    }
}

pub(super) fn address(name: &str) -> String {
    format!("{name}@default.aimaestro.local")
}

pub(super) fn signed(from: &str, to: &str, text: &str) -> RouteRequest {
    signed_by_class(from, to, Priority::Normal, text)
}

pub(super) fn signed_by_class(from: &str, to: &str, priority: Priority, text: &str) -> RouteRequest {
    let payload = format!(r#"{{"type":"request","message":"{text}"}}"#);
    let body = format!(r#"{{"to":"{to}","subject":"hello","payload":{payload}}}"#);
    let mut request = RouteRequest::parse(body.as_bytes()).unwrap();
    let (from_address, to_address) = (address(from), address(to));
    let what = Signable {
        from: &[&from_address],
        to: &[&to_address],
        subject: "hello",
        priority,
        in_reply_to: None,
        payload: payload.as_bytes(),
    };
    let text = canonical::emit(&what).unwrap();
    let signature = key_of(from).sign(text.as_bytes());
    request.to = to_address;
    request.priority = Some(priority.as_str().to_owned());
    request.signature = Some(base64::engine::general_purpose::STANDARD.encode(signature));
    request
}
