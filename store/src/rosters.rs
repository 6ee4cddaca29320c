//! The tree `rosters`: the rosters of other nodes, so that a name resolves while its host is off (DESIGN §3). Used by
//! the node's mesh and directory.

use crate::codec::{self, Value, damaged};
use crate::engine::{Range, Read};
use crate::error::StoreError;
use crate::group::Group;
use crate::key::join;
use crate::trees::Tree;
use crate::walk;
use amesh_proto::address::Address;
use amesh_proto::node_id::NodeId;
use amesh_proto::roster::{RosterEntry, RosterHead};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeadValue(pub(crate) RosterHead);

impl Value for HeadValue {
    const TREE: Tree = Tree::Rosters;
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EntryValue(pub(crate) RosterEntry);

impl Value for EntryValue {
    const TREE: Tree = Tree::Rosters;
}

/// Another node's roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRoster {
    /// What its author signed; it covers the entries.
    pub head: RosterHead,
    /// Sorted by address.
    pub entries: Vec<RosterEntry>,
}

/// How a roster changes. The caller has checked that the head covers the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RosterDelta {
    /// These entries and no others.
    Whole(Vec<RosterEntry>),
    /// Some entries change, some go.
    Part {
        /// New or changed ones.
        put: Vec<RosterEntry>,
        /// Those that are not listed any more.
        remove: Vec<Address>,
    },
}

pub(crate) fn put(group: &mut Group<'_>, head: RosterHead, delta: RosterDelta) -> Result<(), StoreError> {
    let node = head.says.node;
    let entries = match delta {
        RosterDelta::Whole(entries) => {
            drop_node(group, &node)?;
            entries
        }
        RosterDelta::Part { put, remove } => {
            for address in remove {
                group.txn.remove(Tree::Rosters, entry_key(&node, &address));
            }
            put
        }
    };
    for entry in entries {
        let key = entry_key(&node, &entry.address);
        group.txn.put(Tree::Rosters, key, codec::encode(&EntryValue(entry))?);
    }
    group.txn.put(Tree::Rosters, join(node.as_bytes(), HEAD), codec::encode(&HeadValue(head))?);
    Ok(())
}

pub(crate) fn drop_node(group: &mut Group<'_>, node: &NodeId) -> Result<(), StoreError> {
    let mut keys = Vec::new();
    group.txn.scan(Tree::Rosters, &Range::prefix(node.as_bytes()), &mut |key, _| {
        keys.push(key.to_vec());
        ControlFlow::Continue(())
    })?;
    keys.into_iter().for_each(|key| group.txn.remove(Tree::Rosters, key));
    Ok(())
}

/// One node's roster.
pub(crate) fn of(read: &dyn Read, node: &NodeId) -> Result<Option<StoredRoster>, StoreError> {
    Ok(collect(read, &Range::prefix(node.as_bytes()))?.pop())
}

/// Every node's.
pub(crate) fn all(read: &dyn Read) -> Result<Vec<StoredRoster>, StoreError> {
    collect(read, &Range::ALL)
}

/// Whether a pair decodes; for `verify`.
pub(crate) fn check(key: &[u8], value: &[u8]) -> Result<(), StoreError> {
    if key.get(32..) == Some(HEAD) {
        codec::decode::<HeadValue>(value).map(drop)
    } else {
        codec::decode::<EntryValue>(value).map(drop)
    }
}

/// A head's key sorts before its entries'.
fn collect(read: &dyn Read, range: &Range) -> Result<Vec<StoredRoster>, StoreError> {
    let mut rosters: Vec<StoredRoster> = Vec::new();
    walk::each(read, Tree::Rosters, range, |key, value| read_pair(&mut rosters, key, value))?;
    Ok(rosters)
}

fn read_pair(rosters: &mut Vec<StoredRoster>, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
    if key.get(32..) == Some(HEAD) {
        let HeadValue(head) = codec::decode(value)?;
        rosters.push(StoredRoster { head, entries: Vec::new() });
        return Ok(());
    }
    let EntryValue(entry) = codec::decode(value)?;
    match rosters.last_mut() {
        Some(roster) if key.starts_with(roster.head.says.node.as_bytes()) => roster.entries.push(entry),
        _ => return Err(damaged(Tree::Rosters)),
    }
    Ok(())
}

fn entry_key(node: &NodeId, address: &Address) -> Vec<u8> {
    [node.as_bytes(), ENTRY, address.as_str().as_bytes()].concat()
}

const HEAD: &[u8] = &[0];
const ENTRY: &[u8] = &[1];
