//! The LAN lab itself: what it says it does to cables and packets, it does.

use amesh_tests::lab::{self, Host, Lan};
use amesh_tests::wait::wait_until;
use anyhow::Result;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::UdpSocket;

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 9, 9, 9);
const PORT: u16 = 9999;

/// Whether a packet that `from` sends to `target` arrives at `to`, one try.
async fn arrives(from: &Host, to: &Host, target: IpAddr) -> Result<bool> {
    let ip = to.ip;
    let hear = async move {
        let ear = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
        ear.join_multicast_v4(GROUP, ip)?;
        anyhow::Ok(ear)
    };
    let ear = to.place.run(hear).await??;
    let ip = from.ip;
    let say = async move {
        let mouth = UdpSocket::bind((ip, 0)).await?;
        mouth.send_to(b"?", SocketAddr::new(target, PORT)).await
    };
    // A machine without its cable cannot even send.
    if from.place.run(say).await?.is_err() {
        return Ok(false);
    }
    let heard = to
        .place
        .run(async move { tokio::time::timeout(Duration::from_millis(300), ear.recv(&mut [0; 8])).await });
    Ok(heard.await?.is_ok())
}

async fn both(lan: &Lan, target: IpAddr) -> Result<bool> {
    arrives(lan.host("ann")?, lan.host("bob")?, target).await
}

#[test]
fn hosts_hear_each_other_until_a_cable_is_pulled_or_the_switch_fails() -> Result<()> {
    lab::play(&["ann", "bob"], |lan| async move {
        let bob = lan.host("bob")?;
        let (one, all) = (IpAddr::V4(bob.ip), IpAddr::V4(GROUP));
        wait_until("a packet", || both(&lan, one)).await?;
        wait_until("a multicast packet", || both(&lan, all)).await?;
        bob.pull_cable()?;
        wait_until("silence", || async { Ok(!both(&lan, one).await?) }).await?;
        bob.plug_cable()?;
        wait_until("a packet after the cable is back", || both(&lan, one)).await?;
        bob.cut_behind_the_switch()?;
        wait_until("silence", || async { Ok(!both(&lan, one).await?) }).await?;
        bob.mend_behind_the_switch()?;
        wait_until("a packet after the switch is back", || both(&lan, one)).await
    })
}

#[test]
fn multicast_can_be_blocked_alone_and_packets_lost_by_chance() -> Result<()> {
    lab::play(&["ann", "bob"], |lan| async move {
        let bob = lan.host("bob")?;
        let (one, all) = (IpAddr::V4(bob.ip), IpAddr::V4(GROUP));
        wait_until("a multicast packet", || both(&lan, all)).await?;
        bob.block_multicast()?;
        assert!(!both(&lan, all).await?);
        wait_until("a packet while multicast is blocked", || both(&lan, one)).await?;
        bob.filter_nothing()?;
        wait_until("a multicast packet again", || both(&lan, all)).await?;
        bob.lose_a_tenth()?;
        wait_until("a lost packet", || async { Ok(!both(&lan, one).await?) }).await?;
        wait_until("a packet that is not lost", || both(&lan, one)).await
    })
}

#[test]
fn no_host_has_a_way_out() -> Result<()> {
    lab::play(&["ann"], |lan| async move {
        let route = lan.host("ann")?.place.command("ip").args(["route", "show", "default"]).output()?;
        assert_eq!(String::from_utf8_lossy(&route.stdout), "");
        Ok(())
    })
}
