//! The HTTP mesh (AMP 06a; DESIGN §6): hosts that the owner names by URL, and that speak plain HTTP instead of the mesh's
//! link. They are neighbours, not members: each brings and is brought only mail of its own agents.
//!
//! `places` finds agents at such hosts, `outgoing` carries the outbox to them, `sender` judges what they bring, `requests`
//! writes down who would like to become one. Built by `node`; the door is `http/http_mesh`.

mod client;
mod config;
mod host;
mod hosts;
mod memory;
mod outgoing;
mod places;
mod requests;
mod sender;
mod verdict;

pub use config::{BadHost, Config, HostConfig, Mode};
pub use host::Host;
pub use requests::{Filed, RequestError};

use crate::agents::directory::Directory;
use crate::clock::SharedClock;
use crate::message::Hallway;
use crate::tasks::{StillRunning, Tasks};
use crate::waking::Waking;
use amesh_proto::address::Address;
use amesh_proto::api::control::{HttpHost, HttpHostRequest, HttpHosts};
use amesh_proto::api::http_mesh::HostFace;
use amesh_store::{Destination, Store, StoreError};
use client::Client;
use hosts::Hosts;
use outgoing::HttpCarrier;
use places::{Places, Search};
use requests::Requests;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore};

/// What the HTTP mesh stands on.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Outbox and pins.
    pub store: Store,
    /// Where messages go in.
    pub hallway: Hallway,
    /// Time.
    pub clock: SharedClock,
    /// Its own group of tasks.
    pub tasks: Tasks,
    /// Tells when this machine has slept.
    pub waking: Waking,
}

/// Why the HTTP mesh does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A configured host cannot be used.
    #[error(transparent)]
    Host(#[from] BadHost),
    /// The store cannot be read.
    #[error("the store cannot be read: {0}")]
    Store(#[from] StoreError),
    /// No requests can be made.
    #[error("no HTTP client could be made: {0}")]
    Client(#[from] reqwest::Error),
}

/// Tries every host again whenever this machine wakes up.
async fn wake(shared: Arc<Shared>, mut waking: Waking) {
    loop {
        waking.next().await;
        shared.hosts.all().iter().for_each(|host| host.try_again());
    }
}

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HttpMesh {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    store: Store,
    hallway: Hallway,
    clock: SharedClock,
    tasks: Tasks,
    client: Client,
    hosts: Hosts,
    places: Places,
    requests: Requests,
    /// One change of what is remembered at a time.
    pinning: Mutex<()>,
    /// Look-ups at a time.
    asking: Semaphore,
    listening: RwLock<Option<SocketAddr>>,
}

impl Shared {
    fn directory(&self) -> &Directory {
        self.hallway.agents().directory()
    }

    fn own_url(&self) -> String {
        self.config.own_url(*self.listening.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl HttpMesh {
    /// Reads what is remembered, and serves every host from now on.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(config: Config, parts: Parts) -> Result<Self, StartError> {
        let Parts { store, hallway, clock, tasks, waking } = parts;
        let (client, retry) = (Client::new(&config)?, hallway.config().retry);
        let directory = hallway.agents().directory();
        let hosts = Hosts::of(&config, directory.naming(), retry)?;
        hosts.load(&store, directory.naming(), retry)?;
        memory::load(&store, directory)?;
        let requests = Requests::load(&store)?;
        let shared = Shared {
            config,
            store,
            hallway,
            clock,
            tasks,
            client,
            hosts,
            places: Places::default(),
            requests,
            pinning: Mutex::default(),
            asking: Semaphore::new(LOOK_UPS),
            listening: RwLock::default(),
        };
        let mesh = Self { shared: Arc::new(shared) };
        let shared = &mesh.shared;
        shared.directory().set_http_hosts(shared.hosts.labels());
        shared.hallway.add_carrier(HttpCarrier::of(&mesh));
        shared.hallway.ask_elsewhere(Arc::new(Search(Arc::downgrade(shared))));
        shared.hosts.all().into_iter().for_each(|host| mesh.serve(host));
        shared.tasks.spawn_until_stopped(wake(shared.clone(), waking));
        Ok(mesh)
    }

    /// Stops carrying. What is in the outbox stays there.
    ///
    /// # Errors
    /// When something hangs.
    pub async fn shutdown(&self, patience: Duration) -> Result<(), StillRunning> {
        self.shared.tasks.shutdown(patience).await
    }

    /// Where the door for such hosts is.
    pub fn listens_on(&self, address: SocketAddr) {
        *self.shared.listening.write().unwrap_or_else(PoisonError::into_inner) = Some(address);
    }

    /// The URL that hosts are told.
    #[must_use]
    pub fn own_url(&self) -> String {
        self.shared.own_url()
    }

    /// The hosts that may come from `address`, which is the TCP peer's (DESIGN §6).
    pub async fn hosts_at(&self, address: IpAddr) -> Vec<Arc<Host>> {
        let now = self.shared.clock.monotonic();
        let mut at = Vec::new();
        for host in self.shared.hosts.all() {
            if host.comes_from(address, now).await {
                at.push(host);
            }
        }
        at
    }

    /// Whether a host of this id is one of this node's.
    #[must_use]
    pub fn knows(&self, id: &str) -> bool {
        self.shared.hosts.all().iter().any(|host| host.is_named(id))
    }

    /// Writes down for the owner that `face` would like to be a peer.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn file(
        &self,
        face: HostFace,
        from: IpAddr,
        told_by: Option<String>,
        organization: Option<String>,
    ) -> Result<Filed, RequestError> {
        self.shared.file(face, from.to_canonical(), told_by, organization).await
    }

    /// The owner takes a host that asked.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn accept(&self, name: &str) -> Result<(), RequestError> {
        let shared = &self.shared;
        let name = amesh_proto::api::http_mesh::host_id(name);
        let config = shared.asked_for(&name).await?;
        let retry = shared.hallway.config().retry;
        let host = Host::new(config.clone(), true, shared.directory().naming(), retry)?;
        shared.hosts.add(host.clone())?;
        let kept = async {
            Hosts::keep(&shared.store, &config, true).await?;
            shared.answer(&name).await.map(drop)
        };
        if let Err(error) = kept.await {
            shared.hosts.remove(&name);
            return Err(error);
        }
        self.hosts_changed();
        self.serve(host);
        Ok(())
    }

    /// The owner does not take a host that asked.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn refuse(&self, name: &str) -> Result<(), RequestError> {
        self.shared.answer(&amesh_proto::api::http_mesh::host_id(name)).await.map(drop)
    }

    /// The owner removes a host that was accepted. Mail for it waits until it expires, or the host is back.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn remove(&self, name: &str) -> Result<(), RequestError> {
        let shared = &self.shared;
        let name = amesh_proto::api::http_mesh::host_id(name);
        let Some(host) = shared.hosts.named(&name) else { return Err(RequestError::Unknown(name)) };
        if !host.accepted {
            return Err(RequestError::Configured(name));
        }
        Hosts::keep(&shared.store, &host.config, false).await?;
        shared.hosts.remove(&name);
        host.gone.cancel();
        self.hosts_changed();
        Ok(())
    }

    /// The owner forgets the key and the place of an agent; false where none is remembered.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn forget_agent(&self, address: &Address) -> Result<bool, StoreError> {
        self.shared.forget_agent(address).await
    }

    /// Everything the owner can see of it.
    pub async fn shown(&self) -> HttpHosts {
        let requests = self.shared.requests.all().await.into_iter().map(|request| HttpHostRequest {
            name: request.name,
            url: request.url,
            from: request.from.to_string(),
            told_by: request.told_by,
            organization: request.organization,
            at: request.at.to_rfc3339(),
        });
        let listen = *self.shared.listening.read().unwrap_or_else(PoisonError::into_inner);
        HttpHosts {
            listen: listen.map(|address| address.to_string()),
            hosts: self.shown_hosts(),
            requests: requests.collect(),
        }
    }

    /// The hosts, for lists of peers.
    #[must_use]
    pub fn shown_hosts(&self) -> Vec<HttpHost> {
        self.shared.hosts.all().iter().map(|host| self.shown_host(host)).collect()
    }

    /// When mail for a host is next offered; nothing where it goes at once.
    #[must_use]
    pub fn next_attempt(&self, name: &str) -> Option<Duration> {
        let host = self.shared.hosts.named(name)?;
        let left = host.next_at().saturating_sub(self.shared.clock.monotonic());
        (!left.is_zero()).then_some(left)
    }

    fn shown_host(&self, host: &Host) -> HttpHost {
        let health = host.health();
        let destination = Destination::HttpHost(host.name.to_string());
        HttpHost {
            name: host.name.to_string(),
            url: host.config.url.clone(),
            mode: host.mode.as_str().to_owned(),
            state: health.word().to_owned(),
            accepted: host.accepted,
            queued: self.shared.store.outbox_len(&destination),
            last_seen: health.last_seen.map(|at| at.to_rfc3339()),
            reason: health.reason,
        }
    }

    fn hosts_changed(&self) {
        self.shared.directory().set_http_hosts(self.shared.hosts.labels());
        self.shared.places.clear();
    }

    fn serve(&self, host: Arc<Host>) {
        let serving = outgoing::serve(self.shared.clone(), host);
        self.shared.tasks.spawn_until_stopped(serving);
    }
}

const LOOK_UPS: usize = 64;
