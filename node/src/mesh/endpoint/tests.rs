//! Two mesh ports in one process.

use super::*;
use std::net::Ipv4Addr;

fn port(seed: u8) -> (Identity, MeshEndpoint) {
    let identity = Identity::from_seed(&[seed; 32]);
    let endpoint =
        MeshEndpoint::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), &identity, &Tuning::default())
            .unwrap();
    (identity, endpoint)
}

async fn accept_one(endpoint: &MeshEndpoint) -> Result<quinn::Connection, quinn::ConnectionError> {
    endpoint.incoming().await.unwrap().await
}

impl MeshEndpoint {
    /// From now on it speaks that protocol alone.
    pub(crate) fn speaks_only(&self, name: &[u8]) {
        let mut tls = libp2p_tls::make_server_config(&self.keypair).unwrap();
        tls.alpn_protocols = vec![name.to_vec()];
        let tls = QuicServerConfig::try_from(tls).unwrap();
        self.endpoint.set_server_config(Some(quinn::ServerConfig::with_crypto(Arc::new(tls))));
    }
}

#[tokio::test]
async fn both_ends_learn_who_the_other_is_and_share_a_binding() {
    let (a, at_a) = port(1);
    let (b, at_b) = port(2);
    let (dialed, accepted) =
        tokio::join!(at_a.dial(at_b.local_addr(), Some(b.node_id()), Purpose::Link), accept_one(&at_b));
    let (dialed, accepted) = (dialed.unwrap(), accepted.unwrap());
    assert_eq!(peer_of(&dialed), Some(b.node_id()));
    assert_eq!(peer_of(&accepted), Some(a.node_id()));
    assert_eq!(purpose_of(&accepted), Some(Purpose::Link));
    assert_eq!(channel_binding(&dialed).unwrap(), channel_binding(&accepted).unwrap());
}

#[tokio::test]
async fn two_connections_of_the_same_pair_have_different_bindings() {
    let (_, at_a) = port(1);
    let (b, at_b) = port(2);
    let mut bindings = Vec::new();
    for purpose in [Purpose::Link, Purpose::Join] {
        let (dialed, accepted) =
            tokio::join!(at_a.dial(at_b.local_addr(), Some(b.node_id()), purpose), accept_one(&at_b));
        assert_eq!(purpose_of(&accepted.unwrap()), Some(purpose));
        bindings.push(channel_binding(&dialed.unwrap()).unwrap());
    }
    assert_ne!(bindings[0], bindings[1]);
}

#[tokio::test]
async fn a_node_that_is_not_the_expected_one_fails_the_handshake() {
    let (_, at_a) = port(1);
    let (_, at_b) = port(2);
    let someone_else = Identity::from_seed(&[3; 32]).node_id();
    let (dialed, accepted) =
        tokio::join!(at_a.dial(at_b.local_addr(), Some(someone_else), Purpose::Link), accept_one(&at_b));
    assert!(dialed.is_err());
    assert!(accepted.is_err());
}

#[tokio::test]
async fn another_protocol_name_fails_the_handshake() {
    let (_, at_a) = port(1);
    let (_, at_b) = port(2);
    let mut tls = libp2p_tls::make_client_config(&at_a.keypair, None).unwrap();
    tls.alpn_protocols = vec![b"amesh/0".to_vec()];
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let connecting = at_a.endpoint.connect_with(config, at_b.local_addr(), SERVER_NAME).unwrap();
    let (dialed, accepted) = tokio::join!(connecting, accept_one(&at_b));
    assert!(dialed.is_err());
    assert!(accepted.is_err());
}

#[tokio::test]
async fn a_port_that_is_taken_is_reported_with_the_flag_that_mends_it() {
    let (a, at_a) = port(1);
    let error = MeshEndpoint::bind(at_a.local_addr(), &a, &Tuning::default()).unwrap_err();
    assert!(error.to_string().contains("--mesh"), "{error}");
}

#[tokio::test]
async fn who_listens_on_every_ipv4_address_is_reached_by_ipv6_at_the_same_port() {
    let b = Identity::from_seed(&[2; 32]);
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let at_b = MeshEndpoint::bind(any, &b, &Tuning::default()).unwrap();
    let port = at_b.local_addr().port();
    for ip in [std::net::Ipv6Addr::LOCALHOST.into(), std::net::IpAddr::from(Ipv4Addr::LOCALHOST)] {
        let at_a = MeshEndpoint::bind(any, &Identity::from_seed(&[1; 32]), &Tuning::default()).unwrap();
        let address = SocketAddr::new(ip, port);
        if at_b.second.is_none() {
            println!("this machine has no IPv6");
            assert!(!at_a.can_reach(&SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port))));
            continue;
        }
        assert!(at_a.can_reach(&address));
        let (dialed, accepted) =
            tokio::join!(at_a.dial(address, Some(b.node_id()), Purpose::Link), accept_one(&at_b));
        assert_eq!(dialed.unwrap().remote_address(), address);
        // Never an IPv4 address in the form of IPv6.
        assert_eq!(accepted.unwrap().remote_address().is_ipv4(), ip.is_ipv4());
    }
}
