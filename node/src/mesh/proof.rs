//! Proof that both ends of a connection know an epoch's secret (DESIGN §3). Pure; called by `membership`.
//!
//! The MAC covers the prover's role and both ids, so that it cannot be reflected; the mesh, so that one secret in two
//! meshes does not mix them; and the TLS exporter, so that it cannot be carried over from another connection.

use amesh_proto::member::MeshId;
use amesh_proto::node_id::NodeId;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Which end of the connection proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Dialer,
    Listener,
}

/// One connection, as both ends see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Channel<'a> {
    pub(crate) mesh: &'a MeshId,
    pub(crate) dialer: &'a NodeId,
    pub(crate) listener: &'a NodeId,
    /// TLS keying material exported under [`EXPORTER_LABEL`].
    pub(crate) exporter: &'a [u8; 32],
}

/// Label of the TLS exporter that binds a proof to its connection.
pub(crate) const EXPORTER_LABEL: &[u8] = b"amesh/1 proof";

impl Channel<'_> {
    /// What `role` shows to prove that it knows `secret`.
    pub(crate) fn prove(&self, role: Role, secret: &[u8; 32]) -> [u8; 32] {
        self.mac(role, secret).finalize().into_bytes().into()
    }

    /// Whether `proof` shows that `role` knows `secret`. Takes the same time for every wrong proof.
    pub(crate) fn holds(&self, role: Role, secret: &[u8; 32], proof: &[u8; 32]) -> bool {
        self.mac(role, secret).verify_slice(proof).is_ok()
    }

    fn mac(&self, role: Role, secret: &[u8; 32]) -> Hmac<Sha256> {
        let mut key = Zeroizing::new([0; 64]);
        // 32 bytes are within what HKDF-SHA256 can give; the rest of the block stays zero, as HMAC pads anyway.
        let (head, _) = key.split_at_mut(32);
        let expanded = Hkdf::<Sha256>::new(None, secret).expand(b"amesh/1 proof", head);
        debug_assert!(expanded.is_ok());
        let mut mac = Hmac::<Sha256>::new(&(*key).into());
        mac.update(b"amesh/1");
        mac.update(&[match role {
            Role::Dialer => 1,
            Role::Listener => 2,
        }]);
        mac.update(&self.mesh.0);
        mac.update(self.dialer.as_bytes());
        mac.update(self.listener.as_bytes());
        mac.update(self.exporter);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: [u8; 32] = [1; 32];

    fn id(byte: u8) -> NodeId {
        NodeId::from_bytes([byte; 32])
    }

    fn with<T>(mesh: u8, dialer: u8, listener: u8, exporter: u8, then: impl Fn(&Channel<'_>) -> T) -> T {
        let (mesh, dialer, listener) = (MeshId([mesh; 16]), id(dialer), id(listener));
        then(&Channel { mesh: &mesh, dialer: &dialer, listener: &listener, exporter: &[exporter; 32] })
    }

    #[test]
    fn a_proof_holds_for_its_own_connection_role_and_secret() {
        let proof = with(1, 2, 3, 4, |channel| channel.prove(Role::Dialer, &SECRET));
        assert!(with(1, 2, 3, 4, |channel| channel.holds(Role::Dialer, &SECRET, &proof)));
        assert!(!with(1, 2, 3, 4, |channel| channel.holds(Role::Dialer, &[2; 32], &proof)));
    }

    #[test]
    fn a_reflected_proof_is_refused() {
        let proof = with(1, 2, 3, 4, |channel| channel.prove(Role::Dialer, &SECRET));
        assert!(
            !with(1, 2, 3, 4, |channel| channel.holds(Role::Listener, &SECRET, &proof)),
            "same connection"
        );
        assert!(!with(1, 3, 2, 4, |channel| channel.holds(Role::Dialer, &SECRET, &proof)), "dialled back");
    }

    #[test]
    fn a_proof_from_another_connection_mesh_or_pair_is_refused() {
        let proof = with(1, 2, 3, 4, |channel| channel.prove(Role::Dialer, &SECRET));
        for (mesh, dialer, listener, exporter) in [(9, 2, 3, 4), (1, 9, 3, 4), (1, 2, 9, 4), (1, 2, 3, 9)] {
            assert!(!with(mesh, dialer, listener, exporter, |c| c.holds(Role::Dialer, &SECRET, &proof)));
        }
    }

    #[test]
    fn the_proof_is_the_documented_construction() {
        // From Python's hmac and hashlib; see the construction in DESIGN §3.
        let proof = with(1, 2, 3, 4, |channel| channel.prove(Role::Dialer, &SECRET));
        let hex: String = proof.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "d9c153cbb20abcf82520d6c7404433ce59e365a9ed735f8d7108960729174564");
    }
}
