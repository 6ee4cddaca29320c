//! Attached files: one file a digest in a directory of their own, and the tree `files` that counts who names them. They
//! come in as parts, written and synced by whoever receives them; the writer alone gives a part its name and takes names
//! away, so that no file goes between its writing and the commit that names it.

use crate::codec::{self, Value};
use crate::engine::prepare::sync_dir;
use crate::engine::{EngineError, Range, Read};
use crate::error::StoreError;
use crate::space::SpaceProbe;
use crate::trees::Tree;
use crate::txn::Txn;
use crate::walk;
use amesh_proto::attachment::FileDigest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// How many records name a file, and how large it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileUses {
    pub(crate) count: u64,
    pub(crate) size: u64,
}

impl Value for FileUses {
    const TREE: Tree = Tree::Files;
}

/// The directory, as the writer uses it.
#[derive(Debug)]
pub(crate) struct Files {
    dir: Option<PathBuf>,
    /// Whether a part was given its name since the directory was last synced.
    unsynced: Cell<bool>,
}

impl Files {
    pub(crate) fn in_dir(dir: Option<PathBuf>) -> Self {
        Self { dir, unsynced: Cell::new(false) }
    }

    /// Gives a part, whose content is synced, its name. Durable after [`Self::sync`].
    pub(crate) fn adopt(&self, part: FilePart) -> Result<(), StoreError> {
        let Some(dir) = &self.dir else { return Err(no_directory()) };
        fs::rename(&part.path, dir.join(part.digest.hex()))?;
        self.unsynced.set(true);
        part.keep();
        Ok(())
    }

    /// Whether the file is there.
    pub(crate) fn has(&self, digest: &FileDigest) -> bool {
        self.dir.as_ref().is_some_and(|dir| dir.join(digest.hex()).exists())
    }

    /// Makes new names durable.
    pub(crate) fn sync(&self) -> Result<(), EngineError> {
        if self.unsynced.get()
            && let Some(dir) = &self.dir
        {
            sync_dir(dir).map_err(|error| EngineError::Broken(format!("syncing attachments: {error}")))?;
            self.unsynced.set(false);
        }
        Ok(())
    }

    /// Deletes what a durable commit has let go of, unless something names it again.
    pub(crate) fn delete(&self, read: &dyn Read, released: &[FileDigest]) {
        let Some(dir) = &self.dir else { return };
        for digest in released {
            if matches!(uses(read, digest), Ok(None)) {
                // One that stays goes with the next sweep.
                fs::remove_file(dir.join(digest.hex())).unwrap_or_default();
            }
        }
    }

    /// Deletes files that nothing names and that are older than ten minutes, and parts of uploads that came to
    /// nothing. Returns how many.
    pub(crate) fn sweep(&self, read: &dyn Read) -> Result<u64, StoreError> {
        let Some(dir) = &self.dir else { return Ok(0) };
        let mut swept = 0;
        for file in fs::read_dir(dir)? {
            let file = file?;
            let modified = file.metadata().and_then(|meta| meta.modified());
            let age = modified.ok().and_then(|at: SystemTime| at.elapsed().ok()).unwrap_or_default();
            let name = file.file_name();
            let stale = match FileDigest::parse(&format!("sha256:{}", name.to_string_lossy())) {
                Some(digest) => age > KEPT_UNNAMED && uses(read, &digest)?.is_none(),
                None => age > KEPT_PART,
            };
            if stale {
                fs::remove_file(file.path())?;
                swept += 1;
            }
        }
        Ok(swept)
    }
}

/// What names the file, if anything does.
pub(crate) fn uses(read: &dyn Read, digest: &FileDigest) -> Result<Option<FileUses>, StoreError> {
    read.get(Tree::Files, &digest.0)?.map(|bytes| codec::decode(&bytes)).transpose()
}

/// One more record names the file. Returns whether it is the first.
pub(crate) fn add_use(txn: &mut Txn<'_>, digest: &FileDigest, size: u64) -> Result<bool, StoreError> {
    let count = uses(txn, digest)?.map_or(0, |uses| uses.count);
    txn.put(Tree::Files, digest.0.to_vec(), codec::encode(&FileUses { count: count + 1, size })?);
    Ok(count == 0)
}

/// One record less names the file. Returns its size where that was the last one.
pub(crate) fn release(txn: &mut Txn<'_>, digest: &FileDigest) -> Result<Option<u64>, StoreError> {
    let Some(FileUses { count, size }) = uses(txn, digest)? else { return Ok(None) };
    if count > 1 {
        txn.put(Tree::Files, digest.0.to_vec(), codec::encode(&FileUses { count: count - 1, size })?);
        return Ok(None);
    }
    txn.remove(Tree::Files, digest.0.to_vec());
    Ok(Some(size))
}

/// Calls for every file.
pub(crate) fn each(read: &dyn Read, visit: &mut dyn FnMut(FileDigest, FileUses)) -> Result<(), StoreError> {
    walk::each(read, Tree::Files, &Range::ALL, |key, value| {
        visit(digest_in(key)?, codec::decode(value)?);
        Ok(())
    })
}

/// The file that a pair of the tree is about, and its size.
pub(crate) fn named_in(key: &[u8], value: &[u8]) -> Result<(FileDigest, u64), StoreError> {
    Ok((digest_in(key)?, codec::decode::<FileUses>(value)?.size))
}

fn digest_in(key: &[u8]) -> Result<FileDigest, StoreError> {
    key.try_into().map(FileDigest).map_err(|_| codec::damaged(Tree::Files))
}

/// Parts that no upload writes any more: none does when a store is opened.
pub(crate) fn clear_parts(dir: &Path) -> io::Result<()> {
    for file in fs::read_dir(dir)? {
        let path = file?.path();
        if path.extension().is_some_and(|end| end == PART) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// A file on its way in. Its bytes are hashed as they come; dropped unfinished, it leaves nothing.
#[derive(Debug)]
pub struct FileWriter {
    part: Guard,
    file: File,
    hash: Sha256,
    size: u64,
    written: u64,
}

/// A whole file, synced, that has no name yet. Dropped, it leaves nothing.
#[derive(Debug)]
pub struct FilePart {
    pub(crate) path: PathBuf,
    pub(crate) digest: FileDigest,
    pub(crate) size: u64,
    guard: Guard,
}

/// Removes the part unless it was given its name.
#[derive(Debug)]
struct Guard(Option<PathBuf>);

impl FileWriter {
    /// Begins a file of `size` bytes and takes their room on the disk at once, so that a full disk is known before the
    /// first byte comes. `floor`: what must stay free besides.
    pub(crate) fn begin(
        dir: &Path,
        size: u64,
        probe: &SpaceProbe,
        min_free_mib: u64,
    ) -> Result<Self, StoreError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        if !probe.has_room_for(size, min_free_mib) {
            return Err(StoreError::DiskFull);
        }
        let path = dir.join(format!("{}.{PART}", COUNT.fetch_add(1, Ordering::Relaxed)));
        let file = File::create(&path)?;
        let part = Guard(Some(path));
        if size > 0 {
            // A file system that cannot do that shows a full disk when the bytes come.
            let taken = fs4::fs_std::FileExt::allocate(&file, size);
            if taken.is_err_and(|error| is_full(&error)) {
                return Err(StoreError::DiskFull);
            }
        }
        Ok(Self { part, file, hash: Sha256::new(), size, written: 0 })
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// `DiskFull`, or what the system says.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes).map_err(full_or_failed)?;
        self.hash.update(bytes);
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// How many bytes are still to come.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.size.saturating_sub(self.written)
    }

    /// Syncs the file.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn finish(self) -> Result<FilePart, StoreError> {
        self.file.sync_all().map_err(full_or_failed)?;
        let digest = FileDigest(self.hash.finalize().into());
        let path = self.part.0.clone().unwrap_or_default();
        Ok(FilePart { path, digest, size: self.written, guard: self.part })
    }
}

impl FilePart {
    /// Of its bytes.
    #[must_use]
    pub fn digest(&self) -> FileDigest {
        self.digest
    }

    /// Bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    fn keep(mut self) {
        self.guard.0 = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            // What stays all the same goes with the next sweep.
            fs::remove_file(path).unwrap_or_default();
        }
    }
}

pub(crate) fn no_directory() -> StoreError {
    StoreError::File { reason: "a store in memory keeps no attachments".into() }
}

fn full_or_failed(error: io::Error) -> StoreError {
    if is_full(&error) { StoreError::DiskFull } else { error.into() }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

const PART: &str = "part";

/// How long a file stays that nothing names.
const KEPT_UNNAMED: Duration = Duration::from_secs(600);

/// Longer than any upload takes.
const KEPT_PART: Duration = Duration::from_secs(24 * 3600);
