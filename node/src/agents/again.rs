//! The same agent registers again: who gets a new API key for a known name and key (A-42, DESIGN §6). Called by
//! `registration`.

use super::change::admit;
use super::error::RegisterError;
use super::registration::{Checked, Registered, Registrant, impossible_key};
use super::{Agent, Agents, api_key};
use amesh_proto::api::agents::AgentPatch;
use amesh_proto::api::register::RegisterRequest;
use amesh_proto::key::PublicKey;
use amesh_proto::time::UnixMillis;
use amesh_store::StoreError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::sync::Arc;
use std::time::Duration;

impl Agents {
    /// the public key is public, so knowing it proves nothing.
    pub(super) async fn register_again(
        &self,
        known: &Arc<Agent>,
        request: &RegisterRequest,
        checked: &Checked,
        by: Registrant<'_>,
    ) -> Result<Registered, RegisterError> {
        let home = self.returns(known, request, checked)?;
        self.judge_again(known, (request, home.is_some()), checked, by)?;
        if home.is_some() {
            self.has_departed(known).await;
        }
        let patch = AgentPatch {
            alias: request.alias.clone(),
            delivery: request.delivery.clone(),
            metadata: request.metadata.clone(),
        };
        if let Some(wanted) = &patch.delivery {
            admit(&self.inner.webhooks, wanted).await?;
        }
        // Judged once more, now that nothing changes: a key that was replaced meanwhile proves nothing.
        let _one_at_a_time = self.inner.changing.lock().await;
        let known = self.inner.directory.local_agent(&known.address).filter(|now| now.no == known.no);
        let known = known.ok_or(StoreError::NoSuchAgent)?;
        let proven = self.judge_again(&known, (request, home.is_some()), checked, by)?;
        let agent = match patch == AgentPatch::default() {
            true => known,
            false => self.change_to(known.no, &known.address, patch).await?,
        };
        let api_key = api_key::mint(rand::random());
        let Some(hash) = api_key::hash(&api_key) else { return Err(impossible_key()) };
        // The earlier keys end here (KEY-10).
        self.inner.store.add_api_key(agent.no, hash, Some(self.now())).await?;
        if let Some(home) = home {
            self.come_home(&agent, home).await?;
        }
        self.forget_keys();
        Ok(Registered { agent, api_key, again: true, unproven: !proven })
    }

    /// Whether the holder of the key asks for a new API key of `known`; false where somebody else may ask (DESIGN §6).
    fn judge_again(
        &self,
        known: &Agent,
        (request, returns): (&RegisterRequest, bool),
        checked: &Checked,
        by: Registrant<'_>,
    ) -> Result<bool, RegisterError> {
        let address = || known.address.to_string();
        let suggestions = || self.suggestions(&known.address, None);
        if known.key != checked.key {
            return Err(RegisterError::NameTaken {
                address: address(),
                holder: None,
                suggestions: suggestions(),
            });
        }
        let proven = returns || self.holds_key_of(known, by.api_key) || self.proves(&known.key, request);
        // A user key is no proof, although A-42 would take it: all agents of an owner have the same one, and one of them
        // could become another by it. DESIGN §6 lists what counts.
        if !proven && !by.own_user {
            return Err(RegisterError::ProofNeeded { address: address(), suggestions: suggestions() });
        }
        Ok(proven)
    }

    fn holds_key_of(&self, known: &Agent, api_key: Option<&str>) -> bool {
        api_key.is_some_and(|key| self.authenticate(key).is_ok_and(|agent| agent.no == known.no))
    }

    /// A fresh signature by `key` over name, tenant, this provider and the time.
    pub(super) fn proves(&self, key: &PublicKey, request: &RegisterRequest) -> bool {
        let (Some(proof), Some(at)) = (&request.proof, &request.proof_at) else { return false };
        let tenant = request.tenant.as_deref().unwrap_or_default();
        let Some(made) = UnixMillis::parse_rfc3339(at) else { return false };
        let now = self.now();
        if made.saturating_since(now).max(now.saturating_since(made)) > PROOF_AGE {
            return false;
        }
        let Ok(signature) = STANDARD.decode(proof) else { return false };
        let provider = &self.inner.directory.naming().provider;
        let said = RegisterRequest::proof_text(&request.name, tenant, provider, at);
        key.verify(said.as_bytes(), &signature)
    }
}

const PROOF_AGE: Duration = Duration::from_secs(300);
