//! Mail that follows an agent to another node and back (DESIGN §3, Moving): always in one place, once in a mailbox.

use super::*;
use amesh_proto::canonical::{CanonicalForm, PayloadForm, SubjectForm};
use amesh_proto::json::{KeyOrder, Spelling};
use amesh_proto::roster::HomeStatement;

/// Mail of joe for bob, who lives here, in this order.
fn waiting(store: &Store, bob: AgentNo, count: u64) {
    for n in 1..=count {
        committed(store, linked(mail("joe", "bob", n), bob, n, 1));
    }
}

fn hand_on(store: &Store, agent: AgentNo) -> u32 {
    let mail = store.pending(agent, None, 100).unwrap();
    store.hand_on(agent, &mail, node(2), NOW).wait().unwrap()
}

fn queued(store: &Store, n: u8) -> Vec<MessageId> {
    let queue = store.outbox(&to_node(n), None, 100).unwrap();
    queue.into_iter().map(|entry| entry.mail.id).collect()
}

fn to_mailbox(agent: AgentNo) -> Target {
    Target::Mailbox { agent, trust: Trust::Verified }
}

#[test]
fn what_waits_follows_in_its_order_and_what_was_acknowledged_stays_gone() {
    let (store, disk) = memory();
    let bob = register(&store, "bob");
    waiting(&store, bob, 3);
    let seen = store.pending(bob, None, 100).unwrap();
    store.acknowledge(bob, vec![id(2)]).wait().unwrap();
    assert_eq!(store.hand_on(bob, &seen, node(2), NOW).wait().unwrap(), 2);
    let store = {
        drop(store);
        Store::on_memory(&disk, Config::default()).unwrap()
    };
    assert_eq!((ids(&store, bob), queued(&store, 2)), (vec![], vec![id(1), id(3)]));
    let lane = store.outbox(&to_node(2), None, 100).unwrap();
    assert_eq!(lane[1].number, lane[0].number + 1);
    assert_whole(&store);
}

#[test]
fn what_went_on_is_taken_in_again_when_it_comes_back_and_then_is_a_repeat() {
    let (store, _disk) = memory();
    let bob = register(&store, "bob");
    waiting(&store, bob, 1);
    assert_eq!(hand_on(&store, bob), 1);
    let back = || NewMail {
        origin: Origin::Node(node(2)),
        lane: Some(LaneStamp { generation: 1, number: 8, floor: 8 }),
        ..linked(mail("joe", "bob", 1), bob, 0, 0)
    };
    committed(&store, back());
    assert!(matches!(commit(&store, back()), CommitOutcome::Repeat { .. }));
    assert_eq!((ids(&store, bob), queued(&store, 2)), (vec![id(1)], vec![]));
    store.acknowledge(bob, vec![id(1)]).wait().unwrap();
    assert!(matches!(commit(&store, back()), CommitOutcome::Repeat { .. }), "acknowledged here for good");
    assert_whole(&store);
}

#[test]
fn queued_mail_turns_to_where_its_recipient_is_now() {
    let (store, _disk) = memory();
    let ann = register(&store, "ann");
    for n in 1..=3 {
        committed(&store, outgoing(mail("ann", "bob", n), ann, to_node(1)));
    }
    let queue = store.outbox(&to_node(1), None, 100).unwrap();
    let target = Target::Outbox { destination: to_node(2) };
    assert_eq!(store.redirect(node(1), &queue, target, NOW).wait().unwrap(), 3);
    committed(&store, outgoing(mail("ann", "bob", 4), ann, to_node(2)));
    assert_eq!((queued(&store, 1), queued(&store, 2)), (vec![], vec![id(1), id(2), id(3), id(4)]));
    let status = store.message_status(ann, &id(1)).unwrap().unwrap();
    assert_eq!((status.place, status.state), (Place::Outbox(to_node(2)), MessageState::Queued));
    assert_whole(&store);
}

#[test]
fn what_the_last_host_handed_on_is_not_brought_home_a_second_time() {
    let (store, _disk) = memory();
    let (ann, bob) = (register(&store, "ann"), register(&store, "bob"));
    for n in 1..=2 {
        committed(&store, outgoing(mail("ann", "bob", n), ann, to_node(9)));
    }
    let queue = store.outbox(&to_node(9), None, 100).unwrap();
    committed(&store, linked(mail("ann", "bob", 1), bob, 1, 1));
    assert_eq!(store.redirect(node(9), &queue, to_mailbox(bob), NOW).wait().unwrap(), 1);
    assert_eq!((ids(&store, bob), queued(&store, 9)), (vec![id(1), id(2)], vec![]));
    assert_eq!(store.message_status(ann, &id(1)).unwrap().unwrap().place, Place::Mailbox(bob));
    assert_whole(&store);
}

#[test]
fn word_of_what_was_handed_on_goes_back_the_way_it_came() {
    let (store, _disk) = memory();
    let bob = register(&store, "bob");
    waiting(&store, bob, 1);
    hand_on(&store, bob);
    let brought =
        BroughtReceipt { id: id(1), sender: address("joe"), kind: ReceiptKind::Read, at: NOW, notice: None };
    let told = store.take_receipts(node(2), vec![brought.clone()], NOW).wait().unwrap();
    assert_eq!(told, [ReceiptOwner::Node(node(9))]);
    let (_, receipt) = store.receipts(ReceiptOwner::Node(node(9)), None, 10).unwrap().remove(0);
    assert_eq!((receipt.id, receipt.sender), (id(1), Some(address("joe"))));
    assert!(store.take_receipts(node(3), vec![brought], NOW).wait().unwrap().is_empty(), "not its to tell");
}

#[test]
fn an_agent_that_departed_has_no_keys_and_returns_with_its_statement() {
    let (store, _disk) = memory();
    let bob = register(&store, "bob");
    let joe = register(&store, "joe");
    let face = || store.own_face(&address("bob")).unwrap().unwrap();
    let depart = |seen, now| store.depart_agent(bob, node(2), seen, now).wait().unwrap();
    let seen = store.position();
    waiting(&store, bob, 1);
    assert!(!depart(seen, NOW), "something has come meanwhile");
    hand_on(&store, bob);
    assert!(depart(seen, NOW));
    let version = store.own_roster_version();
    assert_eq!(face().tombstone, Some(NOW));
    assert!(store.agent_by_key_hash(&key_hash("bob"), NOW).unwrap().is_none());
    assert!(depart(seen, NOW.plus(HOUR)));
    assert_eq!((face().tombstone, store.own_roster_version()), (Some(NOW), version), "once");
    let payload =
        PayloadForm { order: KeyOrder::Sorted, spelling: Spelling::Raw, without_attachments: false };
    let form = Some(CanonicalForm { from: 0, to: 0, subject: SubjectForm::Plain, payload });
    let late = Mail { form, ..mail("joe", "bob", 2) };
    assert_eq!(commit(&store, linked(late.clone(), bob, 2, 2)), CommitOutcome::Departed);
    committed(&store, NewMail { origin: Origin::Agent(joe), lane: None, ..linked(late, bob, 2, 2) });
    assert_eq!((ids(&store, bob), queued(&store, 2)), (vec![], vec![id(1), id(2)]), "it follows at once");
    assert_whole(&store);
    let home = HomeStatement { at: NOW.plus(HOUR), signature: vec![1] };
    store.set_home(bob, home.clone()).wait().unwrap();
    assert_eq!((face().tombstone, face().home, face().since), (None, Some(home), NOW.plus(HOUR)));
}
