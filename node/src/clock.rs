//! The only reader of clocks. Every part takes a [`SharedClock`], so that tests can hold time still.

use amesh_proto::time::UnixMillis;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Wall time and elapsed time, as one thing that can be replaced.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Wall-clock time; may jump in either direction.
    fn now(&self) -> UnixMillis;
    /// Time since an arbitrary start; never goes back, and goes on while the machine sleeps. Used for back-off and
    /// deadlines.
    fn monotonic(&self) -> Duration;
}

/// The clock as every part holds it.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clocks.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixMillis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn monotonic(&self) -> Duration {
        static START: OnceLock<Duration> = OnceLock::new();
        let now = since_boot();
        now.saturating_sub(*START.get_or_init(|| now))
    }
}

/// What `Instant` tells stands still while a Linux machine sleeps.
fn since_boot() -> Duration {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let clock = rustix::time::ClockId::Monotonic;
    Duration::try_from(rustix::time::clock_gettime(clock)).unwrap_or_default()
}

/// A clock that moves only when told; for tests and simulation.
#[derive(Debug)]
pub struct ManualClock {
    wall_ms: AtomicU64,
    elapsed_ms: AtomicU64,
}

impl ManualClock {
    /// A clock standing at `now`.
    #[must_use]
    pub fn at(now: UnixMillis) -> Arc<Self> {
        Arc::new(Self { wall_ms: AtomicU64::new(now.0), elapsed_ms: AtomicU64::new(0) })
    }

    /// Lets `step` pass on both clocks.
    pub fn advance(&self, step: Duration) {
        let ms = u64::try_from(step.as_millis()).unwrap_or(u64::MAX);
        self.wall_ms.fetch_add(ms, Ordering::SeqCst);
        self.elapsed_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Steps the wall clock alone, as a user or NTP would.
    pub fn set_wall(&self, now: UnixMillis) {
        self.wall_ms.store(now.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.wall_ms.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.elapsed_ms.load(Ordering::SeqCst))
    }
}
