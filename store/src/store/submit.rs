//! The calls that write.

use super::{Store, channel};
use crate::accept::Prepared;
use crate::agents::{
    AgentChange, AgentRecord, Deregistered, NewAgent, NewKey, RegisterOutcome, RenameOutcome,
};
use crate::api_keys::KeyHash;
use crate::backup::BackupReport;
use crate::change::{Change, Durable, Reply};
use crate::commit::Job;
use crate::config::QUEUE_BYTES;
use crate::endings::Expired;
use crate::error::StoreError;
use crate::mail::{
    AgentNo, CommitOutcome, Destination, MailboxEntry, NewMail, OutboxEntry, Seq, Settlement, Target,
};
use crate::moving::Onward;
use crate::owners::{InviteCode, OwnerId, OwnerRecord};
use crate::peers::PeerRecord;
use crate::postings::Posting;
use crate::receipt::{BroughtReceipt, Given, ReceiptKind, ReceiptOwner};
use crate::rosters::RosterDelta;
use crate::tickets::{SpendOutcome, TokenHash};
use amesh_proto::address::Address;
use amesh_proto::id::MessageId;
use amesh_proto::message::Mail;
use amesh_proto::node_id::NodeId;
use amesh_proto::roster::{HomeStatement, RosterHead};
use amesh_proto::time::UnixMillis;
use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

impl Store {
    /// Commits a message to a mailbox or to the outbox.
    pub fn commit_mail(&self, new: NewMail) -> Durable<CommitOutcome> {
        match Prepared::new(new, self.shared().bodies().is_some()) {
            Ok(prepared) => self.submit(|reply| Change::CommitMail(Box::new(prepared), reply)),
            Err(error) => Durable::refused(error),
        }
    }

    /// Removes what its owner has, by shown id. Gives the ids that were there.
    pub fn acknowledge(&self, agent: AgentNo, ids: Vec<MessageId>) -> Durable<Vec<MessageId>> {
        self.submit(|reply| Change::Acknowledge(agent, ids, reply))
    }

    /// Notes what the recipient was given: it no longer counts as new, and stays until acknowledged.
    pub fn mark_handed_out(&self, agent: AgentNo, seqs: Vec<Seq>) -> Durable<()> {
        self.submit(|reply| Change::MarkHandedOut(agent, seqs, reply))
    }

    /// Notes how far the posting of a message to a webhook came; says whether it is still in the mailbox. What was taken
    /// counts as handed out.
    pub fn note_posting(&self, agent: AgentNo, seq: Seq, posting: Posting) -> Durable<bool> {
        self.submit(|reply| Change::NotePosting(agent, seq, posting, reply))
    }

    /// Notes that messages of a mailbox, by shown id, were delivered or read, and keeps word of it for their senders.
    pub fn give_receipts(
        &self,
        agent: AgentNo,
        ids: Vec<MessageId>,
        kind: ReceiptKind,
        now: UnixMillis,
    ) -> Durable<Vec<Given>> {
        self.submit(|reply| Change::GiveReceipts(agent, ids, kind, now, reply))
    }

    /// Keeps receipts that another node brings for messages it was sent. Gives whom they are for.
    pub fn take_receipts(
        &self,
        node: NodeId,
        receipts: Vec<BroughtReceipt>,
        now: UnixMillis,
    ) -> Durable<Vec<ReceiptOwner>> {
        self.submit(|reply| Change::TakeReceipts(node, receipts, now, reply))
    }

    /// Forgets receipts up to `until`: their owner has them.
    pub fn forget_receipts(&self, owner: ReceiptOwner, until: Seq) -> Durable<()> {
        self.submit(|reply| Change::ForgetReceipts(owner, until, reply))
    }

    /// Ends messages of the outbox; what is not there (any more) is passed over. Refused and expired ones put their
    /// notice into the sender's mailbox in the same commit.
    pub fn settle(
        &self,
        destination: &Destination,
        settlements: Vec<(Seq, Settlement)>,
        now: UnixMillis,
    ) -> Durable<()> {
        self.submit(|reply| Change::Settle(destination.clone(), settlements, now, reply))
    }

    /// Ends what is due: call about once a minute, again at once while `more`. `boot` is a clock that nobody sets; after
    /// a jump of the other by over an hour nothing ends until it has been steady for an hour. `notices` are the system
    /// messages for what [`Store::expiring`] listed.
    pub fn expire(&self, now: UnixMillis, boot: Duration, notices: Vec<(Seq, Mail)>) -> Durable<Expired> {
        if let Some(unsteady_for) = self.watch_clock(now, boot) {
            let waiting = Expired { unsteady_for: Some(unsteady_for), ..Expired::default() };
            // A time that is not believed is not remembered either: a restart would take it for the right one.
            return self.submit(|reply| Change::PutOffExpiry(waiting, reply));
        }
        self.submit(|reply| Change::Expire(now, notices.into_iter().collect(), reply))
    }

    /// Registers an agent and shows it in the node's roster.
    pub fn register_agent(&self, new: NewAgent) -> Durable<RegisterOutcome> {
        self.submit(|reply| Change::Register(Box::new(new), reply))
    }

    /// Changes what an agent may change of itself (REG-23).
    pub fn update_agent(&self, agent: AgentNo, change: AgentChange, now: UnixMillis) -> Durable<AgentRecord> {
        self.submit(|reply| Change::UpdateAgent(agent, Box::new(change), now, reply))
    }

    /// Gives an agent another key (KEY-5); the old one stays in the roster as retired. Nothing, when the key to be
    /// replaced is not the agent's (any more).
    pub fn rotate_agent_key(
        &self,
        agent: AgentNo,
        key: NewKey,
        now: UnixMillis,
    ) -> Durable<Option<Box<AgentRecord>>> {
        self.submit(|reply| Change::RotateKey(agent, Box::new(key), now, reply))
    }

    /// Gives an agent another address and name, with everything it has (DESIGN §3, Names).
    pub fn rename_agent(
        &self,
        agent: AgentNo,
        address: Address,
        name: String,
        now: UnixMillis,
    ) -> Durable<RenameOutcome> {
        self.submit(|reply| Change::RenameAgent(agent, Box::new((address, name)), now, reply))
    }

    /// Shows the agent's word that it moved here (DESIGN §3).
    pub fn set_home(&self, agent: AgentNo, home: HomeStatement) -> Durable<()> {
        self.submit(|reply| Change::SetHome(agent, Box::new(home), reply))
    }

    /// The agent lives at `home` now: its API keys end here, its roster entry becomes a tombstone. Its record and its
    /// mailbox stay, should it return; signed mail that is still committed to that goes to `home`. False, and nothing is
    /// changed, while its mailbox holds mail that is younger than `seen`.
    pub fn depart_agent(&self, agent: AgentNo, home: NodeId, seen: Seq, now: UnixMillis) -> Durable<bool> {
        self.submit(|reply| Change::Depart(agent, (home, seen), now, reply))
    }

    /// Moves mail of a mailbox, as [`Store::pending`] gave it, into the queue to the node where the agent lives now. Gives
    /// how many went: fewer, when that queue has no room for more.
    pub fn hand_on(
        &self,
        agent: AgentNo,
        mail: &[MailboxEntry],
        node: NodeId,
        now: UnixMillis,
    ) -> Durable<u32> {
        let blobs = self.shared().bodies().is_some();
        match mail.iter().map(|entry| Onward::of_mailbox(entry, blobs)).collect() {
            Ok(mail) => self.submit(|reply| Change::HandOn(agent, mail, node, now, reply)),
            Err(error) => Durable::refused(error),
        }
    }

    /// Moves mail of the queue to `from`, as [`Store::outbox`] gave it, to where its recipient is now. Gives how many went:
    /// fewer, when there is no room for more.
    pub fn redirect(&self, from: NodeId, mail: &[OutboxEntry], to: Target, now: UnixMillis) -> Durable<u32> {
        let blobs = self.shared().bodies().is_some();
        match mail.iter().map(|entry| Onward::of_outbox(entry, blobs)).collect() {
            Ok(mail) => self.submit(|reply| Change::Redirect(from, mail, Box::new(to), now, reply)),
            Err(error) => Durable::refused(error),
        }
    }

    /// Removes an agent, its keys and its mailbox; a tombstone stays (REG-25).
    pub fn deregister_agent(&self, agent: AgentNo, now: UnixMillis) -> Durable<Deregistered> {
        self.submit(|reply| Change::Deregister(agent, now, reply))
    }

    /// Adds an API key; with `others_until` the agent's other keys end then (KEY-3).
    pub fn add_api_key(
        &self,
        agent: AgentNo,
        hash: KeyHash,
        others_until: Option<UnixMillis>,
    ) -> Durable<()> {
        self.submit(|reply| Change::AddApiKey(agent, hash, others_until, reply))
    }

    /// Puts `new` in the place of `old`, the API key that the agent uses now; its others end at `until` (KEY-3). False when
    /// `old` is not that key.
    pub fn rotate_api_key(
        &self,
        agent: AgentNo,
        old: KeyHash,
        new: KeyHash,
        until: UnixMillis,
    ) -> Durable<bool> {
        self.submit(|reply| Change::RotateApiKey(agent, Box::new((old, new)), until, reply))
    }

    /// Ends every API key of an agent at once (KEY-4). Gives how many.
    pub fn revoke_api_keys(&self, agent: AgentNo) -> Durable<u32> {
        self.submit(|reply| Change::RevokeApiKeys(agent, reply))
    }

    /// Keeps another node's roster. The caller has checked that the head is signed and covers the result.
    pub fn put_roster(&self, head: RosterHead, delta: RosterDelta) -> Durable<()> {
        self.submit(|reply| Change::PutRoster(Box::new(head), delta, reply))
    }

    /// Forgets another node's roster.
    pub fn drop_roster(&self, node: NodeId) -> Durable<()> {
        self.submit(|reply| Change::DropRoster(node, reply))
    }

    /// Remembers how a peer was reached.
    pub fn put_peer(&self, peer: PeerRecord) -> Durable<()> {
        self.submit(|reply| Change::PutPeer(Box::new(peer), reply))
    }

    /// Forgets a peer.
    pub fn drop_peer(&self, node: NodeId) -> Durable<()> {
        self.submit(|reply| Change::DropPeer(node, reply))
    }

    /// Sets or, with `None`, removes a decision of the owner.
    pub fn set_pin(&self, name: &str, value: Option<String>) -> Durable<()> {
        self.submit(|reply| Change::SetPin(name.to_owned(), value, reply))
    }

    /// Adds or changes an owner of agents; false where there are too many.
    pub fn put_owner(&self, owner: OwnerRecord) -> Durable<bool> {
        self.submit(|reply| Change::PutOwner(Box::new(owner), reply))
    }

    /// Removes an owner; false where there is none of that id. Their agents stay.
    pub fn remove_owner(&self, id: OwnerId) -> Durable<bool> {
        self.submit(|reply| Change::DropOwner(id, reply))
    }

    /// Adds a code that lets agents in; false where there are too many.
    pub fn add_invite_code(&self, hash: KeyHash, code: InviteCode, now: UnixMillis) -> Durable<bool> {
        self.submit(|reply| Change::AddInviteCode(hash, Box::new(code), now, reply))
    }

    /// Remembers a ticket that is about to be given out; with `introducer`, its user may let others in.
    pub fn add_ticket(&self, token: TokenHash, expires_at: UnixMillis, introducer: bool) -> Durable<()> {
        self.submit(|reply| Change::AddTicket(token, expires_at, introducer, reply))
    }

    /// Uses a ticket. Send the secret only once this has resolved to `Spent` or `Again`.
    pub fn spend_ticket(&self, token: TokenHash, node: NodeId, now: UnixMillis) -> Durable<SpendOutcome> {
        self.submit(|reply| Change::SpendTicket(token, node, now, reply))
    }

    /// Writes everything committed before this call into one checksummed file, as of one moment, while new mail waits;
    /// the attached files go into a directory beside it, which has the file's name and `.files`.
    pub fn backup(&self, file: &Path) -> Durable<BackupReport> {
        self.submit_job(|reply| Job::Backup(file.to_owned(), reply))
    }

    /// Deletes bodies and attached files that nothing names and that are older than ten minutes. Gives how many.
    pub fn sweep(&self) -> Durable<u64> {
        self.submit_job(Job::Sweep)
    }

    pub(super) fn submit<T>(&self, change: impl FnOnce(Reply<T>) -> Change) -> Durable<T> {
        let (reply, answer) = channel();
        let change = change(reply);
        let size = change.size();
        let queued = &self.shared().queued_bytes;
        if queued.fetch_add(size, Ordering::AcqRel) > QUEUE_BYTES {
            queued.fetch_sub(size, Ordering::AcqRel);
            return Durable::refused(StoreError::Busy);
        }
        match self.enqueue(Job::Change(change)) {
            Ok(()) => Durable::waiting(answer),
            Err(error) => {
                queued.fetch_sub(size, Ordering::AcqRel);
                Durable::refused(error)
            }
        }
    }

    fn submit_job<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Durable<T> {
        let (reply, answer) = channel();
        match self.enqueue(job(reply)) {
            Ok(()) => Durable::waiting(answer),
            Err(error) => Durable::refused(error),
        }
    }

    fn watch_clock(&self, now: UnixMillis, boot: Duration) -> Option<Duration> {
        let mut clock = self.inner.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let remembered = if clock.is_new() { self.last_time().ok().flatten() } else { None };
        clock.observe(now, boot, remembered)
    }
}
