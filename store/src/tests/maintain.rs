//! Backups, restore, reset, verify, and bodies that live in files.

use super::*;
use crate::blob;
use crate::engine::memory::MemoryHandle;
use crate::engine::{Disk, Range, Writes};
use crate::trees::Tree;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::SystemTime;

fn large(n: u64) -> Mail {
    Mail { payload: vec![b'a' + n as u8; 60_000], ..mail("alice", "bob", n) }
}

fn body_files(store_dir: &Path) -> usize {
    fs::read_dir(store_dir.join("bodies")).unwrap().count()
}

fn make_old(dir: &Path) {
    for file in fs::read_dir(dir).unwrap().flatten() {
        let old = SystemTime::now() - Duration::from_secs(700);
        fs::File::options().write(true).open(file.path()).unwrap().set_modified(old).unwrap();
    }
}

#[test]
fn large_bodies_are_files_that_go_when_no_message_names_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Config::default()).unwrap();
    let (alice, bob) = (register(&store, "alice"), register(&store, "bob"));
    committed(&store, local(large(1), alice, bob));
    committed(&store, local(large(2), alice, bob));
    committed(&store, local(mail("alice", "bob", 3), alice, bob));
    assert_eq!(body_files(dir.path()), 2);
    store.acknowledge(bob, vec![id(1)]).wait().unwrap();
    assert_eq!(store.sweep().wait().unwrap(), 0, "too young");
    fs::write(dir.path().join("bodies").join("left.tmp"), b"from a crash").unwrap();
    make_old(&dir.path().join("bodies"));
    assert_eq!(store.sweep().wait().unwrap(), 2);
    assert_eq!(store.entry(bob, &id(2)).unwrap().unwrap().mail, large(2));
    assert_eq!(body_files(dir.path()), 1);
    assert_whole(&store);
}

#[test]
fn a_body_that_was_changed_is_reported_and_never_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Config::default()).unwrap();
    let (alice, bob) = (register(&store, "alice"), register(&store, "bob"));
    committed(&store, local(large(1), alice, bob));
    let file = fs::read_dir(dir.path().join("bodies")).unwrap().flatten().next().unwrap().path();
    fs::write(&file, b"other").unwrap();
    assert_eq!(store.entry(bob, &id(1)), Err(StoreError::Damaged { tree: "blobs" }));
    assert!(!store.verify(&mut |_| {}).unwrap().is_whole());
    fs::remove_file(&file).unwrap();
    assert!(!store.verify(&mut |_| {}).unwrap().is_whole());
}

#[test]
fn a_backup_restores_to_the_same_store_with_later_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let (path, file) = (dir.path().join("store"), dir.path().join("one.backup"));
    let store = Store::open(&path, Config::default()).unwrap();
    let (alice, bob) = (register(&store, "alice"), register(&store, "bob"));
    let receipt = committed(&store, local(mail("alice", "bob", 1), alice, bob));
    committed(&store, local(large(2), alice, bob));
    committed(&store, outgoing(mail("alice", "ann", 3), alice, to_node(2)));
    let report = store.backup(&file).wait().unwrap();
    assert_eq!((report.bodies, report.bytes), (1, fs::metadata(&file).unwrap().len()));
    let (generation, roster) = (store.generation(), store.own_roster().unwrap());
    let lost = committed(&store, local(mail("alice", "bob", 4), alice, bob));
    assert!(matches!(restore(&path, &file, NOW, &mut |_, _| {}), Err(MaintainError::InUse)));
    store.close_and_wait().unwrap();

    let mut heard = (0, 0);
    let restored = restore(&path, &file, NOW, &mut |done, all| heard = (done, all)).unwrap();
    assert_eq!(heard, (report.bytes, report.bytes));
    let store = Store::open(&path, Config::default()).unwrap();
    assert_whole(&store);
    assert_eq!(ids(&store, bob), [id(1), id(2)]);
    assert_eq!(store.entry(bob, &id(2)).unwrap().unwrap().mail, large(2));
    assert_eq!(store.outbox_len(&to_node(2)), 1);
    let repeat = commit(&store, local(mail("alice", "bob", 1), alice, bob));
    assert_eq!(repeat, CommitOutcome::Repeat { first: receipt });
    assert!(store.generation() > generation && store.generation() == restored.generation);
    let now = store.own_roster().unwrap();
    assert!(now.version > roster.version + u64::from(u32::MAX));
    assert_eq!(now.entries, roster.entries);
    let next = committed(&store, local(mail("alice", "bob", 5), alice, bob));
    assert!(next.seq > lost.seq, "no cursor hides it");
    let aside = restored.set_aside.unwrap();
    let before = Store::open(&aside, Config::default()).unwrap();
    assert!(ids(&before, bob).contains(&id(4)), "what was there is set aside, not deleted");
}

#[test]
fn a_backup_with_one_wrong_byte_restores_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (path, file) = (dir.path().join("store"), dir.path().join("one.backup"));
    let store = Store::open(&path, Config::default()).unwrap();
    let alice = register(&store, "alice");
    store.backup(&file).wait().unwrap();
    store.close_and_wait().unwrap();
    let good = fs::read(&file).unwrap();
    for at in (0..good.len()).step_by(good.len() / 40) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&file, bad).unwrap();
        let error = restore(&path, &file, NOW, &mut |_, _| {}).unwrap_err();
        assert!(matches!(error, MaintainError::BadBackup { .. }), "byte {at}: {error:?}");
    }
    fs::write(&file, &good[..good.len() - 1]).unwrap();
    assert!(restore(&path, &file, NOW, &mut |_, _| {}).is_err());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing is left lying about");
    assert!(Store::open(&path, Config::default()).unwrap().agent(alice).unwrap().is_some());
}

#[test]
fn a_damaged_store_can_be_replaced_from_its_backup() {
    let dir = tempfile::tempdir().unwrap();
    let (path, file) = (dir.path().join("store"), dir.path().join("one.backup"));
    let store = Store::open(&path, Config::default()).unwrap();
    register(&store, "alice");
    store.backup(&file).wait().unwrap();
    store.close_and_wait().unwrap();
    fs::write(path.join("db"), b"garbage").unwrap();
    assert!(Store::open(&path, Config::default()).is_err());
    restore(&path, &file, NOW, &mut |_, _| {}).unwrap();
    assert_eq!(Store::open(&path, Config::default()).unwrap().all_agents().unwrap().len(), 1);
}

#[test]
fn a_reset_sets_the_store_aside_and_the_next_is_empty_and_newer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = Store::open(&path, Config::default()).unwrap();
    register(&store, "alice");
    let generation = store.generation();
    assert!(matches!(reset(&path, NOW), Err(MaintainError::InUse)));
    store.close_and_wait().unwrap();
    let aside = reset(&path, NOW).unwrap();
    assert!(matches!(reset(&path, NOW), Err(MaintainError::NoStore(_))));
    let store = Store::open(&path, Config::default()).unwrap();
    assert!(store.all_agents().unwrap().is_empty());
    assert!(store.generation() > generation);
    assert_eq!(Store::open(&aside, Config::default()).unwrap().all_agents().unwrap().len(), 1);
}

/// The end of a restore is two renames: the old store aside, the new one into its place.
#[test]
fn a_restore_interrupted_between_its_renames_is_finished_by_whoever_comes_next() {
    let dir = tempfile::tempdir().unwrap();
    let (path, file) = (dir.path().join("store"), dir.path().join("one.backup"));
    let whole = dir.path().join("store.restored");
    let store = Store::open(&path, Config::default()).unwrap();
    register(&store, "alice");
    store.backup(&file).wait().unwrap();
    store.close_and_wait().unwrap();
    let agents = || {
        let store = Store::open(&path, Config::default()).unwrap();
        let agents = store.all_agents().unwrap().len();
        store.close_and_wait().unwrap();
        agents
    };
    let interrupt = || fs::rename(&path, &whole).unwrap();

    interrupt();
    assert_eq!(agents(), 1, "no empty store has begun");
    interrupt();
    let restored = restore(&path, &file, NOW, &mut |_, _| {}).unwrap();
    assert!(restored.set_aside.is_some(), "the store of the restore before is not lost");
    interrupt();
    let aside = reset(&path, NOW).unwrap();
    assert_eq!(Store::open(&aside, Config::default()).unwrap().all_agents().unwrap().len(), 1);
    assert!(!path.exists() && !whole.exists());

    // Interrupted before the first rename: the old store is in its place, and stays.
    assert_eq!(agents(), 0);
    restore(&whole, &file, NOW, &mut |_, _| {}).unwrap();
    assert_eq!(agents(), 0);
    restore(&path, &file, NOW, &mut |_, _| {}).unwrap();
    assert!(agents() == 1 && !whole.exists());
}

#[test]
fn only_the_newest_backups_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("notes.txt"), b"mine").unwrap();
    let names: Vec<_> = (0..5).map(|day| backup_name(NOW.plus(24 * HOUR * day))).collect();
    let beside = |name: &str| dir.path().join(format!("{name}.files"));
    for name in &names {
        fs::write(dir.path().join(name), b"x").unwrap();
        fs::create_dir(beside(name)).unwrap();
        fs::write(beside(name).join("digest"), b"x").unwrap();
    }
    fs::create_dir(dir.path().join("amesh-holiday")).unwrap();
    let interrupted = dir.path().join(names[0].replace("backup", "unfinished"));
    fs::write(&interrupted, b"half").unwrap();
    let kept = rotate_backups(dir.path(), 3).unwrap();
    let want: Vec<_> = names[2..].iter().rev().map(|name| dir.path().join(name)).collect();
    assert_eq!(kept, want);
    assert!(names.iter().enumerate().all(|(at, name)| beside(name).exists() == (at >= 2)));
    assert!(!interrupted.exists());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3 * 2 + 2, "what is not ours is left alone");
}

#[test]
fn the_name_of_a_body_is_its_digest() {
    let digest = blob::digest_of(b"body");
    assert_eq!(blob::parse_name(&blob::file_name(&digest)), Some(digest));
    assert_eq!(blob::parse_name("unfinished.tmp"), None);
}

/// Writes around the store, as a bug would.
fn break_in(disk: &MemoryDisk, tree: Tree, change: impl Fn(&[u8]) -> Option<Vec<u8>>) {
    let engine = MemoryHandle::take(disk).open().unwrap();
    let mut writes = Writes::default();
    engine
        .scan(tree, &Range::ALL, &mut |key, value| {
            writes.of_mut(tree).insert(key.to_vec(), change(value));
            ControlFlow::Break(())
        })
        .unwrap();
    assert!(!writes.is_empty());
    engine.commit(writes).unwrap();
    engine.sync().unwrap();
}

#[test]
fn verify_finds_whatever_is_missing_or_unreadable() {
    let trees = [
        Tree::Meta,
        Tree::Agents,
        Tree::AgentNames,
        Tree::OwnRoster,
        Tree::Mailbox,
        Tree::Boxes,
        Tree::History,
        Tree::Outbox,
        Tree::Expire,
        Tree::Tickets,
        Tree::Receipts,
    ];
    for tree in trees {
        let (store, disk) = memory();
        let (alice, bob) = (register(&store, "alice"), register(&store, "bob"));
        committed(&store, local(mail("alice", "bob", 1), alice, bob));
        committed(&store, outgoing(mail("alice", "ann", 2), alice, to_node(2)));
        store.add_ticket([1; 32], NOW, false).wait().unwrap();
        store.give_receipts(bob, vec![id(1)], ReceiptKind::Read, NOW).wait().unwrap();
        assert_whole(&store);
        break_in(&disk, tree, |_| Some(vec![9, 9, 9]));
        let Ok(store) = Store::on_memory(&disk, Config::default()) else { continue };
        assert!(!store.verify(&mut |_| {}).unwrap().is_whole(), "{tree:?} garbled");
    }
    for tree in [Tree::Agents, Tree::AgentNames, Tree::OwnRoster, Tree::Mailbox, Tree::Boxes, Tree::History] {
        let (store, disk) = memory();
        let (alice, bob) = (register(&store, "alice"), register(&store, "bob"));
        committed(&store, local(mail("alice", "bob", 1), alice, bob));
        break_in(&disk, tree, |_| None);
        let store = Store::on_memory(&disk, Config::default()).unwrap();
        assert!(!store.verify(&mut |_| {}).unwrap().is_whole(), "{tree:?} missing");
    }
}
