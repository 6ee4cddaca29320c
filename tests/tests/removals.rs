//! Members that are removed, or merely off, while the mesh changes without them (issue 4, "it must show" 3). One that is
//! removed while it is off is in `strangers.rs`.

use amesh_tests::agent::TestAgent;
use amesh_tests::lab;
use amesh_tests::letters::Letters;
use amesh_tests::mesh::Mesh;
use amesh_tests::node::Node;
use amesh_tests::wait::{wait_for, wait_until};
use anyhow::{Context, Result, ensure};
use serde_json::Value;

async fn listed(node: &Node, host: &str) -> Result<Option<Value>> {
    Ok(node.peers().await?.into_iter().find(|peer| peer["host"] == host))
}

/// `node` no longer has a link to `host`.
async fn unlinked(node: &Node, host: &str) -> Result<()> {
    let linked = |peer: Option<Value>| peer.is_some_and(|peer| peer["state"] == "connected");
    wait_until("the link to be given up", || async { Ok(!linked(listed(node, host).await?)) }).await
}

/// Waits until `node` no longer takes `host` for a member.
async fn knows_of_the_removal(node: &Node, host: &str) -> Result<()> {
    let member = |peer: Option<Value>| peer.is_some_and(|peer| peer["member"] == true);
    wait_until("the removal to be known", || async { Ok(!member(listed(node, host).await?)) }).await
}

/// Waits until `node` has asked `host` for a link and was told that it is no member any more.
async fn turned_away(node: &Node, host: &str) -> Result<()> {
    wait_until(&format!("{host} to turn {} away", node.host), || async {
        let peer = listed(node, host).await?.unwrap_or_default();
        Ok(peer["state"] != "connected" && peer["reason"].as_str().is_some_and(|why| why.contains("removed")))
    })
    .await
}

async fn epoch(node: &Node) -> Result<u64> {
    let status = node.amesh(&["status"]).await?;
    status["node"]["mesh"]["epoch"].as_u64().with_context(|| format!("no epoch in {status}"))
}

/// Waits until mail from `from` to `to` is accepted: the name is known.
async fn can_write(from: &TestAgent, to: &TestAgent) -> Result<()> {
    let known = || async { Ok(from.send(&to.address, "hello").await.is_ok()) };
    wait_until("the other's name", known).await
}

/// Whether anything in the mailbox is from `other`.
async fn heard_from(agent: &TestAgent, other: &TestAgent) -> Result<bool> {
    Ok(agent.pending().await?.iter().any(|mail| mail.from == other.address))
}

#[test]
fn a_member_that_was_off_while_another_was_removed_comes_back_without_help() -> Result<()> {
    lab::play(&["ann", "bob", "cat", "dan", "eve"], |lan| async move {
        let nodes = lan.hosts()[..4].iter().map(|host| host.node(&[]));
        let mut mesh = Mesh::of(nodes.collect::<Result<_>>()?).await?;
        let mut letters = Letters::between(&mesh[1], &mesh[2]).await?;
        let before = epoch(&mesh[0]).await?;
        mesh[1].stop().await?;
        mesh[0].amesh(&["peers", "remove", "dan"]).await?;
        knows_of_the_removal(&mesh[2], "dan").await?;
        mesh[3].stop().await?;
        mesh[1].start().await?;
        letters.find(&mesh[1], &mesh[2])?;
        mesh[1].connected_to(&["ann", "cat"]).await?;
        knows_of_the_removal(&mesh[1], "dan").await?;
        for node in &mesh.0[..3] {
            wait_until("the new epoch", || async { Ok(epoch(node).await? == before + 1) }).await?;
        }
        letters.write(20).await;
        letters.settle("off during a removal").await?;
        // A newcomer never had the older secret: only with the new one can they meet.
        let mut eve = lan.host("eve")?.node(&[])?;
        eve.start().await?;
        eve.amesh(&["join", &mesh[0].invite().await?]).await?;
        eve.connected_to(&["bob"]).await?;
        let mut letters = Letters::between(&mesh[1], &eve).await?;
        letters.write(20).await;
        letters.settle("with one that came after it").await
    })
}

#[test]
fn a_member_removed_on_one_side_of_a_split_gets_nothing_on_either_side_afterwards() -> Result<()> {
    lab::play(&["ann", "bob", "cat", "dan"], |lan| async move {
        let mesh = Mesh::on_lan(&lan).await?;
        let (near, far) = (mesh[1].agent("near").await?, mesh[2].agent("far").await?);
        let removed = mesh[3].agent("removed").await?;
        for (from, to) in
            [(&near, &removed), (&far, &removed), (&removed, &near), (&removed, &far), (&near, &far)]
        {
            can_write(from, to).await?;
        }
        for agent in [&near, &far] {
            wait_until("the first letter", || heard_from(agent, &removed)).await?;
            agent.take().await?;
        }
        lan.split_off(&["cat", "dan"])?;
        unlinked(&mesh[1], "dan").await?;
        unlinked(&mesh[0], "cat").await?;
        let waiting = near.send(&removed.address, "waits for the heal").await?;
        mesh[0].amesh(&["peers", "remove", "dan"]).await?;
        knows_of_the_removal(&mesh[1], "dan").await?;
        // The far side has not heard of it: there it still is a member.
        far.send(&removed.address, "still among us").await?;
        let came = || async { Ok(removed.take().await?.iter().any(|mail| mail.subject == "still among us")) };
        wait_until("mail on its own side", came).await?;

        for host in ["cat", "dan"] {
            lan.host(host)?.mend_behind_the_switch()?;
        }
        mesh[2].connected_to(&["ann", "bob"]).await?;
        for host in ["ann", "bob", "cat"] {
            turned_away(&mesh[3], host).await?;
        }
        let failed = || async { Ok(near.fate(&waiting).await?["status"] == "failed") };
        wait_until("the waiting letter to come back", failed).await?;
        ensure!(
            near.send(&removed.address, "hello?").await.is_err(),
            "mail to a removed member was accepted"
        );
        ensure!(far.send(&removed.address, "hello?").await.is_err(), "mail to a removed member was accepted");
        let _kept_or_refused =
            (removed.send(&near.address, "let me in").await, removed.send(&far.address, "you?").await);
        // Mail between those who stand comes after whatever could have come.
        near.send(&far.address, "all is well").await?;
        wait_until("mail between the sides", || heard_from(&far, &near)).await?;
        ensure!(!heard_from(&near, &removed).await? && !heard_from(&far, &removed).await?, "it got through");
        ensure!(removed.take().await?.is_empty(), "a removed member got mail");
        Ok(())
    })
}

#[test]
fn members_removed_on_both_sides_of_a_split_get_nothing_and_the_others_agree() -> Result<()> {
    lab::play(&["ann", "bob", "cat", "dan", "eve"], |lan| async move {
        // ann, bob, eve | cat, dan: ann removes dan, cat removes bob.
        let mesh = Mesh::on_lan(&lan).await?;
        mesh[0].amesh(&["peers", "promote", "cat"]).await?;
        let promoted =
            || async { Ok(listed(&mesh[2], "cat").await?.filter(|peer| peer["role"] == "introducer")) };
        wait_for("the promotion", promoted).await?;
        let before = epoch(&mesh[0]).await?;
        lan.split_off(&["cat", "dan"])?;
        for (node, host) in [(0, "cat"), (0, "dan"), (1, "cat"), (2, "bob"), (3, "eve")] {
            unlinked(&mesh[node], host).await?;
        }
        mesh[0].amesh(&["peers", "remove", "dan"]).await?;
        mesh[2].amesh(&["peers", "remove", "bob"]).await?;
        knows_of_the_removal(&mesh[4], "dan").await?;
        knows_of_the_removal(&mesh[3], "bob").await?;
        for host in ["cat", "dan"] {
            lan.host(host)?.mend_behind_the_switch()?;
        }
        mesh[2].connected_to(&["ann", "eve"]).await?;
        for standing in [0, 2, 4] {
            knows_of_the_removal(&mesh[standing], "bob").await?;
            knows_of_the_removal(&mesh[standing], "dan").await?;
            // Two began the same epoch, each with a member that the other removed: both of theirs end, another begins.
            wait_until("an epoch of its own", || async { Ok(epoch(&mesh[standing]).await? == before + 2) })
                .await?;
        }
        for host in ["ann", "cat", "eve"] {
            turned_away(&mesh[1], host).await?;
            turned_away(&mesh[3], host).await?;
        }
        let mut letters = Letters::between(&mesh[2], &mesh[4]).await?;
        letters.write(20).await;
        letters.settle("removals on both sides").await
    })
}
