//! The outbox: numbered lanes, limits, settlements and the notices they leave.

use super::*;

fn entries(store: &Store, destination: &Destination) -> Vec<OutboxEntry> {
    store.outbox(destination, None, 10_000).unwrap()
}

fn settle(store: &Store, seq: Seq, settlement: Settlement) {
    store.settle(&to_node(2), vec![(seq, settlement)], NOW.plus(HOUR)).wait().unwrap();
}

fn delivered() -> Settlement {
    Settlement::Delivered { basis: "committed".into() }
}

fn refused(notice: Option<Mail>) -> Settlement {
    Settlement::Refused { code: "not_found".into(), detail: "nobody here".into(), notice }
}

#[test]
fn a_lane_is_numbered_without_holes_and_shows_its_floor() {
    let (store, _disk) = memory();
    let alice = register(&store, "alice");
    for n in 0..4 {
        committed(&store, outgoing(mail("alice", "ann", n), alice, to_node(2)));
    }
    let waiting = entries(&store, &to_node(2));
    let first = waiting[0].number;
    let numbers: Vec<_> = waiting.iter().map(|entry| entry.number - first).collect();
    assert_eq!(numbers, [0, 1, 2, 3]);
    assert!(waiting.iter().all(|entry| entry.floor == first));
    settle(&store, waiting[0].seq, delivered());
    settle(&store, waiting[1].seq, Settlement::Dropped);
    let left = entries(&store, &to_node(2));
    assert!(left.iter().all(|entry| entry.floor == first + 2));
    assert_eq!(left.len(), 2);
    assert_whole(&store);
}

#[test]
fn numbers_never_come_again_even_after_a_restart() {
    let (store, disk) = memory();
    let alice = register(&store, "alice");
    let send = |store: &Store, n| {
        committed(store, outgoing(mail("alice", "ann", n), alice, to_node(2)));
        entries(store, &to_node(2)).last().unwrap().number
    };
    let (a, b, c) = (send(&store, 1), send(&store, 2), send(&store, 3));
    let waiting = entries(&store, &to_node(2));
    settle(&store, waiting[2].seq, delivered());
    let store = Store::on_memory(&disk, Config::default()).unwrap();
    let d = send(&store, 4);
    for entry in entries(&store, &to_node(2)) {
        settle(&store, entry.seq, delivered());
    }
    let e = send(&store, 5);
    assert!(a < b && b < c && c < d && d < e, "{a} {b} {c} {d} {e}");
    assert_eq!((b, c, d), (a + 1, a + 2, a + 3));
    let begun = &entries(&store, &to_node(2))[0];
    assert_eq!(begun.number, begun.floor, "a lane that was empty begins at its floor");
    assert_whole(&store);
}

#[test]
fn what_one_end_numbers_the_other_end_takes() {
    let ((here, _), (there, _)) = (memory(), memory());
    let (alice, ann) = (register(&here, "alice"), register(&there, "ann"));
    for n in 0..6 {
        committed(&here, outgoing(mail("alice", "ann", n), alice, to_node(2)));
    }
    let sent = entries(&here, &to_node(2));
    settle(&here, sent[3].seq, Settlement::Expired { notice: None });
    let mut taken = 0;
    while here.outbox_len(&to_node(2)) > 0 {
        for entry in entries(&here, &to_node(2)) {
            let outcome = commit(&there, linked(entry.mail, ann, entry.number, entry.floor));
            if let CommitOutcome::Committed { .. } = outcome {
                settle(&here, entry.seq, delivered());
                taken += 1;
            }
        }
    }
    assert_eq!(taken, 5);
    assert_eq!(ids(&there, ann), [id(0), id(1), id(2), id(4), id(5)]);
}

#[test]
fn a_repeated_submission_is_a_repeat_also_after_it_left() {
    let (store, _disk) = memory();
    let alice = register(&store, "alice");
    let first = committed(&store, outgoing(mail("alice", "ann", 1), alice, to_node(2)));
    settle(&store, first.seq, delivered());
    let again = commit(&store, outgoing(mail("alice", "ann", 1), alice, to_node(2)));
    assert_eq!(again, CommitOutcome::Repeat { first });
    assert_eq!(store.outbox_len(&to_node(2)), 0);
    let other = Mail { payload: b"{}".to_vec(), ..mail("alice", "ann", 1) };
    assert_eq!(commit(&store, outgoing(other, alice, to_node(2))), CommitOutcome::Conflict);
}

#[test]
fn every_limit_of_the_outbox_is_an_answer() {
    let limits = [
        Config { outbox_messages: 2, ..Config::default() },
        Config { outbox_per_agent: 2, ..Config::default() },
    ];
    for config in limits {
        let (store, _disk) = Store::in_memory(config).unwrap();
        let alice = register(&store, "alice");
        let send = |n, destination| commit(&store, outgoing(mail("alice", "ann", n), alice, destination));
        for n in 0..2 {
            assert!(matches!(send(n, to_node(2)), CommitOutcome::Committed { .. }));
        }
        assert_eq!(send(2, to_node(2)), CommitOutcome::QueueFull);
        assert!(matches!(send(3, to_node(3)), CommitOutcome::Committed { .. }), "each destination by itself");
        let first = entries(&store, &to_node(2))[0].seq;
        settle(&store, first, delivered());
        assert!(matches!(send(2, to_node(2)), CommitOutcome::Committed { .. }));
    }
    let (store, _disk) = Store::in_memory(Config { outbox_mib: 1, ..Config::default() }).unwrap();
    let alice = register(&store, "alice");
    let big = |n| Mail { payload: vec![b' '; 700_000], ..mail("alice", "ann", n) };
    committed(&store, outgoing(big(1), alice, to_node(2)));
    assert_eq!(commit(&store, outgoing(big(2), alice, to_node(2))), CommitOutcome::QueueFull);
}

#[test]
fn refused_mail_leaves_a_notice_and_a_failed_status() {
    let (store, _disk) = memory();
    let alice = register(&store, "alice");
    let sent = committed(&store, outgoing(mail("alice", "ann", 1), alice, to_node(2)));
    settle(&store, sent.seq, refused(Some(mail("postmaster", "alice", 50))));
    let status = store.message_status(alice, &id(1)).unwrap().unwrap();
    assert_eq!(status.state, MessageState::Failed { code: "not_found".into(), detail: "nobody here".into() });
    assert_eq!(status.changed_at, NOW.plus(HOUR));
    assert_eq!(ids(&store, alice), [id(50)]);
    settle(&store, sent.seq, refused(Some(mail("postmaster", "alice", 51))));
    assert_eq!(ids(&store, alice), [id(50)], "settling twice leaves one notice");
    assert_whole(&store);
}

#[test]
fn a_system_message_is_never_bounced() {
    let (store, _disk) = memory();
    let alice = register(&store, "alice");
    let new = outgoing(mail("alice", "ann", 1), alice, to_node(2));
    let sent = committed(&store, NewMail { origin: Origin::System, ..new });
    settle(&store, sent.seq, refused(Some(mail("postmaster", "alice", 50))));
    assert_eq!(ids(&store, alice), []);
}

#[test]
fn destinations_are_listed_with_what_waits() {
    let (store, _disk) = memory();
    let alice = register(&store, "alice");
    let provider = Destination::Provider("agents.example".into());
    committed(&store, outgoing(mail("alice", "ann", 1), alice, to_node(2)));
    committed(&store, outgoing(mail("alice", "joe", 2), alice, provider.clone()));
    let den = Destination::HttpHost("den".into());
    committed(&store, outgoing(mail("alice", "kim", 3), alice, den.clone()));
    let listed = store.outbox_destinations();
    let all: Vec<_> = listed.iter().map(|queue| (queue.destination.clone(), queue.count)).collect();
    assert_eq!(all, [(den, 1), (to_node(2), 1), (provider.clone(), 1)]);
    assert!(listed.iter().all(|queue| queue.bytes > 0));
    assert_eq!(entries(&store, &provider)[0].mail.id, id(2));
}

#[test]
fn the_urgent_is_found_at_the_end_of_a_long_queue_also_after_a_restart() {
    let (store, disk) = memory();
    let alice = register(&store, "alice");
    let send = |store: &Store, n, priority| {
        committed(store, outgoing(Mail { priority, ..mail("alice", "ann", n) }, alice, to_node(2)));
    };
    (0..100).for_each(|n| send(&store, n, Priority::Normal));
    (100..103).for_each(|n| send(&store, n, Priority::Urgent));
    send(&store, 103, Priority::Low);
    let store = Store::on_memory(&disk, Config::default()).unwrap();
    let found = |class, after, limit| store.outbox_of(&to_node(2), class, after, limit).unwrap();
    let numbers = |found: &[OutboxEntry]| found.iter().map(|entry| entry.mail.id.clone()).collect::<Vec<_>>();
    let urgent = found(Priority::Urgent, None, 2);
    assert_eq!(numbers(&urgent), [id(100), id(101)]);
    assert_eq!(urgent[1].floor, urgent[0].number);
    assert_eq!(numbers(&found(Priority::Urgent, Some(urgent[1].seq), 2)), [id(102)]);
    assert_eq!(numbers(&found(Priority::Low, None, 9)), [id(103)]);
    assert_eq!(found(Priority::Normal, None, 200).len(), 100);
    settle(&store, urgent[0].seq, delivered());
    assert_eq!(numbers(&found(Priority::Urgent, None, 9)), [id(101), id(102)]);
    assert_whole(&store);
}

#[test]
fn what_an_http_host_took_is_remembered_with_the_id_it_gave_it() {
    let (store, _disk) = memory();
    let alice = register(&store, "alice");
    let den = Destination::HttpHost("den".into());
    let sent = committed(&store, outgoing(mail("alice", "kim", 3), alice, den.clone()));
    let taken = Settlement::Taken { remote_id: Some("msg_9_theirs".into()) };
    store.settle(&den, vec![(sent.seq, taken)], NOW).wait().unwrap();
    assert_eq!(entries(&store, &den), []);
    let state = store.message_status(alice, &id(3)).unwrap().unwrap().state;
    assert_eq!(state, MessageState::Taken { remote_id: Some("msg_9_theirs".into()) });
}

#[test]
fn a_carrier_is_given_the_first_message_of_each_lane_that_it_asks_for() {
    let (store, _disk) = memory();
    let alice = register(&store, "alice");
    for (to, n) in [("ann", 0), ("ann", 1), ("ben", 2)] {
        committed(&store, outgoing(mail("alice", to, n), alice, to_node(2)));
    }
    let heads = |part: &dyn Fn(LaneMark) -> LanePart| {
        store.outbox_heads(&to_node(2), part, &Priority::ALL, 9).unwrap()
    };
    let first = heads(&|_| LanePart::Whole);
    let waiting = entries(&store, &to_node(2));
    let seqs =
        |heads: &[(LaneMark, OutboxEntry)]| heads.iter().map(|(_, entry)| entry.seq).collect::<Vec<_>>();
    assert_eq!(seqs(&first), [waiting[0].seq, waiting[2].seq]);
    let (ann, number) = (first[0].0, first[0].1.number);
    let beyond = heads(&|lane| if lane == ann { LanePart::Beyond(number) } else { LanePart::Nothing });
    assert_eq!(seqs(&beyond), [waiting[1].seq]);
    assert_eq!(heads(&|_| LanePart::Nothing), []);
}
