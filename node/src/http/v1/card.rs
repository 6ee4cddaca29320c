//! `agents/me/card`: who the caller is, on one page, as this node vouches for it (IPR-28). What the agent signs itself is
//! made where its private key is: `amesh identity card`.

use crate::http::auth::Caller;
use crate::http::state::Shared;
use amesh_proto::card::AgentCard;
use axum::extract::State;
use axum::response::Response;

/// The caller's card. Nobody signed it: a node has no agent's private key.
#[utoipa::path(get, path = "", tag = "agents",
    responses((status = 200, description = "The card, with `signature: null` and `provider_asserted: true`.", body = AgentCard)))]
pub(crate) async fn card(State(state): State<Shared>, caller: Caller) -> Response {
    let agent = &caller.agent;
    let card = AgentCard::new(agent.address.as_str(), &agent.key, state.now());
    caller.reply(Ok(axum::Json(AgentCard {
        provider: agent.address.provider().to_owned(),
        alias: agent.record.alias.clone(),
        provider_asserted: true,
        ..card
    })))
}
