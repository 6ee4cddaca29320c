//! What the node's owner decides about an agent of this node: another name, or none (DESIGN §3, Names). Called by the
//! owner's socket.

use super::error::RegisterError;
use super::registration::SYSTEM_NAME;
use super::{Agent, Agents};
use amesh_proto::address;
use amesh_store::{RenameOutcome, StoreError};
use std::sync::Arc;

/// An agent under its new name.
#[derive(Debug)]
pub struct Renamed {
    /// The agent as it is now.
    pub agent: Arc<Agent>,
    /// The address it had.
    pub was: String,
}

impl Agents {
    /// The agent of this node that `typed` names, in any form of its address. One that has lost its name to another
    /// host is found by it all the same.
    ///
    /// # Errors
    /// [`RegisterError::Body`] when it is no address, [`RegisterError::NoSuchAgent`] when nobody of that name lives here.
    pub fn of_this_node(&self, typed: &str) -> Result<Arc<Agent>, RegisterError> {
        let directory = self.directory();
        let address =
            directory.expand(typed, None).map_err(|error| RegisterError::invalid("address", error))?;
        let at_home = directory.naming().host_in(&address).filter(|host| *host == directory.naming().host);
        let address = match at_home {
            Some(_) => directory
                .naming()
                .address_of(address.name())
                .map_err(|e| RegisterError::invalid("address", e))?,
            None => address,
        };
        directory.local_agent(&address).ok_or_else(|| RegisterError::NoSuchAgent(address.to_string()))
    }

    /// Gives an agent another name. Its mail, its API keys and its number stay; its old address is withheld.
    ///
    /// # Errors
    /// When the name cannot be had; nothing has changed.
    pub async fn rename(&self, agent: &Agent, name: &str) -> Result<Renamed, RegisterError> {
        address::validate_agent_name(name).map_err(|error| RegisterError::invalid("name", error))?;
        if name.eq_ignore_ascii_case(SYSTEM_NAME) {
            return Err(RegisterError::invalid("name", "this name is reserved for the node's own notices"));
        }
        let directory = self.directory();
        let typed = format!("{name}@{}", agent.address.domain());
        let wanted =
            directory.naming().parse(&typed).map_err(|error| RegisterError::invalid("name", error))?;
        let taken = |holder: Option<String>| RegisterError::NameTaken {
            address: wanted.to_string(),
            holder,
            suggestions: self.suggestions(&wanted, Some(&directory.naming().host)),
        };
        if let Some(holder) = directory.listed_elsewhere(&wanted) {
            return Err(taken(Some(holder.host)));
        }
        let _one_at_a_time = self.inner.changing.lock().await;
        let renaming = self.inner.store.rename_agent(agent.no, wanted.clone(), name.to_owned(), self.now());
        match renaming.await? {
            RenameOutcome::Renamed(record) => {
                let Ok(renamed) = Agent::from_record(*record) else {
                    return Err(StoreError::NoSuchAgent.into());
                };
                directory.remove_local(&agent.address);
                self.show(&agent.address);
                self.put(renamed.clone());
                Ok(Renamed { agent: renamed, was: agent.address.to_string() })
            }
            RenameOutcome::NameTaken => Err(taken(None)),
            RenameOutcome::Withheld { until } => Err(RegisterError::Withheld {
                address: wanted.to_string(),
                until,
                same_key: false,
                suggestions: self.suggestions(&wanted, None),
            }),
        }
    }
}
