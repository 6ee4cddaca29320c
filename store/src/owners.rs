//! The trees `owners` and `invite_codes`: who may register agents where that is not open to everybody (REG-14…19). Both
//! are the node owner's to change; what a registration uses of them is settled in the registration's own commit.

use crate::api_keys::KeyHash;
use crate::codec::{self, Value};
use crate::engine::{Range, Read};
use crate::error::StoreError;
use crate::group::Group;
use crate::trees::Tree;
use amesh_proto::time::UnixMillis;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

/// Random, so that nobody meets one by guessing.
pub type OwnerId = [u8; 16];

/// Somebody with agents of their own at this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerRecord {
    /// Who.
    pub id: OwnerId,
    /// The tenant of their agents.
    pub tenant: String,
    /// Agents they may have.
    pub agent_limit: u32,
    /// Off while suspended: their keys open nothing.
    pub active: bool,
    /// Hash of the user key, which registers agents.
    pub user_key: KeyHash,
    /// Hash of the session token, which manages them.
    pub session: KeyHash,
    /// When they were added.
    pub added_at: UnixMillis,
}

impl Value for OwnerRecord {
    const TREE: Tree = Tree::Owners;
}

/// A code that lets agents into a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteCode {
    /// Which tenant.
    pub tenant: String,
    /// Agents it still lets in.
    pub left: u32,
    /// Useless from then on.
    pub expires_at: UnixMillis,
}

impl Value for InviteCode {
    const TREE: Tree = Tree::InviteCodes;
}

/// By what right an agent is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// The tenant is open.
    Open,
    /// An owner's user key.
    Owner(OwnerId),
    /// The hash of an invite code; one use of it is spent.
    Code(KeyHash),
}

/// Why that right does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAdmitted {
    /// The code is unknown, spent, expired, or for another tenant.
    Code,
    /// The owner is gone or suspended.
    Owner,
    /// The owner has as many agents as they may.
    Limit(u32),
}

/// Judges a registration in `tenant`, and spends what it spends; the owner, where there is one, has `owned` agents.
/// Gives the owner.
pub(crate) fn admit(
    group: &mut Group<'_>,
    admission: Admission,
    owned: u32,
    tenant: &str,
    now: UnixMillis,
) -> Result<Result<Option<OwnerId>, NotAdmitted>, StoreError> {
    match admission {
        Admission::Open => Ok(Ok(None)),
        Admission::Owner(id) => {
            let Some(owner) = by_id(&group.txn, &id)?.filter(|owner| owner.active) else {
                return Ok(Err(NotAdmitted::Owner));
            };
            let limit = owner.agent_limit;
            Ok(if owned >= limit { Err(NotAdmitted::Limit(limit)) } else { Ok(Some(id)) })
        }
        Admission::Code(hash) => {
            let Some(bytes) = group.txn.get(Tree::InviteCodes, &hash)? else {
                return Ok(Err(NotAdmitted::Code));
            };
            let code: InviteCode = codec::decode(&bytes)?;
            if code.tenant != tenant || code.expires_at <= now || code.left == 0 {
                return Ok(Err(NotAdmitted::Code));
            }
            match code.left - 1 {
                0 => group.txn.remove(Tree::InviteCodes, hash.to_vec()),
                left => {
                    let value = codec::encode(&InviteCode { left, ..code })?;
                    group.txn.put(Tree::InviteCodes, hash.to_vec(), value);
                }
            }
            Ok(Ok(None))
        }
    }
}

/// Adds or changes an owner. False where there are too many.
pub(crate) fn put(group: &mut Group<'_>, owner: &OwnerRecord) -> Result<bool, StoreError> {
    if by_id(&group.txn, &owner.id)?.is_none() && all(&group.txn)?.len() >= LIMIT {
        return Ok(false);
    }
    group.txn.put(Tree::Owners, owner.id.to_vec(), codec::encode(owner)?);
    Ok(true)
}

/// Removes an owner; their agents stay. Says whether there was one.
pub(crate) fn remove(group: &mut Group<'_>, id: &OwnerId) -> Result<bool, StoreError> {
    let known = by_id(&group.txn, id)?.is_some();
    group.txn.remove(Tree::Owners, id.to_vec());
    Ok(known)
}

/// Adds an invite code, and drops those that ended. False where there are too many.
pub(crate) fn add_code(
    group: &mut Group<'_>,
    hash: KeyHash,
    code: &InviteCode,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    let (ended, living): (Vec<_>, Vec<_>) =
        scan::<InviteCode>(&group.txn)?.into_iter().partition(|(_, code)| code.expires_at <= now);
    for (key, _) in ended {
        group.txn.remove(Tree::InviteCodes, key);
    }
    if living.len() >= LIMIT {
        return Ok(false);
    }
    group.txn.put(Tree::InviteCodes, hash.to_vec(), codec::encode(code)?);
    Ok(true)
}

pub(crate) fn by_id(read: &dyn Read, id: &OwnerId) -> Result<Option<OwnerRecord>, StoreError> {
    read.get(Tree::Owners, id)?.map(|bytes| codec::decode(&bytes)).transpose()
}

pub(crate) fn all(read: &dyn Read) -> Result<Vec<OwnerRecord>, StoreError> {
    Ok(scan(read)?.into_iter().map(|(_, owner)| owner).collect())
}

fn scan<T: Value + DeserializeOwned>(read: &dyn Read) -> Result<Vec<(Vec<u8>, T)>, StoreError> {
    let (mut found, mut damage) = (Vec::new(), None);
    read.scan(T::TREE, &Range::ALL, &mut |key, value| match codec::decode(value) {
        Ok(value) => {
            found.push((key.to_vec(), value));
            ControlFlow::Continue(())
        }
        Err(error) => {
            damage = Some(error);
            ControlFlow::Break(())
        }
    })?;
    damage.map_or(Ok(found), Err)
}

/// Owners, and invite codes, at one node.
const LIMIT: usize = 1_000;
