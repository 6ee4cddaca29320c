//! A machine whose clock is wrong: mail flows both ways all the same, nothing is lost by it, and `doctor` on either machine
//! says whose clock to mend (DESIGN §5, Clocks).

use amesh_tests::lab::skip;
use amesh_tests::mesh::Mesh;
use amesh_tests::node::{Node, WrongClock};
use amesh_tests::wait::wait_for;
use anyhow::{Context, Result, ensure};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn two_minutes_behind_changes_nothing_but_what_doctor_says() -> Result<()> {
    exchange_with_a_clock("-2m").await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_minutes_ahead_changes_nothing_but_what_doctor_says() -> Result<()> {
    exchange_with_a_clock("+2m").await
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_years_behind_changes_nothing_but_what_doctor_says() -> Result<()> {
    exchange_with_a_clock("-10y").await
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_years_ahead_changes_nothing_but_what_doctor_says() -> Result<()> {
    exchange_with_a_clock("+10y").await
}

async fn exchange_with_a_clock(shift: &str) -> Result<()> {
    let clock = match WrongClock::shifted(shift) {
        Ok(clock) => clock,
        Err(why) => return skip(&why),
    };
    let right = Node::on_loopback("right")?;
    let wrong = Node::on_loopback("wrong")?.with_clock(clock);
    let mut mesh = Mesh::of(vec![right, wrong]).await?;
    let (ann, ben) = (mesh[0].agent("ann").await?, mesh[1].agent("ben").await?);
    for (from, to) in [(&ann, &ben), (&ben, &ann)] {
        wait_for("the roster", || async {
            let found = from.get(&format!("/v1/agents/resolve/{}", to.address)).await?;
            Ok((found.status == 200).then_some(()))
        })
        .await?;
        for number in 0..5 {
            from.send(&to.address, &format!("number {number}")).await?;
        }
        let mail = wait_for("the mail", || async {
            let mail = to.pending().await?;
            Ok((mail.len() == 5).then_some(mail))
        })
        .await?;
        let subjects: Vec<&str> = mail.iter().map(|mail| mail.subject.as_str()).collect();
        ensure!(subjects == ["number 0", "number 1", "number 2", "number 3", "number 4"], "{subjects:?}");
    }
    let behind = shift.starts_with('-');
    for (node, is_behind) in [(&mesh[0], !behind), (&mesh[1], behind)] {
        let said = clock_problem(node).await?;
        let expected = if is_behind { "behind" } else { "ahead of" };
        ensure!(said.contains(expected), "{} said: {said}", node.host);
    }
    // What is wrong with the clock is not made worse by a restart.
    mesh[1].stop().await?;
    mesh[1].start().await?;
    mesh.linked().await?;
    ann.send(&ben.address, "after a restart").await?;
    wait_for("the mail after the restart", || async { Ok((ben.pending().await?.len() == 6).then_some(())) })
        .await
}

/// What `doctor` says of the clock in comparison with the other member's.
async fn clock_problem(node: &Node) -> Result<String> {
    let report: Value = serde_json::from_slice(&node.try_amesh(&["doctor"]).await?.stdout)?;
    let checks = report["checks"].as_array().context("doctor printed no checks")?;
    let of_others = |check: &&Value| {
        check["check"] == "clock" && check["what"].as_str().is_some_and(|what| what.contains(" that of "))
    };
    let found = checks.iter().find(of_others).with_context(|| format!("no clock in {report}"))?;
    ensure!(found["state"] == "problem", "{found}");
    Ok(found["what"].as_str().unwrap_or_default().to_owned())
}
