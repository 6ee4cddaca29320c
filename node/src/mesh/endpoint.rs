//! The one UDP port of the mesh: QUIC with mutual TLS by node key, for links and for joining. It knows who is at
//! the other end; whether that one may come in is decided elsewhere. Called by `accept`, `dial` and `join`.

mod second;

use super::identity::Identity;
use super::proof::EXPORTER_LABEL;
use super::relay::{self, RelaySocket};
use amesh_proto::node_id::NodeId;
use amesh_proto::wire;
use quinn::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use quinn::{IdleTimeout, TransportConfig, VarInt};
use rustls::pki_types::CertificateDer;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How the mesh port behaves.
#[derive(Debug, Clone)]
pub(crate) struct Tuning {
    /// A packet at least this often on a link with nothing to say.
    pub keep_alive: Duration,
    /// A link that hears nothing for so long is over.
    pub idle: Duration,
    /// Whether the kernel may split large sends into packets (some network drivers get it wrong).
    pub segmentation_offload: bool,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { keep_alive: Duration::from_secs(4), idle: Duration::from_secs(15), segmentation_offload: true }
    }
}

/// What a connection is for, told apart by its protocol name in TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A link between members.
    Link,
    /// Joining by ticket.
    Join,
}

/// Why the mesh port cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The node key did not make a certificate, or TLS refused its settings.
    #[error("cannot set up TLS with the node key: {0}")]
    Tls(String),
    /// The port is taken or not ours.
    #[error("cannot listen on {address} (UDP): {source}; choose another with --mesh ADDR:PORT")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("TLS: {0}")]
    Tls(String),
    #[error("{0}")]
    Connect(#[from] quinn::ConnectError),
    #[error("{0}")]
    Connection(#[from] quinn::ConnectionError),
}

/// The mesh port.
#[derive(Debug, Clone)]
pub(crate) struct MeshEndpoint {
    endpoint: quinn::Endpoint,
    /// The same port for IPv6, where `endpoint` listens on every IPv4 address.
    second: Option<quinn::Endpoint>,
    /// For members that are reached through the swarm.
    relayed: Option<quinn::Endpoint>,
    keypair: libp2p_identity::Keypair,
    transport: Arc<TransportConfig>,
    relayed_transport: Arc<TransportConfig>,
    local: SocketAddr,
}

impl MeshEndpoint {
    /// Listens on `address`.
    pub(crate) fn bind(
        address: SocketAddr,
        identity: &Identity,
        tuning: &Tuning,
    ) -> Result<Self, EndpointError> {
        let keypair = identity.keypair().ok_or_else(|| EndpointError::Tls("bad node key".into()))?;
        let transport = Arc::new(transport(tuning));
        let server = server_config(&keypair, transport.clone()).map_err(EndpointError::Tls)?;
        let bind = |source| EndpointError::Bind { address, source };
        let endpoint = quinn::Endpoint::server(server.clone(), address).map_err(bind)?;
        let local = endpoint.local_addr().map_err(bind)?;
        let second = second::bind(server, local);
        let relayed_transport = transport.clone();
        Ok(Self { endpoint, second, relayed: None, keypair, transport, relayed_transport, local })
    }

    /// Links and is linked through `socket` as well.
    pub(crate) fn with_relay(self, socket: Arc<RelaySocket>, tuning: &Tuning) -> Result<Self, EndpointError> {
        let failed = |source| EndpointError::Bind { address: self.local, source };
        let transport = Arc::new(relayed_transport(tuning));
        let server = server_config(&self.keypair, transport.clone()).map_err(EndpointError::Tls)?;
        let mut config = quinn::EndpointConfig::default();
        config
            .max_udp_payload_size(RELAYED_PACKET)
            .map_err(|error| failed(io::Error::other(error.to_string())))?;
        let runtime = Arc::new(quinn::TokioRuntime);
        let endpoint = quinn::Endpoint::new_with_abstract_socket(config, Some(server), socket, runtime)
            .map_err(failed)?;
        Ok(Self { relayed: Some(endpoint), relayed_transport: transport, ..self })
    }

    /// Where it listens, with the port the system gave.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Whether a socket of this port can send to `address` at all.
    pub(crate) fn can_reach(&self, address: &SocketAddr) -> bool {
        address.port() != 0 && (self.local.is_ipv6() || address.is_ipv4() || self.second.is_some())
    }

    /// Connects to `address`; with `expected`, to that node or to nobody.
    pub(crate) async fn dial(
        &self,
        address: SocketAddr,
        expected: Option<NodeId>,
        purpose: Purpose,
    ) -> Result<quinn::Connection, DialError> {
        let (endpoint, transport) = match &self.relayed {
            Some(relayed) if relay::is_relayed(&address) => (relayed, &self.relayed_transport),
            _ => (
                self.second.as_ref().filter(|_| address.is_ipv6()).unwrap_or(&self.endpoint),
                &self.transport,
            ),
        };
        let config =
            client_config(&self.keypair, expected, purpose, transport.clone()).map_err(DialError::Tls)?;
        Ok(endpoint.connect_with(config, address, SERVER_NAME)?.await?)
    }

    /// The next stranger at the door; `None` once the endpoint is closed.
    pub(crate) async fn incoming(&self) -> Option<quinn::Incoming> {
        // All close together.
        tokio::select! {
            incoming = self.endpoint.accept() => incoming,
            incoming = accept(self.second.as_ref()) => incoming,
            incoming = accept(self.relayed.as_ref()) => incoming,
        }
    }

    fn all(&self) -> impl Iterator<Item = &quinn::Endpoint> {
        [Some(&self.endpoint), self.second.as_ref(), self.relayed.as_ref()].into_iter().flatten()
    }

    /// Lets nobody in any more; what is open stays.
    pub(crate) fn stop_accepting(&self) {
        self.all().for_each(|endpoint| endpoint.set_server_config(None));
    }

    /// Closes what is left and waits until the far ends were told.
    pub(crate) async fn close(&self, deadline: Duration) {
        self.all().for_each(|endpoint| endpoint.close(CloseCode::ShuttingDown.into(), b""));
        let idle = async {
            for endpoint in self.all() {
                endpoint.wait_idle().await;
            }
        };
        if tokio::time::timeout(deadline, idle).await.is_err() {
            tracing::debug!("some links did not close in time");
        }
    }
}

/// The next stranger at that socket, if there is one.
async fn accept(endpoint: Option<&quinn::Endpoint>) -> Option<quinn::Incoming> {
    match endpoint {
        Some(endpoint) => endpoint.accept().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
impl MeshEndpoint {
    /// Connections that are open or being made.
    pub(crate) fn connections(&self) -> usize {
        self.endpoint.open_connections()
    }

    /// From now on nothing that is sent leaves and nothing comes in: what open links say at their end is lost.
    pub(crate) fn vanish(&self) {
        // A socket of the other address family cannot send where the links lead.
        // Twice, since quinn goes on listening at the one before.
        for _ in 0..2 {
            let deaf = std::net::UdpSocket::bind((std::net::Ipv6Addr::LOCALHOST, 0)).unwrap();
            self.endpoint.rebind(deaf).unwrap();
        }
    }
}

/// Why a connection is closed, as the far end reads it. Strangers and removed members learn only `Refused`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CloseCode {
    /// Nothing to complain about.
    Done = 0,
    /// This node is stopping.
    ShuttingDown = 1,
    /// Not let in.
    Refused = 2,
    /// Another connection between the same two nodes took its place.
    Superseded = 3,
    /// The other side broke the protocol.
    Protocol = 4,
    /// Too many connections.
    Busy = 5,
    /// No progress within the deadline.
    Timeout = 6,
    /// Another machine with the same node key is linked.
    TwoMachines = 7,
}

impl From<CloseCode> for VarInt {
    fn from(code: CloseCode) -> Self {
        Self::from_u32(code as u32)
    }
}

impl CloseCode {
    /// The code with which the far end closed, if it did.
    pub(crate) fn of(error: &quinn::ConnectionError) -> Option<Self> {
        let quinn::ConnectionError::ApplicationClosed(close) = error else { return None };
        [
            Self::Done,
            Self::ShuttingDown,
            Self::Refused,
            Self::Superseded,
            Self::Protocol,
            Self::Busy,
            Self::Timeout,
            Self::TwoMachines,
        ]
        .into_iter()
        .find(|code| VarInt::from(*code) == close.error_code)
    }

    /// The same, of a connection that did not come about.
    pub(crate) fn of_dial(error: &DialError) -> Option<Self> {
        match error {
            DialError::Connection(error) => Self::of(error),
            _ => None,
        }
    }
}

/// Which node is at the other end, as TLS proved it.
pub(crate) fn peer_of(connection: &quinn::Connection) -> Option<NodeId> {
    let identity = connection.peer_identity()?;
    let chain = identity.downcast_ref::<Vec<CertificateDer<'static>>>()?;
    let peer = libp2p_tls::certificate::parse(chain.first()?).ok()?.peer_id();
    peer.to_string().parse().ok()
}

/// What a connection is for.
pub(crate) fn purpose_of(connection: &quinn::Connection) -> Option<Purpose> {
    let data = connection.handshake_data()?;
    let name = data.downcast_ref::<HandshakeData>()?.protocol.as_deref()?;
    [Purpose::Link, Purpose::Join].into_iter().find(|purpose| purpose.alpn() == name)
}

/// A value that only the two ends of this very connection know; it ties the proof of membership to it.
pub(crate) fn channel_binding(connection: &quinn::Connection) -> Option<[u8; 32]> {
    let mut binding = [0; 32];
    connection.export_keying_material(&mut binding, EXPORTER_LABEL, b"").ok()?;
    Some(binding)
}

impl Purpose {
    fn alpn(self) -> &'static [u8] {
        match self {
            Self::Link => wire::LINK_ALPN,
            Self::Join => wire::JOIN_ALPN,
        }
    }
}

fn transport(tuning: &Tuning) -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(WINDOW))
        .receive_window(VarInt::from_u32(WINDOW))
        .send_window(u64::from(WINDOW))
        .crypto_buffer_size(16 << 10)
        .initial_mtu(1452)
        // A first retransmission after 0.3 s instead of 1 s: the other end is on this LAN, and a cable that
        // comes back must be noticed (DESIGN §1.7).
        .initial_rtt(Duration::from_millis(100))
        .keep_alive_interval(Some(tuning.keep_alive))
        .max_idle_timeout(IdleTimeout::try_from(tuning.idle).ok())
        .enable_segmentation_offload(tuning.segmentation_offload);
    transport
}

/// Through others: packets as large as a tunnel likes them, and a round trip that may be anything.
fn relayed_transport(tuning: &Tuning) -> TransportConfig {
    let mut transport = transport(tuning);
    transport
        .initial_mtu(RELAYED_PACKET)
        .mtu_discovery_config(None)
        .enable_segmentation_offload(false)
        .initial_rtt(Duration::from_millis(200));
    transport
}

fn server_config(
    keypair: &libp2p_identity::Keypair,
    transport: Arc<TransportConfig>,
) -> Result<quinn::ServerConfig, String> {
    let mut tls = libp2p_tls::make_server_config(keypair).map_err(|error| error.to_string())?;
    tls.alpn_protocols = [Purpose::Link, Purpose::Join].map(|purpose| purpose.alpn().to_vec()).into();
    // libp2p-tls would write session keys wherever SSLKEYLOGFILE points.
    tls.key_log = Arc::new(rustls::NoKeyLog);
    // Every connection proves its key anew.
    tls.send_tls13_tickets = 0;
    tls.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    let tls = QuicServerConfig::try_from(tls).map_err(|error| error.to_string())?;
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(tls));
    // What a stranger can make us hold before TLS has named him: attempts, and bytes for each and for all.
    server
        .transport_config(transport)
        .max_incoming(MAX_INCOMING)
        .incoming_buffer_size(16 << 10)
        .incoming_buffer_size_total(1 << 20);
    Ok(server)
}

fn client_config(
    keypair: &libp2p_identity::Keypair,
    expected: Option<NodeId>,
    purpose: Purpose,
    transport: Arc<TransportConfig>,
) -> Result<quinn::ClientConfig, String> {
    let expected = match expected {
        Some(node) => Some(node.to_string().parse().map_err(|_| "not a peer id".to_owned())?),
        None => None,
    };
    let mut tls = libp2p_tls::make_client_config(keypair, expected).map_err(|error| error.to_string())?;
    tls.alpn_protocols = vec![purpose.alpn().to_vec()];
    tls.key_log = Arc::new(rustls::NoKeyLog);
    tls.resumption = rustls::client::Resumption::disabled();
    let tls = QuicClientConfig::try_from(tls).map_err(|error| error.to_string())?;
    let mut client = quinn::ClientConfig::new(Arc::new(tls));
    client.transport_config(transport);
    Ok(client)
}

/// libp2p certificates carry no names; TLS wants one all the same.
const SERVER_NAME: &str = "amesh";
/// Bytes in flight on a stream, either way; of a link without files there is one.
pub(crate) const WINDOW: u32 = 4 << 20;
/// Bytes of a packet that goes through the swarm.
const RELAYED_PACKET: u16 = 4096;
/// Handshakes waiting for a decision.
const MAX_INCOMING: usize = 256;

#[cfg(test)]
mod tests;
