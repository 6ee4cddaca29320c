//! What is measured: one file per story. Called by the binary `amesh-bench`, in the order of its table.

mod accept;
mod fanout;
mod federation;
mod files;
mod idle;
mod mailbox;
mod mesh;
mod sockets;
mod start;
mod trust;
mod wake;
mod webhook;

pub use sockets::hold;

use super::floor;
use super::load::Shot;
use super::spread::Spread;
use super::table::Row;
use crate::agent::{Letter, TestAgent};
use crate::node::Node;
use anyhow::{Context, Result, ensure};
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

    /// Every row, in the table's order, or those of one story.
    ///
    /// # Errors
    /// When something cannot be measured, or there is no such story.
    pub async fn run(&self, only: Option<&str>) -> Result<Vec<Row>> {
        ensure!(only.is_none_or(|only| STORIES.contains(&only)), "--only takes one of {STORIES:?}");
        let mut rows = Vec::new();
        for story in STORIES.iter().filter(|story| only.is_none_or(|only| only == **story)) {
            rows.extend(match *story {
                "accept" => accept::rows(self).await?,
                "mesh" => mesh::rows(self).await?,
                "federation" => federation::rows(self).await?,
                "start" => start::rows(self).await?,
                "idle" => idle::rows(self).await?,
                "mailbox" => mailbox::rows(self).await?,
                "wake" => wake::rows(self).await?,
                "fanout" => fanout::rows(self).await?,
                "webhook" => webhook::rows(self).await?,
                "files" => files::rows(self).await?,
                "trust" => trust::rows(self)?,
                _ => sockets::rows(self).await?,
            });
        }
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

/// The stories, in the table's order.
pub const STORIES: [&str; 12] = [
    "accept",
    "mesh",
    "federation",
    "start",
    "idle",
    "mailbox",
    "wake",
    "fanout",
    "webhook",
    "files",
    "trust",
    "sockets",
];

/// The settings every benched node runs with.
pub const RAISED: &str = "\
[agents]
webhook_allow = [\"127.0.0.1\"]
[store]
mailbox_new = 1000000
outbox_messages = 1000000
outbox_mib = 4096
outbox_per_agent = 1000000
[mesh_link]
share_loopback = true
[http]
max_connections = 20000
socket_idle_s = 3600
[http.local_limits]
route_per_minute = 100000000
received_per_minute = 100000000
route_burst = 100000000
pending_per_minute = 100000000
other_per_minute = 100000000
register_per_minute = 100000000
";

/// A figure that has no reach. The first reading warmed up.
fn figure(what: &str, readings: Vec<f64>, unit: &'static str, note: &str) -> Row {
    Row {
        what: what.to_owned(),
        measured: Spread::of(readings.into_iter().skip(1).collect()),
        unit,
        reach: None,
        note: note.to_owned(),
    }
}

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
