//! Receipts come back over the link to the node that sent the message, also when it was off meanwhile.

use super::village::*;
use crate::message::{Method, ReadReceipt};
use amesh_store::{ReceiptKind, ReceiptOwner};

#[tokio::test(flavor = "multi_thread")]
async fn the_sender_on_another_host_hears_of_delivery_and_reading() {
    let (a, b) = pair().await;
    let (alice, bob) = (a.agent("alice").await, b.agent("bob").await);
    a.knows("bob").await;
    b.knows("alice").await;
    let mut request = signed("alice", "bob", "hello");
    request.options.receipt = true;
    let id = a.route(&alice, request).await.unwrap().id;
    b.receives(&bob, &["hello".to_owned()]).await;
    b.hallway.delivered(&bob, vec![id.clone()], Method::Websocket).await.unwrap();
    let read: ReadReceipt = b.hallway.read(&bob, &id).await.unwrap().unwrap();
    assert_eq!(read.by, Some(Method::Mesh));

    until("word of both", || a.store.receipt_count(ReceiptOwner::Agent(alice.no)) == 2).await;
    until("word on disk", || a.hallway.receipts(&alice, None, 9).unwrap().len() == 2).await;
    let told = a.hallway.receipts(&alice, None, 9).unwrap();
    let kinds: Vec<_> = told.iter().map(|(_, receipt)| receipt.kind.clone()).collect();
    let by_socket = ReceiptKind::Delivered { method: "websocket".to_owned() };
    assert_eq!(kinds, [by_socket, ReceiptKind::Read]);
    assert!(told.iter().all(|(_, receipt)| receipt.id == id && receipt.to == bob.address));
    let status = a.hallway.status(&alice, &id).unwrap().unwrap();
    assert_eq!((status.status.as_str(), status.method.as_str()), ("delivered", "mesh"));
    assert!(status.delivered_at.is_some() && status.read_at.is_some());
    until("an answer", || b.store.receipt_count(ReceiptOwner::Node(a.mesh.node_id())) == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_wait_for_a_host_that_is_off() {
    let (a, b) = pair().await;
    let (alice, bob) = (a.agent("alice").await, b.agent("bob").await);
    a.knows("bob").await;
    b.knows("alice").await;
    let id = a.send(&alice, "bob", "hello").await.unwrap().id;
    b.receives(&bob, &["hello".to_owned()]).await;
    until("a verdict", || a.store.outbox_len(&there(&b)) == 0).await;
    let (alice_no, node) = (alice.no, a.mesh.node_id());
    let off = a.stop().await;
    b.hallway.read(&bob, &id).await.unwrap().unwrap();
    let (b, a) = (b.stop().await.start().await, off.start().await);
    until("word", || a.store.receipt_count(ReceiptOwner::Agent(alice_no)) == 1).await;
    until("an answer", || b.store.receipt_count(ReceiptOwner::Node(node)) == 0).await;
}

fn there(node: &Node) -> amesh_store::Destination {
    amesh_store::Destination::Node(node.mesh.node_id())
}
