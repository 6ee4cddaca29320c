//! A model of the store: what is on disk, what a crash forgets, and the durable check of lane numbers. It follows
//! `amesh_store`'s rules (`accept`, `lanes_in`), in memory and in virtual time.

use super::super::{Outcome, Settled};
use amesh_proto::wire::LaterReason;
use amesh_proto::wire::mail::LaneStamp;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

/// Sender and recipient, as (node, agent) each, and priority class.
pub(super) type Lane = ((usize, usize), (usize, usize), u8);

/// One message of the simulation.
#[derive(Debug, Clone)]
pub(super) struct Letter {
    pub(super) id: u64,
    pub(super) lane: Lane,
    pub(super) size: usize,
    pub(super) expires_at: Duration,
    /// The receiving hallway refuses it for good.
    pub(super) poison: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) seq: u64,
    pub(super) number: u64,
    pub(super) letter: Letter,
}

/// What survives a crash.
#[derive(Debug, Default)]
pub(super) struct Disk {
    next_seq: u64,
    numbers: HashMap<Lane, u64>,
    pub(super) outbox: HashMap<usize, BTreeMap<u64, Entry>>,
    lanes_in: HashMap<Lane, u64>,
    pub(super) seen: HashSet<u64>,
    mailboxes: HashMap<usize, usize>,
    /// Every commit to a mailbox, in order.
    pub(super) delivered: Vec<(Lane, u64, u64, Duration)>,
    /// Ids whose delivery this node believes in.
    pub(super) reported: HashSet<u64>,
    /// Ids that this node gave up or was refused.
    pub(super) failed: HashSet<u64>,
}

#[derive(Debug)]
pub(super) enum Change {
    /// An agent of this node sends.
    Accept(Letter),
    /// A link brings a message.
    Receive { letter: Letter, stamp: LaneStamp },
    /// Verdicts came.
    Settle { peer: usize, settled: Vec<(u64, Settled)> },
    /// An agent of this node reads and acknowledges all its mail.
    Empty { agent: usize },
    /// What is too old goes.
    Expire,
}

/// What a change came to.
#[derive(Debug)]
pub(super) enum Done {
    Accepted { to: usize, id: u64 },
    Received(Outcome),
    Settled { peer: usize, settled: Vec<(u64, Settled)> },
    Nothing,
}

/// One node's store.
#[derive(Debug)]
pub(super) struct Store<T> {
    pub(super) disk: Disk,
    queue: VecDeque<(T, Change)>,
    pub(super) full: bool,
}

impl<T> Default for Store<T> {
    fn default() -> Self {
        Self { disk: Disk::default(), queue: VecDeque::new(), full: false }
    }
}

impl<T> Store<T> {
    pub(super) fn enqueue(&mut self, tag: T, change: Change) {
        self.queue.push_back((tag, change));
    }

    /// One group commit of everything enqueued so far.
    pub(super) fn commit(&mut self, now: Duration) -> Vec<(T, Done)> {
        let group = std::mem::take(&mut self.queue);
        group.into_iter().map(|(tag, change)| (tag, self.disk.apply(change, self.full, now))).collect()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// Power fails: what was under way is forgotten, or had just become durable without anybody being told.
    pub(super) fn crash(&mut self, just_made_it: bool, now: Duration) {
        if just_made_it {
            self.commit(now);
        }
        self.queue.clear();
    }

    pub(super) fn outbox(&self, peer: usize, after: u64, limit: usize) -> Vec<(Entry, u64)> {
        let Some(outbox) = self.disk.outbox.get(&peer) else { return Vec::new() };
        let floor = |lane: &Lane| {
            outbox.values().filter(|entry| entry.letter.lane == *lane).map(|entry| entry.number).min()
        };
        let page = outbox.range(after + 1..).take(limit);
        page.map(|(_, entry)| (entry.clone(), floor(&entry.letter.lane).unwrap_or(entry.number))).collect()
    }
}

impl Disk {
    fn apply(&mut self, change: Change, full: bool, now: Duration) -> Done {
        match change {
            Change::Accept(letter) => self.accept(letter),
            Change::Receive { letter, stamp } => Done::Received(self.receive(letter, stamp, full, now)),
            Change::Settle { peer, settled } => {
                for (seq, end) in &settled {
                    let gone = self.outbox.entry(peer).or_default().remove(seq);
                    let Some(entry) = gone else { continue };
                    let ids = if *end == Settled::Delivered { &mut self.reported } else { &mut self.failed };
                    ids.insert(entry.letter.id);
                }
                Done::Settled { peer, settled }
            }
            Change::Empty { agent } => {
                self.mailboxes.remove(&agent);
                Done::Nothing
            }
            Change::Expire => {
                for outbox in self.outbox.values_mut() {
                    let old = outbox.extract_if(.., |_, entry| entry.letter.expires_at <= now);
                    self.failed.extend(old.map(|(_, entry)| entry.letter.id));
                }
                Done::Nothing
            }
        }
    }

    fn accept(&mut self, letter: Letter) -> Done {
        let number = self.numbers.entry(letter.lane).or_default();
        *number += 1;
        self.next_seq += 1;
        let (seq, to, id) = (self.next_seq, letter.lane.1.0, letter.id);
        self.outbox.entry(to).or_default().insert(seq, Entry { seq, number: *number, letter });
        Done::Accepted { to, id }
    }

    fn receive(&mut self, letter: Letter, stamp: LaneStamp, full: bool, now: Duration) -> Outcome {
        if letter.poison {
            return Outcome::Refused { code: "signature_invalid".into() };
        }
        if self.seen.contains(&letter.id) {
            return Outcome::Duplicate;
        }
        let last = self.lanes_in.get(&letter.lane).copied().unwrap_or(0);
        let expected = last.max(stamp.floor - 1) + 1;
        if stamp.number > expected {
            return Outcome::Later(LaterReason::LaneGap);
        }
        if full {
            return Outcome::Later(LaterReason::DiskFull);
        }
        let mailbox = self.mailboxes.entry(letter.lane.1.1).or_default();
        if *mailbox >= MAILBOX {
            return Outcome::Later(LaterReason::MailboxFull);
        }
        *mailbox += 1;
        if stamp.number == expected {
            self.lanes_in.insert(letter.lane, stamp.number);
        }
        self.seen.insert(letter.id);
        self.delivered.push((letter.lane, stamp.number, letter.id, now));
        Outcome::Committed
    }
}

const MAILBOX: usize = 30;
