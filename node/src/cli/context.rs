//! What every command starts from: where the node is, who is acting, how to print. Called by every command file.

use super::args::Global;
use super::output::{Output, Trouble};
use crate::client::control::Control;
use crate::client::find::{self, NodeFile};
use crate::client::home::{AgentHome, HomeError, Surroundings};
use crate::client::identity::{Identity, IdentityError};
use crate::client::migrate;
use crate::clock::{Clock as _, SystemClock};
use amesh_proto::time::UnixMillis;
use std::path::PathBuf;
use std::time::Duration;

/// The start of a command.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) out: Output,
    pub(super) global: Global,
}

/// Longest wait for tmux to say what its session is called.
const TMUX: Duration = Duration::from_secs(2);

impl Context {
    pub(super) fn new(global: Global) -> Self {
        Self { out: Output::new(global.json), global }
    }

    /// The wall clock.
    pub(super) fn now(&self) -> UnixMillis {
        SystemClock.now()
    }

    pub(super) fn data_dir(&self) -> Result<PathBuf, Trouble> {
        find::data_dir(self.global.data_dir.as_deref()).map_err(Trouble::from)
    }

    /// The running node.
    pub(super) fn node(&self) -> Result<NodeFile, Trouble> {
        find::find(&self.data_dir()?).map_err(|error| Trouble::from(error).mend(self.command("up --detach")))
    }

    /// The running node's owner's door.
    pub(super) fn control(&self) -> Result<Control, Trouble> {
        let data_dir = self.data_dir()?;
        // A node that is just starting has its socket before its file, so only a missing socket is final.
        if !data_dir.join("control.sock").exists() {
            self.node()?;
        }
        Ok(Control::of(&data_dir))
    }

    /// `amesh …` as the user would have to type it to mean the same data directory and agent.
    pub(super) fn command(&self, rest: &str) -> String {
        let mut command = format!("amesh {rest}");
        if let Some(dir) = &self.global.data_dir {
            command.push_str(&format!(" --data-dir {}", dir.display()));
        }
        if let Some(agent) = &self.global.agent {
            command.push_str(&format!(" --agent {agent}"));
        }
        command
    }

    /// What the environment says about who is acting.
    pub(super) async fn surroundings(&self) -> Surroundings {
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Surroundings {
            agent: self.global.agent.clone().filter(|name| !name.is_empty()),
            amp_dir: text("AMP_DIR").map(PathBuf::from),
            agent_id: text("CLAUDE_AGENT_ID"),
            agent_name: text("CLAUDE_AGENT_NAME"),
            tmux_session: if text("TMUX").is_some() { tmux_session().await } else { None },
            user_home: std::env::home_dir().filter(|home| home.is_absolute()),
        }
    }

    /// The acting agent.
    pub(super) async fn identity(&self) -> Result<Identity, Trouble> {
        let around = self.surroundings().await;
        let home = AgentHome::find(&around).map_err(|error| self.home_trouble(error, &around))?;
        self.migrate(&home)?;
        Identity::load(&home).map_err(|error| match error {
            IdentityError::Missing(_) => {
                let name = around.name().map_or_else(|| "NAME".to_owned(), str::to_lowercase);
                Trouble::from(error).mend(self.command(&format!("init --name {name}")))
            }
            other => Trouble::from(other),
        })
    }

    /// A legacy identity becomes one of today's before anything is done with it (IDN-9).
    pub(super) fn migrate(&self, home: &AgentHome) -> Result<(), Trouble> {
        if migrate::migrate(home, self.now())? {
            self.out
                .note(&format!("identity.json in {} was taken over into config.json", home.dir().display()));
        }
        Ok(())
    }

    /// A message of that id is not among the agent's files.
    pub(super) fn not_here(&self, id: &str) -> Trouble {
        Trouble::new("not_found", format!("there is no message {id} here"))
            .because("it was never fetched, or has been deleted")
            .mend(self.command("inbox --all"))
    }

    pub(super) fn home_trouble(&self, error: HomeError, around: &Surroundings) -> Trouble {
        let mend = match &error {
            HomeError::Several(names) => Some(format!(
                "put `--agent {}` behind the command",
                names.first().map_or("NAME", String::as_str)
            )),
            HomeError::Nobody(_) => {
                let name = around.name().map_or_else(|| "NAME".to_owned(), str::to_lowercase);
                Some(self.command(&format!("init --name {name}")))
            }
            _ => None,
        };
        let trouble = Trouble::from(error);
        match mend {
            Some(mend) => trouble.mend(mend),
            None => trouble,
        }
    }
}

/// The name of the tmux session this runs in; nothing when tmux will not say.
async fn tmux_session() -> Option<String> {
    let mut ask = tokio::process::Command::new("tmux");
    ask.args(["display-message", "-p", "#S"]).kill_on_drop(true);
    let said = tokio::time::timeout(TMUX, ask.output()).await.ok()?.ok()?;
    let name = String::from_utf8(said.stdout).ok()?.trim().to_owned();
    (said.status.success() && !name.is_empty()).then_some(name)
}
