//! What every part of the mesh's shell shares: the membership behind its lock, the store, the hallway, the table of
//! peers; and the one place where a change of membership takes effect. Built by `mod`.

use super::config::Config;
use super::endpoint::MeshEndpoint;
use super::faults::Fault;
use super::greet::Link;
use super::identity::Identity;
use super::membership::{About, Membership};
use super::moves::Moves;
use super::peers::{LinkState, PeerTable};
use super::persist::Persist;
use super::presence::PresenceTable;
use super::relay::{self, Relay};
use super::rosters::Rosters;
use super::seeds::Seeds;
use super::wanted::Wanted;
use crate::agents::directory::Directory;
use crate::clock::SharedClock;
use crate::message::Hallway;
use crate::tasks::Tasks;
use amesh_discovery::interfaces::Interfaces;
use amesh_discovery::manager::Manager;
use amesh_proto::member::MeshId;
use amesh_proto::node_id::NodeId;
use amesh_proto::ticket::Ticket;
use amesh_proto::time::UnixMillis;
use amesh_proto::wire::Neighbours;
use amesh_store::{Destination, PeerRecord, ReceiptOwner, Store, StoreError};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) identity: Identity,
    pub(crate) endpoint: MeshEndpoint,
    pub(crate) store: Store,
    pub(crate) hallway: Hallway,
    pub(crate) clock: SharedClock,
    pub(crate) tasks: Tasks,
    pub(crate) lookout: Option<Arc<Manager>>,
    pub(crate) relay: Option<Relay>,
    pub(crate) peers: PeerTable,
    pub(crate) wanted: Wanted,
    pub(crate) seeds: Seeds,
    pub(crate) rosters: Rosters,
    pub(crate) moves: Moves,
    pub(crate) presence: PresenceTable,
    pub(crate) persist: Persist,
    /// Drawn at start.
    pub(crate) boot: u64,
    pub(crate) membership: Mutex<Membership>,
    pub(crate) twin: Mutex<Option<UnixMillis>>,
}

/// Questions.
impl Shared {
    /// The membership. Never held across an await.
    pub(crate) fn membership(&self) -> MutexGuard<'_, Membership> {
        self.membership.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn directory(&self) -> &Directory {
        self.hallway.agents().directory()
    }

    pub(crate) fn host(&self) -> &str {
        &self.directory().naming().host
    }

    pub(crate) fn mesh_id(&self) -> MeshId {
        self.membership().mesh()
    }

    pub(crate) fn is_member(&self, node: &NodeId) -> bool {
        self.membership().admits(node)
    }

    /// Whether the mesh is open to everybody who knows its secret.
    pub(crate) fn is_open(&self) -> bool {
        self.membership().list().founder().is_none()
    }

    pub(crate) fn is_linked(&self, node: &NodeId) -> bool {
        self.peers.is_connected(node)
    }

    pub(crate) fn stopping(&self) -> bool {
        self.tasks.stopping().is_cancelled()
    }

    /// What this node tells of itself in a greeting.
    pub(crate) fn about(&self) -> About {
        let roster_version = self.store.own_roster_version();
        About {
            roster_version,
            generation: self.store.generation(),
            boot: self.boot,
            clock: self.clock.now(),
        }
    }

    /// Whether mail, or a receipt, waits for `node`.
    pub(crate) fn has_mail_for(&self, node: &NodeId) -> bool {
        self.store.outbox_len(&Destination::Node(*node)) > 0
            || self.store.receipt_count(ReceiptOwner::Node(*node)) > 0
    }

    /// Where `node` may be reached, best first: where it is seen, then where it was reached before.
    pub(crate) fn addresses_of(&self, node: &NodeId) -> Vec<SocketAddr> {
        let mut addresses = self.lookout.as_ref().map(|lookout| lookout.find(node)).unwrap_or_default();
        addresses.extend(self.peers.get(node).unwrap_or_default().addresses);
        let mut seen = BTreeSet::new();
        let real = |address: &SocketAddr| !relay::is_relayed(address) && self.endpoint.can_reach(address);
        addresses.retain(|address| real(address) && seen.insert(*address));
        addresses.truncate(RACERS);
        addresses
    }

    /// Where others may reach this node, for tickets.
    pub(crate) fn own_addresses(&self) -> Vec<SocketAddr> {
        let local = self.endpoint.local_addr();
        if !local.ip().is_unspecified() {
            return vec![local];
        }
        let mut addresses = Interfaces::default().addresses();
        if self.config.share_loopback || addresses.is_empty() {
            addresses.push(std::net::Ipv4Addr::LOCALHOST.into());
        }
        let usable = addresses.into_iter().map(|ip| SocketAddr::new(ip, local.port()));
        usable.filter(|address| self.endpoint.can_reach(address)).take(Ticket::ADDRESS_LIMIT).collect()
    }

    /// Addresses of the agents that live here.
    pub(crate) fn own_agents(&self) -> Vec<String> {
        let listed = self.directory().list().into_iter();
        listed.filter(|agent| agent.local.is_some()).map(|agent| agent.address.to_string()).collect()
    }
}

/// What is learnt about peers.
impl Shared {
    /// Reads back what earlier runs learnt.
    pub(crate) fn remember(&self) -> Result<(), StoreError> {
        self.rosters.load(self)?;
        for peer in self.store.peers()?.into_iter().filter(|peer| self.is_member(&peer.node)) {
            self.peers.update(&peer.node, |entry| {
                entry.addresses = peer.addresses;
                entry.last_seen = peer.last_connected;
            });
        }
        Ok(())
    }

    /// A link with `node` came about at `address`.
    pub(crate) fn reached(&self, node: &NodeId, address: SocketAddr) {
        if let Some(lookout) = &self.lookout {
            lookout.note_answered(&address);
        }
        let lasting = !relay::is_relayed(&address) && !is_of_one_interface(&address);
        if lasting && self.peers.learn_address(node, address) {
            self.pass_on_addresses(*node);
        }
        let host = self.membership().list().member(node).map(|member| member.host.clone());
        let addresses = self.peers.get(node).unwrap_or_default().addresses;
        let last_connected = Some(self.clock.now());
        // A hint for the next start; nobody waits for it.
        drop(self.store.put_peer(PeerRecord {
            node: *node,
            host: host.unwrap_or_default(),
            addresses,
            last_connected,
            blocked: false,
            gateway: false,
        }));
    }

    /// Lets linked members know where `node` is: who is not linked with it may want to be.
    pub(crate) fn pass_on_addresses(&self, node: NodeId) {
        self.peers.tell_all(|news| {
            // Whoever is left out hears of it when it links next.
            if news.reached.len() < Neighbours::LIMIT {
                news.reached.insert(node);
            }
        });
    }

    /// Whether `address` means the same to the other members: a loopback address leads everybody to themselves, unless
    /// the mesh port is open to this machine only and all of them live here.
    pub(crate) fn may_pass_on(&self, address: &SocketAddr) -> bool {
        let alone = self.endpoint.local_addr().ip().is_loopback();
        let leads_here = address.ip().is_loopback() && !(alone || self.config.share_loopback);
        !leads_here && !relay::is_relayed(address) && !is_of_one_interface(address)
    }

    /// Something came from `node` just now.
    pub(crate) fn seen(&self, node: &NodeId, round_trip: Duration) {
        let now = self.clock.now();
        self.peers.update(node, |entry| {
            entry.last_seen = Some(now);
            if let LinkState::Connected { rtt, .. } = &mut entry.state {
                *rtt = round_trip;
            }
        });
    }

    /// `node` did what it should not.
    pub(crate) fn fault(&self, node: &NodeId, fault: Fault) {
        self.peers.fault(node, fault, self.clock.now());
    }

    /// Nobody, or somebody else, answered at `address`.
    pub(crate) fn silent(&self, address: SocketAddr) {
        if let Some(lookout) = &self.lookout {
            lookout.note_silent(address);
        }
    }

    /// Another machine runs with this node's key.
    pub(crate) fn twin_noticed(&self) {
        tracing::error!("another machine runs with this node's key; give one of them a new one");
        *self.twin.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.clock.now());
    }

    /// Hands a proven link to its peer's task.
    pub(crate) async fn adopt(&self, link: Link) {
        let Some(handle) = self.peers.handle(&link.node) else {
            link.connection.close(super::endpoint::CloseCode::Refused.into(), b"");
            return;
        };
        let connection = link.connection.clone();
        let handed = tokio::time::timeout(HANDING, handle.inbox.send(link)).await;
        if !matches!(handed, Ok(Ok(()))) {
            connection.close(super::endpoint::CloseCode::Busy.into(), b"");
        }
    }
}

/// Whether `address` means something only together with an interface of this machine: multicast finds it again.
fn is_of_one_interface(address: &SocketAddr) -> bool {
    matches!(address, SocketAddr::V6(v6) if v6.ip().is_unicast_link_local())
}

/// Addresses dialled at a time for one peer.
const RACERS: usize = 8;
/// For a peer's task to take a link.
const HANDING: Duration = Duration::from_secs(1);
