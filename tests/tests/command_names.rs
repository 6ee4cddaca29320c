//! The command line's other faces: the protocol's own names, an identity on its way to another home, and the node as a
//! service (issue 3, item 7).

use amesh_tests::lab::skip;
use amesh_tests::node::Node;
use amesh_tests::shell;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

async fn one_node() -> Result<Node> {
    let mut node = Node::on_loopback("ann")?;
    node.start().await?;
    Ok(node)
}

/// Runs a command line of bash in `home`, with the links on its path, as `agent`.
async fn typed(node: &Node, home: &Path, agent: &str, line: &str) -> Result<String> {
    let (line, home, agent) = (line.to_owned(), home.display().to_string(), agent.to_owned());
    let data_dir = node.data_dir().display().to_string();
    let path = format!("{}/bin:{}", node.home().display(), std::env::var("PATH")?);
    let run = move || {
        let settings =
            [("HOME", &home), ("CLAUDE_AGENT_NAME", &agent), ("AMESH_DATA_DIR", &data_dir), ("PATH", &path)];
        shell::run(&line, &settings.map(|(name, value)| (name, value.as_str())))
    };
    Ok(tokio::task::spawn_blocking(run).await??.join("\n"))
}

async fn linked(node: &Node) -> Result<()> {
    let dir = node.home().join("bin");
    let made = node.amesh(&["links", "install", &dir.to_string_lossy()]).await?;
    ensure!(made["links"].as_array().is_some_and(|links| links.len() >= 10), "{made}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_protocols_command_names_work_with_the_reference_clients_options() -> Result<()> {
    let node = one_node().await?;
    linked(&node).await?;
    let home = node.home();
    for agent in ["alice", "bob"] {
        typed(&node, home, agent, "amp-init --auto && amp-init -a -t default").await?;
    }
    let sent = typed(
        &node,
        home,
        "alice",
        r#"amp-send bob Build 'Is it green?' -p high -t request -c '{"n":1.50}'"#,
    );
    let id = sent.await?.split(' ').next().context("no id")?.to_owned();
    typed(&node, home, "bob", "amp-fetch -v").await?;
    assert_eq!(typed(&node, home, "bob", "amp-inbox -c").await?, "1");
    assert_eq!(typed(&node, home, "bob", "amp-inbox --unread --limit 5 --count").await?, "1");
    let listed: Value = serde_json::from_str(&typed(&node, home, "bob", "amp-inbox -a -j").await?)?;
    assert_eq!(listed["messages"][0]["id"], id);
    assert!(typed(&node, home, "bob", &format!("amp-read {id} -n")).await?.contains("Is it green?"));
    typed(&node, home, "bob", &format!("amp-reply {id} 'It is.' && amp-delete {id} -f")).await?;
    let answer: Value = serde_json::from_str(&typed(&node, home, "alice", "amp-inbox --json").await?)?;
    let answer = &answer["messages"][0];
    assert_eq!((&answer["subject"], &answer["priority"]), (&"Re: Build".into(), &"high".into()));
    assert_eq!((&answer["type"], &answer["in_reply_to"]), (&"response".into(), &id.clone().into()));
    assert!(typed(&node, home, "alice", &format!("amp-read {id} -s -j")).await?.contains("1.50"));
    let status: Value = serde_json::from_str(&typed(&node, home, "alice", "amp-status -j").await?)?;
    assert_eq!((&status["initialized"], &status["messages"]["sent"]), (&true.into(), &1.into()));
    assert!(
        typed(&node, home, "alice", "amp-identity -b").await?.starts_with("alice@default.aimaestro.local")
    );
    let refused = typed(&node, home, "alice", "amp-send bob s m -p asap").await;
    assert!(refused.is_err_and(|error| error.to_string().contains("urgent, high, normal or low")));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_spellings_of_the_protocols_chapter_on_external_agents_work() -> Result<()> {
    let node = one_node().await?;
    linked(&node).await?;
    let (home, api) = (node.home(), node.ready()?.api);
    typed(&node, home, "my-agent", "amp-init --auto").await?;
    let register = format!("amp-register --name my-agent --provider http://{api} --force");
    typed(&node, home, "my-agent", &register).await?;
    typed(&node, home, "my-agent", "amp-send my-agent@ann.aimaestro.local Subject 'Message body'").await?;
    let pending = typed(&node, home, "my-agent", "amp-inbox list --json").await?;
    let pending: Value = serde_json::from_str(&pending)?;
    let id = pending["messages"][0]["id"].as_str().context("no message")?;
    typed(&node, home, "my-agent", &format!("amp-inbox read {id} && amp-inbox ack {id}")).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_is_exported_imported_elsewhere_and_signs_as_before() -> Result<()> {
    let node = one_node().await?;
    linked(&node).await?;
    let elsewhere = tempfile::tempdir()?;
    let file = elsewhere.path().join("alice.json");
    for agent in ["alice", "bob"] {
        typed(&node, node.home(), agent, "amp-init --auto").await?;
    }
    node.amesh(&["--agent", "alice", "identity", "export", &file.to_string_lossy()]).await?;
    assert_eq!(std::fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
    let again = node.try_amesh(&["--agent", "alice", "identity", "export", &file.to_string_lossy()]).await?;
    assert!(!again.status.success(), "a file is not replaced by itself");

    let there = elsewhere.path();
    let import = format!("amp-identity import '{}'", file.display());
    typed(&node, there, "alice", &import).await?;
    typed(&node, there, "alice", "amp-send bob moved 'it is still me'").await?;
    let read = node.amesh(&["--agent", "bob", "inbox"]).await?;
    assert_eq!(
        (&read["messages"][0]["from"], &read["messages"][0]["verified"]),
        (&"alice@default.aimaestro.local".into(), &true.into())
    );
    assert!(typed(&node, there, "alice", &import).await.is_err(), "an identity is not replaced by itself");
    let bare = "openssl genpkey -algorithm Ed25519 -out k.pem && amp-identity import k.pem --name carol";
    if shell::has(&["openssl"]).is_ok() {
        typed(&node, there, "carol", &format!("{bare} && amp-send bob 'by openssl' 'a bare key'")).await?;
    }
    Ok(())
}

/// Stands for the service manager: notes what it is asked to do.
const MANAGER: &str = "#!/bin/sh\necho \"$@\" >> \"$HOME/asked\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_node_is_installed_as_a_service_of_the_user_and_removed_again() -> Result<()> {
    let node = Node::on_loopback("ann")?;
    linked(&node).await?;
    let manager = node.home().join("bin/systemctl");
    std::fs::write(&manager, MANAGER)?;
    std::fs::set_permissions(&manager, std::fs::Permissions::from_mode(0o755))?;
    let amesh = "amesh=$(readlink -f \"$(command -v amp-send)\")";
    let install = format!("unset XDG_CONFIG_HOME; {amesh}; $amesh service install");
    let unit = node.home().join(".config/systemd/user/amesh.service");
    let file = format!("would change {}", unit.display());
    let dry = typed(&node, node.home(), "x", &format!("{install} --dry-run -- --host den")).await?;
    assert!(dry.starts_with(&file) && dry.contains("\"--host\" \"den\"") && !unit.exists(), "{dry}");
    typed(&node, node.home(), "x", &format!("{install} -- --host den --no-mdns")).await?;
    let text = std::fs::read_to_string(&unit)?;
    let data_dir = node.data_dir();
    assert!(
        text.contains(&format!("\"--data-dir\" \"{}\" \"--host\" \"den\"", data_dir.display())),
        "{text}"
    );
    typed(&node, node.home(), "x", &install.replace("service install", "service uninstall")).await?;
    assert!(!unit.exists());
    let asked = std::fs::read_to_string(node.home().join("asked"))?;
    let expected =
        "--user daemon-reload\n--user enable --now amesh.service\n--user disable --now amesh.service\n";
    assert_eq!(asked, expected);
    let ticket = typed(&node, node.home(), "x", &format!("{install} -- --join amesh1-x")).await;
    assert!(ticket.is_err_and(|error| error.to_string().contains("a ticket is good once")));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_and_the_plist_reader_take_what_is_written_for_them() -> Result<()> {
    if let Err(why) = shell::has(&["systemd-analyze", "python3"]) {
        return skip(&why);
    }
    let node = Node::on_loopback("ann")?;
    linked(&node).await?;
    let script = r#"
        amesh=$(readlink -f "$(command -v amp-send)"); export XDG_RUNTIME_DIR=$PWD
        $amesh service install --print -- --host 'a%b$c "d"' > amesh.service
        systemd-analyze verify --user ./amesh.service 2>&1
        $amesh service install --print --for launchd -- --host 'a<b>&"d"' | python3 -c '
import plistlib, sys
print(plistlib.loads(sys.stdin.buffer.read())["ProgramArguments"][-1])'"#;
    assert_eq!(typed(&node, node.home(), "x", script).await?, r#"a<b>&"d""#);
    Ok(())
}
