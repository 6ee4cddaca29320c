//! The clock of a simulation and everything that happens at a time: the one place where nodes and network meet.

use super::super::membership::{Changed, Membership};
use super::super::roster::Verified;
use super::cast;
use super::network::{IDLE, Network, Portion, Shift};
use super::node::{Effect, Node, Tag};
use super::sabotage::Sabotage;
use super::store::{Change, Disk, Done, Engine, Letter};
pub(super) use super::trouble::Faults;
use amesh_proto::member::{MeshId, MeshState};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug)]
pub(super) enum Event {
    /// Once a second: trouble strikes, agents read.
    Second,
    AgentSends {
        node: usize,
    },
    /// Four times a second, on a node that is up.
    Tick {
        node: usize,
        boot: u64,
    },
    Dials {
        node: usize,
        boot: u64,
        peer: usize,
        round: u64,
        tries: u32,
    },
    Arrives {
        connection: u64,
        portion: Portion,
    },
    /// One end learns that the connection is over.
    Closed {
        connection: u64,
        node: usize,
    },
    /// Nothing has passed for long, unless it has.
    Idle {
        connection: u64,
        since: Duration,
    },
    Committed {
        node: usize,
        boot: u64,
    },
    Saved {
        node: usize,
        boot: u64,
        state: Box<MeshState>,
        changed: Box<Changed>,
        link: Option<u64>,
    },
    Installed {
        node: usize,
        boot: u64,
        roster: Arc<Verified>,
    },
    Wake {
        node: usize,
        boot: u64,
        peer: usize,
    },
    Restart {
        node: usize,
    },
    Thaw {
        node: usize,
        suspended: Option<Duration>,
    },
    Heal,
    Meet {
        a: usize,
        b: usize,
    },
}

#[derive(Debug)]
struct Due {
    at: Duration,
    count: u64,
    event: Event,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) random: StdRng,
    pub(super) faults: Faults,
    pub(super) calm: bool,
    pub(super) now: Duration,
    events: BinaryHeap<Due>,
    count: u64,
    pub(super) network: Network,
    pub(super) nodes: Vec<Node>,
    pub(super) letters: HashMap<u64, Letter>,
    pub(super) sent_at: HashMap<u64, Duration>,
    pub(super) neglected: HashSet<(usize, usize)>,
    /// When the last write of each node's membership ends.
    saving: HashMap<usize, Duration>,
    pub(super) frozen: HashSet<usize>,
    /// What a frozen node will find when it goes on.
    missed: Vec<(usize, Event)>,
}

impl World {
    /// On the model of the store.
    pub(super) fn new(seed: u64, nodes: usize, faults: Faults) -> Self {
        Self::sabotaged(seed, nodes, faults, None)
    }

    /// The same, with one rule turned off in every node.
    pub(super) fn sabotaged(seed: u64, nodes: usize, faults: Faults, sabotage: Option<Sabotage>) -> Self {
        let disk = |_| Box::new(Disk::sabotaged(sabotage)) as Box<dyn Engine>;
        Self::on(seed, faults, (0..nodes).map(disk).collect(), sabotage)
    }

    /// One node on each of `engines`, all in the mesh that the first has founded.
    pub(super) fn on(
        seed: u64,
        faults: Faults,
        engines: Vec<Box<dyn Engine>>,
        sabotage: Option<Sabotage>,
    ) -> Self {
        let engines = engines.into_iter().enumerate();
        let mut world = Self {
            random: StdRng::seed_from_u64(seed),
            faults,
            calm: false,
            now: Duration::ZERO,
            events: BinaryHeap::new(),
            count: 0,
            network: Network::default(),
            nodes: engines.map(|(index, engine)| Node::on(index, seed, engine, sabotage)).collect(),
            letters: HashMap::new(),
            sent_at: HashMap::new(),
            neglected: HashSet::new(),
            saving: HashMap::new(),
            frozen: HashSet::new(),
            missed: Vec::new(),
        };
        let (key, wall) = (cast::key_of(0).clone(), world.nodes[0].wall(Duration::ZERO));
        let founder = Membership::found(key, &cast::host_of(0), MeshId([1; 16]), world.random.random(), wall);
        world.nodes[0].begin(founder, Duration::ZERO);
        for node in 0..world.nodes.len() {
            if node > 0 {
                world.let_in(0, node);
            }
            world.nodes[node].store.enqueue(Tag::Nobody, Change::Expire);
            world.start(node);
            world.start_commit(node);
            world.after(Duration::ZERO, Event::AgentSends { node });
        }
        world.after(Duration::from_secs(1), Event::Second);
        world
    }

    pub(super) fn start(&mut self, node: usize) {
        let boot = self.nodes[node].boot;
        let pause = self.within(0, 250);
        self.after(pause, Event::Tick { node, boot });
    }

    pub(super) fn until(&mut self, end: Duration) {
        while self.events.peek().is_some_and(|due| due.at <= end) {
            let Some(Due { at, event, .. }) = self.events.pop() else { break };
            self.now = at;
            self.happen(event);
        }
        self.now = end;
    }

    pub(super) fn after(&mut self, delay: Duration, event: Event) {
        self.count += 1;
        self.events.push(Due { at: self.now + delay, count: self.count, event });
    }

    pub(super) fn within(&mut self, from_ms: u64, to_ms: u64) -> Duration {
        Duration::from_micros(self.random.random_range(from_ms * 1000..=to_ms * 1000))
    }

    pub(super) fn chance(&mut self, chance: f64) -> bool {
        !self.calm && self.random.random_bool(chance)
    }

    fn happen(&mut self, event: Event) {
        if let Some(node) = event.node().filter(|node| self.frozen.contains(node)) {
            return self.missed.push((node, event));
        }
        if let Some((node, boot)) = event.life()
            && (self.nodes[node].boot != boot || !self.nodes[node].up)
        {
            return;
        }
        let now = self.now;
        let touched = event.node();
        match event {
            Event::Second => self.second(),
            Event::AgentSends { node } => self.agent_sends(node),
            Event::Tick { node, boot } => {
                self.nodes[node].tick(now);
                self.after(Duration::from_millis(250), Event::Tick { node, boot });
            }
            Event::Dials { node, boot, peer, round, tries } => self.dials(node, boot, peer, round, tries),
            Event::Arrives { connection, portion } => {
                let to = portion.to;
                if let Some(bytes) = self.network.arrives(connection, portion) {
                    self.arrives(connection, to, &bytes);
                }
            }
            Event::Closed { connection, node } => {
                self.network.close(connection, node);
                if self.nodes[node].up {
                    self.nodes[node].closed(connection, now);
                }
            }
            Event::Idle { connection, since } => self.idle(connection, since),
            Event::Committed { node, .. } => self.committed(node),
            Event::Saved { node, state, changed, link, .. } => {
                self.nodes[node].saved(*state, *changed, link, now);
                if let Some(connection) = link {
                    self.nodes[node].adopt_if_picked(connection, now);
                }
            }
            Event::Installed { node, roster, .. } => self.nodes[node].installed(&roster, now),
            Event::Wake { node, peer, .. } => self.nodes[node].wake(peer, now),
            Event::Restart { node } => self.restart(node),
            Event::Thaw { node, suspended } => self.thaw(node, suspended),
            Event::Heal => self.shifted(|network| network.split(&[], now)),
            Event::Meet { a, b } => self.shifted(|network| network.part(a, b, false, now)),
        }
        if let Some(node) = touched {
            self.settle_down(node);
        }
    }

    fn dials(&mut self, node: usize, boot: u64, peer: usize, round: u64, tries: u32) {
        let now = self.now;
        if self.nodes[node].peers.get(&peer).is_none_or(|known| known.round != round) {
            return;
        }
        let reached = !self.network.is_dark(node, peer) && !self.chance(self.faults.loss);
        if reached && self.nodes[peer].up {
            self.count += 1;
            let connection = self.count;
            self.network.open(connection, node, peer);
            self.nodes[peer].opened(connection, node, None, now);
            self.settle_down(peer);
            self.nodes[node].opened(connection, peer, Some(round), now);
        } else if tries < 2 {
            // TLS retransmits by itself until the dialer's patience is over.
            let pause = Duration::from_secs(1 << tries);
            self.after(pause, Event::Dials { node, boot, peer, round, tries: tries + 1 });
        } else {
            self.nodes[node].dial_failed(peer, round);
        }
    }

    fn arrives(&mut self, connection: u64, to: usize, bytes: &[u8]) {
        let now = self.now;
        let node = &mut self.nodes[to];
        if let Some(peer) = node.linked_over(connection) {
            return node.receive(peer, bytes, &self.letters, now);
        }
        node.greeted(connection, bytes, now);
        // What came behind the greeting.
        if let Some(peer) = node.linked_over(connection) {
            node.receive(peer, &[], &self.letters, now);
        }
    }

    fn idle(&mut self, connection: u64, since: Duration) {
        if !self.network.is_idle(connection, since) {
            return;
        }
        let Some(known) = self.network.connections.get(&connection) else { return };
        for node in known.ends.into_iter().filter(|node| known.is_open(*node)).collect::<Vec<_>>() {
            let pause = self.within(0, 1_000);
            self.after(pause, Event::Closed { connection, node });
        }
    }

    fn committed(&mut self, index: usize) {
        let times = self.nodes[index].times(self.now);
        let node = &mut self.nodes[index];
        node.committing = false;
        for (tag, done) in node.store.commit(times) {
            match (tag, done) {
                (_, Done::Accepted { to, id }) => {
                    node.acknowledged.insert(id);
                    node.mail_waits(to);
                }
                (Tag::Link { peer, connection, seq }, Done::Received(outcome)) => {
                    node.judged(peer, connection, seq, outcome);
                }
                (Tag::Settled { connection }, Done::Settled { peer, settled }) => {
                    node.settled(peer, connection, &settled);
                }
                _ => {}
            }
        }
    }

    /// After anything that happened to a node: commits begin, and what it wants done is done.
    pub(super) fn settle_down(&mut self, node: usize) {
        let now = self.now;
        if self.nodes[node].up && !self.frozen.contains(&node) {
            self.nodes[node].pump(now);
        }
        let boot = self.nodes[node].boot;
        for effect in std::mem::take(&mut self.nodes[node].effects) {
            match effect {
                Effect::Send { connection, frames } => {
                    let mut bytes = Vec::new();
                    frames.iter().for_each(|frame| frame.encode(&mut bytes).unwrap());
                    self.transmit(connection, node, bytes);
                }
                Effect::Close { connection } => self.close(connection, node),
                Effect::Dial { peer, round } => {
                    let pause = self.within(2, 60);
                    self.after(pause, Event::Dials { node, boot, peer, round, tries: 0 });
                }
                Effect::Save { state, changed, link } => {
                    let earliest = self.saving.get(&node).copied().unwrap_or_default();
                    let end = earliest.max(now + self.within(1, 20));
                    self.saving.insert(node, end);
                    self.after(end - now, Event::Saved { node, boot, state, changed, link });
                }
                Effect::Install(roster) => {
                    let pause = self.within(1, 10);
                    self.after(pause, Event::Installed { node, boot, roster });
                }
                Effect::Wake { peer, at } => self.after(at - now, Event::Wake { node, boot, peer }),
            }
        }
        self.start_commit(node);
    }

    pub(super) fn start_commit(&mut self, node: usize) {
        let machine = &mut self.nodes[node];
        if machine.up && !machine.committing && !machine.store.is_idle() {
            machine.committing = true;
            let boot = machine.boot;
            let slow = self.random.random_bool(0.02);
            let pause = if slow { self.within(100, 900) } else { self.within(1, 8) };
            self.after(pause, Event::Committed { node, boot });
        }
    }

    /// In order, in two portions, after a delay of their own each.
    fn transmit(&mut self, connection: u64, from: usize, mut bytes: Vec<u8>) {
        let Some(known) = self.network.connections.get(&connection) else { return };
        let to = known.other(from);
        let rest = bytes.split_off(self.random.random_range(0..=bytes.len()));
        for portion in [bytes, rest].into_iter().filter(|portion| !portion.is_empty()) {
            let lost = self.chance(self.faults.loss);
            let delay = if lost { self.within(200, 700) } else { self.within(1, 30) };
            if let Some((at, portion)) = self.network.send(connection, to, portion, self.now, delay) {
                self.after(at - self.now, Event::Arrives { connection, portion });
            }
        }
    }

    fn close(&mut self, connection: u64, node: usize) {
        let Some(other) = self.network.connections.get(&connection).map(|known| known.other(node)) else {
            return;
        };
        if self.network.close(connection, node) && !self.network.is_dark(node, other) {
            // Behind everything that was sent before.
            let pause = self.within(1, 30);
            if let Some((at, _)) = self.network.send(connection, other, Vec::new(), self.now, pause) {
                self.after(at - self.now, Event::Closed { connection, node: other });
            }
        }
    }

    /// Changes who hears whom, and what follows from it.
    pub(super) fn shifted(&mut self, change: impl FnOnce(&mut Network) -> Shift) {
        let Shift { dark, lit } = change(&mut self.network);
        let since = self.now;
        for connection in dark {
            self.after(IDLE, Event::Idle { connection, since });
        }
        for (connection, dark_for, held) in lit {
            // Probes grow rarer the longer nothing passes.
            let most = u64::try_from(dark_for.as_millis()).unwrap().clamp(1, 30_000);
            let delay = self.within(0, most);
            for portion in held {
                if let Some((at, portion)) = self.network.forward(connection, portion, self.now, delay) {
                    self.after(at - self.now, Event::Arrives { connection, portion });
                }
            }
        }
    }

    pub(super) fn resume(&mut self, node: usize) {
        self.frozen.remove(&node);
        let (missed, others) = std::mem::take(&mut self.missed).into_iter().partition(|(of, _)| *of == node);
        self.missed = others;
        for (_, event) in missed {
            self.after(Duration::ZERO, event);
        }
    }
}

impl Event {
    /// Whom it happens to, where that is one node.
    fn node(&self) -> Option<usize> {
        match self {
            Self::AgentSends { node }
            | Self::Tick { node, .. }
            | Self::Dials { node, .. }
            | Self::Arrives { portion: Portion { to: node, .. }, .. }
            | Self::Closed { node, .. }
            | Self::Committed { node, .. }
            | Self::Saved { node, .. }
            | Self::Installed { node, .. }
            | Self::Wake { node, .. } => Some(*node),
            _ => None,
        }
    }

    /// The run of a node that it belongs to: after a crash it means nothing.
    fn life(&self) -> Option<(usize, u64)> {
        match self {
            Self::Tick { node, boot }
            | Self::Dials { node, boot, .. }
            | Self::Committed { node, boot }
            | Self::Saved { node, boot, .. }
            | Self::Installed { node, boot, .. }
            | Self::Wake { node, boot, .. } => Some((*node, *boot)),
            _ => None,
        }
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        // The earliest first.
        (other.at, other.count).cmp(&(self.at, self.count))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Due {}
