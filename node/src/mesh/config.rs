//! What the owner can set about the mesh. Read by `mod`; the file format is the node's `config`.

use super::endpoint::Tuning;
use super::error::StartError;
use super::link::Window;
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// How this node takes part in its mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// UDP address of the mesh port. Port 0 means any. Set by the node's `mesh`.
    #[serde(skip)]
    pub listen: SocketAddr,
    /// A packet at least so often on a link with nothing to say, in seconds.
    pub keep_alive_s: u64,
    /// A link from which nothing came for so long is over, in seconds.
    pub idle_s: u64,
    /// In a mesh of more than 17 hosts a node keeps links to about 16 of them and links with others when there is something
    /// to say. Such a link is closed when nothing went over it for so long, in seconds.
    pub rest_s: u64,
    /// Let the kernel split large sends into packets. Off for network drivers that get it wrong.
    pub segmentation_offload: bool,
    /// How long a ticket is good for unless `invite` says otherwise, in seconds.
    pub ticket_ttl_s: u64,
    /// 64 hex digits. Every node that has them is in one mesh, without tickets.
    #[serde(skip)]
    pub secret: Option<String>,
    /// Pass on addresses of this very machine, too: for several nodes on one machine.
    pub share_loopback: bool,
    /// Say in the log which messages this node is about to acknowledge to their sender's node: one line a batch, written
    /// before the batch leaves. For whoever wants to prove that nothing is acknowledged before it is on disk.
    pub log_verdicts: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 23001)),
            keep_alive_s: 4,
            idle_s: 15,
            rest_s: 600,
            segmentation_offload: true,
            ticket_ttl_s: 15 * 60,
            secret: None,
            share_loopback: false,
            log_verdicts: false,
        }
    }
}

impl Config {
    /// The secret of a mesh that is open to everybody who has it.
    pub(super) fn open_secret(&self) -> Result<Option<[u8; 32]>, StartError> {
        let Some(text) = &self.secret else { return Ok(None) };
        crate::private::parse_hex(text.as_bytes()).map(|secret| Some(*secret)).ok_or(StartError::Secret)
    }

    pub(super) fn window(&self) -> Window {
        Window::default()
    }

    pub(super) fn rest(&self) -> Duration {
        Duration::from_secs(self.rest_s.max(1))
    }

    pub(super) fn tuning(&self) -> Tuning {
        Tuning {
            keep_alive: Duration::from_secs(self.keep_alive_s.max(1)),
            idle: Duration::from_secs(self.idle_s.max(2)),
            segmentation_offload: self.segmentation_offload,
        }
    }
}
