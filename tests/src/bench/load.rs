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

/// One request to post.
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
        running.spawn(caller(sender, path.to_owned(), Arc::clone(&shots), Arc::clone(&next)));
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

async fn caller(
    mut sender: SendRequest<Full<Bytes>>,
    path: String,
    shots: Arc<Vec<Shot>>,
    next: Arc<AtomicUsize>,
) -> anyhow::Result<(Vec<Duration>, Vec<String>)> {
    let mut latencies = Vec::new();
    let mut failures = Vec::new();
    while let Some(shot) = shots.get(next.fetch_add(1, Ordering::Relaxed)) {
        let request = Request::post(&path)
            .header("host", "127.0.0.1")
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", shot.api_key))
            .body(Full::new(shot.body.clone()))?;
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
