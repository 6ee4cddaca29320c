//! Owners of agents, their keys, and invite codes (REG-15, REG-17…21). Called by `registration`, by the owners' doors
//! and by the owner's socket.
//!
//! A user key can be decoded by anybody who knows how (REG-18), so decoding proves nothing: it holds 128 random bits,
//! and counts only if its hash is the one that is stored. It is derived from the session token, so that it can be
//! shown again to whoever holds that, and is stored nowhere.

use super::error::OwnerError;
use super::{Agent, Agents, AuthError};
use amesh_proto::address;
use amesh_store::{InviteCode, OwnerId, OwnerRecord};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;

/// How a user key begins (REG-18).
pub const USER_KEY_PREFIX: &str = "uk_";

/// A new owner, and what proves them. Neither is stored.
#[derive(Debug)]
pub struct NewOwner {
    /// The owner.
    pub owner: OwnerRecord,
    /// Registers agents.
    pub user_key: String,
    /// Manages them.
    pub session_token: String,
}

impl Agents {
    /// Adds somebody who may have `agent_limit` agents in `tenant`.
    ///
    /// # Errors
    /// [`OwnerError`]; nothing was added.
    pub async fn add_owner(&self, tenant: Option<&str>, agent_limit: u32) -> Result<NewOwner, OwnerError> {
        let tenant = self.tenant(tenant)?;
        let id: OwnerId = rand::random();
        let session_token = format!("{SESSION_PREFIX}{}_{}", hex(&id), hex(&rand::random::<[u8; 32]>()));
        let user_key = user_key(&id, &tenant, &session_token);
        let owner = OwnerRecord {
            id,
            tenant,
            agent_limit,
            active: true,
            user_key: decoded(&user_key).map(|text| sha(text.as_bytes())).unwrap_or_default(),
            session: sha(session_token.as_bytes()),
            added_at: self.now(),
        };
        if !self.inner.store.put_owner(owner.clone()).await? {
            return Err(OwnerError::Full);
        }
        Ok(NewOwner { owner, user_key, session_token })
    }

    /// Everybody who has agents of their own.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn owners(&self) -> Result<Vec<OwnerRecord>, OwnerError> {
        Ok(self.inner.store.all_owners()?)
    }

    /// Suspends an owner, or lets them go on.
    ///
    /// # Errors
    /// [`OwnerError`]; nothing was changed.
    pub async fn set_owner_active(&self, id: &str, active: bool) -> Result<OwnerRecord, OwnerError> {
        let _one_at_a_time = self.inner.changing.lock().await;
        let unknown = || OwnerError::Unknown(id.to_owned());
        let known = self.inner.store.owner(&owner_id(id).ok_or_else(unknown)?)?.ok_or_else(unknown)?;
        let owner = OwnerRecord { active, ..known };
        self.inner.store.put_owner(owner.clone()).await?;
        Ok(owner)
    }

    /// Removes an owner. Their agents stay.
    ///
    /// # Errors
    /// [`OwnerError`]; nothing was removed.
    pub async fn remove_owner(&self, id: &str) -> Result<(), OwnerError> {
        let unknown = || OwnerError::Unknown(id.to_owned());
        let _one_at_a_time = self.inner.changing.lock().await;
        let removed = self.inner.store.remove_owner(owner_id(id).ok_or_else(unknown)?).await?;
        if removed { Ok(()) } else { Err(unknown()) }
    }

    /// Makes a code that lets `uses` agents into `tenant`.
    ///
    /// # Errors
    /// [`OwnerError`]; there is no new code.
    pub async fn add_invite_code(
        &self,
        tenant: Option<&str>,
        uses: u32,
        ttl: Duration,
    ) -> Result<(String, InviteCode), OwnerError> {
        let text = format!("inv_{}", hex(&rand::random::<[u8; 16]>()));
        let now = self.now();
        let code = InviteCode { tenant: self.tenant(tenant)?, left: uses, expires_at: now.plus(ttl) };
        if !self.inner.store.add_invite_code(hash_of_code(&text), code.clone(), now).await? {
            return Err(OwnerError::Full);
        }
        Ok((text, code))
    }

    /// Whose user key this is (REG-19).
    ///
    /// # Errors
    /// [`AuthError`] when it was not issued here, or its owner is suspended.
    pub fn owner_of_user_key(&self, presented: &str) -> Result<OwnerRecord, AuthError> {
        let text = decoded(presented).ok_or(AuthError::Unknown)?;
        let id = text.split(':').next().and_then(owner_id).ok_or(AuthError::Unknown)?;
        let owner = self.known_owner(&id)?;
        if owner.user_key == sha(text.as_bytes()) { Ok(owner) } else { Err(AuthError::Unknown) }
    }

    /// Whose session token this is.
    ///
    /// # Errors
    /// [`AuthError`] when it was not issued here, or its owner is suspended.
    pub fn owner_of_session(&self, presented: &str) -> Result<OwnerRecord, AuthError> {
        let id = presented.strip_prefix(SESSION_PREFIX).and_then(|rest| rest.split('_').next());
        let owner = self.known_owner(&id.and_then(unhex_id).ok_or(AuthError::Unknown)?)?;
        if owner.session == sha(presented.as_bytes()) { Ok(owner) } else { Err(AuthError::Unknown) }
    }

    /// The agents of an owner, by address.
    #[must_use]
    pub fn owned_by(&self, owner: &OwnerRecord) -> Vec<Arc<Agent>> {
        let mut owned = self.inner.directory.local_agents();
        owned.retain(|agent| agent.record.owner == Some(owner.id));
        owned.sort_by(|a, b| a.address.cmp(&b.address));
        owned
    }

    fn known_owner(&self, id: &OwnerId) -> Result<OwnerRecord, AuthError> {
        let owner = self.inner.store.owner(id).map_err(|error| {
            tracing::error!(%error, "an owner could not be looked up");
            AuthError::Unavailable
        })?;
        owner.filter(|owner| owner.active).ok_or(AuthError::Unknown)
    }

    fn tenant(&self, wanted: Option<&str>) -> Result<String, OwnerError> {
        let tenant = wanted.unwrap_or(&self.inner.directory.naming().org).to_ascii_lowercase();
        address::validate_label(&tenant).map_err(|error| OwnerError::Tenant(error.to_string()))?;
        Ok(tenant)
    }
}

/// The user key of the owner who holds `session_token`: `owner:tenant:random` in base64url.
#[must_use]
pub fn user_key(id: &OwnerId, tenant: &str, session_token: &str) -> String {
    let random = sha(format!("amesh user key|{session_token}").as_bytes());
    let text = format!("{}:{tenant}:{}", shown_id(id), hex(&random[..16]));
    format!("{USER_KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(text))
}

/// As it is shown.
#[must_use]
pub fn shown_id(id: &OwnerId) -> String {
    format!("{ID_PREFIX}{}", hex(id))
}

/// What is kept of an invite code.
pub(super) fn hash_of_code(code: &str) -> [u8; 32] {
    sha(code.trim().as_bytes())
}

/// What a user key says, in either of base64's alphabets, padded or not.
fn decoded(presented: &str) -> Option<String> {
    let body = presented.strip_prefix(USER_KEY_PREFIX).filter(|body| body.len() <= LONGEST_KEY)?;
    let body = body.trim_end_matches('=');
    let bytes = URL_SAFE_NO_PAD.decode(body).or_else(|_| STANDARD_NO_PAD.decode(body)).ok()?;
    String::from_utf8(bytes).ok()
}

fn owner_id(shown: &str) -> Option<OwnerId> {
    unhex_id(shown.strip_prefix(ID_PREFIX)?)
}

fn unhex_id(text: &str) -> Option<OwnerId> {
    if text.len() != 32 || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

const ID_PREFIX: &str = "own_";
const SESSION_PREFIX: &str = "ost_";
const LONGEST_KEY: usize = 512;
