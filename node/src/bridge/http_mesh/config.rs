//! What the owner can set about HTTP mesh hosts. Read by `mod`; the file format is the node's `config`.

use crate::authorities::AuthorityFile;
use amesh_proto::address::Naming;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// Hosts of the AMP 06a kind, and where they reach this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where HTTP mesh hosts (AMP 06a) reach this node, over TCP. Unset: they do not. Only the addresses of the hosts below are
    /// served there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// Speak HTTPS there, with the certificate of `[tls]`, and nothing else.
    pub tls: bool,
    /// The URL under which those hosts reach this node. Unset: made of `listen`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The hosts, each a table `[[http_mesh.host]]` of its own with a `name` and a `url`. It may have a `mode` (`strict`; `trusted`
    /// or `open` take unsigned mail, and never as verified), `aliases` for its name, and `addresses` it may come from besides
    /// the one in its URL. docs/http-mesh.md shows one.
    pub host: Vec<HostConfig>,
    /// How long a host may take to say whether it has an agent, in seconds.
    pub ask_timeout_s: u64,
    /// How long a host may take to take a message, in seconds.
    pub forward_timeout_s: u64,
    /// How long it is believed where an agent is, in seconds.
    pub known_for_s: u64,
    /// How long it is believed that an agent is nowhere, in seconds.
    pub unknown_for_s: u64,
    /// Who vouches for hosts besides the system's authorities. Set by the node's `ca_certificates`.
    #[serde(skip)]
    pub authorities: Vec<AuthorityFile>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: None,
            tls: false,
            url: None,
            host: Vec::new(),
            ask_timeout_s: 3,
            forward_timeout_s: 10,
            known_for_s: 300,
            unknown_for_s: 10,
            authorities: Vec::new(),
        }
    }
}

/// One host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostConfig {
    /// Its id.
    pub name: String,
    /// Where it is reached.
    pub url: String,
    /// What is demanded of its mail.
    #[serde(default)]
    pub mode: Mode,
    /// Other names that it uses for itself.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Other addresses that it comes from.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
}

/// How the mail of a host is judged (MSH-10). None but `Strict` ever makes mail `verified`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Signed by a key that is known for its sender there.
    #[default]
    Strict,
    /// Unsigned mail too, of agents that the host says it has.
    Trusted,
    /// Unsigned mail too, of any sender it names.
    Open,
}

impl Mode {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Trusted => "trusted",
            Self::Open => "open",
        }
    }

    /// Whether unsigned mail is taken.
    pub(super) fn is_relaxed(self) -> bool {
        self != Self::Strict
    }
}

/// A host that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadHost {
    /// Its name cannot stand in an address, or is this node's own.
    #[error("{0:?} cannot be the name of an HTTP mesh host: {1}")]
    Name(String, String),
    /// Two hosts of one name.
    #[error("two HTTP mesh hosts are called {0:?}")]
    Twice(String),
    /// Its URL cannot be used.
    #[error("the URL of the HTTP mesh host {0:?} cannot be used: {1}")]
    Url(String, String),
    /// More than anybody has.
    #[error("at most {} HTTP mesh hosts are possible", Config::HOSTS)]
    TooMany,
}

impl Config {
    /// Most hosts: each has a task and a connection.
    pub const HOSTS: usize = 64;

    /// This node's own URL, as it tells its hosts.
    #[must_use]
    pub fn own_url(&self, listening: Option<SocketAddr>) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        let made = || listening.map(|address| format!("{scheme}://{address}"));
        self.url.clone().or_else(made).unwrap_or_default()
    }
}

impl HostConfig {
    /// The names of this host, checked, in the form in which they are compared; the first is its own.
    pub(super) fn names(&self, naming: &Naming) -> Result<Vec<String>, BadHost> {
        let mut names = Vec::with_capacity(1 + self.aliases.len());
        for given in std::iter::once(&self.name).chain(&self.aliases) {
            let bad = |why: String| BadHost::Name(given.clone(), why);
            let name = amesh_proto::api::http_mesh::host_id(given);
            Naming::new(&naming.org, &naming.provider, &name).map_err(|error| bad(error.to_string()))?;
            if name == naming.host || name == naming.org {
                return Err(bad("this node or its organization is called so".to_owned()));
            }
            names.push(name);
        }
        Ok(names)
    }

    /// Its URL without anything behind the path.
    pub(super) fn base(&self) -> Result<Url, BadHost> {
        let bad = |why: &str| BadHost::Url(self.name.clone(), why.to_owned());
        let url = Url::parse(self.url.trim()).map_err(|error| bad(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(bad("expected http://HOST:PORT"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("it may not hold a name or password"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(bad("it may not have anything behind its path"));
        }
        Ok(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, url: &str) -> HostConfig {
        HostConfig {
            name: name.to_owned(),
            url: url.to_owned(),
            mode: Mode::default(),
            aliases: Vec::new(),
            addresses: Vec::new(),
        }
    }

    #[test]
    fn names_are_labels_and_nobody_elses() {
        let naming = Naming::new("default", "aimaestro.local", "alpha").unwrap();
        assert_eq!(host("Den.local", "").names(&naming), Ok(vec!["den".to_owned()]));
        for bad in ["", "a b", "a.b", "alpha", "default", "Alpha.local"] {
            assert!(matches!(host(bad, "").names(&naming), Err(BadHost::Name(..))), "{bad}");
        }
    }

    #[test]
    fn urls_lead_to_a_host_over_http_and_hold_no_secrets() {
        assert!(host("den", "http://10.0.0.1:23000/").base().is_ok());
        assert!(host("den", "https://den.example/api/v1").base().is_ok());
        for bad in ["", "den:23000", "ftp://den", "http://a:b@den", "http://den/?x=1", "http://den/#x"] {
            assert!(matches!(host("den", bad).base(), Err(BadHost::Url(..))), "{bad}");
        }
    }

    #[test]
    fn the_example_in_the_documentation_is_read() {
        let text = "listen = \"0.0.0.0:23080\"\n[[host]]\nname = \"den\"\nurl = \"http://10.0.0.1:23000\"\nmode = \"trusted\"\n";
        let config: Config =
            figment::Figment::from(figment::providers::Serialized::defaults(Config::default()))
                .merge(<figment::providers::Toml as figment::providers::Format>::string(text))
                .extract()
                .unwrap();
        assert_eq!((config.host[0].mode, config.host[0].name.as_str()), (Mode::Trusted, "den"));
        assert!(!Mode::default().is_relaxed());
    }
}
