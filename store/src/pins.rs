//! The tree `pins`: what the owner decided by hand, as named texts: trusted keys, renamed agents, federation allowances.
//! Used by the node's directory and federation.

use crate::codec::{self, Value};
use crate::engine::{Range, Read};
use crate::error::StoreError;
use crate::group::Group;
use crate::trees::Tree;
use crate::walk;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PinValue(pub(crate) String);

impl Value for PinValue {
    const TREE: Tree = Tree::Pins;
}

/// Sets or, with `None`, removes a pin.
pub(crate) fn set(group: &mut Group<'_>, name: &str, value: Option<String>) -> Result<(), StoreError> {
    let key = name.as_bytes().to_vec();
    match value {
        Some(value) => group.txn.put(Tree::Pins, key, codec::encode(&PinValue(value))?),
        None => group.txn.remove(Tree::Pins, key),
    }
    Ok(())
}

/// Every pin whose name begins with `prefix`, by name.
pub(crate) fn with_prefix(read: &dyn Read, prefix: &str) -> Result<Vec<(String, String)>, StoreError> {
    walk::all(read, Tree::Pins, &Range::prefix(prefix.as_bytes()), |key, value| {
        Ok((String::from_utf8_lossy(key).into_owned(), codec::decode::<PinValue>(value)?.0))
    })
}
