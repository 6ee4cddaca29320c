//! `<data-dir>/node.json`: how other programs find the running node (DESIGN §4). Written when the node is ready, removed
//! on a clean stop.

use super::error::BuildError;
use crate::http::url_of;
use amesh_proto::address::Naming;
use amesh_proto::node_id::NodeId;
use serde::Serialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// What a node says when it is ready.
#[derive(Debug, Clone, Serialize)]
pub struct Ready {
    /// The node's process.
    pub pid: u32,
    /// Where agents connect.
    pub api: Vec<SocketAddr>,
    /// Where other nodes connect.
    pub mesh: SocketAddr,
    /// Where HTTP mesh hosts connect, if they may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_mesh: Option<SocketAddr>,
    /// This machine's name.
    pub host: String,
    /// The organization of agents here.
    pub org: String,
    /// The provider domain.
    pub provider: String,
    /// The node's id.
    pub node_id: NodeId,
}

impl Ready {
    pub(super) fn of(naming: &Naming, api: Vec<SocketAddr>, mesh: SocketAddr, node_id: NodeId) -> Self {
        let Naming { org, provider, host } = naming.clone();
        Self { pid: std::process::id(), api, mesh, http_mesh: None, host, org, provider, node_id }
    }

    /// The one line that `up` prints.
    #[must_use]
    pub fn line(&self) -> String {
        let api: Vec<String> = self.api.iter().copied().map(url_of).collect();
        let (mesh, host, node) = (self.mesh, &self.host, self.node_id);
        let hosts = self.http_mesh.map(|address| format!(" http_mesh={address}")).unwrap_or_default();
        format!("amesh ready api={} mesh={mesh} host={host} node={node}{hosts}", api.join(","))
    }
}

/// The file while the node runs.
#[derive(Debug)]
pub(super) struct NodeFile(PathBuf);

impl NodeFile {
    /// Writes it whole or not at all: a reader never sees half of it.
    pub(super) fn write(data_dir: &Path, ready: &Ready) -> Result<Self, BuildError> {
        let path = data_dir.join("node.json");
        let half = data_dir.join("node.json.new");
        let written = serde_json::to_vec_pretty(ready)
            .map_err(std::io::Error::other)
            .and_then(|text| std::fs::write(&half, text))
            .and_then(|()| std::fs::rename(&half, &path));
        match written {
            Ok(()) => Ok(Self(path)),
            Err(cause) => Err(BuildError::NodeFile { path, cause }),
        }
    }

    /// Removes it. One that stays behind is recognised by its dead process.
    pub(super) fn remove(self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "node.json could not be removed");
        }
    }
}
