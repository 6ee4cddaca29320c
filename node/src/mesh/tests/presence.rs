//! Whether somebody at another host is online is what that host says now, and nothing else.

use super::village::*;
use amesh_proto::address::Address;
use amesh_proto::node_id::NodeId;
use std::time::Duration;

fn at(node: &Node, name: &str) -> (NodeId, Address) {
    (node.mesh.node_id(), Address::parse(&address(name), &["aimaestro.local"]).unwrap())
}

async fn says_online(node: &Node, agent: &(NodeId, Address)) -> bool {
    node.mesh.online(std::slice::from_ref(agent)).await.contains(&agent.1)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_of_another_host_is_online_while_it_is_connected_there_and_a_link_leads_there() {
    let (a, b) = pair().await;
    let (bob, _carol) = (b.agent("bob").await, b.agent("carol").await);
    for name in ["bob", "carol"] {
        a.knows(name).await;
    }
    let both = [at(&b, "bob"), at(&b, "carol")];
    assert!(a.mesh.online(&both).await.is_empty());
    let socket = b.hallway.agents().presence().connect(bob.no);
    eventually("bob to be seen", async || a.mesh.online(&both).await.contains(&both[0].1)).await;
    assert!(!says_online(&a, &both[1]).await, "carol has no socket");
    drop(socket);
    eventually("bob to be seen no more", async || !says_online(&a, &both[0]).await).await;
    let _socket = b.hallway.agents().presence().connect(bob.no);
    eventually("bob to be seen again", async || says_online(&a, &both[0]).await).await;
    let _off = b.stop().await;
    eventually("the link to be gone", async || !says_online(&a, &both[0]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_such_name_there_or_no_link_is_not_online() {
    let (a, b) = pair().await;
    b.agent("bob").await;
    a.knows("bob").await;
    let bob = at(&b, "bob");
    // Nobody at this member has that name: it is asked, and says no.
    let nobody = at(&b, "nobody");
    assert!(!says_online(&a, &nobody).await);
    // No link at all: nobody is asked.
    let stranger = (NodeId::from_bytes([9; 32]), bob.1);
    assert!(!says_online(&a, &stranger).await);
}

/// Answers are believed for some seconds.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(60), waiting).await.is_ok(),
        "waited too long for {what}"
    );
}
