//! What every handler can reach. Built once by [`super::serve`] from the parts that `node` hands over.

use crate::agents::Agents;
use crate::attachments::{Place, Places};
use crate::bridge::http_mesh::HttpMesh;
use crate::bridge::registered::Registered;
use crate::clock::SharedClock;
use crate::federation::{Deliveries, Federation};
use crate::http::Config;
use crate::http::http_mesh::Who;
use crate::http::limit::{Limits, Profile};
use crate::http::tls::{Shown, Tls};
use crate::mesh::Mesh;
use crate::message::Hallway;
use crate::tasks::Tasks;
use amesh_proto::address::Naming;
use amesh_proto::time::UnixMillis;
use amesh_store::{AgentNo, Store};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};

/// Everything the doors stand on.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Who lives here.
    pub agents: Agents,
    /// Where messages go in.
    pub hallway: Hallway,
    /// Mailboxes, message states, backups: read here, never written around the hallway.
    pub store: Store,
    /// The other nodes; `None` in tests of the doors alone.
    pub mesh: Option<Mesh>,
    /// Hosts of the HTTP mesh; `None` in tests of the doors alone.
    pub http_mesh: Option<HttpMesh>,
    /// Other providers; `None` in tests of the doors alone.
    pub federation: Option<Federation>,
    /// What other providers bring; `None` where this node is no provider.
    pub deliveries: Option<Deliveries>,
    /// The agents' registrations with other providers; `None` in tests of the doors alone.
    pub registered: Option<Registered>,
    /// This node's names.
    pub naming: Naming,
    /// Time.
    pub clock: SharedClock,
    /// The doors' own group of tasks; the first to be closed at shutdown.
    pub tasks: Tasks,
    /// Limits and listeners.
    pub config: Config,
    /// What doors off loopback show, where there is a certificate.
    pub tls: Option<Tls>,
    /// Where the node's data lies.
    pub data_dir: PathBuf,
    /// Told when the owner asks for a stop (`amesh down`).
    pub stop_requested: Arc<Notify>,
}

/// [`Parts`] and what the doors keep themselves.
#[derive(Debug)]
pub struct State {
    /// The parts.
    pub(crate) parts: Parts,
    /// On loopback listeners.
    pub(crate) local_limits: Limits<AgentNo>,
    /// On all others.
    pub(crate) public_limits: Limits<AgentNo>,
    /// For HTTP mesh hosts.
    pub(crate) host_limits: Limits<Who>,
    /// Places for requests that wait for mail.
    pub(crate) long_polls: Semaphore,
    /// Where the agents' API listens.
    pub(crate) api: Vec<SocketAddr>,
    /// Uploads under way.
    pub(crate) uploads: Arc<Places>,
    /// Places for downloads.
    pub(crate) downloads: Arc<Semaphore>,
    started: Duration,
}

/// The state as handlers hold it.
pub type Shared = Arc<State>;

impl State {
    /// A fresh state; the node counts as started now.
    pub(crate) fn new(parts: Parts, api: Vec<SocketAddr>) -> Shared {
        let started = parts.clock.monotonic();
        let local_limits = Limits::new(parts.config.local_limits);
        let public_limits = Limits::new(parts.config.public_limits);
        let host_limits = Limits::new(parts.config.host_limits);
        let long_polls = Semaphore::new(parts.config.max_long_polls.min(Semaphore::MAX_PERMITS));
        let uploads =
            Places::new(parts.config.attachments.uploads_per_agent, parts.config.attachments.uploads);
        let downloads = Arc::new(Semaphore::new(parts.config.attachments.downloads));
        Arc::new(Self {
            parts,
            local_limits,
            public_limits,
            host_limits,
            long_polls,
            api,
            uploads,
            downloads,
            started,
        })
    }

    /// Wall time.
    pub(crate) fn now(&self) -> UnixMillis {
        self.parts.clock.now()
    }

    /// Time since the doors opened.
    pub(crate) fn uptime(&self) -> Duration {
        self.parts.clock.monotonic().saturating_sub(self.started)
    }

    /// The limits for requests that come from `peer`.
    pub(crate) fn limits(&self, peer: &Peer) -> &Limits<AgentNo> {
        if peer.is_local() { &self.local_limits } else { &self.public_limits }
    }

    /// The limits for requests that come from `peer`, for display.
    pub(crate) fn profile(&self, peer: &Peer) -> (&'static str, &Profile) {
        (if peer.is_local() { "local" } else { "public" }, self.limits(peer).profile())
    }
}

/// The two ends of a request's connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// Who asks.
    pub(crate) remote: SocketAddr,
    /// The listener asked.
    pub(crate) local: SocketAddr,
    /// What the connection was shown, where it is encrypted.
    pub(crate) shown: Option<Arc<Shown>>,
    /// The connection's place among all; a WebSocket takes it over.
    pub(crate) _place: Option<Arc<Place>>,
}

impl Peer {
    /// Whether the listener is on loopback: only programs of this machine reach it.
    pub(crate) fn is_local(&self) -> bool {
        self.local.ip().to_canonical().is_loopback()
    }
}
