//! What an idle WebSocket costs a node in memory: ten thousand of them, held by two other processes.

use super::{Bench, agents};
use crate::bench::process;
use crate::bench::spread::Spread;
use crate::bench::table::Row;
use crate::place::Place;
use crate::socket::Socket;
use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, getrlimit, setrlimit};
use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// The row about idle sockets.
pub(super) async fn rows(bench: &Bench) -> Result<Vec<Row>> {
    raise_open_files()?;
    let mut node = bench.node("bench")?;
    node.start().await?;
    let holders = agents(&node, "agent", AGENTS).await?;
    let keys: Vec<&str> = holders.iter().map(|agent| agent.key.as_str()).collect();
    let file = bench.scratch.path().join("keys");
    std::fs::write(&file, keys.join("\n"))?;
    let before = process::resident_bytes(node.pid()?)?;
    let api = node.ready()?.api.to_string();
    let mut clients = Vec::new();
    for _ in 0..PROCESSES {
        clients.push(start_holding(&api, &file).await?);
    }
    tokio::time::sleep(SETTLE).await;
    let after = process::resident_bytes(node.pid()?)?;
    for mut client in clients {
        client.kill().await?;
    }
    node.stop().await?;
    #[allow(clippy::cast_precision_loss)] // bytes, far below 2^52
    let each = after.saturating_sub(before) as f64 / (PROCESSES * EACH) as f64 / 1e3;
    Ok(vec![Row {
        what: "memory of an idle WebSocket, of 10,000".into(),
        measured: Spread::of(vec![each]),
        unit: "KB",
        reach: Some(25.0),
        note: "resident memory of the node; held by two processes, ten sockets to an agent".into(),
    }])
}

async fn start_holding(api: &str, keys: &Path) -> Result<Child> {
    let mut process = Command::new(std::env::current_exe()?)
        .args(["hold", api])
        .arg(keys)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stdout = process.stdout.take().context("no output of a client")?;
    let line = BufReader::new(stdout).lines().next_line().await?.context("a client said nothing")?;
    ensure!(line == format!("holding {EACH}"), "a client said {line}");
    Ok(process)
}

/// Opens idle WebSockets with the API keys in the file `keys`, in turn, says so, and holds them until its input ends.
///
/// # Errors
/// When one cannot be opened.
pub async fn hold(api: &str, keys: &Path) -> Result<()> {
    raise_open_files()?;
    let keys = std::fs::read_to_string(keys)?;
    let keys: Vec<&str> = keys.lines().collect();
    let mut sockets = Vec::with_capacity(EACH);
    for key in keys.iter().cycle().take(EACH) {
        sockets.push(Socket::open(&Place::here(), api.parse()?, key).await?);
    }
    println!("holding {}", sockets.len());
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    Ok(())
}

/// The node, which this process starts, inherits it.
fn raise_open_files() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    ensure!(
        limit.maximum.is_none_or(|most| most > (PROCESSES * EACH + 500) as u64),
        "this system lets a process open {:?} files; the sockets need more",
        limit.maximum
    );
    Ok(setrlimit(Resource::Nofile, limit)?)
}

const PROCESSES: usize = 2;
const EACH: usize = 5_000;
const AGENTS: usize = 1_000;
const SETTLE: Duration = Duration::from_secs(5);
