//! One group commit in the making: the transaction, the numbers it hands out and what it will forget when. Filled by
//! the writer, which hands it to each change in turn.

use crate::blob::Blobs;
use crate::config::Config;
use crate::error::StoreError;
use crate::expire::Due;
use crate::files::Files;
use crate::handed;
use crate::mail::{AgentNo, Seq};
use crate::meta::Counters;
use crate::tally::{BoxCount, Tally};
use crate::txn::Txn;
use amesh_proto::attachment::FileDigest;
use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What a change may use while it is applied.
pub(crate) struct Group<'a> {
    pub(crate) txn: Txn<'a>,
    pub(crate) counters: &'a mut Counters,
    pub(crate) due: Due,
    pub(crate) config: &'a Config,
    pub(crate) blobs: &'a Blobs,
    pub(crate) files: &'a Files,
    /// Files that nothing names any more; deleted once that is durable.
    pub(crate) released: Vec<FileDigest>,
    /// Whether the disk has room for new mail.
    pub(crate) room: bool,
    tally: &'a RwLock<Tally>,
    /// Mailboxes whose counts changed.
    changed: BTreeSet<AgentNo>,
    /// The engine failed under a change: the group must not commit.
    broken: Option<StoreError>,
}

impl<'a> Group<'a> {
    pub(crate) fn new(
        txn: Txn<'a>,
        counters: &'a mut Counters,
        config: &'a Config,
        (blobs, files): (&'a Blobs, &'a Files),
        tally: &'a RwLock<Tally>,
        room: bool,
    ) -> Self {
        Self {
            txn,
            counters,
            due: Due::default(),
            config,
            blobs,
            files,
            released: Vec::new(),
            room,
            tally,
            changed: BTreeSet::new(),
            broken: None,
        }
    }

    /// The next place in the order of commits.
    pub(crate) fn next_seq(&mut self) -> Seq {
        self.counters.next_seq()
    }

    /// The next agent's number.
    pub(crate) fn next_agent(&mut self) -> AgentNo {
        self.counters.next_agent += 1;
        AgentNo(self.counters.next_agent)
    }

    /// The version of our own roster that this change makes.
    pub(crate) fn next_roster_version(&mut self) -> u64 {
        self.counters.roster_version += 1;
        self.counters.roster_version
    }

    pub(crate) fn tally(&self) -> RwLockReadGuard<'a, Tally> {
        self.tally.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a mailbox's count; the last thing that a change does, because nothing takes it back.
    pub(crate) fn set_mailbox(&mut self, agent: AgentNo, count: BoxCount) {
        self.tally_mut().set_mailbox(agent, count);
        self.changed.insert(agent);
    }

    pub(crate) fn tally_mut(&self) -> RwLockWriteGuard<'a, Tally> {
        self.tally.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one change; an error takes its writes back. What the counters gave is not given again.
    pub(crate) fn apply<T>(
        &mut self,
        change: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let due = self.due.mark();
        let result = change(self);
        match &result {
            Ok(_) => self.txn.keep(),
            Err(error) => {
                self.txn.take_back();
                self.due.take_back(due);
                if let StoreError::Failed { .. } = error {
                    self.broken = Some(error.clone());
                }
            }
        }
        result
    }

    /// Adds what the whole group shares and gives the transaction back.
    pub(crate) fn finish(mut self) -> Result<Txn<'a>, StoreError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        for agent in std::mem::take(&mut self.changed) {
            let count = self.tally().mailbox(agent);
            handed::write(&mut self.txn, agent, count)?;
        }
        self.due.write(&mut self.txn, self.counters)?;
        if !self.txn.is_empty() {
            self.counters.write(&mut self.txn)?;
        }
        Ok(self.txn)
    }
}
