//! Takes over a legacy `identity.json` (IDN-9): its keys, its registration and what it says of the agent, in today's
//! files and with today's paths. Called by the command line before an identity is read.

use super::disk::{self, DiskError};
use super::home::AgentHome;
use super::identity::{Identity, IdentityError};
use super::identity_md;
use super::registration::{Registration, RegistrationError};
use amesh_proto::key::AgentKey;
use amesh_proto::time::UnixMillis;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Why a legacy identity stays where it is.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// Its members or its key.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Its registration.
    #[error(transparent)]
    Registration(#[from] RegistrationError),
    /// Its files.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Where such an identity was kept.
const LEGACY: &str = "identity.json";

/// Brings the files of `home` up to date; true if there was something to do. Every step may be repeated, and the last
/// one, which puts `identity.json` aside, says that all is done.
///
/// # Errors
/// When the identity cannot be understood or a file cannot be written.
pub fn migrate(home: &AgentHome, now: UnixMillis) -> Result<bool, MigrateError> {
    let path = home.dir().join(LEGACY);
    if !path.exists() || home.config().exists() {
        return Ok(false);
    }
    let Some(key_path) = legacy_key(home.dir()) else { return Ok(false) };
    let pem = disk::read_text(&key_path)?.unwrap_or_default();
    let key = AgentKey::from_pkcs8_pem(&pem).map_err(|error| IdentityError::BadKey(key_path, error))?;
    let mut identity = Identity::load(home)?;
    identity.fingerprint = key.public().fingerprint();
    for registration in Registration::all(home)? {
        registration.save(home)?;
    }
    identity_md::write(&identity, &Registration::all(home)?, now)?;
    identity.save_with(&key)?;
    let aside = path.with_extension("json.migrated");
    std::fs::rename(&path, &aside).map_err(|error| DiskError::new("rename", &path, error))?;
    disk::sync(home.dir())?;
    Ok(true)
}

/// The private key of an identity of either kind in `dir`: in its place of today, else where `identity.json` says.
#[must_use]
pub fn legacy_key(dir: &Path) -> Option<PathBuf> {
    let text = disk::read_text(&dir.join(LEGACY)).ok().flatten()?;
    let file: Value = serde_json::from_str(&text).ok()?;
    let named = ["/keys/private_key_path", "/private_key_path", "/privateKeyPath"].iter();
    let named = named.filter_map(|place| file.pointer(place)?.as_str()).map(|path| expanded(dir, path));
    let usual = [dir.join("keys/private.pem"), dir.join("private.pem")];
    usual.into_iter().chain(named).find(|path| path.is_file())
}

/// `~/` is the user's home; a relative path is one in the agent's directory.
fn expanded(dir: &Path, path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => dir.join(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_706_648_400_000);

    #[test]
    fn keys_registration_and_names_come_along_and_paths_are_put_right() {
        let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let home = AgentHome::at(dir.path());
        let key = AgentKey::from_seed(&[3; 32]);
        let old_key = elsewhere.path().join("old.pem");
        std::fs::write(&old_key, key.to_pkcs8_pem().as_bytes()).unwrap();
        let legacy = serde_json::json!({"name": "old", "tenant": "acme", "address": "old@acme.p.example",
            "api_url": "https://p.example/v1", "api_key": "k", "provider": "p.example", "private_key_path": old_key});
        std::fs::write(dir.path().join(LEGACY), legacy.to_string()).unwrap();
        assert!(home.is_initialized());

        assert!(migrate(&home, NOW).unwrap());
        let identity = Identity::load(&home).unwrap();
        assert_eq!((identity.name.as_str(), identity.address.as_str()), ("old", "old@acme.p.example"));
        assert_eq!(identity.key().unwrap().public(), key.public());
        assert_eq!(identity.fingerprint, key.public().fingerprint());
        assert_eq!(Registration::with(&home, "p.example").unwrap().unwrap().api_key, "k");
        let config = std::fs::read_to_string(home.config()).unwrap();
        assert!(config.contains("keys/private.pem") && !config.contains("old.pem"), "{config}");
        assert!(home.identity_md().exists() && !dir.path().join(LEGACY).exists());
        assert!(dir.path().join("identity.json.migrated").exists(), "nothing is thrown away");
        assert!(!migrate(&home, NOW).unwrap(), "once");
    }

    #[test]
    fn an_identity_without_its_key_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let home = AgentHome::at(dir.path());
        std::fs::write(dir.path().join(LEGACY), r#"{"name":"old","tenant":"acme"}"#).unwrap();
        assert!(!home.is_initialized() && !migrate(&home, NOW).unwrap());
        assert!(dir.path().join(LEGACY).exists());
    }
}
