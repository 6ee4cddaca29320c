//! What the owner asks of the mesh: invite, join, leave, remove, and how things stand. Called by the control socket.

use super::Mesh;
use super::error::MeshError;
use super::join::{self, Answer};
use super::membership::Membership;
use super::peers::Stop;
use amesh_proto::api::control::{Clash, Joined, PeerRemoved};
use amesh_proto::member::list::MemberError;
use amesh_proto::node_id::NodeId;
use amesh_proto::ticket::{Ticket, Token};
use std::time::Duration;

/// Actions.
impl Mesh {
    /// A one-time ticket for one more machine, which becomes a plain member or an introducer.
    ///
    /// # Errors
    /// When this node may not introduce members, or the ticket cannot be stored.
    pub async fn invite(&self, ttl: Option<Duration>, introducer: bool) -> Result<Ticket, MeshError> {
        let shared = &self.shared;
        self.may_introduce("let others into its mesh", "amesh invite")?;
        let ttl = ttl.unwrap_or_else(|| Duration::from_secs(shared.config.ticket_ttl_s)).min(LONGEST_TICKET);
        let ticket = Ticket {
            mesh: shared.mesh_id(),
            inviter: self.node_id(),
            addresses: shared.own_addresses(),
            token: Token(rand::random()),
            expires_at: shared.clock.now().plus(ttl),
        };
        let added = shared.store.add_ticket(ticket.token.hash(), ticket.expires_at, introducer).await;
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
        shared.reached(&ticket.inviter, inviter_at);
        shared.seek(&ticket.inviter);
        if let Some(inviter) = shared.peers.handle(&ticket.inviter) {
            inviter.tell(|news| news.life = true);
        }
        // So that the next command finds the others' names. Without a link it is a member all the same.
        drop(tokio::time::timeout(LINKING, shared.peers.connected_to(&ticket.inviter)).await);
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

    /// Gives the member that `id` names the right to let others in and to remove them.
    ///
    /// # Errors
    /// When this node has not that right itself, there is no such member, or the state cannot be written.
    pub async fn promote(&self, id: &str) -> Result<NodeId, MeshError> {
        let shared = &self.shared;
        self.may_introduce("make others introducers", &format!("amesh peers promote {id}"))?;
        let node = self.named(id)?;
        let promoted = shared.membership().promote(node, shared.clock.now());
        let changed = promoted.map_err(|error| MeshError::NotAllowed(error.to_string()))?;
        shared.apply(changed).await?;
        Ok(node)
    }

    /// Names those who may, where this node may not.
    fn may_introduce(&self, what: &str, command: &str) -> Result<(), MeshError> {
        let membership = self.shared.membership();
        if membership.may_introduce() {
            return Ok(());
        }
        let entitled = match membership.introducers() {
            none if none.is_empty() => "nobody is left who may".to_owned(),
            some => format!("the founder and introducers may: {}", some.join(", ")),
        };
        Err(MeshError::NotAllowed(format!(
            "this node is a plain member and may not {what}; {entitled}. Run `{command}` there"
        )))
    }

    fn may_join(&self, ticket: &Ticket, leave: bool) -> Result<(), MeshError> {
        let shared = &self.shared;
        if shared.stopping() {
            return Err(MeshError::Stopping);
        }
        if ticket.inviter == self.node_id() {
            return Err(MeshError::OwnTicket);
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
        if left.is_ok() {
            shared.peers.tell_all(|news| news.members = true);
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
        let fits = |member: &&amesh_proto::member::Member| {
            let node = member.node.to_string();
            node == id || member.host == id || member.node.short() == id
        };
        let mut found = membership.others().filter(fits).map(|member| member.node);
        let Some(node) = found.next() else { return Err(MeshError::NoSuchMember(id.to_owned())) };
        if found.next().is_some() { Err(MeshError::Ambiguous(id.to_owned())) } else { Ok(node) }
    }
}

fn described(names: Vec<String>) -> Vec<Clash> {
    names.into_iter().map(|address| Clash { address, ..Clash::default() }).collect()
}

/// A ticket is a secret on paper: it does not live for weeks.
const LONGEST_TICKET: Duration = Duration::from_secs(7 * 24 * 3600);
/// For the first link after joining.
const LINKING: Duration = Duration::from_secs(2);
/// For members to hear that this node leaves.
const FAREWELL: Duration = Duration::from_secs(2);
