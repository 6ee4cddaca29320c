//! With whom mail is exchanged, in both directions (AMP 06 §Trust Model; FED-14): the owner's mode, the lists of the settings,
//! what the owner said at run time, and the key that each provider came with first. The last two are kept in the store's
//! pins. Owned by [`super::Federation`].

use super::config::Config;
use amesh_discovery::providers::NotLookedUp;
use amesh_proto::key::PublicKey;
use amesh_proto::time::UnixMillis;
use amesh_store::{Store, StoreError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use tokio::sync::Mutex;

/// Whom mail may be exchanged with, besides those that the owner allows by name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrustMode {
    /// Every provider that shows its key.
    Open,
    /// Those that the registry has checked, too.
    Registry,
    /// Nobody else.
    Allowlist,
    /// Nobody at all, whatever is allowed.
    #[default]
    Closed,
}

impl TrustMode {
    /// As settings call it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Registry => "registry",
            Self::Allowlist => "allowlist",
            Self::Closed => "closed",
        }
    }
}

/// What the owner says of one provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Mail is exchanged with it, unless the mode is `closed`.
    Allowed,
    /// Nothing is exchanged with it, whatever the mode.
    Blocked,
}

impl Verdict {
    /// As the owner is told.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Blocked => "blocked",
        }
    }
}

/// Why a provider may be talked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// The owner allows it by name.
    Listed,
    /// The mode lets everybody in.
    Unlisted,
    /// The mode lets it in if the registry has checked it, which is still to be asked.
    IfRegistered,
}

/// Why nothing is exchanged with a provider.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTrusted {
    /// The owner lets nobody in.
    #[error("this provider exchanges mail with nobody")]
    Closed,
    /// The owner has blocked it.
    #[error("{0} is blocked here")]
    Blocked(String),
    /// Only those on the owner's list are let in.
    #[error("{0} is not among the providers that are let in here")]
    NotListed(String),
    /// The registry has not checked it.
    #[error("{0} is not in the registry, or not with the key that it shows")]
    NotRegistered(String),
}

/// Why what the owner said is not done.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The configuration file says otherwise.
    #[error(
        "{0} is blocked in the configuration file; take it out of `blocked_providers` under [federation]"
    )]
    BlockedInFile(String),
    /// It is no provider's domain.
    #[error(transparent)]
    NoProvider(#[from] NotLookedUp),
    /// There is no room for one more.
    #[error("this node remembers no more providers; forget some (`amesh federation forget DOMAIN`)")]
    Full,
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A provider as this node remembers it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remembered {
    /// What the owner said of it at run time.
    pub said: Option<Verdict>,
    /// The key that it came with first, and when; another is refused.
    pub key: Option<(PublicKey, UnixMillis)>,
}

pub(super) struct Trust {
    mode: TrustMode,
    allowed: HashSet<String>,
    blocked: HashSet<String>,
    known: RwLock<BTreeMap<String, Remembered>>,
    store: Store,
    /// One change at a time.
    changing: Mutex<()>,
}

impl Trust {
    /// Reads what is remembered.
    pub(super) fn load(config: &Config, store: Store) -> Result<Self, StoreError> {
        let mut known = BTreeMap::new();
        for (name, value) in store.pins(PREFIX)? {
            match name.strip_prefix(PREFIX).zip(read(&value)) {
                Some((domain, remembered)) => drop(known.insert(domain.to_owned(), remembered)),
                None => tracing::error!(pin = name, "what is remembered of a provider cannot be read"),
            }
        }
        let set = |list: &[String]| list.iter().map(|domain| canonical(domain)).collect();
        Ok(Self {
            mode: config.mode,
            allowed: set(&config.allowed_providers),
            blocked: set(&config.blocked_providers),
            known: RwLock::new(known),
            store,
            changing: Mutex::default(),
        })
    }

    pub(super) fn mode(&self) -> TrustMode {
        self.mode
    }

    /// Whether mail may be exchanged with `domain`, and why.
    pub(super) fn may_talk(&self, domain: &str) -> Result<Tier, NotTrusted> {
        let domain = canonical(domain);
        match (self.verdict(&domain), self.mode) {
            (Some(Verdict::Blocked), _) => Err(NotTrusted::Blocked(domain)),
            (_, TrustMode::Closed) => Err(NotTrusted::Closed),
            (Some(Verdict::Allowed), _) => Ok(Tier::Listed),
            (None, TrustMode::Open) => Ok(Tier::Unlisted),
            (None, TrustMode::Registry) => Ok(Tier::IfRegistered),
            (None, TrustMode::Allowlist) => Err(NotTrusted::NotListed(domain)),
        }
    }

    /// What holds of a provider by name. A block in the file is not lifted at run time.
    fn verdict(&self, domain: &str) -> Option<Verdict> {
        let said = self.known().get(domain).and_then(|known| known.said);
        match said {
            _ if self.blocked.contains(domain) => Some(Verdict::Blocked),
            None if self.allowed.contains(domain) => Some(Verdict::Allowed),
            said => said,
        }
    }

    /// The key that a provider came with first.
    pub(super) fn first_key(&self, domain: &str) -> Option<PublicKey> {
        Some(self.known().get(&canonical(domain))?.key.clone()?.0)
    }

    /// Every provider that is remembered or in the settings, with what holds of it.
    pub(super) fn all(&self) -> Vec<(String, Option<Verdict>, Remembered)> {
        let known = self.known().clone();
        let named = self.allowed.iter().chain(&self.blocked).chain(known.keys());
        let named: std::collections::BTreeSet<String> = named.cloned().collect();
        let of = |domain: String| {
            let remembered = known.get(&domain).cloned().unwrap_or_default();
            (self.verdict(&domain), remembered, domain)
        };
        named.into_iter().map(of).map(|(verdict, remembered, domain)| (domain, verdict, remembered)).collect()
    }

    /// The owner says something of a provider.
    pub(super) async fn say(&self, domain: &str, verdict: Verdict) -> Result<(), TrustError> {
        let domain = canonical(domain);
        if verdict == Verdict::Allowed && self.blocked.contains(&domain) {
            return Err(TrustError::BlockedInFile(domain));
        }
        let _one_at_a_time = self.changing.lock().await;
        let known = self.room_for(&domain).ok_or(TrustError::Full)?;
        self.write(domain, Some(Remembered { said: Some(verdict), ..known })).await
    }

    /// Takes `key` as the provider's from now on, if it is the first. False where another is known or there is no room.
    pub(super) async fn meet(
        &self,
        domain: &str,
        key: &PublicKey,
        now: UnixMillis,
    ) -> Result<bool, TrustError> {
        let domain = canonical(domain);
        if let Some(first) = self.first_key(&domain) {
            return Ok(first == *key);
        }
        let _one_at_a_time = self.changing.lock().await;
        if let Some(first) = self.first_key(&domain) {
            return Ok(first == *key);
        }
        let Some(known) = self.room_for(&domain) else { return Ok(false) };
        self.write(domain, Some(Remembered { key: Some((key.clone(), now)), ..known })).await?;
        Ok(true)
    }

    /// Forgets what the owner said of a provider and the key that it came with. False where nothing was remembered.
    pub(super) async fn forget(&self, domain: &str) -> Result<bool, TrustError> {
        let domain = canonical(domain);
        let _one_at_a_time = self.changing.lock().await;
        if !self.known().contains_key(&domain) {
            return Ok(false);
        }
        self.write(domain, None).await?;
        Ok(true)
    }

    fn room_for(&self, domain: &str) -> Option<Remembered> {
        let known = self.known();
        match known.get(domain) {
            Some(remembered) => Some(remembered.clone()),
            None => (known.len() < PROVIDERS).then(Remembered::default),
        }
    }

    async fn write(&self, domain: String, remembered: Option<Remembered>) -> Result<(), TrustError> {
        let value = remembered.as_ref().map(text).transpose()?;
        self.store.set_pin(&format!("{PREFIX}{domain}"), value).await?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        match remembered {
            Some(remembered) => drop(known.insert(domain, remembered)),
            None => drop(known.remove(&domain)),
        }
        Ok(())
    }

    fn known(&self) -> RwLockReadGuard<'_, BTreeMap<String, Remembered>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Trust").field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// A domain as it is compared.
pub(super) fn canonical(domain: &str) -> String {
    domain.trim().trim_end_matches('.').to_ascii_lowercase()
}

/// A provider as its pin holds it; the key in base64 of its DER.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Pin {
    said: Option<Verdict>,
    key: Option<(String, UnixMillis)>,
}

fn text(remembered: &Remembered) -> Result<String, StoreError> {
    let key = remembered.key.as_ref().map(|(key, since)| (BASE64.encode(key.to_spki_der()), *since));
    let pin = Pin { said: remembered.said, key };
    serde_json::to_string(&pin).map_err(|error| StoreError::Failed { reason: error.to_string() })
}

fn read(value: &str) -> Option<Remembered> {
    let pin: Pin = serde_json::from_str(value).ok()?;
    let key = match pin.key {
        None => None,
        Some((text, since)) => Some((PublicKey::from_spki_der(&BASE64.decode(text).ok()?).ok()?, since)),
    };
    Some(Remembered { said: pin.said, key })
}

const PREFIX: &str = "federation/provider/";
/// Far more than anybody exchanges mail with.
const PROVIDERS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use amesh_proto::key::AgentKey;

    fn trust(mode: TrustMode, store: &Store) -> Trust {
        let config = Config {
            mode,
            allowed_providers: vec!["Friend.test.".to_owned()],
            blocked_providers: vec!["foe.test".to_owned()],
            ..Config::default()
        };
        Trust::load(&config, store.clone()).unwrap()
    }

    fn store() -> Store {
        Store::in_memory(amesh_store::Config::default()).unwrap().0
    }

    #[tokio::test]
    async fn each_mode_lets_in_whom_it_says_and_a_block_holds_in_all_of_them() {
        let store = store();
        let blocked = NotTrusted::Blocked("foe.test".to_owned());
        let unlisted = NotTrusted::NotListed("new.test".to_owned());
        for (mode, friend, newcomer) in [
            (TrustMode::Open, Ok(Tier::Listed), Ok(Tier::Unlisted)),
            (TrustMode::Registry, Ok(Tier::Listed), Ok(Tier::IfRegistered)),
            (TrustMode::Allowlist, Ok(Tier::Listed), Err(unlisted)),
            (TrustMode::Closed, Err(NotTrusted::Closed), Err(NotTrusted::Closed)),
        ] {
            let trust = trust(mode, &store);
            assert_eq!(trust.may_talk("FRIEND.test"), friend, "{mode:?}");
            assert_eq!(trust.may_talk("new.test"), newcomer, "{mode:?}");
            assert_eq!(trust.may_talk("foe.test."), Err(blocked.clone()), "{mode:?}");
        }
    }

    #[tokio::test]
    async fn what_the_owner_says_outlives_a_restart_and_lifts_no_block_of_the_file() {
        let store = store();
        let running = trust(TrustMode::Allowlist, &store);
        running.say("New.test", Verdict::Allowed).await.unwrap();
        running.say("friend.test", Verdict::Blocked).await.unwrap();
        let lifted = running.say("foe.test", Verdict::Allowed).await.unwrap_err();
        assert!(lifted.to_string().contains("blocked_providers"), "{lifted}");
        let restarted = trust(TrustMode::Allowlist, &store);
        assert_eq!(restarted.may_talk("new.test"), Ok(Tier::Listed));
        assert_eq!(restarted.may_talk("friend.test"), Err(NotTrusted::Blocked("friend.test".to_owned())));
        assert!(restarted.forget("friend.test").await.unwrap());
        assert!(!restarted.forget("friend.test").await.unwrap());
        assert_eq!(restarted.may_talk("friend.test"), Ok(Tier::Listed));
    }

    #[tokio::test]
    async fn a_provider_keeps_the_key_it_came_with_until_the_owner_forgets_it() {
        let (store, now) = (store(), UnixMillis(7));
        let [first, second] = [1, 2].map(|seed| AgentKey::from_seed(&[seed; 32]).public());
        let running = trust(TrustMode::Open, &store);
        running.say("new.test", Verdict::Allowed).await.unwrap();
        assert!(running.meet("new.test", &first, now).await.unwrap());
        assert!(!running.meet("NEW.test", &second, now).await.unwrap());
        let restarted = trust(TrustMode::Open, &store);
        assert_eq!(restarted.first_key("new.test"), Some(first));
        assert_eq!(restarted.may_talk("new.test"), Ok(Tier::Listed));
        assert!(restarted.forget("new.test").await.unwrap());
        assert!(restarted.meet("new.test", &second, now).await.unwrap());
    }
}
