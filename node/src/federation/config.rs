//! What the owner can set about other providers. Read by `mod`; the file format is the node's `config`.

use super::trust::TrustMode;
use crate::authorities::AuthorityFile;
use crate::reach::AllowedTarget;
use amesh_discovery::providers::Step;
use amesh_proto::key::{KeyAlgorithm, PublicKey};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

/// Other providers of the protocol (docs/federation.md).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Look other providers up, and send mail to those that `mode` lets in where this node is one (`domain`). Off: nobody outside
    /// is asked for anything.
    pub on: bool,
    /// The domain for which this node speaks to other providers: that of its own agents, as in `provider`. Nothing: it can look
    /// others up and is no provider itself. One node of a mesh is; its key is in `provider.key` in its data directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Where others reach this provider. Nothing: `https://DOMAIN/v1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Whom people of other providers may write to, shown in the public document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// With whom mail is exchanged, in both directions: `open`, everybody who shows a key; `registry`, those that the registry
    /// has checked; `allowlist`, only those that you allow; `closed`, nobody.
    pub mode: TrustMode,
    /// Domains that are let in by name where the mode is not `closed`; `amesh federation allow DOMAIN` adds others.
    pub allowed_providers: Vec<String>,
    /// Domains with which nothing is exchanged, whatever the mode; `amesh federation block DOMAIN` adds others.
    pub blocked_providers: Vec<String>,
    /// How a provider is found. What is left out is not done; the order is always this one. `stale_cache` lets what was
    /// found before stand in for up to a week while nobody answers.
    pub discovery: Vec<Step>,
    /// Name servers, as IP:PORT, that are asked for providers instead of the system's.
    pub resolvers: Vec<SocketAddr>,
    /// The registry of providers: `/DOMAIN` is added to this address.
    pub registry: String,
    /// Where providers and the registry may be besides public addresses: IP addresses or ranges, each with an optional port, as
    /// in `10.1.0.0/16:443`. Ports of this node are never reached.
    pub allow_addresses: Vec<AllowedTarget>,
    /// How many providers that are not known yet one source may have looked up in a minute.
    pub look_ups_per_minute: u32,
    /// Another program on this machine takes HTTPS for this node and passes deliveries on over plain HTTP to its loopback address.
    pub behind_proxy: bool,
    /// How much other providers may bring.
    pub limits: DeliveryLimits,
    /// Deliveries under way to one provider at a time. Mail of one sender, recipient and priority goes one after another.
    pub in_flight: usize,
    /// Seconds within which a provider must have answered a delivery.
    pub deliver_timeout_s: u64,
    /// Keys that you have from providers themselves: a table from the domain to the public key, as 64 hexadecimal digits or PEM.
    /// Whatever shows another key for that domain is refused.
    pub pins: BTreeMap<String, String>,
    /// Who vouches for providers besides the system's authorities. Set by the node's `ca_certificates`.
    #[serde(skip)]
    pub authorities: Vec<AuthorityFile>,
}

/// How much other providers may bring. Zero is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeliveryLimits {
    /// Messages a minute of each provider that only the mode lets in.
    pub unlisted_per_minute: u32,
    /// Messages a minute of each provider that you allow by name.
    pub listed_per_minute: u32,
    /// Messages a minute to each agent, of all providers together.
    pub recipient_per_minute: u32,
    /// Messages a minute of all providers together.
    pub all_per_minute: u32,
    /// Messages an hour of all providers together.
    pub all_per_hour: u32,
    /// Requests that were refused before a provider's signature was found good, a minute and source; then all of that source
    /// are refused for the rest of it.
    pub failures_per_minute: u32,
}

impl Default for DeliveryLimits {
    fn default() -> Self {
        Self {
            unlisted_per_minute: 100,
            listed_per_minute: 1_000,
            recipient_per_minute: 20,
            all_per_minute: 1_000,
            all_per_hour: 10_000,
            failures_per_minute: 30,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            on: false,
            domain: None,
            endpoint: None,
            contact: None,
            mode: TrustMode::default(),
            allowed_providers: Vec::new(),
            blocked_providers: Vec::new(),
            discovery: STEPS.to_vec(),
            resolvers: Vec::new(),
            registry: "https://registry.agentmessaging.org/providers".to_owned(),
            allow_addresses: Vec::new(),
            look_ups_per_minute: 30,
            behind_proxy: false,
            limits: DeliveryLimits::default(),
            in_flight: 16,
            deliver_timeout_s: 20,
            pins: BTreeMap::new(),
            authorities: Vec::new(),
        }
    }
}

/// How deliveries are made.
#[derive(Debug, Clone)]
pub(super) struct Sending {
    pub(super) in_flight: usize,
    pub(super) deliver_timeout_s: u64,
    pub(super) authorities: Vec<AuthorityFile>,
}

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSetting {
    /// The registry is not reached over HTTPS.
    #[error(
        "[federation] registry = {0:?} cannot be used: expected an https:// address without query or password"
    )]
    Registry(String),
    /// A domain whose addresses this node's agents do not have.
    #[error(
        "[federation] domain = {domain:?} cannot be used: the agents of this node have addresses of {provider:?}; set `provider` to the same domain"
    )]
    Domain {
        /// The one that was set.
        domain: String,
        /// The one of the agents.
        provider: String,
    },
    /// A domain that only a local network knows (ADR-12).
    #[error(
        "[federation] domain = {0:?} cannot be used: nobody outside can find a name of the local network"
    )]
    LocalDomain(String),
    /// No address that others could be told.
    #[error(
        "[federation] endpoint = {0:?} cannot be used: expected an https:// address without user name, query or ';'"
    )]
    Endpoint(String),
    /// A pin that is no key.
    #[error(
        "[federation] pins: what stands for {0:?} is no Ed25519 public key; expected 64 hexadecimal digits or PEM"
    )]
    Pin(String),
}

impl Config {
    /// The pinned keys, by domain in lower case.
    pub(super) fn pinned(&self) -> Result<HashMap<String, PublicKey>, BadSetting> {
        let read = |(domain, text): (&String, &String)| {
            let key = PublicKey::parse(text.trim(), KeyAlgorithm::Ed25519)
                .map_err(|_| BadSetting::Pin(domain.clone()))?;
            Ok((domain.trim_end_matches('.').to_ascii_lowercase(), key))
        };
        self.pins.iter().map(read).collect()
    }

    /// What of it is about deliveries.
    pub(super) fn sending(&self) -> Sending {
        let Self { in_flight, deliver_timeout_s, .. } = *self;
        Sending { in_flight, deliver_timeout_s, authorities: self.authorities.clone() }
    }

    /// The registry's address without a slash at its end.
    pub(super) fn registry(&self) -> Result<String, BadSetting> {
        let bad = || BadSetting::Registry(self.registry.clone());
        let url = Url::parse(self.registry.trim()).map_err(|_| bad())?;
        let clean = url.username().is_empty() && url.password().is_none();
        if url.scheme() != "https" || !clean || url.query().is_some() || url.fragment().is_some() {
            return Err(bad());
        }
        Ok(url.as_str().trim_end_matches('/').to_owned())
    }

    /// The steps that are not done.
    pub(super) fn off(&self) -> Vec<Step> {
        STEPS.into_iter().filter(|step| !self.discovery.contains(step)).collect()
    }
}

const STEPS: [Step; 4] = [Step::DnsTxt, Step::WellKnown, Step::Registry, Step::StaleCache];

#[cfg(test)]
mod tests {
    use super::*;
    use amesh_proto::key::AgentKey;

    fn read(text: &str) -> Config {
        figment::Figment::from(figment::providers::Serialized::defaults(Config::default()))
            .merge(<figment::providers::Toml as figment::providers::Format>::string(text))
            .extract()
            .unwrap()
    }

    #[test]
    fn nothing_is_looked_up_unless_the_owner_says_so_and_what_is_left_out_is_off() {
        assert!(!Config::default().on);
        assert_eq!(Config::default().off(), []);
        let some = read("discovery = [\"registry\", \"dns_txt\"]");
        assert_eq!(some.off(), [Step::WellKnown, Step::StaleCache]);
    }

    #[test]
    fn a_pin_is_a_key_in_either_form_and_anything_else_is_named() {
        let key = AgentKey::from_seed(&[1; 32]).public();
        for text in [key.sender_key_text(), key.to_pem()] {
            let config = Config { pins: [("Corp.IO".to_owned(), text)].into(), ..Config::default() };
            assert_eq!(config.pinned().unwrap().get("corp.io"), Some(&key));
        }
        let bad = read("[pins]\n\"corp.io\" = \"SHA256:abc\"\n").pinned();
        assert_eq!(bad, Err(BadSetting::Pin("corp.io".to_owned())));
    }

    #[test]
    fn the_registry_is_reached_over_https_only() {
        for bad in
            ["", "registry.example", "http://r.example/p", "https://a:b@r.example", "https://r.example/?x=1"]
        {
            let config = Config { registry: bad.to_owned(), ..Config::default() };
            assert_eq!(config.registry(), Err(BadSetting::Registry(bad.to_owned())));
        }
        let config = Config { registry: "https://r.example/p/".to_owned(), ..Config::default() };
        assert_eq!(config.registry().unwrap(), "https://r.example/p");
    }
}
