//! A mesh's member list: a set of signed statements that only grows, and the view they add up to. Two nodes that have
//! exchanged lists agree on every member, whatever order the statements came in (DESIGN §3).

mod renewal;

use super::{Departure, MemberEntry, Membership, MeshId, Removal, StatementId, is_host_label, view};
use crate::node_id::{NodeId, NodeKey, sha256};
use crate::time::UnixMillis;
use std::collections::BTreeMap;

/// One node that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub node: NodeId,
    /// The label of its host.
    pub host: String,
    /// Less means a member for longer.
    pub order: u64,
    /// Order and text of the entry that named the host.
    pub(super) named_in: (u64, String),
    /// The term of its membership.
    pub term: u32,
    /// Who let it in.
    pub introducer: NodeId,
    /// Whether it may let others in, and remove.
    pub may_introduce: bool,
    /// When it was let in.
    pub joined_at: UnixMillis,
}

impl Member {
    /// Sorts members by seniority: the lesser holds a contested name.
    #[must_use]
    pub fn seniority(&self) -> (u64, NodeId) {
        (self.order, self.node)
    }
}

/// All statements of one mesh that are signed and chain back to its founder.
#[derive(Debug, Clone)]
pub struct MemberList {
    mesh: MeshId,
    founder: Option<NodeId>,
    entries: BTreeMap<StatementId, MemberEntry>,
    removals: BTreeMap<StatementId, Removal>,
    members: BTreeMap<NodeId, Member>,
}

/// Statements of one list in the form they travel and are stored in.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Statements {
    /// Who was let in.
    pub entries: Vec<MemberEntry>,
    /// Who was removed.
    pub removals: Vec<Removal>,
}

/// Why a list could not be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    /// This node is neither the founder nor an introducer.
    #[error("this node may neither introduce nor remove members")]
    NotAllowed,
    /// Another member has that host label.
    #[error("the host label belongs to another member")]
    LabelTaken,
    /// Not a DNS label.
    #[error("a host label is a lowercase DNS label: a-z, 0-9 and inner hyphens, at most 63")]
    BadLabel,
    /// It is not in the list.
    #[error("no such member")]
    NoSuchMember,
    /// The list is at its limit.
    #[error("the member list is full")]
    Full,
}

impl MemberList {
    /// Entries and removals a list can hold, each.
    pub const LIMIT: usize = 2048;
    /// Kept entries that all removals together can name.
    pub const KEEPS_LIMIT: usize = 8 * Self::LIMIT;

    /// A new mesh with one member, its founder.
    #[must_use]
    pub fn found(mesh: MeshId, key: &NodeKey, host: &str, now: UnixMillis) -> Self {
        let mut list = Self::empty(mesh, Some(key.id()));
        list.add_self(key, host, 1, now);
        list
    }

    /// The list of a mesh before any statement is known: `founder` is `None` where it is open by secret.
    #[must_use]
    pub const fn empty(mesh: MeshId, founder: Option<NodeId>) -> Self {
        Self { mesh, founder, entries: BTreeMap::new(), removals: BTreeMap::new(), members: BTreeMap::new() }
    }

    /// In an open mesh, this node's own entry. Its order is the time: there is nobody to count the members.
    pub fn enter_open(&mut self, key: &NodeKey, host: &str, now: UnixMillis) {
        if self.founder.is_none() && !self.is_removed(&key.id()) {
            self.add_self(key, host, now.0, now);
        }
    }

    /// Adds every statement that is signed and chains to the founder; ignores the others. Says whether anything was new.
    pub fn merge(&mut self, statements: &Statements) -> Result<bool, MemberError> {
        if statements.entries.len() > Self::LIMIT || statements.removals.len() > Self::LIMIT {
            return Err(MemberError::Full);
        }
        let mut entries = self.entries.clone();
        let mut removals = self.removals.clone();
        self.admit_entries(&mut entries, &statements.entries);
        self.admit_removals(&entries, &mut removals, &statements.removals);
        let keeps: usize = removals.values().map(|removal| removal.says.keeps.len()).sum();
        if entries.len() > Self::LIMIT || removals.len() > Self::LIMIT || keeps > Self::KEEPS_LIMIT {
            return Err(MemberError::Full);
        }
        let changed = entries.len() != self.entries.len() || removals.len() != self.removals.len();
        if changed {
            self.entries = entries;
            self.removals = removals;
            self.refresh();
        }
        Ok(changed)
    }

    fn admit_entries(&self, entries: &mut BTreeMap<StatementId, MemberEntry>, offered: &[MemberEntry]) {
        let mut open: Vec<(StatementId, &MemberEntry)> = offered
            .iter()
            .map(|entry| (entry.id(&self.mesh), entry))
            .filter(|(id, entry)| {
                !entries.contains_key(id)
                    && is_host_label(&entry.says.host)
                    && entry.says.term < TERM_LIMIT
                    && entry.is_signed(&self.mesh)
            })
            .collect();
        loop {
            let introducers = view::once_introducers(entries, self.founder);
            let before = entries.len();
            open.retain(|(id, entry)| {
                let says = &entry.says;
                let chained = if says.introducer == says.node {
                    self.founder.is_none_or(|founder| founder == says.node)
                } else {
                    introducers.contains(&says.introducer)
                };
                if chained {
                    entries.insert(*id, (*entry).clone());
                }
                !chained
            });
            if entries.len() == before {
                return;
            }
        }
    }

    fn admit_removals(
        &self,
        entries: &BTreeMap<StatementId, MemberEntry>,
        removals: &mut BTreeMap<StatementId, Removal>,
        offered: &[Removal],
    ) {
        let introducers = view::once_introducers(entries, self.founder);
        for removal in offered {
            let (says, id) = (&removal.says, removal.id(&self.mesh));
            let entitled = says.by == says.node && says.epoch == 0 || introducers.contains(&says.by);
            if entitled
                && says.term < TERM_LIMIT
                && says.epoch < EPOCH_LIMIT
                && !removals.contains_key(&id)
                && removal.is_signed(&self.mesh)
            {
                removals.insert(id, removal.clone());
            }
        }
    }

    /// Lets `node` in, or gives a member another host label or the right to introduce.
    pub fn introduce(
        &mut self,
        key: &NodeKey,
        node: NodeId,
        host: &str,
        may_introduce: bool,
        now: UnixMillis,
    ) -> Result<MemberEntry, MemberError> {
        let introducer_term = self.right_of(&key.id())?;
        if !is_host_label(host) {
            return Err(MemberError::BadLabel);
        }
        if self.members.values().any(|member| member.host == host && member.node != node) {
            return Err(MemberError::LabelTaken);
        }
        if self.entries.len() >= Self::LIMIT {
            return Err(MemberError::Full);
        }
        let says = Membership {
            node,
            host: host.to_owned(),
            order: self.members.values().map(|member| member.order).max().unwrap_or(0).saturating_add(1),
            term: self.last_removed_term(&node) + 1,
            introducer: key.id(),
            introducer_term,
            may_introduce,
            joined_at: now,
        };
        let entry = MemberEntry::sign(&self.mesh, says, key);
        self.entries.insert(entry.id(&self.mesh), entry.clone());
        self.refresh();
        Ok(entry)
    }

    /// Removes `node` for the whole mesh and begins the epoch of `secret`. With `keep_introduced`, whom it let in stays.
    pub fn remove(
        &mut self,
        key: &NodeKey,
        node: NodeId,
        keep_introduced: bool,
        secret: &[u8; 32],
        now: UnixMillis,
    ) -> Result<Removal, MemberError> {
        self.right_of(&key.id())?;
        let epoch = self.epoch().saturating_add(1);
        self.depart(key, node, keep_introduced, epoch, super::Secrets::check(secret), now)
    }

    /// This node's own farewell. Whom it let in stays; the epoch stays until somebody removes it for good.
    pub fn leave(&mut self, key: &NodeKey, now: UnixMillis) -> Result<Removal, MemberError> {
        self.depart(key, key.id(), true, 0, [0; 32], now)
    }

    fn depart(
        &mut self,
        key: &NodeKey,
        node: NodeId,
        keep_introduced: bool,
        epoch: u64,
        check: [u8; 32],
        now: UnixMillis,
    ) -> Result<Removal, MemberError> {
        let term = self.entries.values().filter(|e| e.says.node == node).map(|e| e.says.term).max();
        let term = term.ok_or(MemberError::NoSuchMember)?;
        if self.removals.len() >= Self::LIMIT {
            return Err(MemberError::Full);
        }
        let keeps = if keep_introduced { self.good_entries_by(&node) } else { Vec::new() };
        let kept: usize = self.removals.values().map(|removal| removal.says.keeps.len()).sum();
        if kept + keeps.len() > Self::KEEPS_LIMIT {
            return Err(MemberError::Full);
        }
        let says = Departure { node, term, epoch, check, by: key.id(), at: now, keeps };
        let removal = Removal::sign(&self.mesh, says, key);
        self.removals.insert(removal.id(&self.mesh), removal.clone());
        self.refresh();
        Ok(removal)
    }

    /// Entries by `introducer` for nodes that stand.
    fn good_entries_by(&self, introducer: &NodeId) -> Vec<StatementId> {
        let good = |entry: &MemberEntry| {
            entry.says.introducer == *introducer
                && entry.says.node != *introducer
                && self.members.get(&entry.says.node).is_some_and(|member| member.term == entry.says.term)
        };
        self.entries.iter().filter(|(_, entry)| good(entry)).map(|(id, _)| *id).collect()
    }

    fn add_self(&mut self, key: &NodeKey, host: &str, order: u64, now: UnixMillis) {
        let says = Membership {
            node: key.id(),
            host: host.to_owned(),
            order,
            term: 1,
            introducer: key.id(),
            introducer_term: 1,
            may_introduce: true,
            joined_at: now,
        };
        let entry = MemberEntry::sign(&self.mesh, says, key);
        self.entries.insert(entry.id(&self.mesh), entry);
        self.refresh();
    }

    fn right_of(&self, node: &NodeId) -> Result<u32, MemberError> {
        let member = self.members.get(node).filter(|member| member.may_introduce);
        member.map(|member| member.term).ok_or(MemberError::NotAllowed)
    }

    fn last_removed_term(&self, node: &NodeId) -> u32 {
        self.removals.values().filter(|r| r.says.node == *node).map(|r| r.says.term).max().unwrap_or(0)
    }

    fn refresh(&mut self) {
        self.members = view::standing(&self.entries, &self.removals, self.founder);
    }
}

/// Questions.
impl MemberList {
    /// Which mesh.
    #[must_use]
    pub const fn mesh(&self) -> MeshId {
        self.mesh
    }

    /// Who founded it; nobody, where it is open by secret.
    #[must_use]
    pub const fn founder(&self) -> Option<NodeId> {
        self.founder
    }

    /// The member that `node` is.
    #[must_use]
    pub fn member(&self, node: &NodeId) -> Option<&Member> {
        self.members.get(node)
    }

    /// Everyone who stands, by node id.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// Whether `node` was a member and no longer is.
    #[must_use]
    pub fn is_removed(&self, node: &NodeId) -> bool {
        !self.members.contains_key(node) && self.removals.values().any(|r| r.says.node == *node)
    }

    /// The longer-standing member that already has the host label `host`, if that is not `node` itself.
    #[must_use]
    pub fn label_conflict(&self, host: &str, node: &NodeId) -> Option<NodeId> {
        let holder = self.members.values().filter(|m| m.host == host).min_by_key(|m| m.seniority())?;
        (holder.node != *node).then_some(holder.node)
    }

    /// The epoch that is in force: 1, and one more with every removal.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.removals.values().map(|removal| removal.says.epoch).max().unwrap_or(0).max(1)
    }

    /// Which secret is the one of `epoch`, where a removal began it. Of several the longest-standing author's counts.
    #[must_use]
    pub fn epoch_check(&self, epoch: u64) -> Option<[u8; 32]> {
        let begun = self.removals.iter().filter(|(_, removal)| removal.says.epoch == epoch && epoch > 0);
        let order = |by: &NodeId| self.members.get(by).map_or(u64::MAX, |member| member.order);
        begun.min_by_key(|(id, r)| (order(&r.says.by), r.says.by, **id)).map(|(_, r)| r.says.check)
    }

    /// Equal on two nodes exactly when they know the same statements.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let ids: Vec<u8> = self.entries.keys().chain(self.removals.keys()).flat_map(|id| id.0).collect();
        sha256(&[b"amesh/1 members", &self.mesh.0, &ids])
    }

    /// How many entries and removals there are.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.entries.len(), self.removals.len())
    }

    /// Every statement, to send or to store.
    #[must_use]
    pub fn statements(&self) -> Statements {
        Statements {
            entries: self.entries.values().cloned().collect(),
            removals: self.removals.values().cloned().collect(),
        }
    }

    /// The entries that prove `node`'s membership to somebody who has not heard of it: its own, its introducers'.
    #[must_use]
    pub fn evidence(&self, node: &NodeId) -> Vec<MemberEntry> {
        let mut found: Vec<MemberEntry> = Vec::new();
        let mut wanted = vec![*node];
        while let Some(node) = wanted.pop() {
            let standing = self.members.get(&node).map(|member| member.term);
            let all = self.entries.values().filter(|e| e.says.node == node);
            let best = all.max_by_key(|e| (Some(e.says.term) == standing, e.says.may_introduce, e.says.term));
            let Some(entry) = best else { continue };
            if found.len() < Self::EVIDENCE_LIMIT && !found.contains(entry) {
                wanted.push(entry.says.introducer);
                found.push(entry.clone());
            }
        }
        found
    }

    /// The longest chain of introducers that is carried in a greeting.
    pub const EVIDENCE_LIMIT: usize = 16;
}

/// Counters beyond these are nobody's honest work; they are refused so that adding one never overflows.
const TERM_LIMIT: u32 = 1 << 24;
const EPOCH_LIMIT: u64 = 1 << 40;
