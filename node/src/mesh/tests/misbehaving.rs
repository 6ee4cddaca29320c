//! Members that flood, stall, lie about addresses or speak another version: each costs a bounded amount, and the owner
//! sees the reason ("Bad input gets" of issue 4). What else members do that they should not is in `shown`, `strangers`
//! and `moving`.

use super::shown::{says, shown};
use super::strangers::{Stranger, everything};
use super::village::*;
use crate::mesh::dial;
use crate::mesh::endpoint::{self, Purpose};
use crate::mesh::frames::{FrameReader, FrameWriter};
use crate::mesh::greet;
use crate::mesh::peers::Stop;
use amesh_proto::api::control::PeerState;
use amesh_proto::wire::mail::LaneStamp;
use amesh_proto::wire::{
    Frame, Hello, MailFrame, Neighbour, Neighbours, Refuse, RefuseCode, RosterPull, VERSIONS,
};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// `b` no longer answers by itself: the test has its key and its place in the mesh.
async fn fall_into_the_hands_of_the_test(b: &Node) {
    b.mesh.shared.end_links(Stop::ShuttingDown, Duration::from_secs(5)).await;
}

/// Whether the owner of `a` is told that `b` did this.
fn is_told(a: &Node, b: &Node, what: &str) -> bool {
    shown(a, b).faults.iter().any(|fault| fault.what == what)
}

/// What `a` says of why `b` is not linked.
fn reason(a: &Node, b: &str) -> String {
    let peers = a.mesh.peers();
    peers.iter().find(|peer| peer.node_id == b).and_then(|peer| peer.reason.clone()).unwrap_or_default()
}

/// Addresses at which nothing ever answers, for as long as the sockets live.
fn dead_ends(count: usize) -> (Vec<UdpSocket>, Vec<SocketAddr>) {
    let sockets: Vec<_> = (0..count).map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
    let addresses = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
    (sockets, addresses)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_more_than_it_reads_loses_its_link_and_is_shown() {
    let (a, b) = pair().await;
    for number in 0..30 {
        a.agent(&format!("agent-{number}")).await;
    }
    fall_into_the_hands_of_the_test(&b).await;
    let pull = RosterPull { node: a.mesh.node_id(), since: 0 };
    let flood = vec![Frame::RosterPull(pull); 256];
    for attempt in 0.. {
        if is_told(&a, &b, "it broke the link protocol: it asks for more than it reads") {
            break;
        }
        assert!(attempt < 60, "{:?}", shown(&a, &b).faults);
        let shared = &b.mesh.shared;
        let dialed = shared.endpoint.dial(a.mesh.listen_addr(), Some(a.mesh.node_id()), Purpose::Link);
        let Ok(connection) = dialed.await else { continue };
        let Ok(link) = greet::dial(shared, &connection, a.mesh.node_id()).await else { continue };
        for _ in 0..80 {
            if link.writer.send(&flood).await.is_err() {
                break;
            }
        }
        // Still there and not reading, until the other end has had the time to see it.
        drop(tokio::time::timeout(Duration::from_secs(10), connection.closed()).await);
    }
    let b = b.stop().await.start().await;
    let (alice, bob) = (a.agent("alice").await, b.agent("bob").await);
    a.knows("bob").await;
    a.send(&alice, "bob", "still here").await.unwrap();
    b.receives(&bob, &["still here".to_owned()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_brings_more_mail_than_a_link_takes_is_put_off_and_shown() {
    let (a, b) = pair().await;
    let (alice, bob) = (a.agent("alice").await, b.agent("bob").await);
    b.knows("alice").await;
    b.send(&bob, "bob", "a pattern").await.unwrap();
    let [entry] = b.store.pending(bob.no, None, 2).unwrap().try_into().unwrap();
    fall_into_the_hands_of_the_test(&b).await;
    // Each waits for a roster that never comes.
    let mail = |number: u64| {
        let lane = LaneStamp { generation: 0, number, floor: 1 };
        let frame = MailFrame::carrying(entry.mail.clone(), number, lane, u64::MAX, entry.mail.accepted_at);
        Frame::Mail(Box::new(frame))
    };
    let flood: Vec<Frame> = (1..=600).map(mail).collect();
    for attempt in 0.. {
        if is_told(&a, &b, "it brought more mail at once than a member may") {
            break;
        }
        assert!(attempt < 60, "{:?}", shown(&a, &b).faults);
        says(&b, &a, &flood).await;
    }
    assert_eq!(a.texts(&alice), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_opens_more_connections_than_it_needs_is_turned_away_and_shown() {
    let (a, b) = pair().await;
    let (alice, bob) = (a.agent("alice").await, b.agent("bob").await);
    a.knows("bob").await;
    let mut open = Vec::new();
    for _ in 0..60 {
        let (endpoint, node) = (&b.mesh.shared.endpoint, a.mesh.node_id());
        open.push(endpoint.dial(a.mesh.listen_addr(), Some(node), Purpose::Link).await);
    }
    until("the flood to be seen", || {
        is_told(&a, &b, "it brought more connections at once than a member may")
    })
    .await;
    // Their link is as good as before.
    a.send(&alice, "bob", "still here").await.unwrap();
    b.receives(&bob, &["still here".to_owned()]).await;
    drop(open);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_falls_silent_in_the_middle_of_a_greeting_is_given_up_and_shown() {
    let (a, b) = pair().await;
    let (member, stranger) = (&b.mesh.shared.endpoint, Stranger::new());
    let (at, node) = (a.mesh.listen_addr(), a.mesh.node_id());
    let by_member = member.dial(at, Some(node), Purpose::Link).await.unwrap();
    let by_stranger = stranger.endpoint.dial(at, Some(node), Purpose::Link).await.unwrap();
    until("the member's silence to be seen", || is_told(&a, &b, "it fell silent while it owed an answer"))
        .await;
    let stranger = stranger.identity.node_id().to_string();
    until("the stranger's silence to be seen", || {
        reason(&a, &stranger) == "it knocked: the greeting took too long"
    })
    .await;
    // Neither holds a place any more.
    assert!(by_member.closed().await.to_string().contains("closed"));
    assert!(by_stranger.closed().await.to_string().contains("closed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn false_addresses_are_few_are_named_with_what_answers_there_and_keep_nobody_from_a_link() {
    let (a, b) = pair().await;
    let c = Node::start("gamma").await;
    c.join(&a.invite().await).await.unwrap();
    a.linked_to(&c).await;
    let (node, c) = (c.mesh.node_id(), c.stop().await);
    until("the end of the link", || !a.mesh.shared.is_linked(&node)).await;
    let (_sockets, mut addresses) = dead_ends(20);
    addresses.insert(0, b.mesh.listen_addr());
    let lies = Neighbours(vec![Neighbour { node, addresses }]);
    let lie = format!("{}: another machine answers there", b.mesh.listen_addr());
    for attempt in 0.. {
        if reason(&a, &node.to_string()).contains(&lie) {
            break;
        }
        assert!(attempt < 200, "{}", reason(&a, &node.to_string()));
        says(&b, &a, &[Frame::Neighbours(lies.clone())]).await;
    }
    assert!(a.mesh.shared.peers.get(&node).unwrap().addresses.len() <= 8);
    let c = c.start().await;
    a.linked_to(&c).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_old_member_lists_again_changes_nothing_and_is_shown() {
    let (a, b) = pair().await;
    let old = b.mesh.shared.membership().list().statements();
    let (c, other) = (Node::start("gamma").await, Node::start("delta").await);
    for node in [&c, &other] {
        node.join(&a.invite().await).await.unwrap();
    }
    a.mesh.remove("gamma").await.unwrap();
    let list = || a.mesh.shared.membership().list().digest();
    until("the list to be one", || b.mesh.shared.membership().list().digest() == list()).await;
    fall_into_the_hands_of_the_test(&b).await;
    let newest = b.mesh.shared.membership().list().statements();
    let before = list();
    let frames: Vec<Frame> = [newest, old.clone(), old.clone(), old].map(Frame::Members).into();
    for attempt in 0.. {
        if is_told(&a, &b, "it sent member lists that are older than one it had sent") {
            break;
        }
        assert!(attempt < 60, "{:?}", shown(&a, &b).faults);
        says(&b, &a, &frames).await;
    }
    assert_eq!(list(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_dead_addresses_are_tried_together_and_the_living_one_is_found_among_them() {
    let (a, b) = pair().await;
    let (_sockets, mut addresses) = dead_ends(10);
    let (node, off) = (b.mesh.node_id(), b.stop().await);
    let b = off.at_any_port().start().await;
    // Only the test dials.
    fall_into_the_hands_of_the_test(&a).await;
    addresses.push(b.mesh.listen_addr());
    a.hears_of_it_among(&b, addresses).await;
    until("the addresses", || a.mesh.shared.lookout.as_ref().unwrap().find(&node).len() == 11).await;
    let shared = &a.mesh.shared;
    let told = dial::attempt(shared.clone(), node, true).await.err().map(|failure| failure.to_string());
    assert_eq!(told.as_deref().unwrap_or_default().matches("127.").count(), 8, "{told:?}");
    // Those that were tried in vain come last the next time.
    let second = dial::attempt(shared.clone(), node, true).await;
    assert!(second.is_ok(), "{second:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_speaks_no_version_of_ours_is_refused_and_shown() {
    let (a, b) = pair().await;
    fall_into_the_hands_of_the_test(&b).await;
    let greets_in = async |versions| {
        let (shared, node) = (&b.mesh.shared, a.mesh.node_id());
        let dialed = shared.endpoint.dial(a.mesh.listen_addr(), Some(node), Purpose::Link);
        let connection = dialed.await.unwrap();
        let binding = endpoint::channel_binding(&connection).unwrap();
        let (send, recv) = connection.open_bi().await.unwrap();
        let (mut reader, writer) = (FrameReader::new(recv), FrameWriter::new(send, &shared.tasks));
        let hello = Hello { versions, ..shared.membership().hello(&node, &binding) };
        writer.send(&[Frame::Hello(hello)]).await.unwrap();
        reader.next().await.unwrap()
    };
    for versions in [(0, 0), (VERSIONS.1 + 1, VERSIONS.1 + 7)] {
        let answer = greets_in(versions).await;
        assert_eq!(answer, Frame::Refuse(Refuse { code: RefuseCode::Version }), "{versions:?}");
    }
    until("both refusals to be seen", || {
        let faults = shown(&a, &b).faults;
        faults
            .iter()
            .any(|fault| fault.what == "it was not let in: no common protocol version" && fault.count == 2)
    })
    .await;
    // One that knows newer versions besides ours is spoken to in ours.
    let Frame::HelloAck(answer) = greets_in((VERSIONS.0, VERSIONS.1 + 7)).await else { panic!("refused") };
    assert_eq!(answer.version, VERSIONS.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_refuses_our_version_is_shown_with_what_to_do() {
    let (a, b) = pair().await;
    let (identity, at) = (b.mesh.shared.identity.clone(), b.mesh.listen_addr());
    let (node, _off) = (b.mesh.node_id().to_string(), b.stop().await);
    let newer = Stranger::with_key_of(&identity, at);
    let endpoint = newer.endpoint.clone();
    newer.tasks.spawn(refuse_everybody(newer.endpoint.clone(), newer.tasks.clone()));
    until("the refusal to be shown", || {
        reason(&a, &node).contains("it speaks no link protocol that this amesh knows; upgrade the older one")
    })
    .await;
    endpoint.speaks_only(b"amesh/2");
    until("the other protocol to be shown", || {
        reason(&a, &node) == format!("{at}: it speaks another link protocol; upgrade the older amesh")
    })
    .await;
    assert!(a.mesh.peers().iter().any(|peer| peer.node_id == node && peer.state != PeerState::Connected));
}

/// Tells everybody who knocks that it speaks no version of theirs.
async fn refuse_everybody(endpoint: endpoint::MeshEndpoint, tasks: crate::tasks::Tasks) {
    while let Some(incoming) = endpoint.incoming().await {
        let Ok(connection) = incoming.await else { continue };
        let Ok((send, recv)) = connection.accept_bi().await else { continue };
        let (mut reader, writer) = (FrameReader::new(recv), FrameWriter::new(send, &tasks));
        if let Ok(Frame::Hello(_)) = reader.next().await {
            drop(writer.send(&[Frame::Refuse(Refuse { code: RefuseCode::Version })]).await);
            drop(everything(reader).await);
        }
    }
}
