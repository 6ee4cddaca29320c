//! Attached files: they come whole or not at all, live as long as what names them, and survive a restart.

use super::*;
use crate::backup_files;
use amesh_proto::attachment::{Attachment, AttachmentId, FileDigest};
use sha2::{Digest as _, Sha256};
use std::path::Path;

const TWO_HOURS: Duration = Duration::from_secs(2 * 3600 + 61);

fn open(dir: &Path) -> Store {
    Store::open(dir, Config::default()).unwrap()
}

fn att(n: u64) -> AttachmentId {
    AttachmentId::mint(NOW, n.to_be_bytes())
}

fn requested(n: u64, agent: AgentNo, bytes: &[u8]) -> Upload {
    Upload {
        id: att(n),
        holder: Holder::Agent(agent),
        filename: "a.txt".to_owned(),
        content_type: "text/plain".to_owned(),
        size: bytes.len() as u64,
        digest: FileDigest(Sha256::digest(bytes).into()),
        upload_token: [1; 32],
        download_token: "token".to_owned(),
        stage: Stage::Requested,
        oddity: None,
        changed_at: NOW,
        ends_at: NOW.plus(UPLOAD_LIFE),
    }
}

fn put(store: &Store, upload: &Upload, bytes: &[u8]) -> Option<Upload> {
    let mut writer = store.begin_file(upload.size).unwrap();
    writer.write(bytes).unwrap();
    let (part, key) = (writer.finish().unwrap(), (upload.id.clone(), upload.holder.clone()));
    store.store_upload(key, part, (Stage::Stored, None), NOW).wait().unwrap()
}

fn uploaded(store: &Store, n: u64, agent: AgentNo, bytes: &[u8]) -> Upload {
    let upload = requested(n, agent, bytes);
    assert_eq!(store.request_upload(upload.clone()).wait(), Ok(UploadOutcome::Requested));
    assert!(put(store, &upload, bytes).is_some());
    store.confirm_upload(upload.id, upload.holder).wait().unwrap().unwrap()
}

fn named(upload: &Upload) -> Attachment {
    Attachment {
        id: upload.id.clone(),
        filename: upload.filename.clone(),
        content_type: upload.content_type.clone(),
        size: upload.size,
        digest: upload.digest,
        url: Some(format!("http://h/attachments/{}/download?token=abc", upload.id)),
        scan_status: None,
    }
}

fn with_file(n: u64, (alice, bob): (AgentNo, AgentNo), upload: &Upload) -> NewMail {
    NewMail { attachments: vec![named(upload)], ..local(mail("alice", "bob", n), alice, bob) }
}

fn files(dir: &Path) -> usize {
    std::fs::read_dir(dir.join("attachments")).unwrap().count()
}

/// Ends everything that is due by then.
fn at_the_time(store: &Store, now: UnixMillis) {
    // A clock that was steady for long: the other one has gone on as far.
    let boot = now.saturating_since(NOW);
    while store.expire(now, boot, Vec::new()).wait().unwrap().more {}
}

fn two(store: &Store) -> (AgentNo, AgentNo) {
    (register(store, "alice"), register(store, "bob"))
}

#[test]
fn an_upload_that_no_message_names_goes_after_two_hours_across_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (alice, _) = two(&store);
    at_the_time(&store, NOW);
    let upload = uploaded(&store, 1, alice, b"hello");
    assert_eq!(std::fs::read(store.file_path(&upload.digest).unwrap()).unwrap(), b"hello");
    store.close_and_wait().unwrap();
    let store = open(dir.path());
    assert_eq!(store.upload(&upload.id, &upload.holder), Ok(Some(upload.clone())));
    at_the_time(&store, NOW.plus(HOUR));
    assert_eq!(files(dir.path()), 1);
    at_the_time(&store, NOW.plus(TWO_HOURS));
    assert_eq!((store.upload(&upload.id, &upload.holder), files(dir.path())), (Ok(None), 0));
    assert_whole(&store);
}

#[test]
fn a_file_that_a_message_names_lives_a_week_and_is_its_recipients_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let parties @ (alice, bob) = two(&store);
    at_the_time(&store, NOW);
    let upload = uploaded(&store, 1, alice, b"hello");
    committed(&store, with_file(1, parties, &upload));
    store.acknowledge(bob, vec![id(1)]).wait().unwrap();
    assert_whole(&store);
    let shares = store.shares_with(&upload.id, &Holder::Agent(bob)).unwrap();
    assert_eq!((shares.len(), shares[0].token.as_deref()), (1, Some("abc")));
    for other in [Holder::Agent(alice), Holder::Node(node(9))] {
        assert!(store.shares_with(&upload.id, &other).unwrap().is_empty());
    }
    let days = |n: u32| NOW.plus(HOUR * 24 * n);
    for n in 1..=6 {
        at_the_time(&store, days(n));
        assert_eq!(files(dir.path()), 1, "after {n} days");
    }
    at_the_time(&store, days(7).plus(TWO_HOURS));
    assert_eq!(files(dir.path()), 0);
    assert!(store.shares(&upload.id).unwrap().is_empty());
    assert_whole(&store);
}

#[test]
fn a_message_names_only_what_its_sender_has_brought_and_confirmed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let parties @ (alice, bob) = two(&store);
    let upload = uploaded(&store, 1, alice, b"hello");
    let fault = |new: NewMail| match commit(&store, new) {
        CommitOutcome::Attachment { index: 0, fault } => fault,
        other => panic!("{other:?}"),
    };
    let stranger = NewMail { origin: Origin::Agent(bob), ..with_file(1, parties, &upload) };
    assert_eq!(fault(stranger), AttachmentFault::Unknown);
    let linked = NewMail { origin: Origin::Node(node(9)), ..with_file(1, parties, &upload) };
    assert_eq!(fault(linked), AttachmentFault::Unknown);
    let changed = |change: fn(&mut Attachment)| {
        let mut new = with_file(1, parties, &upload);
        change(&mut new.attachments[0]);
        fault(new)
    };
    assert_eq!(changed(|file| file.size += 1), AttachmentFault::Differs("size"));
    assert_eq!(changed(|file| file.digest.0[0] ^= 1), AttachmentFault::Differs("digest"));
    assert_eq!(changed(|file| file.filename.push('x')), AttachmentFault::Differs("filename"));
    assert_eq!(changed(|file| file.content_type.push('x')), AttachmentFault::Differs("content_type"));
    let early = requested(2, alice, b"early");
    store.request_upload(early.clone()).wait().unwrap();
    assert_eq!(fault(with_file(2, parties, &early)), AttachmentFault::Pending);
    put(&store, &early, b"early").unwrap();
    assert_eq!(fault(with_file(2, parties, &early)), AttachmentFault::Pending);
    assert!(payloads(&store, bob).is_empty());
    assert_whole(&store);
}

#[test]
fn bytes_other_than_declared_leave_nothing_and_may_be_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (alice, _) = two(&store);
    let upload = requested(1, alice, b"hello");
    store.request_upload(upload.clone()).wait().unwrap();
    for wrong in [&b"hullo"[..], b"hell"] {
        assert_eq!(put(&store, &upload, wrong), None);
        assert_eq!(files(dir.path()), 0);
    }
    drop(store.begin_file(5).unwrap());
    assert_eq!(files(dir.path()), 0);
    assert!(put(&store, &upload, b"hello").is_some());
    assert_eq!(put(&store, &upload, b"hello"), None, "once is enough");
    assert_eq!(files(dir.path()), 1);
}

#[test]
fn equal_files_are_kept_once_and_go_with_the_last_that_names_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let parties @ (alice, bob) = two(&store);
    at_the_time(&store, NOW);
    let (first, second) = (uploaded(&store, 1, alice, b"same"), uploaded(&store, 2, bob, b"same"));
    committed(&store, with_file(1, parties, &first));
    assert_eq!(files(dir.path()), 1);
    at_the_time(&store, NOW.plus(TWO_HOURS));
    assert_eq!((store.upload(&second.id, &second.holder), files(dir.path())), (Ok(None), 1));
    assert_whole(&store);
}

#[test]
fn full_is_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { attachments_per_agent_mib: 2, attachments_mib: 3, ..Config::default() };
    let store = Store::open(dir.path(), config).unwrap();
    let (alice, bob) = two(&store);
    let large = |n: u64, agent| {
        let bytes = vec![n as u8; 1 << 20];
        let upload = requested(n, agent, &bytes);
        let outcome = store.request_upload(upload.clone()).wait().unwrap();
        if outcome == UploadOutcome::Requested {
            put(&store, &upload, &bytes).unwrap();
        }
        outcome
    };
    assert_eq!([large(1, alice), large(2, alice)], [UploadOutcome::Requested; 2]);
    assert_eq!(large(3, alice), UploadOutcome::HolderFull);
    assert_eq!([large(4, bob), large(5, bob)], [UploadOutcome::Requested, UploadOutcome::Full]);
}

#[test]
fn a_full_disk_is_known_before_the_first_byte() {
    let dir = tempfile::tempdir().unwrap();
    let probe = SpaceProbe::new(|| Ok(Space { available: 70 << 20, total: 1 << 40 }));
    let store = Store::open_with_probe(dir.path(), Config::default(), probe).unwrap();
    assert_eq!(store.begin_file(10 << 20).err(), Some(StoreError::DiskFull));
    assert!(store.begin_file(1 << 20).is_ok());
    assert_eq!(files(dir.path()), 0);
}

#[test]
fn parts_of_a_node_that_was_killed_are_gone_after_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).close_and_wait().unwrap();
    std::fs::write(dir.path().join("attachments/7.part"), b"half").unwrap();
    let _store = open(dir.path());
    assert_eq!(files(dir.path()), 0);
}

#[test]
fn a_backup_has_the_files_of_its_messages_and_brings_them_back() {
    let dir = tempfile::tempdir().unwrap();
    let (place, backup) = (dir.path().join("store"), dir.path().join("a.backup"));
    let store = open(&place);
    let parties @ (alice, bob) = two(&store);
    let upload = uploaded(&store, 1, alice, b"hello");
    committed(&store, with_file(1, parties, &upload));
    let report = store.backup(&backup).wait().unwrap();
    assert_eq!((report.files, report.missing_files), (1, 0));
    store.close_and_wait().unwrap();
    std::fs::remove_dir_all(&place).unwrap();
    let restored = restore(&place, &backup, NOW, &mut |_, _| {}).unwrap();
    assert_eq!((restored.files, restored.missing_files), (1, 0));
    let store = open(&place);
    assert_eq!(ids(&store, bob), [id(1)]);
    assert_eq!(std::fs::read(store.file_path(&upload.digest).unwrap()).unwrap(), b"hello");
    assert_whole(&store);
}

#[test]
fn backups_share_their_files_and_keep_what_the_store_has_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let (place, backups) =
        (dir.path().join("store"), ["1.backup", "2.backup"].map(|name| dir.path().join(name)));
    let store = open(&place);
    let parties @ (alice, _) = two(&store);
    at_the_time(&store, NOW);
    let upload = uploaded(&store, 1, alice, b"hello");
    committed(&store, with_file(1, parties, &upload));
    for backup in &backups {
        store.backup(backup).wait().unwrap();
    }
    let file_of = |backup: &Path| backup_files::dir_of(backup).join(upload.digest.hex());
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
    assert_eq!(inode(&file_of(&backups[0])), inode(&file_of(&backups[1])), "one file on the disk");
    at_the_time(&store, NOW.plus(HOUR * 24 * 8));
    assert_eq!(files(&place), 0);
    store.close_and_wait().unwrap();
    std::fs::remove_file(file_of(&backups[0])).unwrap();
    restore(&place, &backups[1], NOW, &mut |_, _| {}).unwrap();
    assert_eq!(std::fs::read(open(&place).file_path(&upload.digest).unwrap()).unwrap(), b"hello");
}

#[test]
fn a_restore_says_which_files_are_lost_and_takes_no_damaged_one_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let (place, backup) = (dir.path().join("store"), dir.path().join("a.backup"));
    let store = open(&place);
    let parties @ (alice, bob) = two(&store);
    let [gone, damaged] =
        [(1, "gone"), (2, "fine")].map(|(n, text)| uploaded(&store, n, alice, text.as_bytes()));
    committed(&store, with_file(1, parties, &gone));
    committed(&store, with_file(2, parties, &damaged));
    store.backup(&backup).wait().unwrap();
    store.close_and_wait().unwrap();
    std::fs::remove_dir_all(&place).unwrap();
    let beside = backup_files::dir_of(&backup);
    std::fs::remove_file(beside.join(gone.digest.hex())).unwrap();
    std::fs::write(beside.join(damaged.digest.hex()), b"evil").unwrap();
    let restored = restore(&place, &backup, NOW, &mut |_, _| {}).unwrap();
    assert_eq!((restored.files, restored.missing_files), (0, 2));
    let store = open(&place);
    assert_eq!(ids(&store, bob), [id(1), id(2)], "the messages can be read");
    assert_eq!(files(&place), 0);
    assert!(!store.verify(&mut |_| {}).unwrap().is_whole());
    // Who has the file brings it again under the same name.
    assert_eq!(
        store.request_upload(Upload { stage: Stage::Requested, ..gone.clone() }).wait(),
        Ok(UploadOutcome::Requested)
    );
    assert!(put(&store, &gone, b"gone").is_some());
    assert_eq!(std::fs::read(store.file_path(&gone.digest).unwrap()).unwrap(), b"gone");
}

#[test]
fn a_restore_keeps_the_files_that_are_here_where_the_backup_has_lost_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (place, backup) = (dir.path().join("store"), dir.path().join("a.backup"));
    let store = open(&place);
    let parties @ (alice, _) = two(&store);
    let upload = uploaded(&store, 1, alice, b"hello");
    committed(&store, with_file(1, parties, &upload));
    store.backup(&backup).wait().unwrap();
    store.close_and_wait().unwrap();
    std::fs::remove_dir_all(backup_files::dir_of(&backup)).unwrap();
    let restored = restore(&place, &backup, NOW, &mut |_, _| {}).unwrap();
    assert_eq!((restored.files, restored.missing_files), (1, 0));
    assert_whole(&open(&place));
}

#[test]
fn a_backup_that_cannot_be_finished_leaves_nothing_and_harms_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (place, backup) = (dir.path().join("store"), dir.path().join("a.backup"));
    let store = open(&place);
    let parties @ (alice, bob) = two(&store);
    let upload = uploaded(&store, 1, alice, b"hello");
    let theirs = backup_files::dir_of(&backup);
    std::fs::create_dir(&theirs).unwrap();
    assert!(store.backup(&backup).wait().unwrap_err().to_string().contains("there already"));
    let names =
        |dir: &Path| std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect::<Vec<_>>();
    let left = names(dir.path());
    assert!(left.len() == 2 && theirs.is_dir(), "{left:?}");
    committed(&store, with_file(1, parties, &upload));
    assert_eq!(ids(&store, bob), [id(1)]);
    store.close_and_wait().unwrap();
    // The process ended while a backup held on to files.
    std::fs::create_dir(place.join("backing-up-7")).unwrap();
    std::fs::write(place.join("backing-up-7").join("x"), b"x").unwrap();
    assert_whole(&open(&place));
    assert!(names(&place).iter().all(|path| !path.to_string_lossy().contains("backing-up")));
}

#[test]
fn a_pull_that_begins_again_takes_no_more_room_than_one() {
    let (store, _) = memory();
    let upload = Upload { holder: Holder::Node(node(9)), ..requested(1, AgentNo(0), b"hello") };
    for _ in 0..10_010 {
        assert_eq!(store.request_upload(upload.clone()).wait(), Ok(UploadOutcome::Requested));
    }
}

#[test]
fn files_asked_for_before_there_were_too_many_are_not_taken_after() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Config { attachments_mib: 1, ..Config::default() }).unwrap();
    let (alice, bob) = two(&store);
    let bytes = vec![7; 600_000];
    let late = requested(2, bob, &bytes);
    assert_eq!(store.request_upload(late).wait(), Ok(UploadOutcome::Requested));
    uploaded(&store, 1, alice, &bytes);
    assert!(matches!(store.begin_file(600_000), Err(StoreError::DiskFull)));
    assert!(store.begin_file(400_000).is_ok());
    let full = requested(3, bob, &bytes);
    assert_eq!(store.request_upload(full).wait(), Ok(UploadOutcome::Full));
}
