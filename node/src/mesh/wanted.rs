//! With whom this node wants a link: its neighbours always; others while mail waits for them or somebody seeks them
//! (DESIGN §3). In a small mesh everybody is a neighbour. Kept by the shell, asked by each `peer` before it dials and
//! before it lets a link rest; run by `mod` as one task.

use super::neighbours;
use super::peers::LinkState;
use super::shared::Shared;
use amesh_proto::node_id::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    members: BTreeSet<NodeId>,
    /// The neighbours were not chosen among these yet.
    changed: bool,
    /// Members that did not answer for a while when the neighbours were chosen.
    off: BTreeSet<NodeId>,
    neighbours: BTreeSet<NodeId>,
    /// Until when, monotonic.
    sought: BTreeMap<NodeId, Duration>,
}

impl Wanted {
    /// These are the other members now.
    pub(crate) fn set_members(&self, members: BTreeSet<NodeId>) {
        let mut inner = self.lock();
        inner.sought.retain(|node, _| members.contains(node));
        (inner.members, inner.changed) = (members, true);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notices who does not answer any more, and who does again, until cancelled.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        shared.choose_neighbours();
    }
}

impl Shared {
    /// Chooses the neighbours anew if something that decides it has changed, and wakes those whose standing changed.
    pub(crate) fn choose_neighbours(&self) {
        let now = self.clock.monotonic();
        let table = self.peers.all();
        let is_off = |since: Duration| now.saturating_sub(since) >= OFF_AFTER;
        let off = table.iter().filter(|(_, entry)| entry.missing_since.is_some_and(is_off));
        let off: BTreeSet<NodeId> = off.map(|(node, _)| *node).collect();
        let mut inner = self.wanted.lock();
        if inner.off == off && !inner.changed {
            return;
        }
        let me = self.identity.node_id();
        let chosen = neighbours::choose(&me, inner.members.iter().copied(), |node| off.contains(node));
        let changed: Vec<NodeId> = inner.neighbours.symmetric_difference(&chosen).copied().collect();
        (inner.off, inner.neighbours, inner.changed) = (off, chosen, false);
        drop(inner);
        for handle in changed.iter().filter_map(|node| self.peers.handle(node)) {
            handle.tell(|_| ());
        }
    }

    /// Whether a link to `node` is kept all the time.
    pub(crate) fn is_neighbour(&self, node: &NodeId) -> bool {
        self.wanted.lock().neighbours.contains(node)
    }

    /// Whether there should be a link to `node` now.
    pub(crate) fn wants(&self, node: &NodeId) -> bool {
        let inner = self.wanted.lock();
        let now = self.clock.monotonic();
        let sought = inner.sought.get(node).is_some_and(|until| now < *until);
        let kept = sought || inner.neighbours.contains(node);
        drop(inner);
        kept || self.has_mail_for(node)
    }

    /// Wants a link to `node`, to which none is kept, for a while, whatever came of it before.
    pub(crate) fn seek(&self, node: &NodeId) {
        let now = self.clock.monotonic();
        let mut inner = self.wanted.lock();
        let fresh = inner.sought.get(node).is_none_or(|until| *until <= now);
        if fresh && inner.members.contains(node) && !inner.neighbours.contains(node) {
            inner.sought.retain(|_, until| now < *until);
            inner.sought.insert(*node, now + SOUGHT);
            drop(inner);
            if let Some(handle) = self.peers.handle(node) {
                handle.tell(|news| news.sought = true);
            }
        }
    }

    /// Whether `node`, with which no link is kept, is being sought and nothing says yet that it is not there.
    pub(crate) fn may_come(&self, node: &NodeId) -> bool {
        if self.is_neighbour(node) {
            return false;
        }
        self.seek(node);
        let untried =
            |state: &LinkState| matches!(state, LinkState::Unknown | LinkState::Dialing { last_error: None });
        self.is_linked(node) || self.peers.get(node).is_some_and(|entry| untried(&entry.state))
    }
}

const LOOK: Duration = Duration::from_secs(1);
/// A neighbour that does not answer for so long gets a second one past it.
const OFF_AFTER: Duration = Duration::from_secs(10);
/// Longer than anybody waits for somebody sought.
const SOUGHT: Duration = Duration::from_secs(30);
