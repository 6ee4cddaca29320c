//! What a node with three peers and nothing to do takes of a machine.

use super::Bench;
use crate::bench::process;
use crate::bench::spread::Spread;
use crate::bench::table::Row;
use crate::mesh::Mesh;
use anyhow::Result;
use std::time::Duration;

/// The rows about doing nothing.
pub(super) async fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let hosts = ["one", "two", "three", "four"];
    let nodes = hosts.iter().map(|host| bench.node(host)).collect::<Result<_>>()?;
    let mesh = Mesh::of(nodes).await?;
    for (node, host) in mesh.0.iter().zip(hosts) {
        node.agent(&format!("agent-{host}")).await?;
    }
    tokio::time::sleep(SETTLE).await;
    let mut memory = Vec::new();
    let mut cpu = Vec::new();
    for node in &mesh.0 {
        let before = process::cpu(node.pid()?)?;
        tokio::time::sleep(WATCH).await;
        let used = process::cpu(node.pid()?)? - before;
        cpu.push(used.as_secs_f64() / WATCH.as_secs_f64() * 100.0);
        #[allow(clippy::cast_precision_loss)]
        memory.push(process::resident_bytes(node.pid()?)? as f64 / f64::from(1 << 20)); // MiB: exact enough
    }
    let row = |what: &str, readings, unit, reach| Row {
        what: what.to_owned(),
        measured: Spread::of(readings),
        unit,
        reach: Some(reach),
        note: "four nodes, each watched for 20 s".into(),
    };
    Ok(vec![
        row("idle with three peers: memory", memory, "MB", 40.0),
        row("idle with three peers: CPU of one core", cpu, "%", 0.5),
    ])
}

const SETTLE: Duration = Duration::from_secs(5);
const WATCH: Duration = Duration::from_secs(20);
