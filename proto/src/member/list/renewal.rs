//! Removals on both sides of a split begin epochs with one number, each with a secret that was given to a member whom the
//! other side removed. Whichever counts, somebody outside knows it: once both are known, another epoch is begun.

use super::{Departure, MemberError, MemberList, Removal};
use crate::member::Secrets;
use crate::node_id::{NodeId, NodeKey};
use crate::time::UnixMillis;

impl MemberList {
    /// Who is to begin another epoch, where several were begun with the number of the one in force: the author of the
    /// removal that counts, or, if that may no longer, the longest-standing member that may.
    #[must_use]
    pub fn renewer(&self) -> Option<NodeId> {
        let author = self.contested()?.says.by;
        if self.right_of(&author).is_ok() {
            return Some(author);
        }
        let able = self.members.values().filter(|member| member.may_introduce);
        able.min_by_key(|member| member.seniority()).map(|member| member.node)
    }

    /// Begins the epoch of `secret` where that is for the node of `key` to do: it removes once more whom the removal that
    /// counts has removed.
    pub fn renew(
        &mut self,
        key: &NodeKey,
        secret: &[u8; 32],
        now: UnixMillis,
    ) -> Result<Option<Removal>, MemberError> {
        let counts = self.contested().filter(|_| self.renewer() == Some(key.id())).cloned();
        let Some(counts) = counts else { return Ok(None) };
        let kept: usize = self.removals.values().map(|removal| removal.says.keeps.len()).sum();
        if self.removals.len() >= Self::LIMIT || kept + counts.says.keeps.len() > Self::KEEPS_LIMIT {
            return Err(MemberError::Full);
        }
        let epoch = self.epoch().saturating_add(1);
        let says = Departure { epoch, check: Secrets::check(secret), by: key.id(), at: now, ..counts.says };
        let removal = Removal::sign(&self.mesh, says, key);
        self.removals.insert(removal.id(&self.mesh), removal.clone());
        self.refresh();
        Ok(Some(removal))
    }

    /// The removal whose secret counts, where others began the same epoch with another.
    fn contested(&self) -> Option<&Removal> {
        let epoch = self.epoch();
        let check = self.epoch_check(epoch)?;
        let begun = || self.removals.values().filter(|removal| removal.says.epoch == epoch);
        begun().find(|removal| removal.says.check != check)?;
        begun().find(|removal| removal.says.check == check)
    }
}
