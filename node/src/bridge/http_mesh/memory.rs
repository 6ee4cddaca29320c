//! What this node remembers of the agents of HTTP hosts, across restarts: where they are, and the key that each was pinned
//! with. Pins of the store, and the directory's picture of them; bounded.

use super::Shared;
use super::host::Host;
use super::sender::conflict;
use crate::agents::directory::{Directory, Outsider};
use crate::message::{Full, Refusal};
use amesh_proto::address::Address;
use amesh_proto::key::PublicKey;
use amesh_proto::time::UnixMillis;
use amesh_store::{Store, StoreError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// An agent as its pin holds it; keys in base64 of their DER.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Pin {
    host: Option<String>,
    key: Option<String>,
    #[serde(default)]
    former: Vec<(String, UnixMillis)>,
}

/// Shows the directory what the store remembers.
pub(super) fn load(store: &Store, directory: &Directory) -> Result<(), StoreError> {
    for (name, value) in store.pins(PREFIX)? {
        let address = name.strip_prefix(PREFIX).and_then(|text| directory.naming().parse(text).ok());
        let Some((address, agent)) = address.zip(read(&value)) else {
            tracing::error!(pin = name, "what is remembered of an agent cannot be read");
            continue;
        };
        directory.put_outsider(address, agent);
    }
    Ok(())
}

impl Shared {
    /// Pins the key that has verified a message of `sender`.
    pub(super) async fn pin(&self, sender: &Address, host: &Host, key: PublicKey) -> Result<(), Refusal> {
        let _one_at_a_time = self.pinning.lock().await;
        let known = self.directory().outsider(sender);
        match known.as_ref().map(|known| &known.key) {
            Some(Some(pinned)) if *pinned == key => return Ok(()),
            // Another first message was quicker, with another key.
            Some(Some(_)) => {
                return Err(conflict(sender, &format!("{sender} has another key than the one it came with")));
            }
            None if self.directory().outsider_count() >= AGENTS => {
                return Err(Refusal::Full(Full::Outsiders));
            }
            _ => {}
        }
        let former = known.unwrap_or_default().former;
        let agent = Outsider { host: Some(host.name.clone()), key: Some(key), former };
        self.write(sender, agent).await.map_err(|error| Refusal::Store(error.to_string()))
    }

    /// Remembers where an agent is, if there is room; a pinned key is never moved by hearsay.
    pub(super) async fn remember(&self, address: &Address, host: &Arc<str>) {
        let _one_at_a_time = self.pinning.lock().await;
        let known = self.directory().outsider(address);
        let settled = |known: &Outsider| known.key.is_some() || known.host.as_ref() == Some(host);
        if known.as_ref().is_some_and(settled)
            || known.is_none() && self.directory().outsider_count() >= AGENTS
        {
            return;
        }
        let agent = Outsider { host: Some(host.clone()), ..known.unwrap_or_default() };
        if let Err(error) = self.write(address, agent).await {
            tracing::warn!(%error, %address, "the place of an agent is not remembered");
        }
    }

    /// Forgets where an agent is and the key it has: its next message is its first. The key goes on judging the mail that
    /// came before. False where nothing was remembered.
    pub(super) async fn forget_agent(&self, address: &Address) -> Result<bool, StoreError> {
        let _one_at_a_time = self.pinning.lock().await;
        let known = self.directory().outsider(address).unwrap_or_default();
        if known.host.is_none() && known.key.is_none() {
            return Ok(false);
        }
        let now = self.clock.now();
        let mut former = known.former;
        former.retain(|(_, until)| now.saturating_since(*until) < FORMER_FOR);
        former.extend(known.key.map(|key| (key, now)));
        let too_many = former.len().saturating_sub(FORMER);
        former.drain(..too_many);
        self.write(address, Outsider { host: None, key: None, former }).await?;
        self.places.forget(address);
        Ok(true)
    }

    async fn write(&self, address: &Address, agent: Outsider) -> Result<(), StoreError> {
        let text = |key: &PublicKey| BASE64.encode(key.to_spki_der());
        let pin = Pin {
            host: agent.host.as_ref().map(ToString::to_string),
            key: agent.key.as_ref().map(text),
            former: agent.former.iter().map(|(key, until)| (text(key), *until)).collect(),
        };
        let value =
            serde_json::to_string(&pin).map_err(|error| StoreError::Failed { reason: error.to_string() })?;
        self.store.set_pin(&format!("{PREFIX}{address}"), Some(value)).await?;
        self.directory().put_outsider(address.clone(), agent);
        Ok(())
    }
}

fn read(value: &str) -> Option<Outsider> {
    let key = |text: &str| PublicKey::from_spki_der(&BASE64.decode(text).ok()?).ok();
    let pin: Pin = serde_json::from_str(value).ok()?;
    let former = pin.former.iter().map(|(text, until)| Some((key(text)?, *until))).collect::<Option<_>>()?;
    let current = match pin.key.as_deref() {
        None => None,
        Some(text) => Some(key(text)?),
    };
    Some(Outsider { host: pin.host.as_deref().map(Into::into), key: current, former })
}

const PREFIX: &str = "http-mesh/agent/";
/// Far more than a network of such hosts has.
const AGENTS: usize = 10_000;
/// Forgotten keys that are kept of an agent, and how long: as long as rosters keep theirs (DESIGN §3).
const FORMER: usize = 4;
const FORMER_FOR: Duration = Duration::from_secs(90 * 86_400);
