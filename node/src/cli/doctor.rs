//! `amesh doctor`: what is wrong with this machine, and what to type. Works with the node running and without.

mod certificate;

use super::context::Context;
use super::output::Trouble;
use crate::client::control::Control;
use crate::client::find::NodeFile;
use amesh_proto::api::control::{LabelConflict, NodeFacts};
use amesh_proto::time::UnixMillis;
use amesh_store::{Config as StoreConfig, OpenError, Store};
use serde::Serialize;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::time::Duration;

#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    running: bool,
    checks: Vec<Check>,
}

#[derive(Debug, Serialize)]
struct Check {
    check: &'static str,
    state: State,
    what: String,
    #[serde(rename = "try", skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Warning,
    Problem,
}

/// Below this the node refuses new mail (DESIGN §5).
const DISK_FULL: u64 = 64 << 20;
/// Below this it is time to think of it.
const DISK_LOW: u64 = 512 << 20;
/// A clock before this is wrong: this program is younger.
const WRITTEN: u64 = 1_793_491_200;
/// More than this between two clocks makes signed mail look stale (RPL-2, RPL-5).
const SKEW: i64 = 60;
/// Where a node listens unless told otherwise (DESIGN §4).
const API: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 23000);
const MESH: (Ipv4Addr, u16) = (Ipv4Addr::UNSPECIFIED, 23001);
/// A group of the range that organizations may use as they like (RFC 2365).
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 77, 77);

pub(super) async fn doctor(ctx: &Context) -> anyhow::Result<()> {
    let data_dir = ctx.data_dir()?;
    let node = ctx.node();
    let mut checks = Vec::new();
    match &node {
        Ok(node) => {
            checks.push(Check::ok("node", format!("{} is running as process {}", node.host, node.pid)));
            match Control::of(&data_dir).facts().await {
                Ok(facts) => checks.extend(from_facts(ctx, &facts)),
                Err(error) => {
                    let trouble = Trouble::from(error);
                    let mend = trouble.mend.unwrap_or_else(|| ctx.command("logs"));
                    checks.push(Check::bad("node", trouble.what).mend(mend));
                }
            }
        }
        Err(trouble) => {
            checks.push(Check::warn("node", trouble.what.clone()).mend(ctx.command("up --detach")));
            checks.push(tcp_port(API.into(), ctx));
            checks.push(udp_port(MESH.into(), ctx));
            checks.push(store(ctx, &data_dir).await);
        }
    }
    checks.push(disk(&data_dir));
    checks.push(clock(&data_dir, ctx.now()));
    checks.push(multicast(ctx));
    checks.extend(private_key(ctx).await);
    let ok = checks.iter().all(|check| check.state != State::Problem);
    let report = Report { ok, running: node.is_ok(), checks };
    ctx.out.show(&report, || report.text())?;
    if ok {
        return Ok(());
    }
    let bad = report.checks.iter().filter(|check| check.state == State::Problem).count();
    Err(Trouble::new("unhealthy", format!("{bad} thing(s) want mending")).into())
}

impl Report {
    fn text(&self) -> String {
        let lines = self.checks.iter().map(|check| {
            let mark = match check.state {
                State::Ok => "ok      ",
                State::Warning => "warning ",
                State::Problem => "PROBLEM ",
            };
            let mend =
                check.mend.as_deref().map(|mend| format!("\n           try: {mend}")).unwrap_or_default();
            format!("{mark} {}: {}{mend}", check.check, check.what)
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

impl Check {
    fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self { check, state: State::Ok, what: what.into(), mend: None }
    }

    fn warn(check: &'static str, what: impl Into<String>) -> Self {
        Self { state: State::Warning, ..Self::ok(check, what) }
    }

    fn bad(check: &'static str, what: impl Into<String>) -> Self {
        Self { state: State::Problem, ..Self::ok(check, what) }
    }

    fn mend(mut self, command: impl Into<String>) -> Self {
        self.mend = Some(command.into());
        self
    }
}

/// What only the running node can know.
fn from_facts(ctx: &Context, facts: &NodeFacts) -> Vec<Check> {
    let mut checks = Vec::new();
    checks.push(match facts.store_ok {
        true => Check::ok("store", "it takes changes"),
        false if facts.disk_full => Check::bad("store", "it refuses new mail: the disk is nearly full")
            .mend("free some space; the node goes on by itself"),
        false => Check::bad("store", "it failed and is closed to changes").mend(ctx.command("logs")),
    });
    if facts.duplicate_node_key {
        checks.push(
            Check::bad(
                "node key",
                "another machine proves to have this node's key: its data directory was copied",
            )
            .mend(
                "on one of the two: amesh down, delete node.key in the data directory, amesh up, amesh join",
            ),
        );
    }
    for clash in &facts.clashes {
        let what = format!(
            "{} is held by {}; the agent at {} cannot use it",
            clash.address, clash.holder, clash.loser
        );
        let mend = if clash.mend.is_empty() {
            "amesh agents rename NAME OTHER-NAME (on that host)"
        } else {
            &clash.mend
        };
        checks.push(Check::bad("names", what).mend(mend));
    }
    for LabelConflict { host, holder, loser, mend } in &facts.label_conflicts {
        let what = format!("two members are called {host}: name@{host} leads to {holder}, not to {loser}");
        checks.push(Check::bad("host labels", what).mend(mend));
    }
    if facts.clashes.is_empty() {
        checks.push(Check::ok("names", "no name is held twice"));
    }
    if facts.clock_jumped {
        checks.push(
            Check::warn("clock", "it jumped; nothing expires until it has been steady for an hour")
                .mend("timedatectl (or whatever sets this machine's clock)"),
        );
    }
    if let Some(skew) = facts.clock_skew_secs.filter(|skew| skew.abs() > SKEW) {
        let host = facts.clock_skew_host.as_deref().unwrap_or("another member");
        let (secs, direction) = (skew.abs(), if skew > 0 { "behind" } else { "ahead of" });
        checks.push(
            Check::bad("clock", format!("it is {secs} s {direction} that of {host}"))
                .mend("timedatectl set-ntp true (on the machine that is wrong)"),
        );
    }
    if facts.multicast_enabled && !facts.multicast_heard {
        checks.push(
            Check::warn("neighbours", "no other node has been heard by multicast yet")
                .mend("amesh up --peer HOST:PORT (where multicast is blocked)"),
        );
    }
    checks.extend(facts.certificate.as_ref().map(|shown| certificate::check(shown, ctx.now())));
    checks.extend(facts.notes.iter().map(|note| Check::warn("node", note.clone())));
    checks
}

fn tcp_port(address: SocketAddr, ctx: &Context) -> Check {
    port_check(
        "agents' port",
        address,
        TcpListener::bind(address).map(drop),
        &ctx.command("up --api 127.0.0.1:0"),
    )
}

fn udp_port(address: SocketAddr, ctx: &Context) -> Check {
    port_check("mesh port", address, UdpSocket::bind(address).map(drop), &ctx.command("up --mesh 0.0.0.0:0"))
}

fn port_check(check: &'static str, address: SocketAddr, bound: std::io::Result<()>, mend: &str) -> Check {
    match bound {
        Ok(()) => Check::ok(check, format!("{address} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            Check::bad(check, format!("{address} is taken by another program")).mend(mend)
        }
        Err(error) => Check::bad(check, format!("{address} cannot be used: {error}")).mend(mend),
    }
}

/// Opens the store as a node would; only where there is one, for opening makes one.
async fn store(ctx: &Context, data_dir: &Path) -> Check {
    let dir = super::db::store_dir(data_dir);
    if !dir.exists() {
        return Check::ok("store", "there is none yet");
    }
    match Store::open(&dir, StoreConfig::default()) {
        Ok(store) => match store.close().await {
            Ok(()) => Check::ok("store", "it opens; amesh db verify reads all of it"),
            Err(error) => Check::bad("store", error.to_string()).mend(ctx.command("db verify")),
        },
        Err(error @ OpenError::Damaged { .. }) => {
            Check::bad("store", error.to_string()).mend(ctx.command("db restore"))
        }
        Err(error @ OpenError::InUse { .. }) => {
            Check::bad("store", error.to_string()).mend(ctx.command("down"))
        }
        Err(error) => Check::bad("store", error.to_string()),
    }
}

fn disk(data_dir: &Path) -> Check {
    let Some(existing) = data_dir.ancestors().find(|dir| dir.exists()) else {
        return Check::bad("disk", format!("{} is nowhere", data_dir.display()));
    };
    let free = match rustix::fs::statvfs(existing) {
        Ok(stat) => stat.f_bavail.saturating_mul(stat.f_frsize),
        Err(error) => {
            return Check::bad("disk", format!("{} cannot be measured: {error}", existing.display()));
        }
    };
    disk_check(free)
}

fn disk_check(free: u64) -> Check {
    let what = format!("{} MiB free", free >> 20);
    if free < DISK_FULL {
        Check::bad("disk", format!("{what}: no new mail is accepted")).mend("free some space")
    } else if free < DISK_LOW {
        Check::warn("disk", what).mend("free some space")
    } else {
        Check::ok("disk", what)
    }
}

/// A clock that is off by years shows against this program's age; one that was put back, against the node's files.
fn clock(data_dir: &Path, now: UnixMillis) -> Check {
    let written = std::fs::metadata(NodeFile::path(data_dir)).and_then(|meta| meta.modified()).ok();
    let written = written.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    clock_check(now, written)
}

fn clock_check(now: UnixMillis, written: Option<Duration>) -> Check {
    let mend = "timedatectl set-ntp true";
    if now.as_secs() < WRITTEN {
        return Check::bad("clock", format!("it says {now}, which is before this program was written"))
            .mend(mend);
    }
    match written {
        Some(at) if at.as_secs() > now.as_secs() + 120 => {
            let at = UnixMillis::from_secs(at.as_secs());
            Check::bad("clock", format!("it says {now}, but the node's files are from {at}")).mend(mend)
        }
        _ => Check::ok("clock", format!("it says {now}")),
    }
}

/// Sends one packet to a group on this machine and waits for it to come back.
fn multicast(ctx: &Context) -> Check {
    match multicast_echo() {
        Ok(()) => Check::ok("multicast", "a packet to a group arrives on this machine"),
        Err(error) => Check::warn("multicast", format!("it is blocked here: {error}"))
            .mend(ctx.command("up --peer HOST:PORT (finds other nodes without it)")),
    }
}

fn multicast_echo() -> std::io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    socket.join_multicast_v4(&GROUP, &Ipv4Addr::UNSPECIFIED)?;
    socket.set_multicast_loop_v4(true)?;
    socket.set_multicast_ttl_v4(0)?;
    let port = socket.local_addr()?.port();
    socket.send_to(b"amesh doctor", (GROUP, port))?;
    let mut packet = [0; 64];
    match socket.recv_from(&mut packet) {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            Err(std::io::Error::other("what is sent to a group does not arrive"))
        }
        Err(error) => Err(error),
    }
}

/// IDN-3: only its owner may read a private key.
async fn private_key(ctx: &Context) -> Option<Check> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = ctx.identity().await.ok()?.home.private_key();
    let mode = std::fs::metadata(&path).ok()?.permissions().mode();
    Some(match mode & 0o077 {
        0 => Check::ok("agent's key", "only its owner can read it"),
        _ => Check::bad("agent's key", format!("others can read {}", path.display()))
            .mend(format!("chmod 600 {}", path.display())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::Global;

    fn ctx() -> Context {
        Context::new(Global::default())
    }

    #[test]
    fn a_taken_port_is_named_with_the_command_that_avoids_it() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let check = tcp_port(taken.local_addr().unwrap(), &ctx());
        assert_eq!(check.state, State::Problem);
        assert_eq!(check.mend.as_deref(), Some("amesh up --api 127.0.0.1:0"));
    }

    #[test]
    fn a_nearly_full_disk_is_told_from_a_filling_one() {
        assert_eq!(disk_check(10 << 20).state, State::Problem);
        assert_eq!(disk_check(100 << 20).state, State::Warning);
        assert_eq!(disk_check(1 << 40).state, State::Ok);
    }

    #[test]
    fn clocks_ten_years_off_either_way_are_noticed() {
        let now = WRITTEN + 1_000_000;
        let ten_years = 10 * 365 * 86_400;
        assert_eq!(clock_check(UnixMillis::from_secs(now), None).state, State::Ok);
        assert_eq!(clock_check(UnixMillis::from_secs(now - ten_years), None).state, State::Problem);
        let ahead = Some(Duration::from_secs(now + ten_years));
        assert_eq!(clock_check(UnixMillis::from_secs(now), ahead).state, State::Problem);
    }

    #[test]
    fn what_the_node_knows_becomes_checks() {
        let facts = NodeFacts {
            store_ok: false,
            disk_full: true,
            duplicate_node_key: true,
            clashes: vec![amesh_proto::api::control::Clash {
                address: "a@b.c.d".to_owned(),
                holder: "ann".to_owned(),
                loser: "bob".to_owned(),
                mend: String::new(),
            }],
            clock_skew_secs: Some(-120),
            ..NodeFacts::default()
        };
        let checks = from_facts(&ctx(), &facts);
        let problems: Vec<_> =
            checks.iter().filter(|check| check.state == State::Problem).map(|check| check.check).collect();
        assert_eq!(problems, ["store", "node key", "names", "clock"]);
        assert!(checks.iter().all(|check| check.state == State::Ok || check.mend.is_some()));
    }

    #[tokio::test]
    async fn a_store_that_is_not_there_is_not_made_by_looking() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(store(&ctx(), dir.path()).await.state, State::Ok);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
