//! What can go wrong with the store itself. Returned by every call; a message that is refused is an outcome, not an error.

use crate::engine::{DiskError, EngineError};
use std::path::PathBuf;

/// The store would not open. Nothing was touched.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error(
        "the store in {dir} is in use by another node; stop that node (`amesh down`) or choose another --data-dir"
    )]
    InUse {
        /// The store's directory.
        dir: PathBuf,
    },
    /// The files are damaged.
    #[error(
        "the store in {dir} is damaged ({reason}); nothing was touched. Bring back a backup with `amesh db restore`, \
         or set the store aside and begin empty with `amesh db reset`"
    )]
    Damaged {
        /// The store's directory.
        dir: PathBuf,
        /// What was found.
        reason: String,
    },
    /// A newer amesh wrote it.
    #[error("the store in {dir} has format {found}, this amesh knows {known}; use the newer amesh")]
    Newer {
        /// The store's directory.
        dir: PathBuf,
        /// The format on disk.
        found: u32,
        /// The newest format that this build reads.
        known: u32,
    },
    /// The operating system refused.
    #[error("cannot open the store in {dir}: {source}")]
    Io {
        /// The store's directory.
        dir: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
}

impl OpenError {
    pub(crate) fn at(dir: &std::path::Path, error: DiskError) -> Self {
        let dir = dir.to_owned();
        match error {
            DiskError::InUse => Self::InUse { dir },
            DiskError::Damaged(reason) => Self::Damaged { dir, reason },
            DiskError::Io(source) => Self::Io { dir, source },
        }
    }
}

/// The store could not do it. After `Failed` nothing of the change is promised, and nothing of it was answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Too many changes are waiting; try again.
    #[error("the store has too many changes waiting")]
    Busy,
    /// The disk has no room at all, not even for what makes room. Nothing was written; reads go on.
    #[error("the disk is full")]
    DiskFull,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// Writing or syncing failed; the store is being opened again.
    #[error("the store failed: {reason}")]
    Failed {
        /// What the engine said.
        reason: String,
    },
    /// A value is not what was written there.
    #[error("a value in the tree `{tree}` is damaged; run `amesh db verify`")]
    Damaged {
        /// The tree.
        tree: &'static str,
    },
    /// A file beside the database could not be written: a large body, or a backup. The store itself is well.
    #[error("a file could not be written: {reason}")]
    File {
        /// What the operating system said.
        reason: String,
    },
    /// There is no such agent.
    #[error("no such agent")]
    NoSuchAgent,
}

impl From<EngineError> for StoreError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Broken(reason) => Self::Failed { reason },
            EngineError::Full => Self::DiskFull,
        }
    }
}

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        Self::File { reason: error.to_string() }
    }
}
