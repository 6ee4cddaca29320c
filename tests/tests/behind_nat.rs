//! A laptop behind an address translator whose agent is registered with providers on the internet, too (issue 5, "it must show"
//! 3; AMP 06a, scenarios A and C): its node fetches what waits there, its command line writes there with the address it has
//! there, and its mesh works on while the line to the internet is out.

use amesh_tests::authority::CertificateFiles;
use amesh_tests::https::Answer;
use amesh_tests::lab::{self, Between, Internet, Lan};
use amesh_tests::mesh::Mesh;
use amesh_tests::node::Node;
use amesh_tests::provider::Message;
use amesh_tests::wait::{wait_for, wait_until};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// A laptop and a desk at home, behind an address translator.
async fn at_home(lan: &Lan, internet: &Internet, files: &CertificateFiles) -> Result<Mesh> {
    lan.put_behind("home", Between::Hides, 1, &["laptop", "desk"])?;
    let (file, authority) = (files.path("laptop.toml"), files.path("ca.pem"));
    let settings = format!(
        "ca_certificates = [{authority:?}]\n[registrations]\npoll_s = 1\nallow_addresses = [\"10.77.0.0/24:443\"]\n"
    );
    std::fs::write(&file, settings)?;
    std::fs::write(&authority, internet.authority.pem())?;
    let mut laptop = lan.host("laptop")?.node(&["--config", &file.to_string_lossy()])?;
    laptop.believes(&authority);
    let mesh = Mesh::of(vec![laptop, lan.host("desk")?.node(&[])?]).await?;
    for (node, name) in mesh.0.iter().zip(["alice", "bob"]) {
        node.amesh(&["init", "--name", name]).await?;
    }
    Ok(mesh)
}

/// A message with this subject in the inbox of the node's one agent.
async fn letter(node: &Node, subject: &str) -> Result<Value> {
    let look = || async {
        let inbox = node.amesh(&["inbox"]).await?;
        let all = inbox["messages"].as_array().context("no messages")?;
        Ok(all.iter().find(|one| one["subject"] == subject).cloned())
    };
    wait_for(&format!("{subject:?} on {}", node.host), look).await
}

#[test]
fn a_laptop_behind_nat_has_mail_of_a_provider_and_its_mesh_works_on_while_the_line_is_out() -> Result<()> {
    lab::play(&["home", "laptop", "desk", "corp"], |lan| async move {
        let mut internet = lan.internet()?;
        let files = internet.certificate(&["api.corp.test"])?;
        internet.is_at("api.corp.test", lan.host("corp")?.ip)?;
        let file = files.path("corp.toml");
        std::fs::write(&file, format!("provider = \"corp.test\"\n{}", files.settings()))?;
        let doors = ["--api", "127.0.0.1:23000", "--api", "0.0.0.0:443"];
        let mut corp = lan.host("corp")?.node(&["--config", &file.to_string_lossy()])?.with(&doors);
        corp.start().await?;
        let carol = corp.agent("carol").await?;
        let code = corp.amesh(&["agents", "code", "--tenant", "default"]).await?;
        let code = code["invite_code"].as_str().context("no code")?.to_owned();

        let mesh = at_home(&lan, &internet, &files).await?;
        let (laptop, desk) = (&mesh[0], &mesh[1]);
        laptop.amesh(&["register", "--provider", "corp.test", "--token", &code, "--fetch"]).await?;
        let there = "alice@default.corp.test";
        carol.send(there, "from outside").await?;
        let mail = letter(laptop, "from outside").await?;
        ensure!(mail["from"] == carol.address.as_str(), "{mail}");
        let id = mail["id"].as_str().context("no id")?;
        laptop.amesh(&["reply", id, "It is."]).await?;
        let answered = || async { Ok(carol.pending().await?.into_iter().find(|mail| mail.from == there)) };
        let answer = wait_for("the answer", answered).await?;
        ensure!(answer.subject == "Re: from outside", "{}", answer.whole);

        lan.host("home")?.pull_cable()?;
        carol.send(there, "while the line was out").await?;
        for number in 0..5 {
            let (question, answer) = (format!("question {number}"), format!("answer {number}"));
            desk.amesh(&["send", "alice", &question, "Still there?"]).await?;
            letter(laptop, &question).await?;
            laptop.amesh(&["send", "bob", &answer, "As ever."]).await?;
            letter(desk, &answer).await?;
        }
        let inbox = laptop.amesh(&["inbox"]).await?.to_string();
        ensure!(!inbox.contains("while the line was out"), "{inbox}");
        lan.host("home")?.plug_cable()?;
        letter(laptop, "while the line was out").await.map(drop)
    })
}

#[test]
fn a_provider_that_has_an_inbox_to_poll_and_no_more_serves_a_laptop_behind_nat() -> Result<()> {
    lab::play(&["home", "laptop", "desk"], |lan| async move {
        let internet = lan.internet()?;
        let there = "alice@default.polls.test";
        let page = |value: Value| Answer::Page(value.to_string());
        internet.stand_in_says(
            "/v1/register",
            page(json!({"address": there, "agent_id": "1", "tenant": "default", "api_key": "amp_live_sk_1",
                "provider": {"name": "polls.test", "endpoint": "https://api.polls.test/v1"}})),
        );
        internet.stand_in_says("/v1/route", page(json!({"id": "msg_1_route", "status": "queued"})));
        let message = Message::new("msg_1_inbox", "eve@default.polls.test", 2, there)?;
        let offered = json!({"id": "msg_1_inbox", "envelope": message.envelope, "payload": message.payload,
            "sender_public_key": message.sender_key});
        internet.stand_in_says("/v1/inbox", page(json!({"messages": [offered]})));
        internet.stand_in_says("/v1/inbox/msg_1_inbox/ack", page(json!({})));

        let files = internet.certificate(&["unused.test"])?;
        let mesh = at_home(&lan, &internet, &files).await?;
        let (laptop, desk) = (&mesh[0], &mesh[1]);
        laptop.amesh(&["register", "--provider", "polls.test", "--fetch"]).await?;
        let mail = letter(laptop, "from afar").await?;
        ensure!(mail["from"] == "eve@default.polls.test", "{mail}");
        let acknowledged = || async { Ok(!internet.told_stand_in("/v1/inbox/msg_1_inbox/ack")?.is_empty()) };
        wait_until("the acknowledgement", acknowledged).await?;

        laptop.amesh(&["reply", mail["id"].as_str().context("no id")?, "It came."]).await?;
        let sent = internet.told_stand_in("/v1/route")?;
        let envelope = sent.first().map(|sent| &sent["envelope"]).context("nothing was sent")?;
        ensure!(
            sent.len() == 1 && envelope["from"] == there && envelope["signature"].is_string(),
            "{sent:?}"
        );
        ensure!(envelope["to"] == "eve@default.polls.test", "{sent:?}");

        lan.host("home")?.pull_cable()?;
        desk.amesh(&["send", "alice", "in the house", "Lunch?"]).await?;
        letter(laptop, "in the house").await.map(drop)
    })
}
