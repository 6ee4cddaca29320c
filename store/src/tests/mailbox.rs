//! Promises 2 and 3 of DESIGN §1 for mailboxes: once, until acknowledged, bounded.

use super::*;

#[test]
fn a_repeat_gets_the_first_receipt_and_the_mailbox_one_message() {
    let (store, _disk) = memory();
    let (alice, bob) = (register(&store, "alice"), register(&store, "bob"));
    let first = committed(&store, local(mail("alice", "bob", 1), alice, bob));
    let again = commit(&store, local(mail("alice", "bob", 1), alice, bob));
    assert_eq!(again, CommitOutcome::Repeat { first });
    assert_eq!(ids(&store, bob).len(), 1);
}

#[test]
fn a_repeat_in_the_same_group_is_a_repeat_too() {
    let (store, _disk) = memory();
    let (alice, bob) = (register(&store, "alice"), register(&store, "bob"));
    let both: Vec<_> =
        (0..2).map(|_| store.commit_mail(local(mail("alice", "bob", 1), alice, bob))).collect();
    let outcomes: Vec<_> = both.into_iter().map(|durable| durable.wait().unwrap()).collect();
    assert!(matches!(outcomes[0], CommitOutcome::Committed { .. }));
    assert!(matches!(outcomes[1], CommitOutcome::Repeat { .. }));
}

#[test]
fn the_same_id_for_something_else_is_a_conflict() {
    let (store, _disk) = memory();
    let (alice, bob) = (register(&store, "alice"), register(&store, "bob"));
    committed(&store, local(mail("alice", "bob", 1), alice, bob));
    let other = Mail { payload: b"{}".to_vec(), ..mail("alice", "bob", 1) };
    assert_eq!(commit(&store, local(other, alice, bob)), CommitOutcome::Conflict);
    assert_eq!(payloads(&store, bob), [r#"{"message":"number 1"}"#]);
}

#[test]
fn an_idempotency_key_repeats_under_a_fresh_id_and_refuses_other_content() {
    let (store, _disk) = memory();
    let (alice, bob) = (register(&store, "alice"), register(&store, "bob"));
    let keyed = |n, payload: &str| NewMail {
        idempotency_key: Some("order 66".into()),
        ..local(Mail { payload: payload.into(), ..mail("alice", "bob", n) }, alice, bob)
    };
    let first = committed(&store, keyed(1, "{}"));
    assert_eq!(commit(&store, keyed(2, "{}")), CommitOutcome::Repeat { first });
    assert_eq!(commit(&store, keyed(3, "[]")), CommitOutcome::Conflict);
    assert_eq!(ids(&store, bob), [id(1)]);
}

#[test]
fn another_agents_equal_idempotency_key_is_its_own() {
    let (store, _disk) = memory();
    let (alice, bob) = (register(&store, "alice"), register(&store, "bob"));
    for (from, sender, n) in [("alice", alice, 1), ("bob", bob, 2)] {
        let new = local(mail(from, "bob", n), sender, bob);
        committed(&store, NewMail { idempotency_key: Some("k".into()), ..new });
    }
}

#[test]
fn no_sender_suppresses_anothers_mail_by_using_its_id_first() {
    let (store, _disk) = memory();
    let bob = register(&store, "bob");
    let (alice, mallory) = (register(&store, "alice"), register(&store, "mallory"));
    committed(&store, local(mail("mallory", "bob", 1), mallory, bob));
    let second = committed(&store, local(mail("alice", "bob", 1), alice, bob));
    assert_ne!(second.shown_id, id(1));
    assert_eq!(ids(&store, bob), [id(1), second.shown_id.clone()]);
    let again = commit(&store, local(mail("alice", "bob", 1), alice, bob));
    assert_eq!(again, CommitOutcome::Repeat { first: second.clone() });
    assert_eq!(store.acknowledge(bob, vec![second.shown_id.clone()]).wait().unwrap(), [second.shown_id]);
    assert_eq!(ids(&store, bob), [id(1)]);
}

/// docs/attacks.md, suppression by id.
#[test]
fn an_id_alone_would_let_one_sender_suppress_anothers_mail() {
    for (text, is_suppressed) in [(history::UNGUARDED, true), ("msg_1_guarded", false)] {
        let (store, _disk) = memory();
        let bob = register(&store, "bob");
        let (alice, mallory) = (register(&store, "alice"), register(&store, "mallory"));
        let named = |from, n| Mail { id: MessageId::parse(text).unwrap(), ..mail(from, "bob", n) };
        committed(&store, local(named("mallory", 1), mallory, bob));
        let outcome = commit(&store, local(named("alice", 2), alice, bob));
        assert_eq!(outcome == CommitOutcome::Conflict, is_suppressed, "{text}: {outcome:?}");
        assert_eq!(payloads(&store, bob).len(), if is_suppressed { 1 } else { 2 });
    }
}

#[test]
fn an_id_stays_taken_after_its_message_was_acknowledged() {
    let (store, _disk) = memory();
    let bob = register(&store, "bob");
    let (alice, mallory) = (register(&store, "alice"), register(&store, "mallory"));
    committed(&store, local(mail("mallory", "bob", 1), mallory, bob));
    store.acknowledge(bob, vec![id(1)]).wait().unwrap();
    let second = committed(&store, local(mail("alice", "bob", 1), alice, bob));
    assert_ne!(second.shown_id, id(1), "a client that has seen the id would drop it");
    let repeat = commit(&store, local(mail("mallory", "bob", 1), mallory, bob));
    assert!(matches!(repeat, CommitOutcome::Repeat { .. }), "acknowledged mail does not come back");
}

#[test]
fn mail_stays_until_it_is_acknowledged() {
    let (store, _disk) = memory();
    let (alice, bob) = (register(&store, "alice"), register(&store, "bob"));
    let seqs: Vec<_> =
        (0..3).map(|n| committed(&store, local(mail("alice", "bob", n), alice, bob)).seq).collect();
    store.mark_handed_out(bob, seqs.clone()).wait().unwrap();
    let entries = store.pending(bob, Some(seqs[0]), 10).unwrap();
    assert_eq!(entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), seqs[1..]);
    assert!(entries.iter().all(|entry| entry.handed_out));
    let removed = store.acknowledge(bob, vec![id(1), id(7), id(1)]).wait().unwrap();
    assert_eq!(removed, [id(1)]);
    assert_eq!(ids(&store, bob), [id(0), id(2)]);
    assert_eq!(store.pending_count(bob), 2);
}

#[test]
fn an_agent_cannot_acknowledge_anothers_mail() {
    let (store, _disk) = memory();
    let (alice, bob) = (register(&store, "alice"), register(&store, "bob"));
    committed(&store, local(mail("alice", "bob", 1), alice, bob));
    assert_eq!(store.acknowledge(alice, vec![id(1)]).wait().unwrap(), []);
    assert_eq!(ids(&store, bob), [id(1)]);
}

#[test]
fn only_mail_never_handed_out_counts_against_the_cap() {
    let config = Config { mailbox_new: 3, mailbox_handed_out: 4, ..Config::default() };
    let (store, _disk) = Store::in_memory(config).unwrap();
    let (alice, bob) = (register(&store, "alice"), register(&store, "bob"));
    let send = |n| commit(&store, local(mail("alice", "bob", n), alice, bob));
    let seqs: Vec<_> =
        (0..3).map(|n| committed(&store, local(mail("alice", "bob", n), alice, bob)).seq).collect();
    assert_eq!(send(3), CommitOutcome::MailboxFull);
    store.mark_handed_out(bob, vec![seqs[2], seqs[0]]).wait().unwrap();
    store.mark_handed_out(bob, vec![seqs[0]]).wait().unwrap();
    assert!(matches!(send(3), CommitOutcome::Committed { .. }));
    assert!(matches!(send(4), CommitOutcome::Committed { .. }));
    assert_eq!(send(5), CommitOutcome::MailboxFull, "1, 3 and 4 are new");
    let all: Vec<_> = store.pending(bob, None, 10).unwrap().iter().map(|entry| entry.seq).collect();
    store.mark_handed_out(bob, all).wait().unwrap();
    assert_eq!(send(5), CommitOutcome::MailboxFull, "five were handed out and not acknowledged");
    store.acknowledge(bob, vec![id(0), id(1)]).wait().unwrap();
    assert!(matches!(send(5), CommitOutcome::Committed { .. }));
    assert_whole(&store);
}

#[test]
fn what_was_refused_may_be_sent_again() {
    let config = Config { mailbox_new: 1, ..Config::default() };
    let (store, _disk) = Store::in_memory(config).unwrap();
    let (alice, bob) = (register(&store, "alice"), register(&store, "bob"));
    committed(&store, local(mail("alice", "bob", 1), alice, bob));
    assert_eq!(commit(&store, local(mail("alice", "bob", 2), alice, bob)), CommitOutcome::MailboxFull);
    store.acknowledge(bob, vec![id(1)]).wait().unwrap();
    committed(&store, local(mail("alice", "bob", 2), alice, bob));
}

#[test]
fn the_sender_learns_no_more_than_the_mailbox_proves() {
    let (store, _disk) = memory();
    let (alice, bob) = (register(&store, "alice"), register(&store, "bob"));
    let receipt = committed(&store, local(mail("alice", "bob", 1), alice, bob));
    let state = || store.message_status(alice, &id(1)).unwrap().unwrap().state;
    assert_eq!(state(), MessageState::Queued);
    store.mark_handed_out(bob, vec![receipt.seq]).wait().unwrap();
    assert_eq!(state(), MessageState::Delivered { basis: "handed_out".into() });
    store.acknowledge(bob, vec![id(1)]).wait().unwrap();
    assert_eq!(state(), MessageState::Delivered { basis: "acknowledged".into() });
    assert_eq!(store.message_status(bob, &id(1)).unwrap(), None, "only the sender may ask");
}

#[test]
fn mail_to_nobody_is_an_answer() {
    let (store, _disk) = memory();
    let alice = register(&store, "alice");
    let outcome = commit(&store, local(mail("alice", "ghost", 1), alice, AgentNo(99)));
    assert_eq!(outcome, CommitOutcome::NoSuchAgent);
}

#[test]
fn a_life_beyond_thirty_days_is_cut_to_thirty() {
    let (store, _disk) = memory();
    let (alice, bob) = (register(&store, "alice"), register(&store, "bob"));
    let eternal = Mail { expires_at: UnixMillis(u64::MAX), ..mail("alice", "bob", 1) };
    committed(&store, local(eternal, alice, bob));
    let entry = store.entry(bob, &id(1)).unwrap().unwrap();
    assert_eq!(entry.expires_at, NOW.plus(Duration::from_secs(30 * 24 * 3600)));
}

#[test]
fn the_urgent_is_found_whatever_lies_before_it_also_after_a_crash() {
    let (store, disk) = memory();
    let (alice, bob) = (register(&store, "alice"), register(&store, "bob"));
    let classes = [Priority::Normal, Priority::Low, Priority::Urgent, Priority::Normal, Priority::Urgent];
    for (n, priority) in (0..).zip(classes) {
        committed(&store, local(Mail { priority, ..mail("alice", "bob", n) }, alice, bob));
    }
    drop(store);
    disk.crash();
    let store = Store::on_memory(&disk, Config::default()).unwrap();
    let found = |class, after, limit| {
        let entries = store.pending_of(bob, class, after, limit).unwrap();
        entries.into_iter().map(|entry| (entry.shown_id, entry.seq)).unzip::<_, _, Vec<_>, Vec<_>>()
    };
    let (urgent, seqs) = found(Priority::Urgent, None, 9);
    assert_eq!(urgent, [id(2), id(4)]);
    assert_eq!(found(Priority::Urgent, Some(seqs[0]), 9).0, [id(4)]);
    assert_eq!(found(Priority::Normal, None, 1).0, [id(0)]);
    assert_eq!(found(Priority::Normal, None, 9).0, [id(0), id(3)]);
    assert_eq!(found(Priority::High, None, 9).0, []);
    assert_eq!(store.acknowledge(bob, vec![id(2)]).wait().unwrap(), [id(2)]);
    assert_eq!(found(Priority::Urgent, None, 9).0, [id(4)]);
    assert!(!store.is_pending(bob, seqs[0]).unwrap() && store.is_pending(bob, seqs[1]).unwrap());
    assert_whole(&store);
    store.deregister_agent(bob, NOW).wait().unwrap();
    assert_whole(&store);
}
