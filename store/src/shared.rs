//! What the writer and every reader share: the engine, the counts, and how far things are durable.

use crate::config::Config;
use crate::engine::{Disk, Engine, Read};
use crate::error::StoreError;
use crate::mail::Seq;
use crate::tally::Tally;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use tokio::sync::watch;

pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) disk: Box<dyn Disk>,
    pub(crate) bodies: Option<PathBuf>,
    pub(crate) attachments: Option<PathBuf>,
    pub(crate) tally: RwLock<Tally>,
    /// Bytes of changes in the writer's queue.
    pub(crate) queued_bytes: AtomicUsize,
    /// None after a failure, until it is open again.
    pub(crate) engine: RwLock<Option<Box<dyn Engine>>>,
    /// Held for writing between a commit and its sync.
    pub(crate) settled: RwLock<()>,
    durable: AtomicU64,
    pub(crate) generation: AtomicU64,
    /// Whether the writer found room on the disk the last time it looked.
    pub(crate) has_room: AtomicBool,
    /// The version of the node's own roster that is durable.
    pub(crate) roster: watch::Sender<u64>,
}

impl Shared {
    pub(crate) fn new(
        config: Config,
        disk: Box<dyn Disk>,
        (bodies, attachments): (Option<PathBuf>, Option<PathBuf>),
        engine: Box<dyn Engine>,
    ) -> Self {
        Self {
            config,
            disk,
            bodies,
            attachments,
            tally: RwLock::default(),
            queued_bytes: AtomicUsize::new(0),
            engine: RwLock::new(Some(engine)),
            settled: RwLock::new(()),
            durable: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            has_room: AtomicBool::new(true),
            roster: watch::Sender::new(0),
        }
    }

    /// Reads without waiting for a commit under way.
    pub(crate) fn read<T>(
        &self,
        read: impl FnOnce(&dyn Read) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let engine = self.engine.read().unwrap_or_else(PoisonError::into_inner);
        match engine.as_deref() {
            Some(engine) => read(as_read(engine)),
            None => Err(StoreError::Failed { reason: "the store is being opened again".into() }),
        }
    }

    /// Reads what is durable and whole: waits for the commit under way.
    pub(crate) fn read_settled<T>(
        &self,
        read: impl FnOnce(&dyn Read) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let settled = self.settled.read().unwrap_or_else(PoisonError::into_inner);
        let result = self.read(read);
        drop(settled);
        result
    }

    pub(crate) fn tally(&self) -> RwLockReadGuard<'_, Tally> {
        self.tally.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything up to here would survive power loss; mail beyond is shown to nobody.
    pub(crate) fn durable(&self) -> Seq {
        Seq(self.durable.load(Ordering::Acquire))
    }

    pub(crate) fn set_durable(&self, seq: u64) {
        self.durable.store(seq, Ordering::Release);
    }

    pub(crate) fn set_roster_version(&self, version: u64) {
        self.roster.send_if_modified(|known| std::mem::replace(known, version) != version);
    }

    pub(crate) fn bodies(&self) -> Option<&Path> {
        self.bodies.as_deref()
    }

    pub(crate) fn attachments(&self) -> Option<&Path> {
        self.attachments.as_deref()
    }
}

pub(crate) fn as_read(engine: &dyn Engine) -> &dyn Read {
    engine
}
