//! `registrations/<provider>.json`: where an agent may send and fetch, and with which key (IDN-4). Written with the
//! member names of the specification and of the reference client, read with either (ICL-30, A-33).

use super::disk::{self, DiskError, PRIVATE};
use super::home::AgentHome;
use amesh_proto::api::register::RegisterResponse;
use serde_json::{Map, Value};
use std::path::PathBuf;

/// One registration.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Registration {
    /// The provider's domain; also the file's name.
    pub provider: String,
    /// The API's base, with or without its version.
    pub api_url: String,
    /// Where to send; empty when the provider did not say.
    pub route_url: String,
    /// The name there.
    pub agent_name: String,
    /// The organization there.
    pub tenant: String,
    /// The full address there.
    pub address: String,
    /// `name@tenant.provider`.
    pub short_address: String,
    /// The secret. Never printed.
    pub api_key: String,
    /// The agent's id there.
    pub agent_id: String,
    /// Of the registered key.
    pub fingerprint: String,
    /// RFC 3339.
    pub registered_at: String,
    /// The amesh node it was made with, whose address may change; empty for other providers.
    pub node_id: String,
}

/// Why a registration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// A provider's name that would lead elsewhere.
    #[error("{0:?} cannot be a provider's name")]
    BadName(String),
    /// A file that says nothing.
    #[error("{0} cannot be understood")]
    Unreadable(PathBuf),
    /// A file could not be read or written.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Member names: the specification's, the reference client's.
const NAMES: [(&str, &str); 12] = [
    ("provider", "provider"),
    ("api_url", "apiUrl"),
    ("route_url", "routeUrl"),
    ("agent_name", "agentName"),
    ("tenant", "tenant"),
    ("address", "address"),
    ("short_address", "shortAddress"),
    ("api_key", "apiKey"),
    ("agent_id", "providerAgentId"),
    ("fingerprint", "fingerprint"),
    ("registered_at", "registeredAt"),
    ("node_id", "nodeId"),
];

impl Registration {
    /// What a provider's answer amounts to.
    #[must_use]
    pub fn from_response(answer: RegisterResponse, agent_name: &str, node_id: &str) -> Self {
        Self {
            provider: answer.provider.name,
            api_url: answer.provider.endpoint,
            route_url: answer.provider.route_url,
            agent_name: agent_name.to_owned(),
            tenant: answer.tenant,
            address: answer.address,
            short_address: answer.short_address,
            api_key: answer.api_key,
            agent_id: answer.agent_id,
            fingerprint: answer.fingerprint,
            registered_at: answer.registered_at,
            node_id: node_id.to_owned(),
        }
    }

    /// Every registration of an agent, by provider.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn all(home: &AgentHome) -> Result<Vec<Self>, RegistrationError> {
        let entries = std::fs::read_dir(home.registrations()).into_iter().flatten();
        let mut all = Vec::new();
        for path in entries.flatten().map(|entry| entry.path()) {
            let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if path.extension().is_some_and(|kind| kind == "json") && !hidden {
                all.push(Self::read(path)?);
            }
        }
        if all.is_empty() {
            all.extend(Self::legacy(home)?);
        }
        all.sort_by(|a, b| a.provider.cmp(&b.provider));
        Ok(all)
    }

    /// The registration with `provider`, where there is one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn with(home: &AgentHome, provider: &str) -> Result<Option<Self>, RegistrationError> {
        let path = path_of(home, provider)?;
        if path.exists() { Self::read(path).map(Some) } else { Ok(None) }
    }

    /// Writes the file, for the owner alone, keeping members that are not ours.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, home: &AgentHome) -> Result<(), RegistrationError> {
        let path = path_of(home, &self.provider)?;
        disk::make_dir(&home.registrations())?;
        let old =
            disk::read_text(&path)?.and_then(|text| serde_json::from_str::<Map<String, Value>>(&text).ok());
        let mut file = old.unwrap_or_default();
        file.extend(self.to_json());
        let text = format!("{:#}\n", Value::Object(file));
        Ok(disk::write_whole(&path, text.as_bytes(), PRIVATE)?)
    }

    /// Its members, in both spellings.
    #[must_use]
    pub fn to_json(&self) -> Map<String, Value> {
        let mut own = self.clone();
        let members = NAMES.into_iter().zip(own.values());
        members
            .flat_map(|((snake, camel), value)| {
                [camel, snake].map(|name| (name.to_owned(), value.as_str().into()))
            })
            .collect()
    }

    /// In the order of [`NAMES`].
    fn values(&mut self) -> [&mut String; NAMES.len()] {
        [
            &mut self.provider,
            &mut self.api_url,
            &mut self.route_url,
            &mut self.agent_name,
            &mut self.tenant,
            &mut self.address,
            &mut self.short_address,
            &mut self.api_key,
            &mut self.agent_id,
            &mut self.fingerprint,
            &mut self.registered_at,
            &mut self.node_id,
        ]
    }

    /// Reads its members in either spelling; nothing where one is missing that every registration has.
    #[must_use]
    pub fn from_json(file: &Map<String, Value>) -> Option<Self> {
        Self::of_members(file, "")
    }

    /// Older clients kept the API key in `identity.json` (A-32).
    fn legacy(home: &AgentHome) -> Result<Option<Self>, DiskError> {
        let text = disk::read_text(&home.dir().join("identity.json"))?;
        Ok(text.and_then(|text| Self::parse(&text, "")).filter(|one| !one.provider.is_empty()))
    }

    fn read(path: PathBuf) -> Result<Self, RegistrationError> {
        let text = disk::read_text(&path)?.unwrap_or_default();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Self::parse(&text, &name).ok_or(RegistrationError::Unreadable(path))
    }

    fn parse(text: &str, provider_by_name: &str) -> Option<Self> {
        Self::of_members(&serde_json::from_str(text).ok()?, provider_by_name)
    }

    fn of_members(file: &Map<String, Value>, provider_by_name: &str) -> Option<Self> {
        let mut read = Self::default();
        for ((snake, camel), value) in NAMES.into_iter().zip(read.values()) {
            let mut texts = [camel, snake].into_iter().filter_map(|name| file.get(name)?.as_str());
            *value = texts.find(|text| !text.is_empty()).unwrap_or_default().to_owned();
        }
        if read.api_url.is_empty() || read.api_key.is_empty() || read.address.is_empty() {
            return None;
        }
        if read.provider.is_empty() {
            provider_by_name.clone_into(&mut read.provider);
        }
        Some(read)
    }
}

/// The secret stays out of logs.
impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registration")
            .field("provider", &self.provider)
            .field("address", &self.address)
            .finish()
    }
}

fn path_of(home: &AgentHome, provider: &str) -> Result<PathBuf, RegistrationError> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if provider.is_empty() || provider.starts_with('.') || !provider.chars().all(fine) {
        return Err(RegistrationError::BadName(provider.to_owned()));
    }
    Ok(home.registrations().join(format!("{}.json", provider.to_lowercase())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn home() -> (tempfile::TempDir, AgentHome) {
        let dir = tempfile::tempdir().unwrap();
        let home = AgentHome::at(dir.path());
        home.make().unwrap();
        (dir, home)
    }

    fn sample() -> Registration {
        Registration {
            provider: "aimaestro.local".to_owned(),
            api_url: "http://127.0.0.1:23000/v1".to_owned(),
            address: "alice@acme.aimaestro.local".to_owned(),
            api_key: "amp_live_sk_x".to_owned(),
            agent_id: "agt_1".to_owned(),
            registered_at: "2025-01-30T12:00:00Z".to_owned(),
            ..Registration::default()
        }
    }

    #[test]
    fn it_is_written_for_the_owner_alone_with_both_spellings() {
        let (_dir, home) = home();
        sample().save(&home).unwrap();
        let path = home.registrations().join("aimaestro.local.json");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        for (one, other) in
            [("apiKey", "api_key"), ("providerAgentId", "agent_id"), ("registeredAt", "registered_at")]
        {
            assert!(file[one].is_string() && file[one] == file[other], "{one}");
        }
        assert_eq!(Registration::with(&home, "aimaestro.local").unwrap(), Some(sample()));
    }

    #[test]
    fn either_spelling_alone_is_read() {
        let (_dir, home) = home();
        let write = |name: &str, text: &str| std::fs::write(home.registrations().join(name), text).unwrap();
        write(
            "crabmail.ai.json",
            r#"{"provider":"crabmail.ai","apiUrl":"https://api.crabmail.ai","agentName":"a","tenant":"t",
               "address":"a@t.crabmail.ai","shortAddress":"","apiKey":"k1","providerAgentId":"1"}"#,
        );
        write(
            "other.example.json",
            r#"{"provider":"other.example","api_url":"https://api.other.example/v1","address":"a@t.other.example",
               "agent_id":"2","api_key":"k2","tenant":"t"}"#,
        );
        let all = Registration::all(&home).unwrap();
        let keys: Vec<_> = all.iter().map(|one| (one.api_key.as_str(), one.agent_id.as_str())).collect();
        assert_eq!(keys, [("k1", "1"), ("k2", "2")]);
    }

    #[test]
    fn a_key_in_a_legacy_identity_is_found() {
        let (dir, home) = home();
        let text = r#"{"name":"a","provider":"p.example","api_url":"https://p.example/v1","address":"a@t.p.example",
            "api_key":"k"}"#;
        std::fs::write(dir.path().join("identity.json"), text).unwrap();
        assert_eq!(Registration::all(&home).unwrap()[0].api_key, "k");
        sample().save(&home).unwrap();
        assert_eq!(Registration::all(&home).unwrap().len(), 1, "registrations win");
    }

    #[test]
    fn a_providers_name_cannot_lead_elsewhere() {
        let (_dir, home) = home();
        for bad in ["../x", "a/b", "", ".hidden"] {
            assert!(matches!(Registration::with(&home, bad), Err(RegistrationError::BadName(_))), "{bad}");
        }
    }

    #[test]
    fn the_api_key_is_not_in_debug_output() {
        assert!(!format!("{:?}", sample()).contains("amp_live"));
    }
}
