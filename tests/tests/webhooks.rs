//! Webhooks end to end: the receiver of `docs/webhooks.md` as it stands there, and a real node that is killed between
//! two attempts.

use amesh_tests::agent::Letter;
use amesh_tests::lab::skip;
use amesh_tests::node::Node;
use amesh_tests::place::reserved_port;
use amesh_tests::shell;
use amesh_tests::wait::{wait_for, wait_until};
use anyhow::{Context, Result};
use serde_json::json;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// The page that the user reads.
const PAGE: &str = include_str!("../../docs/webhooks.md");

/// The page's receiver as a process, writing what it prints into a file.
struct Receiver {
    process: Child,
    dir: TempDir,
    port: u16,
}

impl Receiver {
    fn start(port: u16, secret: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let code = PAGE.split("```python\n").nth(1).and_then(|rest| rest.split("```").next());
        std::fs::write(dir.path().join("receiver.py"), code.context("the page has lost its receiver")?)?;
        let said = std::fs::File::create(dir.path().join("said"))?;
        let process = Command::new("python3")
            .arg(dir.path().join("receiver.py"))
            .env("PORT", port.to_string())
            .env("WEBHOOK_SECRET", secret)
            .stdin(Stdio::null())
            .stdout(said)
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { process, dir, port })
    }

    async fn listening(&self) -> Result<()> {
        let address = ("127.0.0.1", self.port);
        wait_until("the receiver", || async { Ok(std::net::TcpStream::connect(address).is_ok()) }).await
    }

    fn said(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.dir.path().join("said"))?)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.process.kill().and_then(|()| self.process.wait().map(drop)).ok();
    }
}

/// A node whose webhooks may reach this machine, and are repeated soon.
async fn node(dir: &Path) -> Result<Node> {
    let file = dir.join("amesh.toml");
    let settings = "[agents]\nwebhook_allow = [\"127.0.0.1\"]\n[message.webhook]\nretry_after_s = [2, 2, 2, 2, 2, 2, 2, 2]\n";
    std::fs::write(&file, settings)?;
    let mut node = Node::on_loopback("ann")?.with(&["--config", &file.to_string_lossy()]);
    node.start().await?;
    Ok(node)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_receiver_of_the_page_believes_the_node_and_nobody_else() -> Result<()> {
    if let Err(why) = shell::has(&["python3"]) {
        return skip(&why);
    }
    let dir = tempfile::tempdir()?;
    let node = node(dir.path()).await?;
    let (alice, bob) = (node.agent("alice").await?, node.agent("bob").await?);
    let (_reserved, at) = reserved_port()?;
    let receiver = Receiver::start(at.port(), "s3cret")?;
    receiver.listening().await?;
    let url = format!("http://127.0.0.1:{}/amp", receiver.port);
    bob.wants(&json!({"webhook_url": url, "webhook_secret": "s3cret"})).await?.ok()?;
    let sent = alice.route(&Letter::new(&bob.address, "hello", "first")).await?.ok()?;
    wait_until("the receiver to speak", || async { Ok(receiver.said()?.contains(" wrote: first\n")) })
        .await?;
    wait_until("the acknowledgement", || async { Ok(bob.pending().await?.is_empty()) }).await?;
    let id = sent["id"].as_str().context("no id")?;
    assert_eq!(alice.fate(id).await?["status"], "delivered");
    bob.wants(&json!({"webhook_secret": "another"})).await?.ok()?;
    alice.route(&Letter::new(&bob.address, "hello", "second")).await?.ok()?;
    wait_until("the refused mail", || async { Ok(bob.pending().await?.len() == 1) }).await?;
    bob.wants(&json!({"webhook_secret": "s3cret"})).await?.ok()?;
    alice.route(&Letter::new(&bob.address, "hello", "third")).await?.ok()?;
    wait_until("the third", || async { Ok(receiver.said()?.contains(" wrote: third\n")) }).await?;
    assert!(!receiver.said()?.contains("second"), "what was signed with another secret was believed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_between_two_attempts_makes_the_second_when_it_is_back() -> Result<()> {
    if let Err(why) = shell::has(&["python3"]) {
        return skip(&why);
    }
    let dir = tempfile::tempdir()?;
    let mut node = node(dir.path()).await?;
    let (alice, bob) = (node.agent("alice").await?, node.agent("bob").await?);
    let (_reserved, at) = reserved_port()?;
    let port = at.port();
    bob.wants(&json!({"webhook_url": format!("http://127.0.0.1:{port}/"), "webhook_secret": "s3cret"}))
        .await?
        .ok()?;
    let sent = alice.route(&Letter::new(&bob.address, "hello", "kept")).await?.ok()?;
    assert_eq!((&sent["status"], &sent["method"]), (&json!("queued"), &json!("webhook")));
    node.kill()?;
    let receiver = Receiver::start(port, "s3cret")?;
    receiver.listening().await?;
    node.start().await?;
    wait_until("the mail", || async { Ok(receiver.said()?.contains(" wrote: kept\n")) }).await?;
    let alice = node.found_by(&alice)?;
    let id = sent["id"].as_str().context("no id")?.to_owned();
    let fate = wait_for("its fate", || async {
        let fate = alice.fate(&id).await?;
        Ok((fate["status"] == "delivered").then_some(fate))
    });
    assert_eq!(fate.await?["id"], id);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_agent_makes_its_node_post_to_itself() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let node = node(dir.path()).await?;
    let bob = node.agent("bob").await?;
    let port = node.ready()?.api.port();
    for host in ["127.0.0.1", "2130706433", "localhost", "0x7f.1", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        let reply = bob.wants(&json!({"webhook_url": format!("http://{host}:{port}/v1/route")})).await?;
        assert_eq!((reply.status, reply.error()), (400, "invalid_field"), "{host}: {}", reply.body);
        assert_eq!(reply.body["field"], "delivery");
    }
    Ok(())
}
