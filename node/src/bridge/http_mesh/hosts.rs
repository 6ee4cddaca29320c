//! The HTTP hosts there are: those of the configuration file, and those whose request the owner accepted, which the store
//! keeps. Used by everything in this folder.

use super::config::{BadHost, Config, HostConfig};
use super::host::Host;
use crate::message::retry;
use amesh_proto::address::Naming;
use amesh_store::{Store, StoreError};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Hosts(RwLock<Vec<Arc<Host>>>);

impl Hosts {
    /// Those of `config`, checked.
    pub(super) fn of(config: &Config, naming: &Naming, retry: retry::Config) -> Result<Self, BadHost> {
        let hosts = Self::default();
        for host in &config.host {
            hosts.add(Host::new(host.clone(), false, naming, retry)?)?;
        }
        Ok(hosts)
    }

    /// Adds those that the owner accepted. One that stands in the file, too, is the file's.
    pub(super) fn load(
        &self,
        store: &Store,
        naming: &Naming,
        retry: retry::Config,
    ) -> Result<(), StoreError> {
        for (name, value) in store.pins(PREFIX)? {
            let made = serde_json::from_str::<HostConfig>(&value)
                .map_err(|error| error.to_string())
                .and_then(|config| Host::new(config, true, naming, retry).map_err(|error| error.to_string()))
                .and_then(|host| self.add(host).map_err(|error| error.to_string()));
            if let Err(why) = made {
                tracing::warn!(pin = name, why, "an accepted HTTP mesh host is left out");
            }
        }
        Ok(())
    }

    pub(super) fn add(&self, host: Arc<Host>) -> Result<(), BadHost> {
        let mut hosts = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() >= Config::HOSTS {
            return Err(BadHost::TooMany);
        }
        if let Some(twice) =
            host.names.iter().find(|name| hosts.iter().any(|other| other.names.contains(name)))
        {
            return Err(BadHost::Twice(twice.clone()));
        }
        hosts.push(host);
        Ok(())
    }

    pub(super) fn remove(&self, name: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).retain(|host| *host.name != *name);
    }

    pub(super) fn all(&self) -> Vec<Arc<Host>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn named(&self, name: &str) -> Option<Arc<Host>> {
        let hosts = self.0.read().unwrap_or_else(PoisonError::into_inner);
        hosts.iter().find(|host| *host.name == *name).cloned()
    }

    /// Every label, aliases included, for the directory.
    pub(super) fn labels(&self) -> HashMap<String, Arc<str>> {
        let labels = |host: &Arc<Host>| {
            let name = host.name.clone();
            host.names.clone().into_iter().map(move |label| (label, name.clone())).collect::<Vec<_>>()
        };
        self.all().iter().flat_map(labels).collect()
    }

    /// Keeps an accepted host, or no longer.
    pub(super) async fn keep(store: &Store, config: &HostConfig, kept: bool) -> Result<(), StoreError> {
        let value = kept.then(|| serde_json::to_string(config).unwrap_or_default());
        store.set_pin(&format!("{PREFIX}{}", config.name), value).await
    }
}

const PREFIX: &str = "http-mesh/host/";
