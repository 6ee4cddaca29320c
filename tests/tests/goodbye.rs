//! A clean stop says goodbye (DESIGN §2): the others notice at once, not when the link has been silent for long.

use amesh_tests::mesh::Mesh;
use amesh_tests::node::Node;
use amesh_tests::wait::wait_until;
use anyhow::Result;
use std::time::Instant;

/// Silence ends no link within the time of a test: who notices, was told.
const PATIENT: &str = "[mesh_link]\nidle_s = 3600\n";

/// `node` has no link to `host`.
async fn no_link(node: &Node, host: &str) -> Result<bool> {
    let linked = |peer: &serde_json::Value| peer["host"] == host && peer["state"] == "connected";
    Ok(!node.peers().await?.iter().any(linked))
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_notice_a_clean_stop_at_once_and_link_again_after_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let settings = folder.path().join("patient.toml");
    std::fs::write(&settings, PATIENT)?;
    let settings = settings.to_string_lossy().into_owned();
    let patient = |host| anyhow::Ok(Node::on_loopback(host)?.with(&["--config", &settings]));
    let mut mesh = Mesh::of(vec![patient("ann")?, patient("bob")?, patient("cat")?]).await?;
    mesh[1].stop().await?;
    let begun = Instant::now();
    for witness in [0, 2] {
        wait_until("the goodbye", || no_link(&mesh[witness], "bob")).await?;
    }
    println!("both others know {} ms after the end of the process", begun.elapsed().as_millis());
    mesh[0].connected_to(&["cat"]).await?;
    mesh[1].start().await?;
    mesh.linked().await
}
