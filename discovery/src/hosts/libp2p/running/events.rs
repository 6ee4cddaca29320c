//! What happens to the swarm, taken in: where it listens, who comes and goes, what members say of themselves and of others.
//! Called by [`super`], which polls.

use super::{Line, MAX_ADDRESSES, Runner, UNSAID};
use crate::finder::{Candidate, Event, Source, State};
use crate::hosts::libp2p::Path;
use crate::hosts::libp2p::address::{is_circuit, is_usable, node_of, peer_of, relay_of, socket};
use crate::hosts::libp2p::behaviour::{Agent, BehaviourEvent};
use amesh_proto::node_id::NodeId;
use libp2p::core::ConnectedPoint;
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, PeerId, autonat, dcutr, identify, kad};
use std::net::SocketAddr;
use tokio::sync::mpsc;

impl Runner<'_> {
    /// Takes in what happened; says why if this swarm can go on no more.
    pub(super) fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) -> Option<String> {
        match event {
            SwarmEvent::NewListenAddr { address, .. } => self.listens(address, true),
            SwarmEvent::ExpiredListenAddr { address, .. } => self.listens(address, false),
            SwarmEvent::ListenerClosed { listener_id, reason, .. } => {
                let place = self.places.iter().find(|(_, id)| **id == listener_id).map(|(node, _)| *node);
                match (place, reason) {
                    (Some(node), reason) => {
                        tracing::debug!(relay = %node, ?reason, "no place with it any more");
                        self.places.remove(&node);
                    }
                    (None, Err(error)) => return Some(error.to_string()),
                    (None, Ok(())) => {}
                }
            }
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.connected(connection_id, peer_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { connection_id, .. } => self.disconnected(connection_id),
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), error, .. } => {
                if let Some(node) = node_of(&peer) {
                    tracing::debug!(%node, %error, "the swarm does not reach it");
                    self.not_reached(&node);
                }
            }
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
                peer_id,
                connection_id,
                info,
            })) => self.identified(peer_id, connection_id, &info),
            SwarmEvent::Behaviour(BehaviourEvent::Kad(kad::Event::OutboundQueryProgressed {
                result: kad::QueryResult::GetClosestPeers(Ok(found)),
                ..
            })) => self.heard_of(found.peers),
            SwarmEvent::Behaviour(BehaviourEvent::Punch(dcutr::Event { remote_peer_id, result })) => {
                tracing::debug!(peer = %remote_peer_id, ok = result.is_ok(), "tried to get through to it");
            }
            SwarmEvent::Behaviour(BehaviourEvent::Reachability(autonat::Event::StatusChanged {
                new,
                ..
            })) => {
                tracing::info!(status = ?new, "other members tried to reach this node's swarm");
            }
            _ => {}
        }
        None
    }

    fn listens(&mut self, address: Multiaddr, now: bool) {
        if is_circuit(&address) {
            // Known to the others by identify; whoever looks for this node may try again.
            self.book.sign_of_life();
            return;
        }
        self.listeners.retain(|known| *known != address);
        // One that listens on loopback only is there for this machine only.
        let loopback = self.outer.config.share_loopback || self.outer.config.listen.ip().is_loopback();
        let usable = is_usable(&address, loopback);
        if now {
            self.port = self.port.or_else(|| socket(&address).map(|socket| socket.port()));
            self.outer.view().state = State::Running;
            self.listeners.push(address.clone());
        }
        match (now, usable) {
            // What a relay tells those that wait at it; members alone get to see it.
            (true, true) => self.swarm.add_external_address(address),
            (false, _) => self.swarm.remove_external_address(&address),
            (true, false) => {}
        }
        let usable = self.listeners.iter().filter(|address| is_usable(address, loopback)).filter_map(socket);
        self.outer.listening.send_replace(usable.take(MAX_ADDRESSES).collect());
    }

    fn connected(&mut self, id: ConnectionId, peer: PeerId, ends: &ConnectedPoint) {
        let Some(node) = node_of(&peer) else { return };
        let at = ends.get_remote_address().clone();
        // Whoever was dialled knows the way from its own end.
        let way = if let ConnectedPoint::Listener { local_addr, .. } = ends { local_addr } else { &at };
        let via = relay_of(way).and_then(|relay| node_of(&relay));
        let path = via.map_or(Path::Direct, |via| Path::Relayed { via });
        tracing::debug!(%node, ?path, "the swarm is connected");
        let (dialed, since) = (ends.is_dialer(), self.now());
        self.lines.insert(id, Line { node, at, dialed, path, since });
        self.book.connected(&node);
        self.show_path(&node);
    }

    fn disconnected(&mut self, id: ConnectionId) {
        let Some(line) = self.lines.remove(&id) else { return };
        self.show_path(&line.node);
        if self.lines.values().all(|other| other.node != line.node) {
            let now = self.now();
            self.book.disconnected(&line.node, now);
            self.say(Event::Lost { node: line.node, source: Source::Libp2p });
        }
    }

    fn show_path(&self, node: &NodeId) {
        let best = self.lines.values().filter(|line| line.node == *node).map(|line| line.path).min();
        let mut view = self.outer.view();
        match best {
            Some(path) => drop(view.paths.insert(*node, path)),
            None => drop(view.paths.remove(node)),
        }
    }

    pub(super) fn not_reached(&mut self, node: &NodeId) {
        let now = self.now();
        self.book.dial_failed(node, now);
        // The others may know more; the next attempt has what they say.
        if self.book.is_missing(node)
            && let Some(peer) = peer_of(node)
        {
            self.swarm.behaviour_mut().kad.get_closest_peers(peer);
        }
    }

    /// A member says where it listens: its swarm, and by the port it names its mesh port.
    fn identified(&mut self, peer: PeerId, connection: ConnectionId, info: &identify::Info) {
        let Some(node) = node_of(&peer) else { return };
        let loopback = self.outer.config.share_loopback;
        let usable = info.listen_addrs.iter().filter(|address| is_usable(address, loopback));
        let listens: Vec<Multiaddr> = usable.take(MAX_ADDRESSES).cloned().collect();
        for address in &listens {
            self.swarm.behaviour_mut().kad.add_address(&peer, address.clone());
        }
        let Ok(Agent { port, .. }) = info.agent_version.parse() else { return };
        let dialed = self.lines.get(&connection).filter(|line| line.dialed).and_then(|line| socket(&line.at));
        let ips = dialed.into_iter().chain(listens.iter().filter_map(socket)).map(|socket| socket.ip());
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for address in ips.map(|ip| SocketAddr::new(ip, port)) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        self.say(Event::Found(Candidate {
            node: Some(node),
            addresses,
            source: Source::Libp2p,
            label: None,
            mesh_hint: Some(self.mesh),
            expires_in: None,
        }));
    }

    /// Others say where members are.
    fn heard_of(&mut self, peers: Vec<kad::PeerInfo>) {
        let loopback = self.outer.config.share_loopback;
        for kad::PeerInfo { peer_id, addrs } in peers {
            if node_of(&peer_id).is_some_and(|node| self.book.is_missing(&node)) {
                for address in addrs.into_iter().filter(|at| is_usable(at, loopback)).take(MAX_ADDRESSES) {
                    self.swarm.behaviour_mut().kad.add_address(&peer_id, address);
                }
            }
        }
    }

    fn say(&mut self, event: Event) {
        if self.unsaid.len() < UNSAID {
            self.unsaid.push_back(event);
        }
        self.say_on();
    }

    pub(super) fn say_on(&mut self) {
        while let Some(event) = self.unsaid.pop_front() {
            if let Err(mpsc::error::TrySendError::Full(event)) = self.sink.try_send(event) {
                self.unsaid.push_front(event);
                return;
            }
        }
    }
}
