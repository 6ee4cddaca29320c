//! The guards of the hallway by name, so that a test can take one down and show the attack that it stops: `tests/attacks.rs`,
//! `http/tests/attacks.rs`, and the table in docs/attacks.md. Asked by `accept`, `verify` and `commit`. In what ships the
//! answers are constants: there is nothing that could take one down.

use crate::agents::directory::Directory;
use amesh_proto::address::Address;
use amesh_proto::key::PublicKey;
use amesh_proto::message::Envelope;

/// A check that an attack has to get past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guard {
    /// An agent sends under its own name only (RTE-3).
    OwnName,
    /// A signature is verified (RTE-9).
    Signature,
    /// By the key that this node knows for the sender, whatever the message says of keys (SIG-8).
    KnownKey,
    /// No key judges that its owner has replaced or revoked (KEY-10).
    Revocation,
    /// A carrier brings mail of its own agents only (DESIGN §3).
    OwnAgents,
    /// What was signed and what the carrier says are one.
    Agreement,
    /// A message that was committed before is not committed again (RPL-1).
    Memory,
}

#[cfg(not(test))]
pub(super) const fn is_down(_: Guard) -> bool {
    false
}

#[cfg(test)]
pub(super) fn is_down(guard: Guard) -> bool {
    down::DOWN.get() == Some(guard)
}

/// The key that a message brings along for itself, where [`Guard::KnownKey`] is down.
pub(super) fn claimed_key(envelope: &Envelope) -> Option<PublicKey> {
    if !is_down(Guard::KnownKey) {
        return None;
    }
    envelope.extra.get("sender_public_key")?.as_str().and_then(|text| PublicKey::parse_any(text).ok())
}

/// The keys that `address` has no more, where [`Guard::Revocation`] is down.
pub(super) fn revoked_keys(directory: &Directory, address: &Address) -> Vec<PublicKey> {
    if !is_down(Guard::Revocation) {
        return Vec::new();
    }
    let retired = directory.retired_keys(address);
    retired.iter().filter_map(|key| PublicKey::from_spki_der(&key.public_key).ok()).collect()
}

#[cfg(test)]
pub(crate) use down::Without;

#[cfg(test)]
mod down {
    use super::Guard;
    use std::cell::Cell;

    thread_local! {
        pub(super) static DOWN: Cell<Option<Guard>> = const { Cell::new(None) };
    }

    /// While it lives, a guard is down for whatever runs on this thread: tests have a thread and a runtime each.
    #[derive(Debug)]
    pub(crate) struct Without(());

    impl Without {
        pub(crate) fn guard(guard: Guard) -> Self {
            DOWN.set(Some(guard));
            Self(())
        }
    }

    impl Drop for Without {
        fn drop(&mut self) {
            DOWN.set(None);
        }
    }
}
