//! `auth/…`: an agent replaces or revokes what it proves itself with (AMP 03 §API Key Management, §Public Key Rotation).

use crate::agents::RotateError;
use crate::http::auth::{Caller, Presented};
use crate::http::body::{self, Json};
use crate::http::error::Problem;
use crate::http::finish::to_the_end;
use crate::http::state::Shared;
use crate::message::LostKey;
use amesh_proto::api::keys::{ApiKeyRevoked, ApiKeyRotated, KeysRotated, RotateKeys};
use axum::extract::State;
use axum::response::Response;

/// Gives the caller a new API key; the one it came with works for 24 hours more (KEY-3).
///
/// A key that was replaced before replaces nothing: 403.
#[utoipa::path(post, path = "", tag = "agents",
    responses((status = 200, description = "The new key, which is shown here only.", body = ApiKeyRotated)))]
pub(crate) async fn rotate_api_key(
    State(state): State<Shared>,
    caller: Caller,
    Presented(presented): Presented,
) -> Response {
    let (agents, agent) = (state.parts.agents.clone(), caller.agent.clone());
    let rotating = async move { agents.rotate_api_key(&agent, presented).await };
    let rotated = to_the_end(&state.parts.tasks, rotating).await.map(|new| ApiKeyRotated {
        api_key: new.api_key,
        expires_at: None,
        previous_key_valid_until: new.previous_valid_until.to_rfc3339(),
    });
    caller.reply(rotated.map(axum::Json).map_err(Problem::from))
}

/// Ends every API key of the caller at once (KEY-4).
///
/// To get a new one the agent registers again, with a `proof` by its key pair.
#[utoipa::path(delete, path = "", tag = "agents",
    responses((status = 200, description = "No key of this agent opens anything now.", body = ApiKeyRevoked)))]
pub(crate) async fn revoke_api_keys(State(state): State<Shared>, caller: Caller) -> Response {
    let (agents, agent) = (state.parts.agents.clone(), caller.agent.clone());
    let revoking = async move { agents.revoke_api_keys(&agent).await };
    let revoked = to_the_end(&state.parts.tasks, revoking).await;
    let shown = revoked.map(|at| ApiKeyRevoked { revoked: true, revoked_at: at.to_rfc3339() });
    caller.reply(shown.map(axum::Json).map_err(Problem::from))
}

/// Gives the caller another key pair (KEY-5).
///
/// Mail that was accepted before stays verifiable by the old one for 90 days, unless `compromised` is true: then whoever
/// had mail from the caller lately is told.
#[utoipa::path(post, path = "", tag = "agents", request_body = RotateKeys,
    responses((status = 200, description = "What the old key signs is refused from now on.", body = KeysRotated)),
    extensions(("x-errors" = json!(["invalid_signature"]))))]
pub(crate) async fn rotate_keys(
    State(state): State<Shared>,
    caller: Caller,
    body: Result<Json<{ body::SMALL }>, Problem>,
) -> Response {
    let done = async {
        let request = RotateKeys::parse(&body?.0)?;
        let (agents, agent) = (state.parts.agents.clone(), caller.agent.clone());
        let hallway = state.parts.hallway.clone();
        let rotating = async move {
            let rotated = agents.rotate_key(&agent, &request).await?;
            if request.compromised {
                let (was, now) = (agent.key.fingerprint(), rotated.key.fingerprint());
                hallway.warn_of(vec![LostKey { address: rotated.address.clone(), was, now }]).await;
            }
            Ok::<_, RotateError>(rotated)
        };
        let rotated = to_the_end(&state.parts.tasks, rotating).await?;
        Ok(KeysRotated {
            rotated: true,
            address: rotated.address.to_string(),
            fingerprint: rotated.key.fingerprint(),
            key_algorithm: rotated.key.algorithm().as_str().to_owned(),
        })
    };
    caller.reply(done.await.map(axum::Json))
}
