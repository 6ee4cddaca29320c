//! TXT records over DNS, by hickory-resolver: the system's name servers or the owner's. Called by [`super::Providers`].

use super::{AskError, Texts};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// See the module.
pub struct Dns {
    resolver: TokioResolver,
}

/// Why there is no resolver.
#[derive(Debug, thiserror::Error)]
#[error("the system's name servers cannot be used: {0}")]
pub struct DnsError(String);

impl Dns {
    /// Asks these servers, or the system's where there are none.
    ///
    /// # Errors
    /// When the system names none.
    pub fn new(servers: &[SocketAddr]) -> Result<Self, DnsError> {
        let failed = |error: NetError| DnsError(error.to_string());
        let mut builder = match servers {
            [] => TokioResolver::builder_tokio().map_err(failed)?,
            servers => {
                let servers = servers.iter().map(|server| {
                    let at = |mut connection: ConnectionConfig| {
                        connection.port = server.port();
                        connection
                    };
                    let connections = vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())];
                    NameServerConfig::new(server.ip(), true, connections)
                });
                let config = ResolverConfig::from_name_servers(servers.collect());
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            }
        };
        let options = builder.options_mut();
        (options.timeout, options.attempts) = (PATIENCE, ATTEMPTS);
        // What is known of a provider is kept in one place.
        options.cache_size = 0;
        Ok(Self { resolver: builder.build().map_err(failed)? })
    }

    async fn ask(&self, name: &str) -> Result<(Vec<String>, Duration), AskError> {
        let asking = tokio::time::timeout(LONGEST, self.resolver.txt_lookup(name));
        let answer = asking
            .await
            .map_err(|_| AskError::Failed("the name servers did not answer in time".to_owned()))?;
        let answer = answer.map_err(|error| match error.is_no_records_found() {
            true => AskError::Nothing,
            false => AskError::Failed(error.to_string()),
        })?;
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

const PATIENCE: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;
const LONGEST: Duration = Duration::from_secs(8);
const TEXTS: usize = 32;
