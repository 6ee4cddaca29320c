//! Registering, proving who one is, and what strangers and browsers are told.

use super::*;

#[tokio::test]
async fn a_registration_answers_with_everything_the_clients_read() {
    let rig = Rig::new();
    let key = AgentKey::from_seed(&[3; 32]);
    for (base, name) in [("/v1", "anna"), ("/api/v1", "Berta")] {
        let answer =
            rig.ask(Method::POST, &format!("{base}/register"), None, Some(registration(name, &key))).await;
        assert_eq!(answer.status, 201);
        let body = &answer.body;
        let endpoint = format!("http://localhost:23000{base}");
        assert_eq!(body["address"], format!("{}@default.aimaestro.local", name.to_lowercase()));
        assert_eq!(body["provider"]["name"], "aimaestro.local");
        assert_eq!(body["provider"]["endpoint"], endpoint);
        assert_eq!(body["provider"]["route_url"], format!("{endpoint}/route"));
        assert!(body["api_key"].as_str().unwrap().starts_with("amp_live_sk_"));
        for member in
            ["short_address", "local_name", "agent_id", "tenant_id", "tenant", "fingerprint", "registered_at"]
        {
            assert!(body[member].is_string(), "{member}");
        }
        assert!(answer.headers.contains_key("x-ratelimit-remaining"));
    }
}

#[tokio::test]
async fn a_taken_name_is_answered_with_free_ones_in_both_places() {
    let rig = Rig::new();
    rig.register("anna").await;
    let other = AgentKey::from_seed(&[77; 32]);
    let answer = rig.ask(Method::POST, "/v1/register", None, Some(registration("anna", &other))).await;
    assert_eq!((answer.status, answer.body["error"].as_str()), (409, Some("name_taken")));
    assert!(!answer.body["suggestions"].as_array().unwrap().is_empty());
    assert_eq!(answer.body["suggestions"], answer.body["details"]["suggestions"]);
}

#[tokio::test]
async fn the_same_key_registers_again_with_its_old_api_key_and_not_without_proof() {
    let rig = Rig::new();
    let anna = rig.register("anna").await;
    let again = registration("anna", &anna.key);
    let stranger = rig.ask(Method::POST, "/v1/register", None, Some(again.clone())).await;
    assert_eq!((stranger.status, stranger.body["error"].as_str()), (409, Some("name_taken")));
    let renewed = rig.ask(Method::POST, "/v1/register", Some(&anna.api_key), Some(again)).await;
    assert_eq!(renewed.status, 201);
    let renewed = renewed.body["api_key"].as_str().unwrap();
    assert_eq!(rig.ask(Method::GET, "/v1/agents/me", Some(renewed), None).await.status, 200);
    assert_eq!(rig.get("/v1/agents/me", &anna).await.status, 401);
}

#[tokio::test]
async fn the_header_is_read_in_its_usual_spellings_and_refused_in_others() {
    let rig = Rig::new();
    let anna = rig.register("anna").await;
    let ask = async |values: &[String]| {
        let mut request = Request::builder().uri("/v1/agents/me").header("host", "localhost");
        for value in values {
            request = request.header("authorization", value);
        }
        rig.send(request.body(Body::empty()).unwrap()).await
    };
    let key = &anna.api_key;
    for good in [format!("Bearer {key}"), format!("bearer {key}"), format!("BEARER   {key} ")] {
        assert_eq!(ask(std::slice::from_ref(&good)).await.status, 200, "{good}");
    }
    let bad = [
        vec![],
        vec![String::new()],
        vec!["Bearer".to_owned()],
        vec!["Bearer ".to_owned()],
        vec![key.clone()],
        vec![format!("Basic {key}")],
        vec!["Bearer amp_live_sk_wrong".to_owned()],
        vec!["Bearer uk_YWxpY2U".to_owned()],
        vec![format!("Bearer {key}"), format!("Bearer {key}")],
    ];
    for values in bad {
        let answer = ask(&values).await;
        assert_eq!((answer.status, answer.body["error"].as_str()), (401, Some("unauthorized")), "{values:?}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
    }
}

#[tokio::test]
async fn an_agent_sees_and_changes_itself_but_not_what_is_fixed() {
    let rig = Rig::new();
    let anna = rig.register("anna").await;
    let patch =
        async |body: Value| rig.ask(Method::PATCH, "/v1/agents/me", Some(&anna.api_key), Some(body)).await;
    let changed =
        patch(json!({"alias": "Anna", "delivery": {"webhook_secret": "s3cret"}, "metadata": {"a": 1}})).await;
    assert_eq!((changed.status, &changed.body["updated"]), (200, &json!(true)));
    let me = rig.get("/v1/agents/me", &anna).await.body;
    assert_eq!((&me["alias"], &me["metadata"]), (&json!("Anna"), &json!({"a": 1})));
    assert!(!me.to_string().contains("s3cret") && !me.to_string().contains("amp_live"));
    for fixed in ["name", "public_key", "tenant"] {
        let answer = patch(json!({fixed: "x"})).await;
        assert_eq!((answer.status, answer.body["field"].as_str()), (400, Some(fixed)));
    }
}

#[tokio::test]
async fn a_deregistered_agent_is_gone_and_its_name_withheld() {
    let rig = Rig::new();
    let anna = rig.register("anna").await;
    let gone = rig.delete("/v1/agents/me", &anna).await;
    assert_eq!((gone.status, &gone.body["deregistered"]), (200, &json!(true)));
    assert!(gone.body["deregistered_at"].is_string());
    assert_eq!(rig.get("/v1/agents/me", &anna).await.status, 401);
    let other = AgentKey::from_seed(&[77; 32]);
    let taken = rig.ask(Method::POST, "/v1/register", None, Some(registration("anna", &other))).await;
    assert_eq!((taken.status, taken.body["error"].as_str()), (409, Some("name_taken")));
    assert!(taken.body["details"]["withheld_until"].is_string());
}

#[tokio::test]
async fn agents_are_listed_page_by_page_and_resolved_by_any_form_of_their_address() {
    let rig = Rig::new();
    let anna = rig.register("anna").await;
    for name in ["berta", "clara", "doris"] {
        rig.register(name).await;
    }
    let mut seen = Vec::new();
    let mut path = "/v1/agents?limit=3".to_owned();
    loop {
        let page = rig.get(&path, &anna).await.body;
        assert_eq!(page["total"], 4);
        seen.extend(
            page["agents"].as_array().unwrap().iter().map(|a| a["address"].as_str().unwrap().to_owned()),
        );
        let Some(cursor) = page["cursor"].as_str() else { break };
        assert_eq!(page["has_more"], true);
        path = format!("/v1/agents?limit=3&cursor={cursor}");
    }
    assert_eq!(seen.len(), 4);
    assert!(seen.is_sorted());
    assert_eq!(rig.get("/v1/agents?search=LAR", &anna).await.body["total"], 1);
    for typed in
        ["berta", "berta@default.aimaestro.local", "Berta%40default.aimaestro.local", "resolve/berta"]
    {
        let found = rig.get(&format!("/v1/agents/{typed}"), &anna).await;
        assert_eq!(found.body["address"], "berta@default.aimaestro.local", "{typed} {}", found.body);
        assert!(found.body["public_key"].as_str().unwrap().starts_with("-----BEGIN PUBLIC KEY-----"));
        assert_eq!(found.body["online"], false);
    }
}

#[tokio::test]
async fn a_card_names_the_key_by_its_did_and_says_that_nobody_signed_it() {
    let rig = Rig::new();
    let anna = rig.register("anna").await;
    let card = rig.get("/v1/agents/me/card", &anna).await;
    let resolved = rig.get("/v1/agents/resolve/anna", &anna).await.body;
    assert_eq!((card.status, &card.body["address"]), (200, &resolved["address"]));
    assert!(card.body["did"].as_str().unwrap().starts_with("did:key:z6Mk"), "{}", card.body);
    for same in ["did", "public_key", "fingerprint", "key_algorithm"] {
        assert_eq!(card.body[same], resolved[same], "{same}");
    }
    assert_eq!((&card.body["name"], &card.body["provider"]), (&json!("anna"), &json!("aimaestro.local")));
    assert_eq!((&card.body["signature"], &card.body["provider_asserted"]), (&json!(null), &json!(true)));
}

#[tokio::test]
async fn what_is_public_needs_no_key_and_promises_only_what_is_on() {
    let rig = Rig::new();
    let public = async |path: &str| rig.ask(Method::GET, path, None, None).await;
    for base in ["/v1", "/api/v1"] {
        let health = public(&format!("{base}/health")).await;
        assert_eq!((health.status, &health.body["status"]), (200, &json!("healthy")));
        let info = public(&format!("{base}/info")).await.body;
        assert_eq!((&info["version"], &info["rate_limits"]["profile"]), (&json!("amp/0.1"), &json!("local")));
        assert_eq!(info["rate_limits"]["messages_per_minute"], 6_000);
        let capabilities = info["capabilities"].as_array().unwrap();
        assert!(!capabilities.contains(&json!("federation")) && capabilities.contains(&json!("webhooks")));
    }
    assert_eq!(public("/api/organization").await.body, json!({"organization": "default"}));
    let document = public("/.well-known/agent-messaging.json").await;
    assert_eq!(document.headers["access-control-allow-origin"], "*");
    assert_eq!(document.body["endpoint"], "http://localhost:23000/api/v1");
}

#[tokio::test]
async fn a_provider_shows_one_key_everywhere_and_the_world_its_one_endpoint() {
    let rig = Rig::of_a_provider();
    let info = rig.ask(Method::GET, "/v1/info", None, None).await.body;
    let document = "/.well-known/agent-messaging.json";
    let here = rig.ask(Method::GET, document, None, None).await.body;
    assert_eq!(here["endpoint"], "http://localhost:23000/api/v1");
    let own = rig.state.parts.federation.as_ref().unwrap().own().unwrap();
    for shown in [&info, &here] {
        assert_eq!(shown["public_key"], own.public_key().to_pem());
        assert_eq!(shown["fingerprint"], own.public_key().fingerprint());
    }
    let outside = Peer {
        remote: "203.0.113.9:50000".parse().unwrap(),
        local: "192.0.2.1:443".parse().unwrap(),
        shown: None,
        _place: None,
    };
    let request = Request::builder().uri(document).header("host", "localhost").body(Body::empty()).unwrap();
    let answer = rig.doors.answer(outside, request).await;
    let read = answer.into_body().collect().await.unwrap().to_bytes();
    let read = amesh_proto::provider::Announcement::from_well_known(&read).unwrap();
    assert_eq!(read.endpoint, "https://api.corp.test/v1");
    assert_eq!(read.key.as_ref(), Some(own.public_key()));
    assert!(own.dns_record().contains(&read.fingerprint.unwrap()));
}

#[tokio::test]
async fn browsers_are_strangers() {
    let rig = Rig::new();
    let anna = rig.register("anna").await;
    for (header, value, status) in [
        ("host", "evil.example", 421),
        ("origin", "https://evil.example", 403),
        ("origin", "null", 403),
        ("sec-fetch-site", "cross-site", 403),
    ] {
        let mut request = Request::builder()
            .uri("/v1/agents/me")
            .header("authorization", format!("Bearer {}", anna.api_key));
        if header != "host" {
            request = request.header("host", "localhost:23000");
        }
        let answer = rig.send(request.header(header, value).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, status, "{header}: {value}");
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
    }
}
