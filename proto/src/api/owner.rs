//! What the node's owner decides about its agents, over the owner's socket (see [`super::control`]).
//!
//! | request | body | reply |
//! |---|---|---|
//! | `POST /agents/rename` | [`RenameAgent`] | [`AgentRenamed`] |
//! | `POST /agents/forget` | [`ForgetAgent`] | [`AgentForgotten`] |
//! | `POST /agents/code` | [`NewInviteCode`] | [`MadeInviteCode`] |
//! | `GET /owners` | | [`OwnerList`] |
//! | `POST /owners/add` | [`AddOwner`] | [`OwnerAdded`] |
//! | `POST /owners/set` | [`SetOwner`] | [`Owner`] |
//! | `POST /owners/remove` | [`SetOwner`], of which `active` is not read | [`super::control::Done`] |

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

/// Make a code that lets agents in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewInviteCode {
    /// Into which tenant; the node's organization unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// How many agents; one unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u32>,
    /// For how long; a day unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_secs: Option<u64>,
}

/// The code, told once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeInviteCode {
    /// To be sent as `invite_code` with a registration.
    pub invite_code: String,
    /// Into which tenant it lets.
    pub tenant: String,
    /// How many agents.
    pub uses: u32,
    /// RFC 3339.
    pub expires_at: String,
}

/// Add somebody with agents of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddOwner {
    /// The tenant of their agents; the node's organization unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Agents they may have; 10 unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// The owner, and what proves them: told once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerAdded {
    /// The owner.
    #[serde(flatten)]
    pub owner: Owner,
    /// Registers agents, and does nothing else.
    pub user_key: String,
    /// Lists and removes them, and shows the user key again.
    pub session_token: String,
}

/// Somebody with agents of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Who.
    pub owner_id: String,
    /// The tenant of their agents.
    pub tenant: String,
    /// Agents they may have.
    pub limit: u32,
    /// Agents they have.
    pub agents: usize,
    /// Not suspended.
    pub active: bool,
    /// RFC 3339.
    pub added_at: String,
}

/// Everybody with agents of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerList {
    /// By id.
    pub owners: Vec<Owner>,
}

/// Suspend an owner, or let them go on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetOwner {
    /// Who.
    pub owner_id: String,
    /// False suspends.
    #[serde(default)]
    pub active: bool,
}
