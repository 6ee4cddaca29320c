//! `POST /register` (AMP 03). Open to all on loopback, so the rate per source is judged before the body is read.

use crate::agents::owners::{self, USER_KEY_PREFIX};
use crate::agents::{Registered, Registrant};
use crate::http::auth::bearer;
use crate::http::body::{self, Json};
use crate::http::error::Problem;
use crate::http::finish::to_the_end;
use crate::http::limit::Standing;
use crate::http::owner;
use crate::http::state::{self, Peer, Shared};
use crate::http::well_known::{base, origin};
use crate::message::Notice;
use amesh_proto::api::register::{ProviderFace, RegisterRequest, RegisterResponse};
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

/// Registers an agent: its name and its public key (AMP 03).
///
/// The same name and key again need proof: the old API key as `Authorization`, or a `proof`. With an owner's user
/// key (`uk_…`) as `Authorization` the tenant is the owner's (REG-17).
#[utoipa::path(post, path = "", tag = "registration", security((), ("api_key" = [])), request_body = RegisterRequest,
    responses((status = 201, description = "The agent's address, and its API key, which is shown here only.", body = RegisterResponse)),
    extensions(("x-errors" = json!(["tenant_access_denied", "name_taken", "unauthorized"]))))]
pub(crate) async fn register(
    State(state): State<Shared>,
    caller: Source,
    body: Result<Json<{ body::SMALL }>, Problem>,
) -> Response {
    let answer = async { enter(&state, &caller, &body?.0).await }.await;
    let mut response = answer.map(|answer| (StatusCode::CREATED, axum::Json(answer))).into_response();
    if let Some(standing) = caller.standing {
        standing.write(response.headers_mut());
    }
    response
}

async fn enter(state: &state::State, caller: &Source, body: &[u8]) -> Result<RegisterResponse, Problem> {
    let request = RegisterRequest::parse(body)?;
    let (remote, local) = (caller.peer.remote, caller.peer.local);
    let own_user =
        state.parts.tasks.spawn_blocking(move || owner::is_own_user(remote, local)).await.unwrap_or(false);
    let (agents, hallway, bearer) =
        (state.parts.agents.clone(), state.parts.hallway.clone(), caller.bearer.clone());
    let registering = async move {
        let (user_key, api_key) =
            bearer.as_deref().map_or((None, None), |key| match key.starts_with(USER_KEY_PREFIX) {
                true => (Some(key), None),
                false => (None, Some(key)),
            });
        let by = Registrant { api_key, user_key, on_loopback: local.ip().is_loopback(), own_user };
        let registered = agents.register(request, by).await?;
        if registered.unproven {
            let notice = Notice::Reregistered { by: format!("a program on this machine ({remote})") };
            // The new key is in force, and this answer is the only place where it is told: a mailbox without room must
            // not swallow it.
            if let Err(error) = hallway.notify(&registered.agent, &notice).await {
                tracing::warn!(agent = %registered.agent.address, %error, "the agent was not told of its new API key");
            }
        }
        Ok::<_, Problem>(registered)
    };
    let registered = to_the_end(&state.parts.tasks, registering).await?;
    Ok(shown(state, caller, registered))
}

fn shown(state: &state::State, caller: &Source, registered: Registered) -> RegisterResponse {
    let agent = &registered.agent;
    let endpoint = format!("{}{}", caller.origin, caller.base);
    RegisterResponse {
        address: agent.address.to_string(),
        short_address: agent.short_address().to_string(),
        local_name: agent.address.name().to_owned(),
        agent_id: super::agents::id_of(agent),
        owner_id: agent.record.owner.map(|id| owners::shown_id(&id)),
        tenant_id: format!("ten_{}", agent.address.tenant()),
        tenant: agent.address.tenant().to_owned(),
        api_key: registered.api_key,
        provider: ProviderFace {
            name: state.parts.naming.provider.clone(),
            route_url: format!("{endpoint}/route"),
            endpoint,
        },
        fingerprint: agent.key.fingerprint(),
        registered_at: agent.record.registered_at.to_rfc3339(),
    }
}

/// Where a registration comes from, and by which way.
#[derive(Debug)]
pub(crate) struct Source {
    peer: Peer,
    standing: Option<Standing>,
    /// An API key or a user key.
    bearer: Option<String>,
    origin: String,
    base: &'static str,
}

impl FromRequestParts<Shared> for Source {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, Problem> {
        let peer = Peer::from_request_parts(parts, state).await?;
        let standing = state.limits(&peer).registration(peer.remote.ip(), state.now())?;
        let bearer = bearer(&parts.headers)?.map(str::to_owned);
        let (origin, base) = (origin(&peer, &parts.uri, &parts.headers), base(&parts.uri));
        Ok(Self { peer, standing, bearer, origin, base })
    }
}
