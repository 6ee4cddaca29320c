//! Keeping copies of the other nodes' rosters: what to pull, how parts add up, what to believe. Pure; one per link.
//! Driven by the peer's task, which reads and writes the store's copies (DESIGN §3).

use amesh_proto::address::Address;
use amesh_proto::member::MeshId;
use amesh_proto::node_id::NodeId;
use amesh_proto::roster::{BYTE_LIMIT, ENTRY_LIMIT, RosterEntry, RosterHead};
use amesh_proto::wire::{RosterPart, RosterPull, RosterVersion};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// The pulls under way over one link.
#[derive(Debug)]
pub(crate) struct RosterSync {
    mesh: MeshId,
    pulls: HashMap<NodeId, Pulling>,
}

#[derive(Debug)]
struct Pulling {
    since: u64,
    /// The version held here: nothing older is taken in its place.
    held: u64,
    /// The version that is to be reached at least.
    wanted: u64,
    next_part: u32,
    entries: Vec<RosterEntry>,
    bytes: usize,
    asked_at: Duration,
}

/// A roster that its author's signature covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verified {
    pub(crate) head: RosterHead,
    /// All of it, sorted by address.
    pub(crate) entries: Vec<RosterEntry>,
}

/// What a part brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PartOutcome {
    /// More parts follow, or it was not asked for.
    Nothing,
    /// Put it in the store, then tell the directory and the link's receiver.
    Install(Box<Verified>),
    /// What we hold and what changed do not add up to what the author signed: pull all of it.
    Pull(RosterPull),
    /// It cannot be had from this peer.
    Failed(RosterFault),
}

/// Why a roster is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(crate) enum RosterFault {
    #[error("the peer does not hold it")]
    NotHeld,
    #[error("its head is not signed by its author for this mesh")]
    Unsigned,
    #[error("its entries are not what its author signed")]
    Mismatch,
    #[error("it is older than what is held here")]
    Older,
    #[error("it is larger than any roster may be")]
    TooLarge,
}

impl RosterSync {
    pub(crate) fn new(mesh: MeshId) -> Self {
        Self { mesh, pulls: HashMap::new() }
    }

    /// A peer holds the roster of `offered.node` at `offered.version`; this node holds version `held` (0 for none).
    /// Gives the pull to send, if it is needed and not under way.
    pub(crate) fn want(&mut self, offered: RosterVersion, held: u64, now: Duration) -> Option<RosterPull> {
        if offered.version <= held {
            return None;
        }
        if let Some(pull) = self.pulls.get_mut(&offered.node)
            && now.saturating_sub(pull.asked_at) < PULL_PATIENCE
        {
            pull.wanted = pull.wanted.max(offered.version);
            return None;
        }
        let pull = Pulling { since: held, held, wanted: offered.version, ..Pulling::new(now) };
        Some(self.start(offered.node, pull))
    }

    /// Some entries came. `held` is this node's copy, in any order, as the store has it.
    pub(crate) fn on_part(
        &mut self,
        part: RosterPart,
        held: impl FnOnce(&NodeId) -> Option<Verified>,
        now: Duration,
    ) -> PartOutcome {
        let node = part.node;
        let Some(pull) = self.pulls.get_mut(&node) else { return PartOutcome::Nothing };
        if part.since != pull.since || part.part != pull.next_part {
            return PartOutcome::Nothing;
        }
        let end = match pull.take_in(part) {
            Ok(end) => end,
            Err(fault) => {
                self.pulls.remove(&node);
                return PartOutcome::Failed(fault);
            }
        };
        let Some(head) = end else { return PartOutcome::Nothing };
        let Some(pull) = self.pulls.remove(&node) else { return PartOutcome::Nothing };
        let Some(head) = head else { return PartOutcome::Failed(RosterFault::NotHeld) };
        if head.says.node != node || head.says.mesh != self.mesh || !head.is_signed() {
            return PartOutcome::Failed(RosterFault::Unsigned);
        }
        if head.says.version <= pull.held {
            return PartOutcome::Failed(RosterFault::Older);
        }
        let held = if pull.since == 0 { None } else { held(&node) };
        let base = held.map(|held| held.entries).unwrap_or_default();
        let entries = apply(base, pull.entries);
        if head.covers(&entries) {
            return PartOutcome::Install(Box::new(Verified { head, entries }));
        }
        if pull.since == 0 {
            return PartOutcome::Failed(RosterFault::Mismatch);
        }
        let all = Pulling { since: 0, held: pull.held, wanted: pull.wanted, ..Pulling::new(now) };
        PartOutcome::Pull(self.start(node, all))
    }

    fn start(&mut self, node: NodeId, pull: Pulling) -> RosterPull {
        let since = pull.since;
        self.pulls.insert(node, pull);
        RosterPull { node, since }
    }
}

impl Pulling {
    fn new(now: Duration) -> Self {
        Self { since: 0, held: 0, wanted: 0, next_part: 0, entries: Vec::new(), bytes: 0, asked_at: now }
    }

    fn take_in(&mut self, part: RosterPart) -> Result<Option<Option<RosterHead>>, RosterFault> {
        self.next_part += 1;
        self.bytes += part.entries.iter().map(RosterEntry::weight).sum::<usize>();
        self.entries.extend(part.entries);
        if self.entries.len() > ENTRY_LIMIT || self.bytes > BYTE_LIMIT {
            return Err(RosterFault::TooLarge);
        }
        Ok(part.end)
    }
}

/// `base` with every entry of `changes` put in the place of the one with its address; sorted by address.
fn apply(base: Vec<RosterEntry>, changes: Vec<RosterEntry>) -> Vec<RosterEntry> {
    let mut entries: BTreeMap<Address, RosterEntry> =
        base.into_iter().map(|entry| (entry.address.clone(), entry)).collect();
    for change in changes {
        entries.insert(change.address.clone(), change);
    }
    entries.into_values().collect()
}

/// The answer to a pull: what changed after `since` in `held`, in parts that each fit a frame.
pub(crate) fn answer(pull: RosterPull, held: Option<Verified>) -> Vec<RosterPart> {
    let RosterPull { node, since } = pull;
    let part = |part: usize, entries, end| {
        let part = u32::try_from(part).unwrap_or(u32::MAX);
        RosterPart { node, since, part, entries, end }
    };
    let Some(Verified { head, entries }) = held else { return vec![part(0, Vec::new(), Some(None))] };
    let mut parts = Vec::new();
    let (mut some, mut bytes) = (Vec::new(), 0);
    for entry in entries.into_iter().filter(|entry| entry.changed > since) {
        let weight = entry.weight();
        if some.len() >= RosterPart::ENTRY_LIMIT
            || bytes + weight > RosterPart::BYTE_LIMIT && !some.is_empty()
        {
            parts.push(part(parts.len(), std::mem::take(&mut some), None));
            bytes = 0;
        }
        bytes += weight;
        some.push(entry);
    }
    parts.push(part(parts.len(), some, Some(Some(head))));
    parts
}

/// A pull without an answer for so long may be sent again.
const PULL_PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
