//! What hosts of the HTTP mesh ask each other: agents by name, config, identity, and to become a peer.

use super::caller::Caller;
use super::mesh;
use crate::agents::directory::Resolution;
use crate::bridge::http_mesh::Filed;
use crate::http::body::{self, Json, Segment};
use crate::http::error::Problem;
use crate::http::finish::to_the_end;
use crate::http::state::{self, Peer, Shared};
use amesh_proto::api::error::code;
use amesh_proto::api::http_mesh::{ByName, Introduction, NamedAgent};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// `GET /api/agents/by-name/{name}`: agents of this node and no others (IPR-5).
pub(super) async fn by_name(
    State(state): State<Shared>,
    _: Caller,
    Segment(name): Segment,
) -> axum::Json<Value> {
    let directory = state.parts.agents.directory();
    let resolved = directory.expand(&name, None).map(|address| directory.resolve(&address));
    let agent = match resolved {
        Ok(Resolution::Local(agent)) => Some(NamedAgent {
            id: Some(agent.address.to_string()),
            name: Some(agent.address.name().to_owned()),
            host_id: Some(state.parts.naming.host.clone()),
            registered: Some(true),
            address: Some(agent.address.to_string()),
            public_key: Some(agent.key.sender_key_text()),
        }),
        _ => None,
    };
    axum::Json(ByName { agent }.to_json())
}

/// `GET /api/config`: that this node is there (IPR-6).
pub(super) async fn config(State(state): State<Shared>, _: Caller) -> axum::Json<Value> {
    axum::Json(json!({"hostId": state.parts.naming.host, "version": env!("CARGO_PKG_VERSION")}))
}

/// `GET /api/hosts/identity` (IPR-7).
pub(super) async fn identity(State(state): State<Shared>, _: Caller) -> Result<axum::Json<Value>, Problem> {
    let face = own_face(&state)?;
    Ok(axum::Json(json!({"host": face, "organization": state.parts.naming.org})))
}

/// `POST /api/hosts/register-peer`, from anywhere: written down for the owner and nothing else (IPR-8, DESIGN §6).
pub(super) async fn register_peer(
    State(state): State<Shared>,
    peer: Peer,
    body: Json<{ body::SMALL }>,
) -> Result<Response, Problem> {
    let remote = peer.remote.ip();
    state.host_limits.registration(remote, state.now())?;
    let Introduction { host, organization, .. } = Introduction::parse(&body.0)?;
    let mesh = mesh(&state)?;
    let filing = async move { mesh.file(host, remote, None, organization).await };
    let filed = to_the_end(&state.parts.tasks, filing).await?;
    let (status, waits) = match filed {
        Filed::Known => (StatusCode::OK, None),
        Filed::Waiting => (StatusCode::ACCEPTED, Some("the owner of this node is asked")),
    };
    let reply = json!({
        "success": true, "registered": false, "alreadyKnown": filed == Filed::Known, "host": own_face(&state)?,
        "knownHosts": [], "message": waits,
    });
    Ok((status, axum::Json(reply)).into_response())
}

/// `POST /api/hosts/exchange-peers`: what a host says of others is written down, too; this node tells of none (IPR-9).
pub(super) async fn exchange_peers(
    State(state): State<Shared>,
    Caller(hosts): Caller,
    peer: Peer,
    body: Json<{ body::SMALL }>,
) -> Result<axum::Json<Value>, Problem> {
    let Introduction { host: speaker, known, .. } = Introduction::parse(&body.0)?;
    let Some(host) = hosts.into_iter().find(|host| host.is_named(&speaker.id)) else {
        return Err(
            Problem::new(code::FORBIDDEN, "no host of that id is known at this address").field("fromHost")
        );
    };
    let (mesh, remote, teller) = (mesh(&state)?, peer.remote.ip(), host.name.to_string());
    let filing = async move {
        let mut already = Vec::new();
        for face in known {
            let id = face.id.clone();
            match mesh.file(face, remote, Some(teller.clone()), None).await {
                Ok(Filed::Known) => already.push(id),
                Ok(Filed::Waiting) => {}
                Err(error) => {
                    tracing::info!(host = id, told_by = teller, %error, "a host is not written down")
                }
            }
        }
        already
    };
    let already = to_the_end(&state.parts.tasks, filing).await;
    Ok(axum::Json(json!({"success": true, "newlyAdded": [], "alreadyKnown": already, "unreachable": []})))
}

fn own_face(state: &state::State) -> Result<Value, Problem> {
    let (host, url) = (&state.parts.naming.host, mesh(state)?.own_url());
    let version = env!("CARGO_PKG_VERSION");
    Ok(json!({"id": host, "name": host, "url": url, "description": "amesh", "version": version,
        "tailscale": false, "isSelf": true}))
}
