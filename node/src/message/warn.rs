//! Telling the agents of this node that a key is in other hands whose mail they had (KEY-10, AMP 07 §Key Compromise). Each
//! node tells its own: nobody else may write into their mailboxes. Called by the `auth` door for agents of this node, and
//! by `mesh` when another node's roster says so.

use super::{Hallway, Notice};
use amesh_proto::address::Address;
use amesh_proto::key::PublicKey;
use amesh_proto::roster::RosterEntry;

/// A key that its agent has revoked as compromised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostKey {
    /// Whose it was.
    pub address: Address,
    /// Its fingerprint.
    pub was: String,
    /// That of the key in its place.
    pub now: String,
}

impl LostKey {
    /// What `after` says of a compromised key that `before` does not.
    #[must_use]
    pub fn between(before: &RosterEntry, after: &RosterEntry) -> Option<Self> {
        let was_known =
            |key: &[u8]| before.previous_keys.iter().any(|old| old.compromised && old.public_key == key);
        let lost = after.previous_keys.iter().find(|old| old.compromised && !was_known(&old.public_key))?;
        let fingerprint = |der: &[u8]| PublicKey::from_spki_der(der).map(|key| key.fingerprint()).ok();
        Some(Self {
            address: after.address.clone(),
            was: fingerprint(&lost.public_key)?,
            now: fingerprint(&after.public_key)?,
        })
    }
}

impl Hallway {
    /// Tells every agent of this node that had mail from one of `lost` lately. A mailbox without room is passed over: the
    /// mail itself is shown without a key all the same.
    pub async fn warn_of(&self, lost: Vec<LostKey>) {
        if lost.is_empty() {
            return;
        }
        let (store, senders) =
            (self.inner.store.clone(), lost.iter().map(|key| key.address.clone()).collect::<Vec<_>>());
        let walking = self.inner.tasks.spawn_blocking(move || store.correspondents(&senders));
        let found = match walking.await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => return tracing::error!(%error, "nobody could be told of a compromised key"),
            Err(_) => return,
        };
        let here = self.inner.agents.directory().local_agents();
        for (address, no) in found {
            let agent = here.iter().find(|agent| agent.no == no && agent.address != address);
            let Some((agent, lost)) = agent.zip(lost.iter().find(|lost| lost.address == address)) else {
                continue;
            };
            let LostKey { address, was, now } = lost.clone();
            if let Err(error) = self.notify(agent, &Notice::KeyCompromised { address, was, now }).await {
                tracing::warn!(agent = %agent.address, %error, "an agent was not told of a compromised key");
            }
        }
    }
}
