//! Promise 1 of DESIGN §1: accepted means durable; a failed sync is never success.

use super::*;

#[test]
fn what_was_answered_survives_the_loss_of_power() {
    let (store, disk) = memory();
    let (alice, bob) = (register(&store, "alice"), register(&store, "bob"));
    committed(&store, local(mail("alice", "bob", 1), alice, bob));
    disk.crash();
    let store = Store::on_memory(&disk, Config::default()).unwrap();
    assert_eq!(ids(&store, bob), [id(1)]);
    assert_eq!(store.pending_count(bob), 1);
    assert_whole(&store);
}

#[test]
fn a_store_on_disk_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data").join("store");
    let store = Store::open(&path, Config::default()).unwrap();
    let (alice, bob) = (register(&store, "alice"), register(&store, "bob"));
    let large = Mail { payload: vec![b'x'; 100_000], ..mail("alice", "bob", 2) };
    committed(&store, local(mail("alice", "bob", 1), alice, bob));
    committed(&store, local(large.clone(), alice, bob));
    let ann = committed(&store, outgoing(mail("alice", "ann", 3), alice, to_node(2)));
    let (generation, roster) = (store.generation(), store.own_roster().unwrap());
    store.close_and_wait().unwrap();

    let store = Store::open(&path, Config::default()).unwrap();
    assert_eq!(ids(&store, bob), [id(1), id(2)]);
    assert_eq!(store.entry(bob, &id(2)).unwrap().unwrap().mail, large);
    assert_eq!(store.outbox(&to_node(2), None, 9).unwrap()[0].seq, ann.seq);
    assert_eq!((store.generation(), store.own_roster().unwrap()), (generation, roster));
    let next = committed(&store, local(mail("alice", "bob", 4), alice, bob));
    assert!(next.seq > ann.seq);
    assert_whole(&store);
}

#[test]
fn a_failed_commit_or_sync_is_never_success_and_the_store_comes_back() {
    for fault in [Fault::Commit, Fault::Sync] {
        let (store, disk) = memory();
        let (alice, bob) = (register(&store, "alice"), register(&store, "bob"));
        disk.fail_next(fault);
        let group: Vec<_> =
            (0..20).map(|n| store.commit_mail(local(mail("alice", "bob", n), alice, bob))).collect();
        let answers: Vec<_> = group.into_iter().map(Durable::wait).collect();
        assert!(answers.iter().any(Result::is_err), "{fault:?}");
        let mut answered: Vec<_> =
            answers.iter().zip(0..).filter(|(answer, _)| answer.is_ok()).map(|(_, n)| id(n)).collect();
        // The failed ones are repeated, as a sender would.
        for (n, answer) in (0..).zip(&answers) {
            while answer.is_err() {
                match store.commit_mail(local(mail("alice", "bob", n), alice, bob)).wait() {
                    Ok(_) => break,
                    Err(error) => assert!(matches!(error, StoreError::Failed { .. }), "{error}"),
                }
            }
        }
        answered.retain(|id| !ids(&store, bob).contains(id));
        assert_eq!(answered, [], "answered and lost");
        assert_eq!(ids(&store, bob).len(), 20);
        assert_whole(&store);
    }
}

#[test]
fn nobody_is_shown_mail_whose_sync_failed() {
    let (store, disk) = memory();
    let (alice, bob) = (register(&store, "alice"), register(&store, "bob"));
    disk.fail_next(Fault::Sync);
    let failed = store.commit_mail(local(mail("alice", "bob", 1), alice, bob)).wait();
    assert!(failed.is_err());
    disk.crash();
    let store = Store::on_memory(&disk, Config::default()).unwrap();
    assert_eq!(ids(&store, bob), []);
    assert_whole(&store);
}

#[test]
fn many_callers_share_a_sync() {
    let (store, disk) = memory();
    let (alice, bob) = (register(&store, "alice"), register(&store, "bob"));
    let before = disk.syncs();
    let waiting: Vec<_> = disk.while_stuck(|| {
        (0..500).map(|n| store.commit_mail(local(mail("alice", "bob", n), alice, bob))).collect()
    });
    waiting.into_iter().for_each(|durable| assert!(durable.wait().is_ok()));
    assert!(disk.syncs() - before < 5, "{} syncs for 500 messages", disk.syncs() - before);
    let order: Vec<_> = (0..500).map(id).collect();
    assert_eq!(ids(&store, bob), order, "committed in call order");
}

#[test]
fn a_dropped_future_cancels_nothing() {
    let (store, _disk) = memory();
    let (alice, bob) = (register(&store, "alice"), register(&store, "bob"));
    drop(store.commit_mail(local(mail("alice", "bob", 1), alice, bob)));
    committed(&store, local(mail("alice", "bob", 2), alice, bob));
    assert_eq!(ids(&store, bob), [id(1), id(2)]);
}

#[test]
fn closing_answers_what_was_handed_in_and_refuses_what_comes_after() {
    let (store, _disk) = memory();
    let (alice, bob) = (register(&store, "alice"), register(&store, "bob"));
    let clone = store.clone();
    let last = store.commit_mail(local(mail("alice", "bob", 1), alice, bob));
    store.close_and_wait().unwrap();
    assert!(last.wait().is_ok());
    let late = clone.commit_mail(local(mail("alice", "bob", 2), alice, bob));
    assert_eq!(late.wait(), Err(StoreError::Closed));
    assert_eq!(clone.close_and_wait(), Err(StoreError::Closed));
}

#[test]
fn a_full_disk_refuses_mail_keeps_serving_and_recovers() {
    let (store, disk) = memory();
    let (alice, bob) = (register(&store, "alice"), register(&store, "bob"));
    committed(&store, local(mail("alice", "bob", 1), alice, bob));
    let waiting = committed(&store, outgoing(mail("alice", "ann", 2), alice, to_node(2)));
    disk.set_full(true);
    let mut n = 10;
    while commit(&store, local(mail("alice", "bob", n), alice, bob)) != CommitOutcome::DiskFull {
        n += 1;
        assert!(n < 10_000_000, "the full disk is never noticed");
    }
    let repeat = commit(&store, local(mail("alice", "bob", 1), alice, bob));
    assert!(matches!(repeat, CommitOutcome::Repeat { .. }), "what is on disk is on disk");
    assert_eq!(store.acknowledge(bob, vec![id(1)]).wait().unwrap(), [id(1)]);
    let settled = vec![(waiting.seq, Settlement::Delivered { basis: "committed".into() })];
    store.settle(&to_node(2), settled, NOW).wait().unwrap();
    disk.set_full(false);
    while commit(&store, local(mail("alice", "bob", n), alice, bob)) == CommitOutcome::DiskFull {
        n += 1;
        assert!(n < 20_000_000, "the room is never noticed");
    }
    assert!(ids(&store, bob).contains(&id(n)));
}

#[tokio::test]
async fn changes_are_futures() {
    let (store, _disk) = memory();
    let RegisterOutcome::Registered(alice) = store.register_agent(new_agent("alice")).await.unwrap() else {
        panic!("not registered");
    };
    assert_eq!(alice.address, address("alice"));
    store.close().await.unwrap();
}

/// sled's own threads, or a process that ends, may hold the lock for a moment after the store was closed.
#[test]
fn a_store_that_is_just_closing_is_waited_for_and_one_that_is_open_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    Store::open(dir.path(), Config::default()).unwrap().close_and_wait().unwrap();
    let held = std::fs::File::open(dir.path().join("db")).unwrap();
    held.lock().unwrap();
    let closing = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        drop(held);
    });
    let store = Store::open(dir.path(), Config::default());
    closing.join().unwrap();
    let store = store.unwrap();
    assert!(matches!(Store::open(dir.path(), Config::default()), Err(OpenError::InUse { .. })));
    assert_whole(&store);
}
