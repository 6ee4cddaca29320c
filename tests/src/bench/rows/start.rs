//! How long a node takes to get ready, empty and with much in its store.

use super::accept::checked;
use super::{Bench, agents, shots};
use crate::bench::load;
use crate::bench::spread::Spread;
use crate::bench::table::Row;
use crate::node::Node;
use anyhow::Result;
use std::time::Instant;

/// The rows about starting.
pub(super) async fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let mut empty = Vec::new();
    for _ in 0..bench.rounds {
        let mut node = bench.node("fresh")?;
        empty.push(start(&mut node).await?);
        node.stop().await?;
    }
    let mut node = bench.node("full")?;
    node.start().await?;
    let senders = agents(&node, "sender", 10).await?;
    let recipients: Vec<String> =
        agents(&node, "recipient", 10).await?.into_iter().map(|agent| agent.address).collect();
    let load = shots(&senders, &recipients, STORED);
    checked(load::fire(node.ready()?.api, "/v1/route", load, 64).await?)?;
    let mut full = Vec::new();
    for _ in 0..bench.rounds {
        node.stop().await?;
        full.push(start(&mut node).await?);
    }
    node.stop().await?;
    let row = |what: &str, readings, reach| Row {
        what: what.to_owned(),
        measured: Spread::of(readings),
        unit: "s",
        reach: Some(reach),
        note: "from the start of the process to `amesh ready`".into(),
    };
    Ok(vec![row("start, empty", empty, 0.3), row("start, 100,000 stored messages", full, 1.0)])
}

async fn start(node: &mut Node) -> Result<f64> {
    let begun = Instant::now();
    node.start().await?;
    Ok(begun.elapsed().as_secs_f64())
}

const STORED: usize = 100_000;
