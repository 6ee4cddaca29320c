//! What a source of candidates is and says. Implemented by the files under `hosts/`, driven by `manager`.

use amesh_proto::node_id::NodeId;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Work that the node runs as one of its tasks; nothing in this crate spawns.
pub type Running<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Where a candidate came from; the order is the order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Named by the owner (`--peer HOST:PORT`).
    Static,
    /// Seen on the local network by multicast.
    Mdns,
    /// Told by other members, through libp2p.
    Libp2p,
    /// Put in by a test.
    Memory,
}

impl Source {
    /// The name that is shown to the owner.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Mdns => "mdns",
            Self::Libp2p => "libp2p",
            Self::Memory => "memory",
        }
    }
}

/// Somebody who may be reachable. Unproven, all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Who it claims to be; a seed address has no name before it was dialled.
    pub node: Option<NodeId>,
    /// Where it may answer, best first.
    pub addresses: Vec<SocketAddr>,
    /// Who says so.
    pub source: Source,
    /// The host label it shows, for people to read.
    pub label: Option<String>,
    /// Short hash of the mesh it claims to be in.
    pub mesh_hint: Option<[u8; 8]>,
    /// How long the source stands by it; `None` leaves that to the source's positive time.
    pub expires_in: Option<Duration>,
}

/// What discovery tells the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A candidate is new, or is seen at other addresses than before, or was seen again after it was lost.
    Found(Candidate),
    /// A source no longer sees the node. A hint only: an open link is not closed for it.
    Lost {
        /// Who is gone.
        node: NodeId,
        /// Who says so.
        source: Source,
    },
    /// Addresses or link state of this machine changed: what failed before is worth trying now (DESIGN §1.7).
    InterfacesChanged,
}

/// What this node tells others about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The host label.
    pub host: String,
    /// This node.
    pub node_id: NodeId,
    /// Short hash of the mesh id; `None` before the node is in a mesh.
    pub mesh_hash: Option<[u8; 8]>,
    /// UDP port of the mesh listener.
    pub port: u16,
}

/// How a source is doing, for `status` and `doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum State {
    /// Not running yet, or no longer.
    #[default]
    Idle,
    /// Working.
    Running,
    /// Not working; it keeps trying. The text says why.
    Failing(String),
}

/// One source of candidates.
///
/// A source with nothing to say, or broken, never fails the node: it reports [`State::Failing`] and tries again.
pub trait Finder: Send + Sync {
    /// Which source this is.
    fn source(&self) -> Source;

    /// Reports into `sink` until `stop` is raised, then says goodbye where the medium has a way to. Runs once.
    fn run(&self, sink: mpsc::Sender<Event>, stop: CancellationToken) -> Running<'_>;

    /// How it is doing.
    fn state(&self) -> State;

    /// Tells others about this node, now and until the next call. Sources without a voice ignore it.
    fn announce(&self, _announcement: &Announcement) {}

    /// Looks again now instead of at its next turn.
    fn refresh(&self) {}

    /// Checks that `node` is still there; if it is not, `Lost` follows.
    fn verify(&self, _node: &NodeId) {}
}
