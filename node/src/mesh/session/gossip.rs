//! What a session passes on besides mail: rosters, where other members were last reached, and where swarms listen.

use super::Session;
use crate::mesh::faults::Fault;
use crate::mesh::relay;
use crate::mesh::roster::{self, PartOutcome};
use amesh_proto::node_id::NodeId;
use amesh_proto::wire::{
    Frame, Greeting, Neighbour, Neighbours, RosterPart, RosterPull, RosterVersion, Software, SwarmAddresses,
};
use std::net::SocketAddr;
use std::time::Duration;

impl Session {
    /// What changed in the membership between the greeting and now; there was no session yet to be told of it.
    pub(super) fn catch_up(&mut self, greeting: &Greeting) {
        let membership = self.shared.membership();
        // One that is just being removed must not be given what its removal begins.
        if greeting.members == membership.list().digest() || !membership.admits(&self.node) {
            return;
        }
        let members = Frame::Members(membership.list().statements());
        let secret = membership.secret_frame();
        drop(membership);
        self.out.retain(|frame| !matches!(frame, Frame::Members(_) | Frame::Secret(_)));
        self.out.push_back(members);
        self.out.extend(secret);
    }

    pub(super) fn want(&mut self, offered: RosterVersion) {
        if !self.shared.is_member(&offered.node) || offered.node == self.shared.identity.node_id() {
            return;
        }
        let held = self.shared.rosters.version_of(&offered.node).unwrap_or(0);
        let pull = self.sync.want(offered, held, self.shared.clock.monotonic());
        self.out.extend(pull.map(Frame::RosterPull));
    }

    pub(super) fn answer(&mut self, pull: RosterPull) {
        let held = self.shared.rosters.of(&self.shared, &pull.node);
        let parts = roster::answer(pull, held.map(|held| (*held).clone()));
        self.out.extend(parts.into_iter().map(|part| Frame::RosterPart(Box::new(part))));
    }

    pub(super) fn on_part(&mut self, part: RosterPart, now: Duration) {
        let shared = self.shared.clone();
        let held = |node: &NodeId| shared.rosters.of(&shared, node).map(|held| (*held).clone());
        let node = part.node;
        match self.sync.on_part(part, held, now) {
            PartOutcome::Nothing => {}
            PartOutcome::Pull(pull) => self.out.push_back(Frame::RosterPull(pull)),
            PartOutcome::Failed(fault) => {
                tracing::warn!(peer = %self.node, of = %node, %fault, "roster not taken");
                shared.fault(&self.node, Fault::Roster(fault));
            }
            PartOutcome::Install(verified) => {
                self.installing.push(Box::pin(async move {
                    let installed = shared.rosters.install(&shared, *verified).await;
                    let failed = |error: &_| tracing::error!(%error, "a roster could not be kept");
                    (node, installed.inspect_err(failed).ok())
                }));
            }
        }
    }

    /// Where other members were last reached, for one that cannot hear them itself.
    pub(super) fn neighbours(&self) -> Option<Frame> {
        let known = self
            .shared
            .peers
            .all()
            .into_iter()
            .filter(|(node, entry)| *node != self.node && !entry.addresses.is_empty());
        let known: Vec<Neighbour> = known
            .take(Neighbours::LIMIT)
            .map(|(node, mut entry)| {
                entry.addresses.retain(|address| self.shared.may_pass_on(address));
                Neighbour { node, addresses: entry.addresses }
            })
            .collect();
        (!known.is_empty()).then(|| Frame::Neighbours(Neighbours(known)))
    }

    /// Where this node's swarm listens, if it does.
    pub(super) fn own_swarm(&self) -> Option<Frame> {
        let mut addresses = self.shared.relay.as_ref()?.swarm.listening().borrow().clone();
        addresses.retain(|address| self.shared.may_pass_on(address));
        addresses.truncate(SwarmAddresses::LIMIT);
        (!addresses.is_empty()).then_some(Frame::Swarm(SwarmAddresses(addresses)))
    }

    /// What the other end says that it runs.
    pub(super) fn runs(&self, Software(mut version): Software) {
        version.truncate(version.floor_char_boundary(Software::LIMIT));
        self.shared.peers.update(&self.node, |entry| entry.software = Some(version));
    }

    /// The other end's swarm: first of all at the address at which the other end answers.
    pub(super) fn meet_swarm(&self, told: SwarmAddresses) {
        let Some(relay) = &self.shared.relay else { return };
        let far = self.connection.remote_address();
        let here = told.0.first().filter(|_| !relay::is_relayed(&far));
        let here = here.map(|first| SocketAddr::new(far.ip().to_canonical(), first.port()));
        let mut addresses: Vec<SocketAddr> = here.into_iter().collect();
        for address in told.0.into_iter().take(SwarmAddresses::LIMIT) {
            if self.shared.may_pass_on(&address) && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        relay.swarm.meet(self.node, addresses);
    }

    pub(super) fn meet(&self, neighbours: Neighbours) {
        let shared = &self.shared;
        for Neighbour { node, addresses } in neighbours.0.into_iter().take(Neighbours::LIMIT) {
            if !shared.is_member(&node) || node == shared.identity.node_id() || shared.is_linked(&node) {
                continue;
            }
            for address in addresses.into_iter().take(Neighbours::ADDRESS_LIMIT) {
                if shared.may_pass_on(&address) {
                    shared.peers.hear_of_address(&node, address);
                }
            }
            // One that has only just joined has no task yet: it begins with these addresses.
            if let Some(handle) = shared.peers.handle(&node) {
                handle.tell(|news| news.life = true);
            }
        }
    }
}
