//! The calls that read. They never wait for the writer, and show no mail that is not durable.

use super::Store;
use crate::agents::{self, AgentRecord};
use crate::api_keys::KeyHash;
use crate::commit::Job;
use crate::engine::Read;
use crate::error::StoreError;
use crate::mail::{AgentNo, Destination};
use crate::meta::{Counters, LastTime};
use crate::own_roster::{self, OwnRoster};
use crate::owners::{self, OwnerId, OwnerRecord};
use crate::peers::{self, PeerRecord};
use crate::rosters::{self, StoredRoster};
use crate::verify::{self, Report};
use crate::{api_keys, pins};
use amesh_proto::address::Address;
use amesh_proto::node_id::NodeId;
use amesh_proto::roster::RosterEntry;
use amesh_proto::time::UnixMillis;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use tokio::sync::watch;

/// How much waits for one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSummary {
    /// For whom.
    pub destination: Destination,
    /// Messages.
    pub count: u32,
    /// Their bytes.
    pub bytes: u64,
}

/// Figures for `status` and `doctor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Agents registered here.
    pub agents: u64,
    /// Messages in their mailboxes.
    pub mailbox_messages: u64,
    /// Messages waiting to leave.
    pub outbox_messages: u64,
    /// Bytes of the database file; it never shrinks, but space in it is reused.
    pub disk_bytes: u64,
    /// Whether the store is open; after a failure it is not, until it opens again.
    pub open: bool,
}

impl Store {
    /// An agent by number.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn agent(&self, agent: AgentNo) -> Result<Option<AgentRecord>, StoreError> {
        self.read(|read| agents::by_no(read, agent))
    }

    /// An agent by address.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn agent_by_address(&self, address: &Address) -> Result<Option<AgentRecord>, StoreError> {
        self.read(|read| agents::by_address(read, address))
    }

    /// The agent that an API key opens now.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn agent_by_key_hash(
        &self,
        hash: &KeyHash,
        now: UnixMillis,
    ) -> Result<Option<AgentRecord>, StoreError> {
        self.read(|read| match api_keys::agent_of(read, hash, now)? {
            Some(agent) => agents::by_no(read, agent),
            None => Ok(None),
        })
    }

    /// Every agent of this node.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn all_agents(&self) -> Result<Vec<AgentRecord>, StoreError> {
        self.read(agents::all)
    }

    /// Somebody with agents of their own.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn owner(&self, id: &OwnerId) -> Result<Option<OwnerRecord>, StoreError> {
        self.read(|read| owners::by_id(read, id))
    }

    /// Everybody with agents of their own.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn all_owners(&self) -> Result<Vec<OwnerRecord>, StoreError> {
        self.read(owners::all)
    }

    /// The node's own roster, tombstones and retired keys included. Waits for a commit under way: what is published
    /// must never be taken back.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn own_roster(&self) -> Result<OwnRoster, StoreError> {
        self.read_settled(|read| {
            let version = Counters::read(read)?.roster_version;
            Ok(OwnRoster { version, entries: own_roster::all(read)? })
        })
    }

    /// The version of the node's own roster that is durable. Cheap.
    #[must_use]
    pub fn own_roster_version(&self) -> u64 {
        *self.shared().roster.borrow()
    }

    /// What this node shows of `address`, an agent of its own or one that left, with the keys it had.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn own_face(&self, address: &Address) -> Result<Option<RosterEntry>, StoreError> {
        self.read(|read| own_roster::entry(read, address))
    }

    /// Follows [`Self::own_roster_version`].
    #[must_use]
    pub fn watch_own_roster(&self) -> watch::Receiver<u64> {
        self.shared().roster.subscribe()
    }

    /// Another node's roster.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn roster(&self, node: &NodeId) -> Result<Option<StoredRoster>, StoreError> {
        self.read_settled(|read| rosters::of(read, node))
    }

    /// Every other node's roster.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn all_rosters(&self) -> Result<Vec<StoredRoster>, StoreError> {
        self.read_settled(rosters::all)
    }

    /// Every remembered peer.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn peers(&self) -> Result<Vec<PeerRecord>, StoreError> {
        self.read(peers::all)
    }

    /// Every decision of the owner whose name begins with `prefix`, by name.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn pins(&self, prefix: &str) -> Result<Vec<(String, String)>, StoreError> {
        self.read(|read| pins::with_prefix(read, prefix))
    }

    /// Grows with every restore and reset; lane numbers count within it.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.shared().generation.load(Ordering::Acquire)
    }

    /// Walks every tree, decodes every value, checks every reference between trees. Commits wait meanwhile.
    ///
    /// # Errors
    /// When the store cannot be read at all; what is wrong in it is in the report.
    pub fn verify(&self, progress: &mut dyn FnMut(u64)) -> Result<Report, StoreError> {
        self.read_settled(|read| {
            verify::verify(read, (self.shared().bodies(), self.shared().attachments()), progress)
        })
    }

    /// Whether the store is open and found room for new mail the last time it wrote. Cheap: `health` asks per request.
    #[must_use]
    pub fn is_taking_mail(&self) -> bool {
        self.is_open() && self.shared().has_room.load(Ordering::Relaxed)
    }

    /// Whether the store is open; after a failure it is not, until it opens again.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.shared().engine.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Figures for `status` and `doctor`.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (mailbox_messages, outbox_messages) = self.shared().tally().totals();
        let engine = self.shared().engine.read().unwrap_or_else(PoisonError::into_inner);
        let disk_bytes = engine.as_deref().map_or(0, crate::engine::Engine::size_on_disk);
        let open = engine.is_some();
        drop(engine);
        let agents = self.shared().tally().agents() as u64;
        Stats { agents, mailbox_messages, outbox_messages, disk_bytes, open }
    }

    pub(crate) fn read<T>(
        &self,
        read: impl FnOnce(&dyn Read) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.noticing(self.shared().read(read))
    }

    fn read_settled<T>(
        &self,
        read: impl FnOnce(&dyn Read) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.noticing(self.shared().read_settled(read))
    }

    /// A failed read may be the first sign that the engine broke: the writer looks, and opens it again.
    fn noticing<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(StoreError::Failed { .. }) = &result {
            // Where the queue is full, the writer finds out by itself.
            drop(self.enqueue(Job::Check));
        }
        result
    }

    pub(super) fn last_time(&self) -> Result<Option<UnixMillis>, StoreError> {
        Ok(self.read(LastTime::read)?.map(|last| UnixMillis(last.0)))
    }
}
