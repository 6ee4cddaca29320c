//! The node key: one Ed25519 key per machine, outside the store, which authenticates every link and signs the
//! roster and the member list (DESIGN §3). Called by `node` at start and by the rest of `mesh`.

use crate::private::{self as files, FileError};
use amesh_proto::node_id::{NodeId, NodeKey};
use std::path::{Path, PathBuf};

/// This node's key and the id that follows from it.
#[derive(Debug, Clone)]
pub struct Identity {
    key: NodeKey,
    node: NodeId,
}

/// Why there is no node key.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The key file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The key file holds something else.
    #[error(
        "{0} does not hold a node key (64 hex digits); restore it from a copy, or move it aside to become a new node"
    )]
    Malformed(PathBuf),
}

impl Identity {
    /// Reads `<data-dir>/node.key`, or makes it.
    ///
    /// # Errors
    /// When the file cannot be read or written, is open to others, or holds no key.
    pub fn load_or_create(data_dir: &Path) -> Result<Self, IdentityError> {
        files::private_dir(data_dir)?;
        let path = data_dir.join(KEY_FILE);
        let seed = files::seed(&path)?.ok_or(IdentityError::Malformed(path))?;
        Ok(Self::from_seed(&seed))
    }

    /// The identity of a given seed; for tests and simulations.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let key = NodeKey::from_seed(seed);
        let node = key.id();
        Self { key, node }
    }

    /// The public half.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.node
    }

    /// The private half: it signs the roster and the member list.
    #[must_use]
    pub fn key(&self) -> &NodeKey {
        &self.key
    }

    /// The same key as libp2p's TLS wants it.
    #[must_use]
    pub fn keypair(&self) -> Option<libp2p_identity::Keypair> {
        let mut seed = self.key.seed();
        libp2p_identity::Keypair::ed25519_from_bytes(seed.as_mut_slice()).ok()
    }
}

const KEY_FILE: &str = "node.key";

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_node_keeps_its_key_and_hides_it() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let first = Identity::load_or_create(&data).unwrap();
        let again = Identity::load_or_create(&data).unwrap();
        assert_eq!(first.node_id(), again.node_id());
        let mode = std::fs::metadata(data.join(KEY_FILE)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let seed = std::fs::read_to_string(data.join(KEY_FILE)).unwrap();
        assert!(!format!("{first:?}").contains(seed.trim()));
    }

    #[test]
    fn a_damaged_key_file_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        files::write_private(&dir.path().join(KEY_FILE), b"not a key").unwrap();
        let error = Identity::load_or_create(dir.path()).unwrap_err();
        assert!(matches!(error, IdentityError::Malformed(_)), "{error}");
        assert_eq!(std::fs::read(dir.path().join(KEY_FILE)).unwrap(), b"not a key");
    }

    #[test]
    fn the_node_id_is_the_libp2p_peer_id() {
        let identity = Identity::from_seed(&[7; 32]);
        let peer = identity.keypair().unwrap().public().to_peer_id();
        assert_eq!(identity.node_id().to_string(), peer.to_string());
    }
}
