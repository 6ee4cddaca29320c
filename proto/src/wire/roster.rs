//! How rosters travel: adverts, pulls, and parts of bounded size. Any member may pass on any roster it holds, for the
//! head is signed by its author and covers every entry.

use crate::node_id::NodeId;
use crate::roster::{RosterEntry, RosterHead};
use serde::{Deserialize, Serialize};

/// One roster that the sender holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterVersion {
    /// Its author.
    pub node: NodeId,
    /// Its version there.
    pub version: u64,
}

/// Rosters that the sender holds, its own first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RosterAdvert(pub Vec<RosterVersion>);

/// "Send me what changed in this roster."
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterPull {
    /// Whose roster.
    pub node: NodeId,
    /// Everything changed after this version; 0 for all.
    pub since: u64,
}

/// Some of the entries that a pull asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterPart {
    /// Whose roster.
    pub node: NodeId,
    /// What the pull said.
    pub since: u64,
    /// Counts from 0.
    pub part: u32,
    /// At most [`RosterPart::ENTRY_LIMIT`].
    pub entries: Vec<RosterEntry>,
    /// With the last part only: what the whole must add up to. `None` there: the sender does not hold this roster.
    pub end: Option<Option<RosterHead>>,
}

impl RosterPart {
    /// Entries in one part.
    pub const ENTRY_LIMIT: usize = 500;
    /// Bytes of entries in one part.
    pub const BYTE_LIMIT: usize = 512 << 10;
}
