//! Agents that have just moved, while their last host hands on what waited there (DESIGN §3, Moving): until then nothing
//! newer may overtake it. And those that are about to have left. Begun by the directory in the moment in which an address leads elsewhere, ended by `mesh`, asked
//! by the hallway.

use amesh_proto::address::Address;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// See the module.
#[derive(Debug, Default)]
pub struct Arrivals {
    under_way: Mutex<HashMap<Address, Begun>>,
    /// Those that leave this node, and all but the last of whose mail has gone.
    departing: Mutex<HashSet<Address>>,
    /// Whether there are any: nearly always not, and every message asks.
    some: AtomicBool,
    begun: Notify,
    ended: Notify,
}

/// When an arrival began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    /// Counts the moves of this agent since its arrival began.
    moves: u32,
}

impl Begun {
    /// Whether the agent moved again before it had arrived.
    #[must_use]
    pub fn again(self) -> bool {
        self.moves > 1
    }
}

impl Arrivals {
    /// The agent of `address` has moved just now.
    pub(super) fn begin(&self, address: &Address) {
        let mut under_way = self.lock();
        if let Some(begun) = under_way.get_mut(address) {
            begun.moves += 1;
        } else if under_way.len() < AT_A_TIME {
            under_way.insert(address.clone(), Begun { moves: 1 });
        }
        self.some.store(true, Ordering::Release);
        drop(under_way);
        self.begun.notify_one();
    }

    /// Waits for the next to begin.
    pub async fn begun(&self) {
        self.begun.notified().await;
    }

    /// All its earlier mail is where it is now, or will be long in coming. Nothing ends where it has moved once more since
    /// it was `seen`.
    pub fn end(&self, address: &Address, seen: Begun) {
        let mut under_way = self.lock();
        if under_way.get(address) != Some(&seen) {
            return;
        }
        under_way.remove(address);
        let departing = self.departing.lock().unwrap_or_else(PoisonError::into_inner);
        self.some.store(!(under_way.is_empty() && departing.is_empty()), Ordering::Release);
        drop((under_way, departing));
        self.ended.notify_waiters();
    }

    /// Whether agents of this node that write to the agent of `address`, which leaves it, wait for a moment: whoever writes
    /// without a pause would keep it here for ever.
    pub fn departs(&self, address: &Address, departs: bool) {
        let under_way = self.lock();
        let mut departing = self.departing.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = match departs {
            true => departing.len() < AT_A_TIME && departing.insert(address.clone()),
            false => departing.remove(address),
        };
        self.some.store(!(under_way.is_empty() && departing.is_empty()), Ordering::Release);
        drop((under_way, departing));
        if changed && !departs {
            self.ended.notify_waiters();
        }
    }

    /// Whether there is any. Cheap.
    pub fn some(&self) -> bool {
        self.some.load(Ordering::Acquire)
    }

    /// Whether newer mail for `address` must wait.
    pub fn holds(&self, address: &Address) -> bool {
        self.some() && self.lock().contains_key(address)
    }

    /// Everything under way.
    pub fn all(&self) -> Vec<(Address, Begun)> {
        self.lock().iter().map(|(address, begun)| (address.clone(), *begun)).collect()
    }

    fn departing(&self, address: &Address) -> bool {
        self.some() && self.departing.lock().unwrap_or_else(PoisonError::into_inner).contains(address)
    }

    /// Waits until newer mail for `address` may go, `patience` at most.
    pub async fn settled(&self, address: &Address, patience: Duration) {
        let waiting = async {
            loop {
                let mut next = std::pin::pin!(self.ended.notified());
                next.as_mut().enable();
                if !self.holds(address) && !self.departing(address) {
                    return;
                }
                next.await;
            }
        };
        // Whoever waited asks again whether it may go.
        tokio::time::timeout(patience, waiting).await.ok();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Address, Begun>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Beyond these, moves keep no order between the old host's mail and new mail.
const AT_A_TIME: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn newer_mail_waits_until_the_last_host_has_handed_on() {
        let arrivals = Arrivals::default();
        let bob = Address::parse("bob@default.aimaestro.local", &["aimaestro.local"]).unwrap();
        arrivals.begin(&bob);
        let waiting = arrivals.settled(&bob, Duration::from_secs(60));
        let mut waiting = std::pin::pin!(waiting);
        assert!(futures_util::FutureExt::now_or_never(waiting.as_mut()).is_none());
        let seen = arrivals.all()[0].1;
        arrivals.begin(&bob);
        arrivals.end(&bob, seen);
        assert!(arrivals.holds(&bob), "it moved again meanwhile");
        arrivals.end(&bob, arrivals.all()[0].1);
        waiting.await;
        assert!(!arrivals.holds(&bob) && !arrivals.some());

        arrivals.departs(&bob, true);
        let waiting = arrivals.settled(&bob, Duration::from_secs(60));
        let mut waiting = std::pin::pin!(waiting);
        assert!(futures_util::FutureExt::now_or_never(waiting.as_mut()).is_none());
        assert!(!arrivals.holds(&bob), "mail of others is taken meanwhile");
        arrivals.departs(&bob, false);
        waiting.await;
        assert!(!arrivals.some());
    }
}
