//! What [`super::Directory`] knows, as plain data: every claim on every address, and who of the claimants is oldest.

use super::clash::{self, Clash};
use super::known::Known;
use super::outside::Outside;
use super::{KeyAnswer, Listed, Member, Resolution, moving};
use crate::agents::Agent;
use amesh_proto::address::Address;
use amesh_proto::key::PublicKey;
use amesh_proto::member::MeshId;
use amesh_proto::node_id::NodeId;
use amesh_proto::roster::{RetiredKey, RosterEntry};
use amesh_proto::time::UnixMillis;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Picture {
    me: Member,
    /// The mesh that statements of moves must speak of; none before there is one.
    mesh: Option<MeshId>,
    local: HashMap<Address, Arc<Agent>>,
    /// What this node's own roster says of the agents here and of those that left, by address.
    own: HashMap<Address, Known>,
    /// What those weigh.
    own_bytes: usize,
    peers: HashMap<NodeId, Peer>,
    /// Which peers list a living agent of that address.
    claims: HashMap<Address, Vec<NodeId>>,
    /// Addresses with more than a tenant in their scope, by their short form (ADR-11).
    scoped: HashMap<Address, BTreeSet<Address>>,
    pub(super) outside: Outside,
}

#[derive(Debug)]
struct Peer {
    member: Member,
    entries: HashMap<Address, Known>,
}

impl Picture {
    pub(super) fn new(me: Member) -> Self {
        Self {
            me,
            mesh: None,
            local: HashMap::new(),
            own: HashMap::new(),
            own_bytes: 0,
            peers: HashMap::new(),
            claims: HashMap::new(),
            scoped: HashMap::new(),
            outside: Outside::default(),
        }
    }

    pub(super) fn me(&self) -> &Member {
        &self.me
    }

    pub(super) fn member(&self, node: NodeId) -> Option<&Member> {
        if node == self.me.node { Some(&self.me) } else { self.peers.get(&node).map(|peer| &peer.member) }
    }

    pub(super) fn node_of_host(&self, label: &str) -> Option<NodeId> {
        if self.me.host == label {
            return Some(self.me.node);
        }
        let named = self.peers.values().filter(|peer| peer.member.host == label);
        named.min_by_key(|peer| rank(&peer.member)).map(|peer| peer.member.node)
    }

    pub(super) fn is_host(&self, label: &str) -> bool {
        self.node_of_host(label).is_some()
    }

    /// The oldest of all nodes that list `address`, or the one where its agent says that it moved to from there.
    pub(super) fn holder(&self, address: &Address) -> Option<NodeId> {
        let here = self.lives_here(address).then_some(&self.me);
        let oldest = self.elsewhere(address).chain(here).min_by_key(|member| rank(member))?.node;
        Some(moving::followed(self, address, oldest))
    }

    pub(super) fn all_that_left(&self, node: NodeId) -> Vec<Address> {
        let Some(peer) = self.peers.get(&node) else { return Vec::new() };
        let left = |address: &&Address| {
            self.holder(address).is_some_and(|home| moving::has_moved(self, address, node, home))
        };
        let mut left: Vec<Address> = peer.entries.keys().filter(left).cloned().collect();
        left.sort();
        left
    }

    /// Whether an agent of this node has, or claims, `address` and has not moved away.
    pub(super) fn lives_here(&self, address: &Address) -> bool {
        self.local.contains_key(address)
            && self.own.get(address).is_none_or(|known| known.entry.tombstone.is_none())
    }

    /// What `node` lists under `address`, tombstones too.
    pub(super) fn known(&self, node: NodeId, address: &Address) -> Option<&Known> {
        if node == self.me.node { self.own.get(address) } else { self.peers.get(&node)?.entries.get(address) }
    }

    /// The nodes that list a living agent of that address.
    pub(super) fn claimants(&self, address: &Address) -> impl Iterator<Item = NodeId> {
        let here = self.lives_here(address).then_some(self.me.node);
        self.elsewhere(address).map(|member| member.node).chain(here)
    }

    pub(super) fn holder_of(&self, address: &Address) -> Resolution {
        self.holder(address).map_or(Resolution::Unknown, |node| self.at(node, address))
    }

    /// The holder, where that is another node; else the oldest other node that lists `address`.
    pub(super) fn listed_elsewhere(&self, address: &Address) -> Option<&Member> {
        let holder = self.holder(address).and_then(|node| self.peers.get(&node)).map(|peer| &peer.member);
        holder.or_else(|| self.elsewhere(address).min_by_key(|member| rank(member)))
    }

    fn elsewhere<'a>(&'a self, address: &Address) -> impl Iterator<Item = &'a Member> {
        let nodes = self.claims.get(address).map_or(&[][..], Vec::as_slice);
        nodes.iter().filter_map(|node| self.peers.get(node)).map(|peer| &peer.member)
    }

    /// The older member that holds `address` with another key than `key`.
    pub(super) fn lost_to(&self, address: &Address, key: &[u8]) -> Option<&Member> {
        let holder = self.listed_elsewhere(address).filter(|_| self.holder(address) != Some(self.me.node))?;
        let entry = &self.peers.get(&holder.node)?.entries.get(address)?.entry;
        (entry.public_key != key).then_some(holder)
    }

    /// Where mail to `address` at `node` goes: with the agent, if it has moved.
    pub(super) fn at_or_moved(&self, node: NodeId, address: &Address) -> Resolution {
        match self.holder(address) {
            Some(holder) if moving::has_moved(self, address, node, holder) => self.at(holder, address),
            _ => self.at(node, address),
        }
    }

    pub(super) fn at(&self, node: NodeId, address: &Address) -> Resolution {
        if node == self.me.node {
            return self
                .local
                .get(address)
                .map_or(Resolution::Unknown, |agent| Resolution::Local(agent.clone()));
        }
        let Some(peer) = self.peers.get(&node) else { return Resolution::Unknown };
        match peer.entries.get(address) {
            Some(known) if known.entry.tombstone.is_none() => Resolution::Remote {
                node,
                host: peer.member.host.clone(),
                address: address.clone(),
                entry: known.entry.clone(),
            },
            _ => Resolution::Unknown,
        }
    }

    pub(super) fn only_scoped(&self, short: &Address) -> Option<Address> {
        let fitting = self.scoped.get(short)?;
        if fitting.len() == 1 { fitting.first().cloned() } else { None }
    }

    pub(super) fn key_for(&self, node: NodeId, address: &Address, at: UnixMillis) -> KeyAnswer {
        let Some(peer) = self.peers.get(&node) else { return KeyAnswer::NotListed };
        let Some(known) = peer.entries.get(address) else { return KeyAnswer::NotListed };
        if let Some(holder) = self.older_claim(&peer.member, address, &known.entry) {
            return KeyAnswer::HeldBy(holder.clone());
        }
        known.key_at(at).map_or(KeyAnswer::NoneAtThatTime, KeyAnswer::Valid)
    }

    /// The keys by which mail that `peer` brings of `address` may be signed, whenever it was accepted.
    pub(super) fn good_keys(&self, peer: NodeId, address: &Address, at: UnixMillis) -> Vec<PublicKey> {
        let listed = |node: NodeId| match node == self.me.node {
            true => self.own.get(address),
            false => self.peers.get(&node)?.entries.get(address),
        };
        let known = listed(peer).or_else(|| listed(self.holder(address)?));
        let known = known.filter(|known| known.entry.tombstone.is_none_or(|gone| at <= gone));
        known.into_iter().flat_map(Known::good_keys).collect()
    }

    /// A member older than `claimant` that lists `address` with another key.
    fn older_claim(&self, claimant: &Member, address: &Address, entry: &RosterEntry) -> Option<&Member> {
        if self.holder(address) == Some(claimant.node) {
            return None;
        }
        if let Some(agent) = self.local.get(address)
            && rank(&self.me) < rank(claimant)
            && agent.record.public_key_der != entry.public_key
        {
            return Some(&self.me);
        }
        let mut older = self.elsewhere(address).filter(|member| rank(member) < rank(claimant));
        older.find(|member| {
            let theirs = self.peers.get(&member.node).and_then(|peer| peer.entries.get(address));
            theirs.is_some_and(|known| known.entry.public_key != entry.public_key)
        })
    }

    pub(super) fn current_key(&self, node: NodeId, address: &Address) -> Option<PublicKey> {
        self.peers.get(&node)?.entries.get(address)?.current()
    }

    /// The key that judged mail of `address` that was accepted at `at`, wherever the sender lived, left or not.
    pub(super) fn key_at(&self, address: &Address, at: UnixMillis) -> Option<PublicKey> {
        let here = self.own.get(address);
        match self.holder(address) {
            Some(node) if node == self.me.node => match here {
                Some(known) => known.key_at(at),
                None => self.local.get(address).map(|agent| agent.key.clone()),
            },
            Some(node) => self.peers.get(&node)?.entries.get(address)?.key_at(at),
            None => {
                let there = self.peers.values().filter_map(|peer| peer.entries.get(address));
                here.into_iter().chain(there).find_map(|known| known.key_at(at))
            }
        }
    }

    /// The keys that `address` had before, newest first.
    pub(super) fn retired_keys(&self, address: &Address) -> Vec<RetiredKey> {
        let known = match self.holder(address) {
            Some(node) if node == self.me.node => self.own.get(address),
            Some(node) => self.peers.get(&node).and_then(|peer| peer.entries.get(address)),
            None => None,
        };
        known.map(|known| known.entry.previous_keys.clone()).unwrap_or_default()
    }

    pub(super) fn put_own(&mut self, entry: RosterEntry) {
        self.own_bytes += entry.weight();
        let known = Known::new(entry, &self.me.node, self.mesh.as_ref());
        let before = self.own.insert(known.entry.address.clone(), known);
        self.own_bytes -= before.map_or(0, |known| known.entry.weight());
    }

    pub(super) fn set_own(&mut self, entries: Vec<RosterEntry>) {
        self.own.clear();
        self.own_bytes = 0;
        entries.into_iter().for_each(|entry| self.put_own(entry));
    }

    pub(super) fn own_size(&self) -> (usize, usize) {
        (self.own.len(), self.own_bytes)
    }

    pub(super) fn set_mesh(&mut self, mesh: MeshId) {
        if self.mesh.replace(mesh) == Some(mesh) {
            return;
        }
        let node = self.me.node;
        for known in self.own.values_mut() {
            *known = known.in_mesh(&node, Some(&mesh));
        }
        for (node, peer) in &mut self.peers {
            for known in peer.entries.values_mut() {
                *known = known.in_mesh(node, Some(&mesh));
            }
        }
    }

    pub(super) fn mesh(&self) -> Option<MeshId> {
        self.mesh
    }

    pub(super) fn local(&self, address: &Address) -> Option<&Arc<Agent>> {
        self.local.get(address)
    }

    pub(super) fn locals(&self) -> impl Iterator<Item = &Arc<Agent>> {
        self.local.values()
    }

    pub(super) fn local_count(&self) -> usize {
        self.local.len()
    }

    pub(super) fn list(&self) -> Vec<Listed> {
        let here = self.local.values().filter(|agent| self.holder(&agent.address) == Some(self.me.node)).map(
            |agent| Listed {
                address: agent.address.clone(),
                alias: agent.record.alias.clone(),
                host: self.me.host.clone(),
                node: self.me.node,
                local: Some(agent.no),
            },
        );
        let there = self.peers.values().flat_map(|peer| {
            let living = peer.entries.values().filter(|known| known.entry.tombstone.is_none());
            living.filter(|known| self.holder(&known.entry.address) == Some(peer.member.node)).map(|known| {
                Listed {
                    address: known.entry.address.clone(),
                    alias: known.entry.alias.clone(),
                    host: peer.member.host.clone(),
                    node: peer.member.node,
                    local: None,
                }
            })
        });
        let mut all: Vec<Listed> = here.chain(there).collect();
        all.sort_by(|a, b| a.address.cmp(&b.address));
        all
    }

    pub(super) fn clashes(&self) -> Vec<Clash> {
        let mut clashes = Vec::new();
        for (address, nodes) in &self.claims {
            let local = self.local.get(address).filter(|_| self.lives_here(address));
            let settled = self.holder(address);
            let mut claims: Vec<(&Member, &[u8])> = nodes
                .iter()
                .filter_map(|node| self.peers.get(node))
                .filter_map(|peer| {
                    Some((&peer.member, peer.entries.get(address)?.entry.public_key.as_slice()))
                })
                .chain(local.map(|agent| (&self.me, agent.record.public_key_der.as_slice())))
                .collect();
            claims.sort_by_key(|(member, _)| (settled != Some(member.node), rank(member)));
            let Some(((holder, key), others)) = claims.split_first() else { continue };
            let has_left = |loser: &Member| moving::has_moved(self, address, loser.node, holder.node);
            clashes.extend(others.iter().filter(|(loser, _)| !has_left(loser)).map(|(loser, other)| Clash {
                address: address.clone(),
                holder: (*holder).clone(),
                loser: (*loser).clone(),
                same_key: key == other,
                mend: (loser.node == self.me.node).then(|| clash::mend(address.name(), &self.me)),
            }));
        }
        clashes.sort_by(|a, b| (&a.address, a.loser.order).cmp(&(&b.address, b.loser.order)));
        clashes
    }

    pub(super) fn set_me(&mut self, me: Member) {
        self.me = me;
    }

    pub(super) fn put_local(&mut self, agent: Arc<Agent>) {
        self.note_scope(&agent.address);
        self.local.insert(agent.address.clone(), agent);
    }

    pub(super) fn remove_local(&mut self, address: &Address) {
        self.local.remove(address);
        self.forget_scope(address);
    }

    pub(super) fn install(&mut self, member: Member, entries: Vec<RosterEntry>) {
        let node = member.node;
        if node == self.me.node {
            return;
        }
        self.drop_node(node);
        self.peers.insert(node, Peer { member, entries: HashMap::new() });
        self.apply(node, entries);
    }

    pub(super) fn apply(&mut self, node: NodeId, changed: Vec<RosterEntry>) {
        for entry in changed {
            let Some(peer) = self.peers.get_mut(&node) else { return };
            let address = entry.address.clone();
            let lives = entry.tombstone.is_none();
            peer.entries.insert(address.clone(), Known::new(entry, &node, self.mesh.as_ref()));
            self.unclaim(node, &address);
            if lives {
                self.note_scope(&address);
                self.claims.entry(address).or_default().push(node);
            }
        }
    }

    pub(super) fn drop_node(&mut self, node: NodeId) {
        let Some(peer) = self.peers.remove(&node) else { return };
        for address in peer.entries.keys() {
            self.unclaim(node, address);
        }
    }

    fn unclaim(&mut self, node: NodeId, address: &Address) {
        if let Some(nodes) = self.claims.get_mut(address) {
            nodes.retain(|claimant| *claimant != node);
            if nodes.is_empty() {
                self.claims.remove(address);
            }
        }
        self.forget_scope(address);
    }

    fn note_scope(&mut self, address: &Address) {
        if address.scope().contains('.') {
            self.scoped.entry(address.short()).or_default().insert(address.clone());
        }
    }

    fn forget_scope(&mut self, address: &Address) {
        if self.local.contains_key(address) || self.claims.contains_key(address) {
            return;
        }
        let short = address.short();
        if let Some(fitting) = self.scoped.get_mut(&short) {
            fitting.remove(address);
            if fitting.is_empty() {
                self.scoped.remove(&short);
            }
        }
    }
}

/// Older members first; one node id before the other where two joined at the same count (two introducers at once).
fn rank(member: &Member) -> (u64, NodeId) {
    (member.order, member.node)
}
