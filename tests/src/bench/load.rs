//! Callers that post one request after another over kept-alive connections, and time each answer.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// One request: a POST of its body, or a GET where it has none.
#[derive(Debug, Clone)]
pub struct Shot {
    /// The caller's API key.
    pub api_key: Arc<str>,
    /// The JSON body.
    pub body: Bytes,
}

/// What came of a load.
#[derive(Debug)]
pub struct Outcome {
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// How long each answered request took, shortest first.
    pub latencies: Vec<Duration>,
    /// Answers that were not 2xx, with the first one's text.
    pub failed: usize,
    /// Text of the first failure.
    pub first_failure: Option<String>,
}

/// Posts every shot to `path` from `callers` connections at once.
///
/// # Errors
/// When a connection fails.
pub async fn fire(to: SocketAddr, path: &str, shots: Vec<Shot>, callers: usize) -> anyhow::Result<Outcome> {
    fire_when(to, path, shots, callers, &Pace::AtOnce, &|_| {}).await
}

/// When the next shot is fired.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// When a caller is free.
    AtOnce,
    /// So many a second, as long as callers are free.
    PerSecond(f64),
}

/// As [`fire`], paced; `firing` is called with a shot's number in the moment in which it is fired.
///
/// # Errors
/// When a connection fails.
pub async fn fire_when(
    to: SocketAddr,
    path: &str,
    shots: Vec<Shot>,
    callers: usize,
    pace: &Pace,
    firing: &(impl Fn(usize) + Clone + Send + Sync + 'static),
) -> anyhow::Result<Outcome> {
    let shots = Arc::new(shots);
    let next = Arc::new(AtomicUsize::new(0));
    let mut connections = Vec::new();
    let mut drivers = tokio::task::JoinSet::new();
    for _ in 0..callers {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        drivers.spawn(connection);
        connections.push(sender);
    }
    let start = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for sender in connections {
        let firing = (start, *pace, firing.clone());
        running.spawn(caller(sender, path.to_owned(), Arc::clone(&shots), Arc::clone(&next), firing));
    }
    let mut outcome =
        Outcome { elapsed: Duration::ZERO, latencies: Vec::new(), failed: 0, first_failure: None };
    while let Some(done) = running.join_next().await {
        let (latencies, failures) = done??;
        outcome.latencies.extend(latencies);
        outcome.failed += failures.len();
        outcome.first_failure = outcome.first_failure.or_else(|| failures.into_iter().next());
    }
    outcome.elapsed = start.elapsed();
    outcome.latencies.sort();
    Ok(outcome)
}

fn request(path: &str, shot: &Shot) -> anyhow::Result<Request<Full<Bytes>>> {
    let method = if shot.body.is_empty() { "GET" } else { "POST" };
    let request = Request::builder().method(method).uri(path).header("host", "127.0.0.1");
    let request = request.header("content-type", "application/json");
    let request = request.header("authorization", format!("Bearer {}", shot.api_key));
    Ok(request.body(Full::new(shot.body.clone()))?)
}

async fn caller(
    mut sender: SendRequest<Full<Bytes>>,
    path: String,
    shots: Arc<Vec<Shot>>,
    next: Arc<AtomicUsize>,
    (begun, pace, firing): (Instant, Pace, impl Fn(usize)),
) -> anyhow::Result<(Vec<Duration>, Vec<String>)> {
    let mut latencies = Vec::new();
    let mut failures = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let Some(shot) = shots.get(number) else { break };
        if let Pace::PerSecond(rate) = pace {
            #[allow(clippy::cast_precision_loss)] // a shot's number, far below 2^52
            let due = begun + Duration::from_secs_f64(number as f64 / rate);
            tokio::time::sleep_until(due.into()).await;
        }
        firing(number);
        let request = request(&path, shot)?;
        let start = Instant::now();
        sender.ready().await?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        latencies.push(start.elapsed());
        if !status.is_success() {
            failures.push(format!("{status} {}", String::from_utf8_lossy(&body)));
        }
    }
    Ok((latencies, failures))
}
