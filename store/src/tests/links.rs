//! Lanes of mail from links (DESIGN §1.7): in order, and numbers never lose mail.

use super::*;

#[test]
fn a_gap_is_refused_and_the_lane_waits() {
    let (store, _disk) = memory();
    let bob = register(&store, "bob");
    committed(&store, linked(mail("ann", "bob", 1), bob, 1, 1));
    let gap = commit(&store, linked(mail("ann", "bob", 3), bob, 3, 1));
    assert_eq!(gap, CommitOutcome::LaneGap { expected: 2 });
    committed(&store, linked(mail("ann", "bob", 2), bob, 2, 1));
    committed(&store, linked(mail("ann", "bob", 3), bob, 3, 1));
    assert_eq!(ids(&store, bob), [id(1), id(2), id(3)]);
}

#[test]
fn lanes_of_other_senders_and_priorities_do_not_wait() {
    let (store, _disk) = memory();
    let bob = register(&store, "bob");
    committed(&store, linked(mail("ann", "bob", 1), bob, 1, 1));
    committed(&store, linked(mail("eve", "bob", 2), bob, 1, 1));
    let urgent = Mail { priority: Priority::Urgent, ..mail("ann", "bob", 3) };
    committed(&store, linked(urgent, bob, 1, 1));
}

#[test]
fn an_earlier_number_that_was_never_seen_is_not_lost() {
    let (store, _disk) = memory();
    let bob = register(&store, "bob");
    committed(&store, linked(mail("ann", "bob", 5), bob, 5, 5));
    committed(&store, linked(mail("ann", "bob", 2), bob, 2, 2));
    let repeat = commit(&store, linked(mail("ann", "bob", 2), bob, 2, 2));
    assert!(matches!(repeat, CommitOutcome::Repeat { .. }));
    committed(&store, linked(mail("ann", "bob", 6), bob, 6, 6));
}

#[test]
fn later_is_no_step_forward() {
    let config = Config { mailbox_new: 1, ..Config::default() };
    let (store, _disk) = Store::in_memory(config).unwrap();
    let bob = register(&store, "bob");
    committed(&store, linked(mail("ann", "bob", 1), bob, 1, 1));
    assert_eq!(commit(&store, linked(mail("ann", "bob", 2), bob, 2, 1)), CommitOutcome::MailboxFull);
    let after = commit(&store, linked(mail("ann", "bob", 3), bob, 3, 1));
    assert_eq!(after, CommitOutcome::LaneGap { expected: 2 }, "order holds behind a full mailbox");
    store.acknowledge(bob, vec![id(1)]).wait().unwrap();
    committed(&store, linked(mail("ann", "bob", 2), bob, 2, 2));
}

#[test]
fn a_repeat_that_is_next_in_its_lane_moves_the_lane_on() {
    let (store, _disk) = memory();
    let bob = register(&store, "bob");
    committed(&store, linked(mail("ann", "bob", 1), bob, 1, 1));
    // The origin was restored from a backup: a new generation repeats old mail and goes on with new mail.
    let anew = |n, number| NewMail {
        lane: Some(LaneStamp { generation: 8, number, floor: 40 }),
        ..linked(mail("ann", "bob", n), bob, 0, 0)
    };
    assert!(matches!(commit(&store, anew(1, 40)), CommitOutcome::Repeat { .. }));
    committed(&store, anew(2, 41));
}

#[test]
fn what_a_link_brings_twice_is_once_in_the_mailbox() {
    let (store, _disk) = memory();
    let bob = register(&store, "bob");
    let first = committed(&store, linked(mail("ann", "bob", 1), bob, 1, 1));
    store.acknowledge(bob, vec![id(1)]).wait().unwrap();
    let again = commit(&store, linked(mail("ann", "bob", 1), bob, 1, 1));
    assert_eq!(again, CommitOutcome::Repeat { first });
    assert_eq!(ids(&store, bob), []);
}
