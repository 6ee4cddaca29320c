//! Files of authorities as an owner lists them, and an authority that tests of HTTPS on both sides share.

use super::*;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// A certificate authority like a company's own, for every test that needs one.
pub(crate) struct Authority {
    key: KeyPair,
    certificate: rcgen::Certificate,
}

/// A certificate with its private key, both as PEM.
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn named(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Self { key, certificate }
    }

    /// Its certificate as a client's only root.
    pub(crate) fn roots(&self) -> rustls::RootCertStore {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        roots
    }

    /// A file with its certificate, as an owner lists it.
    pub(crate) fn file(&self) -> AuthorityFile {
        read(self.certificate.pem().as_bytes()).unwrap()
    }

    /// A certificate for a server of these names, in force from 2020 to the end of `last_year`.
    pub(crate) fn vouches_for(&self, names: &[&str], last_year: i32) -> Issued {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(last_year, 12, 31);
        let certificate = params.signed_by(&key, &self.certificate, &self.key).unwrap();
        Issued { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

impl Issued {
    /// A server that shows it.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let certificate = CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

fn read(text: &[u8]) -> Result<AuthorityFile, AuthorityError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, text).unwrap();
    AuthorityFile::try_from(path)
}

fn certificate() -> rcgen::Certificate {
    let key = KeyPair::generate().unwrap();
    CertificateParams::new(vec!["ca.example".to_owned()]).unwrap().self_signed(&key).unwrap()
}

#[test]
fn every_certificate_of_a_file_is_taken() {
    let two = certificate().pem() + "\n# the old one\n" + &certificate().pem();
    assert_eq!(read(two.as_bytes()).unwrap().certificates.len(), 2);
}

#[test]
fn what_is_no_certificate_is_refused_with_the_reason() {
    let key = KeyPair::generate().unwrap().serialize_pem();
    let not_a_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (content, words) in [
        (b"".as_slice(), "holds no certificate"),
        (key.as_bytes(), "holds no certificate"),
        (certificate().der(), "holds no certificate"),
        (not_a_certificate.as_bytes(), "cannot be used"),
        (&vec![b'x'; usize::try_from(LONGEST).unwrap() + 1], "is longer than"),
    ] {
        let error = read(content).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("ca.pem"), "{error}");
    }
    let gone = AuthorityFile::try_from(PathBuf::from("/nonexistent/ca.pem")).unwrap_err();
    assert!(gone.to_string().starts_with("the file /nonexistent/ca.pem cannot be read"), "{gone}");
}
