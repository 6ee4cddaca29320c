//! What an agent may change of itself: alias, delivery, metadata (REG-23), with the limits that registration has too.
//! Called by the agents' door and by `registration`.

use super::error::RegisterError;
use super::webhook::Webhooks;
use super::{Agent, Agents};
use amesh_proto::address::Address;
use amesh_proto::api::agents::{AgentPatch, DeliverySettings};
use amesh_store::{AgentChange, AgentNo, Delivery, StoreError};
use serde_json::{Map, Value};
use std::sync::Arc;

impl Agents {
    /// Changes what an agent may change of itself (REG-23).
    ///
    /// # Errors
    /// [`RegisterError::Body`] for a bad webhook address, [`RegisterError::Store`] when the store fails.
    pub async fn update(&self, agent: &Agent, patch: AgentPatch) -> Result<Arc<Agent>, RegisterError> {
        check_patch(&patch)?;
        if let Some(wanted) = &patch.delivery {
            admit(&self.inner.webhooks, wanted).await?;
        }
        let _one_at_a_time = self.inner.changing.lock().await;
        self.change_to(agent.no, &agent.address, patch).await
    }

    /// What [`Self::update`] does once everything is judged and `changing` is held.
    pub(super) async fn change_to(
        &self,
        no: AgentNo,
        address: &Address,
        patch: AgentPatch,
    ) -> Result<Arc<Agent>, RegisterError> {
        if patch.alias.is_some() && self.is_full() {
            return Err(RegisterError::Full);
        }
        // As it is now: another request may have changed it since this one was read.
        let present = self.inner.directory.local_agent(address).filter(|agent| agent.no == no);
        let present = present.ok_or(StoreError::NoSuchAgent)?;
        let change = AgentChange {
            alias: patch.alias.map(|alias| Some(alias).filter(|alias| !alias.is_empty())),
            delivery: patch.delivery.map(|wanted| merged(&present.record.delivery, wanted)),
            metadata: patch.metadata.map(|members| Value::Object(members).to_string()),
        };
        let record = self.inner.store.update_agent(no, change, self.now()).await?;
        let Ok(changed) = Agent::from_record(record) else { return Err(StoreError::NoSuchAgent.into()) };
        self.put(changed.clone());
        self.inner.webhooks.have_changed();
        Ok(changed)
    }
}

/// What an agent may write about itself, with the same limits as at registration.
fn check_patch(patch: &AgentPatch) -> Result<(), RegisterError> {
    check_alias(patch.alias.as_deref())?;
    checked_metadata(patch.metadata.as_ref()).map(drop)
}

pub(super) fn check_alias(alias: Option<&str>) -> Result<(), RegisterError> {
    // Other hosts are told it, and terminals show it.
    match alias {
        Some(alias) if alias.chars().count() > ALIAS_CHARS => {
            Err(RegisterError::invalid("alias", format_args!("at most {ALIAS_CHARS} characters are allowed")))
        }
        _ => Ok(()),
    }
}

pub(super) fn checked_metadata(
    members: Option<&Map<String, Value>>,
) -> Result<Option<String>, RegisterError> {
    let text = members.cloned().map(|members| Value::Object(members).to_string());
    if text.as_ref().is_some_and(|text| text.len() > METADATA_BYTES) {
        return Err(RegisterError::invalid(
            "metadata",
            format_args!("at most {METADATA_BYTES} bytes are allowed"),
        ));
    }
    Ok(text)
}

/// Judges delivery settings, the webhook's address by what it leads to now.
pub(super) async fn admit(rules: &Webhooks, wanted: &DeliverySettings) -> Result<(), RegisterError> {
    if wanted.webhook_secret.as_ref().is_some_and(|secret| secret.len() > SECRET_BYTES) {
        return Err(RegisterError::invalid(
            "delivery",
            format_args!("webhook_secret: at most {SECRET_BYTES} bytes"),
        ));
    }
    if let Some(url) = wanted.webhook_url.as_deref().filter(|url| !url.is_empty()) {
        rules.admit(url).await.map_err(|fault| RegisterError::invalid("delivery", fault))?;
    }
    Ok(())
}

/// Delivery settings after a change, member by member (REG-23); an empty text removes.
pub(super) fn merged(before: &Delivery, wanted: DeliverySettings) -> Delivery {
    let changed = |new: Option<String>, old: &Option<String>| match new {
        None => old.clone(),
        Some(text) => Some(text).filter(|text| !text.is_empty()),
    };
    Delivery {
        webhook_url: changed(wanted.webhook_url, &before.webhook_url),
        webhook_secret: changed(wanted.webhook_secret, &before.webhook_secret),
        prefer_websocket: wanted.prefer_websocket.unwrap_or(before.prefer_websocket),
    }
}

const ALIAS_CHARS: usize = 256;
const METADATA_BYTES: usize = 16 * 1024;
const SECRET_BYTES: usize = 1024;
