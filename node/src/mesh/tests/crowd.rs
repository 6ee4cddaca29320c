//! More nodes than a node keeps links to: what is known reaches everybody along the links that there are, and mail opens
//! links of its own (DESIGN §3, Links).

use super::village::*;
use crate::agents::Agent;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// So many that with some of them no link is kept.
const COUNT: usize = 18;

/// One mesh, founded by the first, one agent on each.
struct Crowd {
    nodes: Vec<Node>,
    agents: Vec<Arc<Agent>>,
}

impl Crowd {
    async fn gather() -> Self {
        let mut nodes: Vec<Node> = Vec::new();
        let mut agents = Vec::new();
        for number in 0..COUNT {
            let node = Node::start(&format!("host{number}")).await;
            agents.push(node.agent(&name(number)).await);
            if let Some(founder) = nodes.first() {
                assert!(node.join(&founder.invite().await).await.unwrap().joined);
            }
            nodes.push(node);
        }
        let crowd = Self { nodes, agents };
        for node in &crowd.nodes {
            in_the_end("all members", || node.mesh.status().members == COUNT).await;
            for number in 0..COUNT {
                knows(node, &name(number)).await;
            }
        }
        crowd
    }

    /// Waits until everybody has the links that it keeps, and no others.
    async fn links_are_few(&self) {
        for node in &self.nodes {
            let shared = &node.mesh.shared;
            let others = || {
                self.nodes.iter().map(|other| other.mesh.node_id()).filter(|id| *id != node.mesh.node_id())
            };
            let settled = || {
                let kept = others().filter(|other| shared.is_neighbour(other)).count();
                let linked = others().filter(|other| shared.is_linked(other)).count();
                // While somebody seems to be off, one past it may be kept as well.
                let all =
                    others().filter(|other| shared.is_neighbour(other)).all(|other| shared.is_linked(&other));
                all && linked <= kept + 3 && kept < COUNT - 1
            };
            in_the_end("the links that are kept", settled).await;
        }
    }

    /// Two that keep no link with each other; neither is the founder.
    fn strangers(&self) -> (usize, usize) {
        let keeps =
            |a: usize, b: usize| self.nodes[a].mesh.shared.is_neighbour(&self.nodes[b].mesh.node_id());
        let mut pairs = (1..COUNT).flat_map(|a| (1..COUNT).map(move |b| (a, b)));
        pairs.find(|(a, b)| a != b && !keeps(*a, *b) && !keeps(*b, *a)).unwrap()
    }
}

fn name(number: usize) -> String {
    format!("agent{number}")
}

async fn knows(node: &Node, name: &str) {
    in_the_end("a name", || node.sees(name)).await;
}

/// As `until`, for what so many nodes do on few cores.
async fn in_the_end(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(240), "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_crowd_news_and_mail_reach_everybody_though_nobody_keeps_a_link_to_everybody() {
    let mut crowd = Crowd::gather().await;
    crowd.links_are_few().await;
    let kept: BTreeSet<usize> = crowd.nodes.iter().map(|node| node.mesh.status().connected).collect();
    println!("links kept by each of {COUNT} nodes: {kept:?}");

    // Mail flows between any two.
    for (from, agent) in crowd.agents.iter().enumerate() {
        for to in (0..COUNT).filter(|to| *to != from) {
            crowd.nodes[from].send(agent, &name(to), &format!("{from} to {to}")).await.unwrap();
        }
    }
    for (to, agent) in crowd.agents.iter().enumerate() {
        let node = &crowd.nodes[to];
        in_the_end("mail of everybody", || node.texts(agent).len() >= COUNT - 1).await;
        let texts: BTreeSet<String> = node.texts(agent).into_iter().collect();
        let sent = (0..COUNT).filter(|from| *from != to).map(|from| format!("{from} to {to}"));
        assert_eq!(texts, sent.collect());
    }
    crowd.links_are_few().await;

    // A new agent is known to all, and writes to one that is off and no neighbour; nothing tells its node when it is back.
    let (a, b) = crowd.strangers();
    let newcomer = crowd.nodes[a].agent("newcomer").await;
    for node in &crowd.nodes {
        knows(node, "newcomer").await;
    }
    let (agent, node) = (crowd.agents[b].clone(), crowd.nodes.remove(b));
    let (before, off) = (COUNT - 1, node.stop().await);
    let sender = &crowd.nodes[if a > b { a - 1 } else { a }];
    for text in numbered(5) {
        sender.send(&newcomer, &name(b), &text).await.unwrap();
    }
    let node = off.start().await;
    in_the_end("mail after a pause", || node.texts(&agent).len() >= before + 5).await;
    assert_eq!(node.texts(&agent)[before..], numbered(5));

    // It is removed: nobody, linked with it or with who removed it or not, has it in its list.
    crowd.nodes[0].mesh.remove(&format!("host{b}")).await.unwrap();
    for other in &crowd.nodes {
        in_the_end("the removal", || {
            let status = other.mesh.status();
            (status.members, status.epoch) == (COUNT - 1, 2)
        })
        .await;
    }
    in_the_end("no links", || node.mesh.status().connected == 0).await;
}
