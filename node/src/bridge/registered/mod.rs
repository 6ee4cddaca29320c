//! Agents of this node that are registered with another provider, too (AMP 06a §Deployment Scenarios, A and C; IDN-4): the node
//! holds what they were given there, asks that provider for their mail, and acknowledges there what is in the mailbox here.
//!
//! `kept` is a registration on disk, `client` speaks to a provider, `puller` fetches, one task a registration, and `judge`
//! says whose a message is; `socket` hears at once that there is mail. Built by `node`; agents hand their registrations over by `http/v1/registrations`.

mod client;
mod config;
mod judge;
mod kept;
mod puller;
mod socket;

pub use config::Config;

use crate::agents::Agent;
use crate::agents::directory::Directory;
use crate::clock::SharedClock;
use crate::message::Hallway;
use crate::reach::{Names, Reach};
use crate::tasks::{StillRunning, Tasks};
use crate::waking::Waking;
use amesh_proto::address::Address;
use amesh_proto::api::registrations::{NewRegistration, RegistrationEntry};
use amesh_proto::time::UnixMillis;
use amesh_store::{AgentNo, Store, StoreError};
use client::ProviderClient;
use kept::Kept;
use reqwest::Url;
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

/// What registrations stand on.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Where they are kept.
    pub store: Store,
    /// Where messages go in.
    pub hallway: Hallway,
    /// Time.
    pub clock: SharedClock,
    /// Its own group of tasks.
    pub tasks: Tasks,
    /// Tells when this machine has slept.
    pub waking: Waking,
    /// How names of hosts become addresses.
    pub names: Arc<dyn Names>,
}

/// Why no registrations are served.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be read.
    #[error("the store cannot be read: {0}")]
    Store(#[from] StoreError),
    /// No requests can be made.
    #[error("no HTTP client could be made: {0}")]
    Client(#[from] reqwest::Error),
}

/// Why a registration is not kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The owner does without.
    #[error("the owner of this node lets no agent do this (`on = false` under [registrations])")]
    Forbidden,
    /// The owner has a list.
    #[error("{0} is not among the providers that the owner of this node lists under [registrations]")]
    NotListed(String),
    /// That is no other provider.
    #[error("{0:?} is no other provider's domain")]
    Provider(String),
    /// An address of somewhere else.
    #[error("{0:?} is no address at that provider")]
    Address(String),
    /// An API of somebody else: he could say whatever he liked in the provider's name.
    #[error("{0:?} is no https:// address at the provider's domain or below it")]
    Url(String),
    /// There is no room.
    #[error("no more registrations are kept; remove one first")]
    Full,
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Registered {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    store: Store,
    hallway: Hallway,
    clock: SharedClock,
    tasks: Tasks,
    waking: Waking,
    client: ProviderClient,
    served: Mutex<AllServed>,
    /// One change of what is kept at a time.
    changing: tokio::sync::Mutex<()>,
    /// Providers that are asked at a time.
    asking: Semaphore,
}

/// By agent and provider.
type AllServed = BTreeMap<(AgentNo, Arc<str>), Arc<Served>>;

/// A registration that is served.
#[derive(Debug)]
struct Served {
    kept: Kept,
    state: Mutex<State>,
    /// The provider says that there is mail, or its WebSocket has closed or opened.
    told: Notify,
    /// It has been removed, or replaced.
    gone: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    fetched_at: Option<UnixMillis>,
    reason: Option<String>,
    /// The provider's WebSocket is open.
    has_socket: bool,
    /// Ids of messages there that are not taken over, and whose agent knows it.
    refused: HashSet<String>,
}

impl State {
    fn answered(&mut self, at: UnixMillis) {
        (self.fetched_at, self.reason) = (Some(at), None);
    }
}

impl Shared {
    fn directory(&self) -> &Directory {
        self.hallway.agents().directory()
    }

    fn served(&self) -> MutexGuard<'_, AllServed> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The agent, as long as it lives here.
    fn agent(&self, no: AgentNo) -> Option<Arc<Agent>> {
        self.directory().local_agents().into_iter().find(|agent| agent.no == no)
    }

    async fn remove(&self, no: AgentNo, provider: &str) -> Result<bool, StoreError> {
        let _one_at_a_time = self.changing.lock().await;
        let key = (no, Arc::from(provider));
        let Some(served) = self.served().get(&key).cloned() else { return Ok(false) };
        served.kept.forget(&self.store).await?;
        self.served().remove(&key);
        served.gone.cancel();
        Ok(true)
    }
}

impl Registered {
    /// Reads what is kept, and fetches from now on.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(config: Config, parts: Parts) -> Result<Self, StartError> {
        let Parts { store, hallway, clock, tasks, waking, names } = parts;
        let own_ports = hallway.agents().webhooks().own_ports().clone();
        let reach = Reach::new(config.allow_addresses.clone(), names, own_ports);
        let client = ProviderClient::new(config.clone(), reach)?;
        judge::load(&store, hallway.agents().directory())?;
        let kept = Kept::all(&store)?;
        let shared = Shared {
            config,
            store,
            hallway,
            clock,
            tasks,
            waking,
            client,
            served: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            asking: Semaphore::new(ASKING),
        };
        let registered = Self { shared: Arc::new(shared) };
        for kept in kept {
            registered.serve(kept);
        }
        Ok(registered)
    }

    /// Fetches what is under way to its end.
    ///
    /// # Errors
    /// When a task does not end in time.
    pub async fn shutdown(&self, patience: Duration) -> Result<(), StillRunning> {
        self.shared.tasks.shutdown(patience).await
    }

    /// Keeps a registration of `agent` and serves it from now on, instead of an earlier one with the same provider.
    ///
    /// # Errors
    /// [`KeepError`]; nothing is changed then.
    pub async fn keep(
        &self,
        agent: &Agent,
        provider: &str,
        new: NewRegistration,
    ) -> Result<RegistrationEntry, KeepError> {
        let shared = &self.shared;
        let kept = self.judged(agent, provider, new)?;
        let _one_at_a_time = shared.changing.lock().await;
        let key = (agent.no, kept.provider.clone());
        let old = {
            let served = shared.served();
            let own = served.range((agent.no, Arc::from(""))..).take_while(|((no, _), _)| *no == agent.no);
            let is_full = own.count() >= shared.config.per_agent || served.len() >= shared.config.all;
            let old = served.get(&key).cloned();
            if old.is_none() && is_full {
                return Err(KeepError::Full);
            }
            old
        };
        kept.write(&shared.store).await?;
        if let Some(old) = old {
            old.gone.cancel();
        }
        Ok(shown(&self.serve(kept)))
    }

    /// Forgets a registration of the agent; false where there is none.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn remove(&self, agent: AgentNo, provider: &str) -> Result<bool, StoreError> {
        self.shared.remove(agent, &canonical(provider)).await
    }

    /// The registrations of an agent, by provider.
    #[must_use]
    pub fn shown(&self, agent: AgentNo) -> Vec<RegistrationEntry> {
        let served = self.shared.served();
        served.values().filter(|served| served.kept.agent == agent).map(|served| shown(served)).collect()
    }

    fn judged(&self, agent: &Agent, provider: &str, new: NewRegistration) -> Result<Kept, KeepError> {
        let Shared { config, .. } = &*self.shared;
        if !config.on {
            return Err(KeepError::Forbidden);
        }
        let provider = canonical(provider);
        if !config.lists(&provider) {
            return Err(KeepError::NotListed(provider));
        }
        let no_provider = || KeepError::Provider(provider.clone());
        let naming = self.shared.directory().naming();
        // As an address would have it; one's own domain is nobody else's.
        let probe = Address::parse(&format!("x@x.{provider}"), &[&provider]).map_err(|_| no_provider())?;
        if probe.provider() != provider
            || naming.provider == provider
            || provider.ends_with(&format!(".{}", naming.provider))
        {
            return Err(no_provider());
        }
        let address = Address::parse(&new.address, &[&provider])
            .ok()
            .filter(|address| address.provider() == provider)
            .ok_or(KeepError::Address(new.address))?;
        let base = base(&new.api_url, &provider).ok_or(KeepError::Url(new.api_url))?;
        Ok(Kept { agent: agent.no, provider: provider.into(), address, base, api_key: new.api_key })
    }

    fn serve(&self, kept: Kept) -> Arc<Served> {
        let (state, told, gone) = (Mutex::default(), Notify::new(), CancellationToken::new());
        let served = Arc::new(Served { kept, state, told, gone });
        let key = (served.kept.agent, served.kept.provider.clone());
        self.shared.served().insert(key, served.clone());
        if self.shared.config.on && self.shared.config.lists(&served.kept.provider) {
            let serving = puller::serve(self.shared.clone(), served.clone());
            self.shared.tasks.spawn_until_stopped(serving);
        } else {
            served.state().reason = Some("the owner of this node does not let it be asked".to_owned());
        }
        served
    }
}

impl Served {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes whether the provider's WebSocket is open. Either way it is asked at once: there may be mail from before.
    fn socket_is(&self, open: bool) {
        let was = std::mem::replace(&mut self.state().has_socket, open);
        if was != open {
            self.told.notify_one();
        }
    }
}

fn shown(served: &Served) -> RegistrationEntry {
    let (kept, state) = (&served.kept, served.state());
    let word = match (&state.reason, state.fetched_at) {
        (Some(_), _) => "failing",
        (None, Some(_)) => "well",
        (None, None) => "new",
    };
    RegistrationEntry {
        provider: kept.provider.to_string(),
        address: kept.address.to_string(),
        api_url: kept.base.clone(),
        state: word.to_owned(),
        reason: state.reason.clone(),
        websocket: state.has_socket,
        last_fetched_at: state.fetched_at.map(|at| at.to_rfc3339()),
    }
}

fn canonical(provider: &str) -> String {
    provider.trim().trim_end_matches('.').to_ascii_lowercase()
}

/// The base of the API, with its version. Whoever answers at the provider's own domain, proven by TLS, is the provider.
fn base(text: &str, provider: &str) -> Option<String> {
    let url = Url::parse(text.trim()).ok()?;
    let host = url.host_str()?.trim_end_matches('.').to_ascii_lowercase();
    let is_there = host == provider || host.ends_with(&format!(".{provider}"));
    let bare = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    if url.scheme() != "https" || !is_there || !bare || url.password().is_some() {
        return None;
    }
    let base = url.as_str().trim_end_matches('/').to_owned();
    let last = base.rsplit('/').next().unwrap_or_default();
    let is_version = last
        .strip_prefix('v')
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()));
    Some(if is_version { base } else { format!("{base}/v1") })
}

const ASKING: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_is_at_the_domain_of_its_provider_and_over_https() {
        let at = |text: &str| base(text, "crabmail.ai");
        for good in ["https://api.crabmail.ai", "https://API.crabmail.ai/v1/", "https://api.crabmail.ai./v1"]
        {
            assert!(at(good).is_some_and(|base| base.ends_with("/v1")), "{good}");
        }
        assert_eq!(at("https://crabmail.ai:8443/api/v2").as_deref(), Some("https://crabmail.ai:8443/api/v2"));
        for bad in [
            "http://api.crabmail.ai/v1",
            "https://evilcrabmail.ai/v1",
            "https://crabmail.ai.evil.test/v1",
            "https://user:pass@api.crabmail.ai/v1",
            "https://127.0.0.1/v1",
            "https://api.crabmail.ai/v1?x=1",
            "crabmail.ai",
        ] {
            assert_eq!(at(bad), None, "{bad}");
        }
    }
}
