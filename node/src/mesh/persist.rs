//! The mesh file: `<data-dir>/mesh.json`, 0600, beside the node key and outside the store, so that a restored store
//! never brings a removed member or an old secret back (DESIGN §3). Called by `mod` at start and by `shared`.

use super::error::StartError;
use crate::private::{self as files, FileError};
use crate::tasks::Tasks;
use amesh_proto::member::MeshState;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Where the state is kept; or nowhere, for tests and simulations.
#[derive(Debug)]
pub(crate) struct Persist {
    path: Option<PathBuf>,
    /// Writers take turns, so that the newest state is what stays.
    turn: tokio::sync::Mutex<()>,
}

impl Persist {
    /// In the file `mesh.json` of `data_dir`.
    pub(crate) fn in_dir(data_dir: Option<&Path>) -> Self {
        Self { path: data_dir.map(|dir| dir.join(MESH_FILE)), turn: tokio::sync::Mutex::new(()) }
    }

    /// What was written last, if anything was.
    pub(crate) fn load(&self) -> Result<Option<MeshState>, StartError> {
        let Some(path) = &self.path else { return Ok(None) };
        let Some(content) = files::read_private(path)?.map(Zeroizing::new) else { return Ok(None) };
        let state: MeshState =
            serde_json::from_slice(&content).map_err(|error| self.malformed(error.to_string()))?;
        if state.version == VERSION {
            Ok(Some(state))
        } else {
            Err(self.malformed(format!("it has version {}, this amesh knows {VERSION}", state.version)))
        }
    }

    /// What is on disk is not what it should be.
    pub(crate) fn malformed(&self, why: String) -> StartError {
        StartError::Malformed { path: self.path.clone().unwrap_or_default(), why }
    }

    /// Writes what `state` gives when its turn comes, and waits until it is on disk.
    pub(crate) async fn save(
        &self,
        tasks: &Tasks,
        state: impl FnOnce() -> MeshState,
    ) -> Result<(), FileError> {
        let Some(path) = self.path.clone() else { return Ok(()) };
        let _turn = self.turn.lock().await;
        let state = state();
        let failed = path.clone();
        let written = tasks.spawn_blocking(move || write(&path, &state)).await;
        written.unwrap_or_else(|error| {
            Err(FileError::Io { doing: "write", path: failed, source: std::io::Error::other(error) })
        })
    }
}

fn write(path: &Path, state: &MeshState) -> Result<(), FileError> {
    let text = serde_json::to_vec_pretty(state).map_err(|error| FileError::Io {
        doing: "write",
        path: path.to_owned(),
        source: std::io::Error::other(error),
    })?;
    files::write_private(path, &Zeroizing::new(text))
}

const MESH_FILE: &str = "mesh.json";
/// Of the file's form. Fields are only added.
pub(crate) const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use amesh_proto::member::{MeshId, Secrets};

    fn state(host: &str) -> MeshState {
        MeshState {
            version: VERSION,
            mesh: MeshId([1; 16]),
            founder: None,
            host: host.to_owned(),
            secrets: Secrets::new(1, [2; 32]),
            entries: Vec::new(),
            removals: Vec::new(),
            blocked: Vec::new(),
        }
    }

    #[tokio::test]
    async fn the_mesh_survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let (persist, tasks) = (Persist::in_dir(Some(dir.path())), Tasks::new("test"));
        assert!(persist.load().unwrap().is_none());
        persist.save(&tasks, || state("alpha")).await.unwrap();
        persist.save(&tasks, || state("beta")).await.unwrap();
        let again = Persist::in_dir(Some(dir.path())).load().unwrap().unwrap();
        assert_eq!(again.host, "beta");
        assert_eq!(again.secrets, Secrets::new(1, [2; 32]));
    }

    #[tokio::test]
    async fn a_damaged_mesh_file_stops_the_start_and_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(MESH_FILE);
        for bad in ["", "{}", "[1,2", "{\"version\":1}"] {
            files::write_private(&path, bad.as_bytes()).unwrap();
            let error = Persist::in_dir(Some(dir.path())).load().unwrap_err();
            assert!(matches!(error, StartError::Malformed { .. }), "{error}");
            assert_eq!(std::fs::read(&path).unwrap(), bad.as_bytes());
        }
    }
}
