//! Tells whoever serves a mailbox (sockets, long-polls) that mail is in it, and hears from sockets how far they have
//! written. The mail itself stays in the store, so nothing here can grow with traffic.

use amesh_proto::message::Priority;
use amesh_store::{AgentNo, Seq};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::watch;

/// The signals of all mailboxes that somebody watches.
#[derive(Debug, Default)]
pub(crate) struct Inboxes {
    watched: RwLock<HashMap<AgentNo, Arc<Inbox>>>,
}

#[derive(Debug)]
struct Inbox {
    /// Raised whenever mail is committed.
    committed: watch::Sender<()>,
    /// The highest sequence number of each class that a socket has written. Sockets write a class in order, so one number
    /// says it all.
    pushed: watch::Sender<[Seq; CLASSES]>,
    /// How often mail was acknowledged. Held while a socket writes a message, so that none is written after the word that
    /// it is acknowledged.
    acknowledged: Mutex<u64>,
    /// Up to where each open socket has written the agent's receipts.
    told: Mutex<HashMap<u64, Seq>>,
    next_watch: AtomicU64,
    /// The message of each class that a caller last waited for in vain: until a socket has written it, callers do not wait.
    stalled_at: [AtomicU64; CLASSES],
}

/// A watch on one mailbox; held by a socket or a long-poll.
#[derive(Debug)]
pub struct MailSignal {
    inboxes: Arc<Inboxes>,
    inbox: Arc<Inbox>,
    agent: AgentNo,
    committed: watch::Receiver<()>,
    /// This watch among those that tell receipts.
    teller: Option<u64>,
}

impl Inboxes {
    /// Starts to watch the mailbox of `agent`. Read the mailbox after this, not before: then nothing is missed.
    pub(crate) fn subscribe(self: &Arc<Self>, agent: AgentNo) -> MailSignal {
        let mut watched = self.watched.write().unwrap_or_else(PoisonError::into_inner);
        let inbox = watched.entry(agent).or_insert_with(|| {
            Arc::new(Inbox {
                committed: watch::Sender::new(()),
                pushed: watch::Sender::new([Seq(0); CLASSES]),
                acknowledged: Mutex::default(),
                told: Mutex::default(),
                next_watch: AtomicU64::new(0),
                stalled_at: Default::default(),
            })
        });
        let (inbox, committed) = (inbox.clone(), inbox.committed.subscribe());
        MailSignal { inboxes: self.clone(), inbox, agent, committed, teller: None }
    }

    /// Mail for `agent` is on disk.
    pub(crate) fn committed(&self, agent: AgentNo) {
        if let Some(inbox) = self.of(agent) {
            inbox.committed.send_replace(());
        }
    }

    /// Mail was removed because `agent` has it: from now on no socket writes it.
    pub(crate) fn acknowledged(&self, agent: AgentNo) {
        if let Some(inbox) = self.of(agent) {
            *inbox.acknowledged.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        }
    }

    /// A socket of `agent` has written all mail of a class up to `seq`.
    pub(crate) fn pushed(&self, agent: AgentNo, class: Priority, seq: Seq) {
        if let Some(inbox) = self.of(agent) {
            inbox.pushed.send_if_modified(|last| {
                let last = &mut last[class as usize];
                let further = *last < seq;
                *last = (*last).max(seq);
                further
            });
        }
    }

    /// Waits until a socket has written `seq`, at most `patience`; says whether one did. A socket that its client does
    /// not read delays one caller, not all.
    pub(crate) async fn written(
        &self,
        agent: AgentNo,
        class: Priority,
        seq: Seq,
        patience: Duration,
    ) -> bool {
        let Some(inbox) = self.of(agent) else { return false };
        let (stalled_at, class) = (&inbox.stalled_at[class as usize], class as usize);
        let mut pushed = inbox.pushed.subscribe();
        let last = pushed.borrow_and_update()[class];
        if last >= seq {
            return true;
        }
        if last.0 < stalled_at.load(Ordering::Relaxed) {
            return false;
        }
        let written = tokio::time::timeout(patience, pushed.wait_for(|last| last[class] >= seq)).await;
        let written = matches!(written, Ok(Ok(_)));
        if !written {
            stalled_at.store(seq.0, Ordering::Relaxed);
        }
        written
    }

    fn of(&self, agent: AgentNo) -> Option<Arc<Inbox>> {
        self.watched.read().unwrap_or_else(PoisonError::into_inner).get(&agent).cloned()
    }
}

impl MailSignal {
    /// Waits until mail is committed that was not there at the last call.
    pub async fn changed(&mut self) {
        if self.committed.changed().await.is_err() {
            // The sender lives as long as this watch; should that ever break, waiting is the safe answer.
            std::future::pending::<()>().await;
        }
    }

    /// This watch is a socket's, and tells receipts: none is forgotten before it has told it.
    #[must_use]
    pub fn telling(mut self) -> Self {
        let number = self.inbox.next_watch.fetch_add(1, Ordering::Relaxed);
        self.inbox.told.lock().unwrap_or_else(PoisonError::into_inner).insert(number, Seq(0));
        self.teller = Some(number);
        self
    }

    /// This socket has told the agent's receipts up to `seq`. Gives up to where all sockets have.
    pub fn told(&self, seq: Seq) -> Seq {
        let Some(number) = self.teller else { return seq };
        let mut told = self.inbox.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert(number, seq);
        told.values().min().copied().unwrap_or(seq)
    }

    /// How often mail was acknowledged. To be asked before a page is read that is to be written.
    #[must_use]
    pub fn acknowledgements(&self) -> u64 {
        *self.inbox.acknowledged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a message, unless it was acknowledged since its page was read, on whatever way. `seen` are the
    /// acknowledgements then; `is_there` looks the message up, and is asked only if there were others since. Both must be
    /// short. Nothing, where it was not written.
    ///
    /// # Errors
    /// When `is_there` fails.
    pub fn write_unless_acknowledged<T, E>(
        &self,
        seen: u64,
        is_there: impl FnOnce() -> Result<bool, E>,
        write: impl FnOnce() -> T,
    ) -> Result<Option<T>, E> {
        // Whoever acknowledges is answered only after taking this lock: what is written, is written before.
        let acknowledged = self.inbox.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        if *acknowledged != seen && !is_there()? {
            return Ok(None);
        }
        let written = write();
        drop(acknowledged);
        Ok(Some(written))
    }
}

impl Drop for MailSignal {
    fn drop(&mut self) {
        if let Some(number) = self.teller.take() {
            self.inbox.told.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        }
        let mut watched = self.inboxes.watched.write().unwrap_or_else(PoisonError::into_inner);
        // This watch itself is still counted.
        if watched.get(&self.agent).is_some_and(|inbox| inbox.committed.receiver_count() <= 1) {
            watched.remove(&self.agent);
        }
    }
}

const CLASSES: usize = Priority::ALL.len();

#[cfg(test)]
mod tests {
    use super::*;

    const AGENT: AgentNo = AgentNo(7);
    const NORMAL: Priority = Priority::Normal;

    #[tokio::test]
    async fn a_watcher_hears_of_mail_committed_after_it_began() {
        let inboxes = Arc::new(Inboxes::default());
        let mut signal = inboxes.subscribe(AGENT);
        inboxes.committed(AGENT);
        inboxes.committed(AGENT);
        tokio::time::timeout(Duration::from_secs(10), signal.changed()).await.unwrap();
    }

    #[tokio::test]
    async fn a_caller_learns_that_a_socket_wrote_even_when_it_wrote_first() {
        let inboxes = Arc::new(Inboxes::default());
        let _socket = inboxes.subscribe(AGENT);
        inboxes.pushed(AGENT, NORMAL, Seq(5));
        assert!(inboxes.written(AGENT, NORMAL, Seq(4), Duration::from_secs(10)).await);
        assert!(!inboxes.written(AGENT, NORMAL, Seq(6), Duration::from_millis(5)).await);
    }

    #[tokio::test]
    async fn a_socket_that_is_stuck_delays_one_caller_and_not_the_next() {
        let inboxes = Arc::new(Inboxes::default());
        let _socket = inboxes.subscribe(AGENT);
        assert!(!inboxes.written(AGENT, NORMAL, Seq(4), Duration::from_millis(5)).await);
        let no_wait = inboxes.written(AGENT, NORMAL, Seq(5), Duration::from_secs(600));
        assert!(!tokio::time::timeout(Duration::from_secs(60), no_wait).await.unwrap());
        inboxes.pushed(AGENT, NORMAL, Seq(5));
        assert!(inboxes.written(AGENT, NORMAL, Seq(5), Duration::from_secs(10)).await);
    }

    #[test]
    fn a_receipt_may_be_forgotten_once_every_open_socket_has_told_it() {
        let inboxes = Arc::new(Inboxes::default());
        let first = inboxes.subscribe(AGENT).telling();
        let second = inboxes.subscribe(AGENT).telling();
        let _long_poll = inboxes.subscribe(AGENT);
        assert_eq!(first.told(Seq(5)), Seq(0));
        assert_eq!(second.told(Seq(4)), Seq(4));
        drop(second);
        assert_eq!(first.told(Seq(6)), Seq(6));
    }

    #[tokio::test]
    async fn nobody_watching_means_nobody_wrote() {
        let inboxes = Arc::new(Inboxes::default());
        inboxes.pushed(AGENT, NORMAL, Seq(5));
        assert!(!inboxes.written(AGENT, NORMAL, Seq(5), Duration::from_secs(10)).await);
    }

    #[test]
    fn what_nobody_watches_any_more_is_forgotten() {
        let inboxes = Arc::new(Inboxes::default());
        let first = inboxes.subscribe(AGENT);
        let second = inboxes.subscribe(AGENT);
        drop(first);
        assert!(inboxes.of(AGENT).is_some());
        drop(second);
        assert!(inboxes.of(AGENT).is_none());
    }

    #[tokio::test]
    async fn urgent_mail_that_was_written_says_nothing_of_normal_mail_before_it() {
        let inboxes = Arc::new(Inboxes::default());
        let _socket = inboxes.subscribe(AGENT);
        inboxes.pushed(AGENT, Priority::Urgent, Seq(9));
        assert!(inboxes.written(AGENT, Priority::Urgent, Seq(9), Duration::from_secs(10)).await);
        assert!(!inboxes.written(AGENT, NORMAL, Seq(8), Duration::from_millis(5)).await);
    }

    #[test]
    fn a_message_acknowledged_since_its_page_was_read_is_looked_up_and_not_written() {
        let inboxes = Arc::new(Inboxes::default());
        let socket = inboxes.subscribe(AGENT);
        let write =
            |seen, is_there: Result<bool, ()>| socket.write_unless_acknowledged(seen, || is_there, || 7);
        let seen = socket.acknowledgements();
        assert_eq!(write(seen, Err(())), Ok(Some(7)), "it need not be looked up");
        inboxes.acknowledged(AGENT);
        assert_eq!(write(seen, Ok(false)), Ok(None));
        assert_eq!(write(seen, Ok(true)), Ok(Some(7)), "another one was acknowledged");
        assert_eq!(write(seen, Err(())), Err(()));
        assert_eq!(write(socket.acknowledgements(), Err(())), Ok(Some(7)));
    }
}
