//! What it costs a node to show a mailbox: one fetch of a hundred messages.

use super::accept::{checked, cpu_of};
use super::{Bench, agents, figure, shots};
use crate::bench::load::{self, Shot};
use crate::bench::spread::percentile;
use crate::bench::table::Row;
use anyhow::Result;
use bytes::Bytes;

/// The rows about fetching.
pub(super) async fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let mut node = bench.node("bench")?;
    node.start().await?;
    let senders = agents(&node, "sender", 10).await?;
    let recipient = node.agent("recipient").await?;
    let api = node.ready()?.api;
    checked(
        load::fire(api, "/v1/route", shots(&senders, std::slice::from_ref(&recipient.address), 100), 16)
            .await?,
    )?;
    let fetch = Shot { api_key: recipient.key.as_str().into(), body: Bytes::new() };
    let (mut cpu, mut times) = (Vec::new(), Vec::new());
    for _ in 0..=bench.rounds {
        let load = vec![fetch.clone(); FETCHES];
        cpu.push(cpu_of(node.pid()?, api, PATH, load, 8).await? / bench.v.median);
        let one = checked(load::fire(api, PATH, vec![fetch.clone(); FETCHES / 4], 1).await?)?;
        times.push(percentile(&one.latencies, 0.5).as_secs_f64() / bench.v.median);
    }
    node.stop().await?;
    Ok(vec![
        figure(
            "pending fetch of 100 messages of 1 KB: CPU",
            cpu,
            "V",
            "8 callers; a hundredth of it per message",
        ),
        figure("the same, one caller: time, p50", times, "V", ""),
    ])
}

const PATH: &str = "/v1/messages/pending?limit=100";
const FETCHES: usize = 400;
