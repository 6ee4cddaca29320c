//! Small private files beside the store: keys and the mesh state. Written whole or not at all, readable by their owner
//! alone. Called by `mesh` and `federation`.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Why a private file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system said no.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others can read it.
    #[error("{path} can be read by other users (mode {mode:03o}); mend it with: chmod 600 {path}")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Larger than any such file can be.
    #[error("{path} is larger than {limit} bytes and cannot be what it should be")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
}

/// Makes sure that `dir` exists and that nobody but its owner can enter it.
///
/// # Errors
/// [`FileError::Io`] when it cannot be made or closed to others.
pub fn private_dir(dir: &Path) -> Result<(), FileError> {
    let fail = |doing| move |source| FileError::Io { doing, path: dir.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(fail("create"))?;
    let mode = fs::metadata(dir).map_err(fail("inspect"))?.permissions().mode();
    if mode & 0o077 != 0 {
        fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(fail("close"))?;
    }
    Ok(())
}

/// The content of a private file, or nothing when there is no such file.
pub(crate) fn read_private(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    let fail = |doing| move |source| FileError::Io { doing, path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail("open")(error)),
    };
    let mode = file.metadata().map_err(fail("inspect"))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(FileError::Exposed { path: path.to_owned(), mode });
    }
    let mut content = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut content).map_err(fail("read"))?;
    if content.len() as u64 > MAX_BYTES {
        return Err(FileError::TooLarge { path: path.to_owned(), limit: MAX_BYTES });
    }
    Ok(Some(content))
}

/// Replaces `path` by `content`: file synced, renamed, directory synced, so that after a power cut it is either
/// the old or the new one.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let fail = |doing| move |source| FileError::Io { doing, path: path.to_owned(), source };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let staged = path.with_file_name(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&staged)
        .map_err(fail("write"))?;
    // A file left by an earlier crash keeps its old mode.
    file.set_permissions(Permissions::from_mode(0o600)).map_err(fail("close"))?;
    file.write_all(content).map_err(fail("write"))?;
    file.sync_all().map_err(fail("sync"))?;
    fs::rename(&staged, path).map_err(fail("replace"))?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(fail("sync the directory of"))
}

/// The secret of 32 bytes that `path` holds as 64 hex digits, made if there is no such file. Nothing: it holds something else,
/// which is left alone.
pub(crate) fn seed(path: &Path) -> Result<Option<Zeroizing<[u8; 32]>>, FileError> {
    if let Some(content) = read_private(path)?.map(Zeroizing::new) {
        return Ok(parse_hex(&content));
    }
    let seed = Zeroizing::new(rand::random::<[u8; 32]>());
    let mut text = Zeroizing::new(String::with_capacity(65));
    for byte in seed.iter() {
        text.push(HEX[usize::from(byte >> 4)]);
        text.push(HEX[usize::from(byte & 15)]);
    }
    text.push('\n');
    write_private(path, text.as_bytes())?;
    Ok(Some(seed))
}

/// 64 hex digits, with white space around them.
pub(crate) fn parse_hex(content: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let text = content.trim_ascii();
    if text.len() != 64 {
        return None;
    }
    let mut seed = Zeroizing::new([0; 32]);
    for (byte, pair) in seed.iter_mut().zip(text.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    Some(seed)
}

const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
/// More than a member list with every node it may hold.
const MAX_BYTES: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_file_is_replaced_whole_and_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        assert!(read_private(&path).unwrap().is_none());
        write_private(&path, b"one").unwrap();
        write_private(&path, b"two").unwrap();
        assert_eq!(read_private(&path).unwrap().unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no staging file is left");
    }

    #[test]
    fn a_file_others_can_read_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        write_private(&path, b"one").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let error = read_private(&path).unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }

    #[test]
    fn an_open_data_directory_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("a/b");
        private_dir(&data).unwrap();
        fs::set_permissions(&data, Permissions::from_mode(0o755)).unwrap();
        private_dir(&data).unwrap();
        assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
