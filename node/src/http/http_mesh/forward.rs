//! `POST /route` of the door for HTTP mesh hosts: mail of a host's agent.

use super::caller::{Forwarder, Who, one};
use super::mesh;
use crate::agents::directory::Resolution;
use crate::http::body::{self, Json};
use crate::http::error::Problem;
use crate::http::finish::to_the_end;
use crate::http::state::{self, Shared};
use crate::http::v1::route::shown;
use amesh_proto::api::http_mesh::{ENVELOPE_ID, Forward, SENDER_KEY, SIGNATURE};
use amesh_proto::api::route::RouteResponse;
use amesh_proto::id::MessageId;
use amesh_proto::key::PublicKey;
use axum::extract::State;
use axum::http::HeaderMap;

/// `POST /route`: mail of a host's agent (IPR-1, IPR-2).
pub(super) async fn forward(
    State(state): State<Shared>,
    Forwarder(host): Forwarder,
    headers: HeaderMap,
    body: Json<{ body::MESSAGE }>,
) -> Result<axum::Json<RouteResponse>, Problem> {
    let mut forward = Forward::parse(&body.0)?;
    let id = one(&headers, ENVELOPE_ID)?.and_then(|text| MessageId::parse(text).ok());
    if let Some(signature) = one(&headers, SIGNATURE)?.filter(|text| !text.is_empty()) {
        let in_body = forward.request.signature.get_or_insert_with(|| signature.to_owned());
        if in_body != signature {
            return Err(Problem::invalid("signature", "the header and the body hold different signatures"));
        }
    }
    let key =
        one(&headers, SENDER_KEY)?.filter(|text| !text.is_empty()).map(PublicKey::parse_any).transpose();
    let key = key.map_err(|error| Problem::invalid("X-AMP-Sender-Key", error.to_string()))?;
    recipient_has_time(&state, &forward.request.to)?;
    let mesh = mesh(&state)?;
    let taking = async move { mesh.take(host, forward, id, key).await };
    let accepted = to_the_end(&state.parts.tasks, taking).await?;
    Ok(axum::Json(shown(&accepted)))
}

/// RAT-3, before any signature is looked at.
fn recipient_has_time(state: &state::State, to: &str) -> Result<(), Problem> {
    let directory = state.parts.agents.directory();
    let Ok(to) = directory.expand(to, None) else { return Ok(()) };
    if let Resolution::Local(recipient) = directory.resolve(&to) {
        let full = |exceeded| Problem::from(exceeded).about("too many messages for this recipient");
        state.host_limits.recipient(&Who::Agent(recipient.no), state.now()).map_err(full)?;
    }
    Ok(())
}
