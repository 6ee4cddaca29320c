//! Who vouches for the other end when this node speaks HTTPS: the system's certificate authorities, and those whose
//! certificates the owner lists. Read with the settings, so that a file that cannot be used stops the start and not the
//! first delivery. Used by `message` for webhooks, by `bridge` for HTTP mesh hosts, and by `client`.

use reqwest::{Certificate, Client, ClientBuilder};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// A PEM file with the certificates of authorities. Equal to another that was read from the same path.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "PathBuf", into = "PathBuf")]
pub struct AuthorityFile {
    path: PathBuf,
    certificates: Vec<Certificate>,
}

/// Why such a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// It is not there, or not readable for this user.
    #[error("the file {path} cannot be read: {cause}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        cause: io::Error,
    },
    /// It is something else.
    #[error("the file {0} is longer than {LONGEST} bytes: it is no list of certificates")]
    TooLong(PathBuf),
    /// It is a key, say, or in the binary form.
    #[error("the file {0} holds no certificate; a PEM file with `-----BEGIN CERTIFICATE-----` is wanted")]
    Empty(PathBuf),
    /// A certificate in it is not one.
    #[error("the file {path} holds a certificate that cannot be used: {why}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The library's words.
        why: String,
    },
}

impl TryFrom<PathBuf> for AuthorityFile {
    type Error = AuthorityError;

    fn try_from(path: PathBuf) -> Result<Self, AuthorityError> {
        let damaged = |path: &Path, error: &reqwest::Error| AuthorityError::Damaged {
            path: path.to_path_buf(),
            why: innermost(error),
        };
        let mut pem = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(LONGEST + 1).read_to_end(&mut pem));
        match read {
            Err(cause) => return Err(AuthorityError::Unreadable { path, cause }),
            Ok(length) if length as u64 > LONGEST => return Err(AuthorityError::TooLong(path)),
            Ok(_) => {}
        }
        let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| damaged(&path, &error))?;
        if certificates.is_empty() {
            return Err(AuthorityError::Empty(path));
        }
        // Only a client looks into them.
        let trial = Client::builder().tls_certs_only(certificates.iter().cloned()).build();
        trial.map_err(|error| damaged(&path, &error))?;
        Ok(Self { path, certificates })
    }
}

impl From<AuthorityFile> for PathBuf {
    fn from(file: AuthorityFile) -> Self {
        file.path
    }
}

impl PartialEq for AuthorityFile {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for AuthorityFile {}

/// A client, shaped by `shape`, that believes the system's authorities and those of `files`.
///
/// A machine may have none, as a small container does: plain HTTP works there all the same, and so does HTTPS to whom
/// `files` vouch for.
///
/// # Errors
/// When no client can be made.
pub fn client(
    files: &[AuthorityFile],
    shape: impl Fn(ClientBuilder) -> ClientBuilder,
) -> Result<Client, reqwest::Error> {
    let own = || files.iter().flat_map(|file| file.certificates.iter().cloned());
    shape(Client::builder().tls_certs_merge(own())).build().or_else(|error| {
        tracing::warn!(
            why = innermost(&error),
            "the system's certificate authorities are not used for HTTPS"
        );
        shape(Client::builder().tls_certs_only(own())).build()
    })
}

/// The last cause names the fault; those around it only say that there is one.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

const LONGEST: u64 = 4 * 1024 * 1024;

#[cfg(test)]
pub(crate) mod tests;
