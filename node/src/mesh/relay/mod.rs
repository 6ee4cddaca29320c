//! Links to members that nothing direct leads to. QUIC runs over streams of the swarm as it runs over UDP: a second
//! endpoint beside the mesh port's, with the same certificates, protocol names and proof inside, whose packets travel in
//! `tunnel`s. So a relayed link is a link in every way, and whoever carries it sees packets that it cannot read.
//!
//! Its peers have made-up addresses ([`address_of`]) that never leave this node. Built by `mod`; `dial` uses it where
//! nothing direct answers, `accept` takes in what comes; `peer` moves to a direct path when there is one.

mod socket;
mod steer;
mod tunnel;

pub(crate) use socket::RelaySocket;

use super::shared::Shared;
use amesh_discovery::hosts::libp2p::{Path, Swarm};
use amesh_proto::node_id::NodeId;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What reaches members through the swarm.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) swarm: Arc<Swarm>,
    pub(crate) socket: Arc<RelaySocket>,
    /// Members without a direct link, and since when.
    missed_since: Mutex<BTreeMap<NodeId, Duration>>,
}

impl Relay {
    pub(crate) fn new(swarm: Arc<Swarm>) -> Self {
        Self { swarm, socket: Arc::new(RelaySocket::new()), missed_since: Mutex::default() }
    }
}

/// Starts what steers the swarm and carries packets.
pub(crate) fn run(shared: &Arc<Shared>) {
    let Some(relay) = &shared.relay else { return };
    shared.tasks.spawn_until_stopped(steer::run(shared.clone()));
    shared.tasks.spawn_until_stopped(tunnel::run(
        relay.swarm.clone(),
        relay.socket.clone(),
        shared.tasks.clone(),
    ));
}

/// Questions.
impl Shared {
    /// Where to dial `node` through the swarm, if that reaches it now.
    pub(crate) fn relayed_address(&self, node: &NodeId) -> Option<SocketAddr> {
        let relay = self.relay.as_ref()?;
        relay.swarm.path(node)?;
        Some(relay.socket.name(*node))
    }

    /// How the swarm reaches `node`, for people.
    pub(crate) fn relayed_path(&self, node: &NodeId) -> String {
        let path = self.relay.as_ref().and_then(|relay| relay.swarm.path(node));
        match path {
            Some(Path::Relayed { via }) => {
                let membership = self.membership();
                let host = membership.list().member(&via).map(|member| member.host.clone());
                format!("relayed via {}", host.unwrap_or_else(|| via.short()))
            }
            Some(Path::Direct) => "direct, over libp2p".to_owned(),
            None => "relayed".to_owned(),
        }
    }
}

/// The made-up address of `node`.
pub(crate) fn address_of(node: &NodeId) -> SocketAddr {
    let digest = Sha256::digest(node.to_string());
    let mut octets = [0; 16];
    octets[..6].copy_from_slice(&PREFIX);
    octets[6..].copy_from_slice(&digest[..10]);
    SocketAddr::from((Ipv6Addr::from(octets), PORT))
}

/// Whether an address is made up, and so leads through the swarm.
pub(crate) fn is_relayed(address: &SocketAddr) -> bool {
    matches!(address.ip(), IpAddr::V6(ip) if ip.octets()[..6] == PREFIX)
}

/// `fd` begins the addresses that everybody may make up; the rest spells `amesh`.
const PREFIX: [u8; 6] = *b"\xfdamesh";
const PORT: u16 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::endpoint::{self, MeshEndpoint, Purpose, Tuning};
    use crate::mesh::identity::Identity;
    use crate::tasks::Tasks;

    fn port(seed: u8) -> (Identity, MeshEndpoint, Arc<RelaySocket>) {
        let (identity, socket) = (Identity::from_seed(&[seed; 32]), Arc::new(RelaySocket::new()));
        let any = SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0));
        let endpoint = MeshEndpoint::bind(any, &identity, &Tuning::default()).unwrap();
        (identity, endpoint.with_relay(socket.clone(), &Tuning::default()).unwrap(), socket)
    }

    /// Carries what `from` sends, which says that it is `sender`, to `to`.
    async fn carry(from: Arc<RelaySocket>, sender: NodeId, to: Arc<RelaySocket>) {
        let (mut diggers, deliver) = (from.diggers().unwrap(), to.deliver());
        let at = to.name(sender);
        while let Some((_, mut packets)) = diggers.recv().await {
            while let Some(packet) = packets.recv().await {
                deliver.send((at, packet)).await.unwrap();
            }
        }
    }

    async fn dial(expected: NodeId) -> [Option<NodeId>; 2] {
        let ((a, at_a, from_a), (b, at_b, from_b)) = (port(1), port(2));
        let to_b = from_a.name(b.node_id());
        let tasks = Tasks::new("carriers");
        tasks.spawn_until_stopped(carry(from_a.clone(), a.node_id(), from_b.clone()));
        tasks.spawn_until_stopped(carry(from_b, b.node_id(), from_a));
        let accept = async { at_b.incoming().await.unwrap().await };
        let (dialed, accepted) = tokio::join!(at_a.dial(to_b, Some(expected), Purpose::Link), accept);
        let proven = |ends: Option<&quinn::Connection>| ends.and_then(endpoint::peer_of);
        let ends = [dialed.ok(), accepted.ok()];
        if let [Some(dialed), Some(accepted)] = &ends {
            let binding = |end| endpoint::channel_binding(end).unwrap();
            assert_eq!(binding(dialed), binding(accepted), "what ties the proof to this very connection");
        }
        [proven(ends[0].as_ref()), proven(ends[1].as_ref())]
    }

    #[tokio::test]
    async fn inside_a_tunnel_both_ends_prove_their_node_keys() {
        let (a, b) = (Identity::from_seed(&[1; 32]).node_id(), Identity::from_seed(&[2; 32]).node_id());
        assert_eq!(dial(b).await, [Some(b), Some(a)]);
    }

    #[tokio::test]
    async fn whoever_carries_packets_to_somebody_else_is_found_out() {
        let someone_else = Identity::from_seed(&[3; 32]).node_id();
        assert_eq!(dial(someone_else).await, [None, None]);
    }

    #[test]
    fn made_up_addresses_are_told_from_real_ones_and_differ_by_node() {
        let (one, two) = (NodeId::from_bytes([1; 32]), NodeId::from_bytes([2; 32]));
        assert!(is_relayed(&address_of(&one)));
        assert_ne!(address_of(&one), address_of(&two));
        for real in ["10.0.0.1:23001", "[fd00::1]:23001", "[2001:db8::1]:1", "[::1]:1"] {
            assert!(!is_relayed(&real.parse().unwrap()), "{real}");
        }
    }
}
