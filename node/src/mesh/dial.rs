//! One attempt to link with a member: all its addresses raced to the end of TLS, then the greeting with the first
//! that answers. When to try is decided in `peer`; seeds, whose node is not known yet, are tried by `seeds`.

use super::endpoint::{CloseCode, DialError, Purpose};
use super::greet::{self, GreetError, Link};
use super::relay;
use super::shared::Shared;
use amesh_proto::node_id::NodeId;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Why an attempt came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialFailure {
    #[error("no address of it is known; is multicast blocked? then: amesh up --peer HOST:PORT")]
    NoAddress,
    #[error("{}", told(.tried, .silent))]
    Dial { tried: Vec<(SocketAddr, DialError)>, silent: Addresses },
    #[error("{address}: {error}")]
    Greeting { address: SocketAddr, error: GreetError },
}

/// Addresses, for people.
#[derive(Debug)]
pub(crate) struct Addresses(Vec<SocketAddr>);

impl std::fmt::Display for Addresses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, address) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            if relay::is_relayed(address) {
                write!(f, "{comma}the swarm")?
            } else {
                write!(f, "{comma}{address}")?
            }
        }
        Ok(())
    }
}

impl DialFailure {
    /// Whether the peer says that another machine has this node's key.
    pub(crate) fn is_twin(&self) -> bool {
        match self {
            Self::Greeting { error, .. } => error.is_twin(),
            Self::Dial { tried, .. } => tried.iter().any(|(_, error)| {
                matches!(error, DialError::Connection(error)
                    if CloseCode::of(error) == Some(CloseCode::TwoMachines))
            }),
            _ => false,
        }
    }

    /// Whether the peer does not want this node.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Greeting { error, .. } if error.is_refusal())
    }
}

/// Tries once to link with `node`; through the swarm, too, unless `direct_only`.
pub(crate) async fn attempt(
    shared: Arc<Shared>,
    node: NodeId,
    direct_only: bool,
) -> Result<Link, DialFailure> {
    let mut addresses = shared.addresses_of(&node);
    let around = if direct_only { None } else { shared.relayed_address(&node) };
    addresses.extend(around);
    if addresses.is_empty() {
        return Err(DialFailure::NoAddress);
    }
    let mut tried = Vec::new();
    let racing = race(&shared, node, &addresses, &mut tried);
    let first = tokio::time::timeout(PATIENCE, racing).await.ok().flatten();
    let Some((address, connection)) = first else {
        addresses.retain(|address| tried.iter().all(|(answered, _)| answered != address));
        addresses.iter().for_each(|address| shared.silent(*address));
        return Err(DialFailure::Dial { tried, silent: Addresses(addresses) });
    };
    greet::dial(&shared, &connection, node)
        .await
        .inspect_err(|error| connection.close(error.close_code().into(), b""))
        .map_err(|error| DialFailure::Greeting { address, error })
}

/// The first of `addresses` at which `node` proves its key. The others are dropped with their connections; what came of
/// those that failed is in `tried`.
async fn race(
    shared: &Shared,
    node: NodeId,
    addresses: &[SocketAddr],
    tried: &mut Vec<(SocketAddr, DialError)>,
) -> Option<(SocketAddr, quinn::Connection)> {
    let mut racers: FuturesUnordered<_> = addresses
        .iter()
        .zip(0_u32..)
        .map(|(address, place)| async move {
            let detour = relay::is_relayed(address) && place > 0;
            tokio::time::sleep(if detour { DIRECT_FIRST } else { HEADSTART * place }).await;
            (*address, shared.endpoint.dial(*address, Some(node), Purpose::Link).await)
        })
        .collect();
    while let Some((address, outcome)) = racers.next().await {
        match outcome {
            Ok(connection) => return Some((address, connection)),
            Err(error) => {
                shared.silent(address);
                tried.push((address, error));
            }
        }
    }
    None
}

/// What came of each address, for people.
fn told(tried: &[(SocketAddr, DialError)], silent: &Addresses) -> String {
    let one = |(address, error): &(SocketAddr, DialError)| {
        let place = Addresses(vec![*address]);
        match error {
            DialError::Connection(quinn::ConnectionError::TimedOut) => format!("{place}: no answer"),
            DialError::Connection(error) if tls_alert(error) == Some(NO_COMMON_PROTOCOL) => {
                format!("{place}: it speaks another link protocol; upgrade the older amesh")
            }
            DialError::Connection(error) if tls_alert(error).is_some() => {
                format!("{place}: another machine answers there")
            }
            error => match CloseCode::of_dial(error) {
                Some(CloseCode::Busy) => format!("{place}: it is busy; it is tried again"),
                Some(CloseCode::ShuttingDown) => format!("{place}: it is stopping"),
                _ => format!("{place}: {error}"),
            },
        }
    };
    let rest = (!silent.0.is_empty()).then(|| format!("no answer from {silent}"));
    tried.iter().map(one).chain(rest).collect::<Vec<_>>().join("; ")
}

/// With which TLS alert a handshake ended (RFC 9001 §4.8).
fn tls_alert(error: &quinn::ConnectionError) -> Option<u64> {
    let code = match error {
        quinn::ConnectionError::TransportError(error) => error.code,
        quinn::ConnectionError::ConnectionClosed(close) => close.error_code,
        _ => return None,
    };
    u64::from(code).checked_sub(0x100).filter(|alert| *alert < 0x100)
}

/// `no_application_protocol` (RFC 8446 §6.2); the others that come are about the certificate, which names the node.
const NO_COMMON_PROTOCOL: u64 = 120;
/// For TLS at every address. Longer than any way through a LAN takes; meanwhile other attempts begin.
const PATIENCE: Duration = Duration::from_secs(3);
/// What every direct address gets before the swarm is tried as well.
const DIRECT_FIRST: Duration = Duration::from_millis(600);
/// What a better address gets before the next one is tried as well.
const HEADSTART: Duration = Duration::from_millis(40);
