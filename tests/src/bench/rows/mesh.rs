//! What a message costs from HTTP at one node to the mailbox at another, durable on both, and how long it takes.

use super::accept::checked;
use super::{Bench, agents, shots};
use crate::agent::{Letter, TestAgent};
use crate::bench::spread::{Spread, percentile};
use crate::bench::table::Row;
use crate::bench::{floor, load, process};
use crate::mesh::Mesh;
use crate::wait::wait_for;
use anyhow::Result;
use std::time::{Duration, Instant};

/// The rows about two nodes.
pub(super) async fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let mesh = Mesh::of(vec![bench.node("near")?, bench.node("far")?]).await?;
    let senders = agents(&mesh[0], "sender", 10).await?;
    let cpu = cpu_of_both(bench, &mesh, &senders).await?;
    let latency = to_the_socket(bench, &mesh, &senders[0]).await?;
    Ok(vec![cpu, latency])
}

async fn cpu_of_both(bench: &Bench, mesh: &Mesh, senders: &[TestAgent]) -> Result<Row> {
    let pids = [mesh[0].pid()?, mesh[1].pid()?];
    let used = || -> Result<Duration> { Ok(process::cpu(pids[0])? + process::cpu(pids[1])?) };
    let mut readings = Vec::new();
    for round in 0..=bench.rounds {
        let recipient = mesh[1].agent(&format!("recipient-{round}")).await?;
        known(senders, &recipient.address).await?;
        let load = shots(senders, std::slice::from_ref(&recipient.address), bench.messages);
        let before = used()?;
        checked(load::fire(mesh[0].ready()?.api, "/v1/route", load, 64).await?)?;
        arrived(&recipient, bench.messages).await?;
        if round > 0 {
            let messages = f64::from(u32::try_from(bench.messages)?);
            readings.push((used()? - before).as_secs_f64() / messages / bench.v.median);
        }
    }
    Ok(Row {
        what: "CPU of both nodes, HTTP at one to mailbox at the other".into(),
        measured: Spread::of(readings),
        unit: "V",
        reach: Some(7.0),
        note: "durable on both".into(),
    })
}

async fn to_the_socket(bench: &Bench, mesh: &Mesh, sender: &TestAgent) -> Result<Row> {
    let recipient = mesh[1].agent("listener").await?;
    known(std::slice::from_ref(sender), &recipient.address).await?;
    let mut socket = recipient.connect().await?;
    let mut readings = Vec::new();
    let mut reaches = Vec::new();
    for round in 0..bench.rounds {
        let f = floor::measure_f(bench.scratch.path())?.median;
        let mut times = Vec::new();
        for number in 0..300 {
            let letter = Letter::new(&recipient.address, &format!("{round} {number}"), &"x".repeat(960));
            let start = Instant::now();
            let (answer, frame) = tokio::join!(sender.route(&letter), socket.expect("message.new"));
            times.push(start.elapsed());
            answer?.ok()?;
            frame?;
        }
        times.sort();
        readings.push(percentile(&times, 0.5).as_secs_f64() * 1e3);
        reaches.push((4.0 * f + 0.6e-3) * 1e3);
    }
    Ok(Row {
        what: "/route at one node to the WebSocket frame at the other, p50".into(),
        measured: Spread::of(readings),
        unit: "ms",
        reach: Some(Spread::of(reaches).median),
        note: "4 F + 0.6 ms; the answer to /route waited for too".into(),
    })
}

/// Waits until the senders' node knows `address`: the roster has travelled.
pub(super) async fn known(senders: &[TestAgent], address: &str) -> Result<()> {
    wait_for(&format!("{address} in the roster"), || async {
        let found = senders[0].get(&format!("/v1/agents/resolve/{address}")).await?;
        Ok((found.status == 200).then_some(()))
    })
    .await
}

/// Waits until `count` messages lie in the mailbox of `agent`.
pub(super) async fn arrived(agent: &TestAgent, count: usize) -> Result<()> {
    wait_for(&format!("{count} messages at {}", agent.address), || async {
        let page = agent.get("/v1/messages/pending?limit=1").await?.ok()?;
        let there = page["count"].as_u64().unwrap_or(0) + page["remaining"].as_u64().unwrap_or(0);
        Ok((there >= count as u64).then_some(()))
    })
    .await
}
