//! Who knocks at the mesh port: bounded handshakes, then the greeting of a link or the joining of a newcomer. A
//! stranger costs a handshake at most, and learns nothing but that it was refused. Run by `mod` as one task.

use super::endpoint::{self, CloseCode, Purpose};
use super::greet;
use super::join;
use super::peers::Stranger;
use super::shared::Shared;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Accepts until the endpoint is closed.
pub(crate) async fn run(shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(HANDSHAKES));
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
        let guest = shared.clone();
        shared.tasks.spawn(async move {
            let _place = place;
            welcome(&guest, incoming).await;
        });
    }
}

async fn welcome(shared: &Arc<Shared>, incoming: quinn::Incoming) {
    let address = incoming.remote_address();
    let connection = match tokio::time::timeout(HANDSHAKE, async { incoming.await }).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            tracing::debug!(%address, %error, "handshake failed");
            return;
        }
        Err(_) => {
            tracing::debug!(%address, "handshake took too long");
            return;
        }
    };
    let (Some(node), Some(purpose)) = (endpoint::peer_of(&connection), endpoint::purpose_of(&connection))
    else {
        connection.close(CloseCode::Protocol.into(), b"");
        return;
    };
    match purpose {
        Purpose::Join => join::host(shared, connection, node).await,
        Purpose::Link => match greet::listen(shared, &connection, node).await {
            Ok(link) => shared.adopt(link).await,
            Err(error) => {
                if shared.is_member(&node) {
                    // It dialled twice, or the path broke.
                    tracing::debug!(%address, %node, %error, "a member did not link");
                } else {
                    tracing::info!(%address, %node, %error, "not let in");
                    shared.peers.stranger(node, Stranger { address, last_seen: shared.clock.now() });
                }
                connection.close(error.close_code().into(), b"");
            }
        },
    }
}

/// Handshakes and greetings under way at a time.
const HANDSHAKES: usize = 64;
/// For TLS alone.
const HANDSHAKE: Duration = Duration::from_secs(5);
