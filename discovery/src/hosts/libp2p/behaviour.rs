//! What the swarm speaks, and its limits: the one place where libp2p is configured. Used by `running`.

use super::Config;
use super::address::peer_of;
use amesh_proto::node_id::NodeId;
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{
    StreamProtocol, Swarm, SwarmBuilder, allow_block_list, autonat, connection_limits, dcutr, identify, kad,
    ping, quic, relay, tls, yamux,
};
use std::collections::BTreeSet;
use std::time::Duration;

/// What the swarm speaks.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    /// Listed members only: nobody else gets past the handshake.
    pub(super) members: allow_block_list::Behaviour<allow_block_list::AllowedPeers>,
    limits: connection_limits::Behaviour,
    pub(super) identify: identify::Behaviour,
    pub(super) kad: kad::Behaviour<kad::store::MemoryStore>,
    relay: relay::Behaviour,
    relayed: relay::client::Behaviour,
    punch: Toggle<dcutr::Behaviour>,
    reachability: autonat::Behaviour,
    ping: ping::Behaviour,
    pub(super) streams: libp2p_stream::Behaviour,
}

/// A swarm of the mesh whose short hash is `mesh`, of a node whose mesh port is `port`; it does not listen yet.
pub(super) fn swarm(
    config: &Config,
    members: &BTreeSet<NodeId>,
    mesh: &str,
    port: u16,
) -> Result<Swarm<Behaviour>, String> {
    let key = config.key.clone();
    let agent = Agent { version: config.version.clone(), port };
    let built = SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_quic_config(quic_limits)
        .with_relay_client(tls::Config::new, relayed_yamux)
        .map_err(|error| error.to_string())?
        .with_behaviour(|key, relayed| behaviour(config, key, relayed, members, mesh, &agent))
        .map_err(|error| error.to_string())?
        .with_swarm_config(|swarm| {
            swarm.with_idle_connection_timeout(IDLE).with_max_negotiating_inbound_streams(32)
        })
        .build();
    Ok(built)
}

fn behaviour(
    config: &Config,
    key: &libp2p::identity::Keypair,
    relayed: relay::client::Behaviour,
    members: &BTreeSet<NodeId>,
    mesh: &str,
    agent: &Agent,
) -> Behaviour {
    let own = key.public().to_peer_id();
    let mut allowed = allow_block_list::Behaviour::<allow_block_list::AllowedPeers>::default();
    for peer in members.iter().filter_map(peer_of) {
        allowed.allow_peer(peer);
    }
    let identify = identify::Config::new(format!("/amesh/1/{mesh}"), key.public())
        .with_agent_version(agent.to_string())
        .with_push_listen_addr_updates(true)
        .with_cache_size(0);
    Behaviour {
        members: allowed,
        limits: connection_limits::Behaviour::new(connection_limits()),
        identify: identify::Behaviour::new(identify),
        kad: kademlia(own, mesh),
        relay: relay::Behaviour::new(own, relay_limits()),
        relayed,
        punch: Toggle::from(config.hole_punching.then(|| dcutr::Behaviour::new(own))),
        // Everybody here is a member: who asks for a dial back is known, and private addresses are the rule.
        reachability: autonat::Behaviour::new(
            own,
            autonat::Config { only_global_ips: false, ..autonat::Config::default() },
        ),
        ping: ping::Behaviour::new(ping::Config::new().with_interval(PING_EVERY)),
        streams: libp2p_stream::Behaviour::new(),
    }
}

fn quic_limits(mut quic: quic::Config) -> quic::Config {
    quic.max_idle_timeout = 15_000;
    quic.keep_alive_interval = Duration::from_secs(5);
    quic.max_concurrent_stream_limit = 64;
    quic.max_stream_data = 512 << 10;
    quic.max_connection_data = 2 << 20;
    quic
}

fn relayed_yamux() -> yamux::Config {
    let mut yamux = yamux::Config::default();
    yamux.set_max_num_streams(16);
    yamux
}

fn connection_limits() -> connection_limits::ConnectionLimits {
    connection_limits::ConnectionLimits::default()
        .with_max_pending_incoming(Some(32))
        .with_max_pending_outgoing(Some(32))
        .with_max_established(Some(128))
        // Two that dial each other at once, one through a relay, and one on which reachability is tried.
        .with_max_established_per_peer(Some(4))
}

/// A circuit is enough for an hour of mail; the next one is made without anybody noticing (see `node`'s tunnel).
fn relay_limits() -> relay::Config {
    relay::Config {
        max_reservations: 64,
        max_reservations_per_peer: 2,
        max_circuits: 32,
        max_circuits_per_peer: 8,
        max_circuit_duration: Duration::from_secs(3600),
        max_circuit_bytes: 1 << 30,
        ..relay::Config::default()
    }
}

fn kademlia(own: libp2p::PeerId, mesh: &str) -> kad::Behaviour<kad::store::MemoryStore> {
    // A protocol name per mesh. It fits the form by construction.
    let name = StreamProtocol::try_from_owned(format!("/amesh-kad/1/{mesh}"))
        .unwrap_or(StreamProtocol::new("/amesh-kad/1"));
    let mut config = kad::Config::new(name);
    config
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        .set_query_timeout(Duration::from_secs(10))
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_periodic_bootstrap_interval(None)
        .set_publication_interval(None)
        .set_replication_interval(None);
    // Peers are looked up, records are neither kept nor looked for.
    let nothing = kad::store::MemoryStoreConfig {
        max_records: 0,
        max_value_bytes: 0,
        max_providers_per_key: 0,
        max_provided_keys: 0,
    };
    let mut kad =
        kad::Behaviour::with_config(own, kad::store::MemoryStore::with_config(own, nothing), config);
    kad.set_mode(Some(kad::Mode::Server));
    kad
}

/// What a node says of itself to members: its version, and where its mesh port is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Agent {
    pub(super) version: String,
    pub(super) port: u16,
}

impl std::fmt::Display for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "amesh/{} mesh/{}", self.version, self.port)
    }
}

impl std::str::FromStr for Agent {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (version, port) =
            text.strip_prefix("amesh/").and_then(|rest| rest.split_once(" mesh/")).ok_or(())?;
        Ok(Self { version: version.to_owned(), port: port.parse().map_err(|_| ())? })
    }
}

/// A connection that serves nothing: neither a reservation nor a stream.
const IDLE: Duration = Duration::from_secs(60);
const PING_EVERY: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_says_of_itself_reads_back() {
        let agent = Agent { version: "0.1.0".into(), port: 23001 };
        assert_eq!(agent.to_string().parse(), Ok(agent));
        for other in ["rust-libp2p/0.57", "amesh/0.1.0 mesh/70000", ""] {
            assert_eq!(other.parse::<Agent>(), Err(()), "{other}");
        }
    }
}
