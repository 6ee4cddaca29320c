//! An agent and its provider, from registration to answered mail, against a stand-in.

use super::*;
use crate::cli::args::Global;
use crate::cli::{fetch, send};
use crate::client::compose::Draft;
use crate::client::home::AgentHome;
use crate::client::identity::NewIdentity;
use crate::client::mailbox::{Folder, Mailbox};
use crate::client::stand_in::{Asked, StandIn};
use amesh_proto::address::Address;
use amesh_proto::api::route::RouteRequest;
use amesh_proto::canonical::{Signable, verify};
use amesh_proto::id::MessageId;
use amesh_proto::key::{AgentKey, PublicKey};
use amesh_proto::message::Priority;
use amesh_proto::time::UnixMillis;
use serde_json::{Value, json};
use std::cell::Cell;

const ME: &str = "bob@acme.aimaestro.local";
const ALICE: &str = "alice@acme.aimaestro.local";

/// A machine with one agent, and a node on it that the stand-in plays.
struct Desk {
    dir: tempfile::TempDir,
    ctx: Context,
    identity: Identity,
    node: StandIn,
    _door: std::os::unix::net::UnixListener,
}

impl Desk {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let new = NewIdentity {
            name: "bob".to_owned(),
            tenant: "acme".to_owned(),
            provider: "aimaestro.local".to_owned(),
            maestro_url: String::new(),
        };
        let home = AgentHome::at(dir.path().join("bob"));
        let identity = Identity::create(&home, new, [2; 32], UnixMillis(0)).unwrap();
        let node = StandIn::new().await;
        let file = json!({
            "pid": std::process::id(), "api": [node.address().to_string()], "mesh": "0.0.0.0:1",
            "host": "h", "org": "acme", "provider": "aimaestro.local", "node_id": "n1",
        });
        std::fs::write(NodeFile::path(dir.path()), file.to_string()).unwrap();
        let global = Global { data_dir: Some(dir.path().to_owned()), json: true, agent: None };
        let door = std::os::unix::net::UnixListener::bind(dir.path().join("control.sock")).unwrap();
        Self { ctx: Context::new(global), identity, node, dir, _door: door }
    }

    fn registered(&self, key: &str) -> Session {
        let registration = Registration {
            provider: "aimaestro.local".to_owned(),
            api_url: self.node.url(),
            address: ME.to_owned(),
            tenant: "acme".to_owned(),
            api_key: key.to_owned(),
            node_id: "n1".to_owned(),
            ..Registration::default()
        };
        Session::with(self.identity.clone(), registration, self.ctx.node().ok().as_ref()).unwrap()
    }

    fn stored(&self) -> Vec<String> {
        let (all, _) = Mailbox::of(&self.identity.home).list(Folder::Inbox);
        all.into_iter().map(|one| one.id).collect()
    }
}

/// What the node says to a registration.
fn welcome(key: &str) -> String {
    json!({
        "address": ME, "short_address": ME, "local_name": "bob", "agent_id": "1", "tenant_id": "acme",
        "tenant": "acme", "api_key": key, "fingerprint": "f", "registered_at": "2026-01-01T00:00:00Z",
        "provider": {"name": "aimaestro.local", "endpoint": "http://x/v1", "route_url": "http://x/v1/route"},
    })
    .to_string()
}

/// Mail from Alice as a node shows it.
fn mail(id: &str) -> Value {
    let key = AgentKey::from_seed(&[1; 32]);
    let draft = Draft {
        to: Address::parse(ME, &["aimaestro.local"]).unwrap(),
        subject: "s".to_owned(),
        message: "m".to_owned(),
        kind: "request".to_owned(),
        priority: Priority::Normal,
        in_reply_to: None,
        thread_id: None,
        context: None,
        attachments: Vec::new(),
    };
    let out = draft.sign(ALICE, &key, MessageId::parse(id).unwrap(), UnixMillis(0)).unwrap();
    let mut entry = serde_json::to_value(out.file(id, "", "", UnixMillis(0))).unwrap();
    entry["id"] = id.into();
    entry["sender_public_key"] = key.public().sender_key_text().into();
    entry["local"] = json!({"security": {"trust": "verified"}});
    entry
}

fn page(messages: &[Value], remaining: usize) -> (u16, String) {
    (200, json!({"messages": messages, "count": messages.len(), "remaining": remaining}).to_string())
}

#[tokio::test]
async fn mail_is_on_disk_before_the_node_is_told_so() {
    let desk = Desk::new().await;
    let mut session = desk.registered("k");
    let round = Cell::new(0);
    let answer = |asked: &Asked| match asked.what.as_str() {
        "GET /v1/messages/pending" if round.get() == 0 => page(&[mail("msg_1_a"), mail("msg_2_a")], 1),
        "GET /v1/messages/pending" => page(&[mail("msg_3_a")], 0),
        "POST /v1/messages/pending/ack" => {
            round.set(round.get() + 1);
            let asked: Value = serde_json::from_str(&asked.body).unwrap();
            let ids: Vec<&str> = asked["ids"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            assert!(ids.iter().all(|id| desk.stored().iter().any(|stored| stored == id)), "{ids:?}");
            (200, json!({"acknowledged": ids.len()}).to_string())
        }
        other => panic!("{other}"),
    };
    let fetching = fetch::fetch_from(&desk.ctx, &mut session, true);
    let report = desk.node.while_doing(answer, fetching).await.unwrap();
    assert_eq!((report.new.len(), report.acknowledged, report.known), (3, 3, 0));
    assert!(report.new.iter().all(|one| one.verified && one.trust == "verified"));
    assert!(desk.node.asked().iter().all(|asked| asked.bearer == "Bearer k"));
    assert_eq!(desk.stored().len(), 3);
}

#[tokio::test]
async fn mail_that_was_saved_before_a_crash_is_only_acknowledged() {
    let desk = Desk::new().await;
    let mut session = desk.registered("k");
    let answer = |asked: &Asked| match asked.what.as_str() {
        "GET /v1/messages/pending" => page(&[mail("msg_1_a")], 0),
        _ => (200, r#"{"acknowledged":1}"#.to_owned()),
    };
    for (new, known) in [(1, 0), (0, 1)] {
        let fetching = fetch::fetch_from(&desk.ctx, &mut session, true);
        let report = desk.node.while_doing(answer, fetching).await.unwrap();
        assert_eq!((report.new.len(), report.known, report.acknowledged), (new, known, 1));
    }
}

#[tokio::test]
async fn what_cannot_be_stored_stays_with_the_node_and_is_told() {
    let desk = Desk::new().await;
    let mut session = desk.registered("k");
    let mut evil = mail("msg_2_a");
    evil["id"] = "../../evil".into();
    let answer = |asked: &Asked| match asked.what.as_str() {
        "GET /v1/messages/pending" => page(&[evil.clone(), mail("msg_1_a")], 0),
        _ => {
            assert!(!asked.body.contains("evil"), "{}", asked.body);
            (200, r#"{"acknowledged":1}"#.to_owned())
        }
    };
    let fetching = fetch::fetch_from(&desk.ctx, &mut session, true);
    let report = desk.node.while_doing(answer, fetching).await.unwrap();
    assert_eq!((report.new.len(), report.left.len()), (1, 1));
}

#[tokio::test]
async fn a_provider_that_only_has_an_inbox_is_asked_there() {
    let desk = Desk::new().await;
    let mut session = desk.registered("k");
    let answer = |asked: &Asked| match asked.what.as_str() {
        "GET /v1/messages/pending" => (404, r#"{"error":"not_found"}"#.to_owned()),
        "GET /v1/inbox" => (200, json!({"messages": [mail("msg_1_a")]}).to_string()),
        "POST /v1/inbox/msg_1_a/ack" => (200, "{}".to_owned()),
        other => panic!("{other}"),
    };
    let fetching = fetch::fetch_from(&desk.ctx, &mut session, true);
    assert_eq!(desk.node.while_doing(answer, fetching).await.unwrap().acknowledged, 1);
}

#[tokio::test]
async fn an_agent_that_the_node_forgot_registers_again_and_proves_its_key() {
    let desk = Desk::new().await;
    let mut session = desk.registered("old");
    let answer = |asked: &Asked| match (asked.what.as_str(), asked.bearer.as_str()) {
        ("POST /v1/register", "") => (201, welcome("new")),
        ("GET /v1/messages/pending", "Bearer new") => page(&[], 0),
        _ => (401, r#"{"error":"unauthorized","message":"no"}"#.to_owned()),
    };
    let fetching = fetch::fetch_from(&desk.ctx, &mut session, true);
    desk.node.while_doing(answer, fetching).await.unwrap();
    assert_eq!(session.registration.api_key, "new");
    let saved = Registration::with(&desk.identity.home, "aimaestro.local").unwrap().unwrap();
    assert_eq!((saved.api_key.as_str(), saved.node_id.as_str()), ("new", "n1"));
    assert!(desk.identity.home.identity_md().exists());

    let asked = desk.node.asked();
    let asked = asked.iter().rfind(|asked| asked.what == "POST /v1/register").unwrap();
    let request = RegisterRequest::parse(asked.body.as_bytes()).unwrap();
    let text =
        RegisterRequest::proof_text("bob", "acme", "aimaestro.local", request.proof_at.as_deref().unwrap());
    let proof = STANDARD.decode(request.proof.unwrap()).unwrap();
    assert!(PublicKey::parse_any(&request.public_key).unwrap().verify(text.as_bytes(), &proof));
    assert!(!asked.body.contains("PRIVATE"), "the private key stays here");
}

fn draft(to: &str) -> Draft {
    Draft {
        to: Address::parse(to, &["aimaestro.local"]).unwrap(),
        subject: "Hello".to_owned(),
        message: "m".to_owned(),
        kind: "notification".to_owned(),
        priority: Priority::Normal,
        in_reply_to: None,
        thread_id: None,
        context: Some(r#"{"n": 1.50}"#.to_owned()),
        attachments: Vec::new(),
    }
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_with_the_same_id_and_signature() {
    let desk = Desk::new().await;
    let session = desk.registered("k");
    let attempts = Cell::new(0);
    let answer = |_: &Asked| {
        attempts.set(attempts.get() + 1);
        match attempts.get() {
            1 => (0, String::new()),
            _ => (200, r#"{"id":"msg_7_z","status":"queued","method":"mesh"}"#.to_owned()),
        }
    };
    desk.node.while_doing(answer, send::dispatch(&desk.ctx, session, draft(ALICE))).await.unwrap();
    let asked = desk.node.asked();
    assert_eq!((asked.len(), &asked[0].body), (2, &asked[1].body));
    let request = RouteRequest::parse(asked[1].body.as_bytes()).unwrap();
    let payload = request.payload.unwrap();
    let what = Signable {
        from: &[ME],
        to: &[ALICE],
        subject: &request.subject,
        priority: Priority::Normal,
        in_reply_to: None,
        payload: payload.get().as_bytes(),
    };
    let key = desk.identity.key().unwrap().public();
    verify(&key, &what, request.signature.as_deref().unwrap(), None).unwrap();
    let copy = Mailbox::of(&desk.identity.home).find(Folder::Sent, "msg_7_z").unwrap().unwrap();
    assert_eq!(copy.status(), "queued");
}

#[tokio::test]
async fn a_refusal_leaves_no_copy_and_says_why() {
    let desk = Desk::new().await;
    let session = desk.registered("k");
    let answer = |_: &Asked| (404, r#"{"error":"not_found","message":"nobody"}"#.to_owned());
    let sending = send::dispatch(&desk.ctx, session, draft(ALICE));
    let error = desk.node.while_doing(answer, sending).await.unwrap_err();
    let trouble = error.downcast_ref::<Trouble>().unwrap();
    assert_eq!((trouble.code.as_ref(), trouble.mend.as_deref()), ("not_found", Some("amesh agents")));
    assert!(Mailbox::of(&desk.identity.home).list(Folder::Sent).0.is_empty());
}

#[tokio::test]
async fn mail_for_a_provider_goes_through_the_registration_there_in_its_own_form() {
    let desk = Desk::new().await;
    let session = desk.registered("k");
    Registration {
        provider: "crabmail.ai".to_owned(),
        api_url: desk.node.url(),
        address: "bob@acme.crabmail.ai".to_owned(),
        api_key: "external".to_owned(),
        ..Registration::default()
    }
    .save(&desk.identity.home)
    .unwrap();
    let answer = |_: &Asked| (202, r#"{"id":"msg_7_z","status":"queued"}"#.to_owned());
    let sending = send::dispatch(&desk.ctx, session, draft("carol@acme.crabmail.ai"));
    desk.node.while_doing(answer, sending).await.unwrap();
    let asked = desk.node.asked();
    assert_eq!((asked[0].what.as_str(), asked[0].bearer.as_str()), ("POST /v1/route", "Bearer external"));
    let request = RouteRequest::parse(asked[0].body.as_bytes()).unwrap();
    assert!(request.full);
    assert_eq!(request.from.as_deref(), Some("bob@acme.crabmail.ai"));
    assert!(desk.dir.path().exists());
}

fn node(id: &str) -> NodeFile {
    NodeFile {
        pid: 1,
        api: vec!["127.0.0.1:9".parse().unwrap()],
        mesh: "0.0.0.0:2".parse().unwrap(),
        host: "h".to_owned(),
        org: "o".to_owned(),
        provider: "aimaestro.local".to_owned(),
        node_id: id.to_owned(),
    }
}

fn known_as(provider: &str, node_id: &str) -> Registration {
    Registration {
        provider: provider.to_owned(),
        api_url: "http://old:1/v1".to_owned(),
        node_id: node_id.to_owned(),
        ..Registration::default()
    }
}

#[test]
fn a_node_whose_port_changed_is_still_reached() {
    assert_eq!(url_of(&known_as("aimaestro.local", "n1"), Some(&node("n1"))), "http://127.0.0.1:9");
    assert_eq!(url_of(&known_as("aimaestro.local", ""), Some(&node("n1"))), "http://127.0.0.1:9");
}

#[test]
fn a_registration_follows_its_node_to_another_port_and_no_other_node() {
    let mut mine = known_as("aimaestro.local", "n1");
    mine.route_url = "http://old:1/v1/route".to_owned();
    assert!(moved(&mut mine, &node("n1")));
    assert_eq!(
        (mine.api_url.as_str(), mine.route_url.as_str()),
        ("http://127.0.0.1:9/v1", "http://127.0.0.1:9/v1/route")
    );
    assert!(!moved(&mut mine, &node("n1")), "once is enough");
    assert!(!moved(&mut known_as("aimaestro.local", "n2"), &node("n1")));
    assert!(!moved(&mut known_as("aimaestro.local", ""), &node("n1")));
}

#[test]
fn an_api_key_is_not_shown_to_another_node_or_provider() {
    assert_eq!(url_of(&known_as("aimaestro.local", "n2"), Some(&node("n1"))), "http://old:1/v1");
    assert_eq!(url_of(&known_as("crabmail.ai", ""), Some(&node("n1"))), "http://old:1/v1");
    assert_eq!(url_of(&known_as("aimaestro.local", "n1"), None), "http://old:1/v1");
}
