//! What a message costs from HTTP at one provider to the mailbox at another, durable and verified at both; how fast a queue drains
//! once the other is back; and what others notice of a provider that answers nobody.

use super::accept::checked;
use super::mesh::arrived;
use super::{Bench, RAISED, agents, shots};
use crate::agent::{Letter, TestAgent};
use crate::authority::{Authority, CertificateFiles};
use crate::bench::spread::{Spread, percentile};
use crate::bench::table::Row;
use crate::bench::{load, process};
use crate::name_server::NameServer;
use crate::node::Node;
use crate::socket::Socket;
use amesh_proto::key::{AgentKey, PublicKey};
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

/// Two providers that know each other's keys, and one that takes connections and never says a word.
struct World {
    near: Node,
    far: Node,
    _names: NameServer,
    _files: Vec<CertificateFiles>,
    _silent: TcpListener,
}

/// The rows about two providers.
pub(super) async fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let mut world = World::build().await?;
    let senders = agents(&world.near, "sender", 10).await?;
    let (cpu, direct) = cpu_of_both(bench, &world, &senders).await?;
    let drain = drained(bench, &mut world, &senders, direct).await?;
    let dead = beside_a_dead_one(bench, &world, &senders).await?;
    Ok(vec![cpu, drain, dead])
}

impl World {
    async fn build() -> Result<Self> {
        let (authority, names) = (Authority::named("the bench's authority")?, NameServer::start()?);
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let mut settings = format!(
            "[federation]\non = true\nmode = \"allowlist\"\nallowed_providers = [\"near.test\", \"far.test\", \"dead.test\"]\n\
             discovery = [\"dns_txt\"]\nresolvers = [\"{}\"]\nallow_addresses = [\"127.0.0.1\"]\n{LIMITS}",
            names.address
        );
        let mut pins = String::from("[federation.pins]\n");
        let mut doors = Vec::new();
        for (seed, domain) in [(1, "near.test"), (2, "far.test"), (3, "dead.test")] {
            let door = match domain {
                "dead.test" => silent.local_addr()?.port(),
                _ => TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?.local_addr()?.port(),
            };
            let key = AgentKey::from_seed(&[seed; 32]).public();
            let record = format!("v=AMP1; endpoint=https://{domain}:{door}/v1; pubkey={}", key.fingerprint());
            names.says(&format!("_amp._tcp.{domain}"), &[&record]);
            names.is_at(domain, &[Ipv4Addr::LOCALHOST]);
            writeln!(pins, "{domain:?} = {:?}", hex(&key))?;
            doors.push(door);
        }
        settings.push_str(&pins);
        let mut nodes = Vec::new();
        let mut all_files = Vec::new();
        for (seed, domain) in [(1_u8, "near.test"), (2, "far.test")] {
            let files = CertificateFiles::with(&authority.vouches_for(&[domain])?)?;
            std::fs::write(files.path("ca.pem"), authority.pem())?;
            let door = doors[usize::from(seed) - 1];
            let own = format!("domain = {domain:?}\nendpoint = \"https://{domain}:{door}/v1\"\n");
            let settings = settings.replacen("[federation]\n", &format!("[federation]\n{own}"), 1);
            let first = format!("provider = {domain:?}\nca_certificates = [{:?}]\n", files.path("ca.pem"));
            let file = files.path("bench.toml");
            std::fs::write(&file, format!("{first}{RAISED}{settings}{}", files.settings()))?;
            let file = file.to_str().context("a path that is not UTF-8")?;
            let open = format!("0.0.0.0:{door}");
            let host = domain.trim_end_matches(".test");
            let mut node = Node::on_loopback(host)?.with(&["--config", file, "--api", &open]);
            let key = node.data_dir().join("provider.key");
            std::fs::create_dir_all(node.data_dir())?;
            std::fs::set_permissions(node.data_dir(), std::fs::Permissions::from_mode(0o700))?;
            std::fs::write(&key, format!("{seed:02x}").repeat(32))?;
            std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600))?;
            node.start().await?;
            nodes.push(node);
            all_files.push(files);
        }
        let far = nodes.pop().context("no far node")?;
        let near = nodes.pop().context("no near node")?;
        Ok(Self { near, far, _names: names, _files: all_files, _silent: silent })
    }
}

fn hex(key: &PublicKey) -> String {
    key.sender_key_text()
}

/// CPU a message; and how many messages a second arrived.
async fn cpu_of_both(bench: &Bench, world: &World, senders: &[TestAgent]) -> Result<(Row, Spread)> {
    let pids = [world.near.pid()?, world.far.pid()?];
    let used = || -> Result<Duration> { Ok(process::cpu(pids[0])? + process::cpu(pids[1])?) };
    let (mut readings, mut rates) = (Vec::new(), Vec::new());
    let messages = f64::from(u32::try_from(bench.messages)?);
    for round in 0..=bench.rounds {
        let recipient = world.far.agent(&format!("recipient-{round}")).await?;
        let load = shots(senders, std::slice::from_ref(&recipient.address), bench.messages);
        let (before, begun) = (used()?, Instant::now());
        checked(load::fire(world.near.ready()?.api, "/v1/route", load, 64).await?)?;
        arrived(&recipient, bench.messages).await?;
        if round > 0 {
            readings.push((used()? - before).as_secs_f64() / messages / bench.v.median);
            rates.push(messages / begun.elapsed().as_secs_f64());
        }
    }
    let row = Row {
        what: "CPU of both nodes, HTTP at one provider to mailbox at the other".into(),
        measured: Spread::of(readings),
        unit: "V",
        reach: Some(12.0),
        note: "durable on both, verified by both".into(),
    };
    Ok((row, Spread::of(rates)))
}

/// Ten thousand messages wait for a provider that is off; how fast they arrive once it is back.
async fn drained(bench: &Bench, world: &mut World, senders: &[TestAgent], direct: Spread) -> Result<Row> {
    let mut readings = Vec::new();
    for round in 0..bench.rounds.min(3) {
        let recipient = world.far.agent(&format!("patient-{round}")).await?;
        world.far.stop().await?;
        let load = shots(senders, std::slice::from_ref(&recipient.address), QUEUED);
        checked(load::fire(world.near.ready()?.api, "/v1/route", load, 64).await?)?;
        world.far.start().await?;
        let recipient = recipient.at(&crate::place::Place::here(), world.far.ready()?.api)?;
        // Mail from there ends the pause.
        recipient.send(&senders[0].address, "back again").await?;
        arrived(&recipient, 1).await?;
        let begun = Instant::now();
        arrived(&recipient, QUEUED).await?;
        let rate = f64::from(u32::try_from(QUEUED)?) / begun.elapsed().as_secs_f64();
        readings.push(rate / direct.median * 100.0);
    }
    Ok(Row {
        what: "10,000 queued messages to one provider: rate of the queue beside the direct rate".into(),
        measured: Spread::of(readings),
        unit: "%",
        reach: None,
        note: format!("at least 60 %; direct {:.0} a second", direct.median),
    })
}

/// The time to the far provider's socket while a hundred messages wait for one that takes connections and says nothing.
async fn beside_a_dead_one(bench: &Bench, world: &World, senders: &[TestAgent]) -> Result<Row> {
    let recipient = world.far.agent("listener").await?;
    let mut socket = recipient.connect().await?;
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for round in 0..bench.rounds {
        alone.push(p99(&senders[0], &recipient, &mut socket, &format!("alone {round}")).await?);
    }
    for (at, sender) in senders.iter().cycle().take(100).enumerate() {
        sender.send("nobody@default.dead.test", &format!("dead {at}")).await?;
    }
    for round in 0..bench.rounds {
        beside.push(p99(&senders[0], &recipient, &mut socket, &format!("beside {round}")).await?);
    }
    let alone = Spread::of(alone);
    Ok(Row {
        what: "/route to the WebSocket frame at the other provider, p99, beside a provider that says nothing"
            .into(),
        measured: Spread::of(beside).times(1.0 / alone.median),
        unit: "×",
        reach: Some(1.2),
        note: format!("of p99 beside none: {:.2} ({:.2} – {:.2}) ms", alone.median, alone.min, alone.max),
    })
}

/// Of 300 messages, in ms.
async fn p99(sender: &TestAgent, recipient: &TestAgent, socket: &mut Socket, name: &str) -> Result<f64> {
    let mut times = Vec::new();
    for number in 0..300 {
        let letter = Letter::new(&recipient.address, &format!("{name} {number}"), &"x".repeat(960));
        let start = Instant::now();
        let (answer, frame) = tokio::join!(sender.route(&letter), socket.expect("message.new"));
        times.push(start.elapsed());
        answer?.ok()?;
        frame?;
    }
    times.sort();
    Ok(percentile(&times, 0.99).as_secs_f64() * 1e3)
}

const QUEUED: usize = 10_000;
/// Of what other providers may bring: none, as docs/benchmarks.md says.
const LIMITS: &str = "[federation.limits]\nunlisted_per_minute = 0\nlisted_per_minute = 0\nrecipient_per_minute = 0\n\
                      all_per_minute = 0\nall_per_hour = 0\nfailures_per_minute = 0\n";
