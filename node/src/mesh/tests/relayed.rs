//! Two members that nothing direct leads from the one to the other, and a third that both reach. The one listens on
//! IPv4 only and the other on IPv6 only.

use super::cable::Cable;
use super::village::*;
use amesh_proto::ticket::Ticket;
use std::net::SocketAddr;

/// The two, and the one between them.
async fn apart() -> (Node, Node, Node) {
    let kit = Node::with_swarm("kit", "[::]:0").await;
    let (ann, bob) = (Node::with_swarm("ann", "127.0.0.1:0").await, Node::with_swarm("bob", "[::1]:0").await);
    let port = kit.mesh.listen_addr().port();
    for (node, ip) in [(&ann, "127.0.0.1"), (&bob, "::1")] {
        let address = SocketAddr::new(ip.parse().unwrap(), port);
        let ticket = kit.mesh.invite(None, false).await.unwrap();
        let ticket = Ticket { addresses: vec![address], ..ticket };
        assert!(node.join(&ticket.to_string()).await.unwrap().joined);
    }
    ann.linked_to(&bob).await;
    bob.linked_to(&ann).await;
    (ann, kit, bob)
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_goes_both_ways_through_a_third_member_and_the_owner_is_told() {
    let (ann, kit, bob) = apart().await;
    assert_eq!(ann.path_to(&bob).as_deref(), Some("relayed via kit"));
    assert_eq!(bob.path_to(&ann).as_deref(), Some("relayed via kit"));
    assert_eq!(kit.path_to(&ann).as_deref(), Some("direct"));
    let (alice, berta) = (ann.agent("alice").await, bob.agent("berta").await);
    ann.knows("berta").await;
    bob.knows("alice").await;
    let texts = numbered(300);
    for text in &texts {
        ann.send(&alice, "berta", text).await.unwrap();
        bob.send(&berta, "alice", text).await.unwrap();
    }
    bob.receives(&berta, &texts).await;
    ann.receives(&alice, &texts).await;
    assert!(kit.store.outbox_destinations().is_empty(), "it carries packets and no mail");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_direct_path_appears_the_link_moves_to_it_and_mail_under_way_comes_once_and_in_order() {
    let (ann, _kit, bob) = apart().await;
    let (alice, berta) = (ann.agent("alice").await, bob.agent("berta").await);
    ann.knows("berta").await;
    let texts = numbered(600);
    let cable = Cable::between(&ann, &bob).await;
    for (at, text) in texts.iter().enumerate() {
        ann.send(&alice, "berta", text).await.unwrap();
        if at == 200 {
            ann.hears_of_it_at(&bob, cable.as_second).await;
        }
    }
    for (node, other) in [(&ann, &bob), (&bob, &ann)] {
        until("the direct path", || node.path_to(other).as_deref() == Some("direct")).await;
    }
    bob.receives(&berta, &texts).await;
    // A relayed link does not take over again.
    bob.mesh.shared.peers.tell_all(|news| news.life = true);
    ann.send(&alice, "berta", "and one more").await.unwrap();
    until("one more", || bob.texts(&berta).len() > texts.len()).await;
    assert_eq!(ann.path_to(&bob).as_deref(), Some("direct"));
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_direct_path_goes_the_relayed_one_is_back() {
    let (ann, _kit, bob) = apart().await;
    let cable = Cable::between(&ann, &bob).await;
    ann.hears_of_it_at(&bob, cable.as_second).await;
    until("the direct path", || ann.path_to(&bob).as_deref() == Some("direct")).await;
    let (alice, berta) = (ann.agent("alice").await, bob.agent("berta").await);
    ann.knows("berta").await;
    cable.pull();
    ann.send(&alice, "berta", "around").await.unwrap();
    bob.receives(&berta, &["around".to_owned()]).await;
    until("the relayed path", || ann.path_to(&bob).as_deref() == Some("relayed via kit")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_member_is_cut_off_on_the_relayed_path_too() {
    let (ann, kit, bob) = apart().await;
    kit.mesh.remove("bob").await.unwrap();
    for node in [&ann, &kit] {
        node.parted_from(&bob).await;
        let swarm = node.swarm.as_ref().unwrap();
        until("the end of its connections", || swarm.path(&bob.mesh.node_id()).is_none()).await;
        assert!(swarm.open(&bob.mesh.node_id()).await.is_err());
    }
}
