//! What goes wrong on one machine (issue 2, "bad input gets"): a second node on the same data, a damaged store, a full
//! disk. Each is said clearly, nothing is lost, and the way back works.

use amesh_tests::agent::TestAgent;
use amesh_tests::binary;
use amesh_tests::lab;
use amesh_tests::node::Node;
use amesh_tests::shell;
use amesh_tests::wait::wait_until;
use anyhow::{Result, ensure};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a command that must fail, and returns all that it said.
async fn refused(node: &Node, words: &[&str]) -> Result<String> {
    let output = node.try_amesh(words).await?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    ensure!(output.status.code() == Some(1), "amesh {words:?} ended with {}: {said}", output.status);
    Ok(said)
}

const UP: [&str; 7] = ["up", "--api", "127.0.0.1:0", "--mesh", "127.0.0.1:0", "--no-mdns", "--no-swarm"];

#[tokio::test]
async fn a_second_node_on_the_same_data_is_told_so_and_the_first_goes_on() -> Result<()> {
    let mut node = Node::on_loopback("home")?;
    node.start().await?;
    let ann = node.agent("ann").await?;
    let said = refused(&node, &UP).await?;
    assert!(said.contains("node_running") && said.contains("down"), "{said}");
    ann.send(&ann.address, "still here").await?;
    assert_eq!(ann.pending().await?.len(), 1);
    node.stop().await
}

#[test]
fn a_machine_without_certificate_authorities_runs_a_node_and_its_commands() -> Result<()> {
    let amesh = binary::amesh()?.display().to_string();
    let nowhere = ["SSL_CERT_FILE", "SSL_CERT_DIR"].map(|name| (name, "/nonexistent"));
    let script = r#"
        export HOME=$PWD; node="$AMESH --data-dir $HOME/data"
        trap '$node down > down' EXIT
        $node up --detach --host den --api 127.0.0.1:0 --mesh 127.0.0.1:0 --no-mdns --no-swarm > up
        $node init --name ann > init
        $node send ann hello "to myself" > send
        $node inbox | grep -o hello"#;
    assert_eq!(shell::run(script, &[nowhere.as_slice(), &[("AMESH", &amesh)]].concat())?, ["hello"]);
    Ok(())
}

#[tokio::test]
async fn a_damaged_store_is_left_alone_and_comes_back_from_its_backup_or_empty() -> Result<()> {
    let mut node = Node::on_loopback("home")?;
    node.start().await?;
    let ann = node.agent("ann").await?;
    ann.send(&ann.address, "kept").await?;
    node.amesh(&["db", "backup"]).await?;
    node.stop().await?;
    garble(&node)?;
    let before = files_below(&node.data_dir().join("store"))?;
    for words in [UP.as_slice(), &["db", "verify"]] {
        let said = refused(&node, words).await?;
        assert!(said.contains("db restore") && said.contains("db reset"), "{said}");
    }
    assert!(files_below(&node.data_dir().join("store"))? == before, "the damaged store was touched");

    node.amesh(&["db", "restore", "--force"]).await?;
    node.start().await?;

    assert_eq!(ann.pending().await?.first().map(|mail| mail.subject.clone()), Some("kept".to_owned()));
    node.stop().await?;

    garble(&node)?;
    node.amesh(&["db", "reset", "--force"]).await?;
    node.start().await?;
    assert_eq!(ann.get("/v1/messages/pending").await?.status, 401, "the store is not empty");
    let ann = node.agent("ann").await?;
    ann.send(&ann.address, "a new life").await?;
    node.stop().await
}

/// Overwrites the database with noise of the same length.
fn garble(node: &Node) -> Result<()> {
    let path = node.data_dir().join("store").join("db");
    let length = std::fs::metadata(&path)?.len();
    let noise = (0..length).map(|at| u8::try_from(at * at % 251).unwrap_or(7)).collect::<Vec<_>>();
    Ok(std::fs::write(path, noise)?)
}

fn files_below(dir: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files_below(&path)?);
        } else {
            found.insert(path.clone(), std::fs::read(path)?);
        }
    }
    Ok(found)
}

#[test]
fn a_full_disk_refuses_mail_and_goes_on_reading_until_there_is_room_again() -> Result<()> {
    lab::play(&["ann"], |lan| async move {
        let mut node = lan.host("ann")?.node(&["--api", "127.0.0.1:0", "--no-mdns"])?;
        let dir = node.data_dir();
        std::fs::create_dir(&dir)?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=48m,mode=700", "tmpfs"]).arg(&dir);
        ensure!(mount.status()?.success(), "no tmpfs could be mounted");
        node.start().await?;
        let ann = node.agent("ann").await?;
        ann.send(&ann.address, "before").await?;
        let ballast = dir.join("ballast");

        // Nearly full: less than a quarter of a small disk.
        let full = fill(&ballast)?;
        std::fs::File::options().write(true).open(&ballast)?.set_len(full - (8 << 20))?;
        wait_until("507 on a disk that is nearly full", || async { Ok(status(&ann).await? == 507) }).await?;
        let kept = ann.pending().await?.len();
        assert!(kept > 0, "mail is still read");

        // Full to the last byte: nothing is promised that cannot be kept.
        fill(&ballast)?;
        for _ in 0..5 {
            let status = status(&ann).await?;
            ensure!(status >= 500, "{status} on a disk without room");
        }
        assert_eq!(ann.pending().await?.len(), kept, "mail is still read");

        std::fs::remove_file(&ballast)?;
        wait_until("mail to be taken again", || async { Ok(status(&ann).await? == 200) }).await?;
        let count = ann.pending().await?.len();
        node.kill()?;
        node.start().await?;
        assert_eq!(ann.pending().await?.len(), count);
        node.stop().await?;
        let report = node.amesh(&["db", "verify"]).await?;
        println!("after a full disk: {report}");
        Ok(())
    })
}

/// What a letter to oneself is answered.
async fn status(agent: &TestAgent) -> Result<u16> {
    let letter = amesh_tests::agent::Letter::new(&agent.address, "is there room", "?");
    Ok(agent.route(&letter).await?.status)
}

/// Writes until there is no room; the length of the file then.
fn fill(path: &Path) -> Result<u64> {
    let mut file = std::fs::File::options().create(true).append(true).open(path)?;
    for size in [1 << 20, 1 << 12, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
    Ok(file.metadata()?.len())
}
