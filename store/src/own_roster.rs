//! The tree `own_roster`: the public face of every agent of this node, with the keys it had and the names it left, for
//! 90 days (DESIGN §3, Roster). Changed by `agents`; signed and published by the node's mesh.

use crate::codec::{self, Value};
use crate::engine::{Range, Read};
use crate::error::StoreError;
use crate::expire::Kind;
use crate::group::Group;
use crate::trees::Tree;
use crate::walk;
use amesh_proto::address::Address;
use amesh_proto::key::KeyAlgorithm;
use amesh_proto::roster::{HomeStatement, RETENTION_DAYS, RetiredKey, RosterEntry};
use amesh_proto::time::UnixMillis;
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EntryValue(pub(crate) RosterEntry);

impl Value for EntryValue {
    const TREE: Tree = Tree::OwnRoster;
}

/// The node's own roster at one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnRoster {
    /// Grows with every change, and jumps after a restore.
    pub version: u64,
    /// Sorted by address; tombstones included.
    pub entries: Vec<RosterEntry>,
}

/// What others may see of an agent.
pub(crate) struct Face<'a> {
    pub(crate) address: &'a Address,
    pub(crate) key_algorithm: KeyAlgorithm,
    pub(crate) public_key: &'a [u8],
    pub(crate) alias: Option<&'a str>,
}

/// Why an agent's key is another than before, where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyChange {
    Rotated,
    Compromised,
}

/// Shows an agent as it is now; the key it had before is kept as retired.
pub(crate) fn show(
    group: &mut Group<'_>,
    face: &Face<'_>,
    key_change: KeyChange,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let before = entry(&group.txn, face.address)?;
    let key = (face.key_algorithm, face.public_key.to_vec());
    let mut shown = RosterEntry::first(face.address.clone(), key, now, group.next_roster_version());
    shown.alias = face.alias.map(str::to_owned);
    if let Some(before) = before {
        shown.previous_keys = before.previous_keys;
        if before.public_key == shown.public_key {
            shown.since = if before.tombstone.is_some() { now } else { before.since };
            shown.home = before.home.filter(|_| before.tombstone.is_none());
        } else {
            // Its statement was made with a key that it had then.
            shown.home = before.home.filter(|_| before.tombstone.is_none());
            let until = before.tombstone.unwrap_or(now);
            let compromised = key_change == KeyChange::Compromised;
            let retired = RetiredKey { public_key: before.public_key, until, compromised };
            shown.previous_keys.insert(0, retired);
            shown.previous_keys.truncate(RETIRED_KEYS);
            group.due.add(until.plus(KEPT), Kind::OldFace, face.address.as_str().as_bytes().to_vec());
        }
    }
    put(group, shown)
}

/// The agent is gone; its name and key stay as a tombstone.
pub(crate) fn bury(group: &mut Group<'_>, address: &Address, now: UnixMillis) -> Result<(), StoreError> {
    let Some(mut entry) = entry(&group.txn, address)? else { return Ok(()) };
    entry.tombstone = Some(now);
    entry.changed = group.next_roster_version();
    group.due.add(now.plus(KEPT), Kind::OldFace, address.as_str().as_bytes().to_vec());
    put(group, entry)
}

/// The agent lives at another node now; its record and what could not follow it stay.
pub(crate) fn depart(group: &mut Group<'_>, address: &Address, now: UnixMillis) -> Result<(), StoreError> {
    match entry(&group.txn, address)? {
        Some(face) if face.tombstone.is_none() => bury(group, address, now),
        _ => Ok(()),
    }
}

/// The agent's word that it moved here (DESIGN §3, Moving). It may have left before.
pub(crate) fn set_home(
    group: &mut Group<'_>,
    address: &Address,
    home: HomeStatement,
) -> Result<(), StoreError> {
    let Some(mut entry) = entry(&group.txn, address)? else { return Err(StoreError::NoSuchAgent) };
    if entry.tombstone.take().is_some() {
        entry.since = home.at;
    }
    entry.home = Some(home);
    entry.changed = group.next_roster_version();
    put(group, entry)
}

/// A name that nobody has any more.
pub(crate) struct Left {
    /// The key it had last.
    pub(crate) public_key: Vec<u8>,
    /// Until then it is withheld from everybody but the holder of that key (REG-25).
    pub(crate) withheld_until: UnixMillis,
}

/// Who left the name `address`, if anybody did in the last 90 days.
pub(crate) fn left(read: &dyn Read, address: &Address) -> Result<Option<Left>, StoreError> {
    let Some(entry) = entry(read, address)? else { return Ok(None) };
    let left = |at: UnixMillis| Left { public_key: entry.public_key, withheld_until: at.plus(WITHHELD) };
    Ok(entry.tombstone.map(left))
}

/// Drops what is older than 90 days.
pub(crate) fn expire(group: &mut Group<'_>, key: &[u8], now: UnixMillis) -> Result<(), StoreError> {
    let Some(bytes) = group.txn.get(Tree::OwnRoster, key)? else { return Ok(()) };
    let EntryValue(mut entry) = codec::decode(&bytes)?;
    if entry.tombstone.is_some_and(|at| at.plus(KEPT) <= now) {
        group.next_roster_version();
        group.txn.remove(Tree::OwnRoster, key.to_vec());
        return Ok(());
    }
    let before = entry.previous_keys.len();
    entry.previous_keys.retain(|retired| retired.until.plus(KEPT) > now);
    if entry.previous_keys.len() < before {
        entry.changed = group.next_roster_version();
        put(group, entry)?;
    }
    Ok(())
}

pub(crate) fn all(read: &dyn Read) -> Result<Vec<RosterEntry>, StoreError> {
    walk::all(read, Tree::OwnRoster, &Range::ALL, |_, value| Ok(codec::decode::<EntryValue>(value)?.0))
}

pub(crate) fn entry(read: &dyn Read, address: &Address) -> Result<Option<RosterEntry>, StoreError> {
    match read.get(Tree::OwnRoster, address.as_str().as_bytes())? {
        Some(bytes) => Ok(Some(codec::decode::<EntryValue>(&bytes)?.0)),
        None => Ok(None),
    }
}

fn put(group: &mut Group<'_>, entry: RosterEntry) -> Result<(), StoreError> {
    let key = entry.address.as_str().as_bytes().to_vec();
    group.txn.put(Tree::OwnRoster, key, codec::encode(&EntryValue(entry))?);
    Ok(())
}

/// How long others need old keys and names to judge old mail.
const KEPT: Duration = Duration::from_secs(RETENTION_DAYS * 24 * 3600);

/// How long a name is withheld after deregistration (REG-25).
const WITHHELD: Duration = Duration::from_secs(30 * 24 * 3600);

/// Retired keys kept per agent; more changes than this in 90 days lose the oldest.
const RETIRED_KEYS: usize = 16;
