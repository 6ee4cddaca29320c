//! Receipts: kept for senders who are away, told once a message and kind, and only by whoever was sent it.

use super::*;

fn by_socket() -> ReceiptKind {
    ReceiptKind::Delivered { method: "websocket".to_owned() }
}

fn give(store: &Store, agent: AgentNo, id: &MessageId, kind: ReceiptKind) -> Given {
    store.give_receipts(agent, vec![id.clone()], kind, NOW).wait().unwrap()[0]
}

fn kept(store: &Store, owner: ReceiptOwner) -> Vec<(MessageId, ReceiptKind)> {
    let all = store.receipts(owner, None, 10_000).unwrap();
    assert_eq!(all.len() as u32, store.receipt_count(owner));
    all.into_iter().map(|(_, receipt)| (receipt.id, receipt.kind)).collect()
}

#[test]
fn a_receipt_is_kept_for_its_sender_once_over_a_restart_until_it_is_forgotten() {
    let (store, disk) = memory();
    let (alice, bob) = (register(&store, "alice"), register(&store, "bob"));
    let owner = ReceiptOwner::Agent(alice);
    committed(&store, local(mail("alice", "bob", 1), alice, bob));
    assert_eq!(give(&store, alice, &id(1), by_socket()), Given::Unknown, "only the recipient can tell");
    assert_eq!(give(&store, bob, &id(2), by_socket()), Given::Unknown);
    assert_eq!(give(&store, bob, &id(1), by_socket()), Given::Kept { at: NOW, owner, again: false });
    store.acknowledge(bob, vec![id(1)]).wait().unwrap();
    let later = NOW.plus(HOUR);
    let read = store.give_receipts(bob, vec![id(1)], ReceiptKind::Read, later).wait().unwrap();
    assert_eq!(read, [Given::Kept { at: later, owner, again: false }], "acknowledged mail can be read, too");
    assert_eq!(give(&store, bob, &id(1), ReceiptKind::Read), Given::Kept { at: later, owner, again: true });

    drop(store);
    let store = Store::on_memory(&disk, Config::default()).unwrap();
    assert_eq!(kept(&store, owner), [(id(1), by_socket()), (id(1), ReceiptKind::Read)]);
    let status = store.message_status(alice, &id(1)).unwrap().unwrap();
    assert_eq!((status.delivered_at, status.read_at), (Some(NOW), Some(later)));
    let first = store.receipts(owner, None, 1).unwrap()[0].0;
    store.forget_receipts(owner, first).wait().unwrap();
    assert_eq!(kept(&store, owner), [(id(1), ReceiptKind::Read)]);
    assert_whole(&store);
}

#[test]
fn a_receipt_goes_back_to_the_node_that_brought_the_message_and_is_believed_by_nobody_else() {
    let (there, _) = memory();
    let bob = register(&there, "bob");
    committed(&there, linked(mail("ann", "bob", 1), bob, 1, 1));
    assert!(matches!(give(&there, bob, &id(1), by_socket()), Given::Kept { .. }));
    let (_, kept_there) = there.receipts(ReceiptOwner::Node(node(9)), None, 10).unwrap().remove(0);
    assert_eq!(kept_there.sender, Some(address("ann")));
    let Receipt { id: of, sender, kind, at, .. } = kept_there;
    let brought = BroughtReceipt { id: of, sender: sender.unwrap(), kind, at, notice: None };

    let (here, _) = memory();
    let ann = register(&here, "ann");
    committed(&here, outgoing(mail("ann", "bob", 1), ann, to_node(2)));
    let take = |from: u8| here.take_receipts(node(from), vec![brought.clone()], NOW).wait().unwrap();
    assert_eq!(take(3), [], "it was not sent to that node");
    assert_eq!(take(2), [ReceiptOwner::Agent(ann)]);
    assert_eq!(take(2), [], "a second time it is no news");
    assert_eq!(kept(&here, ReceiptOwner::Agent(ann)), [(id(1), by_socket())]);
    assert_eq!(here.message_status(ann, &id(1)).unwrap().unwrap().delivered_at, Some(NOW));
    assert_whole(&here);
}

#[test]
fn a_message_shown_under_a_fresh_id_is_told_under_its_own() {
    let (store, _disk) = memory();
    let [alice, carol, bob] = ["alice", "carol", "bob"].map(|name| register(&store, name));
    committed(&store, local(mail("alice", "bob", 1), alice, bob));
    let renamed = committed(&store, local(mail("carol", "bob", 1), carol, bob));
    assert_ne!(renamed.shown_id, id(1));
    give(&store, bob, &renamed.shown_id, ReceiptKind::Read);
    assert_eq!(kept(&store, ReceiptOwner::Agent(carol)), [(id(1), ReceiptKind::Read)]);
    assert_eq!(kept(&store, ReceiptOwner::Agent(alice)), []);
    assert_eq!(store.message_status(carol, &id(1)).unwrap().unwrap().read_at, Some(NOW));
    assert_eq!(store.message_status(alice, &id(1)).unwrap().unwrap().read_at, None);
}

#[test]
fn what_is_too_much_is_said_to_be_lost_and_may_be_told_later() {
    let (store, _disk) = Store::in_memory(Config { mailbox_new: 2_000, ..Config::default() }).unwrap();
    let (alice, bob) = (register(&store, "alice"), register(&store, "bob"));
    let ids: Vec<MessageId> = (1..=1_001).map(id).collect();
    for n in 1..=1_001 {
        drop(store.commit_mail(local(mail("alice", "bob", n), alice, bob)));
    }
    let given = store.give_receipts(bob, ids, ReceiptKind::Read, NOW).wait().unwrap();
    assert!(given[..1_000].iter().all(|one| matches!(one, Given::Kept { again: false, .. })));
    assert_eq!(given[1_000], Given::Lost);
    let (first, _) = store.receipts(ReceiptOwner::Agent(alice), None, 1).unwrap()[0];
    store.forget_receipts(ReceiptOwner::Agent(alice), first).wait().unwrap();
    assert!(matches!(give(&store, bob, &id(1_001), ReceiptKind::Read), Given::Kept { again: false, .. }));
}

#[test]
fn receipts_end_with_time_and_with_their_agent() {
    let (store, disk) = memory();
    let (alice, bob) = (register(&store, "alice"), register(&store, "bob"));
    committed(&store, local(mail("alice", "bob", 1), alice, bob));
    give(&store, bob, &id(1), ReceiptKind::Read);
    store.deregister_agent(alice, NOW).wait().unwrap();
    assert_eq!(kept(&store, ReceiptOwner::Agent(alice)), []);
    committed(&store, linked(mail("ann", "bob", 2), bob, 1, 1));
    give(&store, bob, &id(2), ReceiptKind::Read);
    assert_eq!(kept(&store, ReceiptOwner::Node(node(9))).len(), 1);
    drop(store);
    let store = Store::on_memory(&disk, Config::default()).unwrap();
    let late = NOW.plus(Duration::from_secs(31 * 86_400));
    // The first call after a start has nothing to compare the clock with; an hour later it is steady.
    store.expire(late, Duration::ZERO, Vec::new()).wait().unwrap();
    let late = late.plus(HOUR + HOUR);
    while store.expire(late, HOUR + HOUR, Vec::new()).wait().unwrap().more {}
    assert_eq!(kept(&store, ReceiptOwner::Node(node(9))), []);
    assert_whole(&store);
}

#[test]
fn mail_carried_on_to_a_provider_that_ends_there_is_told_to_the_node_that_brought_it_and_by_that_to_the_sender()
 {
    let (gate, _) = memory();
    let far = Destination::Provider("far.test".to_owned());
    let on = |n: u64| NewMail {
        target: Target::Outbox { destination: far.clone() },
        ..linked(mail("ann", "eve", n), AgentNo(0), n, 1)
    };
    let seqs: Vec<Seq> = (1..=2).map(|n| committed(&gate, on(n)).seq).collect();
    let refused = Settlement::Refused { code: "closed".into(), detail: "no".into(), notice: None };
    let taken = Settlement::Taken { remote_id: None };
    gate.settle(&far, vec![(seqs[0], refused), (seqs[1], taken)], NOW).wait().unwrap();
    let failed = ReceiptKind::Failed { code: "closed".into(), detail: "no".into() };
    let (_, word) = gate.receipts(ReceiptOwner::Node(node(9)), None, 10).unwrap().remove(0);
    assert_eq!((&word.kind, &word.sender, &word.to), (&failed, &Some(address("ann")), &address("eve")));
    assert_eq!(gate.receipt_count(ReceiptOwner::Node(node(9))), 1, "nothing is said of what was taken");
    assert_whole(&gate);

    let (here, _) = memory();
    let ann = register(&here, "ann");
    committed(&here, outgoing(mail("ann", "eve", 1), ann, to_node(2)));
    let notice = Some(mail("node", "ann", 77));
    let brought =
        BroughtReceipt { id: word.id, sender: address("ann"), kind: word.kind, at: word.at, notice };
    let take = |from: u8| here.take_receipts(node(from), vec![brought.clone()], NOW).wait().unwrap();
    assert_eq!(take(3), [], "it was not sent to that node");
    assert_eq!((take(2), take(2)), (vec![ReceiptOwner::Agent(ann)], vec![]));
    let state = here.message_status(ann, &id(1)).unwrap().unwrap().state;
    assert_eq!(state, MessageState::Failed { code: "closed".into(), detail: "no".into() });
    assert_eq!(ids(&here, ann), [id(77)], "the notice, once");
    assert_eq!(here.receipt_count(ReceiptOwner::Agent(ann)), 0);
    assert_whole(&here);
}
