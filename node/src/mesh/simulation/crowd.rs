//! Many nodes of a hundred agents: what one change of a roster costs each of them, and how soon all have it. The
//! neighbours, the tidings and the pulls are the real ones; what all nodes hold alike is in memory once. `AMESH_CROWD=1000`
//! measures so many as well; with `AMESH_PLOT=FILE` the plot of `docs/testing.md` is drawn.

use super::super::keeper::Keeper;
use super::super::link::{LinkReceiver, LinkSender};
use super::super::neighbours;
use super::super::roster::{self, PartOutcome, RosterSync, Verified};
use super::super::tidings::Tidings;
use super::plot::{self, Measure};
use amesh_proto::address::Address;
use amesh_proto::key::{AgentKey, KeyAlgorithm};
use amesh_proto::member::MeshId;
use amesh_proto::node_id::{NodeId, NodeKey};
use amesh_proto::roster::{RosterEntry, RosterHead};
use amesh_proto::time::UnixMillis;
use amesh_proto::wire::{Frame, RosterAdvert, RosterVersion};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// Agents of each node.
const AGENTS: usize = 100;
const MESH: MeshId = MeshId([1; 16]);

struct Citizen {
    id: NodeId,
    /// The version of the one roster that changes; of all others every node has the same.
    held: Arc<Verified>,
    tidings: Tidings,
    links: BTreeMap<usize, (RosterSync, u64)>,
    bytes: u64,
}

struct Crowd {
    citizens: Vec<Citizen>,
    random: StdRng,
    now: Duration,
    count: u64,
    queue: BinaryHeap<Reverse<(Duration, u64)>>,
    frames: HashMap<u64, (usize, usize, Frame)>,
}

/// The roster of the founder, of whose agents one has changed last.
fn roster(key: &NodeKey, version: u64) -> Arc<Verified> {
    let public = AgentKey::from_seed(&[9; 32]).public().to_spki_der().to_vec();
    let entry = |number| RosterEntry {
        address: Address::parse(&format!("agent{number:03}@default.aimaestro.local"), &[]).unwrap(),
        key_algorithm: KeyAlgorithm::Ed25519,
        public_key: public.clone(),
        alias: None,
        since: UnixMillis(0),
        changed: if number == 7 { version } else { 1 },
        previous_keys: Vec::new(),
        tombstone: None,
        home: None,
    };
    let entries: Vec<RosterEntry> = (0..AGENTS).map(entry).collect();
    Arc::new(Verified { head: RosterHead::sign(key, MESH, version, &entries), entries })
}

impl Crowd {
    fn of(size: usize) -> Self {
        let key = |number: usize| {
            let mut seed = [3; 32];
            seed[..8].copy_from_slice(&(number as u64).to_be_bytes());
            NodeKey::from_seed(&seed)
        };
        let ids: Vec<NodeId> = (0..size).map(|number| key(number).id()).collect();
        let index: HashMap<NodeId, usize> = ids.iter().enumerate().map(|(at, id)| (*id, at)).collect();
        let held = roster(&key(0), 1);
        let citizen = |id: &NodeId| {
            let near = neighbours::choose(id, ids.iter().copied(), |_| false);
            let links = near.iter().map(|peer| (index[peer], (RosterSync::new(MESH), 0))).collect();
            Citizen { id: *id, held: held.clone(), tidings: Tidings::default(), links, bytes: 0 }
        };
        let mut citizens: Vec<Citizen> = ids.iter().map(citizen).collect();
        let author = &mut citizens[0];
        author.held = roster(&key(0), 2);
        author.tidings.changed(author.id);
        let random = StdRng::seed_from_u64(size as u64);
        let (queue, frames) = (BinaryHeap::new(), HashMap::new());
        Self { citizens, random, now: Duration::ZERO, count: 0, queue, frames }
    }

    /// Tells every neighbour of `node` what it has not been told.
    fn tell(&mut self, node: usize) {
        let citizen = &mut self.citizens[node];
        let version = citizen.held.head.says.version;
        let mut adverts = Vec::new();
        for (peer, (_, told)) in &mut citizen.links {
            let news = citizen.tidings.since(*told).map(|node| RosterVersion { node: *node, version });
            adverts.push((*peer, RosterAdvert(news.collect())));
            *told = citizen.tidings.latest();
        }
        for (peer, advert) in adverts {
            self.send(node, peer, Frame::RosterAdvert(advert));
        }
    }

    fn send(&mut self, from: usize, to: usize, frame: Frame) {
        let bytes = frame.to_vec().unwrap().len() as u64;
        self.citizens[from].bytes += bytes;
        self.citizens[to].bytes += bytes;
        self.count += 1;
        let at = self.now + Duration::from_micros(self.random.random_range(1_000..60_000));
        self.queue.push(Reverse((at, self.count)));
        self.frames.insert(self.count, (from, to, frame));
    }

    /// Until nothing is on its way; gives when the last node had the change.
    fn run(&mut self) -> Duration {
        let mut last = Duration::ZERO;
        while let Some(Reverse((at, count))) = self.queue.pop() {
            self.now = at;
            let Some((from, to, frame)) = self.frames.remove(&count) else { continue };
            if self.arrives(from, to, frame) {
                last = at;
                self.tell(to);
            }
        }
        last
    }

    /// Whether the change came with it.
    fn arrives(&mut self, from: usize, to: usize, frame: Frame) -> bool {
        let (now, author) = (self.now, self.citizens[0].id);
        let citizen = &mut self.citizens[to];
        let (sync, _) = citizen.links.get_mut(&from).unwrap();
        let answers: Vec<Frame> = match frame {
            Frame::RosterAdvert(advert) => {
                let news = advert.0.into_iter().filter(|offered| offered.node == author && to != 0);
                let held = citizen.held.head.says.version;
                news.filter_map(|offered| sync.want(offered, held, now)).map(Frame::RosterPull).collect()
            }
            Frame::RosterPull(pull) => {
                let parts = roster::answer(pull, Some((*citizen.held).clone())).into_iter();
                parts.map(|part| Frame::RosterPart(Box::new(part))).collect()
            }
            Frame::RosterPart(part) => {
                let held = citizen.held.clone();
                match sync.on_part(*part, |_| Some((*held).clone()), now) {
                    PartOutcome::Install(verified) if verified.head.says.version > held.head.says.version => {
                        citizen.held = Arc::new(*verified);
                        citizen.tidings.changed(author);
                        return true;
                    }
                    _ => return false,
                }
            }
            other => panic!("{other:?}"),
        };
        for answer in answers {
            self.send(to, from, answer);
        }
        false
    }
}

fn measure(size: usize) -> Measure {
    let mut crowd = Crowd::of(size);
    crowd.tell(0);
    let reached = crowd.run();
    assert!(crowd.citizens.iter().all(|citizen| citizen.held.head.says.version == 2), "not all have it");
    let nodes = size as f64;
    let links = crowd.citizens.iter().map(|citizen| citizen.links.len()).sum::<usize>() as f64 / nodes;
    let bytes = crowd.citizens.iter().map(|citizen| citizen.bytes).sum::<u64>() as f64 / nodes;
    let link = size_of::<Keeper>()
        + size_of::<RosterSync>()
        + size_of::<LinkSender<[u8; 64]>>()
        + size_of::<LinkReceiver<[u8; 64], [u8; 512]>>();
    let book: usize = crowd.citizens[0].held.entries.iter().map(RosterEntry::weight).sum();
    let most = crowd.citizens.iter().map(|citizen| citizen.bytes).max().unwrap();
    let (link_memory, book_memory) = (links * link as f64, book as f64 * (nodes - 1.0));
    Measure { nodes: size, links, reached, bytes, most, link_memory, book_memory }
}

#[test]
fn a_change_of_a_roster_reaches_everybody_within_five_seconds_at_a_cost_that_is_flat() {
    let many: Option<usize> = std::env::var("AMESH_CROWD").ok().and_then(|nodes| nodes.parse().ok());
    let sizes = [10, 50, 200].into_iter().chain(many);
    let measures: Vec<Measure> = sizes.map(measure).collect();
    for measure in &measures {
        println!("{measure:?}");
        assert!(measure.reached <= Duration::from_secs(5), "{measure:?}");
        assert!(measure.most <= 50_000, "{measure:?}");
        assert!(measure.links <= 16.0, "{measure:?}");
    }
    let (fifty, largest) = (measures[1], measures[measures.len() - 1]);
    assert!(largest.bytes <= 1.5 * fifty.bytes, "{fifty:?}, {largest:?}");
    assert!(largest.link_memory <= 1.5 * fifty.link_memory, "{fifty:?}, {largest:?}");
    if let Ok(file) = std::env::var("AMESH_PLOT") {
        std::fs::write(file, plot::of(&measures)).unwrap();
    }
}
