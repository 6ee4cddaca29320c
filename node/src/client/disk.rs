//! Writing files so that they are whole or not there, and still there after power loss. Called by everything in
//! `client` that keeps something.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A file that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {path}")]
pub struct DiskError {
    /// What was being done.
    pub doing: &'static str,
    /// With which file.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

impl DiskError {
    pub(super) fn new(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self { doing, path: path.to_owned(), source }
    }
}

/// Readable by the owner alone (IDN-3).
pub const PRIVATE: u32 = 0o600;
/// Readable by everyone (IDN-3).
pub const PUBLIC: u32 = 0o644;

/// Replaces `path` by `bytes`: synced to disk under another name, renamed, directory synced.
///
/// # Errors
/// When any step fails; the old file is then still there.
pub fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> Result<(), DiskError> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let beside = path.with_file_name(format!(".{name}.{}-{count}.tmp", std::process::id()));
    let written = write_synced(&beside, bytes, mode).and_then(|()| fs::rename(&beside, path));
    if let Err(error) = written {
        // What is left of the attempt is of no use to anybody; the error that matters is the first one.
        fs::remove_file(&beside).unwrap_or_default();
        return Err(DiskError::new("write", path, error));
    }
    sync_dir_of(path)
}

/// Adds one line to a file and syncs it.
///
/// # Errors
/// When any step fails.
pub fn append_line(path: &Path, line: &str, mode: u32) -> Result<(), DiskError> {
    let append = || {
        let mut file = OpenOptions::new().create(true).append(true).mode(mode).open(path)?;
        file.write_all(format!("{line}\n").as_bytes())?;
        file.sync_data()
    };
    append().map_err(|error| DiskError::new("write", path, error))
}

/// Makes a directory and its parents, for the owner alone where they are new.
///
/// # Errors
/// When one cannot be made.
pub fn make_dir(path: &Path) -> Result<(), DiskError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| DiskError::new("make the directory", path, error))
}

/// Removes a file for good.
///
/// # Errors
/// When it cannot be removed.
pub fn remove(path: &Path) -> Result<(), DiskError> {
    fs::remove_file(path).map_err(|error| DiskError::new("delete", path, error))?;
    sync_dir_of(path)
}

/// The text of a file; `None` when there is none.
///
/// # Errors
/// When it is there and cannot be read, or is not UTF-8.
pub fn read_text(path: &Path) -> Result<Option<String>, DiskError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DiskError::new("read", path, error)),
    }
}

fn write_synced(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_dir_of(path: &Path) -> Result<(), DiskError> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    sync(dir.unwrap_or_else(|| Path::new(".")))
}

/// Makes what was created in a directory survive power loss.
///
/// # Errors
/// When the system refuses.
pub fn sync(dir: &Path) -> Result<(), DiskError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| DiskError::new("sync", dir, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_file_is_replaced_with_its_mode_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write_whole(&path, b"one", PRIVATE).unwrap();
        write_whole(&path, b"two", PRIVATE).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_names_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("target");
        fs::create_dir(&path).unwrap();
        let error = write_whole(&path, b"x", PUBLIC).unwrap_err();
        assert!(error.to_string().contains("target"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
    }
}
