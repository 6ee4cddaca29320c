//! Other providers, for the node's owner (`amesh federation`).

use crate::federation::{Federation, Remembered, ResolveError, Resolved, Source, TrustError, Verdict};
use crate::http::body::{self, Json};
use crate::http::error::{CONFLICT, Problem};
use crate::http::finish::to_the_end;
use crate::http::state::{self, Shared};
use amesh_discovery::providers::Outcome;
use amesh_proto::address::Address;
use amesh_proto::api::control::Done;
use amesh_proto::api::error::code;
use amesh_proto::api::federation::{
    FederationStatus, FoundProvider, KnownProvider, OwnProviderStatus, ResolvedProvider, StepTaken,
    TestedProvider,
};
use amesh_proto::api::fields::Fields;
use axum::extract::State;

type Body = Json<{ body::SMALL }>;
type Reply = Result<axum::Json<Done>, Problem>;

/// `GET /federation`
pub(crate) async fn status(State(state): State<Shared>) -> axum::Json<FederationStatus> {
    let federation = state.parts.federation.as_ref();
    let own = federation.and_then(Federation::own);
    let provider = own.map(|own| OwnProviderStatus {
        domain: own.domain().to_owned(),
        endpoint: own.endpoint().to_owned(),
        fingerprint: own.public_key().fingerprint(),
        public_key: own.public_key().to_pem(),
        dns_records: vec![own.dns_record()],
    });
    axum::Json(FederationStatus {
        on: federation.is_some_and(Federation::is_on),
        provider,
        mode: federation.map(Federation::mode).unwrap_or_default().as_str().to_owned(),
        providers: federation.map(known).unwrap_or_default(),
        queues: federation.map(Federation::queues).unwrap_or_default(),
    })
}

fn known(federation: &Federation) -> Vec<KnownProvider> {
    let shown = |(domain, verdict, remembered): (String, Option<Verdict>, Remembered)| KnownProvider {
        verdict: verdict.map(|verdict| verdict.as_str().to_owned()),
        refused: federation.may_talk(&domain).err().map(|why| why.to_string()),
        fingerprint: remembered.key.as_ref().map(|(key, _)| key.fingerprint()),
        since: remembered.key.as_ref().map(|(_, since)| since.to_rfc3339()),
        domain,
    };
    federation.all_known().into_iter().map(shown).collect()
}

/// `POST /federation/allow`
pub(crate) async fn allow(state: State<Shared>, body: Body) -> Reply {
    say(state, body, Verdict::Allowed).await
}

/// `POST /federation/block`
pub(crate) async fn block(state: State<Shared>, body: Body) -> Reply {
    say(state, body, Verdict::Blocked).await
}

async fn say(State(state): State<Shared>, body: Body, verdict: Verdict) -> Reply {
    let name = Fields::parse(&body.0)?.text("name")?;
    let federation = federation(&state)?;
    to_the_end(&state.parts.tasks, async move { federation.say(&name, verdict).await }).await?;
    Ok(axum::Json(Done { done: true }))
}

/// `POST /federation/forget`: a provider, or an agent of one.
pub(crate) async fn forget(State(state): State<Shared>, body: Body) -> Reply {
    let mut fields = Fields::parse(&body.0)?;
    let name = fields.text("name")?;
    let compromised = fields.optional::<bool>("compromised", "true or false")?.unwrap_or_default();
    let (federation, deliveries, typed) = (federation(&state)?, state.parts.deliveries.clone(), name.clone());
    let forgetting = async move {
        let Ok(address) = Address::parse(typed.trim(), &[]) else {
            return match compromised {
                true => {
                    Err(Problem::invalid("name", "only the key of an agent can be marked as compromised"))
                }
                false => Ok(federation.forget(&typed).await?),
            };
        };
        match deliveries {
            Some(deliveries) => Ok(deliveries.forget_sender(&address, compromised).await?),
            None => Ok(false),
        }
    };
    if to_the_end(&state.parts.tasks, forgetting).await? {
        return Ok(axum::Json(Done { done: true }));
    }
    Err(Problem::not_found(format!("nothing is remembered of {name}")).field("name"))
}

fn federation(state: &state::State) -> Result<Federation, Problem> {
    state.parts.federation.clone().ok_or_else(|| Problem::unavailable("this node runs without federation"))
}

/// `POST /federation/resolve`
pub(crate) async fn resolve(
    State(state): State<Shared>,
    body: Json<{ body::SMALL }>,
) -> Result<axum::Json<ResolvedProvider>, Problem> {
    let mut fields = Fields::parse(&body.0)?;
    let domain = fields.text("domain")?;
    let anew = fields.optional::<bool>("anew", "true or false")?.unwrap_or_default();
    let federation = federation(&state)?;
    let resolved = federation.resolve(&domain, Source::Owner, anew).await?;
    Ok(axum::Json(shown(&federation, domain, resolved)))
}

/// `POST /federation/test`
pub(crate) async fn test(
    State(state): State<Shared>,
    body: Body,
) -> Result<axum::Json<TestedProvider>, Problem> {
    let domain = Fields::parse(&body.0)?.text("domain")?;
    let federation = federation(&state)?;
    let checked = federation.check(&domain).await?;
    let refused = checked.refused().map(str::to_owned);
    let checks = checked.checks.into_iter().map(|check| taken(check.name, check.outcome));
    Ok(axum::Json(TestedProvider {
        usable: refused.is_none(),
        refused,
        checks: checks.collect(),
        resolved: shown(&federation, domain, checked.resolved),
    }))
}

fn taken(step: &str, outcome: Outcome) -> StepTaken {
    let (outcome, why) = match outcome {
        Outcome::Found => ("found", None),
        Outcome::Unproven => ("unproven", None),
        Outcome::Nothing => ("nothing", None),
        Outcome::Off => ("off", None),
        Outcome::Refused(why) => ("refused", Some(why)),
        Outcome::Failed(why) => ("failed", Some(why)),
    };
    StepTaken { step: step.to_owned(), outcome: outcome.to_owned(), why }
}

fn shown(federation: &Federation, domain: String, resolved: Resolved) -> ResolvedProvider {
    let refused = federation.why_unusable(&domain, &resolved);
    let Resolved { looked, is_pinned, age, fresh_for } = resolved;
    let steps = looked.steps.into_iter().map(|(step, outcome)| taken(step.as_str(), outcome));
    let provider = looked.provider.map(|provider| FoundProvider {
        step: provider.step.to_string(),
        endpoint: provider.endpoint,
        fingerprint: provider.key.as_ref().map(|key| key.fingerprint()).or(provider.fingerprint),
        public_key: provider.key.as_ref().map(|key| key.to_pem()),
        capabilities: provider.capabilities,
        registered: provider.registered,
    });
    ResolvedProvider {
        domain,
        usable: refused.is_none(),
        refused,
        provider,
        pinned: is_pinned,
        age_s: age.as_secs(),
        fresh_for_s: fresh_for.as_secs(),
        steps: steps.collect(),
    }
}

impl From<ResolveError> for Problem {
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::Off => Self::new(code::FORBIDDEN, error.to_string()),
            ResolveError::NotLookedUp(_) => Self::invalid("domain", error.to_string()),
            ResolveError::TooOften { retry_after } => {
                Self::new(code::RATE_LIMITED, error.to_string()).retry_after(retry_after)
            }
        }
    }
}

impl From<TrustError> for Problem {
    fn from(error: TrustError) -> Self {
        match error {
            TrustError::BlockedInFile(_) => Self::new(CONFLICT, error.to_string()),
            TrustError::NoProvider(_) => Self::invalid("name", error.to_string()),
            TrustError::Full => Self::new(code::QUEUE_FULL, error.to_string()),
            TrustError::Store(cause) => cause.into(),
        }
    }
}
