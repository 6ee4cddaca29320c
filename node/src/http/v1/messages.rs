//! `GET /messages/{id}`: what became of a message, for its sender only (DESIGN §1.9, KEY-8); `POST /messages/{id}/read`: its
//! recipient's word that it was read (RCP-2…5).

use crate::agents::Agent;
use crate::http::auth::Caller;
use crate::http::body::{self, Json, Segment};
use crate::http::error::Problem;
use crate::http::finish::to_the_end;
use crate::http::mailbox::id_of;
use crate::http::page::IdParam;
use crate::http::state::{self, Shared};
use amesh_proto::api::messages::{MessageState, ReadReceipt, ReadRequest};
use axum::extract::State;
use axum::response::Response;
use std::sync::Arc;

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

/// Says that a message was read, to its sender (AMP 05 §Read Receipts).
///
/// Only its recipient can. It acknowledges nothing, and the first time counts. `read_receipt_sent` is false where nobody
/// will hear of it.
#[utoipa::path(post, path = "", tag = "messages", params(IdParam), request_body = Option<ReadRequest>,
    responses((status = 200, description = "Noted, and told or kept for the sender.", body = ReadReceipt)),
    extensions(("x-errors" = json!(["invalid_field"]))))]
pub(crate) async fn read(
    State(state): State<Shared>,
    caller: Caller,
    id: Result<Segment, Problem>,
    body: Result<Json<{ body::SMALL }>, Problem>,
) -> Response {
    let answer = async { mark_read(&state, caller.agent.clone(), &id?.0, &body?.0).await }.await;
    caller.reply(answer.map(axum::Json))
}

async fn mark_read(state: &Shared, agent: Arc<Agent>, id: &str, body: &[u8]) -> Result<ReadReceipt, Problem> {
    if !body.is_empty() {
        // the reference provider wants to be told the sender; this node knows.
        ReadRequest::parse(body)?;
    }
    let id = id_of(id)?;
    let (hallway, asked) = (state.parts.hallway.clone(), id.clone());
    let reading = async move { hallway.read(&agent, &asked).await };
    let read = to_the_end(&state.parts.tasks, reading).await?;
    let read = read.ok_or_else(|| Problem::not_found("no message with this id came to you").field("id"))?;
    Ok(ReadReceipt {
        read_receipt_sent: read.by.is_some(),
        receipt_sent: read.by.is_some(),
        message_id: id.to_string(),
        delivered_via: read.by.map(|by| by.as_str().to_owned()),
        read_at: read.read_at.to_rfc3339(),
    })
}

fn look_up(state: &state::State, agent: &Agent, id: &str) -> Result<MessageState, Problem> {
    let unknown = || Problem::not_found("you have sent no message with this id").field("id");
    let id = id_of(id).map_err(|problem| if problem.code() == "not_found" { unknown() } else { problem })?;
    let status = state.parts.hallway.status(agent, &id).map_err(|e| Problem::internal("messages", &e))?;
    status.ok_or_else(unknown)
}
