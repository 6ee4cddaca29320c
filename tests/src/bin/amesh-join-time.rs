//! Measures, in the LAN lab, what a user waits for, 20 runs each, p50 and p95: from `amesh up --join` on a second host
//! to a connected member (issue 2, "it must show" 3), and from the end of an outage to the first letter that waited for
//! it (5). A measurement, not a test: run it with `cargo run --release`; words choose among the rows.

use amesh_tests::agent::TestAgent;
use amesh_tests::lab::{self, Lan};
use amesh_tests::mesh::Mesh;
use amesh_tests::node::Node;
use amesh_tests::wait::wait_until;
use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let given: Vec<&str> = words.iter().map(String::as_str).collect();
    let unknown = given.iter().find(|word| !ROWS.contains(word));
    ensure!(unknown.is_none(), "no row {unknown:?}; there are {ROWS:?}");
    let rows = if given.is_empty() { ROWS.to_vec() } else { given.clone() };
    lab::play_again(&["ann", "bob"], |lan| measure(lan, rows.clone()), &given)
}

async fn measure(lan: Lan, rows: Vec<&str>) -> Result<()> {
    if rows.contains(&"join") {
        join(&lan).await?;
    }
    let outages: Vec<&str> = rows.into_iter().filter(|row| *row != "join").collect();
    if outages.is_empty() {
        return Ok(());
    }
    let mut friends = Friends::meet(lan).await?;
    for row in outages {
        friends.after(row).await?;
    }
    Ok(())
}

/// From starting the process with a ticket to a link that both `peers` and this program see.
async fn join(lan: &Lan) -> Result<()> {
    let mut ann = lan.host("ann")?.node(&[])?;
    ann.start().await?;
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let ticket = ann.invite().await?;
        let mut bob = lan.host("bob")?.node(&["--join", &ticket])?;
        let begun = Instant::now();
        bob.start().await?;
        bob.connected_to(&["ann"]).await?;
        times.push(begun.elapsed());
        bob.amesh(&["leave"]).await?;
        bob.stop().await?;
    }
    ann.stop().await?;
    report("from `up --join` to a connected member", times)
}

/// Two hosts of one mesh, and an agent on each.
struct Friends {
    lan: Lan,
    mesh: Mesh,
    ann: TestAgent,
    bob: TestAgent,
}

impl Friends {
    async fn meet(lan: Lan) -> Result<Self> {
        let mesh = Mesh::on_lan(&lan).await?;
        let (ann, bob) = (mesh[0].agent("ann").await?, mesh[1].agent("bob").await?);
        let known = || async { Ok(ann.send(&bob.address, "hello").await.is_ok()) };
        wait_until("bob's name at ann's node", known).await?;
        let friends = Self { lan, mesh, ann, bob };
        friends.rest(1).await?;
        Ok(friends)
    }

    /// From the end of the outage to the first letter at bob.
    async fn after(&mut self, row: &str) -> Result<()> {
        let mut times = Vec::new();
        for _ in 0..RUNS {
            self.mesh.linked().await?;
            self.begin(row).await?;
            for number in 0..WAITING {
                let status = self.ann.send(&self.bob.address, &format!("letter {number}")).await;
                status.context("a letter that must wait")?;
            }
            let ended = self.end(row).await?;
            self.first_letter().await?;
            times.push(ended.elapsed());
            self.rest(WAITING).await?;
        }
        let what = match row {
            "cable" => "from the cable back in, the link long given up, to the first letter",
            "glitch" => "from the cable back in, before the link was given up, to the first letter",
            "switch" => "from a switch mended that nobody sees, to the first letter",
            "start" => "from `up` on the recipient's host to the first letter",
            "restart" => "from the cable back in, the sending node restarted meanwhile, to the first letter",
            _ => "from the thawing of the recipient's node to the first letter",
        };
        report(what, times)
    }

    async fn begin(&mut self, row: &str) -> Result<()> {
        let bob = self.lan.host("bob")?;
        match row {
            "cable" => {
                bob.pull_cable()?;
                unlinked(&self.mesh[0], "bob").await
            }
            "switch" => {
                bob.cut_behind_the_switch()?;
                unlinked(&self.mesh[0], "bob").await
            }
            "glitch" => bob.pull_cable(),
            "restart" => {
                bob.pull_cable()?;
                self.mesh[0].restart().await?;
                self.ann = self.mesh[0].found_by(&self.ann)?;
                Ok(())
            }
            "start" => self.mesh[1].stop().await,
            _ => {
                self.mesh[1].freeze()?;
                unlinked(&self.mesh[0], "bob").await
            }
        }
    }

    /// When it ended.
    async fn end(&mut self, row: &str) -> Result<Instant> {
        let bob = self.lan.host("bob")?;
        let ended = Instant::now();
        match row {
            "cable" | "glitch" | "restart" => bob.plug_cable()?,
            "switch" => bob.mend_behind_the_switch()?,
            "start" => {
                self.mesh[1].start().await?;
                self.bob = self.mesh[1].found_by(&self.bob)?;
            }
            _ => self.mesh[1].thaw()?,
        }
        Ok(ended)
    }

    async fn first_letter(&self) -> Result<()> {
        wait_until("a letter", || async { Ok(!self.bob.pending().await?.is_empty()) }).await
    }

    /// Empties the mailbox of all that was sent.
    async fn rest(&self, count: usize) -> Result<()> {
        let mut taken = 0;
        while taken < count {
            self.first_letter().await?;
            taken += self.bob.take().await?.len();
        }
        Ok(())
    }
}

async fn unlinked(node: &Node, host: &str) -> Result<()> {
    let linked = |peer: &serde_json::Value| peer["host"] == host && peer["state"] == "connected";
    wait_until("the link to be given up", || async { Ok(!node.peers().await?.iter().any(linked)) }).await
}

fn report(what: &str, mut times: Vec<Duration>) -> Result<()> {
    times.sort();
    let at = |share: usize| times.get((times.len() * share).div_ceil(100) - 1).copied().context("no runs");
    let (p50, p95, most) = (at(50)?.as_millis(), at(95)?.as_millis(), at(100)?.as_millis());
    println!("{what}, {} runs: p50 {p50} ms, p95 {p95} ms, most {most} ms", times.len());
    Ok(())
}

const ROWS: [&str; 7] = ["join", "cable", "glitch", "switch", "start", "restart", "thaw"];
const RUNS: usize = 20;
/// Letters that wait for the end of each outage.
const WAITING: usize = 5;
