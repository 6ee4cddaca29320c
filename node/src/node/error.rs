//! Why a node does not start or does not stop. Shown by `cli/up.rs`, so each says what mends it.

use crate::bridge::{http_mesh, registered};
use crate::federation;
use crate::http::{BindError, TlsError, control::ControlError};
use crate::mesh::{IdentityError, StartError};
use crate::private::FileError;
use crate::tasks::StillRunning;
use amesh_proto::injection::RuleError;
use amesh_store::{OpenError, StoreError};
use std::path::PathBuf;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The agents' registrations with other providers cannot be served.
    #[error(transparent)]
    Registered(#[from] registered::StartError),
    /// Nothing says where its data is to lie.
    #[error("no data directory: set --data-dir or AMESH_DATA_DIR")]
    NoDataDir,
    /// A name that addresses cannot carry.
    #[error("{setting} = {value:?} cannot be used: {why}")]
    Name {
        /// The setting.
        setting: &'static str,
        /// What it was set to.
        value: String,
        /// The rule.
        why: String,
    },
    /// The file of injection rules cannot be read.
    #[error("injection_rules: {path} cannot be read: {cause}")]
    RulesFile {
        /// The file.
        path: PathBuf,
        /// The system's words.
        cause: std::io::Error,
    },
    /// One of the rules in it cannot be used.
    #[error("injection_rules: {path}, {cause}")]
    Rules {
        /// The file.
        path: PathBuf,
        /// The rule, its line, and what is wrong.
        cause: RuleError,
    },
    /// The certificate of the doors cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A door cannot be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The owner's socket cannot be opened.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// A file of the data directory cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The node key cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The store does not open. Nothing in it was touched.
    #[error("{cause}")]
    Store {
        /// The data directory.
        data_dir: PathBuf,
        /// What is wrong.
        cause: OpenError,
    },
    /// The store opened and cannot be read.
    #[error("the store cannot be read: {0}")]
    Read(#[from] StoreError),
    /// The mesh port or state cannot be used.
    #[error(transparent)]
    Mesh(#[from] StartError),
    /// A setting of the HTTP mesh cannot be used.
    #[error(transparent)]
    HttpMesh(#[from] http_mesh::StartError),
    /// A setting of federation cannot be used.
    #[error(transparent)]
    Federation(#[from] federation::StartError),
    /// `node.json` cannot be written.
    #[error("cannot write {path}: {cause}")]
    NodeFile {
        /// The file.
        path: PathBuf,
        /// The system's words.
        cause: std::io::Error,
    },
}

/// Why a node did not stop cleanly.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// A part did not end in time.
    #[error(transparent)]
    Hangs(#[from] StillRunning),
    /// The store did not close.
    #[error("the store did not close: {0}")]
    Store(#[from] StoreError),
}
