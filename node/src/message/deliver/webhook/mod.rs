//! Mail posted to the webhooks of agents of this node (WHK-*, AMP 05 §Webhook Delivery): beside the sockets the other way
//! out of the inbox. Started by `Hallway::start_webhooks`; waited for by `deliver`.
//!
//! Every agent with a webhook has a [`worker`], which watches the mailbox as a socket does, and keeps what failed in the
//! store. The mail stays in the mailbox all the while, so nothing here can lose it (DESIGN §1.3).

pub(in crate::message) mod post;
mod worker;

use super::super::Hallway;
use super::waiters::Waiters;
use crate::agents::Agent;
use crate::agents::webhook::Webhooks;
use crate::authorities::AuthorityFile;
use amesh_store::{AgentNo, Posting, Seq, StoreError};
use post::Poster;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use worker::Worker;

/// How mail is posted to webhooks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Posts under way to one agent's webhook at a time. Mail of one sender and priority is posted one after another.
    pub per_agent: usize,
    /// Posts under way at a time, for all agents together.
    pub overall: usize,
    /// Seconds within which a webhook's host must be connected to (WHK-9).
    pub connect_timeout_s: u64,
    /// Seconds within which it must have answered (WHK-9).
    pub response_timeout_s: u64,
    /// Seconds after which a failed post is repeated, first to last; then the mail waits to be fetched (WHK-5).
    pub retry_after_s: Vec<u64>,
    /// Who vouches for webhooks besides the system's authorities. Set by the node's `ca_certificates`.
    #[serde(skip)]
    pub authorities: Vec<AuthorityFile>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            per_agent: 4,
            overall: 64,
            connect_timeout_s: 5,
            response_timeout_s: 10,
            retry_after_s: vec![30, 120],
            authorities: Vec::new(),
        }
    }
}

/// What came of an attempt, as a caller of `/route` needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::message) enum Attempt {
    /// The webhook took it.
    Taken,
    /// It will be tried again.
    Later,
    /// It waits to be fetched.
    Never,
}

/// The posting of all agents' mail.
#[derive(Debug)]
pub(in crate::message) struct Posts {
    config: Config,
    rules: Webhooks,
    poster: Poster,
    places: Arc<Semaphore>,
    waiters: Waiters<AgentNo, Attempt>,
    /// Agents that have a worker.
    served: Mutex<HashSet<AgentNo>>,
}

impl Posts {
    pub(super) fn new(config: &Config, callers: usize, rules: Webhooks) -> Self {
        Self {
            rules,
            poster: Poster::new(config),
            places: Arc::new(Semaphore::new(config.overall.max(1))),
            waiters: Waiters::new(callers),
            served: Mutex::default(),
            config: config.clone(),
        }
    }

    /// Whether mail for `agent` is posted at all.
    pub(super) fn serve(&self, agent: &Agent) -> bool {
        self.rules.are_on() && agent.record.delivery.webhook_url.is_some()
    }

    /// Whether `agent` wants its mail posted rather than pushed, even where it has a socket.
    pub(in crate::message) fn go_first(&self, agent: &Agent) -> bool {
        self.serve(agent) && !agent.record.delivery.prefer_websocket
    }

    /// What came of the first attempt at a message, if it comes within `patience`.
    pub(super) async fn attempt(&self, agent: AgentNo, seq: Seq, patience: Duration) -> Option<Attempt> {
        self.waiters.wait(&agent, seq, patience).await
    }

    /// How far a message is after `attempts` failed ones, the last of them at `now`.
    fn after_failure(&self, attempts: u32, now: amesh_proto::time::UnixMillis) -> Posting {
        let pause =
            usize::try_from(attempts).ok().and_then(|n| self.config.retry_after_s.get(n.checked_sub(1)?));
        match pause {
            Some(pause) => Posting::Waiting { attempts, next_at: now.plus(Duration::from_secs(*pause)) },
            None => Posting::GivenUp { attempts },
        }
    }

    /// No failed post waits longer; more than this means that the clock was set back meanwhile.
    fn longest_pause(&self) -> Duration {
        Duration::from_secs(self.config.retry_after_s.iter().copied().max().unwrap_or_default())
    }

    fn enlist(&self, agent: AgentNo) -> bool {
        self.served.lock().unwrap_or_else(PoisonError::into_inner).insert(agent)
    }

    fn left(&self, agent: AgentNo) {
        self.served.lock().unwrap_or_else(PoisonError::into_inner).remove(&agent);
    }
}

impl Hallway {
    /// Posts mail to webhooks from now on, what waits from before a restart included. Called once, by `node`, when the
    /// doors are open: until then it is not known which ports are the node's own.
    pub fn start_webhooks(&self) {
        let hallway = self.clone();
        self.inner.tasks.spawn_until_stopped(async move {
            let mut changed = hallway.inner.agents.webhooks().watch();
            loop {
                // Marked before the list is read: a change meanwhile is another round.
                changed.borrow_and_update();
                for agent in hallway.inner.agents.directory().with_webhook() {
                    hallway.serve_webhook(&agent);
                }
                if changed.changed().await.is_err() {
                    return;
                }
            }
        });
    }

    fn serve_webhook(&self, agent: &Agent) {
        let posts = self.inner.deliver.posts();
        if !posts.serve(agent) || !posts.enlist(agent.no) {
            return;
        }
        let worker = Worker::new(self.clone(), agent);
        self.inner.tasks.spawn_until_stopped(worker.run());
    }

    /// Writes down how far the posting of a message came. What it says is told only once it is on disk.
    async fn note_posting(&self, agent: AgentNo, seq: Seq, posting: Posting) -> Result<bool, StoreError> {
        let is_there = self.inner.store.note_posting(agent, seq, posting).await?;
        let attempt = match posting {
            Posting::Taken { .. } => Attempt::Taken,
            Posting::Waiting { .. } => Attempt::Later,
            Posting::GivenUp { .. } => Attempt::Never,
        };
        self.inner.deliver.posts().waiters.tell(&agent, seq, attempt);
        // Sockets that let the webhook go first have their turn now.
        self.inner.deliver.inboxes().committed(agent);
        Ok(is_there)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reach::{OwnPorts, Reach, SystemNames};
    use amesh_proto::time::UnixMillis;

    #[test]
    fn attempts_are_at_once_after_half_a_minute_and_after_two_more_and_no_others() {
        let reach = Reach::new(Vec::new(), Arc::new(SystemNames::default()), OwnPorts::default());
        let rules = Webhooks::new(true, reach);
        let posts = Posts::new(&Config::default(), 1, rules);
        let now = UnixMillis(1_000_000);
        let waiting = |attempts, s| Posting::Waiting { attempts, next_at: now.plus(Duration::from_secs(s)) };
        assert_eq!(posts.after_failure(1, now), waiting(1, 30));
        assert_eq!(posts.after_failure(2, now), waiting(2, 120));
        assert_eq!(posts.after_failure(3, now), Posting::GivenUp { attempts: 3 });
        assert_eq!(posts.longest_pause(), Duration::from_secs(120));
    }
}
