//! `messages/pending` and its aliases: fetch, acknowledge one, acknowledge many (AMP 05 §Relay Queue; RLY-3…9, RLY-13).

use crate::agents::Agent;
use crate::http::auth::{Caller, Pending};
use crate::http::body::{self, Json, Segment};
use crate::http::error::Problem;
use crate::http::finish::to_the_end;
use crate::http::mailbox;
use crate::http::page::{IdParam, PageParams, Query};
use crate::http::state::{self, Shared};
use amesh_proto::api::fields::BadBody;
use amesh_proto::api::pending::{AckBatch, AckMany, AckOne, PendingPage};
use amesh_proto::id::MessageId;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use std::sync::Arc;

/// What waits for the caller, oldest first. It stays until it is acknowledged.
#[utoipa::path(get, path = "", tag = "mailbox",
    params(PageParams, ("after" = Option<String>, Query, description = "A position that `messages/pending/count` gave, instead of `cursor`.")),
    responses((status = 200, description = "A page of the mailbox.", body = PendingPage)),
    extensions(("x-errors" = json!(["invalid_field", "cursor_expired"]))))]
pub(crate) async fn list(State(state): State<Shared>, caller: Caller<Pending>, uri: Uri) -> Response {
    caller.reply(page(&state, &caller.agent, &Query::parse(uri.query())).map(axum::Json))
}

fn page(state: &state::State, agent: &Arc<Agent>, query: &Query<'_>) -> Result<PendingPage, Problem> {
    let limit = query.limit()?;
    let after = match mailbox::position(state, query, "cursor")? {
        Some(after) => Some(after),
        // What `messages/pending/count` gave.
        None => mailbox::position(state, query, "after")?,
    };
    let (hallway, until) = (&state.parts.hallway, state.parts.store.position());
    let total = hallway.pending_count(agent);
    let page = mailbox::fetch(state, agent, after, limit)?;
    let next = page.last.filter(|_| page.has_more);
    let remaining = match next {
        Some(last) => hallway.pending_between(agent, last, until)?.max(1),
        None => 0,
    };
    Ok(PendingPage {
        count: page.mail.len(),
        remaining,
        total,
        cursor: next.map(|last| mailbox::cursor_at(state, last)),
        has_more: page.has_more,
        messages: page.mail,
    })
}

/// Removes one message from the mailbox (RLY-5).
#[utoipa::path(delete, path = "", tag = "mailbox", params(IdParam),
    responses((status = 200, description = "It is gone, on disk.", body = AckOne)),
    extensions(("x-errors" = json!(["invalid_field"]))))]
pub(crate) async fn acknowledge_one(
    State(state): State<Shared>,
    caller: Caller<Pending>,
    id: Result<Segment, Problem>,
) -> Response {
    let done = async { one(state, &caller.agent, &id?.0).await }.await;
    caller.reply(done.map(axum::Json))
}

/// The same by POST.
#[utoipa::path(post, path = "", tag = "mailbox", params(IdParam),
    responses((status = 200, description = "It is gone, on disk.", body = AckOne)),
    extensions(("x-errors" = json!(["invalid_field"]))))]
pub(crate) async fn acknowledge_by_post(
    state: State<Shared>,
    caller: Caller<Pending>,
    id: Result<Segment, Problem>,
) -> Response {
    acknowledge_one(state, caller, id).await
}

/// Removes one message from the mailbox.
#[utoipa::path(delete, path = "", tag = "mailbox",
    params(("id" = String, Query, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9_-]+$", description = "The message's id as the mailbox shows it.", example = "msg_1790000000_a1b2c3")),
    responses((status = 200, description = "It is gone, on disk.", body = AckOne)),
    extensions(("x-errors" = json!(["missing_field", "invalid_field", "not_found"]))))]
pub(crate) async fn acknowledge_query(
    State(state): State<Shared>,
    caller: Caller<Pending>,
    uri: Uri,
) -> Response {
    let query = Query::parse(uri.query());
    let done = async {
        let id = query.get("id").ok_or(BadBody::Missing("id"))?;
        one(state, &caller.agent, id).await
    };
    caller.reply(done.await.map(axum::Json))
}

/// Removes many messages from the mailbox (RLY-7, A-18).
///
/// Ids that are not there are not counted, and are no error.
#[utoipa::path(post, path = "", tag = "mailbox", request_body = AckBatch,
    responses((status = 200, description = "How many are gone, on disk.", body = AckMany)))]
pub(crate) async fn acknowledge_batch(
    State(state): State<Shared>,
    caller: Caller<Pending>,
    body: Result<Json<{ body::SMALL }>, Problem>,
) -> Response {
    let done = async {
        let batch = AckBatch::parse(&body?.0)?;
        // What is no id cannot be in the mailbox, and is simply not counted.
        let ids: Vec<MessageId> = batch.ids.iter().filter_map(|id| MessageId::parse(id).ok()).collect();
        Ok(AckMany { acknowledged: acknowledge(state, caller.agent.clone(), ids).await? })
    };
    caller.reply(done.await.map(axum::Json))
}

async fn one(state: Shared, agent: &Arc<Agent>, id: &str) -> Result<AckOne, Problem> {
    match acknowledge(state, agent.clone(), vec![mailbox::id_of(id)?]).await? {
        0 => Err(mailbox::unknown()),
        _ => Ok(AckOne { acknowledged: true }),
    }
}

async fn acknowledge(state: Shared, agent: Arc<Agent>, ids: Vec<MessageId>) -> Result<usize, Problem> {
    let tasks = state.parts.tasks.clone();
    to_the_end(&tasks, async move { mailbox::acknowledge(&state, &agent, ids).await }).await
}
