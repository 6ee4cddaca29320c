//! What the node's owner decides about its agents, over the owner's socket (see [`super::control`]).
//!
//! | request | body | reply |
//! |---|---|---|
//! | `POST /agents/rename` | [`RenameAgent`] | [`AgentRenamed`] |
//! | `POST /agents/forget` | [`ForgetAgent`] | [`AgentForgotten`] |

use serde::{Deserialize, Serialize};

/// Give an agent of this node another name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenameAgent {
    /// Its address, in any form.
    pub address: String,
    /// The name it shall have.
    pub name: String,
}

/// It has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentRenamed {
    /// Its address until now; withheld from others for 30 days.
    pub was: String,
    /// Its address.
    pub address: String,
    /// `name@tenant.provider`.
    pub short_address: String,
}

/// Remove an agent of this node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgetAgent {
    /// Its address, in any form.
    pub address: String,
}

/// It is gone, with its mailbox and its API keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentForgotten {
    /// Its address; withheld from others for 30 days.
    pub address: String,
    /// Messages that waited in its mailbox and are lost.
    pub mail: u32,
}
