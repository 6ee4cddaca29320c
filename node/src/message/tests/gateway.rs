//! Mail between this mesh and other providers, through one member.

use super::house::*;
use crate::message::{
    Basis, Config, Federated, GatewayConfig, Incoming, Refusal, Settled, SignatureFault, Status,
};
use amesh_proto::address::Address;
use amesh_proto::api::messages::MessageState;
use amesh_proto::api::route::RouteRequest;
use amesh_store::{BroughtReceipt, Destination, OutboxEntry, ReceiptKind, ReceiptOwner};
use std::sync::atomic::Ordering;

const EVE: &str = "eve@acme.far.test";

/// A node whose gateway is its peer `host2`.
fn inner() -> House {
    housed(GatewayConfig { host: Some("host2".to_owned()), ..GatewayConfig::default() })
}

/// A node that is the gateway of its peer, which has the agent `al`.
fn gate(change: impl FnOnce(&mut GatewayConfig)) -> House {
    let mut gateway = GatewayConfig { on: true, ..GatewayConfig::default() };
    change(&mut gateway);
    let house = housed(gateway);
    house.carrier.to_providers.store(true, Ordering::SeqCst);
    house.peer(&["al"]);
    house
}

fn housed(gateway: GatewayConfig) -> House {
    House::with(Config { gateway, ..Config::default() }, amesh_store::Config::default())
}

fn far() -> Destination {
    Destination::Provider("far.test".to_owned())
}

fn for_far(house: &House) -> Vec<OutboxEntry> {
    house.store.outbox(&far(), None, 10).unwrap()
}

fn outward(id: &str) -> amesh_proto::message::Mail {
    letter("al", (&address("al"), EVE), id, "hi")
}

fn state(house: &House, agent: &crate::agents::Agent, id: &amesh_proto::id::MessageId) -> MessageState {
    house.hallway.status(agent, id).unwrap().unwrap()
}

#[tokio::test]
async fn mail_to_another_provider_goes_to_the_gateway_which_then_has_it_and_no_more_is_said() {
    let house = inner();
    let alice = house.agent("alice").await;
    let request = signed_as("alice", EVE, EVE, "hi");
    let nowhere = house.send(&alice, signed_as("alice", EVE, EVE, "hi")).await.unwrap_err();
    assert_eq!(nowhere.code(), "external_provider", "the gateway is no member yet");
    house.peer(&[]);
    let sent = house.send(&alice, request).await.unwrap();
    assert_eq!((sent.status, sent.remote_host.as_deref()), (Status::Queued, Some("host2")));
    assert_eq!(house.outbox()[0].mail.to.as_str(), EVE);
    let unsigned = house.send(&alice, unsigned(EVE, "hi")).await.unwrap_err();
    assert_eq!(unsigned, Refusal::Signature(SignatureFault::Missing));
    let taken = Settled::Taken { remote_id: None };
    house.hallway.settle(&there(), vec![(house.outbox()[0].seq, taken)]).await.unwrap();
    let basis = Basis::HostAccepted.as_str().to_owned();
    assert_eq!(
        (state(&house, &alice, &sent.id).status, state(&house, &alice, &sent.id).basis),
        ("queued".to_owned(), Some(basis))
    );
}

#[tokio::test]
async fn the_senders_node_ends_as_failed_what_the_gateway_could_not_carry_on_and_tells_the_sender() {
    let house = inner();
    let alice = house.agent("alice").await;
    house.peer(&[]);
    let sent = house.send(&alice, signed_as("alice", EVE, EVE, "hi")).await.unwrap();
    house
        .hallway
        .settle(&there(), vec![(house.outbox()[0].seq, Settled::Taken { remote_id: None })])
        .await
        .unwrap();
    let word = |sender: &str| BroughtReceipt {
        id: sent.id.clone(),
        sender: house.hallway.agents().directory().expand(sender, None).unwrap(),
        kind: ReceiptKind::Failed { code: "provider_not_trusted".to_owned(), detail: "<closed>".to_owned() },
        at: NOW,
        notice: None,
    };
    let stranger = amesh_proto::node_id::NodeId::from_bytes([9; 32]);
    house.hallway.take_receipts(stranger, vec![word("alice")]).await.unwrap();
    house.hallway.take_receipts(peer_node(), vec![word("bob")]).await.unwrap();
    assert_eq!(
        state(&house, &alice, &sent.id).status,
        "queued",
        "only the gateway is believed, and only of its own"
    );
    for _ in 0..2 {
        house.hallway.take_receipts(peer_node(), vec![word("alice")]).await.unwrap();
    }
    let ended = state(&house, &alice, &sent.id);
    assert_eq!(
        (ended.status.as_str(), ended.error.unwrap().code.as_str()),
        ("failed", "provider_not_trusted")
    );
    let [notice] = house.inbox(&alice).try_into().unwrap();
    let payload: serde_json::Value = serde_json::from_str(notice.payload.get()).unwrap();
    assert_eq!(payload["type"], "system");
    assert_eq!(
        (&payload["context"]["id"], &payload["context"]["to"]),
        (&sent.id.as_str().into(), &EVE.into())
    );
    assert!(house.hallway.receipts(&alice, None, 10).unwrap().is_empty());
}

#[tokio::test]
async fn the_gateway_carries_on_what_members_send_where_its_owner_lets_them() {
    let house = gate(|_| ());
    house.brought(outward("msg_1_a"), 1).await.unwrap();
    house.brought(outward("msg_1_a"), 1).await.unwrap();
    let [entry] = for_far(&house).try_into().unwrap();
    assert_eq!((entry.mail.payload, entry.sender), (outward("msg_1_a").payload, None));
    let forged = letter("bob", (&address("al"), EVE), "msg_1_b", "hi");
    assert_eq!(house.brought(forged, 2).await.unwrap_err(), Refusal::Signature(SignatureFault::Invalid));
    for (who, open) in [("bob", false), ("al", true), ("AL@default.aimaestro.local", true)] {
        let house = gate(|gateway| gateway.agents = vec![who.to_owned()]);
        assert_eq!(house.brought(outward("msg_1_a"), 1).await.is_ok(), open, "{who}");
    }
    for (domain, open) in [("near.test", false), ("Far.test", true)] {
        let house = gate(|gateway| gateway.providers = vec![domain.to_owned()]);
        assert_eq!(house.brought(outward("msg_1_a"), 1).await.is_ok(), open, "{domain}");
    }
    let closed = gate(|gateway| gateway.on = false);
    assert_eq!(closed.brought(outward("msg_1_a"), 1).await.unwrap_err().code(), "not_found");
}

#[tokio::test]
async fn what_a_provider_refuses_or_lets_expire_is_told_to_the_member_that_brought_it() {
    let house = gate(|_| ());
    for (number, id) in [(1, "msg_1_a"), (2, "msg_1_b"), (3, "msg_1_c")] {
        house.brought(outward(id), number).await.unwrap();
    }
    let woken = || house.carrier.woken.load(Ordering::SeqCst);
    let [first, second, _] = for_far(&house).try_into().unwrap();
    let before = woken();
    let refused = Settled::Refused { code: "provider_not_trusted".to_owned(), detail: "closed".to_owned() };
    house
        .hallway
        .settle(&far(), vec![(first.seq, refused), (second.seq, Settled::Taken { remote_id: None })])
        .await
        .unwrap();
    assert_eq!(woken(), before + 1, "the link to the member");
    house.clock.advance(std::time::Duration::from_secs(2 * 3600));
    house.hallway.expire().await.unwrap();
    assert_eq!(woken(), before + 2);
    let kept = house.store.receipts(ReceiptOwner::Node(peer_node()), None, 10).unwrap();
    let told: Vec<_> = kept
        .iter()
        .map(|(_, receipt)| match &receipt.kind {
            ReceiptKind::Failed { code, .. } => (receipt.id.as_str(), code.as_str()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, [("msg_1_a", "provider_not_trusted"), ("msg_1_c", "expired")]);
    assert_eq!(kept[0].1.sender.as_ref().unwrap().as_str(), address("al"));
    assert!(for_far(&house).is_empty());
}

#[tokio::test]
async fn only_the_gateway_brings_mail_of_other_providers_and_its_key_is_held_against_the_signature() {
    let house = inner();
    let bob = house.agent("bob").await;
    house.peer(&["al"]);
    let inward = |id: &str| letter("eve", (EVE, &address("bob")), id, "hi");
    let eve = Some(key_of("eve").public());
    assert_eq!(
        house.brought(inward("msg_1_a"), 1).await.unwrap_err().code(),
        "forbidden",
        "no key, no roster"
    );
    let other = Some(key_of("other").public());
    let wrong = house.brought_with(inward("msg_1_a"), 1, other).await.unwrap_err();
    assert_eq!(wrong, Refusal::Signature(SignatureFault::Invalid));
    let ours = house.brought_with(carried("al", "bob", "msg_1_b", "hi"), 1, eve.clone()).await.unwrap_err();
    assert_eq!(ours.code(), "forbidden", "a member's name is not for the gateway to vouch for");
    house.brought_with(inward("msg_1_a"), 1, eve.clone()).await.unwrap();
    let [delivery] = house.inbox(&bob).try_into().unwrap();
    assert_eq!(delivery.local.unwrap().security.trust, "external");
    assert_eq!(delivery.sender_public_key, Some(key_of("eve").public().sender_key_text()));

    let elsewhere = housed(GatewayConfig { host: Some("host3".to_owned()), ..GatewayConfig::default() });
    elsewhere.agent("bob").await;
    elsewhere.peer(&["al"]);
    let refusal = elsewhere.brought_with(inward("msg_1_a"), 1, eve).await.unwrap_err();
    assert_eq!(refusal.code(), "forbidden", "another member than the one that the owner named");
}

#[tokio::test]
async fn what_a_provider_brings_goes_on_to_the_members_whose_agents_the_owner_lets_have_it() {
    let house = gate(|gateway| gateway.agents = vec!["al".to_owned()]);
    let accepted = house.hallway.submit(by_provider(&house, "msg_1_a")).await.unwrap();
    assert_eq!((accepted.status, accepted.remote_host.as_deref()), (Status::Queued, Some("host2")));
    let [entry] = house.outbox().try_into().unwrap();
    assert_eq!((entry.mail.from.as_str(), entry.mail.payload.as_slice()), (EVE, PAYLOAD.as_bytes()));
    for closed in
        [gate(|gateway| gateway.on = false), gate(|gateway| gateway.agents = vec!["bob".to_owned()])]
    {
        assert_eq!(
            closed.hallway.submit(by_provider(&closed, "msg_1_a")).await.unwrap_err().code(),
            "not_found"
        );
        assert!(closed.outbox().is_empty());
    }
}

/// Eve's message to `al`, as her provider brings it.
fn by_provider(house: &House, id: &str) -> Incoming {
    let body = format!(
        r#"{{"envelope":{{"id":"{id}","from":"{EVE}","to":"{}","subject":"hello","priority":"normal","timestamp":"{}","signature":"{}"}},"payload":{PAYLOAD}}}"#,
        address("al"),
        house.hallway.inner.clock.now().to_rfc3339(),
        signature("eve", EVE, &address("al"), PAYLOAD),
    );
    Incoming::FromProvider(Box::new(Federated {
        provider: "far.test".into(),
        sender: Address::parse(EVE, &["far.test"]).unwrap(),
        key: key_of("eve").public(),
        queued_at: None,
        request: Box::new(RouteRequest::parse(body.as_bytes()).unwrap()),
    }))
}

#[tokio::test]
async fn a_member_that_takes_nothing_by_this_gateway_is_known_before_the_next_message_is_taken_for_it() {
    let house = gate(|_| ());
    for (id, code) in [("msg_1_a", "not_found"), ("msg_1_b", "forbidden")] {
        house.hallway.submit(by_provider(&house, id)).await.unwrap();
        let refused = Settled::Refused { code: code.to_owned(), detail: String::new() };
        house.hallway.settle(&there(), vec![(house.outbox()[0].seq, refused)]).await.unwrap();
    }
    let refusal = house.hallway.submit(by_provider(&house, "msg_1_c")).await.unwrap_err();
    assert_eq!((refusal.code(), house.outbox().len()), ("not_found", 0));
    house.clock.advance(std::time::Duration::from_secs(600));
    house.hallway.submit(by_provider(&house, "msg_1_c")).await.unwrap();
    assert_eq!(house.outbox().len(), 1, "its owner may have named this gateway by now");
}

const PAYLOAD: &str = r#"{"message":"hi","type":"request"}"#;
