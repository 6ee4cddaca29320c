//! Real nodes behind real certificates: renewal, agents on other machines, hosts of the HTTP mesh over HTTPS.

use amesh_tests::agent::TestAgent;
use amesh_tests::authority::{Authority, CertificateFiles};
use amesh_tests::binary;
use amesh_tests::node::Node;
use amesh_tests::place::reserved_port;
use amesh_tests::wait::{wait_for, wait_until};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

const NAME: &str = "node.example";

/// A node with `settings` and `options`, and whose file of settings lies in `folder`.
async fn node(host: &str, folder: &CertificateFiles, settings: &str, options: &[&str]) -> Result<Node> {
    let file = folder.path("amesh.toml");
    std::fs::write(&file, settings)?;
    let mut node = Node::on_loopback(host)?.with(&["--config", &file.to_string_lossy()]).with(options);
    node.start().await?;
    Ok(node)
}

/// Where a node is reached over TLS.
fn secure(node: &Node) -> Result<SocketAddr> {
    let mut address = node.ready()?.secure.context("no door with TLS")?;
    address.set_ip([127, 0, 0, 1].into());
    Ok(address)
}

/// Whether a client that believes only `authority` is served, over a connection of its own.
async fn is_served(node: &Node, authority: &Authority) -> Result<bool> {
    let door = secure(node)?;
    let root = reqwest::Certificate::from_pem(authority.pem().as_bytes())?;
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([root]).resolve(NAME, door).build()?;
    let answer = client.get(format!("https://{NAME}:{}/v1/health", door.port())).send().await;
    Ok(answer.is_ok_and(|answer| answer.status().is_success()))
}

/// What `amesh doctor` says of the certificate.
async fn diagnosis(node: &Node) -> Result<(String, String)> {
    let output = node.try_amesh(&["doctor"]).await?;
    let said: Value = serde_json::from_slice(&output.stdout)?;
    let checks = said["checks"].as_array().context("no checks")?;
    let check = checks.iter().find(|check| check["check"] == "certificate").context("no certificate")?;
    let text = |member: &str| check[member].as_str().unwrap_or_default().to_owned();
    Ok((text("state"), text("what")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_node_takes_a_new_certificate_and_says_when_it_cannot() -> Result<()> {
    let (first, second) = (Authority::named("first")?, Authority::named("second")?);
    let files = CertificateFiles::with(&first.vouches_for(&[NAME])?)?;
    let node = node("alpha", &files, &files.settings(), &["--api", "0.0.0.0:0"]).await?;
    ensure!(is_served(&node, &first).await? && !is_served(&node, &second).await?);
    ensure!(diagnosis(&node).await?.0 == "ok", "{:?}", diagnosis(&node).await?);

    let next = second.vouches_for(&[NAME])?;
    std::fs::write(files.path("cert.pem"), &next.0)?;
    wait_until("doctor to tell of the key", || async {
        let (state, what) = diagnosis(&node).await?;
        Ok(state == "problem" && what.contains("is not that of the first certificate"))
    })
    .await?;
    ensure!(is_served(&node, &first).await?, "the old certificate is shown no more");

    files.hold(&next)?;
    wait_until("the new certificate", || is_served(&node, &second)).await?;
    ensure!(!is_served(&node, &first).await? && diagnosis(&node).await?.0 == "ok");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_files_that_cannot_be_used_does_not_start_and_names_the_setting() -> Result<()> {
    let files = CertificateFiles::with(&Authority::named("one")?.vouches_for(&[NAME])?)?;
    std::fs::write(files.path("key.pem"), "no key")?;
    let failed = node("alpha", &files, &files.settings(), &["--api", "0.0.0.0:0"]).await.err();
    let why = format!("{:#}", failed.context("it started without a key")?);
    ensure!(why.contains("tls.key: the file") && why.contains("holds no private key"), "{why}");
    let failed = node("alpha", &files, "", &["--api", "0.0.0.0:0"]).await.err();
    let why = format!("{:#}", failed.context("it started without a certificate")?);
    ensure!(why.contains("tls.certificate"), "{why}");
    Ok(())
}

/// The command line on a machine that has no node and believes `authority`.
fn elsewhere(home: &Path, authority: &Path, words: &[&str]) -> Result<Command> {
    let mut command = Command::new(binary::amesh()?);
    command.arg("--json").args(words).stdin(Stdio::null());
    command.env("HOME", home).env("AMESH_DATA_DIR", home.join("none")).env("SSL_CERT_FILE", authority);
    Ok(command)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_on_another_machine_registers_and_follows_its_mail_over_https() -> Result<()> {
    let authority = Authority::named("one")?;
    let files = CertificateFiles::with(&authority.vouches_for(&["localhost"])?)?;
    std::fs::write(files.path("ca.pem"), authority.pem())?;
    let node = node("alpha", &files, &files.settings(), &["--api", "0.0.0.0:0"]).await?;
    let alice = node.agent("alice").await?;
    let url = format!("https://localhost:{}", secure(&node)?.port());
    let home = tempfile::tempdir()?;
    let (away, ca) = (home.path(), files.path("ca.pem"));
    let say = |words: &[&str]| -> Result<Value> {
        let output = elsewhere(away, &ca, words)?.output()?;
        // What went wrong is said on the other stream.
        let said = if output.status.success() { &output.stdout } else { &output.stderr };
        serde_json::from_slice(said).with_context(|| format!("{words:?}: {output:?}"))
    };
    say(&["init", "--name", "bob"])?;
    let refused = say(&["register", "--provider", &url])?;
    ensure!(refused["error"] == "tenant_access_denied", "{refused}");
    let code = node.amesh(&["agents", "code"]).await?;
    let code = code["invite_code"].as_str().with_context(|| code.to_string())?;
    say(&["register", "--provider", &url, "--token", code])?;

    let heard = files.path("heard");
    let mut following = elsewhere(away, &ca, &["inbox", "--follow"])?;
    let complaints = std::fs::File::create(files.path("complaints"))?;
    let mut child = following.stdout(std::fs::File::create(&heard)?).stderr(complaints).spawn()?;
    let bob = "bob@default.aimaestro.local";
    let story = async {
        // Mail that is there before the socket is would be fetched without it.
        let resolve = format!("/v1/agents/resolve/{bob}");
        wait_until("a socket", || async { Ok(alice.get(&resolve).await?.ok()?["online"] == true) }).await?;
        alice.send(bob, "over the wire").await?;
        let mail = || async { Ok(std::fs::read_to_string(&heard)?.contains("over the wire")) };
        wait_until("the mail", mail).await
    };
    let came = story.await;
    child.kill()?;
    child.wait()?;
    came.with_context(|| std::fs::read_to_string(files.path("complaints")).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_of_the_http_mesh_write_to_each_other_over_https_once_the_certificate_is_good() -> Result<()>
{
    let (authority, stranger) = (Authority::named("one")?, Authority::named("another")?);
    let issued = |by: &Authority| by.vouches_for(&["localhost"]);
    let (near, far) =
        (CertificateFiles::with(&issued(&authority)?)?, CertificateFiles::with(&issued(&stranger)?)?);
    let ((_one, alpha_at), (_two, beta_at)) = (reserved_port()?, reserved_port()?);
    let settings = |files: &CertificateFiles,
                    at: SocketAddr,
                    other: &str,
                    there: SocketAddr|
     -> Result<String> {
        std::fs::write(files.path("ca.pem"), authority.pem())?;
        Ok(format!(
            "ca_certificates = [{:?}]\n{}[http_mesh]\nlisten = \"{at}\"\ntls = true\nurl = \"https://localhost:{}\"\n\
             [[http_mesh.host]]\nname = \"{other}\"\nurl = \"https://localhost:{}\"\n",
            files.path("ca.pem"),
            files.settings(),
            at.port(),
            there.port(),
        ))
    };
    let alpha = node("alpha", &near, &settings(&near, alpha_at, "beta", beta_at)?, &[]).await?;
    let beta = node("beta", &far, &settings(&far, beta_at, "alpha", alpha_at)?, &[]).await?;
    let (alice, kim) = (alpha.agent("alice").await?, beta.agent("kim").await?);

    alice.send("kim@beta", "at last").await?;
    wait_until("the reason why the host is not reached", || async {
        let hosts = alpha.amesh(&["peers"]).await?["http_hosts"].to_string();
        Ok(hosts.contains("invalid peer certificate"))
    })
    .await?;
    ensure!(kim.pending().await?.is_empty());

    far.hold(&issued(&authority)?)?;
    let mail = arrived(&kim).await?;
    ensure!(mail == "at last", "{mail}");
    kim.send("alice@alpha", "an answer").await?;
    let mail = arrived(&alice).await?;
    ensure!(mail == "an answer", "{mail}");
    Ok(())
}

async fn arrived(agent: &TestAgent) -> Result<String> {
    wait_for("the mail", || async { Ok(agent.pending().await?.into_iter().next().map(|mail| mail.subject)) })
        .await
}
