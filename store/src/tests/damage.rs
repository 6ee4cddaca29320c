//! A store that will not open: said clearly, and nothing touched.

use super::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A closed store with something in it.
fn closed_store(dir: &Path) -> PathBuf {
    let path = dir.join("store");
    let store = Store::open(&path, Config::default()).unwrap();
    let (alice, bob) = (register(&store, "alice"), register(&store, "bob"));
    let waiting: Vec<_> =
        (0..400).map(|n| store.commit_mail(local(mail("alice", "bob", n), alice, bob))).collect();
    waiting.into_iter().for_each(|durable| assert!(durable.wait().is_ok()));
    store.close_and_wait().unwrap();
    path
}

fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for file in std::fs::read_dir(dir).unwrap().flatten() {
        if file.path().is_file() {
            files.insert(file.path(), std::fs::read(file.path()).unwrap());
        }
    }
    files
}

#[track_caller]
fn assert_refused_untouched(path: &Path) {
    let before = contents(path);
    let error = Store::open(path, Config::default()).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("amesh db restore") && text.contains("amesh db reset"), "{text}");
    let after = contents(path);
    for (file, bytes) in &before {
        assert!(after.get(file) == Some(bytes), "{} was touched", file.display());
    }
    assert_eq!(before.len(), after.len());
}

#[test]
fn a_second_opener_is_told_that_the_store_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let first = Store::open(&path, Config::default()).unwrap();
    register(&first, "alice");
    let second = Store::open(&path, Config::default()).unwrap_err();
    assert!(matches!(second, OpenError::InUse { .. }), "{second:?}");
    register(&first, "bob");
    first.close_and_wait().unwrap();
    assert_eq!(Store::open(&path, Config::default()).unwrap().all_agents().unwrap().len(), 2);
}

#[test]
fn a_store_whose_database_is_gone_or_empty_is_damaged_not_new() {
    let dir = tempfile::tempdir().unwrap();
    let path = closed_store(dir.path());
    std::fs::write(path.join("db"), []).unwrap();
    assert_refused_untouched(&path);
    std::fs::remove_file(path.join("db")).unwrap();
    assert_refused_untouched(&path);
    std::fs::remove_file(path.join("store.mark")).unwrap();
    assert_refused_untouched(&path);
}

#[test]
fn a_store_that_lost_its_end_is_damaged_or_whole_never_poorer() {
    let dir = tempfile::tempdir().unwrap();
    let path = closed_store(dir.path());
    // Opened again, the store moves its journal to the database.
    Store::open(&path, Config::default()).unwrap().close_and_wait().unwrap();
    let files = contents(&path);
    let length = files[&path.join("db")].iter().rposition(|byte| *byte != 0).unwrap();
    let mut refused = 0;
    for eighth in 1..8 {
        let copy = dir.path().join(format!("copy{eighth}"));
        std::fs::create_dir(&copy).unwrap();
        for (file, bytes) in &files {
            let kept = if file.ends_with("db") { length * eighth / 8 } else { bytes.len() };
            std::fs::write(copy.join(file.file_name().unwrap()), &bytes[..kept]).unwrap();
        }
        match Store::open(&copy, Config::default()) {
            Ok(store) => {
                let bob = store.agent_by_address(&address("bob")).unwrap().unwrap().no;
                assert_eq!(ids(&store, bob).len(), 400, "{eighth}/8 of the file");
                assert_whole(&store);
            }
            Err(OpenError::Damaged { .. }) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(refused > 0);
}

#[test]
fn a_garbled_store_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let path = closed_store(dir.path());
    let mut bytes = std::fs::read(path.join("db")).unwrap();
    for byte in bytes.iter_mut().step_by(97) {
        *byte ^= 0x5a;
    }
    std::fs::write(path.join("db"), &bytes).unwrap();
    let error = Store::open(&path, Config::default()).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
}

#[test]
fn a_database_that_is_something_else_altogether_is_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let path = closed_store(dir.path());
    let length = std::fs::metadata(path.join("db")).unwrap().len();
    let noise: Vec<u8> = (0..length).map(|at| (at * at % 251) as u8).collect();
    std::fs::write(path.join("db"), noise).unwrap();
    assert_refused_untouched(&path);
}

#[test]
fn a_garbled_snapshot_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = closed_store(dir.path());
    let snapshots: Vec<_> = contents(&path)
        .into_keys()
        .filter(|file| file.file_name().unwrap().to_string_lossy().starts_with("snap."))
        .collect();
    for snapshot in &snapshots {
        std::fs::write(snapshot, b"not a snapshot").unwrap();
    }
    if !snapshots.is_empty() {
        assert_refused_untouched(&path);
    }
}

#[test]
fn a_newer_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    std::fs::create_dir_all(&path).unwrap();
    let newer = postcard::to_stdvec(&(9u32, 1u64, 1u64)).unwrap();
    let check: [u8; 8] = key::short_hash(&[&newer]);
    std::fs::write(path.join("store.mark"), [newer.as_slice(), &check].concat()).unwrap();
    let error = Store::open(&path, Config::default()).unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 9, .. }), "{error:?}");
    assert_eq!(contents(&path).len(), 1);
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error_of_the_system() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, b"x").unwrap();
    let error = Store::open(&file.join("store"), Config::default()).unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }), "{error:?}");
}

#[test]
fn a_snapshot_that_was_never_finished_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = closed_store(dir.path());
    std::fs::write(path.join("snap.FFFFFFFFFFFFFFF0.generating"), b"the power went").unwrap();
    let store = Store::open(&path, Config::default()).unwrap();
    assert_eq!(store.all_agents().unwrap().len(), 2);
    assert!(store.verify(&mut |_| {}).unwrap().problems.is_empty());
}

#[test]
fn a_store_that_was_only_half_made_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    std::fs::create_dir(dir.path().join("store.making")).unwrap();
    std::fs::write(dir.path().join("store.making/conf"), b"torn").unwrap();
    let store = Store::open(&path, Config::default()).unwrap();
    register(&store, "alice");
    store.close_and_wait().unwrap();
    assert!(!dir.path().join("store.making").exists());
    assert_eq!(Store::open(&path, Config::default()).unwrap().all_agents().unwrap().len(), 1);
}
