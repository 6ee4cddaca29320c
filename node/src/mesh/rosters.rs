//! The rosters this node holds: its own, freshly signed, and verified copies of the others', kept in the store so that
//! a name resolves while its host is off (DESIGN §3). Called by `session` and `shared`.

use super::roster::Verified;
use super::shared::Shared;
use super::tidings::Tidings;
use crate::agents::directory::Member;
use crate::message::LostKey;
use amesh_proto::node_id::NodeId;
use amesh_proto::roster::{RosterEntry, RosterHead};
use amesh_proto::wire::{RosterAdvert, RosterVersion};
use amesh_store::{RosterDelta, StoreError};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Rosters {
    inner: Mutex<Inner>,
    /// One roster is written at a time, so that the store, this table and the directory agree.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Inner {
    held: BTreeMap<NodeId, Arc<Verified>>,
    /// Members as the directory knows them.
    placed: BTreeMap<NodeId, Member>,
    own: Option<Arc<Verified>>,
    tidings: Tidings,
}

impl Rosters {
    /// Reads what earlier runs kept. Rosters of other meshes and of nobody's are dropped by [`Self::place`] never
    /// being called for them.
    pub(crate) fn load(&self, shared: &Shared) -> Result<(), StoreError> {
        let mesh = shared.mesh_id();
        let mut inner = self.lock();
        for roster in shared.store.all_rosters()? {
            let node = roster.head.says.node;
            if roster.head.says.mesh == mesh && shared.is_member(&node) {
                inner.held.insert(node, Arc::new(Verified { head: roster.head, entries: roster.entries }));
            } else {
                drop(shared.store.drop_roster(node));
            }
        }
        Ok(())
    }

    /// This node's own roster, signed for the mesh it is in.
    pub(crate) fn own(&self, shared: &Shared) -> Result<Arc<Verified>, StoreError> {
        let (version, mesh) = (shared.store.own_roster_version(), shared.mesh_id());
        if let Some(own) = &self.lock().own
            && (own.head.says.version, own.head.says.mesh) == (version, mesh)
        {
            return Ok(own.clone());
        }
        let mut roster = shared.store.own_roster()?;
        roster.entries.sort_by(|a, b| a.address.cmp(&b.address));
        let head = RosterHead::sign(shared.identity.key(), mesh, roster.version, &roster.entries);
        let own = Arc::new(Verified { head, entries: roster.entries });
        self.lock().own = Some(own.clone());
        Ok(own)
    }

    /// The roster of `node` as it is held here; this node's own, too.
    pub(crate) fn of(&self, shared: &Shared, node: &NodeId) -> Option<Arc<Verified>> {
        if *node == shared.identity.node_id() {
            return self
                .own(shared)
                .inspect_err(|error| tracing::error!(%error, "the own roster cannot be read"))
                .ok();
        }
        self.lock().held.get(node).cloned()
    }

    /// Which version of another node's roster is held.
    pub(crate) fn version_of(&self, node: &NodeId) -> Option<u64> {
        self.lock().held.get(node).map(|held| held.head.says.version)
    }

    /// Whose rosters are held.
    pub(crate) fn nodes(&self) -> Vec<NodeId> {
        self.lock().placed.keys().copied().collect()
    }

    /// What is held, the own first.
    pub(crate) fn advert(&self, shared: &Shared) -> RosterAdvert {
        let own =
            RosterVersion { node: shared.identity.node_id(), version: shared.store.own_roster_version() };
        let inner = self.lock();
        let held = inner
            .held
            .iter()
            .map(|(node, held)| RosterVersion { node: *node, version: held.head.says.version });
        RosterAdvert(std::iter::once(own).chain(held).collect())
    }

    /// This node's own roster changed.
    pub(crate) fn own_changed(&self, shared: &Shared) {
        self.lock().tidings.changed(shared.identity.node_id());
    }

    /// How far a link has told that tells of everything that is held.
    pub(crate) fn tidings_so_far(&self) -> u64 {
        self.lock().tidings.latest()
    }

    /// What changed since a link told last, and how far it has told with that.
    pub(crate) fn tidings(&self, shared: &Shared, told: u64) -> (RosterAdvert, u64) {
        let (me, own) = (shared.identity.node_id(), shared.store.own_roster_version());
        let inner = self.lock();
        let version = |node: &NodeId| match *node == me {
            true => Some(own),
            false => inner.held.get(node).map(|held| held.head.says.version),
        };
        let changed = inner.tidings.since(told);
        let changed = changed.filter_map(|node| Some(RosterVersion { node: *node, version: version(node)? }));
        (RosterAdvert(changed.collect()), inner.tidings.latest())
    }

    /// Shows the directory a member and what is held of its roster.
    pub(crate) fn place(&self, shared: &Shared, member: &Member) {
        let mut inner = self.lock();
        if inner.placed.get(&member.node) == Some(member) {
            return;
        }
        let entries = inner.held.get(&member.node).map(|held| held.entries.clone()).unwrap_or_default();
        shared.directory().install_roster(member.clone(), entries);
        inner.placed.insert(member.node, member.clone());
    }

    /// Keeps a roster that its author's signature covers. Once this returns it is on disk and in the directory.
    pub(crate) async fn install(&self, shared: &Arc<Shared>, verified: Verified) -> Result<u64, StoreError> {
        let (node, version) = (verified.head.says.node, verified.head.says.version);
        let _turn = self.turn.lock().await;
        let before = self.lock().held.get(&node).cloned();
        if let Some(before) = before.as_ref().filter(|before| before.head.says.version >= version) {
            return Ok(before.head.says.version);
        }
        let (put, remove) =
            difference(before.as_ref().map_or(&[], |before| &before.entries), &verified.entries);
        let lost = before.as_ref().map_or_else(Vec::new, |before| lost_keys(&before.entries, &put));
        let delta = match &before {
            Some(_) => RosterDelta::Part { put: put.clone(), remove: remove.clone() },
            None => RosterDelta::Whole(verified.entries.clone()),
        };
        shared.store.put_roster(verified.head.clone(), delta).await?;
        let mut inner = self.lock();
        if !shared.is_member(&node) {
            // Removed meanwhile.
            drop(shared.store.drop_roster(node));
            return Ok(version);
        }
        // One that is just becoming a member is shown to the directory with what is held, by `place`.
        match inner.placed.get(&node).cloned() {
            Some(_) if before.is_some() && remove.is_empty() => {
                shared.directory().apply_to_roster(node, put);
            }
            Some(member) => shared.directory().install_roster(member, verified.entries.clone()),
            None => {}
        }
        inner.held.insert(node, Arc::new(verified));
        inner.tidings.changed(node);
        drop(inner);
        shared.moves.poke();
        tracing::debug!(peer = %node, version, "roster installed");
        if !lost.is_empty() {
            let hallway = shared.hallway.clone();
            shared.tasks.spawn_until_stopped(async move { hallway.warn_of(lost).await });
        }
        // Members that hear of it only through us.
        shared.peers.tell_all(|news| news.roster = true);
        Ok(version)
    }

    /// Forgets a node that is a member no more.
    pub(crate) fn forget(&self, shared: &Shared, node: NodeId) {
        let mut inner = self.lock();
        inner.held.remove(&node);
        inner.placed.remove(&node);
        inner.tidings.forget(&node);
        shared.directory().drop_roster(node);
        drop(shared.store.drop_roster(node));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The keys that `put` revokes as compromised and `before`, sorted by address, does not.
fn lost_keys(before: &[RosterEntry], put: &[RosterEntry]) -> Vec<LostKey> {
    let found = |entry: &RosterEntry| {
        let known = before.binary_search_by(|known| known.address.cmp(&entry.address)).ok()?;
        LostKey::between(&before[known], entry)
    };
    put.iter().filter_map(found).collect()
}

/// What is new or changed in `after`, and which addresses are gone. Both are sorted by address.
fn difference(
    before: &[RosterEntry],
    after: &[RosterEntry],
) -> (Vec<RosterEntry>, Vec<amesh_proto::address::Address>) {
    let known: BTreeMap<_, _> = before.iter().map(|entry| (&entry.address, entry)).collect();
    let put = after.iter().filter(|entry| known.get(&entry.address) != Some(entry)).cloned().collect();
    let remaining: std::collections::BTreeSet<_> = after.iter().map(|entry| &entry.address).collect();
    let remove = before
        .iter()
        .map(|entry| &entry.address)
        .filter(|address| !remaining.contains(address))
        .cloned()
        .collect();
    (put, remove)
}
