//! The tree `expire`: what ends when. The writer adds one record per group, minute and kind, not one per message; a
//! record of something that ended earlier finds nothing and goes. Run by the node through `Store::expire`.

use crate::codec::{self, Value, damaged};
use crate::engine::Read;
use crate::error::StoreError;
use crate::group::Group;
use crate::key::{Range, first_number, last_number};
use crate::mail::{AgentNo, Destination, Place, Seq, Settlement};
use crate::meta::LastTime;
use crate::trees::Tree;
use crate::{api_keys, history, lanes_in, mailbox, notice, outbox, own_roster};
use amesh_proto::message::Mail;
use amesh_proto::time::UnixMillis;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::path::Path;

/// What ends. The numbers are on disk: never reorder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Kind {
    Mailbox = 0,
    Outbox = 1,
    History = 2,
    Idempotency = 3,
    LaneIn = 4,
    OldFace = 5,
    Ticket = 6,
}

impl Kind {
    pub(crate) fn parse(byte: u8) -> Result<Self, StoreError> {
        [
            Self::Mailbox,
            Self::Outbox,
            Self::History,
            Self::Idempotency,
            Self::LaneIn,
            Self::OldFace,
            Self::Ticket,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
        .ok_or_else(|| damaged(Tree::Expire))
    }

    /// Mail ends to the minute, what nobody sees to the hour.
    fn grain(self) -> u64 {
        match self {
            Self::Mailbox | Self::Outbox => 60_000,
            _ => 3_600_000,
        }
    }
}

/// Keys that end together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DueKeys(pub(crate) Vec<serde_bytes::ByteBuf>);

impl Value for DueKeys {
    const TREE: Tree = Tree::Expire;
}

/// What the group being built will have to end one day.
#[derive(Debug, Default)]
pub(crate) struct Due {
    added: Vec<(u64, Kind, Vec<u8>)>,
}

impl Due {
    pub(crate) fn add(&mut self, at: UnixMillis, kind: Kind, key: Vec<u8>) {
        let grain = kind.grain();
        // Rounded up: nothing ends early.
        let at = at.0.div_ceil(grain).saturating_mul(grain);
        self.added.push((at, kind, key));
    }

    pub(crate) fn mark(&self) -> usize {
        self.added.len()
    }

    pub(crate) fn take_back(&mut self, mark: usize) {
        self.added.truncate(mark);
    }

    pub(crate) fn write(self, group: &mut Group<'_>) -> Result<(), StoreError> {
        let mut together: BTreeMap<(u64, Kind), Vec<serde_bytes::ByteBuf>> = BTreeMap::new();
        for (at, kind, key) in self.added {
            together.entry((at, kind)).or_default().push(serde_bytes::ByteBuf::from(key));
        }
        for ((at, kind), mut keys) in together {
            while !keys.is_empty() {
                let rest = keys.split_off(keys.len().min(KEYS_PER_RECORD));
                let number = group.next_seq();
                let key = [&at.to_be_bytes(), [kind as u8].as_slice(), &number.0.to_be_bytes()].concat();
                group.txn.put(Tree::Expire, key, codec::encode(&DueKeys(keys))?);
                keys = rest;
            }
        }
        Ok(())
    }
}

/// A message whose time is over and whose sender lives here: the hallway writes the notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiring {
    /// Its place in the mailbox or outbox; what `Store::expire` wants with the notice.
    pub seq: Seq,
    /// Where it is.
    pub place: Place,
    /// Who sent it.
    pub sender: AgentNo,
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
    /// Everything else: seen ids, statuses, lanes, tombstones, tickets, API keys.
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
    let (Some(sender), true) = (head.sender, head.expires_at <= now) else { return Ok(None) };
    let Some(value) = read.get(Tree::Mailbox, key)? else { return Ok(None) };
    let mail = mailbox::entry_of(key, &value, blobs)?.mail;
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
    let (Some(sender), true) = (entry.sender, entry.expires_at <= now) else { return Ok(None) };
    let place = Place::Outbox(outbox::destination_of(key)?);
    Ok(Some(Expiring { seq: entry.seq, place, sender, mail: entry.mail }))
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
        Kind::OldFace => own_roster::expire(group, &key, now)?,
    }
    Ok(())
}

type DueRecord = (Vec<u8>, Kind, Vec<Vec<u8>>);

fn due_records(read: &dyn Read, now: UnixMillis) -> Result<Vec<DueRecord>, StoreError> {
    let range = Range { from: Vec::new(), to: Some(now.0.saturating_add(1).to_be_bytes().to_vec()) };
    let mut records = Vec::new();
    let mut damage = None;
    read.scan(Tree::Expire, &range, &mut |key, value| {
        match read_record(key, value) {
            Ok(record) => records.push(record),
            Err(error) => damage = Some(error),
        }
        if damage.is_some() || records.len() >= RECORDS_PER_ROUND {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    damage.map_or(Ok(records), Err)
}

fn read_record(key: &[u8], value: &[u8]) -> Result<DueRecord, StoreError> {
    let kind = Kind::parse(key.get(8).copied().unwrap_or(u8::MAX))?;
    let DueKeys(keys) = codec::decode(value)?;
    Ok((key.to_vec(), kind, keys.into_iter().map(serde_bytes::ByteBuf::into_vec).collect()))
}

/// Keys in one record: well below the size that sled keeps in line.
const KEYS_PER_RECORD: usize = 128;

/// Records ended in one change.
const RECORDS_PER_ROUND: usize = 16;
