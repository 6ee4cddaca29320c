//! An agent that replaces its key pair: what it sent before stays good everywhere, what the old key signs after is refused.

use super::village::*;
use crate::clock::{Clock, SystemClock};
use crate::message::Refusal;
use amesh_proto::address::Address;
use amesh_proto::api::keys::RotateKeys;
use amesh_proto::key::AgentKey;
use base64::Engine;

fn request(old: &AgentKey, new: &AgentKey, compromised: bool) -> RotateKeys {
    let pem = new.public().to_pem();
    let proof = base64::engine::general_purpose::STANDARD.encode(old.sign(pem.as_bytes()));
    RotateKeys { new_public_key: pem, key_algorithm: None, proof, compromised }
}

async fn rotated(compromised: bool) -> (Node, Node, std::sync::Arc<crate::agents::Agent>) {
    let (a, b) = pair().await;
    let (alice, bob) = (a.agent("alice").await, b.agent("bob").await);
    a.knows("bob").await;
    b.knows("alice").await;
    let off = b.stop().await;
    a.send(&alice, "bob", "signed with the first key").await.unwrap();
    let sent_at = SystemClock.now();
    until("the clock to move on", || SystemClock.now() > sent_at).await;
    let new = AgentKey::from_seed(&[99; 32]);
    let request = request(&key_of("alice"), &new, compromised);
    let agents = a.hallway.agents();
    let changed = agents.rotate_key(&alice, &request).await.unwrap();
    assert_eq!(changed.key, new.public());
    // A caller that still holds the agent as it was signs with the old key in vain (KEY-7).
    let refused = a.send(&alice, "bob", "signed with the first key, too late").await.unwrap_err();
    assert!(matches!(refused, Refusal::Signature(_)), "{refused}");
    (a, off.start().await, bob)
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_accepted_before_a_rotation_is_taken_by_a_host_that_was_off_and_stays_verifiable() {
    let (a, b, bob) = rotated(false).await;
    b.receives(&bob, &["signed with the first key".to_owned()]).await;
    let entry = b.store.pending(bob.no, None, 1).unwrap().remove(0);
    let directory = b.hallway.agents().directory();
    assert_eq!(entry.sender_key, Some(key_of("alice").public().sender_key_text()));
    let alice = Address::parse(&address("alice"), &["aimaestro.local"]).unwrap();
    until("the new key in the roster", || {
        directory.current_key(&alice) == Some(AgentKey::from_seed(&[99; 32]).public())
    })
    .await;
    assert_eq!(directory.retired_keys(&alice).len(), 1);
    drop(a);
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_of_a_compromised_key_is_refused_wherever_it_has_not_arrived() {
    let (a, b, bob) = rotated(true).await;
    until("the refusal", || a.store.outbox_destinations().iter().all(|queue| queue.count == 0)).await;
    assert!(b.texts(&bob).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_host_tells_its_agents_of_a_compromised_key_whose_mail_they_had() {
    let (a, b) = pair().await;
    let (alice, bob, carl) = (a.agent("alice").await, b.agent("bob").await, b.agent("carl").await);
    a.knows("bob").await;
    b.knows("alice").await;
    a.send(&alice, "bob", "from whom?").await.unwrap();
    b.receives(&bob, &["from whom?".to_owned()]).await;
    let request = request(&key_of("alice"), &AgentKey::from_seed(&[99; 32]), true);
    a.hallway.agents().rotate_key(&alice, &request).await.unwrap();
    until("the notice", || b.texts(&bob).len() == 2).await;
    let notice = &b.texts(&bob)[1];
    assert!(
        notice.contains(&address("alice")) && notice.contains(&key_of("alice").public().fingerprint()),
        "{notice}"
    );
    assert!(b.texts(&carl).is_empty());
}
