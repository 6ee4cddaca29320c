//! `agents`: oneself, the others, and where an address leads (AMP 08 §Agent Management; AMP 02 §Resolution API).

use crate::agents::Agent;
use crate::agents::directory::{Listed, Resolution};
use crate::http::auth::Caller;
use crate::http::body::{self, Json, Segment};
use crate::http::error::Problem;
use crate::http::finish::to_the_end;
use crate::http::page::{PageParams, Query, cursor};
use crate::http::state::{self, Shared};
use crate::message::Whereabouts;
use amesh_proto::address::Address;
use amesh_proto::api::agents::{
    AgentDeregistered, AgentEntry, AgentPage, AgentPatch, AgentSelf, AgentUpdated, DeliverySettings, OldKey,
    ResolvedAgent,
};
use amesh_proto::api::error::code;
use amesh_proto::key::PublicKey;
use amesh_proto::roster::RetiredKey;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use std::collections::HashSet;

/// The caller's own registration (API-7).
#[utoipa::path(get, path = "", tag = "agents",
    responses((status = 200, description = "Without the webhook's secret.", body = AgentSelf)))]
pub(crate) async fn me(State(state): State<Shared>, caller: Caller) -> Response {
    let agent = &caller.agent;
    let record = &agent.record;
    caller.reply(Ok(axum::Json(AgentSelf {
        address: agent.address.to_string(),
        short_address: agent.short_address().to_string(),
        agent_id: id_of(agent),
        tenant: agent.address.tenant().to_owned(),
        alias: record.alias.clone(),
        delivery: DeliverySettings {
            webhook_url: record.delivery.webhook_url.clone(),
            webhook_secret: None,
            prefer_websocket: Some(record.delivery.prefer_websocket),
        },
        fingerprint: agent.key.fingerprint(),
        key_algorithm: agent.key.algorithm().as_str().to_owned(),
        metadata: record
            .metadata
            .as_deref()
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default(),
        registered_at: record.registered_at.to_rfc3339(),
        last_seen_at: state.parts.agents.presence().last_seen(agent.no).map(|at| at.to_rfc3339()),
    })))
}

/// Changes the caller's alias, delivery or metadata (REG-23). What is absent stays as it is.
#[utoipa::path(patch, path = "", tag = "agents", request_body = AgentPatch,
    responses((status = 200, description = "Changed.", body = AgentUpdated)))]
pub(crate) async fn update(
    State(state): State<Shared>,
    caller: Caller,
    body: Result<Json<{ body::SMALL }>, Problem>,
) -> Response {
    let done = async {
        let patch = AgentPatch::parse(&body?.0)?;
        let (agents, agent) = (state.parts.agents.clone(), caller.agent.clone());
        let changed =
            to_the_end(&state.parts.tasks, async move { agents.update(&agent, patch).await }).await?;
        Ok(AgentUpdated { updated: true, address: changed.address.to_string() })
    };
    caller.reply(done.await.map(axum::Json))
}

/// Gives up the caller's name; it is withheld for 30 days (REG-24, REG-25).
#[utoipa::path(delete, path = "", tag = "agents",
    responses((status = 200, description = "The API key opens nothing from now on.", body = AgentDeregistered)))]
pub(crate) async fn deregister(State(state): State<Shared>, caller: Caller) -> Response {
    let (agents, agent) = (state.parts.agents.clone(), caller.agent.clone());
    let gone = to_the_end(&state.parts.tasks, async move { agents.deregister(&agent).await }).await;
    let shown = gone.map(|at| AgentDeregistered {
        deregistered: true,
        address: caller.agent.address.to_string(),
        deregistered_at: at.to_rfc3339(),
    });
    caller.reply(shown.map(axum::Json).map_err(Problem::from))
}

/// The agents of the caller's tenant, by address (API-8).
#[utoipa::path(get, path = "", tag = "agents",
    params(PageParams, ("tenant" = Option<String>, Query, description = "The caller's own; another is refused unless the node's owner allows it."),
        ("host" = Option<String>, Query, description = "Only agents that live there."),
        ("search" = Option<String>, Query, description = "A part of the address or the alias.")),
    responses((status = 200, description = "A page of agents.", body = AgentPage)),
    extensions(("x-errors" = json!(["invalid_field"]))))]
pub(crate) async fn list(State(state): State<Shared>, caller: Caller, uri: Uri) -> Response {
    let page = page(&state, &caller.agent, &Query::parse(uri.query())).await;
    caller.reply(page.map(axum::Json))
}

async fn page(state: &state::State, agent: &Agent, query: &Query<'_>) -> Result<AgentPage, Problem> {
    let (limit, after) = (query.limit()?, query.cursor()?);
    let wanted = query.get("tenant").unwrap_or_else(|| agent.address.tenant()).to_ascii_lowercase();
    let tenant = wanted.as_str();
    if tenant != agent.address.tenant() && !state.parts.agents.config().list_other_tenants {
        return Err(
            Problem::new(code::FORBIDDEN, "you can list the agents of your own tenant only").field("tenant")
        );
    }
    let search = query.get("search").map(str::to_lowercase);
    let mut found = state.parts.agents.directory().list();
    found.retain(|listed| listed.address.tenant() == tenant && matches(listed, search.as_deref()));
    if let Some(host) = query.get("host") {
        found.retain(|listed| listed.host.eq_ignore_ascii_case(host));
    }
    let total = found.len();
    let mut rest = found
        .into_iter()
        .filter(|listed| after.as_deref().is_none_or(|after| listed.address.as_str() > after));
    let shown: Vec<Listed> = rest.by_ref().take(limit).collect();
    let has_more = rest.next().is_some();
    let online = state.online(&shown).await;
    let agents: Vec<AgentEntry> = shown.into_iter().map(|listed| entry(listed, &online)).collect();
    let cursor = agents.last().filter(|_| has_more).map(|last| cursor(&last.address));
    Ok(AgentPage { agents, total, cursor, has_more })
}

fn matches(listed: &Listed, search: Option<&str>) -> bool {
    let alias = |text: &str| listed.alias.as_deref().is_some_and(|alias| alias.to_lowercase().contains(text));
    search.is_none_or(|text| listed.address.as_str().contains(text) || alias(text))
}

fn entry(listed: Listed, online: &HashSet<Address>) -> AgentEntry {
    AgentEntry {
        address: listed.address.to_string(),
        alias: listed.alias,
        online: online.contains(&listed.address),
        host: Some(listed.host),
    }
}

/// Where an address leads, and the key that its mail is signed with (API-10).
#[utoipa::path(get, path = "", tag = "agents",
    params(("address" = String, Path, min_length = 1, description = "An address, or a short form of one, percent-encoded or not.", example = "bert@default.aimaestro.local")),
    responses((status = 200, description = "The agent.", body = ResolvedAgent)),
    extensions(("x-errors" = json!(["invalid_field"]))))]
pub(crate) async fn resolve(
    State(state): State<Shared>,
    caller: Caller,
    address: Result<Segment, Problem>,
) -> Response {
    let found = match address {
        Ok(address) => look_up(&state, &caller.agent, &address.0).await,
        Err(problem) => Err(problem),
    };
    caller.reply(found.map(axum::Json))
}

async fn look_up(state: &state::State, asking: &Agent, typed: &str) -> Result<ResolvedAgent, Problem> {
    let directory = state.parts.agents.directory();
    let expanded = directory.expand(typed, Some(&asking.address));
    let address = expanded.map_err(|error| Problem::invalid("address", error.to_string()))?;
    match directory.resolve(&address) {
        Resolution::Local(agent) => Ok(ResolvedAgent {
            alias: agent.record.alias.clone(),
            retired_keys: retired(directory.retired_keys(&agent.address)),
            online: state.parts.agents.presence().online(agent.no),
            host: Some(directory.naming().host.clone()),
            ..with_key(agent.address.to_string(), &agent.key)
        }),
        Resolution::Remote { node, host, address, entry } => {
            let key =
                PublicKey::from_spki_der(&entry.public_key).map_err(|e| Problem::internal("resolve", &e))?;
            Ok(ResolvedAgent {
                alias: entry.alias.clone(),
                online: !state.online_there(&[(node, address)]).await.is_empty(),
                host: Some(host),
                retired_keys: retired(entry.previous_keys.clone()),
                ..with_key(entry.address.to_string(), &key)
            })
        }
        Resolution::Unknown => outside(state, address).await,
    }
}

/// One at an HTTP host or at another provider is known by the key that verified its first message.
async fn outside(state: &state::State, address: Address) -> Result<ResolvedAgent, Problem> {
    let not_found = |why: String| Err(Problem::not_found(why).field("address"));
    match state.parts.hallway.find_elsewhere(address.clone()).await {
        Whereabouts::HttpHost(host) => {
            let known = state.parts.agents.directory().outsider(&address);
            let Some(key) = known.and_then(|known| known.key) else {
                return not_found(format!(
                    "{address} is at {host}, an HTTP mesh host; its key is not known before it has written"
                ));
            };
            Ok(ResolvedAgent { host: Some(host.to_string()), ..with_key(address.to_string(), &key) })
        }
        Whereabouts::Unsure(silent) => Err(Problem::unavailable(format!(
            "nobody knows {address}, and it cannot be asked for at {}, which does not answer",
            silent.join(", ")
        ))),
        Whereabouts::Nowhere => {
            let foreigner = state.parts.agents.directory().foreigner(&address);
            if let Some(key) = foreigner.and_then(|known| known.key) {
                return Ok(with_key(address.to_string(), &key));
            }
            not_found(format!("there is no agent {address} here or on any host of this mesh"))
        }
    }
}

fn retired(keys: Vec<RetiredKey>) -> Vec<OldKey> {
    let shown = |old: RetiredKey| {
        let key = PublicKey::from_spki_der(&old.public_key).ok()?;
        Some(OldKey {
            public_key: key.to_pem(),
            fingerprint: key.fingerprint(),
            until: old.until.to_rfc3339(),
            compromised: old.compromised,
        })
    };
    keys.into_iter().filter_map(shown).collect()
}

fn with_key(address: String, key: &PublicKey) -> ResolvedAgent {
    ResolvedAgent {
        address,
        public_key: key.to_pem(),
        key_algorithm: key.algorithm().as_str().to_owned(),
        fingerprint: key.fingerprint(),
        did: key.did(),
        ..ResolvedAgent::default()
    }
}

/// The agent's id here (REG-8): its number in the store, which is never given twice.
pub(crate) fn id_of(agent: &Agent) -> String {
    format!("agt_{:08x}", agent.no.0)
}
