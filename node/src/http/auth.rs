//! Who is asking: the extractors of every endpoint that wants an API key (KEY-9, API-2). No handler reads `Authorization`.
//!
//! Extractors run before the body is read, so that a stranger's body costs nothing; the rate is judged here too,
//! before anything is verified (DESIGN §6).

use crate::agents::api_key::{self, KeyHash};
use crate::agents::{Agent, AuthError};
use crate::http::error::Problem;
use crate::http::limit::{Class, Standing};
use crate::http::page::Query;
use crate::http::state::{Peer, Shared, State};
use amesh_store::OwnerRecord;
use axum::extract::FromRequestParts;
use axum::http::header::RETRY_AFTER;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use std::marker::PhantomData;
use std::sync::Arc;

/// An authenticated agent within its limits.
#[derive(Debug)]
pub(crate) struct Caller<C = Other> {
    /// The agent.
    pub(crate) agent: Arc<Agent>,
    standing: Option<Standing>,
    counted: PhantomData<C>,
}

/// Counts as sending.
#[derive(Debug)]
pub(crate) struct Route;
/// Counts as polling.
#[derive(Debug)]
pub(crate) struct Pending;
/// Counts as polling, unless it means to wait: a long-poll is no burden while it lasts (DESIGN §6).
#[derive(Debug)]
pub(crate) struct Waiting;
/// Counts as anything else.
#[derive(Debug)]
pub(crate) struct Other;

/// What a request counts as, as a type.
pub(crate) trait Counted: Send {
    /// The class.
    const CLASS: Class;

    /// Whether a request for `uri` counts at all.
    fn counts(_uri: &Uri) -> bool {
        true
    }
}

impl Counted for Route {
    const CLASS: Class = Class::Route;
}
impl Counted for Pending {
    const CLASS: Class = Class::Pending;
}
impl Counted for Waiting {
    const CLASS: Class = Class::Pending;

    fn counts(uri: &Uri) -> bool {
        !matches!(Query::parse(uri.query()).wait(), Ok(Some(_)))
    }
}
impl Counted for Other {
    const CLASS: Class = Class::Other;
}

impl<C> Caller<C> {
    /// The response to a result, with the headers of RAT-5. Where another limit was exceeded, its own stay.
    pub(crate) fn reply<T: IntoResponse>(&self, result: Result<T, Problem>) -> Response {
        let mut response = result.into_response();
        if let Some(standing) =
            self.standing.as_ref().filter(|_| !response.headers().contains_key(RETRY_AFTER))
        {
            standing.write(response.headers_mut());
        }
        response
    }
}

impl<C: Counted> FromRequestParts<Shared> for Caller<C> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, Problem> {
        let peer = peer_of(parts)?;
        let agent = match bearer(&parts.headers)? {
            Some(key) => log_in(state, peer, key)?,
            None => return Err(failed(state, peer, MISSING)),
        };
        let standing = match C::counts(&parts.uri) {
            true => state.limits(peer).agent(C::CLASS, &agent.no, state.now())?,
            false => None,
        };
        Ok(Self { agent, standing, counted: PhantomData })
    }
}

/// An owner of agents, by session token. Their requests count as one source's registrations do.
#[derive(Debug)]
pub(crate) struct OwnerSession {
    /// The owner.
    pub(crate) owner: OwnerRecord,
    /// What proved them.
    pub(crate) token: String,
}

impl FromRequestParts<Shared> for OwnerSession {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, Problem> {
        let peer = peer_of(parts)?;
        state.limits(peer).registration(peer.remote.ip(), state.now())?;
        let Some(token) = bearer(&parts.headers)? else { return Err(failed(state, peer, NO_SESSION)) };
        match state.parts.agents.owner_of_session(token) {
            Ok(owner) => Ok(Self { owner, token: token.to_owned() }),
            Err(AuthError::Unavailable) => Err(Problem::unavailable(AuthError::Unavailable.to_string())),
            Err(AuthError::Unknown) => Err(failed(state, peer, NO_SESSION)),
        }
    }
}

/// The hash of the API key that the request came with, for the one handler that replaces just that key.
#[derive(Debug)]
pub(crate) struct Presented(pub(crate) KeyHash);

impl FromRequestParts<Shared> for Presented {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, Problem> {
        let key = bearer(&parts.headers)?.and_then(api_key::hash);
        key.map(Self).ok_or_else(|| Problem::unauthorized(MISSING))
    }
}

impl FromRequestParts<Shared> for Peer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, Problem> {
        peer_of(parts).cloned()
    }
}

/// The agent whose key this is.
///
/// # Errors
/// 401; 429 when this source has failed too often.
pub(crate) fn log_in(state: &State, peer: &Peer, key: &str) -> Result<Arc<Agent>, Problem> {
    match state.parts.agents.authenticate(key) {
        Ok(agent) => Ok(agent),
        Err(AuthError::Unavailable) => Err(Problem::unavailable(AuthError::Unavailable.to_string())),
        Err(AuthError::Unknown) => Err(failed(state, peer, "the API key is unknown, expired or revoked")),
    }
}

fn failed(state: &State, peer: &Peer, why: &'static str) -> Problem {
    match state.limits(peer).failure(peer.remote.ip(), state.now()) {
        Ok(()) => Problem::unauthorized(why),
        Err(exceeded) => exceeded.into(),
    }
}

/// The bearer token, if there is an `Authorization` header.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = all.next() else { return Ok(None) };
    let token = value.to_str().ok().and_then(|text| {
        let (scheme, token) = text.trim().split_once([' ', '\t'])?;
        let token = token.trim();
        (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
    });
    match (token, all.next()) {
        (Some(token), None) => Ok(Some(token)),
        _ => Err(Problem::unauthorized("expected one header `Authorization: Bearer <API key>`")),
    }
}

fn peer_of(parts: &Parts) -> Result<&Peer, Problem> {
    let missing = || Problem::internal("http", &"a request came without its connection");
    parts.extensions.get::<Peer>().ok_or_else(missing)
}

const NO_SESSION: &str = "this endpoint wants the session token of an owner that is known and not suspended";
const MISSING: &str = "this endpoint wants the header `Authorization: Bearer <API key>`";
