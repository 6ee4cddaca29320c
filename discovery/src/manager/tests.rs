//! The manager over sources that say what they are told, with a clock that moves only when told.

use super::*;
use crate::hosts::memory::Memory;
use std::sync::atomic::{AtomicU64, Ordering};

struct Bench {
    memory: Arc<Memory>,
    manager: Arc<Manager>,
    events: mpsc::Receiver<Event>,
    seconds: Arc<AtomicU64>,
    stop: CancellationToken,
    running: tokio::task::JoinSet<()>,
}

fn bench() -> Bench {
    let memory = Arc::new(Memory::default());
    let seconds = Arc::new(AtomicU64::new(0));
    let clock = seconds.clone();
    let stop = CancellationToken::new();
    let config = Config { own: node(0), interfaces: Interfaces::default() };
    let elapsed: Elapsed = Arc::new(move || Duration::from_secs(clock.load(Ordering::SeqCst)));
    let Started { manager, events, work } = Manager::start(config, vec![memory.clone()], elapsed, &stop);
    let mut running = tokio::task::JoinSet::new();
    for work in work {
        running.spawn(work);
    }
    Bench { memory, manager, events, seconds, stop, running }
}

impl Bench {
    async fn say(&self, event: Event) {
        self.memory.say(event).await.unwrap();
    }

    async fn next(&mut self) -> Event {
        tokio::time::timeout(Duration::from_secs(60), self.events.recv()).await.unwrap().unwrap()
    }
}

fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 32])
}

fn found(number: u8, port: u16) -> Candidate {
    let addresses = vec![SocketAddr::from(([10, 0, 0, number], port))];
    let label = Some(format!("host{number}"));
    Candidate {
        node: Some(node(number)),
        addresses,
        source: Source::Memory,
        label,
        mesh_hint: None,
        expires_in: None,
    }
}

#[tokio::test]
async fn what_a_source_finds_is_told_once_and_kept() {
    let mut bench = bench();
    bench.say(Event::Found(found(1, 1))).await;
    bench.say(Event::Found(found(1, 1))).await;
    bench.say(Event::Found(found(2, 1))).await;
    assert_eq!(bench.next().await, Event::Found(found(1, 1)));
    assert_eq!(bench.next().await, Event::Found(found(2, 1)));
    let seen: Vec<_> = bench.manager.neighbours().into_iter().map(|n| (n.node, n.label)).collect();
    assert_eq!(seen, [(node(1), Some("host1".into())), (node(2), Some("host2".into()))]);
}

#[tokio::test]
async fn the_node_itself_is_not_found() {
    let mut bench = bench();
    bench.say(Event::Found(found(0, 1))).await;
    bench.say(Event::Found(found(1, 1))).await;
    assert_eq!(bench.next().await, Event::Found(found(1, 1)));
    assert_eq!(bench.manager.neighbours().len(), 1);
}

#[tokio::test]
async fn what_expires_is_told_as_lost() {
    let mut bench = bench();
    bench.say(Event::Found(Candidate { expires_in: Some(Duration::from_secs(9)), ..found(1, 1) })).await;
    bench.next().await;
    bench.seconds.store(10, Ordering::SeqCst);
    assert_eq!(bench.next().await, Event::Lost { node: node(1), source: Source::Memory });
    assert!(bench.manager.neighbours().is_empty());
}

#[tokio::test]
async fn a_change_of_interfaces_makes_every_source_look_again() {
    let mut bench = bench();
    bench.say(Event::InterfacesChanged).await;
    assert_eq!(bench.next().await, Event::InterfacesChanged);
    assert_eq!(bench.memory.asked().refreshes, 1);
}

#[tokio::test]
async fn looking_for_a_node_asks_a_source_once_in_its_negative_time() {
    let bench = bench();
    assert!(bench.manager.find(&node(1)).is_empty());
    assert!(bench.manager.find(&node(1)).is_empty());
    assert_eq!(bench.memory.asked().refreshes, 1);
    bench.seconds.store(60, Ordering::SeqCst);
    assert!(bench.manager.find(&node(1)).is_empty());
    assert_eq!(bench.memory.asked().refreshes, 2);
}

#[tokio::test]
async fn announcing_and_verifying_reach_every_source() {
    let bench = bench();
    let announcement = Announcement { host: "a".into(), node_id: node(0), mesh_hash: None, port: 7 };
    bench.manager.announce(&announcement);
    bench.manager.verify(&node(3));
    let asked = bench.memory.asked();
    assert_eq!((asked.announcement, asked.verified), (Some(announcement), vec![node(3)]));
}

#[tokio::test]
async fn a_reader_that_sleeps_loses_nothing_and_shutdown_does_not_wait_for_it() {
    let mut bench = bench();
    for port in 1..=600 {
        bench.say(Event::Found(found(1, port))).await;
        if port == 500 {
            for port in 1..=200 {
                assert_eq!(bench.next().await, Event::Found(found(1, port)));
            }
        }
    }
    bench.stop.cancel();
    let ended = async { while bench.running.join_next().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap();
}
