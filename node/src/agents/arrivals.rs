//! Agents that have just moved, while their last host hands on what waited there (DESIGN §3, Moving): until then nothing
//! newer may overtake it. Begun by the directory in the moment in which an address leads elsewhere, ended by `mesh`, asked
//! by the hallway.

use amesh_proto::address::Address;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// See the module.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// With whether the agent moved again before it had arrived.
    under_way: Mutex<HashMap<Address, bool>>,
    /// Whether there are any: nearly always not, and every message asks.
    some: AtomicBool,
    begun: Notify,
    ended: Notify,
}

impl Arrivals {
    /// The agent of `address` has moved just now.
    pub(super) fn begin(&self, address: &Address) {
        let mut under_way = self.lock();
        if let Some(again) = under_way.get_mut(address) {
            *again = true;
        } else if under_way.len() < AT_A_TIME {
            under_way.insert(address.clone(), false);
        }
        self.some.store(!under_way.is_empty(), Ordering::Release);
        drop(under_way);
        self.begun.notify_one();
    }

    /// Waits for the next to begin.
    pub async fn begun(&self) {
        self.begun.notified().await;
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

    /// Everything under way, with whether the agent moved again before it had arrived.
    pub fn all(&self) -> Vec<(Address, bool)> {
        self.lock().iter().map(|(address, again)| (address.clone(), *again)).collect()
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
        // Whoever waited asks again whether it may go.
        tokio::time::timeout(patience, waiting).await.ok();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Address, bool>> {
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
        arrivals.end(&bob);
        waiting.await;
        assert!(!arrivals.holds(&bob) && !arrivals.some());
    }
}
