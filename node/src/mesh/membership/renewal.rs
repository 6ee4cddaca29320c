//! Another epoch where removals on both sides of a split began one with the same number. Called by `changes`, and by the
//! simulation.

use super::{Changed, Membership};
use amesh_proto::time::UnixMillis;

impl Membership {
    /// Begins another epoch with `secret`, where that is owed and for this node to do. A list that is full owes nothing.
    pub(crate) fn renew(&mut self, secret: [u8; 32], now: UnixMillis) -> Option<Changed> {
        let before = self.standing();
        let removal = self.list.renew(&self.key, &secret, now).ok().flatten()?;
        self.secrets.add(removal.says.epoch, secret);
        let mut changed = self.changed(&before, true);
        changed.tell.extend(self.secret_frame());
        Some(changed)
    }
}
