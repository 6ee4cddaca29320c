//! What an agent changes of itself, at registration, at the next one and between; and how much there may be of it.

use super::*;
use amesh_proto::api::keys::RotateKeys;

#[tokio::test]
async fn changes_that_cross_do_not_undo_each_other() {
    let office = Office::new();
    let seen_by_both = office.register(request("bob", 2)).await.unwrap().agent;
    let url =
        DeliverySettings { webhook_url: Some("https://example.org/".into()), ..DeliverySettings::default() };
    let secret = DeliverySettings { webhook_secret: Some("s3cret".into()), ..DeliverySettings::default() };
    for delivery in [url, secret] {
        let patch = AgentPatch { delivery: Some(delivery), ..AgentPatch::default() };
        office.agents.update(&seen_by_both, patch).await.unwrap();
    }
    let now = office.agents.directory().local_agent(&seen_by_both.address).unwrap();
    assert_eq!(now.record.delivery.webhook_url.as_deref(), Some("https://example.org/"));
    assert_eq!(now.record.delivery.webhook_secret.as_deref(), Some("s3cret"));
}

#[tokio::test]
async fn what_an_agent_says_of_itself_has_the_same_limits_at_registration_and_later() {
    let office = Office::new();
    let bob = office.register(request("bob", 2)).await.unwrap();
    let long: serde_json::Map<_, _> =
        [("note".to_owned(), "x".repeat(17 * 1024).into())].into_iter().collect();
    let patches = [
        (AgentPatch { alias: Some("é".repeat(257)), ..AgentPatch::default() }, "alias"),
        (AgentPatch { metadata: Some(long), ..AgentPatch::default() }, "metadata"),
    ];
    for (patch, field) in patches {
        let (alias, metadata) = (patch.alias.clone(), patch.metadata.clone());
        let refused = office.refused(|request| (request.alias, request.metadata) = (alias, metadata)).await;
        assert_eq!(refused, ("invalid_field", Some(field)));
        let error = office.agents.update(&bob.agent, patch).await.unwrap_err();
        assert_eq!((error.code(), error.field()), ("invalid_field", Some(field)));
    }
    let patch = AgentPatch { alias: Some("é".repeat(256)), ..AgentPatch::default() };
    office.agents.update(&bob.agent, patch).await.unwrap();
}

#[tokio::test]
async fn who_registers_again_can_change_what_it_may_change() {
    let office = Office::new();
    let bob = office.register(request("bob", 2)).await.unwrap();
    let url = |text: &str| {
        Some(DeliverySettings { webhook_url: Some(text.to_owned()), ..DeliverySettings::default() })
    };
    let again = RegisterRequest { delivery: url("https://example.org/"), ..proven("bob", 2, NOW) };
    let again = office.register(RegisterRequest { alias: Some("Bob".into()), ..again }).await.unwrap();
    assert_eq!(again.agent.no, bob.agent.no);
    let now = office.agents.authenticate(&again.api_key).unwrap();
    let shown = (now.record.delivery.webhook_url.as_deref(), now.record.alias.as_deref());
    assert_eq!(shown, (Some("https://example.org/"), Some("Bob")));
    let bad = RegisterRequest { delivery: url("https://127.0.0.1/"), ..proven("bob", 2, NOW) };
    assert_eq!(office.register(bad).await.unwrap_err().field(), Some("delivery"));
    assert!(office.agents.authenticate(&again.api_key).is_ok(), "nothing has changed");
    let unproven = RegisterRequest { delivery: url("https://example.com/"), ..request("bob", 2) };
    assert_eq!(office.register(unproven).await.unwrap_err().code(), "name_taken");
    let now = office.agents.authenticate(&again.api_key).unwrap();
    assert_eq!(now.record.delivery.webhook_url.as_deref(), Some("https://example.org/"));
}

#[tokio::test]
async fn no_more_names_are_listed_than_other_hosts_take() {
    let office = Office::new();
    let agents = load_as(Config { names: 2, ..Config::default() }, &office.store, &office.clock);
    let anna = agents.register(request("anna", 2), STRANGER).await.unwrap();
    let bert = agents.register(request("bert", 3), STRANGER).await.unwrap();
    let full = agents.register(request("carl", 4), STRANGER).await.unwrap_err();
    assert_eq!((full.code(), full.field()), ("forbidden", None));
    agents.deregister(&anna.agent).await.unwrap();
    let full = agents.register(request("carl", 4), STRANGER).await.unwrap_err();
    assert_eq!(full.code(), "forbidden", "a name that was left is listed for 90 days");
    let new = AgentKey::from_seed(&[7; 32]).public().to_pem();
    let proof =
        base64::engine::general_purpose::STANDARD.encode(AgentKey::from_seed(&[3; 32]).sign(new.as_bytes()));
    let rotate = RotateKeys { new_public_key: new, proof, ..RotateKeys::default() };
    assert!(matches!(agents.rotate_key(&bert.agent, &rotate).await, Err(RotateError::Full)));
    assert!(agents.authenticate(&bert.api_key).is_ok());
    office.clock.advance(Duration::from_secs(91 * 86_400));
    office.store.expire(office.clock.now(), Duration::from_secs(91 * 86_400), Vec::new()).await.unwrap();
    office.store.expire(office.clock.now(), Duration::from_secs(92 * 86_400), Vec::new()).await.unwrap();
    agents.register(request("carl", 4), STRANGER).await.unwrap();
}
