//! What `amesh peers` says of a member or a stranger that is not linked or does what it should not ("Bad input gets").

use super::village::*;
use crate::mesh::endpoint::{CloseCode, Purpose};
use crate::mesh::greet;
use crate::mesh::peers::Stop;
use amesh_proto::api::control::{Peer, PeerState};
use amesh_proto::member::list::Statements;
use amesh_proto::wire::mail::LaneStamp;
use amesh_proto::wire::{Frame, MailFrame, RosterAdvert, RosterPart, RosterVersion};
use std::time::Duration;

/// What `a` shows of `b`.
pub(super) fn shown(a: &Node, b: &Node) -> Peer {
    let node = b.mesh.node_id().to_string();
    a.mesh.peers().into_iter().find(|peer| peer.node_id == node).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_linked_member_is_shown_with_its_path_round_trip_versions_and_clock() {
    let (a, b) = pair().await;
    until("its software", || shown(&a, &b).version.is_some()).await;
    let peer = shown(&a, &b);
    assert_eq!((peer.state, peer.path.as_deref()), (PeerState::Connected, Some("direct")));
    assert_eq!((peer.version.as_deref(), peer.protocol), (Some(env!("CARGO_PKG_VERSION")), Some(1)));
    assert!(peer.rtt_ms.is_some() && peer.clock_ahead_ms.is_some_and(|ahead| ahead.abs() < 60_000));
    assert!(peer.reason.is_none() && peer.faults.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_off_is_shown_with_every_address_that_was_tried_and_when_it_is_tried_again() {
    let (a, b) = pair().await;
    let (node, dead) = (b.mesh.node_id(), ["127.0.0.1:9", "127.0.0.1:10"].map(|at| at.parse().unwrap()));
    assert!(dead.iter().all(|address| a.mesh.shared.peers.hear_of_address(&node, *address)));
    let was_at = b.mesh.listen_addr().to_string();
    let _off = b.stop().await;
    until("a reason", || {
        let peers = a.mesh.peers();
        let peer = peers.iter().find(|peer| peer.node_id == node.to_string()).unwrap();
        let reason = peer.reason.clone().unwrap_or_default();
        let named = [was_at.as_str(), "127.0.0.1:9", "127.0.0.1:10"].iter().all(|at| reason.contains(at));
        peer.state != PeerState::Connected && named && peer.next_dial.is_some() && peer.last_seen.is_some()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_another_mesh_that_is_seen_or_knocks_is_shown_with_the_reason() {
    let ((a, b), (c, _d)) = (pair().await, pair().await);
    a.hears_of(&c).await;
    until("the other mesh", || {
        let peers = a.mesh.peers();
        let reason = peers.iter().find(|peer| peer.node_id == c.mesh.node_id().to_string());
        reason.and_then(|peer| peer.reason.clone()).is_some_and(|reason| reason.contains("another mesh"))
    })
    .await;
    let dialed = c.mesh.shared.endpoint.dial(b.mesh.listen_addr(), Some(b.mesh.node_id()), Purpose::Link);
    let connection = dialed.await.unwrap();
    assert!(greet::dial(&c.mesh.shared, &connection, b.mesh.node_id()).await.is_err());
    until("the knock", || {
        let peers = b.mesh.peers();
        let knocked = peers.iter().find(|peer| peer.node_id == c.mesh.node_id().to_string());
        let reason = knocked.and_then(|peer| peer.reason.clone()).unwrap_or_default();
        reason == "it knocked: it does not know a secret of this mesh"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_member_that_comes_back_is_shown_as_removed_and_told_so() {
    let (a, b) = pair().await;
    let (node, b) = (b.mesh.node_id().to_string(), b.stop().await);
    a.mesh.remove("beta").await.unwrap();
    let b = b.start().await;
    b.hears_of(&a).await;
    until("both sides to say it", || {
        let peers = a.mesh.peers();
        let knocked = peers.iter().find(|peer| peer.node_id == node && peer.state == PeerState::Removed);
        let there = knocked.is_some_and(|peer| peer.reason.is_some());
        let told = |peer: &Peer| peer.reason.as_deref().is_some_and(|reason| reason.contains("removed"));
        there && b.mesh.peers().iter().any(told)
    })
    .await;
}

/// A link from `b` to `a`, over which the test says what it likes in b's name.
pub(super) async fn says(b: &Node, a: &Node, frames: &[Frame]) {
    let shared = &b.mesh.shared;
    let dialed = shared.endpoint.dial(a.mesh.listen_addr(), Some(a.mesh.node_id()), Purpose::Link);
    let Ok(connection) = dialed.await else { return };
    if let Ok(mut link) = greet::dial(shared, &connection, a.mesh.node_id()).await {
        link.writer.send(frames).await.unwrap();
        let hearing = async { while link.reader.next().await.is_ok() {} };
        drop(tokio::time::timeout(Duration::from_millis(300), hearing).await);
    }
    connection.close(CloseCode::Done.into(), b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_member_does_that_it_should_not_is_counted_and_shown() {
    let (a, b) = pair().await;
    let (alice, dora, _bob) = (a.agent("alice").await, a.agent("dora").await, b.agent("bob").await);
    a.knows("bob").await;
    a.send(&alice, "dora", "of this host").await.unwrap();
    let [entry] = a.store.pending(dora.no, None, 2).unwrap().try_into().unwrap();
    let lane = LaneStamp { generation: 0, number: 1, floor: 1 };
    let foreign = MailFrame::carrying(entry.mail.clone(), 7, lane, 0, entry.mail.accepted_at);
    // Its own roster, as it was before bob came: from nothing, and so older than what is held.
    let own = RosterVersion { node: b.mesh.node_id(), version: u64::MAX };
    let head = b.mesh.shared.rosters.own(&b.mesh.shared).unwrap().head.clone();
    let version = head.says.version;
    let part =
        RosterPart { node: own.node, since: version, part: 0, entries: Vec::new(), end: Some(Some(head)) };
    let frames = [
        Frame::RosterAdvert(RosterAdvert(vec![own])),
        Frame::RosterPart(Box::new(part)),
        Frame::Mail(Box::new(foreign)),
        Frame::Members(Statements::default()),
        Frame::JoinConfirm(amesh_proto::wire::JoinConfirm),
    ];
    b.mesh.shared.end_links(Stop::ShuttingDown, Duration::from_secs(5)).await;
    let expected = [
        "it brought mail that is not its own",
        "it passed on a roster that was not taken: it is older than what is held here",
        "it broke the link protocol: a frame that has no place on a link",
    ];
    let there = |what: &&str| shown(&a, &b).faults.iter().any(|fault| fault.what == *what);
    for attempt in 0.. {
        if expected.iter().all(there) {
            break;
        }
        assert!(attempt < 60, "{:?}", shown(&a, &b).faults);
        // One fault a link: the last one ends it, and mail is judged beside what follows.
        says(&b, &a, &frames[attempt % 3..][..if attempt % 3 == 0 { 2 } else { 1 }]).await;
        says(&b, &a, &frames[4..]).await;
    }
    assert_eq!(a.texts(&dora), ["of this host"], "nothing came of it");
}
