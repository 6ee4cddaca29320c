//! The table of peers: who is linked, who is not and why, where each may be reached, and strangers that knocked.
//! Written by the peers' tasks and by `accept`; read for `amesh peers` and by `dial`.

use amesh_proto::node_id::NodeId;
use amesh_proto::time::UnixMillis;
use amesh_proto::wire::Frame;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

use super::faults::{Fault, Faults};
use super::greet::Link;

/// Everybody this node deals with.
#[derive(Debug, Default)]
pub(crate) struct PeerTable {
    inner: Mutex<Inner>,
    /// Told whenever a link has come about.
    pub(crate) linked: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    peers: BTreeMap<NodeId, Entry>,
    strangers: BTreeMap<NodeId, Stranger>,
}

/// What is known of one member.
#[derive(Debug, Clone, Default)]
pub(crate) struct Entry {
    /// Its task, while there is one.
    pub handle: Option<Arc<PeerHandle>>,
    /// How it stands with the link.
    pub state: LinkState,
    /// Addresses it was reached at or that others passed on, latest first.
    pub addresses: Vec<SocketAddr>,
    /// When it was last heard.
    pub last_seen: Option<UnixMillis>,
    /// Another machine has its node key.
    pub twin: bool,
    /// How far its wall clock was ahead of this node's when the link came up, in milliseconds.
    pub clock_ahead_ms: Option<i64>,
    /// When it is dialled again, while there is no link.
    pub next_dial: Option<UnixMillis>,
    /// Since when it has not answered, monotonic.
    pub missing_since: Option<Duration>,
    /// The link protocol last spoken with it.
    pub protocol: Option<u16>,
    /// What it said that it runs.
    pub software: Option<String>,
    /// What it did that it should not have done.
    pub faults: Faults,
}

/// Whether there is a link, and if not, why.
#[derive(Debug, Clone, Default)]
pub(crate) enum LinkState {
    /// Nothing has been tried lately, or nothing was to be said any more.
    #[default]
    Unknown,
    /// Linked.
    Connected { address: SocketAddr, rtt: Duration },
    /// Being dialled; the last attempt came to this.
    Dialing { last_error: Option<String> },
    /// No link.
    Offline { reason: String },
}

/// Somebody who proved a node key but is not a member.
#[derive(Debug, Clone)]
pub(crate) struct Stranger {
    pub address: SocketAddr,
    pub last_seen: UnixMillis,
    /// Why it is not let in.
    pub reason: String,
}

/// How to reach the task of one peer.
#[derive(Debug)]
pub(crate) struct PeerHandle {
    /// Links that proved membership, for the task to adopt. Few: a new one replaces the one before.
    pub inbox: mpsc::Sender<Link>,
    news: Mutex<News>,
    changed: Notify,
}

/// What has happened that a peer's task should look at. Flags, not messages: they cannot pile up or get lost.
#[derive(Debug, Default, Clone)]
pub(crate) struct News {
    /// There is new mail in the outbox.
    pub mail: bool,
    /// Mail that was kept back may go.
    pub kept: bool,
    /// The peer may be reachable again.
    pub life: bool,
    /// This machine's own links or addresses changed: whatever is open may be dead.
    pub interfaces: bool,
    /// A roster changed that the peer should hear of.
    pub roster: bool,
    /// Where this node's swarm listens changed.
    pub swarm: bool,
    /// There is a question about its agents' presence.
    pub asked: bool,
    /// Somebody seeks it now: what came of earlier attempts does not count.
    pub sought: bool,
    /// The member list changed.
    pub members: bool,
    /// Members that were reached at addresses that others may not know.
    pub reached: BTreeSet<NodeId>,
    /// The secret changed.
    pub secret: Option<Arc<Frame>>,
    /// The link is to end.
    pub stop: Option<Stop>,
}

/// Why a peer's task is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// This node stops.
    ShuttingDown,
    /// This node leaves the mesh.
    Leaving,
    /// The peer is a member no more.
    Removed,
}

impl PeerHandle {
    /// A handle and the end its task listens at.
    pub(crate) fn new() -> (Arc<Self>, mpsc::Receiver<Link>) {
        let (inbox, links) = mpsc::channel(LINKS_WAITING);
        (Arc::new(Self { inbox, news: Mutex::default(), changed: Notify::new() }), links)
    }

    /// Tells the task what happened. Never blocks.
    pub(crate) fn tell(&self, happened: impl FnOnce(&mut News)) {
        happened(&mut self.news.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
    }

    /// Waits until the task has ended.
    pub(crate) async fn ended(&self) {
        self.inbox.closed().await;
    }

    /// Waits for news and takes them. Safe to cancel: what was not taken is still there.
    pub(crate) async fn news(&self) -> News {
        self.changed.notified().await;
        std::mem::take(&mut *self.news.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl PeerTable {
    /// A copy of what is known of `node`.
    pub(crate) fn get(&self, node: &NodeId) -> Option<Entry> {
        self.lock().peers.get(node).cloned()
    }

    /// Whether there is a link to `node`.
    pub(crate) fn is_connected(&self, node: &NodeId) -> bool {
        self.lock().peers.get(node).is_some_and(Entry::is_connected)
    }

    /// Waits until there is a link to `node`.
    pub(crate) async fn connected_to(&self, node: &NodeId) {
        loop {
            let mut next = std::pin::pin!(self.linked.notified());
            next.as_mut().enable();
            if self.is_connected(node) {
                return;
            }
            next.await;
        }
    }

    /// A copy of the whole table.
    pub(crate) fn all(&self) -> BTreeMap<NodeId, Entry> {
        self.lock().peers.clone()
    }

    /// The task of `node`.
    pub(crate) fn handle(&self, node: &NodeId) -> Option<Arc<PeerHandle>> {
        self.lock().peers.get(node).and_then(|entry| entry.handle.clone())
    }

    /// The tasks of all peers.
    pub(crate) fn handles(&self) -> Vec<(NodeId, Arc<PeerHandle>)> {
        let inner = self.lock();
        inner.peers.iter().filter_map(|(node, entry)| Some((*node, entry.handle.clone()?))).collect()
    }

    /// Tells every peer's task what happened.
    pub(crate) fn tell_all(&self, happened: impl Fn(&mut News)) {
        for (_, handle) in self.handles() {
            handle.tell(&happened);
        }
    }

    /// Changes what is known of `node`.
    pub(crate) fn update<T>(&self, node: &NodeId, change: impl FnOnce(&mut Entry) -> T) -> T {
        change(self.lock().peers.entry(*node).or_default())
    }

    /// Remembers that `node`, a member, did what it should not.
    pub(crate) fn fault(&self, node: &NodeId, fault: Fault, now: UnixMillis) {
        if let Some(entry) = self.lock().peers.get_mut(node) {
            entry.faults.note(fault, now);
        }
    }

    /// Remembers an address of `node`, as the best one. Says whether it was another one before.
    pub(crate) fn learn_address(&self, node: &NodeId, address: SocketAddr) -> bool {
        self.update(node, |entry| {
            if entry.addresses.first() == Some(&address) {
                return false;
            }
            entry.addresses.retain(|known| *known != address);
            entry.addresses.insert(0, address);
            entry.addresses.truncate(ADDRESSES);
            true
        })
    }

    /// Remembers an address of `node` that somebody else named, as the last resort.
    /// Says whether it is new.
    pub(crate) fn hear_of_address(&self, node: &NodeId, address: SocketAddr) -> bool {
        self.update(node, |entry| {
            let fresh = !entry.addresses.contains(&address) && entry.addresses.len() < ADDRESSES;
            if fresh {
                entry.addresses.push(address);
            }
            fresh
        })
    }

    /// Forgets all peers and returns their tasks.
    pub(crate) fn clear(&self) -> Vec<(NodeId, Arc<PeerHandle>)> {
        let peers = std::mem::take(&mut self.lock().peers);
        peers.into_iter().filter_map(|(node, entry)| Some((node, entry.handle?))).collect()
    }

    /// Forgets `node`.
    pub(crate) fn forget(&self, node: &NodeId) {
        self.lock().peers.remove(node);
    }

    /// How many peers are linked.
    pub(crate) fn connected(&self) -> usize {
        self.lock().peers.values().filter(|entry| entry.is_connected()).count()
    }

    /// Remembers that `node`, no member, knocked from `address`.
    pub(crate) fn stranger(&self, node: NodeId, stranger: Stranger) {
        let strangers = &mut self.lock().strangers;
        if strangers.len() >= STRANGERS && !strangers.contains_key(&node) {
            let oldest = strangers.iter().min_by_key(|(_, known)| known.last_seen).map(|(node, _)| *node);
            oldest.map(|node| strangers.remove(&node));
        }
        strangers.insert(node, stranger);
    }

    /// The strangers that knocked.
    pub(crate) fn strangers(&self) -> BTreeMap<NodeId, Stranger> {
        self.lock().strangers.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    pub(crate) fn is_connected(&self) -> bool {
        matches!(self.state, LinkState::Connected { .. })
    }
}

const ADDRESSES: usize = 8;
const STRANGERS: usize = 64;
const LINKS_WAITING: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; 32])
    }

    #[tokio::test]
    async fn news_that_come_while_nobody_listens_are_not_lost() {
        let (handle, _links) = PeerHandle::new();
        handle.tell(|news| news.mail = true);
        handle.tell(|news| news.roster = true);
        let news = handle.news().await;
        assert!(news.mail && news.roster && !news.life);
        assert!(futures_util::FutureExt::now_or_never(handle.news()).is_none(), "taken once");
    }

    #[test]
    fn the_latest_address_comes_first_and_the_list_is_bounded() {
        let table = PeerTable::default();
        for port in [1, 2, 3, 2].into_iter().chain(10..30) {
            table.learn_address(&node(1), SocketAddr::from(([10, 0, 0, 1], port)));
        }
        let addresses = table.get(&node(1)).unwrap().addresses;
        assert_eq!(addresses.len(), ADDRESSES);
        assert_eq!(addresses[0].port(), 29);
    }

    #[test]
    fn strangers_are_bounded_and_the_oldest_is_forgotten() {
        let table = PeerTable::default();
        for number in 0..=u8::try_from(STRANGERS).unwrap() {
            let address = SocketAddr::from(([10, 0, 0, 1], 1));
            let (last_seen, reason) = (UnixMillis(u64::from(number)), String::new());
            table.stranger(node(number), Stranger { address, last_seen, reason });
        }
        let strangers = table.strangers();
        assert_eq!(strangers.len(), STRANGERS);
        assert!(!strangers.contains_key(&node(0)));
    }
}
