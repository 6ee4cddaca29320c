//! What the pretended disk keeps and loses.

use super::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

fn event(line: usize, call: Call) -> Event {
    Event { began: line, ended: line, call }
}

fn create(path: &str) -> Call {
    Call::Open { path: path.into(), create: true, truncate: false, append: false }
}

fn write(path: &str, offset: u64, data: &[u8]) -> Call {
    Call::Write { path: path.into(), offset: Some(offset), data: data.to_vec() }
}

fn sync(path: &str) -> Call {
    Call::Sync { path: path.into() }
}

fn left(calls: Vec<Call>, loss: Loss) -> Option<Vec<u8>> {
    let mut disk = Disk::new(Path::new("/d"));
    for (line, call) in calls.into_iter().enumerate() {
        disk.apply(&event(line, call));
    }
    let target = tempfile::tempdir().unwrap();
    disk.after_power_loss(target.path(), loss, &mut StdRng::seed_from_u64(1)).unwrap();
    std::fs::read(target.path().join("db")).ok()
}

#[test]
fn what_is_synced_with_its_name_survives() {
    let calls = vec![
        create("/d/db"),
        write("/d/db", 0, b"kept"),
        sync("/d/db"),
        sync("/d"),
        write("/d/db", 4, b"lost"),
    ];
    assert_eq!(left(calls, Loss::Everything).unwrap(), b"kept");
}

#[test]
fn a_file_whose_directory_was_not_synced_is_gone() {
    let calls = vec![create("/d/db"), write("/d/db", 0, b"kept"), sync("/d/db")];
    assert_eq!(left(calls, Loss::Everything), None);
}

#[test]
fn a_process_that_dies_loses_nothing_it_wrote() {
    let calls = vec![create("/d/db"), write("/d/db", 0, b"a"), write("/d/db", 1, b"b")];
    assert_eq!(left(calls, Loss::Nothing).unwrap(), b"ab");
}

#[test]
fn a_sync_that_began_before_the_write_ended_does_not_cover_it() {
    let mut disk = Disk::new(Path::new("/d"));
    disk.apply(&event(0, create("/d/db")));
    disk.apply(&event(1, sync("/d")));
    disk.apply(&Event { began: 2, ended: 4, call: write("/d/db", 0, b"msg_1_ab") });
    disk.apply(&Event { began: 3, ended: 5, call: sync("/d/db") });
    assert!(disk.has_unsynced("msg_1_ab") && !disk.is_durable("msg_1_ab"));
    disk.apply(&Event { began: 6, ended: 7, call: sync("/d/db") });
    assert!(!disk.has_unsynced("msg_1_ab") && disk.is_durable("msg_1_ab"));
}

#[test]
fn pieces_of_a_long_write_are_lost_one_by_one() {
    let long = vec![7_u8; 100 * 4096];
    let calls = vec![create("/d/db"), sync("/d"), write("/d/db", 0, &long)];
    let found = left(calls, Loss::Pieces(0.5)).unwrap();
    let kept = found.chunks(4096).filter(|piece| piece[0] == 7).count();
    assert!(kept > 20 && kept < 80, "{kept} of 100 pieces were kept");
}

#[test]
fn a_directory_made_whole_and_renamed_is_there_whole_or_not_at_all() {
    let made = || {
        let directory = |path: &str| Call::MakeDirectory { path: path.into() };
        let rename = Call::Rename { from: "/d/new".into(), to: "/d/old".into() };
        vec![directory("/d/new"), create("/d/new/db"), sync("/d/new/db"), sync("/d/new"), rename]
    };
    for seed in 0..20 {
        let mut disk = Disk::new(Path::new("/d"));
        for (line, call) in made().into_iter().enumerate() {
            disk.apply(&event(line, call));
        }
        let target = tempfile::tempdir().unwrap();
        disk.after_power_loss(target.path(), Loss::Pieces(0.5), &mut StdRng::seed_from_u64(seed)).unwrap();
        let there = target.path().join("old").exists();
        assert_eq!(there, target.path().join("old/db").exists(), "seed {seed}");
        assert!(!(there && target.path().join("new").exists()), "seed {seed}");
    }
}
