//! How many names this node lists at most: other hosts refuse a list that is too long as a whole, and then know none of
//! its agents (DESIGN §1.8). Asked before anything makes the list longer.

use super::Agents;
use amesh_proto::roster::{BYTE_LIMIT, ENTRY_LIMIT};
use std::sync::PoisonError;
use std::time::Duration;

impl Agents {
    /// Whether the list is full. Names and keys end after 90 days in the store alone, so a full one is read again, now
    /// and then.
    pub(super) fn is_full(&self) -> bool {
        if !self.seems_full() {
            return false;
        }
        let now = self.inner.clock.monotonic();
        let mut looked = self.inner.looked_for_room.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.is_none_or(|at| now.saturating_sub(at) > AGAIN)
            && let Ok(own) = self.inner.store.own_roster()
        {
            *looked = Some(now);
            self.inner.directory.set_own(own.entries);
        }
        self.seems_full()
    }

    fn seems_full(&self) -> bool {
        let (names, bytes) = self.inner.directory.own_size();
        // Some room is left for what is being written just now.
        names >= self.inner.config.names.min(ENTRY_LIMIT / 10 * 9) || bytes >= BYTE_LIMIT / 4 * 3
    }
}

const AGAIN: Duration = Duration::from_secs(3600);
