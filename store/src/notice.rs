//! `system` messages that the store itself puts into a sender's mailbox, in the same commit as what they report. Used by
//! `outbox` and `expire`; the hallway writes their text.

use crate::body::Body;
use crate::error::StoreError;
use crate::group::Group;
use crate::mail::AgentNo;
use crate::mailbox;
use crate::{agents, seen};
use amesh_proto::message::Mail;
use amesh_proto::time::UnixMillis;
use amesh_proto::trust::Trust;

/// Puts a notice in. Dropped, with a log line, where the sender is gone or its mailbox takes not even notices: the
/// message's status still tells.
pub(crate) fn put(
    group: &mut Group<'_>,
    sender: AgentNo,
    notice: &Mail,
    now: UnixMillis,
) -> Result<(), StoreError> {
    if !agents::exists(&group.txn, sender)? || !mailbox::has_room(group, sender, true) {
        tracing::warn!(agent = sender.0, id = %notice.id, "no room for a notice about a failed message");
        return Ok(());
    }
    let seen_key = seen::key_of(notice);
    let renamed = if mailbox::is_shown(&group.txn, sender, &notice.id)? {
        Some(mailbox::fresh_id(&group.txn, sender, &seen_key, now)?)
    } else {
        None
    };
    let body = Body::new(notice, group.blobs.exist())?;
    let seq = group.next_seq();
    let head = mailbox::Head {
        id: notice.id.clone(),
        renamed,
        trust: Trust::Verified,
        queued_at: now,
        expires_at: crate::accept::clamped(notice.expires_at, now),
        sender: None,
        body: body.place(),
    };
    mailbox::put(group, sender, seq, &head, &body)
}
