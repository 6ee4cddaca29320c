//! What the store needs of a key-value engine, so that the simulation can run on a twin. Called by `txn`, `commit` and
//! every read.

pub(crate) mod journal;
pub(crate) mod journaled;
pub(crate) mod memory;
pub(crate) mod overlay;
pub(crate) mod prepare;
mod range;
pub(crate) mod sled;

pub(crate) use range::Range;

use crate::trees::Tree;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// What a scan calls for each key and value, in key order, until it breaks.
pub(crate) type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Something whose keys can be read: an engine, or a transaction in the making above it.
pub(crate) trait Read {
    /// The value of a key.
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError>;

    /// Visits a range in key order.
    fn scan(&self, tree: Tree, range: &Range, visit: &mut Visit<'_>) -> Result<(), EngineError>;

    /// Whether the key exists.
    fn has(&self, tree: Tree, key: &[u8]) -> Result<bool, EngineError> {
        Ok(self.get(tree, key)?.is_some())
    }
}

/// Writes and removals, tree by tree.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    trees: [BTreeMap<Vec<u8>, Option<Vec<u8>>>; Tree::ALL.len()],
}

impl Writes {
    pub(crate) fn of(&self, tree: Tree) -> &BTreeMap<Vec<u8>, Option<Vec<u8>>> {
        &self.trees[tree.index()]
    }

    pub(crate) fn of_mut(&mut self, tree: Tree) -> &mut BTreeMap<Vec<u8>, Option<Vec<u8>>> {
        &mut self.trees[tree.index()]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.trees.iter().all(BTreeMap::is_empty)
    }

    /// The trees with something to write, each with its writes.
    pub(crate) fn trees(&self) -> impl Iterator<Item = (Tree, &BTreeMap<Vec<u8>, Option<Vec<u8>>>)> {
        Tree::ALL.into_iter().zip(&self.trees).filter(|(_, writes)| !writes.is_empty())
    }

    /// Adds later writes.
    pub(crate) fn extend(&mut self, later: Self) {
        for (tree, writes) in later.into_trees() {
            let ours = self.of_mut(tree);
            if ours.is_empty() {
                *ours = writes;
            } else {
                ours.extend(writes);
            }
        }
    }

    /// The trees with something to write, each with its writes.
    pub(crate) fn into_trees(self) -> impl Iterator<Item = (Tree, BTreeMap<Vec<u8>, Option<Vec<u8>>>)> {
        Tree::ALL.into_iter().zip(self.trees).filter(|(_, writes)| !writes.is_empty())
    }
}

/// An engine: reads from any thread, one writer.
pub(crate) trait Engine: Read + Send + Sync {
    /// Applies all writes or none. Not yet durable.
    fn commit(&self, writes: Writes) -> Result<(), EngineError>;

    /// Returns when everything committed before would survive power loss.
    fn sync(&self) -> Result<(), EngineError>;

    /// Bytes that the engine's files take.
    fn size_on_disk(&self) -> u64;

    /// Bytes of them that new values can take.
    fn reusable(&self) -> u64 {
        0
    }

    /// Fails when the engine broke behind everybody's back.
    fn check(&self) -> Result<(), EngineError> {
        Ok(())
    }

    /// Leaves as little as possible to do for the next opening.
    fn settle(&self) -> Result<(), EngineError> {
        Ok(())
    }
}

/// What can be opened, and opened again after a failure.
pub(crate) trait Disk: Send + Sync {
    /// Opens the engine. Touches nothing when it fails.
    fn open(&self) -> Result<Box<dyn Engine>, DiskError>;
}

/// The engine said no.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum EngineError {
    /// Its handle is not to be trusted any more.
    #[error("{0}")]
    Broken(String),
    /// The disk has no room for the commit. Nothing was written, and reads go on.
    #[error("the disk is full")]
    Full,
}

/// Why a disk would not open.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    /// Another process holds it.
    #[error("another process has it open")]
    InUse,
    /// The files are not what the engine left there.
    #[error("{0}")]
    Damaged(String),
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}
