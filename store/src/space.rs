//! Whether the disk has room for new mail. Asked by the writer before each group.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A filesystem's space, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Free for us.
    pub available: u64,
    /// All of it.
    pub total: u64,
}

/// Where the store learns about space; tests bring their own.
#[derive(Clone)]
pub struct SpaceProbe(Arc<dyn Fn() -> std::io::Result<Space> + Send + Sync>);

impl SpaceProbe {
    /// Asks `probe`.
    pub fn new(probe: impl Fn() -> std::io::Result<Space> + Send + Sync + 'static) -> Self {
        Self(Arc::new(probe))
    }

    /// Asks the operating system about the filesystem of `dir`.
    #[must_use]
    pub fn of_dir(dir: &Path) -> Self {
        let dir = dir.to_owned();
        Self::new(move || {
            Ok(Space { available: fs4::available_space(&dir)?, total: fs4::total_space(&dir)? })
        })
    }

    /// Whether `bytes` more fit, and what must stay free still is. Not knowing is no reason to say no.
    pub(crate) fn has_room_for(&self, bytes: u64, min_free_mib: u64) -> bool {
        let floor = |space: &Space| (min_free_mib << 20).min(space.total / 4);
        (self.0)().map_or(true, |space| space.available >= floor(&space).saturating_add(bytes))
    }

    /// Always plenty.
    #[must_use]
    pub fn endless() -> Self {
        Self::new(|| Ok(Space { available: u64::MAX, total: u64::MAX }))
    }
}

impl fmt::Debug for SpaceProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SpaceProbe")
    }
}

/// The answer, remembered for a moment.
#[derive(Debug)]
pub(crate) struct Room {
    probe: SpaceProbe,
    min_free: u64,
    asked: Option<Instant>,
    written: u64,
    has: bool,
}

impl Room {
    pub(crate) fn new(probe: SpaceProbe, min_free_mib: u64) -> Self {
        Self { probe, min_free: min_free_mib << 20, asked: None, written: 0, has: true }
    }

    /// Whether new mail may be taken, after `written` more bytes since the last question. `reusable` tells how much
    /// of what the store has already can be used again.
    pub(crate) fn has(&mut self, written: u64, reusable: impl FnOnce() -> u64) -> bool {
        self.written += written;
        let fresh = self.asked.is_some_and(|asked| asked.elapsed() < REMEMBERED) && self.written < STEP;
        if !fresh {
            self.ask(reusable());
        }
        self.has
    }

    fn ask(&mut self, reusable: u64) {
        self.asked = Some(Instant::now());
        self.written = 0;
        let before = self.has;
        match (self.probe.0)() {
            Ok(space) => {
                let floor = self.floor(space.total);
                let usable = space.available.saturating_add(reusable / 2);
                // What is reused is written elsewhere first: some space must be really free.
                self.has = usable >= floor && space.available >= floor / 2;
            }
            // Not knowing is no reason to stop; a full disk then shows as a failed commit.
            Err(error) => tracing::warn!(%error, "cannot ask for free disk space"),
        }
        if before != self.has {
            tracing::warn!(room = self.has, "the disk is nearly full, or has room again");
        }
    }

    /// On a disk so small that the usual floor is most of it, a quarter of it.
    fn floor(&self, total: u64) -> u64 {
        self.min_free.min(total / 4)
    }
}

const REMEMBERED: Duration = Duration::from_millis(500);

/// Bytes written after which the answer is stale.
const STEP: u64 = 2 << 20;

#[cfg(test)]
mod tests {
    use super::{Room, Space, SpaceProbe};

    #[test]
    fn space_that_the_store_can_reuse_counts_unless_nearly_nothing_is_free() {
        for (available, reusable, room) in [(40, 50, true), (40, 40, false), (30, 500, false)] {
            let probe = SpaceProbe::new(move || Ok(Space { available: available << 20, total: 1 << 40 }));
            assert_eq!(Room::new(probe, 64).has(0, || reusable << 20), room, "{available} and {reusable}");
        }
    }

    #[test]
    fn a_small_disk_keeps_a_quarter_free() {
        for (available, room) in [(13, true), (11, false)] {
            let probe = SpaceProbe::new(move || Ok(Space { available: available << 20, total: 48 << 20 }));
            assert_eq!(Room::new(probe, 64).has(0, || 0), room);
        }
    }
}
