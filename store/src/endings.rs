//! Ends what the tree `expire` says is due: mail with its status and notice, and all that is kept for a while only. Run
//! by the node through `Store::expire`.

use crate::engine::Read;
use crate::error::StoreError;
use crate::expire::{Kind, RECORDS_PER_ROUND, due_records};
use crate::group::Group;
use crate::key::{first_number, last_number};
use crate::mail::{AgentNo, Destination, Place, Seq, Settlement};
use crate::meta::LastTime;
use crate::trees::Tree;
use crate::{api_keys, attachments, history, lanes_in, mailbox, notice, outbox, own_roster, receipts};
use amesh_proto::message::Mail;
use amesh_proto::time::UnixMillis;
use std::collections::HashMap;
use std::path::Path;

/// A message whose time is over and whose sender is to hear of it: the hallway writes the notice, or wakes the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiring {
    /// Its place in the mailbox or outbox; what `Store::expire` wants with the notice.
    pub seq: Seq,
    /// Where it is.
    pub place: Place,
    /// Who sent it; nobody here, where it was to be carried on to another provider for a member of the mesh.
    pub sender: Option<AgentNo>,
    /// The message.
    pub mail: Mail,
}

/// What one round of `Store::expire` ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expired {
    /// Messages in mailboxes.
    pub mailbox: u32,
    /// Messages in the outbox.
    pub outbox: u32,
    /// Everything else: seen ids, statuses, receipts, lanes, tombstones, tickets, API keys.
    pub forgotten: u32,
    /// Whether more is due: call again.
    pub more: bool,
    /// The clock jumped: nothing ends until it has been steady for this long yet (DESIGN §5, Clocks).
    pub unsteady_for: Option<std::time::Duration>,
}

/// Messages due by `now` that need a notice, at most `limit`.
pub(crate) fn expiring(
    read: &dyn Read,
    blobs: Option<&Path>,
    now: UnixMillis,
    limit: usize,
) -> Result<Vec<Expiring>, StoreError> {
    let mut found = Vec::new();
    for (_, kind, keys) in due_records(read, now)? {
        for key in keys {
            if found.len() >= limit {
                return Ok(found);
            }
            match kind {
                Kind::Mailbox => found.extend(expiring_in_mailbox(read, blobs, &key, now)?),
                Kind::Outbox => found.extend(expiring_in_outbox(read, blobs, &key, now)?),
                _ => {}
            }
        }
    }
    Ok(found)
}

fn expiring_in_mailbox(
    read: &dyn Read,
    blobs: Option<&Path>,
    key: &[u8],
    now: UnixMillis,
) -> Result<Option<Expiring>, StoreError> {
    let agent = AgentNo(first_number(Tree::Mailbox, key)?);
    let seq = Seq(last_number(Tree::Mailbox, key)?);
    let Some(head) = mailbox::head(read, agent, seq)? else { return Ok(None) };
    if head.sender.is_none() || head.expires_at > now {
        return Ok(None);
    }
    let Some(value) = read.get(Tree::Mailbox, key)? else { return Ok(None) };
    let (sender, mail) = (head.sender, mailbox::entry_of(key, &value, blobs)?.mail);
    Ok(Some(Expiring { seq, place: Place::Mailbox(agent), sender, mail }))
}

fn expiring_in_outbox(
    read: &dyn Read,
    blobs: Option<&Path>,
    key: &[u8],
    now: UnixMillis,
) -> Result<Option<Expiring>, StoreError> {
    let Some(value) = read.get(Tree::Outbox, key)? else { return Ok(None) };
    let (_, entry) = outbox::entry_of(key, &value, blobs)?;
    let destination = outbox::destination_of(key)?;
    let is_told = entry.sender.is_some() || matches!(destination, Destination::Provider(_));
    let place = Place::Outbox(destination);
    let expiring = Expiring { seq: entry.seq, place, sender: entry.sender, mail: entry.mail };
    Ok((is_told && entry.expires_at <= now).then_some(expiring))
}

/// Ends what is due, a bounded number of it.
pub(crate) fn expire(
    group: &mut Group<'_>,
    now: UnixMillis,
    mut notices: HashMap<Seq, Mail>,
) -> Result<Expired, StoreError> {
    let records = due_records(&group.txn, now)?;
    let mut ended = Expired { more: records.len() >= RECORDS_PER_ROUND, ..Expired::default() };
    for (record, kind, keys) in records {
        group.txn.remove(Tree::Expire, record);
        for key in keys {
            match kind {
                Kind::Mailbox => ended.mailbox += u32::from(end_in_mailbox(group, &key, now, &mut notices)?),
                Kind::Outbox => ended.outbox += u32::from(end_in_outbox(group, &key, now, &mut notices)?),
                _ => {
                    forget(group, kind, key, now)?;
                    ended.forgotten += 1;
                }
            }
        }
    }
    ended.forgotten += api_keys::expire(group, now)?;
    LastTime(now.0).write(&mut group.txn)?;
    Ok(ended)
}

fn end_in_mailbox(
    group: &mut Group<'_>,
    key: &[u8],
    now: UnixMillis,
    notices: &mut HashMap<Seq, Mail>,
) -> Result<bool, StoreError> {
    let agent = AgentNo(first_number(Tree::Mailbox, key)?);
    let seq = Seq(last_number(Tree::Mailbox, key)?);
    let Some(head) = mailbox::take(group, agent, seq)? else { return Ok(false) };
    if let Some(sender) = head.sender {
        history::set_state(group, sender, &head.id, outbox::expired(), now)?;
        if let Some(notice) = notices.remove(&seq) {
            notice::put(group, sender, &notice, now)?;
        }
    }
    Ok(true)
}

fn end_in_outbox(
    group: &mut Group<'_>,
    key: &[u8],
    now: UnixMillis,
    notices: &mut HashMap<Seq, Mail>,
) -> Result<bool, StoreError> {
    if !group.txn.has(Tree::Outbox, key)? {
        return Ok(false);
    }
    let seq = Seq(last_number(Tree::Outbox, key)?);
    let destination: Destination = outbox::destination_of(key)?;
    let settlement = Settlement::Expired { notice: notices.remove(&seq) };
    outbox::settle(group, &outbox::key_of(&destination), vec![(seq, settlement)], now)?;
    Ok(true)
}

fn forget(group: &mut Group<'_>, kind: Kind, key: Vec<u8>, now: UnixMillis) -> Result<(), StoreError> {
    match kind {
        Kind::Mailbox | Kind::Outbox => {}
        Kind::History => group.txn.remove(Tree::History, key),
        Kind::Idempotency => group.txn.remove(Tree::Idempotency, key),
        Kind::Ticket => group.txn.remove(Tree::Tickets, key),
        Kind::LaneIn => lanes_in::expire(group, key, now)?,
        Kind::Receipt => receipts::expire(group, key)?,
        Kind::OldFace => own_roster::expire(group, &key, now)?,
        Kind::Upload => attachments::expire_upload(group, key, now)?,
        Kind::Share => attachments::expire_share(group, key)?,
    }
    Ok(())
}
