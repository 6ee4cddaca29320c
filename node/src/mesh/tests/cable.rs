//! A cable between two nodes that can be pulled and put back, and mail over it.

use super::village::*;
use crate::tasks::Tasks;
use amesh_proto::ticket::Ticket;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;

/// Two sockets, each standing for the node at the far end.
pub(super) struct Cable {
    pub(super) as_first: SocketAddr,
    pub(super) as_second: SocketAddr,
    faults: Arc<Faults>,
    _tasks: Tasks,
}

/// What the cable does to packets.
#[derive(Default)]
struct Faults {
    /// Of a thousand packets, so many are dropped.
    loss: AtomicU32,
    /// Only links that are open already go through.
    no_handshakes: AtomicBool,
}

impl Faults {
    fn drops(&self, packet: &[u8]) -> bool {
        // Handshakes have QUIC's long header, open links the short one (RFC 8999 §5).
        let is_handshake = packet.first().is_some_and(|first| first & 0x80 != 0);
        (is_handshake && self.no_handshakes.load(Ordering::SeqCst))
            || rand::random_range(0..1000) < self.loss.load(Ordering::SeqCst)
    }
}

impl Cable {
    pub(super) async fn between(first: &Node, second: &Node) -> Self {
        let one = Arc::new(UdpSocket::bind(beside(second)).await.unwrap());
        let two = Arc::new(UdpSocket::bind(beside(first)).await.unwrap());
        let (as_first, as_second) = (one.local_addr().unwrap(), two.local_addr().unwrap());
        let faults = Arc::new(Faults::default());
        let tasks = Tasks::new("cable");
        // What the second node sends to `as_first` comes to the first one from `as_second`, and the other way round.
        tasks.spawn(carry(one.clone(), two.clone(), first.mesh.listen_addr(), faults.clone()));
        tasks.spawn(carry(two, one, second.mesh.listen_addr(), faults.clone()));
        Self { as_first, as_second, faults, _tasks: tasks }
    }

    pub(super) fn pull(&self) {
        self.faults.loss.store(1000, Ordering::SeqCst);
    }

    pub(super) fn put_back(&self) {
        self.faults.loss.store(0, Ordering::SeqCst);
    }

    /// The links over it stay, and no other comes about over it.
    pub(super) fn let_no_new_link_through(&self) {
        self.faults.no_handshakes.store(true, Ordering::SeqCst);
    }

    fn lose(&self, of_a_thousand: u32) {
        self.faults.loss.store(of_a_thousand, Ordering::SeqCst);
    }
}

/// A port that `node` can send to.
fn beside(node: &Node) -> SocketAddr {
    let v6 = node.mesh.listen_addr().is_ipv6();
    if v6 { (Ipv6Addr::LOCALHOST, 0).into() } else { (Ipv4Addr::LOCALHOST, 0).into() }
}

async fn carry(from: Arc<UdpSocket>, through: Arc<UdpSocket>, to: SocketAddr, faults: Arc<Faults>) {
    let mut packet = vec![0; 65_536];
    while let Ok((length, _)) = from.recv_from(&mut packet).await {
        if !faults.drops(&packet[..length]) {
            drop(through.send_to(&packet[..length], to).await);
        }
    }
}

/// Two members with nothing but a cable between them.
pub(super) async fn cabled() -> (Node, Node, Cable) {
    join_by_cable(Node::start("alpha").await, Node::start("beta").await).await
}

pub(super) async fn join_by_cable(a: Node, b: Node) -> (Node, Node, Cable) {
    let cable = Cable::between(&a, &b).await;
    let ticket = Ticket { addresses: vec![cable.as_first], ..a.mesh.invite(None, false).await.unwrap() };
    b.join(&ticket.to_string()).await.unwrap();
    a.linked_to(&b).await;
    b.linked_to(&a).await;
    let at = |node: &Node| node.mesh.peers()[1].address.clone().unwrap();
    assert_eq!((at(&a), at(&b)), (cable.as_second.to_string(), cable.as_first.to_string()));
    (a, b, cable)
}

async fn outage(length: Duration) {
    let (a, b, cable) = cabled().await;
    let (alice, bob) = (a.agent("alice").await, b.agent("bob").await);
    a.knows("bob").await;
    b.knows("alice").await;
    a.send(&alice, "bob", "message before").await.unwrap();
    b.receives(&bob, &["message before".to_owned()]).await;
    cable.pull();
    let mut texts = vec!["message before".to_owned()];
    for text in numbered(20) {
        a.send(&alice, "bob", &text).await.unwrap();
        texts.push(text);
    }
    // An outage has a length: this is the one place where time itself is what is tested.
    tokio::time::sleep(length).await;
    assert_eq!(b.texts(&bob).len(), 1);
    cable.put_back();
    let healed = Instant::now();
    until("the first message", || b.store.pending_count(bob.no) > 1).await;
    eprintln!("after {length:?} the first message came {:?} after the cable", healed.elapsed());
    b.receives(&bob, &texts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_flows_again_after_a_short_outage_that_nobody_reports() {
    outage(Duration::from_secs(4)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_flows_again_after_an_outage_that_outlasts_the_link() {
    outage(Duration::from_secs(22)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_arrives_in_order_over_a_cable_that_loses_every_tenth_packet() {
    let (a, b, cable) = cabled().await;
    let (alice, bob) = (a.agent("alice").await, b.agent("bob").await);
    a.knows("bob").await;
    b.knows("alice").await;
    cable.lose(100);
    let texts = numbered(100);
    for text in &texts {
        a.send(&alice, "bob", text).await.unwrap();
    }
    b.receives(&bob, &texts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_nodes_end_up_with_the_same_one_link_however_often_both_dial() {
    let (a, b, cable) = cabled().await;
    let (alice, bob) = (a.agent("alice").await, b.agent("bob").await);
    a.knows("bob").await;
    b.knows("alice").await;
    let mut texts = Vec::new();
    for round in 0..5 {
        for node in [&a, &b] {
            node.mesh.shared.peers.tell_all(|news| news.interfaces = true);
        }
        let text = format!("message {round}");
        a.send(&alice, "bob", &text).await.unwrap();
        texts.push(text);
    }
    b.receives(&bob, &texts).await;
    until("one connection", || {
        a.mesh.shared.endpoint.connections() == 1 && b.mesh.shared.endpoint.connections() == 1
    })
    .await;
    cable.lose(0);
}
