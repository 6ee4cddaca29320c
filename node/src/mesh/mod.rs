//! The carrier between nodes of one mesh: who is a member, links between members, mail over them (DESIGN §3).
//! Built by `node`, asked by the control socket.
//!
//! State machines without I/O: `membership`, `proof`, `link`, `roster`, `keeper`, `pace`, `boots`. The shell that drives them:
//! `accept`, `dial` and `seeds` make connections, `greet` makes links of them, one `peer` task per member keeps one
//! link and its `session`, `incoming` and `outgoing` carry mail between it, the hallway and the store; `relay` carries
//! links to members that nothing direct leads to.

mod accept;
mod boots;
mod carrier;
mod changes;
mod config;
mod control;
mod dial;
mod endpoint;
mod error;
mod faults;
mod frames;
mod greet;
mod identity;
mod incoming;
mod join;
mod keeper;
mod lend;
mod link;
mod lookout;
mod membership;
mod moves;
mod neighbours;
mod outgoing;
mod pace;
mod peer;
mod peers;
mod persist;
mod presence;
mod proof;
mod pull;
mod receipts;
mod relay;
mod report;
mod roster;
mod rosters;
mod seeds;
mod session;
mod shared;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
mod tidings;
mod wanted;

pub use config::Config;
pub use endpoint::EndpointError;
pub use error::{MeshError, StartError};
pub use identity::{Identity, IdentityError};

use crate::clock::SharedClock;
use crate::message::Hallway;
use crate::tasks::{StillRunning, Tasks};
use crate::waking::Waking;
use amesh_discovery::finder::Event;
use amesh_discovery::hosts::libp2p::Swarm;
use amesh_discovery::manager::Manager;
use amesh_proto::member::{MeshId, is_host_label};
use amesh_proto::node_id::NodeId;
use amesh_proto::ticket::Ticket;
use amesh_proto::time::UnixMillis;
use amesh_store::Store;
use carrier::MeshCarrier;
use endpoint::MeshEndpoint;
use membership::Membership;
use peers::Stop;
use persist::Persist;
use shared::Shared;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;

/// This node's part in its mesh. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Mesh {
    shared: Arc<Shared>,
    /// Join, leave and the like take turns.
    changing: Arc<tokio::sync::Mutex<()>>,
}

/// What the mesh is built from.
#[derive(Debug)]
pub struct Parts {
    /// Where the mesh file lies; nowhere, for tests.
    pub data_dir: Option<PathBuf>,
    /// The node key.
    pub identity: Identity,
    /// The store; the one that the hallway writes to.
    pub store: Store,
    /// The hallway. The mesh adds itself as a carrier.
    pub hallway: Hallway,
    /// The clock.
    pub clock: SharedClock,
    /// The mesh's own group of tasks: it is shut down with it.
    pub tasks: Tasks,
    /// Tells when this machine has slept.
    pub waking: Waking,
    /// Who is out there, and its news.
    pub discovery: Option<(Arc<Manager>, mpsc::Receiver<Event>)>,
    /// What reaches members that nothing direct leads to; one of discovery's sources.
    pub swarm: Option<Arc<Swarm>>,
}

impl Mesh {
    /// Listens, and links with every member. A node without a mesh founds one.
    ///
    /// # Errors
    /// When the port, the mesh file or the store cannot be used.
    pub async fn start(config: Config, parts: Parts) -> Result<Self, StartError> {
        let Parts { data_dir, identity, store, hallway, clock, tasks, waking, discovery, swarm } = parts;
        let host = hallway.agents().directory().naming().host.clone();
        if !is_host_label(&host) {
            return Err(StartError::HostLabel(host));
        }
        let persist = Persist::in_dir(data_dir.as_deref());
        let membership = begin(&config, &identity, &host, &persist, clock.now())?;
        let mut endpoint = MeshEndpoint::bind(config.listen, &identity, &config.tuning())?;
        let relay = swarm.map(relay::Relay::new);
        if let Some(relay) = &relay {
            endpoint = endpoint.with_relay(relay.socket.clone(), &config.tuning())?;
        }
        let (lookout, events) = discovery.unzip();
        let shared = Arc::new(Shared {
            config,
            identity,
            endpoint,
            store,
            hallway,
            clock,
            tasks,
            lookout,
            relay,
            peers: peers::PeerTable::default(),
            wanted: wanted::Wanted::default(),
            seeds: seeds::Seeds::default(),
            rosters: rosters::Rosters::default(),
            moves: moves::Moves::default(),
            presence: presence::PresenceTable::default(),
            persist,
            boot: rand::random(),
            membership: Mutex::new(membership),
            twin: Mutex::default(),
        });
        shared.save().await?;
        shared.remember().map_err(|error| StartError::Store(error.to_string()))?;
        shared.hallway.add_carrier(MeshCarrier::of(&shared));
        shared.settle_peers();
        shared.return_stray_mail();
        shared.renew_epoch().await?;
        run(&shared, events, waking);
        shared.announce();
        Ok(Self { shared, changing: Arc::default() })
    }

    /// This node.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.shared.identity.node_id()
    }

    /// Where the mesh port listens, with the port the system gave.
    #[must_use]
    pub fn listen_addr(&self) -> SocketAddr {
        self.shared.endpoint.local_addr()
    }

    /// Whether `ticket` leads to the mesh that this node is in. A text that is no ticket leads nowhere.
    #[must_use]
    pub fn is_in_mesh_of(&self, ticket: &str) -> bool {
        ticket.parse::<Ticket>().is_ok_and(|ticket| ticket.mesh == self.shared.mesh_id())
    }

    /// Lets nobody in any more, finishes and answers what is under way, says goodbye, closes the port. Discovery is
    /// stopped by `node`, which says goodbye to the network with it.
    ///
    /// # Errors
    /// [`StillRunning`] when tasks are left after `deadline`.
    pub async fn shutdown(&self, deadline: Duration) -> Result<(), StillRunning> {
        let shared = &self.shared;
        shared.endpoint.stop_accepting();
        shared.end_links(Stop::ShuttingDown, deadline.mul_f64(0.6)).await;
        shared.endpoint.close(deadline.mul_f64(0.2)).await;
        shared.tasks.shutdown(deadline.mul_f64(0.2)).await
    }
}

/// The label that this host has in its mesh, if it is in one: it stays when the hostname changes.
///
/// # Errors
/// When there is a mesh file that cannot be read.
pub fn known_label(data_dir: &Path) -> Result<Option<String>, StartError> {
    Ok(Persist::in_dir(Some(data_dir)).load()?.map(|state| state.host))
}

/// The membership this node starts with.
fn begin(
    config: &Config,
    identity: &Identity,
    host: &str,
    persist: &Persist,
    now: UnixMillis,
) -> Result<Membership, StartError> {
    let key = identity.key().clone();
    let open = config.open_secret()?;
    if let Some(state) = persist.load()? {
        let wanted = open.as_ref().map(MeshId::of_open_secret);
        if wanted.is_none_or(|wanted| wanted == state.mesh) {
            let restored = Membership::restore(key, state);
            let mut membership = restored.map_err(|error| persist.malformed(error.to_string()))?;
            let removed = membership.list().member(&identity.node_id()).is_none();
            if membership.host() != host && !removed {
                let (from, to) = (membership.host().to_owned(), host.to_owned());
                membership.rename(host, now).map_err(|error| StartError::Renamed { from, to, error })?;
            }
            return Ok(membership);
        }
    }
    Ok(match open {
        Some(secret) => Membership::open(key, host, secret, now),
        None => fresh(identity, host, now),
    })
}

/// A mesh of one's own.
fn fresh(identity: &Identity, host: &str, now: UnixMillis) -> Membership {
    Membership::found(identity.key().clone(), host, MeshId(rand::random()), rand::random(), now)
}

fn run(shared: &Arc<Shared>, events: Option<mpsc::Receiver<Event>>, waking: Waking) {
    // Not until stopped: who is being let in is let in, or told.
    shared.tasks.spawn(accept::run(shared.clone()));
    shared.tasks.spawn_until_stopped(seeds::run(shared.clone()));
    shared.tasks.spawn_until_stopped(wanted::run(shared.clone()));
    shared.tasks.spawn_until_stopped(publish(shared.clone()));
    shared.tasks.spawn_until_stopped(moves::run(shared.clone()));
    shared.tasks.spawn_until_stopped(lookout::wake(shared.clone(), waking));
    relay::run(shared);
    if let Some(events) = events {
        shared.tasks.spawn_until_stopped(lookout::run(shared.clone(), events));
    }
}

/// Tells the others whenever the agents of this node change.
async fn publish(shared: Arc<Shared>) {
    let mut version = shared.store.watch_own_roster();
    while version.changed().await.is_ok() {
        shared.rosters.own_changed(&shared);
        shared.peers.tell_all(|news| news.roster = true);
    }
}

#[cfg(test)]
impl Mesh {
    /// Ends without a word to anybody, as a killed process does.
    async fn vanish(&self) {
        let shared = &self.shared;
        shared.endpoint.vanish();
        shared.end_links(Stop::Removed, Duration::from_secs(5)).await;
        shared.endpoint.close(Duration::ZERO).await;
        drop(shared.tasks.shutdown(Duration::from_secs(5)).await);
    }
}
