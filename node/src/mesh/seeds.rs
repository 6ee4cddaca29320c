//! Addresses whose node is not known before it answers: those the owner named with `--peer`, and in a mesh that is
//! open by secret whoever announces it. Each is dialled; who answers decides what follows. Run by `mod` as one task.

use super::endpoint::{self, CloseCode, Purpose};
use super::greet;
use super::peers::Stranger;
use super::shared::Shared;
use crate::message::retry::{self, Backoff, Kind};
use amesh_proto::node_id::NodeId;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Wakes the task when there is a reason to look again at once.
#[derive(Debug, Default)]
pub(crate) struct Seeds {
    poked: Notify,
}

/// What is known of one address.
struct Seed {
    backoff: Backoff,
    /// Who answered last.
    node: Option<NodeId>,
}

impl Seeds {
    /// Addresses are new, or may answer again.
    pub(crate) fn poke(&self) {
        self.poked.notify_one();
    }
}

/// Dials what is due until cancelled.
pub(crate) async fn run(shared: Arc<Shared>) {
    let own = shared.identity.node_id();
    let mut seeds: BTreeMap<SocketAddr, Seed> = BTreeMap::new();
    loop {
        let wanted = wanted(&shared);
        seeds.retain(|address, _| wanted.contains(address));
        let now = shared.clock.monotonic();
        for address in wanted {
            let seed = seeds
                .entry(address)
                .or_insert_with(|| Seed { backoff: Backoff::new(Kind::Peer, PACE), node: None });
            // One list of seeds may serve every machine, this one included.
            let met = seed.node.is_some_and(|node| node == own || shared.is_linked(&node));
            if !met && seed.backoff.is_due(now, false) {
                seed.backoff.failed(now, rand::random());
                seed.node = knock(&shared, address).await.or(seed.node);
            }
        }
        if tokio::time::timeout(LOOK, shared.seeds.poked.notified()).await.is_ok() {
            for seed in seeds.values_mut() {
                seed.backoff.sign_of_life();
                // This machine's addresses may have become another's.
                seed.node = seed.node.filter(|node| *node != own);
            }
        }
    }
}

/// Addresses to try. A mesh of one that is not open has nobody to meet.
fn wanted(shared: &Shared) -> Vec<SocketAddr> {
    let Some(lookout) = &shared.lookout else { return Vec::new() };
    let mut wanted = lookout.seeds();
    if shared.is_open() {
        let hint = Some(shared.mesh_id().short_hash());
        let announced = lookout.neighbours().into_iter().filter(|neighbour| neighbour.mesh_hint == hint);
        let unlisted = announced.filter(|neighbour| !shared.is_member(&neighbour.node));
        wanted.extend(unlisted.flat_map(|neighbour| neighbour.addresses));
    }
    wanted.retain(|address| shared.endpoint.can_reach(address));
    wanted.truncate(LIMIT);
    wanted
}

/// Dials `address` and links with whoever answers, if that is a member. Says who it is.
async fn knock(shared: &Arc<Shared>, address: SocketAddr) -> Option<NodeId> {
    let dialed = tokio::time::timeout(PATIENCE, shared.endpoint.dial(address, None, Purpose::Link)).await;
    let Ok(Ok(connection)) = dialed else {
        shared.silent(address);
        return None;
    };
    let node = endpoint::peer_of(&connection)?;
    let known = shared.is_member(&node);
    if node == shared.identity.node_id() || shared.is_linked(&node) || !(known || shared.is_open()) {
        connection.close(CloseCode::Done.into(), b"");
        if !known && node != shared.identity.node_id() {
            let reason =
                "it answers at an address named with --peer and is not a member of this mesh".to_owned();
            shared.peers.stranger(node, Stranger { address, last_seen: shared.clock.now(), reason });
        }
        return Some(node);
    }
    match greet::dial(shared, &connection, node).await {
        Ok(link) => shared.adopt(link).await,
        Err(error) => {
            tracing::debug!(%address, %error, "a seed did not link");
            connection.close(error.close_code().into(), b"");
        }
    }
    Some(node)
}

/// Seeds replace multicast where it is blocked: a host that starts must be found soon.
const PACE: retry::Config =
    retry::Config { first_ms: 500, idle_cap_s: 10, waiting_cap_s: 10, provider_cap_s: 10 };
const LOOK: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(2);
const LIMIT: usize = 256;
