//! Who an agent is: `config.json` and the key pair (AMP 02 §Core Identity). Read in either of the two schemas that
//! exist, written as one that satisfies both (A-33). Called by every command that acts as an agent.

use super::disk::{self, DiskError, PRIVATE, PUBLIC};
use super::home::AgentHome;
use amesh_proto::key::{AgentKey, KeyError};
use amesh_proto::time::UnixMillis;
use serde_json::{Map, Value, json};
use std::path::PathBuf;

/// An agent's identity, as its files say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Where the files are.
    pub home: AgentHome,
    /// The agent's name.
    pub name: String,
    /// Its organization.
    pub tenant: String,
    /// Its primary address.
    pub address: String,
    /// Of its public key.
    pub fingerprint: String,
    /// The local provider's domain.
    pub provider: String,
    /// The local provider's URL; may be out of date.
    pub maestro_url: String,
    /// RFC 3339.
    pub created_at: String,
}

/// What `init` decides.
#[derive(Debug, Clone)]
pub struct NewIdentity {
    /// The agent's name, lowercase.
    pub name: String,
    /// Its organization.
    pub tenant: String,
    /// The local provider's domain.
    pub provider: String,
    /// The local provider's URL.
    pub maestro_url: String,
}

/// What is wrong with an agent's files.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// No identity was made here.
    #[error("there is no agent identity in {0}")]
    Missing(PathBuf),
    /// The configuration says nothing.
    #[error("{0} cannot be understood")]
    Unreadable(PathBuf, #[source] serde_json::Error),
    /// The configuration lacks what every one has.
    #[error("{path} has no {member}")]
    Incomplete {
        /// The file.
        path: PathBuf,
        /// What is missing.
        member: &'static str,
    },
    /// The private key is none.
    #[error("{0} holds no Ed25519 private key")]
    BadKey(PathBuf, #[source] KeyError),
    /// A file could not be read or written.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Identity {
    /// Reads the identity of `home`; where there is only a legacy `identity.json`, that (IDN-9).
    ///
    /// # Errors
    /// When there is none, or it cannot be used.
    pub fn load(home: &AgentHome) -> Result<Self, IdentityError> {
        if let Some(identity) = Self::read(home, home.config())? {
            return Ok(identity);
        }
        match Self::read(home, home.dir().join("identity.json"))? {
            Some(identity) => Ok(identity),
            None => Err(IdentityError::Missing(home.dir().to_owned())),
        }
    }

    /// Makes keys and configuration. `seed` is 32 random bytes.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn create(
        home: &AgentHome,
        new: NewIdentity,
        seed: [u8; 32],
        now: UnixMillis,
    ) -> Result<Self, IdentityError> {
        let key = AgentKey::from_seed(&seed);
        let identity = Self {
            home: home.clone(),
            address: format!("{}@{}.{}", new.name, new.tenant, new.provider),
            name: new.name,
            tenant: new.tenant,
            fingerprint: key.public().fingerprint(),
            provider: new.provider,
            maestro_url: new.maestro_url,
            created_at: now.to_rfc3339(),
        };
        identity.save_with(&key)?;
        Ok(identity)
    }

    /// Writes the key pair, then the configuration: without the latter there is no identity yet.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save_with(&self, key: &AgentKey) -> Result<(), IdentityError> {
        self.home.make()?;
        disk::write_whole(&self.home.private_key(), key.to_pkcs8_pem().as_bytes(), PRIVATE)?;
        disk::write_whole(&self.home.public_key(), key.public().to_pem().as_bytes(), PUBLIC)?;
        self.save()
    }

    /// The private key.
    ///
    /// # Errors
    /// When the file is missing or holds another kind of key.
    pub fn key(&self) -> Result<AgentKey, IdentityError> {
        let path = self.home.private_key();
        match disk::read_text(&path)? {
            Some(pem) => AgentKey::from_pkcs8_pem(&pem).map_err(|error| IdentityError::BadKey(path, error)),
            None => Err(IdentityError::Missing(path)),
        }
    }

    /// Writes `config.json`, keeping members that are not ours.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self) -> Result<(), IdentityError> {
        let path = self.home.config();
        let old =
            disk::read_text(&path)?.and_then(|text| serde_json::from_str::<Map<String, Value>>(&text).ok());
        let mut config = old.unwrap_or_default();
        let ours = json!({
            "version": "1.1",
            "agent": {
                "name": self.name,
                "tenant": self.tenant,
                "address": self.address,
                "fingerprint": self.fingerprint,
                "createdAt": self.created_at,
            },
            "provider": { "domain": self.provider, "maestro_url": self.maestro_url },
            "keys": {
                "algorithm": "Ed25519",
                "private_key_path": self.home.private_key(),
                "public_key_path": self.home.public_key(),
            },
            "created_at": self.created_at,
        });
        merge(&mut config, ours);
        let text = format!("{:#}\n", Value::Object(config));
        Ok(disk::write_whole(&path, text.as_bytes(), PUBLIC)?)
    }

    fn read(home: &AgentHome, path: PathBuf) -> Result<Option<Self>, IdentityError> {
        let Some(text) = disk::read_text(&path)? else { return Ok(None) };
        let config: Value = match serde_json::from_str(&text) {
            Ok(config) => config,
            Err(error) => return Err(IdentityError::Unreadable(path, error)),
        };
        let Some(name) = word(&config, &["/agent/name", "/name", "/agent_name"]) else {
            return Err(IdentityError::Incomplete { path, member: "agent.name" });
        };
        let tenant = word(&config, &["/agent/tenant", "/tenant"]).unwrap_or_else(|| "default".to_owned());
        let provider = word(&config, &["/provider/domain"])
            .or_else(|| provider_of(&word(&config, &["/agent/address", "/address"])?, &tenant))
            .unwrap_or_else(|| "aimaestro.local".to_owned());
        Ok(Some(Self {
            home: home.clone(),
            address: word(&config, &["/agent/address", "/address"])
                .unwrap_or_else(|| format!("{name}@{tenant}.{provider}")),
            fingerprint: word(&config, &["/agent/fingerprint", "/fingerprint"]).unwrap_or_default(),
            maestro_url: word(&config, &["/provider/maestro_url"]).unwrap_or_default(),
            created_at: word(&config, &["/agent/createdAt", "/created_at", "/createdAt"]).unwrap_or_default(),
            name,
            tenant,
            provider,
        }))
    }
}

/// The name in a directory's configuration, where it has one.
pub(super) fn name_in(home: &AgentHome) -> Option<String> {
    Identity::read(home, home.config()).ok().flatten().map(|identity| identity.name)
}

fn word(config: &Value, places: &[&str]) -> Option<String> {
    let texts = places.iter().filter_map(|place| config.pointer(place)?.as_str());
    texts.map(str::to_owned).find(|text| !text.is_empty())
}

fn provider_of(address: &str, tenant: &str) -> Option<String> {
    let (_, domain) = address.split_once('@')?;
    domain.strip_prefix(tenant)?.strip_prefix('.').map(str::to_owned)
}

/// Puts `ours` over `config`, object by object, so that members only others know stay.
fn merge(config: &mut Map<String, Value>, ours: Value) {
    let Value::Object(ours) = ours else { return };
    for (name, value) in ours {
        match (config.get_mut(&name), value) {
            (Some(Value::Object(inner)), value @ Value::Object(_)) => merge(inner, value),
            (_, value) => {
                config.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    const NOW: UnixMillis = UnixMillis(1_706_648_400_000);

    fn new_identity(dir: &std::path::Path) -> Identity {
        let new = NewIdentity {
            name: "alice".to_owned(),
            tenant: "acme".to_owned(),
            provider: "aimaestro.local".to_owned(),
            maestro_url: "http://127.0.0.1:23000".to_owned(),
        };
        Identity::create(&AgentHome::at(dir), new, [7; 32], NOW).unwrap()
    }

    #[test]
    fn an_identity_reads_back_as_it_was_made() {
        let dir = tempfile::tempdir().unwrap();
        let made = new_identity(dir.path());
        assert_eq!(made.address, "alice@acme.aimaestro.local");
        assert_eq!(Identity::load(&made.home).unwrap(), made);
        assert_eq!(made.key().unwrap().public().fingerprint(), made.fingerprint);
        let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(made.home.private_key()), 0o600);
        assert_eq!(mode(made.home.public_key()), 0o644);
        assert_eq!(mode(made.home.keys()), 0o700);
    }

    #[test]
    fn the_configuration_satisfies_both_schemas() {
        let dir = tempfile::tempdir().unwrap();
        let made = new_identity(dir.path());
        let config: Value =
            serde_json::from_str(&std::fs::read_to_string(made.home.config()).unwrap()).unwrap();
        for place in [
            "/version",
            "/agent/name",
            "/agent/tenant",
            "/agent/address",
            "/agent/fingerprint",
            "/agent/createdAt",
            "/provider/domain",
            "/provider/maestro_url",
            "/keys/algorithm",
            "/keys/private_key_path",
            "/keys/public_key_path",
            "/created_at",
        ] {
            assert!(config.pointer(place).is_some_and(Value::is_string), "{place}");
        }
    }

    #[test]
    fn the_shell_clients_configuration_is_read_and_its_own_members_stay() {
        let dir = tempfile::tempdir().unwrap();
        let home = AgentHome::at(dir.path());
        let text = r#"{"version":"1.1","agent":{"name":"api","tenant":"acme","address":"api@acme.aimaestro.local",
            "fingerprint":"SHA256:x","createdAt":"2025-01-30T10:00:00Z","id":"uuid-1"},
            "provider":{"domain":"aimaestro.local","maestro_url":"http://localhost:23000"}}"#;
        std::fs::write(home.config(), text).unwrap();
        let identity = Identity::load(&home).unwrap();
        assert_eq!((identity.name.as_str(), identity.created_at.as_str()), ("api", "2025-01-30T10:00:00Z"));
        identity.save().unwrap();
        let saved: Value = serde_json::from_str(&std::fs::read_to_string(home.config()).unwrap()).unwrap();
        assert_eq!(saved["agent"]["id"], "uuid-1");
        assert_eq!(saved["keys"]["algorithm"], "Ed25519");
    }

    #[test]
    fn the_specifications_configuration_is_read_without_a_provider_member() {
        let dir = tempfile::tempdir().unwrap();
        let home = AgentHome::at(dir.path());
        let text = r#"{"version":"1.0","agent":{"name":"api","tenant":"acme","address":"api@acme.mail.example",
            "fingerprint":"SHA256:x"},"keys":{"algorithm":"Ed25519"},"created_at":"2025-01-30T10:00:00Z"}"#;
        std::fs::write(home.config(), text).unwrap();
        assert_eq!(Identity::load(&home).unwrap().provider, "mail.example");
    }

    #[test]
    fn a_legacy_identity_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let home = AgentHome::at(dir.path());
        std::fs::write(dir.path().join("identity.json"), r#"{"name":"old","tenant":"acme"}"#).unwrap();
        assert_eq!(Identity::load(&home).unwrap().address, "old@acme.aimaestro.local");
    }

    #[test]
    fn what_is_wrong_with_the_files_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let home = AgentHome::at(dir.path());
        assert!(matches!(Identity::load(&home), Err(IdentityError::Missing(_))));
        std::fs::write(home.config(), "{}").unwrap();
        assert!(matches!(Identity::load(&home), Err(IdentityError::Incomplete { .. })));
        std::fs::write(home.config(), "{").unwrap();
        assert!(matches!(Identity::load(&home), Err(IdentityError::Unreadable(..))));
    }
}
