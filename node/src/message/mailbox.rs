//! The recipient's side of the hallway: reading a mailbox, noting what was handed out, removing what is acknowledged
//! (RLY-3…9, DESIGN §1.3). Called by the pending and WebSocket doors, which never touch the store's message trees.

use super::Hallway;
use super::deliver::delivery;
use super::incoming::Method;
use super::notice::Notice;
use crate::agents::Agent;
use amesh_proto::api::pending::Delivery;
use amesh_proto::id::MessageId;
use amesh_proto::message::Priority;
use amesh_proto::trust::Trust;
use amesh_store::{CommitOutcome, MailboxEntry, NewMail, Origin, Posting, Seq, StoreError, Target};

/// Whose turn a message is that waits for an agent with a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The socket's.
    Socket,
    /// The webhook's, which has not been tried yet.
    Webhook,
    /// Nobody's: the webhook has taken it.
    Taken,
}

impl Hallway {
    /// Up to `limit` messages after `after`, oldest first. Expired ones are left out even before they are purged (RLY-1).
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn pending(
        &self,
        agent: &Agent,
        after: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<MailboxEntry>, StoreError> {
        self.living(after, limit, |after, limit| self.inner.store.pending(agent.no, after, limit))
    }

    /// The same, of the messages of one class only.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn pending_of(
        &self,
        agent: &Agent,
        class: Priority,
        after: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<MailboxEntry>, StoreError> {
        self.living(after, limit, |after, limit| self.inner.store.pending_of(agent.no, class, after, limit))
    }

    fn living(
        &self,
        after: Option<Seq>,
        limit: usize,
        read: impl Fn(Option<Seq>, usize) -> Result<Vec<MailboxEntry>, StoreError>,
    ) -> Result<Vec<MailboxEntry>, StoreError> {
        let (steady, now) = (self.clock_is_steady(), self.inner.clock.now());
        let (mut living, mut after) = (Vec::new(), after);
        loop {
            let wanted = limit - living.len();
            let page = read(after, wanted)?;
            // A page of expired mail is not the end: what lies behind it must not be hidden.
            let is_last = page.len() < wanted;
            after = page.last().map_or(after, |entry| Some(entry.seq));
            living.extend(page.into_iter().filter(|entry| !steady || entry.expires_at > now));
            if is_last || living.len() >= limit {
                return Ok(living);
            }
        }
    }

    /// Whether a message was neither acknowledged nor taken out otherwise.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn is_pending(&self, agent: &Agent, seq: Seq) -> Result<bool, StoreError> {
        self.inner.store.is_pending(agent.no, seq)
    }

    /// Whether a socket of `agent` is to be given a message now. Once that changes, its watchers are woken.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn turn(&self, agent: &Agent, entry: &MailboxEntry) -> Result<Turn, StoreError> {
        if !self.inner.deliver.posts().go_first(agent) {
            return Ok(Turn::Socket);
        }
        Ok(match self.inner.store.posting(agent.no, entry.seq)? {
            Some(Posting::Taken { .. }) => Turn::Taken,
            Some(Posting::Waiting { .. } | Posting::GivenUp { .. }) => Turn::Socket,
            // What was handed out by other ways is not posted any more.
            None if entry.handed_out => Turn::Socket,
            None => Turn::Webhook,
        })
    }

    /// How many messages wait for `agent`.
    #[must_use]
    pub fn pending_count(&self, agent: &Agent) -> usize {
        usize::try_from(self.inner.store.pending_count(agent.no)).unwrap_or(usize::MAX)
    }

    /// How many messages wait for `agent` that were committed after `after`, and no later than `until`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn pending_between(&self, agent: &Agent, after: Seq, until: Seq) -> Result<usize, StoreError> {
        let living_at = self.clock_is_steady().then(|| self.inner.clock.now());
        let count = self.inner.store.pending_between(agent.no, after, until, living_at)?;
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// `entry` as its owner is handed it; `method` says how. Nothing when its text is damaged,
    /// which is logged: one such entry must not hide the others.
    #[must_use]
    pub fn render(&self, entry: &MailboxEntry, method: Method) -> Option<Delivery> {
        let rendered = delivery::render(entry, self.sender_key(entry), method, self.injection_rules());
        rendered
            .inspect_err(|error| tracing::error!(id = %entry.shown_id, %error, "a stored message is damaged"))
            .ok()
    }

    /// Notes that messages were handed out: from now on they do not count against the mailbox's cap (DESIGN §5).
    ///
    /// # Errors
    /// When the store fails; the messages are handed out again later, which is harmless.
    pub async fn handed_out(&self, agent: &Agent, seqs: Vec<Seq>) -> Result<(), StoreError> {
        if seqs.is_empty() {
            return Ok(());
        }
        self.inner.store.mark_handed_out(agent.no, seqs).await
    }

    /// Removes what `agent` has; answers with the ids that were there. No socket writes them after this.
    ///
    /// # Errors
    /// When the store fails; nothing is removed then.
    pub async fn acknowledge(
        &self,
        agent: &Agent,
        ids: Vec<MessageId>,
    ) -> Result<Vec<MessageId>, StoreError> {
        let removed = self.inner.store.acknowledge(agent.no, ids).await?;
        if !removed.is_empty() {
            self.inner.deliver.inboxes().acknowledged(agent.no);
        }
        Ok(removed)
    }

    /// Puts a `system` message into the mailbox of `agent`.
    ///
    /// # Errors
    /// When the store fails, or the mailbox is full to the brim.
    pub async fn notify(&self, agent: &Agent, notice: &Notice) -> Result<(), StoreError> {
        let inner = &*self.inner;
        let now = inner.clock.now();
        let naming = inner.agents.directory().naming();
        let mail = notice
            .compose(naming, &agent.address, now, rand::random())
            .map_err(|error| StoreError::Failed { reason: error.to_string() })?;
        let target = Target::Mailbox { agent: agent.no, trust: Trust::Verified };
        let content_digest = rand::random();
        let new = NewMail {
            mail,
            origin: Origin::System,
            target,
            idempotency_key: None,
            sender_key: None,
            attachments: Vec::new(),
            content_digest,
            lane: None,
            now,
        };
        let outcome = inner.store.commit_mail(new).await?;
        match outcome {
            CommitOutcome::Committed { .. } => {
                inner.deliver.inboxes().committed(agent.no);
                Ok(())
            }
            other => Err(StoreError::Failed { reason: format!("the notice was not taken: {other:?}") }),
        }
    }

    /// The key under which the entry's signature verified, for recipients who verify again (RLY-10, EXT-3).
    fn sender_key(&self, entry: &MailboxEntry) -> Option<String> {
        entry.mail.form?;
        let directory = self.inner.agents.directory();
        let Some(key) = &entry.sender_key else {
            // Mail that followed its recipient here by the queue has none with it.
            let known = directory.key_at(&entry.mail.from, entry.mail.accepted_at);
            return known.map(|key| key.sender_key_text());
        };
        // What is in other hands by now proves nothing any more (KEY-10).
        (!directory.is_compromised(&entry.mail.from, key)).then(|| key.clone())
    }
}
