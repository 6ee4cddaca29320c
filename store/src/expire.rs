//! The tree `expire`: what ends when. The writer adds one record per group, minute and kind, not one per message; a
//! record of something that ended earlier finds nothing and goes. Filled by every file whose values end; read by
//! `endings`.

use crate::codec::{self, Value, damaged};
use crate::engine::{Range, Read};
use crate::error::StoreError;
use crate::meta::Counters;
use crate::trees::Tree;
use crate::txn::Txn;
use crate::walk;
use amesh_proto::time::UnixMillis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What ends. The numbers are on disk: never reorder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Kind {
    Mailbox = 0,
    Outbox = 1,
    History = 2,
    Idempotency = 3,
    LaneIn = 4,
    OldFace = 5,
    Ticket = 6,
    Upload = 7,
    Share = 8,
    Receipt = 9,
}

impl Kind {
    pub(crate) fn parse(byte: u8) -> Result<Self, StoreError> {
        [
            Self::Mailbox,
            Self::Outbox,
            Self::History,
            Self::Idempotency,
            Self::LaneIn,
            Self::OldFace,
            Self::Ticket,
            Self::Upload,
            Self::Share,
            Self::Receipt,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
        .ok_or_else(|| damaged(Tree::Expire))
    }

    /// Mail and files end to the minute, what nobody sees to the hour.
    fn grain(self) -> u64 {
        match self {
            Self::Mailbox | Self::Outbox | Self::Upload | Self::Share => 60_000,
            _ => 3_600_000,
        }
    }
}

/// Keys that end together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DueKeys(pub(crate) Vec<serde_bytes::ByteBuf>);

impl Value for DueKeys {
    const TREE: Tree = Tree::Expire;
}

/// What the group being built will have to end one day.
#[derive(Debug, Default)]
pub(crate) struct Due {
    added: Vec<(u64, Kind, Vec<u8>)>,
}

impl Due {
    pub(crate) fn add(&mut self, at: UnixMillis, kind: Kind, key: Vec<u8>) {
        let grain = kind.grain();
        // Rounded up: nothing ends early.
        let at = at.0.div_ceil(grain).saturating_mul(grain);
        self.added.push((at, kind, key));
    }

    pub(crate) fn mark(&self) -> usize {
        self.added.len()
    }

    pub(crate) fn take_back(&mut self, mark: usize) {
        self.added.truncate(mark);
    }

    pub(crate) fn write(self, txn: &mut Txn<'_>, counters: &mut Counters) -> Result<(), StoreError> {
        let mut together: BTreeMap<(u64, Kind), Vec<serde_bytes::ByteBuf>> = BTreeMap::new();
        for (at, kind, key) in self.added {
            together.entry((at, kind)).or_default().push(serde_bytes::ByteBuf::from(key));
        }
        for ((at, kind), mut keys) in together {
            while !keys.is_empty() {
                let rest = keys.split_off(keys.len().min(KEYS_PER_RECORD));
                let number = counters.next_seq();
                let key = [&at.to_be_bytes(), [kind as u8].as_slice(), &number.0.to_be_bytes()].concat();
                txn.put(Tree::Expire, key, codec::encode(&DueKeys(keys))?);
                keys = rest;
            }
        }
        Ok(())
    }
}

/// A record's own key, and the keys that end with it.
type DueRecord = (Vec<u8>, Kind, Vec<Vec<u8>>);

/// The first records due by `now`, at most [`RECORDS_PER_ROUND`].
pub(crate) fn due_records(read: &dyn Read, now: UnixMillis) -> Result<Vec<DueRecord>, StoreError> {
    let range = Range { from: Vec::new(), to: Some(now.0.saturating_add(1).to_be_bytes().to_vec()) };
    walk::first(read, Tree::Expire, &range, RECORDS_PER_ROUND, read_record)
}

fn read_record(key: &[u8], value: &[u8]) -> Result<DueRecord, StoreError> {
    let kind = Kind::parse(key.get(8).copied().unwrap_or(u8::MAX))?;
    let DueKeys(keys) = codec::decode(value)?;
    Ok((key.to_vec(), kind, keys.into_iter().map(serde_bytes::ByteBuf::into_vec).collect()))
}

/// Keys in one record: well below the size that sled keeps in line.
const KEYS_PER_RECORD: usize = 128;

/// Records ended in one change.
pub(crate) const RECORDS_PER_ROUND: usize = 16;
