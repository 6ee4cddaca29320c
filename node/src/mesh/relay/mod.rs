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
