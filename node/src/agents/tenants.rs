//! Who may register agents in which tenant (REG-14, REG-15; AMP 03 §Tenant Access). Pure; called by `registration`.

use super::error::RegisterError;
use super::owners;
use amesh_store::{Admission, OwnerRecord};
use serde::{Deserialize, Serialize};

/// How agents get into a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Everybody on this machine may register; from elsewhere it counts as `invite`.
    Open,
    /// By an invite code, or an owner's user key.
    Invite,
    /// By an owner's user key.
    Admin,
    /// Nobody.
    Closed,
}

impl Mode {
    /// As configuration files and `/info` write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Invite => "invite",
            Self::Admin => "admin",
            Self::Closed => "closed",
        }
    }
}

/// By what right somebody may register in `tenant`.
///
/// # Errors
/// [`RegisterError::Tenant`] or [`RegisterError::InviteCode`]: there is none.
pub(super) fn admission(
    mode: Mode,
    tenant: &str,
    owner: Option<&OwnerRecord>,
    invite_code: Option<&str>,
) -> Result<Admission, RegisterError> {
    if mode == Mode::Closed {
        return Err(RegisterError::Tenant(format!("{tenant} takes no new agents at this node")));
    }
    if let Some(owner) = owner {
        return match owner.tenant == tenant {
            true => Ok(Admission::Owner(owner.id)),
            false => {
                Err(RegisterError::Tenant(format!("this user key is for {}, not for {tenant}", owner.tenant)))
            }
        };
    }
    match (mode, invite_code.filter(|code| !code.is_empty())) {
        (Mode::Open, _) => Ok(Admission::Open),
        (Mode::Invite, Some(code)) => Ok(Admission::Code(owners::hash_of_code(code))),
        (Mode::Invite, None) => Err(RegisterError::InviteCode(format!(
            "agents get into {tenant} by an `invite_code` only; the node's owner makes one: amesh agents code"
        ))),
        (Mode::Admin | Mode::Closed, _) => Err(RegisterError::Tenant(format!(
            "agents get into {tenant} by an owner's user key only; the node's owner makes one: amesh owners add"
        ))),
    }
}
