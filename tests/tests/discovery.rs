//! Discovery over a real LAN: hosts find each other by multicast, notice cables, and do without multicast by seeds.

use amesh_discovery::finder::{Announcement, Candidate, Event, Finder};
use amesh_discovery::hosts::{mdns::Mdns, static_list::StaticList};
use amesh_discovery::interfaces::Interfaces;
use amesh_discovery::manager::{Config, Manager, Started};
use amesh_proto::node_id::NodeId;
use amesh_tests::lab::{self, Host, Lan};
use amesh_tests::wait::patience;
use anyhow::{Context, Result};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;

/// Discovery on one host of the lab.
struct Scout {
    manager: Arc<Manager>,
    events: Receiver<Event>,
    _stop: tokio_util::sync::DropGuard,
}

fn id(host: &Host) -> NodeId {
    NodeId::from_bytes([host.ip.octets()[3]; 32])
}

async fn scout(lan: &Lan, host: &str, seeds: &[&str]) -> Result<Scout> {
    let host = lan.host(host)?;
    let seeds = seeds.iter().map(|&seed| seed.to_owned()).collect();
    let finders: Vec<Arc<dyn Finder>> =
        vec![Arc::new(StaticList::new(seeds)), Arc::new(Mdns::new(Interfaces::default()))];
    let (stop, begun) = (CancellationToken::new(), Instant::now());
    let config = Config { own: id(host), interfaces: Interfaces::default() };
    let Started { manager, events, work } =
        Manager::start(config, finders, Arc::new(move || begun.elapsed()), &stop);
    manager.announce(&Announcement {
        host: host.name.clone(),
        node_id: id(host),
        mesh_hash: None,
        port: 23001,
    });
    let start =
        async move { work.into_iter().for_each(|work| drop(tokio::runtime::Handle::current().spawn(work))) };
    host.place.run(start).await?;
    Ok(Scout { manager, events, _stop: stop.drop_guard() })
}

impl Scout {
    async fn hears<T>(&mut self, what: &str, mut wanted: impl FnMut(Event) -> Option<T>) -> Result<T> {
        let hearing = async {
            loop {
                if let Some(heard) = wanted(self.events.recv().await.context("no more events")?) {
                    return anyhow::Ok(heard);
                }
            }
        };
        tokio::time::timeout(patience(), hearing)
            .await
            .with_context(|| format!("waited in vain for {what}"))?
    }

    async fn finds(&mut self, host: &Host) -> Result<Candidate> {
        let at = IpAddr::V4(host.ip);
        let it = |candidate: &Candidate| {
            candidate.node.is_none_or(|node| node == id(host))
                && candidate.addresses.iter().any(|a| a.ip() == at)
        };
        self.hears(&host.name, |event| match event {
            Event::Found(candidate) if it(&candidate) => Some(candidate),
            _ => None,
        })
        .await
    }

    async fn loses(&mut self, host: &Host) -> Result<()> {
        let it = |event: &Event| matches!(event, Event::Lost { node, .. } if *node == id(host));
        self.hears(&host.name, |event| it(&event).then_some(())).await
    }

    async fn notices_the_network(&mut self) -> Result<()> {
        self.hears("a change of interfaces", |event| (event == Event::InterfacesChanged).then_some(())).await
    }
}

#[test]
fn hosts_find_each_other_and_notice_the_cable() -> Result<()> {
    lab::play(&["ann", "bob"], |lan| async move {
        let (mut ann, mut bob) = (scout(&lan, "ann", &[]).await?, scout(&lan, "bob", &[]).await?);
        let found = ann.finds(lan.host("bob")?).await?;
        assert_eq!(found.label.as_deref(), Some("bob"));
        bob.finds(lan.host("ann")?).await?;
        lan.host("bob")?.pull_cable()?;
        bob.loses(lan.host("ann")?).await?;
        lan.host("bob")?.plug_cable()?;
        bob.notices_the_network().await?;
        bob.finds(lan.host("ann")?).await?;
        Ok(())
    })
}

#[test]
fn a_seed_is_offered_where_multicast_is_blocked() -> Result<()> {
    lab::play(&["ann", "bob"], |lan| async move {
        for host in lan.hosts() {
            host.block_multicast()?;
        }
        let mut ann = scout(&lan, "ann", &["10.77.0.2:23001"]).await?;
        let _bob = scout(&lan, "bob", &[]).await?;
        let found = ann.finds(lan.host("bob")?).await?;
        assert_eq!((found.node, ann.manager.neighbours().len()), (None, 0));
        assert_eq!(ann.manager.seeds(), [SocketAddr::from(([10, 77, 0, 2], 23001))]);
        Ok(())
    })
}
