//! The engine on sled; beside `trees.rs` the only file that names it. Opened by `store`.

use super::{Disk, DiskError, Engine, EngineError, Read, Visit, Writes};
use crate::key::Range;
use crate::trees::{self, Tree};
use sled::transaction::{ConflictableTransactionError, TransactionError, Transactional};
use std::cell::Cell;
use std::fs::File;
use std::ops::{Bound, ControlFlow};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// A directory with sled's files.
#[derive(Debug, Clone)]
pub(crate) struct SledDisk {
    pub(crate) dir: PathBuf,
    pub(crate) cache_bytes: u64,
}

/// sled, open.
struct SledEngine {
    db: sled::Db,
    trees: Vec<sled::Tree>,
    /// sled's one file, held open: its `flush` is no fsync on Linux (PITFALLS).
    file: File,
}

impl Disk for SledDisk {
    fn open(&self) -> Result<Box<dyn Engine>, DiskError> {
        let fresh = !self.dir.join(FILE).exists();
        if fresh {
            std::fs::create_dir_all(&self.dir)?;
        }
        // sled panics on some damage (PITFALLS).
        let opened = catch_unwind(AssertUnwindSafe(|| self.open_sled()));
        let engine = opened.unwrap_or_else(|_| Err(DiskError::Damaged("sled panicked".into())))?;
        if fresh {
            engine.sync().map_err(|error| DiskError::Damaged(error.0))?;
            sync_dir(&self.dir)?;
            if let Some(parent) = self.dir.parent() {
                sync_dir(parent)?;
            }
        }
        Ok(Box::new(engine))
    }
}

impl SledDisk {
    fn open_sled(&self) -> Result<SledEngine, DiskError> {
        let db = sled::Config::new()
            .path(&self.dir)
            .cache_capacity(self.cache_bytes)
            .flush_every_ms(Some(FLUSH_EVERY_MS))
            .open()
            .map_err(refused)?;
        let trees = trees::open_all(&db).map_err(refused)?;
        let file = File::open(self.dir.join(FILE))?;
        Ok(SledEngine { db, trees, file })
    }
}

impl SledEngine {
    fn tree(&self, tree: Tree) -> &sled::Tree {
        &self.trees[tree.index()]
    }
}

impl Read for SledEngine {
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

impl Engine for SledEngine {
    fn commit(&self, writes: Writes) -> Result<(), EngineError> {
        let (trees, batches): (Vec<_>, Vec<_>) =
            writes.into_trees().map(|(tree, writes)| (self.tree(tree).clone(), writes)).unzip();
        // sled may call the closure again after a conflict; we are the only writer, so it never does.
        let batches = Cell::new(Some(batches));
        let done = trees.as_slice().transaction(|views| {
            for (view, writes) in views.iter().zip(batches.take().unwrap_or_default()) {
                for (key, value) in writes {
                    match value {
                        Some(value) => view.insert(key, value)?,
                        None => view.remove(key)?,
                    };
                }
            }
            Ok::<(), ConflictableTransactionError<()>>(())
        });
        done.map_err(|error| match error {
            TransactionError::Storage(error) => failed(error),
            TransactionError::Abort(()) => EngineError("transaction aborted".into()),
        })
    }

    fn sync(&self) -> Result<(), EngineError> {
        self.db.flush().map_err(failed)?;
        self.file.sync_data().map_err(|error| EngineError(format!("fdatasync: {error}")))
    }

    fn size_on_disk(&self) -> u64 {
        self.file.metadata().map_or(0, |meta| meta.len())
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> std::io::Result<()> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir)?.sync_all()
}

fn failed(error: sled::Error) -> EngineError {
    EngineError(error.to_string())
}

fn refused(error: sled::Error) -> DiskError {
    match error {
        sled::Error::Io(error) if error.to_string().contains("could not acquire lock") => DiskError::InUse,
        sled::Error::Io(error) if error.kind() == std::io::ErrorKind::WouldBlock => DiskError::InUse,
        sled::Error::Io(error) => DiskError::Io(error),
        other => DiskError::Damaged(other.to_string()),
    }
}

/// The file that holds everything.
pub(crate) const FILE: &str = "db";

/// How often sled's own thread looks for segments to reuse. Durability never waits for it.
const FLUSH_EVERY_MS: u64 = 1_000;
