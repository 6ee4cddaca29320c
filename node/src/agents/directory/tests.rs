//! What the directory promises: one holder per name, everywhere alike.

use super::*;
use crate::agents::tests::agent;
use amesh_proto::key::AgentKey;
use amesh_proto::roster::{HomeStatement, RetiredKey};
use proptest::prelude::*;

fn node(byte: u8) -> NodeId {
    NodeId::from_bytes([byte; 32])
}

fn member(byte: u8, order: u64) -> Member {
    Member { node: node(byte), host: format!("host{byte}"), order }
}

fn directory() -> Directory {
    Directory::new(Naming::new("default", "aimaestro.local", "host1").unwrap(), node(1))
}

fn address(text: &str) -> Address {
    Address::parse(text, &["aimaestro.local"]).unwrap()
}

fn entry(text: &str, seed: u8) -> RosterEntry {
    let key = AgentKey::from_seed(&[seed; 32]).public();
    RosterEntry::first(address(text), (key.algorithm(), key.to_spki_der().to_vec()), UnixMillis(0), 1)
}

fn place(resolution: &Resolution) -> String {
    match resolution {
        Resolution::Local(agent) => format!("here {}", agent.address),
        Resolution::Remote { host, address, .. } => format!("{host} {address}"),
        Resolution::Unknown => "nowhere".to_owned(),
    }
}

fn leads(directory: &Directory, typed: &str) -> String {
    place(&directory.resolve(&directory.expand(typed, None).unwrap()))
}

const BOB: &str = "bob@default.aimaestro.local";

#[test]
fn every_spelling_of_a_remote_agent_leads_to_its_host() {
    let directory = directory();
    directory.install_roster(member(2, 1), vec![entry(BOB, 2)]);
    let bob = format!("host2 {BOB}");
    for typed in [
        "bob",
        "BOB@default.aimaestro.local",
        "bob@host2",
        "bob@host2.aimaestro.local",
        "bob@host2.default.aimaestro.local",
        "bob@default.local",
    ] {
        assert_eq!(leads(&directory, typed), bob, "{typed}");
    }
    assert_eq!(leads(&directory, "bob@host1"), "nowhere");
    assert_eq!(leads(&directory, "carol"), "nowhere");
}

#[test]
fn the_older_member_holds_a_clashing_name_and_the_other_is_reached_by_its_host() {
    let directory = directory();
    directory.set_me(member(1, 5));
    directory.put_local(agent(1, BOB, 1));
    directory.install_roster(member(2, 3), vec![entry(BOB, 2)]);
    directory.install_roster(member(3, 9), vec![entry(BOB, 3)]);
    assert_eq!(leads(&directory, "bob"), format!("host2 {BOB}"));
    assert_eq!(leads(&directory, "bob@host1"), format!("here {BOB}"));
    assert_eq!(leads(&directory, "bob@host3"), format!("host3 {BOB}"));
    assert_eq!(directory.list().len(), 1);
    let clashes = directory.clashes();
    assert_eq!(clashes.len(), 2);
    assert!(clashes.iter().all(|clash| clash.holder.host == "host2" && !clash.same_key));
    assert_eq!(clashes[0].mend.as_deref(), Some("amesh agents rename bob bob-host1"));
    assert_eq!(clashes[1].mend, None);
}

#[test]
fn only_the_loser_of_a_clash_with_another_key_may_not_send() {
    let directory = directory();
    directory.set_me(member(1, 5));
    let bob = agent(1, BOB, 1);
    directory.put_local(bob.clone());
    assert_eq!(directory.standing(&bob), Standing::Holds);
    directory.install_roster(member(2, 9), vec![entry(BOB, 2)]);
    assert_eq!(directory.standing(&bob), Standing::Holds, "the other one is younger");
    directory.install_roster(member(3, 3), vec![entry(BOB, 1)]);
    assert_eq!(directory.standing(&bob), Standing::Holds, "the other one has the same key");
    directory.install_roster(member(3, 3), vec![entry(BOB, 3)]);
    let Standing::Lost { holder, mend } = directory.standing(&bob) else { panic!("bob still holds") };
    assert_eq!((holder.as_str(), mend.as_str()), ("host3", "amesh agents rename bob bob-host1"));
}

#[test]
fn mail_of_a_sender_that_lost_its_name_has_no_key() {
    let directory = directory();
    directory.install_roster(member(2, 3), vec![entry(BOB, 2)]);
    directory.install_roster(member(3, 4), vec![entry(BOB, 3)]);
    let now = UnixMillis(1000);
    assert!(matches!(directory.key_for(node(2), &address(BOB), now), KeyAnswer::Valid(_)));
    let answer = directory.key_for(node(3), &address(BOB), now);
    assert!(matches!(answer, KeyAnswer::HeldBy(holder) if holder == member(2, 3)));
    assert!(matches!(directory.key_for(node(4), &address(BOB), now), KeyAnswer::NotListed));
    assert!(matches!(
        directory.key_for(node(2), &address("eve@default.aimaestro.local"), now),
        KeyAnswer::NotListed
    ));
}

#[test]
fn mail_is_judged_by_the_key_that_was_valid_when_its_origin_accepted_it() {
    let directory = directory();
    let retired = |seed: u8, until: u64, compromised: bool| {
        let key = AgentKey::from_seed(&[seed; 32]).public();
        RetiredKey { public_key: key.to_spki_der().to_vec(), until: UnixMillis(until), compromised }
    };
    let mut bob = entry(BOB, 3);
    bob.previous_keys = vec![retired(2, 200, false), retired(1, 100, true)];
    bob.tombstone = Some(UnixMillis(900));
    directory.install_roster(member(2, 1), vec![bob]);
    let fingerprint = |at: u64| match directory.key_for(node(2), &address(BOB), UnixMillis(at)) {
        KeyAnswer::Valid(key) => Some(key.fingerprint()),
        _ => None,
    };
    let of = |seed: u8| Some(AgentKey::from_seed(&[seed; 32]).public().fingerprint());
    assert_eq!(fingerprint(50), None, "the first key was compromised");
    assert_eq!(fingerprint(100), of(2));
    assert_eq!(fingerprint(199), of(2));
    assert_eq!(fingerprint(200), of(3));
    assert_eq!(fingerprint(900), of(3));
    assert_eq!(fingerprint(901), None, "bob was deregistered by then");
    assert_eq!(place(&directory.resolve(&address(BOB))), "nowhere");
}

#[test]
fn a_short_address_reaches_a_scoped_agent_only_while_it_is_the_only_one() {
    let directory = directory();
    let scoped = "ci@web.github.acme.aimaestro.local";
    directory.put_local(agent(1, scoped, 1));
    assert_eq!(leads(&directory, "ci@acme.aimaestro.local"), format!("here {scoped}"));
    directory.install_roster(member(2, 1), vec![entry("ci@api.github.acme.aimaestro.local", 2)]);
    assert_eq!(leads(&directory, "ci@acme.aimaestro.local"), "nowhere");
    directory.drop_roster(node(2));
    assert_eq!(leads(&directory, "ci@acme.aimaestro.local"), format!("here {scoped}"));
    directory.install_roster(member(2, 1), vec![entry("ci@acme.aimaestro.local", 3)]);
    assert_eq!(leads(&directory, "ci@acme.aimaestro.local"), "host2 ci@acme.aimaestro.local");
}

#[test]
fn what_a_change_withdraws_is_gone_and_what_it_adds_is_there() {
    let directory = directory();
    directory.install_roster(member(2, 1), vec![entry(BOB, 2)]);
    let gone = RosterEntry { tombstone: Some(UnixMillis(5)), ..entry(BOB, 2) };
    directory.apply_to_roster(node(2), vec![gone, entry("al@default.aimaestro.local", 4)]);
    assert_eq!(leads(&directory, "bob"), "nowhere");
    assert_eq!(leads(&directory, "al"), "host2 al@default.aimaestro.local");
    assert_eq!(directory.list().len(), 1);
}

proptest! {
    #[test]
    fn every_order_of_learning_the_rosters_gives_one_picture(
        orders in proptest::collection::vec(0_u64..4, 4),
        shuffle in Just(vec![0_usize, 1, 2, 3]).prop_shuffle(),
    ) {
        let learn = |sequence: &[usize]| {
            let directory = directory();
            directory.set_me(member(9, 99));
            for at in sequence {
                let byte = u8::try_from(*at).unwrap() + 2;
                directory.install_roster(member(byte, orders[*at]), vec![entry(BOB, byte)]);
            }
            (place(&directory.resolve(&address(BOB))), directory.clashes())
        };
        prop_assert_eq!(learn(&[0, 1, 2, 3]), learn(&shuffle));
    }
}

fn mesh() -> MeshId {
    MeshId::of_open_secret(&[5; 32])
}

/// Bob's roster entry at the node `byte`, where he has lived since `at` by his own word.
fn moved_to(byte: u8, at: u64) -> RosterEntry {
    let text = HomeStatement::text(&address(BOB), &node(byte), &mesh(), UnixMillis(at));
    let signature = AgentKey::from_seed(&[2; 32]).sign(text.as_bytes()).to_vec();
    RosterEntry { home: Some(HomeStatement { at: UnixMillis(at), signature }), ..entry(BOB, 2) }
}

#[test]
fn an_agent_is_an_arrival_from_the_moment_in_which_its_address_leads_elsewhere() {
    let directory = directory();
    directory.set_mesh(mesh());
    directory.install_roster(member(2, 1), vec![entry(BOB, 2)]);
    directory.install_roster(member(3, 2), vec![entry("al@default.aimaestro.local", 4)]);
    assert!(!directory.arrivals().some());
    directory.apply_to_roster(node(3), vec![moved_to(3, 7)]);
    assert!(leads(&directory, "bob").starts_with("host3"));
    assert!(directory.arrivals().holds(&address(BOB)));

    let open = |way| directory.unless_moved(&address(BOB), way, || ()).is_some();
    assert!(!open(Way::To(node(2))), "it has left that host");
    assert!(!open(Way::To(node(3))), "newer mail waits for what is queued for the old host");
    directory.arrivals().end(&address(BOB), directory.arrivals().all()[0].1);
    assert!(open(Way::To(node(3))) && !open(Way::To(node(2))));
}

#[test]
fn mail_for_an_agent_that_moves_in_waits_but_for_what_its_last_host_brings() {
    let directory = directory();
    directory.set_mesh(mesh());
    directory.install_roster(member(2, 1), vec![entry(BOB, 2)]);
    directory.set_me(member(1, 9));
    directory.put_own(moved_to(1, 7));
    directory.put_local(agent(7, BOB, 2));
    assert_eq!(leads(&directory, "bob"), format!("here {BOB}"));
    let open = |way| directory.unless_moved(&address(BOB), way, || ()).is_some();
    assert!(!open(Way::Here(None)) && !open(Way::Here(Some(node(3)))));
    assert!(open(Way::Here(Some(node(2)))));
    directory.arrivals().end(&address(BOB), directory.arrivals().all()[0].1);
    assert!(open(Way::Here(None)) && open(Way::Here(Some(node(3)))));
}

#[test]
fn a_node_that_starts_again_while_mail_is_handed_on_to_it_waits_for_that_again() {
    let directory = directory();
    directory.set_mesh(mesh());
    directory.set_me(member(1, 9));
    directory.put_own(moved_to(1, 7));
    directory.put_local(agent(7, BOB, 2));
    assert!(!directory.arrivals().some());
    directory.install_roster(member(2, 1), vec![entry(BOB, 2)]);
    assert!(directory.arrivals().holds(&address(BOB)));
}

#[test]
fn what_was_planned_while_an_agent_left_is_not_put_in_front_of_what_comes_back_with_it() {
    let directory = directory();
    directory.set_mesh(mesh());
    directory.set_me(member(1, 9));
    directory.put_own(moved_to(1, 7));
    directory.put_local(agent(7, BOB, 2));
    directory.install_roster(member(2, 1), vec![moved_to(2, 9)]);
    let open = || directory.unless_moved(&address(BOB), Way::Here(None), || ()).is_some();
    assert!(directory.arrivals().holds(&address(BOB)) && open(), "it is handed on from here");
    directory.put_own(RosterEntry { tombstone: Some(UnixMillis(900)), ..moved_to(1, 7) });
    assert!(!open(), "nothing is handed on from here any more");
}
