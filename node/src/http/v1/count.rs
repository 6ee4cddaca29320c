//! `GET messages/pending/count`: whether there is mail, and a way to wait for it without a socket.
//!
//! `after` is the cursor of an earlier answer, or of a page; `wait` holds the answer back until something came after
//! it, half a minute at most. A long-poll takes a place of its own and nothing else: it is not counted by the limiter.

use crate::agents::Agent;
use crate::http::auth::{Caller, Waiting};
use crate::http::error::Problem;
use crate::http::mailbox::{cursor_at, position};
use crate::http::page::Query;
use crate::http::state::{self, Shared};
use amesh_proto::api::pending::PendingCount;
use amesh_store::Seq;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use std::sync::Arc;

/// How much mail waits, and a way to wait for it without a socket.
///
/// A question with `wait` is not counted by the limiter.
#[utoipa::path(get, path = "", tag = "mailbox",
    params(
        ("after" = Option<String>, Query, description = "Count only what came after this `cursor`."),
        ("wait" = Option<u32>, Query, minimum = 0, description = "Seconds to hold the answer back until there is something; 30 at most.")),
    responses((status = 200, description = "The count, and the position up to which was counted.", body = PendingCount)),
    extensions(("x-errors" = json!(["invalid_field", "cursor_expired"]))))]
pub(crate) async fn count(State(state): State<Shared>, caller: Caller<Waiting>, uri: Uri) -> Response {
    let answer = count_or_wait(&state, &caller.agent, &Query::parse(uri.query())).await;
    caller.reply(answer.map(axum::Json))
}

async fn count_or_wait(
    state: &state::State,
    agent: &Arc<Agent>,
    query: &Query<'_>,
) -> Result<PendingCount, Problem> {
    let (wait, after) = (query.wait()?, position(state, query, "after")?);
    let now = count_now(state, agent, after)?;
    let Some(patience) = wait.filter(|_| now.count == 0) else { return Ok(now) };
    let _place = state.long_polls.try_acquire().map_err(|_| {
        Problem::unavailable("too many requests wait for mail; ask without `wait`").retry_after(1)
    })?;
    let mut signal = state.parts.hallway.subscribe(agent);
    let stopping = state.parts.tasks.stopping();
    let timeout = tokio::time::sleep(patience);
    tokio::pin!(timeout);
    loop {
        // Counted after the watch began: nothing falls between.
        let now = count_now(state, agent, after)?;
        if now.count > 0 {
            return Ok(now);
        }
        tokio::select! {
            () = signal.changed() => {}
            () = &mut timeout => return count_now(state, agent, after),
            () = stopping.cancelled() => return Ok(now),
        }
    }
}

fn count_now(state: &state::State, agent: &Agent, after: Option<Seq>) -> Result<PendingCount, Problem> {
    let (hallway, until) = (&state.parts.hallway, state.parts.store.position());
    Ok(PendingCount {
        count: hallway.pending_between(agent, after.unwrap_or(Seq(0)), until)?,
        total: hallway.pending_count(agent),
        cursor: cursor_at(state, until),
    })
}
