//! The hallway: every message of every door passes through here, and no other code writes to the message trees.
//!
//! ```text
//! doors → accept → verify → plan → commit → deliver → carriers
//!           1        2        3      4         5        6 retry   7 settle
//! ```
//!
//! [`Hallway::submit`] is a message's life, top to bottom; each step is one file. `http` calls it for agents; `mesh`
//! calls [`Hallway::prepare`] and [`Hallway::commit`], so that a link verifies in parallel and commits in order.
//! Carriers read the outbox and report with [`Hallway::settle`].

mod accept;
mod commit;
mod condition;
pub mod deliver;
mod error;
mod expire;
mod faults;
mod gateway;
pub(crate) mod guards;
mod held;
mod incoming;
mod mailbox;
mod moving;
mod notice;
mod per_minute;
mod plan;
mod receipt;
pub mod retry;
mod settle;
mod status;
#[cfg(test)]
pub(crate) mod tests;
mod turns;
mod verify;
mod warn;
mod whereabouts;

pub use commit::{Committing, Written};
pub use condition::{Condition, Health};
pub use deliver::carrier::Carrier;
pub use deliver::inbox::MailSignal;
pub use error::{Full, Refusal, SignatureFault};
pub use gateway::Config as GatewayConfig;
pub use held::Held;
pub use incoming::{Accepted, Basis, Federated, Forwarded, Incoming, Method, Pulled, Status};
pub use mailbox::Turn;
pub use notice::Notice;
pub use receipt::ReadReceipt;
pub use settle::Settled;
pub use turns::Turns;
pub use warn::LostKey;
pub use whereabouts::{Elsewhere, Whereabouts};

use crate::agents::directory::Resolution;
use crate::agents::{Agent, Agents};
use crate::clock::SharedClock;
use crate::tasks::Tasks;
use accept::Circumstances;
use amesh_proto::address::Address;
use amesh_proto::attachment::Attachment;
use amesh_proto::id::MessageId;
use amesh_proto::injection::Rules;
use amesh_proto::message::Priority;
use amesh_store::{AgentNo, Destination, NewMail, Store};
use deliver::Deliver;
use faults::Faults;
use per_minute::{PerMinute, TooOften};
use plan::{Plan, Question};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// How the hallway behaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Refuse unsigned mail even between agents of this node.
    pub require_signatures: bool,
    /// How long `/route` waits for a connected recipient, in milliseconds, before it answers `queued`.
    pub patience_ms: u64,
    /// How many callers may wait like that for other hosts at a time; the others are answered at once.
    pub waiting_callers: usize,
    /// How long mail is kept that says nothing about it, in days (RLY-1).
    pub default_ttl_days: u64,
    /// How long mail is kept at most, in days.
    pub longest_ttl_days: u64,
    /// Bad signatures that one source may bring in a minute before all its mail is refused for the rest of it.
    pub bad_signatures_per_minute: u32,
    /// Messages a minute that other nodes, HTTP mesh hosts and providers together may bring to one agent of this node (RAT-3); what is
    /// more is put off, and comes later. Zero is no limit. What agents of this node send is limited by `http`.
    pub received_by_link_per_minute: u32,
    /// How often expired mail is looked for, in seconds.
    pub expire_every_s: u64,
    /// A file of rules for signs of prompt injection, which add to those that come with amesh (docs/injection.md).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub injection_rules: Option<PathBuf>,
    /// When unreachable hosts are tried again.
    pub retry: retry::Config,
    /// How mail is posted to the webhooks of agents.
    pub webhook: deliver::webhook::Config,
    /// How mail leaves the mesh through a member. Set by the node's `gateway`.
    #[serde(skip)]
    pub gateway: gateway::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            require_signatures: false,
            patience_ms: 250,
            waiting_callers: 10_000,
            default_ttl_days: 7,
            longest_ttl_days: 30,
            bad_signatures_per_minute: 60,
            // As on loopback: only members bring mail by links, each for agents that its own doors have limited.
            received_by_link_per_minute: 60_000,
            expire_every_s: 30,
            injection_rules: None,
            retry: retry::Config::default(),
            webhook: deliver::webhook::Config::default(),
            gateway: gateway::Config::default(),
        }
    }
}

impl Config {
    fn default_ttl(&self) -> Duration {
        Duration::from_secs(self.default_ttl_days.min(self.longest_ttl_days) * DAY)
    }

    fn longest_ttl(&self) -> Duration {
        Duration::from_secs(self.longest_ttl_days * DAY)
    }
}

/// The hallway. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Hallway {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
    store: Store,
    agents: Agents,
    clock: SharedClock,
    tasks: Tasks,
    deliver: Deliver,
    faults: Faults,
    /// Messages that links brought, by recipient; where that is limited.
    by_link: Option<PerMinute<AgentNo>>,
    elsewhere: OnceLock<Arc<dyn Elsewhere>>,
    closed: gateway::ClosedMembers,
    /// The owner's, where there are some.
    injection_rules: OnceLock<Rules>,
    /// Set while the wall clock has jumped: nothing expires (DESIGN §5, Clocks).
    clock_is_off: AtomicBool,
}

/// A message that has passed every check and is not yet on disk.
#[derive(Debug)]
pub struct Prepared {
    mail: NewMail,
    plan: Plan,
}

impl Prepared {
    /// The files that go with it.
    #[must_use]
    pub fn attachments(&self) -> &[Attachment] {
        &self.mail.attachments
    }

    /// Whether a signature was verified.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.mail.mail.form.is_some()
    }
}

impl Hallway {
    /// A hallway without carriers; `mesh` adds itself with [`Self::add_carrier`] once it is built.
    #[must_use]
    pub fn new(config: Config, store: Store, agents: Agents, clock: SharedClock, tasks: Tasks) -> Self {
        let deliver = Deliver::new(&config, &agents, clock.clone());
        let faults = Faults::new(config.bad_signatures_per_minute);
        let by_link = config.received_by_link_per_minute;
        let by_link = (by_link > 0).then(|| PerMinute::new(by_link));
        let clock_is_off = AtomicBool::new(false);
        let elsewhere = OnceLock::new();
        let injection_rules = OnceLock::new();
        let inner = Inner {
            config,
            store,
            agents,
            clock,
            tasks,
            deliver,
            faults,
            by_link,
            elsewhere,
            closed: gateway::ClosedMembers::default(),
            injection_rules,
            clock_is_off,
        };
        Self { inner: Arc::new(inner) }
    }

    /// From now on deliveries are scanned with these rules instead of the built-in ones. Said once, before any door opens.
    pub fn scan_with(&self, rules: Rules) {
        if self.inner.injection_rules.set(rules).is_err() {
            tracing::error!("the injection rules were set twice; the first stay");
        }
    }

    fn injection_rules(&self) -> &Rules {
        self.inner.injection_rules.get().unwrap_or_else(|| Rules::built_in())
    }

    /// A message's whole life from a door to its answer. The answer means: on disk (DESIGN §1.1).
    ///
    /// # Errors
    /// [`Refusal`]: nothing of the message is stored.
    pub async fn submit(&self, incoming: Incoming) -> Result<Accepted, Refusal> {
        moving::before_planning(&self.inner.agents, &incoming).await;
        let prepared = self.judge(incoming).await?; // 1 accept, 2 verify, 3 plan
        moving::after_planning(&self.inner.agents, &prepared).await;
        self.finish(prepared).await // 4 commit, 5 deliver
    }

    /// Steps 1 to 3, with whatever has to be asked for first. Large bodies take milliseconds to judge, too long for an
    /// async worker (PITFALLS, quinn).
    ///
    /// # Errors
    /// [`Refusal`], by the step that refused.
    pub async fn judge(&self, incoming: Incoming) -> Result<Prepared, Refusal> {
        let elsewhere = self.whereabouts(&incoming).await;
        if incoming.size() < LARGE {
            return self.prepare_for(incoming, elsewhere);
        }
        let hallway = self.clone();
        let judged = self.inner.tasks.spawn_blocking(move || hallway.prepare_for(incoming, elsewhere)).await;
        judged.unwrap_or_else(|error| Err(Refusal::Store(error.to_string())))
    }

    /// Steps 4 and 5.
    ///
    /// # Errors
    /// [`Refusal`]: nothing of the message is stored.
    pub async fn finish(&self, prepared: Prepared) -> Result<Accepted, Refusal> {
        let written = self.commit(prepared).await?;
        Ok(self.answer(written).await)
    }

    /// Step 5, for callers that have something to do once the message is on disk.
    pub async fn answer(&self, written: Written) -> Accepted {
        self.inner.deliver.deliver(&self.inner.store, written).await
    }

    /// Steps 1 to 3: everything that can be judged without the disk. Takes CPU, never waits.
    ///
    /// # Errors
    /// [`Refusal`], by the step that refused.
    pub fn prepare(&self, incoming: Incoming) -> Result<Prepared, Refusal> {
        self.prepare_for(incoming, Whereabouts::Nowhere)
    }

    fn prepare_for(&self, incoming: Incoming, elsewhere: Whereabouts) -> Result<Prepared, Refusal> {
        let unknown = moving::unknown_by_link(&self.inner.agents, &incoming);
        self.judge_as_known(incoming, elsewhere).map_err(|refusal| match unknown {
            Some(to) if moving::is_just_coming(&self.inner.store, &to) => Refusal::Moving(to.to_string()),
            _ => refusal,
        })
    }

    fn judge_as_known(&self, incoming: Incoming, elsewhere: Whereabouts) -> Result<Prepared, Refusal> {
        let inner = &*self.inner;
        let now = inner.clock.now();
        let directory = inner.agents.directory();
        let (source, instant) = (faults::source_of(&incoming), inner.clock.monotonic());
        inner.faults.admit(&source, instant)?;
        let around = Circumstances {
            directory,
            config: &inner.config,
            now,
            random: rand::random(),
            thread_of: &|agent, parent| self.thread_of(agent, parent),
        };
        let draft = accept::accept(incoming, &around)?;
        if draft.is_carried() {
            self.has_time_for(&directory.resolve(&draft.mail.to), instant)?;
        }
        let verified = verify::verify(draft, directory)
            .inspect_err(|refusal| inner.faults.count(source, refusal, instant))?;
        let mail = &verified.draft.mail;
        let foreign = Destination::Provider(mail.to.longest_provider().to_owned());
        let plan = plan::plan(Question {
            by_link: verified.draft.is_carried(),
            signed: verified.judged_by.is_some(),
            from: &mail.from,
            to: &mail.to,
            sender: verified.draft.standing(directory),
            leaving: directory.leaving(&mail.to),
            overtakes: verified.draft.carrier().is_some_and(|peer| {
                inner.agents.arrivals().holds(&mail.to) && !directory.still_lists(peer, &mail.to)
            }),
            // Once more: it may have moved while the signature was verified.
            recipient: directory.resolve(&mail.to),
            elsewhere,
            relaxed: verified.draft.is_relaxed(),
            has_files: !verified.draft.attachments.is_empty(),
            require_signatures: inner.config.require_signatures,
            own_domain: directory.naming().is_ours(&mail.to),
            provider: &directory.naming().provider,
            provider_served: inner.deliver.is_served(&foreign),
            way_out: inner.config.gateway.way_out(directory),
            carried_on: inner.config.gateway.carries(&verified.draft, directory)
                && !self.is_closed_to(&verified.draft, instant),
        })?;
        Ok(commit::prepared(verified, plan, now))
    }

    /// Whether a provider's message is for a member that takes none by this gateway.
    fn is_closed_to(&self, draft: &accept::Draft, instant: Duration) -> bool {
        matches!(draft.source, accept::Source::Provider(_))
            && match self.inner.agents.directory().resolve(&draft.mail.to) {
                Resolution::Remote { node, .. } => self.inner.closed.holds(node, instant),
                _ => false,
            }
    }

    /// RAT-3 for mail that a link brings: before its signature is looked at.
    fn has_time_for(&self, recipient: &Resolution, instant: Duration) -> Result<(), Refusal> {
        match (&self.inner.by_link, recipient) {
            (Some(limit), Resolution::Local(agent)) => limit
                .take(agent.no, instant)
                .map_err(|TooOften(retry_after)| Refusal::Limited { retry_after }),
            _ => Ok(()),
        }
    }

    /// Step 4. The change is handed to the store's writer before this returns, so calls are committed in call order;
    /// the future resolves when the mail is on disk and whoever serves it next has been woken. Both happen even if
    /// nobody waits for it: a caller that hangs up must not leave mail that no one knows of. Refused when the recipient has
    /// moved since the plan was made, or moves in just now.
    #[must_use]
    pub fn commit(&self, prepared: Prepared) -> Committing {
        let Prepared { mail, plan } = prepared;
        let (to, way) = (mail.mail.to.clone(), moving::way_of(&mail, &plan));
        let facts = commit::Facts::of(&mail, plan);
        let directory = self.inner.agents.directory();
        let hand_over = || self.inner.store.commit_mail(mail);
        let durable = match way {
            Some(way) => directory.unless_moved(&to, way, hand_over),
            None => Some(hand_over()),
        };
        let (inner, tasks) = (self.inner.clone(), self.inner.tasks.clone());
        match durable {
            Some(durable) => {
                Committing::new(durable, facts, tasks, move |written| inner.deliver.wake(written))
            }
            None => Committing::refused(Refusal::Moving(to.to_string()), tasks),
        }
    }

    /// The agents this hallway serves.
    #[must_use]
    pub fn agents(&self) -> &Agents {
        &self.inner.agents
    }

    /// How this hallway behaves.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Registers a carrier. Called once per carrier, by `node`, before the doors open.
    pub fn add_carrier(&self, carrier: Arc<dyn Carrier>) {
        self.inner.deliver.add_carrier(carrier);
    }

    /// Watches the mailbox of `agent`; read the mailbox after this call, not before, and nothing is missed.
    #[must_use]
    pub fn subscribe(&self, agent: &Agent) -> MailSignal {
        self.inner.deliver.inboxes().subscribe(agent.no)
    }

    /// A socket of `agent` has written all mail of a class in its mailbox up to `seq`.
    pub fn pushed(&self, agent: &Agent, class: Priority, seq: amesh_store::Seq) {
        self.inner.deliver.inboxes().pushed(agent.no, class, seq);
    }

    /// Mail came into the mailbox of `agent` by another way than a commit of this hallway: with an agent that moved.
    pub fn arrived(&self, agent: AgentNo) {
        self.inner.deliver.inboxes().committed(agent);
    }

    /// Whether the wall clock can be trusted to let mail expire; `doctor` says so when not.
    #[must_use]
    pub fn clock_is_steady(&self) -> bool {
        !self.inner.clock_is_off.load(Ordering::Relaxed)
    }

    /// Whether mail to `to` goes to a member of the mesh that carries it on: that it arrived there says nothing of its recipient.
    #[must_use]
    pub fn leaves_the_mesh(&self, to: &Address) -> bool {
        !self.inner.agents.directory().naming().is_ours(to)
    }

    fn thread_of(&self, agent: &Agent, parent: &MessageId) -> Option<String> {
        let entry = self.inner.store.entry(agent.no, parent).ok().flatten()?;
        entry.mail.envelope().ok().map(|envelope| envelope.thread_id)
    }
}

const DAY: u64 = 86_400;
const LARGE: usize = 32 * 1024;
