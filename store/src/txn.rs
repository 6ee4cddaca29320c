//! A transaction in the making: reads see its writes first, then the engine. Filled by the writer's group, change by
//! change; a change that fails half-way takes its writes back.

use crate::engine::overlay::Overlay;
use crate::engine::{EngineError, Range, Read, Visit, Writes};
use crate::trees::Tree;

/// Everything that one group will commit.
pub(crate) struct Txn<'a> {
    below: &'a dyn Read,
    writes: Writes,
    /// What each write of the current change replaced in `writes`.
    undo: Vec<Replaced>,
    bytes: usize,
}

struct Replaced {
    tree: Tree,
    key: Vec<u8>,
    before: Option<Option<Vec<u8>>>,
}

impl<'a> Txn<'a> {
    pub(crate) fn new(below: &'a dyn Read) -> Self {
        Self { below, writes: Writes::default(), undo: Vec::new(), bytes: 0 }
    }

    pub(crate) fn put(&mut self, tree: Tree, key: Vec<u8>, value: Vec<u8>) {
        self.write(tree, key, Some(value));
    }

    pub(crate) fn remove(&mut self, tree: Tree, key: Vec<u8>) {
        self.write(tree, key, None);
    }

    fn write(&mut self, tree: Tree, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.bytes += key.len() + value.as_ref().map_or(0, Vec::len);
        let before = self.writes.of_mut(tree).insert(key.clone(), value);
        self.undo.push(Replaced { tree, key, before });
    }

    /// The current change holds: later `take_back`s leave it alone.
    pub(crate) fn keep(&mut self) {
        self.undo.clear();
    }

    /// Undoes what was written since the last `keep`.
    pub(crate) fn take_back(&mut self) {
        while let Some(Replaced { tree, key, before }) = self.undo.pop() {
            match before {
                Some(value) => self.writes.of_mut(tree).insert(key, value),
                None => self.writes.of_mut(tree).remove(&key),
            };
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Bytes written so far.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn overlay(&self) -> Overlay<'_> {
        Overlay { above: &self.writes, below: self.below }
    }

    pub(crate) fn into_writes(self) -> Writes {
        self.writes
    }
}

impl Read for Txn<'_> {
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.overlay().get(tree, key)
    }

    fn has(&self, tree: Tree, key: &[u8]) -> Result<bool, EngineError> {
        self.overlay().has(tree, key)
    }

    fn scan(&self, tree: Tree, range: &Range, visit: &mut Visit<'_>) -> Result<(), EngineError> {
        self.overlay().scan(tree, range, visit)
    }
}

#[cfg(test)]
mod tests {
    use super::Txn;
    use crate::engine::memory::{MemoryDisk, MemoryHandle};
    use crate::engine::{Disk, Engine, Range, Read, Writes};
    use crate::trees::Tree;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::ops::ControlFlow;

    fn engine_with(values: &BTreeMap<Vec<u8>, Vec<u8>>) -> Box<dyn Engine> {
        let engine = MemoryHandle::take(&MemoryDisk::default()).open().unwrap();
        let mut writes = Writes::default();
        writes.of_mut(Tree::Pins).extend(values.iter().map(|(k, v)| (k.clone(), Some(v.clone()))));
        engine.commit(writes).unwrap();
        engine
    }

    fn keys(read: &dyn Read, limit: usize) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        read.scan(Tree::Pins, &Range::ALL, &mut |key, _| {
            keys.push(key.to_vec());
            if keys.len() >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
        keys
    }

    proptest! {
        #[test]
        fn a_scan_sees_what_a_commit_would_leave(
            below in proptest::collection::btree_map(proptest::collection::vec(0u8..8, 1..3), proptest::collection::vec(0u8..9, 0..2), 0..12),
            above in proptest::collection::vec((proptest::collection::vec(0u8..8, 1..3), proptest::option::of(Just(vec![7u8]))), 0..12),
            limit in 1usize..9,
        ) {
            let engine = engine_with(&below);
            let mut txn = Txn::new(engine.as_ref());
            let mut model = below;
            for (key, value) in above {
                match value {
                    Some(value) => { model.insert(key.clone(), value.clone()); txn.put(Tree::Pins, key, value); }
                    None => { model.remove(&key); txn.remove(Tree::Pins, key); }
                }
            }
            let want: Vec<_> = model.keys().take(limit).cloned().collect();
            prop_assert_eq!(keys(&txn, limit), want);
            txn.keep();
            txn.put(Tree::Pins, vec![0], vec![1]);
            txn.remove(Tree::Pins, vec![1]);
            txn.take_back();
            prop_assert_eq!(keys(&txn, 99), model.keys().cloned().collect::<Vec<_>>());
        }
    }
}
