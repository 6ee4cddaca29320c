//! An identity in one file: what `amesh identity export` writes and `import` reads. It holds the private key and the API
//! keys. Messages stay where they are. Called by the command line.

use super::disk::{self, DiskError, PRIVATE};
use super::home::AgentHome;
use super::identity::{Identity, IdentityError};
use super::registration::{Registration, RegistrationError};
use amesh_proto::key::{AgentKey, KeyError};
use amesh_proto::time::UnixMillis;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// All that makes an agent.
#[derive(Serialize, Deserialize)]
pub struct Bundle {
    format: String,
    exported_at: String,
    name: String,
    tenant: String,
    address: String,
    fingerprint: String,
    provider: String,
    #[serde(default)]
    maestro_url: String,
    #[serde(default)]
    created_at: String,
    /// PKCS#8 in PEM.
    private_key: String,
    #[serde(default)]
    registrations: Vec<Map<String, Value>>,
    /// The keys that senders were first seen with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    known_keys: Option<Value>,
}

/// Why an identity cannot be taken elsewhere.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Something else was given.
    #[error("this is no exported identity")]
    Format(#[source] serde_json::Error),
    /// Exported by a later amesh.
    #[error("this identity was exported in the form {0:?}, which is not known here")]
    Version(String),
    /// The key is none.
    #[error("this holds no Ed25519 private key")]
    Key(#[from] KeyError),
    /// The file contradicts itself.
    #[error("the exported key is not the one whose fingerprint is {0}")]
    OtherKey(String),
    /// The agent's own files.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A registration.
    #[error(transparent)]
    Registration(#[from] RegistrationError),
    /// A file.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

const FORMAT: &str = "amesh-identity/1";

impl Bundle {
    /// Gathers what `identity` has.
    ///
    /// # Errors
    /// When one of its files cannot be read.
    pub fn of(identity: &Identity, now: UnixMillis) -> Result<Self, BundleError> {
        let key = identity.key()?;
        let known_keys = disk::read_text(&identity.home.known_keys())?;
        Ok(Self {
            format: FORMAT.to_owned(),
            exported_at: now.to_rfc3339(),
            name: identity.name.clone(),
            tenant: identity.tenant.clone(),
            address: identity.address.clone(),
            fingerprint: key.public().fingerprint(),
            provider: identity.provider.clone(),
            maestro_url: identity.maestro_url.clone(),
            created_at: identity.created_at.clone(),
            private_key: key.to_pkcs8_pem().to_string(),
            registrations: Registration::all(&identity.home)?.iter().map(Registration::to_json).collect(),
            known_keys: known_keys.and_then(|text| serde_json::from_str(&text).ok()),
        })
    }

    /// Reads what was exported.
    ///
    /// # Errors
    /// When it is something else, or its key is not the one it names.
    pub fn parse(text: &str) -> Result<Self, BundleError> {
        let bundle: Self = serde_json::from_str(text).map_err(BundleError::Format)?;
        if bundle.format != FORMAT {
            return Err(BundleError::Version(bundle.format));
        }
        if !AgentKey::from_pkcs8_pem(&bundle.private_key)?.public().matches_fingerprint(&bundle.fingerprint) {
            return Err(BundleError::OtherKey(bundle.fingerprint));
        }
        Ok(bundle)
    }

    /// The exporting agent's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes the identity's files into `home`, with the paths of their new place.
    ///
    /// # Errors
    /// When one cannot be written.
    pub fn install(self, home: &AgentHome) -> Result<Identity, BundleError> {
        let key = AgentKey::from_pkcs8_pem(&self.private_key)?;
        for registration in &self.registrations {
            if let Some(registration) = Registration::from_json(registration) {
                registration.save(home)?;
            }
        }
        if let Some(known) = &self.known_keys {
            disk::make_dir(home.dir())?;
            disk::write_whole(&home.known_keys(), known.to_string().as_bytes(), PRIVATE)?;
        }
        let identity = Identity {
            home: home.clone(),
            name: self.name,
            tenant: self.tenant,
            address: self.address,
            fingerprint: key.public().fingerprint(),
            provider: self.provider,
            maestro_url: self.maestro_url,
            created_at: self.created_at,
        };
        identity.save_with(&key)?;
        Ok(identity)
    }
}

/// The secrets stay out of logs.
impl std::fmt::Debug for Bundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bundle").field("address", &self.address).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::identity::NewIdentity;

    const NOW: UnixMillis = UnixMillis(1_706_648_400_000);

    fn alice(dir: &std::path::Path) -> Identity {
        let new = NewIdentity {
            name: "alice".to_owned(),
            tenant: "acme".to_owned(),
            provider: "aimaestro.local".to_owned(),
            maestro_url: "http://127.0.0.1:23000".to_owned(),
        };
        let identity = Identity::create(&AgentHome::at(dir), new, [7; 32], NOW).unwrap();
        let registration = Registration {
            provider: "aimaestro.local".to_owned(),
            api_url: "http://127.0.0.1:23000/v1".to_owned(),
            address: identity.address.clone(),
            api_key: "amp_live_sk_x".to_owned(),
            ..Registration::default()
        };
        registration.save(&identity.home).unwrap();
        identity
    }

    #[test]
    fn an_identity_arrives_whole_and_knows_its_new_place() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let made = alice(here.path());
        let text = serde_json::to_string(&Bundle::of(&made, NOW).unwrap()).unwrap();
        let home = AgentHome::at(there.path());
        let moved = Bundle::parse(&text).unwrap().install(&home).unwrap();
        assert_eq!(Identity::load(&home).unwrap(), moved);
        assert_eq!(moved, Identity { home: home.clone(), ..made.clone() });
        assert_eq!(moved.key().unwrap().public(), made.key().unwrap().public());
        assert_eq!(Registration::all(&home).unwrap(), Registration::all(&made.home).unwrap());
        let config = std::fs::read_to_string(home.config()).unwrap();
        assert!(
            config.contains(&*there.path().to_string_lossy())
                && !config.contains(&*here.path().to_string_lossy())
        );
    }

    #[test]
    fn what_is_no_exported_identity_is_refused_before_anything_is_written() {
        let here = tempfile::tempdir().unwrap();
        let made = alice(here.path());
        let whole = serde_json::to_value(Bundle::of(&made, NOW).unwrap()).unwrap();
        let with = |member: &str, value: &str| {
            let mut other = whole.clone();
            other[member] = value.into();
            Bundle::parse(&other.to_string()).unwrap_err()
        };
        assert!(matches!(with("format", "amesh-identity/9"), BundleError::Version(_)));
        assert!(matches!(with("private_key", "none"), BundleError::Key(_)));
        assert!(matches!(with("fingerprint", "SHA256:x"), BundleError::OtherKey(_)));
        assert!(matches!(Bundle::parse("{}").unwrap_err(), BundleError::Format(_)));
        assert!(!format!("{:?}", Bundle::of(&made, NOW).unwrap()).contains("PRIVATE"));
    }
}
