//! Owners of agents, and invite codes, for the node's owner (REG-15…19).

use super::peers::optional;
use crate::agents::owners::shown_id;
use crate::http::body::{self, Json};
use crate::http::error::Problem;
use crate::http::finish::to_the_end;
use crate::http::state::{self, Shared};
use amesh_proto::api::control::Done;
use amesh_proto::api::fields::Fields;
use amesh_proto::api::owner::{MadeInviteCode, Owner, OwnerAdded, OwnerList};
use amesh_store::OwnerRecord;
use axum::extract::State;
use std::time::Duration;

type Body = Json<{ body::SMALL }>;

/// `GET /owners`
pub(crate) async fn list(State(state): State<Shared>) -> Result<axum::Json<OwnerList>, Problem> {
    let owners = state.parts.agents.owners()?;
    Ok(axum::Json(OwnerList { owners: owners.iter().map(|owner| shown(&state, owner)).collect() }))
}

/// `POST /owners/add`
pub(crate) async fn add(State(state): State<Shared>, body: Body) -> Result<axum::Json<OwnerAdded>, Problem> {
    let mut fields = optional(&body)?;
    let (tenant, limit) = (fields.optional_text("tenant")?, fields.optional::<u32>("limit", "a number")?);
    let limit = limit.unwrap_or(AGENTS);
    if limit == 0 {
        return Err(Problem::invalid("limit", "expected 1 or more"));
    }
    let agents = state.parts.agents.clone();
    let adding = async move { agents.add_owner(tenant.as_deref(), limit).await };
    let added = to_the_end(&state.parts.tasks, adding).await?;
    let owner = shown(&state, &added.owner);
    Ok(axum::Json(OwnerAdded { owner, user_key: added.user_key, session_token: added.session_token }))
}

/// `POST /owners/set`
pub(crate) async fn set(State(state): State<Shared>, body: Body) -> Result<axum::Json<Owner>, Problem> {
    let mut fields = Fields::parse(&body.0)?;
    let id = fields.text("owner_id")?;
    let active = fields.optional("active", "true or false")?;
    let active = active.ok_or(amesh_proto::api::fields::BadBody::Missing("active"))?;
    let agents = state.parts.agents.clone();
    let setting = async move { agents.set_owner_active(id.trim(), active).await };
    let owner = to_the_end(&state.parts.tasks, setting).await?;
    Ok(axum::Json(shown(&state, &owner)))
}

/// `POST /owners/remove`
pub(crate) async fn remove(State(state): State<Shared>, body: Body) -> Result<axum::Json<Done>, Problem> {
    let id = Fields::parse(&body.0)?.text("owner_id")?;
    let agents = state.parts.agents.clone();
    to_the_end(&state.parts.tasks, async move { agents.remove_owner(id.trim()).await }).await?;
    Ok(axum::Json(Done { done: true }))
}

/// `POST /agents/code`
pub(crate) async fn code(
    State(state): State<Shared>,
    body: Body,
) -> Result<axum::Json<MadeInviteCode>, Problem> {
    let mut fields = optional(&body)?;
    let tenant = fields.optional_text("tenant")?;
    let uses = fields.optional::<u32>("uses", "a number")?.unwrap_or(1);
    let ttl = fields.optional::<u64>("ttl_secs", "a number of seconds")?.unwrap_or(DAY);
    if uses == 0 {
        return Err(Problem::invalid("uses", "expected 1 or more"));
    }
    if ttl == 0 || ttl > LONGEST_TTL {
        return Err(Problem::invalid("ttl_secs", "expected 1 second to 30 days"));
    }
    let agents = state.parts.agents.clone();
    let making =
        async move { agents.add_invite_code(tenant.as_deref(), uses, Duration::from_secs(ttl)).await };
    let (invite_code, made) = to_the_end(&state.parts.tasks, making).await?;
    let expires_at = made.expires_at.to_rfc3339();
    Ok(axum::Json(MadeInviteCode { invite_code, tenant: made.tenant, uses: made.left, expires_at }))
}

fn shown(state: &state::State, owner: &OwnerRecord) -> Owner {
    Owner {
        owner_id: shown_id(&owner.id),
        tenant: owner.tenant.clone(),
        limit: owner.agent_limit,
        agents: state.parts.agents.owned_by(owner).len(),
        active: owner.active,
        added_at: owner.added_at.to_rfc3339(),
    }
}

const AGENTS: u32 = 10;
const DAY: u64 = 86_400;
const LONGEST_TTL: u64 = 30 * DAY;
