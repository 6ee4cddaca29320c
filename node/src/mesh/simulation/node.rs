//! One simulated node: what it keeps over a restart, what it loses, and a shell around the real state machines that does
//! what the real shell does (`shared`, `changes`, `peer`), but for I/O: that is handed to the world as [`Effect`]s.

use super::super::keeper::Keeper;
use super::super::membership::{Changed, Membership};
use super::super::roster::Verified;
use super::cast;
use super::greeting::Opening;
use super::sabotage::Sabotage;
use super::session::Session;
use super::store::{Change, Crash, Engine, Store, Times};
use crate::agents::directory::{Directory, Member};
use amesh_proto::member::MeshState;
use amesh_proto::node_id::NodeId;
use amesh_proto::roster::{RosterEntry, RosterHead};
use amesh_proto::time::UnixMillis;
use amesh_proto::wire::Frame;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// To whom the outcome of a change is told.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tag {
    Nobody,
    /// The session over this connection, about the message that its sender calls `seq`.
    Link {
        peer: usize,
        connection: u64,
        seq: u64,
    },
    Settled {
        connection: u64,
    },
}

/// What the world is to do for a node.
#[derive(Debug)]
pub(super) enum Effect {
    /// In order, over this connection.
    Send {
        connection: u64,
        frames: Vec<Frame>,
    },
    Close {
        connection: u64,
    },
    Dial {
        peer: usize,
        round: u64,
    },
    /// Write the membership as it is now; then [`Node::saved`].
    Save {
        state: Box<MeshState>,
        changed: Box<Changed>,
        link: Option<u64>,
    },
    /// Write the roster; then [`Node::installed`].
    Install(Arc<Verified>),
    Wake {
        peer: usize,
        at: Duration,
    },
}

/// What is known of one member while the node is up.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) keeper: Keeper,
    /// Attempts under way, and a number that those before the last link do not have.
    pub(super) attempts: usize,
    pub(super) round: u64,
    pub(super) session: Option<Session>,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) index: usize,
    pub(super) id: NodeId,
    pub(super) random: StdRng,
    pub(super) sabotage: Option<Sabotage>,
    // What is on disk.
    pub(super) disk: Option<MeshState>,
    pub(super) store: Store<Tag>,
    /// By agent; and the version of the whole.
    pub(super) own: BTreeMap<usize, RosterEntry>,
    pub(super) own_version: u64,
    pub(super) rosters: BTreeMap<NodeId, Arc<Verified>>,
    // What a crash forgets.
    pub(super) up: bool,
    pub(super) boot: u64,
    pub(super) committing: bool,
    pub(super) membership: Option<Membership>,
    pub(super) directory: Directory,
    pub(super) peers: BTreeMap<usize, Peer>,
    pub(super) openings: BTreeMap<u64, Opening>,
    pub(super) effects: Vec<Effect>,
    // The clocks.
    /// How long it was suspended: its monotonic clock stood still.
    pub(super) slept: Duration,
    /// How far its wall clock is off, in milliseconds.
    pub(super) wall_off: i64,
    // For the checker.
    /// Ids whose sender was told that they are accepted.
    pub(super) acknowledged: HashSet<u64>,
    pub(super) violations: Vec<String>,
    /// Who is removed, as this node has had it on disk.
    pub(super) parted: BTreeSet<usize>,
}

impl Node {
    pub(super) fn on(index: usize, seed: u64, engine: Box<dyn Engine>, sabotage: Option<Sabotage>) -> Self {
        let id = cast::id_of(index);
        let mut random = StdRng::seed_from_u64(seed ^ (index as u64 + 1) << 56);
        Self {
            index,
            id,
            boot: random.random(),
            random,
            sabotage,
            disk: None,
            store: Store::on(engine),
            own: (0..2).map(|agent| (agent, cast::entry(index, agent, 1))).collect(),
            own_version: 1,
            rosters: BTreeMap::new(),
            up: true,
            committing: false,
            membership: None,
            directory: Directory::new(cast::naming(index), id),
            peers: BTreeMap::new(),
            openings: BTreeMap::new(),
            effects: Vec::new(),
            slept: Duration::ZERO,
            wall_off: 0,
            acknowledged: HashSet::new(),
            violations: Vec::new(),
            parted: BTreeSet::new(),
        }
    }

    pub(super) fn mono(&self, now: Duration) -> Duration {
        now - self.slept
    }

    pub(super) fn wall(&self, now: Duration) -> UnixMillis {
        let ms = i64::try_from(1_800_000_000_000 + now.as_millis()).unwrap() + self.wall_off;
        UnixMillis(u64::try_from(ms).unwrap())
    }

    pub(super) fn times(&self, now: Duration) -> Times {
        Times { now, mono: self.mono(now), wall: self.wall(now) }
    }

    pub(super) fn membership(&mut self) -> &mut Membership {
        self.membership.as_mut().unwrap()
    }

    /// Whether mail may flow to and from `peer`, as the shell asks.
    pub(super) fn admits(&self, peer: usize) -> bool {
        self.sabotage == Some(Sabotage::RemovedStays)
            || self.membership.as_ref().is_some_and(|membership| membership.admits(&cast::id_of(peer)))
    }

    /// It is in a mesh from now on; that is on disk.
    pub(super) fn begin(&mut self, membership: Membership, now: Duration) {
        self.disk = Some(membership.state());
        self.membership = Some(membership);
        self.settle_peers(now);
    }

    /// The power goes.
    pub(super) fn crash(&mut self, crash: Crash, now: Duration) {
        let times = self.times(now);
        self.store.crash(crash, times);
        self.peers.clear();
        self.openings.clear();
        self.effects.clear();
        self.up = false;
        self.committing = false;
    }

    pub(super) fn restart(&mut self, now: Duration) {
        self.up = true;
        self.boot = self.random.random();
        self.directory = Directory::new(cast::naming(self.index), self.id);
        let key = cast::key_of(self.index).clone();
        self.membership = self.disk.clone().map(|state| Membership::restore(key, state).unwrap());
        if self.membership.is_none() {
            return;
        }
        let gone: Vec<NodeId> =
            self.rosters.keys().copied().filter(|node| !self.admits(cast::index_of(node))).collect();
        for node in gone {
            self.rosters.remove(&node);
        }
        self.settle_peers(now);
        for peer in (0..cast::NODES).filter(|peer| *peer != self.index) {
            if !self.admits(peer) && self.store.waits(peer) {
                self.store.enqueue(Tag::Nobody, Change::Bounce { peer });
            }
        }
    }

    /// Makes a change of membership durable; what follows from it waits for that.
    pub(super) fn apply(&mut self, changed: Changed, link: Option<u64>) {
        if !changed.persist {
            if let Some(connection) = link {
                self.link_saved(connection);
            }
            return;
        }
        let state = Box::new(self.membership().state());
        self.effects.push(Effect::Save { state, changed: Box::new(changed), link });
    }

    pub(super) fn saved(&mut self, state: MeshState, changed: Changed, link: Option<u64>, now: Duration) {
        self.disk = Some(state);
        self.settle_peers(now);
        for frame in changed.tell {
            let frame = match frame {
                Frame::Members(_) => Frame::Members(self.membership().list().statements()),
                other => other,
            };
            for session in self.peers.values_mut().filter_map(|peer| peer.session.as_mut()) {
                session.out.push(frame.clone());
            }
        }
        if let Some(connection) = link {
            self.link_saved(connection);
        }
        if self.membership().list().renewer() == Some(self.id) {
            let (secret, wall) = (self.random.random(), self.wall(now));
            let renewed = self.membership().renew(secret, wall).unwrap_or_default();
            self.apply(renewed, None);
        }
    }

    fn settle_peers(&mut self, now: Duration) {
        let membership = self.membership.as_ref().unwrap();
        let list = membership.list().clone();
        let member = |member: &amesh_proto::member::Member| Member {
            node: member.node,
            host: member.host.clone(),
            order: member.order,
        };
        let me = membership.list().member(&self.id).map(member);
        let others: Vec<Member> =
            membership.others().filter(|other| membership.admits(&other.node)).map(member).collect();
        let wanted: BTreeSet<usize> = match me {
            Some(_) => others.iter().map(|member| cast::index_of(&member.node)).collect(),
            None => BTreeSet::new(),
        };
        if let Some(me) = me {
            self.directory.set_me(me);
        }
        if self.sabotage != Some(Sabotage::RemovedStays) {
            let gone: Vec<usize> = self.peers.keys().copied().filter(|peer| !wanted.contains(peer)).collect();
            for peer in gone {
                self.part_from(peer);
            }
        }
        self.parted = (0..cast::NODES).filter(|node| list.is_removed(&cast::id_of(*node))).collect();
        for member in others.into_iter().filter(|member| wanted.contains(&cast::index_of(&member.node))) {
            let (me, node) = (self.id, member.node);
            if self.directory.host_of(node).is_none() {
                let held = self.rosters.get(&node).map(|held| held.entries.clone()).unwrap_or_default();
                self.directory.install_roster(member, held);
            }
            let mono = self.mono(now);
            self.peers.entry(cast::index_of(&node)).or_insert_with(|| Peer {
                keeper: Keeper::new(&me, &node, mono),
                attempts: 0,
                round: 0,
                session: None,
            });
        }
    }

    /// Forgets a node that is a member no more, and bounces what waits for it.
    fn part_from(&mut self, peer: usize) {
        if let Some(Peer { session: Some(session), .. }) = self.peers.remove(&peer) {
            self.effects.push(Effect::Close { connection: session.connection });
        }
        self.rosters.remove(&cast::id_of(peer));
        self.directory.drop_roster(cast::id_of(peer));
        self.store.enqueue(Tag::Nobody, Change::Bounce { peer });
    }

    /// An agent registers, or changes; that is on disk.
    pub(super) fn change_roster(&mut self, agent: usize) {
        self.own_version += 1;
        self.own.insert(agent, cast::entry(self.index, agent, self.own_version));
        if agent == cast::BOB {
            let address = cast::address_of((self.index, agent)).to_string();
            let no = agent as u64 + 1;
            self.directory.put_local(crate::agents::tests::agent(no, &address, 100 + cast::byte(self.index)));
        }
        self.tell_rosters();
    }

    pub(super) fn own_roster(&self) -> Verified {
        let mut entries: Vec<RosterEntry> = self.own.values().cloned().collect();
        entries.sort_by(|a, b| a.address.cmp(&b.address));
        let mesh = self.membership.as_ref().unwrap().mesh();
        let head = RosterHead::sign(cast::key_of(self.index), mesh, self.own_version, &entries);
        Verified { head, entries }
    }

    /// A roster is on disk.
    pub(super) fn installed(&mut self, verified: &Arc<Verified>, now: Duration) {
        let (node, version) = (verified.head.says.node, verified.head.says.version);
        if self.rosters.get(&node).is_some_and(|held| held.head.says.version >= version) {
            return;
        }
        let list = self.membership.as_ref().unwrap().list();
        let Some(member) = list.member(&node) else { return };
        let member = Member { node, host: member.host.clone(), order: member.order };
        self.directory.install_roster(member, verified.entries.clone());
        self.rosters.insert(node, verified.clone());
        self.tell_rosters();
        self.roster_came(cast::index_of(&node), version, now);
    }

    /// Four times a second: pulses are felt, dials that are due are made, greetings that take too long are ended.
    pub(super) fn tick(&mut self, now: Duration) {
        let mono = self.mono(now);
        let late: Vec<u64> = self
            .openings
            .iter()
            .filter(|(_, one)| one.is_late(mono))
            .map(|(connection, _)| *connection)
            .collect();
        for connection in late {
            self.give_up(connection, false, now);
        }
        for (index, peer) in &mut self.peers {
            if let Some(session) = &peer.session {
                peer.keeper.beat(mono, session.packets, session.is_owed());
            }
            let waits = self.store.waits(*index);
            if peer.keeper.next_dial(mono, waits, peer.attempts) == Some(Duration::ZERO) {
                peer.keeper.dialing(mono, self.random.random());
                peer.attempts += 1;
                self.effects.push(Effect::Dial { peer: *index, round: peer.round });
            }
        }
    }

    pub(super) fn dial_failed(&mut self, peer: usize, round: u64) {
        let attempt = self.peers.get_mut(&peer).filter(|peer| peer.round == round);
        if let Some(peer) = attempt {
            peer.attempts = peer.attempts.saturating_sub(1);
        }
    }

    /// The peer does not want this node on the link that it took for open.
    pub(super) fn refused(&mut self, peer: usize, now: Duration) {
        let mono = self.mono(now);
        let Some(known) = self.peers.get_mut(&peer) else { return };
        if let Some(session) = known.session.take() {
            self.effects.push(Effect::Close { connection: session.connection });
        }
        known.keeper.lost(mono, self.random.random());
        known.keeper.unwanted(mono);
    }

    /// The connection is over as far as this end can tell.
    pub(super) fn closed(&mut self, connection: u64, now: Duration) {
        self.give_up(connection, false, now);
        let mono = self.mono(now);
        for peer in self.peers.values_mut() {
            if peer.session.as_ref().is_some_and(|session| session.connection == connection) {
                peer.session = None;
                peer.keeper.lost(mono, self.random.random());
            }
        }
    }
}
