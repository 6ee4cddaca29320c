//! The swarm's task: built when there is a mesh with other members, built anew in another mesh, polled without ever
//! waiting for anybody else. Run by the node through [`super::Swarm`].

mod events;

use super::address::{circuit, node_of, peer_of, quic};
use super::behaviour::{self, Behaviour};
use super::book::Book;
use super::{LINK, Path, Swarm};
use crate::finder::{Event, State};
use amesh_proto::node_id::NodeId;
use futures_util::StreamExt;
use libp2p::core::transport::ListenerId;
use libp2p::swarm::ConnectionId;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::compat::FuturesAsyncReadCompatExt;
use tokio_util::sync::CancellationToken;

/// Runs swarm after swarm until `stop` is raised.
pub(super) async fn run(outer: &Swarm, sink: mpsc::Sender<Event>, stop: CancellationToken) {
    let mut pause = FIRST_PAUSE;
    let mut port = outer.config.listen.port();
    while !stop.is_cancelled() {
        let told = outer.told();
        let mesh = told.announcement.as_ref().and_then(|own| Some((own.mesh_hash?, own.node_id, own.port)));
        let Some((mesh, own, mesh_port)) = mesh.filter(|_| !told.members.is_empty()) else {
            stop.run_until_cancelled(outer.changed.notified()).await;
            continue;
        };
        let name: String = mesh.iter().map(|byte| format!("{byte:02x}")).collect();
        let listen = SocketAddr::new(outer.config.listen.ip(), port);
        let built = behaviour::swarm(&outer.config, &told.members, &name, mesh_port).and_then(|mut swarm| {
            swarm.listen_on(quic(listen)).map_err(|error| error.to_string())?;
            if listen.ip() == Ipv4Addr::UNSPECIFIED {
                // Both families, where the machine has both.
                let other = quic(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
                swarm.listen_on(other).map_err(|error| tracing::debug!(%error, "IPv4 only")).ok();
            }
            Ok(swarm)
        });
        let failed = match built {
            Ok(swarm) => {
                let mut runner = Runner::new(outer, swarm, own, mesh, sink.clone());
                let failed = runner.run(&stop).await;
                // The same port again, which others may know by now.
                port = runner.port.unwrap_or(port);
                runner.close().await;
                failed
            }
            Err(why) => Some(why),
        };
        let Some(why) = failed else {
            pause = FIRST_PAUSE;
            continue;
        };
        if outer.view().state == State::Running || pause == FIRST_PAUSE {
            tracing::warn!(why, listen = %outer.config.listen, "the swarm does not listen; it is tried again");
        }
        outer.view().state = State::Failing(why);
        stop.run_until_cancelled(tokio::time::sleep(pause)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    outer.view().state = State::Idle;
}

struct Runner<'a> {
    outer: &'a Swarm,
    swarm: libp2p::Swarm<Behaviour>,
    book: Book,
    mesh: [u8; 8],
    lines: HashMap<ConnectionId, Line>,
    /// Places at members where others can reach this node through them.
    places: BTreeMap<NodeId, ListenerId>,
    /// Not asked for a place again before.
    place_at: BTreeMap<NodeId, Duration>,
    /// Since when nobody is sought.
    quiet_since: Option<Duration>,
    looked_at: Option<Duration>,
    listeners: Vec<Multiaddr>,
    port: Option<u16>,
    sink: mpsc::Sender<Event>,
    /// News that the manager has had no room for yet.
    unsaid: VecDeque<Event>,
    begun: Instant,
}

/// One connection.
struct Line {
    node: NodeId,
    at: Multiaddr,
    dialed: bool,
    path: Path,
    since: Duration,
}

impl<'a> Runner<'a> {
    fn new(
        outer: &'a Swarm,
        swarm: libp2p::Swarm<Behaviour>,
        own: NodeId,
        mesh: [u8; 8],
        sink: mpsc::Sender<Event>,
    ) -> Self {
        Self {
            outer,
            swarm,
            book: Book::new(own),
            mesh,
            lines: HashMap::new(),
            places: BTreeMap::new(),
            place_at: BTreeMap::new(),
            quiet_since: None,
            looked_at: None,
            listeners: Vec::new(),
            port: None,
            sink,
            unsaid: VecDeque::new(),
            begun: Instant::now(),
        }
    }

    /// Until told to stop, or another mesh is to be served (nothing returned), or it can listen no more (why).
    async fn run(&mut self, stop: &CancellationToken) -> Option<String> {
        let mut control = self.swarm.behaviour().streams.new_control();
        let mut guests = match control.accept(LINK) {
            Ok(guests) => guests,
            Err(error) => return Some(error.to_string()),
        };
        self.outer.view().streams = Some(control);
        if !self.follow() {
            return None;
        }
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return None,
                () = self.outer.changed.notified() => {
                    if !self.follow() {
                        return None;
                    }
                }
                event = self.swarm.select_next_some() => {
                    if let Some(why) = self.on_event(event) {
                        return Some(why);
                    }
                }
                Some((peer, stream)) = guests.next() => {
                    if let Some(node) = node_of(&peer)
                        && self.outer.guests.try_send((node, Box::new(stream.compat()))).is_err()
                    {
                        tracing::debug!(%node, "a stream found nobody to take it");
                    }
                }
                _ = beat.tick() => self.beat(),
            }
        }
    }

    /// Says goodbye to everybody.
    async fn close(mut self) {
        *self.outer.view() = super::View::default();
        self.outer.listening.send_replace(Vec::new());
        let peers: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            let _gone_already = self.swarm.disconnect_peer_id(peer).is_err();
        }
        let gone = async {
            while self.swarm.connected_peers().next().is_some() {
                self.swarm.select_next_some().await;
            }
        };
        if tokio::time::timeout(FAREWELL, gone).await.is_err() {
            tracing::debug!("some of the swarm's connections did not close in time");
        }
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Does what the mesh wants; `false` when it is another mesh by now, or one without other members.
    fn follow(&mut self) -> bool {
        let told = self.outer.told();
        let mesh = told.announcement.as_ref().and_then(|own| own.mesh_hash);
        if mesh != Some(self.mesh) || told.members.is_empty() {
            return false;
        }
        let (new, gone) = self.book.follow(&told.members, &told.wanted);
        for peer in new.iter().filter_map(peer_of) {
            self.swarm.behaviour_mut().members.allow_peer(peer);
        }
        for peer in gone.iter().filter_map(peer_of) {
            self.swarm.behaviour_mut().members.disallow_peer(peer);
            self.swarm.behaviour_mut().kad.remove_peer(&peer);
        }
        for node in &gone {
            self.leave_place(node);
        }
        for (node, addresses) in &told.met {
            self.book.met(node, addresses);
        }
        // Asked for every member that is off, too: those must not keep the others from pausing.
        if told.look_again && self.looked_at.is_none_or(|at| self.now() > at + LOOKING) {
            self.looked_at = Some(self.now());
            self.book.sign_of_life();
        }
        self.dial();
        true
    }

    fn beat(&mut self) {
        self.say_on();
        self.prefer_direct();
        self.keep_places();
        self.dial();
    }

    fn dial(&mut self) {
        let now = self.now();
        for node in self.book.due(now) {
            let Some(peer) = peer_of(&node) else { continue };
            let mut addresses: Vec<Multiaddr> =
                self.book.addresses(&node).iter().copied().map(quic).collect();
            addresses.extend(self.ways_around(&node, peer));
            let options = DialOpts::peer_id(peer)
                .condition(PeerCondition::DisconnectedAndNotDialing)
                .addresses(addresses)
                .extend_addresses_through_behaviour()
                .build();
            if let Err(error) = self.swarm.dial(options) {
                tracing::debug!(%node, %error, "the swarm has no way to it");
                self.not_reached(&node);
            }
        }
    }

    /// Through every anchor that is connected without help.
    fn ways_around(&self, node: &NodeId, peer: PeerId) -> Vec<Multiaddr> {
        let relays = self.book.relays().into_iter().filter(|relay| relay != node);
        relays
            .filter_map(|relay| Some(circuit(self.line_to(&relay)?, peer_of(&relay)?, Some(peer))))
            .collect()
    }

    /// The far end of a connection to `node` that needs no help.
    fn line_to(&self, node: &NodeId) -> Option<Multiaddr> {
        let direct = |line: &&Line| line.node == *node && line.path == Path::Direct;
        self.lines.values().find(direct).map(|line| line.at.clone())
    }

    /// Asks the anchors for a place where others find this node, while somebody is sought; gives it up a while later.
    fn keep_places(&mut self) {
        let now = self.now();
        let relays = self.book.relays();
        if self.book.anchors().is_empty() {
            let since = *self.quiet_since.get_or_insert(now);
            if now > since + QUIET {
                let places: Vec<NodeId> = self.places.keys().copied().collect();
                places.iter().for_each(|node| self.leave_place(node));
            }
            return;
        }
        self.quiet_since = None;
        for relay in relays {
            let due = self.place_at.get(&relay).is_none_or(|at| *at <= now);
            if self.places.contains_key(&relay) || !due {
                continue;
            }
            self.place_at.insert(relay, now + PLACE_PAUSE);
            let (Some(at), Some(peer)) = (self.line_to(&relay), peer_of(&relay)) else { continue };
            match self.swarm.listen_on(circuit(at, peer, None)) {
                Ok(listener) => drop(self.places.insert(relay, listener)),
                Err(error) => tracing::debug!(%relay, %error, "no place asked for"),
            }
        }
    }

    fn leave_place(&mut self, node: &NodeId) {
        if let Some(listener) = self.places.remove(node) {
            self.swarm.remove_listener(listener);
        }
        self.place_at.remove(node);
    }

    /// Closes what goes through others where there is a way without them.
    fn prefer_direct(&mut self) {
        let now = self.now();
        let settled = |line: &Line| line.path == Path::Direct && now > line.since + SETTLING;
        let spare = |line: &Line| {
            line.path != Path::Direct
                && self.lines.values().any(|other| other.node == line.node && settled(other))
        };
        let spare: Vec<ConnectionId> =
            self.lines.iter().filter(|(_, line)| spare(line)).map(|(id, _)| *id).collect();
        for connection in spare {
            self.swarm.close_connection(connection);
        }
    }
}

const BEAT: Duration = Duration::from_millis(500);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// For connections to be closed in good order.
const FAREWELL: Duration = Duration::from_millis(300);
/// A place is given up when nobody was sought for so long.
const QUIET: Duration = Duration::from_secs(60);
/// Between two requests for a place with the same member.
const PLACE_PAUSE: Duration = Duration::from_secs(5);
/// What a direct way gets before it alone is used.
const SETTLING: Duration = Duration::from_secs(2);
/// Between two occasions on which everybody is tried again because somebody is looked for.
const LOOKING: Duration = Duration::from_secs(30);
const MAX_ADDRESSES: usize = 8;
const UNSAID: usize = 1024;
