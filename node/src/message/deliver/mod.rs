//! Step 5 of the hallway: wake whoever takes the message on, wait a moment for proof, and answer no more than is
//! proven (DESIGN §1.9). The mail is on disk already: nothing here can lose it.

pub(super) mod carrier;
pub(super) mod delivery;
pub(super) mod inbox;
pub(super) mod waiters;
pub(super) mod webhook;

use super::Config;
use super::commit::{Place, Written};
use super::incoming::{Accepted, Basis, Method, Status};
use crate::agents::presence::Presence;
use crate::agents::{Agent, Agents};
use crate::clock::SharedClock;
use amesh_proto::time::UnixMillis;
use amesh_store::{Destination, Seq, Store};
use carrier::Carrier;
use inbox::Inboxes;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::time::Instant;
use waiters::{Verdict, Waiters};
use webhook::{Attempt, Posts};

/// Everything that serves mail that is on disk.
#[derive(Debug)]
pub(super) struct Deliver {
    patience: Duration,
    clock: SharedClock,
    presence: Presence,
    inboxes: Arc<Inboxes>,
    waiters: Waiters<Destination, Verdict>,
    posts: Posts,
    carriers: RwLock<Vec<Arc<dyn Carrier>>>,
}

impl Deliver {
    pub(super) fn new(config: &Config, agents: &Agents, clock: SharedClock) -> Self {
        Self {
            patience: Duration::from_millis(config.patience_ms),
            clock,
            presence: agents.presence().clone(),
            inboxes: Arc::default(),
            waiters: Waiters::new(config.waiting_callers),
            posts: Posts::new(&config.webhook, config.waiting_callers, agents.webhooks().clone()),
            carriers: RwLock::default(),
        }
    }

    pub(super) fn add_carrier(&self, carrier: Arc<dyn Carrier>) {
        self.carriers.write().unwrap_or_else(PoisonError::into_inner).push(carrier);
    }

    pub(super) fn inboxes(&self) -> &Arc<Inboxes> {
        &self.inboxes
    }

    pub(super) fn waiters(&self) -> &Waiters<Destination, Verdict> {
        &self.waiters
    }

    pub(super) fn posts(&self) -> &Posts {
        &self.posts
    }

    /// Whether any carrier takes mail to `destination`.
    pub(super) fn is_served(&self, destination: &Destination) -> bool {
        self.carrier(destination).is_some()
    }

    /// Tells whoever is next that mail is on disk.
    pub(super) fn wake(&self, written: &Written) {
        match &written.place {
            Place::Mailbox(agent) => self.inboxes.committed(agent.no),
            Place::Outbox { destination, .. } => self.wake_carrier(destination),
        }
    }

    /// Tells the carrier that something is on disk for `destination`.
    pub(super) fn wake_carrier(&self, destination: &Destination) {
        if let Some(carrier) = self.carrier(destination) {
            carrier.wake(destination);
        }
    }

    /// The answer to the sender: waits for proof of more than `queued` where it can come soon.
    pub(super) async fn deliver(&self, store: &Store, written: Written) -> Accepted {
        if written.repeat {
            return repeated(store, written);
        }
        match written.place.clone() {
            Place::Mailbox(agent) => self.to_mailbox(written, &agent).await,
            Place::Outbox { destination, host } => self.to_outbox(written, destination, host).await,
        }
    }

    /// RTE-5, A-62: the socket, then the webhook, then the mailbox alone; or the webhook first where the agent wants it so.
    async fn to_mailbox(&self, written: Written, agent: &Agent) -> Accepted {
        let online = self.presence.online(agent.no);
        if self.posts.serve(agent) && (!online || self.posts.go_first(agent)) {
            return self.to_webhook(written, agent, online).await;
        }
        if online && self.on_socket(&written, agent, self.patience).await {
            return self.delivered(written, Method::Websocket, Basis::SocketWritten);
        }
        queued(written, Basis::MailboxWritten)
    }

    async fn to_webhook(&self, written: Written, agent: &Agent, online: bool) -> Accepted {
        let began = Instant::now();
        let attempt = self.posts.attempt(agent.no, written.seq, self.patience).await;
        let left = self.patience.saturating_sub(began.elapsed());
        match attempt {
            Some(Attempt::Taken) => self.delivered(written, Method::Webhook, Basis::Webhook2xx),
            Some(_) if online && self.on_socket(&written, agent, left).await => {
                self.delivered(written, Method::Websocket, Basis::SocketWritten)
            }
            // further attempts are made in the background, or none, and it waits to be fetched.
            Some(Attempt::Later) | None => {
                Accepted { method: Method::Webhook, ..queued(written, Basis::MailboxWritten) }
            }
            Some(Attempt::Never) => queued(written, Basis::MailboxWritten),
        }
    }

    async fn on_socket(&self, written: &Written, agent: &Agent, patience: Duration) -> bool {
        self.inboxes.written(agent.no, written.class, written.seq, patience).await
    }

    fn delivered(&self, written: Written, method: Method, basis: Basis) -> Accepted {
        let (status, delivered_at) = (Status::Delivered, Some(self.clock.now()));
        Accepted { status, method, basis, delivered_at, ..queued(written, Basis::MailboxWritten) }
    }

    async fn to_outbox(&self, written: Written, destination: Destination, host: Option<String>) -> Accepted {
        let verdict = self.verdict(&destination, written.seq).await;
        let accepted = queued(written.clone(), Basis::OutboxWritten).at_host(host);
        match verdict {
            None => accepted,
            Some(Verdict::Delivered) => {
                Accepted { method: Method::Mesh, basis: Basis::MailboxWritten, ..accepted }
            }
            // FED-19.
            Some(Verdict::ByProvider { delivered: true, method }) => {
                self.delivered(written, method, Basis::ProviderDelivered).at_host(accepted.remote_host)
            }
            Some(Verdict::ByProvider { delivered: false, method }) => {
                Accepted { method, basis: Basis::ProviderAccepted, ..accepted }
            }
            Some(Verdict::Taken) => Accepted { method: Method::Mesh, basis: Basis::HostAccepted, ..accepted },
            Some(Verdict::Failed) => {
                Accepted { status: Status::Failed, method: Method::Mesh, basis: Basis::Refused, ..accepted }
            }
        }
    }

    async fn verdict(&self, destination: &Destination, seq: Seq) -> Option<Verdict> {
        if !self.carrier(destination)?.answers_soon(destination) {
            return None;
        }
        self.waiters.wait(destination, seq, self.patience).await
    }

    fn carrier(&self, destination: &Destination) -> Option<Arc<dyn Carrier>> {
        let carriers = self.carriers.read().unwrap_or_else(PoisonError::into_inner);
        carriers.iter().find(|carrier| carrier.serves(destination)).cloned()
    }
}

impl Accepted {
    fn at_host(self, host: Option<String>) -> Self {
        Self { remote_host: host, ..self }
    }
}

fn queued(written: Written, basis: Basis) -> Accepted {
    Accepted {
        id: written.id,
        status: Status::Queued,
        method: Method::Relay,
        basis,
        queued_at: written.queued_at,
        delivered_at: None,
        remote_host: None,
        repeat: written.repeat,
    }
}

/// A repeat is told what is known of the first by now (DESIGN §1.2).
fn repeated(store: &Store, written: Written) -> Accepted {
    let status = written.sender.and_then(|sender| store.message_status(sender, &written.id).ok().flatten());
    let host = match &written.place {
        Place::Outbox { host, .. } => host.clone(),
        Place::Mailbox(_) => None,
    };
    let local = matches!(written.place, Place::Mailbox(_));
    let to_provider = matches!(written.place, Place::Outbox { destination: Destination::Provider(_), .. });
    let accepted = Accepted {
        remote_host: host,
        ..queued(written, if local { Basis::MailboxWritten } else { Basis::OutboxWritten })
    };
    let since = |at: UnixMillis| Some(at);
    match status.map(|status| (status.state, status.changed_at)) {
        Some((amesh_store::MessageState::Delivered { .. }, at)) if local => {
            Accepted { status: Status::Delivered, delivered_at: since(at), ..accepted }
        }
        Some((amesh_store::MessageState::Delivered { basis }, at))
            if basis == Basis::ProviderDelivered.as_str() =>
        {
            let (status, basis) = (Status::Delivered, Basis::ProviderDelivered);
            Accepted { status, basis, delivered_at: since(at), ..accepted }
        }
        Some((amesh_store::MessageState::Delivered { .. }, _)) => {
            Accepted { method: Method::Mesh, basis: Basis::MailboxWritten, ..accepted }
        }
        Some((amesh_store::MessageState::Taken { .. }, _)) if to_provider => {
            Accepted { basis: Basis::ProviderAccepted, ..accepted }
        }
        Some((amesh_store::MessageState::Taken { .. }, _)) => {
            Accepted { method: Method::Mesh, basis: Basis::HostAccepted, ..accepted }
        }
        Some((amesh_store::MessageState::Failed { .. }, _)) => {
            Accepted { status: Status::Failed, basis: Basis::Refused, ..accepted }
        }
        _ => accepted,
    }
}
