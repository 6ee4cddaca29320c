//! Swarms over loopback: who is let in, who is found through whom, and streams through a third.

use super::*;
use crate::finder::Candidate;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

/// One swarm, and what it said.
struct Node {
    swarm: Arc<Swarm>,
    id: NodeId,
    events: mpsc::Receiver<Event>,
    stop: CancellationToken,
    running: JoinSet<()>,
}

impl Node {
    fn start(number: u8) -> Self {
        Self::with(number, true)
    }

    /// Believes nobody who names a loopback address: on one machine there is no other way but through a third.
    fn apart(number: u8) -> Self {
        Self::with(number, false)
    }

    fn with(number: u8, near: bool) -> Self {
        let mut seed = [number; 32];
        let key = Keypair::ed25519_from_bytes(&mut seed).unwrap();
        let id = address::node_of(&key.public().to_peer_id()).unwrap();
        let config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            key,
            version: "1".into(),
            share_loopback: near,
            hole_punching: near,
        };
        let swarm = Swarm::new(config);
        let (sink, events) = mpsc::channel(64);
        let stop = CancellationToken::new();
        let mut running = JoinSet::new();
        let (work, stopping) = (swarm.clone(), stop.clone());
        running.spawn(async move { work.run(sink, stopping).await });
        let announcement = Announcement {
            host: format!("host{number}"),
            node_id: id,
            mesh_hash: Some([7; 8]),
            port: 1000 + u16::from(number),
        };
        swarm.announce(&announcement);
        Self { swarm, id, events, stop, running }
    }

    fn follow(&self, members: &[&Self], wanted: &[&Self]) {
        let ids = |nodes: &[&Self]| nodes.iter().map(|node| node.id).collect();
        self.swarm.follow(ids(members), ids(wanted));
    }

    async fn meets(&self, other: &Self) {
        let mut listening = other.swarm.listening();
        let addresses = within(listening.wait_for(|addresses| !addresses.is_empty())).await.unwrap().clone();
        self.swarm.meet(other.id, addresses);
    }

    async fn path_to(&self, other: &Self) -> Path {
        within(async {
            loop {
                if let Some(path) = self.swarm.path(&other.id) {
                    return path;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
    }

    async fn loses(&self, other: &Self) {
        within(async {
            while self.swarm.path(&other.id).is_some() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }

    /// What is found about `other`, once.
    async fn finds(&mut self, other: &Self) -> Candidate {
        within(async {
            loop {
                if let Event::Found(found) = self.events.recv().await.unwrap()
                    && found.node == Some(other.id)
                {
                    return found;
                }
            }
        })
        .await
    }

    async fn stop(mut self) {
        self.stop.cancel();
        within(async { while self.running.join_next().await.is_some() {} }).await;
    }
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work).await.unwrap()
}

/// Two that know nothing of each other's addresses, and a third that both are linked with.
async fn three() -> (Node, Node, Node) {
    acquainted(Node::start(1), Node::start(2), Node::start(3)).await
}

/// As [`three`]; moreover neither of the two ever learns where the other listens.
async fn three_apart() -> (Node, Node, Node) {
    acquainted(Node::apart(1), Node::apart(2), Node::apart(3)).await
}

async fn acquainted(left: Node, between: Node, right: Node) -> (Node, Node, Node) {
    between.follow(&[&left, &right], &[]);
    left.follow(&[&between, &right], &[&right]);
    right.follow(&[&between, &left], &[&left]);
    left.meets(&between).await;
    right.meets(&between).await;
    between.meets(&left).await;
    between.meets(&right).await;
    (left, between, right)
}

#[tokio::test]
async fn a_member_is_found_through_a_third_and_its_mesh_port_is_told() {
    let (mut left, between, right) = three().await;
    let found = left.finds(&right).await;
    assert_eq!(found.addresses, ["127.0.0.1:1003".parse().unwrap()]);
    assert_eq!((found.source, found.mesh_hint), (Source::Libp2p, Some([7; 8])));
    for node in [left, between, right] {
        node.stop().await;
    }
}

#[tokio::test]
async fn a_member_that_no_neighbour_of_ours_knows_is_found_by_asking_on() {
    let (left, near, far, right) = (Node::start(1), Node::start(2), Node::start(3), Node::start(4));
    near.follow(&[&left, &far, &right], &[&right]);
    far.follow(&[&left, &near, &right], &[&left]);
    left.follow(&[&near, &far, &right], &[&far, &right]);
    right.follow(&[&near, &far, &left], &[&near, &left]);
    for (one, other) in [(&left, &near), (&near, &far), (&far, &right)] {
        one.meets(other).await;
        other.meets(one).await;
    }
    left.path_to(&right).await;
    right.path_to(&left).await;
}

#[tokio::test]
async fn streams_go_both_ways_through_a_third_where_nothing_direct_leads() {
    let (left, between, right) = three_apart().await;
    assert_eq!(left.path_to(&right).await, Path::Relayed { via: between.id });
    assert_eq!(right.path_to(&left).await, Path::Relayed { via: between.id });
    let mut guests = right.swarm.guests().unwrap();
    let mut stream = within(left.swarm.open(&right.id)).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    let (from, mut other) = within(guests.recv()).await.unwrap();
    assert_eq!(from, left.id);
    let mut heard = [0; 5];
    within(other.read_exact(&mut heard)).await.unwrap();
    other.write_all(b"heard").await.unwrap();
    within(stream.read_exact(&mut heard)).await.unwrap();
    assert_eq!(&heard, b"heard");
}

#[tokio::test]
async fn nobody_who_is_no_member_gets_in_and_whoever_is_removed_is_thrown_out() {
    let (left, between, right) = three_apart().await;
    left.path_to(&right).await;
    between.follow(&[&left], &[]);
    left.follow(&[&between], &[]);
    left.loses(&right).await;
    between.loses(&right).await;
    // It still thinks that it is a member, and goes on trying.
    let stranger = Node::start(9);
    stranger.follow(&[&left, &between], &[&left]);
    stranger.meets(&left).await;
    stranger.meets(&between).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!((left.swarm.path(&stranger.id), stranger.swarm.path(&left.id)), (None, None));
    assert!(left.swarm.open(&right.id).await.is_err());
}

#[tokio::test]
async fn while_every_member_is_linked_nobody_is_dialled() {
    let (left, right) = (Node::start(1), Node::start(2));
    left.follow(&[&right], &[]);
    right.follow(&[&left], &[]);
    left.meets(&right).await;
    right.meets(&left).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((left.swarm.path(&right.id), right.swarm.path(&left.id)), (None, None));
    assert_eq!(left.swarm.state(), State::Running);
}
