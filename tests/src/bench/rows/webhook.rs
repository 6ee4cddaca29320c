//! What it costs a node to post mail to webhooks: accepted, durable, signed, posted, answered, and the answer noted.

use super::accept::checked;
use super::{Bench, agents, figure, shots};
use crate::bench::table::Row;
use crate::bench::{load, process};
use crate::wait::wait_until;
use anyhow::Result;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The rows about webhooks.
pub(super) async fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let receiver = Receiver::start().await?;
    let mut node = bench.node("bench")?;
    node.start().await?;
    let senders = agents(&node, "sender", LANES).await?;
    let (mut cpu, mut times) = (Vec::new(), Vec::new());
    for round in 0..=bench.rounds {
        let recipients = agents(&node, &format!("recipient-{round}"), LANES).await?;
        for recipient in &recipients {
            let url = format!("http://{}/{}", receiver.address, recipient.address);
            recipient.wants(&json!({"webhook_url": url, "webhook_secret": "s3cret"})).await?.ok()?;
        }
        let to: Vec<String> = recipients.into_iter().map(|agent| agent.address).collect();
        let count = bench.messages / 4;
        let load = shots(&senders, &to, count);
        let goal = receiver.posts.load(Ordering::SeqCst) + count;
        let (before, begun) = (process::cpu(node.pid()?)?, Instant::now());
        checked(load::fire(node.ready()?.api, "/v1/route", load, 64).await?)?;
        wait_until("the posts", || async { Ok(receiver.posts.load(Ordering::SeqCst) >= goal) }).await?;
        let messages = f64::from(u32::try_from(count)?);
        times.push(begun.elapsed().as_secs_f64() / messages / bench.f.median);
        cpu.push((process::cpu(node.pid()?)? - before).as_secs_f64() / messages / bench.v.median);
    }
    node.stop().await?;
    Ok(vec![
        figure(
            "webhook delivery: CPU per message",
            cpu,
            "V",
            "accepted, durable, posted, and the answer noted on disk",
        ),
        figure("the same: time per message", times, "F", "10 lanes, one post of each under way at a time"),
    ])
}

/// Answers every post with 204, and counts.
struct Receiver {
    address: SocketAddr,
    posts: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl Receiver {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, posts) = (listener.local_addr()?, Arc::<AtomicUsize>::default());
        let counted = posts.clone();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let counted = counted.clone();
                let answer = service_fn(move |_: Request<Incoming>| {
                    counted.fetch_add(1, Ordering::SeqCst);
                    async {
                        Response::builder().status(204).body(http_body_util::Empty::<bytes::Bytes>::new())
                    }
                });
                let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
                // A connection that the node closes is no error.
                open.spawn(async move { drop(connection.await) });
            }
        });
        Ok(Self { address, posts, _serving: serving })
    }
}

const LANES: usize = 10;
