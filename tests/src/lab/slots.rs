//! Two lab stories at a time on one machine: more would only slow each other down.

use anyhow::{Context, Result, bail};
use std::fs::{File, TryLockError};
use std::time::{Duration, Instant};

/// Held while a story plays.
#[derive(Debug)]
pub(crate) struct Slot(#[expect(dead_code, reason = "held for its lock")] File);

/// Waits for a free slot.
pub(crate) fn take() -> Result<Slot> {
    let begun = Instant::now();
    while begun.elapsed() < WAIT_AT_MOST {
        for number in 0..SLOTS {
            let path = std::env::temp_dir().join(format!("amesh-lab-{}-{number}.lock", user()));
            let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
            match file.try_lock() {
                Ok(()) => return Ok(Slot(file)),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    bail!("no lab slot became free within {WAIT_AT_MOST:?}")
}

fn user() -> u32 {
    rustix::process::getuid().as_raw()
}

const SLOTS: usize = 2;
const WAIT_AT_MOST: Duration = Duration::from_secs(3600);
