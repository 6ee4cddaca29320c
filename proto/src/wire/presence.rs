//! Which agents of the other node are connected to it just now. Asked and answered by the node's `mesh/presence`.

use serde::{Deserialize, Serialize};

/// Are these agents of yours connected?
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PresenceAsk {
    /// Comes back with the answer.
    pub number: u32,
    /// Full addresses.
    pub agents: Vec<String>,
}

impl PresenceAsk {
    /// Agents in one question; of more, the first are answered for.
    pub const LIMIT: usize = 1024;
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Presence {
    /// Of the question.
    pub number: u32,
    /// In the order of the question.
    pub online: Vec<bool>,
}
