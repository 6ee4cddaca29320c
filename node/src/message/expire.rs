//! Time running out: expired mail leaves mailboxes and outboxes, senders are told (DESIGN §1.9), old ids are forgotten.
//!
//! The store decides what is due, and that nothing is while the clock cannot be trusted (DESIGN §5, Clocks); the notices
//! are written here and go into the senders' mailboxes in the same commit.

use super::Hallway;
use super::notice::Notice;
use crate::agents::directory::Resolution;
use crate::waking::Waking;
use amesh_proto::message::Mail;
use amesh_store::{AgentNo, Destination, Expiring, StoreError};
use std::sync::atomic::Ordering;
use std::time::Duration;

impl Hallway {
    /// Looks for expired mail from time to time, and when this machine wakes up, as a task of the hallway's group. Called
    /// once, by `node`.
    pub fn start_expiry(&self, mut waking: Waking) {
        let hallway = self.clone();
        let pause = Duration::from_secs(self.inner.config.expire_every_s.max(1));
        self.inner.tasks.spawn_until_stopped(async move {
            loop {
                if let Err(error) = hallway.expire().await {
                    tracing::error!(%error, "expired mail could not be removed");
                }
                waking.rest(pause).await;
            }
        });
    }

    /// Ends everything that is due.
    ///
    /// # Errors
    /// When the store fails; what is left is ended at the next call.
    pub async fn expire(&self) -> Result<(), StoreError> {
        loop {
            let now = self.inner.clock.now();
            let due = self.inner.store.expiring(now, NOTICES)?;
            let notices = due.iter().filter_map(|one| Some((one.seq, self.notice_of(one)?))).collect();
            let ended = self.inner.store.expire(now, self.inner.clock.monotonic(), notices).await?;
            self.inner.clock_is_off.store(ended.unsteady_for.is_some(), Ordering::Relaxed);
            due.iter().for_each(|one| self.told_of_ending(one.sender, &one.mail));
            if !ended.more {
                return Ok(());
            }
        }
    }

    /// Word that `mail` will not arrive is on disk: for an agent of this node, or for the member that brought it.
    pub(super) fn told_of_ending(&self, sender: Option<AgentNo>, mail: &Mail) {
        match (sender, self.inner.agents.directory().resolve(&mail.from)) {
            (Some(sender), _) => self.inner.deliver.inboxes().committed(sender),
            (None, Resolution::Remote { node, .. }) => {
                self.inner.deliver.wake_carrier(&Destination::Node(node));
            }
            (None, _) => {}
        }
    }

    fn notice_of(&self, expiring: &Expiring) -> Option<Mail> {
        expiring.sender?;
        let naming = self.inner.agents.directory().naming();
        let notice = Notice::undeliverable(&expiring.mail, "expired", "");
        let composed = notice.compose(naming, &expiring.mail.from, self.inner.clock.now(), rand::random());
        composed.inspect_err(|error| tracing::error!(%error, "a notice could not be written")).ok()
    }
}

/// More messages than one round of `Store::expire` ends: each of them gets its notice.
const NOTICES: usize = 4096;
