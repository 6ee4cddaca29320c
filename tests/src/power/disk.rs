//! A disk that may lose whatever no completed sync covers: file pieces in any order, names from the last one back.

use super::message_ids;
use super::trace::{Call, Event};
use rand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// How much of what was not synced is lost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Loss {
    /// All of it.
    Everything,
    /// Each piece with this probability.
    Pieces(f64),
    /// Nothing: the process died, the machine did not.
    Nothing,
}

/// The files below one directory, as written and as durable.
#[derive(Debug)]
pub struct Disk {
    root: PathBuf,
    files: Vec<File>,
    names: BTreeMap<PathBuf, Entry>,
    durable_names: BTreeMap<PathBuf, Entry>,
    pending_names: Vec<NameChange>,
    cursors: BTreeMap<PathBuf, u64>,
    durable_ids: BTreeSet<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    File(usize),
    Directory,
}

#[derive(Debug, Default)]
struct File {
    durable: Vec<u8>,
    pending: Vec<Change>,
    length: u64,
    /// Every id that was ever written to it.
    ids: BTreeSet<String>,
    /// Those that a completed sync covers.
    durable_ids: BTreeSet<String>,
}

#[derive(Debug)]
struct Change {
    ended: usize,
    ids: Vec<String>,
    what: What,
}

#[derive(Debug)]
enum What {
    Write { offset: u64, data: Vec<u8> },
    Truncate(u64),
}

#[derive(Debug)]
struct NameChange {
    ended: usize,
    edit: Edit,
}

/// What happens to names at once, wholly or not at all.
#[derive(Debug)]
enum Edit {
    Put(PathBuf, Entry),
    Remove(PathBuf),
    /// With everything below it. The entry is for a disk on which `from` has no name yet.
    Rename {
        from: PathBuf,
        to: PathBuf,
        entry: Entry,
    },
}

/// File systems write in blocks of this size.
const PIECE: u64 = 4096;

impl Disk {
    /// An empty disk whose files live below `root`.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            cursors: BTreeMap::new(),
            durable_ids: BTreeSet::new(),
        }
    }

    /// Applies the next call of the record.
    pub fn apply(&mut self, event: &Event) {
        match &event.call {
            Call::Open { path, create, truncate, append } if self.holds(path) => {
                self.open(path, *create, *truncate, *append, event.ended);
            }
            Call::Write { path, offset, data } if self.holds(path) => {
                let offset = offset.unwrap_or_else(|| self.cursors.get(path).copied().unwrap_or(0));
                self.cursors.insert(path.clone(), offset + data.len() as u64);
                self.change(path, event.ended, What::Write { offset, data: data.clone() });
            }
            Call::Truncate { path, length } if self.holds(path) => {
                self.change(path, event.ended, What::Truncate(*length));
            }
            Call::Rename { from, to } if self.holds(to) => {
                if let Some(entry) = self.names.get(from).copied() {
                    let (from, to) = (from.clone(), to.clone());
                    self.name(Edit::Rename { from, to, entry }, event.ended);
                }
            }
            Call::Unlink { path } if self.holds(path) => {
                self.name(Edit::Remove(path.clone()), event.ended);
            }
            Call::MakeDirectory { path } if self.holds(path) => {
                self.name(Edit::Put(path.clone(), Entry::Directory), event.ended);
            }
            Call::Sync { path } if self.holds(path) => self.sync(path, event.began),
            _ => {}
        }
    }

    /// Whether a completed sync covers a write that holds `id`.
    #[must_use]
    pub fn is_durable(&self, id: &str) -> bool {
        self.durable_ids.contains(id)
    }

    /// Whether a write that holds `id` has not been covered by a sync yet; in each file, of those from before it was
    /// durable there.
    #[must_use]
    pub fn has_unsynced(&self, id: &str) -> bool {
        self.files
            .iter()
            .flat_map(|file| &file.pending)
            .any(|change| change.ids.iter().any(|held| held == id))
    }

    /// Whether a file that holds `id` has, or had until just now, a name that no sync of its directory covers.
    #[must_use]
    pub fn has_unsynced_name(&self, id: &str) -> bool {
        self.pending_names.iter().any(|change| match &change.edit {
            Edit::Put(_, Entry::File(number)) | Edit::Rename { entry: Entry::File(number), .. } => {
                self.files[*number].ids.contains(id)
            }
            _ => false,
        })
    }

    /// What no sync covers yet, for whoever has to understand a failure.
    #[must_use]
    pub fn unsynced(&self) -> String {
        let shown = |path: &Path| path.strip_prefix(&self.root).unwrap_or(path).display().to_string();
        let files = self.names.iter().filter_map(|(path, entry)| match entry {
            Entry::File(number) if !self.files[*number].pending.is_empty() => {
                let pending = &self.files[*number].pending;
                let what = pending.iter().map(|change| match &change.what {
                    What::Write { offset, data } => format!("{}@{offset}", data.len()),
                    What::Truncate(length) => format!("cut@{length}"),
                });
                Some(format!("{} [{}]", shown(path), what.collect::<Vec<_>>().join(" ")))
            }
            _ => None,
        });
        let names = self.pending_names.iter().map(|change| match &change.edit {
            Edit::Put(path, _) => format!("+ {}", shown(path)),
            Edit::Remove(path) => format!("- {}", shown(path)),
            Edit::Rename { from, to, .. } => format!("{} > {}", shown(from), shown(to)),
        });
        files.chain(names).collect::<Vec<_>>().join(", ")
    }

    /// Writes what a machine would find after power loss now into `target`.
    ///
    /// # Errors
    /// When `target` cannot be written.
    pub fn after_power_loss(&self, target: &Path, loss: Loss, random: &mut impl Rng) -> std::io::Result<()> {
        let mut names = self.durable_names.clone();
        for change in &self.pending_names {
            if !survives(loss, random) {
                break;
            }
            change.edit.apply(&mut names);
        }
        for (path, entry) in &names {
            let Ok(below) = path.strip_prefix(&self.root) else { continue };
            let path = target.join(below);
            match entry {
                Entry::Directory => std::fs::create_dir_all(path)?,
                Entry::File(number) => {
                    if let Some(parent) = path.parent() {
                        std::fs::create_dir_all(parent)?;
                    }
                    std::fs::write(path, self.files[*number].after_power_loss(loss, random))?;
                }
            }
        }
        Ok(())
    }

    fn holds(&self, path: &Path) -> bool {
        path.starts_with(&self.root)
    }

    fn open(&mut self, path: &Path, create: bool, truncate: bool, append: bool, ended: usize) {
        let file = match self.names.get(path) {
            Some(Entry::File(number)) => *number,
            Some(Entry::Directory) => return,
            None if create => {
                self.files.push(File::default());
                let entry = Entry::File(self.files.len() - 1);
                self.name(Edit::Put(path.to_path_buf(), entry), ended);
                self.files.len() - 1
            }
            None => return,
        };
        if truncate {
            self.change(path, ended, What::Truncate(0));
        }
        let cursor = if append { self.files[file].length } else { 0 };
        self.cursors.insert(path.to_path_buf(), cursor);
    }

    fn change(&mut self, path: &Path, ended: usize, what: What) {
        let Some(Entry::File(number)) = self.names.get(path).copied() else { return };
        let file = &mut self.files[number];
        let ids = match &what {
            What::Write { offset, data } => {
                file.length = file.length.max(offset + data.len() as u64);
                message_ids(data)
            }
            What::Truncate(length) => {
                file.length = *length;
                Vec::new()
            }
        };
        file.ids.extend(ids.iter().cloned());
        // What a file is told about a message that it holds durably, as that it was delivered, is no part of the commit.
        let ids = ids.into_iter().filter(|id| !file.durable_ids.contains(id)).collect();
        file.pending.push(Change { ended, ids, what });
    }

    fn name(&mut self, edit: Edit, ended: usize) {
        edit.apply(&mut self.names);
        self.pending_names.push(NameChange { ended, edit });
    }

    fn sync(&mut self, path: &Path, began: usize) {
        match self.names.get(path) {
            Some(Entry::File(number)) => {
                let file = &mut self.files[*number];
                for change in file.sync(began) {
                    self.durable_ids.extend(change.ids.iter().cloned());
                    file.durable_ids.extend(change.ids);
                }
            }
            _ => self.sync_directory(path, began),
        }
    }

    fn sync_directory(&mut self, directory: &Path, began: usize) {
        let pending = std::mem::take(&mut self.pending_names);
        for change in pending {
            if change.edit.path().parent() == Some(directory) && change.ended < began {
                change.edit.apply(&mut self.durable_names);
            } else {
                self.pending_names.push(change);
            }
        }
    }
}

impl Edit {
    /// The name that the directory which must be synced holds.
    fn path(&self) -> &Path {
        match self {
            Self::Put(path, _) | Self::Remove(path) | Self::Rename { to: path, .. } => path,
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, Entry>) {
        match self {
            Self::Put(path, entry) => {
                names.insert(path.clone(), *entry);
            }
            Self::Remove(path) => {
                names.remove(path);
            }
            Self::Rename { from, to, entry } => {
                let moved: Vec<PathBuf> =
                    names.keys().filter(|path| path.starts_with(from)).cloned().collect();
                for path in moved {
                    let (Some(entry), Ok(below)) = (names.remove(&path), path.strip_prefix(from)) else {
                        continue;
                    };
                    names.insert(renamed(to, below), entry);
                }
                names.insert(to.clone(), *entry);
            }
        }
    }
}

/// `join` with an empty path would append a slash.
fn renamed(to: &Path, below: &Path) -> PathBuf {
    if below.as_os_str().is_empty() { to.to_path_buf() } else { to.join(below) }
}

impl File {
    /// Makes durable what ended before the sync began, and returns it.
    fn sync(&mut self, began: usize) -> Vec<Change> {
        let (covered, open): (Vec<Change>, Vec<Change>) =
            std::mem::take(&mut self.pending).into_iter().partition(|change| change.ended < began);
        self.pending = open;
        for change in &covered {
            apply(&mut self.durable, &change.what);
        }
        covered
    }

    fn after_power_loss(&self, loss: Loss, random: &mut impl Rng) -> Vec<u8> {
        let mut content = self.durable.clone();
        for change in &self.pending {
            match &change.what {
                What::Truncate(length) if survives(loss, random) => {
                    apply(&mut content, &What::Truncate(*length))
                }
                What::Truncate(_) => {}
                What::Write { offset, data } => {
                    for (offset, piece) in pieces(*offset, data) {
                        if survives(loss, random) {
                            apply(&mut content, &What::Write { offset, data: piece.to_vec() });
                        }
                    }
                }
            }
        }
        content
    }
}

fn pieces(offset: u64, data: &[u8]) -> Vec<(u64, &[u8])> {
    let mut found = Vec::new();
    let (mut at, mut rest) = (offset, data);
    while !rest.is_empty() {
        let room = usize::try_from(PIECE - at % PIECE).unwrap_or(rest.len()).min(rest.len());
        let (piece, left) = rest.split_at(room);
        found.push((at, piece));
        at += room as u64;
        rest = left;
    }
    found
}

fn apply(content: &mut Vec<u8>, what: &What) {
    match what {
        What::Truncate(length) => content.resize(usize::try_from(*length).unwrap_or(usize::MAX), 0),
        What::Write { offset, data } => {
            let start = usize::try_from(*offset).unwrap_or(usize::MAX);
            if content.len() < start + data.len() {
                content.resize(start + data.len(), 0);
            }
            content[start..start + data.len()].copy_from_slice(data);
        }
    }
}

fn survives(loss: Loss, random: &mut impl Rng) -> bool {
    match loss {
        Loss::Everything => false,
        Loss::Pieces(probability) => !random.random_bool(probability),
        Loss::Nothing => true,
    }
}

#[cfg(test)]
mod tests;
