//! The inbox and sent folders on disk, shared with the reference client: `inbox/<sender>/<id>.json` (IDN-12, IDN-13,
//! ICL-31, A-67). Called by fetching, listing, reading, answering and deleting.

use super::disk::{self, DiskError, PRIVATE};
use super::home::AgentHome;
use super::raw::RawObject;
use amesh_proto::time::UnixMillis;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// One of an agent's two folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folder {
    /// Received.
    Inbox,
    /// Sent.
    Sent,
}

/// One stored message.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its file.
    pub path: PathBuf,
    /// Its id.
    pub id: String,
    /// The whole file.
    pub file: RawObject,
    /// `envelope` of it.
    pub envelope: RawObject,
    /// `local` of it.
    pub local: RawObject,
    /// When it came or went; RFC 3339.
    pub at: String,
    written: Option<SystemTime>,
}

/// An agent's messages.
#[derive(Debug, Clone)]
pub struct Mailbox {
    home: AgentHome,
}

/// What saving found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// It is on disk now.
    New,
    /// It had been received before.
    Known,
}

/// Ids are remembered longer than any message lives (RPL-1; messages expire after at most 30 days).
const REMEMBERED: Duration = Duration::from_secs(40 * 86_400);
/// The list of received ids is cleaned up when it has grown beyond this.
const LONG_LIST: usize = 256 * 1024;

impl Mailbox {
    /// The messages of one agent.
    #[must_use]
    pub fn of(home: &AgentHome) -> Self {
        Self { home: home.clone() }
    }

    /// Writes a received message to disk, synced, unless it is known. Only then may it be acknowledged.
    ///
    /// # Errors
    /// When it could not be written; it is then not to be acknowledged.
    pub fn save_received(
        &self,
        id: &str,
        from: &str,
        file: &RawObject,
        now: UnixMillis,
    ) -> Result<Saved, DiskError> {
        let Some(path) = self.place_for(id, from)? else { return Ok(Saved::Known) };
        write(&self.home.inbox(), &path, file)?;
        // After the file, never before: a line here says that the message had been safe.
        let line = format!("{id}|{}|{}", now.as_secs(), listed(from));
        disk::append_line(&self.home.replay_db(), &line, PRIVATE)?;
        self.forget_old_ids(now)?;
        Ok(Saved::New)
    }

    /// Keeps a copy of a message that was sent.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn save_sent(&self, id: &str, to: &str, file: &RawObject) -> Result<(), DiskError> {
        let sent = self.home.sent();
        write(&sent, &sent.join(sanitized(to)).join(format!("{id}.json")), file)
    }

    /// Every readable message of a folder, newest first, and how many files were not readable.
    #[must_use]
    pub fn list(&self, folder: Folder) -> (Vec<Stored>, usize) {
        let mut broken = 0;
        let mut all: Vec<Stored> = Vec::new();
        for path in files_in(&self.dir(folder)) {
            match Stored::read(path) {
                Ok(Some(stored)) => all.push(stored),
                _ => broken += 1,
            }
        }
        all.sort_by(|a, b| (&b.at, b.written, &b.id).cmp(&(&a.at, a.written, &a.id)));
        (all, broken)
    }

    /// The message with this id, which must have been checked (CLI-10).
    ///
    /// # Errors
    /// When its file cannot be read.
    pub fn find(&self, folder: Folder, id: &str) -> Result<Option<Stored>, DiskError> {
        let name = format!("{id}.json");
        let path = files_in(&self.dir(folder)).into_iter().find(|path| path.ends_with(&name));
        path.map_or(Ok(None), Stored::read)
    }

    fn dir(&self, folder: Folder) -> PathBuf {
        match folder {
            Folder::Inbox => self.home.inbox(),
            Folder::Sent => self.home.sent(),
        }
    }

    /// Where to store a message; `None` when this sender's message was received before, even if it has been deleted
    /// since (RPL-1). Another sender's equal id is another message (DESIGN §1.2), and gets a place of its own.
    fn place_for(&self, id: &str, from: &str) -> Result<Option<PathBuf>, DiskError> {
        let (inbox, name, sender) = (self.home.inbox(), format!("{id}.json"), sanitized(from));
        let is_same = |path: &Path| -> Result<Option<bool>, DiskError> {
            let stored = Stored::read(path.to_owned())?;
            Ok(stored
                .map(|stored| stored.envelope.text("from").is_some_and(|own| own.eq_ignore_ascii_case(from))))
        };
        if is_same(&inbox.join(&name))? == Some(true) {
            return Ok(None);
        }
        let list = disk::read_text(&self.home.replay_db())?.unwrap_or_default();
        let is_listed = list.lines().any(|line| {
            let mut parts = line.split('|');
            parts.next() == Some(id) && parts.nth(1) == Some(&listed(from))
        });
        if is_listed {
            return Ok(None);
        }
        let mut dir = sender;
        loop {
            let path = inbox.join(&dir).join(&name);
            match is_same(&path)? {
                Some(true) => return Ok(None),
                Some(false) => dir.push('_'),
                None => return Ok(Some(path)),
            }
        }
    }

    fn forget_old_ids(&self, now: UnixMillis) -> Result<(), DiskError> {
        let path = self.home.replay_db();
        if std::fs::metadata(&path).is_ok_and(|meta| meta.len() <= LONG_LIST as u64) {
            return Ok(());
        }
        let list = disk::read_text(&path)?.unwrap_or_default();
        let oldest = now.as_secs().saturating_sub(REMEMBERED.as_secs());
        let young = |line: &&str| {
            line.split('|').nth(1).and_then(|at| at.parse::<u64>().ok()).is_some_and(|at| at >= oldest)
        };
        let kept: String = list.lines().filter(young).map(|line| format!("{line}\n")).collect();
        disk::write_whole(&path, kept.as_bytes(), PRIVATE)
    }
}

impl Stored {
    fn read(path: PathBuf) -> Result<Option<Self>, DiskError> {
        let Some(text) = disk::read_text(&path)? else { return Ok(None) };
        let Ok(file) = RawObject::parse(&text) else { return Ok(None) };
        let (envelope, local) = (file.object("envelope"), file.object("local"));
        let Some(id) = path.file_stem().map(|name| name.to_string_lossy().into_owned()) else {
            return Ok(None);
        };
        let at = ["received_at", "sent_at"].iter().find_map(|name| local.text(name));
        let at = at.or_else(|| envelope.text("timestamp")).unwrap_or_default();
        let written = std::fs::metadata(&path).and_then(|meta| meta.modified()).ok();
        Ok(Some(Self { path, id, file, envelope, local, at, written }))
    }

    /// `unread`, `read` or `archived`, from either place it may stand in (ICL-31).
    #[must_use]
    pub fn status(&self) -> String {
        let old = || self.file.object("metadata").text("status");
        self.local.text("status").or_else(old).unwrap_or_else(|| "unread".to_owned())
    }

    /// Sets the status in both places.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_status(&mut self, status: &str, now: UnixMillis) -> Result<(), DiskError> {
        self.local.put("status", status);
        if status == "read" && self.local.text("read_at").is_none() {
            self.local.put("read_at", &now.to_rfc3339());
        }
        let mut metadata = self.file.object("metadata");
        metadata.put("status", status);
        self.file.put("local", &self.local);
        self.file.put("metadata", &metadata);
        disk::write_whole(&self.path, &text_of(&self.file), PRIVATE)
    }

    /// Deletes the file; a sender's empty directory goes with it.
    ///
    /// # Errors
    /// When it cannot be deleted.
    pub fn delete(&self) -> Result<(), DiskError> {
        disk::remove(&self.path)?;
        if let Some(dir) = self.path.parent().filter(|dir| !dir.ends_with("inbox") && !dir.ends_with("sent"))
        {
            // Not empty is the usual answer, and no failure.
            std::fs::remove_dir(dir).unwrap_or_default();
        }
        Ok(())
    }
}

fn write(folder: &Path, path: &Path, file: &RawObject) -> Result<(), DiskError> {
    if let Some(dir) = path.parent().filter(|dir| !dir.exists()) {
        disk::make_dir(dir)?;
        disk::sync(folder)?;
    }
    disk::write_whole(path, &text_of(file), PRIVATE)
}

/// Message files of a folder: in a directory per correspondent, or flat as older clients left them.
fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = |dir: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(dir)
            .map(|all| all.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default()
    };
    let is_message = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".json") && !name.starts_with('.')
    };
    let (dirs, flat): (Vec<_>, Vec<_>) = entries(folder).into_iter().partition(|path| path.is_dir());
    flat.into_iter().chain(dirs.iter().flat_map(|dir| entries(dir))).filter(is_message).collect()
}

/// ICL-31: `@` and `.` become `_`, everything else unusual goes.
fn sanitized(address: &str) -> String {
    let replaced = address.chars().map(|c| if matches!(c, '@' | '.') { '_' } else { c });
    let name: String =
        replaced.filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')).take(200).collect();
    if name.is_empty() { "unknown".to_owned() } else { name }
}

/// An address as the list of received ids shows it.
fn listed(address: &str) -> String {
    address.to_lowercase().chars().filter(|c| !c.is_control() && *c != '|').collect()
}

fn text_of(file: &RawObject) -> Vec<u8> {
    let mut text = serde_json::to_vec(file).unwrap_or_default();
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests;
