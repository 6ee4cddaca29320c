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
    let mut child = spawn(&log)?;
    let Some(out) = child.stdout.take() else { anyhow::bail!("the node's output cannot be read") };
    let mut lines = BufReader::new(out).lines();
    match tokio::time::timeout(STARTING, lines.next_line()).await {
        Ok(Ok(Some(ready))) => ctx.out.line(&ready),
        Ok(_) => Err(did_not_start(ctx, &log, "it ended").into()),
        Err(_) => Err(did_not_start(ctx, &log, "it is still starting").into()),
    }
}

fn spawn(log: &Path) -> anyhow::Result<Child> {
    if std::fs::metadata(log).is_ok_and(|meta| meta.len() > LONG_LOG) {
        std::fs::rename(log, log.with_extension("log.1"))?;
    }
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

fn did_not_start(ctx: &Context, log: &Path, what: &str) -> Trouble {
    let said = logs::tail(log, SHOWN).map(|(text, _)| text).unwrap_or_default();
    Trouble::new("not_started", format!("the node is not ready: {what}"))
        .because(format!("{} ends with\n{said}", log.display()))
        .mend(ctx.command("doctor"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_background_command_is_the_same_without_detaching() {
        let words = ["--data-dir", "/d", "up", "--detach", "--host", "ann"].map(OsString::from);
        let words = in_background(words.into_iter());
        assert_eq!(words, ["--data-dir", "/d", "up", "--host", "ann", "--in-background"]);
    }
}
