//! A registration as the store keeps it: a pin by agent and provider, the API key in it. The data directory is its owner's
//! alone. Read and written by `mod`.

use amesh_proto::address::Address;
use amesh_store::{AgentNo, Store, StoreError};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// See the module.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Kept {
    /// Whose it is, here.
    pub(super) agent: AgentNo,
    /// The provider's domain.
    pub(super) provider: Arc<str>,
    /// The agent's address there.
    pub(super) address: Address,
    /// The base of the API there, with its version and without a slash at its end.
    pub(super) base: String,
    /// The secret.
    pub(super) api_key: String,
}

/// The value of the pin.
#[derive(Serialize, Deserialize)]
struct Pin {
    address: String,
    base: String,
    api_key: String,
}

impl Kept {
    /// Every registration that is remembered.
    pub(super) fn all(store: &Store) -> Result<Vec<Self>, StoreError> {
        let mut all = Vec::new();
        for (name, value) in store.pins(PREFIX)? {
            match read(&name, &value) {
                Some(kept) => all.push(kept),
                // Its value holds a secret.
                None => tracing::error!(pin = name, "a registration with another provider cannot be read"),
            }
        }
        Ok(all)
    }

    pub(super) async fn write(&self, store: &Store) -> Result<(), StoreError> {
        let pin =
            Pin { address: self.address.to_string(), base: self.base.clone(), api_key: self.api_key.clone() };
        let value =
            serde_json::to_string(&pin).map_err(|error| StoreError::Failed { reason: error.to_string() })?;
        store.set_pin(&self.name(), Some(value)).await
    }

    pub(super) async fn forget(&self, store: &Store) -> Result<(), StoreError> {
        store.set_pin(&self.name(), None).await
    }

    fn name(&self) -> String {
        format!("{PREFIX}{:08x}/{}", self.agent.0, self.provider)
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Kept").field("address", &self.address).finish_non_exhaustive()
    }
}

fn read(name: &str, value: &str) -> Option<Kept> {
    let (no, provider) = name.strip_prefix(PREFIX)?.split_once('/')?;
    let pin: Pin = serde_json::from_str(value).ok()?;
    Some(Kept {
        agent: AgentNo(u32::from_str_radix(no, 16).ok()?.into()),
        provider: provider.into(),
        address: Address::parse(&pin.address, &[provider]).ok()?,
        base: pin.base,
        api_key: pin.api_key,
    })
}

const PREFIX: &str = "registration/";
