//! The handle that everybody holds: opens the store, hands changes to the writer, reads. Every change is enqueued in
//! call order before the call returns, and is durable when its future resolves.

mod attachments;
mod lookup;
mod submit;
mod waiting;

pub use lookup::{QueueSummary, Stats};

use crate::change::Reply;
use crate::commit::{Job, Writer};
use crate::config::{Config, QUEUE_CHANGES};
use crate::engine::memory::{MemoryDisk, MemoryHandle};
use crate::error::{OpenError, StoreError};
use crate::load;
use crate::maintain::finish_restore;
use crate::meta::Counters;
use crate::shared::Shared;
use crate::space::{Room, SpaceProbe};
use crate::steady::ClockWatch;
use std::fmt;
use std::path::Path;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// Everything that must survive a crash. Clones are the same store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    queue: SyncSender<Job>,
    probe: SpaceProbe,
    writer: Mutex<Option<JoinHandle<()>>>,
    clock: Mutex<ClockWatch>,
}

impl Store {
    /// Opens the store in `dir`, or makes one there. Blocks; call it before the runtime is busy.
    ///
    /// # Errors
    /// When another process has it, when it is damaged or newer, when the operating system refuses. Nothing is touched.
    pub fn open(dir: &Path, config: Config) -> Result<Self, OpenError> {
        Self::open_with_probe(dir, config, SpaceProbe::of_dir(dir))
    }

    /// Like `open`, but asks `probe` for free space.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with_probe(dir: &Path, config: Config, probe: SpaceProbe) -> Result<Self, OpenError> {
        let finished = finish_restore(dir).map_err(|source| OpenError::Io { dir: dir.to_owned(), source })?;
        if finished {
            tracing::warn!(store = %dir.display(), "a restore had been interrupted at its end; it is finished now");
        }
        let (shared, counters) = load::open(dir, config)?;
        Self::start(shared, counters, probe, dir)
    }

    /// A store in memory, for simulations and tests, and the disk that it is on.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn in_memory(config: Config) -> Result<(Self, MemoryDisk), OpenError> {
        let disk = MemoryDisk::default();
        Ok((Self::on_memory(&disk, config)?, disk))
    }

    /// Opens what is on a disk in memory, after a crash for example. An earlier store on it is cut off.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn on_memory(disk: &MemoryDisk, config: Config) -> Result<Self, OpenError> {
        let (shared, counters) = load::open_disk(Box::new(MemoryHandle::take(disk)), config)?;
        Self::start(shared, counters, disk.space(), Path::new("(memory)"))
    }

    fn start(shared: Shared, counters: Counters, probe: SpaceProbe, dir: &Path) -> Result<Self, OpenError> {
        let shared = Arc::new(shared);
        let (queue, jobs) = sync_channel(QUEUE_CHANGES);
        let room = Room::new(probe.clone(), shared.config.min_free_mib);
        let writer = Writer::new(shared.clone(), jobs, counters, room);
        let thread = std::thread::Builder::new()
            .name("amesh-store-writer".into())
            .spawn(move || writer.run())
            .map_err(|source| OpenError::Io { dir: dir.to_owned(), source })?;
        let (writer, clock) = (Mutex::new(Some(thread)), Mutex::default());
        Ok(Self { inner: Arc::new(Inner { shared, queue, probe, writer, clock }) })
    }

    /// Answers everything that was handed in before, syncs and ends. Whoever still has a clone gets `Closed`.
    ///
    /// # Errors
    /// When the store was closed before.
    pub async fn close(self) -> Result<(), StoreError> {
        let (reply, done) = oneshot::channel();
        self.enqueue(Job::Close(reply))?;
        let closed = done.await.unwrap_or(Err(StoreError::Closed));
        let writer = self.inner.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The thread has answered and only returns: this does not wait for the disk.
        if let Some(writer) = writer
            && writer.join().is_err()
        {
            return Err(StoreError::Failed { reason: "the writer panicked".into() });
        }
        closed
    }

    /// As `close`, for code that is not async.
    ///
    /// # Errors
    /// When the store was closed before.
    pub fn close_and_wait(self) -> Result<(), StoreError> {
        let (reply, done) = oneshot::channel();
        self.enqueue(Job::Close(reply))?;
        let closed = done.blocking_recv().unwrap_or(Err(StoreError::Closed));
        let writer = self.inner.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(writer.map(JoinHandle::join));
        closed
    }

    fn enqueue(&self, job: Job) -> Result<(), StoreError> {
        self.inner.queue.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Busy,
            TrySendError::Disconnected(_) => StoreError::Closed,
        })
    }

    fn shared(&self) -> &Shared {
        &self.inner.shared
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

/// A pair of reply and receiver for one change.
fn channel<T>() -> (Reply<T>, oneshot::Receiver<Result<T, StoreError>>) {
    oneshot::channel()
}
