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
mod limit;
mod mailbox;
mod owner;
mod page;
mod prompt;
mod serve;
mod state;
#[cfg(test)]
mod tests;
mod v1;
mod well_known;

pub use limit::Profile;
pub use serve::{BindError, Bound, bind, serve};
pub use state::{Parts, Shared};

use axum::Router;
use axum::routing::{any, delete, get, post};
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use v1::{agents, count, health, info, messages, pending, register, route, ws};

/// How the agents' API is offered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where agents reach the node. Port 0 means any. Only loopback, until doors can speak TLS.
    #[serde(skip)]
    pub api: Vec<SocketAddr>,
    /// Names besides `localhost` that a request may use for this machine.
    pub allowed_hosts: Vec<String>,
    /// Connections at a time, WebSockets included; more are turned away with 503.
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
    /// Limits on loopback.
    pub local_limits: Profile,
    /// Limits on every other listener.
    pub public_limits: Profile,
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
            local_limits: Profile::local(),
            public_limits: Profile::public(),
        }
    }
}

/// Every endpoint, one line each.
fn routes(state: Shared) -> Router {
    let mut router = Router::new();
    for base in ["/v1", "/api/v1"] {
        // Routed whole rather than nested: nesting takes every request's path apart and builds it anew.
        let at = |path: &str| format!("{base}{path}");
        router = router
            .route(&at("/register"), post(register::register))
            .route(&at("/route"), post(route::route))
            .route(&at("/messages"), get(pending::list)) // IPR-24
            .route(&at("/messages/pending"), get(pending::list))
            .route(&at("/messages/pending"), post(pending::acknowledge_batch))
            .route(&at("/messages/pending"), delete(pending::acknowledge_query))
            .route(&at("/messages/pending/ack"), post(pending::acknowledge_batch))
            .route(&at("/messages/pending/count"), get(count::count))
            .route(&at("/messages/pending/{id}"), delete(pending::acknowledge_one))
            .route(&at("/messages/{id}"), get(messages::state))
            .route(&at("/inbox"), get(pending::list))
            .route(&at("/inbox/{id}/ack"), post(pending::acknowledge_one))
            .route(&at("/agents"), get(agents::list))
            .route(&at("/agents/me"), get(agents::me).patch(agents::update).delete(agents::deregister))
            .route(&at("/agents/resolve/{address}"), get(agents::resolve))
            .route(&at("/agents/{address}"), get(agents::resolve))
            .route(&at("/health"), get(health::health))
            .route(&at("/info"), get(info::info))
            .route(&at("/ws"), any(ws::upgrade));
    }
    router
        .route("/api/v1/v1/inbox", get(pending::list)) // ICL-19
        .route("/api/v1/v1/inbox/{id}/ack", post(pending::acknowledge_one)) // ICL-19
        .route("/api/organization", get(well_known::organization)) // ICL-2
        .route(well_known::PATH, get(well_known::document))
        .fallback(serve::no_such_path)
        .method_not_allowed_fallback(serve::no_such_method)
        .with_state(state)
}

/// The reference network's port (ICL-1).
const DEFAULT_PORT: u16 = 23_000;
