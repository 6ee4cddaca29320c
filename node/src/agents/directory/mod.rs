//! Where an address leads and who holds a name: the agents of this node and the rosters of the others, as one picture.
//!
//! Names are mesh-wide (DESIGN §3): of two nodes with the same address, the one that has been a member longer holds
//! it, and every node computes that alike. Fed by `Agents` and by `mesh`; read by the hallway for every message, so
//! everything is in memory.

mod clash;
mod known;
mod moving;
mod outside;
mod picture;
#[cfg(test)]
mod tests;

pub use clash::Clash;
pub use moving::Leaving;
pub use outside::{Foreigner, Outsider};

use super::{Agent, Arrivals};
use amesh_proto::address::{Address, AddressError, Naming};
use amesh_proto::key::PublicKey;
use amesh_proto::member::MeshId;
use amesh_proto::node_id::NodeId;
use amesh_proto::roster::{RetiredKey, RosterEntry};
use amesh_proto::time::UnixMillis;
use picture::Picture;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The one picture of who is where. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Directory {
    naming: Arc<Naming>,
    picture: Arc<RwLock<Picture>>,
    arrivals: Arc<Arrivals>,
}

/// Which way a message goes, as far as its recipient may leave it by moving (DESIGN §3, Moving).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Into a mailbox here; brought by that member, or written here.
    Here(Option<NodeId>),
    /// To that member.
    To(NodeId),
}

/// A node of the mesh as far as names go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The node.
    pub node: NodeId,
    /// Its host label.
    pub host: String,
    /// Its place in the order of membership: lower is older. Equal orders are settled by the node id.
    pub order: u64,
}

/// Where mail for an address goes.
#[derive(Debug, Clone)]
pub enum Resolution {
    /// To an agent of this node.
    Local(Arc<Agent>),
    /// To a member of the mesh.
    Remote {
        /// The member.
        node: NodeId,
        /// Its host label.
        host: String,
        /// The agent's address as that member lists it.
        address: Address,
        /// The agent as listed.
        entry: Arc<RosterEntry>,
    },
    /// To nobody that is known.
    Unknown,
}

/// Where an agent lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// The node.
    pub node: NodeId,
    /// Its host label.
    pub host: String,
    /// Since when by the agent's own word, if it ever moved.
    pub since: Option<UnixMillis>,
    /// Its key, SPKI DER.
    pub public_key: Vec<u8>,
}

/// Whether an agent of this node may use its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It may.
    Holds,
    /// Another node has held it longer, with another key.
    Lost {
        /// That node's host label.
        holder: String,
        /// The command that mends it.
        mend: String,
    },
}

/// The key that judges mail of a remote sender.
#[derive(Debug, Clone)]
pub enum KeyAnswer {
    /// This one.
    Valid(PublicKey),
    /// That node lists no such agent.
    NotListed,
    /// The agent had no valid key at that time: withdrawn, compromised, or deregistered.
    NoneAtThatTime,
    /// The name belongs to another node; this one only claims it.
    HeldBy(Member),
}

/// An agent somewhere in the mesh, for lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its address.
    pub address: Address,
    /// A name for people.
    pub alias: Option<String>,
    /// The host it lives on.
    pub host: String,
    /// The member that it lives at.
    pub node: NodeId,
    /// Set for agents of this node.
    pub local: Option<amesh_store::AgentNo>,
}

impl Directory {
    /// A picture with nobody in it. Until `mesh` says otherwise this node is the oldest member of no mesh.
    #[must_use]
    pub fn new(naming: Naming, node: NodeId) -> Self {
        let me = Member { node, host: naming.host.clone(), order: 0 };
        Self {
            naming: Arc::new(naming),
            picture: Arc::new(RwLock::new(Picture::new(me))),
            arrivals: Arc::default(),
        }
    }

    /// Who has just moved.
    #[must_use]
    pub fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }

    /// Hands a message to `address` over, if `way` is still its way. Nobody moves before `hand_over` returns: what a way
    /// was found for is handed over before that way ends, and what follows can count on it.
    pub fn unless_moved<T>(&self, address: &Address, way: Way, hand_over: impl FnOnce() -> T) -> Option<T> {
        let picture = self.read();
        let holds = self.arrivals.holds(address);
        let open = match way {
            Way::Here(carrier) => {
                let earlier = carrier.is_some_and(|carrier| moving::still_lists(&picture, carrier, address));
                match moving::leaving(&picture, address) {
                    // It may be on its way back, and what comes back with it is older.
                    Some(leaving) => !leaving.departed,
                    None => !holds || earlier,
                }
            }
            Way::To(node) => match picture.holder(address) {
                Some(home) if home == node => !holds,
                Some(home) => !moving::has_moved(&picture, address, node, home),
                None => true,
            },
        };
        open.then(hand_over)
    }

    /// The names of this node.
    #[must_use]
    pub fn naming(&self) -> &Naming {
        &self.naming
    }

    /// The full address that `typed` means for `sender`, host labels of the mesh included (ADR-10, ADR-13, ADR-14).
    ///
    /// # Errors
    /// When `typed` is no address.
    pub fn expand(&self, typed: &str, sender: Option<&Address>) -> Result<Address, AddressError> {
        let picture = self.read();
        self.naming.expand_with(typed, sender, |label| {
            picture.is_host(label) || picture.outside.host(label).is_some()
        })
    }

    /// Where mail for `address` goes. An address that names a host leads there and nowhere else; otherwise the
    /// oldest member that lists the address has it; a short address leads to a scoped agent when only one fits (ADR-11).
    #[must_use]
    pub fn resolve(&self, address: &Address) -> Resolution {
        let picture = self.read();
        if let Some(node) = self.naming.host_in(address).and_then(|host| picture.node_of_host(host)) {
            let Ok(there) = self.naming.address_of(address.name()) else { return Resolution::Unknown };
            return picture.at_or_moved(node, &there);
        }
        match picture.holder(address) {
            Some(node) => picture.at(node, address),
            None => {
                picture.only_scoped(address).map_or(Resolution::Unknown, |found| picture.holder_of(&found))
            }
        }
    }

    /// Whether `agent` may send under its name. With the same key on both nodes it is one identity in two places, and
    /// may; with another key it has lost the name (DESIGN §3).
    #[must_use]
    pub fn standing(&self, agent: &Agent) -> Standing {
        let picture = self.read();
        match picture.lost_to(&agent.address, &agent.record.public_key_der) {
            None => Standing::Holds,
            Some(holder) => Standing::Lost {
                holder: holder.host.clone(),
                mend: clash::mend(agent.address.name(), picture.me()),
            },
        }
    }

    /// The key of `address` that was valid at `node` when the origin accepted the mail (DESIGN §3).
    #[must_use]
    pub fn key_for(&self, node: NodeId, address: &Address, accepted_at: UnixMillis) -> KeyAnswer {
        self.read().key_for(node, address, accepted_at)
    }

    /// The keys of `address`, present and retired, by which mail that `node` brings may be signed whatever the clocks say of
    /// the time between: none that is in other hands, and none of an agent that was gone by then.
    #[must_use]
    pub fn good_keys(&self, node: NodeId, address: &Address, accepted_at: UnixMillis) -> Vec<PublicKey> {
        self.read().good_keys(node, address, accepted_at)
    }

    /// The current key of whoever holds `address`; for checks outside the hallway and for resolve (API-10).
    #[must_use]
    pub fn current_key(&self, address: &Address) -> Option<PublicKey> {
        match self.resolve(address) {
            Resolution::Local(agent) => Some(agent.key.clone()),
            Resolution::Remote { node, address, .. } => self.read().current_key(node, &address),
            Resolution::Unknown => None,
        }
    }

    /// The key that judged mail of `address` that was accepted at `accepted_at`: keys that an agent has replaced since, and
    /// keys of agents that left, are kept 90 days (DESIGN §3, Roster).
    #[must_use]
    pub fn key_at(&self, address: &Address, accepted_at: UnixMillis) -> Option<PublicKey> {
        let picture = self.read();
        let outside = || picture.outside.agent(address)?.key_at(accepted_at);
        let foreign = || picture.outside.foreigner(address)?.key_at(accepted_at);
        picture.key_at(address, accepted_at).or_else(outside).or_else(foreign)
    }

    /// The keys that `address` had in the last 90 days and has no more, newest first.
    #[must_use]
    pub fn retired_keys(&self, address: &Address) -> Vec<RetiredKey> {
        self.read().retired_keys(address)
    }

    /// Whether `address` has revoked `key`, as messages name it, because it is in other hands.
    #[must_use]
    pub fn is_compromised(&self, address: &Address, key: &str) -> bool {
        let is_it = |der: &[u8]| PublicKey::from_spki_der(der).is_ok_and(|it| it.sender_key_text() == key);
        let foreigner = self.foreigner(address).unwrap_or_default();
        if foreigner.revoked.iter().any(|(revoked, _)| revoked.sender_key_text() == key) {
            return true;
        }
        let retired = self.retired_keys(address);
        retired.iter().any(|retired| retired.compromised && is_it(&retired.public_key))
    }

    /// `agent` as it is now: a caller may have held it while it changed.
    #[must_use]
    pub fn present(&self, agent: &Arc<Agent>) -> Arc<Agent> {
        let picture = self.read();
        picture.local(&agent.address).filter(|now| now.no == agent.no).unwrap_or(agent).clone()
    }

    /// The agent of this node with exactly this address, if it lives elsewhere by its own word (DESIGN §3, Moving).
    #[must_use]
    pub fn leaving(&self, address: &Address) -> Option<Leaving> {
        moving::leaving(&self.read(), address)
    }

    /// Every agent of this node that lives elsewhere by its own word.
    #[must_use]
    pub fn all_leaving(&self) -> Vec<Leaving> {
        let picture = self.read();
        picture.locals().filter_map(|agent| moving::leaving(&picture, &agent.address)).collect()
    }

    /// Whether the agent of `address` left `node` for the node where it lives now.
    #[must_use]
    pub fn has_left(&self, node: NodeId, address: &Address) -> bool {
        let picture = self.read();
        let home = picture.holder(address);
        home.is_some_and(|home| moving::has_moved(&picture, address, node, home))
    }

    /// Every address that `node` lists, or listed, and whose agent left it for where it lives now.
    #[must_use]
    pub fn all_that_left(&self, node: NodeId) -> Vec<Address> {
        self.read().all_that_left(node)
    }

    /// Whether this node lists `address` as one that lives here.
    #[must_use]
    pub fn lists_here(&self, address: &Address) -> bool {
        self.read().lives_here(address)
    }

    /// Whether `node` still lists the agent of this node with this address, and may hand its mail on.
    #[must_use]
    pub fn still_lists(&self, node: NodeId, address: &Address) -> bool {
        moving::still_lists(&self.read(), node, address)
    }

    /// Whether `node` may bring mail of others to the agent `address` of this node, which lived there.
    #[must_use]
    pub fn hands_on(&self, node: NodeId, address: &Address) -> bool {
        moving::hands_on(&self.read(), node, address)
    }

    /// Who holds `address`, and since when by the agent's own word; its key there.
    #[must_use]
    pub fn home_of(&self, address: &Address) -> Option<Home> {
        let picture = self.read();
        let node = picture.holder(address)?;
        let known = picture.known(node, address)?;
        let host = picture.member(node)?.host.clone();
        Some(Home { node, host, since: known.home, public_key: known.entry.public_key.clone() })
    }

    /// The mesh that this picture is of.
    #[must_use]
    pub fn mesh(&self) -> Option<MeshId> {
        self.read().mesh()
    }

    /// This picture is of `mesh` from now on.
    pub fn set_mesh(&self, mesh: MeshId) {
        self.write().set_mesh(mesh);
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.read().me().node
    }

    /// The member, other than this node, that holds `address` or lists it and has been in the mesh longest.
    #[must_use]
    pub fn listed_elsewhere(&self, address: &Address) -> Option<Member> {
        self.read().listed_elsewhere(address).cloned()
    }

    /// Whether `label` is the host label of this node, of a member or of an HTTP host.
    #[must_use]
    pub fn is_host(&self, label: &str) -> bool {
        let picture = self.read();
        picture.is_host(label) || picture.outside.host(label).is_some()
    }

    /// The HTTP host that `address` names.
    #[must_use]
    pub fn http_host_in(&self, address: &Address) -> Option<Arc<str>> {
        self.read().outside.host(self.naming.host_in(address)?)
    }

    /// What is remembered of an agent at an HTTP host.
    #[must_use]
    pub fn outsider(&self, address: &Address) -> Option<Outsider> {
        self.read().outside.agent(address).cloned()
    }

    /// How many agents of HTTP hosts are remembered.
    #[must_use]
    pub fn outsider_count(&self) -> usize {
        self.read().outside.count()
    }

    /// Remembers an agent at an HTTP host.
    pub fn put_outsider(&self, address: Address, agent: Outsider) {
        self.write().outside.put(address, agent);
    }

    /// What is remembered of an agent of another provider.
    #[must_use]
    pub fn foreigner(&self, address: &Address) -> Option<Foreigner> {
        self.read().outside.foreigner(address).cloned()
    }

    /// Knows nothing of an agent of another provider any more.
    pub fn forget_foreigner(&self, address: &Address) {
        self.write().outside.forget_foreigner(address);
    }

    /// Remembers an agent of another provider.
    pub fn put_foreigner(&self, address: Address, agent: Foreigner) {
        self.write().outside.put_foreigner(address, agent);
    }

    /// The labels of HTTP hosts, aliases included, each with its host's name.
    pub fn set_http_hosts(&self, hosts: HashMap<String, Arc<str>>) {
        self.write().outside.set_hosts(hosts);
    }

    /// The member of a host label: of several that claim it, the one that has been in the mesh longest.
    #[must_use]
    pub fn node_of(&self, host: &str) -> Option<NodeId> {
        self.read().node_of_host(host)
    }

    /// The host label of a member.
    #[must_use]
    pub fn host_of(&self, node: NodeId) -> Option<String> {
        self.read().member(node).map(|member| member.host.clone())
    }

    /// Every agent that can be reached, by address; of clashing ones the holder only.
    #[must_use]
    pub fn list(&self) -> Vec<Listed> {
        self.read().list()
    }

    /// Every name that two nodes claim; for `doctor`, `agents` and `join`.
    #[must_use]
    pub fn clashes(&self) -> Vec<Clash> {
        self.read().clashes()
    }

    /// Which of `entries`, another node's, name an agent of this node; what `join` shows before it completes.
    #[must_use]
    pub fn would_clash(&self, entries: &[RosterEntry]) -> Vec<Address> {
        let picture = self.read();
        let living = entries.iter().filter(|entry| entry.tombstone.is_none());
        living
            .filter(|entry| picture.local(&entry.address).is_some())
            .map(|entry| entry.address.clone())
            .collect()
    }

    /// This node's own place in the mesh.
    pub fn set_me(&self, me: Member) {
        self.write().set_me(me);
    }

    /// Takes the whole roster of `member`, verified by `mesh`, instead of what was known of it.
    pub fn install_roster(&self, member: Member, entries: Vec<RosterEntry>) {
        let addresses: Vec<Address> = entries.iter().map(|entry| entry.address.clone()).collect();
        let node = member.node;
        self.change(&addresses, Some(node), |picture| picture.install(member, entries));
    }

    /// Takes what changed in the roster of a node whose roster is installed.
    pub fn apply_to_roster(&self, node: NodeId, changed: Vec<RosterEntry>) {
        let addresses: Vec<Address> = changed.iter().map(|entry| entry.address.clone()).collect();
        self.change(&addresses, Some(node), |picture| picture.apply(node, changed));
    }

    /// Forgets a node that is a member no more.
    pub fn drop_roster(&self, node: NodeId) {
        self.write().drop_node(node);
    }

    /// What this node's own roster says of an agent now.
    pub(super) fn put_own(&self, entry: RosterEntry) {
        let address = entry.address.clone();
        self.change(&[address], None, |picture| picture.put_own(entry));
    }

    /// Takes this node's own roster as a whole.
    pub(super) fn set_own(&self, entries: Vec<RosterEntry>) {
        self.write().set_own(entries);
    }

    /// How many names this node's own roster holds, those of agents that left included, and how many bytes.
    pub(super) fn own_size(&self) -> (usize, usize) {
        self.read().own_size()
    }

    pub(crate) fn put_local(&self, agent: Arc<Agent>) {
        let address = agent.address.clone();
        self.change(&[address], None, |picture| picture.put_local(agent));
    }

    pub(super) fn remove_local(&self, address: &Address) {
        self.write().remove_local(address);
    }

    /// The agent of this node with exactly this address.
    #[must_use]
    pub fn local_agent(&self, address: &Address) -> Option<Arc<Agent>> {
        self.read().local(address).cloned()
    }

    /// The agents of this node that have a webhook.
    #[must_use]
    pub fn with_webhook(&self) -> Vec<Arc<Agent>> {
        let picture = self.read();
        let has_webhook = |agent: &&Arc<Agent>| {
            agent.record.delivery.webhook_url.is_some() && moving::leaving(&picture, &agent.address).is_none()
        };
        picture.locals().filter(has_webhook).cloned().collect()
    }

    /// Every agent of this node.
    #[must_use]
    pub fn local_agents(&self) -> Vec<Arc<Agent>> {
        self.read().locals().cloned().collect()
    }

    /// How many agents live on this node.
    #[must_use]
    pub fn local_count(&self) -> usize {
        self.read().local_count()
    }

    /// Changes what is known of `addresses`, by the word of `author` if that is another node; an agent that has moved by
    /// that is an arrival from this very moment on. So is one that `author` still lists, when that is heard first.
    fn change(&self, addresses: &[Address], author: Option<NodeId>, change: impl FnOnce(&mut Picture)) {
        let mut picture = self.write();
        let before: Vec<_> =
            addresses.iter().map(|address| moving::whereabouts(&picture, address, author)).collect();
        change(&mut picture);
        for (address, before) in addresses.iter().zip(before) {
            if moving::arrives(&picture, address, author, before) {
                self.arrivals.begin(address);
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Picture> {
        self.picture.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Picture> {
        self.picture.write().unwrap_or_else(PoisonError::into_inner)
    }
}
