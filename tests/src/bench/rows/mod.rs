//! What is measured: one file per story. Called by the binary `amesh-bench`, in the order of its table.

mod accept;
mod idle;
mod mesh;
mod start;

use super::floor;
use super::load::Shot;
use super::spread::Spread;
use super::table::Row;
use crate::agent::{Letter, TestAgent};
use crate::node::Node;
use anyhow::{Context, Result};
use bytes::Bytes;
use std::path::PathBuf;
use tempfile::TempDir;

/// Everything the rows share: the units, measured first, and how much work to do.
#[derive(Debug)]
pub struct Bench {
    /// V, in seconds.
    pub v: Spread,
    /// F, in seconds.
    pub f: Spread,
    /// Where nodes and floors keep their files: one file system for both.
    pub scratch: TempDir,
    /// Messages per reading.
    pub messages: usize,
    /// Readings per row.
    pub rounds: usize,
}

impl Bench {
    /// Measures V and F.
    ///
    /// # Errors
    /// When the disk cannot be written.
    pub fn prepare(messages: usize, rounds: usize) -> Result<Self> {
        let scratch = tempfile::Builder::new().prefix("amesh-bench-").tempdir()?;
        let (v, f) = (floor::measure_v()?, floor::measure_f(scratch.path())?);
        Ok(Self { v, f, scratch, messages, rounds })
    }

    /// Every row, in the table's order.
    ///
    /// # Errors
    /// When something cannot be measured.
    pub async fn run(&self) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        rows.extend(accept::rows(self).await?);
        rows.extend(mesh::rows(self).await?);
        rows.extend(start::rows(self).await?);
        rows.extend(idle::rows(self).await?);
        Ok(rows)
    }

    /// A node with its limits raised, as the bench needs it and says. The limiters stay in the path.
    fn node(&self, host: &str) -> Result<Node> {
        let path: PathBuf = self.scratch.path().join("bench.toml");
        std::fs::write(&path, RAISED)?;
        let path = path.to_str().context("a path that is not UTF-8")?;
        Ok(Node::on_loopback(host)?.with(&["--config", path]))
    }
}

/// The settings every benched node runs with.
pub const RAISED: &str = "\
[store]
mailbox_new = 1000000
outbox_messages = 1000000
outbox_mib = 4096
outbox_per_agent = 1000000
[mesh_link]
share_loopback = true
[http.local_limits]
route_per_minute = 100000000
received_per_minute = 100000000
route_burst = 100000000
pending_per_minute = 100000000
other_per_minute = 100000000
register_per_minute = 100000000
";

/// `count` agents at `node`, named by their number.
async fn agents(node: &Node, prefix: &str, count: usize) -> Result<Vec<TestAgent>> {
    let mut made = Vec::with_capacity(count);
    for number in 0..count {
        made.push(node.agent(&format!("{prefix}-{number}")).await?);
    }
    Ok(made)
}

/// `count` signed requests with a body of about 1 KB, spread over `senders` and `recipients` in turn.
fn shots(senders: &[TestAgent], recipients: &[String], count: usize) -> Vec<Shot> {
    let text = "x".repeat(floor::MESSAGE_BYTES - 64);
    let one = |number: usize| {
        let sender = &senders[number % senders.len()];
        let to = &recipients[number % recipients.len()];
        let letter = Letter::new(to, &format!("number {number}"), &text);
        Shot { api_key: sender.key.as_str().into(), body: Bytes::from(sender.signed(&letter).to_string()) }
    };
    (0..count).map(one).collect()
}
