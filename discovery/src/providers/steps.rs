//! The steps of a look-up, one after the other, and what is believed of what they say. Called by [`super::Providers`].

use super::{AskError, Inner, Outcome, Provider, Step};
use amesh_proto::key::PublicKey;
use amesh_proto::provider::{Announcement, Unusable};
use std::time::Duration;
use tokio::sync::OnceCell;

/// What was found out, and how long it holds.
pub(super) struct Asked {
    pub(super) provider: Option<Provider>,
    pub(super) steps: Vec<(Step, Outcome)>,
    pub(super) holds: Duration,
    /// Something did not answer: what is missing may be there after all.
    pub(super) unsure: bool,
}

/// One look-up.
struct Asking<'a> {
    inner: &'a Inner,
    domain: &'a str,
    pinned: Option<&'a PublicKey>,
    /// Fetched once, for its own step and to prove what DNS says.
    document: OnceCell<Result<Announcement, Outcome>>,
}

type Said = Result<(Announcement, Duration), Outcome>;

/// Asks everybody until somebody knows and proves it.
pub(super) async fn ask(inner: &Inner, domain: &str, pinned: Option<&PublicKey>) -> Asked {
    let asking = Asking { inner, domain, pinned, document: OnceCell::new() };
    let mut steps = Vec::new();
    let mut found: Option<(Provider, Duration)> = None;
    for step in [Step::DnsTxt, Step::WellKnown, Step::Registry] {
        match asking.step(step).await {
            Ok((provider, holds)) if provider.key.is_some() => {
                steps.push((step, Outcome::Found));
                found = Some((provider, holds));
                break;
            }
            Ok((provider, _)) => {
                steps.push((step, Outcome::Unproven));
                found.get_or_insert((provider, UNSURE));
            }
            Err(outcome) => steps.push((step, outcome)),
        }
    }
    let unsure = steps.iter().any(|(_, outcome)| matches!(outcome, Outcome::Failed(_)));
    let (provider, holds) = match found {
        Some((provider, holds)) => (Some(provider), holds),
        None => (None, if unsure { UNSURE } else { NOBODY }),
    };
    Asked { provider, steps, holds, unsure }
}

impl Asking<'_> {
    async fn step(&self, step: Step) -> Result<(Provider, Duration), Outcome> {
        if self.inner.settings.off.contains(&step) {
            return Err(Outcome::Off);
        }
        let (announced, holds) = self.say(step).await?;
        match self.inner.pages.judge(&announced.endpoint).await {
            // A name that nobody knows now may be known when something is sent there, and is judged again then.
            Ok(()) | Err(AskError::Failed(_) | AskError::Nothing) => {}
            Err(AskError::Refused(why)) => return Err(Outcome::Refused(format!("its endpoint: {why}"))),
        }
        let key = self.key_of(step, &announced).await.map_err(Outcome::Refused)?;
        Ok((self.provider(step, announced, key), holds))
    }

    async fn say(&self, step: Step) -> Said {
        match step {
            Step::DnsTxt => txt(self.inner, self.domain).await,
            Step::WellKnown => Ok((self.document().await.clone()?, WELL_KNOWN)),
            Step::Registry => {
                let registry = self.inner.settings.registry.trim_end_matches('/');
                let page =
                    self.inner.pages.page(&format!("{registry}/{}", self.domain)).await.map_err(outcome)?;
                let entry = Announcement::from_registry(&page, self.domain).map_err(unusable)?;
                Ok((entry, REGISTRY))
            }
            Step::StaleCache => Err(Outcome::Nothing),
        }
    }

    async fn document(&self) -> &Result<Announcement, Outcome> {
        self.document.get_or_init(|| well_known(self.inner, self.domain)).await
    }

    /// The key that goes with what was announced, if it is proven; says why the provider is not to be used at all where
    /// something contradicts it (FED-6).
    async fn key_of(&self, step: Step, announced: &Announcement) -> Result<Option<PublicKey>, String> {
        let prints = |key: &PublicKey| {
            announced.fingerprint.as_deref().is_none_or(|print| key.matches_fingerprint(print))
        };
        if let Some(pinned) = self.pinned
            && !(prints(pinned) && announced.key.as_ref().is_none_or(|key| key == pinned))
        {
            return Err("it announces another key than the pinned one".to_owned());
        }
        let shown = match (step, &announced.key) {
            (Step::DnsTxt, _) => self.proof_for_dns(announced).await?,
            (_, Some(key)) => Some(key.clone()),
            (_, None) if self.pinned.is_some() => self.pinned.cloned(),
            (_, None) => key_shown_at(self.inner, &announced.endpoint).await,
        };
        match shown {
            Some(key) if prints(&key) => Ok(Some(key)),
            Some(_) => Err("its key is not the one whose fingerprint is announced".to_owned()),
            None => Ok(None),
        }
    }

    /// DNS proves neither a key nor a place: its own document must say the same of both, or the owner pinned the key and the
    /// place is of the domain itself.
    async fn proof_for_dns(&self, announced: &Announcement) -> Result<Option<PublicKey>, String> {
        if self.pinned.is_some() && is_of(self.domain, &announced.endpoint) {
            return Ok(self.pinned.cloned());
        }
        if self.inner.settings.off.contains(&Step::WellKnown) {
            return Ok(None);
        }
        let Ok(document) = self.document().await else { return Ok(None) };
        if document.endpoint != announced.endpoint {
            return Err(format!("its own document names another endpoint, {}", document.endpoint));
        }
        Ok(document.key.clone().or_else(|| self.pinned.cloned()))
    }

    fn provider(&self, step: Step, announced: Announcement, key: Option<PublicKey>) -> Provider {
        let Announcement { endpoint, fingerprint, capabilities, verified, .. } = announced;
        let domain = self.domain.to_owned();
        let document = self.document.get().and_then(|document| document.as_ref().ok());
        let shows_key = document.is_some_and(|document| document.key.is_some());
        Provider { domain, endpoint, key, fingerprint, shows_key, capabilities, registered: verified, step }
    }
}

/// Whether the host of `endpoint` is `domain` or below it.
fn is_of(domain: &str, endpoint: &str) -> bool {
    let rest = endpoint.strip_prefix("https://").unwrap_or_default();
    let host = rest.split(['/', ':']).next().unwrap_or_default();
    host == domain || host.strip_suffix(domain).is_some_and(|below| below.ends_with('.'))
}

async fn txt(inner: &Inner, domain: &str) -> Said {
    let (texts, ttl) = inner.texts.texts(&format!("_amp._tcp.{domain}.")).await.map_err(outcome)?;
    let mut announced: Option<Announcement> = None;
    let mut refused = None;
    for text in texts.iter().take(TEXTS) {
        match Announcement::from_txt(text) {
            Err(Unusable::Foreign) => {}
            Err(fault) => refused = Some(unusable(fault)),
            Ok(one) => match &announced {
                // Two that differ are as good as none: nobody can tell which is meant.
                Some(other) if *other != one => {
                    return Err(Outcome::Refused(
                        "there are two records that contradict each other".to_owned(),
                    ));
                }
                _ => announced = Some(one),
            },
        }
    }
    let holds = ttl.clamp(DNS_LEAST, DNS_MOST);
    announced.map(|announced| (announced, holds)).ok_or_else(|| refused.unwrap_or(Outcome::Nothing))
}

async fn well_known(inner: &Inner, domain: &str) -> Result<Announcement, Outcome> {
    let url = format!("https://{domain}/.well-known/agent-messaging.json");
    let page = inner.pages.page(&url).await.map_err(outcome)?;
    Announcement::from_well_known(&page).map_err(unusable)
}

/// `public_key` of `GET /info` (FED-6).
async fn key_shown_at(inner: &Inner, endpoint: &str) -> Option<PublicKey> {
    let page = inner.pages.page(&format!("{endpoint}/info")).await.ok()?;
    amesh_proto::provider::key_in(&page)
}

fn outcome(error: AskError) -> Outcome {
    match error {
        AskError::Nothing => Outcome::Nothing,
        AskError::Refused(why) => Outcome::Refused(why),
        AskError::Failed(why) => Outcome::Failed(why),
    }
}

fn unusable(fault: Unusable) -> Outcome {
    Outcome::Refused(fault.to_string())
}

/// FED-5, and no longer than a day: a record may be withdrawn.
const DNS_LEAST: Duration = Duration::from_secs(300);
const DNS_MOST: Duration = Duration::from_secs(86_400);
const WELL_KNOWN: Duration = Duration::from_secs(3_600);
const REGISTRY: Duration = Duration::from_secs(86_400);
/// Everybody answered, and nobody knows it.
const NOBODY: Duration = Duration::from_secs(300);
/// Somebody did not answer.
const UNSURE: Duration = Duration::from_secs(30);
const TEXTS: usize = 16;
