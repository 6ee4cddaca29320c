//! What the agents, the owners and fate do in a simulation.

use super::super::keeper::Sign;
use super::super::membership::Membership;
use super::cast::{self, AGENTS};
use super::node::Tag;
use super::store::{Change, Crash, LONG, Letter};
use super::world::{Event, World};
use crate::agents::directory::Resolution;
use amesh_proto::node_id::NodeId;
use amesh_proto::ticket::{Ticket, Token};
use rand::Rng;
use std::time::Duration;

/// How much goes wrong: chances per second and pair, node, mesh or message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Faults {
    /// A connection ends, and each end notices in its own time.
    pub(super) cuts: f64,
    /// A packet, and a dial's first.
    pub(super) loss: f64,
    pub(super) crashes: f64,
    /// A process stands still, or a laptop sleeps.
    pub(super) freezes: f64,
    /// The mesh is in two for a while.
    pub(super) splits: f64,
    /// A wall clock is set, by minutes or by years.
    pub(super) clock_jumps: f64,
    /// An introducer removes a member for good.
    pub(super) removals: f64,
    /// An agent registers or changes its key.
    pub(super) changes: f64,
    pub(super) full_disks: f64,
    pub(super) poison: f64,
    pub(super) short_lives: f64,
    pub(super) slow_readers: bool,
}

impl Faults {
    pub(super) const NONE: Self = Self {
        cuts: 0.0,
        loss: 0.0,
        crashes: 0.0,
        freezes: 0.0,
        splits: 0.0,
        clock_jumps: 0.0,
        removals: 0.0,
        changes: 0.1,
        full_disks: 0.0,
        poison: 0.0,
        short_lives: 0.0,
        slow_readers: false,
    };
    pub(super) const ALL: Self = Self {
        cuts: 0.06,
        loss: 0.05,
        crashes: 0.04,
        freezes: 0.03,
        splits: 0.04,
        clock_jumps: 0.03,
        removals: 0.03,
        changes: 0.2,
        full_disks: 0.05,
        poison: 0.03,
        short_lives: 0.03,
        slow_readers: true,
    };
}

impl World {
    /// Agents send and trouble strikes for `busy`; then everything heals and is given `calm` to come to rest.
    pub(super) fn run(&mut self, busy: Duration, calm: Duration) {
        self.until(busy);
        self.calm = true;
        self.nodes.iter_mut().for_each(|node| node.store.full = false);
        self.until(busy + calm);
    }

    /// `agent` of `node` never reads its mail.
    pub(super) fn neglect(&mut self, node: usize, agent: usize) {
        self.neglected.insert((node, agent));
    }

    /// Nothing passes between `a` and `b` until `end`.
    pub(super) fn part(&mut self, a: usize, b: usize, end: Duration) {
        let now = self.now;
        self.shifted(|network| network.part(a, b, true, now));
        self.after(end - now, Event::Meet { a, b });
    }

    /// Nothing passes between `away` and the others for `lasts`.
    pub(super) fn split(&mut self, away: &[usize], lasts: Duration) {
        let now = self.now;
        self.shifted(|network| network.split(away, now));
        self.after(lasts, Event::Heal);
    }

    /// The owner of `by` lets `newcomer` in, with a ticket.
    pub(super) fn let_in(&mut self, by: usize, newcomer: usize) {
        let (now, wall) = (self.now, self.nodes[by].wall(self.now));
        let (id, host) = (cast::id_of(newcomer), cast::host_of(newcomer));
        // Every other one may let others in, and remove.
        let (grant, changed) =
            self.nodes[by].membership().admit(id, &host, newcomer.is_multiple_of(2), wall).unwrap();
        let ticket = Ticket {
            mesh: grant.mesh,
            inviter: cast::id_of(by),
            addresses: Vec::new(),
            token: Token([0; 24]),
            expires_at: wall,
        };
        let joined = Membership::joined(cast::key_of(newcomer).clone(), &host, &ticket, grant).unwrap();
        self.nodes[newcomer].begin(joined, now);
        self.nodes[by].apply(changed, None);
        self.settle_down(by);
        self.settle_down(newcomer);
    }

    /// The owner of `by` removes `gone`.
    pub(super) fn remove(&mut self, by: usize, gone: usize) {
        let (secret, wall) = (self.random.random(), self.nodes[by].wall(self.now));
        let removed = self.nodes[by].membership().remove(cast::id_of(gone), true, secret, wall).unwrap();
        self.nodes[by].apply(removed, None);
        self.settle_down(by);
    }

    /// Whether `node` was removed for good, as the founder knows. Nobody can remove the founder here.
    pub(super) fn is_removed(&self, node: usize) -> bool {
        self.nodes[0].parted.contains(&node)
    }

    pub(super) fn second(&mut self) {
        for node in 0..self.nodes.len() {
            self.agents_read(node);
            self.nodes[node].store.enqueue(Tag::Nobody, Change::Expire);
            self.start_commit(node);
            for other in node + 1..self.nodes.len() {
                if self.chance(self.faults.cuts) {
                    self.cut(node, other);
                }
            }
            let up = self.nodes[node].up && !self.frozen.contains(&node);
            if up && self.chance(self.faults.crashes) {
                self.crash(node, 5);
            } else if up && self.chance(self.faults.freezes) {
                let lasts = self.within(500, 40_000);
                let suspended = self.random.random_bool(0.5);
                self.freeze(node, lasts, suspended);
            }
            if self.chance(self.faults.full_disks) {
                self.nodes[node].store.full = true;
            } else if self.random.random_bool(0.3) {
                self.nodes[node].store.full = false;
            }
            if up && self.chance(self.faults.changes) {
                let agent = self.random.random_range(0..AGENTS);
                self.nodes[node].change_roster(agent);
                self.settle_down(node);
            }
            if self.chance(self.faults.clock_jumps) {
                // Not back by years: mail that is accepted while the clock is so far behind ends too early, and nothing
                // promises that it does not.
                let minutes = self.random.random_range(-10..=10) * 60_000;
                let days = if self.random.random_bool(0.5) { self.random.random_range(0..400) } else { 0 };
                self.nodes[node].wall_off = minutes + days * 24 * 3_600_000;
            }
        }
        self.mesh_troubles();
        self.after(Duration::from_secs(1), Event::Second);
    }

    fn mesh_troubles(&mut self) {
        if self.chance(self.faults.splits) {
            let away = (0..self.nodes.len()).filter(|_| self.random.random_bool(0.5)).collect::<Vec<_>>();
            let lasts = self.within(500, 45_000);
            self.split(&away, lasts);
        }
        let count = self.nodes.len();
        // Two stay, to tell of it; the founder is one of them.
        if self.nodes[0].parted.len() + 2 < count && self.chance(self.faults.removals) {
            let (by, gone) = (self.random.random_range(0..count), self.random.random_range(1..count));
            let able = self.nodes[by].up && !self.frozen.contains(&by) && !self.is_removed(by);
            let membership = self.nodes[by].membership();
            let entitled = membership.may_introduce() && membership.admits(&cast::id_of(gone));
            if able && entitled && by != gone && !self.is_removed(gone) {
                self.remove(by, gone);
            }
        }
    }

    fn agents_read(&mut self, node: usize) {
        for agent in 0..AGENTS {
            let reads = self.calm || !self.faults.slow_readers || self.random.random_bool(0.4);
            if !reads || self.neglected.contains(&(node, agent)) || !self.nodes[node].up {
                continue;
            }
            let times = self.nodes[node].times(self.now);
            let (calm, slow) = (self.calm, self.faults.slow_readers);
            let random = &mut self.random;
            let takes = |_: &u64| calm || !slow || random.random_bool(0.7);
            let ids = self.nodes[node].store.look(agent, times, takes);
            if !ids.is_empty() {
                self.nodes[node].store.enqueue(Tag::Nobody, Change::Acknowledge { agent, ids });
            }
        }
    }

    pub(super) fn agent_sends(&mut self, node: usize) {
        if self.calm {
            return;
        }
        let burst = if self.random.random_bool(0.1) { 25 } else { 1 };
        for _ in 0..burst {
            let to = (node + self.random.random_range(1..self.nodes.len())) % self.nodes.len();
            let agents = (self.random.random_range(0..AGENTS), self.random.random_range(0..AGENTS));
            let lane = ((node, agents.0), (to, agents.1), self.random.random_range(0..2));
            let short = self.chance(self.faults.short_lives);
            let life = if short { self.within(1, 3_000) } else { LONG };
            let id = self.letters.len() as u64;
            let (size, poison) = (self.random.random_range(10..=600), self.chance(self.faults.poison));
            let sender = &self.nodes[node];
            if !sender.up || !sender.own.contains_key(&agents.0) || !leads_to(self, node, lane.1) {
                continue;
            }
            let letter = Letter { id, lane, size, life, poison };
            self.letters.insert(id, letter.clone());
            self.sent_at.insert(id, self.now);
            self.nodes[node].store.enqueue(Tag::Nobody, Change::Accept(letter));
        }
        let pause = self.within(10, 400);
        self.after(pause, Event::AgentSends { node });
    }

    /// What is on its way is lost; each end finds out in its own time, perhaps after the next connection is made.
    fn cut(&mut self, a: usize, b: usize) {
        let all = self.network.connections.iter();
        let mut between: Vec<u64> = all
            .filter(|(_, known)| known.ends == [a, b] || known.ends == [b, a])
            .map(|(connection, _)| *connection)
            .collect();
        between.sort_unstable();
        for connection in between {
            for node in [a, b] {
                self.network.close(connection, node);
                let pause = self.within(0, 3_000);
                self.after(pause, Event::Closed { connection, node });
            }
        }
    }

    /// The power of `node` fails, for at most so many seconds.
    pub(super) fn crash(&mut self, node: usize, most_s: u64) {
        let crash = [Crash::Before, Crash::Between, Crash::After][self.random.random_range(0..3)];
        let now = self.now;
        self.nodes[node].crash(crash, now);
        self.network.crashed(node);
        self.shifted(|network| network.silence(node, true, now));
        let pause = self.within(1, most_s * 1000);
        self.after(pause, Event::Restart { node });
    }

    pub(super) fn restart(&mut self, node: usize) {
        let now = self.now;
        self.nodes[node].restart(now);
        self.start(node);
        // What the others still hold open is reset as soon as they use it.
        let all = self.network.connections.iter();
        let mut old: Vec<(u64, usize)> = all
            .filter(|(_, known)| known.ends.contains(&node))
            .map(|(connection, known)| (*connection, known.other(node)))
            .collect();
        old.sort_unstable();
        for (connection, other) in old {
            self.network.close(connection, node);
            let pause = self.within(0, 2_000);
            self.after(pause, Event::Closed { connection, node: other });
        }
        self.shifted(|network| network.silence(node, false, now));
        self.settle_down(node);
        self.announced(node);
    }

    pub(super) fn freeze(&mut self, node: usize, lasts: Duration, suspended: bool) {
        let now = self.now;
        self.frozen.insert(node);
        self.shifted(|network| network.silence(node, true, now));
        self.after(lasts, Event::Thaw { node, suspended: suspended.then_some(lasts) });
    }

    pub(super) fn thaw(&mut self, node: usize, suspended: Option<Duration>) {
        let now = self.now;
        self.nodes[node].slept += suspended.unwrap_or_default();
        self.shifted(|network| network.silence(node, false, now));
        self.resume(node);
    }

    /// The addresses of that machine changed, or a cable came back.
    pub(super) fn notices_its_interfaces(&mut self, node: usize) {
        let mono = self.nodes[node].mono(self.now);
        self.nodes[node].peers.values_mut().for_each(|peer| peer.keeper.sign(Sign::Interfaces, mono));
    }

    /// A node that starts is heard by those that can hear it.
    fn announced(&mut self, node: usize) {
        for other in 0..self.nodes.len() {
            let deaf = self.network.is_dark(node, other) || !self.nodes[other].up;
            if deaf || self.frozen.contains(&other) || self.random.random_bool(0.3) {
                continue;
            }
            let mono = self.nodes[other].mono(self.now);
            if let Some(peer) = self.nodes[other].peers.get_mut(&node) {
                peer.keeper.sign(Sign::Life, mono);
            }
        }
    }
}

/// Whether the directory of `node` knows the way to that agent.
fn leads_to(world: &World, node: usize, to: (usize, usize)) -> bool {
    let there: NodeId = cast::id_of(to.0);
    let found = world.nodes[node].directory.resolve(&cast::address_of(to));
    matches!(found, Resolution::Remote { node, .. } if node == there)
}
