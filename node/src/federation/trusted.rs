//! A provider that mail may be exchanged with: let in by the owner, found, and by the key it came with first. Asked for by
//! incoming and outgoing mail alike.

use super::budget::Source;
use super::trust::{NotTrusted, Tier, TrustError, canonical};
use super::{Federation, ResolveError, Resolved};
use amesh_discovery::providers::{Outcome, Step};
use amesh_proto::key::PublicKey;
use std::time::Duration;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trusted {
    /// Its domain, in lower case.
    pub domain: String,
    /// The base of its API.
    pub endpoint: String,
    /// Its proven key.
    pub key: PublicKey,
    /// Whether the owner allows it by name, as opposed to everybody.
    pub listed: bool,
    /// It looks like the reference provider, which reads keys of senders as hexadecimal digits only.
    pub hex_keys: bool,
}

/// Why nothing is exchanged with a provider now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// The owner does not want it.
    #[error(transparent)]
    NotTrusted(#[from] NotTrusted),
    /// It is not looked up.
    #[error(transparent)]
    NotLookedUp(#[from] ResolveError),
    /// What was found of it cannot be used.
    #[error("{domain} cannot be used: {why}")]
    Unusable {
        /// The provider.
        domain: String,
        /// For people.
        why: &'static str,
    },
    /// Somebody who may know it did not answer; it may be found later.
    #[error("whether {0} is a provider cannot be found out at the moment")]
    Silent(String),
    /// It shows another key than before (IPR-29).
    #[error(
        "{0} shows another key than the one it came with; if that is right, the owner of this node runs: amesh federation forget {0}"
    )]
    OtherKey(String),
}

impl Untrusted {
    /// How long nobody is to be asked.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NotLookedUp(ResolveError::TooOften { retry_after }) => {
                Some(Duration::from_secs(*retry_after))
            }
            _ => None,
        }
    }
}

impl Federation {
    /// The provider of `domain`, if mail may be exchanged with it; looked up on the account of `source`.
    ///
    /// # Errors
    /// [`Untrusted`].
    pub async fn trusted(&self, domain: &str, source: Source) -> Result<Trusted, Untrusted> {
        let tier = self.may_talk(domain)?;
        let resolved = self.resolve(domain, source, false).await?;
        let domain = canonical(domain);
        if let Some(why) = resolved.refused() {
            return Err(match all_answered(&resolved) {
                true => Untrusted::Unusable { domain, why },
                false => Untrusted::Silent(domain),
            });
        }
        let found = resolved.looked.provider.and_then(|found| Some((found.key.clone()?, found)));
        let Some((key, found)) = found else {
            return Err(Untrusted::Unusable { domain, why: "it shows no key" });
        };
        if self.is_other(&domain, &key) {
            return Err(Untrusted::OtherKey(domain));
        }
        if tier == Tier::IfRegistered && !(found.step == Step::Registry && found.registered) {
            match self.inner.providers.is_registered(&domain, &key, self.inner.clock.monotonic()).await {
                Some(true) => {}
                Some(false) => return Err(NotTrusted::NotRegistered(domain).into()),
                None => return Err(Untrusted::Silent(domain)),
            }
        }
        let hex_keys = !found.shows_key && found.capabilities.iter().any(|word| word == "local-delivery");
        Ok(Trusted { domain, endpoint: found.endpoint, key, listed: tier == Tier::Listed, hex_keys })
    }

    /// Why nothing may be exchanged with what was found under `domain`, whatever the owner wants; nothing where all is well.
    #[must_use]
    pub fn why_unusable(&self, domain: &str, resolved: &Resolved) -> Option<String> {
        let key = resolved.looked.provider.as_ref().and_then(|found| found.key.as_ref());
        let domain = canonical(domain);
        match key {
            Some(key) if self.is_other(&domain, key) => Some(Untrusted::OtherKey(domain).to_string()),
            _ => resolved.refused().map(str::to_owned),
        }
    }

    /// Whether the owner has pinned or named `domain`, or mail was exchanged with it before: whatever comes of a look-up, it is a
    /// provider.
    pub(super) fn is_known(&self, domain: &str) -> bool {
        let domain = canonical(domain);
        let is_listed = matches!(self.inner.trust.may_talk(&domain), Ok(Tier::Listed));
        is_listed || self.inner.pins.contains_key(&domain) || self.inner.trust.first_key(&domain).is_some()
    }

    /// Whether `domain` came with another key than this (IPR-29).
    fn is_other(&self, domain: &str, key: &PublicKey) -> bool {
        self.inner.trust.first_key(domain).is_some_and(|first| first != *key)
    }

    /// Mail was exchanged with `provider`: its key is its first, if none was known. False where another is, or there is no
    /// room for one more.
    ///
    /// # Errors
    /// [`TrustError`].
    pub async fn met(&self, provider: &Trusted) -> Result<bool, TrustError> {
        self.inner.trust.meet(&provider.domain, &provider.key, self.inner.clock.now()).await
    }
}

/// Whether nobody kept silent.
fn all_answered(resolved: &Resolved) -> bool {
    !resolved.looked.steps.iter().any(|(_, outcome)| matches!(outcome, Outcome::Failed(_)))
}
