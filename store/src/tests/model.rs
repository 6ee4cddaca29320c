//! A mailbox against a simple model, over random changes and crashes (DESIGN §7).

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Debug, Clone)]
enum Step {
    Send { sender: u8, n: u64, other: bool },
    Link { sender: u8, n: u64 },
    Acknowledge { nth: usize },
    HandOut { nth: usize },
    Crash,
    FailSync,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0u8..3, 0u64..12, any::<bool>()).prop_map(|(sender, n, other)| Step::Send { sender, n, other }),
        3 => (0u8..3, 0u64..12).prop_map(|(sender, n)| Step::Link { sender, n }),
        3 => (0usize..6).prop_map(|nth| Step::Acknowledge { nth }),
        3 => (0usize..6).prop_map(|nth| Step::HandOut { nth }),
        1 => Just(Step::Crash),
        1 => Just(Step::FailSync),
    ];
    proptest::collection::vec(step, 1..60)
}

/// What a mailbox must do, said as simply as possible.
#[derive(Debug, Default)]
struct Model {
    /// (sender, id) → content; never forgotten here.
    answered: BTreeMap<(String, u64), bool>,
    /// By sequence number: shown id, handed out.
    mailbox: BTreeMap<Seq, (MessageId, bool)>,
}

struct Bench {
    store: Store,
    disk: MemoryDisk,
    agents: Vec<AgentNo>,
    bob: AgentNo,
    model: Model,
}

impl Bench {
    fn new() -> Self {
        let (store, disk) = Store::in_memory(config()).unwrap();
        let agents = (0..3).map(|n| register(&store, &format!("agent{n}"))).collect();
        let bob = register(&store, "bob");
        Self { store, disk, agents, bob, model: Model::default() }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Send { sender, n, other } => {
                let name = format!("agent{sender}");
                let payload = if other { b"other".to_vec() } else { b"one".to_vec() };
                let mail = Mail { payload, priority: class_of(n), ..mail(&name, "bob", n) };
                self.send(name, n, other, local(mail, self.agents[usize::from(sender)], self.bob));
            }
            Step::Link { sender, n } => {
                let name = format!("far{sender}");
                let mail = Mail { priority: class_of(n), ..mail(&name, "bob", n) };
                let new = linked(mail, self.bob, 0, 0);
                self.send(name, n, false, NewMail { lane: None, ..new });
            }
            Step::Acknowledge { nth } => {
                let Some((seq, id)) = self.model.nth(nth) else { return };
                if let Ok(removed) = self.store.acknowledge(self.bob, vec![id.clone()]).wait() {
                    assert_eq!(removed, [id]);
                    self.model.mailbox.remove(&seq);
                } else {
                    self.restart();
                }
            }
            Step::HandOut { nth } => {
                let Some((seq, _)) = self.model.nth(nth) else { return };
                if self.store.mark_handed_out(self.bob, vec![seq]).wait().is_err() {
                    self.restart();
                } else if let Some(entry) = self.model.mailbox.get_mut(&seq) {
                    entry.1 = true;
                }
            }
            Step::Crash => self.restart(),
            Step::FailSync => self.disk.fail_next(Fault::Sync),
        }
    }

    fn send(&mut self, name: String, n: u64, other: bool, new: NewMail) {
        let known = self.model.answered.get(&(name.clone(), n)).copied();
        let new_ones = self.model.mailbox.values().filter(|(_, handed)| !handed).count();
        match self.store.commit_mail(new).wait() {
            Err(_) => self.restart(),
            Ok(CommitOutcome::Committed { seq, shown_id, .. }) => {
                assert_eq!(known, None, "committed twice");
                assert!(new_ones < CAP);
                let last = self.model.mailbox.keys().last().copied();
                assert!(last.is_none_or(|last| last < seq), "out of order");
                assert!(!self.model.mailbox.values().any(|(id, _)| *id == shown_id), "an id shown twice");
                self.model.answered.insert((name, n), other);
                self.model.mailbox.insert(seq, (shown_id, false));
            }
            Ok(CommitOutcome::Repeat { .. }) => assert_eq!(known, Some(other)),
            Ok(CommitOutcome::Conflict) => assert!(known.is_some_and(|content| content != other)),
            Ok(CommitOutcome::MailboxFull) => assert!(known.is_none() && new_ones >= CAP),
            Ok(unexpected) => panic!("{unexpected:?}"),
        }
    }

    /// Power loss. In this model a failed change is one that did not happen.
    fn restart(&mut self) {
        self.disk.crash();
        self.store = Store::on_memory(&self.disk, config()).unwrap();
    }

    fn check(&self) {
        let held: BTreeMap<_, _> = self
            .store
            .pending(self.bob, None, 1_000)
            .unwrap()
            .into_iter()
            .map(|entry| (entry.seq, (entry.shown_id, entry.handed_out)))
            .collect();
        assert_eq!(held, self.model.mailbox);
        let mut by_class = Vec::new();
        for class in Priority::ALL {
            let of_class = self.store.pending_of(self.bob, class, None, 1_000).unwrap();
            assert!(of_class.is_sorted_by_key(|entry| entry.seq));
            assert!(of_class.iter().all(|entry| entry.mail.priority == class));
            by_class
                .extend(of_class.into_iter().map(|entry| (entry.seq, (entry.shown_id, entry.handed_out))));
        }
        assert_eq!(by_class.into_iter().collect::<BTreeMap<_, _>>(), self.model.mailbox);
        assert_eq!(self.store.pending_count(self.bob) as usize, held.len());
        assert_whole(&self.store);
    }
}

impl Model {
    fn nth(&self, nth: usize) -> Option<(Seq, MessageId)> {
        self.mailbox.iter().nth(nth).map(|(seq, (id, _))| (*seq, id.clone()))
    }
}

fn class_of(n: u64) -> Priority {
    Priority::ALL[n as usize % Priority::ALL.len()]
}

fn config() -> Config {
    Config { mailbox_new: CAP as u32, ..Config::default() }
}

const CAP: usize = 6;

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_mailbox_keeps_its_promises_across_crashes(steps in steps()) {
        let mut bench = Bench::new();
        for step in steps {
            bench.step(step);
            bench.check();
        }
    }
}
