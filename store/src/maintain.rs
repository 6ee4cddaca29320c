//! What is done to a store that is closed: restore, reset, and which backups are kept. Called by `amesh db` and by the
//! node's daily round.

use crate::backup::{BackupReport, Reader, Record};
use crate::backup_files;
use crate::blob;
use crate::engine::Writes;
use crate::engine::prepare::{FILE, beside, sync_dir, sync_parent};
use crate::engine::sled::SledState;
use crate::error::StoreError;
use crate::files;
use crate::load;
use crate::meta::{Birth, Counters, RESTORE_JUMP};
use crate::trees::Tree;
use crate::txn::Txn;
use amesh_proto::attachment::FileDigest;
use amesh_proto::time::UnixMillis;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

/// Why a restore or reset did not happen. The store is as it was.
#[derive(Debug, thiserror::Error)]
pub enum MaintainError {
    /// A node runs on it.
    #[error("a node is running on this store; stop it first (`amesh down`)")]
    InUse,
    /// There is nothing to reset.
    #[error("there is no store in {0}")]
    NoStore(PathBuf),
    /// The backup is not whole.
    #[error("the backup {file} cannot be used: {reason}")]
    BadBackup {
        /// The backup.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The new store could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// What the backup held.
    pub held: BackupReport,
    /// Attached files that are there again.
    pub files: u64,
    /// Attached files that the records name and that neither the backup nor the store before it has whole.
    pub missing_files: u64,
    /// Where the store that was there before is now.
    pub set_aside: Option<PathBuf>,
    /// The new generation.
    pub generation: u64,
}

/// Builds a store from a backup beside `dir` and swaps it in when it is whole; what was there is set aside, never
/// deleted. `progress` hears bytes done and bytes in all.
///
/// # Errors
/// [`MaintainError`]; `dir` is then as it was.
pub fn restore(
    dir: &Path,
    backup: &Path,
    now: UnixMillis,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Restored, MaintainError> {
    finish_restore(dir)?;
    refuse_if_in_use(dir)?;
    let (building, whole) = (beside(dir, "restoring"), beside(dir, WHOLE));
    for left in [&building, &whole] {
        if left.exists() {
            fs::remove_dir_all(left)?;
        }
    }
    let built = build(&building, (dir, backup), now, progress);
    if built.is_err() {
        drop(fs::remove_dir_all(&building));
    }
    let built = built?;
    // From here on an interruption is made good by `finish_restore`.
    fs::rename(&building, &whole)?;
    sync_parent(dir)?;
    let set_aside = if dir.exists() { Some(set_aside(dir, "before-restore", now)?) } else { None };
    finish_restore(dir)?;
    let Built { held, generation, files, missing_files } = built;
    Ok(Restored { held, files, missing_files, set_aside, generation })
}

/// Puts a restored store in its place, where a restore was interrupted after it had set the old one aside: an empty one
/// would begin there otherwise. Says whether there was one.
///
/// # Errors
/// When the operating system refuses.
pub fn finish_restore(dir: &Path) -> std::io::Result<bool> {
    let whole = beside(dir, WHOLE);
    if dir.exists() || !whole.exists() {
        return Ok(false);
    }
    fs::rename(&whole, dir)?;
    sync_parent(dir)?;
    Ok(true)
}

/// Sets the store aside, so that the next start begins with an empty one. Gives where it is now.
///
/// # Errors
/// [`MaintainError`]; `dir` is then as it was.
pub fn reset(dir: &Path, now: UnixMillis) -> Result<PathBuf, MaintainError> {
    finish_restore(dir)?;
    if !dir.exists() {
        return Err(MaintainError::NoStore(dir.to_owned()));
    }
    refuse_if_in_use(dir)?;
    set_aside(dir, "before-reset", now)
}

/// The name of a backup made now; names sort by time.
#[must_use]
pub fn backup_name(now: UnixMillis) -> String {
    // Two in one second are two; names of whole seconds, as earlier versions made them, still sort right.
    format!("amesh-{:015}.backup", now.0)
}

/// Deletes all but the newest `keep` backups in a directory, with their files and what older ones left unfinished. Gives
/// those that are left, the newest first.
///
/// # Errors
/// When the operating system refuses.
pub fn rotate_backups(dir: &Path, keep: usize) -> std::io::Result<Vec<PathBuf>> {
    let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut ours: Vec<_> = fs::read_dir(dir)?.flatten().map(|file| file.path()).collect();
    ours.retain(|path| name(path).strip_prefix("amesh-").is_some_and(|rest| rest.starts_with(is_digit)));
    let mut backups: Vec<_> = ours.iter().filter(|path| name(path).ends_with(".backup")).cloned().collect();
    backups.sort_unstable_by(|a, b| b.cmp(a));
    let gone = backups.split_off(keep.min(backups.len()));
    // The records first: a backup that has its name is whole.
    for old in &gone {
        fs::remove_file(old)?;
    }
    if let Some(oldest) = backups.last().filter(|_| !gone.is_empty()) {
        for left in ours.iter().filter(|path| *path < oldest && !gone.contains(path)) {
            if left.is_dir() { fs::remove_dir_all(left)? } else { fs::remove_file(left)? }
        }
    }
    Ok(backups)
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}

/// A store that was built from a backup.
struct Built {
    held: BackupReport,
    generation: u64,
    files: u64,
    missing_files: u64,
}

/// Builds it in `dir`. Files that the backup lacks may still be in the store that is replaced.
fn build(
    dir: &Path,
    (replaced, backup): (&Path, &Path),
    now: UnixMillis,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Built, MaintainError> {
    let bad = |error: std::io::Error| MaintainError::BadBackup {
        file: backup.to_owned(),
        reason: match error.kind() {
            std::io::ErrorKind::UnexpectedEof => "it is cut off".to_owned(),
            _ => error.to_string(),
        },
    };
    let mut reader = Reader::open(backup).map_err(bad)?;
    let state =
        SledState::open(dir, CACHE_BYTES).map_err(|error| std::io::Error::other(error.to_string()))?;
    let bodies = dir.join(load::BODIES);
    fs::create_dir_all(&bodies)?;
    let mut batch = Writes::default();
    let mut waiting = 0;
    let mut named = Vec::new();
    while let Some(record) = reader.next().map_err(bad)? {
        match record {
            Record::Pair { tree, key, value } => {
                if tree == Tree::Files {
                    named.push(files::named_in(&key, &value)?);
                }
                batch.of_mut(tree).insert(key, Some(value));
                waiting += 1;
            }
            Record::Body { digest, bytes } if blob::digest_of(&bytes) == digest => {
                blob::write_file(&bodies, &bodies.join(blob::file_name(&digest)), &bytes)?;
            }
            Record::Body { .. } => return Err(bad(std::io::Error::other("a body is damaged"))),
        }
        if waiting >= BATCH {
            apply(&state, &std::mem::take(&mut batch))?;
            waiting = 0;
            progress(reader.read_so_far(), reader.total);
        }
    }
    apply(&state, &batch)?;
    let generation = jump(&state, now)?;
    let seq = Counters::read(&state)?.next_seq;
    sync_dir(&bodies)?;
    load::put_mark(dir, generation, seq)?;
    let sources = [replaced.join(load::ATTACHMENTS), backup_files::dir_of(backup)];
    let files = bring_files(&named, &sources, dir, &mut |done, all| {
        progress(reader.total + done, reader.total + all)
    })?;
    Ok(Built { held: reader.seen(), generation, files, missing_files: named.len() as u64 - files })
}

/// Gives how many are there again.
fn bring_files(
    named: &[(FileDigest, u64)],
    sources: &[PathBuf],
    store: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> std::io::Result<u64> {
    let to = store.join(load::ATTACHMENTS);
    fs::create_dir_all(&to)?;
    let all = named.iter().map(|(_, size)| size).sum();
    let (mut done, mut found) = (0, 0);
    progress(0, all);
    for (digest, size) in named {
        found += u64::from(backup_files::bring_back(digest, sources, &to)?);
        done += size;
        progress(done, all);
    }
    sync_dir(&to)?;
    sync_dir(store)?;
    Ok(found)
}

/// Every number that peers or clients may know from the store that is replaced is passed (DESIGN §5).
fn jump(state: &SledState, now: UnixMillis) -> Result<u64, StoreError> {
    let mut txn = Txn::new(state);
    let Some(birth) = Birth::read(state)? else {
        return Err(StoreError::Damaged { tree: Tree::Meta.name() });
    };
    let generation = now.0.max(birth.generation + 1);
    Birth { generation, ..birth }.write(&mut txn)?;
    let counters = Counters::read(state)?;
    let jumped = Counters {
        next_seq: counters.next_seq + RESTORE_JUMP,
        next_agent: counters.next_agent + RESTORE_JUMP,
        roster_version: counters.roster_version + RESTORE_JUMP,
    };
    jumped.write(&mut txn)?;
    apply(state, &txn.into_writes())?;
    state.sync().map_err(StoreError::from)?;
    Ok(generation)
}

fn apply(state: &SledState, batch: &Writes) -> Result<(), StoreError> {
    Ok(state.apply(batch, |_| {})?)
}

fn refuse_if_in_use(dir: &Path) -> Result<(), MaintainError> {
    // The same lock that sled takes.
    match File::open(dir.join(FILE)).map(|file| file.try_lock()) {
        Ok(Err(TryLockError::WouldBlock)) => Err(MaintainError::InUse),
        Ok(Err(TryLockError::Error(error))) => Err(error.into()),
        Ok(Ok(())) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn set_aside(dir: &Path, why: &str, now: UnixMillis) -> Result<PathBuf, MaintainError> {
    let mut aside = beside(dir, &format!("{why}-{}", now.as_secs()));
    for attempt in 1.. {
        if !aside.exists() {
            break;
        }
        aside = beside(dir, &format!("{why}-{}-{attempt}", now.as_secs()));
    }
    fs::rename(dir, &aside)?;
    sync_parent(dir)?;
    Ok(aside)
}

/// A restored store that is whole and not yet in its place.
const WHOLE: &str = "restored";

/// Memory for sled's page cache meanwhile.
const CACHE_BYTES: u64 = 16 << 20;

/// Pairs written at once.
const BATCH: usize = 1_000;
