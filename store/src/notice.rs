//! `system` messages that the store itself puts into a sender's mailbox, in the same commit as what they report. Used by
//! `outbox` and `endings`; the hallway writes their text.

use crate::body::Body;
use crate::error::StoreError;
use crate::group::Group;
use crate::history::{Entry, Name};
use crate::key::short_hash;
use crate::mail::{AgentNo, MessageState, Place};
use crate::{history, lifetime, mailbox};
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
    let full = !mailbox::has_room(group, sender, true);
    if full || !group.tally().has_agent(sender) {
        tracing::warn!(agent = sender.0, id = %notice.id, "no room for a notice about a failed message");
        return Ok(());
    }
    let parties = history::parties_of(notice);
    // The hallway mints the id at random: if it was used, the notice is there already.
    if history::shown(&group.txn, sender, &notice.id)?.is_some() {
        return Ok(());
    }
    let body = Body::new(notice, group.blobs.exist())?;
    let seq = group.next_seq();
    let expires_at = lifetime::clamped(notice.expires_at, now);
    let head = mailbox::Head {
        id: notice.id.clone(),
        renamed: None,
        trust: Trust::Verified,
        sender_key: None,
        queued_at: now,
        expires_at,
        sender: None,
        class: notice.priority,
        body: body.place(),
    };
    let entry = Entry {
        seq,
        queued_at: now,
        name: Name::Own,
        digest: short_hash(&[&notice.envelope, &notice.payload]),
        sender: None,
        carried: None,
        to: notice.to.clone(),
        place: Place::Mailbox(sender),
        body: body.place(),
        state: MessageState::Queued,
        changed_at: now,
        expires_at,
        delivered_at: None,
        read_at: None,
    };
    history::record(group, &notice.id, &parties, entry, lifetime::forget_at(expires_at, now))?;
    mailbox::put(group, sender, seq, &head, &body)
}
