//! How the mesh stands, for its owner: members, neighbours, links and why there is none. Called by the control socket.

use super::Mesh;
use super::faults::{Fault, Times};
use super::peers::{Entry, LinkState};
use super::relay;
use amesh_discovery::manager::Manager;
use amesh_proto::api::control::{LabelConflict, MeshStatus, Peer, PeerFault, PeerRole, PeerState};
use amesh_proto::member::{Member, MeshId};
use amesh_proto::node_id::NodeId;
use amesh_proto::time::UnixMillis;
use amesh_proto::wire::VERSIONS;
use std::net::SocketAddr;
use std::time::Duration;

/// How things stand.
impl Mesh {
    /// The mesh in short.
    #[must_use]
    pub fn status(&self) -> MeshStatus {
        let connected = self.shared.peers.connected();
        let membership = self.shared.membership();
        MeshStatus {
            id: membership.mesh().to_string(),
            epoch: membership.list().epoch(),
            members: membership.list().members().count(),
            connected,
        }
    }

    /// This node, the members, then neighbours that are not members.
    #[must_use]
    pub fn peers(&self) -> Vec<Peer> {
        let shared = &self.shared;
        let table = shared.peers.all();
        let (members, mesh, founder) = {
            let membership = shared.membership();
            let list = membership.list();
            (list.members().cloned().collect::<Vec<Member>>(), membership.mesh(), list.founder())
        };
        let conflicts = self.label_conflicts();
        let mut peers: Vec<Peer> = members
            .iter()
            .filter(|member| member.node == self.node_id())
            .map(|member| self.own(member))
            .collect();
        for member in members.iter().filter(|member| member.node != self.node_id()) {
            let entry = table.get(&member.node).cloned().unwrap_or_default();
            peers.push(self.described(member, &entry));
        }
        for (peer, member) in peers.iter_mut().flat_map(|peer| {
            let node = peer.node_id.clone();
            members.iter().find(|member| member.node.to_string() == node).map(|member| (peer, member))
        }) {
            peer.role = Some(role(member, founder));
            peer.label_conflict = conflicts.iter().find(|conflict| conflict.loser == peer.node_id).cloned();
        }
        peers.extend(self.neighbours(&members, mesh));
        peers
    }

    /// Members whose host label an older member has: two introducers let them in at the same time.
    #[must_use]
    pub fn label_conflicts(&self) -> Vec<LabelConflict> {
        let membership = self.shared.membership();
        let list = membership.list();
        let conflict = |member: &Member| {
            let holder = list.label_conflict(&member.host, &member.node)?;
            Some(LabelConflict {
                host: member.host.clone(),
                holder: holder.to_string(),
                loser: member.node.to_string(),
                mend: format!(
                    "on {}: amesh leave && amesh down && amesh up --host OTHER-NAME --join TICKET",
                    member.node.short()
                ),
            })
        };
        list.members().filter_map(conflict).collect()
    }

    /// Whether another machine runs with this node's key.
    #[must_use]
    pub fn has_twin(&self) -> bool {
        let seen_at = *self.shared.twin.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        seen_at.is_some_and(|at| self.shared.clock.now().saturating_since(at) < TWIN_MEMORY)
    }

    /// The member whose clock differs most from this node's, and by how many milliseconds it is ahead. Of members that
    /// are linked.
    #[must_use]
    pub fn widest_clock(&self) -> Option<(String, i64)> {
        let table = self.shared.peers.all();
        let membership = self.shared.membership();
        let linked = membership.list().members().filter_map(|member| {
            let entry = table.get(&member.node).filter(|entry| entry.is_connected())?;
            Some((member.host.clone(), entry.clock_ahead_ms?))
        });
        linked.max_by_key(|(_, ahead)| ahead.unsigned_abs())
    }

    /// When a node without a link is dialled again.
    #[must_use]
    pub fn next_dial(&self, node: &NodeId) -> Option<UnixMillis> {
        self.shared.peers.get(node)?.next_dial
    }

    /// Who is seen, and how each source is doing; nothing in tests without discovery.
    #[must_use]
    pub fn discovery(&self) -> Option<&Manager> {
        self.shared.lookout.as_deref()
    }

    fn own(&self, member: &Member) -> Peer {
        Peer {
            node_id: member.node.to_string(),
            host: member.host.clone(),
            state: PeerState::Own,
            member: true,
            address: Some(self.listen_addr().to_string()),
            roster_version: Some(self.shared.store.own_roster_version()),
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            protocol: Some(VERSIONS.1),
            reason: self.has_twin().then(|| TWIN.to_owned()),
            ..Peer::default()
        }
    }

    fn described(&self, member: &Member, entry: &Entry) -> Peer {
        let mut peer = Peer {
            node_id: member.node.to_string(),
            host: member.host.clone(),
            member: true,
            address: entry.addresses.first().map(SocketAddr::to_string),
            last_seen: entry.last_seen.map(|at| at.to_rfc3339()),
            next_dial: entry.next_dial.map(|at| at.to_rfc3339()),
            roster_version: self.shared.rosters.version_of(&member.node),
            version: entry.software.clone(),
            protocol: entry.protocol,
            kept: self.shared.is_neighbour(&member.node),
            clock_ahead_ms: entry.clock_ahead_ms,
            faults: entry.faults.iter().map(fault).collect(),
            ..Peer::default()
        };
        match &entry.state {
            LinkState::Connected { address, rtt } => {
                peer.state = PeerState::Connected;
                if relay::is_relayed(address) {
                    peer.path = Some(self.shared.relayed_path(&member.node));
                } else {
                    peer.address = Some(address.to_string());
                    peer.path = Some("direct".to_owned());
                }
                peer.rtt_ms = Some(rtt.as_secs_f64() * 1000.0);
            }
            LinkState::Dialing { last_error } => {
                peer.state = PeerState::Connecting;
                peer.reason.clone_from(last_error);
            }
            LinkState::Offline { reason } => peer.reason = Some(reason.clone()),
            LinkState::Unknown if !self.shared.wants(&member.node) => peer.state = PeerState::Resting,
            LinkState::Unknown => {}
        }
        if entry.twin {
            peer.reason = Some(TWIN.to_owned());
        }
        if !self.shared.is_member(&member.node) {
            peer.reason = Some("it is blocked on this machine (amesh peers remove)".to_owned());
        }
        peer
    }

    /// Who is seen, or knocked, without being a member.
    fn neighbours(&self, members: &[Member], mesh: MeshId) -> Vec<Peer> {
        let shared = &self.shared;
        let is_member = |node: &NodeId| members.iter().any(|member| member.node == *node);
        let is_removed = |node: &NodeId| shared.membership().list().is_removed(node);
        let seen = shared.lookout.as_ref().map(|lookout| lookout.neighbours()).unwrap_or_default();
        let mut strangers = shared.peers.strangers();
        let mut neighbours: Vec<Peer> = Vec::new();
        for neighbour in seen.into_iter().filter(|neighbour| !is_member(&neighbour.node)) {
            let ours = neighbour.mesh_hint == Some(mesh.short_hash());
            let removed = ours && is_removed(&neighbour.node);
            let knocked = strangers.remove(&neighbour.node);
            let why = match (removed, ours, neighbour.mesh_hint) {
                (true, ..) => REMOVED.to_owned(),
                (_, true, _) => {
                    "it says that it is in this mesh, whose member list does not name it".to_owned()
                }
                (_, _, Some(_)) => "it is in another mesh; to have it in this one: amesh invite".to_owned(),
                (_, _, None) => "it is in no mesh; to have it in this one: amesh invite".to_owned(),
            };
            neighbours.push(Peer {
                node_id: neighbour.node.to_string(),
                host: neighbour.label.unwrap_or_default(),
                state: if removed { PeerState::Removed } else { PeerState::Neighbour },
                address: neighbour.addresses.first().map(SocketAddr::to_string),
                last_seen: knocked.as_ref().map(|knocked| knocked.last_seen.to_rfc3339()),
                reason: Some(
                    knocked.map_or_else(|| why.clone(), |knocked| format!("{why}; {}", knocked.reason)),
                ),
                ..Peer::default()
            });
        }
        for (node, stranger) in strangers {
            if !is_member(&node) && node != self.node_id() {
                let removed = is_removed(&node);
                neighbours.push(Peer {
                    node_id: node.to_string(),
                    state: if removed { PeerState::Removed } else { PeerState::Neighbour },
                    address: Some(stranger.address.to_string()),
                    last_seen: Some(stranger.last_seen.to_rfc3339()),
                    reason: Some(stranger.reason),
                    ..Peer::default()
                });
            }
        }
        neighbours
    }
}

fn fault((fault, times): (&Fault, &Times)) -> PeerFault {
    PeerFault { what: fault.to_string(), count: times.count, last: times.last.to_rfc3339() }
}

fn role(member: &Member, founder: Option<NodeId>) -> PeerRole {
    match member.may_introduce {
        true if founder == Some(member.node) => PeerRole::Founder,
        true => PeerRole::Introducer,
        false => PeerRole::Member,
    }
}

const TWIN: &str = "two machines run with this node's key; one of them needs a new one";
const REMOVED: &str = "it was removed from this mesh; to have it back: amesh invite";
/// The other machine tries again more often than this as long as it runs.
const TWIN_MEMORY: Duration = Duration::from_secs(120);
