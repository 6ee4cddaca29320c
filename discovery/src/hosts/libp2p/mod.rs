//! libp2p, for whatever the local network's multicast cannot do (DESIGN §3): finds members through members, and
//! carries streams to those that nothing direct leads to. Built by `node`; steered by its `mesh`.
//!
//! Only members take part, by allow list. Nothing is dialled while every member is linked without help; see `book`.

mod address;
mod behaviour;
mod book;
mod running;
#[cfg(test)]
mod tests;

use crate::finder::{Announcement, Event, Finder, Running, Source, State};
use amesh_proto::node_id::NodeId;
use libp2p::StreamProtocol;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::compat::FuturesAsyncReadCompatExt;
use tokio_util::sync::CancellationToken;

pub use libp2p::identity::Keypair;

/// What the swarm is built from.
#[derive(Clone)]
pub struct Config {
    /// UDP address. Port 0 means any.
    pub listen: SocketAddr,
    /// The node key.
    pub key: Keypair,
    /// This program's version, for members to see.
    pub version: String,
    /// Believe what others say of loopback addresses, for several nodes on one machine.
    pub share_loopback: bool,
    /// Try to get through to members that are reached through another one.
    pub hole_punching: bool,
}

/// How a member is reached through the swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Path {
    /// Without anybody between.
    Direct,
    /// Through another member.
    Relayed {
        /// That member.
        via: NodeId,
    },
}

/// A stream to a member. Who is at the other end is proven by the swarm; whether it may come in is the mesh's business.
pub type Stream = Box<dyn Duplex>;

/// Both directions of a stream.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// The swarm, seen from outside its task.
pub struct Swarm {
    config: Config,
    told: Mutex<Told>,
    changed: Notify,
    view: Mutex<View>,
    listening: watch::Sender<Vec<SocketAddr>>,
    guests: mpsc::Sender<(NodeId, Stream)>,
    door: Mutex<Option<mpsc::Receiver<(NodeId, Stream)>>>,
}

/// What the mesh wants.
#[derive(Debug, Clone, Default)]
struct Told {
    announcement: Option<Announcement>,
    members: BTreeSet<NodeId>,
    wanted: BTreeSet<NodeId>,
    met: BTreeMap<NodeId, Vec<SocketAddr>>,
    look_again: bool,
}

/// How it stands, as the task last saw it.
#[derive(Default)]
struct View {
    state: State,
    paths: BTreeMap<NodeId, Path>,
    streams: Option<libp2p_stream::Control>,
}

impl Swarm {
    /// A swarm that runs when its work is run, and listens when there is somebody to meet.
    #[must_use]
    pub fn new(config: Config) -> Arc<Self> {
        let (guests, door) = mpsc::channel(GUESTS);
        Arc::new(Self {
            config,
            told: Mutex::default(),
            changed: Notify::new(),
            view: Mutex::default(),
            listening: watch::Sender::new(Vec::new()),
            guests,
            door: Mutex::new(Some(door)),
        })
    }

    /// Who the other members are, and which of them have no direct link. Takes effect at once: connections of one that
    /// is a member no more are closed.
    pub fn follow(&self, members: BTreeSet<NodeId>, wanted: BTreeSet<NodeId>) {
        self.tell(|told| {
            let news = told.members != members || told.wanted != wanted;
            told.met.retain(|node, _| members.contains(node));
            (told.members, told.wanted) = (members, wanted);
            news
        });
    }

    /// Where the swarm of `node` listens, as it said over its link.
    pub fn meet(&self, node: NodeId, addresses: Vec<SocketAddr>) {
        self.tell(|told| {
            told.members.contains(&node) && told.met.insert(node, addresses.clone()) != Some(addresses)
        });
    }

    /// How `node` is reached, if it is.
    #[must_use]
    pub fn path(&self, node: &NodeId) -> Option<Path> {
        self.view().paths.get(node).copied()
    }

    /// Where this swarm listens, for other members; now and whenever it changes.
    #[must_use]
    pub fn listening(&self) -> watch::Receiver<Vec<SocketAddr>> {
        self.listening.subscribe()
    }

    /// A stream to `node`, over the connection there is.
    ///
    /// # Errors
    /// When there is none, or it broke.
    pub async fn open(&self, node: &NodeId) -> io::Result<Stream> {
        let (streams, peer) = {
            let view = self.view();
            let connected = view.paths.contains_key(node);
            (view.streams.clone().filter(|_| connected), address::peer_of(node))
        };
        let (Some(mut streams), Some(peer)) = (streams, peer) else {
            return Err(io::Error::from(io::ErrorKind::NotConnected));
        };
        let stream = streams.open_stream(peer, LINK).await.map_err(io::Error::other)?;
        Ok(Box::new(stream.compat()))
    }

    /// Streams that members open. Handed out once.
    #[must_use]
    pub fn guests(&self) -> Option<mpsc::Receiver<(NodeId, Stream)>> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn tell(&self, change: impl FnOnce(&mut Told) -> bool) {
        if change(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner)) {
            self.changed.notify_one();
        }
    }

    fn told(&self) -> Told {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let copy = told.clone();
        told.look_again = false;
        copy
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Finder for Swarm {
    fn source(&self) -> Source {
        Source::Libp2p
    }

    fn run(&self, sink: mpsc::Sender<Event>, stop: CancellationToken) -> Running<'_> {
        Box::pin(running::run(self, sink, stop))
    }

    fn state(&self) -> State {
        self.view().state.clone()
    }

    fn announce(&self, announcement: &Announcement) {
        self.tell(|told| told.announcement.replace(announcement.clone()).as_ref() != Some(announcement));
    }

    fn refresh(&self) {
        self.tell(|told| {
            told.look_again = true;
            true
        });
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").field("listen", &self.listen).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Swarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Swarm").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What streams of links speak. Which mesh it is, the allow list and the link's own proof say.
const LINK: StreamProtocol = StreamProtocol::new("/amesh-link/1");
/// Streams that wait to be taken in.
const GUESTS: usize = 16;
