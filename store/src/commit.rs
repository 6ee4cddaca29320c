//! The one writer: gathers changes, applies them to one transaction, commits, syncs, and only then answers (DESIGN §5).
//! Started by `store`; runs on its own thread because it blocks on the disk.

use crate::backup::{self, BackupReport, Unfinished};
use crate::blob::Blobs;
use crate::change::{Answer, Change, Reply, send};
use crate::config::{GROUP_BYTES, GROUP_CHANGES};
use crate::engine::Engine;
use crate::error::StoreError;
use crate::files::Files;
use crate::group::Group;
use crate::load;
use crate::meta::Counters;
use crate::shared::{Shared, as_read};
use crate::space::Room;
use crate::txn::Txn;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// What the writer is asked for.
pub(crate) enum Job {
    Change(Change),
    /// A consistent copy of everything committed before it.
    Backup(PathBuf, Reply<BackupReport>),
    /// Deletes bodies and attached files that nothing names.
    Sweep(Reply<u64>),
    /// Somebody could not read: is the engine still there?
    Check,
    /// Everything before it is answered, then the writer ends.
    Close(Reply<()>),
}

pub(crate) struct Writer {
    shared: Arc<Shared>,
    queue: Receiver<Job>,
    counters: Counters,
    blobs: Blobs,
    files: Files,
    room: Room,
    written: u64,
    /// Closed while the engine was not open.
    closed: bool,
}

/// What ended the gathering of a group.
enum Then {
    Wait,
    Barrier(Job),
    End,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, queue: Receiver<Job>, counters: Counters, room: Room) -> Self {
        let blobs = Blobs::in_dir(shared.bodies.clone());
        let files = Files::in_dir(shared.attachments.clone());
        Self { shared, queue, counters, blobs, files, room, written: 0, closed: false }
    }

    /// Runs until the store is closed or nobody has it any more.
    pub(crate) fn run(mut self) {
        while let Ok(first) = self.queue.recv() {
            let (changes, then) = self.gather(first);
            self.commit(changes);
            match then {
                _ if self.closed => return,
                Then::Wait => {}
                Then::Barrier(job) => {
                    if self.barrier(job) || self.closed {
                        return;
                    }
                }
                Then::End => break,
            }
        }
        self.close_engine();
    }

    /// The first change and all that wait behind it, up to a group's bounds or a barrier.
    fn gather(&self, first: Job) -> (Vec<Change>, Then) {
        let mut changes = Vec::new();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(job) = next.take() {
            match job {
                Job::Change(change) => {
                    let size = change.size();
                    self.shared.queued_bytes.fetch_sub(size, Ordering::AcqRel);
                    bytes += size;
                    changes.push(change);
                }
                barrier => return (changes, Then::Barrier(barrier)),
            }
            if changes.len() >= GROUP_CHANGES || bytes >= GROUP_BYTES {
                break;
            }
            next = match self.queue.try_recv() {
                Ok(job) => Some(job),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => return (changes, Then::End),
            };
        }
        (changes, Then::Wait)
    }

    /// Commits one group and answers it. After a failure nobody is told of success, and the engine is opened anew.
    fn commit(&mut self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        let mut answers = Vec::with_capacity(changes.len());
        let result = self.commit_to_engine(changes, &mut answers);
        for answer in answers {
            answer(result.clone());
        }
        match result {
            Ok(()) => {}
            Err(StoreError::DiskFull) => self.recount(),
            Err(error) => {
                tracing::error!(%error, "the store failed; opening it again");
                self.reopen();
            }
        }
    }

    fn commit_to_engine(
        &mut self,
        changes: Vec<Change>,
        answers: &mut Vec<Answer>,
    ) -> Result<(), StoreError> {
        let shared = self.shared.clone();
        let engine = shared.engine.read().unwrap_or_else(PoisonError::into_inner);
        let Some(engine) = engine.as_deref() else {
            let error = StoreError::Failed { reason: "the store is not open".into() };
            changes.into_iter().for_each(|change| change.refuse(error.clone()));
            return Err(error);
        };
        let room = self.room.has(std::mem::take(&mut self.written), || engine.reusable());
        self.shared.has_room.store(room, Ordering::Relaxed);
        let txn = Txn::new(as_read(engine));
        let bodies = (&self.blobs, &self.files);
        let mut group = Group::new(txn, &mut self.counters, &shared.config, bodies, &shared.tally, room);
        answers.extend(changes.into_iter().map(|change| change.apply(&mut group)));
        let released = std::mem::take(&mut group.released);
        let txn = group.finish()?;
        if !txn.is_empty() {
            self.written += txn.bytes() as u64;
            self.blobs.sync()?;
            self.files.sync()?;
            write(&shared, engine, txn)?;
            shared.set_durable(self.counters.next_seq);
            shared.set_roster_version(self.counters.roster_version);
            self.files.delete(as_read(engine), &released);
        }
        Ok(())
    }

    /// Does what needs every change before it on disk. Says whether the writer ends.
    fn barrier(&mut self, job: Job) -> bool {
        let shared = self.shared.clone();
        match job {
            Job::Change(change) => self.commit(vec![change]),
            Job::Backup(path, reply) => {
                let places = (shared.bodies(), shared.attachments.as_deref());
                let begun = shared.read(|read| backup::begin(read, places, &path));
                finish_beside(begun, reply);
            }
            Job::Sweep(reply) => {
                let swept = shared.read(|read| Ok(self.blobs.sweep(read)? + self.files.sweep(read)?));
                send(reply, swept);
            }
            Job::Check => self.check(),
            Job::Close(reply) => {
                self.close_engine();
                send(reply, Ok(()));
                return true;
            }
        }
        false
    }

    fn check(&mut self) {
        let engine = self.shared.engine.read().unwrap_or_else(PoisonError::into_inner);
        let checked = engine.as_deref().map_or(Ok(()), Engine::check);
        drop(engine);
        if let Err(error) = checked {
            tracing::error!(%error, "the store failed in the background; opening it again");
            self.reopen();
        }
    }

    /// Brings the counts back to what is committed, after a commit that was refused.
    fn recount(&mut self) {
        match load::recount(&self.shared) {
            Ok(counters) => self.counters = counters,
            Err(error) => {
                tracing::error!(%error, "the store cannot be read; opening it again");
                self.reopen();
            }
        }
    }

    fn close_engine(&self) {
        let engine = self.shared.engine.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(engine) = engine {
            if let Err(error) = engine.settle() {
                tracing::warn!(%error, "the journal was not moved to the database; the next start does it");
            }
            load::write_mark(&self.shared, self.counters.next_seq);
            drop(engine);
        }
    }

    /// sled's handle stays poisoned after an error: it is dropped and opened again, as often as it takes. What is
    /// asked for meanwhile fails.
    fn reopen(&mut self) {
        drop(self.shared.engine.write().unwrap_or_else(PoisonError::into_inner).take());
        loop {
            match load::reopen(&self.shared) {
                Ok(counters) => {
                    self.counters = counters;
                    tracing::info!("the store is open again");
                    return;
                }
                Err(error) => tracing::warn!(%error, "the store does not open again yet"),
            }
            match self.queue.recv_timeout(REOPEN_PAUSE) {
                Ok(job) => {
                    if self.refuse(job) {
                        self.closed = true;
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn refuse(&self, job: Job) -> bool {
        let error = StoreError::Failed { reason: "the store is being opened again".into() };
        match job {
            Job::Change(change) => {
                self.shared.queued_bytes.fetch_sub(change.size(), Ordering::AcqRel);
                change.refuse(error);
            }
            Job::Backup(_, reply) => send(reply, Err(error)),
            Job::Sweep(reply) => send(reply, Err(error)),
            Job::Check => {}
            Job::Close(reply) => {
                send(reply, Ok(()));
                return true;
            }
        }
        false
    }
}

/// Files may have to be copied to another disk: the writer does not wait for that.
fn finish_beside(begun: Result<Unfinished, StoreError>, reply: Reply<BackupReport>) {
    let unfinished = match begun {
        Ok(unfinished) => unfinished,
        Err(error) => return send(reply, Err(error)),
    };
    let thread = std::thread::Builder::new().name("amesh-store-backup".into());
    // Without a thread the reply is dropped, and says so.
    if let Err(error) = thread.spawn(move || send(reply, unfinished.finish())) {
        tracing::error!(%error, "a backup could not be finished");
    }
}

/// One transaction, one flush, one sync.
fn write(shared: &Shared, engine: &dyn Engine, txn: Txn<'_>) -> Result<(), StoreError> {
    let unsettled = shared.settled.write().unwrap_or_else(PoisonError::into_inner);
    engine.commit(txn.into_writes())?;
    engine.sync()?;
    drop(unsettled);
    Ok(())
}

/// Between attempts to open the engine again.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);
