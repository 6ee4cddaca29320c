//! The network, the clock, the agents and the trouble of a simulation.

use super::node::{Node, Tag};
use super::store::{Change, Crash, Disk, Done, Engine, Letter};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::time::Duration;

/// How much goes wrong: chances per second and pair, node or message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Faults {
    pub(super) cuts: f64,
    pub(super) crashes: f64,
    pub(super) full_disks: f64,
    pub(super) poison: f64,
    pub(super) short_lives: f64,
    pub(super) lost_rosters: f64,
    pub(super) slow_readers: bool,
}

impl Faults {
    pub(super) const NONE: Self = Self {
        cuts: 0.0,
        crashes: 0.0,
        full_disks: 0.0,
        poison: 0.0,
        short_lives: 0.0,
        lost_rosters: 0.0,
        slow_readers: false,
    };
    pub(super) const ALL: Self = Self {
        cuts: 0.15,
        crashes: 0.08,
        full_disks: 0.05,
        poison: 0.03,
        short_lives: 0.03,
        lost_rosters: 0.3,
        slow_readers: true,
    };
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// Once a second: trouble strikes, agents read.
    Second,
    AgentSends {
        node: usize,
    },
    Arrives {
        connection: u64,
        to: usize,
        bytes: Vec<u8>,
    },
    Committed {
        node: usize,
        boot: u64,
    },
    Connect {
        a: usize,
        b: usize,
    },
    /// One end finds out that the connection is gone.
    Notices {
        connection: u64,
        node: usize,
        peer: usize,
    },
    Restart {
        node: usize,
    },
    RosterCame {
        node: usize,
        peer: usize,
        version: u64,
    },
    Wake {
        node: usize,
        peer: usize,
    },
}

pub(super) struct World {
    random: StdRng,
    faults: Faults,
    calm: bool,
    pub(super) now: Duration,
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    count: u64,
    pub(super) nodes: Vec<Node>,
    boots: Vec<u64>,
    /// Living connections, and when the last bytes sent over each will arrive, by receiver.
    connections: HashMap<u64, HashMap<usize, Duration>>,
    /// The connection that a pair is to use.
    current: HashMap<(usize, usize), u64>,
    pub(super) letters: HashMap<u64, Letter>,
    pub(super) sent_at: HashMap<u64, Duration>,
    neglected: HashSet<(usize, usize)>,
    /// Pairs that cannot connect before a time.
    apart: HashMap<(usize, usize), Duration>,
}

impl World {
    /// On the model of the store.
    pub(super) fn new(seed: u64, nodes: usize, faults: Faults) -> Self {
        Self::on(seed, faults, (0..nodes).map(|_| Box::<Disk>::default() as Box<dyn Engine>).collect())
    }

    /// One node on each of `engines`.
    pub(super) fn on(seed: u64, faults: Faults, engines: Vec<Box<dyn Engine>>) -> Self {
        let nodes = engines.len();
        let mut world = Self {
            random: StdRng::seed_from_u64(seed),
            faults,
            calm: false,
            now: Duration::ZERO,
            events: BinaryHeap::new(),
            count: 0,
            nodes: engines.into_iter().map(Node::on).collect(),
            boots: vec![0; nodes],
            connections: HashMap::new(),
            current: HashMap::new(),
            letters: HashMap::new(),
            sent_at: HashMap::new(),
            neglected: HashSet::new(),
            apart: HashMap::new(),
        };
        for a in 0..nodes {
            for b in a + 1..nodes {
                world.after(Duration::ZERO, Event::Connect { a, b });
            }
            world.after(Duration::ZERO, Event::AgentSends { node: a });
        }
        world.after(Duration::from_secs(1), Event::Second);
        world
    }

    /// `agent` of `node` never reads its mail.
    pub(super) fn neglect(&mut self, node: usize, agent: usize) {
        self.neglected.insert((node, agent));
    }

    /// Nodes `a` and `b` cannot reach each other until `end`, from now on.
    pub(super) fn part(&mut self, a: usize, b: usize, end: Duration) {
        self.apart.insert((a, b), end);
        self.cut(a, b);
        self.after(end - self.now, Event::Connect { a, b });
    }

    /// Agents send and trouble strikes for `busy`; then everything heals and is given `calm` to come to rest.
    pub(super) fn run(&mut self, busy: Duration, calm: Duration) {
        self.until(busy);
        self.calm = true;
        for node in 0..self.nodes.len() {
            self.nodes[node].store.full = false;
        }
        self.until(busy + calm);
    }

    pub(super) fn until(&mut self, end: Duration) {
        while let Some(Reverse((at, _, _))) = self.events.peek() {
            if *at > end {
                break;
            }
            let Some(Reverse((at, _, event))) = self.events.pop() else { break };
            self.now = at;
            self.happen(event);
        }
        self.now = end;
    }

    fn after(&mut self, delay: Duration, event: Event) {
        self.count += 1;
        self.events.push(Reverse((self.now + delay, self.count, event)));
    }

    fn within(&mut self, from_ms: u64, to_ms: u64) -> Duration {
        Duration::from_micros(self.random.random_range(from_ms * 1000..=to_ms * 1000))
    }

    fn chance(&mut self, chance: f64) -> bool {
        !self.calm && self.random.random_bool(chance)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Second => self.second(),
            Event::AgentSends { node } => self.agent_sends(node),
            Event::Arrives { connection, to, bytes } => self.arrives(connection, to, &bytes),
            Event::Committed { node, boot } => self.committed(node, boot),
            Event::Connect { a, b } => self.connect(a, b),
            Event::Notices { connection, node, peer } => {
                let sessions = &mut self.nodes[node].sessions;
                if sessions.get(&peer).is_some_and(|session| session.connection == connection) {
                    sessions.remove(&peer);
                }
            }
            Event::Restart { node } => self.restart(node),
            Event::RosterCame { node, peer, version } => {
                let known = self.nodes[node].rosters.entry(peer).or_default();
                *known = version.max(*known);
                let now = self.now;
                if let Some(session) = self.nodes[node].sessions.get_mut(&peer) {
                    let actions = session.receiver.on_roster(version, now);
                    self.nodes[node].act(peer, actions);
                }
                self.settle_down(node, peer);
            }
            Event::Wake { node, peer } => {
                let now = self.now;
                if let Some(session) = self.nodes[node].sessions.get_mut(&peer) {
                    let actions = session.receiver.on_tick(now);
                    self.nodes[node].act(peer, actions);
                }
                self.settle_down(node, peer);
            }
        }
    }

    fn second(&mut self) {
        for a in 0..self.nodes.len() {
            for agent in 0..AGENTS {
                if !self.neglected.contains(&(a, agent))
                    && (self.calm || !self.faults.slow_readers || self.random.random_bool(0.4))
                {
                    self.nodes[a].store.enqueue(Tag::Nobody, Change::Empty { agent });
                }
            }
            self.nodes[a].store.enqueue(Tag::Nobody, Change::Expire);
            self.start_commit(a);
            for b in a + 1..self.nodes.len() {
                if self.chance(self.faults.cuts) {
                    self.cut(a, b);
                }
            }
            if self.chance(self.faults.crashes) && self.nodes[a].up {
                self.crash(a);
            }
            if self.chance(self.faults.full_disks) {
                self.nodes[a].store.full = true;
            } else if self.random.random_bool(0.3) {
                self.nodes[a].store.full = false;
            }
            if self.chance(0.2) {
                self.nodes[a].roster_version += 1;
            }
        }
        self.after(Duration::from_secs(1), Event::Second);
    }

    fn agent_sends(&mut self, node: usize) {
        if self.calm {
            return;
        }
        let burst = if self.random.random_bool(0.1) { 25 } else { 1 };
        for _ in 0..burst {
            let to = (node + self.random.random_range(1..self.nodes.len())) % self.nodes.len();
            let id = self.letters.len() as u64;
            let lane = (
                (node, self.random.random_range(0..AGENTS)),
                (to, self.random.random_range(0..AGENTS)),
                self.random.random_range(0..2),
            );
            let short = self.chance(self.faults.short_lives);
            let life = if short { self.within(1, 3_000) } else { Duration::from_secs(100_000) };
            let letter = Letter {
                id,
                lane,
                size: self.random.random_range(10..=600),
                expires_at: self.now + life,
                poison: self.chance(self.faults.poison),
            };
            self.letters.insert(id, letter.clone());
            self.sent_at.insert(id, self.now);
            if self.nodes[node].up {
                self.nodes[node].store.enqueue(Tag::Nobody, Change::Accept(letter));
            }
        }
        self.start_commit(node);
        let pause = self.within(10, 400);
        self.after(pause, Event::AgentSends { node });
    }

    fn start_commit(&mut self, node: usize) {
        let machine = &mut self.nodes[node];
        if machine.up && !machine.committing && !machine.store.is_idle() {
            machine.committing = true;
            let boot = self.boots[node];
            let slow = self.random.random_bool(0.02);
            let pause = if slow { self.within(100, 900) } else { self.within(1, 8) };
            self.after(pause, Event::Committed { node, boot });
        }
    }

    fn committed(&mut self, node: usize, boot: u64) {
        if boot != self.boots[node] || !self.nodes[node].up {
            return;
        }
        let now = self.now;
        let machine = &mut self.nodes[node];
        machine.committing = false;
        for (tag, done) in machine.store.commit(now) {
            match (tag, done) {
                (_, Done::Accepted { to, id }) => {
                    machine.acknowledged.insert(id);
                    if let Some(session) = machine.sessions.get_mut(&to) {
                        session.sender.more();
                    }
                }
                (Tag::Link { peer, connection, seq }, Done::Received(outcome)) => {
                    machine.judged(peer, connection, seq, outcome);
                }
                (Tag::Settled { connection }, Done::Settled { peer, settled }) => {
                    machine.settled(peer, connection, &settled);
                }
                _ => {}
            }
        }
        for peer in 0..self.nodes.len() {
            self.settle_down(node, peer);
        }
    }

    fn arrives(&mut self, connection: u64, to: usize, bytes: &[u8]) {
        if !self.connections.contains_key(&connection) {
            return;
        }
        let sessions = self.nodes[to].sessions.iter();
        let from =
            sessions.filter(|(_, session)| session.connection == connection).map(|(peer, _)| *peer).next();
        let Some(from) = from else { return };
        let now = self.now;
        self.nodes[to].receive(from, bytes, &self.letters, now);
        self.settle_down(to, from);
    }

    /// After anything that happened to a session: start commits, send what can be sent, set the alarm.
    fn settle_down(&mut self, node: usize, peer: usize) {
        let now = self.now;
        self.start_commit(node);
        let bytes = self.nodes[node].pump(peer, now);
        let Some(session) = self.nodes[node].sessions.get_mut(&peer) else { return };
        let connection = session.connection;
        let wake = [session.sender.next_wake(), session.receiver.next_wake()].into_iter().flatten().min();
        let pull = session.roster_pull.take();
        if let Some(version) = pull
            && !self.chance(self.faults.lost_rosters)
        {
            let pause = self.within(1, 60);
            let version = version.max(self.nodes[peer].roster_version);
            self.after(pause, Event::RosterCame { node, peer, version });
        }
        if let Some(wake) = wake {
            self.after(wake.saturating_sub(now).max(Duration::from_millis(1)), Event::Wake { node, peer });
        }
        self.transmit(connection, peer, bytes);
    }

    /// In order, in two portions, after a delay of their own each.
    fn transmit(&mut self, connection: u64, to: usize, mut bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let rest = bytes.split_off(self.random.random_range(0..=bytes.len()));
        for portion in [bytes, rest] {
            let arrives = self.now + self.within(1, 30);
            let Some(last) = self.connections.get_mut(&connection) else { return };
            let at = last.get(&to).copied().unwrap_or_default().max(arrives);
            last.insert(to, at);
            self.after(at - self.now, Event::Arrives { connection, to, bytes: portion });
        }
    }

    fn connect(&mut self, a: usize, b: usize) {
        let apart = self.apart.get(&(a, b)).is_some_and(|end| *end > self.now);
        if apart || !self.nodes[a].up || !self.nodes[b].up || self.current.contains_key(&(a, b)) {
            return;
        }
        self.count += 1;
        let connection = self.count;
        self.connections.insert(connection, HashMap::new());
        self.current.insert((a, b), connection);
        for (node, peer) in [(a, b), (b, a)] {
            self.nodes[node].link_up(peer, connection);
            self.settle_down(node, peer);
        }
    }

    /// What is on its way is lost; each end finds out in its own time, perhaps after the next connection is made.
    fn cut(&mut self, a: usize, b: usize) {
        let Some(connection) = self.current.remove(&(a, b)) else { return };
        self.connections.remove(&connection);
        for (node, peer) in [(a, b), (b, a)] {
            let pause = self.within(0, 3_000);
            self.after(pause, Event::Notices { connection, node, peer });
        }
        let pause = self.within(1, 5_000);
        self.after(pause, Event::Connect { a, b });
    }

    fn crash(&mut self, node: usize) {
        let crash = [Crash::Before, Crash::Between, Crash::After][self.random.random_range(0..3)];
        let now = self.now;
        self.nodes[node].crash(crash, now);
        self.boots[node] += 1;
        for other in 0..self.nodes.len() {
            self.cut(node.min(other), node.max(other));
        }
        let pause = self.within(1, 5_000);
        self.after(pause, Event::Restart { node });
    }

    fn restart(&mut self, node: usize) {
        self.nodes[node].up = true;
        for other in (0..self.nodes.len()).filter(|other| *other != node) {
            let pause = self.within(1, 500);
            self.after(pause, Event::Connect { a: node.min(other), b: node.max(other) });
        }
    }
}

/// On each node.
pub(super) const AGENTS: usize = 3;
