//! What ends when, and clocks that cannot be believed.

use super::*;

/// Runs rounds until nothing is due; each an hour of uptime after the last.
fn expire(store: &Store, now: UnixMillis, notices: Vec<(Seq, Mail)>) -> Expired {
    // The first look learns what the clock says; the second, an hour of uptime later, believes it.
    let boot = 100 * HOUR;
    let mut sum = store.expire(now, boot, notices.clone()).wait().unwrap();
    if sum.unsteady_for.is_some() {
        sum = store.expire(now.plus(HOUR), boot + HOUR, notices).wait().unwrap();
    }
    let mut last = sum;
    while last.more {
        last = store.expire(now.plus(HOUR), boot + HOUR, Vec::new()).wait().unwrap();
        sum.mailbox += last.mailbox;
        sum.outbox += last.outbox;
        sum.forgotten += last.forgotten;
    }
    sum
}

#[test]
fn expired_mail_leaves_the_mailbox_and_its_sender_is_told() {
    let (store, _disk) = memory();
    let (alice, bob) = (register(&store, "alice"), register(&store, "bob"));
    let short = Mail { expires_at: NOW.plus(HOUR), ..mail("alice", "bob", 1) };
    let receipt = committed(&store, local(short.clone(), alice, bob));
    committed(&store, local(mail("alice", "bob", 2), alice, bob));
    let later = NOW.plus(2 * HOUR);
    assert_eq!(store.expiring(NOW, 10).unwrap(), []);
    let expiring = store.expiring(later, 10).unwrap();
    assert_eq!(
        expiring,
        [Expiring { seq: receipt.seq, place: Place::Mailbox(bob), sender: Some(alice), mail: short }]
    );
    let ended = expire(&store, later, vec![(receipt.seq, mail("postmaster", "alice", 50))]);
    assert_eq!((ended.mailbox, ended.outbox), (1, 0));
    assert_eq!(ids(&store, bob), [id(2)]);
    assert_eq!(ids(&store, alice), [id(50)]);
    let status = store.message_status(alice, &id(1)).unwrap().unwrap();
    assert!(matches!(status.state, MessageState::Failed { code, .. } if code == "expired"));
    assert_whole(&store);
}

#[test]
fn expired_mail_leaves_the_outbox_and_its_lane_goes_on() {
    let (store, _disk) = memory();
    let alice = register(&store, "alice");
    let short = Mail { expires_at: NOW.plus(HOUR), ..mail("alice", "ann", 1) };
    let receipt = committed(&store, outgoing(short, alice, to_node(2)));
    committed(&store, outgoing(mail("alice", "ann", 2), alice, to_node(2)));
    let later = NOW.plus(2 * HOUR);
    assert_eq!(store.expiring(later, 10).unwrap()[0].place, Place::Outbox(to_node(2)));
    let ended = expire(&store, later, vec![(receipt.seq, mail("postmaster", "alice", 50))]);
    assert_eq!(ended.outbox, 1);
    let left = store.outbox(&to_node(2), None, 9).unwrap();
    assert_eq!((left.len(), left[0].floor), (1, left[0].number));
    assert_eq!(ids(&store, alice), [id(50)]);
    assert_whole(&store);
}

#[test]
fn a_seen_id_outlives_its_message_by_a_day() {
    let (store, _disk) = memory();
    let (alice, bob) = (register(&store, "alice"), register(&store, "bob"));
    committed(&store, local(mail("alice", "bob", 1), alice, bob));
    committed(&store, linked(mail("ann", "bob", 2), bob, 1, 1));
    let repeat = |store: &Store| {
        [local(mail("alice", "bob", 1), alice, bob), linked(mail("ann", "bob", 2), bob, 1, 1)]
            .map(|new| matches!(commit(store, new), CommitOutcome::Repeat { .. }))
    };
    expire(&store, NOW.plus(WEEK + 20 * HOUR), Vec::new());
    assert_eq!(ids(&store, bob), []);
    assert_eq!(repeat(&store), [true, true]);
    expire(&store, NOW.plus(WEEK + 26 * HOUR), Vec::new());
    assert_eq!(repeat(&store), [false, false]);
    assert_whole(&store);
}

#[test]
fn nothing_that_ended_early_is_ended_twice() {
    let (store, _disk) = memory();
    let (alice, bob) = (register(&store, "alice"), register(&store, "bob"));
    committed(&store, local(mail("alice", "bob", 1), alice, bob));
    store.acknowledge(bob, vec![id(1)]).wait().unwrap();
    let ended = expire(&store, NOW.plus(WEEK + HOUR), Vec::new());
    assert_eq!((ended.mailbox, ended.outbox), (0, 0));
    let state = store.message_status(alice, &id(1)).unwrap().unwrap().state;
    assert_eq!(state, MessageState::Delivered { basis: "acknowledged".into() });
}

#[test]
fn nothing_ends_while_the_clock_cannot_be_believed() {
    let (store, disk) = memory();
    let (alice, bob) = (register(&store, "alice"), register(&store, "bob"));
    committed(&store, local(mail("alice", "bob", 1), alice, bob));
    let steady = store.expire(NOW, HOUR, Vec::new()).wait().unwrap();
    assert_eq!(steady.unsteady_for, None);
    let wrong = NOW.plus(520 * WEEK);
    let jumped = store.expire(wrong, HOUR + HOUR / 60, Vec::new()).wait().unwrap();
    assert_eq!((jumped.mailbox, jumped.unsteady_for), (0, Some(HOUR)));
    let set_right = store.expire(NOW.plus(HOUR / 30), HOUR + HOUR / 30, Vec::new()).wait().unwrap();
    assert!(set_right.unsteady_for.is_some());
    assert_eq!(ids(&store, bob), [id(1)]);
    let store = Store::on_memory(&disk, Config::default()).unwrap();
    let restarted = store.expire(wrong, HOUR / 60, Vec::new()).wait().unwrap();
    assert_eq!(restarted.unsteady_for, Some(HOUR), "a restart with a wrong clock is a jump");
    let store = Store::on_memory(&disk, Config::default()).unwrap();
    let again = store.expire(wrong, HOUR / 60, Vec::new()).wait().unwrap();
    assert_eq!(again.unsteady_for, Some(HOUR), "a restart within that hour begins it anew");
    assert_eq!(ids(&store, bob), [id(1)]);
}

#[test]
fn tombstones_and_old_keys_go_after_ninety_days() {
    let (store, _disk) = memory();
    let alice = register(&store, "alice");
    let bob = register(&store, "bob");
    let key = NewKey {
        replaces: b"key of alice".to_vec(),
        key_algorithm: KeyAlgorithm::Ed25519,
        public_key_der: b"second".to_vec(),
        old_is_compromised: false,
    };
    store.rotate_agent_key(alice, key, NOW).wait().unwrap();
    store.deregister_agent(bob, NOW).wait().unwrap();
    let day = 24 * HOUR;
    expire(&store, NOW.plus(89 * day), Vec::new());
    assert_eq!(store.own_roster().unwrap().entries.len(), 2);
    let before = store.own_roster().unwrap().version;
    expire(&store, NOW.plus(91 * day), Vec::new());
    let roster = store.own_roster().unwrap();
    assert!(roster.version > before);
    assert_eq!(roster.entries.len(), 1);
    assert!(roster.entries[0].previous_keys.is_empty());
}

#[test]
fn a_great_many_end_in_bounded_rounds() {
    let config = Config { mailbox_new: 10_000, ..Config::default() };
    let (store, _disk) = Store::in_memory(config).unwrap();
    let (alice, bob) = (register(&store, "alice"), register(&store, "bob"));
    for n in 0..200 {
        let expires_at = NOW.plus(Duration::from_secs(60 * n));
        committed(&store, local(Mail { expires_at, ..mail("alice", "bob", n) }, alice, bob));
    }
    let ended = expire(&store, NOW.plus(5 * HOUR), Vec::new());
    assert!(ended.more);
    assert_eq!(ended.mailbox, 200);
    assert_eq!(store.pending_count(bob), 0);
    assert_whole(&store);
}
