//! The node itself, for its owner: status, doctor, agents, down.

use super::peers::mesh;
use crate::agents::directory::Listed;
use crate::http::error::Problem;
use crate::http::state::{self, Parts, Shared};
use crate::http::v1::health;
use amesh_discovery::finder::{self, Source};
use amesh_discovery::manager::{Manager, Neighbour};
use amesh_proto::address::Address;
use amesh_proto::api::control::{Clash, Done, NodeFacts, OwnedAgent, OwnedAgents, Status};
use amesh_proto::api::error::code;
use axum::Json;
use axum::extract::State;
use std::collections::HashSet;

/// `GET /status`
pub(crate) async fn status(State(state): State<Shared>) -> Json<Status> {
    let parts = &state.parts;
    let mesh = mesh(&state).ok();
    Json(Status {
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        health: health::word(&state).to_owned(),
        host: parts.naming.host.clone(),
        org: parts.naming.org.clone(),
        provider: parts.naming.provider.clone(),
        node_id: mesh.as_ref().map(|mesh| mesh.node_id().to_string()).unwrap_or_default(),
        mesh: mesh.as_ref().map(|mesh| mesh.status()),
        api: state.api.iter().copied().map(crate::http::url_of).collect(),
        mesh_listen: mesh.iter().map(|mesh| mesh.listen_addr().to_string()).collect(),
        uptime_seconds: state.uptime().as_secs(),
        agents: parts.agents.count(),
        agents_online: parts.agents.presence().online_count(),
        queued: queued(parts),
        data_dir: Some(parts.data_dir.display().to_string()),
    })
}

fn queued(parts: &Parts) -> u64 {
    parts.store.outbox_destinations().iter().map(|queue| u64::from(queue.count)).sum()
}

/// `GET /doctor`
pub(crate) async fn doctor(State(state): State<Shared>) -> Json<NodeFacts> {
    let parts = &state.parts;
    let (open, taking) = (parts.store.is_open(), parts.store.is_taking_mail());
    let mesh = parts.mesh.as_ref();
    let mut facts = NodeFacts {
        clashes: parts.agents.directory().clashes().iter().map(clash).collect(),
        label_conflicts: mesh.map(crate::mesh::Mesh::label_conflicts).unwrap_or_default(),
        duplicate_node_key: mesh.is_some_and(crate::mesh::Mesh::has_twin),
        disk_free_bytes: fs4::available_space(&parts.data_dir).ok(),
        disk_full: open && !taking,
        clock_jumped: !parts.hallway.clock_is_steady(),
        store_ok: taking,
        certificate: parts.tls.as_ref().map(crate::http::Tls::facts),
        ..NodeFacts::default()
    };
    if let Some((host, ahead_ms)) = mesh.and_then(crate::mesh::Mesh::widest_clock) {
        (facts.clock_skew_host, facts.clock_skew_secs) = (Some(host), Some(ahead_ms / 1000));
    }
    if let Some(discovery) = mesh.and_then(crate::mesh::Mesh::discovery) {
        tell_discovery(discovery, &mut facts);
    }
    Json(facts)
}

fn tell_discovery(discovery: &Manager, facts: &mut NodeFacts) {
    for (source, finding) in discovery.states() {
        facts.multicast_enabled |= source == Source::Mdns;
        if let finder::State::Failing(why) = finding {
            facts.notes.push(format!("discovery by {} does not work: {why}", source.as_str()));
        }
    }
    let by_multicast = |seen: Neighbour| seen.sources.contains(&Source::Mdns);
    facts.multicast_heard = discovery.neighbours().into_iter().any(by_multicast);
}

fn clash(clash: &crate::agents::directory::Clash) -> Clash {
    Clash {
        address: clash.address.to_string(),
        holder: clash.holder.host.clone(),
        loser: clash.loser.host.clone(),
        mend: clash.mend.clone().unwrap_or_default(),
    }
}

/// `GET /agents`
pub(crate) async fn agents(State(state): State<Shared>) -> Json<OwnedAgents> {
    let listed = state.parts.agents.directory().list();
    let online = state.online(&listed).await;
    let agents = listed.into_iter().map(|listed| owned(&state, listed, &online)).collect();
    Json(OwnedAgents { agents })
}

fn owned(state: &state::State, listed: Listed, online: &HashSet<Address>) -> OwnedAgent {
    let local = listed.local.and_then(|_| state.parts.agents.directory().local_agent(&listed.address));
    let pending = local.as_ref().map_or(0, |agent| state.parts.store.pending_count(agent.no));
    OwnedAgent {
        address: listed.address.to_string(),
        fingerprint: fingerprint(state, &listed.address),
        host: listed.host,
        local: local.is_some(),
        alias: listed.alias,
        online: online.contains(&listed.address),
        pending: pending.into(),
        registered_at: local.map(|agent| agent.record.registered_at.to_rfc3339()).unwrap_or_default(),
    }
}

fn fingerprint(state: &state::State, address: &Address) -> String {
    let key = state.parts.agents.directory().current_key(address);
    key.map(|key| key.fingerprint()).unwrap_or_default()
}

/// `POST /down`: answered first, done after.
pub(crate) async fn down(State(state): State<Shared>) -> Result<Json<Done>, Problem> {
    if state.parts.tasks.stopping().is_cancelled() {
        return Err(Problem::new(code::UNAVAILABLE, "the node is stopping already"));
    }
    state.parts.stop_requested.notify_one();
    Ok(Json(Done { done: true }))
}
