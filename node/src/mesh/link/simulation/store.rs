//! What a simulated node keeps, what a crash forgets, and a model of `amesh_store` that follows its rules (`accept`,
//! `lanes_in`): the same simulation runs on the model and on the real thing ([`super::real`]).

use super::super::{Outcome, Settled};
use amesh_proto::wire::LaterReason;
use amesh_proto::wire::mail::LaneStamp;
use std::collections::{BTreeMap, HashMap, HashSet};
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

/// What an onlooker has seen happen: the ground truth for the checker.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Every commit to a mailbox, in order: lane, number, id, time.
    pub(super) delivered: Vec<(Lane, u64, u64, Duration)>,
    /// Ids that agents of this node read.
    pub(super) read: HashSet<u64>,
    /// Ids whose delivery this node believes in.
    pub(super) reported: HashSet<u64>,
    /// Ids that this node gave up or was refused.
    pub(super) failed: HashSet<u64>,
}

impl History {
    pub(super) fn has_delivered(&self, id: u64) -> bool {
        self.delivered.iter().any(|(_, _, known, _)| *known == id)
    }
}

/// How the power fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Crash {
    /// What was under way had not reached the disk.
    Before,
    /// It had just become durable, but nobody was told.
    After,
    /// It was written, but not synced.
    Between,
}

/// What a store is made of: the model in this file, or [`super::real`].
pub(super) trait Engine: std::fmt::Debug {
    /// One group commit. Gives one answer for each change.
    fn commit(&mut self, group: Vec<Change>, full: bool, now: Duration, history: &mut History) -> Vec<Done>;
    /// Loses what is not durable, and starts again.
    fn crash(&mut self, group: Vec<Change>, crash: Crash, now: Duration, history: &mut History);
    fn outbox(&self, peer: usize, after: u64, limit: usize) -> Vec<(Entry, u64)>;
}

/// The model of a disk.
#[derive(Debug, Default)]
pub(super) struct Disk {
    next_seq: u64,
    numbers: HashMap<Lane, u64>,
    outbox: HashMap<usize, BTreeMap<u64, Entry>>,
    lanes_in: HashMap<Lane, u64>,
    seen: HashSet<u64>,
    mailboxes: HashMap<usize, Vec<u64>>,
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

/// One node's store: changes wait in line, and are committed together.
#[derive(Debug)]
pub(super) struct Store<T> {
    engine: Box<dyn Engine>,
    pub(super) history: History,
    queue: Vec<(T, Change)>,
    pub(super) full: bool,
}

impl<T> Store<T> {
    pub(super) fn on(engine: Box<dyn Engine>) -> Self {
        Self { engine, history: History::default(), queue: Vec::new(), full: false }
    }

    pub(super) fn enqueue(&mut self, tag: T, change: Change) {
        self.queue.push((tag, change));
    }

    /// One group commit of everything enqueued so far.
    pub(super) fn commit(&mut self, now: Duration) -> Vec<(T, Done)> {
        let (tags, group): (Vec<T>, Vec<Change>) = std::mem::take(&mut self.queue).into_iter().unzip();
        let done = self.engine.commit(group, self.full, now, &mut self.history);
        assert_eq!(tags.len(), done.len());
        tags.into_iter().zip(done).collect()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn crash(&mut self, crash: Crash, now: Duration) {
        let group = std::mem::take(&mut self.queue).into_iter().map(|(_, change)| change).collect();
        self.engine.crash(group, crash, now, &mut self.history);
    }

    /// Entries and the floors of their lanes.
    pub(super) fn outbox(&self, peer: usize, after: u64, limit: usize) -> Vec<(Entry, u64)> {
        self.engine.outbox(peer, after, limit)
    }
}

impl Engine for Disk {
    fn commit(&mut self, group: Vec<Change>, full: bool, now: Duration, history: &mut History) -> Vec<Done> {
        group.into_iter().map(|change| self.apply(change, full, now, history)).collect()
    }

    fn crash(&mut self, group: Vec<Change>, crash: Crash, now: Duration, history: &mut History) {
        if crash == Crash::After {
            self.commit(group, false, now, history);
        }
    }

    fn outbox(&self, peer: usize, after: u64, limit: usize) -> Vec<(Entry, u64)> {
        let Some(outbox) = self.outbox.get(&peer) else { return Vec::new() };
        let floor = |lane: &Lane| {
            outbox.values().filter(|entry| entry.letter.lane == *lane).map(|entry| entry.number).min()
        };
        let page = outbox.range(after + 1..).take(limit);
        page.map(|(_, entry)| (entry.clone(), floor(&entry.letter.lane).unwrap_or(entry.number))).collect()
    }
}

impl Disk {
    fn apply(&mut self, change: Change, full: bool, now: Duration, history: &mut History) -> Done {
        match change {
            Change::Accept(letter) => self.accept(letter),
            Change::Receive { letter, stamp } => {
                Done::Received(self.receive(letter, stamp, full, now, history))
            }
            Change::Settle { peer, settled } => {
                for (seq, end) in &settled {
                    let gone = self.outbox.entry(peer).or_default().remove(seq);
                    let Some(entry) = gone else { continue };
                    let ids =
                        if *end == Settled::Delivered { &mut history.reported } else { &mut history.failed };
                    ids.insert(entry.letter.id);
                }
                Done::Settled { peer, settled }
            }
            Change::Empty { agent } => {
                for id in self.mailboxes.remove(&agent).unwrap_or_default() {
                    assert!(history.read.insert(id), "{id} was read twice");
                }
                Done::Nothing
            }
            Change::Expire => {
                for outbox in self.outbox.values_mut() {
                    let old = outbox.extract_if(.., |_, entry| entry.letter.expires_at <= now);
                    history.failed.extend(old.map(|(_, entry)| entry.letter.id));
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

    fn receive(
        &mut self,
        letter: Letter,
        stamp: LaneStamp,
        full: bool,
        now: Duration,
        history: &mut History,
    ) -> Outcome {
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
        if mailbox.len() >= MAILBOX {
            return Outcome::Later(LaterReason::MailboxFull);
        }
        mailbox.push(letter.id);
        if stamp.number == expected {
            self.lanes_in.insert(letter.lane, stamp.number);
        }
        self.seen.insert(letter.id);
        history.delivered.push((letter.lane, stamp.number, letter.id, now));
        Outcome::Committed
    }
}

/// Unread mail that a mailbox holds.
pub(super) const MAILBOX: usize = 30;
