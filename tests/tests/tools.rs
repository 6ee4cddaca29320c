//! The programs that measure answer as programs do: help, bad words, and an end from outside.

use amesh_tests::lab;
use amesh_tests::wait::patience;
use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::mpsc;

const BENCH: &str = env!("CARGO_BIN_EXE_amesh-bench");
const JOIN_TIME: &str = env!("CARGO_BIN_EXE_amesh-join-time");

#[test]
fn the_measuring_programs_explain_themselves_and_refuse_what_they_do_not_know() -> Result<()> {
    for (program, named) in [(BENCH, "--rounds"), (JOIN_TIME, "cable")] {
        let help = Command::new(program).arg("--help").output()?;
        ensure!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains(named), "{help:?}");
        for words in [
            &["--nonsense"][..],
            &["nonsense"],
            &["--only", "nonsense"],
            &["--runs", "0"],
            &["--rounds", "0"],
        ] {
            let refused = Command::new(program).args(words).output()?;
            ensure!(refused.status.code() == Some(2) && refused.stdout.is_empty(), "{words:?}: {refused:?}");
        }
    }
    Ok(())
}

/// What ends a process group ends the nodes: the story must not go on without them.
#[test]
fn a_lab_story_ends_with_its_process_group_and_says_so() -> Result<()> {
    let mut command = Command::new(JOIN_TIME);
    command.args(["glitch", "--runs", "1000"]).process_group(0).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut said = BufReader::new(child.stderr.take().context("no stderr")?);
    let group = Pid::from_child(&child);
    let (tell, told) = mpsc::channel();
    // Ends with the last process that can still say something.
    std::thread::spawn(move || {
        let mut first = String::new();
        if said.read_line(&mut first).is_ok() {
            drop(tell.send(first));
        }
        let mut rest = String::new();
        if said.read_to_string(&mut rest).is_ok() {
            drop(tell.send(rest));
        }
    });
    let first = told.recv_timeout(patience() * 2).context("no run was measured")?;
    if first.is_empty() {
        let mut out = String::new();
        child.stdout.take().context("no stdout")?.read_to_string(&mut out)?;
        ensure!(out.contains("SKIPPED"), "it ended: {out}");
        return lab::skip(&anyhow::anyhow!("no lab here"));
    }
    kill_process_group(group, Signal::TERM)?;
    child.wait()?;
    let rest = told.recv_timeout(patience()).context("something of it goes on")?;
    ensure!(rest.contains("ended by a signal (SIGTERM)"), "{rest}");
    Ok(())
}
