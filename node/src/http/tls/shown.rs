//! A certificate as a door shows it: what clients are told in the handshake, the names it stands for, and its end. Called by `mod`,
//! by `guard` for the names, and by `control` for the owner.

use amesh_proto::time::UnixMillis;
use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use std::sync::Arc;

/// See the module.
#[derive(Debug)]
pub(crate) struct Shown {
    config: Arc<ServerConfig>,
    leaf: CertificateDer<'static>,
    digest: [u8; 32],
    in_force_until: UnixMillis,
}

impl Shown {
    /// What `config` shows, beginning with `leaf`, from files with this digest.
    ///
    /// # Errors
    /// The library's words, when `leaf` is no certificate for a server.
    pub(super) fn new(
        config: Arc<ServerConfig>,
        leaf: CertificateDer<'static>,
        digest: [u8; 32],
    ) -> Result<Self, String> {
        ParsedCertificate::try_from(&leaf).map_err(|error| error.to_string())?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&leaf).map_err(|error| error.to_string())?;
        let end = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or_default();
        Ok(Self { config, leaf, digest, in_force_until: UnixMillis::from_secs(end) })
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    pub(super) fn is_of(&self, digest: [u8; 32]) -> bool {
        self.digest == digest
    }

    /// When clients stop to believe it.
    pub(crate) fn in_force_until(&self) -> UnixMillis {
        self.in_force_until
    }

    /// Whether it stands for this name or IP address. A name that was rebound to this machine is not in it.
    pub(crate) fn stands_for(&self, host: &str) -> bool {
        let (Ok(name), Ok(parsed)) = (ServerName::try_from(host), ParsedCertificate::try_from(&self.leaf))
        else {
            return false;
        };
        verify_server_name(&parsed, &name).is_ok()
    }
}
