//! What the owner asks of the mesh: invite, join, leave, remove, and how things stand. Called by the control socket.

use super::Mesh;
use super::error::MeshError;
use super::join::{self, Answer};
use super::membership::Membership;
use super::peers::{Entry, LinkState, Stop};
use amesh_discovery::manager::Manager;
use amesh_proto::api::control::{Clash, Joined, MeshStatus, Peer, PeerRemoved, PeerState};
use amesh_proto::member::list::MemberError;
use amesh_proto::member::{Member, MeshId};
use amesh_proto::node_id::NodeId;
use amesh_proto::ticket::{Ticket, Token};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Actions.
impl Mesh {
    /// A one-time ticket for one more machine.
    ///
    /// # Errors
    /// When this node may not introduce members, or the ticket cannot be stored.
    pub async fn invite(&self, ttl: Option<Duration>) -> Result<Ticket, MeshError> {
        let shared = &self.shared;
        if !shared.membership().may_introduce() {
            return Err(MeshError::NotAllowed("this node may not let others into its mesh".to_owned()));
        }
        let ttl = ttl.unwrap_or(Duration::from_secs(shared.config.ticket_ttl_s)).min(LONGEST_TICKET);
        let ticket = Ticket {
            mesh: shared.mesh_id(),
            inviter: self.node_id(),
            addresses: shared.own_addresses(),
            token: Token(rand::random()),
            expires_at: shared.clock.now().plus(ttl),
        };
        let added = shared.store.add_ticket(ticket.token.hash(), ticket.expires_at).await;
        added.map_err(|error| MeshError::Store(error.to_string()))?;
        Ok(ticket)
    }

    /// Joins the mesh of `ticket`. With names that clash and without `confirm`, tells them and joins nothing.
    ///
    /// # Errors
    /// When the ticket is not good, the inviter refuses or is not there, or others would be left behind.
    pub async fn join(&self, ticket: &str, leave: bool, confirm: bool) -> Result<Joined, MeshError> {
        let shared = &self.shared;
        let ticket: Ticket = ticket.parse()?;
        let _one_at_a_time = self.changing.lock().await;
        self.may_join(&ticket, leave)?;
        let (grant, clashes, inviter_at) = match join::ask(shared, &ticket, confirm).await? {
            Answer::Clashes(names) => {
                return Ok(Joined {
                    joined: false,
                    mesh: ticket.mesh.to_string(),
                    clashes: described(names),
                    ..Joined::default()
                });
            }
            Answer::Granted { grant, clashes, inviter_at } => (grant, clashes, inviter_at),
        };
        let key = shared.identity.key().clone();
        let joined = Membership::joined(key, shared.host(), &ticket, *grant)
            .map_err(|error| MeshError::Refused { code: "bad_grant", why: error.to_string() })?;
        self.say_goodbye().await;
        self.replace(joined).await?;
        // Even where it is an address of this very machine: the peer's task is about to dial it.
        shared.peers.learn_address(&ticket.inviter, inviter_at);
        shared.reached(&ticket.inviter, inviter_at);
        if let Some(inviter) = shared.peers.handle(&ticket.inviter) {
            inviter.tell(|news| news.life = true);
        }
        let members = shared.membership().list().members().map(|member| member.host.clone()).collect();
        Ok(Joined { joined: true, mesh: ticket.mesh.to_string(), members, clashes: described(clashes) })
    }

    /// Tells the members, forgets the mesh, and founds one of its own.
    ///
    /// # Errors
    /// When the new state cannot be written.
    pub async fn leave(&self) -> Result<(), MeshError> {
        let _one_at_a_time = self.changing.lock().await;
        self.say_goodbye().await;
        self.replace(super::fresh(&self.shared.identity, self.shared.host(), self.shared.clock.now())).await
    }

    /// Removes the member that `id` names (node id, its last eight characters, or host label): for the whole mesh
    /// where this node may, else on this machine alone.
    ///
    /// # Errors
    /// When there is no such member, or the state cannot be written.
    pub async fn remove(&self, id: &str) -> Result<PeerRemoved, MeshError> {
        let shared = &self.shared;
        let node = self.named(id)?;
        let now = shared.clock.now();
        let removed = shared.membership().remove(node, true, rand::random(), now);
        let scope = match removed {
            Ok(changed) => {
                shared.apply(changed).await?;
                "mesh"
            }
            Err(MemberError::NotAllowed) => {
                shared.membership().block(node, true);
                shared.save().await?;
                shared.settle_peers();
                "local"
            }
            Err(error) => return Err(MeshError::NotAllowed(error.to_string())),
        };
        Ok(PeerRemoved { node_id: node.to_string(), scope: scope.to_owned() })
    }

    fn may_join(&self, ticket: &Ticket, leave: bool) -> Result<(), MeshError> {
        let shared = &self.shared;
        if shared.stopping() {
            return Err(MeshError::Stopping);
        }
        if ticket.inviter == self.node_id() {
            return Err(MeshError::OwnTicket);
        }
        if ticket.expires_at <= shared.clock.now() {
            return Err(MeshError::Expired);
        }
        let membership = shared.membership();
        let stands = membership.list().member(&membership.id()).is_some();
        if ticket.mesh == membership.mesh() && stands {
            return Err(MeshError::AlreadyMember);
        }
        let others = membership.others().count();
        if stands && others > 0 && !leave {
            return Err(MeshError::HasMembers { others });
        }
        Ok(())
    }

    /// Ends every link, with the news that this node leaves its mesh.
    async fn say_goodbye(&self) {
        let shared = &self.shared;
        let now = shared.clock.now();
        let left = shared.membership().leave(now);
        if let Ok(changed) = left {
            for frame in changed.tell {
                let frame = Arc::new(frame);
                shared.peers.tell_all(|news| news.members = Some(frame.clone()));
            }
        }
        shared.end_links(Stop::Leaving, FAREWELL).await;
    }

    /// Puts `membership` in the place of the present one.
    async fn replace(&self, membership: Membership) -> Result<(), MeshError> {
        let shared = &self.shared;
        *shared.membership() = membership;
        shared.save().await?;
        shared.forget_everybody();
        shared.settle_peers();
        shared.announce();
        Ok(())
    }

    fn named(&self, id: &str) -> Result<NodeId, MeshError> {
        let membership = self.shared.membership();
        let fits = |member: &&Member| {
            let node = member.node.to_string();
            node == id || member.host == id || member.node.short() == id
        };
        let mut found = membership.others().filter(fits).map(|member| member.node);
        let Some(node) = found.next() else { return Err(MeshError::NoSuchMember(id.to_owned())) };
        if found.next().is_some() { Err(MeshError::Ambiguous(id.to_owned())) } else { Ok(node) }
    }
}

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
        let (members, mesh) = {
            let membership = shared.membership();
            (membership.list().members().cloned().collect::<Vec<Member>>(), membership.mesh())
        };
        let mut peers: Vec<Peer> = members
            .iter()
            .filter(|member| member.node == self.node_id())
            .map(|member| self.own(member))
            .collect();
        for member in members.iter().filter(|member| member.node != self.node_id()) {
            let entry = table.get(&member.node).cloned().unwrap_or_default();
            peers.push(self.described(member, &entry));
        }
        peers.extend(self.neighbours(&members, mesh));
        peers
    }

    /// Whether another machine runs with this node's key.
    #[must_use]
    pub fn has_twin(&self) -> bool {
        self.shared.twin.lock().unwrap_or_else(std::sync::PoisonError::into_inner).is_some()
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
            roster_version: self.shared.rosters.version_of(&member.node),
            ..Peer::default()
        };
        match &entry.state {
            LinkState::Connected { address, rtt } => {
                peer.state = PeerState::Connected;
                peer.address = Some(address.to_string());
                peer.path = Some("direct".to_owned());
                peer.rtt_ms = Some(rtt.as_secs_f64() * 1000.0);
            }
            LinkState::Dialing { last_error } => {
                peer.state = PeerState::Connecting;
                peer.reason.clone_from(last_error);
            }
            LinkState::Offline { reason } => peer.reason = Some(reason.clone()),
            LinkState::Unknown => {}
        }
        if entry.twin {
            peer.reason =
                Some("two machines run with this node's key; one of them needs a new one".to_owned());
        }
        peer
    }

    /// Who is seen, or knocked, without being a member.
    fn neighbours(&self, members: &[Member], mesh: MeshId) -> Vec<Peer> {
        let shared = &self.shared;
        let is_member = |node: &NodeId| members.iter().any(|member| member.node == *node);
        let seen = shared.lookout.as_ref().map(|lookout| lookout.neighbours()).unwrap_or_default();
        let mut neighbours: Vec<Peer> = Vec::new();
        for neighbour in seen.into_iter().filter(|neighbour| !is_member(&neighbour.node)) {
            let removed = neighbour.mesh_hint == Some(mesh.short_hash())
                && shared.membership().list().is_removed(&neighbour.node);
            neighbours.push(Peer {
                node_id: neighbour.node.to_string(),
                host: neighbour.label.unwrap_or_default(),
                state: if removed { PeerState::Removed } else { PeerState::Neighbour },
                address: neighbour.addresses.first().map(SocketAddr::to_string),
                ..Peer::default()
            });
        }
        for (node, stranger) in shared.peers.strangers() {
            let text = node.to_string();
            if !is_member(&node)
                && node != self.node_id()
                && neighbours.iter().all(|known| known.node_id != text)
            {
                neighbours.push(Peer {
                    node_id: text,
                    state: PeerState::Neighbour,
                    address: Some(stranger.address.to_string()),
                    last_seen: Some(stranger.last_seen.to_rfc3339()),
                    ..Peer::default()
                });
            }
        }
        neighbours
    }
}

fn described(names: Vec<String>) -> Vec<Clash> {
    names.into_iter().map(|address| Clash { address, ..Clash::default() }).collect()
}

/// A ticket is a secret on paper: it does not live for weeks.
const LONGEST_TICKET: Duration = Duration::from_secs(7 * 24 * 3600);
/// For members to hear that this node leaves.
const FAREWELL: Duration = Duration::from_secs(2);
