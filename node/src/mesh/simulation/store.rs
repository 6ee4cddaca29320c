//! What a simulated node keeps, what a crash forgets, and a model of `amesh_store` that follows its rules (`accept`,
//! `lanes_in`): the same simulation runs on the model and on the real thing ([`super::real`]).

use super::super::link::{Outcome, Settled};
use super::sabotage::Sabotage;
use amesh_proto::time::UnixMillis;
use amesh_proto::wire::LaterReason;
use amesh_proto::wire::mail::LaneStamp;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

/// Sender and recipient, as (node, agent) each, and priority class.
pub(super) type Lane = ((usize, usize), (usize, usize), u8);

/// One message of the simulation.
#[derive(Debug, Clone)]
pub(super) struct Letter {
    pub(super) id: u64,
    pub(super) lane: Lane,
    pub(super) size: usize,
    /// How long it may live; the nodes count it by their own clocks.
    pub(super) life: Duration,
    /// The receiving hallway refuses it for good.
    pub(super) poison: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) seq: u64,
    pub(super) number: u64,
    pub(super) letter: Letter,
    pub(super) expires_at: UnixMillis,
}

/// A node's clocks beside the world's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) now: Duration,
    pub(super) mono: Duration,
    pub(super) wall: UnixMillis,
}

impl Letter {
    /// Whether it may be gone before it is read.
    pub(super) fn is_short_lived(&self) -> bool {
        self.life < LONG
    }
}

/// Longer than any history.
pub(super) const LONG: Duration = Duration::from_secs(100_000);

/// What an onlooker has seen happen: the ground truth for the checker.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Every commit to a mailbox, in order: lane, number, id, time.
    pub(super) delivered: Vec<(Lane, u64, u64, Duration)>,
    pub(super) delivered_ids: HashSet<u64>,
    /// In a mailbox, and not acknowledged, by agent: each look must show them (DESIGN §1.3).
    pub(super) unread: HashMap<usize, BTreeSet<u64>>,
    /// Acknowledged for certain: no look may show them again.
    pub(super) gone: HashSet<u64>,
    /// What was seen that must not be.
    pub(super) violations: Vec<String>,
    /// Ids that agents of this node read.
    pub(super) read: HashSet<u64>,
    /// Ids whose delivery this node believes in.
    pub(super) reported: HashSet<u64>,
    /// Ids that this node gave up or was refused.
    pub(super) failed: HashSet<u64>,
}

impl History {
    pub(super) fn deliver(&mut self, letter: &Letter, number: u64, now: Duration) {
        if !self.delivered_ids.insert(letter.id) {
            self.violations.push(format!("{} is twice in its mailbox", letter.id));
        }
        self.delivered.push((letter.lane, number, letter.id, now));
        if !letter.is_short_lived() {
            self.unread.entry(letter.lane.1.1).or_default().insert(letter.id);
        }
    }

    /// An agent looks at its mailbox and sees `shown`.
    fn look(&mut self, agent: usize, shown: &[u64]) {
        let seen: HashSet<u64> = shown.iter().copied().collect();
        for id in self.unread.entry(agent).or_default().iter().filter(|id| !seen.contains(id)) {
            self.violations.push(format!("{id} is in the mailbox no more, and nobody acknowledged it"));
        }
        for id in seen.intersection(&self.gone) {
            self.violations.push(format!("{id} was acknowledged and is there again"));
        }
        self.read.extend(seen);
    }

    /// What the agent acknowledges may be gone from now on, and must be once that is on disk.
    fn acknowledging(&mut self, agent: usize, ids: &[u64]) {
        let unread = self.unread.entry(agent).or_default();
        ids.iter().for_each(|id| {
            unread.remove(id);
        });
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
    fn commit(&mut self, group: Vec<Change>, full: bool, times: Times, history: &mut History) -> Vec<Done>;
    /// Loses what is not durable, and starts again.
    fn crash(&mut self, group: Vec<Change>, crash: Crash, times: Times, history: &mut History);
    /// What is in the mailbox of an agent.
    fn pending(&mut self, agent: usize, times: Times, history: &mut History) -> Vec<u64>;
    /// Whether mail waits for `peer`.
    fn waits(&self, peer: usize) -> bool;
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
    clock: Clock,
    sabotage: Option<Sabotage>,
}

/// As the store judges its clock: after a jump nothing expires for an hour (DESIGN §5).
#[derive(Debug, Default)]
struct Clock {
    last: Option<(Duration, UnixMillis)>,
    unsteady_until: Duration,
}

impl Clock {
    fn is_steady(&mut self, Times { mono, wall, .. }: Times) -> bool {
        if let Some((then, before)) = self.last.replace((mono, wall)) {
            let expected = before.plus(mono.saturating_sub(then));
            if wall.0.abs_diff(expected.0) > 3_600_000 {
                self.unsteady_until = mono + Duration::from_secs(3600);
            }
        }
        self.unsteady_until <= mono
    }
}

#[derive(Debug)]
pub(super) enum Change {
    /// An agent of this node sends.
    Accept(Letter),
    /// A link brings a message.
    Receive { letter: Letter, stamp: LaneStamp },
    /// Verdicts came.
    Settle { peer: usize, settled: Vec<(u64, Settled)> },
    /// An agent of this node acknowledges what it read.
    Acknowledge { agent: usize, ids: Vec<u64> },
    /// The peer is a member no more: what waits for it has failed.
    Bounce { peer: usize },
    /// What is too old goes.
    Expire,
}

/// What a change came to.
#[derive(Debug)]
pub(super) enum Done {
    Accepted { to: usize, id: u64 },
    Received(Outcome),
    Settled { peer: usize, settled: Vec<(u64, Settled)> },
    Acknowledged { ids: Vec<u64> },
    Watched { steady: bool },
    Nothing,
}

/// One node's store: changes wait in line, and are committed together.
#[derive(Debug)]
pub(super) struct Store<T> {
    engine: Box<dyn Engine>,
    pub(super) history: History,
    queue: Vec<(T, Change)>,
    pub(super) full: bool,
    /// Whether the clock was steady when it was last looked at.
    steady: bool,
}

impl<T> Store<T> {
    pub(super) fn on(engine: Box<dyn Engine>) -> Self {
        Self { engine, history: History::default(), queue: Vec::new(), full: false, steady: true }
    }

    pub(super) fn enqueue(&mut self, tag: T, change: Change) {
        self.queue.push((tag, change));
    }

    /// One group commit of everything enqueued so far.
    pub(super) fn commit(&mut self, times: Times) -> Vec<(T, Done)> {
        let (tags, group): (Vec<T>, Vec<Change>) = std::mem::take(&mut self.queue).into_iter().unzip();
        let done = self.engine.commit(group, self.full, times, &mut self.history);
        assert_eq!(tags.len(), done.len());
        for done in &done {
            match done {
                Done::Acknowledged { ids } => self.history.gone.extend(ids),
                Done::Watched { steady } => self.steady = *steady,
                _ => {}
            }
        }
        tags.into_iter().zip(done).collect()
    }

    /// An agent looks at its mailbox, and acknowledges what `takes` says, in its own time.
    pub(super) fn look(&mut self, agent: usize, times: Times, takes: impl FnMut(&u64) -> bool) -> Vec<u64> {
        let mut shown = self.engine.pending(agent, times, &mut self.history);
        self.history.look(agent, &shown);
        shown.retain(takes);
        self.history.acknowledging(agent, &shown);
        shown
    }

    /// Whether mail waits for `peer`.
    pub(super) fn waits(&self, peer: usize) -> bool {
        self.engine.waits(peer)
    }

    /// Whether it is too old to be sent, as far as this node can tell.
    pub(super) fn has_expired(&self, entry: &Entry, times: Times) -> bool {
        self.steady && entry.expires_at <= times.wall
    }

    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn crash(&mut self, crash: Crash, times: Times) {
        let group = std::mem::take(&mut self.queue).into_iter().map(|(_, change)| change).collect();
        self.engine.crash(group, crash, times, &mut self.history);
    }

    /// Entries and the floors of their lanes.
    pub(super) fn outbox(&self, peer: usize, after: u64, limit: usize) -> Vec<(Entry, u64)> {
        self.engine.outbox(peer, after, limit)
    }
}

impl Engine for Disk {
    fn commit(&mut self, group: Vec<Change>, full: bool, times: Times, history: &mut History) -> Vec<Done> {
        group.into_iter().map(|change| self.apply(change, full, times, history)).collect()
    }

    fn crash(&mut self, group: Vec<Change>, crash: Crash, times: Times, history: &mut History) {
        if crash == Crash::After {
            self.commit(group, false, times, history);
        }
    }

    fn pending(&mut self, agent: usize, _: Times, _: &mut History) -> Vec<u64> {
        if self.sabotage == Some(Sabotage::ReadIsGone) {
            return self.mailboxes.remove(&agent).unwrap_or_default();
        }
        self.mailboxes.get(&agent).cloned().unwrap_or_default()
    }

    fn waits(&self, peer: usize) -> bool {
        self.outbox.get(&peer).is_some_and(|outbox| !outbox.is_empty())
    }

    fn outbox(&self, peer: usize, after: u64, limit: usize) -> Vec<(Entry, u64)> {
        let Some(outbox) = self.outbox.get(&peer) else { return Vec::new() };
        let mut page: Vec<(Entry, u64)> =
            outbox.range(after + 1..).take(limit).map(|(_, entry)| (entry.clone(), 0)).collect();
        if page.is_empty() {
            return page;
        }
        let mut floors: HashMap<Lane, u64> = HashMap::new();
        for entry in outbox.values() {
            floors.entry(entry.letter.lane).or_insert(entry.number);
        }
        page.iter_mut().for_each(|(entry, floor)| *floor = floors[&entry.letter.lane]);
        page
    }
}

impl Disk {
    pub(super) fn sabotaged(sabotage: Option<Sabotage>) -> Self {
        Self { sabotage, ..Self::default() }
    }

    fn apply(&mut self, change: Change, full: bool, times: Times, history: &mut History) -> Done {
        match change {
            Change::Accept(letter) => self.accept(letter, times),
            Change::Receive { letter, stamp } => {
                Done::Received(self.receive(letter, stamp, full, times.now, history))
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
            Change::Acknowledge { agent, ids } => {
                self.mailboxes.entry(agent).or_default().retain(|id| !ids.contains(id));
                Done::Acknowledged { ids }
            }
            Change::Bounce { peer } => {
                let gone = self.outbox.remove(&peer).unwrap_or_default();
                history.failed.extend(gone.values().map(|entry| entry.letter.id));
                Done::Nothing
            }
            Change::Expire => {
                let steady = self.clock.is_steady(times);
                for outbox in self.outbox.values_mut().filter(|_| steady) {
                    let old = outbox.extract_if(.., |_, entry| entry.expires_at <= times.wall);
                    history.failed.extend(old.map(|(_, entry)| entry.letter.id));
                }
                Done::Watched { steady }
            }
        }
    }

    fn accept(&mut self, letter: Letter, times: Times) -> Done {
        let number = self.numbers.entry(letter.lane).or_default();
        *number += 1;
        self.next_seq += 1;
        let (seq, to, id) = (self.next_seq, letter.lane.1.0, letter.id);
        let expires_at = times.wall.plus(letter.life);
        let entry = Entry { seq, number: *number, letter, expires_at };
        self.outbox.entry(to).or_default().insert(seq, entry);
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
        if self.seen.contains(&letter.id) && self.sabotage != Some(Sabotage::NoDedupe) {
            return Outcome::Duplicate;
        }
        let last = self.lanes_in.get(&letter.lane).copied().unwrap_or(0);
        let expected = last.max(stamp.floor - 1) + 1;
        if stamp.number > expected && self.sabotage != Some(Sabotage::LanesIgnored) {
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
        if stamp.number >= expected {
            self.lanes_in.insert(letter.lane, stamp.number);
        }
        self.seen.insert(letter.id);
        history.deliver(&letter, stamp.number, now);
        Outcome::Committed
    }
}

/// Unread mail that a mailbox holds.
pub(super) const MAILBOX: usize = 30;
