//! Mail from this node's outbox to other providers (AMP 06 §Forward Endpoint; FED-7, FED-8, FED-19; DESIGN §1.7). `node` starts it
//! after the hallway, which knows it as a carrier; the rest of [`super::Federation`] tells it of signs of life, and asks how it
//! is doing.
//!
//! Every provider for which mail waits has a `worker`, which ends when nothing waits. What a dead one costs the others is
//! nothing: it has a connection, a queue and a pause of its own, and who is not known to answer is tried from `doubtful`, and who
//! answers slowly from `slow`, so that any number of them never takes a place of those that do.

mod client;
mod far;
mod letter;
mod verdict;
mod whose;
mod worker;

use super::own::OwnProvider;
use super::{Federation, StartError};
use crate::clock::SharedClock;
use crate::message::{Carrier, Hallway};
use crate::tasks::{StillRunning, Tasks};
use crate::waking::Waking;
use amesh_proto::api::federation::ProviderQueue;
use amesh_store::{Destination, Store};
use client::Client;
use far::Far;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Semaphore;
use worker::Worker;

/// What sending stands on.
#[derive(Debug, Clone)]
pub struct OutgoingParts {
    /// The outbox.
    pub store: Store,
    /// Where verdicts go.
    pub hallway: Hallway,
    /// Time.
    pub clock: SharedClock,
    /// Its own group of tasks.
    pub tasks: Tasks,
    /// Tells when this machine has slept.
    pub waking: Waking,
}

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Outgoing {
    shared: Option<Arc<Shared>>,
    tasks: Tasks,
}

#[derive(Debug)]
pub(super) struct Shared {
    federation: Federation,
    own: OwnProvider,
    client: Client,
    store: Store,
    hallway: Hallway,
    clock: SharedClock,
    tasks: Tasks,
    in_flight: usize,
    /// Deliveries under way at a time to providers that answer.
    steady: Arc<Semaphore>,
    /// The same, to those that answer slowly.
    slow: Arc<Semaphore>,
    /// The same, to those that have not answered yet, or not lately.
    doubtful: Arc<Semaphore>,
    table: Mutex<HashMap<String, Arc<Far>>>,
}

impl Federation {
    /// Sends mail to other providers from now on, what waits from before a restart included; where this node is no
    /// provider, nothing.
    ///
    /// # Errors
    /// When no requests can be made.
    pub fn start_sending(&self, parts: OutgoingParts) -> Result<Outgoing, StartError> {
        let OutgoingParts { store, hallway, clock, tasks, waking } = parts;
        let Some(own) = self.own().cloned() else { return Ok(Outgoing { shared: None, tasks }) };
        let shared = Arc::new(Shared {
            federation: self.clone(),
            own,
            client: Client::new(&self.inner.sending, self.inner.reach.clone())?,
            store,
            hallway,
            clock,
            tasks: tasks.clone(),
            in_flight: self.inner.sending.in_flight.max(1),
            steady: Arc::new(Semaphore::new(STEADY)),
            slow: Arc::new(Semaphore::new(SLOW)),
            doubtful: Arc::new(Semaphore::new(DOUBTFUL)),
            table: Mutex::default(),
        });
        // Said once: a second start would find the first still carrying.
        if self.inner.outgoing.set(Arc::downgrade(&shared)).is_err() {
            tracing::error!("sending to other providers was started twice; the first goes on");
        }
        shared.hallway.add_carrier(Arc::new(ProviderCarrier(Arc::downgrade(&shared))));
        shared.serve_all();
        tasks.spawn_until_stopped(wake(shared.clone(), waking));
        Ok(Outgoing { shared: Some(shared), tasks })
    }

    /// The provider of `domain` came to us: the way back may be open, too.
    pub fn sign_of_life(&self, domain: &str) {
        if let Some(shared) = self.sending() {
            shared.came(domain);
        }
    }

    /// When mail for a provider is next offered, and what was wrong last; nothing where it goes at once.
    #[must_use]
    pub fn waits(&self, domain: &str) -> Option<(Duration, Option<String>)> {
        let shared = self.sending()?;
        let far = shared.table().get(domain)?.clone();
        let left = far.next_at().saturating_sub(shared.clock.monotonic());
        (!left.is_zero()).then(|| (left, far.health().reason))
    }

    /// Every provider for which mail waits.
    #[must_use]
    pub fn queues(&self) -> Vec<ProviderQueue> {
        self.sending().map(|shared| shared.queues()).unwrap_or_default()
    }

    fn sending(&self) -> Option<Arc<Shared>> {
        self.inner.outgoing.get()?.upgrade()
    }
}

impl Outgoing {
    /// Stops carrying. What is in the outbox stays there.
    ///
    /// # Errors
    /// When something hangs.
    pub async fn shutdown(self, patience: Duration) -> Result<(), StillRunning> {
        let stopped = self.tasks.shutdown(patience).await;
        drop(self.shared);
        stopped
    }
}

impl Shared {
    /// Has `domain` served, if it is not, and tells its worker that there is something new.
    fn serve(self: &Arc<Self>, domain: &str) {
        let mut table = self.table();
        let far = match table.get(domain) {
            Some(far) => far.clone(),
            None => {
                if table.len() >= PROVIDERS {
                    table.retain(|_, far| far.is_served());
                }
                if table.len() >= PROVIDERS {
                    // It waits in the outbox until a worker ends.
                    return;
                }
                let far = Arc::new(Far::new(domain, self.hallway.config().retry));
                table.insert(domain.to_owned(), far.clone());
                far
            }
        };
        if far.begin() {
            let worker = Worker::new(self.clone(), far.clone());
            self.tasks.spawn_until_stopped(worker.run());
        }
        far.wake.notify_one();
    }

    /// Serves every provider for which mail waits.
    fn serve_all(self: &Arc<Self>) {
        for queue in self.store.outbox_destinations() {
            if let Destination::Provider(domain) = queue.destination {
                self.serve(&domain);
            }
        }
    }

    /// Ends the service of `far` if nothing waits for it. Mail that comes in this moment finds it ended, or keeps it.
    fn may_end(self: &Arc<Self>, far: &Far) -> bool {
        let table = self.table();
        if self.store.outbox_len(&far.destination) > 0 {
            return false;
        }
        far.end();
        let was_full = table.len() >= PROVIDERS;
        drop(table);
        if was_full {
            self.serve_all();
        }
        true
    }

    /// Mail for a provider may be queued by a longer domain than its own.
    fn came(&self, domain: &str) {
        let is_its = |queued: &str| {
            queued.strip_suffix(domain).is_some_and(|below| below.is_empty() || below.ends_with('.'))
        };
        let now = self.clock.now();
        self.table().values().filter(|far| is_its(&far.domain)).for_each(|far| far.came(now));
    }

    fn queues(&self) -> Vec<ProviderQueue> {
        let queued = self.store.outbox_destinations().into_iter().filter_map(|queue| {
            let Destination::Provider(domain) = queue.destination else { return None };
            let far = self.table().get(&domain).cloned();
            let health = far.as_ref().map(|far| far.health());
            let left = far.map(|far| far.next_at().saturating_sub(self.clock.monotonic()));
            let next = left.filter(|left| !left.is_zero()).map(|left| self.clock.now().plus(left));
            Some(ProviderQueue {
                domain,
                waiting: queue.count,
                state: health.as_ref().map_or("untried", |health| health.word()).to_owned(),
                next_attempt: next.map(|at| at.to_rfc3339()),
                last_seen: health.as_ref().and_then(|health| health.last_seen).map(|at| at.to_rfc3339()),
                reason: health.and_then(|health| health.reason),
            })
        });
        queued.collect()
    }

    fn table(&self) -> MutexGuard<'_, HashMap<String, Arc<Far>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tries every provider again whenever this machine wakes up.
async fn wake(shared: Arc<Shared>, mut waking: Waking) {
    loop {
        waking.next().await;
        shared.table().values().for_each(|far| far.try_again());
    }
}

/// Other providers as the hallway knows them. Holds them weakly: the hallway keeps its carriers, and they the hallway.
#[derive(Debug)]
struct ProviderCarrier(Weak<Shared>);

impl Carrier for ProviderCarrier {
    fn serves(&self, destination: &Destination) -> bool {
        let Destination::Provider(domain) = destination else { return false };
        self.0.upgrade().is_some_and(|shared| whose::may_go(&shared.federation, domain))
    }

    fn wake(&self, destination: &Destination) {
        if let (Destination::Provider(domain), Some(shared)) = (destination, self.0.upgrade()) {
            shared.serve(domain);
        }
    }

    fn answers_soon(&self, destination: &Destination) -> bool {
        let (Destination::Provider(domain), Some(shared)) = (destination, self.0.upgrade()) else {
            return false;
        };
        let far = shared.table().get(domain).cloned();
        far.is_some_and(|far| far.is_well()) && shared.store.outbox_len(destination) < LIGHT
    }
}

/// Providers with a worker, or remembered from one.
const PROVIDERS: usize = 4096;
const STEADY: usize = 256;
const SLOW: usize = 64;
const DOUBTFUL: usize = 64;
/// With fewer messages than this waiting, a verdict comes within milliseconds.
const LIGHT: u32 = 8;
