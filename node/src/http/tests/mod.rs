//! The doors over a store in memory: requests in process, WebSockets and the owner's socket over real ones.

mod attachments;
mod attacks;
mod control;
mod identity;
mod input;
mod keys;
mod limits;
mod mail;
mod openapi;
mod pushing;
mod receipts;
mod socket;
mod tenants;
mod tls;
mod waiting;

use crate::agents::Agents;
use crate::agents::directory::Directory;
use crate::clock::ManualClock;
use crate::federation;
use crate::http::serve::Doors;
use crate::http::state::{Parts, Peer, Shared, State};
use crate::http::{Bound, Config, bind};
use crate::message::Hallway;
use crate::tasks::Tasks;
use amesh_proto::address::Naming;
use amesh_proto::canonical::Signable;
use amesh_proto::key::AgentKey;
use amesh_proto::message::Priority;
use amesh_proto::node_id::NodeKey;
use amesh_proto::sign::sign;
use amesh_proto::time::UnixMillis;
use amesh_store::Store;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// A node's doors, and nothing outside them.
struct Rig {
    doors: Doors,
    state: Shared,
    clock: Arc<ManualClock>,
    data: tempfile::TempDir,
}

/// What came back.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

/// A registered agent, as a client knows itself.
struct Client {
    address: String,
    api_key: String,
    key: AgentKey,
}

impl Rig {
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        Self::build(config, None)
    }

    /// Doors with a real listener on loopback.
    async fn listening(config: Config) -> (Self, std::net::SocketAddr) {
        let config = Config { api: vec!["127.0.0.1:0".parse().unwrap()], ..config };
        let bound = bind(&config, None).await.unwrap();
        let address = bound.addresses()[0];
        (Self::build(config, Some(bound)), address)
    }

    fn build(config: Config, bound: Option<Bound>) -> Self {
        let (store, _disk) = Store::in_memory(amesh_store::Config::default()).unwrap();
        Self::over(store, tempfile::tempdir().unwrap(), config, bound)
    }

    /// Doors over a store on disk, where files can be attached.
    fn on_disk(config: Config) -> Self {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(&data.path().join("store"), amesh_store::Config::default()).unwrap();
        Self::over(store, data, config, None)
    }

    fn over(store: Store, data: tempfile::TempDir, config: Config, bound: Option<Bound>) -> Self {
        Self::admitting(Default::default(), store, data, config, bound)
    }

    /// Doors of a node that is the provider `corp.test`.
    fn of_a_provider() -> Self {
        let (store, _disk) = Store::in_memory(amesh_store::Config::default()).unwrap();
        let data = tempfile::tempdir().unwrap();
        let endpoint = Some("https://api.corp.test/v1".to_owned());
        let config = federation::Config {
            on: true,
            domain: Some("corp.test".to_owned()),
            endpoint,
            contact: Some("post@corp.test".to_owned()),
            ..Default::default()
        };
        let own = federation::OwnProvider::load_or_create(&config, "corp.test", data.path()).unwrap();
        let clock = ManualClock::at(UnixMillis::from_secs(1_790_000_000));
        let own_ports = Default::default();
        let parts = federation::Parts { store: store.clone(), clock, own_ports, names: None, own };
        let federation = Some(federation::Federation::start(&config, parts).unwrap());
        Self::furnished(Default::default(), federation, store, data, Config::default(), None)
    }

    fn admitting(
        agents: crate::agents::Config,
        store: Store,
        data: tempfile::TempDir,
        config: Config,
        bound: Option<Bound>,
    ) -> Self {
        Self::furnished(agents, None, store, data, config, bound)
    }

    fn furnished(
        agents: crate::agents::Config,
        federation: Option<federation::Federation>,
        store: Store,
        data: tempfile::TempDir,
        config: Config,
        bound: Option<Bound>,
    ) -> Self {
        let clock = ManualClock::at(UnixMillis::from_secs(1_790_000_000));
        let naming = Naming::new("default", "aimaestro.local", "alpha").unwrap();
        let directory = Directory::new(naming.clone(), NodeKey::from_seed(&[7; 32]).id());
        let agents = Agents::load(agents, store.clone(), clock.clone(), directory).unwrap();
        // A busy machine must not turn `delivered` into `queued`.
        let message = crate::message::Config { patience_ms: 20_000, ..Default::default() };
        let hallway =
            Hallway::new(message, store.clone(), agents.clone(), clock.clone(), Tasks::new("hallway"));
        let parts = Parts {
            agents,
            hallway,
            store,
            mesh: None,
            http_mesh: None,
            registered: None,
            federation,
            deliveries: None,
            naming,
            clock: clock.clone(),
            tasks: Tasks::new("doors"),
            config,
            tls: None,
            data_dir: data.path().to_owned(),
            stop_requested: Arc::default(),
        };
        let state = match bound {
            Some(bound) => super::serve(bound, parts),
            None => State::new(parts, Vec::new()),
        };
        Self { doors: Doors::new(state.clone()), state, clock, data }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let (status, headers, bytes) = self.send_raw(request).await;
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("not JSON: {bytes:?}"));
        openapi::must_know(&method, &path, status, &body);
        Answer { status, headers, body }
    }

    async fn send_raw(&self, request: Request<Body>) -> (u16, HeaderMap, Vec<u8>) {
        let peer = Peer {
            remote: "127.0.0.1:50000".parse().unwrap(),
            local: "127.0.0.1:23000".parse().unwrap(),
            shown: None,
            _place: None,
        };
        let response = self.doors.answer(peer, request).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (parts.status.as_u16(), parts.headers, bytes.to_vec())
    }

    async fn ask(&self, method: Method, path: &str, key: Option<&str>, body: Option<Value>) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost:23000");
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let body = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        self.send(request.body(body).unwrap()).await
    }

    async fn get(&self, path: &str, client: &Client) -> Answer {
        self.ask(Method::GET, path, Some(&client.api_key), None).await
    }

    async fn post(&self, path: &str, client: &Client, body: Value) -> Answer {
        self.ask(Method::POST, path, Some(&client.api_key), Some(body)).await
    }

    async fn delete(&self, path: &str, client: &Client) -> Answer {
        self.ask(Method::DELETE, path, Some(&client.api_key), None).await
    }

    fn key_of(name: &str) -> AgentKey {
        AgentKey::from_seed(&[name.len() as u8 ^ name.as_bytes()[0]; 32])
    }

    /// The agent as the node knows it.
    fn agent(&self, client: &Client) -> Arc<crate::agents::Agent> {
        self.state.parts.agents.authenticate(&client.api_key).unwrap()
    }

    async fn register(&self, name: &str) -> Client {
        let key = Self::key_of(name);
        let answer = self.ask(Method::POST, "/v1/register", None, Some(registration(name, &key))).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        let text = |member: &str| answer.body[member].as_str().unwrap().to_owned();
        Client { address: text("address"), api_key: text("api_key"), key }
    }
}

fn registration(name: &str, key: &AgentKey) -> Value {
    json!({"name": name, "tenant": "default", "public_key": key.public().to_pem(), "key_algorithm": "Ed25519"})
}

impl Client {
    /// A signed flat route request.
    fn letter(&self, to: &Self, text: &str) -> Value {
        self.signed(to, json!({"type": "request", "message": text}))
    }

    fn signed(&self, to: &Self, payload: Value) -> Value {
        self.signed_as(to, Priority::Normal, payload)
    }

    fn signed_as(&self, to: &Self, priority: Priority, payload: Value) -> Value {
        let text = payload.to_string();
        let what = Signable {
            from: &[&self.address],
            to: &[&to.address],
            subject: "hello",
            priority,
            in_reply_to: None,
            payload: text.as_bytes(),
        };
        let signature = sign(&self.key, &what).unwrap();
        let mut letter =
            json!({"to": to.address, "subject": "hello", "payload": payload, "signature": signature});
        if priority != Priority::Normal {
            letter["priority"] = priority.as_str().into();
        }
        letter
    }
}

/// Waits for what must come, generously.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(20), work).await {
        Ok(done) => done,
        Err(_) => panic!("it did not happen within 20 s"),
    }
}
