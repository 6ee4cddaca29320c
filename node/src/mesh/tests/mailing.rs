//! Mail between members: both ways, in order, once, across restarts.

use super::village::*;
use crate::message::{Full, Refusal};
use amesh_proto::message::Priority;
use amesh_store::{Destination, Fault, MessageState};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn mail_goes_both_ways() {
    let (a, b) = pair().await;
    let (alice, bob) = (a.agent("alice").await, b.agent("bob").await);
    a.knows("bob").await;
    b.knows("alice").await;
    a.send(&alice, "bob", "hello").await.unwrap();
    b.receives(&bob, &["hello".to_owned()]).await;
    b.send(&bob, "alice", "hello yourself").await.unwrap();
    a.receives(&alice, &["hello yourself".to_owned()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sender_learns_that_its_mail_is_in_the_mailbox() {
    let (a, b) = pair().await;
    let (alice, _bob) = (a.agent("alice").await, b.agent("bob").await);
    a.knows("bob").await;
    let accepted = a.send(&alice, "bob", "hello").await.unwrap();
    until("a verdict", || {
        let status = a.store.message_status(alice.no, &accepted.id).unwrap().unwrap();
        matches!(status.state, MessageState::Delivered { .. })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_mail_of_a_new_agent_brings_its_roster_along() {
    let (a, b) = pair().await;
    let bob = b.agent("bob").await;
    a.knows("bob").await;
    for number in 0..20 {
        let name = format!("new{number}");
        let agent = a.agent(&name).await;
        a.send(&agent, "bob", &name).await.unwrap();
    }
    let expected: Vec<_> = (0..20).map(|number| format!("new{number}")).collect();
    until("mail", || b.texts(&bob).len() == 20).await;
    let mut texts = b.texts(&bob);
    texts.sort_by_key(|text| expected.iter().position(|known| known == text));
    assert_eq!(texts, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_written_while_the_other_node_is_off_arrives_in_order_and_once() {
    let (a, b) = pair().await;
    let (alice, bob) = (a.agent("alice").await, b.agent("bob").await);
    a.knows("bob").await;
    b.knows("alice").await;
    let stopped = b.stop().await;
    let texts = numbered(100);
    for text in &texts {
        a.send(&alice, "bob", text).await.unwrap();
    }
    let b = stopped.start().await;
    b.receives(&bob, &texts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_survives_the_restart_of_its_sender() {
    let (a, b) = pair().await;
    let (alice, bob) = (a.agent("alice").await, b.agent("bob").await);
    a.knows("bob").await;
    b.knows("alice").await;
    let b = b.stop().await;
    let texts = numbered(50);
    for text in &texts {
        a.send(&alice, "bob", text).await.unwrap();
    }
    let (a, b) = (a.die().await, b.start().await);
    let _a = a.start().await;
    b.receives(&bob, &texts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_dies_under_load_loses_and_doubles_nothing() {
    let (a, mut b) = pair().await;
    let (alice, bob) = (a.agent("alice").await, b.agent("bob").await);
    a.knows("bob").await;
    b.knows("alice").await;
    let texts = numbered(90);
    for (number, text) in texts.iter().enumerate() {
        a.send(&alice, "bob", text).await.unwrap();
        if number % 30 == 29 {
            b = b.die().await.start().await;
        }
    }
    b.receives(&bob, &texts).await;
    until("verdicts", || a.store.outbox_destinations().is_empty()).await;
    assert_eq!(b.texts(&bob), texts);
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_for_an_agent_that_is_gone_ends_as_failed_and_its_sender_is_told() {
    let (a, b) = pair().await;
    let (alice, bob) = (a.agent("alice").await, b.agent("bob").await);
    a.knows("bob").await;
    let stopped = b.stop().await;
    let accepted = a.send(&alice, "bob", "too late").await.unwrap();
    let b = stopped.start().await;
    let bob = b.hallway.agents().directory().local_agent(&bob.address).unwrap();
    // The link may be faster than this: then the mail was delivered before bob left, which is another story.
    let left = b.hallway.agents().deregister(&bob).await;
    assert!(left.is_ok());
    until("an end", || {
        let status = a.store.message_status(alice.no, &accepted.id).unwrap().unwrap();
        !matches!(status.state, MessageState::Queued)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_the_receiver_could_not_write_down_is_not_answered_and_comes_again() {
    let (a, b) = pair().await;
    let (alice, bob) = (a.agent("alice").await, b.agent("bob").await);
    a.knows("bob").await;
    b.knows("alice").await;
    let mut texts = Vec::new();
    for fault in [Fault::Sync, Fault::Commit] {
        b.disk.fail_next(fault);
        texts.push(format!("under {fault:?}"));
        a.send(&alice, "bob", &texts[texts.len() - 1]).await.unwrap();
        b.receives(&bob, &texts).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_waits_at_its_sender_while_the_receivers_disk_is_full() {
    let (a, b) = pair().await;
    let (alice, bob) = (a.agent("alice").await, b.agent("bob").await);
    a.knows("bob").await;
    b.knows("alice").await;
    let carol = b.agent("carol").await;
    b.disk.set_full(true);
    // The store looks at its disk now and then.
    while !matches!(b.send(&carol, "carol", "room?").await, Err(Refusal::Full(Full::Disk))) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let texts = numbered(5);
    for text in &texts {
        a.send(&alice, "bob", text).await.unwrap();
    }
    assert_eq!(a.store.outbox_len(&Destination::Node(b.mesh.node_id())), 5);
    b.disk.set_full(false);
    b.receives(&bob, &texts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn urgent_mail_passes_a_long_backlog_and_every_class_keeps_its_order() {
    let (a, b) = pair().await;
    let (alice, bob) = (a.agent("alice").await, b.agent("bob").await);
    a.knows("bob").await;
    b.knows("alice").await;
    let stopped = b.stop().await;
    let classes = [Priority::Low, Priority::Normal, Priority::Urgent, Priority::High];
    for (class, count) in classes.into_iter().zip([3, 200, 3, 3]) {
        for number in 0..count {
            let text = format!("{} {number}", class.as_str());
            a.route(&alice, signed_by_class("alice", "bob", class, &text)).await.unwrap();
        }
    }
    let b = stopped.start().await;
    until("mail", || b.texts(&bob).len() == 209).await;
    let arrived = b.texts(&bob);
    for (class, count) in classes.into_iter().zip([3, 200, 3, 3]) {
        let of_class = arrived.iter().filter(|text| text.starts_with(class.as_str()));
        assert!(of_class.eq(&(0..count).map(|n| format!("{} {n}", class.as_str())).collect::<Vec<_>>()));
    }
    assert_eq!(arrived[..2], ["urgent 0", "urgent 1"], "{:?}", &arrived[..9]);
    assert!(arrived[..70].iter().filter(|text| text.starts_with("high")).count() == 3, "{arrived:?}");
    until("verdicts", || a.store.outbox_destinations().is_empty()).await;
}
