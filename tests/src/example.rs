//! The programs of `examples/`, run as a user would: with the interpreter and the packages that this machine has. Where those are missing a test says so and is skipped; `AMESH_EXAMPLES=require` makes that a failure.

use crate::structure::workspace_root;
use crate::wait::wait_for;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A program of `examples/` and what runs it.
#[derive(Debug, Clone)]
pub struct Example {
    program: PathBuf,
    script: Option<PathBuf>,
    settings: Vec<(&'static str, PathBuf)>,
}

/// A running example. It ends with this value.
#[derive(Debug)]
pub struct Running {
    child: Child,
    out: PathBuf,
    name: String,
}

impl Example {
    /// `examples/python/agent.py`; its interpreter is `AMESH_PYTHON`, else `python3`.
    #[must_use]
    pub fn python_agent() -> Self {
        Self::script(&python(), "python/agent.py")
    }

    /// `examples/node/agent.mjs`.
    #[must_use]
    pub fn node_agent() -> Self {
        Self::script("node", "node/agent.mjs")
    }

    /// `examples/webhook/receiver.py`.
    #[must_use]
    pub fn webhook_receiver() -> Self {
        Self::script(&python(), "webhook/receiver.py")
    }

    /// `examples/shell/agent.sh`.
    #[must_use]
    pub fn shell_agent() -> Self {
        Self::script("bash", "shell/agent.sh")
    }

    /// `examples/src/bin/rust_agent.rs`, built if need be.
    ///
    /// # Errors
    /// When it cannot be built.
    pub fn rust_agent() -> Result<Self> {
        Ok(Self { program: crate::binary::example("rust_agent")?, script: None, settings: Vec::new() })
    }

    fn script(interpreter: &str, path: &str) -> Self {
        Self { program: interpreter.into(), script: Some(in_examples(path)), settings: Vec::new() }
    }

    /// With one more variable of the environment.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<PathBuf>) -> Self {
        self.settings.push((name, value.into()));
        self
    }

    /// Starts it; what it prints goes to `out`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, name: &str, out: PathBuf, words: &[&str]) -> Result<Running> {
        let log = std::fs::File::create(&out)?;
        let mut command = self.command(words);
        command.stdout(log.try_clone()?).stderr(log).stdin(Stdio::null());
        let child = command.spawn().with_context(|| format!("starting {self:?}"))?;
        Ok(Running { child, out, name: name.to_owned() })
    }

    /// Runs it to its end; the one JSON line it printed.
    ///
    /// # Errors
    /// When it fails.
    pub async fn run(&self, words: &[&str]) -> Result<Value> {
        Ok(serde_json::from_str(&self.says(words).await?)?)
    }

    /// Runs it to its end; what it printed.
    ///
    /// # Errors
    /// When it fails.
    pub async fn says(&self, words: &[&str]) -> Result<String> {
        let mut command = tokio::process::Command::from(self.command(words));
        let output = command.kill_on_drop(true).output().await?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!("{self:?} {words:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(said)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.script).args(words);
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl Running {
    /// Every event it has printed so far.
    ///
    /// # Errors
    /// When it printed anything else: it has died.
    pub fn events(&self) -> Result<Vec<Value>> {
        let said = std::fs::read_to_string(&self.out)?;
        // A line is whole once its end is there.
        let whole = said.rfind('\n').map_or("", |end| &said[..end]);
        let event =
            |line: &str| serde_json::from_str(line).with_context(|| format!("{} said {said}", self.name));
        whole.lines().map(event).collect()
    }

    /// The events called `event`.
    ///
    /// # Errors
    /// As [`Self::events`].
    pub fn all(&self, event: &str) -> Result<Vec<Value>> {
        Ok(self.events()?.into_iter().filter(|one| one["event"] == event).collect())
    }

    /// Waits until there are `count` events called `event`.
    ///
    /// # Errors
    /// When there never are.
    pub async fn has(&self, event: &str, count: usize) -> Result<Vec<Value>> {
        wait_for(&format!("{count} events {event:?} of {}", self.name), || async {
            Ok(Some(self.all(event)?).filter(|events| events.len() >= count))
        })
        .await
        .with_context(|| std::fs::read_to_string(&self.out).unwrap_or_default())
    }

    /// Kills it at once; every event it has printed.
    ///
    /// # Errors
    /// When it had ended, or as [`Self::events`].
    pub fn kill(mut self) -> Result<Vec<Value>> {
        self.child.kill()?;
        self.child.wait()?;
        self.events()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Whether this machine can run the examples in Python and Node.js.
///
/// # Errors
/// Naming what is missing.
pub fn runnable() -> Result<()> {
    let node = "globalThis.WebSocket ?? await import('ws')";
    let mut modules = Command::new("node");
    modules.args(["--input-type=module", "--eval", node]).current_dir(in_examples("node"));
    works(modules, "node with `npm install` in examples/node")?;
    let mut packages = Command::new(python());
    packages.args(["-c", "import requests, websockets.sync.client, cryptography"]);
    works(packages, "python3 with examples/python/requirements.txt")
}

/// Whether this machine has Python.
///
/// # Errors
/// When it has none.
pub fn has_python() -> Result<()> {
    let mut version = Command::new(python());
    version.arg("--version");
    works(version, "python3")
}

/// Says that a test is skipped, and why; with `AMESH_EXAMPLES=require`, fails it instead. Past the test harness, which
/// hides what passing tests print.
///
/// # Errors
/// Where nothing may be skipped.
pub fn skip(why: &anyhow::Error) -> Result<()> {
    if std::env::var("AMESH_EXAMPLES").is_ok_and(|wish| wish == "require") {
        bail!("AMESH_EXAMPLES=require allows no skipping: {why:#}");
    }
    std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("\nSKIPPED, not proven here: {why:#}\n").as_bytes(),
    )?;
    Ok(())
}

fn works(mut command: Command, what: &str) -> Result<()> {
    let output = command.output().with_context(|| format!("there is no {what}"))?;
    if !output.status.success() {
        bail!("there is no {what}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn python() -> String {
    std::env::var("AMESH_PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

fn in_examples(path: &str) -> PathBuf {
    workspace_root().join("examples").join(path)
}
