//! Why `Agents` turns a request down, one type per concern. Doors give it a status and a body.

use amesh_proto::api::fields::BadBody;
use amesh_proto::member::MeshId;
use amesh_proto::node_id::NodeId;
use amesh_proto::time::UnixMillis;
use amesh_store::StoreError;
use serde_json::{Map, Value, json};

/// An API key that opens nothing (KEY-9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Unknown, expired, revoked, or no agent's key at all.
    #[error("the API key is missing, unknown, expired or revoked; register again to get a new one")]
    Unknown,
    /// The store could not be asked.
    #[error("API keys cannot be checked at the moment")]
    Unavailable,
}

/// What could not be done about owners and invite codes.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// Not a label.
    #[error("{0}")]
    Tenant(String),
    /// No such owner.
    #[error("there is no owner {0}; see: amesh owners")]
    Unknown(String),
    /// At the limit.
    #[error("there are too many already; remove some first")]
    Full,
    /// The store failed; nothing was changed.
    #[error("it could not be stored: {0}")]
    Store(#[from] StoreError),
}

/// A key that was not replaced.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// A field is missing or not valid.
    #[error("{0}")]
    Body(#[from] BadBody),
    /// KEY-6.
    #[error("the proof is not a signature of the new public key by the registered one; nothing was changed")]
    Proof,
    /// The API key that came along is not the agent's present one.
    #[error("this API key was replaced already; use the one that took its place")]
    Replaced,
    /// This node's roster holds as much as other hosts would take.
    #[error("{FULL}")]
    Full,
    /// The store failed; nothing was changed.
    #[error("the key could not be stored: {0}")]
    Store(#[from] StoreError),
}

/// A registration that was not made.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// A field is missing or not valid (REG-4).
    #[error("{0}")]
    Body(#[from] BadBody),
    /// No right to the tenant (REG-14, REG-15).
    #[error("{0}")]
    Tenant(String),
    /// The invite code is missing or no good (REG-15).
    #[error("{0}")]
    InviteCode(String),
    /// The user key was not issued here, or its owner is gone or suspended (REG-19).
    #[error("the user key is unknown or suspended")]
    UserKey,
    /// The owner has as many agents as they may (REG-19).
    #[error("this owner has {0} agents, and may have no more")]
    AgentLimit(u32),
    /// The name is in use here, or on another host of the mesh (REG-13).
    #[error("{}", taken(address, holder.as_deref()))]
    NameTaken {
        /// The full address.
        address: String,
        /// The other host that holds it.
        holder: Option<String>,
        /// Free names.
        suggestions: Vec<String>,
    },
    /// The agent lives on another host of the mesh; it moves by its own word alone (DESIGN §3, Moving).
    #[error(
        "{address} lives on host {host} with this key. To move it here, send `home` with the signature of \
         `amesh-home|{address}|{node}|{mesh}|{at}` by its key, as `amesh register` does"
    )]
    LivesElsewhere {
        /// The full address.
        address: String,
        /// That host.
        host: String,
        /// This node.
        node: NodeId,
        /// This mesh.
        mesh: MeshId,
        /// The time to sign: later than the agent's last move.
        at: UnixMillis,
    },
    /// Same name and key, but nothing that proves the key.
    #[error(
        "{address} is registered with this key already. To get a new API key, send the old one as `Authorization: \
         Bearer`, or a `proof` made with the private key, or register from this machine as the node's own user"
    )]
    ProofNeeded {
        /// The full address.
        address: String,
        /// Free names.
        suggestions: Vec<String>,
    },
    /// The address was given up less than 30 days ago (REG-25).
    #[error("{}", withheld(address, *until, *same_key))]
    Withheld {
        /// The full address.
        address: String,
        /// When it is free again.
        until: UnixMillis,
        /// It was given up by an agent with this very key; only the proof is missing.
        same_key: bool,
        /// Free names.
        suggestions: Vec<String>,
    },
    /// This node's roster holds as many names as other hosts would take.
    #[error("{FULL}")]
    Full,
    /// The owner named an agent that does not live here.
    #[error("{0} is not an agent of this node; see: amesh agents")]
    NoSuchAgent(String),
    /// The store failed; nothing was registered.
    #[error("the registration could not be stored: {0}")]
    Store(#[from] StoreError),
}

impl RegisterError {
    /// A field that is not as it should be, and why.
    pub(super) fn invalid(field: &'static str, why: impl std::fmt::Display) -> Self {
        BadBody::Invalid { field, why: why.to_string() }.into()
    }

    /// The machine-readable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Body(bad) => bad.code(),
            Self::Tenant(_) | Self::InviteCode(_) => "tenant_access_denied",
            Self::UserKey => "unauthorized",
            Self::AgentLimit(_) | Self::Full => "forbidden",
            Self::NameTaken { .. }
            | Self::LivesElsewhere { .. }
            | Self::ProofNeeded { .. }
            | Self::Withheld { .. } => "name_taken",
            Self::NoSuchAgent(_) => "not_found",
            Self::Store(_) => "internal_error",
        }
    }

    /// The request member at fault.
    #[must_use]
    pub fn field(&self) -> Option<&'static str> {
        match self {
            Self::Body(bad) => bad.field(),
            Self::Tenant(_) => Some("tenant"),
            Self::InviteCode(_) => Some("invite_code"),
            Self::UserKey | Self::AgentLimit(_) | Self::Full => None,
            Self::NameTaken { .. } | Self::ProofNeeded { .. } | Self::Withheld { .. } => Some("name"),
            Self::LivesElsewhere { .. } => Some("home"),
            Self::NoSuchAgent(_) => Some("address"),
            Self::Store(_) => None,
        }
    }

    /// Free names; they belong at the top level of the body and in its details.
    #[must_use]
    pub fn suggestions(&self) -> &[String] {
        match self {
            Self::NameTaken { suggestions, .. }
            | Self::ProofNeeded { suggestions, .. }
            | Self::Withheld { suggestions, .. } => suggestions,
            _ => &[],
        }
    }

    /// More for machines, by code; `suggestions` included.
    #[must_use]
    pub fn details(&self) -> Map<String, Value> {
        let mut details = Map::new();
        match self {
            Self::NameTaken { holder: Some(holder), .. } => {
                details.insert("held_by".to_owned(), json!(holder));
            }
            Self::LivesElsewhere { address, host, node, mesh, at } => {
                details.insert("held_by".to_owned(), json!(host));
                let home = json!({"address": address, "node_id": node.to_string(), "mesh_id": mesh.to_string(), "at": at.0});
                details.insert("home".to_owned(), home);
            }
            Self::ProofNeeded { .. } => {
                details.insert("proof_needed".to_owned(), json!(true));
            }
            Self::Withheld { until, same_key, .. } => {
                details.insert("withheld_until".to_owned(), json!(until.to_rfc3339()));
                if *same_key {
                    details.insert("proof_needed".to_owned(), json!(true));
                }
            }
            _ => {}
        }
        if !self.suggestions().is_empty() {
            details.insert("suggestions".to_owned(), json!(self.suggestions()));
        }
        details
    }
}

const FULL: &str = "this node's list of agents is full: other hosts would not take a longer one. Names that were given up \
                    and keys that were replaced count for 90 days";

fn taken(address: &str, holder: Option<&str>) -> String {
    match holder {
        Some(host) => format!("{address} is in use on host {host}; choose another name"),
        None => format!("{address} is in use with another key; choose another name"),
    }
}

fn withheld(address: &str, until: UnixMillis, same_key: bool) -> String {
    let until = until.to_rfc3339();
    match same_key {
        false => format!("{address} was deregistered and is withheld from reuse until {until}"),
        true => format!(
            "{address} was deregistered and is withheld until {until}. It had this key: to come back, send a `proof` made \
             with the private key, or register from this machine as the node's own user"
        ),
    }
}
