//! The mesh, for its owner: invite, join, leave, peers, remove, promote.

use crate::bridge::http_mesh::HttpMesh;
use crate::http::body::{self, Json};
use crate::http::error::{CONFLICT, Problem};
use crate::http::finish::to_the_end;
use crate::http::state::{self, Shared};
use crate::mesh::{Mesh, MeshError};
use amesh_proto::api::control::{
    Done, Invitation, InviteRequest, JoinRequest, Joined, PeerList, PeerPromoted, PeerRemoved,
};
use amesh_proto::api::error::code;
use amesh_proto::api::fields::Fields;
use axum::extract::State;
use std::time::Duration;

type Body = Json<{ body::SMALL }>;

/// `POST /invite`
pub(crate) async fn invite(
    State(state): State<Shared>,
    body: Body,
) -> Result<axum::Json<Invitation>, Problem> {
    let mut fields = optional(&body)?;
    let request = InviteRequest {
        ttl_secs: fields.optional("ttl_secs", "a number of seconds")?,
        introducer: fields.optional("introducer", "true or false")?.unwrap_or(false),
    };
    if request.ttl_secs.is_some_and(|secs| secs == 0 || secs > LONGEST_TTL_SECS) {
        return Err(Problem::invalid("ttl_secs", "expected 1 second to 7 days"));
    }
    let mesh = mesh(&state)?;
    let ttl = request.ttl_secs.map(Duration::from_secs);
    let ticket =
        to_the_end(&state.parts.tasks, async move { mesh.invite(ttl, request.introducer).await }).await?;
    Ok(axum::Json(Invitation { expires_at: ticket.expires_at.to_rfc3339(), ticket: ticket.to_string() }))
}

/// `POST /join`
pub(crate) async fn join(State(state): State<Shared>, body: Body) -> Result<axum::Json<Joined>, Problem> {
    let mut fields = Fields::parse(&body.0)?;
    let request = JoinRequest {
        ticket: fields.text("ticket")?,
        leave: fields.optional("leave", "true or false")?.unwrap_or(false),
        confirm: fields.optional("confirm", "true or false")?.unwrap_or(false),
    };
    let mesh = mesh(&state)?;
    let joining = async move { mesh.join(request.ticket.trim(), request.leave, request.confirm).await };
    Ok(axum::Json(to_the_end(&state.parts.tasks, joining).await?))
}

/// `POST /leave`
pub(crate) async fn leave(State(state): State<Shared>) -> Result<axum::Json<Done>, Problem> {
    let mesh = mesh(&state)?;
    to_the_end(&state.parts.tasks, async move { mesh.leave().await }).await?;
    Ok(axum::Json(Done { done: true }))
}

/// `GET /peers`
pub(crate) async fn list(State(state): State<Shared>) -> Result<axum::Json<PeerList>, Problem> {
    let http_hosts = state.parts.http_mesh.as_ref().map(HttpMesh::shown_hosts).unwrap_or_default();
    Ok(axum::Json(PeerList { peers: mesh(&state)?.peers(), http_hosts }))
}

/// `POST /peers/remove`
pub(crate) async fn remove(
    State(state): State<Shared>,
    body: Body,
) -> Result<axum::Json<PeerRemoved>, Problem> {
    let id = Fields::parse(&body.0)?.text("id")?;
    let mesh = mesh(&state)?;
    let removing = async move { mesh.remove(id.trim()).await };
    Ok(axum::Json(to_the_end(&state.parts.tasks, removing).await?))
}

/// `POST /peers/promote`
pub(crate) async fn promote(
    State(state): State<Shared>,
    body: Body,
) -> Result<axum::Json<PeerPromoted>, Problem> {
    let id = Fields::parse(&body.0)?.text("id")?;
    let mesh = mesh(&state)?;
    let promoting = async move { mesh.promote(id.trim()).await };
    let node = to_the_end(&state.parts.tasks, promoting).await?;
    Ok(axum::Json(PeerPromoted { node_id: node.to_string() }))
}

/// The mesh, as every owner's action wants it.
pub(super) fn mesh(state: &state::State) -> Result<Mesh, Problem> {
    state.parts.mesh.clone().ok_or_else(|| Problem::unavailable("this node runs without a mesh"))
}

/// A body may be left out where every member may.
pub(super) fn optional(body: &Body) -> Result<Fields<'_>, Problem> {
    Ok(if body.0.is_empty() { Fields::default() } else { Fields::parse(&body.0)? })
}

impl From<MeshError> for Problem {
    fn from(error: MeshError) -> Self {
        let problem = match &error {
            MeshError::File(_) | MeshError::Store(_) => return Self::internal("mesh", &error),
            MeshError::Ticket(_) | MeshError::Expired | MeshError::OwnTicket => {
                Self::new(code::INVALID_FIELD, error.to_string()).field("ticket")
            }
            MeshError::NoSuchMember(_) => Self::not_found(error.to_string()).field("id"),
            MeshError::Ambiguous(_) => Self::new(CONFLICT, error.to_string()).field("id"),
            MeshError::AlreadyMember | MeshError::HasMembers { .. } => Self::new(CONFLICT, error.to_string()),
            MeshError::NotAllowed(_) | MeshError::Refused { .. } => {
                Self::new(code::FORBIDDEN, error.to_string())
            }
            MeshError::Unreachable(_) | MeshError::Stopping => Self::unavailable(error.to_string()),
        };
        let reason = serde_json::Map::from_iter([("reason".to_owned(), error.code().into())]);
        problem.details(reason)
    }
}

const LONGEST_TTL_SECS: u64 = 7 * 86_400;
