//! What is done to a store that is closed: restore, reset, and which backups are kept. Called by `amesh db` and by the
//! node's daily round.

use crate::backup::{BackupReport, Reader, Record};
use crate::blob;
use crate::engine::Writes;
use crate::engine::prepare::{FILE, beside, sync_dir, sync_parent};
use crate::engine::sled::SledState;
use crate::error::StoreError;
use crate::load;
use crate::meta::{Birth, Counters, RESTORE_JUMP};
use crate::trees::Tree;
use crate::txn::Txn;
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
    refuse_if_in_use(dir)?;
    let building = beside(dir, "restoring");
    if building.exists() {
        fs::remove_dir_all(&building)?;
    }
    let built = build(&building, backup, now, progress);
    if built.is_err() {
        drop(fs::remove_dir_all(&building));
    }
    let (held, generation) = built?;
    keep_attachments(dir, &building)?;
    let set_aside = if dir.exists() { Some(set_aside(dir, "before-restore", now)?) } else { None };
    fs::rename(&building, dir)?;
    sync_parent(dir)?;
    Ok(Restored { held, set_aside, generation })
}

/// Sets the store aside, so that the next start begins with an empty one. Gives where it is now.
///
/// # Errors
/// [`MaintainError`]; `dir` is then as it was.
pub fn reset(dir: &Path, now: UnixMillis) -> Result<PathBuf, MaintainError> {
    if !dir.exists() {
        return Err(MaintainError::NoStore(dir.to_owned()));
    }
    refuse_if_in_use(dir)?;
    set_aside(dir, "before-reset", now)
}

/// The name of a backup made now; names sort by time.
#[must_use]
pub fn backup_name(now: UnixMillis) -> String {
    format!("amesh-{:012}.backup", now.as_secs())
}

/// Deletes all but the newest `keep` backups in a directory. Gives those that are left, the newest first.
///
/// # Errors
/// When the operating system refuses.
pub fn rotate_backups(dir: &Path, keep: usize) -> std::io::Result<Vec<PathBuf>> {
    let is_backup = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("amesh-") && name.ends_with(".backup")
    };
    let mut backups: Vec<_> =
        fs::read_dir(dir)?.flatten().map(|file| file.path()).filter(is_backup).collect();
    backups.sort_unstable_by(|a, b| b.cmp(a));
    for old in backups.split_off(keep.min(backups.len())) {
        fs::remove_file(old)?;
    }
    Ok(backups)
}

fn build(
    dir: &Path,
    backup: &Path,
    now: UnixMillis,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(BackupReport, u64), MaintainError> {
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
    while let Some(record) = reader.next().map_err(bad)? {
        match record {
            Record::Pair { tree, key, value } => {
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
    progress(reader.total, reader.total);
    Ok((reader.seen(), generation))
}

/// A backup holds what is known of attached files, not the files: those that are here stay.
fn keep_attachments(from: &Path, to: &Path) -> std::io::Result<()> {
    let (from, to) = (from.join(load::ATTACHMENTS), to.join(load::ATTACHMENTS));
    fs::create_dir_all(&to)?;
    if from.is_dir() {
        for file in fs::read_dir(from)? {
            let file = file?;
            fs::hard_link(file.path(), to.join(file.file_name()))?;
        }
    }
    sync_dir(&to)
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

/// Memory for sled's page cache meanwhile.
const CACHE_BYTES: u64 = 16 << 20;

/// Pairs written at once.
const BATCH: usize = 1_000;
