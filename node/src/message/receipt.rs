//! Word to the sender that a message was delivered or read (RCP-1…5): kept on disk until one of the sender's sockets has
//! it, carried to the sender's node where that is another one. Called by the doors, by `mesh`, and by whoever hands out mail.

use super::Hallway;
use super::incoming::Method;
use super::notice::Notice;
use crate::agents::Agent;
use amesh_proto::id::MessageId;
use amesh_proto::message::Mail;
use amesh_proto::node_id::NodeId;
use amesh_proto::time::UnixMillis;
use amesh_store::{BroughtReceipt, Destination, Given, Receipt, ReceiptKind, ReceiptOwner, Seq, StoreError};

/// What became of a read receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadReceipt {
    /// When the message was first said to be read.
    pub read_at: UnixMillis,
    /// How word goes to the sender: nothing where it will never arrive (RCP-5).
    pub by: Option<Method>,
}

impl Hallway {
    /// `agent` was given messages, by shown id, whose senders asked for word of that (`options.receipt`). Each sender is
    /// told once. The change is handed in before this returns; the future resolves when it is on disk.
    ///
    /// # Errors
    /// When the store fails; call again.
    pub fn delivered(
        &self,
        agent: &Agent,
        ids: Vec<MessageId>,
        method: Method,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + 'static {
        let kind = ReceiptKind::Delivered { method: method.as_str().to_owned() };
        let giving = self.inner.store.give_receipts(agent.no, ids, kind, self.inner.clock.now());
        let hallway = self.clone();
        async move {
            giving.await?.into_iter().for_each(|given| hallway.word_is_kept(given));
            Ok(())
        }
    }

    /// `agent` says that it has read a message. Nothing for what its mailbox never showed (RCP-3).
    ///
    /// # Errors
    /// When the store fails.
    pub async fn read(&self, agent: &Agent, id: &MessageId) -> Result<Option<ReadReceipt>, StoreError> {
        let now = self.inner.clock.now();
        let given =
            self.inner.store.give_receipts(agent.no, vec![id.clone()], ReceiptKind::Read, now).await?;
        let Some(given) = given.first().copied() else { return Ok(None) };
        self.word_is_kept(given);
        Ok(match given {
            Given::Unknown => None,
            Given::Lost => Some(ReadReceipt { read_at: now, by: None }),
            Given::Kept { at, owner: ReceiptOwner::Agent(_), .. } => {
                Some(ReadReceipt { read_at: at, by: Some(Method::Relay) })
            }
            Given::Kept { at, owner: ReceiptOwner::Node(_), .. } => {
                Some(ReadReceipt { read_at: at, by: Some(Method::Mesh) })
            }
        })
    }

    /// Up to `limit` receipts kept for `agent` after `after`, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn receipts(
        &self,
        agent: &Agent,
        after: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<(Seq, Receipt)>, StoreError> {
        let owner = ReceiptOwner::Agent(agent.no);
        if self.inner.store.receipt_count(owner) == 0 {
            return Ok(Vec::new());
        }
        self.inner.store.receipts(owner, after, limit)
    }

    /// Sockets of `agent` have written its receipts up to `until`.
    ///
    /// # Errors
    /// When the store fails; they are told again to the next socket, which is harmless.
    pub async fn told(&self, agent: &Agent, until: Seq) -> Result<(), StoreError> {
        self.inner.store.forget_receipts(ReceiptOwner::Agent(agent.no), until).await
    }

    /// Takes receipts that a member brings. On disk when this returns; their agents' sockets have been woken.
    ///
    /// # Errors
    /// When the store fails; the member brings them again.
    pub async fn take_receipts(
        &self,
        from: NodeId,
        mut brought: Vec<BroughtReceipt>,
    ) -> Result<(), StoreError> {
        for receipt in &mut brought {
            receipt.notice = self.notice_of_failure(receipt)?;
        }
        let told = self.inner.store.take_receipts(from, brought, self.inner.clock.now()).await?;
        for owner in told {
            match owner {
                ReceiptOwner::Agent(agent) => self.inner.deliver.inboxes().committed(agent),
                ReceiptOwner::Node(node) => self.inner.deliver.wake_carrier(&Destination::Node(node)),
            }
        }
        Ok(())
    }

    /// What an agent of this node is told, where mail that a member had taken will not arrive (DESIGN §1.9).
    fn notice_of_failure(&self, receipt: &BroughtReceipt) -> Result<Option<Mail>, StoreError> {
        let ReceiptKind::Failed { code, detail } = &receipt.kind else { return Ok(None) };
        let directory = self.inner.agents.directory();
        let Some(agent) = directory.local_agent(&receipt.sender) else { return Ok(None) };
        let Some(sent) = self.inner.store.message_status(agent.no, &receipt.id)? else { return Ok(None) };
        let notice = Notice::unforwarded(&receipt.id, &sent.to, code, detail);
        let now = self.inner.clock.now();
        let composed = notice.compose(directory.naming(), &agent.address, now, rand::random());
        Ok(composed.inspect_err(|error| tracing::error!(%error, "a notice could not be written")).ok())
    }

    fn word_is_kept(&self, given: Given) {
        match given {
            Given::Kept { owner: ReceiptOwner::Agent(agent), again: false, .. } => {
                self.inner.deliver.inboxes().committed(agent);
            }
            Given::Kept { owner: ReceiptOwner::Node(node), again: false, .. } => {
                self.inner.deliver.wake_carrier(&Destination::Node(node));
            }
            Given::Kept { .. } | Given::Unknown | Given::Lost => {}
        }
    }
}
