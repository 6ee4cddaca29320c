//! What a client holds of a store that was replaced by its backup: positions in the mailbox mean nothing any more, and the
//! node says so rather than hide mail (AMP 05 §Relay Queue, issue 3 item 2).

use amesh_tests::agent::TestAgent;
use amesh_tests::node::Node;
use anyhow::{Context, Result};
use serde_json::{Value, json};

const COUNT: &str = "/v1/messages/pending/count";
const LIST: &str = "/v1/messages/pending";

async fn text_at(agent: &TestAgent, path: &str, member: &str) -> Result<String> {
    let body = agent.get(path).await?.ok()?;
    body[member].as_str().map(ToOwned::to_owned).with_context(|| format!("no {member} in {body}"))
}

fn subjects(page: &Value) -> Vec<&str> {
    page["messages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|mail| mail["envelope"]["subject"].as_str())
        .collect()
}

#[tokio::test]
async fn positions_from_before_a_restore_are_gone_and_no_mail_is_hidden_behind_them() -> Result<()> {
    let mut node = Node::on_loopback("home")?;
    node.start().await?;
    let (ann, bob) = (node.agent("ann").await?, node.agent("bob").await?);
    for subject in ["one", "two"] {
        ann.send(&bob.address, subject).await?;
    }
    let early = text_at(&bob, COUNT, "cursor").await?;
    node.amesh(&["db", "backup"]).await?;
    for subject in ["lost one", "lost two", "lost three"] {
        ann.send(&bob.address, subject).await?;
    }
    let late = text_at(&bob, COUNT, "cursor").await?;
    let page = text_at(&bob, &format!("{LIST}?limit=1"), "cursor").await?;
    // A restart is no restore: positions stay good.
    node.restart().await?;
    let (ann, bob) = (node.found_by(&ann)?, node.found_by(&bob)?);
    assert_eq!(bob.get(&format!("{COUNT}?after={early}")).await?.ok()?["count"], 3);

    node.stop().await?;
    node.amesh(&["db", "restore", "--force"]).await?;
    node.start().await?;
    let (ann, bob) = (node.found_by(&ann)?, node.found_by(&bob)?);
    for stale in [&early, &late, &page] {
        for (path, name) in [(COUNT, "after"), (LIST, "after"), (LIST, "cursor")] {
            let gone = bob.get(&format!("{path}?{name}={stale}")).await?;
            assert_eq!(
                (gone.status, gone.error(), &gone.body["field"]),
                (410, "cursor_expired", &json!(name))
            );
        }
        let waiting = bob.get(&format!("{COUNT}?after={stale}&wait=30")).await?;
        assert_eq!((waiting.status, waiting.error()), (410, "cursor_expired"), "it is not waited for");
    }
    let begun = bob.get(COUNT).await?.ok()?;
    assert_eq!((&begun["count"], &begun["total"]), (&json!(2), &json!(2)));
    let cursor = begun["cursor"].as_str().unwrap_or_default();
    ann.send(&bob.address, "three").await?;
    let after = bob.get(&format!("{LIST}?after={cursor}")).await?.ok()?;
    assert_eq!(subjects(&after), ["three"]);
    assert_eq!(subjects(&bob.get(LIST).await?.ok()?), ["one", "two", "three"]);
    node.stop().await
}
