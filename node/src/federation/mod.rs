//! Other providers of the protocol (AMP 06): who they are, by which key, and where. Built by `node`, closed until the owner
//! opens it (DESIGN §6), asked by `http`; whom the owner trusts; who this node is to them; and what is sent to them.

mod budget;
mod check;
mod config;
mod https;
mod incoming;
mod names;
mod outgoing;
mod own;
mod pages;
mod trust;
mod trusted;

pub use budget::Source;
pub use check::{Check, Checked};
pub use config::{BadSetting, Config, DeliveryLimits};
pub use incoming::{Caller, Deliveries, DeliveryParts, Facts, Head, NotTaken, turned_away};
pub use outgoing::{Outgoing, OutgoingParts};
pub use own::OwnProvider;
pub use trust::{NotTrusted, Remembered, Tier, TrustError, TrustMode, Verdict};
pub use trusted::{Trusted, Untrusted};

use crate::clock::SharedClock;
use crate::private::FileError;
use crate::reach::{Names, OwnPorts, Reach, SystemNames};
use amesh_discovery::providers::{Dns, DnsError, Looked, NotLookedUp, Outcome, Providers, Settings, Step};
use amesh_proto::key::PublicKey;
use amesh_store::{Store, StoreError};
use budget::{Budget, Spent};
use config::Sending;
use names::DnsNames;
use pages::HttpsPages;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use tokio::sync::Semaphore;
use trust::Trust;

/// What federation stands on.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Where it is remembered whom the owner trusts.
    pub store: Store,
    /// Time.
    pub clock: SharedClock,
    /// The ports of this node, which no provider leads to.
    pub own_ports: OwnPorts,
    /// How names of hosts become addresses; nothing: as the settings say.
    pub names: Option<Arc<dyn Names>>,
    /// This node as a provider, if it is one.
    pub own: Option<OwnProvider>,
}

/// Why federation does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting cannot be used.
    #[error(transparent)]
    Setting(#[from] BadSetting),
    /// The provider key cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file of the provider key holds something else.
    #[error(
        "{0} does not hold a provider key (64 hex digits); restore it from a copy, or move it aside and announce a new key"
    )]
    Key(PathBuf),
    /// What is remembered cannot be read.
    #[error("the store cannot be read: {0}")]
    Store(#[from] StoreError),
    /// The name servers cannot be used.
    #[error("[federation] resolvers: {0}")]
    Dns(#[from] DnsError),
    /// No requests can be made.
    #[error("no HTTP client could be made: {0}")]
    Client(#[from] reqwest::Error),
}

/// Why a provider is not looked up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The owner has not opened it.
    #[error(
        "federation is off; the owner opens it with `on = true` under [federation] in the configuration file"
    )]
    Off,
    /// It is nobody outside.
    #[error(transparent)]
    NotLookedUp(#[from] NotLookedUp),
    /// The source has had its look-ups.
    #[error("too many providers were looked up in the last minute; try again in {retry_after} s")]
    TooOften {
        /// In seconds.
        retry_after: u64,
    },
}

/// What is known of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The provider, if there is one, and what each step came to.
    pub looked: Looked,
    /// Whether the owner pinned its key.
    pub is_pinned: bool,
    /// How long ago it was found out.
    pub age: Duration,
    /// For how long nobody is asked again.
    pub fresh_for: Duration,
}

impl Resolved {
    /// Why nothing may be exchanged with this provider; nothing where all is well.
    #[must_use]
    pub fn refused(&self) -> Option<&'static str> {
        match &self.looked.provider {
            None => Some("no step found a provider that can be used"),
            Some(provider) if provider.key.is_some() => None,
            Some(provider) if provider.step == Step::DnsTxt => Some(
                "only DNS announces its key, which anybody on the way can change; its document over HTTPS or a pinned key must agree",
            ),
            Some(_) => {
                Some("nothing shows its public key, neither its document nor GET /info at its endpoint")
            }
        }
    }
}

impl Resolved {
    /// What went wrong, step by step, in one line.
    #[must_use]
    pub fn complaints(&self) -> String {
        let complaint = |(step, outcome): &(Step, Outcome)| match outcome {
            Outcome::Refused(why) | Outcome::Failed(why) => Some(format!("{step}: {why}")),
            _ => None,
        };
        self.looked.steps.iter().filter_map(complaint).collect::<Vec<_>>().join("; ")
    }
}

/// How names of hosts become addresses, as the settings say.
///
/// # Errors
/// When the name servers cannot be used.
pub fn names(config: &Config) -> Result<Arc<dyn Names>, StartError> {
    match config.resolvers.is_empty() {
        true => Ok(Arc::new(SystemNames::default())),
        false => Ok(Arc::new(DnsNames(Dns::new(&config.resolvers)?))),
    }
}

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Federation {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    on: bool,
    providers: Providers,
    pins: HashMap<String, PublicKey>,
    budget: Budget,
    /// Look-ups of strangers at a time: half of all that there may be.
    strangers: Semaphore,
    trust: Trust,
    clock: SharedClock,
    own: Option<OwnProvider>,
    /// To look at what providers show, besides discovery.
    pages: HttpsPages,
    reach: Reach,
    sending: Sending,
    /// Where this node sends to other providers. It holds this.
    outgoing: OnceLock<Weak<outgoing::Shared>>,
}

impl Federation {
    /// Reads the settings. Nobody is asked for anything before [`Self::resolve`].
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(config: &Config, parts: Parts) -> Result<Self, StartError> {
        let Parts { store, clock, own_ports, names, own } = parts;
        let (pins, registry) = (config.pinned()?, config.registry()?);
        let names = match names {
            Some(given) => given,
            None => self::names(config)?,
        };
        let reach = Reach::new(config.allow_addresses.clone(), names, own_ports);
        let pages = HttpsPages::new(config.authorities.clone(), reach.clone())?;
        let texts = Dns::new(&config.resolvers)?;
        let settings = Settings { registry, off: config.off() };
        let providers = Providers::new(settings, Box::new(texts), Box::new(pages.clone()));
        let budget = Budget::new(config.look_ups_per_minute);
        let (on, trust) = (config.on, Trust::load(config, store)?);
        let (sending, outgoing, strangers) = (config.sending(), OnceLock::new(), Semaphore::new(STRANGERS));
        let inner = Inner {
            on,
            providers,
            pins,
            budget,
            strangers,
            trust,
            clock,
            own,
            pages,
            reach,
            sending,
            outgoing,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Whether the owner has opened it.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.inner.on
    }

    /// This node as a provider, if it is one.
    #[must_use]
    pub fn own(&self) -> Option<&OwnProvider> {
        self.inner.own.as_ref()
    }

    /// Whether the owner lets mail be exchanged with `domain`, in either direction (FED-14). Nobody is asked.
    ///
    /// # Errors
    /// [`NotTrusted`].
    pub fn may_talk(&self, domain: &str) -> Result<Tier, NotTrusted> {
        if self.inner.on { self.inner.trust.may_talk(domain) } else { Err(NotTrusted::Closed) }
    }

    /// Whom the owner lets in.
    #[must_use]
    pub fn mode(&self) -> TrustMode {
        self.inner.trust.mode()
    }

    /// Every provider that is remembered or in the settings, with what holds of it.
    #[must_use]
    pub fn all_known(&self) -> Vec<(String, Option<Verdict>, Remembered)> {
        self.inner.trust.all()
    }

    /// The owner allows or blocks a provider.
    ///
    /// # Errors
    /// [`TrustError`].
    pub async fn say(&self, domain: &str, verdict: Verdict) -> Result<(), TrustError> {
        self.inner.providers.known(domain.trim(), Duration::ZERO)?;
        self.inner.trust.say(domain, verdict).await
    }

    /// The owner takes back what was said of a provider, and its key is forgotten: the next that is proven counts as its
    /// first. False where nothing was remembered.
    ///
    /// # Errors
    /// [`TrustError`].
    pub async fn forget(&self, domain: &str) -> Result<bool, TrustError> {
        self.inner.providers.forget(domain.trim().trim_end_matches('.'));
        self.inner.trust.forget(domain).await
    }

    /// The provider of `domain`, on the account of `source`. With `anew` what is known does not count.
    ///
    /// # Errors
    /// [`ResolveError`]. What went wrong while asking is told in [`Resolved`].
    pub async fn resolve(&self, domain: &str, source: Source, anew: bool) -> Result<Resolved, ResolveError> {
        let Inner { on, providers, pins, budget, strangers, clock, .. } = &*self.inner;
        if !on {
            return Err(ResolveError::Off);
        }
        let pin = pins.get(&domain.trim_end_matches('.').to_ascii_lowercase());
        let now = clock.monotonic();
        let known = providers.known(domain, now)?.filter(|_| !anew);
        let looked = match known {
            Some(known) => known,
            None => {
                let mut _place = None;
                // Whoever was found before is looked up again only as often as that holds.
                if !providers.was_found(domain) {
                    budget
                        .take(source, now)
                        .map_err(|Spent(retry_after)| ResolveError::TooOften { retry_after })?;
                    if matches!(source, Source::Stranger(_)) {
                        // Strangers can name providers that keep everybody waiting.
                        let place = strangers.try_acquire();
                        _place = Some(place.map_err(|_| ResolveError::TooOften { retry_after: BUSY_S })?);
                    }
                }
                if anew {
                    providers.forget(domain.trim_end_matches('.'));
                }
                providers.look_up(domain, pin, now).await?
            }
        };
        let now = clock.monotonic();
        let (age, fresh_for) = (now.saturating_sub(looked.found_at), looked.fresh_until.saturating_sub(now));
        Ok(Resolved { looked, is_pinned: pin.is_some(), age, fresh_for })
    }
}

/// Where every delivery, in and out, is written down (FED-17).
const AUDIT: &str = "amesh::federation::audit";
const STRANGERS: usize = 4;
const BUSY_S: u64 = 5;
