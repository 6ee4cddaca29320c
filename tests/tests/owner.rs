//! What a node's owner types about its mesh and its agents, with the real binary: roles, another name, removal.

use amesh_tests::mesh::Mesh;
use amesh_tests::node::Node;
use amesh_tests::wait::wait_until;
use anyhow::{Result, ensure};
use serde_json::{Value, json};

/// Runs a command that must fail and gives the error it printed.
async fn refused(node: &Node, words: &[&str]) -> Result<String> {
    let output = node.try_amesh(words).await?;
    ensure!(!output.status.success(), "amesh {words:?} was not refused");
    let said = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&said).into_owned())
}

fn role_of<'a>(peers: &'a [Value], host: &str) -> Option<&'a str> {
    peers.iter().find(|peer| peer["host"] == host).and_then(|peer| peer["role"].as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_member_is_told_who_may_invite_and_may_itself_once_it_is_promoted() -> Result<()> {
    let mesh = Mesh::on_loopback(&["ann", "bob"]).await?;
    let peers = mesh[0].peers().await?;
    assert_eq!((role_of(&peers, "ann"), role_of(&peers, "bob")), (Some("founder"), Some("member")));
    let said = refused(&mesh[1], &["invite"]).await?;
    assert!(said.contains("plain member") && said.contains("ann"), "{said}");
    mesh[0].amesh(&["peers", "promote", "bob"]).await?;
    wait_until("bob to hear of it", || async {
        Ok(role_of(&mesh[1].peers().await?, "bob") == Some("introducer"))
    })
    .await?;
    let ticket = mesh[1].amesh(&["invite", "--introducer"]).await?["ticket"].clone();
    let mut eve = Node::on_loopback("eve")?;
    eve.start().await?;
    eve.amesh(&["join", ticket.as_str().unwrap_or_default()]).await?;
    assert_eq!(role_of(&eve.peers().await?, "eve"), Some("introducer"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_lists_or_resolves_agents_sees_who_is_connected_on_other_hosts() -> Result<()> {
    let mesh = Mesh::on_loopback(&["den", "hut"]).await?;
    let (ann, bob) = (mesh[0].agent("ann").await?, mesh[1].agent("bob").await?);
    let listed = async || {
        let page = ann.get("/v1/agents").await?.ok()?;
        let agents = page["agents"].as_array().cloned().unwrap_or_default();
        Ok::<_, anyhow::Error>(agents.into_iter().find(|agent| agent["address"] == *bob.address))
    };
    wait_until("bob's name", || async { Ok(listed().await?.is_some()) }).await?;
    let socket = bob.connect().await?;
    wait_until("bob to be online", || async { Ok(listed().await?.is_some_and(|bob| bob["online"] == true)) })
        .await?;
    let resolved = ann.get("/v1/agents/resolve/bob").await?.ok()?;
    assert_eq!((&resolved["online"], &resolved["host"]), (&json!(true), &json!("hut")), "{resolved}");
    let owners = mesh[0].amesh(&["agents"]).await?;
    assert!(owners["agents"].as_array().is_some_and(|all| {
        all.iter().any(|agent| agent["address"] == *bob.address && agent["online"] == true)
    }));
    drop(socket);
    wait_until("bob to be gone", || async { Ok(listed().await?.is_some_and(|bob| bob["online"] == false)) })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_agent_goes_on_under_its_new_name_with_the_mail_it_had() -> Result<()> {
    let mut node = Node::on_loopback("home")?;
    node.start().await?;
    for name in ["ann", "bob"] {
        node.amesh(&["init", "--name", name]).await?;
    }
    node.amesh(&["send", "bob", "before", "hello", "--agent", "ann"]).await?;
    let renamed = node.amesh(&["agents", "rename", "bob", "robert"]).await?;
    assert_eq!(renamed["address"], "robert@default.aimaestro.local");
    assert!(renamed["files"].is_string(), "{renamed}");
    let who = node.amesh(&["identity", "--agent", "robert"]).await?;
    assert_eq!(who["primary_address"], "robert@default.aimaestro.local", "{who}");
    node.amesh(&["send", "ann", "after", "it is me", "--agent", "robert"]).await?;
    node.amesh(&["send", "robert", "again", "hello", "--agent", "ann"]).await?;
    let inbox = node.amesh(&["inbox", "--agent", "robert"]).await?.to_string();
    assert!(["before", "again", "You have another name"].iter().all(|s| inbox.contains(s)), "{inbox}");
    let inbox = node.amesh(&["inbox", "--agent", "ann"]).await?.to_string();
    assert!(inbox.contains("after") && inbox.contains("robert@"), "{inbox}");
    let said = refused(&node, &["agents", "forget", "robert"]).await?;
    assert!(said.contains("--force"), "{said}");
    node.amesh(&["agents", "forget", "robert", "--force"]).await?;
    let listed = node.amesh(&["agents"]).await?.to_string();
    assert!(!listed.contains("robert"), "{listed}");
    node.stop().await
}
