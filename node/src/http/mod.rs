//! The HTTP doors: every endpoint of the agents' API on one page. `node` calls [`bind`] and [`serve`].
//!
//! A request passes `serve` (connection), `guard` (browsers), `auth` (who, how often), `body` (size, time), and then one
//! handler of `v1/`; what fails ends in `error`. The owner's socket is `control/`, and no route of it is here.

mod auth;
mod body;
pub mod control;
mod error;
mod finish;
mod guard;
pub mod http_mesh;
mod limit;
mod mailbox;
mod online;
pub mod openapi;
mod owner;
mod page;
mod prompt;
mod serve;
mod state;
#[cfg(test)]
mod tests;
mod tls;
mod v1;
mod well_known;

pub use limit::Profile;
pub use serve::{BindError, Bound, bind, serve, url_of};
pub use state::{Parts, Shared};
pub use tls::{Config as TlsConfig, Tls, TlsError};

use axum::Router;
use openapi::Table;
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use utoipa_axum::routes;
use v1::{
    agents, attachments, card, count, federation, health, info, keys, messages, owned, pending, register,
    registrations, route, ws,
};

/// How the agents' API is offered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where agents reach the node. Port 0 means any. Every address but loopback speaks TLS.
    #[serde(skip)]
    pub api: Vec<SocketAddr>,
    /// Names besides `localhost`, and besides those in the certificate where it is shown, that a request may use for this machine.
    pub allowed_hosts: Vec<String>,
    /// Connections at a time on loopback, WebSockets included; more are turned away with 503. As many again from elsewhere, a
    /// quarter of them from one source at most.
    pub max_connections: usize,
    /// Requests at a time that may wait for mail (`wait=`); more are turned away with 503.
    pub max_long_polls: usize,
    /// Seconds within which a request's head must arrive; also how long an idle connection is kept.
    pub header_timeout_s: u64,
    /// Seconds within which a request's body must arrive.
    pub body_timeout_s: u64,
    /// Seconds within which a WebSocket must prove itself (WS-5).
    pub socket_auth_s: u64,
    /// Seconds without any traffic after which a WebSocket is closed (WS-9).
    pub socket_idle_s: u64,
    /// Files that go with messages.
    pub attachments: crate::attachments::Config,
    /// Limits on loopback.
    pub local_limits: Profile,
    /// Limits on every other listener.
    pub public_limits: Profile,
    /// Limits of each HTTP mesh host, and for strangers at its listener.
    pub host_limits: Profile,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            api: vec![(Ipv4Addr::LOCALHOST, DEFAULT_PORT).into(), (Ipv6Addr::LOCALHOST, DEFAULT_PORT).into()],
            allowed_hosts: Vec::new(),
            max_connections: 4096,
            max_long_polls: 2048,
            header_timeout_s: 30,
            body_timeout_s: 10,
            socket_auth_s: 10,
            socket_idle_s: 300,
            attachments: crate::attachments::Config::default(),
            local_limits: Profile::local(),
            public_limits: Profile::public(),
            host_limits: Profile::host(),
        }
    }
}

fn routes(state: Shared) -> Router {
    endpoints()
        .into_router(&["/v1", "/api/v1"])
        .fallback(serve::no_such_path)
        .method_not_allowed_fallback(serve::no_such_method)
        .with_state(state)
}

/// Every endpoint, one line each. The router and the API's document are made from it: a handler says by
/// `#[utoipa::path]` which method it takes and what it answers, and by nothing else where it is.
fn endpoints() -> Table {
    Table::default()
        .at("/register", routes!(register::register))
        .at("/route", routes!(route::route))
        .alias("/messages", routes!(pending::list)) // IPR-24
        .at("/messages/pending", routes!(pending::list))
        .alias("/messages/pending", routes!(pending::acknowledge_batch))
        .alias("/messages/pending", routes!(pending::acknowledge_query))
        .at("/messages/pending/ack", routes!(pending::acknowledge_batch))
        .at("/messages/pending/count", routes!(count::count))
        .at("/messages/pending/{id}", routes!(pending::acknowledge_one))
        .at("/messages/{id}", routes!(messages::state))
        .at("/messages/{id}/read", routes!(messages::read))
        .alias("/inbox", routes!(pending::list))
        .alias("/inbox/{id}/ack", routes!(pending::acknowledge_by_post))
        .everywhere("/attachments/upload", routes!(attachments::request))
        .everywhere("/attachments/{id}", routes!(attachments::status))
        .everywhere("/attachments/{id}/upload", routes!(attachments::upload::upload))
        .everywhere("/attachments/{id}/confirm", routes!(attachments::confirm))
        .everywhere("/attachments/{id}/download", routes!(attachments::download::download))
        .at("/agents", routes!(agents::list))
        .at("/agents/me", routes!(agents::me, agents::update, agents::deregister))
        .at("/agents/me/card", routes!(card::card))
        .at("/agents/me/registrations", routes!(registrations::list))
        .at("/agents/me/registrations/{provider}", routes!(registrations::put, registrations::remove))
        .at("/agents/resolve/{address}", routes!(agents::resolve))
        .alias("/agents/{address}", routes!(agents::resolve))
        .at("/auth/rotate-key", routes!(keys::rotate_api_key))
        .at("/auth/revoke-key", routes!(keys::revoke_api_keys))
        .at("/auth/rotate-keys", routes!(keys::rotate_keys))
        .at("/auth/user-key", routes!(owned::key))
        .at("/agents/owned", routes!(owned::list))
        .at("/agents/owned/{agent_id}", routes!(owned::delete))
        .at("/federation/deliver", routes!(federation::deliver))
        .at("/health", routes!(health::health))
        .at("/info", routes!(info::info))
        .at("/openapi.json", routes!(openapi::json)) // API-11
        .at("/openapi.yaml", routes!(openapi::yaml))
        .at("/docs", routes!(openapi::docs))
        .at("/ws", routes!(ws::upgrade))
        .alias_outside("/api/v1/v1/inbox", routes!(pending::list)) // ICL-19
        .alias_outside("/api/v1/v1/inbox/{id}/ack", routes!(pending::acknowledge_by_post)) // ICL-19
        .outside("/api/organization", routes!(well_known::organization)) // ICL-2
        .outside(well_known::PATH, routes!(well_known::document))
}

/// The reference network's port (ICL-1).
const DEFAULT_PORT: u16 = 23_000;
