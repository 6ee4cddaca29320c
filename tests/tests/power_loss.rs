//! Power loss at every door (DESIGN §1.1): no answer leaves before the disk knows, and whatever was answered is found
//! again on any disk that a cut may have left.

use amesh_tests::agent::{Letter, TestAgent};
use amesh_tests::mesh::Mesh;
use amesh_tests::node::Node;
use amesh_tests::power::{
    Call, Disk, Event, Loss, acknowledged_too_early, answered, link_acknowledged, missing_after, parse,
};
use anyhow::{Context, Result, ensure};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A node's record: where its files were, and what it did.
struct Recording {
    root: PathBuf,
    events: Vec<Event>,
}

#[tokio::test]
async fn nothing_answered_is_lost_when_the_power_goes() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (near, far) = record_traffic(scratch.path()).await?;
    for (door, recording, acknowledges, least) in [
        ("route and WebSocket", &near, answered as fn(&Call) -> Vec<String>, 3 * PER_DOOR),
        ("link", &far, link_acknowledged as fn(&Call) -> Vec<String>, PER_DOOR),
    ] {
        let (checked, early) = acknowledged_too_early(&recording.root, &recording.events, acknowledges);
        println!("{door}: {checked} answers, {} of them before their sync", early.len());
        ensure!(checked >= least, "only {checked} answers were seen at {door}");
        ensure!(early.is_empty(), "{door}: {early:?}");
        let (cuts, missing) = cut_everywhere(recording, acknowledges, scratch.path())?;
        println!("{door}: {cuts} cuts, {} answered messages missing", missing.len());
        ensure!(missing.is_empty(), "{door}: {missing:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_build_without_the_sync_is_caught() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (mut near, _) = record_traffic(scratch.path()).await?;
    near.events.retain(|event| !matches!(event.call, Call::Sync { .. }));
    let (checked, early) = acknowledged_too_early(&near.root, &near.events, answered);
    println!("without syncs: {} of {checked} answers came too early", early.len());
    ensure!(early.len() == checked);
    Ok(())
}

/// Mail through every door: to a mailbox here, over the WebSocket, to another node; small, and with bodies large enough
/// for a blob file.
async fn record_traffic(scratch: &Path) -> Result<(Recording, Recording)> {
    let records = [scratch.join("near.strace"), scratch.join("far.strace")];
    let recorded = |host, record| {
        anyhow::Ok(Node::on_loopback(host)?.recorded(record).with(&["--config", &config(scratch)?]))
    };
    let nodes = vec![recorded("near", &records[0])?, recorded("far", &records[1])?];
    let mut mesh = Mesh::of(nodes).await?;
    let (sender, here) = (mesh[0].agent("sender").await?, mesh[0].agent("here").await?);
    let there = mesh[1].agent("there").await?;
    send(&sender, &here, PER_DOOR).await?;
    send_by_socket(&sender, &here, PER_DOOR).await?;
    amesh_tests::wait::wait_for("the roster", || async {
        let found = sender.get(&format!("/v1/agents/resolve/{}", there.address)).await?;
        Ok((found.status == 200).then_some(()))
    })
    .await?;
    send(&sender, &there, PER_DOOR).await?;
    amesh_tests::wait::wait_for("all mail at the far node", || async {
        Ok((there.get("/v1/messages/pending?limit=1").await?.ok()?["remaining"] == PER_DOOR - 1)
            .then_some(()))
    })
    .await?;
    let mut recordings = Vec::new();
    for (node, record) in mesh.0.iter_mut().zip(records) {
        node.stop().await?;
        let events = parse(&String::from_utf8_lossy(&std::fs::read(record)?));
        recordings.push(Recording { root: node.data_dir(), events });
    }
    let far = recordings.pop().context("two recordings")?;
    Ok((recordings.pop().context("two recordings")?, far))
}

/// The link says in the log which messages it is about to acknowledge: QUIC hides it from the record.
fn config(scratch: &Path) -> Result<String> {
    let path = scratch.join("power.toml");
    std::fs::write(&path, "[mesh_link]\nshare_loopback = true\nlog_verdicts = true\n")?;
    Ok(path.to_string_lossy().into_owned())
}

fn letter(to: &TestAgent, number: usize) -> Letter {
    let length = if number % 10 == 9 { 60_000 } else { 900 };
    Letter::new(&to.address, &format!("number {number}"), &"x".repeat(length))
}

/// From eight callers at once, so that groups form.
async fn send(from: &TestAgent, to: &TestAgent, count: usize) -> Result<()> {
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..8 {
        let (from, to) = (from.clone(), to.clone());
        callers.spawn(async move {
            for number in (caller..count).step_by(8) {
                from.route(&letter(&to, number)).await?.ok()?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = callers.join_next().await {
        done??;
    }
    Ok(())
}

async fn send_by_socket(from: &TestAgent, to: &TestAgent, count: usize) -> Result<()> {
    let mut socket = from.connect().await?;
    for number in 0..count {
        socket.say(&json!({"type": "route", "data": from.signed(&letter(to, number))})).await?;
        socket.expect("route.result").await?;
    }
    Ok(())
}

/// Cuts the power at points all over the record and looks, on each disk that is left, for what was answered before.
fn cut_everywhere(
    recording: &Recording,
    acknowledges: fn(&Call) -> Vec<String>,
    scratch: &Path,
) -> Result<(usize, Vec<String>)> {
    let seed =
        std::env::var("AMESH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut disk = Disk::new(&recording.root);
    let mut answered = BTreeSet::new();
    let mut missing = Vec::new();
    let begin = recording.events.iter().position(|event| !acknowledges(&event.call).is_empty()).unwrap_or(0);
    let every = ((recording.events.len() - begin) / CUTS).max(1);
    let mut cuts = 0;
    for (at, event) in recording.events.iter().enumerate() {
        answered.extend(acknowledges(&event.call));
        disk.apply(event);
        if at < begin || (at - begin) % every != 0 {
            continue;
        }
        let loss = [Loss::Everything, Loss::Pieces(0.5), Loss::Pieces(0.1), Loss::Nothing][cuts % 4];
        cuts += 1;
        let left = tempfile::tempdir_in(scratch)?;
        disk.after_power_loss(left.path(), loss, &mut random)?;
        let lost = missing_after(&left.path().join("store"), &answered)
            .with_context(|| format!("cut {cuts} at event {at}, {loss:?}, seed {seed}"))?;
        missing.extend(lost.into_iter().map(|id| format!("{id} after event {at}, {loss:?}")));
    }
    Ok((cuts, missing))
}

const PER_DOOR: usize = 120;
const CUTS: usize = 120;
