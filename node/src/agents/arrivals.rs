//! Agents that have just moved here, while their last host hands on what waited there (DESIGN §3, Moving): until then
//! nothing newer may overtake it. Begun by `register` and by `mesh`, ended by `mesh`, asked by the hallway.

use amesh_proto::address::Address;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// See the module.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// With the time at which each began, monotonic.
    under_way: Mutex<HashMap<Address, Duration>>,
    /// Whether there are any: nearly always not, and every message asks.
    some: AtomicBool,
    ended: Notify,
}

impl Arrivals {
    /// The agent of `address` has moved just now.
    pub fn begin(&self, address: &Address, now: Duration) {
        let mut under_way = self.lock();
        if under_way.len() < AT_A_TIME {
            under_way.insert(address.clone(), now);
        }
        self.some.store(!under_way.is_empty(), Ordering::Release);
    }

    /// All its earlier mail is where it is now, or will be long in coming.
    pub fn end(&self, address: &Address) {
        let mut under_way = self.lock();
        under_way.remove(address);
        self.some.store(!under_way.is_empty(), Ordering::Release);
        drop(under_way);
        self.ended.notify_waiters();
    }

    /// Whether there is any. Cheap.
    pub fn some(&self) -> bool {
        self.some.load(Ordering::Acquire)
    }

    /// Whether newer mail for `address` must wait.
    pub fn holds(&self, address: &Address) -> bool {
        self.some() && self.lock().contains_key(address)
    }

    /// Everything under way, and since when.
    pub fn all(&self) -> Vec<(Address, Duration)> {
        self.lock().iter().map(|(address, since)| (address.clone(), *since)).collect()
    }

    /// Waits until newer mail for `address` may go, `patience` at most.
    pub async fn settled(&self, address: &Address, patience: Duration) {
        let waiting = async {
            loop {
                let mut next = std::pin::pin!(self.ended.notified());
                next.as_mut().enable();
                if !self.holds(address) {
                    return;
                }
                next.await;
            }
        };
        if tokio::time::timeout(patience, waiting).await.is_err() {
            tracing::debug!(%address, "its last host is still handing on");
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Address, Duration>> {
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
        arrivals.begin(&bob, Duration::ZERO);
        let waiting = arrivals.settled(&bob, Duration::from_secs(60));
        let mut waiting = std::pin::pin!(waiting);
        assert!(futures_util::FutureExt::now_or_never(waiting.as_mut()).is_none());
        arrivals.end(&bob);
        waiting.await;
        assert!(!arrivals.holds(&bob) && !arrivals.some());
    }
}
