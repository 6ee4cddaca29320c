//! Mail that waits for other hosts, for the owner (`amesh queue`).

use crate::http::error::Problem;
use crate::http::state::{self, Shared};
use amesh_proto::api::control::{QueuePage, Queued};
use amesh_proto::time::UnixMillis;
use amesh_store::{Destination, OutboxEntry, StoreError};
use axum::Json;
use axum::extract::State;

/// `GET /queue`
pub(crate) async fn list(State(state): State<Shared>) -> Result<Json<QueuePage>, Problem> {
    Ok(Json(read(&state)?))
}

fn read(state: &state::State) -> Result<QueuePage, StoreError> {
    let store = &state.parts.store;
    let mut page = QueuePage::default();
    for queue in store.outbox_destinations() {
        page.total += u64::from(queue.count);
        let room = SHOWN.saturating_sub(page.messages.len());
        if room > 0 {
            let entries = store.outbox(&queue.destination, None, room)?;
            page.messages.extend(entries.iter().map(|entry| shown(state, &queue.destination, entry)));
        }
    }
    Ok(page)
}

fn shown(state: &state::State, destination: &Destination, entry: &OutboxEntry) -> Queued {
    let host = match destination {
        Destination::Node(node) => state.parts.agents.directory().host_of(*node).unwrap_or_default(),
        Destination::Provider(name) | Destination::HttpHost(name) => name.clone(),
    };
    let far = match destination {
        Destination::Provider(domain) => state.parts.federation.as_ref().and_then(|all| all.waits(domain)),
        _ => None,
    };
    let next = far.as_ref().map(|(left, _)| state.now().plus(*left));
    Queued {
        destination: destination.to_string(),
        host,
        id: entry.mail.id.to_string(),
        from: entry.mail.from.to_string(),
        to: entry.mail.to.to_string(),
        queued_at: entry.queued_at.to_rfc3339(),
        expires_at: Some(entry.expires_at.to_rfc3339()),
        next_attempt: next.or_else(|| next_attempt(state, destination)).map(|at| at.to_rfc3339()),
        reason: far.and_then(|(_, reason)| reason),
    }
}

/// Mail for a linked host is on its way already.
fn next_attempt(state: &state::State, destination: &Destination) -> Option<UnixMillis> {
    match destination {
        Destination::Node(node) => state.parts.mesh.as_ref()?.next_dial(node),
        Destination::HttpHost(name) => {
            Some(state.now().plus(state.parts.http_mesh.as_ref()?.next_attempt(name)?))
        }
        Destination::Provider(_) => None,
    }
}

/// More are counted, but not shown.
const SHOWN: usize = 1_000;
