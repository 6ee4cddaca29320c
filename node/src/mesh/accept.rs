//! Who knocks at the mesh port: bounded handshakes, then the greeting of a link or the joining of a newcomer. A
//! stranger costs a handshake at most, and learns nothing but that it was refused. Run by `mod` as one task.

use super::endpoint::{self, CloseCode, Purpose};
use super::faults::Fault;
use super::greet;
use super::join;
use super::peers::Stranger;
use super::relay;
use super::shared::Shared;
use amesh_proto::node_id::NodeId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Accepts until the endpoint is closed.
pub(crate) async fn run(shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(HANDSHAKES));
    let hall = Arc::new(Hall { visitors: Semaphore::new(VISITORS), members: Mutex::default() });
    while let Some(incoming) = shared.endpoint.incoming().await {
        let Ok(place) = places.clone().try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        // Under pressure an address must prove that it is one before it costs anything.
        if places.available_permits() < HANDSHAKES / 2 && incoming.may_retry() {
            let _asked_again = incoming.retry().is_ok();
            continue;
        }
        let (guest, hall) = (shared.clone(), hall.clone());
        shared.tasks.spawn(async move {
            let shaken = shake_hands(incoming).await;
            // From here on members are never kept waiting by strangers.
            drop(place);
            if let Some((connection, node, purpose)) = shaken {
                welcome(&guest, &hall, connection, node, purpose).await;
            }
        });
    }
}

/// TLS: who it is and what it wants.
async fn shake_hands(incoming: quinn::Incoming) -> Option<(quinn::Connection, NodeId, Purpose)> {
    let address = incoming.remote_address();
    let connection = match tokio::time::timeout(HANDSHAKE, async { incoming.await }).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            tracing::debug!(%address, %error, "handshake failed");
            return None;
        }
        Err(_) => {
            tracing::debug!(%address, "handshake took too long");
            return None;
        }
    };
    let (Some(node), Some(purpose)) = (endpoint::peer_of(&connection), endpoint::purpose_of(&connection))
    else {
        connection.close(CloseCode::Protocol.into(), b"");
        return None;
    };
    // What the swarm carries is from the member that opened the stream, or from nobody.
    if relay::is_relayed(&address) && address != relay::address_of(&node) {
        connection.close(CloseCode::Refused.into(), b"");
        return None;
    }
    Some((connection, node, purpose))
}

async fn welcome(
    shared: &Arc<Shared>,
    hall: &Hall,
    connection: quinn::Connection,
    node: NodeId,
    purpose: Purpose,
) {
    let visit = if shared.is_member(&node) {
        let visit = hall.member(node);
        if visit.is_none() {
            shared.fault(&node, Fault::Flood("connections"));
        }
        visit
    } else {
        hall.visitors.try_acquire().ok().map(Visit::Stranger)
    };
    let Some(_visit) = visit else {
        connection.close(CloseCode::Busy.into(), b"");
        return;
    };
    let address = connection.remote_address();
    match purpose {
        Purpose::Join => join::host(shared, connection, node).await,
        Purpose::Link => match greet::listen(shared, &connection, node).await {
            Ok(link) => shared.adopt(link).await,
            Err(error) => {
                if shared.is_member(&node) {
                    // It dialled twice, or the path broke.
                    if let Some(fault) = Fault::of_greeting(&error) {
                        shared.fault(&node, fault);
                    }
                    tracing::debug!(%address, %node, %error, "a member did not link");
                } else {
                    tracing::info!(%address, %node, %error, "not let in");
                    let (last_seen, reason) = (shared.clock.now(), format!("it knocked: {error}"));
                    shared.peers.stranger(node, Stranger { address, last_seen, reason });
                }
                connection.close(error.close_code().into(), b"");
            }
        },
    }
}

/// Who is being greeted. No stranger takes a member's place, and no member another's.
struct Hall {
    visitors: Semaphore,
    members: Mutex<BTreeMap<NodeId, usize>>,
}

/// A place in the hall, held while the greeting lasts.
enum Visit<'a> {
    Stranger(#[expect(dead_code, reason = "held for its place")] SemaphorePermit<'a>),
    Member(&'a Hall, NodeId),
}

impl Hall {
    /// A place for a connection of `node`, unless it has too many.
    fn member(&self, node: NodeId) -> Option<Visit<'_>> {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let here = members.entry(node).or_default();
        if *here >= OF_ONE_MEMBER {
            return None;
        }
        *here += 1;
        drop(members);
        Some(Visit::Member(self, node))
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        let Self::Member(hall, node) = self else { return };
        let mut members = hall.members.lock().unwrap_or_else(PoisonError::into_inner);
        let left = members.get(node).map_or(0, |here| here.saturating_sub(1));
        if left == 0 {
            members.remove(node);
        } else {
            members.insert(*node, left);
        }
    }
}

/// Greetings of one member at a time: more than a race to all its addresses leaves behind.
const OF_ONE_MEMBER: usize = 32;
/// Greetings and joinings of nodes that are no members, at a time.
const VISITORS: usize = 16;
/// Handshakes under way at a time.
const HANDSHAKES: usize = 64;
/// For TLS alone.
const HANDSHAKE: Duration = Duration::from_secs(5);
