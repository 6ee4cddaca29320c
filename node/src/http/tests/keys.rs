//! Replacing and revoking API keys, and replacing key pairs.

use super::*;
use amesh_proto::api::register::RegisterRequest;
use amesh_proto::key::PublicKey;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const DAY: Duration = Duration::from_secs(24 * 3600);

impl Rig {
    async fn status_with(&self, key: &str) -> u16 {
        self.ask(Method::GET, "/v1/agents/me", Some(key), None).await.status
    }

    async fn rotate(&self, agent: &Client, new: &AgentKey, said: &[u8]) -> Answer {
        let body = json!({"new_public_key": new.public().to_pem(), "key_algorithm": "Ed25519",
            "proof": STANDARD.encode(agent.key.sign(said))});
        self.post("/v1/auth/rotate-keys", agent, body).await
    }
}

#[tokio::test]
async fn a_replaced_api_key_works_for_one_more_day_and_replaces_nothing() {
    let rig = Rig::new();
    for (base, name) in [("/v1", "anna"), ("/api/v1", "berta")] {
        let agent = rig.register(name).await;
        let path = format!("{base}/auth/rotate-key");
        let rotated = rig.ask(Method::POST, &path, Some(&agent.api_key), None).await;
        assert_eq!((rotated.status, &rotated.body["expires_at"]), (200, &Value::Null));
        let new = rotated.body["api_key"].as_str().unwrap();
        let until = rotated.body["previous_key_valid_until"].as_str().unwrap();
        let until = UnixMillis::parse_rfc3339(until).unwrap();
        assert_eq!(until.saturating_since(rig.state.now()), DAY);
        assert_eq!((rig.status_with(new).await, rig.status_with(&agent.api_key).await), (200, 200));
        let again = rig.ask(Method::POST, &path, Some(&agent.api_key), None).await;
        assert_eq!((again.status, again.body["error"].as_str()), (403, Some("forbidden")));
        rig.clock.advance(DAY);
        assert_eq!((rig.status_with(new).await, rig.status_with(&agent.api_key).await), (200, 401));
    }
}

#[tokio::test]
async fn revoking_ends_every_api_key_at_once_and_a_new_one_wants_proof() {
    let rig = Rig::new();
    let anna = rig.register("anna").await;
    let rotated = rig.post("/v1/auth/rotate-key", &anna, json!({})).await;
    let new = rotated.body["api_key"].as_str().unwrap().to_owned();
    let revoked = rig.ask(Method::DELETE, "/v1/auth/revoke-key", Some(&new), None).await;
    assert_eq!((revoked.status, &revoked.body["revoked"]), (200, &json!(true)));
    assert!(revoked.body["revoked_at"].is_string());
    assert_eq!((rig.status_with(&new).await, rig.status_with(&anna.api_key).await), (401, 401));
    let mut body = registration("anna", &anna.key);
    let refused = rig.ask(Method::POST, "/v1/register", None, Some(body.clone())).await;
    assert_eq!((refused.status, &refused.body["details"]["proof_needed"]), (409, &json!(true)));
    let at = rig.state.now().to_rfc3339();
    let text = RegisterRequest::proof_text("anna", "default", "aimaestro.local", &at);
    body["proof"] = json!(STANDARD.encode(anna.key.sign(text.as_bytes())));
    body["proof_at"] = json!(at);
    let again = rig.ask(Method::POST, "/v1/register", None, Some(body)).await;
    assert_eq!(again.status, 201, "{}", again.body);
    assert_eq!(rig.status_with(again.body["api_key"].as_str().unwrap()).await, 200);
}

#[tokio::test]
async fn a_key_pair_is_replaced_by_who_signs_the_new_key_in_any_accepted_form() {
    let rig = Rig::new();
    let mut anna = rig.register("anna").await;
    type Form = fn(&PublicKey) -> Vec<u8>;
    let forms: [Form; 5] = [
        |key| key.to_pem().into_bytes(),
        |key| key.to_pem().trim_end().as_bytes().to_vec(),
        |key| key.to_spki_der().to_vec(),
        |key| key.sender_key_text().into_bytes(),
        |key| key.to_spki_der()[12..].to_vec(),
    ];
    for (number, form) in (200..).zip(forms) {
        let new = AgentKey::from_seed(&[number; 32]);
        let rotated = rig.rotate(&anna, &new, &form(&new.public())).await;
        assert_eq!((rotated.status, &rotated.body["rotated"]), (200, &json!(true)), "{}", rotated.body);
        assert_eq!(rotated.body["fingerprint"], new.public().fingerprint());
        anna.key = new;
    }
    let shown = rig.get("/v1/agents/resolve/anna", &anna).await.body;
    assert_eq!(shown["fingerprint"], anna.key.public().fingerprint());
    assert_eq!(shown["retired_keys"].as_array().unwrap().len(), 5);
    assert_eq!(shown["retired_keys"][4]["fingerprint"], Rig::key_of("anna").public().fingerprint());
}

#[tokio::test]
async fn a_bad_or_missing_proof_leaves_the_old_key_in_force() {
    let rig = Rig::new();
    let anna = rig.register("anna").await;
    let new = AgentKey::from_seed(&[100; 32]);
    let wrong = rig.rotate(&anna, &new, b"something else").await;
    assert_eq!((wrong.status, wrong.body["error"].as_str()), (401, Some("invalid_signature")));
    let pem = new.public().to_pem();
    let proof = STANDARD.encode(anna.key.sign(pem.as_bytes()));
    for (body, code, field) in [
        (json!({"new_public_key": pem}), "missing_field", "proof"),
        (json!({"proof": proof}), "missing_field", "new_public_key"),
        (json!({"new_public_key": "x", "proof": proof}), "invalid_field", "new_public_key"),
        (json!({"new_public_key": pem, "proof": "?"}), "invalid_field", "proof"),
        (
            json!({"new_public_key": pem, "proof": proof, "key_algorithm": "RSA"}),
            "invalid_field",
            "new_public_key",
        ),
        (
            json!({"new_public_key": pem, "proof": proof, "key_algorithm": "X"}),
            "invalid_field",
            "key_algorithm",
        ),
        (json!({"new_public_key": pem, "proof": proof, "compromised": 1}), "invalid_field", "compromised"),
        (
            json!({"new_public_key": anna.key.public().to_pem(), "proof": proof}),
            "invalid_field",
            "new_public_key",
        ),
    ] {
        let refused = rig.post("/v1/auth/rotate-keys", &anna, body.clone()).await;
        let said = (refused.status, refused.body["error"].as_str(), refused.body["field"].as_str());
        assert_eq!(said, (400, Some(code), Some(field)), "{body}");
    }
    let me = rig.get("/v1/agents/me", &anna).await.body;
    assert_eq!(me["fingerprint"], anna.key.public().fingerprint());
}

#[tokio::test]
async fn mail_from_before_a_rotation_comes_with_the_key_that_signed_it_and_a_retired_key_signs_no_more() {
    let rig = Rig::new();
    let (mut anna, bob) = (rig.register("anna").await, rig.register("bob").await);
    assert_eq!(rig.post("/v1/route", &anna, anna.letter(&bob, "first key")).await.status, 200);
    rig.clock.advance(Duration::from_secs(1));
    let (old, new) = (anna.key.clone(), AgentKey::from_seed(&[100; 32]));
    assert_eq!(rig.rotate(&anna, &new, new.public().to_pem().as_bytes()).await.status, 200);
    let late = rig.post("/v1/route", &anna, anna.letter(&bob, "first key, late")).await;
    assert_eq!((late.status, late.body["error"].as_str()), (403, Some("signature_invalid")));
    anna.key = new;
    assert_eq!(rig.post("/v1/route", &anna, anna.letter(&bob, "second key")).await.status, 200);
    let mail = rig.get("/v1/messages/pending", &bob).await.body;
    let keys: Vec<_> = mail["messages"].as_array().unwrap().iter().map(|m| &m["sender_public_key"]).collect();
    assert_eq!(keys, [&json!(old.public().sender_key_text()), &json!(anna.key.public().sender_key_text())]);
    let back = rig.rotate(&anna, &old, old.public().to_pem().as_bytes()).await;
    assert_eq!((back.status, back.body["field"].as_str()), (400, Some("new_public_key")), "it was retired");
    assert_eq!(rig.delete("/v1/agents/me", &anna).await.status, 200);
    let mail = rig.get("/v1/messages/pending", &bob).await.body;
    let key = &mail["messages"][1]["sender_public_key"];
    assert_eq!(
        key,
        &json!(anna.key.public().sender_key_text()),
        "the sender left; its mail stays verifiable"
    );
}

#[tokio::test]
async fn mail_of_a_compromised_key_loses_its_key() {
    let rig = Rig::new();
    let (anna, bob) = (rig.register("anna").await, rig.register("bob").await);
    assert_eq!(rig.post("/v1/route", &anna, anna.letter(&bob, "who wrote this?")).await.status, 200);
    rig.clock.advance(Duration::from_secs(1));
    let pem = AgentKey::from_seed(&[100; 32]).public().to_pem();
    let proof = STANDARD.encode(anna.key.sign(pem.as_bytes()));
    let body = json!({"new_public_key": pem, "proof": proof, "compromised": true});
    assert_eq!(rig.post("/v1/auth/rotate-keys", &anna, body).await.status, 200);
    let mail = rig.get("/v1/messages/pending", &bob).await.body;
    assert!(mail["messages"][0]["sender_public_key"].is_null(), "{mail}");
    let shown = rig.get("/v1/agents/anna", &bob).await.body;
    assert_eq!(shown["retired_keys"][0]["compromised"], true);
}

#[tokio::test]
async fn who_had_mail_from_a_key_that_is_in_other_hands_is_told_and_nobody_else() {
    let rig = Rig::new();
    let (mut anna, bob, carl) =
        (rig.register("anna").await, rig.register("bob").await, rig.register("carl").await);
    assert_eq!(rig.post("/v1/route", &anna, anna.letter(&bob, "from whom?")).await.status, 200);
    assert_eq!(rig.post("/v1/route", &bob, bob.letter(&anna, "who asks?")).await.status, 200);
    let mail = rig.get("/v1/messages/pending", &bob).await.body;
    let id = mail["messages"][0]["id"].as_str().unwrap();
    assert_eq!(rig.delete(&format!("/v1/messages/pending/{id}"), &bob).await.status, 200, "read and gone");
    let plain = AgentKey::from_seed(&[100; 32]);
    assert_eq!(rig.rotate(&anna, &plain, plain.public().to_pem().as_bytes()).await.status, 200);
    anna.key = plain;
    let nothing = rig.get("/v1/messages/pending", &bob).await.body;
    assert_eq!(nothing["messages"], json!([]), "a key that is merely replaced worries nobody");
    let new = AgentKey::from_seed(&[102; 32]).public();
    let proof = STANDARD.encode(anna.key.sign(new.to_pem().as_bytes()));
    let body = json!({"new_public_key": new.to_pem(), "proof": proof, "compromised": true});
    assert_eq!(rig.post("/v1/auth/rotate-keys", &anna, body).await.status, 200);
    let told = rig.get("/v1/messages/pending", &bob).await.body;
    let [notice] = told["messages"].as_array().unwrap().as_slice() else { panic!("{told}") };
    assert_eq!(notice["envelope"]["from"], "system@default.aimaestro.local");
    assert_eq!(
        notice["payload"]["context"],
        json!({"event": "key_compromised", "address": "anna@default.aimaestro.local",
            "old_fingerprint": anna.key.public().fingerprint(), "fingerprint": new.fingerprint()})
    );
    assert_eq!(rig.get("/v1/messages/pending", &carl).await.body["messages"], json!([]));
}
