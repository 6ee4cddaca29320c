//! Mail from this node's outbox to one HTTP host: one message at a time, in the order of the outbox. What a host does not
//! take yet holds only its lane; a host that does not answer is left alone for a while (MSH-12). One task a host.

use super::client::Letter;
use super::host::Host;
use super::verdict::Outcome;
use super::{HttpMesh, Shared};
use crate::message::retry::Kind;
use crate::message::{Carrier, Held, Settled};
use amesh_proto::message::Priority;
use amesh_store::{Destination, LaneKey, OutboxEntry, Seq, StoreError};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How a pass through the outbox ended.
enum Ended {
    /// Nothing is left that may go now.
    Drained,
    /// The host, or this node's store, takes nothing.
    Down,
}

/// What comes of one message.
enum Step {
    Next,
    Down,
}

/// Serves `host` until the owner removes it or the node stops.
pub(super) async fn serve(shared: Arc<Shared>, host: Arc<Host>) {
    let gone = host.gone.clone();
    gone.run_until_cancelled(run(&shared, &host)).await;
}

async fn run(shared: &Shared, host: &Host) {
    let mut held = Held::new(shared.hallway.config().retry, Kind::Peer);
    loop {
        match pass(shared, host, &mut held).await {
            Ended::Drained => {
                let pause = held.next_at().map(|at| at.saturating_sub(shared.clock.monotonic()));
                rest(host, pause).await;
            }
            // New mail does not make a host better; only time and signs of life do.
            Ended::Down => loop {
                let left = host.next_at().saturating_sub(shared.clock.monotonic());
                if left.is_zero() {
                    break;
                }
                rest(host, Some(left)).await;
            },
        }
    }
}

async fn rest(host: &Host, pause: Option<Duration>) {
    let pausing = tokio::time::sleep(pause.unwrap_or(LONGEST_REST).min(LONGEST_REST));
    tokio::select! {
        () = host.wake.notified() => {}
        () = pausing => {}
    }
}

/// Tries every message once that may go, the urgent first (MSG-13). A lane that is passed over once is passed over to the
/// end: it keeps its order.
async fn pass(shared: &Shared, host: &Host, held: &mut Held<LaneKey>) -> Ended {
    let destination = Destination::HttpHost(host.name.to_string());
    let mut after: HashMap<Priority, Seq> = HashMap::new();
    let mut passed_over: HashSet<LaneKey> = HashSet::new();
    loop {
        let page = match next_page(shared, &destination, &after) {
            Ok(page) => page,
            Err(error) => {
                tracing::error!(%error, "the outbox cannot be read");
                host.failed(
                    shared.clock.monotonic(),
                    rand::random(),
                    "the store cannot be read".into(),
                    None,
                );
                return Ended::Down;
            }
        };
        if page.is_empty() {
            if after.is_empty() {
                held.clear();
            }
            return Ended::Drained;
        }
        for entry in page {
            after.insert(entry.lane.class, entry.seq);
            // What is too old is taken out, and bounced, by the hallway's own sweep.
            if shared.hallway.clock_is_steady() && entry.expires_at <= shared.clock.now() {
                continue;
            }
            if passed_over.contains(&entry.lane) || held.holds(&entry.lane, shared.clock.monotonic()) {
                passed_over.insert(entry.lane);
                continue;
            }
            match carry(shared, host, &destination, entry, held, &mut passed_over).await {
                Step::Next => {}
                Step::Down => return Ended::Down,
            }
        }
    }
}

/// The next few messages of the most urgent class that has some.
fn next_page(
    shared: &Shared,
    destination: &Destination,
    after: &HashMap<Priority, Seq>,
) -> Result<Vec<OutboxEntry>, StoreError> {
    for class in Priority::ALL {
        let page = shared.store.outbox_of(destination, class, after.get(&class).copied(), PAGE)?;
        if !page.is_empty() {
            return Ok(page);
        }
    }
    Ok(Vec::new())
}

async fn carry(
    shared: &Shared,
    host: &Host,
    destination: &Destination,
    entry: OutboxEntry,
    held: &mut Held<LaneKey>,
    passed_over: &mut HashSet<LaneKey>,
) -> Step {
    let now = shared.clock.now();
    let key = shared.directory().key_at(&entry.mail.from, entry.mail.accepted_at);
    let own_id = &shared.directory().naming().host;
    let outcome = match Letter::of(&entry.mail, key.as_ref(), own_id, now) {
        Some(letter) => shared.client.forward(host, own_id, &letter).await,
        None => {
            Outcome::Refused { code: "internal_error".into(), detail: "the stored text is damaged".into() }
        }
    };
    let (from, to, id) = (&entry.mail.from, &entry.mail.to, &entry.mail.id);
    let (now, wall) = (shared.clock.monotonic(), shared.clock.now());
    let settled = match outcome {
        Outcome::Taken { remote_id } => {
            tracing::info!(host = %host.name, %from, %to, %id, "forwarded to an HTTP mesh host");
            Settled::Taken { remote_id }
        }
        Outcome::Refused { code, detail } => {
            tracing::info!(host = %host.name, %from, %to, %id, code, "refused by an HTTP mesh host");
            if code == "not_found" {
                shared.places.forget(to);
            }
            Settled::Refused { code, detail }
        }
        Outcome::Later(reason) => {
            host.grumbled(wall, reason);
            passed_over.insert(entry.lane.clone());
            if held.hold(entry.lane, now, rand::random(), None) {
                return Step::Next;
            }
            host.failed(now, rand::random(), "it refuses too much".to_owned(), None);
            return Step::Down;
        }
        Outcome::Down { reason, retry_after } => {
            host.failed(now, rand::random(), reason, retry_after);
            return Step::Down;
        }
        // `forward` has made a verdict of it.
        Outcome::NotThere(_) => return Step::Down,
    };
    host.reached(wall);
    held.free(&entry.lane);
    match shared.hallway.settle(destination, vec![(entry.seq, settled)]).await {
        Ok(()) => Step::Next,
        Err(error) => {
            // It stays in the outbox and is offered again under its id.
            tracing::error!(%error, "a verdict could not be settled");
            host.failed(now, rand::random(), "the store takes no verdicts".to_owned(), None);
            Step::Down
        }
    }
}

/// The HTTP mesh as the hallway knows it. Holds it weakly: the hallway keeps its carriers, and the mesh the hallway.
#[derive(Debug)]
pub(super) struct HttpCarrier(Weak<Shared>);

impl HttpCarrier {
    pub(super) fn of(mesh: &HttpMesh) -> Arc<Self> {
        Arc::new(Self(Arc::downgrade(&mesh.shared)))
    }

    fn host(&self, destination: &Destination) -> Option<(Arc<Shared>, Arc<Host>)> {
        let Destination::HttpHost(name) = destination else { return None };
        let shared = self.0.upgrade()?;
        let host = shared.hosts.named(name)?;
        Some((shared, host))
    }
}

impl Carrier for HttpCarrier {
    fn serves(&self, destination: &Destination) -> bool {
        matches!(destination, Destination::HttpHost(_))
    }

    fn wake(&self, destination: &Destination) {
        if let Some((_, host)) = self.host(destination) {
            host.wake.notify_one();
        }
    }

    fn answers_soon(&self, destination: &Destination) -> bool {
        let Some((shared, host)) = self.host(destination) else { return false };
        host.is_well() && shared.store.outbox_len(destination) < LIGHT
    }
}

const PAGE: usize = 32;
/// With fewer messages than this waiting, a verdict comes within milliseconds.
const LIGHT: u32 = 8;
/// An empty outbox is looked at again at the latest then.
const LONGEST_REST: Duration = Duration::from_secs(60);
