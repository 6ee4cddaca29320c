//! Webhooks against a real HTTP receiver on loopback (WHK-*): what is posted, what is repeated, where nothing leads.

mod https;
pub(crate) mod receiver;

use super::house::*;
use crate::agents::Agent;
use crate::clock::Clock;
use crate::message::deliver::webhook::Config as WebhookConfig;
use crate::message::{Accepted, Basis, Config, Incoming, Method, Status};
use crate::reach::tests::Answers;
use amesh_proto::api::agents::{AgentPatch, DeliverySettings};
use amesh_proto::message::Priority;
use amesh_proto::webhook::verify;
use amesh_store::{MessageState, Posting, Seq};
use receiver::{Answer, Receiver};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

const SECRET: &str = "s3cret";

impl House {
    /// A house whose owner lets webhooks reach loopback.
    fn posting(webhook: WebhookConfig) -> Self {
        let house = Self::posting_to(webhook, &["127.0.0.1"], Arc::new(Answers::default()));
        house.hallway.start_webhooks();
        house
    }

    pub(super) fn posting_to(webhook: WebhookConfig, allow: &[&str], names: Arc<Answers>) -> Self {
        // A busy machine must not turn `delivered` into `queued`.
        let config = Config { webhook, patience_ms: 20_000, ..Config::default() };
        Self::with_webhooks(config, allow, names)
    }

    async fn listens(&self, agent: &Agent, url: &str) {
        self.prefers(agent, url, None).await;
    }

    async fn prefers(&self, agent: &Agent, url: &str, prefer_websocket: Option<bool>) {
        let delivery = DeliverySettings {
            webhook_url: Some(url.to_owned()),
            webhook_secret: Some(SECRET.to_owned()),
            prefer_websocket,
        };
        let patch = AgentPatch { delivery: Some(delivery), ..AgentPatch::default() };
        self.hallway.agents().update(agent, patch).await.unwrap();
    }

    fn posting_of(&self, agent: &Agent, n: usize) -> Option<Posting> {
        let entry = self.hallway.pending(agent, None, 100).unwrap().into_iter().nth(n)?;
        self.store.posting(agent.no, entry.seq).unwrap()
    }

    async fn mail(&self, agent: &Arc<Agent>, to: &str, text: &str) -> Accepted {
        self.send(agent, signed("alice", to, text)).await.unwrap()
    }
}

/// Waits for what must come, generously.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..4_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it did not happen within 20 s: {what}");
}

#[tokio::test]
async fn mail_is_posted_signed_and_stays_until_acknowledged() {
    let (house, receiver) =
        (House::posting(WebhookConfig::default()), Receiver::new(Answer::Status(200)).await);
    let (alice, bob) = (house.agent("alice").await, house.agent("bob").await);
    house.listens(&bob, &receiver.url("/hook?x=1")).await;
    let accepted = house.mail(&alice, "bob", "hi").await;
    assert_eq!(
        (accepted.status, accepted.method, accepted.basis, accepted.delivered_at.is_some()),
        (Status::Delivered, Method::Webhook, Basis::Webhook2xx, true)
    );
    let [post] = receiver.posts().try_into().unwrap();
    assert_eq!((post.path.as_str(), post.header("content-type")), ("/hook?x=1", "application/json"));
    assert_eq!(post.header("x-amp-message-id"), accepted.id.as_str());
    let (timestamp, signature) = (post.header("x-amp-timestamp"), post.header("x-amp-signature"));
    assert_eq!(verify(SECRET, timestamp, signature, &post.body, NOW.as_secs()), Ok(()));
    let body: Value = serde_json::from_slice(&post.body).unwrap();
    assert_eq!(
        (&body["payload"]["message"], &body["envelope"]["from"]),
        (&"hi".into(), &address("alice").into())
    );
    assert_eq!(body["sender_public_key"], key_of("alice").public().sender_key_text());
    assert_eq!(body["local"]["delivery_method"], "webhook");
    let status = house.store.message_status(alice.no, &accepted.id).unwrap().unwrap();
    assert_eq!(status.state, MessageState::Delivered { basis: "webhook_2xx".into() });
    assert_eq!(house.inbox(&bob).len(), 1, "it stays until acknowledged");
}

#[tokio::test]
async fn a_sender_who_asked_for_it_gets_word_once_the_webhook_has_taken_the_message() {
    let (house, receiver) =
        (House::posting(WebhookConfig::default()), Receiver::new(Answer::Status(500)).await);
    let (alice, bob) = (house.agent("alice").await, house.agent("bob").await);
    house.listens(&bob, &receiver.url("/")).await;
    let mut request = signed("alice", "bob", "hi");
    request.options.receipt = true;
    house.send(&alice, request).await.unwrap();
    assert!(house.hallway.receipts(&alice, None, 10).unwrap().is_empty(), "it was not taken");
    receiver.answers(Answer::Status(200));
    house.clock.advance(Duration::from_secs(30));
    house.hallway.agents().webhooks().have_changed();
    until("word is kept", || house.hallway.receipts(&alice, None, 10).unwrap().len() == 1).await;
}

#[tokio::test]
async fn a_receiver_can_acknowledge_in_its_answer() {
    let (house, receiver) =
        (House::posting(WebhookConfig::default()), Receiver::new(Answer::Acknowledged).await);
    let (alice, bob) = (house.agent("alice").await, house.agent("bob").await);
    house.listens(&bob, &receiver.url("/")).await;
    let accepted = house.mail(&alice, "bob", "hi").await;
    assert_eq!((accepted.status, accepted.basis), (Status::Delivered, Basis::Webhook2xx));
    until("the mailbox is empty", || house.inbox(&bob).is_empty()).await;
    let status = house.store.message_status(alice.no, &accepted.id).unwrap().unwrap();
    assert_eq!(status.state, MessageState::Delivered { basis: "acknowledged".into() });
}

#[tokio::test]
async fn a_sender_who_asked_hears_that_the_webhook_took_it() {
    let (house, receiver) =
        (House::posting(WebhookConfig::default()), Receiver::new(Answer::Status(200)).await);
    let (alice, bob) = (house.agent("alice").await, house.agent("bob").await);
    house.listens(&bob, &receiver.url("/")).await;
    let mut request = signed("alice", "bob", "hi");
    request.options.receipt = true;
    let accepted = house.send(&alice, request).await.unwrap();
    assert_eq!(accepted.status, Status::Delivered);
    let told = house.hallway.receipts(&alice, None, 9).unwrap();
    let by_webhook = amesh_store::ReceiptKind::Delivered { method: "webhook".to_owned() };
    assert_eq!(
        told.iter().map(|(_, one)| (&one.id, &one.kind)).collect::<Vec<_>>(),
        [(&accepted.id, &by_webhook)]
    );
}

#[tokio::test]
async fn what_a_broken_receiver_did_not_take_is_posted_again_after_a_restart() {
    let (house, receiver) =
        (House::posting(WebhookConfig::default()), Receiver::new(Answer::Status(503)).await);
    let (alice, bob) = (house.agent("alice").await, house.agent("bob").await);
    house.listens(&bob, &receiver.url("/")).await;
    let accepted = house.mail(&alice, "bob", "hi").await;
    assert_eq!(
        (accepted.status, accepted.method, accepted.basis),
        (Status::Queued, Method::Webhook, Basis::MailboxWritten)
    );
    let next_at = NOW.plus(Duration::from_secs(30));
    assert_eq!(house.posting_of(&bob, 0), Some(Posting::Waiting { attempts: 1, next_at }));
    receiver.answers(Answer::Status(200));
    let house = house.crash_and_restart();
    house.clock.advance(Duration::from_secs(29));
    house.hallway.start_webhooks();
    // Everything before it was looked at when this one has been posted.
    house.mail(&alice, "bob", "second").await;
    assert_eq!(receiver.messages(), ["hi", "second"], "29 s are not 30");
    house.clock.advance(Duration::from_secs(1));
    house.hallway.agents().webhooks().have_changed();
    until("the first is posted again", || receiver.messages().len() == 3).await;
    let ids = receiver.posts();
    assert_eq!(ids[0].header("x-amp-message-id"), ids[2].header("x-amp-message-id"));
    assert_ne!(ids[0].header("x-amp-timestamp"), ids[2].header("x-amp-timestamp"));
    let at = house.clock.now();
    until("it is noted", || house.posting_of(&bob, 0) == Some(Posting::Taken { at })).await;
}

#[tokio::test]
async fn mail_that_seemed_expired_while_the_clock_was_ahead_is_posted_once_that_is_set_back() {
    let (house, receiver) =
        (House::posting(WebhookConfig::default()), Receiver::new(Answer::Status(503)).await);
    let (alice, bob) = (house.agent("alice").await, house.agent("bob").await);
    house.listens(&bob, &receiver.url("/")).await;
    house.mail(&alice, "bob", "hi").await;
    receiver.answers(Answer::Status(200));
    house.clock.set_wall(NOW.plus(Duration::from_secs(365 * 86_400)));
    // Everything before it was looked at when this one has been posted.
    house.mail(&alice, "bob", "second").await;
    assert_eq!(receiver.messages(), ["hi", "second"], "the first seems to have expired");
    house.clock.set_wall(NOW.plus(Duration::from_secs(60)));
    house.hallway.agents().webhooks().have_changed();
    until("the first is posted again", || receiver.messages() == ["hi", "second", "hi"]).await;
}

#[tokio::test]
async fn after_three_failed_attempts_mail_waits_to_be_fetched() {
    let at_once = WebhookConfig { retry_after_s: vec![0, 0], ..WebhookConfig::default() };
    let (house, receiver) = (House::posting(at_once), Receiver::new(Answer::Status(500)).await);
    let (alice, bob) = (house.agent("alice").await, house.agent("bob").await);
    house.listens(&bob, &receiver.url("/")).await;
    house.mail(&alice, "bob", "hi").await;
    let given_up = Some(Posting::GivenUp { attempts: 3 });
    until("three attempts", || house.posting_of(&bob, 0) == given_up).await;
    receiver.answers(Answer::Status(200));
    let house = house.crash_and_restart();
    house.hallway.start_webhooks();
    house.mail(&alice, "bob", "second").await;
    assert_eq!(receiver.messages(), ["hi", "hi", "hi", "second"]);
    assert_eq!(house.inbox(&bob).len(), 2);
}

#[tokio::test]
async fn a_refusal_or_a_redirect_is_final() {
    let elsewhere = Receiver::new(Answer::Status(200)).await;
    for answer in [Answer::Status(404), Answer::Status(429), Answer::Redirect(elsewhere.url("/"))] {
        let (house, receiver) = (House::posting(WebhookConfig::default()), Receiver::new(answer).await);
        let (alice, bob) = (house.agent("alice").await, house.agent("bob").await);
        house.listens(&bob, &receiver.url("/")).await;
        let accepted = house.mail(&alice, "bob", "hi").await;
        assert_eq!((accepted.status, accepted.method), (Status::Queued, Method::Relay));
        assert_eq!(house.posting_of(&bob, 0), Some(Posting::GivenUp { attempts: 1 }));
        assert_eq!(receiver.posts().len(), 1);
    }
    assert_eq!(elsewhere.posts().len(), 0, "nobody is led elsewhere");
}

#[tokio::test]
async fn a_receiver_that_does_not_answer_in_time_counts_as_failed_and_holds_nobody_up() {
    let short = WebhookConfig { connect_timeout_s: 1, response_timeout_s: 1, ..WebhookConfig::default() };
    let (house, slow) = (House::posting(short), Receiver::new(Answer::Never).await);
    let prompt = Receiver::new(Answer::Status(200)).await;
    let (alice, bob, carol) =
        (house.agent("alice").await, house.agent("bob").await, house.agent("carol").await);
    house.listens(&bob, &slow.url("/")).await;
    house.listens(&carol, &prompt.url("/")).await;
    let late = house.mail(&alice, "bob", "hi");
    let taken = house.mail(&alice, "carol", "hi");
    let (late, taken) = tokio::join!(late, taken);
    assert_eq!((late.status, late.method), (Status::Queued, Method::Webhook));
    assert_eq!(taken.status, Status::Delivered);
    assert!(matches!(house.posting_of(&bob, 0), Some(Posting::Waiting { attempts: 1, .. })));
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let (house, receiver) = (House::posting(WebhookConfig::default()), Receiver::new(Answer::Endless).await);
    let (alice, bob) = (house.agent("alice").await, house.agent("bob").await);
    house.listens(&bob, &receiver.url("/")).await;
    let accepted = house.mail(&alice, "bob", "hi").await;
    assert_eq!((accepted.status, accepted.basis), (Status::Delivered, Basis::Webhook2xx));
}

#[tokio::test]
async fn a_name_that_turns_to_this_machine_after_registration_is_not_followed() {
    let names = Arc::new(Answers::default());
    let house = House::posting_to(WebhookConfig::default(), &[], names.clone());
    house.hallway.start_webhooks();
    let receiver = Receiver::new(Answer::Status(200)).await;
    let (alice, bob) = (house.agent("alice").await, house.agent("bob").await);
    names.are(&["93.184.216.34"]);
    house.listens(&bob, &format!("https://rebind.example:{}/", receiver.port())).await;
    names.are(&["127.0.0.1"]);
    let accepted = house.mail(&alice, "bob", "hi").await;
    assert_eq!((accepted.status, accepted.method), (Status::Queued, Method::Relay));
    assert_eq!(house.posting_of(&bob, 0), Some(Posting::GivenUp { attempts: 1 }));
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn a_port_that_became_the_nodes_own_is_not_reached_whatever_the_owner_lists() {
    let (house, receiver) =
        (House::posting(WebhookConfig::default()), Receiver::new(Answer::Status(200)).await);
    let (alice, bob) = (house.agent("alice").await, house.agent("bob").await);
    house.listens(&bob, &receiver.url("/")).await;
    house.hallway.agents().webhooks().own_ports().protect(receiver.port());
    house.mail(&alice, "bob", "hi").await;
    assert_eq!(house.posting_of(&bob, 0), Some(Posting::GivenUp { attempts: 1 }));
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn no_more_posts_are_under_way_than_allowed() {
    let most = WebhookConfig { per_agent: 2, overall: 3, ..WebhookConfig::default() };
    let (house, receiver) = (House::posting(most), Receiver::new(Answer::OnCommand).await);
    let bob = house.agent("bob").await;
    let carol = house.agent("carol").await;
    house.listens(&bob, &receiver.url("/bob")).await;
    house.listens(&carol, &receiver.url("/carol")).await;
    let house = Arc::new(house);
    let mut sending = tokio::task::JoinSet::new();
    for sender in ["alice", "dave", "erin", "frank"] {
        let agent = house.agent(sender).await;
        for to in ["bob", "carol"] {
            let (house, agent) = (house.clone(), agent.clone());
            sending.spawn(async move { house.send(&agent, signed(sender, to, "hi")).await.unwrap() });
        }
    }
    until("as many as allowed", || receiver.under_way() == 3).await;
    until("all are on disk", || house.inbox(&bob).len() + house.inbox(&carol).len() == 8).await;
    for _ in 0..8 {
        receiver.let_one_go();
    }
    while let Some(sent) = sending.join_next().await {
        assert_eq!(sent.unwrap().status, Status::Delivered);
    }
    assert_eq!((receiver.posts().len(), receiver.most_under_way()), (8, 3));
    assert!(receiver.most_of("/bob") <= 2 && receiver.most_of("/carol") <= 2);
}

#[tokio::test]
async fn mail_of_one_sender_is_posted_in_order() {
    let (house, receiver) =
        (House::posting(WebhookConfig::default()), Receiver::new(Answer::Status(200)).await);
    let (alice, bob) = (house.agent("alice").await, house.agent("bob").await);
    for n in 0..40 {
        house.mail(&alice, "bob", &format!("{n}")).await;
    }
    // What waited before the agent had a webhook is posted too.
    house.listens(&bob, &receiver.url("/")).await;
    until("all are posted", || receiver.posts().len() == 40).await;
    assert_eq!(receiver.messages(), (0..40).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_the_agent_fetched_or_acknowledged_meanwhile_is_not_posted_again() {
    let (house, receiver) =
        (House::posting(WebhookConfig::default()), Receiver::new(Answer::Status(500)).await);
    let (alice, bob) = (house.agent("alice").await, house.agent("bob").await);
    house.listens(&bob, &receiver.url("/")).await;
    let acked = house.mail(&alice, "bob", "acked").await;
    house.mail(&alice, "bob", "fetched").await;
    house.mail(&alice, "bob", "neither").await;
    let fetched: Vec<Seq> =
        house.hallway.pending(&bob, None, 2).unwrap().iter().map(|entry| entry.seq).collect();
    house.store.mark_handed_out(bob.no, fetched).await.unwrap();
    house.hallway.acknowledge(&bob, vec![acked.id]).await.unwrap();
    receiver.answers(Answer::Status(200));
    house.clock.advance(Duration::from_secs(30));
    house.hallway.agents().webhooks().have_changed();
    until("the third is posted again", || receiver.messages().len() == 4).await;
    assert_eq!(receiver.messages()[3], "neither");
    house.mail(&alice, "bob", "last").await;
    assert_eq!(receiver.messages().len(), 5);
}

#[tokio::test]
async fn an_agent_that_changed_or_removed_its_webhook_is_taken_at_its_word() {
    let (house, old) = (House::posting(WebhookConfig::default()), Receiver::new(Answer::Status(500)).await);
    let new = Receiver::new(Answer::Status(200)).await;
    let (alice, bob) = (house.agent("alice").await, house.agent("bob").await);
    house.listens(&bob, &old.url("/")).await;
    house.mail(&alice, "bob", "hi").await;
    house.listens(&bob, &new.url("/")).await;
    house.clock.advance(Duration::from_secs(30));
    house.hallway.agents().webhooks().have_changed();
    until("the new one has it", || new.messages() == ["hi"]).await;
    house.listens(&bob, "").await;
    let accepted = house.mail(&alice, "bob", "second").await;
    assert_eq!((accepted.status, accepted.method), (Status::Queued, Method::Relay));
    house.listens(&bob, &new.url("/")).await;
    until("it is posted once there is a webhook again", || new.messages() == ["hi", "second"]).await;
    assert_eq!(old.posts().len(), 1);
}

#[tokio::test]
async fn an_open_socket_comes_first_unless_the_agent_says_otherwise() {
    let (house, receiver) =
        (House::posting(WebhookConfig::default()), Receiver::new(Answer::Status(200)).await);
    let (alice, bob) = (house.agent("alice").await, house.agent("bob").await);
    house.listens(&bob, &receiver.url("/")).await;
    let socket = house.hallway.agents().presence().connect(bob.no);
    let _watching = house.hallway.subscribe(&bob);
    let sending = house.mail(&alice, "bob", "first");
    let writing = async {
        until("it is there", || house.inbox(&bob).len() == 1).await;
        let seq = house.hallway.pending(&bob, None, 1).unwrap()[0].seq;
        house.store.mark_handed_out(bob.no, vec![seq]).await.unwrap();
        house.hallway.pushed(&bob, Priority::Normal, seq);
    };
    let (accepted, ()) = tokio::join!(sending, writing);
    assert_eq!((accepted.method, accepted.basis), (Method::Websocket, Basis::SocketWritten));
    house.prefers(&bob, &receiver.url("/"), Some(false)).await;
    let accepted = house.mail(&alice, "bob", "second").await;
    assert_eq!((accepted.method, accepted.basis), (Method::Webhook, Basis::Webhook2xx));
    assert_eq!(receiver.messages(), ["second"]);
    drop(socket);
}

#[tokio::test]
async fn addresses_that_are_not_to_be_reached_are_refused_at_registration() {
    let house = House::new();
    let bob = house.agent("bob").await;
    for url in
        ["http://example.org/", "https://127.0.0.1/", "https://2130706433/", "https://[::ffff:10.0.0.1]/"]
    {
        let delivery = DeliverySettings { webhook_url: Some(url.to_owned()), ..DeliverySettings::default() };
        let patch = AgentPatch { delivery: Some(delivery), ..AgentPatch::default() };
        let error = house.hallway.agents().update(&bob, patch).await.unwrap_err();
        assert_eq!((error.code(), error.field()), ("invalid_field", Some("delivery")), "{url}");
    }
    assert_eq!(house.hallway.agents().directory().with_webhook().len(), 0);
}

#[tokio::test]
async fn urgent_mail_is_posted_before_a_backlog_and_every_class_in_its_order() {
    let (house, receiver) = (
        House::posting(WebhookConfig { per_agent: 1, ..WebhookConfig::default() }),
        Receiver::new(Answer::OnCommand).await,
    );
    let (alice, bob) = (house.agent("alice").await, house.agent("bob").await);
    house.listens(&bob, &receiver.url("/")).await;
    let put = async |class, text: &str| {
        let request = Box::new(signed_by_class("alice", "bob", class, text));
        let incoming = Incoming::FromAgent { agent: alice.clone(), request, idempotency_key: None };
        let prepared = house.hallway.prepare(incoming).unwrap();
        house.hallway.commit(prepared).await.unwrap();
    };
    put(Priority::Normal, "0").await;
    until("the first is under way", || receiver.under_way() == 1).await;
    for n in 1..50 {
        put(Priority::Normal, &n.to_string()).await;
    }
    put(Priority::Urgent, "fire").await;
    put(Priority::Urgent, "more fire").await;
    (0..52).for_each(|_| receiver.let_one_go());
    until("all are posted", || receiver.posts().len() == 52).await;
    let normal = (1..50).map(|n| n.to_string());
    let expected = ["0", "fire", "more fire"].into_iter().map(str::to_owned).chain(normal);
    assert_eq!(receiver.messages(), expected.collect::<Vec<_>>());
}
