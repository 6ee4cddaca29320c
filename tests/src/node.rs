//! A real node: the `amesh` binary as a process, with a data directory of its own.

mod clock;
mod ready;

pub use clock::WrongClock;
pub use ready::Ready;

use crate::agent::TestAgent;
use crate::binary;
use crate::place::Place;
use crate::power::strace_command;
use crate::wait::{patience, wait_for};
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

/// A node that may be running.
#[derive(Debug)]
pub struct Node {
    /// Its host label.
    pub host: String,
    place: Place,
    dir: TempDir,
    /// What `up` is given besides the data directory and the host label.
    options: Vec<String>,
    running: Option<Child>,
    ready: Option<Ready>,
    /// Where the node's system calls are recorded, if they are.
    record: Option<PathBuf>,
    clock: Option<WrongClock>,
    /// A certificate authority that its commands believe.
    authority: Option<PathBuf>,
    /// The binary it runs, if not the one under test.
    binary: Option<PathBuf>,
}

impl Node {
    /// A node on this machine's loopback, out of sight of other tests; not started.
    ///
    /// # Errors
    /// When there is no room for its data.
    pub fn on_loopback(host: &str) -> Result<Self> {
        let options = ["--api", "127.0.0.1:0", "--mesh", "127.0.0.1:0", "--no-mdns", "--no-swarm"];
        Self::new(host, Place::here(), &options)
    }

    /// A node in `place` with `options`; not started.
    ///
    /// # Errors
    /// When there is no room for its data.
    pub fn new(host: &str, place: Place, options: &[&str]) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix(&format!("amesh-{host}-")).tempdir()?;
        let options = options.iter().map(|&option| option.to_owned()).collect();
        Ok(Self {
            host: host.into(),
            place,
            dir,
            options,
            running: None,
            ready: None,
            record: None,
            clock: None,
            authority: None,
            binary: None,
        })
    }

    /// Its commands believe the authority in this file, instead of the system's.
    pub fn believes(&mut self, authority: &Path) {
        self.authority = Some(authority.to_owned());
    }

    /// Adds options for the next start.
    #[must_use]
    pub fn with(mut self, options: &[&str]) -> Self {
        self.options.extend(options.iter().map(|&option| option.to_owned()));
        self
    }

    /// Records the system calls of the next start into `record` (see [`crate::power`]).
    pub fn record(&mut self, record: &Path) {
        self.record = Some(record.to_path_buf());
    }

    /// The node's machine has this clock, from the next start on, for its command line too.
    #[must_use]
    pub fn with_clock(mut self, clock: WrongClock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Runs `binary` from the next start on, for its command line too; the one under test, if there is none.
    pub fn run_binary(&mut self, binary: Option<&Path>) {
        self.binary = binary.map(Path::to_path_buf);
    }

    /// Starts the node and waits until it is ready.
    ///
    /// # Errors
    /// When it ends or says nothing; its log is in the message.
    pub async fn start(&mut self) -> Result<()> {
        ensure!(self.running.is_none(), "{} is already running", self.host);
        let mut command = match &self.record {
            Some(record) => self.at_home(strace_command(&binary::amesh()?, record)),
            None => self.command()?,
        };
        command.args(["up", "--host", &self.host]).args(&self.options);
        let out = std::fs::File::create(self.dir.path().join(OUT))?;
        let log = std::fs::File::options().create(true).append(true).open(self.dir.path().join(LOG))?;
        let child = command.stdin(Stdio::null()).stdout(out).stderr(log).spawn().context("starting amesh")?;
        self.running = Some(child);
        let ready =
            self.wait_ready().await.with_context(|| format!("log of {}:\n{}", self.host, self.log()))?;
        self.keep_ports(&ready);
        self.ready = Some(ready);
        Ok(())
    }

    async fn wait_ready(&mut self) -> Result<Ready> {
        let path = self.dir.path().join(OUT);
        let begun = std::time::Instant::now();
        loop {
            let said = std::fs::read_to_string(&path)?;
            // A line is whole once its end is there.
            let line = said.lines().find(|line| line.starts_with("amesh ready"));
            if let Some(line) = line.filter(|_| said.ends_with('\n')) {
                return Ready::parse(line);
            }
            if let Some(status) = self.running.as_mut().context("not started")?.try_wait()? {
                self.running = None;
                bail!("amesh up ended: {status}\n{said}");
            }
            ensure!(begun.elapsed() < patience(), "amesh up did not get ready");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    /// After a restart the node is where it was, as it would be with fixed ports.
    fn keep_ports(&mut self, ready: &Ready) {
        let listeners =
            [("--api", Some(ready.api)), ("--mesh", Some(ready.mesh)), ("--http-mesh", ready.http_mesh)];
        for (option, address) in listeners.into_iter().filter_map(|(option, at)| Some((option, at?))) {
            if let Some(at) = self.options.iter().position(|given| given == option) {
                self.options[at + 1] = address.to_string();
            }
        }
    }

    /// `kill -9`: no goodbye, nothing flushed.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.running.take().context("not running")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Asks the node to stop and waits for its clean end.
    ///
    /// # Errors
    /// When it does not end, or not with success.
    pub async fn stop(&mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        let mut child = self.running.take().context("not running")?;
        let begun = std::time::Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if begun.elapsed() > patience() {
                child.kill()?;
                bail!("{} did not stop; log:\n{}", self.host, self.log());
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        };
        ensure!(status.success(), "{} stopped with {status}; log:\n{}", self.host, self.log());
        Ok(())
    }

    /// Stops the node cleanly and starts it again.
    ///
    /// # Errors
    /// As [`Self::stop`] and [`Self::start`].
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        self.start().await
    }

    /// Holds the process still, as a suspended laptop.
    ///
    /// # Errors
    /// When it is not running.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a frozen process go on.
    ///
    /// # Errors
    /// When it is not running.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(self.running.as_ref().context("not running")?), signal)?)
    }

    /// Runs `amesh --json <words>` against this node and reads what it prints.
    ///
    /// # Errors
    /// When it fails; what it said is in the message.
    pub async fn amesh(&self, words: &[&str]) -> Result<Value> {
        let output = self.try_amesh(words).await?;
        let said = String::from_utf8_lossy(&output.stdout);
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "amesh {words:?}: {}\n{said}{complaint}", output.status);
        serde_json::from_str(&said).with_context(|| format!("amesh {words:?} printed {said}"))
    }

    /// Runs `amesh --json <words>`, however it ends.
    ///
    /// # Errors
    /// When it cannot be run, or hangs.
    pub async fn try_amesh(&self, words: &[&str]) -> Result<Output> {
        let mut command = tokio::process::Command::from(self.command()?);
        command.arg("--json").args(words).stdin(Stdio::null()).kill_on_drop(true);
        let running = tokio::time::timeout(patience(), command.output());
        Ok(running.await.with_context(|| format!("amesh {words:?} hangs"))??)
    }

    fn command(&self) -> Result<Command> {
        let binary = self.binary.clone().map_or_else(binary::amesh, Ok)?;
        Ok(self.at_home(self.place.command(binary)))
    }

    fn at_home(&self, mut command: Command) -> Command {
        command.env("AMESH_DATA_DIR", self.data_dir()).env("HOME", self.dir.path());
        if let Some(clock) = &self.clock {
            clock.set(&mut command);
        }
        if let Some(authority) = &self.authority {
            command.env("SSL_CERT_FILE", authority);
        }
        command
    }

    /// Registers an agent with this node.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn agent(&self, name: &str) -> Result<TestAgent> {
        TestAgent::register(&self.place, self.ready()?.api, name).await
    }

    /// An agent of this node, talking to it where it is now.
    ///
    /// # Errors
    /// When the node never started.
    pub fn found_by(&self, agent: &TestAgent) -> Result<TestAgent> {
        agent.at(&self.place, self.ready()?.api)
    }

    /// One-time ticket to this node's mesh.
    ///
    /// # Errors
    /// When the node makes none.
    pub async fn invite(&self) -> Result<String> {
        let invitation = self.amesh(&["invite"]).await?;
        Ok(invitation["ticket"].as_str().context("no ticket")?.to_owned())
    }

    /// The peers that this node lists, as `amesh peers` prints them.
    ///
    /// # Errors
    /// When it prints none.
    pub async fn peers(&self) -> Result<Vec<Value>> {
        let listed = self.amesh(&["peers"]).await?;
        Ok(listed["peers"].as_array().context("no peers")?.clone())
    }

    /// Waits until this node has an open link to each of `hosts`.
    ///
    /// # Errors
    /// When it gets none.
    pub async fn connected_to(&self, hosts: &[&str]) -> Result<()> {
        let linked = |peers: &[Value], host: &str| {
            peers
                .iter()
                .any(|peer| peer["host"] == host && peer["member"] == true && peer["state"] == "connected")
        };
        wait_for(&format!("links from {} to {hosts:?}", self.host), || async {
            let peers = self.peers().await?;
            Ok(hosts.iter().all(|host| linked(&peers, host)).then_some(()))
        })
        .await
    }

    /// What the node said when it became ready.
    ///
    /// # Errors
    /// When it never was.
    pub fn ready(&self) -> Result<&Ready> {
        self.ready.as_ref().context("never started")
    }

    /// Its process.
    ///
    /// # Errors
    /// When it is not running.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.running.as_ref().context("not running")?.id())
    }

    /// The home directory of the user who types [`Self::amesh`].
    #[must_use]
    pub fn home(&self) -> &Path {
        self.dir.path()
    }

    /// Its data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Where it lives.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The end of its log.
    #[must_use]
    pub fn log(&self) -> String {
        let text = read_lossy(&self.dir.path().join(LOG));
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.running.take() {
            drop(child.kill());
            drop(child.wait());
        }
        if std::thread::panicking() || std::env::var_os("AMESH_TEST_LOGS").is_some() {
            println!("--- log of {}\n{}", self.host, self.log());
        }
    }
}

fn read_lossy(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

const OUT: &str = "out";
const LOG: &str = "log";
const LOG_LINES: usize = 60;
