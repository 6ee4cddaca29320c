//! One HTTP mesh host: its names, its addresses, and how it has answered lately. Used by everything in this folder.

use super::config::{BadHost, HostConfig, Mode};
use crate::message::retry::{self, Kind};
use crate::message::{Condition, Health};
use amesh_proto::address::Naming;
use amesh_proto::provider::is_versioned;
use amesh_proto::time::UnixMillis;
use reqwest::Url;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use url::Host as UrlHost;

/// See the module.
#[derive(Debug)]
pub struct Host {
    /// Its name, as mail and the owner know it.
    pub name: Arc<str>,
    /// How its mail is judged.
    pub mode: Mode,
    /// As configured, or as the owner accepted it.
    pub(super) config: HostConfig,
    /// The owner accepted its request; it is in no file.
    pub(super) accepted: bool,
    /// Its name and aliases.
    pub(super) names: Vec<String>,
    base: Url,
    /// Mail or a sign of life.
    pub(super) wake: Notify,
    /// The owner removed it.
    pub(super) gone: CancellationToken,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    condition: Condition,
    /// The path of the endpoint that answered.
    route: Option<String>,
    /// What its name meant, and until when that is believed.
    resolved: Option<(Vec<IpAddr>, Duration)>,
}

impl Host {
    pub(super) fn new(
        config: HostConfig,
        accepted: bool,
        naming: &Naming,
        retry: retry::Config,
    ) -> Result<Arc<Self>, BadHost> {
        let (names, base) = (config.names(naming)?, config.base()?);
        let state = State { condition: Condition::new(Kind::Peer, retry), route: None, resolved: None };
        Ok(Arc::new(Self {
            name: names.first().map(String::as_str).unwrap_or_default().into(),
            mode: config.mode,
            config,
            accepted,
            names,
            base,
            wake: Notify::new(),
            gone: CancellationToken::new(),
            state: Mutex::new(state),
        }))
    }

    /// Whether it calls itself so (IPR-11).
    #[must_use]
    pub fn is_named(&self, text: &str) -> bool {
        let id = amesh_proto::api::http_mesh::host_id(text);
        self.names.contains(&id)
    }

    /// Where one asks it for an agent.
    pub(super) fn by_name_url(&self, name: &str) -> Url {
        self.at(&format!("{}/api/agents/by-name/{name}", self.root()))
    }

    /// Where it may take messages, the likeliest first; only the one that answered before, once one has.
    pub(super) fn route_urls(&self) -> Vec<Url> {
        if let Some(known) = &self.state().route {
            return vec![self.at(known)];
        }
        let path = self.base.path().trim_end_matches('/');
        if is_versioned(path) {
            return vec![self.at(&format!("{path}/route"))];
        }
        let root = self.root();
        vec![self.at(&format!("{root}/api/v1/route")), self.at(&format!("{root}/v1/route"))]
    }

    /// An endpoint answered as one.
    pub(super) fn route_is(&self, url: &Url) {
        self.state().route = Some(url.path().to_owned());
    }

    fn at(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(path);
        url
    }

    /// What stands before `/api` and `/v1` in its URL.
    fn root(&self) -> &str {
        let path = self.base.path().trim_end_matches('/');
        let path =
            if is_versioned(path) { path.rsplit_once('/').map_or("", |(before, _)| before) } else { path };
        path.strip_suffix("/api").unwrap_or(path)
    }

    /// Whether it may come from `address`: the TCP peer's, never a header's (DESIGN §6).
    pub(super) async fn comes_from(&self, address: IpAddr, now: Duration) -> bool {
        let address = address.to_canonical();
        self.config.addresses.iter().any(|listed| listed.to_canonical() == address)
            || self.addresses(now).await.contains(&address)
    }

    async fn addresses(&self, now: Duration) -> Vec<IpAddr> {
        let name = match self.base.host() {
            Some(UrlHost::Ipv4(v4)) => return vec![v4.into()],
            Some(UrlHost::Ipv6(v6)) => return vec![IpAddr::from(v6).to_canonical()],
            Some(UrlHost::Domain(name)) => name.to_owned(),
            None => return Vec::new(),
        };
        if let Some((known, until)) = &self.state().resolved
            && now < *until
        {
            return known.clone();
        }
        let looking = tokio::time::timeout(LOOK_UP, tokio::net::lookup_host((name, 0)));
        let found: Vec<IpAddr> = match looking.await {
            Ok(Ok(found)) => found.map(|address| address.ip().to_canonical()).take(ADDRESSES).collect(),
            // Not known now: it is nobody's address.
            Ok(Err(_)) | Err(_) => Vec::new(),
        };
        let kept = if found.is_empty() { UNRESOLVED } else { RESOLVED };
        self.state().resolved = Some((found.clone(), now + kept));
        found
    }

    /// It answered.
    pub(super) fn reached(&self, at: UnixMillis) {
        self.state().condition.reached(at);
    }

    /// It did not answer, or takes nothing.
    pub(super) fn failed(&self, now: Duration, jitter: f64, reason: String, retry_after: Option<Duration>) {
        self.state().condition.failed(now, jitter, reason, retry_after);
    }

    /// One message is not taken; the host as such is there.
    pub(super) fn grumbled(&self, at: UnixMillis, reason: String) {
        self.state().condition.grumbled(at, reason);
    }

    /// It came to us: the way back may be open, too.
    pub(super) fn came(&self, at: UnixMillis) {
        self.state().condition.came(at);
        self.wake.notify_one();
    }

    /// This machine slept: the host may be back.
    pub(super) fn try_again(&self) {
        self.state().condition.try_again();
        self.wake.notify_one();
    }

    /// When it may be tried again. It may lie in the past.
    pub(super) fn next_at(&self) -> Duration {
        self.state().condition.next_at()
    }

    pub(super) fn is_well(&self) -> bool {
        self.state().condition.is_well()
    }

    pub(super) fn health(&self) -> Health {
        self.state().condition.health()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const LOOK_UP: Duration = Duration::from_secs(2);
const RESOLVED: Duration = Duration::from_secs(60);
const UNRESOLVED: Duration = Duration::from_secs(5);
const ADDRESSES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn host(url: &str) -> Arc<Host> {
        let naming = Naming::new("default", "aimaestro.local", "alpha").unwrap();
        let config = HostConfig {
            name: "Den.local".to_owned(),
            url: url.to_owned(),
            mode: Mode::Strict,
            aliases: vec!["cave".to_owned()],
            addresses: vec!["10.9.9.9".parse().unwrap()],
        };
        Host::new(config, false, &naming, retry::Config::default()).unwrap()
    }

    #[test]
    fn endpoints_are_looked_for_where_such_hosts_have_them() {
        let urls =
            |url: &str| host(url).route_urls().iter().map(|url| url.path().to_owned()).collect::<Vec<_>>();
        assert_eq!(urls("http://den:1"), ["/api/v1/route", "/v1/route"]);
        assert_eq!(urls("http://den:1/api/"), ["/api/v1/route", "/v1/route"]);
        assert_eq!(urls("http://den:1/api/v1"), ["/api/v1/route"]);
        assert_eq!(urls("http://den:1/amp/v2/"), ["/amp/v2/route"]);
        for url in ["http://den:1", "http://den:1/api", "http://den:1/api/v1", "http://den:1/v1"] {
            assert_eq!(host(url).by_name_url("bob").as_str(), "http://den:1/api/agents/by-name/bob", "{url}");
        }
        let den = host("http://den:1");
        den.route_is(&"http://den:1/v1/route".parse().unwrap());
        assert_eq!(den.route_urls().len(), 1);
    }

    #[test]
    fn a_host_is_known_by_its_names_in_any_case_and_with_local() {
        let den = host("http://10.0.0.1:1");
        for name in ["den", "DEN", "den.local", "cave", " Cave.local"] {
            assert!(den.is_named(name), "{name}");
        }
        assert!(!den.is_named("dent") && !den.is_named(""));
    }

    #[tokio::test]
    async fn a_host_comes_from_the_address_in_its_url_and_those_listed() {
        let den = host("http://10.0.0.1:1");
        for (address, comes) in
            [("10.0.0.1", true), ("::ffff:10.0.0.1", true), ("10.9.9.9", true), ("10.0.0.2", false)]
        {
            assert_eq!(den.comes_from(address.parse().unwrap(), Duration::ZERO).await, comes, "{address}");
        }
        let local = host("http://localhost:1");
        assert!(local.comes_from("127.0.0.1".parse().unwrap(), Duration::ZERO).await);
    }
}
