//! Power loss while the store moves its journal to sled and sled reuses its segments: what was committed and not taken is
//! on every disk that a cut may have left. A node would need hours to get there; this drives the store itself.

use amesh_proto::address::Address;
use amesh_proto::id::MessageId;
use amesh_proto::key::KeyAlgorithm;
use amesh_proto::message::{Mail, Priority};
use amesh_proto::time::UnixMillis;
use amesh_proto::trust::Trust;
use amesh_store::{AgentNo, Config, Delivery, NewAgent, NewMail, Origin, RegisterOutcome, Store, Target};
use amesh_tests::lab::skip;
use amesh_tests::power::{
    Call, Disk, Event, Loss, cuts_and_seed, is_complete, missing_after, parse, possible, strace_command,
};
use anyhow::{Context, Result, bail, ensure};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_the_power_goes_while_the_journal_is_moved() -> Result<()> {
    if let Err(why) = possible() {
        return skip(&why);
    }
    let scratch = tempfile::tempdir()?;
    let (record, root) = (scratch.path().join("store.strace"), scratch.path().join("data"));
    let mut command = strace_command(&std::env::current_exe()?, &record);
    command.args(["--exact", "a_busy_store", "--nocapture", "--test-threads=1"]);
    let mut child = command.env(STORE, root.join("store")).spawn()?;
    let pid = child.id();
    let status = tokio::task::spawn_blocking(move || child.wait()).await??;
    ensure!(status.success(), "the busy store ended with {status}");
    let text = amesh_tests::wait::wait_for("the end of the record", || async {
        let text = String::from_utf8_lossy(&std::fs::read(&record)?).into_owned();
        Ok(is_complete(&text, pid).then_some(text))
    })
    .await?;
    let path = scratch.path().to_owned();
    tokio::task::spawn_blocking(move || cut_while_moving(&root, &parse(&text), &path)).await?
}

/// Cuts the power right behind writes to the database.
fn cut_while_moving(root: &Path, events: &[Event], scratch: &Path) -> Result<()> {
    let (cuts, seed) = cuts_and_seed();
    let mut random = StdRng::seed_from_u64(seed);
    let moves: Vec<usize> = (0..events.len()).filter(|at| to_database(&events[*at]).is_some()).collect();
    let offsets: Vec<u64> = moves.iter().filter_map(|at| to_database(&events[*at])).collect();
    let reused = offsets.windows(2).filter(|pair| pair[1] < pair[0]).count();
    let at: BTreeSet<usize> = moves.iter().copied().step_by((moves.len() / cuts).max(1)).collect();
    println!("seed {seed}: {} writes to the database, {reused} of them back into reused space", moves.len());
    ensure!(reused > 3, "too little was written to prove anything");
    let mut disk = Disk::new(root);
    let mut kept = BTreeSet::new();
    for (number, event) in events.iter().enumerate() {
        note(event, &mut kept);
        disk.apply(event);
        if !at.contains(&number) {
            continue;
        }
        let loss = [Loss::Pieces(0.5), Loss::Everything, Loss::Pieces(0.9), Loss::Pieces(0.1)][number % 4];
        let left = tempfile::tempdir_in(scratch)?;
        disk.after_power_loss(left.path(), loss, &mut random)?;
        let lost = missing_after(&left.path().join("store"), &kept)
            .with_context(|| format!("not synced: {}", disk.unsynced()))
            .with_context(|| format!("cut at event {number}, {loss:?}, seed {seed}"))?;
        ensure!(lost.is_empty(), "cut at event {number}, {loss:?}, seed {seed}: {lost:?} are lost");
    }
    println!("{} cuts, 0 messages lost", at.len());
    Ok(())
}

fn to_database(event: &Event) -> Option<u64> {
    match &event.call {
        Call::Write { path, offset, .. } if path.ends_with("store/db") => *offset,
        _ => None,
    }
}

/// What the busy store said: that it was told of a commit, or that it is about to take a message.
fn note(event: &Event, kept: &mut BTreeSet<String>) {
    let Call::Log { data } = &event.call else { return };
    for line in String::from_utf8_lossy(data).lines() {
        if let Some(id) = line.strip_prefix(COMMITTED) {
            kept.insert(id.to_owned());
        } else if let Some(id) = line.strip_prefix(TAKING) {
            kept.remove(id);
        }
    }
}

/// Run by the test above, in a process of its own: fills a mailbox and takes mail out of its middle, over many openings.
/// Without the variable there is no store to fill.
#[test]
fn a_busy_store() -> Result<()> {
    let Some(dir) = std::env::var_os(STORE) else { return Ok(()) };
    let (mut number, mut kept) = (0, BTreeSet::new());
    for round in 0..16 {
        let store = Store::open(Path::new(&dir), Config::default())?;
        let alice = register(&store)?;
        for _ in 0..3 {
            let group: Vec<u64> = (number..number + 100).collect();
            number += 100;
            let mut commits = Vec::new();
            for n in &group {
                commits.push(store.commit_mail(mail(*n, alice)?));
            }
            for (n, commit) in group.into_iter().zip(commits) {
                commit.wait()?;
                say(COMMITTED, n)?;
                kept.insert(n);
            }
            let taken: Vec<u64> =
                kept.iter().copied().filter(|n| (n * 2_654_435_761 + round) % 7 < 4).collect();
            taken.iter().try_for_each(|n| say(TAKING, *n))?;
            kept.retain(|n| !taken.contains(n));
            store.acknowledge(alice, taken.into_iter().map(id).collect()).wait()?;
        }
        // What is left in the journal is moved when the store is opened again, while new mail comes.
        store.close_and_wait()?;
    }
    Ok(())
}

fn register(store: &Store) -> Result<AgentNo> {
    let new = NewAgent {
        address: address("alice")?,
        name: "alice".into(),
        tenant: "default".into(),
        alias: None,
        key_algorithm: KeyAlgorithm::Ed25519,
        public_key_der: b"a key".to_vec(),
        delivery: Delivery::default(),
        metadata: None,
        api_key_hash: [7; 32],
        may_return: false,
        admission: amesh_store::Admission::Open,
        home: None,
        now: NOW,
    };
    match store.register_agent(new).wait()? {
        RegisterOutcome::Registered(agent) | RegisterOutcome::NameTaken(agent) => Ok(agent.no),
        RegisterOutcome::Returned(_) | RegisterOutcome::Withheld { .. } | RegisterOutcome::NotAdmitted(_) => {
            bail!("nobody had this name before")
        }
    }
}

/// From 1 to 7 KB, no two alike.
fn mail(number: u64, agent: AgentNo) -> Result<NewMail> {
    let payload =
        (0..1_000 + number % 5 * 1_500).map(|at| b"abcdefghijklmnopqrstuvw"[((at * number) % 23) as usize]);
    let mail = Mail {
        id: id(number),
        from: address("system")?,
        to: address("alice")?,
        priority: Priority::Normal,
        envelope: b"{}".to_vec(),
        payload: payload.collect(),
        form: None,
        accepted_at: NOW,
        expires_at: NOW.plus(Duration::from_secs(24 * 3600)),
        receipt: false,
    };
    Ok(NewMail {
        mail,
        origin: Origin::System,
        target: Target::Mailbox { agent, trust: Trust::Verified },
        idempotency_key: None,
        sender_key: None,
        attachments: Vec::new(),
        content_digest: [1; 32],
        lane: None,
        now: NOW,
    })
}

fn address(name: &str) -> Result<Address> {
    Ok(Address::parse(&format!("{name}@default.aimaestro.local"), &["aimaestro.local"])?)
}

fn id(number: u64) -> MessageId {
    MessageId::mint(NOW, number.to_be_bytes())
}

/// One write for one line: a record in order.
fn say(what: &str, number: u64) -> Result<()> {
    Ok(std::io::stdout().write_all(format!("{what}{}\n", id(number)).as_bytes())?)
}

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
const STORE: &str = "AMESH_BUSY_STORE";
const COMMITTED: &str = "committed ";
const TAKING: &str = "taking ";
