//! Requests to machines that others name: HTTPS only, to addresses that were judged in the moment of connecting, without proxy
//! or redirect, every wait with a deadline, and no more of an answer read than its limit. Used by `pages` and `outgoing`.

use crate::authorities::{self, AuthorityFile};
use crate::reach::{OutOfReach, Reach};
use amesh_discovery::providers::AskError;
use amesh_proto::provider::stays_local;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, RequestBuilder, Response, Url};
use std::collections::HashMap;
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use url::Host;

/// How long things may take, and how many connections to one host are kept for the next request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) connect: Duration,
    pub(super) whole: Duration,
    pub(super) idle: Duration,
    pub(super) idle_connections: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Https {
    authorities: Vec<AuthorityFile>,
    reach: Reach,
    patience: Patience,
    /// A resolver is told names only; whether a target may be reached depends on its port.
    clients: Mutex<HashMap<u16, Client>>,
}

impl Https {
    /// Makes a client at once, so that what keeps one from being made stops the start.
    pub(super) fn new(
        authorities: Vec<AuthorityFile>,
        reach: Reach,
        patience: Patience,
    ) -> Result<Self, reqwest::Error> {
        let clients = [(HTTPS, client(&authorities, &reach, HTTPS, patience)?)];
        Ok(Self { authorities, reach, patience, clients: Mutex::new(clients.into()) })
    }

    /// Sends what `request` makes, if `text` is an address that may be reached.
    pub(super) async fn send(
        &self,
        text: &str,
        request: impl FnOnce(&Client, Url) -> RequestBuilder,
    ) -> Result<Response, AskError> {
        let url = read(text)?;
        if let Some(target) = literal(&url) {
            self.reach.judge(target).map_err(out_of_reach)?;
        }
        let client = self.client(port(&url))?;
        request(&client, url).send().await.map_err(|error| why(&error))
    }

    /// Whether `text` is an address that may be reached; nobody there is asked.
    pub(super) async fn judge(&self, text: &str) -> Result<(), AskError> {
        let url = read(text)?;
        if let Some(target) = literal(&url) {
            return self.reach.judge(target).map(drop).map_err(out_of_reach);
        }
        let host = url.host_str().unwrap_or_default();
        self.reach.look_up(host, port(&url)).await.map(drop).map_err(out_of_reach)
    }

    fn client(&self, port: u16) -> Result<Client, AskError> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&port) {
            return Ok(client.clone());
        }
        let made = client(&self.authorities, &self.reach, port, self.patience);
        let client = made.map_err(|error| why(&error))?;
        if clients.len() >= CLIENTS {
            clients.clear();
        }
        clients.insert(port, client.clone());
        Ok(client)
    }
}

/// The whole answer, if it is not longer than `most`.
pub(super) async fn whole(mut answer: Response, most: usize) -> Result<Vec<u8>, AskError> {
    let mut page = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(|error| why(&error))? {
        if page.len() + part.len() > most {
            return Err(AskError::Refused(format!("it is longer than {} KiB", most / 1024)));
        }
        page.extend_from_slice(&part);
    }
    Ok(page)
}

fn client(
    authorities: &[AuthorityFile],
    reach: &Reach,
    port: u16,
    patience: Patience,
) -> Result<Client, reqwest::Error> {
    let shape = |client: ClientBuilder| {
        client
            .user_agent(concat!("amesh/", env!("CARGO_PKG_VERSION")))
            .https_only(true)
            .no_proxy()
            .redirect(Policy::none())
            .referer(false)
            .dns_resolver(Guarded { reach: reach.clone(), port })
            .connect_timeout(patience.connect)
            .timeout(patience.whole)
            .pool_max_idle_per_host(patience.idle_connections)
            .pool_idle_timeout(patience.idle)
            // A connection whose other end is gone is not waited for again and again.
            .http2_keep_alive_interval(patience.connect)
            .http2_keep_alive_timeout(patience.connect)
    };
    authorities::client(authorities, shape)
}

/// Gives a connection only addresses that were judged: whoever answers differently a moment later gains nothing.
#[derive(Debug)]
struct Guarded {
    reach: Reach,
    port: u16,
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let (reach, port) = (self.reach.clone(), self.port);
        Box::pin(async move {
            let found = reach.look_up(name.as_str(), port).await?;
            Ok(Box::new(found.into_iter().map(|(target, _)| target)) as Addrs)
        })
    }
}

/// An address of somebody outside: HTTPS, and no name of the local network (ADR-12).
fn read(text: &str) -> Result<Url, AskError> {
    let refused = |why: &str| AskError::Refused(why.to_owned());
    let url = Url::parse(text).map_err(|_| refused("it is no address"))?;
    let plain = url.scheme() != "https" || !url.username().is_empty() || url.password().is_some();
    match url.host() {
        _ if plain => Err(refused("it is no https:// address without user name and password")),
        None => Err(refused("it names no host")),
        Some(Host::Domain(name)) if stays_local(name) => {
            Err(refused("its host is a name of the local network"))
        }
        Some(_) => Ok(url),
    }
}

/// Numbers in any spelling are addresses, and nobody is asked for them.
fn literal(url: &Url) -> Option<SocketAddr> {
    let ip: IpAddr = match url.host()? {
        Host::Ipv4(ip) => ip.into(),
        Host::Ipv6(ip) => ip.into(),
        Host::Domain(_) => return None,
    };
    Some(SocketAddr::new(ip, port(url)))
}

fn port(url: &Url) -> u16 {
    url.port_or_known_default().unwrap_or(HTTPS)
}

fn why(error: &reqwest::Error) -> AskError {
    if error.is_timeout() {
        return AskError::Failed("it did not answer in time".to_owned());
    }
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        if let Some(fault) = deeper.downcast_ref::<OutOfReach>() {
            return out_of_reach(fault.clone());
        }
        cause = deeper;
    }
    AskError::Failed(cause.to_string())
}

fn out_of_reach(fault: OutOfReach) -> AskError {
    match fault {
        OutOfReach::Unresolved(_) => AskError::Failed(fault.to_string()),
        _ => AskError::Refused(format!("it is out of reach: {fault}")),
    }
}

const HTTPS: u16 = 443;
const CLIENTS: usize = 16;
