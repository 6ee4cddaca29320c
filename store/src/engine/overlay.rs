//! Reading through a layer of writes that are not below yet. Used by the journaled engine and by transactions.

use super::{EngineError, Range, Read, Visit, Writes};
use crate::trees::Tree;
use std::ops::{Bound, ControlFlow};

/// A layer of writes above something that can be read.
pub(crate) struct Overlay<'a> {
    pub(crate) above: &'a Writes,
    pub(crate) below: &'a dyn Read,
}

impl Read for Overlay<'_> {
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        match self.above.of(tree).get(key) {
            Some(written) => Ok(written.clone()),
            None => self.below.get(tree, key),
        }
    }

    fn has(&self, tree: Tree, key: &[u8]) -> Result<bool, EngineError> {
        match self.above.of(tree).get(key) {
            Some(written) => Ok(written.is_some()),
            None => self.below.has(tree, key),
        }
    }

    fn scan(&self, tree: Tree, range: &Range, visit: &mut Visit<'_>) -> Result<(), EngineError> {
        let to = range.to.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let bounds: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Included(&range.from), to);
        let mut written = self.above.of(tree).range::<[u8], _>(bounds).peekable();
        let mut stopped = false;
        self.below.scan(tree, range, &mut |key, value| {
            while let Some((ours, change)) = written.next_if(|(ours, _)| ours.as_slice() < key) {
                if let Some(value) = change
                    && visit(ours, value).is_break()
                {
                    stopped = true;
                    return ControlFlow::Break(());
                }
            }
            let step = match written.next_if(|(ours, _)| ours.as_slice() == key) {
                Some((_, None)) => ControlFlow::Continue(()),
                Some((ours, Some(value))) => visit(ours, value),
                None => visit(key, value),
            };
            stopped = step.is_break();
            step
        })?;
        for (key, change) in written {
            if let Some(value) = change
                && (stopped || visit(key, value).is_break())
            {
                break;
            }
        }
        Ok(())
    }
}
