//! Look-ups against stand-ins for DNS and HTTPS: which step is asked when, what is believed, what is kept for how long.

use super::*;
use amesh_proto::key::AgentKey;
use futures_util::FutureExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The world, as a table from what is asked to what is answered; whoever is not in it does not exist.
#[derive(Debug, Default, Clone)]
struct World {
    answers: Arc<Mutex<HashMap<String, Result<String, AskError>>>>,
    asked: Arc<AtomicUsize>,
    ttl: Duration,
}

const DOMAIN: &str = "corp.io";
const NAME: &str = "_amp._tcp.corp.io.";
const WELL_KNOWN: &str = "https://corp.io/.well-known/agent-messaging.json";
const REGISTRY: &str = "https://registry.example/providers/corp.io";
const INFO: &str = "https://api.corp.io/v1/info";
const HANGS: &str = "nothing, for ever";
const START: Duration = Duration::from_secs(1);

impl World {
    fn says(&self, question: &str, answer: impl Into<String>) {
        self.answers.lock().unwrap().insert(question.to_owned(), Ok(answer.into()));
    }

    fn fails(&self, question: &str) {
        let failure = AskError::Failed("no answer in time".to_owned());
        self.answers.lock().unwrap().insert(question.to_owned(), Err(failure));
    }

    /// Whoever asks waits for ever.
    fn hangs(&self, question: &str) {
        self.answers.lock().unwrap().insert(question.to_owned(), Err(AskError::Failed(HANGS.to_owned())));
    }

    fn forgets(&self, question: &str) {
        self.answers.lock().unwrap().remove(question);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn answer(&self, question: &str) -> Result<String, AskError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.answers.lock().unwrap().get(question).cloned().unwrap_or(Err(AskError::Nothing))
    }

    fn providers(&self, off: &[Step]) -> Providers {
        let settings =
            Settings { registry: "https://registry.example/providers/".to_owned(), off: off.to_vec() };
        Providers::new(settings, Box::new(self.clone()), Box::new(self.clone()))
    }
}

impl Texts for World {
    fn texts<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(Vec<String>, Duration), AskError>> {
        let answer = self.answer(name).map(|text| (text.split('|').map(str::to_owned).collect(), self.ttl));
        std::future::ready(answer).boxed()
    }
}

impl Pages for World {
    fn page<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Vec<u8>, AskError>> {
        match self.answer(url) {
            Err(AskError::Failed(why)) if why == HANGS => std::future::pending().boxed(),
            answer => std::future::ready(answer.map(String::into_bytes)).boxed(),
        }
    }

    fn judge<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<(), AskError>> {
        let private = AskError::Refused("it is out of reach".to_owned());
        std::future::ready(if url.contains("10.0.0.1") { Err(private) } else { Ok(()) }).boxed()
    }
}

fn key(seed: u8) -> PublicKey {
    AgentKey::from_seed(&[seed; 32]).public()
}

fn record(seed: u8) -> String {
    format!("v=AMP1; endpoint=https://api.corp.io/v1; pubkey={}", key(seed).fingerprint())
}

fn document(seed: u8) -> String {
    let pem = key(seed).to_pem().replace('\n', "\\n");
    format!(
        r#"{{"version":"AMP1","endpoint":"https://api.corp.io/v1","public_key":"{pem}","fingerprint":"{}"}}"#,
        key(seed).fingerprint()
    )
}

fn entry(seed: u8) -> String {
    format!(
        r#"{{"provider":"corp.io","endpoint":"https://api.corp.io/v1","fingerprint":"{}","verified":true}}"#,
        key(seed).fingerprint()
    )
}

fn info(seed: u8) -> String {
    format!(r#"{{"provider":"corp.io","public_key":"{}"}}"#, key(seed).to_pem().replace('\n', "\\n"))
}

async fn found(providers: &Providers, now: Duration) -> (Option<Step>, Option<PublicKey>) {
    let looked = providers.look_up(DOMAIN, None, now).await.unwrap();
    (
        looked.provider.as_ref().map(|provider| provider.step),
        looked.provider.and_then(|provider| provider.key),
    )
}

#[tokio::test]
async fn each_step_is_used_where_those_before_it_know_nothing() {
    let world = World::default();
    world.says(NAME, record(1));
    world.says(WELL_KNOWN, document(1));
    world.says(REGISTRY, entry(1));
    world.says(INFO, info(1));
    for (off, step) in [
        (&[][..], Step::DnsTxt),
        (&[Step::DnsTxt], Step::WellKnown),
        (&[Step::DnsTxt, Step::WellKnown], Step::Registry),
    ] {
        assert_eq!(found(&world.providers(off), START).await, (Some(step), Some(key(1))));
    }
    let off = [Step::DnsTxt, Step::WellKnown, Step::Registry];
    assert_eq!(found(&world.providers(&off), START).await, (None, None));
}

#[tokio::test]
async fn a_key_that_only_dns_announces_is_no_key_and_the_next_step_is_asked() {
    let world = World::default();
    world.says(NAME, record(1));
    assert_eq!(found(&world.providers(&[]), START).await, (Some(Step::DnsTxt), None));
    world.says(REGISTRY, entry(1));
    world.says(INFO, info(1));
    let looked = world.providers(&[]).look_up(DOMAIN, None, START).await.unwrap();
    let outcomes: Vec<_> = looked.steps.iter().map(|(_, outcome)| outcome.clone()).collect();
    assert_eq!(outcomes, [Outcome::Unproven, Outcome::Nothing, Outcome::Found]);
    world.says(WELL_KNOWN, document(1));
    assert_eq!(found(&world.providers(&[]), START).await, (Some(Step::DnsTxt), Some(key(1))));
    let pinned = world.providers(&[Step::WellKnown]).look_up(DOMAIN, Some(&key(1)), START).await.unwrap();
    assert_eq!(pinned.provider.unwrap().key, Some(key(1)), "the owner's pin agrees");
}

#[tokio::test]
async fn dns_alone_does_not_lead_mail_away_from_a_provider() {
    let world = World::default();
    let elsewhere = |host: &str| record(1).replace("api.corp.io", host);
    world.says(NAME, elsewhere("api.evil.io"));
    world.says(WELL_KNOWN, document(1));
    let looked = world.providers(&[]).look_up(DOMAIN, None, START).await.unwrap();
    assert!(
        matches!(&looked.steps[0], (Step::DnsTxt, Outcome::Refused(why)) if why.contains("another endpoint")),
        "{looked:?}"
    );
    assert_eq!(looked.provider.unwrap().endpoint, "https://api.corp.io/v1");
    world.forgets(WELL_KNOWN);
    for (host, proven) in [
        ("api.corp.io", true),
        ("corp.io:8443", true),
        ("evilcorp.io", false),
        ("corp.io.evil.io", false),
        ("evil.io", false),
    ] {
        world.says(NAME, elsewhere(host));
        let looked = world.providers(&[]).look_up(DOMAIN, Some(&key(1)), START).await.unwrap();
        assert_eq!(looked.provider.unwrap().key.is_some(), proven, "{host} with a pinned key");
    }
}

#[tokio::test]
async fn an_endpoint_out_of_reach_is_refused_in_every_step() {
    let world = World::default();
    for (question, answer) in [(NAME, record(1)), (WELL_KNOWN, document(1)), (REGISTRY, entry(1))] {
        world.says(question, answer.replace("api.corp.io", "10.0.0.1"));
    }
    let looked = world.providers(&[]).look_up(DOMAIN, Some(&key(1)), START).await.unwrap();
    assert_eq!(looked.provider, None);
    let refused = |(_, outcome): &(Step, Outcome)| matches!(outcome, Outcome::Refused(why) if why.contains("out of reach"));
    assert!(looked.steps.iter().all(refused), "{looked:?}");
}

#[tokio::test]
async fn whoever_announces_one_key_and_shows_another_is_refused_and_the_next_step_is_asked() {
    let world = World::default();
    world.says(NAME, record(2));
    world.says(WELL_KNOWN, document(1));
    let looked = world.providers(&[]).look_up(DOMAIN, None, START).await.unwrap();
    assert!(
        matches!(&looked.steps[0], (Step::DnsTxt, Outcome::Refused(why)) if why.contains("fingerprint")),
        "{looked:?}"
    );
    assert_eq!(looked.provider.unwrap().step, Step::WellKnown);
    let pinned = world.providers(&[]).look_up(DOMAIN, Some(&key(3)), START).await.unwrap();
    assert_eq!(pinned.provider, None, "nothing agrees with the pin");
    let refused =
        |(_, outcome): &(Step, Outcome)| matches!(outcome, Outcome::Refused(why) if why.contains("pinned"));
    assert!(pinned.steps[..2].iter().all(refused), "{pinned:?}");
}

#[tokio::test]
async fn records_that_contradict_each_other_and_junk_are_told_and_passed_over() {
    let world = World::default();
    world.says(NAME, format!("{}|{}", record(1), record(2)));
    let looked = world.providers(&[]).look_up(DOMAIN, None, START).await.unwrap();
    assert!(matches!(&looked.steps[0].1, Outcome::Refused(why) if why.contains("contradict")), "{looked:?}");
    world.says(NAME, "v=spf1 -all|some text");
    let looked = world.providers(&[]).look_up(DOMAIN, None, START).await.unwrap();
    assert_eq!(looked.steps[0].1, Outcome::Nothing);
    world.says(NAME, "v=AMP1; endpoint=http://corp.io; pubkey=SHA256:x");
    let looked = world.providers(&[]).look_up(DOMAIN, None, START).await.unwrap();
    assert_eq!(looked.steps[0].1, Outcome::Refused("endpoint: it is no https:// address".to_owned()));
}

#[tokio::test]
async fn what_was_found_holds_for_its_time_and_is_asked_for_again_after() {
    let world = World { ttl: Duration::from_secs(10), ..World::default() };
    world.says(NAME, record(1));
    world.says(WELL_KNOWN, document(1));
    let providers = world.providers(&[]);
    found(&providers, START).await;
    let asked = world.asked();
    found(&providers, START + Duration::from_secs(299)).await;
    assert_eq!(world.asked(), asked, "five minutes at least, whatever the record says (FED-5)");
    found(&providers, START + Duration::from_secs(300)).await;
    assert_eq!(world.asked(), 2 * asked);
    providers.forget("CORP.io");
    found(&providers, START + Duration::from_secs(301)).await;
    assert_eq!(world.asked(), 3 * asked);
}

#[tokio::test]
async fn a_provider_that_was_found_before_stands_in_while_nobody_answers_and_not_when_it_is_gone() {
    let world = World::default();
    world.says(WELL_KNOWN, document(1));
    let providers = world.providers(&[]);
    assert_eq!(found(&providers, START).await.0, Some(Step::WellKnown));
    world.fails(WELL_KNOWN);
    let later = START + Duration::from_secs(3_600);
    assert_eq!(found(&providers, later).await, (Some(Step::StaleCache), Some(key(1))));
    let known = providers.known(DOMAIN, later).unwrap().unwrap();
    assert_eq!((known.found_at, known.fresh_until), (START, later + Duration::from_secs(30)));
    let off = world.providers(&[Step::StaleCache]);
    world.says(WELL_KNOWN, document(1));
    found(&off, START).await;
    world.fails(WELL_KNOWN);
    assert_eq!(found(&off, later).await, (None, None), "the owner wants nothing stale");
    let back = later + Duration::from_secs(30);
    world.says(WELL_KNOWN, document(1));
    assert_eq!(found(&providers, back).await.0, Some(Step::WellKnown), "asked again after half a minute");
    world.forgets(WELL_KNOWN);
    assert_eq!(found(&providers, back + Duration::from_secs(3_600)).await, (None, None));
}

#[tokio::test]
async fn those_who_ask_for_the_same_wait_for_one_answer() {
    let world = World::default();
    let providers = world.providers(&[Step::WellKnown, Step::Registry]);
    let asking = (0..50).map(|_| found(&providers, START));
    futures_util::future::join_all(asking).await;
    assert_eq!(world.asked(), 1);
    assert!(providers.under_way().is_empty());
}

#[tokio::test]
async fn strangers_names_are_remembered_in_bounded_room() {
    let world = World::default();
    let providers = world.providers(&[Step::WellKnown, Step::Registry]);
    for number in 0..5_000 {
        providers.look_up(&format!("n{number}.example.com"), None, START).await.unwrap();
    }
    assert!(providers.cache().len() <= 4096);
}

#[tokio::test]
async fn names_of_the_local_network_and_no_names_are_never_asked_for() {
    let world = World::default();
    let providers = world.providers(&[]);
    for (domain, why) in [
        ("aimaestro.local", NotLookedUp::Local),
        ("a.internal.", NotLookedUp::Local),
        ("x.LOCALHOST", NotLookedUp::Local),
        ("localhost", NotLookedUp::NoDomain),
        ("10.0.0.1", NotLookedUp::NoDomain),
        ("0x7f.1", NotLookedUp::NoDomain),
        ("a..b", NotLookedUp::NoDomain),
        ("-a.b", NotLookedUp::NoDomain),
        ("a b.c", NotLookedUp::NoDomain),
        ("a.b/c", NotLookedUp::NoDomain),
    ] {
        assert_eq!(providers.look_up(domain, None, START).await, Err(why), "{domain}");
    }
    assert_eq!(world.asked(), 0);
}

#[tokio::test]
async fn the_registry_checks_a_key_and_is_believed_for_a_day_whatever_dns_says() {
    let world = World::default();
    let registered = async |providers: &Providers, seed: u8, now: Duration| {
        providers.is_registered("Corp.IO.", &key(seed), START + now).await
    };
    let providers = world.providers(&[]);
    assert_eq!(registered(&providers, 1, Duration::ZERO).await, Some(false));
    let print = key(1).fingerprint();
    let entry = |verified: bool| {
        format!(
            r#"{{"provider":"corp.io","endpoint":"https://api.corp.io/v1","fingerprint":"{print}","verified":{verified}}}"#
        )
    };
    world.says(REGISTRY, entry(false));
    let hour = Duration::from_secs(3_600);
    assert_eq!(registered(&providers, 1, hour).await, Some(false));
    world.says(REGISTRY, entry(true));
    assert_eq!(registered(&providers, 1, 2 * hour).await, Some(true));
    assert_eq!(registered(&providers, 2, 2 * hour).await, Some(false));
    world.fails(REGISTRY);
    assert_eq!(registered(&providers, 1, 25 * hour).await, Some(true));
    assert_eq!(registered(&providers, 1, 27 * hour).await, None);
    assert_eq!(world.asked(), 4);
}

#[tokio::test]
async fn names_that_keep_everybody_waiting_hold_up_no_provider_that_was_found_before() {
    let world = World::default();
    world.says(WELL_KNOWN, document(1));
    let providers = world.providers(&[]);
    assert_eq!(found(&providers, START).await.0, Some(Step::WellKnown));
    let domains: Vec<_> = (0..AT_A_TIME * 2).map(|number| format!("hang{number}.test")).collect();
    for domain in &domains {
        world.hangs(&format!("https://{domain}/.well-known/agent-messaging.json"));
    }
    let later = START + Duration::from_secs(7_200);
    let hanging =
        futures_util::future::join_all(domains.iter().map(|domain| providers.look_up(domain, None, later)));
    let asked = world.asked();
    tokio::select! {
        biased;
        _ = hanging => panic!("they hang"),
        again = found(&providers, later) => assert_eq!(again.0, Some(Step::WellKnown)),
    }
    assert!(world.asked() > asked + AT_A_TIME, "all places of others were taken");
}
