//! Registration, authentication and leaving, over a store in memory.

use super::*;
use crate::clock::{Clock, ManualClock};
use amesh_proto::address::{Address, Naming};
use amesh_proto::api::agents::{AgentPatch, DeliverySettings};
use amesh_proto::api::register::{RegisterRequest, Scope};
use amesh_proto::key::AgentKey;
use amesh_proto::node_id::NodeId;
use amesh_proto::roster::RosterEntry;
use amesh_store::{AgentNo, AgentRecord, Delivery};
use base64::Engine;
use directory::Member;

mod changes;

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

/// An agent that no store knows.
pub(crate) fn agent(no: u64, address: &str, seed: u8) -> Arc<Agent> {
    let key = AgentKey::from_seed(&[seed; 32]).public();
    let address = Address::parse(address, &["aimaestro.local"]).unwrap();
    Agent::from_record(AgentRecord {
        no: AgentNo(no),
        name: address.name().to_owned(),
        tenant: address.tenant().to_owned(),
        address,
        alias: None,
        key_algorithm: key.algorithm(),
        public_key_der: key.to_spki_der().to_vec(),
        delivery: Delivery::default(),
        metadata: None,
        owner: None,
        registered_at: UnixMillis(0),
        changed_at: UnixMillis(0),
    })
    .unwrap()
}

struct Office {
    agents: Agents,
    store: Store,
    clock: Arc<ManualClock>,
}

const STRANGER: Registrant<'static> =
    Registrant { api_key: None, user_key: None, on_loopback: true, own_user: false };
const OWN_USER: Registrant<'static> =
    Registrant { api_key: None, user_key: None, on_loopback: true, own_user: true };

impl Office {
    fn new() -> Self {
        let (store, _disk) = Store::in_memory(amesh_store::Config::default()).unwrap();
        let clock = ManualClock::at(NOW);
        Self { agents: load(&store, &clock), store, clock }
    }

    async fn register(&self, request: RegisterRequest) -> Result<Registered, RegisterError> {
        self.agents.register(request, STRANGER).await
    }

    async fn refused(
        &self,
        change: impl FnOnce(&mut RegisterRequest),
    ) -> (&'static str, Option<&'static str>) {
        let mut request = request("bob", 2);
        change(&mut request);
        let error = self.register(request).await.unwrap_err();
        (error.code(), error.field())
    }

    fn peer_with(&self, name: &str) {
        let key = AgentKey::from_seed(&[9; 32]).public();
        let address =
            Address::parse(&format!("{name}@default.aimaestro.local"), &["aimaestro.local"]).unwrap();
        let entry = RosterEntry::first(address, (key.algorithm(), key.to_spki_der().to_vec()), NOW, 1);
        let member = Member { node: NodeId::from_bytes([2; 32]), host: "host2".to_owned(), order: 7 };
        self.agents.directory().install_roster(member, vec![entry]);
    }
}

fn load(store: &Store, clock: &Arc<ManualClock>) -> Agents {
    load_as(Config::default(), store, clock)
}

fn load_as(config: Config, store: &Store, clock: &Arc<ManualClock>) -> Agents {
    let naming = Naming::new("default", "aimaestro.local", "host1").unwrap();
    let directory = Directory::new(naming, NodeId::from_bytes([1; 32]));
    Agents::load(config, store.clone(), clock.clone() as Arc<dyn Clock>, directory).unwrap()
}

fn request(name: &str, seed: u8) -> RegisterRequest {
    RegisterRequest {
        name: name.to_owned(),
        tenant: Some("default".to_owned()),
        public_key: AgentKey::from_seed(&[seed; 32]).public().to_pem(),
        key_algorithm: "Ed25519".to_owned(),
        ..RegisterRequest::default()
    }
}

#[tokio::test]
async fn a_registered_agent_is_known_by_its_api_key_also_after_a_restart() {
    let office = Office::new();
    let registered = office.register(request("Bob", 2)).await.unwrap();
    assert_eq!(registered.agent.address.as_str(), "bob@default.aimaestro.local");
    assert!(
        registered.agent.is_named("Bob@default.aimaestro.local"),
        "the name keeps the case it was signed with"
    );
    let restarted = load(&office.store, &office.clock);
    for agents in [&office.agents, &restarted] {
        assert_eq!(agents.authenticate(&registered.api_key).unwrap().address, registered.agent.address);
        assert_eq!(agents.authenticate("amp_live_sk_0000").unwrap_err(), AuthError::Unknown);
    }
    assert_eq!(office.agents.presence().last_seen(registered.agent.no), Some(NOW));
}

#[tokio::test]
async fn what_is_missing_or_wrong_in_a_registration_is_named() {
    let office = Office::new();
    assert_eq!(office.refused(|r| r.tenant = None).await, ("missing_field", Some("tenant")));
    assert_eq!(office.refused(|r| r.tenant = Some("a.b".into())).await, ("invalid_field", Some("tenant")));
    for name in ["-bob", "b b", "bob@x", "", &"b".repeat(64), "system", "System"] {
        assert_eq!(office.refused(|r| r.name = name.into()).await, ("invalid_field", Some("name")), "{name}");
    }
    assert_eq!(
        office.refused(|r| r.key_algorithm = "DSA".into()).await,
        ("invalid_field", Some("key_algorithm"))
    );
    assert_eq!(
        office.refused(|r| r.key_algorithm = "RSA".into()).await,
        ("invalid_field", Some("public_key"))
    );
    let weak = "0100000000000000000000000000000000000000000000000000000000000000";
    assert_eq!(office.refused(|r| r.public_key = weak.into()).await, ("invalid_field", Some("public_key")));
    assert_eq!(
        office.refused(|r| r.public_key = "x".repeat(9000)).await,
        ("invalid_field", Some("public_key"))
    );
    let repo_only = Scope { platform: None, repo: Some("web".into()) };
    assert_eq!(office.refused(|r| r.scope = Some(repo_only)).await, ("invalid_field", Some("scope")));
    let ftp = DeliverySettings { webhook_url: Some("ftp://x".into()), ..DeliverySettings::default() };
    assert_eq!(office.refused(|r| r.delivery = Some(ftp)).await, ("invalid_field", Some("delivery")));
    assert_eq!(office.agents.count(), 0);
}

#[tokio::test]
async fn a_scope_goes_into_the_address_most_specific_first() {
    let office = Office::new();
    let scope = Some(Scope { platform: Some("GitHub".into()), repo: Some("web".into()) });
    let registered = office.register(RegisterRequest { scope, ..request("ci", 2) }).await.unwrap();
    assert_eq!(registered.agent.address.as_str(), "ci@web.github.default.aimaestro.local");
    assert_eq!(registered.agent.short_address().as_str(), "ci@default.aimaestro.local");
}

#[tokio::test]
async fn nobody_takes_the_name_of_a_host_for_its_tenant_or_platform() {
    let office = Office::new();
    office.peer_with("al");
    for host in ["host1", "host2"] {
        assert_eq!(office.refused(|r| r.tenant = Some(host.into())).await.0, "tenant_access_denied");
        let scope = Scope { platform: Some(host.into()), repo: None };
        assert_eq!(office.refused(|r| r.scope = Some(scope)).await, ("invalid_field", Some("scope")));
    }
}

#[tokio::test]
async fn a_name_with_another_key_is_taken_and_free_ones_are_offered() {
    let office = Office::new();
    office.register(request("bob", 2)).await.unwrap();
    for by in [STRANGER, OWN_USER] {
        let error = office.agents.register(request("BOB", 3), by).await.unwrap_err();
        assert_eq!((error.code(), error.field()), ("name_taken", Some("name")));
        let offered = error.suggestions();
        assert!(offered.len() >= 4 && offered.contains(&"bob-2".to_owned()));
        assert_eq!(error.details()["suggestions"].as_array().unwrap().len(), offered.len());
        office.register(request(&offered[0], 3)).await.unwrap();
    }
}

#[tokio::test]
async fn a_name_that_another_host_holds_is_taken_here_too() {
    let office = Office::new();
    office.peer_with("bob");
    let error = office.register(request("bob", 2)).await.unwrap_err();
    assert_eq!(error.code(), "name_taken");
    assert_eq!(error.suggestions()[0], "bob-host1");
    assert_eq!(error.details()["held_by"], "host2");
}

#[tokio::test]
async fn knowing_a_public_key_is_not_enough_to_get_an_api_key() {
    let office = Office::new();
    office.register(request("bob", 2)).await.unwrap();
    let error = office.register(request("bob", 2)).await.unwrap_err();
    assert_eq!((error.code(), error.details()["proof_needed"].as_bool()), ("name_taken", Some(true)));
}

#[tokio::test]
async fn the_old_api_key_or_a_fresh_signature_gets_a_new_api_key_and_ends_the_old() {
    let office = Office::new();
    let first = office.register(request("bob", 2)).await.unwrap().api_key;
    let other = office.register(request("eve", 3)).await.unwrap().api_key;
    let by =
        |api_key| Registrant { api_key: Some(api_key), user_key: None, on_loopback: true, own_user: false };
    assert!(office.agents.register(request("bob", 2), by(&other)).await.is_err());
    let second = office.agents.register(request("bob", 2), by(&first)).await.unwrap();
    assert!(second.again && !second.unproven);
    assert!(office.agents.authenticate(&first).is_err());
    assert!(office.agents.authenticate(&second.api_key).is_ok());
    let third = office.register(proven("bob", 2, NOW)).await.unwrap();
    assert!(third.again && !third.unproven);
    assert!(office.agents.authenticate(&second.api_key).is_err());
}

fn proven(name: &str, seed: u8, at: UnixMillis) -> RegisterRequest {
    proven_to("aimaestro.local", name, seed, at)
}

fn proven_to(provider: &str, name: &str, seed: u8, at: UnixMillis) -> RegisterRequest {
    let at = at.to_rfc3339();
    let said = RegisterRequest::proof_text(name, "default", provider, &at);
    let signature = AgentKey::from_seed(&[seed; 32]).sign(said.as_bytes());
    let proof = Some(base64::engine::general_purpose::STANDARD.encode(signature));
    RegisterRequest { proof, proof_at: Some(at), ..request(name, seed) }
}

#[tokio::test]
async fn a_proof_that_is_old_of_another_name_or_key_or_for_another_provider_proves_nothing() {
    let office = Office::new();
    office.register(request("bob", 2)).await.unwrap();
    let old = proven("bob", 2, NOW.minus(Duration::from_secs(600)));
    let ahead = proven("bob", 2, NOW.plus(Duration::from_secs(600)));
    let other_name = RegisterRequest { proof: proven("eve", 2, NOW).proof, ..proven("bob", 2, NOW) };
    let other_key = RegisterRequest { proof: proven("bob", 3, NOW).proof, ..proven("bob", 2, NOW) };
    let elsewhere = proven_to("provider.example", "bob", 2, NOW);
    for request in [old, ahead, other_name, other_key, elsewhere] {
        assert_eq!(office.register(request).await.unwrap_err().code(), "name_taken");
    }
}

#[tokio::test]
async fn the_nodes_own_user_needs_no_proof_but_the_agent_is_to_be_told() {
    let office = Office::new();
    office.register(request("bob", 2)).await.unwrap();
    let again = office.agents.register(request("bob", 2), OWN_USER).await.unwrap();
    assert!(again.again && again.unproven);
    let new = office.agents.register(request("new", 4), OWN_USER).await.unwrap();
    assert!(!new.again && !new.unproven);
}

#[tokio::test]
async fn an_agent_that_left_is_nobody_and_its_address_stays_free_of_others_for_thirty_days() {
    let office = Office::new();
    let bob = office.register(request("bob", 2)).await.unwrap();
    office.agents.deregister(&bob.agent).await.unwrap();
    assert_eq!(office.agents.authenticate(&bob.api_key).unwrap_err(), AuthError::Unknown);
    assert!(matches!(office.agents.directory().resolve(&bob.agent.address), directory::Resolution::Unknown));
    let error = office.register(request("bob", 3)).await.unwrap_err();
    assert_eq!(error.code(), "name_taken");
    assert!(error.details().contains_key("withheld_until"));
    office.clock.advance(Duration::from_secs(31 * 86_400));
    office.register(request("bob", 3)).await.unwrap();
}

#[tokio::test]
async fn a_left_name_is_taken_up_again_only_by_who_shows_to_hold_its_key() {
    let office = Office::new();
    let bob = office.register(request("bob", 2)).await.unwrap();
    office.agents.deregister(&bob.agent).await.unwrap();
    let error = office.register(request("bob", 2)).await.unwrap_err();
    assert_eq!((error.code(), error.details()["proof_needed"].as_bool()), ("name_taken", Some(true)));
    let old_key =
        Registrant { api_key: Some(&bob.api_key), user_key: None, on_loopback: true, own_user: false };
    assert!(office.agents.register(request("bob", 2), old_key).await.is_err(), "its API keys are gone");
    let proven = office.register(proven("bob", 2, NOW)).await.unwrap();
    assert!(!proven.unproven);
    office.agents.deregister(&proven.agent).await.unwrap();
    let vouched = office.agents.register(request("bob", 2), OWN_USER).await.unwrap();
    assert!(vouched.unproven, "the agent is to be told");
    office.agents.deregister(&vouched.agent).await.unwrap();
    assert!(office.agents.register(request("bob", 3), OWN_USER).await.is_err(), "another key waits");
}

#[tokio::test]
async fn the_owner_gives_an_agent_that_lost_its_name_another_one() {
    let office = Office::new();
    let bob = office.register(request("bob", 2)).await.unwrap();
    office.peer_with("bob");
    office.agents.directory().set_me(Member {
        node: NodeId::from_bytes([1; 32]),
        host: "host1".to_owned(),
        order: 9,
    });
    assert!(matches!(office.agents.directory().standing(&bob.agent), directory::Standing::Lost { .. }));
    let found = office.agents.of_this_node("bob").unwrap();
    assert_eq!(found.no, bob.agent.no);
    let error = office.agents.rename(&found, "system").await.unwrap_err();
    assert_eq!((error.code(), error.field()), ("invalid_field", Some("name")));
    let renamed = office.agents.rename(&found, "bob-host1").await.unwrap();
    assert_eq!(renamed.agent.address.as_str(), "bob-host1@default.aimaestro.local");
    let now = office.agents.authenticate(&bob.api_key).unwrap();
    assert_eq!((now.no, &now.address), (bob.agent.no, &renamed.agent.address));
    assert!(matches!(office.agents.directory().standing(&now), directory::Standing::Holds));
    assert_eq!(office.agents.of_this_node("bob").unwrap_err().code(), "not_found");
    let error = office.agents.rename(&now, "bob").await.unwrap_err();
    assert_eq!(error.details()["held_by"], "host2");
    let again = load(&office.store, &office.clock);
    assert!(again.directory().local_agent(&renamed.agent.address).is_some());
}

#[tokio::test]
async fn an_update_changes_what_it_names_and_nothing_else() {
    let office = Office::new();
    let bob = office.register(request("bob", 2)).await.unwrap();
    let delivery = DeliverySettings {
        webhook_url: Some("https://example.org/hook".into()),
        webhook_secret: Some("s3cret".into()),
        prefer_websocket: None,
    };
    let patch = AgentPatch { delivery: Some(delivery), ..AgentPatch::default() };
    office.agents.update(&bob.agent, patch).await.unwrap();
    let patch = AgentPatch { alias: Some("Bob the Builder".into()), ..AgentPatch::default() };
    office.agents.update(&bob.agent, patch).await.unwrap();
    let now = office.agents.authenticate(&bob.api_key).unwrap();
    assert_eq!(now.record.alias.as_deref(), Some("Bob the Builder"));
    assert_eq!(now.record.delivery.webhook_url.as_deref(), Some("https://example.org/hook"));
    let gone = DeliverySettings { webhook_url: Some(String::new()), ..DeliverySettings::default() };
    let patch = AgentPatch { delivery: Some(gone), alias: Some(String::new()), ..AgentPatch::default() };
    let now = office.agents.update(&now, patch).await.unwrap();
    assert_eq!((now.record.delivery.webhook_url.as_deref(), now.record.alias.as_deref()), (None, None));
    assert_eq!(now.record.delivery.webhook_secret.as_deref(), Some("s3cret"));
}

#[test]
fn an_agent_is_online_as_long_as_one_of_its_sockets_is_open() {
    let presence = Presence::default();
    let bob = AgentNo(1);
    let (first, second) = (presence.connect(bob), presence.connect(bob));
    drop(first);
    assert!(presence.online(bob));
    assert_eq!(presence.online_count(), 1);
    drop(second);
    assert!(!presence.online(bob));
}
