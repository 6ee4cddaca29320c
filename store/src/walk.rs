//! Walks over a range of a tree that end at the first pair which cannot be read. Called by the trees' owners.

use crate::engine::{Range, Read};
use crate::error::StoreError;
use crate::trees::Tree;
use std::ops::ControlFlow;

/// Calls for every pair, in the order of the keys.
pub(crate) fn each(
    read: &dyn Read,
    tree: Tree,
    range: &Range,
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut damage = None;
    read.scan(tree, range, &mut |key, value| match visit(key, value) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            damage = Some(error);
            ControlFlow::Break(())
        }
    })?;
    damage.map_or(Ok(()), Err)
}

/// What `decode` makes of every pair.
pub(crate) fn all<T>(
    read: &dyn Read,
    tree: Tree,
    range: &Range,
    mut decode: impl FnMut(&[u8], &[u8]) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut found = Vec::new();
    each(read, tree, range, |key, value| {
        found.push(decode(key, value)?);
        Ok(())
    })?;
    Ok(found)
}

/// What `decode` makes of the first pairs, `limit` at most.
pub(crate) fn first<T>(
    read: &dyn Read,
    tree: Tree,
    range: &Range,
    limit: usize,
    mut decode: impl FnMut(&[u8], &[u8]) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    first_that(read, tree, range, limit, |key, value| decode(key, value).map(Some))
}

/// What `decode` makes of the first pairs that it makes something of, `limit` at most.
pub(crate) fn first_that<T>(
    read: &dyn Read,
    tree: Tree,
    range: &Range,
    limit: usize,
    mut decode: impl FnMut(&[u8], &[u8]) -> Result<Option<T>, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let (mut found, mut damage) = (Vec::new(), None);
    if limit == 0 {
        return Ok(found);
    }
    read.scan(tree, range, &mut |key, value| {
        match decode(key, value) {
            Ok(item) => found.extend(item),
            Err(error) => damage = Some(error),
        }
        if damage.is_some() || found.len() >= limit {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    damage.map_or(Ok(found), Err)
}
