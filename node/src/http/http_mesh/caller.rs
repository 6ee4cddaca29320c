//! Who asks at the door for HTTP mesh hosts: the listed hosts at the TCP peer's address, and what each may ask how often
//! (MSH-6, MSH-13). Extractors, so that a stranger's body is never read.

use super::mesh;
use crate::bridge::http_mesh::Host;
use crate::http::error::Problem;
use crate::http::limit::Class;
use crate::http::state::{Peer, Shared};
use amesh_proto::api::error::code;
use amesh_proto::api::http_mesh::FORWARDED_FROM;
use amesh_store::AgentNo;
use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use std::sync::Arc;

/// Whom a limit of this door counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    /// A host.
    Host(Arc<str>),
    /// An agent that is written to (RAT-3).
    Agent(AgentNo),
}

/// The hosts whose address the request came from; there is at least one.
pub(super) struct Caller(pub(super) Vec<Arc<Host>>);

impl FromRequestParts<Shared> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, Problem> {
        let hosts = callers(parts, state).await?;
        if let Some(host) = hosts.first() {
            state.host_limits.agent(Class::Other, &Who::Host(host.name.clone()), state.now())?;
        }
        Ok(Self(hosts))
    }
}

/// The host that forwards: the one that the header names, of those at the address (MSH-6).
pub(super) struct Forwarder(pub(super) Arc<Host>);

impl FromRequestParts<Shared> for Forwarder {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, Problem> {
        let hosts = callers(parts, state).await?;
        let Some(claim) = one(&parts.headers, FORWARDED_FROM)? else {
            let why = "expected the header X-Forwarded-From: this door takes forwarded mail only";
            return Err(Problem::new(code::FORBIDDEN, why).field("X-Forwarded-From"));
        };
        let Some(host) = hosts.into_iter().find(|host| host.is_named(claim)) else {
            let why = format!("no host called {claim:?} is known at this address");
            return Err(Problem::new(code::FORBIDDEN, why).field("X-Forwarded-From"));
        };
        state.host_limits.agent(Class::Route, &Who::Host(host.name.clone()), state.now())?;
        Ok(Self(host))
    }
}

async fn callers(parts: &Parts, state: &Shared) -> Result<Vec<Arc<Host>>, Problem> {
    let remote = parts.extensions.get::<Peer>().map(|peer| peer.remote.ip());
    let hosts = match remote {
        Some(remote) => mesh(state)?.hosts_at(remote).await,
        None => Vec::new(),
    };
    if !hosts.is_empty() {
        return Ok(hosts);
    }
    if let Some(remote) = remote {
        state.host_limits.failure(remote, state.now())?;
    }
    Err(Problem::new(
        code::FORBIDDEN,
        "this address is that of no host that the owner of this node has listed",
    ))
}

/// A header that may come once.
pub(in crate::http) fn one<'a>(
    headers: &'a HeaderMap,
    name: &'static str,
) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().map(|value| value.to_str());
    match (value, values.next()) {
        (None, _) => Ok(None),
        (Some(Ok(text)), None) => Ok(Some(text.trim())),
        _ => Err(Problem::invalid(name, "expected the header once, in printable characters")),
    }
}
