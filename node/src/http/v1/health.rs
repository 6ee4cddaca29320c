//! `GET /health` (API-3, MSH-8).

use crate::http::state::{self, Shared};
use amesh_proto::api::health::{Health, MeshHealth};
use axum::Json;
use axum::extract::State;

/// How the node is (API-3).
#[utoipa::path(get, path = "", tag = "provider", security(()),
    responses((status = 200, description = "Healthy, or degraded: then it takes no new mail.", body = Health)))]
pub(crate) async fn health(State(state): State<Shared>) -> Json<Health> {
    let mesh = state.parts.mesh.as_ref().map(|mesh| {
        let status = mesh.status();
        MeshHealth {
            enabled: status.members > 1,
            hosts_configured: status.members.saturating_sub(1),
            hosts_reachable: status.connected,
            self_host_id: state.parts.naming.host.clone(),
        }
    });
    Json(Health {
        status: word(&state).to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        provider: state.parts.naming.provider.clone(),
        federation: false,
        agents_online: state.parts.agents.presence().online_count(),
        uptime_seconds: state.uptime().as_secs(),
        mesh,
    })
}

/// `healthy`, or `degraded` while new mail is refused.
pub(crate) fn word(state: &state::State) -> &'static str {
    if state.parts.store.is_taking_mail() { "healthy" } else { "degraded" }
}
