//! What a session passes on besides mail: rosters, where other members were last reached, and where swarms listen.

use super::Session;
use crate::mesh::faults::Fault;
use crate::mesh::relay;
use crate::mesh::roster::{self, PartOutcome};
use amesh_proto::member::list::Statements;
use amesh_proto::node_id::NodeId;
use amesh_proto::wire::{
    Frame, Greeting, Neighbour, Neighbours, RosterPart, RosterPull, RosterVersion, Software, SwarmAddresses,
};
use std::collections::BTreeSet;
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
        self.members_there = membership.list().digest();
        drop(membership);
        self.out.retain(|frame| !matches!(frame, Frame::Members(_) | Frame::Secret(_)));
        self.out.push_back(members);
        self.out.extend(secret);
    }

    /// The member list is another now: passed on, unless the other end is known to have it.
    pub(super) fn members_changed(&mut self) {
        let membership = self.shared.membership();
        let digest = membership.list().digest();
        if self.members_there != digest {
            self.members_there = digest;
            self.out.push_back(Frame::Members(membership.list().statements()));
        }
        drop(membership);
        for (node, version) in std::mem::take(&mut self.unknown) {
            self.want(RosterVersion { node, version });
        }
        let told = std::mem::take(&mut self.unmet).into_iter();
        self.meet(Neighbours(told.map(|(node, addresses)| Neighbour { node, addresses }).collect()));
    }

    /// The other end's list. Where the two are one now, it need not hear of it again.
    pub(super) fn on_members(&mut self, statements: &Statements) {
        let mut membership = self.shared.membership();
        let changed = match membership.on_members(statements) {
            Ok(changed) => changed,
            Err(error) => {
                drop(membership);
                tracing::warn!(peer = %self.node, %error, "its member list was not taken");
                return self.shared.fault(&self.node, Fault::Members);
            }
        };
        let (known, told) =
            (membership.list().counts(), (statements.entries.len(), statements.removals.len()));
        if known == told {
            self.members_there = membership.list().digest();
        }
        drop(membership);
        self.shared.apply_soon(changed);
    }

    /// Tells of the rosters that changed since this link last told.
    pub(super) fn tell_of_rosters(&mut self) {
        let (changed, told) = self.shared.rosters.tidings(&self.shared, self.told);
        self.told = told;
        if !changed.0.is_empty() {
            self.out.push_back(Frame::RosterAdvert(changed));
        }
    }

    pub(super) fn want(&mut self, offered: RosterVersion) {
        if offered.node == self.shared.identity.node_id() {
            return;
        }
        if !self.shared.is_member(&offered.node) {
            // The word that it has joined may come by another way, and a little later.
            if self.unknown.len() < UNKNOWN || self.unknown.contains_key(&offered.node) {
                let version = self.unknown.entry(offered.node).or_default();
                *version = offered.version.max(*version);
            }
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

    /// Where these members were reached just now, for one that is not linked with them.
    pub(super) fn tell_of_addresses(&mut self, reached: &BTreeSet<NodeId>) {
        let told = |node: &NodeId| {
            let mut addresses = self.shared.peers.get(node)?.addresses;
            addresses.retain(|address| self.shared.may_pass_on(address));
            (!addresses.is_empty()).then_some(Neighbour { node: *node, addresses })
        };
        let told: Vec<Neighbour> =
            reached.iter().filter(|node| **node != self.node).filter_map(told).collect();
        if !told.is_empty() {
            self.out.push_back(Frame::Neighbours(Neighbours(told)));
        }
    }

    /// Where other members were last reached, for one that cannot hear them itself.
    pub(super) fn neighbours(&self) -> Vec<Frame> {
        let table = self.shared.peers.all().into_iter().filter(|(node, _)| *node != self.node);
        let known: Vec<Neighbour> = table
            .map(|(node, mut entry)| {
                entry.addresses.retain(|address| self.shared.may_pass_on(address));
                Neighbour { node, addresses: entry.addresses }
            })
            .filter(|known| !known.addresses.is_empty())
            .collect();
        let frames = known.chunks(Neighbours::LIMIT);
        frames.map(|known| Frame::Neighbours(Neighbours(known.to_vec()))).collect()
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

    pub(super) fn meet(&mut self, neighbours: Neighbours) {
        for Neighbour { node, mut addresses } in neighbours.0 {
            addresses.truncate(Neighbours::ADDRESS_LIMIT);
            if self.shared.is_member(&node) {
                self.hear_of(node, addresses);
            } else if self.unmet.len() < UNKNOWN || self.unmet.contains_key(&node) {
                self.unmet.insert(node, addresses);
            }
        }
    }

    /// Where a member was reached by another one.
    fn hear_of(&self, node: NodeId, addresses: Vec<SocketAddr>) {
        let shared = &self.shared;
        if node == shared.identity.node_id() || shared.is_linked(&node) {
            return;
        }
        let mut fresh = false;
        for address in addresses {
            if shared.may_pass_on(&address) {
                fresh |= shared.peers.hear_of_address(&node, address);
            }
        }
        // One that has only just joined has no task yet: it begins with these addresses.
        if let Some(handle) = shared.peers.handle(&node) {
            handle.tell(|news| news.life = true);
        }
        if fresh {
            shared.pass_on_addresses(node);
        }
    }
}

/// Nodes that are not known as members yet and of which a link remembers what it was told.
const UNKNOWN: usize = 1024;
