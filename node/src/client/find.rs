//! Finding the running node: data directory → `node.json`. Called by every command that talks to it (DESIGN §4).

use super::disk::{self, DiskError};
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// `<data-dir>/node.json`, which `up` writes when it is ready and removes on a clean stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFile {
    /// The node's process.
    pub pid: u32,
    /// Where agents connect.
    #[serde(deserialize_with = "one_or_many")]
    pub api: Vec<SocketAddr>,
    /// Where other nodes connect.
    pub mesh: SocketAddr,
    /// This machine's name.
    pub host: String,
    /// The organization of agents here.
    pub org: String,
    /// The provider domain.
    pub provider: String,
    /// The node's id.
    pub node_id: String,
}

/// Why there is no node to talk to.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// Neither an option nor the environment says where.
    #[error("this machine has no data directory: HOME is not set")]
    NoDataDir,
    /// No `node.json`.
    #[error("no node is running with the data directory {0}")]
    NotRunning(PathBuf),
    /// A `node.json` of a process that is gone.
    #[error("the node of {dir} (process {pid}) is gone without having stopped cleanly")]
    Gone {
        /// The data directory.
        dir: PathBuf,
        /// The process that wrote the file.
        pid: u32,
    },
    /// A `node.json` of a process that is something else by now, or that lost its socket.
    #[error("nothing answers at {dir}/control.sock, although process {pid} of {dir}/node.json is there")]
    Silent {
        /// The data directory.
        dir: PathBuf,
        /// The process that the file names.
        pid: u32,
    },
    /// A `node.json` that says nothing.
    #[error("{0} cannot be understood")]
    Unreadable(PathBuf, #[source] serde_json::Error),
    /// The file could not be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl NodeFile {
    /// Where it lies.
    #[must_use]
    pub fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("node.json")
    }

    /// The file of the node of `data_dir`, running or not.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn read(data_dir: &Path) -> Result<Self, FindError> {
        let path = Self::path(data_dir);
        let Some(text) = disk::read_text(&path)? else {
            return Err(FindError::NotRunning(data_dir.to_owned()));
        };
        serde_json::from_str(&text).map_err(|error| FindError::Unreadable(path, error))
    }

    /// The base URL of the agents' API on this machine. At its other addresses it speaks TLS, by a name that is not in this file.
    #[must_use]
    pub fn api_url(&self) -> Option<String> {
        let near = || self.api.iter().filter(|address| address.ip().to_canonical().is_loopback());
        let address = near().find(|address| address.is_ipv4()).or_else(|| near().next())?;
        Some(format!("http://{address}"))
    }
}

/// The running node of `data_dir`. A file alone proves nothing: after a crash its process id may be somebody else's.
///
/// # Errors
/// When there is none.
pub fn find(data_dir: &Path) -> Result<NodeFile, FindError> {
    let node = NodeFile::read(data_dir)?;
    let (dir, pid) = (data_dir.to_owned(), node.pid);
    if !is_alive(pid) {
        return Err(FindError::Gone { dir, pid });
    }
    match UnixStream::connect(data_dir.join("control.sock")) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            Err(FindError::Silent { dir, pid })
        }
        // Another user's node will not talk to us, but it is there.
        _ => Ok(node),
    }
}

/// Whether the process exists, be it ours or another user's.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else {
        return false;
    };
    !matches!(rustix::process::test_kill_process(pid), Err(rustix::io::Errno::SRCH))
}

/// The data directory: as asked (`--data-dir`, `AMESH_DATA_DIR`), else the platform's.
///
/// # Errors
/// When neither is known.
pub fn data_dir(asked: Option<&Path>) -> Result<PathBuf, FindError> {
    match asked {
        Some(dir) => std::path::absolute(dir).map_err(|error| DiskError::new("find", dir, error).into()),
        None => platform_data_dir(
            std::env::var_os("XDG_DATA_HOME").map(PathBuf::from),
            std::env::home_dir(),
            cfg!(target_os = "macos"),
        )
        .ok_or(FindError::NoDataDir),
    }
}

fn platform_data_dir(xdg: Option<PathBuf>, home: Option<PathBuf>, mac: bool) -> Option<PathBuf> {
    let home = home.filter(|home| home.is_absolute());
    if mac {
        return home.map(|home| home.join("Library/Application Support/amesh"));
    }
    // A relative XDG path is to be ignored (XDG Base Directory Specification).
    let base = xdg.filter(|dir| dir.is_absolute()).or_else(|| home.map(|home| home.join(".local/share")));
    base.map(|base| base.join("amesh"))
}

fn one_or_many<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<SocketAddr>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(SocketAddr),
        Many(Vec<SocketAddr>),
    }
    Ok(match OneOrMany::deserialize(from)? {
        OneOrMany::One(address) => vec![address],
        OneOrMany::Many(addresses) => addresses,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, pid: u32, api: &str) {
        let text = format!(
            r#"{{"pid":{pid},"api":{api},"mesh":"0.0.0.0:2","host":"h","org":"o","provider":"p.q","node_id":"n"}}"#
        );
        std::fs::write(NodeFile::path(dir), text).unwrap();
    }

    #[test]
    fn a_running_node_is_found_through_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let _door = std::os::unix::net::UnixListener::bind(dir.path().join("control.sock")).unwrap();
        write(dir.path(), std::process::id(), r#"["[::1]:9","127.0.0.1:8"]"#);
        assert_eq!(find(dir.path()).unwrap().api_url().as_deref(), Some("http://127.0.0.1:8"));
        write(dir.path(), std::process::id(), r#"["0.0.0.0:9","[::1]:8"]"#);
        assert_eq!(find(dir.path()).unwrap().api_url().as_deref(), Some("http://[::1]:8"));
        write(dir.path(), std::process::id(), r#""0.0.0.0:8""#);
        assert_eq!(find(dir.path()).unwrap().api_url(), None, "only others reach it there, over TLS");
    }

    #[test]
    fn a_file_left_by_a_killed_node_is_not_taken_for_a_running_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        write(dir.path(), pid, "[]");
        assert!(matches!(find(dir.path()), Err(FindError::Gone { .. })));
    }

    #[test]
    fn a_process_that_got_the_number_of_a_killed_node_is_not_taken_for_it() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), std::process::id(), "[]");
        assert!(matches!(find(dir.path()), Err(FindError::Silent { .. })));
        drop(std::os::unix::net::UnixListener::bind(dir.path().join("control.sock")).unwrap());
        assert!(matches!(find(dir.path()), Err(FindError::Silent { .. })), "a socket that nobody serves");
    }

    #[test]
    fn no_file_and_a_broken_file_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(find(dir.path()), Err(FindError::NotRunning(_))));
        std::fs::write(NodeFile::path(dir.path()), "{").unwrap();
        assert!(matches!(find(dir.path()), Err(FindError::Unreadable(..))));
    }

    #[test]
    fn the_data_directory_follows_the_platform() {
        let home = || Some(PathBuf::from("/h"));
        assert_eq!(platform_data_dir(None, home(), false), Some("/h/.local/share/amesh".into()));
        assert_eq!(platform_data_dir(Some("/x".into()), home(), false), Some("/x/amesh".into()));
        assert_eq!(platform_data_dir(Some("x".into()), home(), false), Some("/h/.local/share/amesh".into()));
        assert_eq!(
            platform_data_dir(None, home(), true),
            Some("/h/Library/Application Support/amesh".into())
        );
        assert_eq!(platform_data_dir(None, None, false), None);
    }
}
