//! Two nodes that claim one address: what `doctor`, `agents` and `join` show, and the command that mends it.

use super::Member;
use amesh_proto::address::Address;

/// One address, claimed twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clash {
    /// What both claim.
    pub address: Address,
    /// The older member, which holds the address everywhere alike.
    pub holder: Member,
    /// The other one.
    pub loser: Member,
    /// Both list the same key: one identity in two places, unproven at the loser's until it states its move.
    pub same_key: bool,
    /// What to run here, when this node is the loser.
    pub mend: Option<String>,
}

/// The command that gives a clashing agent of this node a free name.
pub(super) fn mend(name: &str, me: &Member) -> String {
    format!("amesh agents rename {name} {name}-{}", me.host)
}
