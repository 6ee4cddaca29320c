//! What it costs a node to accept a message over HTTP: signed, 1 KB, durable.

use super::{Bench, agents, shots};
use crate::bench::load::{self, Outcome, Shot};
use crate::bench::spread::{Spread, percentile};
use crate::bench::table::Row;
use crate::bench::{floor, process};
use anyhow::{Context, Result, ensure};
use std::net::SocketAddr;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// The rows about one node.
pub(super) async fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let floor = FloorServer::start(bench).await?;
    let mut rows = Vec::new();
    let (base, ratio) = beside_the_floor(bench, &floor).await?;
    let cpu = |what: &str, spread: Spread| Row {
        what: what.to_owned(),
        measured: spread.times(1.0 / bench.v.median),
        unit: "V",
        reach: None,
        note: String::new(),
    };
    rows.push(Row { reach: Some(3.5), ..cpu("CPU per accepted message, 64 callers", base) });
    rows.push(Row {
        what: "the same, beside the floor".into(),
        measured: ratio,
        unit: "× floor",
        reach: Some(2.0),
        note: "pair by pair in one run".into(),
    });
    for (what, shape) in SHAPES {
        let spread = cpu_at(bench, shape).await?;
        let measured = spread.times(1.0 / base.median);
        rows.push(Row {
            what: format!("CPU per message, {what}"),
            measured,
            unit: "× the 64-caller figure",
            reach: Some(1.5),
            note: format!("{:.2} V", spread.median / bench.v.median),
        });
    }
    rows.push(one_caller(bench, &floor).await?);
    Ok(rows)
}

/// How a reading differs from the plain one: 64 callers, 10 agents, empty mailboxes.
#[derive(Clone, Copy)]
struct Shape {
    callers: usize,
    agents: usize,
    stored: usize,
}

const PLAIN: Shape = Shape { callers: 64, agents: 10, stored: 0 };

const SHAPES: [(&str, Shape); 4] = [
    ("256 callers", Shape { callers: 256, ..PLAIN }),
    ("1,000 callers", Shape { callers: 1_000, ..PLAIN }),
    ("a mailbox of 100,000", Shape { stored: 100_000, ..PLAIN }),
    ("10,000 agents", Shape { agents: 10_000, ..PLAIN }),
];

async fn beside_the_floor(bench: &Bench, floor: &FloorServer) -> Result<(Spread, Spread)> {
    let mut node = bench.node("bench")?;
    node.start().await?;
    let senders = agents(&node, "sender", PLAIN.agents).await?;
    let api = node.ready()?.api;
    let mut readings = Vec::new();
    let mut ratios = Vec::new();
    for round in 0..=bench.rounds {
        let recipients = [node.agent(&format!("recipient-{round}")).await?.address];
        let load = shots(&senders, &recipients, bench.messages);
        let ours = cpu_of(node.pid()?, api, "/v1/route", load.clone(), PLAIN.callers).await?;
        let theirs = cpu_of(floor.pid, floor.address, "/route", load, PLAIN.callers).await?;
        if round > 0 {
            readings.push(ours);
            ratios.push(ours / theirs);
        }
    }
    node.stop().await?;
    Ok((Spread::of(readings), Spread::of(ratios)))
}

async fn cpu_at(bench: &Bench, shape: Shape) -> Result<Spread> {
    let mut node = bench.node("bench")?;
    node.start().await?;
    let senders = agents(&node, "sender", shape.agents).await?;
    let recipients = [node.agent("recipient").await?.address];
    let api = node.ready()?.api;
    let before = shots(&senders, &recipients, shape.stored.max(bench.messages / 4));
    checked(load::fire(api, "/v1/route", before, 64).await?)?;
    let mut readings = Vec::new();
    for _ in 0..bench.rounds {
        let load = shots(&senders, &recipients, bench.messages);
        readings.push(cpu_of(node.pid()?, api, "/v1/route", load, shape.callers).await?);
    }
    node.stop().await?;
    Ok(Spread::of(readings))
}

async fn one_caller(bench: &Bench, floor: &FloorServer) -> Result<Row> {
    let mut node = bench.node("bench")?;
    node.start().await?;
    let senders = agents(&node, "sender", 1).await?;
    let recipients = [node.agent("recipient").await?.address];
    let mut readings = Vec::new();
    let mut floors = Vec::new();
    let mut reaches = Vec::new();
    for _ in 0..bench.rounds {
        let f = floor::measure_f(bench.scratch.path())?.median;
        let load = shots(&senders, &recipients, 1_000);
        let ours = checked(load::fire(node.ready()?.api, "/v1/route", load.clone(), 1).await?)?;
        let theirs = checked(load::fire(floor.address, "/route", load, 1).await?)?;
        readings.push(percentile(&ours.latencies, 0.5).as_secs_f64() * 1e3);
        floors.push(percentile(&theirs.latencies, 0.5).as_secs_f64() * 1e3);
        reaches.push((3.0 * f + 0.2e-3) * 1e3);
    }
    node.stop().await?;
    let reach = Spread::of(reaches).median;
    Ok(Row {
        what: "/route accepted, one caller, p50".into(),
        measured: Spread::of(readings),
        unit: "ms",
        reach: Some(reach),
        note: format!("3 F + 0.2 ms; the floor server: {:.2} ms", Spread::of(floors).median),
    })
}

/// CPU seconds per message of process `pid` under `load`.
pub(super) async fn cpu_of(
    pid: u32,
    to: SocketAddr,
    path: &str,
    load: Vec<Shot>,
    callers: usize,
) -> Result<f64> {
    let count = u32::try_from(load.len())?;
    let before = process::cpu(pid)?;
    checked(load::fire(to, path, load, callers).await?)?;
    Ok((process::cpu(pid)? - before).as_secs_f64() / f64::from(count))
}

/// A load counts only if every message was accepted.
pub(super) fn checked(outcome: Outcome) -> Result<Outcome> {
    ensure!(outcome.failed == 0, "{} were refused, the first: {:?}", outcome.failed, outcome.first_failure);
    Ok(outcome)
}

/// This same program, serving as the floor.
pub(super) struct FloorServer {
    pub(super) address: SocketAddr,
    pid: u32,
    _process: Child,
}

impl FloorServer {
    pub(super) async fn start(bench: &Bench) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("floor")
            .arg(bench.scratch.path())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = process.stdout.take().context("no output of the floor")?;
        let line = BufReader::new(stdout).lines().next_line().await?.context("the floor said nothing")?;
        let address = line.strip_prefix("floor ready ").context("the floor is not ready")?.parse()?;
        let pid = process.id().context("the floor ended")?;
        Ok(Self { address, pid, _process: process })
    }
}
