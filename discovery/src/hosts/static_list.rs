//! Seeds that the owner named (`--peer HOST:PORT`): resolved at the start, again at intervals, and after every change
//! of the network. Does the job of multicast where that is blocked (DESIGN §3).

use crate::finder::{Candidate, Event, Finder, Running, Source, State};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

/// The seeds.
#[derive(Debug)]
pub struct StaticList {
    seeds: Vec<String>,
    again: Notify,
    state: Mutex<State>,
}

impl StaticList {
    /// A source for `seeds`, each a `HOST:PORT`; at most [`MAX_SEEDS`] are used.
    #[must_use]
    pub fn new(mut seeds: Vec<String>) -> Self {
        if seeds.len() > MAX_SEEDS {
            tracing::warn!(given = seeds.len(), used = MAX_SEEDS, "too many --peer seeds");
            seeds.truncate(MAX_SEEDS);
        }
        Self { seeds, again: Notify::new(), state: Mutex::default() }
    }

    async fn resolve_until_stopped(&self, sink: &mpsc::Sender<Event>) {
        let mut pause = FIRST_PAUSE;
        loop {
            let failure = self.resolve_all(sink).await;
            let wait = if failure.is_some() { pause } else { RESOLVE_EVERY };
            pause = if failure.is_some() { (pause * 2).min(RESOLVE_EVERY) } else { FIRST_PAUSE };
            self.set_state(failure.map_or(State::Running, State::Failing));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.again.notified() => pause = FIRST_PAUSE,
            }
        }
    }

    /// Reports what resolves; returns the last failure, if any.
    async fn resolve_all(&self, sink: &mpsc::Sender<Event>) -> Option<String> {
        let mut failure = None;
        for seed in &self.seeds {
            match resolve(seed).await {
                Ok(addresses) => {
                    let candidate = candidate(addresses);
                    // A closed sink means that the manager is gone; the stop signal follows.
                    if sink.send(Event::Found(candidate)).await.is_err() {
                        return None;
                    }
                }
                Err(why) => {
                    tracing::debug!(seed, why, "seed does not resolve");
                    failure = Some(format!("{seed}: {why}"));
                }
            }
        }
        failure
    }

    fn set_state(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

impl Finder for StaticList {
    fn source(&self) -> Source {
        Source::Static
    }

    fn run(&self, sink: mpsc::Sender<Event>, stop: CancellationToken) -> Running<'_> {
        Box::pin(async move {
            if self.seeds.is_empty() {
                return;
            }
            stop.run_until_cancelled(self.resolve_until_stopped(&sink)).await;
            self.set_state(State::Idle);
        })
    }

    fn state(&self) -> State {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn refresh(&self) {
        self.again.notify_one();
    }
}

async fn resolve(seed: &str) -> Result<Vec<SocketAddr>, String> {
    let lookup = tokio::time::timeout(RESOLVE_WITHIN, tokio::net::lookup_host(seed));
    let found = lookup.await.map_err(|_| "the look-up took too long".to_owned())?;
    let addresses: Vec<_> = found.map_err(|error| error.to_string())?.take(MAX_ADDRESSES).collect();
    if addresses.is_empty() { Err("no address".to_owned()) } else { Ok(addresses) }
}

fn candidate(addresses: Vec<SocketAddr>) -> Candidate {
    Candidate {
        node: None,
        addresses,
        source: Source::Static,
        label: None,
        mesh_hint: None,
        expires_in: None,
    }
}

/// Most seeds that are used.
pub const MAX_SEEDS: usize = 256;
const MAX_ADDRESSES: usize = 8;
const RESOLVE_WITHIN: Duration = Duration::from_secs(10);
const RESOLVE_EVERY: Duration = Duration::from_secs(300);
const FIRST_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    async fn first_event_of(list: &StaticList) -> Option<Event> {
        let (sink, mut events) = mpsc::channel(8);
        let stop = CancellationToken::new();
        tokio::select! {
            () = list.run(sink, stop) => None,
            event = events.recv() => event,
        }
    }

    #[tokio::test]
    async fn a_numeric_seed_needs_no_resolver() {
        let list = StaticList::new(vec!["10.9.8.7:23001".into()]);
        let Some(Event::Found(found)) = first_event_of(&list).await else { panic!("nothing found") };
        assert_eq!(found.addresses, ["10.9.8.7:23001".parse().unwrap()]);
        assert_eq!((found.node, found.source), (None, Source::Static));
    }

    #[tokio::test]
    async fn a_seed_that_does_not_resolve_does_not_hide_the_next() {
        let list = StaticList::new(vec!["no port".into(), "[::1]:7".into()]);
        let Some(Event::Found(found)) = first_event_of(&list).await else { panic!("nothing found") };
        assert_eq!(found.addresses, ["[::1]:7".parse().unwrap()]);
    }

    #[tokio::test(start_paused = true)]
    async fn seeds_are_resolved_again_at_intervals_and_when_asked() {
        let list = StaticList::new(vec!["10.9.8.7:1".into()]);
        let (sink, mut events) = mpsc::channel(8);
        let stop = CancellationToken::new();
        let watch = async {
            events.recv().await.unwrap();
            let begun = tokio::time::Instant::now();
            list.refresh();
            events.recv().await.unwrap();
            assert!(begun.elapsed() < RESOLVE_EVERY);
            events.recv().await.unwrap();
            assert!(begun.elapsed() >= RESOLVE_EVERY);
            stop.cancel();
        };
        tokio::join!(list.run(sink, stop.clone()), watch);
        assert_eq!(list.state(), State::Idle);
    }
}
