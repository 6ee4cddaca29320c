//! The agents of other providers that have written here, each with the key of its first message (FED-11, IPR-29). Pins of the
//! store, and the directory's picture of them; bounded. Owned by [`super::Deliveries`].

use super::NotTaken;
use crate::agents::directory::{Directory, Foreigner};
use amesh_proto::address::Address;
use amesh_proto::key::PublicKey;
use amesh_proto::time::UnixMillis;
use amesh_store::{Store, StoreError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(super) struct Senders {
    store: Store,
    directory: Directory,
    /// How many are remembered of each provider.
    counts: Mutex<HashMap<Arc<str>, usize>>,
    /// One first message, or change of what is remembered, at a time.
    pub(super) first: tokio::sync::Mutex<()>,
}

impl Senders {
    /// Shows the directory what the store remembers.
    pub(super) fn load(store: Store, directory: Directory) -> Result<Self, StoreError> {
        let mut counts = HashMap::<Arc<str>, usize>::new();
        for (name, value) in store.pins(PREFIX)? {
            let pin = read(&value);
            let address = name.strip_prefix(PREFIX).zip(pin.as_ref()).and_then(|(text, known)| {
                let provider: &str = &known.provider;
                Address::parse(text, &[provider]).ok()
            });
            let Some((address, known)) = address.zip(pin) else {
                tracing::error!(pin = name, "what is remembered of a sender cannot be read");
                continue;
            };
            *counts.entry(known.provider.clone()).or_default() += 1;
            directory.put_foreigner(address, known);
        }
        let first = tokio::sync::Mutex::default();
        Ok(Self { store, directory, counts: Mutex::new(counts), first })
    }

    /// Whether a sender came from `provider` before: one domain may be below another, and an address be of either.
    pub(super) fn is_of(&self, sender: &Address, provider: &str) -> Result<(), NotTaken> {
        match self.directory.foreigner(sender) {
            Some(known) if known.key.is_some() && *known.provider != *provider => {
                Err(NotTaken::ForeignSender { sender: sender.to_string(), provider: provider.to_owned() })
            }
            _ => Ok(()),
        }
    }

    /// The key that a sender is known by, held against the one that came; nothing for who is not known.
    pub(super) fn known(
        &self,
        sender: &Address,
        claimed: Option<&PublicKey>,
        now: UnixMillis,
    ) -> Result<Option<PublicKey>, NotTaken> {
        let Some(known) = self.directory.foreigner(sender) else { return Ok(None) };
        let judging = claimed.or(known.key.as_ref());
        let is_revoked = |(key, since): &(PublicKey, UnixMillis)| {
            Some(key) == judging && now.saturating_since(*since) < KEPT_FOR
        };
        if known.revoked.iter().any(is_revoked) {
            return Err(NotTaken::KeyRevoked);
        }
        match (known.key, claimed) {
            (Some(key), Some(other)) if key != *other => Err(NotTaken::KeyConflict {
                address: sender.to_string(),
                known: key.fingerprint(),
                presented: other.fingerprint(),
            }),
            (key, _) => Ok(key),
        }
    }

    /// Whether one more sender of `provider` can be remembered. Whoever makes up senders fills its own share only.
    pub(super) fn has_room(&self, provider: &str, listed: bool) -> Result<(), NotTaken> {
        let counts = self.counts();
        let own = counts.get(provider).copied().unwrap_or_default();
        let all: usize = counts.values().sum();
        let has = if listed { own < LISTED } else { own < UNLISTED && all < ALL };
        if has { Ok(()) } else { Err(NotTaken::Full) }
    }

    /// Keeps the key that verified the first message of `sender`. Called with [`Self::first`] held.
    pub(super) async fn pin(
        &self,
        sender: &Address,
        provider: &str,
        key: PublicKey,
    ) -> Result<(), StoreError> {
        let known = self.directory.foreigner(sender);
        if known.as_ref().is_some_and(|known| known.key.is_some()) {
            return Ok(());
        }
        let is_new = known.is_none();
        let known = Foreigner { provider: provider.into(), key: Some(key), ..known.unwrap_or_default() };
        let provider = known.provider.clone();
        self.write(sender, known).await?;
        if is_new {
            *self.counts().entry(provider).or_default() += 1;
        }
        Ok(())
    }

    /// Takes the key of `sender` back: its first message was not taken after all. Called with [`Self::first`] held since.
    pub(super) async fn unpin(&self, sender: &Address) -> Result<(), StoreError> {
        let Some(known) = self.directory.foreigner(sender) else { return Ok(()) };
        let known = Foreigner { key: None, ..known };
        if !known.former.is_empty() || !known.revoked.is_empty() {
            return self.write(sender, known).await;
        }
        self.store.set_pin(&format!("{PREFIX}{sender}"), None).await?;
        self.directory.forget_foreigner(sender);
        if let Some(count) = self.counts().get_mut(&known.provider) {
            *count = count.saturating_sub(1);
        }
        Ok(())
    }

    /// Forgets the key of `sender`: its next message is its first. The key goes on judging the mail that came before, unless
    /// it is in other hands; then nothing of it is believed for 90 days. False where none was known.
    pub(super) async fn forget(
        &self,
        sender: &Address,
        compromised: bool,
        now: UnixMillis,
    ) -> Result<bool, StoreError> {
        let _one_at_a_time = self.first.lock().await;
        let Some(mut known) = self.directory.foreigner(sender) else { return Ok(false) };
        let Some(key) = known.key.take() else { return Ok(false) };
        let keys = if compromised { &mut known.revoked } else { &mut known.former };
        keys.retain(|(_, since)| now.saturating_since(*since) < KEPT_FOR);
        keys.push((key, now));
        let too_many = keys.len().saturating_sub(KEPT);
        keys.drain(..too_many);
        self.write(sender, known).await?;
        Ok(true)
    }

    async fn write(&self, sender: &Address, known: Foreigner) -> Result<(), StoreError> {
        let value = serde_json::to_string(&Pin::of(&known))
            .map_err(|error| StoreError::Failed { reason: error.to_string() })?;
        self.store.set_pin(&format!("{PREFIX}{sender}"), Some(value)).await?;
        self.directory.put_foreigner(sender.clone(), known);
        Ok(())
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Arc<str>, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Senders {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Senders").finish_non_exhaustive()
    }
}

/// A sender as its pin holds it; keys in base64 of their DER.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Pin {
    provider: String,
    key: Option<String>,
    former: Vec<(String, UnixMillis)>,
    revoked: Vec<(String, UnixMillis)>,
}

impl Pin {
    fn of(known: &Foreigner) -> Self {
        let text = |key: &PublicKey| BASE64.encode(key.to_spki_der());
        let texts =
            |keys: &[(PublicKey, UnixMillis)]| keys.iter().map(|(key, at)| (text(key), *at)).collect();
        Self {
            provider: known.provider.to_string(),
            key: known.key.as_ref().map(text),
            former: texts(&known.former),
            revoked: texts(&known.revoked),
        }
    }
}

fn read(value: &str) -> Option<Foreigner> {
    let pin: Pin = serde_json::from_str(value).ok()?;
    let key = |text: &str| PublicKey::from_spki_der(&BASE64.decode(text).ok()?).ok();
    let keys = |list: &[(String, UnixMillis)]| -> Option<Vec<(PublicKey, UnixMillis)>> {
        list.iter().map(|(text, at)| Some((key(text)?, *at))).collect()
    };
    let current = match pin.key.as_deref() {
        None => None,
        Some(text) => Some(key(text)?),
    };
    let (former, revoked) = (keys(&pin.former)?, keys(&pin.revoked)?);
    Some(Foreigner { provider: pin.provider.as_str().into(), key: current, former, revoked })
}

const PREFIX: &str = "federation/sender/";
/// Senders that are remembered: of a provider that the owner allows, of another one, and of all others.
const LISTED: usize = 20_000;
const UNLISTED: usize = 1_000;
const ALL: usize = 20_000;
/// Forgotten keys that are kept of a sender, and how long: as long as rosters keep theirs (DESIGN §3).
const KEPT: usize = 4;
const KEPT_FOR: Duration = Duration::from_secs(90 * 86_400);
