//! Webhooks over HTTPS, with certificates of a real authority that the test makes: who is posted to, and why others are not.

use super::super::house::*;
use super::receiver::{Answer, Receiver};
use super::{SECRET, until};
use crate::agents::Agent;
use crate::authorities::tests::Authority;
use crate::message::deliver::webhook::Config as WebhookConfig;
use crate::message::deliver::webhook::post::{Failed, Letter, Poster};
use crate::message::{Accepted, Basis, Method, Status};
use crate::reach::tests::Answers;
use amesh_proto::webhook::verify;
use amesh_store::Posting;
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::TlsAcceptor;

const NAME: &str = "hook.example";

/// Settings of an owner who lists `authority`.
fn trusting(authority: &Authority) -> WebhookConfig {
    WebhookConfig { authorities: vec![authority.file()], ..WebhookConfig::default() }
}

/// What a server shows with a certificate of `authority`.
fn shown(authority: &Authority, name: &str, last_year: i32) -> TlsAcceptor {
    authority.vouches_for(&[name], last_year).acceptor()
}

/// Alice writes to Bob, whose webhook is the receiver.
struct Scene {
    house: House,
    alice: Arc<Agent>,
    bob: Arc<Agent>,
    receiver: Receiver,
}

impl Scene {
    async fn new(config: WebhookConfig, certificate: TlsAcceptor) -> Self {
        let names = Arc::new(Answers::default());
        names.are(&["127.0.0.1"]);
        let house = House::posting_to(config, &["127.0.0.1"], names);
        house.hallway.start_webhooks();
        let receiver = Receiver::new(Answer::Status(200)).await;
        receiver.shows(certificate);
        let (alice, bob) = (house.agent("alice").await, house.agent("bob").await);
        house.listens(&bob, &url_of(&receiver)).await;
        Self { house, alice, bob, receiver }
    }

    async fn mail(&self, text: &str) -> Accepted {
        self.house.mail(&self.alice, "bob", text).await
    }

    fn posting(&self) -> Option<Posting> {
        self.house.posting_of(&self.bob, 0)
    }
}

fn url_of(receiver: &Receiver) -> String {
    format!("https://{NAME}:{}/hook", receiver.port())
}

#[tokio::test]
async fn mail_is_posted_over_https_to_whom_the_owners_authority_vouches_for() {
    let authority = Authority::named("one");
    let scene = Scene::new(trusting(&authority), shown(&authority, NAME, 4000)).await;
    let accepted = scene.mail("hi").await;
    assert_eq!((accepted.status, accepted.basis), (Status::Delivered, Basis::Webhook2xx));
    let [post] = scene.receiver.posts().try_into().unwrap();
    let (timestamp, signature) = (post.header("x-amp-timestamp"), post.header("x-amp-signature"));
    assert_eq!(verify(SECRET, timestamp, signature, &post.body, NOW.as_secs()), Ok(()));
}

#[tokio::test]
async fn nothing_is_told_to_a_server_with_a_bad_certificate_and_the_reason_is_named() {
    let (authority, another) = (Authority::named("one"), Authority::named("another"));
    let receiver = Receiver::new(Answer::Status(200)).await;
    let names = Arc::new(Answers::default());
    names.are(&["127.0.0.1"]);
    let house = House::posting_to(WebhookConfig::default(), &["127.0.0.1"], names);
    for (config, certificate, reason) in [
        (WebhookConfig::default(), shown(&authority, NAME, 4000), "UnknownIssuer"),
        (trusting(&another), shown(&authority, NAME, 4000), "UnknownIssuer"),
        (trusting(&authority), shown(&authority, "other.example", 4000), "not valid for name"),
        (trusting(&authority), shown(&authority, NAME, 2021), "expired"),
    ] {
        receiver.shows(certificate);
        let letter = Letter {
            url: &url_of(&receiver),
            secret: Some(SECRET),
            id: "msg_1_a",
            body: b"{}".to_vec(),
            now_s: NOW.as_secs(),
        };
        let failed = Poster::new(&config).post(house.hallway.agents().webhooks(), letter).await;
        let Err(Failed::Now(why)) = failed else { panic!("{reason}: {failed:?}") };
        assert!(why.contains("invalid peer certificate") && why.contains(reason), "{reason}: {why}");
    }
    assert_eq!((receiver.connections(), receiver.posts().len()), (4, 0));
}

#[tokio::test]
async fn a_certificate_that_is_renewed_in_time_costs_a_delay_and_no_mail() {
    let authority = Authority::named("one");
    let scene = Scene::new(trusting(&authority), shown(&authority, NAME, 2021)).await;
    let accepted = scene.mail("hi").await;
    assert_eq!((accepted.status, accepted.method), (Status::Queued, Method::Webhook));
    let next_at = NOW.plus(Duration::from_secs(30));
    assert_eq!(scene.posting(), Some(Posting::Waiting { attempts: 1, next_at }));
    scene.receiver.shows(shown(&authority, NAME, 4000));
    scene.house.clock.advance(Duration::from_secs(30));
    scene.house.hallway.agents().webhooks().have_changed();
    until("it is posted again", || scene.receiver.messages() == ["hi"]).await;
}

#[tokio::test]
async fn nobody_is_led_from_https_elsewhere() {
    let authority = Authority::named("one");
    let plain = Receiver::new(Answer::Status(200)).await;
    let secure = Receiver::new(Answer::Status(200)).await;
    secure.shows(shown(&authority, NAME, 4000));
    for to in [plain.url("/"), url_of(&secure)] {
        let scene = Scene::new(trusting(&authority), shown(&authority, NAME, 4000)).await;
        scene.receiver.answers(Answer::Redirect(to));
        let accepted = scene.mail("hi").await;
        assert_eq!((accepted.status, accepted.method), (Status::Queued, Method::Relay));
        assert_eq!(scene.posting(), Some(Posting::GivenUp { attempts: 1 }));
        assert_eq!(scene.receiver.posts().len(), 1);
    }
    assert_eq!((plain.connections(), secure.connections()), (0, 0));
}
