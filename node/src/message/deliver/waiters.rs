//! Callers of `/route` that wait a moment for a verdict from elsewhere (DESIGN §4: at most 250 ms): a member of the mesh, or
//! an agent's webhook. Called by `deliver`, `settle` and `webhook`.
//!
//! A verdict can come before its caller starts to wait: the carrier may see the outbox entry the instant it is on disk.
//! So the last verdicts are kept a while and a late caller finds its own.

use crate::message::incoming::Method;
use amesh_store::Seq;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// What a carrier reported, as a waiting caller needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::message) enum Verdict {
    /// On disk at the recipient's node.
    Delivered,
    /// Taken by an HTTP host, by its own word.
    Taken,
    /// Taken by the recipient's provider, by its own word.
    ByProvider {
        /// Whether the recipient has it.
        delivered: bool,
        /// How it got it, or will.
        method: Method,
    },
    /// Refused there, or expired.
    Failed,
}

/// Those who wait, by destination and place in it. Bounded: whoever does not fit does not wait.
#[derive(Debug)]
pub(in crate::message) struct Waiters<D: Eq + Hash, V> {
    limit: usize,
    state: Mutex<State<D, V>>,
}

#[derive(Debug)]
struct State<D, V> {
    waiting: HashMap<(D, Seq), oneshot::Sender<V>>,
    recent: HashMap<(D, Seq), V>,
    recent_order: VecDeque<(D, Seq)>,
    /// Destinations whose last caller waited in vain: the next ones do not wait until a verdict comes from there.
    stalled: HashSet<D>,
}

/// One caller's place; dropping it gives the place up.
#[derive(Debug)]
struct Place<'a, D: Eq + Hash, V> {
    waiters: &'a Waiters<D, V>,
    entry: (D, Seq),
    verdict: oneshot::Receiver<V>,
}

impl<D: Clone + Eq + Hash, V: Copy> Waiters<D, V> {
    pub(super) fn new(limit: usize) -> Self {
        let (waiting, recent) = (HashMap::new(), HashMap::new());
        let state = State { waiting, recent, recent_order: VecDeque::new(), stalled: HashSet::new() };
        Self { limit, state: Mutex::new(state) }
    }

    /// The verdict on a message, if it comes within `patience`.
    pub(super) async fn wait(&self, destination: &D, seq: Seq, patience: Duration) -> Option<V> {
        let mut place = self.place((destination.clone(), seq))?;
        if let Ok(verdict) = tokio::time::timeout(patience, &mut place.verdict).await {
            return verdict.ok();
        }
        self.lock().stalled.insert(destination.clone());
        None
    }

    /// Tells whoever waits for a message, or will in a moment.
    pub(in crate::message) fn tell(&self, destination: &D, seq: Seq, verdict: V) {
        let mut state = self.lock();
        state.stalled.remove(destination);
        let entry = (destination.clone(), seq);
        if let Some(waiting) = state.waiting.remove(&entry) {
            // A caller that has just given up is no error.
            waiting.send(verdict).ok();
            return;
        }
        if state.recent_order.len() == RECENT
            && let Some(oldest) = state.recent_order.pop_front()
        {
            state.recent.remove(&oldest);
        }
        if state.recent.insert(entry.clone(), verdict).is_none() {
            state.recent_order.push_back(entry);
        }
    }

    fn place(&self, entry: (D, Seq)) -> Option<Place<'_, D, V>> {
        let (sender, verdict) = oneshot::channel();
        let mut state = self.lock();
        if let Some(known) = state.recent.get(&entry) {
            // The receiver is in this function's hands: the send cannot fail.
            sender.send(*known).ok();
        } else if state.waiting.len() < self.limit && !state.stalled.contains(&entry.0) {
            state.waiting.insert(entry.clone(), sender);
        } else {
            return None;
        }
        drop(state);
        Some(Place { waiters: self, entry, verdict })
    }
}

impl<D: Eq + Hash, V> Waiters<D, V> {
    fn lock(&self) -> MutexGuard<'_, State<D, V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D: Eq + Hash, V> Drop for Place<'_, D, V> {
    fn drop(&mut self) {
        self.waiters.lock().waiting.remove(&self.entry);
    }
}

/// At 30,000 verdicts a second this is 0.1 s, long after any committed caller has started to wait.
const RECENT: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use amesh_store::Destination;

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(5);

    fn there() -> Destination {
        Destination::Provider("crabmail.ai".to_owned())
    }

    #[tokio::test]
    async fn a_verdict_reaches_the_caller_that_waits_for_it() {
        let waiters = Waiters::new(10);
        let there = there();
        let (verdict, ()) = tokio::join!(waiters.wait(&there, Seq(1), LONG), async {
            waiters.tell(&there, Seq(2), Verdict::Failed);
            waiters.tell(&there, Seq(1), Verdict::Delivered);
        });
        assert_eq!(verdict, Some(Verdict::Delivered));
    }

    #[tokio::test]
    async fn a_verdict_that_came_first_is_found_by_the_caller_that_comes_late() {
        let waiters = Waiters::new(10);
        waiters.tell(&there(), Seq(1), Verdict::Delivered);
        assert_eq!(waiters.wait(&there(), Seq(1), LONG).await, Some(Verdict::Delivered));
    }

    #[tokio::test]
    async fn after_one_caller_waited_in_vain_the_next_do_not_wait_until_a_verdict_comes() {
        let waiters = Waiters::new(10);
        assert_eq!(waiters.wait(&there(), Seq(1), SHORT).await, None);
        assert!(waiters.place((there(), Seq(2))).is_none());
        waiters.tell(&there(), Seq(1), Verdict::Delivered);
        assert!(waiters.place((there(), Seq(2))).is_some());
    }

    #[test]
    fn no_more_wait_than_the_limit_and_leaving_frees_the_place() {
        let waiters = Waiters::<Destination, Verdict>::new(2);
        let first = waiters.place((there(), Seq(1)));
        let _second = waiters.place((there(), Seq(2))).unwrap();
        assert!(waiters.place((there(), Seq(3))).is_none());
        drop(first);
        assert!(waiters.place((there(), Seq(3))).is_some());
    }

    #[test]
    fn verdicts_nobody_waits_for_are_not_kept_without_end() {
        let waiters = Waiters::<Destination, Verdict>::new(2);
        for seq in 0..10_000 {
            waiters.tell(&there(), Seq(seq), Verdict::Delivered);
        }
        let state = waiters.lock();
        assert_eq!((state.recent.len(), state.recent_order.len(), state.waiting.len()), (RECENT, RECENT, 0));
    }
}
