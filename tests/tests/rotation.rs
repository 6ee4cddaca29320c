//! An agent replaces its keys from the command line, with the real binary: the files follow, an interrupted run goes on,
//! and other clients of the same files go on with them (ICL-28…30).

use amesh_tests::http::Http;
use amesh_tests::node::Node;
use amesh_tests::place::Place;
use amesh_tests::shell;
use anyhow::{Context, Result};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

async fn a_node_with_ann_and_bob() -> Result<Node> {
    let mut node = Node::on_loopback("home")?;
    node.start().await?;
    for name in ["ann", "bob"] {
        node.amesh(&["init", "--name", name]).await?;
    }
    Ok(node)
}

async fn files_of_ann(node: &Node) -> Result<PathBuf> {
    let card = node.amesh(&["--agent", "ann", "identity"]).await?;
    Ok(card["paths"]["home"].as_str().context("no home")?.into())
}

fn json(path: &Path) -> Result<Value> {
    Ok(serde_json::from_str(&std::fs::read_to_string(path)?)?)
}

/// What bob was sent with `subject`, as his inbox shows it.
async fn seen_by_bob(node: &Node, subject: &str) -> Result<Value> {
    let inbox = node.amesh(&["--agent", "bob", "inbox", "--all"]).await?;
    let messages = inbox["messages"].as_array().context("no messages")?;
    messages.iter().find(|mail| mail["subject"] == subject).cloned().context("it did not come")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_that_an_agent_prints_is_checked_by_others_and_a_changed_one_is_refused() -> Result<()> {
    let node = a_node_with_ann_and_bob().await?;
    let card = node.amesh(&["--agent", "ann", "identity", "card"]).await?;
    let file = files_of_ann(&node).await?.join("card.json");
    let file = file.to_str().context("a path")?;
    std::fs::write(file, card.to_string())?;
    let checked = node.amesh(&["--agent", "bob", "identity", "card", "--check", file]).await?;
    assert_eq!((&checked["valid"], &checked["address"]), (&true.into(), &card["address"]), "{checked}");
    assert_eq!(checked["did"], card["did"]);
    let mut changed = card.clone();
    changed["address"] = "bob@default.aimaestro.local".into();
    std::fs::write(file, changed.to_string())?;
    let refused = node.amesh(&["identity", "card", "--check", file]).await;
    let why = format!("{:#}", refused.err().context("a changed card was taken")?);
    assert!(why.contains("bad_card") && why.contains("signature"), "{why}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_key_pair_is_in_the_files_and_signs_and_the_old_one_is_kept_aside() -> Result<()> {
    let node = a_node_with_ann_and_bob().await?;
    let home = files_of_ann(&node).await?;
    let before = std::fs::read(home.join("keys/private.pem"))?;
    let done = node.amesh(&["--agent", "ann", "identity", "rotate"]).await?;
    assert_eq!(
        (&done["rotated"], &done["providers"][0]),
        (&true.into(), &"aimaestro.local".into()),
        "{done}"
    );
    let card = node.amesh(&["--agent", "ann", "identity"]).await?;
    assert_eq!(card["fingerprint"], done["fingerprint"]);
    assert_ne!(done["fingerprint"], done["previous_fingerprint"]);
    assert_eq!(json(&home.join("config.json"))?["agent"]["fingerprint"], done["fingerprint"]);
    let registration = json(&home.join("registrations/aimaestro.local.json"))?;
    assert_eq!(registration["fingerprint"], done["fingerprint"]);
    let identity = std::fs::read_to_string(home.join("IDENTITY.md"))?;
    assert!(identity.contains(done["fingerprint"].as_str().context("no fingerprint")?), "{identity}");
    let kept = PathBuf::from(done["old_key"].as_str().context("no old_key")?);
    assert_eq!(std::fs::read(&kept)?, before, "the old private key is kept");
    for private in [kept, home.join("keys/private.pem")] {
        assert_eq!(std::fs::metadata(&private)?.permissions().mode() & 0o777, 0o600, "{}", private.display());
    }
    assert!(!home.join("keys/next.pem").exists());
    let http = Http::new(&Place::here(), node.ready()?.api)?;
    let me = http.get("/v1/agents/me", registration["apiKey"].as_str()).await?.ok()?;
    assert_eq!(me["fingerprint"], done["fingerprint"], "the node knows it");
    node.amesh(&["--agent", "ann", "send", "bob", "after", "with the new key"]).await?;
    assert_eq!(seen_by_bob(&node, "after").await?["verified"], true);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_was_interrupted_goes_on_with_the_key_that_the_node_has_taken() -> Result<()> {
    if let Err(why) = shell::has(&["openssl", "base64"]) {
        return amesh_tests::lab::skip(&why);
    }
    let node = a_node_with_ann_and_bob().await?;
    let home = files_of_ann(&node).await?;
    let script = r#"cd "$KEYS"
        openssl genpkey -algorithm ed25519 -out next.pem && openssl pkey -in next.pem -pubout -out next.pub
        openssl pkeyutl -sign -rawin -inkey private.pem -in next.pub -out proof && base64 -w0 proof && echo
        rm proof"#;
    let keys = home.join("keys").display().to_string();
    let said = tokio::task::spawn_blocking(move || shell::run(script, &[("KEYS", &keys)])).await??;
    let proof = said.first().context("no proof")?;
    let pem = std::fs::read_to_string(home.join("keys/next.pub"))?;
    std::fs::remove_file(home.join("keys/next.pub"))?;
    let key = json(&home.join("registrations/aimaestro.local.json"))?["apiKey"].clone();
    let http = Http::new(&Place::here(), node.ready()?.api)?;
    let body = serde_json::json!({"new_public_key": pem, "key_algorithm": "Ed25519", "proof": proof});
    let taken = http.post("/v1/auth/rotate-keys", key.as_str(), &body).await?.ok()?;
    let refused = node.try_amesh(&["--agent", "ann", "send", "bob", "between", "with the old key"]).await?;
    assert!(!refused.status.success(), "the old key signs nothing any more");
    let done = node.amesh(&["--agent", "ann", "identity", "rotate"]).await?;
    assert_eq!(done["fingerprint"], taken["fingerprint"], "no third key");
    node.amesh(&["--agent", "ann", "send", "bob", "after", "with the new key"]).await?;
    assert_eq!(seen_by_bob(&node, "after").await?["verified"], true);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_changed_where_a_provider_does_not_answer_unless_it_is_to_be_left_out() -> Result<()> {
    let node = a_node_with_ann_and_bob().await?;
    let home = files_of_ann(&node).await?;
    let elsewhere = home.join("registrations/mail.example.json");
    let gone = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let file = serde_json::json!({"provider": "mail.example", "apiUrl": format!("http://{gone}"), "apiKey": "k",
        "address": "ann@default.mail.example", "tenant": "default", "fingerprint": "old"});
    std::fs::write(&elsewhere, file.to_string())?;
    let before = std::fs::read(home.join("keys/private.pem"))?;
    let output = node.try_amesh(&["--agent", "ann", "identity", "rotate"]).await?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(!output.status.success() && said.contains("mail.example") && said.contains("--force"), "{said}");
    assert_eq!(std::fs::read(home.join("keys/private.pem"))?, before);
    node.amesh(&["--agent", "ann", "send", "bob", "still", "with the old key"]).await?;
    let done = node.amesh(&["--agent", "ann", "identity", "rotate", "--force"]).await?;
    assert_eq!(
        (&done["left_out"][0], done["providers"].as_array().map(Vec::len)),
        (&"mail.example".into(), Some(1))
    );
    assert_eq!(json(&elsewhere)?["fingerprint"], "old");
    node.amesh(&["--agent", "ann", "send", "bob", "after", "with the new key"]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_key_is_replaced_in_the_file_and_revoked_at_the_node() -> Result<()> {
    let node = a_node_with_ann_and_bob().await?;
    let file = files_of_ann(&node).await?.join("registrations/aimaestro.local.json");
    let http = Http::new(&Place::here(), node.ready()?.api)?;
    let first = json(&file)?["apiKey"].clone();
    let done = node.amesh(&["--agent", "ann", "identity", "api-key", "rotate"]).await?;
    assert!(done["previous_key_valid_until"].is_string() && !done.to_string().contains("amp_live"), "{done}");
    let second = json(&file)?;
    assert!(second["apiKey"] != first && second["apiKey"] == second["api_key"], "in both spellings");
    assert_eq!(std::fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
    for key in [&first, &second["apiKey"]] {
        assert_eq!(http.get("/v1/agents/me", key.as_str()).await?.status, 200);
    }
    let asked = node.try_amesh(&["--agent", "ann", "identity", "api-key", "revoke"]).await?;
    assert!(!asked.status.success(), "not without being sure");
    node.amesh(&["--agent", "ann", "identity", "api-key", "revoke", "--force"]).await?;
    for key in [&first, &second["apiKey"]] {
        assert_eq!(http.get("/v1/agents/me", key.as_str()).await?.status, 401);
    }
    node.amesh(&["--agent", "ann", "register", "--force"]).await?;
    node.amesh(&["--agent", "ann", "send", "bob", "again", "with a third API key"]).await?;
    Ok(())
}
