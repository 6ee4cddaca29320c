//! The LAN lab (DESIGN §7): a LAN of network namespaces with real multicast and real processes, without root.
//!
//! A lab test runs itself once more inside fresh user, mount, network and process namespaces, builds the LAN there and
//! plays its story; whatever it leaves behind goes with the namespaces. Two run at a time.

mod internet;
mod lan;
mod slots;
mod wires;

pub use internet::Internet;
pub use lan::{Host, Lan};
pub use wires::Between;

use crate::binary;
use anyhow::{Context, Result, bail, ensure};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// Plays `story` on a LAN of `hosts`. Called first and last thing in a `#[test]`, which must be named after the
/// function that `story` is written in.
///
/// # Errors
/// What the story says; where namespaces are not allowed, that, if `AMESH_LAB=require`, else the test is skipped.
pub fn play<S, F>(hosts: &[&str], story: S) -> Result<()>
where
    S: FnOnce(Lan) -> F,
    F: Future<Output = Result<()>>,
{
    let test = test_name::<S>();
    play_again(hosts, story, &["--exact", &test, "--nocapture", "--include-ignored"], STORY_WITHIN)
}

/// As [`play`], for a program that is no test: it is run once more with `arguments`, and may take so long.
///
/// # Errors
/// As [`play`].
pub fn play_again<S, F>(hosts: &[&str], story: S, arguments: &[&str], within: Duration) -> Result<()>
where
    S: FnOnce(Lan) -> F,
    F: Future<Output = Result<()>>,
{
    if let Some(played) = std::env::var_os(INSIDE) {
        std::fs::write(played, "played").context("telling that the story is played")?;
        let lan = Lan::build(hosts)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        return runtime.block_on(uninterrupted(story(lan)));
    }
    if let Err(why) = possible() {
        return skip(&why.context("no LAN lab here"));
    }
    run_inside(&binary::amesh()?, arguments, within)
}

/// Whoever is first in a process namespace hears no signal that it does not ask for: without this, what ends the whole
/// process group would end the nodes, and leave the story waiting for them.
async fn uninterrupted(story: impl Future<Output = Result<()>>) -> Result<()> {
    let (mut asked, mut typed) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        told = story => told,
        _ = asked.recv() => bail!("ended by a signal (SIGTERM) before the story was over"),
        _ = typed.recv() => bail!("ended by a signal (SIGINT) before the story was over"),
    }
}

/// Says that a test is skipped, and why; with `AMESH_LAB=require`, fails it instead.
///
/// # Errors
/// Where nothing may be skipped.
pub fn skip(why: &anyhow::Error) -> Result<()> {
    if std::env::var("AMESH_LAB").is_ok_and(|wish| wish == "require") {
        bail!("AMESH_LAB=require allows no skipping: {why:#}");
    }
    println!("SKIPPED: {why:#}");
    Ok(())
}

/// A closure's type is named after the function it is written in: the test.
fn test_name<S>() -> String {
    let name = std::any::type_name::<S>().replace("::{{closure}}", "");
    match name.split_once("::") {
        Some((_, within_crate)) => within_crate.to_owned(),
        None => name,
    }
}

fn run_inside(amesh: &Path, arguments: &[&str], within: Duration) -> Result<()> {
    let _slot = slots::take()?;
    // A name that matches no test would pass without playing anything.
    let played = tempfile::NamedTempFile::new()?;
    let mut command = namespaced(&std::env::current_exe()?.to_string_lossy());
    // Inside there may be no registry to ask: nothing is built there.
    command.args(arguments).env(INSIDE, played.path()).env(binary::GIVEN, amesh);
    let mut child = command.stdin(Stdio::null()).spawn().context("starting unshare")?;
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "failed inside the lab ({status}); see above");
            ensure!(
                std::fs::metadata(played.path())?.len() > 0,
                "nothing was played: is there a test for {arguments:?}?"
            );
            return Ok(());
        }
        if begun.elapsed() > within {
            child.kill()?;
            child.wait()?;
            bail!("took more than {within:?} inside the lab");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Fresh namespaces; when `unshare` ends, so does everything in them.
fn namespaced(program: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args([
        "--user",
        "--map-root-user",
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--",
        program,
    ]);
    command
}

/// Whether the lab can run here: tries what it needs on the smallest LAN.
fn possible() -> Result<()> {
    let script = format!(
        "{} && ip link add try0 type veth peer name try1 && nft add table inet t && ip netns add n && \
         nsenter --net=/run/netns/n true",
        lan::PREPARE
    );
    let mut trial = namespaced("sh");
    let output = trial.args(["-c", &script]).output().context("running unshare (util-linux)")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "namespaces, ip or nft do not work: {}", complaint.trim());
    Ok(())
}

/// Set inside the lab, to a file where the story says that it is played.
const INSIDE: &str = "AMESH_LAB_INSIDE";

/// How long a story may take.
pub const STORY_WITHIN: Duration = Duration::from_secs(900);
