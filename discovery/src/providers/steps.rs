//! The steps of a look-up, one after the other, and what is believed of what they say. Called by [`super::Providers`].

use super::{AskError, Inner, Looked, Outcome, Provider, Step};
use amesh_proto::key::PublicKey;
use amesh_proto::provider::{Announcement, Unusable};
use std::time::Duration;

/// What was found out, and how long it holds.
pub(super) struct Asked {
    pub(super) looked: Looked,
    pub(super) holds: Duration,
    /// Something did not answer: what is missing may be there after all.
    pub(super) unsure: bool,
}

type Said = Result<(Announcement, Duration), Outcome>;

/// Asks everybody until somebody knows.
pub(super) async fn ask(inner: &Inner, domain: &str, pinned: Option<&PublicKey>) -> Asked {
    let mut steps = Vec::new();
    let mut found = None;
    for step in [Step::DnsTxt, Step::WellKnown, Step::Registry] {
        let said = match inner.settings.off.contains(&step) {
            true => Err(Outcome::Off),
            false => say(inner, step, domain).await,
        };
        match said {
            Err(outcome) => steps.push((step, outcome)),
            Ok((announced, holds)) => match key_of(inner, step, domain, &announced, pinned).await {
                Ok(key) => {
                    steps.push((step, Outcome::Found));
                    found = Some((provider(domain, step, announced, key), holds));
                    break;
                }
                Err(why) => steps.push((step, Outcome::Refused(why))),
            },
        }
    }
    let unsure = steps.iter().any(|(_, outcome)| matches!(outcome, Outcome::Failed(_)));
    let (provider, holds) = match found {
        Some((provider, holds)) => (Some(provider), holds),
        None => (None, if unsure { UNSURE } else { NOBODY }),
    };
    Asked { looked: Looked { provider, steps }, holds, unsure }
}

async fn say(inner: &Inner, step: Step, domain: &str) -> Said {
    match step {
        Step::DnsTxt => txt(inner, domain).await,
        Step::WellKnown => well_known(inner, domain).await.map(|announced| (announced, WELL_KNOWN)),
        Step::Registry => {
            let url = format!("{}/{domain}", inner.settings.registry.trim_end_matches('/'));
            let page = inner.pages.page(&url).await.map_err(outcome)?;
            let entry = Announcement::from_registry(&page, domain).map_err(unusable)?;
            Ok((entry, REGISTRY))
        }
        Step::StaleCache => Err(Outcome::Nothing),
    }
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
    announced.map(|announced| (announced, holds)).ok_or(refused.unwrap_or(Outcome::Nothing))
}

async fn well_known(inner: &Inner, domain: &str) -> Result<Announcement, Outcome> {
    let url = format!("https://{domain}/.well-known/agent-messaging.json");
    let page = inner.pages.page(&url).await.map_err(outcome)?;
    Announcement::from_well_known(&page).map_err(unusable)
}

/// The key that goes with what was announced, if it is proven; says why the provider is not to be used at all where another
/// key is (FED-6).
async fn key_of(
    inner: &Inner,
    step: Step,
    domain: &str,
    announced: &Announcement,
    pinned: Option<&PublicKey>,
) -> Result<Option<PublicKey>, String> {
    let fits =
        |key: &PublicKey| announced.fingerprint.as_deref().is_none_or(|print| key.matches_fingerprint(print));
    if let Some(pinned) = pinned {
        let agrees = fits(pinned) && announced.key.as_ref().is_none_or(|key| key == pinned);
        return if agrees {
            Ok(Some(pinned.clone()))
        } else {
            Err("it announces another key than the pinned one".to_owned())
        };
    }
    let shown = match (step, &announced.key) {
        (_, Some(key)) => Some(key.clone()),
        // What DNS says must be said over HTTPS by the domain itself, too.
        (Step::DnsTxt, None) if inner.settings.off.contains(&Step::WellKnown) => None,
        (Step::DnsTxt, None) => well_known(inner, domain).await.ok().and_then(|document| document.key),
        (_, None) => key_shown_at(inner, &announced.endpoint).await,
    };
    match shown {
        Some(key) if fits(&key) => Ok(Some(key)),
        Some(_) => Err("its key is not the one whose fingerprint is announced".to_owned()),
        None => Ok(None),
    }
}

/// `public_key` of `GET /info` (FED-6).
async fn key_shown_at(inner: &Inner, endpoint: &str) -> Option<PublicKey> {
    let page = inner.pages.page(&format!("{endpoint}/info")).await.ok()?;
    amesh_proto::provider::key_in(&page)
}

fn provider(domain: &str, step: Step, announced: Announcement, key: Option<PublicKey>) -> Provider {
    let Announcement { endpoint, fingerprint, capabilities, verified, .. } = announced;
    Provider {
        domain: domain.to_owned(),
        endpoint,
        key,
        fingerprint,
        capabilities,
        registered: verified,
        step,
    }
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
