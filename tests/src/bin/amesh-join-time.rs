//! Measures, in the LAN lab, how long it takes from `amesh up --join` on a second host to a connected member: 20 runs,
//! p50 and p95 (issue 2, "it must show" 3). A measurement, not a test: run it with `cargo run --release`.

use amesh_tests::lab::{self, Lan};
use anyhow::{Context, Result};
use std::time::{Duration, Instant};

fn main() -> Result<()> {
    lab::play_again(&["ann", "bob"], measure, &[])
}

async fn measure(lan: Lan) -> Result<()> {
    let mut ann = lan.host("ann")?.node(&[])?;
    ann.start().await?;
    let mut times = Vec::new();
    for run in 1..=RUNS {
        let ticket = ann.invite().await?;
        let mut bob = lan.host("bob")?.node(&["--join", &ticket])?;
        let begun = Instant::now();
        bob.start().await?;
        let ready = begun.elapsed();
        bob.connected_to(&["ann"]).await?;
        times.push(begun.elapsed());
        println!(
            "run {run}: ready after {} ms, connected after {} ms",
            ready.as_millis(),
            begun.elapsed().as_millis()
        );
        bob.amesh(&["leave"]).await?;
        bob.stop().await?;
    }
    times.sort();
    let at = |share: usize| times.get((times.len() * share).div_ceil(100) - 1).copied().context("no runs");
    println!(
        "from `up` to a connected member, {RUNS} runs: p50 {} ms, p95 {} ms",
        millis(at(50)?),
        millis(at(95)?)
    );
    Ok(())
}

fn millis(time: Duration) -> u128 {
    time.as_millis()
}

const RUNS: usize = 20;
