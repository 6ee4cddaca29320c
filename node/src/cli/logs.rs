//! `amesh logs`: the end of `<data-dir>/amesh.log`, which a node started with `up --detach` writes.

use super::args::LogsArgs;
use super::context::Context;
use super::output::Trouble;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

/// How often a followed log is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// At most so much of the end is searched for lines.
const TAIL: u64 = 4 << 20;

pub(super) async fn logs(ctx: &Context, args: &LogsArgs) -> anyhow::Result<()> {
    let path = ctx.data_dir()?.join("amesh.log");
    let (text, mut read_to) = tail(&path, args.lines).map_err(|error| {
        Trouble::new("no_log", format!("there is no log at {}", path.display()))
            .because(error)
            .mend(ctx.command("up --detach (a node in the foreground logs to its terminal)"))
    })?;
    ctx.out.line(&text)?;
    if !args.follow {
        return Ok(());
    }
    loop {
        tokio::time::sleep(LOOK).await;
        let (text, end) = since(&path, read_to)?;
        ctx.out.line(&text)?;
        read_to = end;
    }
}

/// The last `lines` lines, and where the file ended.
fn tail(path: &Path, lines: usize) -> std::io::Result<(String, u64)> {
    let mut file = File::open(path)?;
    let end = file.metadata()?.len();
    let text = read_from(&mut file, end.saturating_sub(TAIL))?;
    let skip = text.lines().count().saturating_sub(lines);
    let kept: Vec<&str> = text.lines().skip(skip).collect();
    Ok((kept.join("\n"), end))
}

/// What was added after `read_to`; everything, when the file was begun anew.
pub(super) fn since(path: &Path, read_to: u64) -> std::io::Result<(String, u64)> {
    let mut file = File::open(path)?;
    let end = file.metadata()?.len();
    let start = if end < read_to { 0 } else { read_to };
    Ok((read_from(&mut file, start)?, end))
}

fn read_from(file: &mut File, start: u64) -> std::io::Result<String> {
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_and_what_follows_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("amesh.log");
        std::fs::write(&path, "one\ntwo\nthree\n").unwrap();
        let (text, end) = tail(&path, 2).unwrap();
        assert_eq!((text.as_str(), end), ("two\nthree", 14));
        std::fs::write(&path, "one\ntwo\nthree\nfour\n").unwrap();
        assert_eq!(since(&path, end).unwrap().0, "four\n");
        std::fs::write(&path, "new\n").unwrap();
        assert_eq!(since(&path, end).unwrap().0, "new\n", "a log that was begun anew is read from its start");
    }
}
