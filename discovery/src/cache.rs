//! What the sources said, for how long it holds, and which addresses did not answer. Owned by `manager`.
//!
//! Times are elapsed time handed in by the caller, so that tests need no clock. Every table has a limit: the local
//! network is full of strangers (DESIGN §1.8).

use crate::finder::{Candidate, Source};
use amesh_proto::node_id::NodeId;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// How long a source's word holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// How long an address is offered after the source last stood by it.
    pub positive: Duration,
    /// How long an address that did not answer ranks last, and how long a source that knew nothing is not asked again.
    pub negative: Duration,
}

impl Source {
    /// The times of this source.
    #[must_use]
    pub fn times(self) -> Times {
        let (positive, negative) = match self {
            // Resolved again every five minutes; the owner's word outlives a name server that is down.
            Self::Static => (Duration::from_secs(3600), Duration::from_secs(15)),
            // Counts from the goodbye or time-out: until then the medium itself keeps the record fresh.
            Self::Mdns => (Duration::from_secs(600), Duration::from_secs(15)),
            // Counts from the end of the connection.
            Self::Libp2p => (Duration::from_secs(600), Duration::from_secs(15)),
            Self::Memory => (Duration::from_secs(60), Duration::from_secs(5)),
        };
        Times { positive, negative }
    }
}

/// One source's word on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Where it may answer.
    pub addresses: Vec<SocketAddr>,
    /// The host label it shows.
    pub label: Option<String>,
    /// The mesh it claims.
    pub mesh_hint: Option<[u8; 8]>,
    /// The source sees it now; otherwise it saw it lately.
    pub live: bool,
    until: Option<Duration>,
}

impl Sighting {
    fn of(candidate: &Candidate, now: Duration) -> Self {
        let mut addresses = candidate.addresses.clone();
        addresses.truncate(MAX_ADDRESSES);
        Self {
            addresses,
            label: candidate.label.clone(),
            mesh_hint: candidate.mesh_hint,
            live: true,
            until: candidate.expires_in.map(|time| now + time),
        }
    }

    fn holds(&self, now: Duration) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    fn says_the_same(&self, other: &Self) -> bool {
        let facts = |s: &Self| (s.addresses.clone(), s.label.clone(), s.mesh_hint, s.live);
        facts(self) == facts(other)
    }
}

/// All that the sources said and still holds.
#[derive(Debug, Default)]
pub struct Cache {
    nodes: HashMap<NodeId, BTreeMap<Source, Sighting>>,
    seeds: HashMap<SocketAddr, (Source, Duration)>,
    silent: HashMap<SocketAddr, Duration>,
    unanswered: HashMap<(Source, NodeId), Duration>,
}

impl Cache {
    /// Takes in what a source said; `true` when it is news. A full table takes no stranger more.
    pub fn learn(&mut self, candidate: &Candidate, now: Duration) -> bool {
        let Some(node) = candidate.node else { return self.learn_seeds(candidate, now) };
        if !self.nodes.contains_key(&node) && self.nodes.len() >= MAX_NODES {
            self.expire(now);
            if self.nodes.len() >= MAX_NODES {
                return false;
            }
        }
        let sighting = Sighting::of(candidate, now);
        self.unanswered.remove(&(candidate.source, node));
        let before = self.nodes.entry(node).or_default().insert(candidate.source, sighting.clone());
        let news = before.is_none_or(|before| !before.holds(now) || !before.says_the_same(&sighting));
        if news {
            // It moved or came back: what was silent may answer.
            for address in &sighting.addresses {
                self.silent.remove(address);
            }
        }
        news
    }

    fn learn_seeds(&mut self, candidate: &Candidate, now: Duration) -> bool {
        let until = now + candidate.expires_in.unwrap_or_else(|| candidate.source.times().positive);
        let mut news = false;
        for address in candidate.addresses.iter().take(MAX_ADDRESSES) {
            if self.seeds.len() >= MAX_SEED_ADDRESSES && !self.seeds.contains_key(address) {
                self.seeds.retain(|_, (_, until)| now < *until);
            }
            if self.seeds.len() < MAX_SEED_ADDRESSES || self.seeds.contains_key(address) {
                let before = self.seeds.insert(*address, (candidate.source, until));
                news |= before.is_none_or(|(_, until)| until <= now);
            }
        }
        news
    }

    /// The source no longer sees the node: its addresses are kept for the positive time, ranked last.
    /// `true` when it was live before.
    pub fn lose(&mut self, node: &NodeId, source: Source, now: Duration) -> bool {
        let Some(sighting) = self.nodes.get_mut(node).and_then(|by_source| by_source.get_mut(&source)) else {
            return false;
        };
        let was_live = sighting.live && sighting.holds(now);
        sighting.live = false;
        let kept = now + source.times().positive;
        sighting.until = Some(sighting.until.map_or(kept, |until| until.min(kept)));
        was_live
    }

    /// Drops what no longer holds; returns who went silently, so that it can be told.
    pub fn expire(&mut self, now: Duration) -> Vec<(NodeId, Source)> {
        let mut gone = Vec::new();
        self.nodes.retain(|node, by_source| {
            by_source.retain(|source, sighting| {
                let holds = sighting.holds(now);
                if !holds && sighting.live {
                    gone.push((*node, *source));
                }
                holds
            });
            !by_source.is_empty()
        });
        self.seeds.retain(|_, (_, until)| now < *until);
        self.silent.retain(|_, until| now < *until);
        self.unanswered.retain(|_, until| now < *until);
        gone
    }

    /// Addresses of `node`, the most promising first: those that answered or were not tried before the silent, live
    /// before lost, the owner's word before multicast, a LAN address before a scoped or loopback one.
    #[must_use]
    pub fn addresses(&self, node: &NodeId, now: Duration) -> Vec<SocketAddr> {
        let mut ranked = Vec::new();
        for (source, sighting) in self.nodes.get(node).into_iter().flatten() {
            if sighting.holds(now) {
                let rank =
                    |a: &SocketAddr| (self.is_silent(a, now), !sighting.live, *source, remoteness(a.ip()));
                ranked.extend(sighting.addresses.iter().map(|address| (rank(address), *address)));
            }
        }
        in_order(ranked)
    }

    /// Addresses whose owner is unknown before they are dialled, the silent last.
    #[must_use]
    pub fn seeds(&self, now: Duration) -> Vec<SocketAddr> {
        let holding = self.seeds.iter().filter(|(_, (_, until))| now < *until);
        in_order(
            holding
                .map(|(a, (source, _))| ((self.is_silent(a, now), *source, remoteness(a.ip())), *a))
                .collect(),
        )
    }

    /// Everybody that a source sees now, with what each source says.
    #[must_use]
    pub fn live(&self, now: Duration) -> Vec<(NodeId, BTreeMap<Source, Sighting>)> {
        let mut live: Vec<_> = self
            .nodes
            .iter()
            .filter_map(|(node, by_source)| {
                let seen = by_source.iter().filter(|(_, sighting)| sighting.live && sighting.holds(now));
                let seen: BTreeMap<_, _> =
                    seen.map(|(source, sighting)| (*source, sighting.clone())).collect();
                (!seen.is_empty()).then_some((*node, seen))
            })
            .collect();
        live.sort_by_key(|(node, _)| *node);
        live
    }

    /// Notes that nobody (or somebody else) answered at `address`: it ranks last for the negative time.
    pub fn note_silent(&mut self, address: SocketAddr, source: Source, now: Duration) {
        if self.silent.len() >= MAX_SILENT {
            self.silent.retain(|_, until| now < *until);
        }
        if self.silent.len() < MAX_SILENT {
            self.silent.insert(address, now + source.times().negative);
        }
    }

    /// Notes that `address` answered.
    pub fn note_answered(&mut self, address: &SocketAddr) {
        self.silent.remove(address);
    }

    /// Forgets which addresses were silent: the network changed.
    pub fn forget_silence(&mut self) {
        self.silent.clear();
        self.unanswered.clear();
    }

    /// Whether `source` should be asked about `node` now; a `true` starts its negative time.
    pub fn may_ask(&mut self, source: Source, node: &NodeId, now: Duration) -> bool {
        let sees = self.nodes.get(node).and_then(|by_source| by_source.get(&source));
        let asked = self.unanswered.get(&(source, *node)).is_some_and(|until| now < *until);
        if asked || sees.is_some_and(|sighting| sighting.live && sighting.holds(now)) {
            return false;
        }
        if self.unanswered.len() >= MAX_NODES {
            self.unanswered.retain(|_, until| now < *until);
        }
        if self.unanswered.len() >= MAX_NODES {
            return false;
        }
        self.unanswered.insert((source, *node), now + source.times().negative);
        true
    }

    /// The source that named `address`, the best one if several did.
    #[must_use]
    pub fn source_of(&self, address: &SocketAddr) -> Option<Source> {
        let seed = self.seeds.get(address).map(|(source, _)| *source);
        let named =
            self.nodes.values().flatten().filter(|(_, sighting)| sighting.addresses.contains(address));
        named.map(|(source, _)| *source).chain(seed).min()
    }

    fn is_silent(&self, address: &SocketAddr, now: Duration) -> bool {
        self.silent.get(address).is_some_and(|until| now < *until)
    }
}

/// Sorted by rank, each address once, at its best rank.
fn in_order<R: Ord>(mut ranked: Vec<(R, SocketAddr)>) -> Vec<SocketAddr> {
    ranked.sort();
    let mut addresses = Vec::with_capacity(ranked.len());
    for (_, address) in ranked {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

/// How unlikely an address is to lead to another machine. Scoped IPv6 needs the right interface; loopback needs the
/// same machine.
fn remoteness(ip: IpAddr) -> u8 {
    match ip {
        _ if ip.is_loopback() => 3,
        IpAddr::V4(v4) if v4.is_link_local() => 2,
        IpAddr::V4(_) => 0,
        IpAddr::V6(v6) if v6.is_unicast_link_local() => 2,
        IpAddr::V6(_) => 1,
    }
}

const MAX_NODES: usize = 4096;
const MAX_SEED_ADDRESSES: usize = 1024;
const MAX_SILENT: usize = 4096;
const MAX_ADDRESSES: usize = 16;

#[cfg(test)]
mod tests;
