//! Documents of providers and of the registry over HTTPS: from addresses that were judged in the moment of connecting, without
//! proxy or redirect, every wait with a deadline, and no more read than a document may have. Asked by
//! `amesh_discovery::providers`.

use crate::authorities::{self, AuthorityFile};
use crate::reach::{OutOfReach, Reach};
use amesh_discovery::providers::{AskError, Pages};
use amesh_proto::provider::stays_local;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Response, Url};
use std::collections::HashMap;
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use url::Host;

/// See the module.
#[derive(Debug)]
pub(super) struct HttpsPages {
    authorities: Vec<AuthorityFile>,
    reach: Reach,
    /// A resolver is told names only; whether a target may be reached depends on its port.
    clients: Mutex<HashMap<u16, Client>>,
}

impl HttpsPages {
    /// Makes a client at once, so that what keeps one from being made stops the start.
    pub(super) fn new(authorities: Vec<AuthorityFile>, reach: Reach) -> Result<Self, reqwest::Error> {
        let clients = [(HTTPS, client(&authorities, &reach, HTTPS)?)];
        Ok(Self { authorities, reach, clients: Mutex::new(clients.into()) })
    }

    fn client(&self, port: u16) -> Result<Client, AskError> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&port) {
            return Ok(client.clone());
        }
        let client = client(&self.authorities, &self.reach, port).map_err(|error| why(&error))?;
        if clients.len() >= CLIENTS {
            clients.clear();
        }
        clients.insert(port, client.clone());
        Ok(client)
    }

    async fn get(&self, text: &str) -> Result<Vec<u8>, AskError> {
        let url = read(text)?;
        if let Some(target) = literal(&url) {
            self.reach.judge(target).map_err(out_of_reach)?;
        }
        let answer = self.client(port(&url))?.get(url).header("accept", "application/json").send().await;
        let answer = answer.map_err(|error| why(&error))?;
        match answer.status().as_u16() {
            200 => whole(answer).await,
            404 | 410 => Err(AskError::Nothing),
            300..=399 => Err(AskError::Refused("it leads elsewhere; redirects are not followed".to_owned())),
            status => Err(AskError::Failed(format!("it answered {status}"))),
        }
    }

    async fn may_connect(&self, text: &str) -> Result<(), AskError> {
        let url = read(text)?;
        if let Some(target) = literal(&url) {
            return self.reach.judge(target).map(drop).map_err(out_of_reach);
        }
        let host = url.host_str().unwrap_or_default();
        self.reach.look_up(host, port(&url)).await.map(drop).map_err(out_of_reach)
    }
}

impl Pages for HttpsPages {
    fn page<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Vec<u8>, AskError>> {
        self.get(url).boxed()
    }

    fn judge<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<(), AskError>> {
        self.may_connect(url).boxed()
    }
}

fn client(authorities: &[AuthorityFile], reach: &Reach, port: u16) -> Result<Client, reqwest::Error> {
    let shape = |client: ClientBuilder| {
        client
            .user_agent(concat!("amesh/", env!("CARGO_PKG_VERSION")))
            .https_only(true)
            .no_proxy()
            .redirect(Policy::none())
            .referer(false)
            .dns_resolver(Guarded { reach: reach.clone(), port })
            .connect_timeout(CONNECT)
            .timeout(WHOLE)
            .pool_max_idle_per_host(1)
            .pool_idle_timeout(IDLE)
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

async fn whole(mut answer: Response) -> Result<Vec<u8>, AskError> {
    let mut page = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(|error| why(&error))? {
        if page.len() + part.len() > LONGEST {
            return Err(AskError::Refused(format!("it is longer than {} KiB", LONGEST / 1024)));
        }
        page.extend_from_slice(&part);
    }
    Ok(page)
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
const CONNECT: Duration = Duration::from_secs(3);
const WHOLE: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(10);
const LONGEST: usize = 64 * 1024;
