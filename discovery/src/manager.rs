//! Asks all sources, merges what they say, ranks it, and tells the mesh. Built by `node`; used by `mesh`.
//!
//! The table here is the truth and the events are nudges: a reader that is slow holds the sources back (each can
//! repeat itself), it loses nothing.

use crate::cache::Cache;
use crate::finder::{Announcement, Candidate, Event, Finder, Running, Source, State};
use crate::interfaces::{self, Interfaces};
use amesh_proto::node_id::NodeId;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Elapsed time since an arbitrary start, as the node's clock tells it.
pub type Elapsed = Arc<dyn Fn() -> Duration + Send + Sync>;

/// What the manager needs to know besides its sources.
#[derive(Debug, Clone)]
pub struct Config {
    /// This node: whatever is said about it is dropped, a multicast source hears itself.
    pub own: NodeId,
    /// Interfaces whose changes count.
    pub interfaces: Interfaces,
}

/// The one table of who is out there.
pub struct Manager {
    own: NodeId,
    finders: Vec<Arc<dyn Finder>>,
    cache: Mutex<Cache>,
    elapsed: Elapsed,
}

/// A manager, what it tells, and the work that keeps it going.
pub struct Started {
    /// The table.
    pub manager: Arc<Manager>,
    /// News, merged over all sources.
    pub events: mpsc::Receiver<Event>,
    /// One future per source and two of the manager's own; the node runs each as a task. They end on the stop signal.
    pub work: Vec<Running<'static>>,
}

/// Somebody whom a source sees now; a member or a stranger (DESIGN §3: `amesh peers` lists both).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Who it claims to be.
    pub node: NodeId,
    /// Where, best first.
    pub addresses: Vec<SocketAddr>,
    /// Who sees it, best first.
    pub sources: Vec<Source>,
    /// The host label it shows.
    pub label: Option<String>,
    /// The mesh it claims.
    pub mesh_hint: Option<[u8; 8]>,
}

impl Manager {
    /// Joins `finders` into one. Nothing runs before the work is run.
    #[must_use]
    pub fn start(
        config: Config,
        finders: Vec<Arc<dyn Finder>>,
        elapsed: Elapsed,
        stop: &CancellationToken,
    ) -> Started {
        let (tell, events) = mpsc::channel(EVENTS);
        let (sink, said) = mpsc::channel(EVENTS);
        let manager = Arc::new(Self { own: config.own, finders, cache: Mutex::default(), elapsed });
        let mut work: Vec<Running<'static>> = Vec::new();
        for finder in manager.finders.clone() {
            let (sink, stop) = (sink.clone(), stop.clone());
            work.push(Box::pin(async move { finder.run(sink, stop).await }));
        }
        work.push(Box::pin(interfaces::watch(config.interfaces, sink, stop.clone())));
        let merging = manager.clone();
        let stop = stop.clone();
        work.push(Box::pin(async move {
            stop.run_until_cancelled(merging.merge(said, tell)).await;
        }));
        Started { manager, events, work }
    }

    async fn merge(&self, mut said: mpsc::Receiver<Event>, tell: mpsc::Sender<Event>) {
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        loop {
            let news = tokio::select! {
                event = said.recv() => match event {
                    Some(event) => self.take_in(event).into_iter().collect(),
                    None => return,
                },
                _ = sweep.tick() => self.sweep(),
            };
            for event in news {
                if tell.send(event).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Merges one report; returns it if it is news.
    fn take_in(&self, event: Event) -> Option<Event> {
        let now = (self.elapsed)();
        match event {
            Event::Found(Candidate { node: Some(node), .. }) if node == self.own => None,
            Event::Found(candidate) => self.cache().learn(&candidate, now).then_some(Event::Found(candidate)),
            Event::Lost { node, source } => {
                self.cache().lose(&node, source, now).then_some(Event::Lost { node, source })
            }
            Event::InterfacesChanged => {
                self.look_again();
                Some(Event::InterfacesChanged)
            }
        }
    }

    fn sweep(&self) -> Vec<Event> {
        let gone = self.cache().expire((self.elapsed)());
        gone.into_iter().map(|(node, source)| Event::Lost { node, source }).collect()
    }

    /// Tells the network about this node; again whenever something in it changed.
    pub fn announce(&self, announcement: &Announcement) {
        self.finders.iter().for_each(|finder| finder.announce(announcement));
    }

    /// Addresses of `node`, best first, without asking anybody.
    #[must_use]
    pub fn addresses(&self, node: &NodeId) -> Vec<SocketAddr> {
        self.cache().addresses(node, (self.elapsed)())
    }

    /// As [`Self::addresses`], and asks the sources that do not see `node`, each at most once in its negative time.
    /// What they answer comes as [`Event::Found`].
    #[must_use]
    pub fn find(&self, node: &NodeId) -> Vec<SocketAddr> {
        let now = (self.elapsed)();
        for finder in &self.finders {
            if self.cache().may_ask(finder.source(), node, now) {
                finder.refresh();
            }
        }
        self.addresses(node)
    }

    /// Addresses that the owner named, whoever answers there.
    #[must_use]
    pub fn seeds(&self) -> Vec<SocketAddr> {
        self.cache().seeds((self.elapsed)())
    }

    /// Everybody who is seen now.
    #[must_use]
    pub fn neighbours(&self) -> Vec<Neighbour> {
        let now = (self.elapsed)();
        let cache = self.cache();
        let neighbour = |(node, seen): (NodeId, std::collections::BTreeMap<Source, _>)| {
            let said: Vec<&crate::cache::Sighting> = seen.values().collect();
            Neighbour {
                node,
                addresses: cache.addresses(&node, now),
                label: said.iter().find_map(|sighting| sighting.label.clone()),
                mesh_hint: said.iter().find_map(|sighting| sighting.mesh_hint),
                sources: seen.keys().copied().collect(),
            }
        };
        cache.live(now).into_iter().map(neighbour).collect()
    }

    /// A link to `node` timed out: check whether it is still there. `Lost` follows within seconds if not.
    pub fn verify(&self, node: &NodeId) {
        self.finders.iter().for_each(|finder| finder.verify(node));
    }

    /// Nobody, or somebody else, answered at `address`.
    pub fn note_silent(&self, address: SocketAddr) {
        let mut cache = self.cache();
        // An address that no source named is the caller's own knowledge; there is nothing to rank.
        if let Some(source) = cache.source_of(&address) {
            cache.note_silent(address, source, (self.elapsed)());
        }
    }

    /// Somebody proved to be the node sought at `address`.
    pub fn note_answered(&self, address: &SocketAddr) {
        self.cache().note_answered(address);
    }

    /// Asks every source anew, and believes again in addresses that were silent: this machine is somewhere else now, or
    /// slept.
    pub fn look_again(&self) {
        self.cache().forget_silence();
        self.finders.iter().for_each(|finder| finder.refresh());
    }

    /// How each source is doing.
    #[must_use]
    pub fn states(&self) -> Vec<(Source, State)> {
        self.finders.iter().map(|finder| (finder.source(), finder.state())).collect()
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Manager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Manager")
            .field("own", &self.own)
            .field("sources", &self.states())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Started {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Started")
            .field("manager", &self.manager)
            .field("work", &self.work.len())
            .finish_non_exhaustive()
    }
}

const EVENTS: usize = 256;
const SWEEP_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
