//! Tickets: good, spent, expired, edited, for the wrong node; and what joining brings.

use super::village::*;
use crate::mesh::MeshError;
use amesh_proto::api::control::{PeerRole, PeerState};
use amesh_proto::ticket::Ticket;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_joins_with_a_ticket_and_both_are_linked() {
    let (a, b) = pair().await;
    assert_eq!(a.mesh.status().id, b.mesh.status().id);
    assert_eq!((a.mesh.status().members, a.mesh.status().connected), (2, 1));
    let hosts: Vec<_> = b.mesh.peers().into_iter().map(|peer| (peer.host, peer.state)).collect();
    assert_eq!(hosts, [("beta".to_owned(), PeerState::Own), ("alpha".to_owned(), PeerState::Connected)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_that_met_through_an_introducer_are_all_linked() {
    let (a, b, c) = (Node::start("alpha").await, Node::start("beta").await, Node::start("gamma").await);
    b.join(&a.invite_introducer().await).await.unwrap();
    b.linked_to(&a).await;
    c.join(&b.invite().await).await.unwrap();
    for (one, other) in [(&a, &b), (&b, &c), (&c, &a), (&a, &c)] {
        one.linked_to(other).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joins_by_an_ordinary_ticket_is_a_plain_member_and_is_told_who_may_invite() {
    let (a, b) = pair().await;
    let refused = b.mesh.invite(None, false).await.unwrap_err();
    assert_eq!(refused.code(), "not_allowed");
    assert!(refused.to_string().contains("alpha"), "{refused}");
    assert_eq!(b.mesh.promote("alpha").await.unwrap_err().code(), "not_allowed");
    let roles = |node: &Node| node.mesh.peers().into_iter().map(|peer| peer.role).collect::<Vec<_>>();
    assert_eq!(roles(&a), [Some(PeerRole::Founder), Some(PeerRole::Member)]);
    assert_eq!(roles(&b), [Some(PeerRole::Member), Some(PeerRole::Founder)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_member_removes_for_itself_alone() {
    let (a, b) = pair().await;
    let c = Node::start("gamma").await;
    c.join(&a.invite().await).await.unwrap();
    b.linked_to(&c).await;
    assert_eq!(b.mesh.remove("gamma").await.unwrap().scope, "local");
    b.parted_from(&c).await;
    assert_eq!((a.mesh.status().members, a.mesh.status().epoch), (3, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_made_an_introducer_may_invite_and_keeps_its_seniority() {
    let (a, b) = pair().await;
    let c = Node::start("gamma").await;
    c.join(&a.invite().await).await.unwrap();
    a.mesh.promote("beta").await.unwrap();
    until("the news", || b.mesh.peers()[0].role == Some(PeerRole::Introducer)).await;
    let d = Node::start("delta").await;
    d.join(&b.invite().await).await.unwrap();
    d.linked_to(&a).await;
    let labels: Vec<_> = b.mesh.shared.membership().introducers();
    assert_eq!(labels, ["alpha", "beta"]);
    a.mesh.promote("beta").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_members_that_two_introducers_gave_one_label_are_shown_and_the_older_one_has_it() {
    let (a, b) = pair().await;
    a.mesh.promote("beta").await.unwrap();
    until("the right", || b.mesh.shared.membership().may_introduce()).await;
    let newcomer = |byte: u8| amesh_proto::node_id::NodeKey::from_seed(&[byte; 32]).id();
    let (now, at) = (amesh_proto::time::UnixMillis(1), amesh_proto::time::UnixMillis(2));
    // Both admit before either has heard of the other's newcomer.
    a.mesh.shared.membership().admit(newcomer(1), "stone", false, now).unwrap();
    b.mesh.shared.membership().admit(newcomer(2), "stone", false, at).unwrap();
    let heard = b.mesh.shared.membership().list().statements();
    a.mesh.shared.membership().on_members(&heard).unwrap();
    let conflicts = a.mesh.label_conflicts();
    assert_eq!((conflicts.len(), conflicts[0].host.as_str()), (1, "stone"));
    assert!(conflicts[0].mend.contains("amesh up --host"));
    let (peers, loser) = (a.mesh.peers(), &conflicts[0].loser);
    let shown: Vec<_> = peers.iter().filter(|peer| peer.label_conflict.is_some()).collect();
    assert_eq!((shown.len(), &shown[0].node_id), (1, loser));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spent_ticket_lets_nobody_else_in_but_its_spender_again() {
    let (a, b, c) = (Node::start("alpha").await, Node::start("beta").await, Node::start("gamma").await);
    let ticket = a.invite().await;
    b.join(&ticket).await.unwrap();
    assert_eq!(c.join(&ticket).await.unwrap_err().code(), "ticket_spent");
    assert_eq!(a.mesh.status().members, 2);
    b.mesh.leave().await.unwrap();
    b.join(&ticket).await.unwrap();
    a.linked_to(&b).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_edited_and_invented_tickets_are_refused() {
    let (a, b) = (Node::start("alpha").await, Node::start("beta").await);
    let ticket = a.mesh.invite(Some(Duration::ZERO), false).await.unwrap();
    assert_eq!(b.join(&ticket.to_string()).await.unwrap_err().code(), "ticket_expired");
    let nowhere = Ticket { addresses: vec!["127.0.0.1:9".parse().unwrap()], ..ticket.clone() };
    assert!(matches!(b.join(&nowhere.to_string()).await, Err(MeshError::Expired)), "asked for nothing");
    // The far end judges by its own clock, whatever the ticket says.
    let later = Ticket { expires_at: ticket.expires_at.plus(Duration::from_secs(3600)), ..ticket.clone() };
    assert_eq!(b.join(&later.to_string()).await.unwrap_err().code(), "ticket_expired");
    let mut text = a.invite().await;
    text.insert(20, 'x');
    assert_eq!(b.join(&text).await.unwrap_err().code(), "ticket_invalid");
    let invented = Ticket { token: amesh_proto::ticket::Token([1; 24]), ..later };
    assert_eq!(b.join(&invented.to_string()).await.unwrap_err().code(), "ticket_unknown");
    assert_eq!((a.mesh.status().members, b.mesh.status().members), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_leads_to_its_inviter_and_to_no_other_node() {
    let (a, b, c) = (Node::start("alpha").await, Node::start("beta").await, Node::start("gamma").await);
    let ticket = a.mesh.invite(None, false).await.unwrap();
    let elsewhere = Ticket { addresses: vec![c.mesh.listen_addr()], ..ticket };
    assert_eq!(b.join(&elsewhere.to_string()).await.unwrap_err().code(), "unreachable");
    assert_eq!(c.mesh.status().members, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_other_members_stays_unless_it_is_told_to_leave_them() {
    let (a, b) = pair().await;
    let c = Node::start("gamma").await;
    let ticket = c.invite().await;
    assert_eq!(b.join(&ticket).await.unwrap_err().code(), "has_members");
    b.mesh.join(&ticket, true, false).await.unwrap();
    b.linked_to(&c).await;
    until("the farewell", || a.mesh.status().members == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_label_that_a_member_has_is_refused_and_leaves_the_ticket_usable() {
    let (a, b) = (Node::start("alpha").await, Node::start("alpha").await);
    let ticket = a.invite().await;
    assert_eq!(b.join(&ticket).await.unwrap_err().code(), "label_taken");
    assert_eq!(a.mesh.status().members, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn clashing_names_are_told_before_anything_is_joined() {
    let (a, b) = (Node::start("alpha").await, Node::start("beta").await);
    a.agent("alice").await;
    b.agent("alice").await;
    let ticket = a.invite().await;
    let answer = b.join(&ticket).await.unwrap();
    assert!(!answer.joined);
    assert_eq!(answer.clashes.len(), 1);
    assert_eq!(answer.clashes[0].address, address("alice"));
    assert_eq!(a.mesh.status().members, 1);
    assert!(b.mesh.join(&ticket, false, true).await.unwrap().joined);
}
