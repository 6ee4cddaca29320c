//! Step 7 of the hallway: what carriers report. Mail leaves the outbox by a verdict and in no other way; mail that will
//! not arrive leaves a `system` message with its sender, in the same commit (DESIGN §1.9).

use super::Hallway;
use super::deliver::waiters::Verdict;
use super::incoming::{Basis, Method};
use super::notice::Notice;
use amesh_proto::message::Mail;
use amesh_store::{Destination, OutboxEntry, Seq, Settlement, StoreError};

/// A carrier's verdict on one outbox entry. What is only delayed has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// It is on disk in the recipient's mailbox.
    Delivered,
    /// A host that keeps its own books says that it has it.
    Taken {
        /// The id it gave it (IPR-4).
        remote_id: Option<String>,
    },
    /// The recipient's provider has it, by its own word (FED-12).
    ByProvider {
        /// Whether the recipient has it.
        delivered: bool,
        /// How it got it, or will.
        method: Method,
        /// The id it gave it.
        remote_id: Option<String>,
    },
    /// The other side will never take it.
    Refused {
        /// Its code.
        code: String,
        /// Its words.
        detail: String,
    },
}

impl Hallway {
    /// Takes the verdicts of a carrier on mail for `destination`. When this returns they are on disk, and callers that
    /// waited for them have been answered.
    ///
    /// # Errors
    /// When the store fails: the entries are still in the outbox and will be carried, and judged, again.
    pub async fn settle(
        &self,
        destination: &Destination,
        verdicts: Vec<(Seq, Settled)>,
    ) -> Result<(), StoreError> {
        let mut told = Vec::with_capacity(verdicts.len());
        let mut settlements = Vec::with_capacity(verdicts.len());
        let mut noticed = Vec::new();
        for (seq, verdict) in verdicts {
            told.push((seq, verdict.as_told()));
            let settlement = match verdict {
                Settled::Delivered => Settlement::Delivered { basis: MAILBOX_WRITTEN.to_owned() },
                Settled::ByProvider { delivered: true, .. } => {
                    Settlement::Delivered { basis: Basis::ProviderDelivered.as_str().to_owned() }
                }
                Settled::Taken { remote_id } | Settled::ByProvider { remote_id, .. } => {
                    Settlement::Taken { remote_id }
                }
                Settled::Refused { code, detail } => {
                    let entry = self.waiting(destination, seq);
                    let notice = entry.as_ref().and_then(|entry| self.bounce(entry, &code, &detail));
                    entry.iter().for_each(|entry| self.ended_for_outsider(destination, entry, &code));
                    noticed.extend(entry);
                    Settlement::Refused { code, detail, notice }
                }
            };
            settlements.push((seq, settlement));
        }
        self.inner.store.settle(destination, settlements, self.inner.clock.now()).await?;
        for (seq, verdict) in told {
            self.inner.deliver.waiters().tell(destination, seq, verdict);
        }
        noticed.iter().for_each(|entry| self.told_of_ending(entry.sender, &entry.mail));
        Ok(())
    }

    fn ended_for_outsider(&self, destination: &Destination, entry: &OutboxEntry, code: &str) {
        let is_ours = self.inner.agents.directory().naming().is_ours(&entry.mail.from);
        if entry.sender.is_none() && !is_ours {
            self.inner.closed.ended(destination, entry, code, self.inner.clock.monotonic());
        }
    }

    fn waiting(&self, destination: &Destination, seq: Seq) -> Option<OutboxEntry> {
        let before = seq.0.checked_sub(1).map(Seq);
        let found = self.inner.store.outbox(destination, before, 1).ok()?;
        found.into_iter().find(|entry| entry.seq == seq)
    }

    /// The `system` message about mail that will not arrive; none about a `system` message, or one that no agent here sent.
    pub(super) fn bounce(&self, entry: &OutboxEntry, code: &str, detail: &str) -> Option<Mail> {
        if entry.system || entry.sender.is_none() {
            return None;
        }
        let naming = self.inner.agents.directory().naming();
        let notice = Notice::undeliverable(&entry.mail, code, detail);
        let composed = notice.compose(naming, &entry.mail.from, self.inner.clock.now(), rand::random());
        composed.inspect_err(|error| tracing::error!(%error, "a notice could not be written")).ok()
    }
}

impl Settled {
    fn as_told(&self) -> Verdict {
        match self {
            Self::Delivered => Verdict::Delivered,
            Self::Taken { .. } => Verdict::Taken,
            Self::ByProvider { delivered, method, .. } => {
                Verdict::ByProvider { delivered: *delivered, method: *method }
            }
            Self::Refused { .. } => Verdict::Failed,
        }
    }
}

/// What a delivery to another host proves: not that the recipient has it.
const MAILBOX_WRITTEN: &str = "mailbox_written";
