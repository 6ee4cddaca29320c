//! Attacks at the agents' two doors, `POST /v1/route` and the WebSocket: each is shown to work once the one guard against
//! it is down, and to fail with it up. Those by links and hosts are in `message/tests/attacks.rs`; docs/attacks.md lists all.

use super::socket::Ws;
use super::*;
use crate::message::guards::{Guard, Without};
use crate::message::tests::attacks::listed;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Where a letter is handed in.
#[derive(Debug, Clone, Copy)]
enum Door {
    Route,
    Socket,
}

struct Scene {
    rig: Rig,
    address: std::net::SocketAddr,
    alice: Client,
    bob: Client,
    mallory: Client,
}

impl Scene {
    async fn new() -> Self {
        let (rig, address) = Rig::listening(Config::default()).await;
        let (alice, bob) = (rig.register("alice").await, rig.register("bob").await);
        let mallory = rig.register("mallory").await;
        Self { rig, address, alice, bob, mallory }
    }

    /// Hands `letter` in as `client`: the error code, if it was refused.
    async fn hand_in(&self, door: Door, client: &Client, letter: Value) -> Option<String> {
        let answer = match door {
            Door::Route => self.rig.post("/v1/route", client, letter).await.body,
            Door::Socket => {
                let mut socket = Ws::open(self.address, client).await;
                socket.say(json!({"type": "route", "ref": 1, "data": letter})).await;
                socket.hear().await
            }
        };
        answer["error"].as_str().map(str::to_owned)
    }

    async fn mail(&self) -> usize {
        let page = self.rig.get("/v1/messages/pending", &self.bob).await.body;
        page["messages"].as_array().unwrap().len()
    }

    fn honest(&self) -> Value {
        self.alice.letter(&self.bob, "hi")
    }

    /// A letter in the name of alice that another signed.
    fn in_her_name(&self, signer: &str) -> Value {
        let (address, key) = (self.alice.address.clone(), Rig::key_of(signer));
        let mut letter = Client { address, api_key: String::new(), key }.letter(&self.bob, "hi");
        letter["from"] = json!(self.alice.address);
        letter
    }
}

async fn shown(
    what: &str,
    guard: Guard,
    (letters, honest): (usize, usize),
    code: Option<&str>,
    attack: impl AsyncFn(&Scene, Door) -> Option<String>,
) {
    for door in [Door::Route, Door::Socket] {
        let scene = Scene::new().await;
        let down = Without::guard(guard);
        let refusal = attack(&scene, door).await;
        assert_eq!((refusal, scene.mail().await), (None, letters), "{what}, {door:?}: not without {guard:?}");
        drop(down);
        let scene = Scene::new().await;
        let refusal = attack(&scene, door).await;
        assert_eq!((refusal.as_deref(), scene.mail().await), (code, honest), "{what}, {door:?}");
    }
    listed(what, guard);
}

#[tokio::test]
async fn an_agent_sends_under_its_own_name_only() {
    shown("agents: forged sender", Guard::OwnName, (1, 0), Some("forbidden"), async |scene, door| {
        scene.hand_in(door, &scene.mallory, scene.in_her_name("mallory")).await
    })
    .await;
}

#[tokio::test]
async fn what_was_changed_on_its_way_to_the_node_is_refused() {
    for (what, member, value) in [
        ("agents: another payload", "payload", json!({"type": "request", "message": "ho"})),
        ("agents: another subject", "subject", json!("hallo")),
        ("agents: a subject spelled with other code points", "subject", json!("hell\u{3bf}")),
        ("agents: another priority", "priority", json!("urgent")),
        ("agents: another in_reply_to", "in_reply_to", json!("msg_1_z")),
        ("agents: another recipient", "to", json!("bob")),
    ] {
        shown(what, Guard::Signature, (1, 0), Some("signature_invalid"), async |scene, door| {
            // To mallory at first, where the recipient is what is changed.
            let mut letter = match member {
                "to" => scene.alice.letter(&scene.mallory, "hi"),
                _ => scene.honest(),
            };
            letter[member] = value.clone();
            scene.hand_in(door, &scene.alice, letter).await
        })
        .await;
    }
    shown("agents: key swap", Guard::Signature, (1, 0), Some("signature_invalid"), async |scene, door| {
        scene.hand_in(door, &scene.alice, scene.in_her_name("mallory")).await
    })
    .await;
}

#[tokio::test]
async fn a_key_that_comes_with_a_letter_judges_nothing() {
    let what = "agents: inline sender key for a local address";
    shown(what, Guard::KnownKey, (1, 0), Some("signature_invalid"), async |scene, door| {
        let mut envelope = scene.in_her_name("mallory");
        let payload = envelope.as_object_mut().unwrap().remove("payload");
        envelope["id"] = json!("msg_1_a");
        envelope["sender_public_key"] = json!(Rig::key_of("mallory").public().to_pem());
        let letter = json!({"envelope": envelope, "payload": payload});
        scene.hand_in(door, &scene.alice, letter).await
    })
    .await;
}

#[tokio::test]
async fn a_key_that_was_revoked_signs_nothing_any_more() {
    for compromised in [true, false] {
        let what = "agents: revoked key";
        shown(what, Guard::Revocation, (1, 0), Some("signature_invalid"), async |scene, door| {
            let new = AgentKey::from_seed(&[99; 32]);
            let proof = STANDARD.encode(scene.alice.key.sign(new.public().to_pem().as_bytes()));
            let body = json!({"new_public_key": new.public().to_pem(), "key_algorithm": "Ed25519",
                "proof": proof, "compromised": compromised});
            let rotated = scene.rig.post("/v1/auth/rotate-keys", &scene.alice, body).await;
            assert_eq!(rotated.status, 200, "{}", rotated.body);
            scene.rig.clock.advance(Duration::from_secs(89 * 86_400));
            scene.hand_in(door, &scene.alice, scene.honest()).await
        })
        .await;
    }
}

#[tokio::test]
async fn a_letter_that_comes_again_by_either_door_is_there_once() {
    shown("agents: replay through another door", Guard::Memory, (2, 1), None, async |scene, door| {
        let mut letter = scene.honest();
        letter["id"] = json!("msg_1_a");
        let first = scene.hand_in(Door::Route, &scene.alice, letter.clone()).await;
        first.or(scene.hand_in(door, &scene.alice, letter).await)
    })
    .await;
}
