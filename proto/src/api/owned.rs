//! `auth/user-key` and `agents/owned`: what an owner of agents may ask with a session token (REG-21, A-74).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The reply to `GET /auth/user-key`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserKey {
    /// Registers agents, and does nothing else (REG-20).
    pub user_key: String,
    /// The owner.
    pub user_id: String,
    /// The tenant of their agents.
    pub tenant_id: String,
    /// Agents they have.
    pub agent_count: usize,
    /// Agents they may have.
    pub agent_limit: u32,
}

/// The reply to `GET /agents/owned`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OwnedPage {
    /// The owner's agents, by address.
    pub agents: Vec<OwnedEntry>,
    /// How many there are.
    pub total: usize,
    /// How many there may be.
    pub limit: u32,
}

/// One of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OwnedEntry {
    /// Its id here.
    pub id: String,
    /// The full address.
    pub address: String,
    /// Whether it is connected.
    pub online: bool,
    /// RFC 3339.
    pub registered_at: String,
}

/// The reply to `DELETE /agents/owned/{agent_id}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OwnedDeleted {
    /// Always true.
    pub deleted: bool,
    /// Which agent.
    pub agent_id: String,
}
