//! Power loss at every door (DESIGN §1.1): no answer leaves before the disk knows, and whatever was answered is found
//! again on any disk that a cut may have left.

use amesh_tests::agent::{Letter, TestAgent};
use amesh_tests::lab::skip;
use amesh_tests::mesh::Mesh;
use amesh_tests::node::Node;
use amesh_tests::power::{
    Call, Disk, Event, Loss, acknowledged_too_early, answered, cuts_and_seed, is_complete, link_acknowledged,
    missing_after, parse, possible,
};
use amesh_tests::wait::wait_for;
use anyhow::{Context, Result, bail, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Which ids a call acknowledges.
type Acknowledges = fn(&Call) -> Vec<String>;

/// A node's record: where its files were, and what it did.
struct Recording {
    root: PathBuf,
    events: Vec<Event>,
}

#[test]
fn nothing_answered_is_lost_when_the_power_goes() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let Some([near, far]) = recorded(scratch.path(), 60)? else { return Ok(()) };
    for (door, recording, acknowledges, least) in [
        ("route and WebSocket", &near, answered as Acknowledges, 360),
        ("link", &far, link_acknowledged as Acknowledges, 120),
    ] {
        let (checked, early) = acknowledged_too_early(&recording.root, &recording.events, acknowledges);
        println!("{door}: {checked} answers, {} of them before their sync", early.len());
        ensure!(checked >= least, "only {checked} answers were seen at {door}");
        ensure!(early.is_empty(), "{door}: {early:?}");
        let (cuts, missing) = cut_everywhere(recording, acknowledges, cuts_and_seed(), scratch.path())?;
        println!("{door}: {cuts} cuts, {} answered messages missing", missing.len());
        ensure!(cuts >= 100 && missing.is_empty(), "{door}, {cuts} cuts: {missing:?}");
    }
    Ok(())
}

#[test]
fn a_build_without_any_one_of_its_syncs_is_caught() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let Some([near, _]) = recorded(scratch.path(), 10)? else { return Ok(()) };
    without_the_journals_sync(&near, scratch.path())?;
    // The bytes of an attached file, and then its name.
    let is_part: fn(&Path) -> bool = |path| path.extension().is_some_and(|end| end == "part");
    let is_folder: fn(&Path) -> bool = |path| path.ends_with("store/attachments");
    for (what, is_left_out) in [("bytes", is_part), ("names", is_folder)] {
        let broken = near.without_syncs(is_left_out)?;
        let (checked, early) = acknowledged_too_early(&broken.root, &broken.events, answered);
        // The messages themselves are safe; what they name is not.
        ensure!(early.is_empty() && checked > 0, "{what}: {early:?}");
        let Err(caught) = cut_everywhere(&broken, answered, (12, cuts_and_seed().1), scratch.path()) else {
            bail!("files whose {what} were never synced were all found after a loss of power");
        };
        let why = caught.root_cause().to_string();
        println!("without the sync of files' {what}: {why}");
        ensure!(why.contains("holds other bytes") || why.contains("are meant"), "{caught:#}");
    }
    Ok(())
}

fn without_the_journals_sync(near: &Recording, scratch: &Path) -> Result<()> {
    // The journal's syncs are what a build without `sync_data` would not do; names are still synced.
    let broken = near.without_syncs(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("journal-") || name == "db")
    })?;
    let (checked, early) = acknowledged_too_early(&broken.root, &broken.events, answered);
    let lost = match cut_everywhere(&broken, answered, (12, cuts_and_seed().1), scratch) {
        Ok((_, missing)) => format!("{} messages", missing.len()),
        Err(error) => format!("the store: {:#}", error.root_cause()),
    };
    println!("without the journal's sync: {} of {checked} answers came too early; lost: {lost}", early.len());
    ensure!(early.len() == checked && lost != "0 messages");
    Ok(())
}

/// Records two nodes with mail through every door, `half` messages through each before both die and are started again,
/// and as many after. Nothing where that cannot be recorded.
fn recorded(scratch: &Path, half: usize) -> Result<Option<[Recording; 2]>> {
    if let Err(why) = possible() {
        skip(&why)?;
        return Ok(None);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(record_traffic(scratch, half)).map(Some)
}

async fn record_traffic(scratch: &Path, half: usize) -> Result<[Recording; 2]> {
    let settings = settings(scratch)?;
    let mut nodes = Vec::new();
    for host in ["near", "far"] {
        let mut node = Node::on_loopback(host)?.with(&["--config", &settings]);
        node.record(&record_of(scratch, host, 0));
        nodes.push(node);
    }
    let mut mesh = Mesh::of(nodes).await?;
    let [sender, here] = [mesh[0].agent("sender").await?, mesh[0].agent("here").await?];
    let there = mesh[1].agent("there").await?;
    for words in [["init", "--name", "filer"].as_slice(), &["register"]] {
        mesh[0].amesh(words).await?;
    }
    let mut recordings = mesh.0.iter().map(|node| Recording { root: node.data_dir(), events: Vec::new() });
    let mut recordings = [recordings.next(), recordings.next()].map(Option::unwrap_or_default);
    for run in 0..2 {
        send_files(&mesh[0], &[&here, &there], scratch).await?;
        send_through_every_door(&sender, &here, &there, run, half).await?;
        let pids = [mesh[0].pid()?, mesh[1].pid()?];
        for (node, (pid, recording)) in mesh.0.iter_mut().zip(pids.into_iter().zip(&mut recordings)) {
            node.kill()?;
            recording.take_over(&record_of(scratch, &node.host, run), pid).await?;
            node.record(&record_of(scratch, &node.host, run + 1));
        }
        if run == 0 {
            mesh[0].start().await?;
            mesh[1].start().await?;
            mesh.linked().await?;
        }
    }
    Ok(recordings)
}

impl Default for Recording {
    fn default() -> Self {
        Self { root: PathBuf::from("/nowhere"), events: Vec::new() }
    }
}

impl Recording {
    /// What a build would have done that leaves out the syncs of some files.
    fn without_syncs(&self, is_left_out: impl Fn(&Path) -> bool) -> Result<Self> {
        let is_kept = |event: &&Event| !matches!(&event.call, Call::Sync { path } if is_left_out(path));
        let events: Vec<Event> = self.events.iter().filter(is_kept).cloned().collect();
        ensure!(events.len() < self.events.len(), "there was no such sync");
        Ok(Self { root: self.root.clone(), events })
    }

    /// Appends what a process did until its end.
    async fn take_over(&mut self, record: &Path, pid: u32) -> Result<()> {
        let text = wait_for("the end of a record", || async {
            let text = String::from_utf8_lossy(&std::fs::read(record)?).into_owned();
            Ok(is_complete(&text, pid).then_some(text))
        })
        .await?;
        let before = self.events.last().map_or(0, |event| event.ended + 1);
        let shifted =
            |event: Event| Event { began: event.began + before, ended: event.ended + before, ..event };
        self.events.extend(parse(&text).into_iter().map(shifted));
        Ok(())
    }
}

fn record_of(scratch: &Path, host: &str, run: usize) -> PathBuf {
    scratch.join(format!("{host}-{run}.strace"))
}

/// The link says in the log which messages it is about to acknowledge: QUIC hides it from the record.
fn settings(scratch: &Path) -> Result<String> {
    let path = scratch.join("power.toml");
    std::fs::write(&path, "[mesh_link]\nlog_verdicts = true\n")?;
    Ok(path.to_string_lossy().into_owned())
}

/// To a mailbox here, over the WebSocket, to another node; small, and with bodies large enough for a blob file.
async fn send_through_every_door(
    sender: &TestAgent,
    here: &TestAgent,
    there: &TestAgent,
    run: usize,
    count: usize,
) -> Result<()> {
    send(sender, here, run, count).await?;
    send_by_socket(sender, here, run, count).await?;
    wait_for("the roster", || async {
        let found = sender.get(&format!("/v1/agents/resolve/{}", there.address)).await?;
        Ok((found.status == 200).then_some(()))
    })
    .await?;
    send(sender, there, run, count).await?;
    wait_for("all mail at the far node", || async {
        let listed = there.get("/v1/messages/pending?limit=1").await?.ok()?;
        Ok((listed["remaining"] == (run + 1) * (count + FILES.len()) - 1).then_some(()))
    })
    .await
}

/// To a mailbox here and to another node, which pulls the files before it takes the message. That a message's files are
/// there is for `verify` to say.
async fn send_files(node: &Node, to: &[&TestAgent], scratch: &Path) -> Result<()> {
    for (to, size) in to.iter().flat_map(|to| FILES.map(|size| (to, size))) {
        let path = scratch.join("file.bin");
        std::fs::write(&path, rand::random_iter::<u8>().take(size).collect::<Vec<u8>>())?;
        wait_for("the file to be accepted", || async {
            let path = path.to_string_lossy();
            let sent =
                node.try_amesh(&["send", &to.address, "a file", "see there", "--attach", &path]).await?;
            Ok(sent.status.success().then_some(()))
        })
        .await?;
    }
    Ok(())
}

fn letter(to: &TestAgent, run: usize, number: usize) -> Letter {
    let length = [900, 900, 900, 30_000, 60_000][number % 5];
    Letter::new(&to.address, &format!("number {run}.{number}"), &"x".repeat(length + number))
}

/// From eight callers at once, so that groups form.
async fn send(from: &TestAgent, to: &TestAgent, run: usize, count: usize) -> Result<()> {
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..8 {
        let (from, to) = (from.clone(), to.clone());
        callers.spawn(async move {
            for number in (caller..count).step_by(8) {
                from.route(&letter(&to, run, number)).await?.ok()?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = callers.join_next().await {
        done??;
    }
    Ok(())
}

async fn send_by_socket(from: &TestAgent, to: &TestAgent, run: usize, count: usize) -> Result<()> {
    let mut socket = from.connect().await?;
    for number in 0..count {
        socket.say(&json!({"type": "route", "data": from.signed(&letter(to, run, number))})).await?;
        socket.expect("route.result").await?;
    }
    Ok(())
}

/// Sizes of the files that are sent.
const FILES: [usize; 3] = [9_000, 40_000, 150_000];

/// Cuts the power at points all over the record, every second of them right behind an answer, and looks, on each disk
/// that is left, for what was answered before.
fn cut_everywhere(
    recording: &Recording,
    acknowledges: Acknowledges,
    (cuts, seed): (usize, u64),
    scratch: &Path,
) -> Result<(usize, Vec<String>)> {
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let at = cut_points(recording, acknowledges, cuts, &mut random);
    let mut disk = Disk::new(&recording.root);
    let (mut answered, mut missing) = (BTreeSet::new(), Vec::new());
    let mut cut = 0;
    for (number, event) in recording.events.iter().enumerate() {
        answered.extend(acknowledges(&event.call));
        disk.apply(event);
        if !at.contains(&number) {
            continue;
        }
        let loss = [Loss::Everything, Loss::Pieces(0.5), Loss::Pieces(0.1), Loss::Nothing][cut % 4];
        cut += 1;
        let left = tempfile::tempdir_in(scratch)?;
        disk.after_power_loss(left.path(), loss, &mut random)?;
        let lost = missing_after(&left.path().join("store"), &answered)
            .with_context(|| format!("not synced: {}", disk.unsynced()))
            .with_context(|| format!("cut {cut} at event {number}, {loss:?}, seed {seed}"))?;
        missing.extend(lost.into_iter().map(|id| format!("{id} after event {number}, {loss:?}")));
    }
    Ok((cut, missing))
}

fn cut_points(
    recording: &Recording,
    acknowledges: Acknowledges,
    cuts: usize,
    random: &mut StdRng,
) -> BTreeSet<usize> {
    let events = &recording.events;
    let answers: Vec<usize> =
        (0..events.len()).filter(|at| !acknowledges(&events[*at].call).is_empty()).collect();
    let Some(first) = answers.first().copied() else { return BTreeSet::new() };
    let mut at = BTreeSet::new();
    let most = (events.len() - first).min(cuts);
    while at.len() < most {
        at.insert(random.random_range(first..events.len()));
        at.insert(answers[random.random_range(0..answers.len())]);
    }
    at
}
