//! The posting of one agent's mail, for as long as the agent has a webhook: which message is next, and what follows from
//! an attempt. One task per agent; reads the mailbox by cursor, and holds nothing but the places of a bounded number of
//! messages. Started by `webhook`.

use super::post::{Failed, Letter, Taken};
use crate::agents::Agent;
use crate::message::{Hallway, MailSignal, Method, Turns};
use amesh_proto::address::Address;
use amesh_proto::message::Priority;
use amesh_proto::time::UnixMillis;
use amesh_store::{AgentNo, MailboxEntry, Posting, Seq, StoreError};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// See the module.
pub(super) struct Worker {
    hallway: Hallway,
    no: AgentNo,
    address: Address,
    signal: MailSignal,
    /// Raised when an agent with a webhook changes or goes.
    changed: watch::Receiver<()>,
    /// Class by class: everything in the mailbox up to here has been looked at.
    looked_at: [Option<Seq>; CLASSES],
    /// Class by class, to be posted, oldest first.
    ready: [VecDeque<Job>; CLASSES],
    turns: Turns,
    /// To be posted again, by time. Not more than a mailbox holds of mail that nobody has.
    waiting: BTreeMap<(UnixMillis, Seq), Job>,
    /// Lanes of which a message is under way: the next one waits for it (DESIGN §1.7).
    busy: HashSet<Lane>,
    under_way: FuturesUnordered<BoxFuture<'static, (Job, Next)>>,
}

/// A message to post.
#[derive(Debug, Clone)]
struct Job {
    seq: Seq,
    lane: Lane,
    attempts: u32,
}

type Lane = (Address, Priority);

/// What an attempt leaves to do.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Nothing.
    Done,
    /// Another attempt, then.
    At(UnixMillis, u32),
    /// It was not made: a socket has the first turn.
    Socket,
}

impl Worker {
    pub(super) fn new(hallway: Hallway, agent: &Agent) -> Self {
        // Watching begins before the mailbox is read, so that nothing falls between.
        let signal = hallway.subscribe(agent);
        let changed = hallway.inner.agents.webhooks().watch();
        Self {
            hallway,
            changed,
            no: agent.no,
            address: agent.address.clone(),
            signal,
            looked_at: [None; CLASSES],
            ready: Default::default(),
            turns: Turns::default(),
            waiting: BTreeMap::new(),
            busy: HashSet::new(),
            under_way: FuturesUnordered::new(),
        }
    }

    /// Posts until the agent is gone or has no webhook any more.
    pub(super) async fn run(mut self) {
        while let Some(agent) = current(&self.hallway, self.no, &self.address) {
            let socket_first = has_socket_first(&self.hallway, &agent);
            if socket_first {
                self.pass_over();
            }
            if let Err(error) = self.look() {
                tracing::error!(agent = %self.address, %error, "mail for a webhook could not be read");
            }
            if !socket_first {
                self.start();
            }
            let pause = self.pause(socket_first);
            tokio::select! {
                Some((job, next)) = self.under_way.next(), if !self.under_way.is_empty() => self.ended(job, next),
                () = self.signal.changed() => {}
                // Whose turn it is may have changed, too.
                _ = self.changed.changed() => self.hallway.inner.deliver.inboxes().committed(self.no),
                () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {}
            }
        }
        self.hallway.inner.deliver.posts().left(self.no);
        // What was kept for the webhook's turn is the sockets' now.
        self.hallway.inner.deliver.inboxes().committed(self.no);
        // A webhook that was set between the last look and now has found the place taken.
        self.hallway.inner.agents.webhooks().have_changed();
    }

    /// Leaves out what a socket has written meanwhile.
    fn pass_over(&mut self) {
        let (hallway, no) = (&self.hallway, self.no);
        for ready in &mut self.ready {
            ready.retain(|job| !matches!(still_pending(hallway, no, job.seq), Ok(None)));
        }
    }

    /// Reads what came into the mailbox, as far as there is place for it.
    fn look(&mut self) -> Result<(), StoreError> {
        Priority::ALL.into_iter().try_for_each(|class| self.look_at(class))
    }

    fn look_at(&mut self, class: Priority) -> Result<(), StoreError> {
        let (looked_at, ready) = (&mut self.looked_at[class as usize], &mut self.ready[class as usize]);
        while ready.len() < READ_AHEAD {
            let store = &self.hallway.inner.store;
            let page = store.pending_of(self.no, class, *looked_at, PAGE)?;
            let is_last = page.len() < PAGE;
            for entry in page {
                *looked_at = Some(entry.seq);
                if entry.handed_out {
                    continue;
                }
                let lane = (entry.mail.from, entry.mail.priority);
                match store.posting(self.no, entry.seq)? {
                    None => ready.push_back(Job { seq: entry.seq, lane, attempts: 0 }),
                    Some(Posting::Waiting { attempts, next_at }) => {
                        self.waiting.insert((next_at, entry.seq), Job { seq: entry.seq, lane, attempts });
                    }
                    Some(Posting::GivenUp { .. } | Posting::Taken { .. }) => {}
                }
            }
            if is_last {
                break;
            }
        }
        Ok(())
    }

    /// Starts as many attempts as are allowed at a time.
    fn start(&mut self) {
        let posts = self.hallway.inner.deliver.posts();
        let (most, longest) = (posts.config.per_agent.max(1), posts.longest_pause());
        while self.under_way.len() < most {
            let now = self.hallway.inner.clock.now();
            let Some(job) = self.take_waiting(now, longest).or_else(|| self.take_ready()) else { return };
            self.busy.insert(job.lane.clone());
            let attempt = attempt(self.hallway.clone(), self.no, self.address.clone(), job.clone());
            self.under_way.push(Box::pin(async move { (job, attempt.await) }));
        }
    }

    fn take_waiting(&mut self, now: UnixMillis, longest: Duration) -> Option<Job> {
        let is_due = |at: UnixMillis| at <= now || at > now.plus(longest);
        let due = self.waiting.iter().find(|((at, _), job)| is_due(*at) && !self.busy.contains(&job.lane));
        let key = due.map(|(key, _)| *key)?;
        self.waiting.remove(&key)
    }

    fn take_ready(&mut self) -> Option<Job> {
        let busy = &self.busy;
        let job = self.turns.order().into_iter().find_map(|class| {
            let ready = &mut self.ready[class as usize];
            let next = ready.iter().position(|job| !busy.contains(&job.lane))?;
            ready.remove(next)
        });
        if job.is_some() {
            self.turns.taken();
        }
        job
    }

    fn ended(&mut self, job: Job, next: Next) {
        self.busy.remove(&job.lane);
        match next {
            Next::Done => {}
            Next::At(at, attempts) => {
                self.waiting.insert((at, job.seq), Job { attempts, ..job });
            }
            Next::Socket => self.ready[job.lane.1 as usize].push_front(job),
        }
    }

    /// How long nothing is to be done unless something happens.
    fn pause(&self, socket_first: bool) -> Option<Duration> {
        if socket_first {
            let is_any_ready = self.ready.iter().any(|ready| !ready.is_empty());
            return (is_any_ready || !self.waiting.is_empty()).then_some(SOCKETS_TURN);
        }
        let ((next_at, _), _) = self.waiting.iter().find(|(_, job)| !self.busy.contains(&job.lane))?;
        let left = next_at.saturating_since(self.hallway.inner.clock.now());
        // Looked at from time to time: the clock may be set.
        Some(left.clamp(SHORTEST, LONGEST))
    }
}

/// The agent as it is now: still here, and still with a webhook.
fn current(hallway: &Hallway, no: AgentNo, address: &Address) -> Option<Arc<Agent>> {
    let agent = hallway.inner.agents.directory().local_agent(address)?;
    (agent.no == no && agent.record.delivery.webhook_url.is_some()).then_some(agent)
}

/// RTE-5, A-62: an open socket comes first, unless the agent wants it otherwise.
fn has_socket_first(hallway: &Hallway, agent: &Agent) -> bool {
    agent.record.delivery.prefer_websocket && hallway.inner.agents.presence().online(agent.no)
}

/// One attempt, from the last look at what it is about to the note of what came of it.
async fn attempt(hallway: Hallway, no: AgentNo, address: Address, job: Job) -> Next {
    let places = hallway.inner.deliver.posts().places.clone();
    // The semaphore is never closed; without a place there would be no attempt.
    let Ok(_place) = places.acquire().await else { return Next::Done };
    let Some(agent) = current(&hallway, no, &address) else { return Next::Done };
    if has_socket_first(&hallway, &agent) {
        return Next::Socket;
    }
    let entry = match still_pending(&hallway, no, job.seq) {
        Ok(Some(entry)) => entry,
        Ok(None) => return Next::Done,
        Err(error) => return not_noted(&hallway, &job, &error),
    };
    if hallway.clock_is_steady() && entry.expires_at <= hallway.inner.clock.now() {
        // Housekeeping takes it away if that is so; a clock that is ahead may yet be set back.
        return Next::At(hallway.inner.clock.now().plus(LONGEST), job.attempts);
    }
    let posting = match post(&hallway, &agent, &entry).await {
        Ok(taken) => {
            // Before anything that ends the job: a sender who asked for word of it must get it (RCP-1).
            if entry.mail.receipt {
                let told = hallway.delivered(&agent, vec![entry.shown_id.clone()], Method::Webhook).await;
                if let Err(error) = told {
                    return not_noted(&hallway, &job, &error);
                }
            }
            if taken.acknowledged {
                return acknowledged(&hallway, no, &job, &entry).await;
            }
            Posting::Taken { at: hallway.inner.clock.now() }
        }
        Err(failed) => {
            tracing::info!(agent = %address, id = %entry.shown_id, attempt = job.attempts + 1, %failed, "not posted");
            match failed {
                Failed::Now(_) => {
                    hallway.inner.deliver.posts().after_failure(job.attempts + 1, hallway.inner.clock.now())
                }
                Failed::ForGood(_) => Posting::GivenUp { attempts: job.attempts + 1 },
            }
        }
    };
    match (hallway.note_posting(no, job.seq, posting).await, posting) {
        (Ok(true), Posting::Waiting { attempts, next_at }) => Next::At(next_at, attempts),
        (Ok(_), _) => Next::Done,
        (Err(error), _) => not_noted(&hallway, &job, &error),
    }
}

/// The message, if it is in the mailbox still and nobody else gave it to the agent meanwhile.
fn still_pending(hallway: &Hallway, no: AgentNo, seq: Seq) -> Result<Option<MailboxEntry>, StoreError> {
    let before = seq.0.checked_sub(1).map(Seq);
    let found = hallway.inner.store.pending(no, before, 1)?.pop();
    Ok(found.filter(|entry| entry.seq == seq && !entry.handed_out))
}

async fn post(hallway: &Hallway, agent: &Agent, entry: &MailboxEntry) -> Result<Taken, Failed> {
    let delivery = &agent.record.delivery;
    let (Some(url), Some(rendered)) =
        (delivery.webhook_url.as_deref(), hallway.render(entry, Method::Webhook))
    else {
        return Err(Failed::ForGood("the stored message is damaged".to_owned()));
    };
    let body = serde_json::to_vec(&rendered).map_err(|error| Failed::ForGood(error.to_string()))?;
    let letter = Letter {
        url,
        secret: delivery.webhook_secret.as_deref(),
        id: &rendered.id,
        body,
        now_s: hallway.inner.clock.now().as_secs(),
    };
    hallway.inner.deliver.posts().poster.post(hallway.inner.agents.webhooks(), letter).await
}

/// The webhook's answer says that the agent has it: noted as taken first, so that a sender who waits is told.
async fn acknowledged(hallway: &Hallway, no: AgentNo, job: &Job, entry: &MailboxEntry) -> Next {
    let taken = Posting::Taken { at: hallway.inner.clock.now() };
    let noted = hallway.note_posting(no, job.seq, taken);
    let removed = hallway.inner.store.acknowledge(no, vec![entry.shown_id.clone()]);
    match (noted.await, removed.await) {
        (Ok(_), Ok(_)) => {
            hallway.inner.deliver.inboxes().acknowledged(no);
            Next::Done
        }
        (Err(error), _) | (_, Err(error)) => not_noted(hallway, job, &error),
    }
}

/// The store failed: what was done is not known on disk, so it is done again. Receivers know repeats by the id.
fn not_noted(hallway: &Hallway, job: &Job, error: &StoreError) -> Next {
    tracing::error!(%error, "what became of a post could not be written down");
    Next::At(hallway.inner.clock.now().plus(LONGEST), job.attempts)
}

const CLASSES: usize = Priority::ALL.len();
const PAGE: usize = 16;
/// Of each class.
const READ_AHEAD: usize = 32;
/// How often mail is looked at that a socket should take.
const SOCKETS_TURN: Duration = Duration::from_secs(2);
const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(30);
