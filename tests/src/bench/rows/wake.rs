//! How soon a recipient that waits has its mail, while the node is at half of what it can take: by WebSocket and by
//! long-poll, beside the floor's own answers at half of what the floor can take.

use super::accept::{FloorServer, checked};
use super::{Bench, agents, shots};
use crate::agent::TestAgent;
use crate::bench::load::{self, Pace};
use crate::bench::spread::{Spread, percentile};
use crate::bench::table::Row;
use crate::socket::Socket;
use crate::wait::wait_until;
use anyhow::{Context, Result};
use serde_json::Value;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// The rows about waking up.
pub(super) async fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let floor = FloorServer::start(bench).await?;
    let mut node = bench.node("bench")?;
    node.start().await?;
    let senders = agents(&node, "sender", 10).await?;
    let mut readings: [Vec<f64>; 3] = Default::default();
    // A 99th percentile scatters more than a median does.
    for round in 0..READINGS * bench.rounds {
        readings[0].push(floor_p99(bench, &floor, &senders).await?.as_secs_f64() * 1e3);
        for (at, way) in [(1, Way::Socket), (2, Way::LongPoll)] {
            let recipients = agents(&node, &format!("{}-{round}", way.name()), RECIPIENTS).await?;
            readings[at].push(p99(bench, &senders, &recipients, way).await?.as_secs_f64() * 1e3);
        }
    }
    node.stop().await?;
    let floors = Spread::of(readings[0].clone());
    let row = |at: usize, what: &str| Row {
        what: what.to_owned(),
        measured: Spread::of(
            readings[at].iter().zip(&readings[0]).map(|(ours, floor)| ours / floor).collect(),
        ),
        unit: "× floor",
        reach: Some(2.0),
        note: format!(
            "{:.2} ms; the floor's answers at half of its load: {:.2} ms",
            Spread::of(readings[at].clone()).median,
            floors.median
        ),
    };
    Ok(vec![
        row(1, "/route to the WebSocket frame at half the maximum load, p99"),
        row(2, "/route to the long-poll's answer at half the maximum load, p99"),
    ])
}

/// How a recipient waits.
#[derive(Clone, Copy)]
enum Way {
    Socket,
    LongPoll,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::LongPoll => "poll",
        }
    }
}

async fn floor_p99(bench: &Bench, floor: &FloorServer, senders: &[TestAgent]) -> Result<Duration> {
    let load = shots(senders, &["nobody".to_owned()], bench.messages);
    let most = checked(load::fire(floor.address, "/route", load.clone(), CALLERS).await?)?;
    let pace = half_of(bench.messages, most.elapsed);
    let paced = checked(load::fire_when(floor.address, "/route", load, CALLERS, &pace, &|_| {}).await?)?;
    Ok(percentile(&paced.latencies, 0.99))
}

/// Every recipient waits; first as many messages come as the node takes, then half as many a second.
async fn p99(bench: &Bench, senders: &[TestAgent], recipients: &[TestAgent], way: Way) -> Result<Duration> {
    let to: Vec<String> = recipients.iter().map(|agent| agent.address.clone()).collect();
    let api = senders[0].api();
    // Each recipient gets every RECIPIENTS-th message, and all get as many.
    let load = shots(senders, &to, bench.messages.div_ceil(RECIPIENTS) * RECIPIENTS);
    let sent = Sent(Arc::new(Mutex::new(vec![None; 2 * load.len()])));
    let arrived = Arc::<AtomicUsize>::default();
    let mut waiting = JoinSet::new();
    for (at, recipient) in recipients.iter().enumerate() {
        let mut waiter = Waiter::new(way, recipient).await?;
        let (sent, arrived, expected) = (sent.clone(), arrived.clone(), 2 * load.len() / RECIPIENTS);
        waiting.spawn(async move {
            let mut times = Vec::new();
            while times.len() < expected {
                let (now, came) = waiter.next().await?;
                // How many come is known, and in what order they were sent.
                let first = times.len();
                arrived.fetch_add(came, Ordering::SeqCst);
                times.extend((first..first + came).map(|nth| now - sent.at(at + nth * RECIPIENTS, now)));
            }
            anyhow::Ok(times)
        });
    }
    let (begun, half) = (Instant::now(), load.len());
    let most = load::fire_when(api, "/v1/route", load.clone(), CALLERS, &Pace::AtOnce, &sent.noting(0)).await;
    checked(most?)?;
    // The maximum is what also arrives; what is still under way would be counted against the half.
    wait_until("the mail", || async { Ok(arrived.load(Ordering::SeqCst) >= half) }).await?;
    let pace = half_of(half, begun.elapsed());
    checked(load::fire_when(api, "/v1/route", load, CALLERS, &pace, &sent.noting(half)).await?)?;
    let mut times = Vec::new();
    while let Some(waited) = waiting.join_next().await {
        let waited = waited??;
        // The first half came at the maximum load, which is not what is asked for.
        times.extend_from_slice(waited.get(waited.len() / 2..).unwrap_or_default());
    }
    times.sort();
    Ok(percentile(&times, 0.99))
}

/// When each message was sent.
#[derive(Clone)]
struct Sent(Arc<Mutex<Vec<Option<Instant>>>>);

impl Sent {
    fn noting(&self, offset: usize) -> impl Fn(usize) + Clone + Send + Sync + 'static {
        let sent = self.0.clone();
        move |number| {
            let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(place) = sent.get_mut(offset + number) {
                *place = Some(Instant::now());
            }
        }
    }

    fn at(&self, number: usize, or: Instant) -> Instant {
        let sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sent.get(number).copied().flatten().unwrap_or(or)
    }
}

/// A recipient that waits for mail.
enum Waiter {
    Socket(Box<Socket>),
    LongPoll(Box<TestAgent>, String),
}

impl Waiter {
    async fn new(way: Way, recipient: &TestAgent) -> Result<Self> {
        Ok(match way {
            Way::Socket => Self::Socket(Box::new(recipient.connect().await?)),
            Way::LongPoll => {
                let now = recipient.get("/v1/messages/pending/count").await?.ok()?;
                Self::LongPoll(Box::new(recipient.clone()), text(&now["cursor"])?)
            }
        })
    }

    /// How many messages came, and when that was known.
    async fn next(&mut self) -> Result<(Instant, usize)> {
        match self {
            Self::Socket(socket) => {
                socket.expect("message.new").await?;
                Ok((Instant::now(), 1))
            }
            Self::LongPoll(recipient, cursor) => {
                let path = format!("/v1/messages/pending/count?wait=30&after={cursor}");
                let answer = recipient.get(&path).await?.ok()?;
                let now = Instant::now();
                *cursor = text(&answer["cursor"])?;
                Ok((now, usize::try_from(answer["count"].as_u64().context("no count")?)?))
            }
        }
    }
}

fn text(value: &Value) -> Result<String> {
    Ok(value.as_str().context("no cursor")?.to_owned())
}

#[allow(clippy::cast_precision_loss)] // some thousands of messages
fn half_of(count: usize, elapsed: Duration) -> Pace {
    Pace::PerSecond(count as f64 / elapsed.as_secs_f64() / 2.0)
}

const READINGS: usize = 3;
const RECIPIENTS: usize = 100;
const CALLERS: usize = 64;
