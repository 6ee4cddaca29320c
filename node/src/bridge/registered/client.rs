//! Requests to the API of a provider (AMP 08; EXT-1): over HTTPS, to addresses that were judged in the moment of connecting,
//! with the agent's API key there. No proxy, no redirect, every wait with a deadline, answers bounded. Called by `puller` and
//! `socket`.

use super::config::Config;
use super::kept::Kept;
use crate::authorities;
use crate::reach::{OutOfReach, Reach};
use amesh_proto::address::Address;
use amesh_proto::key::PublicKey;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Method, Response, Upgraded, Url};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use url::Host;

/// Why a provider did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum AskError {
    /// Nothing usable came back.
    #[error("{0}")]
    Failed(String),
    /// Another status than hoped for.
    #[error("it answered {0}{1}")]
    Status(u16, &'static str),
}

/// What waits at a provider.
#[derive(Debug)]
pub(super) struct Page {
    /// Each as its JSON text.
    pub(super) messages: Vec<Box<RawValue>>,
    /// It came from `/inbox`, as some providers have nothing else.
    pub(super) from_inbox: bool,
}

#[derive(Deserialize)]
struct PageFace {
    #[serde(default)]
    messages: Vec<Box<RawValue>>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct ProviderClient {
    config: Config,
    reach: Reach,
    /// A resolver is told names only; whether a target may be reached depends on its port. And whether it is for a WebSocket.
    clients: Mutex<HashMap<(u16, bool), Client>>,
}

impl ProviderClient {
    /// Makes a client at once, so that what keeps one from being made stops the start.
    pub(super) fn new(config: Config, reach: Reach) -> Result<Self, reqwest::Error> {
        let clients = [((HTTPS, false), client(&config, &reach, (HTTPS, false))?)];
        Ok(Self { config, reach, clients: Mutex::new(clients.into()) })
    }

    /// The oldest messages that wait.
    pub(super) async fn pending(&self, kept: &Kept) -> Result<Page, AskError> {
        let known = self.ask(kept, Method::GET, &format!("messages/pending?limit={PAGE}"), None).await;
        let (answer, from_inbox) = match known {
            Err(AskError::Status(404 | 405 | 501, _)) => {
                (self.ask(kept, Method::GET, "inbox", None).await?, true)
            }
            other => (other?, false),
        };
        let page: PageFace = serde_json::from_slice(&answer)
            .map_err(|_| AskError::Failed("its list of messages cannot be read".to_owned()))?;
        Ok(Page { messages: page.messages, from_inbox })
    }

    /// Takes a message from the mailbox there. That it is gone already is as good.
    pub(super) async fn acknowledge(&self, kept: &Kept, id: &str, from_inbox: bool) -> Result<(), AskError> {
        let id = urlencoding(id);
        let asked = match from_inbox {
            true => self.ask(kept, Method::POST, &format!("inbox/{id}/ack"), Some("{}")).await,
            false => self.ask(kept, Method::DELETE, &format!("messages/pending/{id}"), None).await,
        };
        match asked {
            Ok(_) | Err(AskError::Status(404 | 410, _)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The key of an agent there; nothing where the provider does not tell one.
    pub(super) async fn key_of(&self, kept: &Kept, address: &Address) -> Result<Option<PublicKey>, AskError> {
        #[derive(Deserialize)]
        struct Face {
            public_key: Option<String>,
        }
        let path = format!("agents/resolve/{}", urlencoding(address.as_str()));
        match self.ask(kept, Method::GET, &path, None).await {
            Ok(answer) => {
                let face = serde_json::from_slice::<Face>(&answer).ok();
                Ok(face.and_then(|face| PublicKey::parse_any(face.public_key?.trim()).ok()))
            }
            Err(AskError::Status(400..=499, _)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens the provider's WebSocket: HTTP/1.1's upgrade, over a connection like any other. Nobody has said yet who asks.
    pub(super) async fn socket(&self, kept: &Kept) -> Result<Upgraded, AskError> {
        let url = Url::parse(&format!("{}/ws", kept.base)).map_err(|_| unusable())?;
        if let Some(target) = literal(&url) {
            self.reach.judge(target).map_err(|fault| out_of_reach(&fault))?;
        }
        let (key, request) = (generate_key(), self.client((port(&url), true))?.get(url));
        let request = request.header("connection", "Upgrade").header("upgrade", "websocket");
        let request = request.header("sec-websocket-version", "13").header("sec-websocket-key", &key);
        let answer = request.send().await.map_err(|error| why(&error))?;
        let accepted = answer.headers().get("sec-websocket-accept").and_then(|value| value.to_str().ok());
        match answer.status().as_u16() {
            101 if accepted == Some(derive_accept_key(key.as_bytes()).as_str()) => {
                answer.upgrade().await.map_err(|error| why(&error))
            }
            101 => Err(AskError::Failed("its WebSocket answers for somebody else".to_owned())),
            status => Err(AskError::Status(status, "")),
        }
    }

    async fn ask(
        &self,
        kept: &Kept,
        method: Method,
        path: &str,
        body: Option<&'static str>,
    ) -> Result<Vec<u8>, AskError> {
        let url = Url::parse(&format!("{}/{path}", kept.base)).map_err(|_| unusable())?;
        if let Some(target) = literal(&url) {
            self.reach.judge(target).map_err(|fault| out_of_reach(&fault))?;
        }
        let mut request = self.client((port(&url), false))?.request(method, url).bearer_auth(&kept.api_key);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let answer =
            request.header("accept", "application/json").send().await.map_err(|error| why(&error))?;
        match answer.status().as_u16() {
            200..=299 => whole(answer).await,
            status @ 300..=399 => Err(AskError::Status(status, "; redirects are not followed")),
            status @ (401 | 403) => Err(AskError::Status(status, "; it does not take the API key")),
            status => Err(AskError::Status(status, "")),
        }
    }

    fn client(&self, kind: (u16, bool)) -> Result<Client, AskError> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&kind) {
            return Ok(client.clone());
        }
        let client = client(&self.config, &self.reach, kind).map_err(|error| why(&error))?;
        if clients.len() >= CLIENTS {
            clients.clear();
        }
        clients.insert(kind, client.clone());
        Ok(client)
    }
}

fn client(config: &Config, reach: &Reach, (port, socket): (u16, bool)) -> Result<Client, reqwest::Error> {
    let shape = |client: ClientBuilder| {
        // A socket stays open.
        let client = if socket { client.http1_only() } else { client.timeout(WHOLE) };
        client
            .user_agent(concat!("amesh/", env!("CARGO_PKG_VERSION")))
            .https_only(true)
            .no_proxy()
            .redirect(Policy::none())
            .referer(false)
            .dns_resolver(Guarded { reach: reach.clone(), port })
            .connect_timeout(CONNECT)
            .pool_max_idle_per_host(1)
            .pool_idle_timeout(IDLE)
    };
    authorities::client(&config.authorities, shape)
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

/// Of an id, what is more than letters, digits and the harmless.
fn urlencoding(text: &str) -> String {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    text.bytes()
        .map(|byte| if fine(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

async fn whole(mut answer: Response) -> Result<Vec<u8>, AskError> {
    let mut page = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(|error| why(&error))? {
        if page.len() + part.len() > LONGEST {
            return Err(AskError::Failed(format!("its answer is longer than {} MiB", LONGEST >> 20)));
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
            return out_of_reach(fault);
        }
        cause = deeper;
    }
    AskError::Failed(cause.to_string())
}

fn unusable() -> AskError {
    AskError::Failed("its API's address cannot be used".to_owned())
}

fn out_of_reach(fault: &OutOfReach) -> AskError {
    AskError::Failed(format!("its API cannot be reached: {fault}"))
}

const HTTPS: u16 = 443;
const CLIENTS: usize = 16;
/// With the longest messages that the protocol has, a page of so many is within [`LONGEST`].
const PAGE: usize = 10;
const LONGEST: usize = 24 << 20;
const CONNECT: Duration = Duration::from_secs(5);
const WHOLE: Duration = Duration::from_secs(30);
const IDLE: Duration = Duration::from_secs(90);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_lead_to_another_path() {
        assert_eq!(urlencoding("msg_1_a"), "msg_1_a");
        assert_eq!(urlencoding("../x?y=1"), "..%2Fx%3Fy%3D1");
    }
}
