//! `GET /info` (API-4, API-14, RAT-6).

use crate::agents::tenants::Mode;
use crate::http::state::{self, Peer, Shared};
use amesh_proto::api::info::{Info, RateLimits};
use axum::Json;
use axum::extract::State;

/// What this provider can do, and the limits on this listener (API-4, RAT-6).
#[utoipa::path(get, path = "", tag = "provider", security(()),
    responses((status = 200, description = "Only what is really on.", body = Info)))]
pub(crate) async fn info(State(state): State<Shared>, peer: Peer) -> Json<Info> {
    let (name, profile) = state.profile(&peer);
    let own = state.parts.federation.as_ref().and_then(|federation| federation.own());
    Json(Info {
        provider: state.parts.naming.provider.clone(),
        version: "amp/0.1".to_owned(),
        public_key: own.map(|own| own.public_key().to_pem()),
        fingerprint: own.map(|own| own.public_key().fingerprint()),
        capabilities: capabilities(&state),
        registration_modes: modes(&state, &peer),
        rate_limits: RateLimits {
            messages_per_minute: profile.route_per_minute,
            api_requests_per_minute: profile.other_per_minute,
            received_per_minute: profile.received_per_minute,
            profile: name.to_owned(),
        },
    })
}

/// REG-15: nothing is open but on loopback (DESIGN §6).
fn modes(state: &state::State, peer: &Peer) -> Vec<String> {
    let on_loopback = peer.local.ip().is_loopback();
    let mut modes = state.parts.agents.config().modes();
    modes.iter_mut().filter(|_| !on_loopback).for_each(|mode| *mode = (*mode).max(Mode::Invite));
    modes.dedup();
    modes.into_iter().map(|mode| mode.as_str().to_owned()).collect()
}

/// Only what is really on (API-14, A-77).
pub(crate) fn capabilities(state: &state::State) -> Vec<String> {
    let mut names = vec!["registration", "local-delivery", "relay-queue", "websockets", "attachments"];
    if state.parts.agents.webhooks().are_on() {
        names.push("webhooks");
    }
    if state.parts.mesh.is_some() {
        names.push("mesh-routing");
    }
    names.into_iter().map(str::to_owned).collect()
}
