//! This node as a provider: its domain, its key and what DNS says of it (FED-2, FED-6). Made by `node`, shown by `http`.

use super::StartError;
use super::config::{BadSetting, Config};
use crate::private;
use amesh_proto::key::{AgentKey, PublicKey};
use amesh_proto::provider::{Announcement, stays_local};
use std::path::Path;

/// See the module. Its key is another than the node's and its agents': it signs deliveries, and nothing else.
#[derive(Debug, Clone)]
pub struct OwnProvider {
    domain: String,
    endpoint: String,
    contact: Option<String>,
    key: AgentKey,
    public: PublicKey,
}

impl OwnProvider {
    /// Reads `<data-dir>/provider.key`, or makes it, where the settings make this node a provider. `provider` is that of the
    /// agents' addresses.
    ///
    /// # Errors
    /// When the settings make no provider, or the file cannot be used.
    pub fn load_or_create(
        config: &Config,
        provider: &str,
        data_dir: &Path,
    ) -> Result<Option<Self>, StartError> {
        let Some(domain) = config.domain.as_deref().filter(|_| config.on) else { return Ok(None) };
        let domain = domain.trim().trim_end_matches('.').to_ascii_lowercase();
        if domain != provider {
            let provider = provider.to_owned();
            return Err(BadSetting::Domain { domain, provider }.into());
        }
        if stays_local(&domain) {
            return Err(BadSetting::LocalDomain(domain).into());
        }
        let endpoint = match config.endpoint.as_deref() {
            Some(text) => text.trim().trim_end_matches('/').to_owned(),
            None => format!("https://{domain}/v1"),
        };
        let path = data_dir.join(KEY_FILE);
        let seed = private::seed(&path)?.ok_or(StartError::Key(path))?;
        let key = AgentKey::from_seed(&seed);
        let public = key.public();
        let contact = config.contact.clone();
        let mut own = Self { domain, endpoint, contact, key, public };
        // What others cannot read is not announced.
        let read = Announcement::from_txt(&own.text());
        own.endpoint = match read {
            Ok(read) if read.endpoint.eq_ignore_ascii_case(&own.endpoint) => read.endpoint,
            _ => return Err(BadSetting::Endpoint(own.endpoint).into()),
        };
        Ok(Some(own))
    }

    /// Its domain.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The base of its API, as others reach it.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Whom people may write to.
    #[must_use]
    pub fn contact(&self) -> Option<&str> {
        self.contact.as_deref()
    }

    /// The private half: it signs deliveries.
    #[must_use]
    pub fn key(&self) -> &AgentKey {
        &self.key
    }

    /// The public half, which others are told.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// The record that announces this provider, in the notation of zone files: no string of it is over 255 bytes.
    #[must_use]
    pub fn dns_record(&self) -> String {
        let text = self.text();
        let mut strings = Vec::new();
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let at = (0..=rest.len().min(DNS_STRING)).rev().find(|at| rest.is_char_boundary(*at));
            let (string, after) = rest.split_at(at.unwrap_or(rest.len()));
            strings.push(format!("\"{}\"", string.replace('"', "\\\"")));
            rest = after;
        }
        format!("_amp._tcp.{}. 300 IN TXT {}", self.domain, strings.join(" "))
    }

    fn text(&self) -> String {
        format!("v=AMP1; endpoint={}; pubkey={}", self.endpoint, self.public.fingerprint())
    }
}

const KEY_FILE: &str = "provider.key";
const DNS_STRING: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn config(domain: &str, endpoint: Option<&str>) -> Config {
        let endpoint = endpoint.map(str::to_owned);
        Config { on: true, domain: Some(domain.to_owned()), endpoint, ..Config::default() }
    }

    fn made(config: &Config, dir: &Path) -> Result<Option<OwnProvider>, String> {
        OwnProvider::load_or_create(config, "corp.io", dir).map_err(|error| error.to_string())
    }

    #[test]
    fn a_provider_keeps_its_key_hides_it_and_announces_what_others_can_read() {
        let dir = tempfile::tempdir().unwrap();
        let first = made(&config("Corp.IO.", None), dir.path()).unwrap().unwrap();
        let again = made(&config("corp.io", Some("https://API.corp.io/v1/")), dir.path()).unwrap().unwrap();
        assert_eq!(first.public_key(), again.public_key());
        assert_eq!((first.endpoint(), again.endpoint()), ("https://corp.io/v1", "https://api.corp.io/v1"));
        let file = dir.path().join(KEY_FILE);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let secret = std::fs::read_to_string(&file).unwrap();
        assert!(!format!("{first:?}").contains(secret.trim()));
        let record = again.dns_record();
        let text = record.strip_prefix("_amp._tcp.corp.io. 300 IN TXT \"").unwrap().trim_end_matches('"');
        let read = Announcement::from_txt(text).unwrap();
        assert_eq!(read.endpoint, again.endpoint());
        assert!(again.public_key().matches_fingerprint(&read.fingerprint.unwrap()));
    }

    #[test]
    fn a_long_record_stands_in_strings_that_dns_can_hold() {
        let dir = tempfile::tempdir().unwrap();
        let endpoint = format!("https://corp.io/{}/v1", "a".repeat(400));
        let own = made(&config("corp.io", Some(&endpoint)), dir.path()).unwrap().unwrap();
        let record = own.dns_record();
        let strings: Vec<&str> = record.split('"').skip(1).step_by(2).collect();
        assert!(strings.len() > 1 && strings.iter().all(|string| string.len() <= 255));
        assert_eq!(Announcement::from_txt(&strings.concat()).unwrap().endpoint, endpoint);
    }

    #[test]
    fn no_key_is_made_for_a_domain_that_is_not_the_nodes_or_when_federation_is_off() {
        let dir = tempfile::tempdir().unwrap();
        let off = Config { on: false, ..config("corp.io", None) };
        assert!(made(&off, dir.path()).unwrap().is_none());
        assert!(made(&Config { domain: None, ..config("corp.io", None) }, dir.path()).unwrap().is_none());
        let other = made(&config("evil.io", None), dir.path()).unwrap_err();
        assert!(other.contains("\"evil.io\"") && other.contains("set `provider`"), "{other}");
        let local = OwnProvider::load_or_create(&config("corp.local", None), "corp.local", dir.path());
        assert!(local.unwrap_err().to_string().contains("local network"));
        assert!(!dir.path().join(KEY_FILE).exists());
    }

    #[test]
    fn an_endpoint_that_nobody_could_read_and_a_damaged_key_stop_the_start() {
        let dir = tempfile::tempdir().unwrap();
        for odd in ["http://corp.io/v1", "https://corp.io/v1;x", "corp.io", "https://corp.io/?a=b"] {
            let error = made(&config("corp.io", Some(odd)), dir.path()).unwrap_err();
            assert!(error.contains(&format!("endpoint = {odd:?}")), "{error}");
        }
        private::write_private(&dir.path().join(KEY_FILE), b"not a key").unwrap();
        let error = made(&config("corp.io", None), dir.path()).unwrap_err();
        assert!(error.contains("provider.key does not hold a provider key"), "{error}");
        assert_eq!(std::fs::read(dir.path().join(KEY_FILE)).unwrap(), b"not a key");
    }
}
