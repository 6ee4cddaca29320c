//! Who may register in which tenant: modes, invite codes, owners and their keys; and the owner's socket that hands them out.

use super::control::ask;
use super::*;
use crate::agents;
use crate::agents::tenants::Mode;
use crate::http::control;
use amesh_proto::api::register::RegisterRequest;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

fn rig(registration: Mode) -> Rig {
    let tenants = [("acme".to_owned(), Mode::Admin), ("gone".to_owned(), Mode::Closed)].into();
    let config = agents::Config { registration, tenants, ..agents::Config::default() };
    let (store, _disk) = Store::in_memory(amesh_store::Config::default()).unwrap();
    let rig = Rig::admitting(config, store, tempfile::tempdir().unwrap(), Config::default(), None);
    control::serve(rig.data.path(), rig.state.clone()).unwrap();
    rig
}

fn body(name: &str, tenant: Option<&str>) -> Value {
    let mut body = registration(name, &Rig::key_of(name));
    match tenant {
        Some(tenant) => body["tenant"] = json!(tenant),
        None => drop(body.as_object_mut().unwrap().remove("tenant")),
    }
    body
}

impl Rig {
    async fn enter(&self, body: Value, key: Option<&str>) -> Answer {
        self.ask(Method::POST, "/v1/register", key, Some(body)).await
    }

    async fn owner(&self, limit: u32) -> Value {
        let request = json!({"tenant": "acme", "limit": limit});
        let (code, added) = ask(self, Method::POST, "/owners/add", Some(request)).await;
        assert_eq!(code, 200, "{added}");
        added
    }
}

#[tokio::test]
async fn a_tenant_by_invitation_takes_who_brings_a_code_and_no_more_than_it_lets_in() {
    let rig = rig(Mode::Invite);
    let none = rig.enter(body("anna", Some("default")), None).await;
    let said = (none.status, none.body["error"].as_str(), none.body["field"].as_str());
    assert_eq!(said, (403, Some("tenant_access_denied"), Some("invite_code")));
    let (_, made) = ask(&rig, Method::POST, "/agents/code", Some(json!({"uses": 2}))).await;
    let (_, foreign) = ask(&rig, Method::POST, "/agents/code", Some(json!({"tenant": "other"}))).await;
    let with = |name: &str, code: &Value| {
        let mut body = body(name, Some("default"));
        body["invite_code"] = code.clone();
        body
    };
    for (name, code, status) in [
        ("anna", &json!("inv_made_up"), 403),
        ("anna", &foreign["invite_code"], 403),
        ("anna", &made["invite_code"], 201),
        ("bert", &made["invite_code"], 201),
        ("carl", &made["invite_code"], 403),
    ] {
        let answer = rig.enter(with(name, code), None).await;
        assert_eq!(answer.status, status, "{name} {code} {}", answer.body);
    }
    let (_, late) = ask(&rig, Method::POST, "/agents/code", Some(json!({"ttl_secs": 60}))).await;
    rig.clock.advance(Duration::from_secs(60));
    assert_eq!(rig.enter(with("dora", &late["invite_code"]), None).await.status, 403);
    let info = rig.ask(Method::GET, "/v1/info", None, None).await.body;
    assert_eq!(info["registration_modes"], json!(["open", "invite", "admin", "closed"]));
}

#[tokio::test]
async fn a_user_key_says_whose_agent_it_is_in_which_tenant_and_how_many_there_may_be() {
    let rig = rig(Mode::Open);
    for tenant in ["acme", "gone"] {
        let refused = rig.enter(body("anna", Some(tenant)), None).await;
        assert_eq!((refused.status, refused.body["error"].as_str()), (403, Some("tenant_access_denied")));
    }
    let added = rig.owner(2).await;
    let key = added["user_key"].as_str().unwrap();
    let first = rig.enter(body("anna", None), Some(key)).await;
    assert_eq!(first.status, 201, "{}", first.body);
    assert_eq!((&first.body["tenant"], &first.body["owner_id"]), (&json!("acme"), &added["owner_id"]));
    let other = rig.enter(body("bert", Some("default")), Some(key)).await;
    assert_eq!((other.status, other.body["error"].as_str()), (403, Some("tenant_access_denied")));
    assert_eq!(rig.enter(body("bert", Some("acme")), Some(key)).await.status, 201);
    let full = rig.enter(body("carl", None), Some(key)).await;
    assert_eq!((full.status, full.body["error"].as_str()), (403, Some("forbidden")));
    for path in ["/v1/agents/me", "/v1/messages/pending", "/v1/agents/owned"] {
        assert_eq!(rig.ask(Method::GET, path, Some(key), None).await.status, 401, "{path}");
    }
    let id = added["owner_id"].clone();
    let (code, _) =
        ask(&rig, Method::POST, "/owners/set", Some(json!({"owner_id": id, "active": false}))).await;
    assert_eq!((code, rig.enter(body("anna", None), Some(key)).await.status), (200, 401));
}

#[tokio::test]
async fn a_user_key_that_all_agents_of_an_owner_share_makes_none_of_them_another() {
    let rig = rig(Mode::Open);
    let added = rig.owner(5).await;
    let key = added["user_key"].as_str();
    let first = rig.enter(body("anna", None), key).await;
    assert_eq!(first.status, 201, "{}", first.body);
    let again = rig.enter(body("anna", None), key).await;
    assert_eq!((again.status, &again.body["details"]["proof_needed"]), (409, &json!(true)));
    let mut proven = body("anna", None);
    let at = rig.state.now().to_rfc3339();
    let said = RegisterRequest::proof_text("anna", "", "aimaestro.local", &at);
    proven["proof"] = json!(STANDARD.encode(Rig::key_of("anna").sign(said.as_bytes())));
    proven["proof_at"] = json!(at);
    let again = rig.enter(proven, key).await;
    assert_eq!((again.status, &again.body["owner_id"]), (201, &added["owner_id"]), "{}", again.body);
}

#[tokio::test]
async fn a_user_key_cannot_be_made_by_who_knows_what_is_in_it() {
    let rig = rig(Mode::Open);
    let added = rig.owner(5).await;
    let key = added["user_key"].as_str().unwrap();
    let text = URL_SAFE_NO_PAD.decode(key.strip_prefix("uk_").unwrap()).unwrap();
    let text = String::from_utf8(text).unwrap();
    let owner = added["owner_id"].as_str().unwrap();
    assert!(text.starts_with(owner), "the provider can decode it (REG-18): {text}");
    for forged in [owner.to_owned(), format!("{owner}:acme:"), format!("{owner}:acme:{}", "0".repeat(32))] {
        let forged = format!("uk_{}", URL_SAFE_NO_PAD.encode(forged));
        let refused = rig.enter(body("anna", None), Some(&forged)).await;
        assert_eq!((refused.status, refused.body["error"].as_str()), (401, Some("unauthorized")));
    }
    assert_eq!(rig.enter(body("anna", None), Some("uk_%%")).await.status, 401);
    let padded = format!("uk_{}", STANDARD.encode(&text));
    assert_eq!(rig.enter(body("anna", None), Some(&padded)).await.status, 201, "either alphabet of base64");
}

#[tokio::test]
async fn an_owner_lists_and_removes_agents_of_their_own_by_session_token_alone() {
    let rig = rig(Mode::Open);
    let (added, stranger) = (rig.owner(3).await, rig.register("carl").await);
    let (key, token) = (added["user_key"].as_str().unwrap(), added["session_token"].as_str().unwrap());
    rig.enter(body("anna", None), Some(key)).await;
    rig.enter(body("bert", None), Some(key)).await;
    for base in ["/v1", "/api/v1"] {
        let shown = rig.ask(Method::GET, &format!("{base}/auth/user-key"), Some(token), None).await.body;
        assert_eq!((&shown["user_key"], &shown["user_id"]), (&added["user_key"], &added["owner_id"]));
        assert_eq!((&shown["agent_count"], &shown["agent_limit"]), (&json!(2), &json!(3)));
    }
    let owned = rig.ask(Method::GET, "/v1/agents/owned", Some(token), None).await.body;
    assert_eq!((&owned["total"], &owned["limit"]), (&json!(2), &json!(3)));
    assert_eq!(owned["agents"][0]["address"], "anna@acme.aimaestro.local");
    let path = format!("/v1/agents/owned/{}", owned["agents"][0]["id"].as_str().unwrap());
    for wrong in [stranger.api_key.as_str(), key, "ost_00_00"] {
        assert_eq!(rig.ask(Method::DELETE, &path, Some(wrong), None).await.status, 401);
    }
    let gone = rig.ask(Method::DELETE, &path, Some(token), None).await;
    assert_eq!((gone.status, &gone.body["deleted"]), (200, &json!(true)));
    assert_eq!(rig.ask(Method::DELETE, &path, Some(token), None).await.status, 404);
    let foreign = rig.get("/v1/agents/me", &stranger).await.body["agent_id"].as_str().unwrap().to_owned();
    let path = format!("/v1/agents/owned/{foreign}");
    assert_eq!(rig.ask(Method::DELETE, &path, Some(token), None).await.status, 404, "another's agent");
    let (_, list) = ask(&rig, Method::GET, "/owners", None).await;
    assert_eq!((&list["owners"][0]["agents"], &list["owners"][0]["active"]), (&json!(1), &json!(true)));
    assert!(!list.to_string().contains("uk_") && !list.to_string().contains("ost_"));
}
