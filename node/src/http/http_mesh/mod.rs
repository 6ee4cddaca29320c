//! The door for hosts of the AMP 06a kind: its own listener, plain HTTP or HTTPS, off unless the owner names an address (DESIGN §6). It
//! serves forwarded mail, agents by name, config and identity, to the addresses of configured hosts only; a host that
//! would like to be one is written down for the owner. Who asks is the TCP peer, never a header. Called by `node`.

mod caller;
mod forward;
mod peers;

pub(crate) use caller::Who;
pub(in crate::http) use caller::one;

use crate::attachments::Places;
use crate::bridge::http_mesh::{Config, HttpMesh};
use crate::http::error::Problem;
use crate::http::limit::network;
use crate::http::serve::{BindError, answer, connection_of, listen, no_such_method, turn_away};
use crate::http::state::{self, Peer, Shared};
use crate::http::tls::Tls;
use amesh_proto::api::error::code;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// The open listener that nobody serves yet.
#[derive(Debug)]
pub struct Bound {
    address: SocketAddr,
    listener: TcpListener,
    tls: Option<Tls>,
}

impl Bound {
    /// Where it listens; port 0 has become a real one.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Opens the listener, if there is to be one; with `tls`, if the owner wants it.
///
/// # Errors
/// [`BindError`].
pub async fn bind(config: &Config, tls: Option<&Tls>) -> Result<Option<Bound>, BindError> {
    let Some(address) = config.listen else { return Ok(None) };
    let tls = tls.filter(|_| config.tls).cloned();
    if config.tls && tls.is_none() {
        return Err(BindError::HostsNeedTls);
    }
    match listen(address).await {
        Ok((address, listener)) => Ok(Some(Bound { address, listener, tls })),
        Err(BindError::Taken(address)) => Err(BindError::TakenForHosts(address)),
        Err(error) => Err(error),
    }
}

/// Serves `bound` until the doors' tasks are told to stop. Returns at once.
pub fn serve(bound: Bound, state: Shared) {
    let Some(mesh) = state.parts.http_mesh.clone() else { return };
    state.parts.agents.webhooks().own_ports().protect(bound.address.port());
    mesh.listens_on(bound.address);
    let tasks = state.parts.tasks.clone();
    tasks.spawn_until_stopped(accept(bound, mesh, state));
}

fn routes(state: Shared) -> Router {
    Router::new()
        .route("/v1/route", post(forward::forward))
        .route("/api/v1/route", post(forward::forward))
        .route("/api/agents/by-name/{name}", get(peers::by_name))
        .route("/api/config", get(peers::config))
        .route("/api/hosts/identity", get(peers::identity))
        .route("/api/hosts/register-peer", post(peers::register_peer))
        .route("/api/hosts/exchange-peers", post(peers::exchange_peers))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .with_state(state)
}

async fn accept(bound: Bound, mesh: HttpMesh, state: Shared) {
    let router = routes(state.clone());
    let (places, strangers) = (Places::new(PLACES, PLACES), Arc::new(Semaphore::new(STRANGERS)));
    loop {
        let (stream, remote) = match bound.listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = places.take(network(remote.ip())) else {
            turn_away(stream, bound.tls.as_ref());
            continue;
        };
        let (mesh, state, router, strangers) =
            (mesh.clone(), state.clone(), router.clone(), strangers.clone());
        let tls = bound.tls.clone();
        let peer = Peer { remote, local: bound.address, shown: None, _place: Some(Arc::new(place)) };
        state.parts.tasks.clone().spawn(async move {
            // Who is no host may at most introduce itself, and takes no place from those who are.
            let stranger = match mesh.hosts_at(remote.ip()).await.is_empty() {
                false => None,
                true => match strangers.try_acquire_owned() {
                    Ok(place) => Some(place),
                    Err(_) => return turn_away(stream, tls.as_ref()),
                },
            };
            serve_one(stream, peer, tls, state, router).await;
            drop(stranger);
        });
    }
}

async fn serve_one(stream: TcpStream, peer: Peer, tls: Option<Tls>, state: Shared, router: Router) {
    connection_of(peer, stream, tls, state, move |peer: Peer, mut request: Request<Body>| {
        let router = router.clone();
        async move {
            if by_browser(request.headers()) {
                let problem = Problem::new(code::FORBIDDEN, "web pages may not use this door");
                return problem.into_response();
            }
            request.extensions_mut().insert(peer);
            answer(&router, request).await
        }
    })
    .await;
}

/// Browsers are strangers, also where they run on a host (DESIGN §6).
fn by_browser(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site")
}

async fn no_such_path() -> Problem {
    Problem::new(
        code::INVALID_REQUEST,
        "this door serves HTTP mesh hosts only: forwarded mail, agents by name, identity",
    )
}

fn mesh(state: &state::State) -> Result<HttpMesh, Problem> {
    state.parts.http_mesh.clone().ok_or_else(|| Problem::unavailable("this node runs without an HTTP mesh"))
}

const PLACES: usize = 256;
const STRANGERS: usize = 32;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
