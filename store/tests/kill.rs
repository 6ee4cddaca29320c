//! kill -9 in the middle of work: what was acknowledged is there, every reference is whole, nothing is there twice.
//!
//! The test runs its own binary again as the victim, which prints a number for every message once it is durable.
#![allow(missing_docs, clippy::unwrap_used, reason = "nothing but a test")]

use amesh_proto::address::Address;
use amesh_proto::id::MessageId;
use amesh_proto::key::KeyAlgorithm;
use amesh_proto::message::{Mail, Priority};
use amesh_proto::time::UnixMillis;
use amesh_proto::trust::Trust;
use amesh_store::{
    AgentNo, CommitOutcome, Config, Delivery, NewAgent, NewMail, Origin, RegisterOutcome, Seq, Store, Target,
};
use std::collections::{BTreeSet, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

const VICTIM: &str = "AMESH_STORE_VICTIM";
const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

#[test]
fn kill_nine_loses_nothing_acknowledged() {
    if let Ok(dir) = std::env::var(VICTIM) {
        victim(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let mut sent = BTreeSet::new();
    let mut acknowledged = BTreeSet::new();
    for round in 0..5u64 {
        let (more, gone) = run_and_kill(&path, 200 + 300 * round);
        // Its acknowledgement may have been on disk and not yet said.
        let unsaid = more.last().copied().filter(|last| last.is_multiple_of(3) && !gone.contains(last));
        sent.extend(more);
        acknowledged.extend(gone);
        let there = check(&path, &sent, &acknowledged, unsaid);
        acknowledged.extend(unsaid.filter(|unsaid| !there.contains(unsaid)));
    }
    assert!(sent.len() > 2_000 && !acknowledged.is_empty());
}

/// Starts a victim, lets it say `lines` things, kills it. Gives what it said it had sent, and acknowledged.
fn run_and_kill(path: &Path, lines: u64) -> (Vec<u64>, Vec<u64>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill_nine_loses_nothing_acknowledged", "--nocapture"])
        .env(VICTIM, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let (mut sent, mut acknowledged) = (Vec::new(), Vec::new());
    let mut heard = 0;
    while let Some(Ok(line)) = said.next() {
        if let Some(n) = line.strip_prefix("sent ") {
            sent.push(n.parse().unwrap());
        } else if let Some(n) = line.strip_prefix("acknowledged ") {
            acknowledged.push(n.parse().unwrap());
        }
        heard += 1;
        if heard == lines {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(heard >= lines, "the victim ended by itself after {heard} lines");
    (sent, acknowledged)
}

/// Opens the store after a kill; what is in the mailbox.
fn check(
    path: &Path,
    sent: &BTreeSet<u64>,
    acknowledged: &BTreeSet<u64>,
    unsaid: Option<u64>,
) -> BTreeSet<u64> {
    let store = Store::open(path, roomy()).unwrap();
    let report = store.verify(&mut |_| {}).unwrap();
    assert!(report.is_whole(), "{:?}", report.problems);
    let bob = agent(&store, "bob");
    let mut there = BTreeSet::new();
    let mut after = None;
    loop {
        let entries = store.pending(bob, after, 500).unwrap();
        let Some(last) = entries.last() else { break };
        after = Some(last.seq);
        for entry in &entries {
            assert!(there.insert(number(&entry.mail)), "{} is there twice", entry.shown_id);
        }
    }
    let lost = sent.difference(acknowledged).filter(|n| !there.contains(n) && Some(**n) != unsaid);
    let lost: Vec<_> = lost.collect();
    assert!(lost.is_empty(), "sent, not acknowledged, and lost: {lost:?}");
    assert!(there.is_disjoint(acknowledged), "acknowledged mail came back");
    store.close_and_wait().unwrap();
    there
}

/// Sends and acknowledges until it is killed.
fn victim(dir: &Path) -> ! {
    let store = Store::open(dir, roomy()).unwrap();
    let (alice, bob) = (agent(&store, "alice"), agent(&store, "bob"));
    let first = last_number(&store, bob) + 1;
    let mut waiting = VecDeque::new();
    let out = std::io::stdout();
    for n in first.. {
        waiting.push_back((n, store.commit_mail(new_mail(n, alice, bob))));
        if waiting.len() < 32 {
            continue;
        }
        let Some((n, durable)) = waiting.pop_front() else { continue };
        assert!(matches!(durable.wait().unwrap(), CommitOutcome::Committed { .. }));
        writeln!(out.lock(), "sent {n}").unwrap();
        if n.is_multiple_of(3) {
            store.acknowledge(bob, vec![id(n)]).wait().unwrap();
            writeln!(out.lock(), "acknowledged {n}").unwrap();
        }
    }
    std::process::exit(1)
}

fn last_number(store: &Store, bob: AgentNo) -> u64 {
    let mut last = 0;
    let mut after: Option<Seq> = None;
    loop {
        let entries = store.pending(bob, after, 500).unwrap();
        let Some(entry) = entries.last() else { return last };
        (after, last) = (Some(entry.seq), last.max(number(&entry.mail)));
    }
}

fn roomy() -> Config {
    Config { mailbox_new: u32::MAX, mailbox_handed_out: u32::MAX, ..Config::default() }
}

fn agent(store: &Store, name: &str) -> AgentNo {
    let new = NewAgent {
        address: address(name),
        name: name.to_owned(),
        tenant: "default".to_owned(),
        alias: None,
        key_algorithm: KeyAlgorithm::Ed25519,
        public_key_der: vec![1; 44],
        delivery: Delivery::default(),
        metadata: None,
        api_key_hash: [name.as_bytes()[0]; 32],
        may_return: false,
        admission: amesh_store::Admission::Open,
        home: None,
        now: NOW,
    };
    match store.register_agent(new).wait().unwrap() {
        RegisterOutcome::Registered(record) | RegisterOutcome::NameTaken(record) => record.no,
        other => panic!("{other:?}"),
    }
}

fn address(name: &str) -> Address {
    Address::parse(&format!("{name}@default.aimaestro.local"), &["aimaestro.local"]).unwrap()
}

fn id(n: u64) -> MessageId {
    MessageId::mint(NOW, n.to_be_bytes())
}

fn number(mail: &Mail) -> u64 {
    std::str::from_utf8(&mail.payload).unwrap().trim_end().parse().unwrap()
}

fn new_mail(n: u64, alice: AgentNo, bob: AgentNo) -> NewMail {
    // Every so often a body that lives in a file.
    let width = if n.is_multiple_of(200) { 40_000 } else { 1_000 };
    let mail = Mail {
        id: id(n),
        from: address("alice"),
        to: address("bob"),
        priority: Priority::Normal,
        envelope: b"{}".to_vec(),
        payload: format!("{n:<width$}").into_bytes(),
        form: None,
        accepted_at: NOW,
        expires_at: UnixMillis(NOW.0 + 600_000_000),
        receipt: false,
    };
    NewMail {
        mail,
        origin: Origin::Agent(alice),
        target: Target::Mailbox { agent: bob, trust: Trust::Verified },
        idempotency_key: None,
        sender_key: None,
        attachments: Vec::new(),
        content_digest: [0; 32],
        lane: None,
        now: NOW,
    }
}
