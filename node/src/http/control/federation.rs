//! Other providers, for the node's owner (`amesh federation`).

use crate::federation::{ResolveError, Resolved, Source};
use crate::http::body::{self, Json};
use crate::http::error::Problem;
use crate::http::state::Shared;
use amesh_discovery::providers::Outcome;
use amesh_proto::api::error::code;
use amesh_proto::api::federation::{
    FederationStatus, FoundProvider, OwnProviderStatus, ResolvedProvider, StepTaken,
};
use amesh_proto::api::fields::Fields;
use axum::extract::State;

/// `GET /federation`
pub(crate) async fn status(State(state): State<Shared>) -> axum::Json<FederationStatus> {
    let federation = state.parts.federation.as_ref();
    let own = federation.and_then(|federation| federation.own());
    let provider = own.map(|own| OwnProviderStatus {
        domain: own.domain().to_owned(),
        endpoint: own.endpoint().to_owned(),
        fingerprint: own.public_key().fingerprint(),
        public_key: own.public_key().to_pem(),
        dns_records: vec![own.dns_record()],
    });
    axum::Json(FederationStatus { on: federation.is_some_and(|federation| federation.is_on()), provider })
}

/// `POST /federation/resolve`
pub(crate) async fn resolve(
    State(state): State<Shared>,
    body: Json<{ body::SMALL }>,
) -> Result<axum::Json<ResolvedProvider>, Problem> {
    let mut fields = Fields::parse(&body.0)?;
    let domain = fields.text("domain")?;
    let anew = fields.optional::<bool>("anew", "true or false")?.unwrap_or_default();
    let federation = state.parts.federation.clone();
    let federation = federation.ok_or_else(|| Problem::unavailable("this node runs without federation"))?;
    let resolved = federation.resolve(&domain, Source::Owner, anew).await?;
    Ok(axum::Json(shown(domain, resolved)))
}

fn shown(domain: String, resolved: Resolved) -> ResolvedProvider {
    let refused = resolved.refused().map(str::to_owned);
    let Resolved { looked, is_pinned, age, fresh_for } = resolved;
    let steps = looked.steps.into_iter().map(|(step, outcome)| {
        let (outcome, why) = match outcome {
            Outcome::Found => ("found", None),
            Outcome::Unproven => ("unproven", None),
            Outcome::Nothing => ("nothing", None),
            Outcome::Off => ("off", None),
            Outcome::Refused(why) => ("refused", Some(why)),
            Outcome::Failed(why) => ("failed", Some(why)),
        };
        StepTaken { step: step.to_string(), outcome: outcome.to_owned(), why }
    });
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
