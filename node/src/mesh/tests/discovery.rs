//! What discovery changes: who is dialled, when, and who is listed.

use super::village::*;
use amesh_discovery::finder::{Candidate, Event, Source};
use amesh_proto::api::control::PeerState;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_seen_but_is_no_member_is_listed_as_a_neighbour_and_not_linked() {
    let (a, b) = (Node::start("alpha").await, Node::start("beta").await);
    a.hears_of(&b).await;
    let node = b.mesh.node_id().to_string();
    until("a neighbour", || {
        let peers = a.mesh.peers();
        peers
            .iter()
            .any(|peer| peer.node_id == node && peer.state == PeerState::Neighbour && peer.host == "beta")
    })
    .await;
    assert_eq!((a.mesh.status().members, a.mesh.status().connected), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_moved_find_each_other_through_discovery() {
    let (a, b) = pair().await;
    let (a, b) = (a.stop().await.at_any_port(), b.stop().await.at_any_port());
    let (a, b) = (a.start().await, b.start().await);
    a.hears_of(&b).await;
    a.linked_to(&b).await;
    b.linked_to(&a).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_address_leads_to_whoever_answers_there() {
    let (a, b) = pair().await;
    let (a, b) = (a.stop().await.at_any_port(), b.stop().await.at_any_port());
    let (a, b) = (a.start().await, b.start().await);
    let seed = Candidate {
        node: None,
        addresses: vec![b.mesh.listen_addr()],
        source: Source::Static,
        label: None,
        mesh_hint: None,
        expires_in: None,
    };
    a.finder.say(Event::Found(seed)).await.unwrap();
    a.linked_to(&b).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_with_one_secret_are_one_mesh_without_tickets_and_others_stay_out() {
    let secret = "5a".repeat(32);
    let (a, b) = (Node::open("alpha", &secret).await, Node::open("beta", &secret).await);
    let c = Node::open("gamma", &"a5".repeat(32)).await;
    a.hears_of(&b).await;
    a.hears_of(&c).await;
    c.hears_of(&a).await;
    a.linked_to(&b).await;
    b.linked_to(&a).await;
    assert_eq!((a.mesh.status().members, c.mesh.status().members), (2, 1));
    let (alice, bob) = (a.agent("alice").await, b.agent("bob").await);
    a.knows("bob").await;
    a.send(&alice, "bob", "hello").await.unwrap();
    b.receives(&bob, &["hello".to_owned()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_network_is_told_which_mesh_this_node_is_in() {
    let (a, b) = pair().await;
    let announced = |node: &Node| node.finder.asked().announcement.unwrap();
    assert_eq!(announced(&a).mesh_hash, announced(&b).mesh_hash);
    assert_eq!(announced(&b).port, b.mesh.listen_addr().port());
    b.mesh.leave().await.unwrap();
    assert_ne!(announced(&a).mesh_hash, announced(&b).mesh_hash);
}
