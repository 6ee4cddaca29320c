//! Where another provider is and which key it has (AMP 06 §Provider Discovery, FED-1…6): DNS, its own well-known document,
//! the registry, and what was found before, in that order. Called by the node's federation, which brings the network.
//!
//! A TXT record travels unprotected: a key that only it announces is no key until the well-known document, which comes over
//! HTTPS, or a pin of the owner's agrees (DESIGN §6). The same goes for the place where it says the provider is: the document
//! must name the same, or it must be of the domain itself, whose certificate then proves it. While one step cannot prove a key,
//! the next is asked.

mod cache;
mod dns;
mod register;
mod steps;
#[cfg(test)]
mod tests;

pub use dns::{Dns, DnsError};

use amesh_proto::key::PublicKey;
use amesh_proto::provider::stays_local;
use cache::Cache;
use futures_util::future::BoxFuture;
use register::Register;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// One way of finding a provider, in the order in which they are tried (FED-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// `_amp._tcp.DOMAIN`, TXT.
    DnsTxt,
    /// `https://DOMAIN/.well-known/agent-messaging.json`.
    WellKnown,
    /// The central registry.
    Registry,
    /// What was found before and would be looked up again.
    StaleCache,
}

impl Step {
    /// As settings and `amesh federation resolve` call it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DnsTxt => "dns_txt",
            Self::WellKnown => "well_known",
            Self::Registry => "registry",
            Self::StaleCache => "stale_cache",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A provider that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// Its domain, in lower case.
    pub domain: String,
    /// The base of its API: `https://…`, without a slash at the end.
    pub endpoint: String,
    /// Its key, where that is proven; without one nothing of this provider is believed.
    pub key: Option<PublicKey>,
    /// Of its key, as announced.
    pub fingerprint: Option<String>,
    /// Whether a document of its own shows a key; the reference provider's has none (IPR-15).
    pub shows_key: bool,
    /// What it says it can do.
    pub capabilities: Vec<String>,
    /// Whether the registry lists it as checked.
    pub registered: bool,
    /// Which step found it.
    pub step: Step,
}

/// What one step came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It named the provider.
    Found,
    /// It named the provider, and nothing proves the key.
    Unproven,
    /// It knows no such provider.
    Nothing,
    /// What it said is not used, for this reason.
    Refused(String),
    /// It could not be asked, for this reason.
    Failed(String),
    /// The owner switched it off.
    Off,
}

/// What a look-up came to, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// The provider, if it was found.
    pub provider: Option<Provider>,
    /// What each step that was tried came to.
    pub steps: Vec<(Step, Outcome)>,
    /// When that was found out; where a provider was found before and stands in, when it was found. Elapsed time.
    pub found_at: Duration,
    /// Until when nobody is asked again. Elapsed time.
    pub fresh_until: Duration,
}

/// Why a domain is not looked up at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotLookedUp {
    /// ADR-12.
    #[error(
        "names under .local, .internal and .localhost are of the local network; nobody outside is asked for them"
    )]
    Local,
    /// No domain of at least two labels.
    #[error("it is no domain name of at least two labels")]
    NoDomain,
}

/// The text records of DNS.
pub trait Texts: Send + Sync + fmt::Debug {
    /// The TXT records of `name`, and how long they hold.
    fn texts<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(Vec<String>, Duration), AskError>>;
}

/// Documents over HTTPS, from public addresses only, without redirects, of bounded size and in bounded time.
pub trait Pages: Send + Sync + fmt::Debug {
    /// What `url` holds.
    fn page<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Vec<u8>, AskError>>;
    /// Whether `url` leads to where it may lead; nobody there is asked.
    fn judge<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<(), AskError>>;
}

/// Why there was no answer that could be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// There is nothing of that name: an answer, too.
    #[error("there is none")]
    Nothing,
    /// It answered with something that must not be followed or believed.
    #[error("{0}")]
    Refused(String),
    /// It did not answer, or not in time.
    #[error("{0}")]
    Failed(String),
}

/// What is asked, and who.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The base of the registry; `DOMAIN` follows it (FED-4).
    pub registry: String,
    /// Steps that are left out.
    pub off: Vec<Step>,
}

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Providers {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: Settings,
    texts: Box<dyn Texts>,
    pages: Box<dyn Pages>,
    cache: Mutex<Cache>,
    register: Mutex<Register>,
    /// By domain: whoever asks for the same waits for the first answer.
    under_way: Mutex<HashMap<String, Arc<Semaphore>>>,
    places: Semaphore,
    /// Of domains that were found before: names that lead nowhere keep none of them waiting.
    known_places: Semaphore,
}

impl Providers {
    /// Nothing is looked up before it is asked for.
    #[must_use]
    pub fn new(settings: Settings, texts: Box<dyn Texts>, pages: Box<dyn Pages>) -> Self {
        let inner = Inner {
            settings,
            texts,
            pages,
            cache: Mutex::default(),
            register: Mutex::default(),
            under_way: Mutex::default(),
            places: Semaphore::new(AT_A_TIME),
            known_places: Semaphore::new(AT_A_TIME),
        };
        Self { inner: Arc::new(inner) }
    }

    /// What is known of `domain` at `now` without asking anybody.
    ///
    /// # Errors
    /// [`NotLookedUp`].
    pub fn known(&self, domain: &str, now: Duration) -> Result<Option<Looked>, NotLookedUp> {
        let domain = checked(domain)?;
        Ok(self.cache().fresh(&domain, now))
    }

    /// The provider of `domain`, by what is known at `now` (elapsed time) or by asking. `pinned` is the key that the owner
    /// holds for it, if any.
    ///
    /// # Errors
    /// [`NotLookedUp`]; what goes wrong while asking is told in the [`Looked`].
    pub async fn look_up(
        &self,
        domain: &str,
        pinned: Option<&PublicKey>,
        now: Duration,
    ) -> Result<Looked, NotLookedUp> {
        let domain = checked(domain)?;
        if let Some(known) = self.cache().fresh(&domain, now) {
            return Ok(known);
        }
        let turn = self.turn(&domain);
        // No semaphore is ever closed.
        let _turn = turn.acquire().await;
        if let Some(known) = self.cache().fresh(&domain, now) {
            return Ok(known);
        }
        let places = if self.was_found(&domain) { &self.inner.known_places } else { &self.inner.places };
        let _place = places.acquire().await;
        let asked = steps::ask(&self.inner, &domain, pinned).await;
        let may_stand_in = !self.inner.settings.off.contains(&Step::StaleCache);
        let looked = self.cache().keep(&domain, asked, now, may_stand_in);
        self.under_way().remove(&domain);
        Ok(looked)
    }

    /// Whether the registry has checked `domain` with this key, whatever else is known of it (FED-14); nothing where it does not
    /// answer. `now` is elapsed time.
    pub async fn is_registered(&self, domain: &str, key: &PublicKey, now: Duration) -> Option<bool> {
        let domain = domain.trim_end_matches('.').to_ascii_lowercase();
        let known = self.register().said(&domain, now);
        let said = match known {
            Some(said) => said,
            None => {
                // Never closed.
                let _place = self.inner.places.acquire().await;
                let said = register::ask(&self.inner, &domain).await;
                self.register().keep(&domain, said.clone(), now);
                said
            }
        };
        said.map(|print| print.is_some_and(|print| key.matches_fingerprint(&print)))
    }

    /// Whether `domain` was found with its key before.
    #[must_use]
    pub fn was_found(&self, domain: &str) -> bool {
        self.cache().was_found(&domain.trim_end_matches('.').to_ascii_lowercase())
    }

    /// Forgets what is known of `domain`: the next look-up asks.
    pub fn forget(&self, domain: &str) {
        self.cache().forget(&domain.to_ascii_lowercase());
        self.register().forget(&domain.to_ascii_lowercase());
    }

    fn turn(&self, domain: &str) -> Arc<Semaphore> {
        let mut under_way = self.under_way();
        // Whoever stopped waiting has left its entry behind.
        if under_way.len() >= REMEMBERED {
            under_way.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        under_way.entry(domain.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(1))).clone()
    }

    fn register(&self) -> MutexGuard<'_, Register> {
        self.inner.register.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.inner.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<String, Arc<Semaphore>>> {
        self.inner.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `domain` in lower case, where the world may be asked for it.
fn checked(domain: &str) -> Result<String, NotLookedUp> {
    let domain = domain.trim_end_matches('.').to_ascii_lowercase();
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let labels: Vec<&str> = domain.split('.').collect();
    if labels.len() < 2 || domain.len() > 253 || !labels.iter().all(|label| is_label(label)) {
        return Err(NotLookedUp::NoDomain);
    }
    if domain.parse::<IpAddr>().is_ok()
        || labels.last().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()))
    {
        return Err(NotLookedUp::NoDomain);
    }
    if stays_local(&domain) {
        return Err(NotLookedUp::Local);
    }
    Ok(domain)
}

/// Look-ups that go on side by side, of domains that were found before and of others each.
const AT_A_TIME: usize = 8;
/// Domains that are looked up or waited for.
const REMEMBERED: usize = 1024;
