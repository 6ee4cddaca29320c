//! Hosts that would like to be peers (IPR-8, IPR-9). They are only written down for the owner, who accepts or refuses each
//! (DESIGN §6): nothing of what they say takes effect before. Bounded, and kept across restarts.

use super::Shared;
use super::config::{BadHost, HostConfig, Mode};
use amesh_proto::api::http_mesh::HostFace;
use amesh_proto::time::UnixMillis;
use amesh_store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::Mutex;

/// A host that somebody introduced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) name: String,
    pub(super) url: String,
    /// The TCP peer that said so.
    pub(super) from: IpAddr,
    /// The host that spoke of it, where that is another.
    pub(super) told_by: Option<String>,
    pub(super) organization: Option<String>,
    pub(super) at: UnixMillis,
}

/// Why a request was not written down.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// What it says cannot become a host.
    #[error(transparent)]
    Bad(#[from] BadHost),
    /// It is this node.
    #[error("that is this node itself")]
    Oneself,
    /// Another waits, or is, under that name.
    #[error("another host of the name {0} is known or waits for the owner")]
    Taken(String),
    /// Too many wait.
    #[error("too many hosts wait for the owner of this node")]
    Full,
    /// There is none of that name.
    #[error("no host of the name {0} waits, or is known")]
    Unknown(String),
    /// It stands in the configuration file.
    #[error("{0} stands in the configuration file; take it out there")]
    Configured(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What became of an introduction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filed {
    /// The owner will see it.
    Waiting,
    /// It is a host of this node already.
    Known,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Requests {
    waiting: Mutex<Vec<Request>>,
}

impl Requests {
    pub(super) fn load(store: &Store) -> Result<Self, StoreError> {
        let read = |(name, value): (String, String)| {
            let read = serde_json::from_str(&value);
            read.inspect_err(|error| tracing::error!(%error, pin = name, "a request cannot be read")).ok()
        };
        Ok(Self { waiting: Mutex::new(store.pins(PREFIX)?.into_iter().filter_map(read).collect()) })
    }

    pub(super) async fn all(&self) -> Vec<Request> {
        self.waiting.lock().await.clone()
    }
}

impl Shared {
    /// Writes down that `face` would like to be a peer, as `from` says.
    pub(super) async fn file(
        &self,
        face: HostFace,
        from: IpAddr,
        told_by: Option<String>,
        organization: Option<String>,
    ) -> Result<Filed, RequestError> {
        let HostFace { id: name, url, .. } = face;
        let naming = self.directory().naming();
        if name == naming.host || url.trim_end_matches('/') == self.own_url().trim_end_matches('/') {
            return Err(RequestError::Oneself);
        }
        let host = candidate(&name, &url);
        host.names(naming)?;
        let url = host.base()?.to_string();
        if let Some(known) = self.hosts.all().iter().find(|known| known.is_named(&name)) {
            let same = known.config.base().is_ok_and(|base| base.as_str() == url);
            return if same { Ok(Filed::Known) } else { Err(RequestError::Taken(name)) };
        }
        let now = self.clock.now();
        let mut waiting = self.requests.waiting.lock().await;
        // The first word stands: a later one must not change what the owner is about to accept.
        match waiting.iter().find(|request| request.name == name) {
            Some(request) if request.url == url => return Ok(Filed::Waiting),
            Some(_) => return Err(RequestError::Taken(name)),
            None => {}
        }
        self.forget_old(&mut waiting, now).await?;
        let of_that_source = waiting.iter().filter(|request| request.from == from).count();
        if waiting.len() >= WAITING || of_that_source >= OF_A_SOURCE {
            return Err(RequestError::Full);
        }
        let organization = organization.filter(|name| name.len() <= amesh_proto::limits::LABEL_LEN);
        let request = Request { name, url, from, told_by, organization, at: now };
        let value = serde_json::to_string(&request).unwrap_or_default();
        self.store.set_pin(&pin(&request.name), Some(value)).await?;
        tracing::info!(host = request.name, url = request.url, %from, "an HTTP mesh host asks to be a peer: amesh hosts");
        waiting.push(request);
        Ok(Filed::Waiting)
    }

    async fn forget_old(&self, waiting: &mut Vec<Request>, now: UnixMillis) -> Result<(), StoreError> {
        let old: Vec<String> = waiting
            .iter()
            .filter(|request| now.saturating_since(request.at) > KEPT)
            .map(|request| request.name.clone())
            .collect();
        for name in &old {
            self.store.set_pin(&pin(name), None).await?;
        }
        waiting.retain(|request| !old.contains(&request.name));
        Ok(())
    }

    /// Takes a request out; gives the host that it describes.
    pub(super) async fn answer(&self, name: &str) -> Result<HostConfig, RequestError> {
        let mut waiting = self.requests.waiting.lock().await;
        let at = waiting.iter().position(|request| request.name == name);
        let Some(at) = at else { return Err(RequestError::Unknown(name.to_owned())) };
        self.store.set_pin(&pin(name), None).await?;
        let request = waiting.remove(at);
        Ok(candidate(&request.name, &request.url))
    }

    /// The host that a request describes, which goes on waiting.
    pub(super) async fn asked_for(&self, name: &str) -> Result<HostConfig, RequestError> {
        let waiting = self.requests.waiting.lock().await;
        let found = waiting.iter().find(|request| request.name == name);
        found
            .map(|request| candidate(&request.name, &request.url))
            .ok_or_else(|| RequestError::Unknown(name.to_owned()))
    }
}

fn candidate(name: &str, url: &str) -> HostConfig {
    HostConfig {
        name: name.to_owned(),
        url: url.to_owned(),
        mode: Mode::Strict,
        aliases: Vec::new(),
        addresses: Vec::new(),
    }
}

fn pin(name: &str) -> String {
    format!("{PREFIX}{name}")
}

const PREFIX: &str = "http-mesh/request/";
const WAITING: usize = 32;
const OF_A_SOURCE: usize = 8;
const KEPT: Duration = Duration::from_secs(7 * 86_400);
