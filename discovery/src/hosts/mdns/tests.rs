//! Two multicast sources in one process, over the real network stack of this machine.

use super::*;
use crate::manager::{Config, Manager, Started};
use std::sync::Arc;

struct Host {
    manager: Arc<Manager>,
    events: mpsc::Receiver<Event>,
    stop: CancellationToken,
    running: tokio::task::JoinSet<()>,
}

impl Host {
    fn up(number: u8, label: &str) -> Self {
        let stop = CancellationToken::new();
        let begun = std::time::Instant::now();
        let config = Config { own: node(number), interfaces: Interfaces::default() };
        let sources: Vec<Arc<dyn Finder>> = vec![Arc::new(Mdns::new(Interfaces::default()))];
        let Started { manager, events, work } =
            Manager::start(config, sources, Arc::new(move || begun.elapsed()), &stop);
        let mut running = tokio::task::JoinSet::new();
        for work in work {
            running.spawn(work);
        }
        manager.announce(&announcement(number, label));
        Self { manager, events, stop, running }
    }

    /// Waits for `wanted` among the events.
    async fn hear<T>(&mut self, mut wanted: impl FnMut(Event) -> Option<T>) -> Option<T> {
        let hearing = async {
            loop {
                if let Some(found) = wanted(self.events.recv().await?) {
                    return Some(found);
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), hearing).await.ok().flatten()
    }

    async fn finds(&mut self, number: u8) -> Option<Candidate> {
        self.hear(|event| match event {
            Event::Found(found) if found.node == Some(node(number)) => Some(found),
            _ => None,
        })
        .await
    }

    async fn loses(&mut self, number: u8) -> Option<()> {
        self.hear(|event| {
            matches!(event, Event::Lost { node: lost, .. } if lost == node(number)).then_some(())
        })
        .await
    }

    async fn down(mut self) {
        self.stop.cancel();
        while self.running.join_next().await.is_some() {}
    }
}

/// Ids that differ between runs, so that what an earlier run left in the air is not mistaken for this one's.
fn node(number: u8) -> NodeId {
    let mut id = [number; 32];
    id[4..8].copy_from_slice(&std::process::id().to_be_bytes());
    NodeId::from_bytes(id)
}

fn announcement(number: u8, label: &str) -> Announcement {
    Announcement { host: label.into(), node_id: node(number), mesh_hash: Some([number; 8]), port: 40_000 }
}

/// Whether this machine lets two sockets of one process hear each other by multicast.
fn multicast_works() -> bool {
    let group = std::net::Ipv4Addr::new(239, 255, 42, 42);
    let heard = || -> std::io::Result<usize> {
        let ear = std::net::UdpSocket::bind("0.0.0.0:0")?;
        ear.join_multicast_v4(&group, &std::net::Ipv4Addr::UNSPECIFIED)?;
        ear.set_read_timeout(Some(Duration::from_secs(1)))?;
        std::net::UdpSocket::bind("0.0.0.0:0")?.send_to(b"?", (group, ear.local_addr()?.port()))?;
        ear.recv(&mut [0; 8])
    };
    let works = heard().is_ok();
    if !works {
        println!("SKIPPED: no multicast on this machine");
    }
    works
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_find_each_other_follow_a_new_mesh_and_hear_a_goodbye() {
    if !multicast_works() {
        return;
    }
    let (mut ann, mut bob) = (Host::up(1, "ann"), Host::up(2, "bob"));
    let found = ann.finds(2).await.unwrap();
    assert_eq!((found.label.as_deref(), found.mesh_hint), (Some("bob"), Some([2; 8])));
    assert!(found.addresses.iter().all(|address| address.port() == 40_000) && !found.addresses.is_empty());
    assert!(bob.finds(1).await.is_some());
    assert!(ann.manager.neighbours().iter().all(|neighbour| neighbour.node != node(1)));

    bob.manager.announce(&Announcement { mesh_hash: Some([9; 8]), ..announcement(2, "bob") });
    let moved = async { while ann.finds(2).await.unwrap().mesh_hint != Some([9; 8]) {} };
    tokio::time::timeout(Duration::from_secs(20), moved).await.unwrap();

    bob.down().await;
    assert_eq!(ann.loses(2).await, Some(()));
    ann.down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_vanished_without_goodbye_is_lost_soon_after_it_is_verified() {
    if !multicast_works() {
        return;
    }
    let mut ann = Host::up(3, "ann");
    let mut eve = Killed(child_that_announces(4));
    assert!(ann.finds(4).await.is_some());
    eve.0.kill().unwrap();
    eve.0.wait().unwrap();
    ann.manager.verify(&node(4));
    assert_eq!(ann.loses(4).await, Some(()));
    ann.down().await;
}

/// Kills the child also when the test fails.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
    }
}

fn child_that_announces(number: u8) -> std::process::Child {
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "hosts::mdns::tests::announce_until_killed"]);
    child.env(CHILD, node(number).to_string()).stdout(std::process::Stdio::null()).spawn().unwrap()
}

/// The child's part of the test above it: without the variable there is nothing to announce.
#[tokio::test]
async fn announce_until_killed() {
    let Ok(id) = std::env::var(CHILD) else { return };
    let mdns = Mdns::new(Interfaces::default());
    mdns.announce(&Announcement { node_id: id.parse().unwrap(), ..announcement(4, "eve") });
    let (sink, mut events) = mpsc::channel(64);
    let ended_by = CancellationToken::new();
    let listening = async { while events.recv().await.is_some() {} };
    let both = async { tokio::join!(mdns.run(sink, ended_by.clone()), listening) };
    // Should the parent die first, the child does not stay for ever.
    drop(tokio::time::timeout(Duration::from_secs(60), both).await);
}

const CHILD: &str = "AMESH_TEST_ANNOUNCE_AS";

#[test]
fn the_label_is_read_back_from_the_instance_name() {
    let service = service_of(&announcement(1, "kitchen-pc")).unwrap();
    assert_eq!(label_of(service.get_fullname(), &node(1)).as_deref(), Some("kitchen-pc"));
    assert_eq!(label_of("evil\u{1b}[2J-12345678._amesh._udp.local.", &node(1)), None);
    assert_eq!(label_of(service.get_fullname(), &node(2)), None);
}

#[test]
fn a_long_host_name_still_makes_a_valid_instance() {
    let service = service_of(&announcement(1, &"x".repeat(63))).unwrap();
    let instance = service.get_fullname().split('.').next().unwrap().to_owned();
    assert!(instance.len() <= 63, "{instance}");
}
