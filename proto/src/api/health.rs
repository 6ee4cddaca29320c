//! `GET /health` (API-3).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How the node is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `healthy`, or `degraded` while new mail is refused (disk nearly full, store damaged).
    pub status: String,
    /// The software's version.
    pub version: String,
    /// The provider domain.
    pub provider: String,
    /// Whether mail is exchanged with other providers.
    pub federation: bool,
    /// Agents with an open WebSocket.
    pub agents_online: usize,
    /// Since start.
    pub uptime_seconds: u64,
    /// The mesh (MSH-8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh: Option<MeshHealth>,
}

/// `mesh` of a health report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MeshHealth {
    /// Whether this node is a member of a mesh with others.
    pub enabled: bool,
    /// Other members.
    pub hosts_configured: usize,
    /// Those with an open link.
    pub hosts_reachable: usize,
    /// This node's host label.
    pub self_host_id: String,
}
