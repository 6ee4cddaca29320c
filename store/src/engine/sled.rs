//! The state on sled; beside `trees.rs` the only file that names it. Filled by `journaled` at each checkpoint, read by
//! everybody through it.

use super::prepare::{self, FILE, SEGMENT};
use super::{DiskError, EngineError, Range, Read, Visit, Writes};
use crate::trees::{self, Tree};
use std::fs::File;
use std::ops::{Bound, ControlFlow};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// sled, open.
pub(crate) struct SledState {
    db: sled::Db,
    trees: Vec<sled::Tree>,
    /// sled's one file, held open: its `flush` is no fsync on Linux (PITFALLS).
    file: File,
    /// Bytes of all keys and values, roughly: a crash during a checkpoint miscounts.
    live: AtomicU64,
}

impl SledState {
    /// Opens what is in `dir`, or makes it. sled takes the lock that keeps a second process out.
    pub(crate) fn open(dir: &Path, cache_bytes: u64) -> Result<Self, DiskError> {
        prepare::directory(dir, |dir| {
            Self::open_guarded(dir, cache_bytes)?
                .sync()
                .map_err(|error| DiskError::Damaged(error.to_string()))
        })?;
        Self::open_guarded(dir, cache_bytes)
    }

    /// sled panics on some damage (PITFALLS).
    fn open_guarded(dir: &Path, cache_bytes: u64) -> Result<Self, DiskError> {
        let opened = catch_unwind(AssertUnwindSafe(|| Self::open_sled(dir, cache_bytes)));
        opened.unwrap_or_else(|_| Err(DiskError::Damaged("sled panicked".into())))
    }

    fn open_sled(dir: &Path, cache_bytes: u64) -> Result<Self, DiskError> {
        let db = sled::Config::new()
            .path(dir)
            .cache_capacity(cache_bytes)
            .segment_size(SEGMENT)
            .flush_every_ms(Some(FLUSH_EVERY_MS))
            .open()
            .map_err(refused)?;
        let trees = trees::open_all(&db).map_err(refused)?;
        let file = File::open(dir.join(FILE))?;
        let state = Self { db, trees, file, live: AtomicU64::new(0) };
        let (_, live) = state.checkpoint().map_err(|error| DiskError::Damaged(error.to_string()))?;
        state.live.store(live, Ordering::Relaxed);
        Ok(state)
    }

    /// Writes everything. Not atomic: the journal that holds it is kept until this and a sync are done.
    ///
    /// Synced in parts: sled reuses a segment once what it held was written anew, and takes its own flush for durable. A
    /// segment is overwritten a whole segment of writes after that at the earliest, so parts well below one are safe.
    /// `between` is called after each part, with the time that it took.
    pub(crate) fn apply(&self, writes: &Writes, between: impl Fn(Duration)) -> Result<(), EngineError> {
        let mut unsynced = 0;
        let mut begun = Instant::now();
        for (tree, writes) in writes.trees() {
            let tree = self.tree(tree);
            for (key, value) in writes {
                match value {
                    Some(value) => tree.insert(key, value.as_slice()).map_err(failed)?,
                    None => tree.remove(key).map_err(failed)?,
                };
                unsynced += PAGES * value.as_ref().map_or(0, Vec::len).max(SMALL);
                if unsynced >= PART {
                    self.sync()?;
                    unsynced = 0;
                    between(begun.elapsed());
                    begun = Instant::now();
                }
            }
        }
        Ok(())
    }

    /// The last journal whose content is all in here, and how much is live.
    pub(crate) fn checkpoint(&self) -> Result<(u64, u64), EngineError> {
        let Some(bytes) = self.db.get(CHECKPOINT).map_err(failed)? else { return Ok((0, 0)) };
        match bytes.as_chunks() {
            ([epoch, live], []) => Ok((u64::from_be_bytes(*epoch), u64::from_be_bytes(*live))),
            _ => Err(EngineError::Broken("the checkpoint is unreadable".into())),
        }
    }

    /// Notes that the content of this journal, already synced, is all in here. Durable when it returns.
    pub(crate) fn set_checkpoint(&self, epoch: u64) -> Result<(), EngineError> {
        let live = self.live.load(Ordering::Relaxed);
        let value = [epoch.to_be_bytes(), live.to_be_bytes()].concat();
        self.db.insert(CHECKPOINT, value).map_err(failed)?;
        self.sync()
    }

    /// Returns when everything applied before would survive power loss.
    pub(crate) fn sync(&self) -> Result<(), EngineError> {
        self.db.flush().map_err(failed)?;
        self.file.sync_data().map_err(|error| EngineError::Broken(format!("fdatasync: {error}")))
    }

    pub(crate) fn size_on_disk(&self) -> u64 {
        self.file.metadata().map_or(0, |meta| meta.len())
    }

    /// Bytes of the file that new values can take: it never shrinks, but its space is used again.
    pub(crate) fn reusable(&self) -> u64 {
        let needed = self.live.load(Ordering::Relaxed).saturating_mul(2);
        self.size_on_disk().saturating_sub(needed.saturating_add(SLACK))
    }

    fn tree(&self, tree: Tree) -> &sled::Tree {
        &self.trees[tree.index()]
    }
}

impl Read for SledState {
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        Ok(self.tree(tree).get(key).map_err(failed)?.map(|value| value.to_vec()))
    }

    fn has(&self, tree: Tree, key: &[u8]) -> Result<bool, EngineError> {
        self.tree(tree).contains_key(key).map_err(failed)
    }

    fn scan(&self, tree: Tree, range: &Range, visit: &mut Visit<'_>) -> Result<(), EngineError> {
        let to = range.to.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let bounds: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Included(&range.from), to);
        for pair in self.tree(tree).range::<&[u8], _>(bounds) {
            let (key, value) = pair.map_err(failed)?;
            if visit(&key, &value) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }
}

fn failed(error: sled::Error) -> EngineError {
    EngineError::Broken(error.to_string())
}

fn refused(error: sled::Error) -> DiskError {
    match error {
        sled::Error::Io(error) if error.to_string().contains("could not acquire lock") => DiskError::InUse,
        sled::Error::Io(error) => DiskError::Io(error),
        other => DiskError::Damaged(other.to_string()),
    }
}

/// In sled's default tree, which no backup copies: a restored store begins with journals of its own.
const CHECKPOINT: &[u8] = b"checkpoint";

/// What sled's file takes beside keys and values, at least.
const SLACK: u64 = 4 << 20;

/// How often sled's own thread looks for segments to reuse. Durability never waits for it.
const FLUSH_EVERY_MS: u64 = 5_000;

/// Bytes written, by estimate, between two syncs.
const PART: usize = SEGMENT / 2;

/// How many times its size one write may cost, roughly: a page of 17 values rewritten, and one more moved.
const PAGES: usize = 40;

/// What a small value counts as.
const SMALL: usize = 256;
