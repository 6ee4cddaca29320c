//! Opening: what must be true before anything is touched, then the counts that are kept in memory. Called by `store`,
//! and by the writer after a failure.

use crate::config::Config;
use crate::engine::journaled::{Directory, JOURNAL_BYTES};
use crate::engine::prepare::{FILE, sync_dir};
use crate::engine::{Disk, DiskError, Engine, Read};
use crate::error::{OpenError, StoreError};
use crate::meta::{Birth, Counters, FORMAT};
use crate::shared::{Shared, as_read};
use crate::tally::Tally;
use crate::txn::Txn;
use crate::{agents, attachments, backup_files, blob, classes, files, handed, outbox, postings, receipts};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

/// What is known of a store without its engine: a small file beside it, written at each open and close. sled opens a
/// store whose end is cut off as if nothing were missing (PITFALLS); this tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    format: u32,
    generation: u64,
    seq: u64,
}

/// Opens the store in `dir`, or makes one there.
pub(crate) fn open(dir: &Path, config: Config) -> Result<(Shared, Counters), OpenError> {
    let mark = look(dir)?;
    let disk =
        Directory { dir: dir.to_owned(), cache_bytes: config.cache_mib << 20, journal_bytes: JOURNAL_BYTES };
    let engine = disk.open().map_err(|error| OpenError::at(dir, error))?;
    let (bodies, attached) = (dir.join(BODIES), dir.join(ATTACHMENTS));
    let made = make_dir(&bodies).and_then(|()| make_dir(&attached)).and_then(|()| {
        files::clear_parts(&attached)?;
        backup_files::clear_held(dir)
    });
    made.map_err(|error| OpenError::at(dir, DiskError::Io(error)))?;
    let shared = Shared::new(config, Box::new(disk), (Some(bodies), Some(attached)), engine);
    let counters = start(&shared, mark, now_ms()).map_err(|error| at(dir, error))?;
    write_mark(&shared, counters.next_seq);
    Ok((shared, counters))
}

/// Opens a disk without a directory.
pub(crate) fn open_disk(disk: Box<dyn Disk>, config: Config) -> Result<(Shared, Counters), OpenError> {
    let nowhere = Path::new("(memory)");
    let engine = disk.open().map_err(|error| OpenError::at(nowhere, error))?;
    let shared = Shared::new(config, disk, (None, None), engine);
    let counters = start(&shared, None, 1).map_err(|error| at(nowhere, error))?;
    Ok((shared, counters))
}

/// Opens the engine again after a failure.
pub(crate) fn reopen(shared: &Shared) -> Result<Counters, StoreError> {
    let engine = shared.disk.open().map_err(|error| StoreError::Failed { reason: error.to_string() })?;
    *shared.engine.write().unwrap_or_else(PoisonError::into_inner) = Some(engine);
    let started = start(shared, None, 1).map_err(|error| match error {
        StartError::Store(error) => error,
        StartError::Newer(_) | StartError::Lost(_) => StoreError::Failed { reason: "another store".into() },
    });
    if started.is_err() {
        drop(shared.engine.write().unwrap_or_else(PoisonError::into_inner).take());
    }
    started
}

/// Reads the counts again, as they are committed.
pub(crate) fn recount(shared: &Shared) -> Result<Counters, StoreError> {
    let (counters, tally) = shared.read(|read| Ok((Counters::read(read)?, count(read)?)))?;
    *shared.tally.write().unwrap_or_else(PoisonError::into_inner) = tally;
    Ok(counters)
}

/// Checks what can be checked without opening, touching nothing.
fn look(dir: &Path) -> Result<Option<Mark>, OpenError> {
    let damaged = |reason: &str| OpenError::Damaged { dir: dir.to_owned(), reason: reason.to_owned() };
    let database = std::fs::metadata(dir.join(FILE)).map_or(0, |meta| meta.len());
    let bytes = match std::fs::read(dir.join(MARK)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let leftovers = dir.join("conf").exists() || has_snapshot(dir);
            if database == 0 && leftovers {
                return Err(damaged("its database file is missing or empty"));
            }
            return Ok(None);
        }
        Err(source) => return Err(OpenError::Io { dir: dir.to_owned(), source }),
    };
    let Some(mark) = read_mark(&bytes) else { return Err(damaged("its mark is unreadable")) };
    if mark.format > FORMAT {
        return Err(OpenError::Newer { dir: dir.to_owned(), found: mark.format, known: FORMAT });
    }
    if database == 0 {
        return Err(damaged("its database file is missing or empty"));
    }
    Ok(Some(mark))
}

/// Why an open engine is no store of ours.
enum StartError {
    Newer(u32),
    Lost(&'static str),
    Store(StoreError),
}

impl<E: Into<StoreError>> From<E> for StartError {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

/// Reads what is kept in memory. A store without a birth is new, unless the mark says otherwise.
fn start(shared: &Shared, mark: Option<Mark>, generation: u64) -> Result<Counters, StartError> {
    let engine = shared.engine.read().unwrap_or_else(PoisonError::into_inner);
    let Some(engine) = engine.as_deref() else {
        return Err(StartError::Lost("the engine is not open"));
    };
    let read = as_read(engine);
    let birth = match (Birth::read(read)?, mark) {
        (Some(birth), _) => birth,
        (None, Some(_)) => return Err(StartError::Lost("its content is gone")),
        (None, None) => give_birth(engine, generation)?,
    };
    if birth.format > FORMAT {
        return Err(StartError::Newer(birth.format));
    }
    let counters = Counters::read(read)?;
    if mark.is_some_and(|mark| mark.generation == birth.generation && counters.next_seq < mark.seq) {
        return Err(StartError::Lost("its newest content is gone"));
    }
    *shared.tally.write().unwrap_or_else(PoisonError::into_inner) = count(read)?;
    shared.generation.store(birth.generation, Ordering::Release);
    shared.set_durable(counters.next_seq);
    shared.set_roster_version(counters.roster_version);
    Ok(counters)
}

fn give_birth(engine: &dyn Engine, generation: u64) -> Result<Birth, StoreError> {
    let birth = Birth { format: FORMAT, generation };
    let mut txn = Txn::new(as_read(engine));
    birth.write(&mut txn)?;
    Counters::default().write(&mut txn)?;
    engine.commit(txn.into_writes())?;
    engine.sync()?;
    Ok(birth)
}

/// Reads the counts of mailboxes, and counts the outbox.
fn count(read: &dyn Read) -> Result<Tally, StoreError> {
    let mut tally = Tally::default();
    agents::each(read, &mut |agent| tally.set_agent(agent, true))?;
    handed::each(read, &mut |agent, count| tally.set_mailbox(agent, count))?;
    postings::each(read, &mut |agent| tally.add_posting(agent))?;
    classes::each(read, &mut |agent| tally.add_classed(agent))?;
    outbox::count(read, &mut tally)?;
    attachments::each_upload(read, &mut |upload| tally.add_upload(&upload.holder, upload.size))?;
    files::each(read, &mut |_, uses| tally.add_file(uses.size))?;
    receipts::count(read, &mut tally)?;
    Ok(tally)
}

/// Writes the mark. It may lag behind; it must never run ahead.
pub(crate) fn write_mark(shared: &Shared, seq: u64) {
    let Some(dir) = shared.bodies().and_then(Path::parent) else { return };
    let generation = shared.generation.load(Ordering::Acquire);
    if let Err(error) = put_mark(dir, generation, seq) {
        tracing::warn!(%error, "the store's mark was not written");
    }
}

pub(crate) fn put_mark(dir: &Path, generation: u64, seq: u64) -> std::io::Result<()> {
    let mark = Mark { format: FORMAT, generation, seq };
    let mut bytes = postcard::to_stdvec(&mark).map_err(std::io::Error::other)?;
    bytes.extend_from_slice(&crate::key::short_hash::<8>(&[&bytes]));
    blob::write_file(dir, &dir.join(MARK), &bytes)?;
    sync_dir(dir)
}

fn read_mark(bytes: &[u8]) -> Option<Mark> {
    let (body, check) = bytes.split_last_chunk::<8>()?;
    let (mark, rest) = postcard::take_from_bytes(body).ok()?;
    (rest.is_empty() && crate::key::short_hash::<8>(&[body]) == *check).then_some(mark)
}

fn has_snapshot(dir: &Path) -> bool {
    let Ok(files) = std::fs::read_dir(dir) else { return false };
    files.flatten().any(|file| file.file_name().to_string_lossy().starts_with("snap."))
}

fn make_dir(path: &PathBuf) -> std::io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    std::fs::create_dir_all(path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

fn at(dir: &Path, error: StartError) -> OpenError {
    let dir = dir.to_owned();
    match error {
        StartError::Newer(found) => OpenError::Newer { dir, found, known: FORMAT },
        StartError::Lost(reason) => OpenError::Damaged { dir, reason: reason.to_owned() },
        StartError::Store(error) => OpenError::Damaged { dir, reason: error.to_string() },
    }
}

/// Milliseconds since 1970: a generation that is greater than those of all earlier stores of this machine.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Where large bodies are, beside sled's own files.
pub(crate) const BODIES: &str = "bodies";

/// Where attached files are.
pub(crate) const ATTACHMENTS: &str = "attachments";

const MARK: &str = "store.mark";
