//! The agents of this node: registering, authenticating, changing, leaving; and, through [`directory`], everybody
//! else's. Called by the doors; below it only the store.

mod again;
mod agent;
pub mod api_key;
mod arrivals;
mod change;
pub mod directory;
mod error;
mod keys;
mod moving;
pub mod owners;
pub mod presence;
mod registration;
mod rename;
mod room;
mod suggest;
pub mod tenants;
#[cfg(test)]
pub(crate) mod tests;
pub mod webhook;

pub use agent::Agent;
pub use arrivals::Arrivals;
pub use error::{AuthError, OwnerError, RegisterError, RotateError};
pub use keys::NewApiKey;
pub use registration::{Registered, Registrant, SYSTEM_NAME};
pub use rename::Renamed;

use crate::clock::SharedClock;
use crate::reach::{AllowedTarget, Names, OwnPorts, Reach, SystemNames};
use amesh_proto::address::Address;
use amesh_proto::node_id::NodeId;
use amesh_proto::time::UnixMillis;
use amesh_store::{Seq, Store, StoreError};
use api_key::KeyHash;
use directory::Directory;
use presence::Presence;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tenants::Mode;
use webhook::Webhooks;

/// Who may register.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How agents get into this node's organization: `open` (everybody on this machine), `invite` (by a code of
    /// `amesh agents code`, or a user key), `admin` (by a user key of `amesh owners add`), `closed`.
    pub registration: Mode,
    /// The same for every tenant that is not named below.
    pub other_tenants: Mode,
    /// The same by tenant: a table from its name to one of these words.
    pub tenants: BTreeMap<String, Mode>,
    /// Names that this node holds at most: those of its agents, and for 90 days those that agents have left. Never more
    /// than 45,000, because other hosts take no longer list.
    pub names: usize,
    /// Let agents list the agents of other tenants than their own.
    pub list_other_tenants: bool,
    /// Post mail to the webhooks that agents register.
    pub webhooks: bool,
    /// Where webhooks may lead besides public HTTPS addresses: IP addresses or ranges, each with an optional port, as in
    /// `127.0.0.1:8080` or `192.168.1.0/24`. Plain HTTP is for these only (REG-7). Ports of this node are never reached.
    pub webhook_allow: Vec<AllowedTarget>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            registration: Mode::Open,
            other_tenants: Mode::Open,
            tenants: BTreeMap::new(),
            names: 40_000,
            list_other_tenants: false,
            webhooks: true,
            webhook_allow: Vec::new(),
        }
    }
}

impl Config {
    /// How agents get into `tenant` of a node of the organization `org`.
    #[must_use]
    pub fn mode_of(&self, tenant: &str, org: &str) -> Mode {
        let unnamed = if tenant == org { self.registration } else { self.other_tenants };
        let named = self.tenants.iter().find(|(name, _)| name.eq_ignore_ascii_case(tenant));
        named.map_or(unnamed, |(_, mode)| *mode)
    }

    /// Every mode in force for some tenant (REG-15).
    #[must_use]
    pub fn modes(&self) -> Vec<Mode> {
        let mut modes: Vec<Mode> =
            self.tenants.values().copied().chain([self.registration, self.other_tenants]).collect();
        modes.sort_unstable();
        modes.dedup();
        modes
    }
}

/// The agents of this node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Agents {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
    store: Store,
    clock: SharedClock,
    directory: Directory,
    presence: Presence,
    /// Held while an agent changes, so that what is in memory follows what is on disk in the same order.
    changing: tokio::sync::Mutex<()>,
    webhooks: Webhooks,
    /// When the own roster was last read again because it seemed full.
    looked_for_room: Mutex<Option<Duration>>,
    /// Keys that were asked for lately, and when. Emptied whenever an agent or a key changes.
    keys: RwLock<HashMap<KeyHash, (Arc<Agent>, Duration)>>,
}

impl Agents {
    /// Reads every registered agent into `directory`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn load(
        config: Config,
        store: Store,
        clock: SharedClock,
        directory: Directory,
    ) -> Result<Self, StoreError> {
        Self::load_with(config, store, clock, directory, Arc::new(SystemNames::default()))
    }

    /// Like [`Self::load`], with another way of looking up the names in webhooks.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_with(
        config: Config,
        store: Store,
        clock: SharedClock,
        directory: Directory,
        names: Arc<dyn Names>,
    ) -> Result<Self, StoreError> {
        directory.set_own(store.own_roster()?.entries);
        for record in store.all_agents()? {
            let address = record.address.clone();
            match Agent::from_record(record) {
                Ok(agent) => directory.put_local(agent),
                // A key that was fine at registration and is refused now: the rest of the node must start all the same.
                Err(error) => {
                    tracing::error!(%address, %error, "this agent's key is not usable; it cannot send")
                }
            }
        }
        let keys = RwLock::default();
        let reach = Reach::new(config.webhook_allow.clone(), names, OwnPorts::default());
        let webhooks = Webhooks::new(config.webhooks, reach);
        let (presence, changing) = (Presence::default(), tokio::sync::Mutex::default());
        let looked_for_room = Mutex::default();
        let inner =
            Inner { config, store, clock, directory, presence, webhooks, changing, looked_for_room, keys };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Whose API key this is (KEY-9).
    ///
    /// # Errors
    /// [`AuthError`] when it is nobody's.
    pub fn authenticate(&self, presented: &str) -> Result<Arc<Agent>, AuthError> {
        let hash = api_key::hash(presented).ok_or(AuthError::Unknown)?;
        let agent = match self.cached(&hash) {
            Some(agent) => agent,
            None => self.look_up(hash)?,
        };
        self.inner.presence.saw(agent.no, self.now());
        Ok(agent)
    }

    /// Where addresses lead.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.inner.directory
    }

    /// Who may register.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Who is connected.
    #[must_use]
    pub fn presence(&self) -> &Presence {
        &self.inner.presence
    }

    /// Who has just moved here.
    #[must_use]
    pub fn arrivals(&self) -> &Arrivals {
        self.inner.directory.arrivals()
    }

    /// Where webhooks may lead, and who has one.
    #[must_use]
    pub fn webhooks(&self) -> &Webhooks {
        &self.inner.webhooks
    }

    /// Removes an agent, its mail and its keys; its address is withheld for 30 days (REG-24, REG-25).
    ///
    /// # Errors
    /// When the store fails; the agent is then still registered.
    pub async fn deregister(&self, agent: &Agent) -> Result<UnixMillis, StoreError> {
        let _one_at_a_time = self.inner.changing.lock().await;
        let now = self.now();
        self.inner.store.deregister_agent(agent.no, now).await?;
        self.inner.directory.remove_local(&agent.address);
        self.show(&agent.address);
        self.inner.presence.forget(agent.no);
        self.inner.webhooks.have_changed();
        self.forget_keys();
        Ok(now)
    }

    /// The agent lives at `home` now: its API keys end here, and this node's roster says that it left. Not while its mailbox
    /// holds mail that is younger than `seen`.
    ///
    /// # Errors
    /// When the store fails; call again.
    pub async fn depart(&self, agent: &Agent, home: NodeId, seen: Seq) -> Result<bool, StoreError> {
        let _one_at_a_time = self.inner.changing.lock().await;
        if !self.inner.store.depart_agent(agent.no, home, seen, self.now()).await? {
            return Ok(false);
        }
        self.show(&agent.address);
        self.inner.webhooks.have_changed();
        self.forget_keys();
        Ok(true)
    }

    /// How many agents live here.
    #[must_use]
    pub fn count(&self) -> usize {
        self.inner.directory.local_count()
    }

    fn put(&self, agent: Arc<Agent>) {
        self.show(&agent.address);
        let has_webhook = agent.record.delivery.webhook_url.is_some();
        self.inner.directory.put_local(agent);
        if has_webhook {
            self.inner.webhooks.have_changed();
        }
        self.forget_keys();
    }

    /// Lets the directory know what this node's roster says of `address` now.
    fn show(&self, address: &Address) {
        match self.inner.store.own_face(address) {
            Ok(Some(face)) => self.inner.directory.put_own(face),
            Ok(None) => {}
            Err(error) => tracing::error!(%address, %error, "the node's own roster cannot be read"),
        }
    }

    fn cached(&self, hash: &KeyHash) -> Option<Arc<Agent>> {
        let keys = self.inner.keys.read().unwrap_or_else(PoisonError::into_inner);
        let (agent, since) = keys.get(hash)?;
        // A key can have an end (KEY-3): the store is asked again before long.
        let age = self.inner.clock.monotonic().saturating_sub(*since);
        (age < CACHED_FOR).then(|| agent.clone())
    }

    fn look_up(&self, hash: KeyHash) -> Result<Arc<Agent>, AuthError> {
        // Locked before the store is asked: a key that is revoked meanwhile is forgotten after it is remembered here.
        let mut keys = self.inner.keys.write().unwrap_or_else(PoisonError::into_inner);
        let record = self.inner.store.agent_by_key_hash(&hash, self.now()).map_err(|error| {
            tracing::error!(%error, "an API key could not be looked up");
            AuthError::Unavailable
        })?;
        let record = record.ok_or(AuthError::Unknown)?;
        let agent = self.inner.directory.local_agent(&record.address).ok_or(AuthError::Unknown)?;
        if keys.len() >= CACHED_KEYS {
            keys.clear();
        }
        keys.insert(hash, (agent.clone(), self.inner.clock.monotonic()));
        Ok(agent)
    }

    fn forget_keys(&self) {
        self.inner.keys.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn now(&self) -> UnixMillis {
        self.inner.clock.now()
    }
}

const CACHED_KEYS: usize = 50_000;
const CACHED_FOR: Duration = Duration::from_secs(30);
