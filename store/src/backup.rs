//! The store as one checksummed file: every pair of every tree as of one moment, and the bodies they name. Written by
//! the writer between two groups, read by `maintain`. The attached files are beside it (`backup_files`).

use crate::backup_files::{Held, private_file};
use crate::blob;
use crate::engine::prepare::sync_dir;
use crate::engine::{EngineError, Range, Read};
use crate::error::StoreError;
use crate::trees::Tree;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// What a backup holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BackupReport {
    /// Pairs of key and value.
    pub pairs: u64,
    /// Large bodies.
    pub bodies: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Attached files beside it.
    pub files: u64,
    /// Attached files that records name and that were not there.
    pub missing_files: u64,
}

/// One piece of a backup.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Pair { tree: Tree, key: Vec<u8>, value: Vec<u8> },
    Body { digest: blob::Digest, bytes: Vec<u8> },
}

/// A backup that lacks nothing but its files and its name.
#[derive(Debug)]
pub(crate) struct Unfinished {
    path: PathBuf,
    report: BackupReport,
    held: Option<Held>,
    named: bool,
}

/// Writes the records beside the backup's name, synced, and takes hold of the files that they name.
pub(crate) fn begin(
    read: &dyn Read,
    (bodies, attachments): (Option<&Path>, Option<&Path>),
    path: &Path,
) -> Result<Unfinished, StoreError> {
    let held = attachments.map_or(Ok(None), |dir| Held::of(read, dir))?;
    let mut unfinished =
        Unfinished { path: path.to_owned(), report: BackupReport::default(), held, named: false };
    let mut out = Out::create(&unfinished.unnamed())?;
    let report = &mut unfinished.report;
    for tree in Tree::ALL {
        report.pairs += write_tree(read, tree, &mut out)?;
    }
    for digest in body_names(read)? {
        out.body(&digest, &blob::read(bodies, &digest)?)?;
        report.bodies += 1;
    }
    report.bytes = out.finish(report)?;
    Ok(unfinished)
}

impl Unfinished {
    /// Brings the files and only then gives the backup its name: one that has it is whole.
    pub(crate) fn finish(mut self) -> Result<BackupReport, StoreError> {
        if let Some(held) = &self.held {
            held.bring_to(&self.path)?;
            (self.report.files, self.report.missing_files) = (held.count, held.missing);
        }
        let directory = self.path.parent().unwrap_or_else(|| Path::new("."));
        sync_dir(directory)?;
        std::fs::rename(self.unnamed(), &self.path)?;
        self.named = true;
        sync_dir(directory)?;
        Ok(self.report)
    }

    fn unnamed(&self) -> PathBuf {
        self.path.with_extension("unfinished")
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.named {
            std::fs::remove_file(self.unnamed()).unwrap_or_default();
        }
    }
}

fn write_tree(read: &dyn Read, tree: Tree, out: &mut Out) -> Result<u64, StoreError> {
    let mut pairs = 0;
    let mut failure = None;
    read.scan(tree, &Range::ALL, &mut |key, value| match out.pair(tree, key, value) {
        Ok(()) => {
            pairs += 1;
            ControlFlow::Continue(())
        }
        Err(error) => {
            failure = Some(error);
            ControlFlow::Break(())
        }
    })?;
    failure.map_or(Ok(pairs), |error| Err(error.into()))
}

fn body_names(read: &dyn Read) -> Result<Vec<blob::Digest>, EngineError> {
    let mut names = Vec::new();
    read.scan(Tree::Blobs, &Range::ALL, &mut |key, _| {
        names.extend(blob::Digest::try_from(key).ok());
        ControlFlow::Continue(())
    })?;
    Ok(names)
}

struct Out {
    file: BufWriter<File>,
    hash: Sha256,
    bytes: u64,
}

impl Out {
    fn create(path: &Path) -> io::Result<Self> {
        let file = BufWriter::with_capacity(1 << 20, private_file(path)?);
        let mut out = Self { file, hash: Sha256::new(), bytes: 0 };
        out.put(MAGIC)?;
        Ok(out)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    fn pair(&mut self, tree: Tree, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.put(&[PAIR, tree as u8])?;
        self.put(&length(key)?)?;
        self.put(&length(value)?)?;
        self.put(key)?;
        self.put(value)
    }

    fn body(&mut self, digest: &blob::Digest, bytes: &[u8]) -> io::Result<()> {
        self.put(&[BODY])?;
        self.put(digest)?;
        self.put(&length(bytes)?)?;
        self.put(bytes)
    }

    fn finish(mut self, report: &BackupReport) -> io::Result<u64> {
        self.put(&[END])?;
        self.put(&report.pairs.to_be_bytes())?;
        self.put(&report.bodies.to_be_bytes())?;
        let check: [u8; 32] = self.hash.finalize().into();
        self.file.write_all(&check)?;
        self.file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        Ok(self.bytes + check.len() as u64)
    }
}

/// Reads a backup piece by piece. What `next` gave is to be believed only once it has given `None`.
pub(crate) struct Reader {
    file: BufReader<File>,
    hash: Sha256,
    seen: BackupReport,
    pub(crate) total: u64,
}

impl Reader {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let total = file.metadata()?.len();
        let file = BufReader::with_capacity(1 << 20, file);
        let mut reader = Self { file, hash: Sha256::new(), seen: BackupReport::default(), total };
        let magic = reader.take(MAGIC.len())?;
        if magic != MAGIC {
            return Err(damaged("it is no amesh backup, or one of another version"));
        }
        Ok(reader)
    }

    /// The next piece; `None` after the last, when the whole file was checked.
    pub(crate) fn next(&mut self) -> io::Result<Option<Record>> {
        match self.array::<1>()?[0] {
            PAIR => {
                let [tree] = self.array()?;
                let tree =
                    *Tree::ALL.get(usize::from(tree)).ok_or_else(|| damaged("it names an unknown tree"))?;
                let (key, value) = (self.length()?, self.length()?);
                self.seen.pairs += 1;
                Ok(Some(Record::Pair { tree, key: self.take(key)?, value: self.take(value)? }))
            }
            BODY => {
                let digest = self.array()?;
                let length = self.length()?;
                let bytes = self.take(length)?;
                self.seen.bodies += 1;
                Ok(Some(Record::Body { digest, bytes }))
            }
            END => self.end().map(|()| None),
            _ => Err(damaged("it holds an unknown kind of record")),
        }
    }

    /// Bytes read so far.
    pub(crate) fn read_so_far(&self) -> u64 {
        self.seen.bytes
    }

    pub(crate) fn seen(&self) -> BackupReport {
        self.seen
    }

    fn end(&mut self) -> io::Result<()> {
        let counts = (u64::from_be_bytes(self.array()?), u64::from_be_bytes(self.array()?));
        let computed: [u8; 32] = self.hash.clone().finalize().into();
        let written: [u8; 32] = self.array()?;
        let rest = self.file.read(&mut [0])?;
        if counts == (self.seen.pairs, self.seen.bodies) && computed == written && rest == 0 {
            Ok(())
        } else {
            Err(damaged("its checksum is wrong"))
        }
    }

    fn length(&mut self) -> io::Result<usize> {
        let length = u32::from_be_bytes(self.array()?);
        if length > LONGEST {
            return Err(damaged("it holds a record that is too long"));
        }
        Ok(length as usize)
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact(bytes)?;
        self.hash.update(&bytes);
        self.seen.bytes += bytes.len() as u64;
        Ok(())
    }
}

fn length(bytes: &[u8]) -> io::Result<[u8; 4]> {
    u32::try_from(bytes.len()).map(u32::to_be_bytes).map_err(io::Error::other)
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

const MAGIC: &[u8] = b"amesh-backup\x01";
const END: u8 = 0;
const PAIR: u8 = 1;
const BODY: u8 = 2;

/// No record of ours is longer.
const LONGEST: u32 = 16 << 20;
