//! The LAN lab (DESIGN §7): a LAN of network namespaces with real multicast and real processes, without root.
//!
//! A lab test runs itself once more inside fresh user, mount, network and process namespaces, builds the LAN there and
//! plays its story; whatever it leaves behind goes with the namespaces. Two run at a time.

mod lan;
mod slots;

pub use lan::{Host, Lan};

use anyhow::{Context, Result, bail, ensure};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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
    if let Some(played) = std::env::var_os(INSIDE) {
        std::fs::write(played, "played").context("telling that the story is played")?;
        let lan = Lan::build(hosts)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        return runtime.block_on(story(lan));
    }
    if let Err(why) = possible() {
        if std::env::var("AMESH_LAB").is_ok_and(|wish| wish == "require") {
            return Err(why.context("AMESH_LAB=require, but the LAN lab cannot run here"));
        }
        println!("SKIPPED, no LAN lab here: {why:#}");
        return Ok(());
    }
    crate::binary::amesh()?;
    run_inside(&test_name::<S>())
}

/// A closure's type is named after the function it is written in: the test.
fn test_name<S>() -> String {
    let name = std::any::type_name::<S>().replace("::{{closure}}", "");
    name.split_once("::").map_or(name.clone(), |(_, within_crate)| within_crate.to_owned())
}

fn run_inside(test: &str) -> Result<()> {
    let _slot = slots::take()?;
    // A name that matches no test would pass without playing anything.
    let played = tempfile::NamedTempFile::new()?;
    let mut command = namespaced(&std::env::current_exe()?.to_string_lossy());
    command.args(["--exact", test, "--nocapture", "--include-ignored"]).env(INSIDE, played.path());
    let mut child = command.stdin(Stdio::null()).spawn().context("starting unshare")?;
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "{test} failed inside the lab ({status}); see above");
            ensure!(std::fs::metadata(played.path())?.len() > 0, "there is no test called {test}");
            return Ok(());
        }
        if begun.elapsed() > STORY_WITHIN {
            child.kill()?;
            child.wait()?;
            bail!("{test} took more than {STORY_WITHIN:?} inside the lab");
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
pub const INSIDE: &str = "AMESH_LAB_INSIDE";
const STORY_WITHIN: Duration = Duration::from_secs(900);
