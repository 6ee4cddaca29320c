//! `GET /messages/{id}`: what became of a message, for its sender only (DESIGN §1.9, KEY-8).

use crate::agents::Agent;
use crate::http::auth::Caller;
use crate::http::body::Segment;
use crate::http::error::Problem;
use crate::http::mailbox::id_of;
use crate::http::page::IdParam;
use crate::http::state::{self, Shared};
use amesh_proto::api::messages::MessageState;
use axum::extract::State;
use axum::response::Response;

/// What became of a message, for its sender (DESIGN §1.9).
#[utoipa::path(get, path = "", tag = "messages", params(IdParam),
    responses((status = 200, description = "Its state; nothing is said more strongly than it is proven.", body = MessageState)),
    extensions(("x-errors" = json!(["invalid_field"]))))]
pub(crate) async fn state(
    State(state): State<Shared>,
    caller: Caller,
    id: Result<Segment, Problem>,
) -> Response {
    let found = id.and_then(|id| look_up(&state, &caller.agent, &id.0));
    caller.reply(found.map(axum::Json))
}

fn look_up(state: &state::State, agent: &Agent, id: &str) -> Result<MessageState, Problem> {
    let unknown = || Problem::not_found("you have sent no message with this id").field("id");
    let id = id_of(id).map_err(|problem| if problem.code() == "not_found" { unknown() } else { problem })?;
    let status = state.parts.hallway.status(agent, &id).map_err(|e| Problem::internal("messages", &e))?;
    status.ok_or_else(unknown)
}
