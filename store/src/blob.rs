//! Large bodies as files named by their digest, and the tree `blobs` that counts who names them. Files are written and
//! swept by the writer alone, so nothing sweeps a blob between its writing and its commit.

use crate::codec::{self, Value, damaged};
use crate::engine::prepare::sync_dir;
use crate::engine::{EngineError, Read};
use crate::error::StoreError;
use crate::trees::Tree;
use crate::txn::Txn;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::cell::Cell;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The name of a blob: SHA-256 of its bytes.
pub(crate) type Digest = [u8; 32];

/// The directory with the blobs. None in memory, where everything is inline.
#[derive(Debug)]
pub(crate) struct Blobs {
    dir: Option<PathBuf>,
    /// Whether a file was renamed into place since the directory was last synced.
    unsynced: Cell<bool>,
}

/// How many messages name a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Uses(pub(crate) u64);

impl Value for Uses {
    const TREE: Tree = Tree::Blobs;
}

impl Blobs {
    pub(crate) fn in_dir(dir: Option<PathBuf>) -> Self {
        Self { dir, unsynced: Cell::new(false) }
    }

    /// Whether large bodies have a place at all.
    pub(crate) fn exist(&self) -> bool {
        self.dir.is_some()
    }

    /// Puts the bytes on disk under their digest and counts one more use. Their directory entry is durable only after
    /// `sync`, which the writer calls before the commit that names them.
    pub(crate) fn add(&self, txn: &mut Txn<'_>, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        let Some(dir) = &self.dir else { return Err(no_directory()) };
        let path = dir.join(file_name(digest));
        if !path.exists() {
            write_file(dir, &path, bytes)?;
            self.unsynced.set(true);
        }
        let uses = uses(txn, digest)?;
        txn.put(Tree::Blobs, digest.to_vec(), codec::encode(&Uses(uses + 1))?);
        Ok(())
    }

    /// Makes the names of new blobs durable.
    pub(crate) fn sync(&self) -> Result<(), EngineError> {
        if self.unsynced.get()
            && let Some(dir) = &self.dir
        {
            sync_dir(dir).map_err(|error| EngineError::Broken(format!("syncing blobs: {error}")))?;
            self.unsynced.set(false);
        }
        Ok(())
    }

    /// Deletes files that no message names and that are older than ten minutes. Returns how many.
    pub(crate) fn sweep(&self, read: &dyn Read) -> Result<u64, StoreError> {
        let Some(dir) = &self.dir else { return Ok(0) };
        let mut swept = 0;
        for file in fs::read_dir(dir)? {
            let file = file?;
            let old = file.metadata().and_then(|meta| meta.modified()).is_ok_and(is_old);
            let name = file.file_name();
            let named = match parse_name(&name.to_string_lossy()) {
                Some(digest) => uses(read, &digest)? > 0,
                None => false,
            };
            if old && !named {
                fs::remove_file(file.path())?;
                swept += 1;
            }
        }
        Ok(swept)
    }
}

/// Takes one use away; the file goes with the next sweep.
pub(crate) fn release(txn: &mut Txn<'_>, digest: &Digest) -> Result<(), StoreError> {
    match uses(txn, digest)? {
        0 | 1 => txn.remove(Tree::Blobs, digest.to_vec()),
        more => txn.put(Tree::Blobs, digest.to_vec(), codec::encode(&Uses(more - 1))?),
    }
    Ok(())
}

/// Reads a blob and checks that it is what its name says.
pub(crate) fn read(dir: Option<&Path>, digest: &Digest) -> Result<Vec<u8>, StoreError> {
    let Some(dir) = dir else { return Err(no_directory()) };
    let bytes = fs::read(dir.join(file_name(digest))).map_err(|_| damaged(Tree::Blobs))?;
    if digest_of(&bytes) == *digest { Ok(bytes) } else { Err(damaged(Tree::Blobs)) }
}

pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}

/// How many messages name the blob.
pub(crate) fn uses(read: &dyn Read, digest: &Digest) -> Result<u64, StoreError> {
    match read.get(Tree::Blobs, digest)? {
        Some(bytes) => Ok(codec::decode::<Uses>(&bytes)?.0),
        None => Ok(0),
    }
}

/// Written whole and synced before it gets its name.
pub(crate) fn write_file(dir: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let temporary = dir.join("unfinished.tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(temporary, path)
}

pub(crate) fn file_name(digest: &Digest) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn parse_name(name: &str) -> Option<Digest> {
    let mut digest = [0; 32];
    if name.len() != 64 || !name.is_ascii() {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(name.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(digest)
}

fn is_old(modified: SystemTime) -> bool {
    modified.elapsed().is_ok_and(|age| age > KEPT_UNNAMED)
}

fn no_directory() -> StoreError {
    StoreError::File { reason: "a blob without a directory".into() }
}

/// How long a file stays that no message names.
const KEPT_UNNAMED: Duration = Duration::from_secs(600);
