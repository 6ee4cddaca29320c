//! The real store under the simulation: `amesh_store` on a disk in memory that forgets at a crash what was not synced.

use super::super::link::{Outcome, Settled};
use super::cast::{AGENTS, address_of, id_of};
use super::store::{Change, Crash, Done, Engine, Entry, History, Letter, MAILBOX, Times};
use amesh_proto::id::MessageId;
use amesh_proto::key::KeyAlgorithm;
use amesh_proto::message::{Mail, Priority};
use amesh_proto::time::UnixMillis;
use amesh_proto::trust::Trust;
use amesh_proto::wire::LaterReason;
use amesh_store::{
    AgentNo, CommitOutcome, Config, Delivery, Destination, Durable, Fault, LaneStamp, MemoryDisk, NewAgent,
    NewMail, Origin, Place, RegisterOutcome, Seq, Settlement, Store, StoreError, Target,
};
use std::collections::{HashMap, HashSet};

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
        shown: HashSet::new(),
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
    /// What was seen in a mailbox.
    shown: HashSet<u64>,
}

/// A change in the hands of the store. One that fails may be on disk all the same: nobody can know.
enum Pending {
    Accept(Letter, Durable<CommitOutcome>),
    Receive(Durable<CommitOutcome>),
    Refuse,
    PutOff,
    Settle(usize, Vec<(u64, Settled)>, Durable<()>),
    Read(Vec<u64>, Durable<Vec<MessageId>>),
    Expire(Vec<u64>, Durable<amesh_store::Expired>),
}

impl Engine for Real {
    fn commit(&mut self, group: Vec<Change>, full: bool, times: Times, history: &mut History) -> Vec<Done> {
        let pending: Vec<Pending> = group
            .into_iter()
            .map(|change| match change {
                // The store asks a disk for its space twice a second by a clock of its own.
                Change::Receive { .. } if full => Pending::PutOff,
                change => self.hand_in(change, times, history),
            })
            .collect();
        pending.into_iter().map(|pending| self.finish(pending, history).unwrap()).collect()
    }

    fn crash(&mut self, group: Vec<Change>, crash: Crash, times: Times, history: &mut History) {
        if crash == Crash::Between {
            self.disk.fail_next(Fault::Sync);
        }
        if crash != Crash::Before {
            let pending: Vec<Pending> =
                group.into_iter().map(|change| self.hand_in(change, times, history)).collect();
            for pending in pending {
                let _untold = self.finish(pending, history);
            }
        }
        self.disk.crash();
        self.store = None;
        self.store = Some(Store::on_memory(&self.disk, config()).unwrap());
    }

    fn pending(&mut self, agent: usize, times: Times, history: &mut History) -> Vec<u64> {
        let pending = self.store().pending(self.agents[agent], None, 10_000).unwrap();
        let ids: Vec<u64> = pending.iter().map(|entry| number_of(&entry.shown_id)).collect();
        for id in &ids {
            if self.shown.insert(*id) {
                history.deliver(&self.letters[id], self.numbers[id], times.now);
            }
        }
        ids
    }

    fn waits(&self, peer: usize) -> bool {
        self.store().outbox_len(&Destination::Node(id_of(peer))) > 0
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
            let expires_at = entry.expires_at;
            (Entry { seq: entry.seq.0, number: entry.number, letter, expires_at }, entry.floor)
        };
        Ok(page.into_iter().map(entry).collect())
    }

    /// While the power fails nothing can be read; what is not read is not changed either.
    fn hand_in(&mut self, change: Change, times: Times, history: &mut History) -> Pending {
        let now = times.wall;
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
            Change::Acknowledge { agent, ids } => {
                let shown = ids.iter().map(id_of_letter).collect();
                Pending::Read(ids, self.store().acknowledge(self.agents[agent], shown))
            }
            Change::Bounce { peer } => {
                let waiting = self.page(peer, 0, 100_000).unwrap_or_default();
                let gone =
                    |(entry, _): (Entry, u64)| (entry.seq, Settled::Refused { code: "not_found".into() });
                self.settle(peer, waiting.into_iter().map(gone).collect(), now, history)
            }
            Change::Expire => {
                let due = self.store().expiring(now, 10_000).unwrap_or_default();
                let outgoing = due.iter().filter(|one| matches!(one.place, Place::Outbox(_)));
                let ids = outgoing.map(|one| number_of(&one.mail.id)).collect();
                Pending::Expire(ids, self.store().expire(now, times.mono, Vec::new()))
            }
        }
    }

    fn settle(
        &self,
        peer: usize,
        settled: Vec<(u64, Settled)>,
        now: UnixMillis,
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
        let durable = self.store().settle(&Destination::Node(id_of(peer)), ends, now);
        Pending::Settle(peer, settled, durable)
    }

    fn finish(&mut self, pending: Pending, history: &mut History) -> Result<Done, StoreError> {
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
            Pending::Read(ids, durable) => {
                durable.wait()?;
                Done::Acknowledged { ids }
            }
            Pending::Expire(ids, durable) => {
                let steady = durable.wait()?.unsteady_for.is_none();
                if steady {
                    history.failed.extend(ids);
                }
                Done::Watched { steady }
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
        home: None,
        now: UnixMillis(1_800_000_000_000),
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
    now: UnixMillis,
) -> NewMail {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&letter.id.to_be_bytes());
    let mail = Mail {
        id: id_of_letter(&letter.id),
        from: address_of(letter.lane.0),
        to: address_of(letter.lane.1),
        priority: if letter.lane.2 == 0 { Priority::Normal } else { Priority::Urgent },
        envelope: b"{}".to_vec(),
        payload: vec![b' '; letter.size],
        form: None,
        accepted_at: now,
        expires_at: now.plus(letter.life),
        receipt: false,
    };
    NewMail {
        mail,
        origin,
        target,
        idempotency_key: None,
        sender_key: None,
        content_digest: digest,
        attachments: Vec::new(),
        lane,
        now,
    }
}

fn config() -> Config {
    Config { mailbox_new: u32::try_from(MAILBOX).unwrap(), ..Config::default() }
}

fn id_of_letter(id: &u64) -> MessageId {
    MessageId::mint(UnixMillis(0), id.to_be_bytes())
}

fn number_of(id: &MessageId) -> u64 {
    let (_, suffix) = id.as_str().rsplit_once('_').unwrap();
    u64::from_str_radix(suffix, 16).unwrap()
}
