//! Listeners and connections of the agents' API: how many, how long, how they end. Called by `node`, and by the control socket.

use crate::attachments::Places;
use crate::http::error::Problem;
use crate::http::limit::network;
use crate::http::state::{Parts, Peer, Shared, State};
use crate::http::tls::{self, Tls};
use crate::http::{Config, guard};
use crate::tasks::Tasks;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tower::Service;

/// Why the agents' API does not open.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// API keys would travel in the clear (DESIGN §6).
    #[error(
        "--api {0} is not a loopback address, and that demands TLS: name the files of a certificate with tls.certificate and \
         tls.key in the configuration file (docs/tls.md), or use 127.0.0.1 or [::1]"
    )]
    NeedsTls(SocketAddr),
    /// The owner wants TLS for HTTP mesh hosts, and there is nothing to show them.
    #[error(
        "http_mesh.tls is on, and there is no certificate: name its files with tls.certificate and tls.key (docs/tls.md)"
    )]
    HostsNeedTls,
    /// Somebody else listens there.
    #[error("port taken: another program listens on {0}. Stop it, or choose another address with --api")]
    Taken(SocketAddr),
    /// Somebody else listens where HTTP mesh hosts were to connect.
    #[error(
        "port taken: another program listens on {0}. Stop it, or choose another address with --http-mesh"
    )]
    TakenForHosts(SocketAddr),
    /// The system says no.
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's words.
        cause: io::Error,
    },
}

/// Open listeners that nobody serves yet.
#[derive(Debug)]
pub struct Bound {
    listeners: Vec<(SocketAddr, TcpListener)>,
    tls: Option<Tls>,
}

impl Bound {
    /// Where they listen; port 0 has become a real one.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|(address, _)| *address).collect()
    }
}

/// The URL at which a door of the API is reached: plain on loopback, encrypted everywhere else.
#[must_use]
pub fn url_of(address: SocketAddr) -> String {
    format!("{}://{address}", if is_loopback(address) { "http" } else { "https" })
}

/// Opens the listeners of `config`; those that are not on loopback need `tls`.
///
/// # Errors
/// [`BindError`]. A machine without IPv6 is no error as long as one address could be opened.
pub async fn bind(config: &Config, tls: Option<&Tls>) -> Result<Bound, BindError> {
    let mut listeners = Vec::new();
    let mut skipped = None;
    for &address in &config.api {
        if !is_loopback(address) && tls.is_none() {
            return Err(BindError::NeedsTls(address));
        }
        match listen(address).await {
            Ok(open) => listeners.push(open),
            Err(BindError::Listen { address, cause })
                if address.is_ipv6() && config.api.iter().any(SocketAddr::is_ipv4) =>
            {
                tracing::info!(%address, %cause, "no IPv6 loopback on this machine");
                skipped = Some(BindError::Listen { address, cause });
            }
            Err(error) => return Err(error),
        }
    }
    match skipped {
        Some(error) if listeners.is_empty() => Err(error),
        _ => Ok(Bound { listeners, tls: tls.cloned() }),
    }
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

pub(super) async fn listen(address: SocketAddr) -> Result<(SocketAddr, TcpListener), BindError> {
    let failed = |cause: io::Error| match cause.kind() {
        io::ErrorKind::AddrInUse => BindError::Taken(address),
        _ => BindError::Listen { address, cause },
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    Ok((listener.local_addr().map_err(failed)?, listener))
}

/// Serves `bound` until the doors' tasks are told to stop. Returns at once.
pub fn serve(bound: Bound, parts: Parts) -> Shared {
    for address in bound.addresses() {
        parts.agents.webhooks().own_ports().protect(address.port());
    }
    let state = State::new(parts, bound.addresses());
    let doors = Doors::new(state.clone());
    for (address, listener) in bound.listeners {
        let tls = bound.tls.clone().filter(|_| !is_loopback(address));
        let accepting = accept(listener, address, tls, doors.clone());
        state.parts.tasks.spawn_until_stopped(accepting);
    }
    state
}

/// The guard and the routes behind it. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Doors {
    router: Router,
    state: Shared,
    /// On loopback, and off it: strangers take no place from this machine's agents.
    places: [Arc<Places>; 2],
}

impl Doors {
    /// The doors over `state`.
    pub(crate) fn new(state: Shared) -> Self {
        let all = state.parts.config.max_connections;
        let places = [Places::new(all, all), Places::new(all.div_ceil(4), all)];
        Self { router: super::routes(state.clone()), state, places }
    }

    /// Answers one request that came over the connection `peer`.
    pub(crate) async fn answer(&self, peer: Peer, mut request: Request<Body>) -> Response {
        let allowed = &self.state.parts.config.allowed_hosts;
        let (version, uri, headers) = (request.version(), request.uri(), request.headers());
        if let Err(problem) = guard::check(&peer, allowed, version, uri, headers) {
            return problem.into_response();
        }
        request.extensions_mut().insert(peer);
        answer(&self.router, request).await
    }
}

/// Runs one request through `router`.
pub(super) async fn answer(router: &Router, request: Request<Body>) -> Response {
    match router.clone().call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

async fn accept(listener: TcpListener, local: SocketAddr, tls: Option<Tls>, doors: Doors) {
    let tasks = doors.state.parts.tasks.clone();
    let [on_loopback, off_it] = &doors.places;
    let places = if tls.is_some() { off_it } else { on_loopback };
    loop {
        let (stream, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly; accepting again at once would only spin.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = places.take(network(remote.ip())) else {
            turn_away(stream, tls.as_ref());
            continue;
        };
        // Answers are small and awaited; a failure costs only latency.
        stream.set_nodelay(true).ok();
        let peer = Peer { remote, local, shown: None, _place: Some(Arc::new(place)) };
        let answering = doors.clone();
        let service = move |peer, request| {
            let doors = answering.clone();
            async move { doors.answer(peer, request).await }
        };
        tasks.spawn(connection_of(peer, stream, tls.clone(), doors.state.clone(), service));
    }
}

/// Serves one connection of `peer`, over TLS where there is some, until it ends or the node stops.
pub(super) async fn connection_of<F, A>(
    peer: Peer,
    stream: TcpStream,
    tls: Option<Tls>,
    state: Shared,
    answer: F,
) where
    F: Fn(Peer, Request<Body>) -> A + Send + Sync + 'static,
    A: Future<Output = Response> + Send + 'static,
{
    let (config, tasks) = (state.parts.config.clone(), state.parts.tasks.clone());
    let Some(tls) = tls else {
        return connection(stream, config, tasks, move |request| answer(peer.clone(), request)).await;
    };
    let stopping = tasks.stopping();
    let shaking = stopping.run_until_cancelled(tls.shake(stream, peer.remote.ip()));
    let Some(Some((stream, shown))) = shaking.await else { return };
    let peer = Peer { shown: Some(shown), ..peer };
    connection(stream, config, tasks, move |request| answer(peer.clone(), request)).await;
}

/// Serves one connection until it ends or the node stops.
pub(super) async fn connection<S, F, A>(stream: S, config: Config, tasks: Tasks, answer: F)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Body>) -> A + Send + Sync + 'static,
    A: Future<Output = Response> + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let answering = answer(request.map(Body::new));
        async move { Ok::<_, Infallible>(answering.await) }
    });
    let stopping = tasks.stopping();
    let header_timeout = Duration::from_secs(config.header_timeout_s);
    let mut builder = auto::Builder::new(OnTasks(tasks));
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(MAX_HEADERS)
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(header_timeout))
        .max_concurrent_streams(Some(MAX_STREAMS))
        .max_header_list_size(MAX_HEADERS as u32);
    let stream = TokioIo::new(super::prompt::Prompt::new(stream, header_timeout));
    let mut serving = pin!(builder.serve_connection_with_upgrades(stream, service));
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stopping.cancelled() => {
            serving.as_mut().graceful_shutdown();
            match tokio::time::timeout(GRACE, serving).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

/// Full is an answer (DESIGN §1.8): said in one write, without waiting for the request.
pub(super) fn turn_away(stream: TcpStream, tls: Option<&Tls>) {
    const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nconnection: close\r\nretry-after: 1\r\n\
        content-length: 76\r\n\r\n{\"error\":\"unavailable\",\"message\":\"too many connections; try again shortly\"}\n";
    if tls.is_some() {
        return tls::turn_away(stream);
    }
    if let Ok(mut stream) = stream.into_std() {
        // Whoever does not get it sees a closed connection, which says the same.
        io::Write::write(&mut stream, FULL).ok();
    }
}

/// HTTP/2 wants helper tasks; they belong to the doors like everything else.
#[derive(Debug, Clone)]
struct OnTasks(Tasks);

impl<F> hyper::rt::Executor<F> for OnTasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, work: F) {
        self.0.spawn(work);
    }
}

/// 404 and 405, as JSON.
pub(super) async fn no_such_path() -> Problem {
    Problem::not_found("there is no such path; the API is under /v1 and /api/v1")
}

pub(super) async fn no_such_method() -> Problem {
    Problem::new(amesh_proto::api::error::code::METHOD_NOT_ALLOWED, "this path does not take this method")
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const GRACE: Duration = Duration::from_secs(5);
const MAX_HEADERS: usize = 64 * 1024;
const MAX_STREAMS: u32 = 256;
