//! The calls that read. They never wait for the writer, and show no mail that is not durable.

use super::Store;
use crate::agents::{self, AgentRecord};
use crate::api_keys::KeyHash;
use crate::commit::Job;
use crate::endings::{self, Expiring};
use crate::engine::Read;
use crate::error::StoreError;
use crate::mail::{AgentNo, Destination, MailboxEntry, MessageStatus, OutboxEntry, Seq};
use crate::meta::{Counters, LastTime};
use crate::own_roster::{self, OwnRoster};
use crate::owners::{self, OwnerId, OwnerRecord};
use crate::peers::{self, PeerRecord};
use crate::postings::{self, Posting};
use crate::receipt::{Receipt, ReceiptOwner};
use crate::rosters::{self, StoredRoster};
use crate::verify::{self, Report};
use crate::{api_keys, mailbox, outbox, pins, receipts, status};
use amesh_proto::address::Address;
use amesh_proto::id::MessageId;
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
    /// Up to `limit` messages after the cursor, oldest first. Entries past `expires_at` are listed until `expire` runs.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn pending(
        &self,
        agent: AgentNo,
        after: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<MailboxEntry>, StoreError> {
        let span = (after.unwrap_or(Seq(0)), self.shared().durable());
        self.read(|read| mailbox::pending(read, self.shared().bodies(), agent, span, limit))
    }

    /// How many messages a mailbox holds with `after < seq <= until`, those left out that expire by `living_at`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn pending_between(
        &self,
        agent: AgentNo,
        after: Seq,
        until: Seq,
        living_at: Option<UnixMillis>,
    ) -> Result<u32, StoreError> {
        self.read(|read| mailbox::count(read, agent, (after, until), living_at))
    }

    /// The last place in the order of commits that is durable: what comes has higher ones.
    #[must_use]
    pub fn position(&self) -> Seq {
        self.shared().durable()
    }

    /// Messages in a mailbox.
    #[must_use]
    pub fn pending_count(&self, agent: AgentNo) -> u32 {
        self.shared().tally().mailbox(agent).total
    }

    /// How far the posting of a message to a webhook came; nothing for what was never posted or is gone.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn posting(&self, agent: AgentNo, seq: Seq) -> Result<Option<Posting>, StoreError> {
        self.read(|read| postings::of(read, agent, seq))
    }

    /// The message that a mailbox shows under this id.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn entry(&self, agent: AgentNo, id: &MessageId) -> Result<Option<MailboxEntry>, StoreError> {
        let durable = self.shared().durable();
        let entry = self.read(|read| mailbox::entry(read, self.shared().bodies(), agent, id))?;
        Ok(entry.filter(|entry| entry.seq <= durable))
    }

    /// Up to `limit` receipts after the cursor, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn receipts(
        &self,
        owner: ReceiptOwner,
        after: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<(Seq, Receipt)>, StoreError> {
        let span = (after.unwrap_or(Seq(0)), self.shared().durable());
        self.read(|read| receipts::of(read, owner, span, limit))
    }

    /// How many receipts are kept for `owner`. Cheap.
    #[must_use]
    pub fn receipt_count(&self, owner: ReceiptOwner) -> u32 {
        self.shared().tally().receipts(owner)
    }

    /// Up to `limit` messages for a destination after the cursor, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn outbox(
        &self,
        destination: &Destination,
        after: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<OutboxEntry>, StoreError> {
        let key = outbox::key_of(destination);
        let span = (after.unwrap_or(Seq(0)), self.shared().durable());
        let entries = self.read(|read| outbox::entries(read, self.shared().bodies(), &key, span, limit))?;
        Ok(outbox::with_floors(entries, self.shared().tally().queue(&key)))
    }

    /// Messages waiting for a destination.
    #[must_use]
    pub fn outbox_len(&self, destination: &Destination) -> u32 {
        self.shared().tally().queue(&outbox::key_of(destination)).map_or(0, |queue| queue.count)
    }

    /// Every destination for which mail waits.
    #[must_use]
    pub fn outbox_destinations(&self) -> Vec<QueueSummary> {
        let tally = self.shared().tally();
        let summary = |(key, queue): (&[u8], &crate::tally::Queue)| {
            let destination = outbox::destination_of(key).ok()?;
            Some(QueueSummary { destination, count: queue.count, bytes: queue.bytes })
        };
        tally.destinations().filter_map(summary).collect()
    }

    /// What became of a message that an agent of this node sent.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn message_status(
        &self,
        sender: AgentNo,
        id: &MessageId,
    ) -> Result<Option<MessageStatus>, StoreError> {
        let durable = self.shared().durable();
        let status = self.read(|read| status::of(read, sender, id))?;
        Ok(status.filter(|status| status.receipt.seq <= durable))
    }

    /// Messages due by `now` whose senders live here and need a notice; hand the notices to `expire`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn expiring(&self, now: UnixMillis, limit: usize) -> Result<Vec<Expiring>, StoreError> {
        self.read(|read| endings::expiring(read, self.shared().bodies(), now, limit))
    }

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

    pub(super) fn read<T>(
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
