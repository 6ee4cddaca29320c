//! `auth/user-key` and `agents/owned`: an owner and their agents, by session token (AMP 03 §User Key Endpoint,
//! §Owner-Based Agent Management).

use crate::agents::owners::{shown_id, user_key};
use crate::http::auth::OwnerSession;
use crate::http::body::Segment;
use crate::http::error::Problem;
use crate::http::finish::to_the_end;
use crate::http::state::Shared;
use crate::http::v1::agents::id_of;
use amesh_proto::api::owned::{OwnedDeleted, OwnedEntry, OwnedPage, UserKey};
use axum::Json;
use axum::extract::State;

/// The owner's user key, which registers agents (REG-21). Wants the owner's session token instead of an API key.
#[utoipa::path(get, path = "", tag = "registration",
    responses((status = 200, description = "The same key every time.", body = UserKey)))]
pub(crate) async fn key(State(state): State<Shared>, session: OwnerSession) -> Json<UserKey> {
    let owner = &session.owner;
    Json(UserKey {
        user_key: user_key(&owner.id, &owner.tenant, &session.token),
        user_id: shown_id(&owner.id),
        tenant_id: format!("ten_{}", owner.tenant),
        agent_count: state.parts.agents.owned_by(owner).len(),
        agent_limit: owner.agent_limit,
    })
}

/// The owner's agents (REG-21). Wants the owner's session token instead of an API key.
#[utoipa::path(get, path = "", tag = "registration",
    responses((status = 200, description = "All of them.", body = OwnedPage)))]
pub(crate) async fn list(State(state): State<Shared>, session: OwnerSession) -> Json<OwnedPage> {
    let owned = state.parts.agents.owned_by(&session.owner);
    let entry = |agent: &crate::agents::Agent| OwnedEntry {
        id: id_of(agent),
        address: agent.address.to_string(),
        online: state.parts.agents.presence().online(agent.no),
        registered_at: agent.record.registered_at.to_rfc3339(),
    };
    let agents: Vec<OwnedEntry> = owned.iter().map(|agent| entry(agent)).collect();
    Json(OwnedPage { total: agents.len(), agents, limit: session.owner.agent_limit })
}

/// Removes one of the owner's agents (REG-21). Wants the owner's session token instead of an API key.
#[utoipa::path(delete, path = "", tag = "registration",
    params(("agent_id" = String, Path, min_length = 1, description = "As `agents/owned` lists it.", example = "agt_00000001")),
    responses((status = 200, description = "Its name is withheld for 30 days.", body = OwnedDeleted)))]
pub(crate) async fn delete(
    State(state): State<Shared>,
    session: OwnerSession,
    agent_id: Segment,
) -> Result<Json<OwnedDeleted>, Problem> {
    let owned = state.parts.agents.owned_by(&session.owner);
    let agent = owned.into_iter().find(|agent| id_of(agent) == agent_id.0);
    let agent = agent.ok_or_else(|| Problem::not_found("you own no agent of this id").field("agent_id"))?;
    let agents = state.parts.agents.clone();
    to_the_end(&state.parts.tasks, async move { agents.deregister(&agent).await }).await?;
    Ok(Json(OwnedDeleted { deleted: true, agent_id: agent_id.0 }))
}
