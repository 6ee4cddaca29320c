//! A wall clock that is wrong, for one process and its children (libfaketime). Called by `tests/tests/clocks.rs`.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A clock that runs as it should, from another time on.
#[derive(Debug, Clone)]
pub struct WrongClock {
    library: PathBuf,
    shift: String,
}

impl WrongClock {
    /// `shift` as libfaketime takes it: `-2m`, `+10y`.
    ///
    /// # Errors
    /// Where libfaketime is not installed.
    pub fn shifted(shift: &str) -> Result<Self> {
        let places = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];
        let library = places
            .iter()
            .map(|place| Path::new(place).join("faketime/libfaketimeMT.so.1"))
            .find(|path| path.exists())
            .context("libfaketime is not installed (apt-get install faketime)")?;
        Ok(Self { library, shift: shift.to_owned() })
    }

    /// Only the wall clock: time-outs are measured by the others.
    pub(super) fn set(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("FAKETIME", &self.shift);
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("NO_FAKE_STAT", "1");
    }
}
