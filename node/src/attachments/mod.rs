//! Files on their way into this node: how many at a time, how long they may take, and the checks they pass before they
//! are kept (A-57, ICL-33…37). Called by the door that takes uploads and by the links that pull what mail names.

mod intake;
mod places;

pub use intake::{Expected, Intake, IntakeError, Received};
pub use places::{Place, Places};

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How files come and go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Uploads of one agent at a time.
    pub uploads_per_agent: usize,
    /// Uploads at a time in all.
    pub uploads: usize,
    /// Downloads at a time in all.
    pub downloads: usize,
    /// Seconds without a byte after which an upload or download is given up.
    pub stall_s: u64,
    /// Seconds that an upload or download may take in all.
    pub longest_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { uploads_per_agent: 4, uploads: 32, downloads: 64, stall_s: 30, longest_s: 600 }
    }
}

impl Config {
    /// See `stall_s`.
    #[must_use]
    pub fn stall(&self) -> Duration {
        Duration::from_secs(self.stall_s)
    }

    /// See `longest_s`.
    #[must_use]
    pub fn longest(&self) -> Duration {
        Duration::from_secs(self.longest_s)
    }
}
