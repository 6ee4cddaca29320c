//! Mail that members of the mesh bring.

use super::house::*;
use crate::agents::directory::Member;
use crate::message::{Config, Refusal, SignatureFault};
use amesh_proto::node_id::NodeId;
use amesh_proto::roster::{RetiredKey, RosterEntry};
use amesh_proto::time::UnixMillis;
use std::time::Duration;

#[tokio::test]
async fn mail_of_a_peers_agent_is_verified_and_delivered_verbatim() {
    let house = House::new();
    let bob = house.agent("bob").await;
    house.peer(&["al"]);
    let mail = carried("al", "bob", "msg_1_a", "hi");
    house.brought(mail.clone(), 1).await.unwrap();
    let [delivery] = house.inbox(&bob).try_into().unwrap();
    assert_eq!(delivery.envelope.get().as_bytes(), mail.envelope);
    assert_eq!(delivery.payload.get().as_bytes(), mail.payload);
    assert_eq!(delivery.sender_public_key, Some(key_of("al").public().sender_key_text()));
    assert_eq!(delivery.local.unwrap().security.trust, "verified");
}

#[tokio::test]
async fn mail_brought_again_is_acknowledged_and_delivered_once() {
    let house = House::new();
    let bob = house.agent("bob").await;
    house.peer(&["al"]);
    for _ in 0..3 {
        house.brought(carried("al", "bob", "msg_1_a", "hi"), 1).await.unwrap();
    }
    assert_eq!(house.inbox(&bob).len(), 1);
}

#[tokio::test]
async fn mail_is_committed_in_the_order_of_its_lane() {
    let house = House::new();
    let bob = house.agent("bob").await;
    house.peer(&["al"]);
    let early = house.brought(carried("al", "bob", "msg_1_c", "third"), 3).await.unwrap_err();
    assert_eq!(early, Refusal::LaneGap { expected: 1 });
    assert!(early.is_passing());
    for (number, id) in [(1, "msg_1_a"), (2, "msg_1_b"), (3, "msg_1_c")] {
        house.brought(carried("al", "bob", id, id), number).await.unwrap();
    }
    let ids: Vec<_> = house.inbox(&bob).into_iter().map(|delivery| delivery.id).collect();
    assert_eq!(ids, ["msg_1_a", "msg_1_b", "msg_1_c"]);
}

#[tokio::test]
async fn a_peer_brings_mail_of_its_own_agents_only() {
    let house = House::new();
    let (_bob, _carol) = (house.agent("bob").await, house.agent("carol").await);
    house.peer(&["al"]);
    let eve = house.brought(carried("eve", "bob", "msg_1_a", "hi"), 1).await.unwrap_err();
    assert_eq!(eve.code(), "forbidden");
    let ours = house.brought(carried("carol", "bob", "msg_1_a", "hi"), 1).await.unwrap_err();
    assert_eq!(ours.code(), "forbidden");
}

#[tokio::test]
async fn unsigned_or_wrongly_signed_mail_of_a_peer_is_refused() {
    let house = House::new();
    let bob = house.agent("bob").await;
    house.peer(&["al"]);
    let mut changed = carried("al", "bob", "msg_1_a", "hi");
    changed.payload = br#"{"type":"request","message":"ho"}"#.to_vec();
    let refusal = house.brought(changed, 1).await.unwrap_err();
    assert_eq!(refusal, Refusal::Signature(SignatureFault::Invalid));
    assert!(!refusal.is_passing(), "it is refused for good, not later");
    let mut unsigned = carried("al", "bob", "msg_1_a", "hi");
    unsigned.envelope = String::from_utf8(unsigned.envelope)
        .unwrap()
        .split(r#","signature""#)
        .next()
        .map(|head| format!("{head}}}"))
        .unwrap()
        .into_bytes();
    assert_eq!(house.brought(unsigned, 1).await.unwrap_err(), Refusal::Signature(SignatureFault::Missing));
    assert_eq!(house.inbox(&bob).len(), 0);
}

#[tokio::test]
async fn mail_of_a_deregistered_agent_counts_only_if_it_was_accepted_before() {
    let house = House::new();
    let bob = house.agent("bob").await;
    house.peer(&[]);
    let mut gone = roster_entry("al");
    gone.tombstone = Some(UnixMillis(NOW.0 + 10));
    house.hallway.agents().directory().apply_to_roster(peer_node(), vec![gone]);
    house.brought(carried("al", "bob", "msg_1_a", "hi"), 1).await.unwrap();
    let mut late = carried("al", "bob", "msg_1_b", "hi");
    late.accepted_at = UnixMillis(NOW.0 + 11);
    let refusal = house.brought(late, 2).await.unwrap_err();
    assert_eq!(refusal, Refusal::Signature(SignatureFault::KeyRevoked));
    assert_eq!(house.inbox(&bob).len(), 1);
}

#[tokio::test]
async fn mail_is_taken_by_the_key_that_signed_it_whatever_the_clocks_make_of_the_change_of_keys() {
    let house = House::new();
    let bob = house.agent("bob").await;
    house.peer(&[]);
    let der = |name: &str| key_of(name).public().to_spki_der().to_vec();
    let lists = |present: &str, before: &str, until: UnixMillis, compromised: bool| {
        let retired = RetiredKey { public_key: der(before), until, compromised };
        let entry =
            RosterEntry { public_key: der(present), previous_keys: vec![retired], ..roster_entry("al") };
        house.hallway.agents().directory().apply_to_roster(peer_node(), vec![entry]);
    };
    let year = Duration::from_secs(365 * 86_400);
    let (long_ago, far_ahead) = (NOW.minus(year), NOW.plus(year));
    let brought = async |number: u64| {
        let id = format!("msg_1_{number}");
        house.brought(carried("al", "bob", &id, "hi"), number).await.map(drop)
    };
    lists("new", "al", long_ago, false);
    assert_eq!(brought(1).await, Ok(()), "signed before the change, by the origin's clock");
    lists("al", "old", far_ahead, false);
    assert_eq!(brought(2).await, Ok(()), "signed after the change, by the origin's clock");
    lists("al", "stolen", far_ahead, true);
    assert_eq!(brought(3).await, Ok(()), "what replaced a stolen key is good at once");
    for until in [long_ago, far_ahead] {
        lists("new", "al", until, true);
        assert!(matches!(brought(4).await, Err(Refusal::Signature(_))), "a stolen key is good at no time");
    }
    lists("new", "old", long_ago, false);
    assert_eq!(brought(4).await, Err(Refusal::Signature(SignatureFault::Invalid)));
    let key = Some(key_of("al").public().sender_key_text());
    let inbox = house.inbox(&bob);
    assert!(inbox.len() == 3 && inbox.iter().all(|mail| mail.sender_public_key == key));
}

#[tokio::test]
async fn mail_under_a_name_that_an_older_member_holds_is_refused() {
    let house = House::new();
    let bob = house.agent("bob").await;
    house.peer(&["al"]);
    let directory = house.hallway.agents().directory();
    let mut elder = roster_entry("al");
    elder.public_key = key_of("another").public().to_spki_der().to_vec();
    let member = Member { node: NodeId::from_bytes([3; 32]), host: "host3".to_owned(), order: 0 };
    directory.install_roster(member, vec![elder]);
    let refusal = house.brought(carried("al", "bob", "msg_1_a", "hi"), 1).await.unwrap_err();
    assert_eq!(refusal.code(), "key_conflict");
    assert_eq!(house.inbox(&bob).len(), 0);
}

#[tokio::test]
async fn mail_for_somebody_else_never_travels_on() {
    let house = House::new();
    house.peer(&["al", "zoe"]);
    let zoe = house.brought(carried("al", "zoe", "msg_1_a", "hi"), 1).await.unwrap_err();
    assert!(matches!(zoe.code(), "not_found" | "invalid_field"), "{zoe:?}");
    assert_eq!(house.outbox().len(), 0);
}

#[tokio::test]
async fn an_agent_to_whom_links_bring_too_much_is_spared_and_nobody_else_is() {
    let config = Config { received_by_link_per_minute: 2, ..Config::default() };
    let house = House::with(config, amesh_store::Config::default());
    let (alice, bob) = (house.agent("alice").await, house.agent("bob").await);
    house.peer(&["al"]);
    let to_bob = |number: u64| carried("al", "bob", &format!("msg_1_{number}"), "hi");
    for number in 1..=2 {
        house.brought(to_bob(number), number).await.unwrap();
    }
    let mut forged = to_bob(3);
    forged.payload.push(b' ');
    let limited = house.brought(forged, 3).await.unwrap_err();
    assert!(matches!(limited, Refusal::Limited { retry_after: 1..=60 }), "before its signature: {limited:?}");
    house.brought(carried("al", "alice", "msg_2_1", "hi"), 1).await.unwrap();
    house.send(&alice, signed("alice", "bob", "local")).await.unwrap();
    assert_eq!(house.inbox(&bob).len(), 3);
    house.clock.advance(Duration::from_secs(60));
    house.brought(to_bob(3), 3).await.unwrap();
    assert_eq!(house.inbox(&bob).len(), 4);
}
