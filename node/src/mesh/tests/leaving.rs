//! Removal, leaving, stopping.

use super::village::*;
use crate::message::Method;
use amesh_proto::api::control::PeerState;

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_member_is_cut_off_everywhere_and_a_new_epoch_begins() {
    let (a, b) = pair().await;
    let c = Node::start("gamma").await;
    c.join(&a.invite().await).await.unwrap();
    b.linked_to(&c).await;
    let removed = a.mesh.remove("gamma").await.unwrap();
    assert_eq!((removed.node_id, removed.scope.as_str()), (c.mesh.node_id().to_string(), "mesh"));
    for node in [&a, &b] {
        until("the removal", || node.mesh.status().members == 2 && node.mesh.status().epoch == 2).await;
        node.parted_from(&c).await;
    }
    a.linked_to(&b).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_off_during_its_removal_gets_nothing_when_it_is_back() {
    let (a, b) = pair().await;
    let (alice, bob) = (a.agent("alice").await, b.agent("bob").await);
    a.knows("bob").await;
    b.knows("alice").await;
    let off = b.stop().await;
    a.mesh.remove("beta").await.unwrap();
    let late = a.agent("late").await;
    assert!(a.send(&alice, "bob", "hello").await.is_err(), "nobody of that name is left");
    let b = off.start().await;
    b.send(&bob, "alice", "let me in").await.unwrap();
    until("the refusal", || {
        b.mesh.peers().iter().any(|peer| peer.reason.as_deref().is_some_and(|why| why.contains("refused")))
    })
    .await;
    let name = &late.address;
    assert!(
        b.hallway.agents().directory().listed_elsewhere(name).is_none(),
        "no roster of after the removal"
    );
    assert!(a.texts(&alice).is_empty());
    assert!(a.mesh.peers().iter().all(|peer| peer.state != PeerState::Connected));
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_in_a_mailbox_names_the_key_that_signed_it_after_its_senders_host_was_removed_and_a_restart() {
    let (a, b) = pair().await;
    let (alice, bob) = (a.agent("alice").await, b.agent("bob").await);
    b.knows("alice").await;
    b.send(&bob, "alice", "for later").await.unwrap();
    a.receives(&alice, &["for later".to_owned()]).await;
    a.mesh.remove("beta").await.unwrap();
    until("the roster to go", || a.hallway.agents().directory().listed_elsewhere(&bob.address).is_none())
        .await;
    let a = a.stop().await.start().await;
    let entry = a.hallway.pending(&alice, None, 1).unwrap().remove(0);
    let shown = a.hallway.render(&entry, Method::Relay).unwrap();
    assert_eq!(shown.sender_public_key, Some(key_of("bob").public().sender_key_text()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_slept_through_a_removal_is_given_the_new_secret() {
    let (a, b) = pair().await;
    let c = Node::start("gamma").await;
    c.join(&a.invite().await).await.unwrap();
    b.linked_to(&c).await;
    let off = b.stop().await;
    a.mesh.remove("gamma").await.unwrap();
    let b = off.start().await;
    b.linked_to(&a).await;
    until("the new epoch", || b.mesh.status().epoch == 2 && b.mesh.status().members == 2).await;
    // It knows the new secret: whom it lets in is admitted by the others.
    a.mesh.promote("beta").await.unwrap();
    until("the right", || b.mesh.shared.membership().may_introduce()).await;
    let d = Node::start("delta").await;
    d.join(&b.invite().await).await.unwrap();
    d.linked_to(&a).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_leaves_is_missed_by_nobody_and_has_a_mesh_of_its_own() {
    let (a, b) = pair().await;
    let before = b.mesh.status().id;
    b.mesh.leave().await.unwrap();
    assert_ne!(b.mesh.status().id, before);
    assert_eq!(b.mesh.status().members, 1);
    until("the farewell", || a.mesh.status().members == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_says_goodbye() {
    let (a, b) = pair().await;
    let _b = b.stop().await;
    until("the goodbye", || {
        let peers = a.mesh.peers();
        peers.iter().any(|peer| peer.host == "beta" && peer.state != PeerState::Connected)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_and_links_are_there_again_after_a_restart_of_both() {
    let (a, b) = pair().await;
    let (a, b) = (a.stop().await, b.stop().await);
    let (a, b) = (a.start().await, b.start().await);
    a.linked_to(&b).await;
    b.linked_to(&a).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_founder_that_is_given_another_name_is_known_by_it_after_a_restart() {
    let (a, b) = pair().await;
    let off = a.stop().await;
    let a = off.called("delta").start().await;
    b.linked_to(&a).await;
    until("the new name", || b.mesh.peers().iter().any(|peer| peer.host == "delta")).await;
    assert_eq!(b.mesh.status().members, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_machines_with_one_key_are_told_so_and_one_of_them_stays_linked() {
    let (a, b) = pair().await;
    let twin = b.twin().await;
    until("both to be told", || b.mesh.has_twin() && twin.mesh.has_twin()).await;
    let shown = |node: &Node| node.mesh.peers().into_iter().find(|peer| peer.host == "beta").unwrap();
    assert_eq!(shown(&a).state, PeerState::Connected);
    assert!(shown(&a).reason.unwrap().contains("two machines"));
}
