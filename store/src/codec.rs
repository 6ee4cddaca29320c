//! Values as bytes: a version byte, then a frozen postcard struct, then nothing. Called by every tree's file.

use crate::error::StoreError;
use crate::trees::Tree;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A frozen struct that is the value of one tree. Changing its fields needs a new version (PITFALLS, postcard).
pub(crate) trait Value: Serialize + DeserializeOwned {
    /// Where it lives; named when it will not decode.
    const TREE: Tree;
    /// The first byte of every value.
    const VERSION: u8 = 1;

    /// A value of an older version that may still lie on a disk, and what follows it.
    fn read_older(_version: u8, _bytes: &[u8]) -> Option<(Self, &[u8])> {
        None
    }
}

/// The value's bytes.
pub(crate) fn encode<T: Value>(value: &T) -> Result<Vec<u8>, StoreError> {
    encode_with_room(value, 0)
}

/// The value's bytes in a buffer with `room` to spare, for what the caller appends.
pub(crate) fn encode_with_room<T: Value>(value: &T, room: usize) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::with_capacity(96 + room);
    bytes.push(T::VERSION);
    postcard::to_extend(value, bytes).map_err(|_| damaged(T::TREE))
}

/// Reads a whole value; bytes left over are damage.
pub(crate) fn decode<T: Value>(bytes: &[u8]) -> Result<T, StoreError> {
    match decode_prefix(bytes)? {
        (value, []) => Ok(value),
        _ => Err(damaged(T::TREE)),
    }
}

/// Reads a value and returns what follows it.
pub(crate) fn decode_prefix<T: Value>(bytes: &[u8]) -> Result<(T, &[u8]), StoreError> {
    match bytes.split_first() {
        Some((version, rest)) if *version == T::VERSION => {
            postcard::take_from_bytes(rest).map_err(|_| damaged(T::TREE))
        }
        Some((version, rest)) => T::read_older(*version, rest).ok_or_else(|| damaged(T::TREE)),
        None => Err(damaged(T::TREE)),
    }
}

pub(crate) fn damaged(tree: Tree) -> StoreError {
    StoreError::Damaged { tree: tree.name() }
}
