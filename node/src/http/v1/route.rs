//! `POST /route` (AMP 05 §Route Request): one call into the hallway.

use crate::agents::Agent;
use crate::agents::directory::Resolution;
use crate::http::auth::{Caller, Route};
use crate::http::body::{self, Json};
use crate::http::error::Problem;
use crate::http::finish::to_the_end;
use crate::http::state::{self, Peer, Shared};
use crate::message::{Accepted, Incoming, Status};
use amesh_proto::api::route::{RouteRequest, RouteResponse};
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::response::Response;
use std::sync::Arc;

/// Sends a message (AMP 05 §Route Request).
///
/// A 200 is given only when the message is on disk. The same `id` or `Idempotency-Key` with the same content is answered
/// with the first result again.
#[utoipa::path(post, path = "", tag = "messages", request_body = RouteRequest,
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 128, pattern = "^[!-~]+$", description = "One per message: a repeat is then recognized.")),
    responses((status = 200, description = "Accepted: delivered, or queued.", body = RouteResponse)),
    extensions(("x-errors" = json!([
        "timestamp_expired", "timestamp_future", "message_expired", "signature_missing", "signature_invalid",
        "not_found", "key_conflict", "duplicate_message", "external_provider", "queue_full",
        "attachment_pending", "attachment_rejected"]))))]
pub(crate) async fn route(
    State(state): State<Shared>,
    caller: Caller<Route>,
    peer: Peer,
    key: Result<IdempotencyKey, Problem>,
    body: Result<Json<{ body::MESSAGE }>, Problem>,
) -> Response {
    let sent = async {
        let (key, request) = (key?.0, RouteRequest::parse(&body?.0)?);
        let tasks = state.parts.tasks.clone();
        let agent = caller.agent.clone();
        to_the_end(&tasks, async move { send(&state, &peer, &agent, key, request).await }).await
    };
    let answer = sent.await.map(|accepted| axum::Json(shown(&accepted)));
    caller.reply(answer)
}

/// Sends for `agent`; the WebSocket frame `route` comes here too (WS-10). Nothing is awaited before the message is
/// handed to the store: calls that are first polled in some order are committed in it.
pub(crate) async fn send(
    state: &state::State,
    peer: &Peer,
    agent: &Arc<Agent>,
    idempotency_key: Option<String>,
    request: RouteRequest,
) -> Result<Accepted, Problem> {
    recipient_has_time(state, peer, agent, &request.to)?;
    let incoming = Incoming::FromAgent { agent: agent.clone(), request: Box::new(request), idempotency_key };
    Ok(state.parts.hallway.submit(incoming).await?)
}

/// RAT-3, before any signature is looked at. Who lives on another host is guarded there; who is nobody, by nobody.
fn recipient_has_time(state: &state::State, peer: &Peer, sender: &Agent, to: &str) -> Result<(), Problem> {
    let directory = state.parts.agents.directory();
    let Ok(to) = directory.expand(to, Some(&sender.address)) else { return Ok(()) };
    match directory.resolve(&to) {
        Resolution::Local(recipient) => {
            let full = |exceeded| Problem::from(exceeded).about("too many messages for this recipient");
            state.limits(peer).recipient(&recipient.no, state.now()).map_err(full)
        }
        _ => Ok(()),
    }
}

/// What became of it so far (RTE-2).
pub(crate) fn shown(accepted: &Accepted) -> RouteResponse {
    let delivered = accepted.status == Status::Delivered;
    RouteResponse {
        id: accepted.id.to_string(),
        status: accepted.status.as_str().to_owned(),
        method: accepted.method.as_str().to_owned(),
        basis: Some(accepted.basis.as_str().to_owned()),
        delivered_at: accepted.delivered_at.map(|at| at.to_rfc3339()),
        queued_at: (!delivered).then(|| accepted.queued_at.to_rfc3339()),
        remote_host: accepted.remote_host.clone(),
    }
}

/// The header `Idempotency-Key` (DESIGN §1.2).
#[derive(Debug)]
pub(crate) struct IdempotencyKey(Option<String>);

impl FromRequestParts<Shared> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get("idempotency-key") else { return Ok(Self(None)) };
        match value.to_str() {
            Ok(key) if !key.is_empty() && key.len() <= LONGEST => Ok(Self(Some(key.to_owned()))),
            _ => Err(Problem::invalid(
                "Idempotency-Key",
                format!("expected 1 to {LONGEST} printable characters"),
            )),
        }
    }
}

const LONGEST: usize = 255;
