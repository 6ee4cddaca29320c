//! The engine: a journal in front, the state on sled behind (DESIGN §5). A commit is one record and one `fdatasync`;
//! what the journal holds is kept in memory too, and moved to sled in the background. Much of it never gets there:
//! mail that was read and acknowledged meanwhile leaves nothing to move.

use super::journal::{self, Journal};
use super::overlay::Overlay;
use super::sled::SledState;
use super::{Disk, DiskError, Engine, EngineError, Range, Read, Visit, Writes};
use crate::trees::Tree;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A directory with a store.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    pub(crate) dir: PathBuf,
    pub(crate) cache_bytes: u64,
    /// A journal longer than this is moved to sled.
    pub(crate) journal_bytes: u64,
}

impl Disk for Directory {
    fn open(&self) -> Result<Box<dyn Engine>, DiskError> {
        let base = SledState::open(&self.dir, self.cache_bytes)?;
        let broken = |error: EngineError| DiskError::Damaged(error.to_string());
        let (checkpoint, _) = base.checkpoint().map_err(broken)?;
        let replayed = journal::replay(&self.dir, checkpoint)?;
        journal::retire(&self.dir, checkpoint)?;
        let journal = Journal::begin(&self.dir, replayed.newest + 1, replayed.next.max(1))?;
        let frozen = (!replayed.writes.is_empty()).then(|| Frozen {
            writes: Arc::new(replayed.writes),
            through: replayed.newest,
            bytes: replayed.bytes,
        });
        let total = fs4::total_space(&self.dir).unwrap_or(u64::MAX);
        let inner = Arc::new(Inner {
            base,
            dir: self.dir.clone(),
            limit: self.journal_bytes.min(total / 64),
            layers: RwLock::new(Layers { active: Writes::default(), frozen }),
            journal: Mutex::new(journal),
            work: Mutex::new(Work::default()),
            changed: Condvar::new(),
        });
        let worker = inner.clone();
        let thread =
            std::thread::Builder::new().name("amesh-store-checkpoint".into()).spawn(move || worker.run())?;
        Ok(Box::new(Journaled { inner, thread: Some(thread) }))
    }
}

/// The engine, open.
struct Journaled {
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

struct Inner {
    base: SledState,
    dir: PathBuf,
    /// A journal longer than this is frozen and moved.
    limit: u64,
    layers: RwLock<Layers>,
    journal: Mutex<Journal>,
    work: Mutex<Work>,
    changed: Condvar,
}

/// What is not on sled yet.
struct Layers {
    active: Writes,
    frozen: Option<Frozen>,
}

/// What is being moved to sled.
#[derive(Clone)]
struct Frozen {
    writes: Arc<Writes>,
    /// The newest journal that it is from.
    through: u64,
    bytes: u64,
}

/// What the writer and the checkpoint's thread tell each other.
#[derive(Default)]
struct Work {
    /// Commits since the last look; none for a while means idle.
    commits: u64,
    /// How long the journal being written is.
    journal: u64,
    stop: bool,
    /// How many wait for the move to be done.
    waiting: u32,
    /// There is no room to move what is frozen.
    stalled: bool,
    failed: Option<EngineError>,
}

impl Inner {
    /// The checkpoint's thread: moves what is frozen; freezes when nothing happened for a while.
    fn run(&self) {
        loop {
            let frozen = read(&self.layers).frozen.clone();
            if let Some(frozen) = frozen {
                if !self.wait_for_space(&frozen) {
                    return;
                }
                let moved = self.move_to_sled(&frozen);
                let failed = moved.is_err();
                // Under the lock, so that nobody is between looking and waiting.
                lock(&self.work).failed = moved.err();
                self.changed.notify_all();
                if failed {
                    return;
                }
                continue;
            }
            if self.wait_for_work() {
                return;
            }
        }
    }

    /// A database that runs out of space breaks, and then serves no reads: better to wait. Says whether there is room
    /// now, and not the store being closed.
    fn wait_for_space(&self, frozen: &Frozen) -> bool {
        let needed = MOVE_COST * frozen.bytes + MOVE_COST_AT_LEAST;
        loop {
            let short = fs4::available_space(&self.dir).is_ok_and(|available| available < needed);
            let mut work = lock(&self.work);
            if short && !work.stalled {
                tracing::warn!(needed, "the disk is too full to move the journal to the database");
            }
            work.stalled = short;
            self.changed.notify_all();
            if work.stop || !short {
                return !short;
            }
            drop(self.changed.wait_timeout(work, STALL));
        }
    }

    /// Returns when there may be something to move; says whether to stop.
    fn wait_for_work(&self) -> bool {
        let mut work = lock(&self.work);
        while !work.stop && read(&self.layers).frozen.is_none() {
            let seen = work.commits;
            if seen == 0 {
                work = self.changed.wait(work).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let (woken, waited) =
                self.changed.wait_timeout(work, IDLE).unwrap_or_else(PoisonError::into_inner);
            work = woken;
            if waited.timed_out() && work.commits == seen {
                drop(work);
                // A failure here shows at the next commit.
                drop(self.freeze());
                return false;
            }
        }
        work.stop
    }

    fn move_to_sled(&self, frozen: &Frozen) -> Result<(), EngineError> {
        self.base.apply(&frozen.writes, |took| self.rest(took))?;
        self.base.sync()?;
        self.base.set_checkpoint(frozen.through)?;
        write(&self.layers).frozen = None;
        journal::retire(&self.dir, frozen.through).map_err(io)
    }

    /// Leaves the processor and the disk to the mail that comes meanwhile, as long as nobody waits for the move and there
    /// is ample room in the journal that is being written: one move in one go holds up all mail for a fifth of a second.
    fn rest(&self, took: Duration) {
        let mut work = lock(&self.work);
        let roomy = |work: &Work| work.journal < self.limit / 2 && work.waiting == 0 && !work.stop;
        if !roomy(&work) {
            return;
        }
        let until = Instant::now() + (took * REST).min(LONGEST_REST);
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            work = self.changed.wait_timeout(work, left).unwrap_or_else(PoisonError::into_inner).0;
            if !roomy(&work) {
                return;
            }
        }
    }

    /// Begins a new journal and leaves what the old one holds to be moved, unless that is still being done.
    fn freeze(&self) -> Result<(), EngineError> {
        let mut journal = lock(&self.journal);
        self.freeze_locked(&mut journal)
    }

    fn freeze_locked(&self, journal: &mut Journal) -> Result<(), EngineError> {
        if journal.length() == 0 || read(&self.layers).frozen.is_some() {
            return Ok(());
        }
        let begun = Journal::begin(&self.dir, journal.epoch + 1, journal.next()).map_err(io)?;
        let (through, bytes) = (journal.epoch, journal.length());
        *journal = begun;
        let mut layers = write(&self.layers);
        let writes = Arc::new(std::mem::take(&mut layers.active));
        layers.frozen = Some(Frozen { writes, through, bytes });
        drop(layers);
        let mut work = lock(&self.work);
        (work.commits, work.journal) = (0, 0);
        drop(work);
        self.changed.notify_all();
        Ok(())
    }

    /// Waits while the journal is far too long because the move of the one before is not done.
    fn make_room(&self, journal: &mut Journal) -> Result<(), EngineError> {
        if journal.length() < self.limit {
            return Ok(());
        }
        if journal.length() >= self.limit * 2 {
            self.wait_until_moved()?;
        }
        self.freeze_locked(journal)
    }

    fn wait_until_moved(&self) -> Result<(), EngineError> {
        lock(&self.work).waiting += 1;
        self.changed.notify_all();
        let moved = self.wait_while_moving();
        lock(&self.work).waiting -= 1;
        moved
    }

    fn wait_while_moving(&self) -> Result<(), EngineError> {
        let mut work = lock(&self.work);
        for _ in 0..MOVE_WAITS {
            if let Some(error) = &work.failed {
                return Err(error.clone());
            }
            if read(&self.layers).frozen.is_none() {
                return Ok(());
            }
            if work.stalled {
                return Err(EngineError::Full);
            }
            work = self.changed.wait_timeout(work, IDLE).unwrap_or_else(PoisonError::into_inner).0;
        }
        Err(EngineError::Broken("moving the journal to the database takes too long".into()))
    }
}

impl Read for Journaled {
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.inner.through(|read| read.get(tree, key))
    }

    fn has(&self, tree: Tree, key: &[u8]) -> Result<bool, EngineError> {
        self.inner.through(|read| read.has(tree, key))
    }

    fn scan(&self, tree: Tree, range: &Range, visit: &mut Visit<'_>) -> Result<(), EngineError> {
        self.inner.through(|read| read.scan(tree, range, visit))
    }
}

impl Inner {
    /// Reads through both layers.
    fn through<T>(&self, look: impl FnOnce(&dyn Read) -> T) -> T {
        let layers = read(&self.layers);
        match &layers.frozen {
            Some(frozen) => {
                let below = Overlay { above: &frozen.writes, below: &self.base };
                look(&Overlay { above: &layers.active, below: &below })
            }
            None => look(&Overlay { above: &layers.active, below: &self.base }),
        }
    }
}

impl Engine for Journaled {
    fn commit(&self, writes: Writes) -> Result<(), EngineError> {
        let mut journal = lock(&self.inner.journal);
        self.inner.make_room(&mut journal)?;
        journal.append(&writes).map_err(io)?;
        write(&self.inner.layers).active.extend(writes);
        let mut work = lock(&self.inner.work);
        work.commits += 1;
        work.journal = journal.length();
        if work.commits == 1 {
            // From now on there is something that idleness would move.
            self.inner.changed.notify_all();
        }
        work.failed.clone().map_or(Ok(()), Err)
    }

    fn sync(&self) -> Result<(), EngineError> {
        // Whatever the reason: after a failed sync nobody knows what is on disk.
        lock(&self.inner.journal).sync().map_err(|error| EngineError::Broken(format!("fdatasync: {error}")))
    }

    fn size_on_disk(&self) -> u64 {
        self.inner.base.size_on_disk()
    }

    fn reusable(&self) -> u64 {
        self.inner.base.reusable()
    }

    fn check(&self) -> Result<(), EngineError> {
        lock(&self.inner.work).failed.clone().map_or(Ok(()), Err)
    }

    fn settle(&self) -> Result<(), EngineError> {
        self.inner.wait_until_moved()?;
        self.inner.freeze()?;
        self.inner.wait_until_moved()
    }
}

impl Drop for Journaled {
    fn drop(&mut self) {
        lock(&self.inner.work).stop = true;
        self.inner.changed.notify_all();
        // sled gives its lock back only when its last handle goes.
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn io(error: std::io::Error) -> EngineError {
    match error.kind() {
        std::io::ErrorKind::StorageFull => EngineError::Full,
        _ => EngineError::Broken(format!("journal: {error}")),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// What a journal may hold before it is moved: also the memory that it takes, roughly.
pub(crate) const JOURNAL_BYTES: u64 = 16 << 20;

/// How long a move rests after each part, in times of what that part took, and at most.
const REST: u32 = 3;
const LONGEST_REST: Duration = Duration::from_millis(50);

/// Free space that a move takes at most, per byte moved, and besides.
const MOVE_COST: u64 = 3;
const MOVE_COST_AT_LEAST: u64 = 1 << 20;

/// Between looks for space.
const STALL: Duration = Duration::from_secs(1);

/// Without commits for this long, the journal is moved all the same.
const IDLE: Duration = Duration::from_secs(5);

/// A minute of waiting, in steps of `IDLE`.
const MOVE_WAITS: u32 = 12;

#[cfg(test)]
mod tests {
    use super::Directory;
    use crate::engine::Range;
    use crate::engine::{Disk, Engine, Read, Writes};
    use crate::trees::Tree;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::ops::ControlFlow;
    use std::path::Path;

    type Model = BTreeMap<Vec<u8>, Vec<u8>>;

    #[derive(Debug, Clone)]
    enum Step {
        Commit(Vec<(u8, Option<u8>)>),
        Settle,
        Reopen,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let writes =
            proptest::collection::vec((0u8..40, proptest::option::weighted(0.7, any::<u8>())), 1..12);
        let step =
            prop_oneof![8 => writes.prop_map(Step::Commit), 1 => Just(Step::Settle), 1 => Just(Step::Reopen)];
        proptest::collection::vec(step, 1..40)
    }

    fn open(dir: &Path) -> Box<dyn Engine> {
        // So small that journals are moved all the time.
        let directory = Directory { dir: dir.to_owned(), cache_bytes: 1 << 20, journal_bytes: 2_000 };
        directory.open().unwrap()
    }

    fn held(engine: &dyn Engine, range: &Range) -> Model {
        let mut held = Model::new();
        engine
            .scan(Tree::Pins, range, &mut |key, value| {
                assert!(held.insert(key.to_vec(), value.to_vec()).is_none(), "a key twice");
                ControlFlow::Continue(())
            })
            .unwrap();
        held
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn what_was_committed_is_read_wherever_it_is(steps in steps()) {
            let dir = tempfile::tempdir().unwrap();
            let mut engine = open(dir.path());
            let mut model = Model::new();
            for step in steps {
                match step {
                    Step::Commit(changes) => {
                        let mut writes = Writes::default();
                        for (key, value) in changes {
                            let value = value.map(|value| vec![value; 50]);
                            match &value {
                                Some(value) => model.insert(vec![key], value.clone()),
                                None => model.remove(&[key][..]),
                            };
                            writes.of_mut(Tree::Pins).insert(vec![key], value);
                        }
                        engine.commit(writes).unwrap();
                        engine.sync().unwrap();
                    }
                    Step::Settle => engine.settle().unwrap(),
                    Step::Reopen => {
                        drop(engine);
                        engine = open(dir.path());
                    }
                }
                prop_assert_eq!(&held(engine.as_ref(), &Range::ALL), &model);
                for key in [3u8, 17, 39] {
                    prop_assert_eq!(engine.get(Tree::Pins, &[key]).unwrap(), model.get(&[key][..]).cloned());
                    prop_assert_eq!(engine.has(Tree::Pins, &[key]).unwrap(), model.contains_key(&[key][..]));
                }
            }
        }
    }

    #[test]
    fn a_settled_engine_leaves_nothing_to_replay() {
        let dir = tempfile::tempdir().unwrap();
        let engine = open(dir.path());
        let mut writes = Writes::default();
        writes.of_mut(Tree::Pins).insert(vec![1], Some(vec![1]));
        engine.commit(writes).unwrap();
        engine.sync().unwrap();
        engine.settle().unwrap();
        drop(engine);
        let state = super::SledState::open(dir.path(), 1 << 20).unwrap();
        assert_eq!(state.get(Tree::Pins, &[1]).unwrap(), Some(vec![1]));
        let (checkpoint, _) = state.checkpoint().unwrap();
        assert!(super::journal::replay(dir.path(), checkpoint).unwrap().writes.is_empty());
    }
}
