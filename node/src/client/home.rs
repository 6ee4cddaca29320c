//! Where an agent's files are: `AMP_DIR`, else the agent's own directory, else the flat root (ICL-28, A-33).
//! The layout is the reference client's, so that both share one identity. Called by the command line.

use super::disk::{self, DiskError};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// What the surroundings say about who is acting. Read once, by the command line.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// `--agent` or `AMESH_AGENT`: said for this command, so it wins.
    pub agent: Option<String>,
    /// `AMP_DIR`.
    pub amp_dir: Option<PathBuf>,
    /// `CLAUDE_AGENT_ID`.
    pub agent_id: Option<String>,
    /// `CLAUDE_AGENT_NAME`.
    pub agent_name: Option<String>,
    /// The tmux session, where there is one.
    pub tmux_session: Option<String>,
    /// The user's home directory.
    pub user_home: Option<PathBuf>,
}

/// One agent's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentHome {
    dir: PathBuf,
}

/// Why an agent's directory is not known.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// `HOME` is not set.
    #[error("the home directory is not known: HOME is not set")]
    NoUserHome,
    /// A name or id that would lead elsewhere.
    #[error("{0:?} cannot be an agent's name")]
    BadName(String),
    /// Nobody said who is acting, and nobody lives here.
    #[error("there is no agent identity in {0}")]
    Nobody(PathBuf),
    /// Nobody said who is acting, and several live here.
    #[error("several agents live on this machine: {}", .0.join(", "))]
    Several(Vec<String>),
    /// The index of names could not be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Surroundings {
    /// The name that the surroundings give the acting agent (`init --auto`).
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        let tmux = self.tmux_session.as_deref().map(without_session_number);
        let names = [self.agent.as_deref(), self.agent_name.as_deref(), tmux];
        names.into_iter().flatten().find(|name| !name.is_empty())
    }

    fn root(&self) -> Result<PathBuf, HomeError> {
        Ok(self.user_home.as_ref().ok_or(HomeError::NoUserHome)?.join(".agent-messaging"))
    }
}

impl AgentHome {
    /// The directory `dir`, whatever is in it.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The acting agent's directory.
    ///
    /// # Errors
    /// When nothing says who is acting and it is not plain either.
    pub fn find(around: &Surroundings) -> Result<Self, HomeError> {
        if let Some(home) = Self::named_by(around)? {
            return Ok(home);
        }
        if let Some(name) = around.name() {
            return Self::of_name(around, name);
        }
        let root = around.root()?;
        if Self::at(&root).is_initialized() {
            return Ok(Self::at(root));
        }
        let mut homes = homes_in(&root.join("agents"));
        match homes.len() {
            0 => Err(HomeError::Nobody(root)),
            1 => Ok(homes.swap_remove(0).1),
            _ => Err(HomeError::Several(homes.into_iter().map(|(name, _)| name).collect())),
        }
    }

    /// Every agent of this user, wherever the surroundings lead.
    #[must_use]
    pub fn all(around: &Surroundings) -> Vec<Self> {
        let mut all: Vec<Self> = around.amp_dir.iter().map(Self::at).collect();
        if let Ok(root) = around.root() {
            all.push(Self::at(&root));
            all.extend(homes_in(&root.join("agents")).into_iter().map(|(_, home)| home));
        }
        all.retain(Self::is_initialized);
        all
    }

    /// The directory for an agent that is to be called `name`, whether or not it exists.
    ///
    /// # Errors
    /// When the name cannot be a directory's.
    pub fn for_new(around: &Surroundings, name: &str) -> Result<Self, HomeError> {
        match Self::named_by(around)? {
            Some(home) => Ok(home),
            None => Self::of_name(around, name),
        }
    }

    /// Surroundings that name a place rather than a person.
    fn named_by(around: &Surroundings) -> Result<Option<Self>, HomeError> {
        if let Some(name) = &around.agent {
            return Self::of_name(around, name).map(Some);
        }
        if let Some(dir) = around.amp_dir.as_ref().filter(|dir| !dir.as_os_str().is_empty()) {
            return Ok(Some(Self::at(dir)));
        }
        match around.agent_id.as_deref().filter(|id| !id.is_empty()) {
            Some(id) => Ok(Some(Self::at(around.root()?.join("agents").join(plain(id)?)))),
            None => Ok(None),
        }
    }

    fn of_name(around: &Surroundings, name: &str) -> Result<Self, HomeError> {
        let agents = around.root()?.join("agents");
        let lower = plain(name)?.to_lowercase();
        let index = read_index(&agents)?;
        let indexed = |name: &str| index.get(name).and_then(Value::as_str).filter(|id| plain(id).is_ok());
        if let Some(id) = indexed(name).or_else(|| indexed(&lower)) {
            return Ok(Self::at(agents.join(id)));
        }
        // The reference client keeps the case of CLAUDE_AGENT_NAME in the directory's name.
        let as_given = Self::at(agents.join(name));
        Ok(if as_given.is_initialized() { as_given } else { Self::at(agents.join(lower)) })
    }

    /// The directory itself.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// `config.json`.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.dir.join("config.json")
    }

    /// `IDENTITY.md`.
    #[must_use]
    pub fn identity_md(&self) -> PathBuf {
        self.dir.join("IDENTITY.md")
    }

    /// `keys/`.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.dir.join("keys")
    }

    /// `keys/private.pem`.
    #[must_use]
    pub fn private_key(&self) -> PathBuf {
        self.keys().join("private.pem")
    }

    /// `keys/public.pem`.
    #[must_use]
    pub fn public_key(&self) -> PathBuf {
        self.keys().join("public.pem")
    }

    /// `registrations/`.
    #[must_use]
    pub fn registrations(&self) -> PathBuf {
        self.dir.join("registrations")
    }

    /// `messages/inbox/`.
    #[must_use]
    pub fn inbox(&self) -> PathBuf {
        self.dir.join("messages").join("inbox")
    }

    /// `messages/sent/`.
    #[must_use]
    pub fn sent(&self) -> PathBuf {
        self.dir.join("messages").join("sent")
    }

    /// `replay_db`: ids that were received, a line each.
    #[must_use]
    pub fn replay_db(&self) -> PathBuf {
        self.dir.join("replay_db")
    }

    /// `known_keys.json`: the key each sender was first seen with.
    #[must_use]
    pub fn known_keys(&self) -> PathBuf {
        self.dir.join("known_keys.json")
    }

    /// Whether an identity was made here.
    #[must_use]
    pub fn is_initialized(&self) -> bool {
        let has_key = self.config().exists() && self.private_key().exists();
        has_key || super::migrate::legacy_key(&self.dir).is_some()
    }

    /// Makes every directory of the layout.
    ///
    /// # Errors
    /// When one cannot be made.
    pub fn make(&self) -> Result<(), DiskError> {
        let attachments = self.dir.join("attachments");
        for dir in [self.keys(), self.registrations(), self.inbox(), self.sent(), attachments] {
            disk::make_dir(&dir)?;
        }
        Ok(())
    }
}

/// Every agent that lives under `agents`, by name.
fn homes_in(agents: &Path) -> Vec<(String, AgentHome)> {
    let Ok(entries) = std::fs::read_dir(agents) else { return Vec::new() };
    let mut seen = Vec::new();
    let mut homes: Vec<(String, AgentHome)> = Vec::new();
    for entry in entries.flatten() {
        let home = AgentHome::at(entry.path());
        // The reference server puts a symbolic link `<name>` beside `<uuid>/`: one agent, not two.
        let Ok(real) = std::fs::canonicalize(entry.path()) else { continue };
        if home.is_initialized() && !seen.contains(&real) {
            seen.push(real);
            let name = super::identity::name_in(&home);
            homes.push((name.unwrap_or_else(|| entry.file_name().to_string_lossy().into_owned()), home));
        }
    }
    homes.sort_by(|a, b| a.0.cmp(&b.0));
    homes
}

/// Notes that the agent called `name` lives in `home`, so that its name leads there whatever its directory is called.
///
/// # Errors
/// When the index cannot be written.
pub fn index(around: &Surroundings, name: &str, home: &AgentHome) -> Result<(), HomeError> {
    let agents = around.root()?.join("agents");
    let directory = home.dir().strip_prefix(&agents).ok().and_then(Path::to_str);
    let Some(directory) = directory.filter(|directory| plain(directory).is_ok()) else { return Ok(()) };
    let mut index = read_index(&agents)?;
    index.retain(|_, there| there.as_str() != Some(directory));
    if directory != name {
        index.insert(name.to_owned(), Value::from(directory));
    }
    let text = format!("{:#}\n", Value::Object(index));
    Ok(disk::write_whole(&agents.join(".index.json"), text.as_bytes(), disk::PUBLIC)?)
}

fn read_index(agents: &Path) -> Result<Map<String, Value>, DiskError> {
    let text = disk::read_text(&agents.join(".index.json"))?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
}

/// A word that stays inside the directory it is joined to.
fn plain(word: &str) -> Result<&str, HomeError> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !word.is_empty() && !word.starts_with(['.', '-']) && word.len() <= 255 && word.chars().all(fine) {
        return Ok(word);
    }
    Err(HomeError::BadName(word.to_owned()))
}

/// `name_2` is the second session of `name`.
fn without_session_number(session: &str) -> &str {
    let numbered = |at: &usize| session[at + 1..].starts_with(|c: char| c.is_ascii_digit());
    let end = session.rmatch_indices('_').map(|(at, _)| at).find(numbered);
    end.map_or(session, |at| &session[..at])
}

#[cfg(test)]
mod tests;
