//! Agents of HTTP hosts (AMP 06a) and of other providers, which keep no roster: what this node was told of them and has pinned
//! (MSH-3, FED-11). Part of the picture; filled by `bridge` and `federation`.

use amesh_proto::address::Address;
use amesh_proto::key::PublicKey;
use amesh_proto::time::UnixMillis;
use std::collections::HashMap;
use std::sync::Arc;

/// An agent of an HTTP host, as this node remembers it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outsider {
    /// The host, by the name the owner gave it; nothing once the owner has forgotten it.
    pub host: Option<Arc<str>>,
    /// The key that verified its first message; every later one is held against it.
    pub key: Option<PublicKey>,
    /// Keys that the owner has forgotten, and when: they judged the mail that came before.
    pub former: Vec<(PublicKey, UnixMillis)>,
}

/// An agent of another provider, as this node remembers it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Foreigner {
    /// Its provider's domain.
    pub provider: Arc<str>,
    /// The key that verified its first message; another is a conflict.
    pub key: Option<PublicKey>,
    /// Keys that the owner has forgotten, and when: they judged the mail that came before.
    pub former: Vec<(PublicKey, UnixMillis)>,
    /// Keys that are in other hands, and since when that is known: nothing is believed of them any more.
    pub revoked: Vec<(PublicKey, UnixMillis)>,
}

impl Foreigner {
    /// The key that judged mail that was accepted at `at`.
    pub(super) fn key_at(&self, at: UnixMillis) -> Option<PublicKey> {
        valid_at(&self.former, self.key.as_ref(), at)
    }
}

fn valid_at(
    former: &[(PublicKey, UnixMillis)],
    key: Option<&PublicKey>,
    at: UnixMillis,
) -> Option<PublicKey> {
    let of_that_time = former.iter().filter(|(_, until)| *until > at).min_by_key(|(_, until)| *until);
    of_that_time.map(|(key, _)| key).or(key).cloned()
}

impl Outsider {
    /// The key that judged mail that was accepted at `at`.
    pub(super) fn key_at(&self, at: UnixMillis) -> Option<PublicKey> {
        valid_at(&self.former, self.key.as_ref(), at)
    }
}

/// See the module. Whoever fills it bounds it.
#[derive(Debug, Default)]
pub(super) struct Outside {
    /// Names and aliases, each with the name of its host.
    hosts: HashMap<String, Arc<str>>,
    agents: HashMap<Address, Outsider>,
    foreigners: HashMap<Address, Foreigner>,
}

impl Outside {
    pub(super) fn set_hosts(&mut self, hosts: HashMap<String, Arc<str>>) {
        self.hosts = hosts;
    }

    pub(super) fn host(&self, label: &str) -> Option<Arc<str>> {
        self.hosts.get(label).cloned()
    }

    pub(super) fn agent(&self, address: &Address) -> Option<&Outsider> {
        self.agents.get(address)
    }

    pub(super) fn put(&mut self, address: Address, agent: Outsider) {
        self.agents.insert(address, agent);
    }

    pub(super) fn foreigner(&self, address: &Address) -> Option<&Foreigner> {
        self.foreigners.get(address)
    }

    pub(super) fn forget_foreigner(&mut self, address: &Address) {
        self.foreigners.remove(address);
    }

    pub(super) fn put_foreigner(&mut self, address: Address, agent: Foreigner) {
        self.foreigners.insert(address, agent);
    }

    pub(super) fn count(&self) -> usize {
        self.agents.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use amesh_proto::key::AgentKey;

    #[test]
    fn mail_that_came_before_a_key_was_forgotten_is_judged_by_that_key() {
        let key = |seed| AgentKey::from_seed(&[seed; 32]).public();
        let former = vec![(key(2), UnixMillis(200)), (key(1), UnixMillis(100))];
        let agent = Outsider { host: None, key: Some(key(3)), former };
        let judged = |at| agent.key_at(UnixMillis(at)).unwrap();
        assert_eq!((judged(50), judged(150), judged(200)), (key(1), key(2), key(3)));
    }
}
