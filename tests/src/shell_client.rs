//! The protocol's reference shell client, unmodified, as an agent of a node. It is no part of this repository: its
//! checkout is named by `AMP_CLIENT_DIR`. Every command and all it says goes to standard output: the transcript.

use crate::node::Node;
use crate::place::Place;
use crate::wait::patience;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// Names the checkout.
pub const GIVEN: &str = "AMP_CLIENT_DIR";

/// A checkout of the client.
#[derive(Debug, Clone)]
pub struct ShellClient {
    scripts: PathBuf,
}

/// One agent that uses the client.
#[derive(Debug, Clone)]
pub struct ShellAgent {
    name: String,
    scripts: PathBuf,
    place: Place,
    home: PathBuf,
    settings: Vec<(&'static str, String)>,
}

/// What a command did.
#[derive(Debug)]
struct Said {
    succeeded: bool,
    output: String,
    /// Standard output and standard error, as a terminal shows them.
    all: String,
}

impl ShellClient {
    /// The checkout that `AMP_CLIENT_DIR` names, if it names one.
    ///
    /// # Errors
    /// When there is no client there.
    pub fn given() -> Result<Option<Self>> {
        let Some(dir) = std::env::var_os(GIVEN).filter(|dir| !dir.is_empty()) else { return Ok(None) };
        let scripts = Path::new(&dir).join("scripts");
        ensure!(scripts.join("amp-send.sh").exists(), "{GIVEN}: there is no amp-send.sh in {scripts:?}");
        Ok(Some(Self { scripts }))
    }

    /// An agent in the home directory of `node`'s user, told where the node is.
    ///
    /// # Errors
    /// When the node never started.
    pub fn agent(&self, node: &Node, name: &str) -> Result<ShellAgent> {
        let api = node.ready()?.api;
        Ok(self.agent_by_default(node, name).with("AMP_MAESTRO_URL", &format!("http://{api}")))
    }

    /// The same with no setting but its name: the node is where the client expects one.
    #[must_use]
    pub fn agent_by_default(&self, node: &Node, name: &str) -> ShellAgent {
        ShellAgent {
            name: name.to_owned(),
            scripts: self.scripts.clone(),
            place: node.place().clone(),
            home: node.home().to_owned(),
            settings: Vec::new(),
        }
    }
}

impl ShellAgent {
    /// With one more variable of the environment.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.settings.push((name, value.to_owned()));
        self
    }

    /// With a home directory of its own.
    #[must_use]
    pub fn in_home(mut self, home: &Path) -> Self {
        home.clone_into(&mut self.home);
        self
    }

    /// The agent's directory.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.home.join(".agent-messaging/agents").join(&self.name)
    }

    /// Runs `amp-…` and gives what it printed.
    ///
    /// # Errors
    /// When it fails.
    pub async fn does(&self, command: &str, words: &[&str]) -> Result<String> {
        let said = self.run(command, words).await?;
        ensure!(said.succeeded, "{} {command} {words:?} failed:\n{}", self.name, said.all);
        Ok(said.output)
    }

    /// Runs `amp-…`, which is to fail, and gives all it said.
    ///
    /// # Errors
    /// When it succeeds.
    pub async fn fails(&self, command: &str, words: &[&str]) -> Result<String> {
        let said = self.run(command, words).await?;
        ensure!(!said.succeeded, "{} {command} {words:?} succeeded:\n{}", self.name, said.all);
        Ok(said.all)
    }

    /// Sends; the id that the node gave.
    ///
    /// # Errors
    /// When it fails or names no id.
    pub async fn sends(&self, words: &[&str]) -> Result<String> {
        let said = self.does("amp-send", words).await?;
        let id = said.lines().find_map(|line| line.trim().strip_prefix("ID:"));
        Ok(id.context("no id")?.trim().to_owned())
    }

    /// All of the inbox as the client lists it.
    ///
    /// # Errors
    /// When it lists nothing that is JSON.
    pub async fn inbox(&self) -> Result<Vec<Value>> {
        Ok(serde_json::from_str(&self.does("amp-inbox", &["--all", "--json", "--limit", "100"]).await?)?)
    }

    /// Fetches what waits and gives all of the inbox.
    ///
    /// # Errors
    /// As [`Self::does`].
    pub async fn fetched(&self) -> Result<Vec<Value>> {
        self.does("amp-fetch", &["--verbose"]).await?;
        self.inbox().await
    }

    async fn run(&self, command: &str, words: &[&str]) -> Result<Said> {
        let mut bash = self.place.command("bash");
        bash.arg(self.scripts.join(format!("{command}.sh"))).args(words).stdin(Stdio::null());
        for inherited in ["AMP_DIR", "AMP_MAESTRO_URL", "AMP_PROVIDER_DOMAIN", "CLAUDE_AGENT_ID", "TMUX"] {
            bash.env_remove(inherited);
        }
        bash.env("HOME", &self.home).env("CLAUDE_AGENT_NAME", &self.name);
        bash.envs(self.settings.iter().map(|(name, value)| (name, value)));
        let mut bash = tokio::process::Command::from(bash);
        let running = tokio::time::timeout(patience(), bash.kill_on_drop(true).output());
        let output = running.await.with_context(|| format!("{command} hangs"))?.context("starting bash")?;
        let [said, complaint] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
        let all = format!("{said}{complaint}");
        println!("\n[{}] $ {command} {}\n{}", self.name, words.join(" "), all.trim_end());
        Ok(Said { succeeded: output.status.success(), all, output: said.into_owned() })
    }
}
