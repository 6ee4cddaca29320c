//! The tree `meta`: format, generation, counters, last known time. Read at open; written by the writer with each group.

use crate::codec::{self, Value};
use crate::engine::Read;
use crate::error::StoreError;
use crate::mail::Seq;
use crate::trees::Tree;
use crate::txn::Txn;
use serde::{Deserialize, Serialize};

/// The format that this build writes and reads.
pub(crate) const FORMAT: u32 = 1;

/// How far counters jump after a restore: no peer and no client may know numbers beyond (DESIGN §5).
pub(crate) const RESTORE_JUMP: u64 = 1 << 32;

/// What never changes while a store lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Birth {
    pub(crate) format: u32,
    /// Greater after every restore and reset; lane numbers count within it.
    pub(crate) generation: u64,
}

impl Value for Birth {
    const TREE: Tree = Tree::Meta;
}

impl Birth {
    pub(crate) fn read(read: &dyn Read) -> Result<Option<Self>, StoreError> {
        read.get(Tree::Meta, BIRTH)?.map(|bytes| codec::decode(&bytes)).transpose()
    }

    pub(crate) fn write(&self, txn: &mut Txn<'_>) -> Result<(), StoreError> {
        txn.put(Tree::Meta, BIRTH.to_vec(), codec::encode(self)?);
        Ok(())
    }
}

/// The last numbers given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counters {
    pub(crate) next_seq: u64,
    pub(crate) next_agent: u64,
    pub(crate) roster_version: u64,
}

impl Value for Counters {
    const TREE: Tree = Tree::Meta;
}

impl Counters {
    pub(crate) fn read(read: &dyn Read) -> Result<Self, StoreError> {
        match read.get(Tree::Meta, COUNTERS)? {
            Some(bytes) => codec::decode(&bytes),
            None => Ok(Self::default()),
        }
    }

    /// The next place in the order of commits.
    pub(crate) fn next_seq(&mut self) -> Seq {
        self.next_seq += 1;
        Seq(self.next_seq)
    }

    pub(crate) fn write(&self, txn: &mut Txn<'_>) -> Result<(), StoreError> {
        txn.put(Tree::Meta, COUNTERS.to_vec(), codec::encode(self)?);
        Ok(())
    }
}

/// The wall clock when `expire` last ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastTime(pub(crate) u64);

impl Value for LastTime {
    const TREE: Tree = Tree::Meta;
}

impl LastTime {
    pub(crate) fn read(read: &dyn Read) -> Result<Option<Self>, StoreError> {
        read.get(Tree::Meta, LAST_TIME)?.map(|bytes| codec::decode(&bytes)).transpose()
    }

    pub(crate) fn write(self, txn: &mut Txn<'_>) -> Result<(), StoreError> {
        txn.put(Tree::Meta, LAST_TIME.to_vec(), codec::encode(&self)?);
        Ok(())
    }
}

const BIRTH: &[u8] = b"birth";
const COUNTERS: &[u8] = b"counters";
const LAST_TIME: &[u8] = b"last_time";
