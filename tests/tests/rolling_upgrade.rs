//! An older binary and this one in one mesh (issue 4, "it must show" 4): mail, receipts and names go both ways, whoever invited
//! whom, and each host can be upgraded in place while the others go on. `AMESH_OLD_BIN` names the older binary;
//! `docs/testing.md` says how one is built.

use amesh_tests::letters::Letters;
use amesh_tests::mesh::Mesh;
use amesh_tests::node::Node;
use anyhow::{Context, Result, anyhow};
use std::path::PathBuf;

const SOME: usize = 20;

/// The older binary, or why there is none.
fn older() -> Result<PathBuf> {
    let named = std::env::var_os("AMESH_OLD_BIN").context("AMESH_OLD_BIN names no older binary")?;
    let path = PathBuf::from(&named);
    path.is_file().then_some(path).ok_or_else(|| anyhow!("AMESH_OLD_BIN={} is no file", named.display()))
}

fn node(host: &str, binary: Option<&PathBuf>) -> Result<Node> {
    let mut node = Node::on_loopback(host)?;
    node.run_binary(binary.map(PathBuf::as_path));
    Ok(node)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_binary_that_founded_the_mesh() -> Result<()> {
    let Some(older) = older_or_skip()? else { return Ok(()) };
    mixed(vec![node("older", Some(&older))?, node("newer", None)?]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_binary_that_joined_the_mesh() -> Result<()> {
    let Some(older) = older_or_skip()? else { return Ok(()) };
    mixed(vec![node("newer", None)?, node("older", Some(&older))?]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_upgraded_one_after_the_other_with_mail_waiting() -> Result<()> {
    let Some(older) = older_or_skip()? else { return Ok(()) };
    let nodes =
        ["ann", "bob", "cat"].into_iter().map(|host| node(host, Some(&older))).collect::<Result<_>>()?;
    let mut mesh = Mesh::of(nodes).await?;
    let mut letters = Letters::between(&mesh[0], &mesh[1]).await?;
    letters.write(SOME).await;
    for upgraded in 0..3 {
        mesh[upgraded].stop().await?;
        if upgraded == 1 {
            letters.write_there(SOME).await;
        }
        mesh[upgraded].run_binary(None);
        mesh[upgraded].start().await?;
        letters.find(&mesh[0], &mesh[1])?;
        mesh.linked().await?;
        letters.write(SOME).await;
    }
    letters.settle("upgraded one by one").await
}

fn older_or_skip() -> Result<Option<PathBuf>> {
    match older() {
        Ok(older) => Ok(Some(older)),
        // Nothing here that a machine could lack: whoever wants it played names a binary.
        Err(why) => {
            println!("SKIPPED: {why:#}");
            Ok(None)
        }
    }
}

/// The nodes join and write to each other.
async fn mixed(nodes: Vec<Node>) -> Result<()> {
    let story = nodes.iter().map(|node| node.host.as_str()).collect::<Vec<_>>().join(" invited ");
    let mesh = Mesh::of(nodes).await?;
    let mut letters = Letters::between(&mesh[0], &mesh[1]).await?;
    letters.write(SOME).await;
    letters.settle(&story).await
}
