//! What the owner can set about registrations of agents with other providers. Read by `mod`; the file format is the node's
//! `config`.

use crate::authorities::AuthorityFile;
use crate::reach::AllowedTarget;
use serde::{Deserialize, Serialize};

/// Agents of this node that are registered with other providers, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Fetch mail for agents that hand over a registration of theirs with another provider. `false`: no agent may.
    pub on: bool,
    /// The domains of the providers that agents may name. Empty: every one, as its API answers at its own domain over HTTPS.
    pub providers: Vec<String>,
    /// Addresses that a provider's API may have though they are not public: an address or a network, with a port or without.
    pub allow_addresses: Vec<AllowedTarget>,
    /// How often a provider is asked for mail, in seconds. Pauses grow to an hour while it does not answer.
    pub poll_s: u64,
    /// How many providers one agent may name.
    pub per_agent: usize,
    /// How many registrations the node serves in all.
    pub all: usize,
    /// Who vouches for providers besides the system's authorities. Set by the node's `ca_certificates`.
    #[serde(skip)]
    pub authorities: Vec<AuthorityFile>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            on: true,
            providers: Vec::new(),
            allow_addresses: Vec::new(),
            poll_s: 30,
            per_agent: 8,
            all: 256,
            authorities: Vec::new(),
        }
    }
}

impl Config {
    /// Whether the owner's list lets `provider` in.
    pub(super) fn lists(&self, provider: &str) -> bool {
        let same = |listed: &String| listed.trim().trim_end_matches('.').eq_ignore_ascii_case(provider);
        self.providers.is_empty() || self.providers.iter().any(same)
    }
}
