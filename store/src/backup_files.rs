//! The attached files of a backup: a directory beside the backup, one file a digest. Hard links where the disk allows
//! them, so that backups share their files with the store and with each other; copies elsewhere. Called by `backup` and
//! `maintain`.

use crate::engine::Read;
use crate::engine::prepare::{beside, sync_dir};
use crate::error::StoreError;
use crate::files;
use amesh_proto::attachment::FileDigest;
use sha2::{Digest as _, Sha256};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Where the files of a backup are.
pub(crate) fn dir_of(backup: &Path) -> PathBuf {
    beside(backup, "files")
}

/// The files that the records of one moment name, held in a directory of the store's own until they are with their
/// backup: whatever becomes of their names in the store meanwhile.
#[derive(Debug)]
pub(crate) struct Held {
    dir: PathBuf,
    pub(crate) count: u64,
    /// Files that are named and were not there.
    pub(crate) missing: u64,
}

impl Held {
    /// Takes hold. On the store's own disk that is a link a file, so the writer is not kept long.
    pub(crate) fn of(read: &dyn Read, attachments: &Path) -> Result<Option<Self>, StoreError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mut named = Vec::new();
        files::each(read, &mut |digest, _| named.push(digest))?;
        if named.is_empty() {
            return Ok(None);
        }
        let name = format!("{HELD}{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let mut held = Self { dir: attachments.with_file_name(name), count: 0, missing: 0 };
        private_dir(&held.dir)?;
        for digest in named {
            match link_or_copy(&attachments.join(digest.hex()), &held.dir.join(digest.hex())) {
                Ok(()) => held.count += 1,
                Err(error) if error.kind() == io::ErrorKind::NotFound => held.missing += 1,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(held))
    }

    /// Brings them to their backup, durably: by one rename, or by copies to another disk.
    pub(crate) fn bring_to(&self, backup: &Path) -> io::Result<()> {
        let place = dir_of(backup);
        if place.exists() {
            let taken = format!("{} is there already; choose another name", place.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, taken));
        }
        sync_dir(&self.dir)?;
        match fs::rename(&self.dir, &place) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => self.copy_to(&place),
            renamed => renamed,
        }
    }

    fn copy_to(&self, place: &Path) -> io::Result<()> {
        let coming = beside(place, "unfinished");
        if coming.exists() {
            fs::remove_dir_all(&coming)?;
        }
        private_dir(&coming)?;
        let earlier = earlier_backups(place)?;
        for file in fs::read_dir(&self.dir)? {
            let (file, name) = file.map(|file| (file.path(), file.file_name()))?;
            let target = coming.join(&name);
            if !earlier.iter().any(|dir| fs::hard_link(dir.join(&name), &target).is_ok()) {
                copy(&file, &target)?;
            }
        }
        sync_dir(&coming)?;
        fs::rename(&coming, place)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.dir.exists() {
            // What stays goes when the store is opened again.
            fs::remove_dir_all(&self.dir).unwrap_or_default();
        }
    }
}

/// What backups that came to nothing still held when the store was last open.
pub(crate) fn clear_held(store: &Path) -> io::Result<()> {
    for file in fs::read_dir(store)? {
        let file = file?;
        if file.file_name().to_string_lossy().starts_with(HELD) {
            fs::remove_dir_all(file.path())?;
        }
    }
    Ok(())
}

/// Gives `to` the file from the first of `sources` that has it whole. Says whether one has.
pub(crate) fn bring_back(digest: &FileDigest, sources: &[PathBuf], to: &Path) -> io::Result<bool> {
    for source in sources.iter().map(|dir| dir.join(digest.hex())) {
        match digest_of(&source) {
            Ok(found) if found == *digest => {
                link_or_copy(&source, &to.join(digest.hex()))?;
                return Ok(true);
            }
            // One that is gone, unreadable or damaged is missing, wherever it was.
            Ok(_) | Err(_) => {}
        }
    }
    Ok(false)
}

fn digest_of(path: &Path) -> io::Result<FileDigest> {
    let mut file = File::open(path)?;
    let (mut hash, mut piece) = (Sha256::new(), vec![0; PIECE]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(FileDigest(hash.finalize().into())),
            count => hash.update(&piece[..count]),
        }
    }
}

/// Files are never changed once they have their name, so a link is as good as a copy.
fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
        Err(_) => copy(from, to),
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let (mut source, mut target) = (File::open(from)?, private_file(to)?);
    io::copy(&mut source, &mut target)?;
    target.flush()?;
    target.sync_all()
}

fn earlier_backups(place: &Path) -> io::Result<Vec<PathBuf>> {
    let parent =
        place.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let dirs = fs::read_dir(parent)?.flatten().map(|file| file.path());
    Ok(dirs.filter(|path| path.extension().is_some_and(|end| end == "files")).collect())
}

fn private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(dir)
}

/// A new file that nobody else may read: a backup may be anywhere.
pub(crate) fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

const HELD: &str = "backing-up-";
const PIECE: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    #[test]
    fn on_another_disk_a_file_is_copied_once_for_all_backups() {
        let dir = tempfile::tempdir().unwrap();
        let copies = ["1.backup.files", "2.backup.files"].map(|name| dir.path().join(name));
        for copy in &copies {
            let held = Held { dir: dir.path().join("held"), count: 1, missing: 0 };
            fs::create_dir(&held.dir).unwrap();
            fs::write(held.dir.join("digest"), b"hello").unwrap();
            held.copy_to(copy).unwrap();
        }
        let of = |copy: &Path| fs::metadata(copy.join("digest")).unwrap();
        assert_eq!((of(&copies[0]).ino(), of(&copies[0]).nlink()), (of(&copies[1]).ino(), 2));
        assert_eq!(fs::read(copies[1].join("digest")).unwrap(), b"hello");
        assert_eq!(fs::metadata(&copies[0]).unwrap().permissions().mode() & 0o077, 0, "nobody else looks in");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing else is left");
    }
}
