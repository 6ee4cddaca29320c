//! One attempt: a signed POST to an address that was judged in the moment of connecting (WHK-1, 2, 8, 9). No proxy, no
//! redirect, every wait with a deadline, and no more of the answer read than a few bytes. Called by `worker`.

use super::Config;
use crate::agents::webhook::{WebhookFault, Webhooks, is_plain};
use crate::authorities::{self, AuthorityFile};
use amesh_proto::webhook::{ACKNOWLEDGED_HEADER, ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Response, Url};
use std::collections::HashMap;
use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What is posted.
#[derive(Debug)]
pub(in crate::message) struct Letter<'a> {
    /// The agent's `webhook_url`, as registered.
    pub(in crate::message) url: &'a str,
    /// Its `webhook_secret`.
    pub(in crate::message) secret: Option<&'a str>,
    /// The message's id.
    pub(in crate::message) id: &'a str,
    /// The JSON body.
    pub(in crate::message) body: Vec<u8>,
    /// The time at this node, in seconds.
    pub(in crate::message) now_s: u64,
}

/// The webhook took it.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::message) struct Taken {
    /// It also acknowledged it: the mail leaves the mailbox.
    pub(in crate::message) acknowledged: bool,
}

/// It did not.
#[derive(Debug, thiserror::Error)]
pub(in crate::message) enum Failed {
    /// Another attempt may do better (WHK-4).
    #[error("{0}")]
    Now(String),
    /// No attempt will, until the agent or the owner changes something.
    #[error("{0}")]
    ForGood(String),
}

/// Posts letters. Keeps connections open for a while.
#[derive(Debug)]
pub(in crate::message) struct Poster {
    connect: Duration,
    whole: Duration,
    per_host: usize,
    authorities: Vec<AuthorityFile>,
    /// A resolver is told names only; whether a target may be reached depends on its port, and on TLS.
    clients: Mutex<HashMap<(u16, bool), Client>>,
}

impl Poster {
    pub(in crate::message) fn new(config: &Config) -> Self {
        let connect = Duration::from_secs(config.connect_timeout_s.max(1));
        let whole = connect + Duration::from_secs(config.response_timeout_s.max(1));
        let (per_host, authorities) = (config.per_agent, config.authorities.clone());
        Self { connect, whole, per_host, authorities, clients: Mutex::default() }
    }

    /// One attempt.
    pub(in crate::message) async fn post(
        &self,
        rules: &Webhooks,
        letter: Letter<'_>,
    ) -> Result<Taken, Failed> {
        let refused = |fault: WebhookFault| Failed::ForGood(fault.to_string());
        let url = rules.read(letter.url).map_err(refused)?;
        let client = self.client(rules, &url)?;
        let mut request = client
            .post(url)
            .header("content-type", "application/json")
            .header(ID_HEADER, letter.id)
            .header(TIMESTAMP_HEADER, letter.now_s.to_string());
        if let Some(secret) = letter.secret {
            request = request.header(SIGNATURE_HEADER, sign(secret, letter.now_s, &letter.body));
        }
        match request.body(letter.body).send().await {
            Ok(answer) => judge(answer).await,
            Err(error) => Err(why(&error)),
        }
    }

    fn client(&self, rules: &Webhooks, url: &Url) -> Result<Client, Failed> {
        let (port, plain) = (url.port_or_known_default().unwrap_or_default(), is_plain(url));
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&(port, plain)) {
            return Ok(client.clone());
        }
        let shape = |client: ClientBuilder| {
            client
                .user_agent(concat!("amesh/", env!("CARGO_PKG_VERSION")))
                .no_proxy()
                .redirect(Policy::none())
                .referer(false)
                .dns_resolver(Guarded { rules: rules.clone(), port, plain })
                .connect_timeout(self.connect)
                .timeout(self.whole)
                .pool_max_idle_per_host(self.per_host)
                .pool_idle_timeout(IDLE)
        };
        let client = authorities::client(&self.authorities, shape)
            .map_err(|error| Failed::Now(format!("no HTTP client could be made: {error}")))?;
        if clients.len() >= CLIENTS {
            clients.clear();
        }
        clients.insert((port, plain), client.clone());
        Ok(client)
    }
}

/// Gives a connection only addresses that were judged: whoever answers differently a moment later gains nothing.
#[derive(Debug)]
struct Guarded {
    rules: Webhooks,
    port: u16,
    plain: bool,
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let (rules, port, plain) = (self.rules.clone(), self.port, self.plain);
        Box::pin(async move {
            let found = rules.look_up(name.as_str(), port, plain).await?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

async fn judge(answer: Response) -> Result<Taken, Failed> {
    let status = answer.status().as_u16();
    let acknowledged = answer.headers().get(ACKNOWLEDGED_HEADER).is_some_and(|value| value == "true");
    read_away(answer).await;
    let said = format!("the webhook answered {status}");
    match status {
        200..=299 => Ok(Taken { acknowledged }),
        300..=399 => Err(Failed::ForGood(format!("{said}; redirects are not followed"))),
        400..=499 => Err(Failed::ForGood(said)),
        _ => Err(Failed::Now(said)),
    }
}

/// A short answer is read so that the connection can be used again; a long one is cut off with its connection.
async fn read_away(mut answer: Response) {
    let mut left = ANSWER_BYTES;
    while let Ok(Some(part)) = answer.chunk().await {
        let Some(rest) = left.checked_sub(part.len()) else { return };
        left = rest;
    }
}

/// Connections and deadlines pass; a target that must not be reached does not become a good one by waiting.
fn why(error: &reqwest::Error) -> Failed {
    let mut cause: Option<&dyn Error> = Some(error);
    let mut words = Vec::new();
    while let Some(error) = cause {
        match error.downcast_ref::<WebhookFault>() {
            Some(fault @ WebhookFault::Unresolved(_)) => return Failed::Now(fault.to_string()),
            Some(fault) => return Failed::ForGood(fault.to_string()),
            None => words.push(error.to_string()),
        }
        cause = error.source();
    }
    // The address may hold a token of the agent's own: it does not belong in a log.
    let reason = words.pop().filter(|_| !words.is_empty()).unwrap_or_else(|| "no connection".to_owned());
    Failed::Now(if error.is_timeout() { "the webhook did not answer in time".to_owned() } else { reason })
}

const CLIENTS: usize = 64;
const IDLE: Duration = Duration::from_secs(30);
const ANSWER_BYTES: usize = 16 * 1024;
