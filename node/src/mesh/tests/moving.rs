//! Agents that move between hosts (DESIGN §3, Moving): their mail follows, in order and once; nobody else gets it.

use super::village::*;
use crate::agents::Agent;
use crate::agents::directory::Resolution;
use amesh_proto::address::Address;
use std::sync::Arc;

/// Three nodes in one mesh, each linked with each.
async fn three() -> [Node; 3] {
    let (a, b) = pair().await;
    let c = Node::start("gamma").await;
    assert!(c.join(&a.invite().await).await.unwrap().joined);
    for (one, other) in [(&a, &c), (&b, &c), (&c, &a), (&c, &b), (&b, &a)] {
        one.linked_to(other).await;
    }
    [a, b, c]
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_follows_an_agent_that_moves_and_what_was_acknowledged_does_not() {
    let [a, b, c] = three().await;
    let (bob, carol) = (a.agent("bob").await, c.agent("carol").await);
    let local = a.agent("dave").await;
    c.knows("bob").await;
    b.knows("bob").await;
    for text in ["1", "2", "3"] {
        c.send(&carol, "bob", text).await.unwrap();
    }
    a.receives(&bob, &["1".to_owned(), "2".to_owned(), "3".to_owned()]).await;
    a.send(&local, "bob", "4").await.unwrap();
    let first = a.store.pending(bob.no, None, 1).unwrap().remove(0).shown_id;
    a.store.acknowledge(bob.no, vec![first]).await.unwrap();

    let moved = b.moves_in("bob").await;
    // In the order of each sender's lane; dave's letter may come before or behind carol's.
    let has_come = |carols: &[&str]| {
        let (daves, others): (Vec<_>, Vec<_>) = b.texts(&moved).into_iter().partition(|text| text == "4");
        daves.len() == 1 && others == carols
    };
    until("what was not acknowledged", || has_come(&["2", "3"])).await;
    c.sends_to("bob", &b).await;
    c.send(&carol, "bob", "5").await.unwrap();
    until("the next letter", || has_come(&["2", "3", "5"])).await;
    assert!(a.texts(&bob).is_empty());
    until("the old host to let go", || {
        let directory = a.hallway.agents().directory();
        directory.leaving(&bob.address).is_some_and(|leaving| leaving.departed)
    })
    .await;
    assert!(a.send(&bob, "dave", "I am still here").await.is_err(), "it has moved");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_moves_there_and_back_with_mail_in_flight() {
    let [a, b, c] = three().await;
    let (bob, carol) = (a.agent("bob").await, c.agent("carol").await);
    let (ann, bea) = (a.agent("ann").await, b.agent("bea").await);
    for node in [&b, &c] {
        node.knows("bob").await;
    }
    let writers = [
        (a.hallway.clone(), ann, "ann"),
        (b.hallway.clone(), bea, "bea"),
        (c.hallway.clone(), carol, "carol"),
    ];
    let writers_at_work = crate::tasks::Tasks::new("writers");
    let writing = writers.map(|(hallway, agent, name)| {
        writers_at_work.spawn(async move {
            for number in 0..COUNT {
                route(&hallway, &agent, signed(name, "bob", &format!("{name} {number}"))).await;
                tokio::time::sleep(std::time::Duration::from_millis(3)).await;
            }
        })
    });
    until("some mail", || a.texts(&bob).len() > 20).await;
    let there = b.moves_in("bob").await;
    until("mail at the new host", || b.texts(&there).len() > 40).await;
    a.sends_to("bob", &b).await;
    let back = a.moves_in("bob").await;
    for writer in writing {
        writer.await.unwrap();
    }
    until("all mail", || a.texts(&back).len() >= 3 * COUNT).await;
    let texts = a.texts(&back);
    for name in ["ann", "bea", "carol"] {
        let of: Vec<_> = texts.iter().filter(|text| text.starts_with(name)).cloned().collect();
        let expected: Vec<_> = (0..COUNT).map(|number| format!("{name} {number}")).collect();
        assert_eq!(of, expected, "{name}: in order and once");
    }
    until("nothing left", || b.texts(&there).is_empty() && b.store.outbox_destinations().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_waits_for_a_host_that_is_off_follows_the_agent_to_its_new_host() {
    let [a, b, c] = three().await;
    let (_bob, carol) = (a.agent("bob").await, c.agent("carol").await);
    for node in [&b, &c] {
        node.knows("bob").await;
    }
    let off = a.stop().await;
    let texts = numbered(100);
    for text in &texts {
        c.send(&carol, "bob", text).await.unwrap();
    }
    let moved = b.moves_in("bob").await;
    b.receives(&moved, &texts).await;
    let a = off.start().await;
    a.sends_to("bob", &b).await;
    c.linked_to(&a).await;
    c.send(&carol, "bob", "later").await.unwrap();
    until("the new mail", || b.texts(&moved).len() == 101).await;
    until("empty queues", || c.store.outbox_destinations().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_claims_an_agent_without_its_statement_gets_none_of_its_mail() {
    let [a, b, c] = three().await;
    let (bob, carol) = (a.agent("bob").await, c.agent("carol").await);
    for node in [&b, &c] {
        node.knows("bob").await;
    }
    // What a node that does as it likes would publish: the agent's public key is no secret.
    let at = amesh_proto::time::UnixMillis(u64::MAX / 2);
    let signature = key_of("eve").sign(b"I am bob").to_vec();
    let home = amesh_proto::roster::HomeStatement { at, signature };
    let record = amesh_store::NewAgent { home: Some(home), ..on_disk(&bob) };
    b.store.register_agent(record).await.unwrap();
    let clashes = |node: &Node| node.hallway.agents().directory().clashes();
    until("the claim to be seen", || !clashes(&c).is_empty()).await;
    assert!(clashes(&c).iter().all(|clash| clash.same_key && clash.holder.host == "alpha"));
    c.send(&carol, "bob", "for bob alone").await.unwrap();
    a.receives(&bob, &["for bob alone".to_owned()]).await;
    let resolved = c.hallway.agents().directory().resolve(&bob.address);
    assert!(matches!(resolved, Resolution::Remote { host, .. } if host == "alpha"));
    assert_eq!(b.store.stats().mailbox_messages, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_for_an_agent_that_is_on_disk_and_not_yet_in_the_directory_is_not_refused() {
    let (a, b) = pair().await;
    let (alice, bob) = (a.agent("alice").await, b.agent("bob").await);
    let zed = Address::parse(&address("zed"), &["aimaestro.local"]).unwrap();
    let record = amesh_store::NewAgent { address: zed, name: "zed".to_owned(), ..on_disk(&bob) };
    // As it is for a moment while an agent registers: its roster may be on its way to others.
    let registered = b.store.register_agent(record).await.unwrap();
    let amesh_store::RegisterOutcome::Registered(record) = registered else { panic!("{registered:?}") };
    a.sends_to("zed", &b).await;
    a.send(&alice, "zed", "welcome").await.unwrap();
    let put_off = || a.store.outbox_destinations().iter().any(|queue| queue.count == 1);
    until("the letter to be queued", put_off).await;
    assert!(a.texts(&alice).is_empty(), "nobody is told that it failed");
    let zed = Agent::from_record(record).unwrap();
    b.hallway.agents().directory().put_local(zed.clone());
    b.receives(&zed, &["welcome".to_owned()]).await;
    until("an empty queue", || a.store.outbox_destinations().is_empty()).await;
}

fn on_disk(agent: &Agent) -> amesh_store::NewAgent {
    amesh_store::NewAgent {
        address: agent.address.clone(),
        name: agent.address.name().to_owned(),
        tenant: "default".to_owned(),
        alias: None,
        key_algorithm: agent.record.key_algorithm,
        public_key_der: agent.record.public_key_der.clone(),
        delivery: amesh_store::Delivery::default(),
        metadata: None,
        api_key_hash: [3; 32],
        may_return: true,
        admission: amesh_store::Admission::Open,
        home: None,
        now: amesh_proto::time::UnixMillis(1),
    }
}

async fn route(
    hallway: &crate::message::Hallway,
    agent: &Arc<Agent>,
    request: amesh_proto::api::route::RouteRequest,
) {
    // As a client does that is told to try again.
    loop {
        let incoming = crate::message::Incoming::FromAgent {
            agent: agent.clone(),
            request: Box::new(request.clone()),
            idempotency_key: None,
        };
        match hallway.submit(incoming).await {
            Ok(_) => return,
            Err(crate::message::Refusal::Moving(_)) => {}
            Err(refusal) => panic!("{refusal}"),
        }
    }
}

const COUNT: usize = 150;
