//! The engine's twin in memory, for simulations and tests: `crash` forgets what was not synced, and syncs can be made
//! to fail. Opened by `Store::in_memory`.

use super::{Disk, DiskError, Engine, EngineError, Range, Read, Visit, Writes};
use crate::space::{Space, SpaceProbe};
use crate::trees::Tree;
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A disk made of memory. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    trees: Trees,
    /// What to put back at a crash, newest last.
    undo: Vec<(Tree, Vec<u8>, Option<Vec<u8>>)>,
    /// Counts openings and crashes: an engine of an earlier life answers with errors.
    life: u64,
    /// Counts the stores that had the disk.
    owner: u64,
    failing: Option<Fault>,
    syncs: u64,
    full: bool,
}

type Trees = [BTreeMap<Vec<u8>, Vec<u8>>; Tree::ALL.len()];

/// What goes wrong next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The next commit is refused.
    Commit,
    /// The next commit is applied, its sync fails.
    Sync,
}

impl MemoryDisk {
    /// The power goes: everything that no completed sync covers is gone, and whoever had the disk open has it no more.
    pub fn crash(&self) {
        let mut state = self.lock();
        state.life += 1;
        state.owner += 1;
        while let Some((tree, key, before)) = state.undo.pop() {
            let values = &mut state.trees[tree.index()];
            match before {
                Some(value) => values.insert(key, value),
                None => values.remove(&key),
            };
        }
    }

    /// Makes the next commit or sync fail, once. The engine stays poisoned as sled's does, until it is opened again.
    pub fn fail_next(&self, fault: Fault) {
        self.lock().failing = Some(fault);
    }

    /// Makes the disk nearly full, or gives it room again.
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// Does `work` while the disk answers nobody.
    pub fn while_stuck<T>(&self, work: impl FnOnce() -> T) -> T {
        let _stuck = self.lock();
        work()
    }

    /// How this disk answers for its space.
    pub(crate) fn space(&self) -> SpaceProbe {
        let disk = self.clone();
        SpaceProbe::new(move || {
            let available = if disk.lock().full { 0 } else { u64::MAX };
            Ok(Space { available, total: u64::MAX })
        })
    }

    /// Completed syncs so far.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One store's hold on a disk: ends with a crash, and when another store takes the disk.
pub(crate) struct MemoryHandle {
    disk: MemoryDisk,
    owner: u64,
}

impl MemoryHandle {
    pub(crate) fn take(disk: &MemoryDisk) -> Self {
        let mut state = disk.lock();
        state.owner += 1;
        Self { disk: disk.clone(), owner: state.owner }
    }
}

impl Disk for MemoryHandle {
    fn open(&self) -> Result<Box<dyn Engine>, DiskError> {
        let mut state = self.disk.lock();
        if state.owner != self.owner {
            return Err(DiskError::InUse);
        }
        state.life += 1;
        Ok(Box::new(MemoryEngine { disk: self.disk.clone(), life: state.life }))
    }
}

struct MemoryEngine {
    disk: MemoryDisk,
    life: u64,
}

impl MemoryEngine {
    fn state(&self) -> Result<MutexGuard<'_, State>, EngineError> {
        let state = self.disk.lock();
        if state.life == self.life {
            Ok(state)
        } else {
            Err(EngineError::Broken("the disk was crashed or opened again".into()))
        }
    }
}

impl State {
    fn fails(&mut self, fault: Fault) -> Result<(), EngineError> {
        if self.failing != Some(fault) {
            return Ok(());
        }
        self.failing = None;
        self.life += 1;
        Err(EngineError::Broken("injected failure".into()))
    }
}

impl Read for MemoryEngine {
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        Ok(self.state()?.trees[tree.index()].get(key).cloned())
    }

    fn scan(&self, tree: Tree, range: &Range, visit: &mut Visit<'_>) -> Result<(), EngineError> {
        let mut from = Bound::Included(range.from.clone());
        // The lock is not held while visiting: a visitor may read as well.
        loop {
            let part: Vec<_> = {
                let state = self.state()?;
                let to = range.to.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                let bounds: (Bound<&[u8]>, Bound<&[u8]>) = (from.as_ref().map(Vec::as_slice), to);
                let values = &state.trees[tree.index()];
                values.range::<[u8], _>(bounds).take(PART).map(|(k, v)| (k.clone(), v.clone())).collect()
            };
            let Some((last, _)) = part.last() else { return Ok(()) };
            from = Bound::Excluded(last.clone());
            if part.iter().any(|(key, value)| visit(key, value) == ControlFlow::Break(())) {
                return Ok(());
            }
        }
    }
}

impl Engine for MemoryEngine {
    fn commit(&self, writes: Writes) -> Result<(), EngineError> {
        let mut state = self.state()?;
        state.fails(Fault::Commit)?;
        for (tree, writes) in writes.into_trees() {
            for (key, value) in writes {
                let values = &mut state.trees[tree.index()];
                let before = match value {
                    Some(value) => values.insert(key.clone(), value),
                    None => values.remove(&key),
                };
                state.undo.push((tree, key, before));
            }
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), EngineError> {
        let mut state = self.state()?;
        state.fails(Fault::Sync)?;
        state.undo.clear();
        state.syncs += 1;
        Ok(())
    }

    fn size_on_disk(&self) -> u64 {
        0
    }
}

/// Pairs copied under one lock.
const PART: usize = 64;
