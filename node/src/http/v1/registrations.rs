//! `agents/me/registrations`: the caller's registrations with other providers, whose mail this node fetches for it (IDN-4,
//! AMP 06a §Deployment Scenarios). What is done with them is `bridge/registered`.

use crate::bridge::registered::{KeepError, Registered};
use crate::http::auth::Caller;
use crate::http::body::{self, Json, Segment};
use crate::http::error::Problem;
use crate::http::finish::to_the_end;
use crate::http::state::{self, Shared};
use amesh_proto::api::error::code;
use amesh_proto::api::registrations::{
    NewRegistration, RegistrationEntry, RegistrationRemoved, Registrations,
};
use axum::extract::State;
use axum::response::Response;

/// The caller's registrations with other providers, and how fetching from there goes. API keys are not shown.
#[utoipa::path(get, path = "", tag = "agents",
    responses((status = 200, description = "All of them.", body = Registrations)))]
pub(crate) async fn list(State(state): State<Shared>, caller: Caller) -> Response {
    let shown = registered(&state)
        .map(|registered| Registrations { registrations: registered.shown(caller.agent.no) });
    caller.reply(shown.map(axum::Json))
}

/// From now on the node fetches the caller's mail from this provider.
///
/// The agent registers there itself, with its own key, and hands over what it was answered. Mail is put into the mailbox here
/// before it is acknowledged there. A second call replaces what was said first.
#[utoipa::path(put, path = "", tag = "agents", request_body = NewRegistration,
    params(("provider" = String, Path, min_length = 1, description = "The provider's domain.", example = "crabmail.ai")),
    responses((status = 200, description = "Kept. Whether the provider takes the API key shows in `state`.", body = RegistrationEntry)),
    extensions(("x-errors" = json!(["missing_field", "invalid_field", "forbidden", "queue_full"]))))]
pub(crate) async fn put(
    State(state): State<Shared>,
    caller: Caller,
    provider: Result<Segment, Problem>,
    body: Result<Json<{ body::SMALL }>, Problem>,
) -> Response {
    let done = async {
        let (provider, new) = (provider?.0, NewRegistration::parse(&body?.0)?);
        let (registered, agent) = (registered(&state)?, caller.agent.clone());
        let keeping = async move { registered.keep(&agent, &provider, new).await };
        Ok(to_the_end(&state.parts.tasks, keeping).await?)
    };
    caller.reply(done.await.map(axum::Json))
}

/// The node fetches nothing from this provider any more, and forgets the API key.
#[utoipa::path(delete, path = "", tag = "agents",
    params(("provider" = String, Path, min_length = 1, description = "The provider's domain.", example = "crabmail.ai")),
    responses((status = 200, description = "Forgotten here; the agent stays registered there.", body = RegistrationRemoved)))]
pub(crate) async fn remove(
    State(state): State<Shared>,
    caller: Caller,
    provider: Result<Segment, Problem>,
) -> Response {
    let done = async {
        let provider = provider?.0;
        let (registered, no) = (registered(&state)?, caller.agent.no);
        let removing = async move { registered.remove(no, &provider).await };
        match to_the_end(&state.parts.tasks, removing).await? {
            true => Ok(RegistrationRemoved { removed: true }),
            false => {
                Err(Problem::not_found("this node holds no such registration of yours").field("provider"))
            }
        }
    };
    caller.reply(done.await.map(axum::Json))
}

fn registered(state: &state::State) -> Result<Registered, Problem> {
    let none = || Problem::unavailable("this node serves no registrations with other providers");
    state.parts.registered.clone().ok_or_else(none)
}

impl From<KeepError> for Problem {
    fn from(error: KeepError) -> Self {
        let text = error.to_string();
        match error {
            KeepError::Forbidden | KeepError::NotListed(_) => Self::new(code::FORBIDDEN, text),
            KeepError::Provider(_) => Self::invalid("provider", text),
            KeepError::Address(_) => Self::invalid("address", text),
            KeepError::Url(_) => Self::invalid("api_url", text),
            KeepError::Full => Self::new(code::QUEUE_FULL, text),
            KeepError::Store(error) => error.into(),
        }
    }
}
