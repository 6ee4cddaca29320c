//! Tests of the whole store, and the words they are written in.

mod agents;
mod attachments;
mod damage;
mod durable;
mod links;
mod mailbox;
mod maintain;
mod mesh;
mod model;
mod moving;
mod outbox;
mod postings;
mod receipts;
mod time;

use crate::*;
use amesh_proto::address::Address;
use amesh_proto::id::MessageId;
use amesh_proto::key::KeyAlgorithm;
use amesh_proto::message::{Mail, Priority};
use amesh_proto::node_id::NodeId;
use amesh_proto::time::UnixMillis;
use amesh_proto::trust::Trust;
use std::time::Duration;

pub(crate) const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

pub(crate) fn memory() -> (Store, MemoryDisk) {
    Store::in_memory(Config::default()).unwrap()
}

pub(crate) fn address(name: &str) -> Address {
    Address::parse(&format!("{name}@default.aimaestro.local"), &["aimaestro.local"]).unwrap()
}

pub(crate) fn id(n: u64) -> MessageId {
    MessageId::mint(NOW, n.to_be_bytes())
}

pub(crate) fn node(n: u8) -> NodeId {
    NodeId::from_bytes([n; 32])
}

pub(crate) fn to_node(n: u8) -> Destination {
    Destination::Node(node(n))
}

pub(crate) fn mail(from: &str, to: &str, n: u64) -> Mail {
    Mail {
        id: id(n),
        from: address(from),
        to: address(to),
        priority: Priority::Normal,
        envelope: br#"{"subject":"hello"}"#.to_vec(),
        payload: format!(r#"{{"message":"number {n}"}}"#).into_bytes(),
        form: None,
        accepted_at: NOW,
        expires_at: NOW.plus(WEEK),
        receipt: false,
    }
}

pub(crate) fn new_agent(name: &str) -> NewAgent {
    NewAgent {
        address: address(name),
        name: name.to_owned(),
        tenant: "default".to_owned(),
        alias: None,
        key_algorithm: KeyAlgorithm::Ed25519,
        public_key_der: format!("key of {name}").into_bytes(),
        delivery: Delivery::default(),
        metadata: None,
        api_key_hash: key_hash(name),
        may_return: false,
        admission: Admission::Open,
        home: None,
        now: NOW,
    }
}

pub(crate) fn key_hash(name: &str) -> KeyHash {
    key::short_hash(&[name.as_bytes()])
}

pub(crate) fn register(store: &Store, name: &str) -> AgentNo {
    match store.register_agent(new_agent(name)).wait().unwrap() {
        RegisterOutcome::Registered(record) => record.no,
        other => panic!("{name} was not registered: {other:?}"),
    }
}

/// Mail from an agent of this node to another.
pub(crate) fn local(mail: Mail, sender: AgentNo, agent: AgentNo) -> NewMail {
    NewMail {
        content_digest: key::short_hash(&[&mail.payload]),
        mail,
        origin: Origin::Agent(sender),
        target: Target::Mailbox { agent, trust: Trust::Verified },
        idempotency_key: None,
        sender_key: None,
        attachments: Vec::new(),
        lane: None,
        now: NOW,
    }
}

/// Mail from an agent of this node to another node.
pub(crate) fn outgoing(mail: Mail, sender: AgentNo, destination: Destination) -> NewMail {
    NewMail { target: Target::Outbox { destination }, ..local(mail, sender, AgentNo(0)) }
}

/// Mail that a link brought.
pub(crate) fn linked(mail: Mail, agent: AgentNo, number: u64, floor: u64) -> NewMail {
    NewMail {
        origin: Origin::Node(node(9)),
        lane: Some(LaneStamp { generation: 7, number, floor }),
        ..local(mail, AgentNo(0), agent)
    }
}

pub(crate) fn commit(store: &Store, new: NewMail) -> CommitOutcome {
    store.commit_mail(new).wait().unwrap()
}

#[track_caller]
pub(crate) fn committed(store: &Store, new: NewMail) -> CommitReceipt {
    let id = new.mail.id.clone();
    match commit(store, new) {
        CommitOutcome::Committed { seq, shown_id, queued_at } => {
            CommitReceipt { seq, id, shown_id, queued_at }
        }
        other => panic!("not committed: {other:?}"),
    }
}

/// The payloads in a mailbox, oldest first.
pub(crate) fn payloads(store: &Store, agent: AgentNo) -> Vec<String> {
    let entries = store.pending(agent, None, 10_000).unwrap();
    entries.into_iter().map(|entry| String::from_utf8(entry.mail.payload).unwrap()).collect()
}

pub(crate) fn ids(store: &Store, agent: AgentNo) -> Vec<MessageId> {
    store.pending(agent, None, 10_000).unwrap().into_iter().map(|entry| entry.shown_id).collect()
}

#[track_caller]
pub(crate) fn assert_whole(store: &Store) {
    let report = store.verify(&mut |_| {}).unwrap();
    assert!(report.is_whole(), "{:#?}", report.problems);
    assert!(report.values > 0);
}
