//! TXT records and addresses over DNS, by hickory-resolver: the system's name servers or the owner's. Called by
//! [`super::Providers`], and by the node for the addresses of what they name.

use super::{AskError, Texts};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// See the module.
pub struct Dns {
    /// The owner's. The system's change with the network that the machine is in, and are read anew for each question.
    owners: Option<TokioResolver>,
}

/// Why there is no resolver.
#[derive(Debug, thiserror::Error)]
#[error("the name servers cannot be used: {0}")]
pub struct DnsError(String);

impl Dns {
    /// Asks these servers, or the system's where there are none.
    ///
    /// # Errors
    /// When no resolver can be made for them.
    pub fn new(servers: &[SocketAddr]) -> Result<Self, DnsError> {
        if servers.is_empty() {
            return Ok(Self { owners: None });
        }
        let servers = servers.iter().map(|server| {
            let at = |mut connection: ConnectionConfig| {
                connection.port = server.port();
                connection
            };
            let connections = vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())];
            NameServerConfig::new(server.ip(), true, connections)
        });
        let config = ResolverConfig::from_name_servers(servers.collect());
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        set(builder.options_mut());
        Ok(Self { owners: Some(builder.build().map_err(|error| DnsError(error.to_string()))?) })
    }

    /// The addresses of `host`.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, AskError> {
        let name = format!("{}.", host.trim_end_matches('.'));
        let resolver = self.resolver()?;
        let found = in_time(resolver.lookup_ip(name.as_str())).await?;
        Ok(found.iter().take(ADDRESSES).collect())
    }

    fn resolver(&self) -> Result<TokioResolver, AskError> {
        if let Some(owners) = &self.owners {
            return Ok(owners.clone());
        }
        let failed =
            |error: NetError| AskError::Failed(format!("the system's name servers cannot be used: {error}"));
        let mut builder = TokioResolver::builder_tokio().map_err(failed)?;
        set(builder.options_mut());
        builder.build().map_err(failed)
    }

    async fn ask(&self, name: &str) -> Result<(Vec<String>, Duration), AskError> {
        let resolver = self.resolver()?;
        let answer = in_time(resolver.txt_lookup(name)).await?;
        let texts = answer.answers().iter().filter_map(|record| match &record.data {
            // A text longer than 255 bytes comes in pieces, which belong together (RFC 7208 §3.3).
            RData::TXT(txt) => {
                Some(txt.txt_data.iter().flat_map(|piece| piece.iter().copied()).collect::<Vec<u8>>())
            }
            _ => None,
        });
        let texts = texts.filter_map(|text| String::from_utf8(text).ok()).take(TEXTS).collect();
        Ok((texts, answer.valid_until().saturating_duration_since(Instant::now())))
    }
}

impl std::fmt::Debug for Dns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dns").finish_non_exhaustive()
    }
}

impl Texts for Dns {
    fn texts<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(Vec<String>, Duration), AskError>> {
        self.ask(name).boxed()
    }
}

fn set(options: &mut ResolverOpts) {
    (options.timeout, options.attempts) = (PATIENCE, ATTEMPTS);
    // What is known of a provider is kept in one place.
    options.cache_size = 0;
}

async fn in_time<T>(asking: impl Future<Output = Result<T, NetError>>) -> Result<T, AskError> {
    let answer = tokio::time::timeout(LONGEST, asking).await;
    let answer =
        answer.map_err(|_| AskError::Failed("the name servers did not answer in time".to_owned()))?;
    answer.map_err(|error| match error.is_no_records_found() {
        true => AskError::Nothing,
        false => AskError::Failed(error.to_string()),
    })
}

const PATIENCE: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;
const LONGEST: Duration = Duration::from_secs(8);
const TEXTS: usize = 32;
const ADDRESSES: usize = 16;
