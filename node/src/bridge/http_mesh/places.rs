//! At which HTTP host an agent lives (MSH-3, IPR-5): hosts are asked by name, all at once, and what they say is believed for a
//! while. Asked by the hallway before it plans, and by `sender` about those who write.

use super::Shared;
use super::host::Host;
use crate::message::{Elsewhere, Whereabouts};
use amesh_proto::address::Address;
use amesh_proto::api::http_mesh::NamedAgent;
use futures_util::future::join_all;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// Answers that are still believed. Bounded: a full table forgets.
#[derive(Debug, Default)]
pub(super) struct Places {
    answers: Mutex<HashMap<Address, Heard>>,
}

/// A host or nowhere, and until when that is believed.
type Heard = (Option<Arc<str>>, Duration);

impl Places {
    /// What was last heard, if it is still believed: at a host, or nowhere.
    fn heard(&self, address: &Address, now: Duration) -> Option<Option<Arc<str>>> {
        let answers = self.lock();
        let (place, until) = answers.get(address)?;
        (now < *until).then(|| place.clone())
    }

    fn hear(&self, address: Address, place: Option<Arc<str>>, (now, until): (Duration, Duration)) {
        let mut answers = self.lock();
        if answers.len() >= ANSWERS && !answers.contains_key(&address) {
            answers.retain(|_, (_, until)| now < *until);
            if answers.len() >= ANSWERS {
                answers.clear();
            }
        }
        answers.insert(address, (place, until));
    }

    /// A host said otherwise, or the owner did.
    pub(super) fn forget(&self, address: &Address) {
        self.lock().remove(address);
    }

    /// The hosts are others now.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Address, Heard>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever the hallway asks. Holds the bridge weakly, as its carrier does.
#[derive(Debug)]
pub(super) struct Search(pub(super) Weak<Shared>);

impl Elsewhere for Search {
    fn find(&self, address: Address) -> Pin<Box<dyn Future<Output = Whereabouts> + Send + '_>> {
        Box::pin(async move {
            match self.0.upgrade() {
                Some(shared) => find(&shared, address).await,
                None => Whereabouts::Nowhere,
            }
        })
    }
}

/// An address that names a host leads there, asked or not: mail for it waits for that host (AMP 06a §Routing Algorithm). For
/// others, whoever has the agent; of several, the one that had it before, else the first in the owner's order.
async fn find(shared: &Shared, address: Address) -> Whereabouts {
    let directory = shared.directory();
    if let Some(host) = directory.http_host_in(&address) {
        return Whereabouts::HttpHost(host);
    }
    let known = directory.outsider(&address).unwrap_or_default();
    let before = known.host.filter(|host| shared.hosts.named(host).is_some());
    // Whoever signed from there is there until the owner says otherwise.
    if let Some(host) = before.as_ref().filter(|_| known.key.is_some()) {
        return Whereabouts::HttpHost(host.clone());
    }
    match shared.places.heard(&address, shared.clock.monotonic()) {
        Some(Some(host)) if shared.hosts.named(&host).is_some() => return Whereabouts::HttpHost(host),
        Some(None) => return Whereabouts::Nowhere,
        _ => {}
    }
    let Ok(_place) = shared.asking.acquire().await else { return Whereabouts::Nowhere };
    let hosts = shared.hosts.all();
    let name = address.name();
    let asked = hosts.iter().map(|host| async move { (host, ask(shared, host, name).await) });
    let (mut found, mut silent) = (None, Vec::new());
    for (host, answer) in join_all(asked).await {
        match answer {
            Ok(Some(_)) if found.is_none() => found = Some(host.name.clone()),
            Ok(_) => {}
            Err(_) => silent.push(host.name.to_string()),
        }
    }
    match (found, before) {
        (Some(host), _) => {
            believe(shared, &address, Some(host.clone()));
            shared.remember(&address, &host).await;
            Whereabouts::HttpHost(host)
        }
        (None, Some(before)) if silent.iter().any(|name| **name == *before) => Whereabouts::HttpHost(before),
        (None, _) if silent.is_empty() => {
            believe(shared, &address, None);
            Whereabouts::Nowhere
        }
        (None, _) => Whereabouts::Unsure(silent),
    }
}

/// The agent as `host` describes it; nothing where it has none of that name that is its own.
///
/// # Errors
/// Why the host gave no answer.
pub(super) async fn ask(shared: &Shared, host: &Host, name: &str) -> Result<Option<NamedAgent>, String> {
    let now = || shared.clock.monotonic();
    if host.next_at() > now() {
        return Err(host.health().reason.unwrap_or_default());
    }
    let answer = shared.client.by_name(host, name).await;
    match &answer {
        Ok(_) => host.reached(shared.clock.now()),
        Err(reason) => host.failed(now(), rand::random(), reason.clone(), None),
    }
    let own = |agent: &NamedAgent| agent.host_id.as_deref().is_none_or(|id| host.is_named(id));
    Ok(answer?.agent.filter(own))
}

/// Notes what was heard for as long as it is believed.
pub(super) fn believe(shared: &Shared, address: &Address, place: Option<Arc<str>>) {
    let now = shared.clock.monotonic();
    let seconds = if place.is_some() { shared.config.known_for_s } else { shared.config.unknown_for_s };
    shared.places.hear(address.clone(), place, (now, now + Duration::from_secs(seconds)));
}

/// Whether `host` said not long ago that it has `address`.
pub(super) fn is_believed_at(shared: &Shared, address: &Address, host: &Host) -> bool {
    let heard = shared.places.heard(address, shared.clock.monotonic());
    heard.flatten().is_some_and(|place| place == host.name)
}

const ANSWERS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: usize) -> Address {
        Address::parse(&format!("a{n}@default.aimaestro.local"), &[]).unwrap()
    }

    #[test]
    fn what_was_heard_is_believed_for_its_time_and_no_longer() {
        let (places, second) = (Places::default(), Duration::from_secs(1));
        places.hear(address(1), Some("den".into()), (second, second * 10));
        places.hear(address(2), None, (second, second * 5));
        assert_eq!(places.heard(&address(1), second * 9), Some(Some("den".into())));
        assert_eq!(places.heard(&address(2), second * 4), Some(None));
        assert_eq!(
            (places.heard(&address(1), second * 10), places.heard(&address(2), second * 5)),
            (None, None)
        );
        places.forget(&address(1));
        assert_eq!(places.heard(&address(1), second * 9), None);
    }

    #[test]
    fn the_table_stays_bounded_however_many_names_are_asked_for() {
        let (places, second) = (Places::default(), Duration::from_secs(1));
        for n in 0..ANSWERS * 2 {
            places.hear(address(n), None, (second, second * 2));
        }
        assert!(places.lock().len() <= ANSWERS);
    }
}
