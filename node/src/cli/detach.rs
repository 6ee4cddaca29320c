//! `amesh up --detach`: the same command once more in the background, its log in `<data-dir>/amesh.log`; returns when
//! that node is ready.

use super::context::Context;
use super::logs;
use super::output::Trouble;
use crate::client::disk;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// A node that takes longer has something to say about it in its log.
const STARTING: Duration = Duration::from_secs(120);
/// A log that has grown beyond this is put aside when a node starts.
const LONG_LOG: u64 = 16 << 20;
/// Lines of the log that are shown when it did not start.
const SHOWN: usize = 12;

/// Starts the node in the background and prints its `ready` line.
pub(super) async fn start(ctx: &Context) -> anyhow::Result<()> {
    let data_dir = ctx.data_dir()?;
    if let Ok(node) = ctx.node() {
        return Err(Trouble::new(
            "node_running",
            format!("a node is running already as process {}", node.pid),
        )
        .mend(ctx.command("down"))
        .into());
    }
    disk::make_dir(&data_dir).map_err(Trouble::from)?;
    let log = data_dir.join("amesh.log");
    let begun = put_aside_if_long(&log)?;
    let mut child = spawn(&log)?;
    let Some(out) = child.stdout.take() else { anyhow::bail!("the node's output cannot be read") };
    let mut lines = BufReader::new(out).lines();
    match tokio::time::timeout(STARTING, lines.next_line()).await {
        Ok(Ok(Some(ready))) => ctx.out.line(&ready),
        Ok(_) => Err(did_not_start(ctx, &log, begun, "the node did not start").into()),
        Err(_) => Err(did_not_start(ctx, &log, begun, "the node is still starting").into()),
    }
}

/// Where the log of this start will begin.
fn put_aside_if_long(log: &Path) -> std::io::Result<u64> {
    let length = std::fs::metadata(log).map_or(0, |meta| meta.len());
    if length <= LONG_LOG {
        return Ok(length);
    }
    std::fs::rename(log, log.with_extension("log.1"))?;
    Ok(0)
}

fn spawn(log: &Path) -> anyhow::Result<Child> {
    let log = File::options().create(true).append(true).mode(disk::PRIVATE).open(log)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(in_background(std::env::args_os().skip(1)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    Ok(command.spawn()?)
}

/// The words that start the same node without detaching again.
fn in_background(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<_> = words.filter(|word| word != "--detach").collect();
    words.push("--in-background".into());
    words
}

fn did_not_start(ctx: &Context, log: &Path, begun: u64, what: &str) -> Trouble {
    let said = logs::since(log, begun).map(|(text, _)| text).unwrap_or_default();
    let skip = said.lines().count().saturating_sub(SHOWN);
    let said = said.lines().skip(skip).collect::<Vec<_>>().join("\n");
    let trouble = Trouble::new("not_started", what);
    let trouble = if said.is_empty() { trouble } else { trouble.because(format!("it said\n{said}")) };
    trouble.mend(ctx.command("doctor"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_starts_words_are_given_as_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("amesh.log");
        std::fs::write(&log, "long ago\n").unwrap();
        let begun = put_aside_if_long(&log).unwrap();
        std::fs::write(&log, "long ago\nport taken\n").unwrap();
        let ctx = Context::new(crate::cli::args::Global::default());
        let why = did_not_start(&ctx, &log, begun, "x").why.unwrap();
        assert_eq!(why, "it said\nport taken");
    }

    #[test]
    fn the_background_command_is_the_same_without_detaching() {
        let words = ["--data-dir", "/d", "up", "--detach", "--host", "ann"].map(OsString::from);
        let words = in_background(words.into_iter());
        assert_eq!(words, ["--data-dir", "/d", "up", "--host", "ann", "--in-background"]);
    }
}
