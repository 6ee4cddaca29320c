//! What is remembered of mail that was posted to a webhook.

use super::*;

fn posted() -> (Store, MemoryDisk, AgentNo, AgentNo, CommitReceipt) {
    let (store, disk) = memory();
    let (alice, bob) = (register(&store, "alice"), register(&store, "bob"));
    let receipt = committed(&store, local(mail("alice", "bob", 1), alice, bob));
    (store, disk, alice, bob, receipt)
}

const LATER: Posting = Posting::Waiting { attempts: 1, next_at: UnixMillis(1_800_000_030_000) };

#[test]
fn what_was_tried_in_vain_is_known_after_a_crash_and_counts_as_new() {
    let (store, disk, alice, bob, receipt) = posted();
    assert!(store.note_posting(bob, receipt.seq, LATER).wait().unwrap());
    drop(store);
    disk.crash();

    let store = Store::on_memory(&disk, Config::default()).unwrap();
    assert_eq!(store.posting(bob, receipt.seq).unwrap(), Some(LATER));
    assert!(!store.pending(bob, None, 1).unwrap()[0].handed_out);
    assert_eq!(store.message_status(alice, &id(1)).unwrap().unwrap().state, MessageState::Queued);
    assert_whole(&store);
}

#[test]
fn what_a_webhook_took_was_handed_out_and_its_sender_is_told_why() {
    let (store, _disk, alice, bob, receipt) = posted();
    let at = NOW.plus(HOUR);
    assert!(store.note_posting(bob, receipt.seq, Posting::Taken { at }).wait().unwrap());
    assert!(store.pending(bob, None, 1).unwrap()[0].handed_out);
    let status = store.message_status(alice, &id(1)).unwrap().unwrap();
    assert_eq!(status.state, MessageState::Delivered { basis: "webhook_2xx".into() });
    assert_eq!(status.changed_at, at);
    assert_whole(&store);
}

#[test]
fn a_message_that_leaves_its_mailbox_takes_its_posting_along() {
    let (store, _disk, _alice, bob, receipt) = posted();
    store.note_posting(bob, receipt.seq, LATER).wait().unwrap();
    store.acknowledge(bob, vec![id(1)]).wait().unwrap();
    assert_eq!(store.posting(bob, receipt.seq).unwrap(), None);
    assert!(!store.note_posting(bob, receipt.seq, LATER).wait().unwrap());
    assert_eq!(store.posting(bob, receipt.seq).unwrap(), None);
    assert_whole(&store);
}

#[test]
fn an_agent_that_leaves_takes_its_postings_along() {
    let (store, _disk, _alice, bob, receipt) = posted();
    store.note_posting(bob, receipt.seq, LATER).wait().unwrap();
    store.deregister_agent(bob, NOW).wait().unwrap();
    assert_eq!(store.posting(bob, receipt.seq).unwrap(), None);
    assert_whole(&store);
}
