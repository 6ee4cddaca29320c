//! The tree `api_keys`: which agent an API key opens, by the key's hash (KEY-1…4). Used by the node's registry of agents.

use crate::codec::{self, Value};
use crate::engine::{Range, Read};
use crate::error::StoreError;
use crate::group::Group;
use crate::mail::AgentNo;
use crate::trees::Tree;
use crate::walk;
use amesh_proto::time::UnixMillis;
use serde::{Deserialize, Serialize};

/// Hash of an API key; the key itself is never stored (KEY-2).
pub type KeyHash = [u8; 32];

/// One API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ApiKey {
    pub(crate) agent: AgentNo,
    /// From then on it opens nothing.
    pub(crate) valid_until: Option<UnixMillis>,
}

impl Value for ApiKey {
    const TREE: Tree = Tree::ApiKeys;
}

/// Adds a key. With `others_until` the agent's other keys end then, at the latest (KEY-3).
pub(crate) fn add(
    group: &mut Group<'_>,
    agent: AgentNo,
    hash: KeyHash,
    others_until: Option<UnixMillis>,
) -> Result<(), StoreError> {
    if let Some(until) = others_until {
        for (hash, key) in of_agent(&group.txn, agent)? {
            let valid_until = Some(key.valid_until.map_or(until, |before| before.min(until)));
            let key = ApiKey { valid_until, ..key };
            group.txn.put(Tree::ApiKeys, hash, codec::encode(&key)?);
        }
    }
    let key = ApiKey { agent, valid_until: None };
    group.txn.put(Tree::ApiKeys, hash.to_vec(), codec::encode(&key)?);
    Ok(())
}

/// Gives the agent a new key in the place of the one it uses, `old`; the others end at `until` (KEY-3). A key that was
/// replaced before cannot replace its successor. Says whether it was done.
pub(crate) fn rotate(
    group: &mut Group<'_>,
    agent: AgentNo,
    old: &KeyHash,
    new: KeyHash,
    until: UnixMillis,
) -> Result<bool, StoreError> {
    let Some(bytes) = group.txn.get(Tree::ApiKeys, old)? else { return Ok(false) };
    let known: ApiKey = codec::decode(&bytes)?;
    if known.agent != agent || known.valid_until.is_some() {
        return Ok(false);
    }
    add(group, agent, new, Some(until))?;
    let mut ending = of_agent(&group.txn, agent)?;
    ending.retain(|(_, key)| key.valid_until.is_some());
    // Newest last: what is too many goes, oldest first, so that rotating all day fills nothing.
    ending.sort_by_key(|(_, key)| key.valid_until);
    let too_many = ending.len().saturating_sub(ENDING_KEYS);
    for (hash, _) in ending.drain(..too_many) {
        group.txn.remove(Tree::ApiKeys, hash);
    }
    Ok(true)
}

/// Ends every key of an agent at once (KEY-4). Returns how many.
pub(crate) fn revoke_all(group: &mut Group<'_>, agent: AgentNo) -> Result<u32, StoreError> {
    let keys = of_agent(&group.txn, agent)?;
    let count = u32::try_from(keys.len()).unwrap_or(u32::MAX);
    for (hash, _) in keys {
        group.txn.remove(Tree::ApiKeys, hash);
    }
    Ok(count)
}

/// Removes the keys that ended. Returns how many.
pub(crate) fn expire(group: &mut Group<'_>, now: UnixMillis) -> Result<u32, StoreError> {
    let ended = select(&group.txn, &|key| key.valid_until.is_some_and(|until| until <= now))?;
    let count = u32::try_from(ended.len()).unwrap_or(u32::MAX);
    for (hash, _) in ended {
        group.txn.remove(Tree::ApiKeys, hash);
    }
    Ok(count)
}

/// Whose key it is, while it is valid.
pub(crate) fn agent_of(
    read: &dyn Read,
    hash: &KeyHash,
    now: UnixMillis,
) -> Result<Option<AgentNo>, StoreError> {
    let Some(bytes) = read.get(Tree::ApiKeys, hash)? else { return Ok(None) };
    let key: ApiKey = codec::decode(&bytes)?;
    if key.valid_until.is_some_and(|until| until <= now) {
        return Ok(None);
    }
    Ok(Some(key.agent))
}

fn of_agent(read: &dyn Read, agent: AgentNo) -> Result<Vec<(Vec<u8>, ApiKey)>, StoreError> {
    select(read, &|key| key.agent == agent)
}

/// Replaced keys that one agent may still use.
const ENDING_KEYS: usize = 8;

/// A walk over all keys: they are few, and change rarely.
fn select(read: &dyn Read, wanted: &dyn Fn(&ApiKey) -> bool) -> Result<Vec<(Vec<u8>, ApiKey)>, StoreError> {
    let mut keys = Vec::new();
    walk::each(read, Tree::ApiKeys, &Range::ALL, |hash, value| {
        keys.extend(Some((hash.to_vec(), codec::decode(value)?)).filter(|(_, key)| wanted(key)));
        Ok(())
    })?;
    Ok(keys)
}
