//! Every setting, and where it comes from: defaults, then the file, then `AMESH_*` variables, then flags.
//! Called by `cli/up.rs`; each part owns its own `Config`, this one only gathers them.

use crate::authorities::AuthorityFile;
use crate::bridge::{http_mesh, registered};
use crate::{agents, federation, http, mesh, message};
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// What a node is told before it starts.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the node keeps everything. Unset: `amesh` in the platform's data directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
    /// This machine's name in the mesh: letters, digits and hyphens. Unset: the hostname.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The organization (the protocol's tenant) of agents here.
    pub org: String,
    /// The provider domain of agents here. The default is the reference network's local domain, so that existing
    /// clients work unchanged.
    pub provider: String,
    /// Where agents connect: plain on loopback, over TLS on every other address, for which `[tls]` names a certificate.
    pub api: Vec<SocketAddr>,
    /// Where other nodes connect, over UDP. Port 0 means any.
    pub mesh: SocketAddr,
    /// Where other nodes' libp2p connects, over UDP: it finds and reaches members beyond this network, through other
    /// members if need be. Port 0 means any.
    pub swarm: SocketAddr,
    /// Do without libp2p: members are reached directly, or not at all.
    pub no_swarm: bool,
    /// Other nodes to look for, as HOST:PORT. Does what multicast does where multicast is blocked.
    pub peers: Vec<String>,
    /// Announce this node, and look for others, by multicast DNS.
    pub mdns: bool,
    /// 64 hexadecimal digits. Every node that is given them is in one mesh, without tickets. Keep it secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mesh_secret: Option<String>,
    /// PEM files of certificate authorities that this node believes besides the system's, when it posts to webhooks, speaks to
    /// HTTP mesh hosts over HTTPS, or looks other providers up: full paths, of a company's own, say.
    pub ca_certificates: Vec<AuthorityFile>,
    /// How much is kept, and where a queue is full.
    pub store: amesh_store::Config,
    /// Who may register.
    pub agents: agents::Config,
    /// How mail is accepted, kept and retried.
    pub message: message::Config,
    /// How links to other nodes behave.
    pub mesh_link: mesh::Config,
    /// The certificate that doors show where they are not on loopback (docs/tls.md).
    pub tls: http::TlsConfig,
    /// Hosts of the AMP 06a kind, which speak plain HTTP (docs/http-mesh.md).
    pub http_mesh: http_mesh::Config,
    /// Other providers of the protocol (docs/federation.md).
    pub federation: federation::Config,
    /// The member of the mesh through which others reach other providers (docs/federation.md).
    pub gateway: message::GatewayConfig,
    /// Agents of this node that are registered with other providers, too (docs/registrations.md).
    pub registrations: registered::Config,
    /// The agents' API: limits and deadlines.
    pub http: http::Config,
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file or a variable does not say what it should.
    #[error("{0}")]
    Unreadable(Box<figment::Error>),
    /// A file was named that is not there.
    #[error("there is no configuration file at {0}")]
    NoFile(PathBuf),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: None,
            host: None,
            org: "default".to_owned(),
            provider: "aimaestro.local".to_owned(),
            api: vec![
                SocketAddr::from((Ipv4Addr::LOCALHOST, 23000)),
                SocketAddr::from((Ipv6Addr::LOCALHOST, 23000)),
            ],
            mesh: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 23001)),
            swarm: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 23002)),
            no_swarm: false,
            peers: Vec::new(),
            mdns: true,
            mesh_secret: None,
            ca_certificates: Vec::new(),
            store: amesh_store::Config::default(),
            agents: agents::Config::default(),
            message: message::Config::default(),
            mesh_link: mesh::Config::default(),
            tls: http::TlsConfig::default(),
            http_mesh: http_mesh::Config::default(),
            federation: federation::Config::default(),
            gateway: message::GatewayConfig::default(),
            registrations: registered::Config::default(),
            http: http::Config::default(),
        }
    }
}

impl Config {
    /// Reads the defaults, then `file`, then the environment. Flags are set by the caller afterwards.
    ///
    /// # Errors
    /// [`ConfigError`], naming the setting and where it was read.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        if let Some(file) = file {
            if !file.is_file() {
                return Err(ConfigError::NoFile(file.to_path_buf()));
            }
            figment = figment.merge(Toml::file_exact(file));
        }
        // AMESH_LOG, AMESH_AGENT and others are not settings of the node: only known names are taken.
        let known = |key: &figment::value::UncasedStr| {
            let first = key.as_str().split("__").next().unwrap_or_default().to_ascii_lowercase();
            // These are read with the flags, which split lists at commas.
            let is_flag = ["api", "peers", "http_mesh"].contains(&key.as_str().to_ascii_lowercase().as_str());
            SETTINGS.contains(&first.as_str()) && !is_flag
        };
        figment
            .merge(Env::prefixed("AMESH_").filter(known).split("__"))
            .extract()
            .map_err(|error| ConfigError::Unreadable(Box::new(error)))
    }
}

const SETTINGS: [&str; 22] = [
    "data_dir",
    "host",
    "org",
    "provider",
    "api",
    "mesh",
    "swarm",
    "no_swarm",
    "peers",
    "mdns",
    "mesh_secret",
    "ca_certificates",
    "store",
    "agents",
    "message",
    "mesh_link",
    "tls",
    "http_mesh",
    "federation",
    "gateway",
    "registrations",
    "http",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_overrides_defaults_and_names_what_it_does_not_know() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("amesh.toml");
        std::fs::write(&file, "org = \"acme\"\n[store]\ncache_mib = 8\n").unwrap();
        let config = Config::load(Some(&file)).unwrap();
        assert_eq!((config.org.as_str(), config.store.cache_mib), ("acme", 8));
        std::fs::write(&file, "orgg = \"acme\"\n").unwrap();
        let error = Config::load(Some(&file)).unwrap_err().to_string();
        assert!(error.contains("orgg"), "{error}");
    }

    #[test]
    fn a_missing_file_is_an_error_not_the_defaults() {
        let error = Config::load(Some(Path::new("/nonexistent/amesh.toml"))).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/amesh.toml"));
    }

    #[test]
    fn a_file_of_certificates_that_cannot_be_used_is_named_with_its_setting() {
        let folder = tempfile::tempdir().unwrap();
        let (file, pem) = (folder.path().join("amesh.toml"), folder.path().join("ca.pem"));
        std::fs::write(&pem, "no certificate").unwrap();
        std::fs::write(&file, format!("ca_certificates = [{:?}]\n", pem.to_string_lossy())).unwrap();
        let error = Config::load(Some(&file)).unwrap_err().to_string();
        for words in ["ca_certificates", "ca.pem holds no certificate"] {
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn every_setting_is_known_to_the_environment() {
        let table = serde_json::to_value(Config::default()).unwrap();
        for key in table.as_object().unwrap().keys() {
            assert!(SETTINGS.contains(&key.as_str()), "AMESH_{} would be ignored", key.to_uppercase());
        }
    }
}
