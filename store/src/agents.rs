//! The trees `agents` and `agent_names`: who lives on this node. Every change that others may see also changes the
//! node's own roster, in the same commit. Used by the node's registry of agents.

use crate::api_keys::KeyHash;
use crate::codec::{self, Value};
use crate::engine::{Range, Read};
use crate::error::StoreError;
use crate::group::Group;
use crate::mail::{AgentNo, MessageState, Seq};
use crate::own_roster::{self, Face, KeyChange};
use crate::owners::{self, Admission, NotAdmitted, OwnerId};
use crate::receipt::ReceiptOwner;
use crate::trees::Tree;
use crate::{api_keys, history, mailbox, receipts, walk};
use amesh_proto::address::Address;
use amesh_proto::key::KeyAlgorithm;
use amesh_proto::node_id::NodeId;
use amesh_proto::roster::HomeStatement;
use amesh_proto::time::UnixMillis;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

/// How an agent wants its mail (REG-3).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Where mail is posted.
    pub webhook_url: Option<String>,
    /// What signs those posts.
    pub webhook_secret: Option<String>,
    /// Prefer the socket over the webhook.
    pub prefer_websocket: bool,
}

/// An agent to register.
#[derive(Debug, Clone)]
pub struct NewAgent {
    /// Its full address.
    pub address: Address,
    /// Its name as it was typed.
    pub name: String,
    /// Its tenant as it was typed.
    pub tenant: String,
    /// What people call it.
    pub alias: Option<String>,
    /// The kind of its key.
    pub key_algorithm: KeyAlgorithm,
    /// Its key, SPKI DER.
    pub public_key_der: Vec<u8>,
    /// How it wants its mail.
    pub delivery: Delivery,
    /// A JSON object of the agent's own.
    pub metadata: Option<String>,
    /// The hash of its first API key.
    pub api_key_hash: KeyHash,
    /// Whoever asks has shown to be the holder of the key, or is vouched for: it may take up a name again that an agent
    /// with this key has left (REG-25, DESIGN §6).
    pub may_return: bool,
    /// By what right it is registered.
    pub admission: Admission,
    /// Its word that it moved here from another node (DESIGN §3).
    pub home: Option<HomeStatement>,
    /// The time at the node.
    pub now: UnixMillis,
}

/// A registered agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentRecord {
    /// Its number; never given twice.
    pub no: AgentNo,
    /// Its full address.
    pub address: Address,
    /// Its name as it was typed.
    pub name: String,
    /// Its tenant as it was typed.
    pub tenant: String,
    /// What people call it.
    pub alias: Option<String>,
    /// The kind of its key.
    pub key_algorithm: KeyAlgorithm,
    /// Its key, SPKI DER.
    #[serde(with = "serde_bytes")]
    pub public_key_der: Vec<u8>,
    /// How it wants its mail.
    pub delivery: Delivery,
    /// A JSON object of the agent's own.
    pub metadata: Option<String>,
    /// Whose it is, where an owner's key registered it (REG-17).
    pub owner: Option<OwnerId>,
    /// When it registered.
    pub registered_at: UnixMillis,
    /// When this record last changed.
    pub changed_at: UnixMillis,
}

impl Value for AgentRecord {
    const TREE: Tree = Tree::Agents;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Named(pub(crate) AgentNo);

impl Value for Named {
    const TREE: Tree = Tree::AgentNames;
}

/// What became of a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegisterOutcome {
    /// The agent is registered, and in the node's roster.
    Registered(AgentRecord),
    /// The same, under a name that an agent with this key left not long ago.
    Returned(AgentRecord),
    /// The address belongs to an agent of this node.
    NameTaken(AgentRecord),
    /// The address is withheld from everybody but the holder of the key it had last (REG-25).
    Withheld {
        /// Until then.
        until: UnixMillis,
        /// It is this key; what is missing is that its holder shows to be that.
        same_key: bool,
    },
    /// There is no right to register it (REG-14).
    NotAdmitted(NotAdmitted),
}

/// What became of a change of name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RenameOutcome {
    /// The agent has the new address; its mail, its keys and its number are as they were.
    Renamed(Box<AgentRecord>),
    /// The address belongs to another agent of this node.
    NameTaken,
    /// Another agent left the address not long ago (REG-25).
    Withheld {
        /// Until then.
        until: UnixMillis,
    },
}

/// What an agent may change of itself (REG-23). `None` leaves as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentChange {
    /// What people call it.
    pub alias: Option<Option<String>>,
    /// How it wants its mail.
    pub delivery: Option<Delivery>,
    /// A JSON object of the agent's own.
    pub metadata: Option<String>,
}

/// A new key for an agent (KEY-5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// The key it replaces, SPKI DER: the one whose holder proved to be that.
    pub replaces: Vec<u8>,
    /// Its kind.
    pub key_algorithm: KeyAlgorithm,
    /// SPKI DER.
    pub public_key_der: Vec<u8>,
    /// Whether the old key must judge no mail any more, whenever it was accepted.
    pub old_is_compromised: bool,
}

/// What went with an agent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deregistered {
    /// Messages that were in its mailbox; those of agents of this node now count as failed.
    pub mail: u32,
}

pub(crate) fn register(group: &mut Group<'_>, new: NewAgent) -> Result<RegisterOutcome, StoreError> {
    if let Some(taken) = by_address(&group.txn, &new.address)? {
        return Ok(RegisterOutcome::NameTaken(taken));
    }
    let left = own_roster::left(&group.txn, &new.address)?.filter(|left| new.now < left.withheld_until);
    if let Some(left) = &left {
        let same_key = left.public_key == new.public_key_der;
        if !same_key || !new.may_return {
            return Ok(RegisterOutcome::Withheld { until: left.withheld_until, same_key });
        }
    }
    let tenant = new.address.tenant().to_owned();
    let owned = match new.admission {
        Admission::Owner(id) => count_owned(&group.txn, id)?,
        _ => 0,
    };
    let owner = match owners::admit(group, new.admission, owned, &tenant, new.now)? {
        Ok(owner) => owner,
        Err(why) => return Ok(RegisterOutcome::NotAdmitted(why)),
    };
    let record = AgentRecord {
        no: group.next_agent(),
        address: new.address,
        name: new.name,
        tenant: new.tenant,
        alias: new.alias,
        key_algorithm: new.key_algorithm,
        public_key_der: new.public_key_der,
        delivery: new.delivery,
        metadata: new.metadata,
        owner,
        registered_at: new.now,
        changed_at: new.now,
    };
    let name_key = record.address.as_str().as_bytes().to_vec();
    group.txn.put(Tree::AgentNames, name_key, codec::encode(&Named(record.no))?);
    put(group, &record)?;
    api_keys::add(group, record.no, new.api_key_hash, None)?;
    own_roster::show(group, &face_of(&record), KeyChange::Rotated, new.now)?;
    if let Some(home) = new.home {
        own_roster::set_home(group, &record.address, home)?;
    }
    group.tally_mut().set_agent(record.no, true);
    Ok(if left.is_some() { RegisterOutcome::Returned(record) } else { RegisterOutcome::Registered(record) })
}

/// Gives an agent another name. The old address becomes a tombstone: mail that was signed under it stays verifiable.
pub(crate) fn rename(
    group: &mut Group<'_>,
    agent: AgentNo,
    address: Address,
    name: String,
    now: UnixMillis,
) -> Result<RenameOutcome, StoreError> {
    let mut record = require(&group.txn, agent)?;
    if by_address(&group.txn, &address)?.is_some_and(|holder| holder.no != agent) {
        return Ok(RenameOutcome::NameTaken);
    }
    let left = own_roster::left(&group.txn, &address)?;
    if let Some(left) = left.filter(|left| now < left.withheld_until)
        && left.public_key != record.public_key_der
    {
        return Ok(RenameOutcome::Withheld { until: left.withheld_until });
    }
    if record.address != address {
        group.txn.remove(Tree::AgentNames, record.address.as_str().as_bytes().to_vec());
        own_roster::bury(group, &record.address, now)?;
        group.txn.put(Tree::AgentNames, address.as_str().as_bytes().to_vec(), codec::encode(&Named(agent))?);
    }
    record.address = address;
    record.name = name;
    record.changed_at = now;
    put(group, &record)?;
    own_roster::show(group, &face_of(&record), KeyChange::Rotated, now)?;
    Ok(RenameOutcome::Renamed(Box::new(record)))
}

pub(crate) fn update(
    group: &mut Group<'_>,
    agent: AgentNo,
    change: AgentChange,
    now: UnixMillis,
) -> Result<AgentRecord, StoreError> {
    let mut record = require(&group.txn, agent)?;
    let public = change.alias.as_ref().is_some_and(|alias| *alias != record.alias);
    if let Some(alias) = change.alias {
        record.alias = alias;
    }
    if let Some(delivery) = change.delivery {
        record.delivery = delivery;
    }
    record.metadata = change.metadata.or(record.metadata);
    record.changed_at = now;
    put(group, &record)?;
    if public {
        own_roster::show(group, &face_of(&record), KeyChange::Rotated, now)?;
    }
    Ok(record)
}

pub(crate) fn rotate_key(
    group: &mut Group<'_>,
    agent: AgentNo,
    key: NewKey,
    now: UnixMillis,
) -> Result<Option<Box<AgentRecord>>, StoreError> {
    let mut record = require(&group.txn, agent)?;
    if record.public_key_der != key.replaces {
        return Ok(None);
    }
    record.key_algorithm = key.key_algorithm;
    record.public_key_der = key.public_key_der;
    record.changed_at = now;
    put(group, &record)?;
    let change = if key.old_is_compromised { KeyChange::Compromised } else { KeyChange::Rotated };
    own_roster::show(group, &face_of(&record), change, now)?;
    Ok(Some(Box::new(record)))
}

/// The agent lives at `home` now: its API keys end, and the roster says that it left. Not while its mailbox holds mail
/// that is younger than `seen`.
pub(crate) fn depart(
    group: &mut Group<'_>,
    agent: AgentNo,
    (home, seen): (NodeId, Seq),
    now: UnixMillis,
) -> Result<bool, StoreError> {
    let record = require(&group.txn, agent)?;
    if mailbox::count(&group.txn, agent, (seen, Seq(u64::MAX - 1)), None)? > 0 {
        return Ok(false);
    }
    api_keys::revoke_all(group, agent)?;
    own_roster::depart(group, &record.address, now)?;
    group.tally_mut().set_departed(agent, Some(home));
    Ok(true)
}

/// Everything of the agent goes but its tombstone and the mail it sent that still waits (REG-25).
pub(crate) fn deregister(
    group: &mut Group<'_>,
    agent: AgentNo,
    now: UnixMillis,
) -> Result<Deregistered, StoreError> {
    let record = require(&group.txn, agent)?;
    group.txn.remove(Tree::Agents, agent.0.to_be_bytes().to_vec());
    group.txn.remove(Tree::AgentNames, record.address.as_str().as_bytes().to_vec());
    api_keys::revoke_all(group, agent)?;
    own_roster::bury(group, &record.address, now)?;
    receipts::forget(group, ReceiptOwner::Agent(agent), Seq(u64::MAX))?;
    let heads = mailbox::take_all(group, agent)?;
    let mail = u32::try_from(heads.len()).unwrap_or(u32::MAX);
    for head in heads {
        let Some(sender) = head.sender else { continue };
        let detail = "the recipient was deregistered before it took the message".to_owned();
        let state = MessageState::Failed { code: "recipient_gone".into(), detail };
        history::set_state(group, sender, &head.id, state, now)?;
    }
    group.tally_mut().set_agent(agent, false);
    Ok(Deregistered { mail })
}

pub(crate) fn by_no(read: &dyn Read, agent: AgentNo) -> Result<Option<AgentRecord>, StoreError> {
    read.get(Tree::Agents, &agent.0.to_be_bytes())?.map(|bytes| codec::decode(&bytes)).transpose()
}

pub(crate) fn by_address(read: &dyn Read, address: &Address) -> Result<Option<AgentRecord>, StoreError> {
    let Some(bytes) = read.get(Tree::AgentNames, address.as_str().as_bytes())? else { return Ok(None) };
    let Named(agent) = codec::decode(&bytes)?;
    by_no(read, agent)
}

fn count_owned(read: &dyn Read, owner: OwnerId) -> Result<u32, StoreError> {
    let owned = all(read)?.iter().filter(|agent| agent.owner == Some(owner)).count();
    Ok(u32::try_from(owned).unwrap_or(u32::MAX))
}

pub(crate) fn all(read: &dyn Read) -> Result<Vec<AgentRecord>, StoreError> {
    walk::all(read, Tree::Agents, &Range::ALL, |_, value| codec::decode(value))
}

/// Calls for every agent's number; at open.
pub(crate) fn each(read: &dyn Read, visit: &mut dyn FnMut(AgentNo)) -> Result<(), StoreError> {
    read.scan(Tree::Agents, &Range::ALL, &mut |key, _| {
        key.first_chunk().into_iter().for_each(|number| visit(AgentNo(u64::from_be_bytes(*number))));
        ControlFlow::Continue(())
    })?;
    Ok(())
}

pub(crate) fn require(read: &dyn Read, agent: AgentNo) -> Result<AgentRecord, StoreError> {
    by_no(read, agent)?.ok_or(StoreError::NoSuchAgent)
}

fn put(group: &mut Group<'_>, record: &AgentRecord) -> Result<(), StoreError> {
    let key = record.no.0.to_be_bytes().to_vec();
    group.txn.put(Tree::Agents, key, codec::encode(record)?);
    Ok(())
}

fn face_of(record: &AgentRecord) -> Face<'_> {
    Face {
        address: &record.address,
        key_algorithm: record.key_algorithm,
        public_key: &record.public_key_der,
        alias: record.alias.as_deref(),
    }
}
