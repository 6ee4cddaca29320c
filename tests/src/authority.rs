//! A certificate authority like a company's own, and a certificate's two files as the owner of a node keeps them.

use anyhow::Result;
use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, KeyPair, date_time_ymd};
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// See the module.
pub struct Authority {
    key: KeyPair,
    certificate: Certificate,
}

/// A folder with the files `cert.pem` and `key.pem`.
#[derive(Debug)]
pub struct CertificateFiles(tempfile::TempDir);

impl Authority {
    /// One with a new key.
    ///
    /// # Errors
    /// When none can be made.
    pub fn named(name: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key)?;
        Ok(Self { key, certificate })
    }

    /// Its certificate.
    #[must_use]
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// A certificate for a server of these names, in force from 2020 on, and its key.
    ///
    /// # Errors
    /// When none can be made.
    pub fn vouches_for(&self, names: &[&str]) -> Result<(String, String)> {
        self.vouches_until(names, 4000)
    }

    /// The same until the beginning of a year.
    ///
    /// # Errors
    /// When none can be made.
    pub fn vouches_until(&self, names: &[&str], year: i32) -> Result<(String, String)> {
        let key = KeyPair::generate()?;
        let params = in_force(names, year)?;
        Ok((params.signed_by(&key, &self.certificate, &self.key)?.pem(), key.serialize_pem()))
    }
}

/// A certificate that vouches for itself, and its key.
///
/// # Errors
/// When none can be made.
pub fn self_signed(names: &[&str]) -> Result<(String, String)> {
    let key = KeyPair::generate()?;
    Ok((in_force(names, 4000)?.self_signed(&key)?.pem(), key.serialize_pem()))
}

fn in_force(names: &[&str], year: i32) -> Result<CertificateParams> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(year, 1, 1));
    Ok(params)
}

impl fmt::Debug for Authority {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl CertificateFiles {
    /// Files with what [`Authority::vouches_for`] gave.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn with(issued: &(String, String)) -> Result<Self> {
        let files = Self(tempfile::tempdir()?);
        files.hold(issued)?;
        Ok(files)
    }

    /// Writes both anew, the certificate first.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn hold(&self, (certificate, key): &(String, String)) -> Result<()> {
        std::fs::write(self.path("cert.pem"), certificate)?;
        std::fs::write(self.path("key.pem"), key)?;
        Ok(std::fs::set_permissions(self.path("key.pem"), std::fs::Permissions::from_mode(0o600))?)
    }

    /// One of the files, or another in their folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A node's settings to show it and to look at the files every second.
    #[must_use]
    pub fn settings(&self) -> String {
        let quoted = |path: &Path| format!("{:?}", path.to_string_lossy());
        let (certificate, key) = (quoted(&self.path("cert.pem")), quoted(&self.path("key.pem")));
        format!("[tls]\ncertificate = {certificate}\nkey = {key}\nlook_every_s = 1\n")
    }
}
