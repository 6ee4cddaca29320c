//! The protocol's reference shell client, unmodified, against real nodes (issue 3, "it must show" 1 and 2). It runs
//! whenever `AMP_CLIENT_DIR` names a checkout, and says so when none does: `client_requests.rs` then stands in with
//! requests that were re-created from what the client sends.
//!
//! This program has no test harness, so that its transcript is always printed. A word chooses among the stories.

use amesh_tests::lab;
use amesh_tests::mesh::Mesh;
use amesh_tests::node::Node;
use amesh_tests::shell;
use amesh_tests::shell_client::{GIVEN, ShellAgent, ShellClient};
use amesh_tests::wait::wait_until;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::future::Future;
use std::path::Path;

type Story = fn(&ShellClient) -> Result<()>;

const STORIES: [(&str, Story); 8] = [
    ("two_agents_in_one_home", |client| block_on(two_agents_in_one_home(client))),
    ("attachments", |client| block_on(attachments(client))),
    ("every_subject_and_context", |client| block_on(every_subject_and_context(client))),
    ("files_shared_with_amesh", |client| block_on(files_shared_with_amesh(client))),
    ("files_with_messages", |client| block_on(files_with_messages(client))),
    ("files_through_an_external_provider", |client| block_on(files_through_an_external_provider(client))),
    ("separate_homes_and_an_external_provider", |client| block_on(external_provider(client))),
    ("two_hosts_of_a_lan", two_hosts_of_a_lan),
];

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--list") {
        STORIES.iter().for_each(|(name, _)| println!("{name}: test"));
        return Ok(());
    }
    let Some(client) = ShellClient::given()? else {
        println!(
            "\nreference_client: NOT RUN, nothing is proven here: {GIVEN} names no checkout of the client"
        );
        return Ok(());
    };
    shell::has(&["bash", "jq", "curl", "openssl", "xxd", "awk"])?;
    let wish = words.iter().find(|word| !word.starts_with('-'));
    let chosen: Vec<_> =
        STORIES.iter().filter(|(name, _)| wish.is_none_or(|wish| name.contains(wish.as_str()))).collect();
    for (name, story) in &chosen {
        println!("\n=== {name}");
        story(&client).with_context(|| format!("story {name}"))?;
    }
    println!("\nreference_client: {} of {} stories played, all well", chosen.len(), STORIES.len());
    Ok(())
}

fn block_on(story: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(story)
}

async fn one_node() -> Result<Node> {
    let mut node = Node::on_loopback("ann")?;
    node.start().await?;
    Ok(node)
}

/// Makes identities for `names`, each checked by the client's own word.
async fn agents(client: &ShellClient, node: &Node, names: &[&str]) -> Result<Vec<ShellAgent>> {
    let mut agents = Vec::new();
    for name in names {
        let agent = client.agent(node, name)?;
        let said = agent.does("amp-init", &["--auto"]).await?;
        ensure!(said.contains("Mesh:        ✅ Enabled"), "not registered: {said}");
        agents.push(agent);
    }
    Ok(agents)
}

/// Sends a file, and downloads it with the message that names it.
async fn file_from_to(from: &ShellAgent, to: &ShellAgent, name: &str, dir: &Path) -> Result<()> {
    let bytes: Vec<u8> = (0..300_000u32).map(|n| (n % 241) as u8).collect();
    let file = dir.join("some data.bin");
    std::fs::write(&file, &bytes)?;
    let subject = format!("a file for {name}");
    from.sends(&[name, &subject, "see attached", "--attach", &file.to_string_lossy()]).await?;
    let mut mail = None;
    wait_until("the message with the file", || async {
        Ok(to.fetched().await?.iter().any(|mail| mail["envelope"]["subject"] == *subject))
    })
    .await?;
    for one in to.inbox().await? {
        if one["envelope"]["subject"] == *subject {
            mail = Some(one);
        }
    }
    let mail = mail.context("no mail")?;
    ensure!(mail["local"]["security"]["trust"] == "verified", "{mail}");
    let (id, got) = (mail["envelope"]["id"].as_str().context("no id")?, dir.join("got"));
    let said = to.does("amp-download", &[id, "--all", "--dest", &got.to_string_lossy()]).await?;
    ensure!(said.contains("1 downloaded, 0 failed"), "{said}");
    ensure!(std::fs::read(got.join("some_data.bin"))? == bytes, "the file differs");
    Ok(())
}

async fn attachments(client: &ShellClient) -> Result<()> {
    let (node, place) = (one_node().await?, tempfile::tempdir()?);
    let agents = agents(client, &node, &["alice", "bob"]).await?;
    let [alice, bob] = agents.as_slice() else { bail!("two agents") };
    file_from_to(alice, bob, "bob", place.path()).await?;
    // What bob has fetched is acknowledged, and amesh finds its files all the same.
    let mail = bob.inbox().await?.remove(0);
    let id = mail["envelope"]["id"].as_str().context("no id")?;
    let report = node.amesh(&["--agent", "bob", "download", id]).await?;
    ensure!(report["files"][0]["path"].as_str().is_some(), "{report}");
    let script = place.path().join("run.sh");
    std::fs::write(&script, "#!/bin/sh\necho hello\n")?;
    let said = alice.fails("amp-send", &["bob", "x", "y", "--attach", &script.to_string_lossy()]).await?;
    ensure!(said.contains("attach"), "{said}");
    Ok(())
}

async fn two_agents_in_one_home(client: &ShellClient) -> Result<()> {
    let node = one_node().await?;
    let agents = agents(client, &node, &["alice", "bob"]).await?;
    let [alice, bob] = agents.as_slice() else { bail!("two agents") };
    ensure!(alice.does("amp-init", &["--auto"]).await?.contains("already initialized"));
    let identity: Value = serde_json::from_str(&alice.does("amp-identity", &["--json"]).await?)?;
    ensure!(identity["primary_address"] == "alice@default.aimaestro.local", "{identity}");
    alice.does("amp-identity", &["--brief"]).await?;

    let id =
        alice.sends(&["bob", "Build", "Is it green?", "--priority", "high", "--type", "request"]).await?;
    let inbox = bob.fetched().await?;
    ensure!(inbox.len() == 1 && inbox[0]["envelope"]["id"] == *id, "{inbox:?}");
    ensure!(inbox[0]["local"]["security"]["trust"] == "verified", "{inbox:?}");
    ensure!(bob.does("amp-inbox", &["--count"]).await?.trim() == "1");
    bob.does("amp-inbox", &[]).await?;
    ensure!(bob.does("amp-read", &[&id]).await?.contains("Is it green?"));
    ensure!(bob.does("amp-inbox", &["--count"]).await?.trim() == "0", "it is read now");
    bob.does("amp-reply", &[&id, "It is."]).await?;

    let answers = alice.fetched().await?;
    let answer = &answers[0]["envelope"];
    ensure!(answer["subject"] == "Re: Build" && answer["priority"] == "high", "{answer}");
    ensure!(answer["in_reply_to"] == *id && answer["thread_id"] == *id, "the thread is kept: {answer}");
    let again = alice.does("amp-fetch", &["--verbose"]).await?;
    ensure!(again.contains("No new messages"), "acknowledged mail stays away: {again}");
    let status: Value = serde_json::from_str(&alice.does("amp-status", &["--json"]).await?)?;
    let mail = &status["messages"];
    ensure!(mail["inbox"] == 1 && mail["unread"] == 1 && mail["sent"] == 1, "{status}");
    alice.does("amp-status", &[]).await?;
    let answer = answer["id"].as_str().context("no id")?;
    alice.does("amp-delete", &[answer, "--force"]).await?;
    ensure!(alice.inbox().await?.is_empty());
    let refused = alice.fails("amp-send", &["nobody", "Hello", "Who?"]).await?;
    ensure!(refused.contains("not_found"), "{refused}");

    // Nobody ran `amp-init` for this one, and its name has capitals (ICL-26).
    let carol = client.agent(&node, "Carol")?;
    carol.sends(&["bob", "By itself", "registered on the way"]).await?;
    // This one did, which registered it in lower case; the client goes on to sign with the capital.
    let dave = client.agent(&node, "Dave")?;
    dave.does("amp-init", &["--auto"]).await?;
    dave.sends(&["bob", "With a capital", "hello"]).await?;
    let inbox = bob.fetched().await?;
    for name in ["Carol", "Dave"] {
        let from = format!("{name}@default.aimaestro.local");
        ensure!(inbox.iter().any(|mail| mail["envelope"]["from"] == from), "{from}: {inbox:?}");
    }
    Ok(())
}

/// Subjects that the client mangles before it signs them (ICL-25), and some that it does not.
const SUBJECTS: [&str; 9] = [
    "plain",
    "a\ttab and another\t",
    "\"double\" and 'single' quotes",
    "back\\slash \\t \\n \\\\",
    "🦀 émoji ünd Ümläute 漢字",
    "  blanks at both ends  ",
    "a line\nbreak and a\rreturn",
    "pipes|in|it||",
    "$(date) `date` $HOME %s",
];

/// Contexts whose numbers, keys and order a careless verifier would change (ICL-23, ICL-24).
const CONTEXTS: [&str; 6] = [
    r#"{"float":1.0,"tiny":1e-9,"huge":1.7976931348623157e308,"exp":1E3,"minus":-0.0}"#,
    r#"{"big":12345678901234567890123,"edge":9007199254740993,"neg":-9223372036854775809}"#,
    r#"{"z":{"y":{"x":[3,[2,{"b":null,"a":[]}],{}]}},"a":{"10":1,"9":2,"A":3,"_":4}}"#,
    r#"{"ключ":"значение","é":"ü","🦀":"🐚","\u0001":"\u0000\u007f\u2028","":"empty"}"#,
    r#"[1,"a list, not an object",null]"#,
    r#""just a string""#,
];

async fn every_subject_and_context(client: &ShellClient) -> Result<()> {
    let node = one_node().await?;
    let agents = agents(client, &node, &["alice", "bob"]).await?;
    let [alice, bob] = agents.as_slice() else { bail!("two agents") };
    let mut sent = Vec::new();
    for subject in SUBJECTS {
        sent.push(alice.sends(&["bob", subject, "text \\ \"with\"\ttabs\nand lines 🦀"]).await?);
    }
    for context in CONTEXTS {
        sent.push(alice.sends(&["bob", "context", "see there", "--context", context]).await?);
    }
    let inbox = bob.fetched().await?;
    ensure!(inbox.len() == sent.len(), "{} of {} arrived", inbox.len(), sent.len());
    let of = |id: &str| inbox.iter().find(|mail| mail["envelope"]["id"] == *id).context("missing");
    for (subject, id) in SUBJECTS.iter().zip(&sent) {
        ensure!(of(id)?["envelope"]["subject"] == *subject, "{subject:?}: {:?}", of(id)?);
    }
    for (context, id) in CONTEXTS.iter().zip(&sent[SUBJECTS.len()..]) {
        // What jq makes of the numbers is what was signed.
        let by_jq = shell::run("jq -c . <<< \"$TEXT\"", &[("TEXT", context)])?.concat();
        let expected: Value = serde_json::from_str(&by_jq)?;
        ensure!(of(id)?["payload"]["context"] == expected, "{context}: {:?}", of(id)?);
    }
    let read = node.amesh(&["--agent", "bob", "inbox", "--limit", "100"]).await?;
    for mail in read["messages"].as_array().context("no messages")? {
        ensure!(mail["trust"] == "verified" && mail["verified"] == true, "read by amesh: {mail}");
    }
    Ok(())
}

async fn files_shared_with_amesh(client: &ShellClient) -> Result<()> {
    let node = one_node().await?;
    let agents = agents(client, &node, &["alice"]).await?;
    let [alice] = agents.as_slice() else { bail!("one agent") };
    // bob's identity is made by amesh, and the client takes it up as its own.
    node.amesh(&["init", "--name", "bob"]).await?;
    let bob = client.agent(&node, "bob")?;
    let status: Value = serde_json::from_str(&bob.does("amp-status", &["--json"]).await?)?;
    ensure!(
        status["initialized"] == true && status["registrations"][0]["provider"] == "aimaestro.local",
        "{status}"
    );
    let by_amesh = node.amesh(&["--agent", "alice", "identity"]).await?;
    let by_shell: Value = serde_json::from_str(&alice.does("amp-identity", &["--json"]).await?)?;
    for member in ["name", "tenant", "fingerprint", "primary_address"] {
        ensure!(by_amesh[member] == by_shell[member], "{member}: {by_amesh} {by_shell}");
    }

    // Fetched by the client, read by amesh.
    let from_amesh = node.amesh(&["--agent", "alice", "send", "bob", "from amesh", "one"]).await?;
    let first = from_amesh["id"].as_str().context("no id")?;
    bob.fetched().await?;
    let read = node.amesh(&["--agent", "bob", "read", first]).await?;
    ensure!(read["message"] == "one" && read["trust"] == "verified", "{read}");
    ensure!(bob.does("amp-inbox", &["--count"]).await?.trim() == "0", "the client sees that it is read");
    // Fetched by amesh, read by the client.
    let second = alice.sends(&["bob", "from the client", "two"]).await?;
    node.amesh(&["--agent", "bob", "inbox"]).await?;
    ensure!(bob.does("amp-read", &[&second]).await?.contains("two"));
    let unread = node.amesh(&["--agent", "bob", "inbox", "--no-fetch"]).await?;
    ensure!(unread["count"] == 0, "amesh sees that it is read: {unread}");
    // Each sees what the other has sent, and answers what the other has fetched.
    ensure!(alice.does("amp-read", &[first, "--sent"]).await?.contains("one"));
    bob.does("amp-reply", &[first, "three"]).await?;
    node.amesh(&["--agent", "bob", "reply", &second, "four"]).await?;
    let answers = alice.fetched().await?;
    let texts: Vec<&Value> = answers.iter().map(|mail| &mail["payload"]["message"]).collect();
    ensure!(
        texts.len() == 2 && texts.contains(&&"three".into()) && texts.contains(&&"four".into()),
        "{answers:?}"
    );
    bob.does("amp-delete", &[&second, "--force"]).await?;
    let left = node.amesh(&["--agent", "bob", "inbox", "--all"]).await?;
    ensure!(left["count"] == 1, "{left}");
    Ok(())
}

/// Writes files worth sending; their paths.
fn files(dir: &Path) -> Result<Vec<String>> {
    let long: Vec<u8> = (0..300_000_u32).flat_map(|n| n.to_le_bytes()).collect();
    let png = [b"\x89PNG\r\n\x1a\n".as_slice(), &[0; 64]].concat();
    let all = [("notes.txt", b"plain text\n".to_vec()), ("r\u{e9}sum\u{e9} (1).bin", long), ("dot.png", png)];
    let write = |(name, bytes): (&str, Vec<u8>)| {
        let path = dir.join(name);
        std::fs::write(&path, bytes)?;
        Ok(path.display().to_string())
    };
    all.into_iter().map(write).collect()
}

/// Every file of `sent` is in `got` with the same content, whatever it is called there.
fn all_arrived(sent: &[String], got: &Path) -> Result<()> {
    let read = |entry: std::io::Result<std::fs::DirEntry>| Ok(std::fs::read(entry?.path())?);
    let there = std::fs::read_dir(got)?.map(read).collect::<Result<Vec<_>>>()?;
    ensure!(there.len() == sent.len(), "{} files of {}", there.len(), sent.len());
    for path in sent {
        ensure!(there.contains(&std::fs::read(path)?), "{path} did not arrive whole");
    }
    Ok(())
}

async fn files_with_messages(client: &ShellClient) -> Result<()> {
    let node = one_node().await?;
    let agents = agents(client, &node, &["alice", "bob"]).await?;
    let [alice, bob] = agents.as_slice() else { bail!("two agents") };
    let dir = tempfile::tempdir()?;
    let sent = files(dir.path())?;
    let mut words = vec!["bob", "files", "see \"them\" \\ there"];
    sent.iter().for_each(|path| words.extend(["--attach", path]));
    let id = alice.sends(&words).await?;
    let mail = bob.fetched().await?.remove(0);
    let named = mail["payload"]["attachments"].as_array().context("no attachments")?.clone();
    ensure!(named.len() == sent.len() && mail["local"]["security"]["trust"] == "verified", "{mail}");
    let got = dir.path().join("got");
    bob.does("amp-download", &[&id, "--all", "--dest", &got.to_string_lossy()]).await?;
    all_arrived(&sent, &got)?;
    let one = dir.path().join("one");
    let first = named[0]["id"].as_str().context("no id")?;
    bob.does("amp-download", &[&id, first, "--dest", &one.to_string_lossy()]).await?;
    all_arrived(&sent[..1], &one)?;
    ensure!(bob.does("amp-read", &[&id, "--download"]).await?.contains("Results: 3 downloaded, 0 failed"));
    // With an answer, too; and a program is refused by the client itself.
    bob.does("amp-reply", &[&id, "thanks", "--attach", &sent[0]]).await?;
    ensure!(alice.fetched().await?[0]["payload"]["attachments"][0]["filename"] == "notes.txt");
    let script = dir.path().join("run.sh");
    std::fs::write(&script, "#!/bin/sh\necho no\n")?;
    alice.fails("amp-send", &["bob", "a script", "run it", "--attach", &script.to_string_lossy()]).await?;
    let read = node.amesh(&["--agent", "bob", "read", &id]).await?;
    ensure!(read["trust"] == "verified", "by amesh: {read}");
    Ok(())
}

/// Where the client knows no local node, it uploads to the bare address of the provider (ICL-37).
async fn files_through_an_external_provider(client: &ShellClient) -> Result<()> {
    let mut node = Node::on_loopback("other")?.with(&["--provider", "other.example", "--org", "acme"]);
    node.start().await?;
    let api = format!("http://{}", node.ready()?.api);
    // Nobody listens on port 1: the agent has no registration but the external one.
    let alice = client.agent(&node, "alice")?.with("AMP_MAESTRO_URL", "http://127.0.0.1:1");
    alice.does("amp-init", &["--auto"]).await?;
    alice.does("amp-register", &["-p", "other.example", "-a", &api, "-t", "acme"]).await?;
    let zoe = client.agent(&node, "zoe")?.with("AMP_PROVIDER_DOMAIN", "other.example");
    zoe.does("amp-init", &["--auto"]).await?;
    let dir = tempfile::tempdir()?;
    let sent = files(dir.path())?;
    let mut words = vec!["zoe@acme.other.example", "files", "from outside"];
    sent.iter().for_each(|path| words.extend(["--attach", path]));
    let id = alice.sends(&words).await?;
    ensure!(zoe.fetched().await?.len() == 1);
    let got = dir.path().join("got");
    zoe.does("amp-download", &[&id, "--all", "--dest", &got.to_string_lossy()]).await?;
    all_arrived(&sent, &got)
}

/// A second node is an external provider with a domain of its own; the homes have nothing in common.
async fn external_provider(client: &ShellClient) -> Result<()> {
    let node = one_node().await?;
    let provider = ["--provider", "other.example", "--org", "acme"];
    let mut other = Node::on_loopback("other")?.with(&provider);
    other.start().await?;
    let alice = agents(client, &node, &["alice"]).await?.remove(0);
    let zoe = client.agent(&other, "zoe")?.with("AMP_PROVIDER_DOMAIN", "other.example");
    zoe.does("amp-init", &["--auto"]).await?;

    let url = format!("http://{}", other.ready()?.api);
    let registration = ["--provider", "other.example", "--api-url", &url, "--tenant", "acme"];
    let said = alice.does("amp-register", &registration).await?;
    ensure!(said.contains("alice@acme.other.example"), "{said}");
    ensure!(alice.does("amp-register", &registration).await?.contains("Already registered"));
    let again: Vec<&str> = registration.iter().copied().chain(["--force"]).collect();
    alice.does("amp-register", &again).await?;
    let unkeyed = ["--provider", "other.example", "--api-url", &url, "--user-key", "uk_bm9ib2R5", "--force"];
    ensure!(alice.fails("amp-register", &unkeyed).await?.contains("Authentication failed"));

    let subject = "tab\there, back\\slash, \"quotes\", 🦀";
    let id = alice.sends(&["zoe@acme.other.example", subject, "hello", "--context", CONTEXTS[1]]).await?;
    let inbox = zoe.fetched().await?;
    ensure!(inbox.len() == 1 && inbox[0]["envelope"]["id"] == *id, "the client's own id is kept: {inbox:?}");
    ensure!(inbox[0]["envelope"]["subject"] == subject, "{inbox:?}");
    zoe.does("amp-reply", &[&id, "hello back"]).await?;
    // Besides the answer there is the node's own notice that somebody registered again without proof.
    let inbox = alice.fetched().await?;
    ensure!(inbox.len() == 2 && inbox[0]["envelope"]["in_reply_to"] == *id, "{inbox:?}");
    ensure!(inbox[1]["envelope"]["from"] == "system@acme.other.example", "{inbox:?}");
    ensure!(alice.does("amp-fetch", &["-p", "other.example"]).await?.contains("No new messages"));
    let answer = inbox[0]["envelope"]["id"].as_str().context("no id")?;
    let read = node.amesh(&["--agent", "alice", "read", answer]).await?;
    ensure!(
        read["verified"] == true && read["trust"] != "untrusted",
        "by amesh, from the client's file: {read}"
    );
    ensure!(alice.does("amp-identity", &[]).await?.contains("alice@acme.other.example"));
    Ok(())
}

/// Nodes with their defaults and a client that is told nothing: port 23000 on each host.
fn two_hosts_of_a_lan(client: &ShellClient) -> Result<()> {
    let client = client.clone();
    lab::play_again(
        &["ann", "bob"],
        |lan| async move {
            let mesh = Mesh::on_lan(&lan).await?;
            let [ann, bob] =
                [(0, "alice"), (1, "robert")].map(|(at, name)| client.agent_by_default(&mesh[at], name));
            for agent in [&ann, &bob] {
                let said = agent.does("amp-init", &["--auto"]).await?;
                ensure!(said.contains("Mesh:        ✅ Enabled"), "not registered: {said}");
            }
            wait_until("the other host's agent", || async {
                Ok(ann.does("amp-send", &["robert", "over the wire \\ \t🦀", "hello"]).await.is_ok())
            })
            .await?;
            wait_until("mail on the other host", || async { Ok(!bob.fetched().await?.is_empty()) }).await?;
            let mail = bob.inbox().await?.remove(0);
            ensure!(mail["local"]["security"]["trust"] == "verified", "{mail}");
            bob.does("amp-reply", &[mail["envelope"]["id"].as_str().context("no id")?, "hello back"]).await?;
            wait_until("the answer", || async { Ok(!ann.fetched().await?.is_empty()) }).await?;
            let place = tempfile::tempdir()?;
            file_from_to(&ann, &bob, "robert", place.path()).await
        },
        &["two_hosts_of_a_lan"],
        lab::STORY_WITHIN,
    )
}
