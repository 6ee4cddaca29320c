//! Attacks by links and HTTP hosts, each shown to work once the one guard against it is down, and to fail with it up.
//! Those at the agents' doors are in `http/tests/attacks.rs`; docs/attacks.md lists all.

use super::house::*;
use crate::message::guards::{Guard, Without};
use crate::message::{Forwarded, Incoming, Refusal};
use amesh_proto::address::Address;
use amesh_proto::api::http_mesh::Forward;
use amesh_proto::id::MessageId;
use amesh_proto::message::Mail;
use amesh_proto::roster::{RetiredKey, RosterEntry};
use serde_json::{Value, json};

/// A mailbox that an attacker wants something in.
struct Scene {
    house: House,
    bob: std::sync::Arc<crate::agents::Agent>,
    carol: std::sync::Arc<crate::agents::Agent>,
}

impl Scene {
    async fn new() -> Self {
        let house = House::new();
        let (bob, carol) = (house.agent("bob").await, house.agent("carol").await);
        house.peer(&["al", "eve"]);
        Self { house, bob, carol }
    }

    async fn bring(&self, mail: Mail, number: u64) -> Option<Refusal> {
        self.house.brought(mail, number).await.err()
    }

    async fn forward(&self, body: Value, id: &str) -> Option<Refusal> {
        let forwarded = Forwarded {
            host: "den".into(),
            relaxed: false,
            sender: Address::parse(&address("kim"), &["aimaestro.local"]).unwrap(),
            key: Some(key_of("kim").public()),
            id: MessageId::parse(id).ok(),
            forward: Box::new(Forward::parse(body.to_string().as_bytes()).unwrap()),
        };
        self.house.hallway.submit(Incoming::FromHttpHost(Box::new(forwarded))).await.err()
    }

    /// What lies in both mailboxes.
    fn mail(&self) -> usize {
        self.house.inbox(&self.bob).len() + self.house.inbox(&self.carol).len()
    }
}

/// An attack, and the letter that it is.
type Forgery = (&'static str, fn() -> Mail);

/// One of the letters that an attack starts from.
fn honest(id: &str) -> Mail {
    carried("al", "bob", id, "hi")
}

/// `mail` with other words in its envelope.
fn reworded(mail: Mail, was: &str, is: &str) -> Mail {
    let text = String::from_utf8(mail.envelope).unwrap();
    assert!(text.contains(was), "{text}");
    Mail { envelope: text.replacen(was, is, 1).into_bytes(), ..mail }
}

fn forwarded() -> Value {
    let payload = r#"{"type":"request","message":"hi"}"#;
    let (from, to) = (address("kim"), address("bob"));
    let signature = signature("kim", &from, &to, payload);
    json!({"from": from, "to": "bob", "subject": "hello", "payload": {"type": "request", "message": "hi"},
        "signature": signature, "_forwarded": {"original_from": from, "original_to": to, "forwarded_by": "den"}})
}

fn edited(member: &str, value: Value) -> Value {
    let mut body = forwarded();
    body[member] = value;
    body
}

/// Shows an attack: with the guard down it puts `letters` into mailboxes, with all guards up it is refused with one of
/// `codes` and puts none there but the honest ones.
async fn shown(
    what: &str,
    guard: Guard,
    (letters, honest): (usize, usize),
    codes: &[&str],
    attack: impl AsyncFn(&Scene) -> Option<Refusal>,
) {
    let scene = Scene::new().await;
    let down = Without::guard(guard);
    let refusal = attack(&scene).await;
    assert_eq!((refusal, scene.mail()), (None, letters), "{what}: it does not work without {guard:?}");
    drop(down);
    let scene = Scene::new().await;
    let refusal = attack(&scene).await;
    let code = refusal.as_ref().map_or("none", Refusal::code);
    assert!(codes.contains(&code), "{what}: {refusal:?}");
    assert_eq!(scene.mail(), honest, "{what}");
    listed(what, guard);
}

/// The table in the documentation names the attack and its guard.
pub(crate) fn listed(what: &str, guard: Guard) {
    let row = format!("| {what} | ");
    let table = include_str!("../../../../docs/attacks.md");
    let line = table.lines().find(|line| line.starts_with(&row));
    let line = line.unwrap_or_else(|| panic!("docs/attacks.md has no row {row:?}"));
    assert!(
        line.contains(&format!("`{guard:?}`")),
        "docs/attacks.md names another guard than {guard:?}: {line}"
    );
}

#[tokio::test]
async fn what_was_changed_on_a_link_is_refused() {
    let changed: [Forgery; 7] = [
        ("link: another payload", || Mail {
            payload: br#"{"type":"request","message":"ho"}"#.to_vec(),
            ..honest("msg_1_a")
        }),
        ("link: another subject", || reworded(honest("msg_1_a"), "\"hello\"", "\"hallo\"")),
        ("link: a subject spelled with other code points", || {
            reworded(honest("msg_1_a"), "\"hello\"", "\"hell\u{3bf}\"")
        }),
        ("link: another priority", || {
            let mail = reworded(honest("msg_1_a"), "\"normal\"", "\"urgent\"");
            Mail { priority: amesh_proto::message::Priority::Urgent, ..mail }
        }),
        ("link: another in_reply_to", || {
            reworded(honest("msg_1_a"), "\"thread_id\"", "\"in_reply_to\":\"msg_1_z\",\"thread_id\"")
        }),
        ("link: forged sender", || {
            let mut mail = letter("eve", (&address("al"), &address("bob")), "msg_1_a", "hi");
            mail.form = None;
            mail
        }),
        ("link: a signature of another message", || {
            let other = String::from_utf8(carried("al", "bob", "msg_1_b", "other").envelope).unwrap();
            let mail = honest("msg_1_a");
            Mail { envelope: other.replace("msg_1_b", "msg_1_a").into_bytes(), ..mail }
        }),
    ];
    for (what, mail) in changed {
        shown(what, Guard::Signature, (1, 0), &["signature_invalid"], async |scene| {
            scene.bring(mail(), 1).await
        })
        .await;
    }
}

#[tokio::test]
async fn a_key_that_comes_with_a_letter_judges_nothing() {
    let pem = key_of("eve").public().to_pem().replace('\n', "\\n");
    let brings_its_key = || {
        let mail = letter("eve", (&address("al"), &address("bob")), "msg_1_a", "hi");
        reworded(mail, "\"thread_id\"", &format!("\"sender_public_key\":\"{pem}\",\"thread_id\""))
    };
    shown(
        "link: key swap, by a key in the letter",
        Guard::KnownKey,
        (1, 0),
        &["signature_invalid"],
        async |scene| scene.bring(brings_its_key(), 1).await,
    )
    .await;
}

#[tokio::test]
async fn a_key_in_other_hands_is_refused_for_ninety_days() {
    let day = std::time::Duration::from_secs(86_400);
    for age in [day, day * 89] {
        shown(
            "link: revoked key",
            Guard::Revocation,
            (1, 0),
            &["key_revoked", "signature_invalid"],
            async |scene| {
                let stolen = key_of("al").public().to_spki_der().to_vec();
                let retired = RetiredKey { public_key: stolen, until: NOW.minus(age), compromised: true };
                let public_key = key_of("new").public().to_spki_der().to_vec();
                let entry = RosterEntry { public_key, previous_keys: vec![retired], ..roster_entry("al") };
                scene.house.hallway.agents().directory().apply_to_roster(peer_node(), vec![entry]);
                scene.bring(honest("msg_1_a"), 1).await
            },
        )
        .await;
    }
}

#[tokio::test]
async fn a_member_brings_no_mail_of_others_and_to_nobody_else() {
    let of_carol = || carried("carol", "bob", "msg_1_a", "hi");
    shown(
        "link: forged sender, an agent of this node",
        Guard::OwnAgents,
        (1, 0),
        &["forbidden"],
        async |scene| scene.bring(of_carol(), 1).await,
    )
    .await;
    // Ids are not signed: under a fresh one the letter would be a new one.
    shown("link: replay of a local letter", Guard::OwnAgents, (2, 1), &["forbidden"], async |scene| {
        let sent = scene.house.send(&scene.carol, signed("carol", "bob", "hi")).await;
        assert!(sent.is_ok(), "{sent:?}");
        scene.bring(of_carol(), 1).await
    })
    .await;
    let misdirected = || {
        let mail = honest("msg_1_a");
        Mail { to: Address::parse(&address("carol"), &["aimaestro.local"]).unwrap(), ..mail }
    };
    shown(
        "link: a letter to one agent brought to another",
        Guard::Agreement,
        (1, 0),
        &["invalid_field"],
        async |scene| scene.bring(misdirected(), 1).await,
    )
    .await;
}

#[tokio::test]
async fn what_was_brought_before_comes_once_also_after_a_loss_of_power() {
    shown("link: replay", Guard::Memory, (2, 1), &["none"], async |scene| {
        scene.bring(honest("msg_1_a"), 1).await.or(scene.bring(honest("msg_1_a"), 2).await)
    })
    .await;
    for (down, letters) in [(true, 2), (false, 1)] {
        let scene = Scene::new().await;
        let down = down.then(|| Without::guard(Guard::Memory));
        assert_eq!(scene.bring(honest("msg_1_a"), 1).await, None);
        let Scene { house, bob, .. } = scene;
        let house = house.crash_and_restart();
        house.peer(&["al", "eve"]);
        house.brought(honest("msg_1_a"), 2).await.unwrap();
        assert_eq!(house.inbox(&bob).len(), letters);
        drop(down);
    }
    listed("link: replay after a restart", Guard::Memory);
}

#[tokio::test]
async fn what_was_changed_or_repeated_by_an_http_host_is_refused() {
    for (what, member, value) in [
        ("HTTP forward: another payload", "payload", json!({"type": "request", "message": "ho"})),
        ("HTTP forward: another subject", "subject", json!("hallo")),
        ("HTTP forward: another priority", "priority", json!("urgent")),
        ("HTTP forward: another in_reply_to", "in_reply_to", json!("msg_1_z")),
    ] {
        shown(what, Guard::Signature, (1, 0), &["signature_invalid"], async |scene| {
            scene.forward(edited(member, value.clone()), "msg_1_a").await
        })
        .await;
    }
    shown(
        "HTTP forward: a letter to one agent brought to another",
        Guard::Agreement,
        (1, 0),
        &["invalid_field"],
        async |scene| scene.forward(edited("to", json!("carol")), "msg_1_a").await,
    )
    .await;
    shown("HTTP forward: replay", Guard::Memory, (2, 1), &["none"], async |scene| {
        scene.forward(forwarded(), "msg_1_a").await.or(scene.forward(forwarded(), "msg_1_a").await)
    })
    .await;
}
