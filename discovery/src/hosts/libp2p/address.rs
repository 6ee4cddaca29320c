//! Addresses as libp2p writes them, and which of them are worth keeping. Used by the files beside it.

use amesh_proto::node_id::NodeId;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use std::net::{IpAddr, SocketAddr};

/// The node as libp2p names it. Both are the same key.
pub(super) fn peer_of(node: &NodeId) -> Option<PeerId> {
    node.to_string().parse().ok()
}

/// The node behind a libp2p name.
pub(super) fn node_of(peer: &PeerId) -> Option<NodeId> {
    peer.to_string().parse().ok()
}

/// Where QUIC is spoken.
pub(super) fn quic(address: SocketAddr) -> Multiaddr {
    Multiaddr::from(address.ip()).with(Protocol::Udp(address.port())).with(Protocol::QuicV1)
}

/// The way to `node` through `relay`, which is reached at `at`; without `node`, the place to wait for others.
pub(super) fn circuit(at: Multiaddr, relay: PeerId, node: Option<PeerId>) -> Multiaddr {
    let at =
        if matches!(at.iter().last(), Some(Protocol::P2p(_))) { at } else { at.with(Protocol::P2p(relay)) };
    let circuit = at.with(Protocol::P2pCircuit);
    match node {
        Some(node) => circuit.with(Protocol::P2p(node)),
        None => circuit,
    }
}

/// Through whom an address leads, if through anybody.
pub(super) fn relay_of(address: &Multiaddr) -> Option<PeerId> {
    let mut last = None;
    for part in address.iter() {
        match part {
            Protocol::P2p(peer) => last = Some(peer),
            Protocol::P2pCircuit => return last,
            _ => {}
        }
    }
    None
}

/// Whether an address leads through a relay.
pub(super) fn is_circuit(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::P2pCircuit)
}

/// The address of a direct QUIC listener.
pub(super) fn socket(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip: IpAddr = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    let Protocol::Udp(port) = parts.next()? else { return None };
    (parts.next()? == Protocol::QuicV1 && !is_circuit(address)).then(|| SocketAddr::new(ip, port))
}

/// Whether an address may mean the same to others as to who says it. A loopback address leads everybody to
/// themselves; a scoped one needs its interface.
pub(super) fn is_usable(address: &Multiaddr, loopback: bool) -> bool {
    let ip = match address.iter().next() {
        Some(Protocol::Ip4(ip)) => IpAddr::from(ip),
        Some(Protocol::Ip6(ip)) if ip.is_unicast_link_local() => return false,
        Some(Protocol::Ip6(ip)) => ip.into(),
        _ => return false,
    };
    !ip.is_unspecified() && !ip.is_multicast() && (loopback || !ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_scoped_and_unspecified_addresses_are_left_out() {
        for (text, usable) in [
            ("10.0.0.1:7", true),
            ("[2001:db8::1]:7", true),
            ("127.0.0.1:7", false),
            ("[::1]:7", false),
            ("[fe80::1]:7", false),
            ("0.0.0.0:7", false),
        ] {
            assert_eq!(is_usable(&quic(text.parse().unwrap()), false), usable, "{text}");
        }
        assert!(is_usable(&quic("127.0.0.1:7".parse().unwrap()), true));
    }

    #[test]
    fn a_circuit_names_its_relay_and_is_no_direct_address() {
        let (relay, node) = (PeerId::random(), PeerId::random());
        let at = quic("10.0.0.1:7".parse().unwrap());
        let way = circuit(at.clone(), relay, Some(node));
        assert_eq!(
            way.to_string(),
            format!("/ip4/10.0.0.1/udp/7/quic-v1/p2p/{relay}/p2p-circuit/p2p/{node}")
        );
        assert_eq!((relay_of(&way), relay_of(&at)), (Some(relay), None));
        assert_eq!((socket(&way), socket(&at)), (None, Some("10.0.0.1:7".parse().unwrap())));
        assert_eq!(circuit(at.clone().with(Protocol::P2p(relay)), relay, Some(node)), way);
    }

    #[test]
    fn a_node_has_one_name_on_both_sides() {
        let peer = libp2p::identity::Keypair::generate_ed25519().public().to_peer_id();
        let node = node_of(&peer).unwrap();
        assert_eq!(peer_of(&node), Some(peer));
    }
}
