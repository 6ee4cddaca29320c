//! Files go where their messages go: to an agent beside, to another host, across restarts and broken links (ICL-33…37).

use amesh_tests::mesh::Mesh;
use amesh_tests::node::Node;
use amesh_tests::wait::{wait_for, wait_until};
use anyhow::{Context, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Bytes that are nobody else's, and no text.
fn bytes_of(seed: u8, size: usize) -> Vec<u8> {
    (0..size).map(|at| (at as u8).wrapping_mul(31) ^ (at >> 8) as u8 ^ seed).collect()
}

fn file_in(dir: &Path, name: &str, bytes: &[u8]) -> Result<String> {
    let path = dir.join(name);
    std::fs::write(&path, bytes)?;
    Ok(path.to_string_lossy().into_owned())
}

/// Two hosts in one mesh, with one agent each who has heard of the other.
async fn two_hosts() -> Result<Mesh> {
    let mesh = Mesh::on_loopback(&["ann", "bob"]).await?;
    for node in &mesh.0 {
        node.amesh(&["init", "--name", &node.host]).await?;
        node.amesh(&["register"]).await?;
    }
    for (node, other) in [(&mesh[0], "bob@"), (&mesh[1], "ann@")] {
        wait_until("the other's name", || async {
            Ok(node.amesh(&["agents"]).await?.to_string().contains(other))
        })
        .await?;
    }
    Ok(mesh)
}

/// Fetches until mail is there; the first message in the inbox.
async fn first_mail(node: &Node) -> Result<Value> {
    wait_for("mail", || async {
        let inbox = node.amesh(&["inbox"]).await?;
        Ok(inbox["messages"].as_array().and_then(|all| all.first()).cloned())
    })
    .await
}

async fn downloaded(node: &Node, words: &[&str], id: &str, dest: &Path) -> Result<Vec<PathBuf>> {
    let dest = dest.to_string_lossy();
    let words = [words, &["download", id, "--dest", &dest]].concat();
    let report = node.amesh(&words).await?;
    let files = report["files"].as_array().context("no files")?;
    Ok(files.iter().filter_map(|file| file["path"].as_str().map(PathBuf::from)).collect())
}

fn stored(node: &Node) -> PathBuf {
    node.data_dir().join("store/attachments")
}

fn whole_files(node: &Node) -> usize {
    let Ok(files) = std::fs::read_dir(stored(node)) else { return 0 };
    files.flatten().filter(|file| file.path().extension().is_none()).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_reach_an_agent_beside_and_outlive_a_killed_node() -> Result<()> {
    let (place, mut node) = (tempfile::tempdir()?, Node::on_loopback("ann")?);
    node.start().await?;
    for name in ["ann", "bob"] {
        node.amesh(&["init", "--name", name]).await?;
        node.amesh(&["--agent", name, "register"]).await?;
    }
    let (one, two) = (bytes_of(1, 2_000_000), b"a,b\n1,2\n".to_vec());
    let first = file_in(place.path(), "data one.bin", &one)?;
    let second = file_in(place.path(), "figures.csv", &two)?;
    let words =
        ["--agent", "ann", "send", "bob", "Report", "see attached", "-a", &first, "--attach", &second];
    node.amesh(&words).await?;
    node.kill()?;
    node.start().await?;
    let mail = wait_for("mail", || async {
        let inbox = node.amesh(&["--agent", "bob", "inbox"]).await?;
        Ok(inbox["messages"].as_array().and_then(|all| all.first()).cloned())
    })
    .await?;
    assert_eq!(mail["verified"], true, "the files are part of what is signed");
    let id = mail["id"].as_str().context("no id")?;
    let read = node.amesh(&["--agent", "bob", "read", id]).await?;
    assert_eq!(read["attachments"][0]["filename"], "data one.bin");
    assert_eq!(read["attachments"][1]["scan_status"], "basic_clean");
    let dest = place.path().join("fetched");
    let paths = downloaded(&node, &["--agent", "bob"], id, &dest).await?;
    assert_eq!(paths, [dest.join("data one.bin"), dest.join("figures.csv")]);
    assert!(std::fs::read(&paths[0])? == one && std::fs::read(&paths[1])? == two);
    let again = downloaded(&node, &["--agent", "bob"], id, &dest).await?;
    assert_eq!(again[1], dest.join("figures_1.csv"), "what is there is never written over");
    let read = node.amesh(&["--agent", "bob", "read", id, "--download"]).await?;
    let path = read["downloaded"]["files"][0]["path"].as_str().context("nothing downloaded")?;
    assert!(std::fs::read(path)? == one && read["subject"] == "Report", "the message and its files");
    let program = file_in(place.path(), "run", b"\x7fELF and so on")?;
    let refused = node.try_amesh(&["--agent", "ann", "send", "bob", "x", "y", "-a", &program]).await?;
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&[refused.stdout, refused.stderr].concat()).contains("ELF"));
    node.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn files_come_back_with_a_backup_and_what_is_lost_is_said() -> Result<()> {
    let (place, mut node) = (tempfile::tempdir()?, Node::on_loopback("ann")?);
    node.start().await?;
    for name in ["ann", "bob"] {
        node.amesh(&["init", "--name", name]).await?;
        node.amesh(&["--agent", name, "register"]).await?;
    }
    let bytes = bytes_of(4, 300_000);
    let path = file_in(place.path(), "plan.bin", &bytes)?;
    node.amesh(&["--agent", "ann", "send", "bob", "Plan", "see attached", "--attach", &path]).await?;
    let backup = node.amesh(&["db", "backup"]).await?;
    assert_eq!((&backup["files"], &backup["missing_files"]), (&1.into(), &0.into()), "{backup}");
    node.stop().await?;

    let store = node.data_dir().join("store");
    std::fs::remove_dir_all(&store)?;
    let restored = node.amesh(&["db", "restore", "--force"]).await?;
    assert_eq!((&restored["files"], &restored["missing_files"]), (&1.into(), &0.into()), "{restored}");
    node.start().await?;
    let inbox = node.amesh(&["--agent", "bob", "inbox"]).await?;
    let id = inbox["messages"][0]["id"].as_str().context("no mail")?.to_owned();
    let paths = downloaded(&node, &["--agent", "bob"], &id, place.path()).await?;
    assert!(std::fs::read(&paths[0])? == bytes);
    node.stop().await?;

    // A backup whose files were not kept with it.
    std::fs::remove_dir_all(&store)?;
    std::fs::remove_dir_all(format!("{}.files", backup["path"].as_str().context("no path")?))?;
    let restored = node.amesh(&["db", "restore", "--force"]).await?;
    assert_eq!((&restored["files"], &restored["missing_files"]), (&0.into(), &1.into()), "{restored}");
    node.start().await?;
    let read = node.amesh(&["--agent", "bob", "read", &id]).await?;
    assert_eq!((&read["subject"], &read["verified"]), (&"Plan".into(), &true.into()), "{read}");
    let refused = node.try_amesh(&["--agent", "bob", "download", &id]).await?;
    let said = String::from_utf8_lossy(&[refused.stdout, refused.stderr].concat()).into_owned();
    assert!(!refused.status.success() && said.contains("lost on this node"), "{said}");
    let verified = node.amesh(&["db", "backup"]).await?;
    assert_eq!(verified["missing_files"], 1, "{verified}");
    node.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_on_the_recipients_host_before_the_message_is_shown() -> Result<()> {
    let (place, mut mesh) = (tempfile::tempdir()?, two_hosts().await?);
    let bytes = bytes_of(2, 3_000_000);
    let path = file_in(place.path(), "plan.bin", &bytes)?;
    mesh[0].amesh(&["send", "bob", "Plan", "see attached", "--attach", &path]).await?;
    let mail = first_mail(&mesh[1]).await?;
    // From here on the sender's host is not needed.
    mesh[0].stop().await?;
    let id = mail["id"].as_str().context("no id")?;
    let paths = downloaded(&mesh[1], &[], id, place.path()).await?;
    assert!(std::fs::read(&paths[0])? == bytes);
    // The same path and token, at this host's own address.
    let read = mesh[1].amesh(&["read", id]).await?;
    let url = read["attachments"][0]["url"].as_str().context("no url")?;
    let path = url.splitn(4, '/').nth(3).context("no path")?;
    let here = format!("http://{}/{path}", mesh[1].ready()?.api);
    let answer = reqwest::get(&here).await?;
    assert_eq!(answer.status().as_u16(), 200);
    assert!(answer.bytes().await? == bytes);
    assert_eq!(reqwest::get(here.replace("token=", "token=0")).await?.status().as_u16(), 404);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_arrive_later_when_a_host_is_off_and_the_link_breaks_in_the_middle() -> Result<()> {
    let (place, mut mesh) = (tempfile::tempdir()?, two_hosts().await?);
    mesh[1].stop().await?;
    let mut words: Vec<String> = ["send", "bob", "Many", "ten files"].map(str::to_owned).into();
    for n in 0..10 {
        let path = file_in(place.path(), &format!("part{n}.bin"), &bytes_of(n, 1_000_000))?;
        words.extend(["--attach".to_owned(), path]);
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    mesh[0].amesh(&words).await?;
    mesh[0].amesh(&["send", "bob", "After", "comes second"]).await?;
    mesh[1].start().await?;
    wait_until("the first file", || async { Ok(whole_files(&mesh[1]) > 0) }).await?;
    mesh[0].kill()?;
    mesh[1].kill()?;
    mesh[1].start().await?;
    mesh[0].start().await?;
    let all = wait_for("both messages", || async {
        let inbox = mesh[1].amesh(&["inbox"]).await?;
        Ok(inbox["messages"].as_array().filter(|all| all.len() == 2).cloned())
    })
    .await?;
    let many = all.iter().find(|mail| mail["subject"] == "Many").context("the files' message is missing")?;
    let id = many["id"].as_str().context("no id")?;
    let paths = downloaded(&mesh[1], &[], id, &place.path().join("fetched")).await?;
    assert_eq!(paths.len(), 10);
    for (n, path) in paths.iter().enumerate() {
        assert!(std::fs::read(path)? == bytes_of(n as u8, 1_000_000), "{}", path.display());
    }
    let verified = mesh[1].amesh(&["db", "verify"]).await?;
    assert_eq!(verified["problems"].as_array().map(Vec::len), Some(0), "{verified}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_damaged_on_the_senders_disk_is_refused_and_its_sender_told() -> Result<()> {
    let (place, mut mesh) = (tempfile::tempdir()?, two_hosts().await?);
    mesh[1].stop().await?;
    let path = file_in(place.path(), "plan.bin", &bytes_of(3, 100_000))?;
    mesh[0].amesh(&["send", "bob", "Plan", "see attached", "--attach", &path]).await?;
    let file = std::fs::read_dir(stored(&mesh[0]))?.next().context("no file")??.path();
    let mut bytes = std::fs::read(&file)?;
    bytes[50_000] ^= 1;
    std::fs::write(&file, bytes)?;
    mesh[1].start().await?;
    let notice = first_mail(&mesh[0]).await?;
    println!("the sender is told: {notice}");
    let whole = mesh[0].amesh(&["read", notice["id"].as_str().context("no id")?]).await?;
    assert!(whole.to_string().contains("attachment_damaged"), "{whole}");
    assert_eq!(whole_files(&mesh[1]), 0);
    let inbox = mesh[1].amesh(&["inbox"]).await?;
    assert_eq!(inbox["messages"].as_array().map(Vec::len), Some(0), "{inbox}");
    Ok(())
}
