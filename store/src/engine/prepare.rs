//! What must be true of a directory before sled may open it: made whole beside its place, its headers sound, no unfinished
//! snapshot in it. Called by `sled`.

use super::DiskError;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Sees to it that sled finds in `dir` what it can open. `make` makes an empty database in the directory that it is given,
/// and returns when it has closed it.
pub(super) fn directory(
    dir: &Path,
    make: impl FnOnce(&Path) -> Result<(), DiskError>,
) -> Result<(), DiskError> {
    if !dir.join(FILE).exists() {
        return made_beside(dir, make);
    }
    wait_until_closed(&dir.join(FILE))?;
    check_segments(&dir.join(FILE))?;
    drop_unfinished_snapshots(dir)?;
    Ok(())
}

/// Power may go while sled makes its files, and sled refuses what is left of them then: the directory gets its name when
/// everything in it is durable.
fn made_beside(dir: &Path, make: impl FnOnce(&Path) -> Result<(), DiskError>) -> Result<(), DiskError> {
    if fs::read_dir(dir).is_ok_and(|mut files| files.next().is_some()) {
        return Err(DiskError::Damaged("it holds files, but no database".into()));
    }
    let making = beside(dir, "making");
    if making.exists() {
        fs::remove_dir_all(&making)?;
    }
    fs::create_dir_all(&making)?;
    make(&making)?;
    wait_until_closed(&making.join(FILE))?;
    for file in fs::read_dir(&making)? {
        let path = file?.path();
        if path.is_file() {
            File::open(path)?.sync_all()?;
        }
    }
    sync_dir(&making)?;
    fs::rename(&making, dir)?;
    sync_parent(dir)?;
    Ok(())
}

/// sled's own threads may hold its lock for a moment after it was dropped, by this process or one that ends. Whoever holds
/// it longer has the store.
fn wait_until_closed(file: &Path) -> Result<(), DiskError> {
    let file = File::open(file)?;
    for _ in 0..CLOSING_CHECKS {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(CLOSING_PAUSE),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
    Err(DiskError::InUse)
}

/// Looks, before sled may write, whether every segment begins as sled left it: sled takes what it does not know for the
/// torn end of its log and overwrites it.
fn check_segments(file: &Path) -> Result<(), DiskError> {
    let file = File::open(file)?;
    let length = file.metadata()?.len();
    for at in (0..length).step_by(SEGMENT).take_while(|at| at + SEGMENT_HEADER as u64 <= length) {
        let mut header = [0; SEGMENT_HEADER];
        file.read_exact_at(&mut header, at)?;
        let (check, rest) = header.split_at(4);
        let blank = header == [0; SEGMENT_HEADER];
        if !blank && check != (crc32fast::hash(rest) ^ u32::MAX).to_le_bytes() {
            return Err(DiskError::Damaged(format!("its database is garbled at byte {at}")));
        }
    }
    Ok(())
}

/// While it opens, sled writes a snapshot of its page table under this ending, syncs it, gives it its name, and removes the
/// one before. It takes a torn one for its newest and refuses the store, although the one before is whole. One that has
/// its name is never removed (PITFALLS).
fn drop_unfinished_snapshots(dir: &Path) -> io::Result<()> {
    unfinished_snapshots(dir)?.iter().try_for_each(fs::remove_file)
}

fn unfinished_snapshots(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for file in fs::read_dir(dir)? {
        let file = file?;
        let name = file.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            found.push(file.path());
        }
    }
    Ok(found)
}

/// The neighbour of a directory whose name says what it is.
pub(crate) fn beside(dir: &Path, what: &str) -> PathBuf {
    let mut name = dir.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{what}"));
    dir.with_file_name(name)
}

/// Makes the name of `dir` durable.
pub(crate) fn sync_parent(dir: &Path) -> io::Result<()> {
    sync_dir(dir.parent().unwrap_or_else(|| Path::new(".")))
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir)?.sync_all()
}

/// The file that holds everything.
pub(crate) const FILE: &str = "db";

/// The size of a segment, eight times sled's default: what is larger than a quarter of one leaves the file that is synced.
pub(super) const SEGMENT: usize = 4 << 20;

/// How often a database that may just be closing is looked at; three seconds in all.
const CLOSING_CHECKS: u32 = 600;
const CLOSING_PAUSE: Duration = Duration::from_millis(5);

/// Bytes that each segment begins with.
const SEGMENT_HEADER: usize = 20;
