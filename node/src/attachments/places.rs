//! How many uploads may be under way, for each agent and in all; and as much for connections, for each source. A place is given
//! back when it is dropped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The places.
#[derive(Debug)]
pub struct Places {
    each: usize,
    all: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by: HashMap<u64, usize>,
}

/// One of them, taken.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    who: u64,
}

impl Places {
    /// So many places for each and in all.
    #[must_use]
    pub fn new(each: usize, all: usize) -> Arc<Self> {
        Arc::new(Self { each, all, taken: Mutex::default() })
    }

    /// A place for `who`, if there is one.
    #[must_use]
    pub fn take(self: &Arc<Self>, who: u64) -> Option<Place> {
        let mut taken = self.lock();
        let own = taken.by.get(&who).copied().unwrap_or_default();
        if taken.all >= self.all || own >= self.each {
            return None;
        }
        taken.all += 1;
        taken.by.insert(who, own + 1);
        Some(Place { places: self.clone(), who })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all = taken.all.saturating_sub(1);
        if let Some(own) = taken.by.get_mut(&self.who) {
            *own -= 1;
            if *own == 0 {
                taken.by.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_more_places_than_one_agent_may_or_than_there_are() {
        let places = Places::new(2, 3);
        let (one, two) = (places.take(1).unwrap(), places.take(1).unwrap());
        assert!(places.take(1).is_none());
        let three = places.take(2).unwrap();
        assert!(places.take(3).is_none(), "all places are taken");
        drop(two);
        assert!(places.take(3).is_some());
        drop((one, three));
        assert!(places.lock().by.is_empty() && places.lock().all == 0);
    }
}
