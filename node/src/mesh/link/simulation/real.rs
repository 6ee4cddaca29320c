//! The real store under the simulation: `amesh_store` on a disk in memory that forgets at a crash what was not synced.

use super::super::{Outcome, Settled};
use super::store::{Change, Crash, Done, Engine, Entry, History, Letter, MAILBOX};
use super::world::AGENTS;
use amesh_proto::address::Address;
use amesh_proto::id::MessageId;
use amesh_proto::key::KeyAlgorithm;
use amesh_proto::message::{Mail, Priority};
use amesh_proto::node_id::NodeId;
use amesh_proto::time::UnixMillis;
use amesh_proto::trust::Trust;
use amesh_proto::wire::LaterReason;
use amesh_store::{
    AgentNo, CommitOutcome, Config, Delivery, Destination, Durable, Fault, LaneStamp, MemoryDisk, NewAgent,
    NewMail, Origin, Place, RegisterOutcome, Seq, Settlement, Store, StoreError, Target,
};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// The store of node `node`, with its agents.
pub(super) fn engine(node: usize) -> Box<dyn Engine> {
    let (store, disk) = Store::in_memory(config()).unwrap();
    let agents = (0..AGENTS).map(|agent| register(&store, node, agent)).collect();
    Box::new(Real {
        store: Some(store),
        disk,
        agents,
        letters: HashMap::new(),
        numbers: HashMap::new(),
        gone: HashSet::new(),
    })
}

#[derive(Debug)]
struct Real {
    store: Option<Store>,
    disk: MemoryDisk,
    agents: Vec<AgentNo>,
    letters: HashMap<u64, Letter>,
    /// Numbers of what links brought: mailboxes do not show them.
    numbers: HashMap<u64, u64>,
    /// What agents acknowledged for certain.
    gone: HashSet<u64>,
}

/// A change in the hands of the store. One that fails may be on disk all the same: nobody can know.
enum Pending {
    Accept(Letter, Durable<CommitOutcome>),
    Receive(Durable<CommitOutcome>),
    Refuse,
    PutOff,
    Settle(usize, Vec<(u64, Settled)>, Durable<()>),
    Read(Durable<Vec<MessageId>>),
    Expire(Durable<amesh_store::Expired>),
}

impl Engine for Real {
    fn commit(&mut self, group: Vec<Change>, full: bool, now: Duration, history: &mut History) -> Vec<Done> {
        let pending: Vec<Pending> = group
            .into_iter()
            .map(|change| match change {
                // The store asks a disk for its space twice a second by a clock of its own.
                Change::Receive { .. } if full => Pending::PutOff,
                change => self.hand_in(change, now, history),
            })
            .collect();
        pending.into_iter().map(|pending| self.finish(pending).unwrap()).collect()
    }

    fn crash(&mut self, group: Vec<Change>, crash: Crash, now: Duration, history: &mut History) {
        if crash == Crash::Between {
            self.disk.fail_next(Fault::Sync);
        }
        if crash != Crash::Before {
            let pending: Vec<Pending> =
                group.into_iter().map(|change| self.hand_in(change, now, history)).collect();
            for pending in pending {
                let _untold = self.finish(pending);
            }
        }
        self.disk.crash();
        self.store = None;
        self.store = Some(Store::on_memory(&self.disk, config()).unwrap());
    }

    fn outbox(&self, peer: usize, after: u64, limit: usize) -> Vec<(Entry, u64)> {
        self.page(peer, after, limit).unwrap()
    }
}

impl Real {
    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn page(&self, peer: usize, after: u64, limit: usize) -> Result<Vec<(Entry, u64)>, StoreError> {
        let after = (after > 0).then_some(Seq(after));
        let page = self.store().outbox(&Destination::Node(id_of(peer)), after, limit)?;
        let entry = |entry: amesh_store::OutboxEntry| {
            let letter = self.letters[&number_of(&entry.mail.id)].clone();
            (Entry { seq: entry.seq.0, number: entry.number, letter }, entry.floor)
        };
        Ok(page.into_iter().map(entry).collect())
    }

    /// While the power fails nothing can be read; what is not read is not changed either.
    fn hand_in(&mut self, change: Change, now: Duration, history: &mut History) -> Pending {
        match change {
            Change::Accept(letter) => {
                self.letters.insert(letter.id, letter.clone());
                let origin = Origin::Agent(self.agents[letter.lane.0.1]);
                let target = Target::Outbox { destination: Destination::Node(id_of(letter.lane.1.0)) };
                let new = new_mail(&letter, origin, target, None, now);
                Pending::Accept(letter, self.store().commit_mail(new))
            }
            Change::Receive { letter, .. } if letter.poison => Pending::Refuse,
            Change::Receive { letter, stamp } => {
                self.letters.insert(letter.id, letter.clone());
                self.numbers.insert(letter.id, stamp.number);
                let origin = Origin::Node(id_of(letter.lane.0.0));
                let agent = self.agents[letter.lane.1.1];
                let target = Target::Mailbox { agent, trust: Trust::Verified };
                let lane =
                    LaneStamp { generation: stamp.generation, number: stamp.number, floor: stamp.floor };
                let new = new_mail(&letter, origin, target, Some(lane), now);
                Pending::Receive(self.store().commit_mail(new))
            }
            Change::Settle { peer, settled } => self.settle(peer, settled, now, history),
            Change::Empty { agent } => {
                let agent = self.agents[agent];
                let pending = self.store().pending(agent, None, 10_000).unwrap_or_default();
                let ids: Vec<MessageId> = pending.into_iter().map(|entry| entry.shown_id).collect();
                for id in ids.iter().map(number_of) {
                    assert!(!self.gone.contains(&id), "{id} was acknowledged and is there again");
                    if history.read.insert(id) {
                        history.delivered.push((self.letters[&id].lane, self.numbers[&id], id, now));
                    }
                }
                Pending::Read(self.store().acknowledge(agent, ids))
            }
            Change::Expire => {
                let due = self.store().expiring(at(now), 10_000).unwrap_or_default();
                let outgoing = due.iter().filter(|one| matches!(one.place, Place::Outbox(_)));
                history.failed.extend(outgoing.map(|one| number_of(&one.mail.id)));
                Pending::Expire(self.store().expire(at(now), now, Vec::new()))
            }
        }
    }

    fn settle(
        &self,
        peer: usize,
        settled: Vec<(u64, Settled)>,
        now: Duration,
        history: &mut History,
    ) -> Pending {
        let page = self.page(peer, 0, 100_000).unwrap_or_default();
        let waiting: HashMap<u64, u64> =
            page.into_iter().map(|(entry, _)| (entry.seq, entry.letter.id)).collect();
        let mut ends = Vec::new();
        for (seq, end) in &settled {
            let (list, end) = match end {
                Settled::Delivered => (&mut history.reported, Settlement::Delivered { basis: "link".into() }),
                Settled::Refused { code } => {
                    let (code, detail) = (code.clone(), String::new());
                    (&mut history.failed, Settlement::Refused { code, detail, notice: None })
                }
            };
            list.extend(waiting.get(seq));
            ends.push((Seq(*seq), end));
        }
        let durable = self.store().settle(&Destination::Node(id_of(peer)), ends, at(now));
        Pending::Settle(peer, settled, durable)
    }

    fn finish(&mut self, pending: Pending) -> Result<Done, StoreError> {
        Ok(match pending {
            Pending::Accept(letter, durable) => match durable.wait()? {
                CommitOutcome::Committed { .. } => Done::Accepted { to: letter.lane.1.0, id: letter.id },
                _ => Done::Nothing,
            },
            Pending::Receive(durable) => Done::Received(match durable.wait()? {
                CommitOutcome::Committed { .. } => Outcome::Committed,
                CommitOutcome::Repeat { .. } => Outcome::Duplicate,
                CommitOutcome::LaneGap { .. } => Outcome::Later(LaterReason::LaneGap),
                CommitOutcome::MailboxFull => Outcome::Later(LaterReason::MailboxFull),
                CommitOutcome::DiskFull => Outcome::Later(LaterReason::DiskFull),
                other => panic!("{other:?}"),
            }),
            Pending::Refuse => Done::Received(Outcome::Refused { code: "signature_invalid".into() }),
            Pending::PutOff => Done::Received(Outcome::Later(LaterReason::DiskFull)),
            Pending::Settle(peer, settled, durable) => {
                durable.wait()?;
                Done::Settled { peer, settled }
            }
            Pending::Read(durable) => {
                self.gone.extend(durable.wait()?.iter().map(number_of));
                Done::Nothing
            }
            Pending::Expire(durable) => {
                durable.wait()?;
                Done::Nothing
            }
        })
    }
}

fn register(store: &Store, node: usize, agent: usize) -> AgentNo {
    let name = format!("agent{agent}");
    let new = NewAgent {
        address: address_of((node, agent)),
        name: name.clone(),
        tenant: "default".into(),
        alias: None,
        key_algorithm: KeyAlgorithm::Ed25519,
        public_key_der: format!("key of {name}").into_bytes(),
        delivery: Delivery::default(),
        metadata: None,
        api_key_hash: [u8::try_from(agent).unwrap(); 32],
        may_return: false,
        admission: amesh_store::Admission::Open,
        now: at(Duration::ZERO),
    };
    match store.register_agent(new).wait().unwrap() {
        RegisterOutcome::Registered(record) => record.no,
        other => panic!("{other:?}"),
    }
}

fn new_mail(
    letter: &Letter,
    origin: Origin,
    target: Target,
    lane: Option<LaneStamp>,
    now: Duration,
) -> NewMail {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&letter.id.to_be_bytes());
    let mail = Mail {
        id: MessageId::mint(UnixMillis(0), letter.id.to_be_bytes()),
        from: address_of(letter.lane.0),
        to: address_of(letter.lane.1),
        priority: if letter.lane.2 == 0 { Priority::Normal } else { Priority::Urgent },
        envelope: b"{}".to_vec(),
        payload: vec![b' '; letter.size],
        form: None,
        accepted_at: at(now),
        expires_at: at(letter.expires_at),
        receipt: false,
    };
    NewMail {
        mail,
        origin,
        target,
        idempotency_key: None,
        content_digest: digest,
        attachments: Vec::new(),
        lane,
        now: at(now),
    }
}

fn config() -> Config {
    Config { mailbox_new: u32::try_from(MAILBOX).unwrap(), ..Config::default() }
}

fn at(now: Duration) -> UnixMillis {
    UnixMillis(1_800_000_000_000).plus(now)
}

fn id_of(node: usize) -> NodeId {
    NodeId::from_bytes([u8::try_from(node).unwrap() + 1; 32])
}

fn address_of((node, agent): (usize, usize)) -> Address {
    Address::parse(&format!("agent{agent}@host{node}.aimaestro.local"), &["aimaestro.local"]).unwrap()
}

fn number_of(id: &MessageId) -> u64 {
    let (_, suffix) = id.as_str().rsplit_once('_').unwrap();
    u64::from_str_radix(suffix, 16).unwrap()
}
