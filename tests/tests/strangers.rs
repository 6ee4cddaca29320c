//! Whoever is on the LAN but not in the mesh (issue 2, "it must show" 4). Replayed and reflected proofs are refused in
//! the tests of `node/src/mesh`, where a proof can be taken apart.

use amesh_tests::agent::Received;
use amesh_tests::lab;
use amesh_tests::mesh::Mesh;
use amesh_tests::node::Node;
use amesh_tests::wait::{wait_for, wait_until};
use anyhow::Result;
use serde_json::Value;

/// What `node` lists of `host`.
async fn listed(node: &Node, host: &str) -> Result<Option<Value>> {
    Ok(node.peers().await?.into_iter().find(|peer| peer["host"] == host))
}

/// The addresses of all agents that `node` knows of.
async fn known_agents(node: &Node) -> Result<String> {
    Ok(node.amesh(&["agents"]).await?.to_string())
}

#[test]
fn a_neighbour_is_listed_and_can_neither_send_nor_receive_nor_read_a_roster() -> Result<()> {
    lab::play(&["ann", "bob", "cat", "eve"], |lan| async move {
        let nodes = ["ann", "bob", "cat"].map(|name| lan.host(name).and_then(|host| host.node(&[])));
        let mesh = Mesh::of(nodes.into_iter().collect::<Result<_>>()?).await?;
        let mut eve = lan.host("eve")?.node(&["--peer", "10.77.0.1:23001"])?;
        eve.start().await?;
        let (victim, thief) = (mesh[0].agent("victim").await?, eve.agent("thief").await?);
        let seen = wait_for("a neighbour", || listed(&mesh[0], "eve")).await?;
        assert_eq!(seen["member"], false);
        wait_until("eve to see ann", || async { Ok(listed(&eve, "ann").await?.is_some()) }).await?;
        assert!(!known_agents(&eve).await?.contains(&victim.address));
        assert!(thief.send(&victim.address, "let me in").await.is_err());
        assert!(victim.send(&thief.address, "who are you").await.is_err());
        assert!(!known_agents(&mesh[1]).await?.contains(&thief.address));
        assert_eq!(
            listed(&mesh[0], "eve").await?.map(|peer| peer["state"].clone()),
            Some("neighbour".into())
        );
        assert!(victim.take().await?.is_empty());
        Ok(())
    })
}

/// Waits until `node` has asked `host` for a link and was told that it is no member any more.
async fn turned_away(node: &Node, host: &str) -> Result<()> {
    wait_until(&format!("{host} to turn {} away", node.host), || async {
        let peer = listed(node, host).await?.unwrap_or_default();
        Ok(peer["state"] != "connected" && peer["reason"].as_str().is_some_and(|why| why.contains("removed")))
    })
    .await
}

#[test]
fn a_removed_member_that_comes_back_gets_nothing() -> Result<()> {
    lab::play(&["ann", "bob", "cat"], |lan| async move {
        let mut mesh = Mesh::on_lan(&lan).await?;
        let (friend, removed) = (mesh[0].agent("friend").await?, mesh[1].agent("removed").await?);
        wait_until("a first letter", || async { Ok(friend.send(&removed.address, "hello").await.is_ok()) })
            .await?;
        wait_until("its arrival", || async { Ok(!removed.take().await?.is_empty()) }).await?;
        mesh[1].stop().await?;
        let waiting = friend.send(&removed.address, "sent while it was still a member").await?;
        mesh[0].amesh(&["peers", "remove", "bob"]).await?;
        let failed = || async { Ok(friend.fate(&waiting).await?["status"] == "failed") };
        wait_until("the waiting letter to come back", failed).await?;
        mesh[1].start().await?;
        let newcomer = mesh[2].agent("newcomer").await?;
        wait_until("the newcomer's name", || async {
            Ok(friend.send(&newcomer.address, "hi").await.is_ok())
        })
        .await?;
        // It still has the old secret and the old list, and shows them to both.
        turned_away(&mesh[1], "ann").await?;
        turned_away(&mesh[1], "cat").await?;
        assert!(friend.send(&removed.address, "still there?").await.is_err());
        // What it accepts now waits at its own node; asked anew, with mail in hand, it is turned away again.
        let _kept_or_refused = removed.send(&friend.address, "let me in").await;
        mesh[1].restart().await?;
        turned_away(&mesh[1], "ann").await?;
        turned_away(&mesh[1], "cat").await?;
        assert!(!known_agents(&mesh[1]).await?.contains(&newcomer.address));
        let from_removed = |mail: &Vec<Received>| mail.iter().any(|mail| mail.from == removed.address);
        assert!(!from_removed(&friend.take().await?));
        assert!(removed.take().await?.is_empty());
        Ok(())
    })
}

#[test]
fn a_ticket_is_good_for_one_host() -> Result<()> {
    lab::play(&["ann", "bob", "eve"], |lan| async move {
        let (mut ann, mut bob, mut eve) =
            (lan.host("ann")?.node(&[])?, lan.host("bob")?.node(&[])?, lan.host("eve")?.node(&[])?);
        for node in [&mut ann, &mut bob, &mut eve] {
            node.start().await?;
        }
        let ticket = ann.invite().await?;
        bob.amesh(&["join", &ticket]).await?;
        assert!(!eve.try_amesh(&["join", &ticket]).await?.status.success());
        let mut edited = ann.invite().await?;
        let last = if edited.pop() == Some('a') { 'b' } else { 'a' };
        edited.push(last);
        assert!(!eve.try_amesh(&["join", &edited]).await?.status.success());
        eve.amesh(&["join", &ann.invite().await?]).await?;
        Ok(())
    })
}
