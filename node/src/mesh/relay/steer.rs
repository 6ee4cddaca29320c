//! Tells the swarm who the members are and which of them have no direct link, and the members where the swarm listens.
//! Run by `mod` as one task; a change of membership is told at once, by `changes`.

use super::is_relayed;
use crate::mesh::peers::LinkState;
use crate::mesh::shared::Shared;
use amesh_proto::node_id::NodeId;
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// Steers until cancelled.
pub(super) async fn run(shared: Arc<Shared>) {
    let Some(relay) = &shared.relay else { return };
    let mut listening = relay.swarm.listening();
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = look.tick() => shared.steer_swarm(),
            moved = listening.changed() => {
                if moved.is_err() {
                    return;
                }
                shared.peers.tell_all(|news| news.swarm = true);
            }
        }
    }
}

impl Shared {
    /// Tells the swarm who is in the mesh, and who is sought.
    pub(crate) fn steer_swarm(&self) {
        let Some(relay) = &self.relay else { return };
        let members = self.swarm_members();
        let table = self.peers.all();
        let direct = |node: &NodeId| {
            table.get(node).is_some_and(
                |entry| matches!(&entry.state, LinkState::Connected { address, .. } if !is_relayed(address)),
            )
        };
        let now = self.clock.monotonic();
        let mut missed = relay.missed_since.lock().unwrap_or_else(PoisonError::into_inner);
        let is_missed = |node: &NodeId| !direct(node) && self.wants(node);
        missed.retain(|node, _| members.contains(node) && is_missed(node));
        for node in members.iter().filter(|node| is_missed(node)) {
            missed.entry(*node).or_insert(now);
        }
        // Multicast and the addresses of last time come first: on one LAN they are all it takes.
        let wanted = missed.iter().filter(|(_, since)| now >= **since + GRACE);
        let wanted: BTreeSet<NodeId> = wanted.map(|(node, _)| *node).take(WANTED).collect();
        drop(missed);
        relay.socket.retain(|node| members.contains(node));
        relay.swarm.follow(members, wanted);
    }

    fn swarm_members(&self) -> BTreeSet<NodeId> {
        let membership = self.membership();
        if membership.list().member(&membership.id()).is_none() {
            return BTreeSet::new();
        }
        let others = membership.others().map(|member| member.node);
        others.filter(|node| membership.admits(node)).collect()
    }
}

const LOOK: Duration = Duration::from_secs(1);
/// What every other way of finding a member gets first.
const GRACE: Duration = Duration::from_secs(2);
/// Members sought at a time.
const WANTED: usize = 64;
