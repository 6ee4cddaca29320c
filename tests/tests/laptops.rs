//! What happens to laptops (issue 4, "it must show" 2): another address, another interface, no link, no process, no IPv4,
//! no multicast. Mail goes both ways before, meanwhile and after; nothing is lost, nothing comes twice, order holds.
//!
//! An outage lasts until both ends have given the link up; `AMESH_CUT_SECONDS=60` makes it last at least so long. An hour's sleep
//! takes clocks that can be set: `node/src/mesh/tests/waking.rs`.

use amesh_tests::lab::{self, Lan};
use amesh_tests::letters::Letters;
use amesh_tests::mesh::Mesh;
use amesh_tests::node::Node;
use amesh_tests::wait::wait_until;
use anyhow::{Context, Result};
use std::time::{Duration, Instant};

/// Letters each way in every act of a story.
const SOME: usize = 20;

async fn two_friends(lan: &Lan, options: &[&str]) -> Result<(Mesh, Letters)> {
    let nodes = lan.hosts().iter().map(|host| host.node(options)).collect::<Result<_>>()?;
    let mesh = Mesh::of(nodes).await?;
    let mut letters = Letters::between(&mesh[0], &mesh[1]).await?;
    letters.write(SOME).await;
    letters.arrive().await?;
    Ok((mesh, letters))
}

/// `node` no longer has a link to `host`.
async fn unlinked(node: &Node, host: &str) -> Result<()> {
    let linked = |peer: &serde_json::Value| peer["host"] == host && peer["state"] == "connected";
    wait_until("the link to be given up", || async { Ok(!node.peers().await?.iter().any(linked)) }).await
}

/// The rest of the outage that began at `begun`, where a length is asked for.
async fn the_rest_of_the_outage(begun: Instant) -> Result<()> {
    if let Some(seconds) = std::env::var_os("AMESH_CUT_SECONDS") {
        let seconds =
            seconds.to_str().and_then(|text| text.parse().ok()).context("AMESH_CUT_SECONDS is no number")?;
        tokio::time::sleep_until((begun + Duration::from_secs(seconds)).into()).await;
    }
    println!("the outage lasted {} s", begun.elapsed().as_secs());
    Ok(())
}

#[test]
fn a_host_changes_its_address_again_and_again_and_then_both_do_at_once() -> Result<()> {
    lab::play(&["ann", "bob"], |lan| async move {
        let (_mesh, mut letters) = two_friends(&lan, &[]).await?;
        for ip in ["10.77.0.99", "10.77.0.98", "10.77.0.97"] {
            lan.host("bob")?.move_to(ip)?;
            letters.write(SOME).await;
        }
        letters.arrive().await?;
        lan.host("ann")?.move_to("10.77.0.51")?;
        lan.host("bob")?.move_to("10.77.0.52")?;
        let moved = Instant::now();
        letters.write(SOME).await;
        letters.heal("addresses", moved, SOME).await
    })
}

#[test]
fn a_second_interface_takes_over_and_gives_back() -> Result<()> {
    lab::play(&["ann", "bob"], |lan| async move {
        let (_mesh, mut letters) = two_friends(&lan, &[]).await?;
        let bob = lan.host("bob")?;
        bob.second_interface("10.77.0.102")?;
        letters.write(SOME).await;
        bob.switch("eth0", false)?;
        letters.write(SOME).await;
        letters.arrive().await?;
        bob.switch("eth0", true)?;
        bob.switch("eth1", false)?;
        let back = Instant::now();
        letters.write(SOME).await;
        letters.heal("interfaces", back, SOME).await
    })
}

#[test]
fn a_host_loses_its_link_for_a_while() -> Result<()> {
    lab::play(&["ann", "bob"], |lan| async move {
        let (mesh, mut letters) = two_friends(&lan, &[]).await?;
        lan.host("bob")?.pull_cable()?;
        let cut = Instant::now();
        letters.write(SOME).await;
        unlinked(&mesh[0], "bob").await?;
        unlinked(&mesh[1], "ann").await?;
        letters.write(SOME).await;
        the_rest_of_the_outage(cut).await?;
        lan.host("bob")?.plug_cable()?;
        letters.heal("cable", Instant::now(), SOME).await
    })
}

#[test]
fn a_process_stands_still_for_longer_than_every_time_out_of_a_link() -> Result<()> {
    lab::play(&["ann", "bob"], |lan| async move {
        let (mesh, mut letters) = two_friends(&lan, &[]).await?;
        letters.write(SOME).await;
        mesh[1].freeze()?;
        let frozen = Instant::now();
        letters.write_there(SOME).await;
        unlinked(&mesh[0], "bob").await?;
        letters.write_there(SOME).await;
        the_rest_of_the_outage(frozen).await?;
        mesh[1].thaw()?;
        letters.heal("frozen", Instant::now(), SOME).await
    })
}

#[test]
fn a_wire_that_knows_only_ipv6() -> Result<()> {
    lab::play(&["ann", "bob"], |lan| async move {
        lan.host("ann")?.only_ipv6("1")?;
        lan.host("bob")?.only_ipv6("2")?;
        let (mesh, mut letters) = two_friends(&lan, &[]).await?;
        lan.host("bob")?.only_ipv6("99")?;
        letters.write(SOME).await;
        letters.arrive().await?;
        lan.host("bob")?.pull_cable()?;
        letters.write(SOME).await;
        unlinked(&mesh[0], "bob").await?;
        lan.host("bob")?.plug_cable()?;
        // Whoever pulls the cable takes the addresses away, and only those of the link itself come back alone.
        lan.host("bob")?.only_ipv6("98")?;
        letters.heal("IPv6", Instant::now(), SOME).await
    })
}

#[test]
fn without_multicast_a_host_that_moves_is_found_by_those_it_was_told_of() -> Result<()> {
    lab::play(&["ann", "bob"], |lan| async move {
        for host in lan.hosts() {
            host.block_multicast()?;
        }
        let seeds = ["--peer", "10.77.0.1:23001", "--peer", "10.77.0.2:23001"];
        let (mesh, mut letters) = two_friends(&lan, &seeds).await?;
        lan.host("bob")?.move_to("10.77.0.99")?;
        letters.write(SOME).await;
        letters.arrive().await?;
        lan.host("bob")?.pull_cable()?;
        letters.write(SOME).await;
        unlinked(&mesh[0], "bob").await?;
        lan.host("bob")?.plug_cable()?;
        letters.heal("no multicast", Instant::now(), SOME).await
    })
}
