//! What it costs a node to push mail to a thousand agents that are all connected.

use super::accept::checked;
use super::{Bench, agents, figure, shots};
use crate::bench::load;
use crate::bench::process;
use crate::bench::table::Row;
use anyhow::Result;
use std::time::Instant;
use tokio::task::JoinSet;

/// The rows about many sockets.
pub(super) async fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let mut node = bench.node("bench")?;
    node.start().await?;
    let senders = agents(&node, "sender", 10).await?;
    let recipients = agents(&node, "recipient", CONNECTED).await?;
    let to: Vec<String> = recipients.iter().map(|agent| agent.address.clone()).collect();
    let mut sockets = Vec::new();
    for recipient in &recipients {
        sockets.push(recipient.connect().await?);
    }
    let (mut cpu, mut times) = (Vec::new(), Vec::new());
    for _ in 0..=bench.rounds {
        let load = shots(&senders, &to, CONNECTED);
        let (before, begun) = (process::cpu(node.pid()?)?, Instant::now());
        let mut reading = JoinSet::new();
        for mut socket in sockets.drain(..) {
            reading.spawn(async move { socket.expect("message.new").await.map(|_| socket) });
        }
        checked(load::fire(node.ready()?.api, "/v1/route", load, 64).await?)?;
        while let Some(read) = reading.join_next().await {
            sockets.push(read??);
        }
        let messages = f64::from(u32::try_from(CONNECTED)?);
        times.push(begun.elapsed().as_secs_f64() / messages / bench.v.median);
        cpu.push((process::cpu(node.pid()?)? - before).as_secs_f64() / messages / bench.v.median);
    }
    node.stop().await?;
    Ok(vec![
        figure(
            "fan-out to 1,000 connected agents: CPU per message",
            cpu,
            "V",
            "accepted, durable, and written to its socket",
        ),
        figure(
            "the same: time per message",
            times,
            "V",
            "one to each agent, 64 callers, until the last socket has it",
        ),
    ])
}

const CONNECTED: usize = 1_000;
