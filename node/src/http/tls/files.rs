//! The two files of a door's certificate: read, judged, and refused with the setting and the reason. Called by `mod`.

use super::Config;
use super::shown::Shown;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{Error, ServerConfig};
use sha2::{Digest, Sha256};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why the doors have no certificate to show.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One file without the other.
    #[error("tls.{given} is set and tls.{missing} is not; TLS needs both files")]
    Half {
        /// The setting that is there.
        given: &'static str,
        /// The one that is not.
        missing: &'static str,
    },
    /// It is not there, or not readable for this user.
    #[error("tls.{setting}: the file {path} cannot be read: {cause}")]
    Unreadable {
        /// The setting.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's words.
        cause: io::Error,
    },
    /// It is something else.
    #[error("tls.{setting}: the file {path} is longer than {LONGEST} bytes: it is no PEM file of this kind")]
    TooLong {
        /// The setting.
        setting: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// It is in another form, or holds something else.
    #[error("tls.{setting}: the file {path} holds no {wanted}")]
    Empty {
        /// The setting.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What should stand in it.
        wanted: &'static str,
    },
    /// What stands in it is not what it says it is.
    #[error("tls.{setting}: the file {path} cannot be used: {why}")]
    Damaged {
        /// The setting.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// The library's words.
        why: String,
    },
    /// Others on this machine could be this node.
    #[error(
        "tls.key: the file {path} is open to others (mode {mode:03o}); make it yours alone: chmod 600 {path}"
    )]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The key of another certificate, or a chain in another order.
    #[error("tls.key: the key in {key} is not that of the first certificate in {certificate}")]
    Mismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
}

/// Both files, where TLS is wanted.
#[derive(Debug)]
pub(super) struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// What is in them.
pub(super) struct Content {
    certificate: Vec<u8>,
    key: zeroize::Zeroizing<Vec<u8>>,
}

impl Files {
    pub(super) fn of(config: &Config) -> Result<Option<Self>, TlsError> {
        match (config.certificate.clone(), config.key.clone()) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => Ok(Some(Self { certificate, key })),
            (Some(_), None) => Err(TlsError::Half { given: CERTIFICATE, missing: KEY }),
            (None, Some(_)) => Err(TlsError::Half { given: KEY, missing: CERTIFICATE }),
        }
    }

    /// Both as they are now.
    pub(super) fn read(&self) -> Result<Content, TlsError> {
        let (certificate, _) = read(CERTIFICATE, &self.certificate)?;
        let (key, found) = read(KEY, &self.key)?;
        let mode = found.permissions().mode() & 0o777;
        // A group may read it: so do distributions share keys with the programs that serve.
        if mode & 0o027 != 0 {
            return Err(TlsError::OpenToOthers { path: self.key.clone(), mode });
        }
        Ok(Content { certificate, key: key.into() })
    }

    /// What a door shows with `content`.
    pub(super) fn judge(&self, content: &Content) -> Result<Shown, TlsError> {
        let chain = self.chain(&content.certificate)?;
        let Some(leaf) = chain.first().cloned() else {
            return Err(TlsError::Empty {
                setting: CERTIFICATE,
                path: self.certificate.clone(),
                wanted: "certificate; a PEM file with `-----BEGIN CERTIFICATE-----` is wanted",
            });
        };
        let key = PrivateKeyDer::from_pem_slice(&content.key).map_err(|_| TlsError::Empty {
            setting: KEY,
            path: self.key.clone(),
            wanted: "private key; a PEM file with `-----BEGIN PRIVATE KEY-----` is wanted, not encrypted",
        })?;
        let config = self.config(chain, key)?;
        let damaged = |why: String| self.damaged(CERTIFICATE, why);
        Shown::new(config, leaf, content.digest()).map_err(damaged)
    }

    fn chain(&self, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        read.map_err(|error| self.damaged(CERTIFICATE, error.to_string()))
    }

    fn config(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let built = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
        let mut config = built.map_err(|error| match error {
            Error::InconsistentKeys(_) => {
                TlsError::Mismatch { key: self.key.clone(), certificate: self.certificate.clone() }
            }
            Error::InvalidCertificate(why) => self.damaged(CERTIFICATE, why.to_string()),
            other => self.damaged(KEY, other.to_string()),
        })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    fn damaged(&self, setting: &'static str, why: String) -> TlsError {
        let path = if setting == KEY { &self.key } else { &self.certificate };
        TlsError::Damaged { setting, path: path.clone(), why }
    }
}

impl Content {
    /// By which a change is noticed, however it was made: files are replaced, written anew, or reached by another link.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update((self.certificate.len() as u64).to_be_bytes());
        hash.update(&self.certificate);
        hash.update(&*self.key);
        hash.finalize().into()
    }
}

fn read(setting: &'static str, path: &Path) -> Result<(Vec<u8>, Metadata), TlsError> {
    let unreadable = |cause| TlsError::Unreadable { setting, path: path.to_path_buf(), cause };
    // A pipe or a device would be waited for.
    let found = std::fs::metadata(path).map_err(unreadable)?;
    if !found.is_file() {
        return Err(unreadable(io::Error::other("it is no file")));
    }
    let mut content = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    let found = file.metadata().map_err(unreadable)?;
    let length = file.take(LONGEST + 1).read_to_end(&mut content).map_err(unreadable)?;
    if length as u64 > LONGEST {
        return Err(TlsError::TooLong { setting, path: path.to_path_buf() });
    }
    Ok((content, found))
}

const CERTIFICATE: &str = "certificate";
const KEY: &str = "key";
const LONGEST: u64 = 1024 * 1024;
