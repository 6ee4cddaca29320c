//! Two organizations, each with a mesh of its own whose gateway is its provider, and an internet between them with a real name
//! server, real TLS under one authority, and a registry (issue 5, "it must show" 1 and 2).

use amesh_tests::agent::{Received, TestAgent};
use amesh_tests::authority::CertificateFiles;
use amesh_tests::lab::{self, Between, Internet, Lan};
use amesh_tests::mesh::Mesh;
use amesh_tests::node::Node;
use amesh_tests::wait::{wait_for, wait_until};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// A mesh of a gateway, which has a foot on the internet, and an inner host, which has none.
struct Organization {
    domain: &'static str,
    mesh: Mesh,
    /// Of the inner host.
    agent: TestAgent,
    files: CertificateFiles,
}

const STEPS: [&str; 4] = ["dns_txt", "well_known", "registry", "stale_cache"];

/// The settings of the gateway of `domain`, which looks others up by `steps`.
fn gateway_settings(internet: &Internet, domain: &str, files: &CertificateFiles, steps: &[&str]) -> String {
    let (ca, mine) = (files.path("ca.pem"), internet.settings());
    format!(
        "provider = {domain:?}\nca_certificates = [{ca:?}]\n[gateway]\non = true\n\
         [federation]\non = true\nmode = \"open\"\ndomain = {domain:?}\ndiscovery = {steps:?}\n{mine}\n{}",
        files.settings()
    )
}

/// A node on `host` that reads `settings`; not started.
fn node(lan: &Lan, host: &str, files: &CertificateFiles, settings: &str, options: &[&str]) -> Result<Node> {
    let file = files.path(&format!("{host}.toml"));
    std::fs::write(&file, settings)?;
    Ok(lan.host(host)?.node(&["--config", &file.to_string_lossy()])?.with(options))
}

const DOORS: [&str; 4] = ["--api", "127.0.0.1:23000", "--api", "0.0.0.0:443"];

impl Organization {
    /// Founds it on the hosts `gate` and `inner`; `wire` is its own.
    async fn found(
        lan: &Lan,
        internet: &mut Internet,
        domain: &'static str,
        (gate, inner, wire): (&str, &str, u8),
    ) -> Result<Self> {
        lan.put_behind(gate, Between::Blocks, wire, &[inner])?;
        internet.is_at(domain, lan.host(gate)?.ip)?;
        let files = internet.certificate(&[domain])?;
        let outer = node(lan, gate, &files, &gateway_settings(internet, domain, &files, &STEPS), &DOORS)?;
        let within = format!("provider = {domain:?}\n[gateway]\nhost = {gate:?}\n");
        let within = node(lan, inner, &files, &within, &[])?;
        let mesh = Mesh::of(vec![outer, within]).await?;
        let agent = mesh[1].agent("agent").await?;
        ensure!(agent.address == format!("agent@default.{domain}"), "{}", agent.address);
        Ok(Self { domain, mesh, agent, files })
    }

    fn gate(&self) -> &Node {
        &self.mesh[0]
    }

    /// What the gateway announces of itself.
    async fn announcement(&self) -> Result<Value> {
        let status = self.gate().amesh(&["federation", "status"]).await?;
        Ok(status["provider"].clone())
    }

    /// Lets the gateway look others up by these steps only, and forget what it knows.
    async fn looks_up_by(&mut self, internet: &Internet, steps: &[&str]) -> Result<()> {
        let settings = gateway_settings(internet, self.domain, &self.files, steps);
        std::fs::write(self.files.path(&format!("{}.toml", self.gate().host)), settings)?;
        self.mesh[0].restart().await?;
        self.mesh.linked().await
    }

    /// By which step its gateway finds `other`.
    async fn finds(&self, other: &Self) -> Result<String> {
        let found = self.gate().amesh(&["federation", "resolve", other.domain]).await?;
        ensure!(found["refused"].is_null(), "{found}");
        Ok(found["provider"]["step"].as_str().with_context(|| found.to_string())?.to_owned())
    }
}

/// The first letter with this subject.
async fn letter(agent: &TestAgent, subject: &str) -> Result<Received> {
    let look = || async { Ok(agent.take().await?.into_iter().find(|mail| mail.subject == subject)) };
    wait_for(&format!("{subject:?} at {}", agent.address), look).await
}

/// The roster of the gateway knows of the agent, and the inner host of the gateway.
async fn both(lan: &Lan, internet: &mut Internet) -> Result<(Organization, Organization)> {
    let one = Organization::found(lan, internet, "one.test", ("gate1", "inner1", 1)).await?;
    let two = Organization::found(lan, internet, "two.test", ("gate2", "inner2", 2)).await?;
    for organization in [&one, &two] {
        let announced = organization.announcement().await?;
        let record = announced["dns_records"][0].as_str().context("no record")?;
        internet.publish(record)?;
        let entry = json!({"provider": organization.domain, "endpoint": announced["endpoint"],
            "fingerprint": announced["fingerprint"], "verified": true});
        internet.registers(organization.domain, entry.to_string());
    }
    Ok((one, two))
}

/// A question goes there and an answer comes back.
async fn correspond(one: &Organization, two: &Organization, about: &str) -> Result<()> {
    let send = || async { Ok(one.agent.send(&two.agent.address, about).await.is_ok()) };
    wait_until("the way out", send).await?;
    let question = letter(&two.agent, about).await?;
    let security = &question.whole["local"]["security"];
    ensure!(question.from == one.agent.address && security["trust"] == "external", "{}", question.whole);
    ensure!(question.text.starts_with("<external-content source=\"agent\""), "{}", question.text);
    let answer = format!("re: {about}");
    two.agent.send(&question.from, &answer).await?;
    let answer = letter(&one.agent, &answer).await?;
    ensure!(answer.from == two.agent.address, "{}", answer.whole);
    Ok(())
}

#[test]
fn inner_hosts_of_two_organizations_write_to_each_other_by_each_way_of_finding_the_other() -> Result<()> {
    lab::play(&["gate1", "inner1", "gate2", "inner2"], |lan| async move {
        let mut internet = lan.internet()?;
        let (mut one, two) = both(&lan, &mut internet).await?;
        correspond(&one, &two, "found by DNS").await?;
        ensure!(one.finds(&two).await? == "dns_txt");
        for (from, step) in [(1, "well_known"), (2, "registry")] {
            one.looks_up_by(&internet, &STEPS[from..]).await?;
            correspond(&one, &two, &format!("found by {step}")).await?;
            ensure!(one.finds(&two).await? == step);
        }
        ensure!(internet.asked_of_registry().contains(&"registry.test/providers/two.test".to_owned()));
        Ok(())
    })
}

/// What waits, or was refused, as the sender is told.
async fn fate(agent: &TestAgent, id: &str) -> Result<String> {
    Ok(agent.fate(id).await?["status"].as_str().unwrap_or_default().to_owned())
}

/// As many as one agent takes from outside within a minute, and fewer.
const MANY: usize = 15;

#[test]
fn mail_between_organizations_waits_while_the_line_is_cut_and_comes_once_and_in_order() -> Result<()> {
    lab::play(&["gate1", "inner1", "gate2", "inner2"], |lan| async move {
        let mut internet = lan.internet()?;
        let (one, two) = both(&lan, &mut internet).await?;
        correspond(&one, &two, "before").await?;
        lan.host("gate2")?.cut_behind_the_switch()?;
        let mut ids = Vec::new();
        for number in 0..MANY {
            ids.push(one.agent.send(&two.agent.address, &number.to_string()).await?);
        }
        let at_the_gate = || async { Ok(one.agent.fate(&ids[MANY - 1]).await?["basis"] == "host_accepted") };
        wait_until("the gateway to have the last of them", at_the_gate).await?;
        // The sender's own host is not needed any more.
        lan.host("inner1")?.pull_cable()?;
        lan.host("gate2")?.mend_behind_the_switch()?;
        wait_until("all of them", || async { Ok(two.agent.pending().await?.len() >= MANY) }).await?;
        let subjects: Vec<String> = two.agent.take().await?.into_iter().map(|mail| mail.subject).collect();
        let sent: Vec<String> = (0..MANY).map(|number| number.to_string()).collect();
        assert_eq!(subjects, sent);
        Ok(())
    })
}

#[test]
fn an_impostor_with_another_key_gets_and_brings_nothing_and_mail_waits_for_the_true_provider() -> Result<()> {
    lab::play(&["gate1", "inner1", "gate2", "inner2", "fake"], |lan| async move {
        let mut internet = lan.internet()?;
        let (mut one, two) = both(&lan, &mut internet).await?;
        correspond(&one, &two, "before").await?;

        // It has the name, a certificate for it and its records: all but the key.
        lan.host("gate2")?.cut_behind_the_switch()?;
        internet.is_not("two.test");
        internet.is_at("two.test", lan.host("fake")?.ip)?;
        let files = internet.certificate(&["two.test"])?;
        let settings = gateway_settings(&internet, "two.test", &files, &STEPS);
        let mut fake = node(&lan, "fake", &files, &settings, &DOORS)?;
        fake.start().await?;
        let announced = fake.amesh(&["federation", "status"]).await?;
        internet.publish(announced["provider"]["dns_records"][0].as_str().context("no record")?)?;
        one.mesh[0].restart().await?;
        one.mesh.linked().await?;

        let waiting = one.agent.send(&two.agent.address, "for the true one").await?;
        let forged = fake.agent("agent").await?;
        assert_eq!(forged.address, two.agent.address);
        let sent = forged.send(&one.agent.address, "forged").await?;
        wait_until("the impostor's refusal", || async { Ok(fate(&forged, &sent).await? == "failed") })
            .await?;
        let found = one.gate().try_amesh(&["federation", "resolve", "two.test", "--anew"]).await?;
        let found: Value = serde_json::from_slice(&found.stdout)?;
        ensure!(found["usable"] == false, "{found}");
        println!("refused: {}", found["refused"]);
        ensure!(fate(&one.agent, &waiting).await? == "queued");
        ensure!(one.agent.pending().await?.is_empty(), "something came of the impostor");

        fake.stop().await?;
        internet.is_not("two.test");
        internet.is_at("two.test", lan.host("gate2")?.ip)?;
        let announced = two.announcement().await?;
        internet.publish(announced["dns_records"][0].as_str().context("no record")?)?;
        lan.host("gate2")?.mend_behind_the_switch()?;
        one.mesh[0].restart().await?;
        let came = letter(&two.agent, "for the true one").await?;
        ensure!(came.from == one.agent.address, "{}", came.whole);
        Ok(())
    })
}
