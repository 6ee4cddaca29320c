//! What every part of the mesh's shell shares: the membership behind its lock, the store, the hallway, the table of
//! peers; and the one place where a change of membership takes effect. Built by `mod`.

use super::config::Config;
use super::endpoint::MeshEndpoint;
use super::files::FileError;
use super::greet::Link;
use super::identity::Identity;
use super::membership::{About, Changed, Membership};
use super::peer::Peer;
use super::peers::{LinkState, PeerHandle, PeerTable, Stop};
use super::persist::Persist;
use super::rosters::Rosters;
use super::seeds::Seeds;
use crate::agents::directory::{Directory, Member};
use crate::clock::SharedClock;
use crate::message::{Hallway, Settled};
use crate::tasks::Tasks;
use amesh_discovery::finder::Announcement;
use amesh_discovery::interfaces::Interfaces;
use amesh_discovery::manager::Manager;
use amesh_proto::member::MeshId;
use amesh_proto::node_id::NodeId;
use amesh_proto::ticket::Ticket;
use amesh_proto::time::UnixMillis;
use amesh_proto::wire::Frame;
use amesh_store::{Destination, PeerRecord, Seq, Store, StoreError};
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
    pub(crate) peers: PeerTable,
    pub(crate) seeds: Seeds,
    pub(crate) rosters: Rosters,
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
        self.peers.get(node).is_some_and(|entry| entry.is_connected())
    }

    pub(crate) fn stopping(&self) -> bool {
        self.tasks.stopping().is_cancelled()
    }

    /// What this node tells of itself in a greeting.
    pub(crate) fn about(&self) -> About {
        let roster_version = self.store.own_roster_version();
        About { roster_version, generation: self.store.generation(), boot: self.boot }
    }

    pub(crate) fn has_mail_for(&self, node: &NodeId) -> bool {
        self.store.outbox_len(&Destination::Node(*node)) > 0
    }

    /// Where `node` may be reached, best first: where it is seen, then where it was reached before.
    pub(crate) fn addresses_of(&self, node: &NodeId) -> Vec<SocketAddr> {
        let mut addresses = self.lookout.as_ref().map(|lookout| lookout.find(node)).unwrap_or_default();
        addresses.extend(self.peers.get(node).unwrap_or_default().addresses);
        let mut seen = BTreeSet::new();
        addresses.retain(|address| self.endpoint.can_reach(address) && seen.insert(*address));
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
        if self.config.share_loopback {
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
        if !self.may_remember(&address) {
            return;
        }
        self.peers.learn_address(node, address);
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

    /// Whether `address` may lead to another node. One of this very machine does where the mesh port is open to this
    /// machine only: whoever links with it lives here.
    pub(crate) fn may_remember(&self, address: &SocketAddr) -> bool {
        let alone = self.endpoint.local_addr().ip().is_loopback();
        alone || self.config.share_loopback || !address.ip().is_loopback()
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

/// Changes of membership.
impl Shared {
    /// Makes a change durable, then lets it take effect, then passes it on.
    pub(crate) async fn apply(self: &Arc<Self>, changed: Changed) -> Result<(), FileError> {
        if !changed.persist {
            return Ok(());
        }
        self.save().await?;
        self.settle_peers();
        if changed.out {
            tracing::error!(
                "this node was removed from its mesh; to be in one again: amesh join TICKET, or amesh leave"
            );
        }
        for frame in changed.tell {
            let frame = Arc::new(frame);
            self.peers.tell_all(|news| match &*frame {
                Frame::Members(_) => news.members = Some(frame.clone()),
                Frame::Secret(_) => news.secret = Some(frame.clone()),
                _ => {}
            });
        }
        Ok(())
    }

    /// The same, for a link that must not wait.
    pub(crate) fn apply_soon(self: &Arc<Self>, changed: Changed) {
        if !changed.persist {
            return;
        }
        let shared = self.clone();
        self.tasks.spawn(async move {
            if let Err(error) = shared.apply(changed).await {
                tracing::error!(%error, "a change of membership could not be written");
            }
        });
    }

    /// Writes the membership to disk.
    pub(crate) async fn save(&self) -> Result<(), FileError> {
        self.persist.save(&self.tasks, || self.membership().state()).await
    }

    /// Makes the tasks, the directory and the rosters follow the member list.
    pub(crate) fn settle_peers(self: &Arc<Self>) {
        let (members, me, out) = {
            let membership = self.membership();
            let member = |member: &amesh_proto::member::Member| Member {
                node: member.node,
                host: member.host.clone(),
                order: member.order,
            };
            let me = membership.list().member(&membership.id()).map(member);
            let others: Vec<Member> =
                membership.others().filter(|other| membership.admits(&other.node)).map(member).collect();
            let out = me.is_none();
            (others, me, out)
        };
        if let Some(me) = me {
            self.directory().set_me(me);
        }
        let wanted: BTreeSet<NodeId> =
            if out { BTreeSet::new() } else { members.iter().map(|member| member.node).collect() };
        for (node, handle) in self.peers.handles() {
            if !wanted.contains(&node) {
                handle.tell(|news| news.stop = Some(Stop::Removed));
                self.part_from(node);
            }
        }
        for member in members.into_iter().filter(|member| wanted.contains(&member.node)) {
            self.rosters.place(self, &member);
            if self.peers.handle(&member.node).is_none() {
                self.start_peer(member.node);
            }
        }
    }

    fn start_peer(self: &Arc<Self>, node: NodeId) {
        let (handle, links) = PeerHandle::new();
        self.peers.update(&node, |entry| entry.handle = Some(handle.clone()));
        self.tasks.spawn(Peer::new(self.clone(), node, handle, links).run());
    }

    /// Ends every link in good order and waits for the tasks, within `deadline`. They are forgotten.
    pub(crate) async fn end_links(&self, stop: Stop, deadline: Duration) {
        let tasks = self.peers.clear();
        for (_, handle) in &tasks {
            handle.tell(|news| news.stop = Some(stop));
        }
        let all = futures_util::future::join_all(tasks.iter().map(|(_, handle)| handle.ended()));
        if tokio::time::timeout(deadline, all).await.is_err() {
            tracing::warn!("some links did not end in time");
        }
    }

    /// Forgets everybody of the mesh that was left: rosters, and mail that cannot go anywhere now.
    pub(crate) fn forget_everybody(self: &Arc<Self>) {
        for node in self.rosters.nodes() {
            self.part_from(node);
        }
        self.return_stray_mail();
    }

    /// Bounces what waits for nodes that are no members.
    pub(crate) fn return_stray_mail(self: &Arc<Self>) {
        for queue in self.store.outbox_destinations() {
            if let Destination::Node(node) = queue.destination {
                if self.membership().list().member(&node).is_none() {
                    self.part_from(node);
                }
            }
        }
    }

    /// Forgets a node that is a member no more, and bounces what waits for it.
    fn part_from(self: &Arc<Self>, node: NodeId) {
        self.peers.forget(&node);
        self.rosters.forget(self, node);
        let shared = self.clone();
        self.tasks.spawn(async move { shared.bounce_all(Destination::Node(node)).await });
    }

    async fn bounce_all(&self, destination: Destination) {
        while let Ok(page) = self.store.outbox(&destination, None, BOUNCE_PAGE) {
            if page.is_empty() {
                return;
            }
            let gone = |seq: Seq| {
                let detail = "the recipient's host is no longer a member of this mesh".to_owned();
                (seq, Settled::Refused { code: "not_found".to_owned(), detail })
            };
            let verdicts = page.into_iter().map(|entry| gone(entry.seq)).collect();
            if let Err(error) = self.hallway.settle(&destination, verdicts).await {
                tracing::error!(%error, "mail for a removed host could not be returned");
                return;
            }
        }
    }

    /// Tells the network where this node is, and in which mesh.
    pub(crate) fn announce(&self) {
        if let Some(lookout) = &self.lookout {
            lookout.announce(&Announcement {
                host: self.host().to_owned(),
                node_id: self.identity.node_id(),
                mesh_hash: Some(self.mesh_id().short_hash()),
                port: self.endpoint.local_addr().port(),
            });
        }
    }
}

/// Addresses dialled at a time for one peer.
const RACERS: usize = 8;
/// For a peer's task to take a link.
const HANDING: Duration = Duration::from_secs(1);
const BOUNCE_PAGE: usize = 256;
