//! The journal's files: one record per group commit, each with a checksum. A record is durable after one `fdatasync`,
//! which is all that an accepted message waits for. Written and replayed by `journaled`.

use super::prepare::sync_dir;
use super::{DiskError, Writes};
use crate::trees::Tree;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// One journal file being written.
pub(crate) struct Journal {
    pub(crate) epoch: u64,
    file: File,
    length: u64,
    next: u64,
    buffer: Vec<u8>,
}

impl Journal {
    /// Begins the journal of an epoch, in a file that an earlier one no longer needs if there is one: overwriting
    /// blocks that exist makes a sync cheaper than growing a file.
    pub(crate) fn begin(dir: &Path, epoch: u64, next: u64) -> io::Result<Self> {
        let path = dir.join(name(epoch));
        let spare = dir.join(SPARE);
        if spare.exists() {
            fs::rename(&spare, &path)?;
        }
        let file = File::options().create(true).truncate(false).write(true).open(&path)?;
        // The name is durable before any record relies on it.
        sync_dir(dir)?;
        Ok(Self { epoch, file, length: 0, next, buffer: Vec::new() })
    }

    /// Adds a record. Durable after `sync`.
    pub(crate) fn append(&mut self, writes: &Writes) -> io::Result<()> {
        self.buffer.clear();
        self.buffer.resize(HEADER, 0);
        encode(writes, &mut self.buffer);
        let header = Header { epoch: self.epoch, number: self.next, length: self.buffer.len() - HEADER };
        header.seal(&mut self.buffer);
        let end = self.buffer.len().next_multiple_of(ALIGN);
        self.buffer.resize(end, 0);
        self.file.write_all_at(&self.buffer, self.length)?;
        self.length += self.buffer.len() as u64;
        self.next += 1;
        if self.buffer.capacity() > KEPT_BUFFER {
            self.buffer = Vec::new();
        }
        Ok(())
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The number of the next record.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }
}

/// What the journals of a store hold beyond its checkpoint.
#[derive(Default)]
pub(crate) struct Replayed {
    pub(crate) writes: Writes,
    /// The newest epoch of any file.
    pub(crate) newest: u64,
    /// The number of the next record.
    pub(crate) next: u64,
    /// Their length.
    pub(crate) bytes: u64,
}

/// Reads every journal newer than `checkpoint`, in order. What follows the last whole record was never acknowledged;
/// a hole before a later record is damage.
pub(crate) fn replay(dir: &Path, checkpoint: u64) -> Result<Replayed, DiskError> {
    let mut replayed = Replayed { newest: checkpoint, ..Replayed::default() };
    for (epoch, path) in list(dir)? {
        if epoch <= checkpoint {
            continue;
        }
        // Journals go only once their content is safe elsewhere: then the database has lost what it was given.
        if epoch != replayed.newest + 1 {
            return Err(damaged("the database has lost its newest content"));
        }
        replayed.read(epoch, &fs::read(path)?)?;
        replayed.newest = epoch;
    }
    Ok(replayed)
}

impl Replayed {
    fn read(&mut self, epoch: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let mut at = 0;
        while let Some((header, payload)) = Header::read(epoch, bytes, at) {
            if self.next != 0 && header.number != self.next {
                return Err(damaged("a record of the journal is missing"));
            }
            let writes = decode(payload).ok_or_else(|| damaged("a record of the journal is unreadable"))?;
            self.writes.extend(writes);
            self.next = header.number + 1;
            self.bytes += header.length as u64;
            at += (HEADER + header.length).next_multiple_of(ALIGN);
        }
        // Only the last record can be torn: each is synced before the next is written.
        let mut later = at;
        while later + HEADER <= bytes.len() {
            if Header::read(epoch, bytes, later).is_some_and(|(header, _)| header.number > self.next) {
                return Err(damaged("the journal is damaged in the middle"));
            }
            later += ALIGN;
        }
        Ok(())
    }
}

/// Keeps one journal that is no longer needed for reuse, deletes the others.
pub(crate) fn retire(dir: &Path, through: u64) -> io::Result<()> {
    let spare = dir.join(SPARE);
    for (epoch, path) in list(dir)? {
        if epoch > through {
            continue;
        }
        if spare.exists() {
            fs::remove_file(path)?;
        } else {
            fs::rename(path, &spare)?;
        }
    }
    Ok(())
}

/// Every journal, the oldest first.
fn list(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for file in fs::read_dir(dir)? {
        let file = file?;
        let name = file.file_name();
        let epoch = name.to_string_lossy().strip_prefix(PREFIX).and_then(|epoch| epoch.parse().ok());
        found.extend(epoch.map(|epoch: u64| (epoch, file.path())));
    }
    found.sort_unstable();
    Ok(found)
}

struct Header {
    epoch: u64,
    number: u64,
    length: usize,
}

impl Header {
    /// Writes the header into the first bytes of the record.
    fn seal(&self, record: &mut [u8]) {
        record[0..4].copy_from_slice(&MAGIC);
        record[4..8].copy_from_slice(&(self.length as u32).to_be_bytes());
        record[8..16].copy_from_slice(&self.epoch.to_be_bytes());
        record[16..24].copy_from_slice(&self.number.to_be_bytes());
        let check = crc32fast::hash(record);
        record[24..28].copy_from_slice(&check.to_be_bytes());
    }

    /// The record at `at`, if it is whole and of this epoch.
    fn read(epoch: u64, bytes: &[u8], at: usize) -> Option<(Self, &[u8])> {
        let record = bytes.get(at..)?;
        let head = record.first_chunk::<HEADER>()?;
        if head[0..4] != MAGIC {
            return None;
        }
        let number =
            |range: std::ops::Range<usize>| head[range].iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
        let header = Self { epoch: number(8..16), number: number(16..24), length: number(4..8) as usize };
        let payload = record.get(HEADER..HEADER + header.length)?;
        let mut unsealed = *head;
        unsealed[24..28].fill(0);
        let mut check = crc32fast::Hasher::new();
        check.update(&unsealed);
        check.update(payload);
        (header.epoch == epoch && u64::from(check.finalize()) == number(24..28)).then_some((header, payload))
    }
}

fn encode(writes: &Writes, out: &mut Vec<u8>) {
    for (tree, writes) in writes.trees() {
        out.push(tree as u8);
        out.extend_from_slice(&(writes.len() as u32).to_be_bytes());
        for (key, value) in writes {
            let length = value.as_ref().map_or(REMOVED, |value| value.len() as u32);
            out.extend_from_slice(&(key.len() as u32).to_be_bytes());
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(key);
            out.extend_from_slice(value.as_deref().unwrap_or_default());
        }
    }
}

fn decode(mut bytes: &[u8]) -> Option<Writes> {
    let mut writes = Writes::default();
    while let Some((tree, rest)) = bytes.split_first() {
        let tree = *Tree::ALL.get(usize::from(*tree))?;
        bytes = rest;
        for _ in 0..take_number(&mut bytes)? {
            let (key, value) = (take_number(&mut bytes)?, take_number(&mut bytes)?);
            let key = take(&mut bytes, key)?.to_vec();
            let value = if value == REMOVED { None } else { Some(take(&mut bytes, value)?.to_vec()) };
            writes.of_mut(tree).insert(key, value);
        }
    }
    Some(writes)
}

fn take_number(bytes: &mut &[u8]) -> Option<u32> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_be_bytes(*number))
}

fn take<'a>(bytes: &mut &'a [u8], length: u32) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length as usize)?;
    *bytes = rest;
    Some(taken)
}

fn damaged(what: &str) -> DiskError {
    DiskError::Damaged(what.to_owned())
}

fn name(epoch: u64) -> String {
    format!("{PREFIX}{epoch:016}")
}

const PREFIX: &str = "journal-";
const SPARE: &str = "journal.spare";
const MAGIC: [u8; 4] = *b"aJ1\n";
const HEADER: usize = 32;
const ALIGN: usize = 16;
const REMOVED: u32 = u32::MAX;

/// A buffer larger than this is given back after use.
const KEPT_BUFFER: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::{Journal, name, replay, retire};
    use crate::engine::{DiskError, Writes};
    use crate::trees::Tree;
    use std::fs;
    use std::path::Path;

    fn write(n: u8) -> Writes {
        let mut writes = Writes::default();
        writes.of_mut(Tree::Pins).insert(vec![n], Some(vec![n; 100]));
        writes.of_mut(Tree::Peers).insert(vec![n], None);
        writes
    }

    fn journal(dir: &Path, epoch: u64, records: std::ops::Range<u8>) {
        let mut journal = Journal::begin(dir, epoch, u64::from(records.start) + 1).unwrap();
        for n in records {
            journal.append(&write(n)).unwrap();
        }
    }

    fn keys(dir: &Path, checkpoint: u64) -> Vec<u8> {
        let replayed = replay(dir, checkpoint).unwrap();
        replayed.writes.of(Tree::Pins).keys().map(|key| key[0]).collect()
    }

    #[test]
    fn journals_are_replayed_in_order_from_the_checkpoint_on() {
        let dir = tempfile::tempdir().unwrap();
        journal(dir.path(), 1, 0..3);
        journal(dir.path(), 2, 3..5);
        assert_eq!(keys(dir.path(), 0), [0, 1, 2, 3, 4]);
        assert_eq!(keys(dir.path(), 1), [3, 4]);
        assert_eq!(keys(dir.path(), 2), [] as [u8; 0]);
    }

    #[test]
    fn a_database_behind_its_first_journal_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        journal(dir.path(), 3, 0..3);
        assert_eq!(keys(dir.path(), 2), [0, 1, 2]);
        assert!(matches!(replay(dir.path(), 1), Err(DiskError::Damaged(_))));
    }

    #[test]
    fn a_torn_last_record_was_never_written() {
        let dir = tempfile::tempdir().unwrap();
        journal(dir.path(), 1, 0..3);
        let path = dir.path().join(name(1));
        let whole = fs::read(&path).unwrap();
        let record = whole.len() / 3;
        for cut in [1, 20, 33, record - 1] {
            fs::write(&path, &whole[..2 * record + cut]).unwrap();
            assert_eq!(keys(dir.path(), 0), [0, 1], "cut after {cut} bytes");
            let mut garbled = whole.clone();
            garbled[2 * record + cut] ^= 1;
            fs::write(&path, garbled).unwrap();
            let left = keys(dir.path(), 0);
            assert!(left == [0, 1] || cut == record - 1, "{left:?}: the last byte is padding");
        }
    }

    #[test]
    fn a_hole_before_a_later_record_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        journal(dir.path(), 1, 0..3);
        journal(dir.path(), 2, 3..5);
        let path = dir.path().join(name(1));
        let whole = fs::read(&path).unwrap();
        for at in [5, whole.len() / 3 + 40, whole.len() - 60] {
            let mut garbled = whole.clone();
            garbled[at] ^= 1;
            fs::write(&path, garbled).unwrap();
            assert!(matches!(replay(dir.path(), 0), Err(DiskError::Damaged(_))), "byte {at}");
        }
    }

    #[test]
    fn a_reused_file_shows_nothing_of_its_earlier_life() {
        let dir = tempfile::tempdir().unwrap();
        journal(dir.path(), 1, 0..9);
        retire(dir.path(), 1).unwrap();
        journal(dir.path(), 2, 9..11);
        assert_eq!(keys(dir.path(), 1), [9, 10]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "the file was reused");
    }
}
