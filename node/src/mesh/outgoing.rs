//! Mail from this node's outbox onto one link: reads what the link's sending half asks for, makes frames of it, and
//! settles the verdicts that come back. Owned by `session`.

use super::link::{LinkSender, Offer, Scan, Settled as LinkSettled, Window};
use super::shared::Shared;
use crate::message::{Settled, Turns};
use amesh_proto::key::PublicKey;
use amesh_proto::message::Priority;
use amesh_proto::node_id::NodeId;
use amesh_proto::wire::mail::LaneStamp;
use amesh_proto::wire::{Frame, MailFrame, OutsideMail, Verdict};
use amesh_store::{Destination, LaneKey, OutboxEntry, Seq, StoreError};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// What mail is given to live when this node cannot tell how old it is.
const UNSTEADY_LIFE_MS: u64 = 24 * 3600 * 1000;

/// The sending side of one link. Every class of mail has a sending half of its own, with its own place in the outbox and
/// its own window, so that urgent mail passes whatever waits, or is put off, before it (MSG-13).
pub(super) struct Outgoing {
    shared: Arc<Shared>,
    destination: Destination,
    classes: [LinkSender<LaneKey>; Priority::ALL.len()],
    turns: Turns,
    /// What has been sent to be carried on to other providers.
    leaving: HashSet<u64>,
    settling: FuturesUnordered<BoxFuture<'static, Settling>>,
    /// A settlement failed: nothing more is sent until the link is made anew.
    pub(super) broken: bool,
}

/// Which messages were settled, and whether that is durable.
type Settling = (Vec<u64>, Result<(), StoreError>);

impl Outgoing {
    pub(super) fn new(shared: Arc<Shared>, node: NodeId) -> Self {
        let whole = shared.config.window();
        // Together less than twice the whole, which is what the other side has room for.
        let quarter = Window { count: whole.count / 4, bytes: whole.bytes / 4, ..whole };
        let window = |class| if class == Priority::Normal { whole } else { quarter };
        let classes = Priority::ALL.map(|class| LinkSender::new(window(class)));
        let destination = Destination::Node(node);
        let (turns, settling) = (Turns::default(), FuturesUnordered::new());
        Self { shared, destination, classes, turns, leaving: HashSet::new(), settling, broken: false }
    }

    /// New mail is in the outbox.
    pub(super) fn more(&mut self) {
        self.classes.iter_mut().for_each(LinkSender::more);
    }

    /// Mail that was kept back may go.
    pub(super) fn again(&mut self) {
        self.classes.iter_mut().for_each(LinkSender::again);
    }

    /// Whether the other side owes a verdict.
    pub(super) fn is_owed(&self) -> bool {
        self.classes.iter().any(|sender| sender.in_flight() > 0)
    }

    /// Whether there may be something to send; cheap, and to be asked before [`Self::next`].
    pub(super) fn wants_to_send(&mut self, now: Duration) -> bool {
        !self.broken && self.classes.iter_mut().any(|sender| sender.scan(now).is_some())
    }

    /// When to ask again, though nothing happened.
    pub(super) fn next_wake(&self) -> Option<Duration> {
        self.classes.iter().filter_map(LinkSender::next_wake).min()
    }

    /// Appends the next mail to `frames`, one page of one class at most.
    pub(super) fn next(&mut self, now: Duration, frames: &mut Vec<Frame>) {
        for class in self.turns.order() {
            let Some(scan) = self.classes[class as usize].scan(now) else { continue };
            if !self.page(class, scan, frames) {
                return;
            }
        }
    }

    /// Appends a page of one class. Says whether the turn is the next class's, because nothing of this one is left to send.
    fn page(&mut self, class: Priority, scan: Scan, frames: &mut Vec<Frame>) -> bool {
        let after = (scan.after > 0).then_some(Seq(scan.after));
        let page = match self.shared.store.outbox_of(&self.destination, class, after, scan.limit) {
            Ok(page) => page,
            Err(error) => {
                tracing::error!(%error, "the outbox cannot be read");
                self.broken = true;
                return false;
            }
        };
        let wall = self.shared.clock.now();
        let steady = self.shared.hallway.clock_is_steady();
        let offers: Vec<Offer<LaneKey>> = page
            .iter()
            .map(|entry| offer(entry, steady && entry.expires_at <= wall || self.moves(entry)))
            .collect();
        let complete = page.len() < scan.limit;
        let sender = &mut self.classes[class as usize];
        let picked = sender.pick(scan, &offers, complete);
        // What is too old is taken out, and bounced, by the hallway's own sweep; what follows an agent, by `moves`.
        if picked.is_empty() {
            return complete;
        }
        self.turns.taken();
        let chosen: HashSet<u64> = picked.into_iter().collect();
        let (generation, roster) = (self.shared.store.generation(), self.shared.store.own_roster_version());
        for entry in page.into_iter().filter(|entry| chosen.contains(&entry.seq.0)) {
            let lane = LaneStamp { generation, number: entry.number, floor: entry.floor };
            if self.shared.hallway.leaves_the_mesh(&entry.mail.to) {
                self.leaving.insert(entry.seq.0);
            }
            let outsider = self.key_of_outsider(&entry);
            let mut frame = MailFrame::carrying(entry.mail, entry.seq.0, lane, roster, wall);
            if !steady {
                // After a jump of the clock nothing expires, here or there (DESIGN §5, Clocks).
                frame.remaining_ms = frame.remaining_ms.max(UNSTEADY_LIFE_MS);
            }
            frames.push(match outsider {
                Some(key) => {
                    let sender_key = key.to_spki_der().to_vec();
                    Frame::OutsideMail(Box::new(OutsideMail { mail: frame, sender_key }))
                }
                None => Frame::Mail(Box::new(frame)),
            });
        }
        false
    }

    /// The key of a sender outside the mesh: the receiver has no roster that lists it.
    fn key_of_outsider(&self, entry: &OutboxEntry) -> Option<PublicKey> {
        let (directory, mail) = (self.shared.directory(), &entry.mail);
        match directory.naming().is_ours(&mail.from) {
            true => None,
            false => directory.key_at(&mail.from, mail.accepted_at),
        }
    }

    /// Whether the recipient lives elsewhere by now, or has just moved. Its mail turns to its new home a part at a time: what
    /// is left here would seem to be all of its lane, and pass the part that went before.
    fn moves(&self, entry: &OutboxEntry) -> bool {
        let (directory, to) = (self.shared.directory(), &entry.mail.to);
        let Destination::Node(node) = self.destination else { return false };
        directory.arrivals().holds(to) || directory.has_left(node, to)
    }

    /// Takes the other side's verdicts in.
    pub(super) fn judged(&mut self, verdicts: Vec<(u64, Verdict)>, now: Duration) {
        let mut settled = Vec::new();
        let mut left = verdicts;
        for sender in &mut self.classes {
            let (its, others) = left.into_iter().partition(|(seq, _)| sender.awaits(*seq));
            settled.extend(sender.on_verdicts(its, now));
            left = others;
        }
        if settled.is_empty() {
            return;
        }
        let seqs: Vec<u64> = settled.iter().map(|(seq, _)| *seq).collect();
        let left: Vec<bool> = seqs.iter().map(|seq| self.leaving.remove(seq)).collect();
        let told = settled.into_iter().zip(left).map(|((seq, end), left)| (Seq(seq), told(end, left)));
        let settled: Vec<(Seq, Settled)> = told.collect();
        let (hallway, destination) = (self.shared.hallway.clone(), self.destination.clone());
        self.settling.push(Box::pin(async move { (seqs, hallway.settle(&destination, settled).await) }));
    }

    /// Waits for a settlement to become durable; for ever, when there is none. Safe to cancel.
    pub(super) async fn settled(&mut self) {
        let Some((seqs, outcome)) = self.settling.next().await else { return std::future::pending().await };
        match outcome {
            Ok(()) => self.forget(&seqs),
            Err(error) => {
                // They stay in the outbox and are sent, and judged as duplicates, over the next link.
                tracing::error!(%error, "verdicts could not be settled");
                self.broken = true;
            }
        }
    }

    /// Waits until everything that was judged is settled.
    pub(super) async fn drain(&mut self) {
        while let Some((seqs, _)) = self.settling.next().await {
            self.forget(&seqs);
        }
    }

    fn forget(&mut self, settled: &[u64]) {
        for sender in &mut self.classes {
            sender.settled(settled.iter().copied());
        }
    }
}

fn offer(entry: &OutboxEntry, kept_back: bool) -> Offer<LaneKey> {
    Offer {
        seq: entry.seq.0,
        lane: entry.lane.clone(),
        size: entry.mail.envelope.len() + entry.mail.payload.len(),
        kept_back,
    }
}

/// What the outbox is told; `left` the mesh: the gateway has it, which proves nothing of its recipient's host.
fn told(end: LinkSettled, left: bool) -> Settled {
    match end {
        LinkSettled::Delivered if left => Settled::Taken { remote_id: None },
        LinkSettled::Delivered => Settled::Delivered,
        LinkSettled::Refused { code } => {
            Settled::Refused { detail: format!("the recipient's host refused it: {code}"), code }
        }
    }
}
