//! The key each sender was first seen with. A sender whose key changes is not believed until the owner says so
//! (SIG-8; AMP 07 §Trust Levels). Called when mail is judged.

use super::disk::{self, DiskError, PUBLIC};
use super::home::AgentHome;
use amesh_proto::key::PublicKey;
use amesh_proto::time::UnixMillis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The pinned keys of one agent.
#[derive(Debug, Clone)]
pub struct KnownKeys {
    home: AgentHome,
    pins: BTreeMap<String, Pin>,
    changed: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Pin {
    public_key: String,
    fingerprint: String,
    first_seen: String,
}

/// More senders than this are not remembered; the oldest go first.
const MOST: usize = 20_000;

impl KnownKeys {
    /// Reads the file. One that cannot be understood is an error: to begin anew would be to believe anybody.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn load(home: &AgentHome) -> Result<Self, DiskError> {
        let path = home.known_keys();
        let pins = match disk::read_text(&path)? {
            None => BTreeMap::new(),
            Some(text) => serde_json::from_str(&text)
                .map_err(|error| DiskError::new("understand", &path, std::io::Error::other(error)))?,
        };
        Ok(Self { home: home.clone(), pins, changed: false })
    }

    /// The key that `address` was first seen with.
    #[must_use]
    pub fn of(&self, address: &str) -> Option<PublicKey> {
        PublicKey::parse_any(&self.pins.get(&address.to_lowercase())?.public_key).ok()
    }

    /// Remembers a key that verified a message; an earlier one stays.
    pub fn remember(&mut self, address: &str, key: &PublicKey, now: UnixMillis) {
        if !self.pins.contains_key(&address.to_lowercase()) {
            self.replace(address, key, now);
        }
    }

    /// Takes `key` in the place of whatever was known.
    pub fn replace(&mut self, address: &str, key: &PublicKey, now: UnixMillis) {
        let pin = Pin {
            public_key: key.sender_key_text(),
            fingerprint: key.fingerprint(),
            first_seen: now.to_rfc3339(),
        };
        self.pins.insert(address.to_lowercase(), pin);
        self.changed = true;
        while self.pins.len() > MOST {
            let oldest = self.pins.iter().min_by(|a, b| a.1.first_seen.cmp(&b.1.first_seen));
            let Some(address) = oldest.map(|(address, _)| address.clone()) else { break };
            self.pins.remove(&address);
        }
    }

    /// Writes the file if anything was added.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&mut self) -> Result<(), DiskError> {
        if !self.changed {
            return Ok(());
        }
        let text = serde_json::to_string_pretty(&self.pins).unwrap_or_default();
        disk::write_whole(&self.home.known_keys(), text.as_bytes(), PUBLIC)?;
        self.changed = false;
        Ok(())
    }
}
