//! The only place where parts meet: [`Config`] → [`App::build`] → [`App::run`]. Called by `cli/up.rs` and by tests that
//! run a node in their own process.
//!
//! Parts are built from the disk outwards, so that no door is open before what is behind it stands, and closed in
//! reverse: doors, then links, then discovery, then the hallway, then the store (DESIGN §2).

mod error;
mod file;
mod housekeeping;
mod naming;

pub use error::{BuildError, CloseError};
pub use file::Ready;

use crate::agents::{Agents, directory::Directory};
use crate::bridge::http_mesh::{self, HttpMesh};
use crate::bridge::registered::{self, Registered};
use crate::clock::{SharedClock, SystemClock};
use crate::config::Config;
use crate::federation::{self, Deliveries, Federation, Outgoing};
use crate::http::{self, Tls, control};
use crate::mesh::{self, Identity, Mesh, MeshError};
use crate::message::{self, Hallway};
use crate::private::private_dir;
use crate::tasks::Tasks;
use crate::waking::Waking;
use amesh_discovery::finder::{Event, Finder};
use amesh_discovery::hosts::libp2p::{Config as SwarmConfig, Swarm};
use amesh_discovery::hosts::{mdns::Mdns, static_list::StaticList};
use amesh_discovery::interfaces::Interfaces;
use amesh_discovery::manager::{self, Manager};
use amesh_proto::injection::Rules;
use amesh_store::Store;
use file::NodeFile;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

/// A running node.
#[derive(Debug)]
pub struct App {
    store: Store,
    mesh: Mesh,
    http_mesh: HttpMesh,
    outgoing: Outgoing,
    registered: Registered,
    groups: Groups,
    stop_requested: Arc<Notify>,
    ready: Ready,
    file: NodeFile,
}

/// The groups of tasks, in the order in which they are closed. The mesh closes its own.
#[derive(Debug)]
struct Groups {
    doors: Tasks,
    discovery: Tasks,
    hallway: Tasks,
}

impl App {
    /// Builds every part and opens the doors.
    ///
    /// # Errors
    /// [`BuildError`], by the part that could not be built; what was built before it is closed again.
    pub async fn build(config: Config) -> Result<Self, BuildError> {
        let data_dir = config.data_dir.clone().ok_or(BuildError::NoDataDir)?;
        // A hostname that changes must not rename a member of a mesh.
        let label = if config.host.is_none() { mesh::known_label(&data_dir)? } else { None };
        let config = Config { host: label.or_else(|| config.host.clone()), ..config };
        let naming = naming::of(&config)?;
        let clock: SharedClock = Arc::new(SystemClock);
        // Everything that can fail cheaply comes before the store is opened.
        let injection_rules = injection_rules(&config)?;
        let tls = Tls::load(&config.tls)?;
        let bound = http::bind(&http_config(&config), tls.as_ref()).await?;
        let for_hosts = http::http_mesh::bind(&config.http_mesh, tls.as_ref()).await?;
        private_dir(&data_dir)?;
        let store = open_store(&data_dir, &config)?;
        // The store's lock is the single-instance check: from here on the directory is ours.
        let identity = Identity::load_or_create(&data_dir)?;
        let groups = Groups {
            doors: Tasks::new("doors"),
            discovery: Tasks::new("discovery"),
            hallway: Tasks::new("hallway"),
        };
        let directory = Directory::new(naming.clone(), identity.node_id());
        let agents = Agents::load(config.agents.clone(), store.clone(), clock.clone(), directory)?;
        let hallway = Hallway::new(
            message_config(&config),
            store.clone(),
            agents.clone(),
            clock.clone(),
            groups.hallway.clone(),
        );
        if let Some(rules) = injection_rules {
            hallway.scan_with(rules);
        }
        let waking = Waking::notice(clock.clone(), &groups.hallway);
        let mesh =
            start_mesh(&config, &data_dir, identity, &store, &hallway, (&clock, &waking), &groups).await?;
        agents.webhooks().own_ports().protect(mesh.listen_addr().port());
        let http_mesh = start_http_mesh(&config, &store, &hallway, (&clock, &waking))?;
        // Before `Deliveries`: what the owner made `federation` forget of a sender stands above what mail showed here.
        let registered = start_registered(&config, &store, &hallway, (&clock, &waking))?;
        let federation = start_federation(&config, &store, &agents, &clock, &data_dir)?;
        let incoming = federation::DeliveryParts {
            federation: federation.clone(),
            hallway: hallway.clone(),
            store: store.clone(),
            clock: clock.clone(),
            tasks: groups.hallway.clone(),
        };
        let deliveries = Deliveries::start(&config.federation, incoming)?;
        let outgoing = federation.start_sending(federation::OutgoingParts {
            store: store.clone(),
            hallway: hallway.clone(),
            clock: clock.clone(),
            tasks: Tasks::new("federation"),
            waking: waking.clone(),
        });
        let outgoing = outgoing.map_err(BuildError::from)?;
        hallway.start_expiry(waking.clone());
        if let Some(tls) = &tls {
            tls.watch(&groups.doors, clock.clone(), waking.clone());
        }
        housekeeping::start(&groups.hallway, store.clone(), clock.clone(), waking, data_dir.clone());
        let ready = Ready::of(&naming, bound.addresses(), mesh.listen_addr(), mesh.node_id());
        let ready = Ready { http_mesh: for_hosts.as_ref().map(http::http_mesh::Bound::address), ..ready };
        let stop_requested = Arc::new(Notify::new());
        let parts = http::Parts {
            agents,
            hallway: hallway.clone(),
            store: store.clone(),
            mesh: Some(mesh.clone()),
            http_mesh: Some(http_mesh.clone()),
            federation: Some(federation),
            deliveries,
            registered: Some(registered.clone()),
            naming,
            clock,
            tasks: groups.doors.clone(),
            config: http_config(&config),
            tls,
            data_dir: data_dir.clone(),
            stop_requested: stop_requested.clone(),
        };
        let state = http::serve(bound, parts);
        if let Some(bound) = for_hosts {
            http::http_mesh::serve(bound, state.clone());
        }
        control::serve(&data_dir, state)?;
        // The ports of this node are known now, and none of them is a webhook's.
        hallway.start_webhooks();
        let file = NodeFile::write(&data_dir, &ready)?;
        Ok(Self { store, mesh, http_mesh, outgoing, registered, groups, stop_requested, ready, file })
    }

    /// Where the node is reached, now that it is ready.
    #[must_use]
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Joins the mesh of `ticket`, or does nothing if this node is in that mesh already, as after a restart with the
    /// same words. Names that clash are taken as the older member has them.
    ///
    /// # Errors
    /// When the ticket is not good, or the inviter refuses or is not there.
    pub async fn join(&self, ticket: &str) -> Result<(), MeshError> {
        if self.mesh.is_in_mesh_of(ticket) {
            return Ok(());
        }
        self.mesh.join(ticket, false, true).await.map(drop)
    }

    /// Serves until `stop` resolves or the owner asks for a stop, then closes everything in order.
    ///
    /// # Errors
    /// [`CloseError`] when a part did not close in time. What was accepted is on disk all the same.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), CloseError> {
        tokio::select! {
            () = stop => tracing::info!("asked to stop by a signal"),
            () = self.stop_requested.notified() => tracing::info!("asked to stop by the owner"),
        }
        self.close().await
    }

    /// Closes everything, in the reverse of the order in which it was built.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn close(self) -> Result<(), CloseError> {
        let Self { store, mesh, http_mesh, outgoing, registered, groups, file, .. } = self;
        let doors = groups.doors.shutdown(PATIENCE).await;
        let providers = outgoing.shutdown(PATIENCE).await;
        let bridge = http_mesh.shutdown(PATIENCE).await;
        let fetching = registered.shutdown(PATIENCE).await;
        let links = mesh.shutdown(PATIENCE).await;
        let discovery = groups.discovery.shutdown(PATIENCE).await;
        let hallway = groups.hallway.shutdown(PATIENCE).await;
        // Whatever hangs above, the store is closed; nothing acknowledged depends on it, but a clean end does.
        store.close().await?;
        file.remove();
        for closed in [doors, providers, bridge, fetching, links, discovery, hallway] {
            closed?;
        }
        Ok(())
    }
}

/// Where the store lies in a data directory.
#[must_use]
pub fn store_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("store")
}

fn open_store(data_dir: &Path, config: &Config) -> Result<Store, BuildError> {
    let cause = |cause| BuildError::Store { data_dir: data_dir.to_path_buf(), cause };
    Store::open(&store_dir(data_dir), config.store.clone()).map_err(cause)
}

/// The built-in rules with the owner's, where there are some.
fn injection_rules(config: &Config) -> Result<Option<Rules>, BuildError> {
    let Some(path) = config.message.injection_rules.clone() else { return Ok(None) };
    match std::fs::read_to_string(&path) {
        Ok(text) => Rules::with(&text).map(Some).map_err(|cause| BuildError::Rules { path, cause }),
        Err(cause) => Err(BuildError::RulesFile { path, cause }),
    }
}

fn http_config(config: &Config) -> http::Config {
    http::Config { api: config.api.clone(), ..config.http.clone() }
}

fn message_config(config: &Config) -> message::Config {
    let mut message = config.message.clone();
    message.webhook.authorities.clone_from(&config.ca_certificates);
    message.gateway.clone_from(&config.gateway);
    message
}

fn start_http_mesh(
    config: &Config,
    store: &Store,
    hallway: &Hallway,
    (clock, waking): (&SharedClock, &Waking),
) -> Result<HttpMesh, http_mesh::StartError> {
    let parts = http_mesh::Parts {
        store: store.clone(),
        hallway: hallway.clone(),
        clock: clock.clone(),
        tasks: Tasks::new("http mesh"),
        waking: waking.clone(),
    };
    let authorities = config.ca_certificates.clone();
    HttpMesh::start(http_mesh::Config { authorities, ..config.http_mesh.clone() }, parts)
}

fn start_registered(
    config: &Config,
    store: &Store,
    hallway: &Hallway,
    (clock, waking): (&SharedClock, &Waking),
) -> Result<Registered, BuildError> {
    let settings =
        registered::Config { authorities: config.ca_certificates.clone(), ..config.registrations.clone() };
    let names = federation::names(&config.federation)?;
    let parts = registered::Parts {
        store: store.clone(),
        hallway: hallway.clone(),
        clock: clock.clone(),
        tasks: Tasks::new("registrations"),
        waking: waking.clone(),
        names,
    };
    Ok(Registered::start(settings, parts)?)
}

fn start_federation(
    config: &Config,
    store: &Store,
    agents: &Agents,
    clock: &SharedClock,
    data_dir: &Path,
) -> Result<Federation, federation::StartError> {
    let own_ports = agents.webhooks().own_ports().clone();
    let provider = &agents.directory().naming().provider;
    let own = federation::OwnProvider::load_or_create(&config.federation, provider, data_dir)?;
    let (store, clock) = (store.clone(), clock.clone());
    let parts = federation::Parts { store, clock, own_ports, names: None, own };
    let authorities = config.ca_certificates.clone();
    Federation::start(&federation::Config { authorities, ..config.federation.clone() }, parts)
}

async fn start_mesh(
    config: &Config,
    data_dir: &Path,
    identity: Identity,
    store: &Store,
    hallway: &Hallway,
    (clock, waking): (&SharedClock, &Waking),
    groups: &Groups,
) -> Result<Mesh, BuildError> {
    let swarm = swarm(config, &identity);
    let discovery = start_discovery(config, &identity, swarm.clone(), clock, &groups.discovery);
    let parts = mesh::Parts {
        data_dir: Some(data_dir.to_path_buf()),
        identity,
        store: store.clone(),
        hallway: hallway.clone(),
        clock: clock.clone(),
        tasks: Tasks::new("mesh"),
        waking: waking.clone(),
        discovery: Some(discovery),
        swarm,
    };
    let link =
        mesh::Config { listen: config.mesh, secret: config.mesh_secret.clone(), ..config.mesh_link.clone() };
    Ok(Mesh::start(link, parts).await?)
}

/// What reaches members beyond this network, unless the owner does without.
fn swarm(config: &Config, identity: &Identity) -> Option<Arc<Swarm>> {
    let key = identity.keypair().filter(|_| !config.no_swarm)?;
    Some(Swarm::new(SwarmConfig {
        listen: config.swarm,
        key,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        share_loopback: config.mesh_link.share_loopback,
        hole_punching: true,
    }))
}

fn start_discovery(
    config: &Config,
    identity: &Identity,
    swarm: Option<Arc<Swarm>>,
    clock: &SharedClock,
    tasks: &Tasks,
) -> (Arc<Manager>, mpsc::Receiver<Event>) {
    let interfaces = Interfaces::default();
    let mut finders: Vec<Arc<dyn Finder>> = vec![Arc::new(StaticList::new(config.peers.clone()))];
    if config.mdns {
        finders.push(Arc::new(Mdns::new(interfaces.clone())));
    }
    if let Some(swarm) = swarm {
        finders.push(swarm);
    }
    let elapsed = clock.clone();
    let started = Manager::start(
        manager::Config { own: identity.node_id(), interfaces },
        finders,
        Arc::new(move || elapsed.monotonic()),
        &tasks.stopping(),
    );
    for work in started.work {
        tasks.spawn(work);
    }
    (started.manager, started.events)
}

/// How long each part may take to close.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
