//! A large file on its way between two hosts of a LAN whose cable is pulled in the middle: it arrives whole and once,
//! its message after it, and no other mail waits for it (ICL-37, DESIGN §1.7).

use amesh_tests::agent::{Letter, TestAgent};
use amesh_tests::lab;
use amesh_tests::mesh::Mesh;
use amesh_tests::node::Node;
use amesh_tests::wait::wait_until;
use anyhow::{Context, Result, ensure};
use std::path::PathBuf;

const SIZE: usize = 20 << 20;

/// The bytes that have come of files that are not whole yet.
fn coming(node: &Node) -> u64 {
    let Ok(files) = std::fs::read_dir(attachments(node)) else { return 0 };
    let parts = files.flatten().filter(|file| file.path().extension().is_some_and(|end| end == "part"));
    // Room for the whole part is taken at once; what has been written of it is not zero.
    parts.filter_map(|file| std::fs::read(file.path()).ok()).map(|bytes| written(&bytes)).sum()
}

fn written(bytes: &[u8]) -> u64 {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1)
}

fn attachments(node: &Node) -> PathBuf {
    node.data_dir().join("store/attachments")
}

fn whole_files(node: &Node) -> usize {
    let Ok(files) = std::fs::read_dir(attachments(node)) else { return 0 };
    files.flatten().filter(|file| file.path().extension().is_none()).count()
}

async fn subjects(agent: &TestAgent) -> Result<Vec<String>> {
    Ok(agent.pending().await?.into_iter().map(|mail| mail.subject).collect())
}

#[test]
fn a_large_file_survives_a_cut_cable_and_holds_up_nobody_else() -> Result<()> {
    lab::play(&["ann", "bob"], |lan| async move {
        let mesh = Mesh::on_lan(&lan).await?;
        let (place, bytes) =
            (tempfile::tempdir()?, (0..SIZE).map(|at| (at % 253 + 1) as u8).collect::<Vec<_>>());
        let path = place.path().join("film.bin");
        std::fs::write(&path, &bytes)?;
        for node in &mesh.0 {
            node.amesh(&["init", "--name", &node.host]).await?;
            node.amesh(&["register"]).await?;
        }
        let (other, friend) = (mesh[0].agent("other").await?, mesh[1].agent("friend").await?);
        let sent = || async { Ok(other.send(&friend.address, "hello").await.is_ok()) };
        wait_until("the friend's name at ann's node", sent).await?;
        wait_until("the first mail", || async { Ok(!friend.take().await?.is_empty()) }).await?;

        // Slow enough to be cut in the middle.
        lan.host("bob")?.throttle(1_000)?;
        let film = path.to_str().context("a path that is no text")?;
        mesh[0].amesh(&["send", "bob", "Film", "see attached", "--attach", film]).await?;
        wait_until("some of the file", || async { Ok(coming(&mesh[1]) > 0) }).await?;
        lan.host("bob")?.pull_cable()?;
        ensure!(
            whole_files(&mesh[1]) == 0,
            "the file came before the cable was pulled: the test shows nothing"
        );
        let status = other.route(&Letter::request(&friend.address, "meanwhile")).await?;
        ensure!(status.status == 200, "{status:?}");
        let gone = || async { Ok(mesh[0].peers().await?.iter().all(|peer| peer["state"] != "connected")) };
        wait_until("the link to be given up", gone).await?;
        lan.host("bob")?.plug_cable()?;

        // The film is still coming when mail from another sender is there.
        wait_until("other mail", || async { Ok(subjects(&friend).await? == ["meanwhile"]) }).await?;
        ensure!(whole_files(&mesh[1]) == 0, "the other mail waited for the file");
        let shown = mesh[1].amesh(&["inbox"]).await?;
        ensure!(shown["messages"].as_array().is_some_and(Vec::is_empty), "shown before its file: {shown}");
        lan.host("bob")?.filter_nothing()?;

        wait_until("the film", || async {
            Ok(mesh[1].amesh(&["inbox"]).await?["messages"].as_array().is_some_and(|all| !all.is_empty()))
        })
        .await?;
        let inbox = mesh[1].amesh(&["inbox"]).await?;
        let mail = inbox["messages"].as_array().context("no messages")?;
        ensure!(mail.len() == 1 && mail[0]["subject"] == "Film" && whole_files(&mesh[1]) == 1, "{inbox}");
        let (id, dest) = (mail[0]["id"].as_str().context("no id")?, place.path().join("fetched"));
        mesh[1].amesh(&["download", id, "--dest", dest.to_str().context("no text")?]).await?;
        ensure!(std::fs::read(dest.join("film.bin"))? == bytes, "the film is not what was sent");
        let verified = mesh[1].amesh(&["db", "verify"]).await?;
        ensure!(verified["ok"] == true && coming(&mesh[1]) == 0, "{verified}");
        Ok(())
    })
}
