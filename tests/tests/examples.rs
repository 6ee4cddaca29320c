//! The programs of `examples/` against real nodes (issue 3, item 9 and "it must show" 3).

use amesh_tests::agent::{Letter, TestAgent};
use amesh_tests::example::{self, Example, Running};
use amesh_tests::node::Node;
use amesh_tests::socket::Socket;
use amesh_tests::wait::wait_until;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// A stock WebSocket client: it acknowledges what it gets over HTTP, where success is answered, and notes everything.
struct Stock {
    agent: TestAgent,
    socket: Socket,
    /// Ids whose acknowledgement the node confirmed.
    acknowledged: BTreeSet<String>,
    /// `in_reply_to` of every answer.
    answered: Vec<String>,
}

impl Stock {
    async fn connect(agent: TestAgent) -> Result<Self> {
        let socket = agent.connect().await?;
        Ok(Self { agent, socket, acknowledged: BTreeSet::new(), answered: Vec::new() })
    }

    async fn again(self) -> Result<Self> {
        Ok(Self { socket: self.agent.connect().await?, ..self })
    }

    /// Asks everybody `count` questions; the ids.
    async fn ask(&self, whom: &[&str], count: usize) -> Result<Vec<String>> {
        let mut ids = Vec::new();
        for number in 0..count {
            for to in whom {
                let answer =
                    self.agent.route(&Letter::request(to, &format!("question {number}"))).await?.ok()?;
                ids.push(answer["id"].as_str().context("no id")?.to_owned());
            }
        }
        Ok(ids)
    }

    /// Reads frames until `count` answers have come in all, and acknowledges each.
    async fn answers(&mut self, count: usize) -> Result<()> {
        while self.answered.len() < count {
            let mail = self.socket.expect("message.new").await?;
            let id = mail["id"].as_str().context("no id")?.to_owned();
            ensure!(!self.acknowledged.contains(&id), "{id} was pushed after its acknowledgement: {mail}");
            let parent = mail["envelope"]["in_reply_to"].as_str().context("no answer")?;
            self.answered.push(parent.to_owned());
            ensure!(self.agent.ack(std::slice::from_ref(&id)).await? == 1, "{id} was there to acknowledge");
            self.acknowledged.insert(id);
        }
        Ok(())
    }
}

fn listening(example: &Example, node: &Node, name: &str, dir: &Path, run: usize) -> Result<Running> {
    let api = format!("http://{}", node.ready()?.api);
    let state = dir.join(name).display().to_string();
    let out = dir.join(format!("{name}-{run}.out"));
    example.start(name, out, &[name, "--api", &api, "--state", &state, "listen"])
}

/// Every message that an example reported, over all its runs, once.
fn each_once(runs: &[&[Value]]) -> Result<BTreeSet<String>> {
    let mut seen = BTreeSet::new();
    for mail in runs.concat().iter().filter(|event| event["event"] == "mail") {
        ensure!(mail["verified"] == true, "{mail}");
        let id = mail["id"].as_str().context("no id")?.to_owned();
        ensure!(seen.insert(id), "seen twice: {mail}");
    }
    Ok(seen)
}

/// The messages in an example's inbox: what it has taken over, whether or not it lived to say so.
fn taken_over(name: &str, dir: &Path) -> Result<BTreeSet<String>> {
    let files = std::fs::read_dir(dir.join(name).join("inbox"))?;
    let names = files.map(|file| Ok(file?.file_name().to_string_lossy().into_owned()));
    let names: Vec<String> = names.collect::<Result<_>>()?;
    Ok(names.iter().filter_map(|name| name.strip_suffix(".json")).map(str::to_owned).collect())
}

/// What waits for an example, by its own API key.
async fn waits_for(name: &str, node: &Node, dir: &Path) -> Result<u64> {
    let registration: Value =
        serde_json::from_str(&std::fs::read_to_string(dir.join(name).join("registration.json"))?)?;
    let http = amesh_tests::http::Http::new(node.place(), node.ready()?.api)?;
    let page = http.get("/v1/messages/pending", registration["api_key"].as_str()).await?.ok()?;
    page["total"].as_u64().context("no total")
}

const EACH: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn python_node_js_and_a_stock_client_lose_nothing_over_a_crash_and_see_nothing_twice() -> Result<()> {
    if let Err(why) = example::runnable() {
        return example::skip(&why);
    }
    let dir = tempfile::tempdir()?;
    let mut node = Node::on_loopback("home")?;
    node.start().await?;
    let (python, js) = (Example::python_agent(), Example::node_agent());
    let pia = listening(&python, &node, "pia", dir.path(), 1)?;
    let nod = listening(&js, &node, "nod", dir.path(), 1)?;
    pia.has("connected", 1).await?;
    nod.has("connected", 1).await?;

    let ann = node.agent("ann").await?;
    let domain = ann.address.split_once('@').context("no @")?.1.to_owned();
    let both = [format!("pia@{domain}"), format!("nod@{domain}")];
    let whom: Vec<&str> = both.iter().map(String::as_str).collect();
    let mut ann = Stock::connect(ann).await?;
    let mut asked = ann.ask(&whom, EACH).await?;
    ann.answers(EACH / 2).await?;

    // In the middle of it: the node loses its power, and one of the examples is killed besides.
    node.kill()?;
    let nod_before = nod.kill()?;
    node.start().await?;
    let nod = listening(&js, &node, "nod", dir.path(), 2)?;
    let mut ann = ann.again().await?;
    asked.extend(ann.ask(&whom, EACH).await?);
    ann.answers(asked.len()).await?;
    let answered: BTreeSet<String> = ann.answered.iter().cloned().collect();
    ensure!(answered.len() == ann.answered.len(), "a question was answered twice: {:?}", ann.answered);
    ensure!(answered == asked.into_iter().collect(), "every question was answered");

    // The examples write to each other, too.
    let api = format!("http://{}", node.ready()?.api);
    let state = dir.path().join("pia").display().to_string();
    let words = ["pia", "--api", &api, "--state", &state, "send", "nod", "hello 🦀 \\ \t", "how are you?"];
    let sent = python.run(&words).await?;
    let answer =
        || async { Ok(pia.all("mail")?.iter().any(|mail| mail["subject"] == "Re: hello 🦀 \\ \t")) };
    wait_until("nod's answer to pia", answer).await?;
    let read = || async { Ok(pia.all("message.read")?.iter().any(|receipt| receipt["id"] == sent["id"])) };
    wait_until("word that nod has read pia's message", read).await?;
    ensure!(!pia.all("message.delivered")?.is_empty(), "and that it was delivered");

    for name in ["pia", "nod"] {
        wait_until("everything to be acknowledged", || async {
            Ok(waits_for(name, &node, dir.path()).await? == 0)
        })
        .await?;
    }
    ensure!(each_once(&[&pia.events()?])? == taken_over("pia", dir.path())?, "pia said what it took over");
    let said = each_once(&[&nod_before, &nod.events()?])?;
    for name in ["pia", "nod"] {
        ensure!(taken_over(name, dir.path())?.len() == 2 * EACH + 1, "{name} took over what was sent to it");
    }
    // Killed between its disk and its say, nod has one message more than it told of.
    let unsaid = taken_over("nod", dir.path())?.difference(&said).count();
    ensure!(
        unsaid <= 1 && said.len() + unsaid == 2 * EACH + 1,
        "nod said {} and {unsaid} unsaid",
        said.len()
    );
    Ok(())
}

const SECRET: &str = "whsec_example";

/// `sha256=<hex>` of AMP 05 §Webhook Request, by openssl, which shares no code with either side.
fn webhook_signature(timestamp: &str, body: &str) -> Result<String> {
    let script =
        r#"printf '%s.%s' "$AT" "$BODY" | openssl dgst -sha256 -hmac "$SECRET" -hex | sed 's/.* //'"#;
    let settings = [("AT", timestamp), ("BODY", body), ("SECRET", SECRET)];
    Ok(format!("sha256={}", amesh_tests::shell::run(script, &settings)?.concat()))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_webhook_receiver_takes_what_is_signed_once_and_refuses_the_rest() -> Result<()> {
    if let Err(why) = example::has_python().and_then(|()| amesh_tests::shell::has(&["openssl"])) {
        return example::skip(&why);
    }
    let dir = tempfile::tempdir()?;
    let (state, out) = (dir.path().join("state").display().to_string(), dir.path().join("out"));
    let words = ["--port", "0", "--secret", SECRET, "--state", &state];
    let receiver = Example::webhook_receiver().start("receiver", out, &words)?;
    let url = receiver.has("listening", 1).await?[0]["url"].as_str().context("no url")?.to_owned();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let body = json!({"envelope": {"id": "msg_1_a", "from": "a@b.c.d", "subject": "s"}, "payload": {"message": "hi"}});
    let body = body.to_string();
    let client = reqwest::Client::builder().no_proxy().build()?;
    let post = |at: u64, signature: String| {
        let request = client.post(&url).header("X-AMP-Signature", signature).header("X-AMP-Timestamp", at);
        let request = request.header("X-AMP-Message-Id", "msg_1_a").body(body.clone());
        async move { anyhow::Ok(request.send().await?.status().as_u16()) }
    };
    let good = webhook_signature(&now.to_string(), &body)?;
    assert_eq!(post(now, good.clone()).await?, 200);
    assert_eq!(post(now, good.clone()).await?, 200, "a retry is told that it is done");
    assert_eq!(post(now, good.replace("sha256=", "sha256=0")).await?, 401);
    assert_eq!(post(now - 1, good).await?, 401, "another time was not signed");
    let stale = now - 301;
    assert_eq!(post(stale, webhook_signature(&stale.to_string(), &body)?).await?, 401, "WHK-3");
    assert_eq!(receiver.all("mail")?.len(), 1, "it was handed on once");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_webhook_receiver_takes_a_nodes_mail_off_its_hands() -> Result<()> {
    if let Err(why) = example::has_python() {
        return example::skip(&why);
    }
    let dir = tempfile::tempdir()?;
    let (state, out) = (dir.path().join("state").display().to_string(), dir.path().join("out"));
    let receiver = Example::webhook_receiver().with("AMP_WEBHOOK_SECRET", SECRET);
    let receiver = receiver.start("receiver", out, &["--port", "0", "--state", &state])?;
    let url = receiver.has("listening", 1).await?[0]["url"].clone();
    let settings = dir.path().join("amesh.toml");
    std::fs::write(&settings, "[agents]\nwebhook_allow = [\"127.0.0.1\"]\n")?;
    let mut node = Node::on_loopback("home")?.with(&["--config", &settings.to_string_lossy()]);
    node.start().await?;
    let (ann, bob) = (node.agent("ann").await?, node.agent("bob").await?);
    bob.wants(&json!({"webhook_url": url, "webhook_secret": SECRET})).await?.ok()?;
    let mut sent = Vec::new();
    for number in 0..5 {
        sent.push(ann.send(&bob.address, &format!("number {number}")).await?);
    }
    let mail = receiver.has("mail", sent.len()).await?;
    let ids: Vec<&str> = mail.iter().filter_map(|one| one["id"].as_str()).collect();
    assert_eq!(ids, sent, "each once, in order");
    wait_until("an empty mailbox", || async { Ok(bob.pending().await?.is_empty()) }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shell_agent_sends_waits_saves_and_acknowledges() -> Result<()> {
    amesh_tests::shell::has(&["bash", "curl", "openssl", "awk"])?;
    let dir = tempfile::tempdir()?;
    let mut node = Node::on_loopback("home")?;
    node.start().await?;
    let state = dir.path().join("state");
    let shell = Example::shell_agent()
        .with("AMESH_API", format!("http://{}", node.ready()?.api))
        .with("AMESH_STATE", &state);
    let said = shell.says(&["shelly", "init"]).await?;
    ensure!(said.trim() == "registered as shelly@default.aimaestro.local", "{said}");
    let ann = node.agent("ann").await?;
    let text = "two\nlines, a\ttab, a back\\slash and \"quotes\" 🦀";
    shell.run(&["shelly", "send", "ann", "from the \"shell\" \\ 🦀", text]).await?;
    let mail = ann.take().await?.remove(0);
    assert_eq!((mail.subject.as_str(), mail.text.as_str()), ("from the \"shell\" \\ 🦀", text));
    assert_eq!(mail.whole["local"]["security"]["trust"], "verified");

    let out = dir.path().join("watched");
    let watching = shell.start("shelly", out, &["shelly", "watch"])?;
    let id = ann.send("shelly@default.aimaestro.local", "while it waits").await?;
    let saved = state.join(format!("inbox/{id}.json"));
    wait_until("the mail on disk", || async { Ok(saved.exists()) }).await?;
    let gone = || async {
        let fate = ann.fate(&id).await?;
        Ok(fate["basis"] == "acknowledged")
    };
    wait_until("its acknowledgement", gone).await?;
    watching.kill()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rust_agent_answers_and_shares_its_identity_with_the_command_line() -> Result<()> {
    let mut node = Node::on_loopback("home")?;
    node.start().await?;
    let rust = Example::rust_agent()?.with("AMESH_DATA_DIR", node.data_dir()).with("HOME", node.home());
    let rusty = rust.start("rusty", node.home().join("rusty.out"), &["rusty"])?;
    rusty.has("connected", 1).await?;
    let ann = Stock::connect(node.agent("ann").await?).await?;
    ann.ask(&["rusty@default.aimaestro.local"], 2).await?;
    node.restart().await?;
    let mut ann = ann.again().await?;
    ann.ask(&["rusty@default.aimaestro.local"], 2).await?;
    ann.answers(4).await?;
    wait_until("all four", || async { Ok(each_once(&[&rusty.events()?])?.len() == 4) }).await?;
    let read = node.amesh(&["--agent", "rusty", "inbox", "--all"]).await?;
    ensure!(read["count"] == 4 && read["messages"][0]["verified"] == true, "{read}");
    Ok(())
}
