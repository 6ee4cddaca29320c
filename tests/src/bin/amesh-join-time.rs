//! Measures, in the LAN lab, what a user waits for, p50 and p95: from `amesh up --join` on a second host
//! to a connected member (issue 2, "it must show" 3), from the end of an outage to the first letter that waited for
//! it (5), and until 10,000 have arrived (issue 4, "speed to reach"). A measurement, not a test: run it with `cargo run --release`; `--help` names the rows.

use amesh_tests::agent::{Letter, TestAgent};
use amesh_tests::bench::load::{Shot, fire};
use amesh_tests::lab::{self, Lan};
use amesh_tests::mesh::Mesh;
use amesh_tests::node::Node;
use amesh_tests::wait::wait_until;
use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Measures in the LAN lab what a user waits for.
#[derive(Parser, Debug)]
#[command(
    after_help = "It needs `unshare`, `ip` and `nft`, and no root. A run of the rows cable, switch, thaw and \
    drain waits until the link is given up, about 15 seconds: 20 runs of one of them take some five minutes."
)]
struct Args {
    /// What to measure; everything, if nothing is named.
    #[arg(value_enum)]
    rows: Vec<Row>,
    /// How often each row is measured.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Hosts on the LAN, for the row join: the mesh that is joined has one less.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=200))]
    hosts: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Row {
    /// From `up --join` on one more host to a connected member, and to a letter between two agents.
    Join,
    /// From the cable back in, the link long given up, to the first letter that waited.
    Cable,
    /// From the cable back in, before the link was given up.
    Glitch,
    /// From a switch mended that nobody sees.
    Switch,
    /// From `up` on the recipient's host.
    Start,
    /// From the cable back in, the sending node restarted meanwhile.
    Restart,
    /// From the thawing of the recipient's frozen process.
    Thaw,
    /// From the cable back in, with 10,000 letters to one agent waiting: the first of them, and the last.
    Drain,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let rows = if args.rows.is_empty() { Row::value_variants().to_vec() } else { args.rows };
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let within = STARTING + LONGEST_RUN * args.runs * u32::try_from(rows.len())?;
    let more: Vec<String> = (3..=args.hosts).map(|number| format!("host-{number}")).collect();
    let hosts: Vec<&str> = ["ann", "bob"].into_iter().chain(more.iter().map(String::as_str)).collect();
    lab::play_again(&hosts, |lan| measure(lan, rows.clone(), args.runs), &words, within)
}

async fn measure(lan: Lan, rows: Vec<Row>, runs: u32) -> Result<()> {
    if rows.contains(&Row::Join) {
        join(&lan, runs).await?;
    }
    if rows.contains(&Row::Drain) {
        drain(&lan, runs).await?;
    }
    let outages: Vec<Row> = rows.into_iter().filter(|row| !matches!(row, Row::Join | Row::Drain)).collect();
    if outages.is_empty() {
        return Ok(());
    }
    let mut friends = Friends::meet(lan).await?;
    for row in outages {
        friends.after(row, runs).await?;
    }
    Ok(())
}

/// Nodes with room for [`QUEUED`] letters of 1 KB from one agent to one other.
async fn drain(lan: &Lan, runs: u32) -> Result<()> {
    let settings = tempfile::NamedTempFile::new()?;
    std::fs::write(settings.path(), ROOM)?;
    println!("{QUEUED} letters wait; limits raised for it:\n{ROOM}");
    let config = settings.path().to_str().context("a path that is no text")?;
    let nodes = lan.hosts().iter().map(|host| host.node(&["--config", config])).collect::<Result<_>>()?;
    let mesh = Mesh::of(nodes).await?;
    let (ann, bob) = (mesh[0].agent("ann").await?, mesh[1].agent("bob").await?);
    wait_until("bob's name", || async { Ok(ann.send(&bob.address, "hello").await.is_ok()) }).await?;
    wait_until("a letter", || async { Ok(!bob.take().await?.is_empty()) }).await?;
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for run in 1..=runs {
        mesh.linked().await?;
        lan.host("bob")?.pull_cable()?;
        unlinked(&mesh[0], "bob").await?;
        fill(&mesh[0], &ann, &bob).await?;
        let ended = Instant::now();
        lan.host("bob")?.plug_cable()?;
        wait_until("the first letter", || async { Ok(waiting(&bob).await? > 0) }).await?;
        first.push(noted(Row::Drain, run, ended.elapsed()));
        wait_until("the last letter", || async { Ok(waiting(&bob).await? >= QUEUED) }).await?;
        last.push(noted(Row::Drain, run, ended.elapsed()));
        ensure!(bob.take().await?.len() == QUEUED, "more or less arrived than was sent");
    }
    report("from the cable back in to the first of 10,000 letters", first)?;
    report(Row::Drain.what(), last)
}

/// Queues the letters, from 64 callers at once.
async fn fill(node: &Node, from: &TestAgent, to: &TestAgent) -> Result<()> {
    let shot = |number: usize| {
        let letter = Letter::new(&to.address, &format!("letter {number:06}"), &"x".repeat(960));
        Shot { api_key: from.key.as_str().into(), body: from.signed(&letter).to_string().into() }
    };
    let (api, shots) = (node.ready()?.api, (0..QUEUED).map(shot).collect());
    let fired = node.place().run(async move { fire(api, "/v1/route", shots, 64).await }).await??;
    ensure!(fired.failed == 0, "{} letters were not taken: {:?}", fired.failed, fired.first_failure);
    Ok(())
}

async fn waiting(agent: &TestAgent) -> Result<usize> {
    let counted = agent.get("/v1/messages/pending/count").await?.ok()?;
    counted["total"].as_u64().and_then(|total| usize::try_from(total).ok()).context("no total")
}

/// From starting the process with a ticket to a link that both `peers` and this program see; and to the first letter from
/// a new agent there to an agent that was in the mesh before, on a host that did not invite it where there is one.
async fn join(lan: &Lan, runs: u32) -> Result<()> {
    let mut mesh: Vec<Node> = Vec::new();
    for host in lan.hosts().iter().filter(|host| host.name != "bob") {
        let mut node = host.node(&[])?;
        node.start().await?;
        if let Some(ann) = mesh.first() {
            node.amesh(&["join", &ann.invite().await?]).await?;
        }
        mesh.push(node);
    }
    for node in &mesh {
        wait_until("all members", || async { Ok(members(node).await?.len() == mesh.len()) }).await?;
    }
    let friend = mesh.last().context("an empty mesh")?.agent("friend").await?;
    println!("{} hosts are one mesh", mesh.len());
    let (mut linked, mut usable) = (Vec::new(), Vec::new());
    for run in 1..=runs {
        let ticket = mesh[0].invite().await?;
        let mut bob = lan.host("bob")?.node(&["--join", &ticket])?;
        let begun = Instant::now();
        bob.start().await?;
        let linked_once = |peers: Vec<Value>| peers.iter().any(|peer| peer["state"] == "connected");
        wait_until("a connected member", || async { Ok(linked_once(members(&bob).await?)) }).await?;
        linked.push(noted(Row::Join, run, begun.elapsed()));
        let newcomer = bob.agent(&format!("newcomer-{run}")).await?;
        let write = || async { Ok(newcomer.send(&friend.address, "hello").await.is_ok()) };
        wait_until("the friend's name", write).await?;
        wait_until("the letter", || async { Ok(waiting(&friend).await? > 0) }).await?;
        usable.push(noted(Row::Join, run, begun.elapsed()));
        friend.take().await?;
        bob.amesh(&["leave"]).await?;
        bob.stop().await?;
    }
    report(Row::Join.what(), linked)?;
    report("from `up --join` to the first letter at an agent of another host", usable)
}

async fn members(node: &Node) -> Result<Vec<Value>> {
    Ok(node.peers().await?.into_iter().filter(|peer| peer["member"] == true).collect())
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
    async fn after(&mut self, row: Row, runs: u32) -> Result<()> {
        let mut times = Vec::new();
        for run in 1..=runs {
            self.mesh.linked().await?;
            self.begin(row).await?;
            for number in 0..WAITING {
                let status = self.ann.send(&self.bob.address, &format!("letter {number}")).await;
                status.context("a letter that must wait")?;
            }
            let ended = self.end(row).await?;
            self.first_letter().await?;
            times.push(noted(row, run, ended.elapsed()));
            self.rest(WAITING).await?;
        }
        report(row.what(), times)
    }

    async fn begin(&mut self, row: Row) -> Result<()> {
        let bob = self.lan.host("bob")?;
        match row {
            Row::Cable => {
                bob.pull_cable()?;
                unlinked(&self.mesh[0], "bob").await
            }
            Row::Switch => {
                bob.cut_behind_the_switch()?;
                unlinked(&self.mesh[0], "bob").await
            }
            Row::Glitch => bob.pull_cable(),
            Row::Restart => {
                bob.pull_cable()?;
                self.mesh[0].restart().await?;
                self.ann = self.mesh[0].found_by(&self.ann)?;
                Ok(())
            }
            Row::Start => self.mesh[1].stop().await,
            Row::Join | Row::Drain => Ok(()),
            Row::Thaw => {
                self.mesh[1].freeze()?;
                unlinked(&self.mesh[0], "bob").await
            }
        }
    }

    /// When it ended.
    async fn end(&mut self, row: Row) -> Result<Instant> {
        let bob = self.lan.host("bob")?;
        let ended = Instant::now();
        match row {
            Row::Cable | Row::Glitch | Row::Restart => bob.plug_cable()?,
            Row::Switch => bob.mend_behind_the_switch()?,
            Row::Start => {
                self.mesh[1].start().await?;
                self.bob = self.mesh[1].found_by(&self.bob)?;
            }
            Row::Join | Row::Drain => {}
            Row::Thaw => self.mesh[1].thaw()?,
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

impl Row {
    fn what(self) -> &'static str {
        match self {
            Self::Join => "from `up --join` to a connected member",
            Self::Cable => "from the cable back in, the link long given up, to the first letter",
            Self::Glitch => "from the cable back in, before the link was given up, to the first letter",
            Self::Switch => "from a switch mended that nobody sees, to the first letter",
            Self::Start => "from `up` on the recipient's host to the first letter",
            Self::Restart => {
                "from the cable back in, the sending node restarted meanwhile, to the first letter"
            }
            Self::Thaw => "from the thawing of the recipient's node to the first letter",
            Self::Drain => "from the cable back in to the last of 10,000 letters",
        }
    }
}

async fn unlinked(node: &Node, host: &str) -> Result<()> {
    let linked = |peer: &Value| peer["host"] == host && peer["state"] == "connected";
    wait_until("the link to be given up", || async { Ok(!node.peers().await?.iter().any(linked)) }).await
}

/// Says how far it is, for whoever waits.
fn noted(row: Row, run: u32, time: Duration) -> Duration {
    eprintln!("{row:?} {run}: {} ms", time.as_millis());
    time
}

fn report(what: &str, mut times: Vec<Duration>) -> Result<()> {
    times.sort();
    let at = |share: usize| times.get((times.len() * share).div_ceil(100) - 1).copied().context("no runs");
    let (p50, p95, most) = (at(50)?.as_millis(), at(95)?.as_millis(), at(100)?.as_millis());
    println!("{what}, {} runs: p50 {p50} ms, p95 {p95} ms, most {most} ms", times.len());
    Ok(())
}

/// No outage and what follows it takes longer.
const LONGEST_RUN: Duration = Duration::from_secs(120);
const STARTING: Duration = Duration::from_secs(300);
/// Letters that wait for the end of each outage.
const WAITING: usize = 5;
/// Letters to one agent.
const QUEUED: usize = 10_000;
const ROOM: &str = "[store]
mailbox_new = 20000
outbox_messages = 20000
outbox_per_agent = 20000
[http.local_limits]
route_per_minute = 10000000
received_per_minute = 10000000
route_burst = 100000
pending_per_minute = 10000000
other_per_minute = 10000000
";
