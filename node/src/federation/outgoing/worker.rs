//! The mail of one provider, for as long as some waits: several messages under way, of each lane one (DESIGN §1.7), the urgent
//! first (MSG-13). One that the provider does not take yet holds its lane; a provider that does not answer is left alone for
//! a while, and then tried with one message. Started by [`Shared::serve`].

use super::Shared;
use super::far::{Far, Pace};
use super::letter::Letter;
use super::verdict::Outcome;
use super::whose;
use crate::federation::{AUDIT, Source, Untrusted};
use crate::message::retry::Kind;
use crate::message::{Held, Method, Settled, Turns};
use amesh_proto::api::http_mesh::ForwardAnswer;
use amesh_store::{LaneMark, LanePart, OutboxEntry, Seq, StoreError};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// See the module.
pub(super) struct Worker {
    shared: Arc<Shared>,
    far: Arc<Far>,
    turns: Turns,
    ready: VecDeque<(LaneMark, OutboxEntry)>,
    /// Lanes that are not to be asked for, or not for all that they have in the store.
    lanes: HashMap<LaneMark, LanePart>,
    held: Held<LaneMark>,
    under_way: FuturesUnordered<BoxFuture<'static, Ended>>,
    verdicts: Vec<(Place, Settled)>,
    settling: FuturesUnordered<BoxFuture<'static, Settling>>,
    /// Messages in a row that were put off.
    put_off: u32,
}

/// Which messages were settled, and whether that is durable.
type Settling = (Vec<Place>, Result<(), StoreError>);

/// Where a message stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    seq: Seq,
    lane: LaneMark,
    number: u64,
}

/// An attempt that is over.
#[derive(Debug)]
struct Ended {
    place: Place,
    began: Duration,
    /// For the log: whose, to whom, and which.
    about: [String; 3],
    outcome: Outcome,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, far: Arc<Far>) -> Self {
        let held = Held::new(shared.hallway.config().retry, Kind::Provider);
        Self {
            shared,
            far,
            held,
            turns: Turns::default(),
            ready: VecDeque::new(),
            lanes: HashMap::new(),
            under_way: FuturesUnordered::new(),
            verdicts: Vec::new(),
            settling: FuturesUnordered::new(),
            put_off: 0,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let now = self.shared.clock.monotonic();
            self.start(now);
            self.settle();
            let is_idle = self.under_way.is_empty() && self.settling.is_empty();
            let pause = if is_idle { self.pause(now) } else { None };
            if is_idle {
                self.lanes.clear();
                self.ready.clear();
            }
            tokio::select! {
                Some(ended) = self.under_way.next(), if !self.under_way.is_empty() => self.ended(ended),
                Some((places, result)) = self.settling.next(), if !self.settling.is_empty() => {
                    self.settled(&places, result);
                }
                () = self.far.wake.notified() => {}
                () = tokio::time::sleep(pause.unwrap_or(LONGEST_REST)) => {
                    if is_idle && self.shared.may_end(&self.far) {
                        return;
                    }
                }
            }
        }
    }

    /// How long there is nothing to do after `now`, if nothing happens.
    fn pause(&self, now: Duration) -> Option<Duration> {
        let down = self.far.next_at().saturating_sub(now);
        let next = if down.is_zero() { self.held.next_after(now)?.saturating_sub(now) } else { down };
        Some(next.clamp(SHORTEST_REST, LONGEST_REST))
    }

    /// Starts as many attempts as there may be at a time.
    fn start(&mut self, now: Duration) {
        if self.far.next_at() > now {
            return;
        }
        // Who is not known to answer is not sent a heap.
        let most = if self.far.is_well() { self.shared.in_flight } else { 1 };
        while self.under_way.len() < most {
            if self.ready.is_empty() {
                self.read(most, now);
            }
            let Some((lane, entry)) = self.ready.pop_front() else { return };
            let place = Place { seq: entry.seq, lane, number: entry.number };
            // What is too old is taken out, and bounced, by the hallway's own sweep.
            if self.shared.hallway.clock_is_steady() && entry.expires_at <= self.shared.clock.now() {
                self.lanes.insert(lane, LanePart::Beyond(entry.number));
                continue;
            }
            let attempt = attempt(self.shared.clone(), self.far.clone(), entry, place, now);
            self.under_way.push(Box::pin(attempt));
        }
    }

    /// Reads the next message of each lane that may go, a few at a time.
    fn read(&mut self, most: usize, now: Duration) {
        let (lanes, held) = (&self.lanes, &self.held);
        let part = |lane: LaneMark| match lanes.get(&lane) {
            Some(part) => *part,
            None if held.holds(&lane, now) => LanePart::Nothing,
            None => LanePart::Whole,
        };
        let order = self.turns.order();
        match self.shared.store.outbox_heads(&self.far.destination, &part, &order, most) {
            Ok(heads) => {
                for (lane, entry) in heads {
                    self.lanes.insert(lane, LanePart::Nothing);
                    self.ready.push_back((lane, entry));
                }
                if !self.ready.is_empty() {
                    self.turns.taken();
                }
            }
            Err(error) => {
                tracing::error!(%error, "the outbox cannot be read");
                self.far.failed(now, now, "the store cannot be read".to_owned(), None);
            }
        }
    }

    fn ended(&mut self, ended: Ended) {
        let Ended { place, began, about: [from, to, id], outcome } = ended;
        let (now, wall) = (self.shared.clock.monotonic(), self.shared.clock.now());
        let domain = &self.far.domain;
        let settled = match outcome {
            Outcome::Taken(answer) => {
                let settled = by_provider(*answer);
                let delivered = matches!(settled, Settled::ByProvider { delivered: true, .. });
                tracing::info!(
                    target: AUDIT, event = "federation.sent", to_provider = domain, message_id = id, sender = from,
                    recipient = to, delivered
                );
                settled
            }
            Outcome::Refused { code, detail } => {
                tracing::info!(
                    target: AUDIT, event = "federation.bounced", to_provider = domain, message_id = id, sender = from,
                    recipient = to, delivered = false, error = code
                );
                Settled::Refused { code, detail }
            }
            Outcome::Later { reason, patience } => return self.put_off(place, began, reason, patience),
            Outcome::Down { reason, patience } => {
                tracing::debug!(%domain, reason, "a provider takes nothing now");
                self.far.failed(began, now, reason, patience);
                self.lanes.remove(&place.lane);
                self.give_back();
                return;
            }
            // `deliver` has made a verdict of it.
            Outcome::NotThere(_) => return self.give_back(),
        };
        self.put_off = 0;
        self.far.reached(began, wall);
        self.held.free(&place.lane);
        self.lanes.insert(place.lane, LanePart::Beyond(place.number));
        self.verdicts.push((place, settled));
    }

    /// Its lane waits, and others go on; unless the provider puts off whatever it gets.
    fn put_off(&mut self, place: Place, began: Duration, reason: String, patience: Option<Duration>) {
        let (now, wall) = (self.shared.clock.monotonic(), self.shared.clock.now());
        self.put_off += 1;
        self.lanes.remove(&place.lane);
        let is_held = self.held.hold(place.lane, now, rand::random(), patience);
        if is_held && self.put_off < STUBBORN {
            self.far.grumbled(began, wall, reason);
        } else {
            self.far.failed(began, now, reason, patience);
            self.give_back();
        }
    }

    /// What was read and not sent is read again: by then it may have been dropped, or be too old.
    fn give_back(&mut self) {
        for (lane, _) in self.ready.drain(..) {
            self.lanes.remove(&lane);
        }
    }

    /// Writes down what was said, all that came since the last time together.
    fn settle(&mut self) {
        if self.verdicts.is_empty() || !self.settling.is_empty() {
            return;
        }
        let (hallway, destination) = (self.shared.hallway.clone(), self.far.destination.clone());
        let (places, verdicts): (Vec<_>, Vec<_>) =
            self.verdicts.drain(..).map(|(place, settled)| (place, (place.seq, settled))).unzip();
        let settling = async move { (places, hallway.settle(&destination, verdicts).await) };
        self.settling.push(Box::pin(settling));
    }

    fn settled(&mut self, places: &[Place], result: Result<(), StoreError>) {
        for place in places {
            if self.lanes.get(&place.lane) == Some(&LanePart::Beyond(place.number)) {
                self.lanes.remove(&place.lane);
            }
        }
        if let Err(error) = result {
            // They stay in the outbox and are offered again under their ids.
            tracing::error!(%error, "verdicts could not be settled");
            let now = self.shared.clock.monotonic();
            self.far.failed(now, now, "the store takes no verdicts".to_owned(), None);
            self.give_back();
        }
    }
}

async fn attempt(
    shared: Arc<Shared>,
    far: Arc<Far>,
    entry: OutboxEntry,
    place: Place,
    began: Duration,
) -> Ended {
    let places = match far.pace(began) {
        Pace::Steady => &shared.steady,
        Pace::Slow => &shared.slow,
        Pace::Doubtful => &shared.doubtful,
    };
    // Never closed.
    let _place = places.clone().acquire_owned().await;
    let mail = &entry.mail;
    let about = [mail.from.to_string(), mail.to.to_string(), mail.id.to_string()];
    let placed = shared.clock.monotonic();
    let outcome = deliver(&shared, &far, entry).await;
    let now = shared.clock.monotonic();
    far.took(now.saturating_sub(placed), now);
    Ended { place, began, about, outcome }
}

async fn deliver(shared: &Arc<Shared>, far: &Far, entry: OutboxEntry) -> Outcome {
    let source = entry.sender.map_or(Source::Relayed, Source::Agent);
    let trusted = match whose::provider(&shared.federation, &far.domain, source).await {
        Ok(trusted) => trusted,
        Err(error) => return not_found(shared, error).await,
    };
    let directory = shared.hallway.agents().directory();
    let key = directory.key_at(&entry.mail.from, entry.mail.accepted_at);
    let (now, hex) = (shared.clock.now(), trusted.hex_keys);
    let letter = if entry.mail.size() < LARGE {
        Letter::of(&entry, key.as_ref(), hex, now)
    } else {
        let writing = shared.tasks.spawn_blocking(move || Letter::of(&entry, key.as_ref(), hex, now));
        writing.await.ok().flatten()
    };
    let Some(letter) = letter else {
        return Outcome::Refused {
            code: "internal_error".into(),
            detail: "the stored text is damaged".into(),
        };
    };
    let outcome = shared.client.deliver(far, &trusted.endpoint, &shared.own, &letter, now).await;
    if matches!(outcome, Outcome::Taken(_))
        && let Err(error) = shared.federation.met(&trusted).await
    {
        tracing::warn!(domain = trusted.domain, %error, "the key of a provider could not be remembered");
    }
    outcome
}

/// For the owner: what discovery said, where it found nothing to use. While nobody would be asked again, nothing is tried
/// again either: that would only lengthen the pause after it.
async fn not_found(shared: &Shared, error: Untrusted) -> Outcome {
    let (Untrusted::Silent(domain) | Untrusted::Unusable { domain, .. }) = &error else {
        return Outcome::Down { patience: error.retry_after(), reason: error.to_string() };
    };
    // It has just been asked for, and is known.
    let known = shared.federation.resolve(domain, Source::Relayed, false).await;
    let (complaints, fresh_for) =
        known.map(|known| (known.complaints(), known.fresh_for)).unwrap_or_default();
    let patience = matches!(error, Untrusted::Silent(_)).then(|| fresh_for.min(LONGEST_REST));
    let reason = if complaints.is_empty() { error.to_string() } else { format!("{error} ({complaints})") };
    Outcome::Down { reason, patience }
}

/// FED-19: what the recipient's provider says of it, and no more.
fn by_provider(answer: ForwardAnswer) -> Settled {
    let delivered = answer.delivered.unwrap_or_else(|| answer.status.as_deref() == Some("delivered"));
    let method = match answer.method.as_deref() {
        Some("websocket") => Method::Websocket,
        Some("webhook") => Method::Webhook,
        Some("mesh") => Method::Mesh,
        _ => Method::Relay,
    };
    Settled::ByProvider { delivered, method, remote_id: answer.remote_id() }
}

/// So many messages in a row that are put off mean that the provider takes nothing.
const STUBBORN: u32 = 4;
const SHORTEST_REST: Duration = Duration::from_millis(10);
/// After as long a time without mail a worker ends.
const LONGEST_REST: Duration = Duration::from_secs(30);
/// What is written off the async workers.
const LARGE: usize = 32 * 1024;
