//! The calls that read what waits: mailboxes, outboxes and receipts, and what became of messages. As those of `lookup`, they
//! never wait for the writer, and show no mail that is not durable.

use super::Store;
use super::lookup::QueueSummary;
use crate::endings::{self, Expiring};
use crate::error::StoreError;
use crate::mail::{AgentNo, Destination, LaneMark, LanePart, MailboxEntry, MessageStatus, OutboxEntry, Seq};
use crate::postings::{self, Posting};
use crate::receipt::{Receipt, ReceiptOwner};
use crate::tally::Queue;
use crate::{mailbox, outbox, receipts, status};
use amesh_proto::id::MessageId;
use amesh_proto::message::Priority;
use amesh_proto::time::UnixMillis;

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

    /// The same, of the messages of one class only. Cheap where there is none of a class other than `normal`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn pending_of(
        &self,
        agent: AgentNo,
        class: Priority,
        after: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<MailboxEntry>, StoreError> {
        if class != Priority::Normal && self.shared().tally().classed(agent) == 0 {
            return Ok(Vec::new());
        }
        let span = (after.unwrap_or(Seq(0)), self.shared().durable());
        self.read(|read| mailbox::pending_of(read, self.shared().bodies(), (agent, class), span, limit))
    }

    /// Whether a message is in its mailbox still. Cheap.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn is_pending(&self, agent: AgentNo, seq: Seq) -> Result<bool, StoreError> {
        self.read(|read| mailbox::is_there(read, agent, seq))
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
        let entries =
            self.read(|read| outbox::entries(read, self.shared().bodies(), &key, span, limit, None))?;
        Ok(outbox::with_floors(entries, self.shared().tally().queue(&key)))
    }

    /// The same, of the messages of one class only; fewer than `limit` means that there are no more. Cheap where there is
    /// none of a class other than `normal`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn outbox_of(
        &self,
        destination: &Destination,
        class: Priority,
        after: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<OutboxEntry>, StoreError> {
        let key = outbox::key_of(destination);
        let mut span = (after.unwrap_or(Seq(0)), self.shared().durable());
        let bodies = self.shared().bodies();
        let mut entries = Vec::new();
        if class == Priority::Normal {
            entries = self.read(|read| outbox::entries(read, bodies, &key, span, limit, Some(class)))?;
        } else {
            while entries.len() < limit {
                let wanted = limit - entries.len();
                let of_class = |queue: &Queue| queue.of_class(class, span, wanted);
                let waiting = self.shared().tally().queue(&key).map(of_class).unwrap_or_default();
                entries.extend(self.read(|read| outbox::entries_of(read, bodies, &key, &waiting))?);
                match waiting.last() {
                    Some(last) if waiting.len() == wanted => span.0 = *last,
                    _ => break,
                }
            }
        }
        Ok(outbox::with_floors(entries, self.shared().tally().queue(&key)))
    }

    /// The first message of each lane of which `part` asks for something: at most `limit`, by class in `order` and the oldest
    /// first. For carriers that have one message of a lane under way at a time.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn outbox_heads(
        &self,
        destination: &Destination,
        part: &dyn Fn(LaneMark) -> LanePart,
        order: &[Priority],
        limit: usize,
    ) -> Result<Vec<(LaneMark, OutboxEntry)>, StoreError> {
        let (key, until) = (outbox::key_of(destination), self.shared().durable());
        let heads = |queue: &Queue| queue.heads(&|lane| part(LaneMark(*lane)), order, until, limit);
        let waiting = self.shared().tally().queue(&key).map(heads).unwrap_or_default();
        let bodies = self.shared().bodies();
        let entries = self.read(|read| outbox::entries_of(read, bodies, &key, &waiting))?;
        Ok(entries.into_iter().map(|(lane, entry)| (LaneMark(lane), entry)).collect())
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
        let summary = |(key, queue): (&[u8], &Queue)| {
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
}
