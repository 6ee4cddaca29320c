//! kill -9 under load (issue 2, "it must show" 6): everything acknowledged arrives exactly once, everything unanswered
//! at most once, every store is whole. `AMESH_CRASH_ROUNDS` sets the rounds: few in a test run, 30 to be sure.

use amesh_tests::load::{Load, ROOMY};
use amesh_tests::mesh::Mesh;
use amesh_tests::node::Node;
use anyhow::{Result, ensure};

fn rounds() -> usize {
    std::env::var("AMESH_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(4)
}

/// Kills `victims` in turn, once a round, while four lanes run from the first node to the second.
async fn kill_in_turn(story: &str, victims: &[usize]) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let settings = scratch.path().join("roomy.toml");
    std::fs::write(&settings, ROOMY)?;
    let settings = settings.to_string_lossy();
    let node = |host| anyhow::Ok(Node::on_loopback(host)?.with(&["--config", &settings]));
    let mut mesh = Mesh::of(vec![node("ann")?, node("bob")?]).await?;
    let load = Load::start(4, &mesh[0], &mesh[1]).await?;
    for round in 0..rounds() {
        load.goes_on(40).await?;
        let victim = victims[round % victims.len()];
        mesh[victim].kill()?;
        mesh[victim].start().await?;
    }
    load.goes_on(40).await?;
    let counts = load.settle(story).await?;
    ensure!(counts.accepted > 40 * rounds(), "{story}: the load was too small: {counts}");
    for node in &mut mesh.0 {
        node.stop().await?;
        println!("{story}, store of {}: {}", node.host, node.amesh(&["db", "verify"]).await?);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sending_node_is_killed_under_load() -> Result<()> {
    kill_in_turn("sender killed", &[0]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_receiving_node_is_killed_under_load() -> Result<()> {
    kill_in_turn("receiver killed", &[1]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn both_nodes_are_killed_under_load() -> Result<()> {
    kill_in_turn("both killed", &[0, 1]).await
}
