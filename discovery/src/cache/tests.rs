//! What the cache keeps, forgets and ranks. Time is an argument.

use super::*;

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 32])
}

fn candidate(source: Source, addresses: &[&str]) -> Candidate {
    let addresses = addresses.iter().map(|text| address(text)).collect();
    Candidate { node: Some(node(1)), addresses, source, label: None, mesh_hint: None, expires_in: None }
}

#[test]
fn the_owners_word_ranks_before_multicast_and_loopback_last() {
    let mut cache = Cache::default();
    cache.learn(
        &candidate(Source::Mdns, &["127.0.0.1:1", "[fe80::1]:1", "[2001:db8::1]:1", "10.0.0.1:1"]),
        at(0),
    );
    cache.learn(&candidate(Source::Static, &["10.0.0.9:1"]), at(0));
    let expected = ["10.0.0.9:1", "10.0.0.1:1", "[2001:db8::1]:1", "[fe80::1]:1", "127.0.0.1:1"];
    assert_eq!(cache.addresses(&node(1), at(0)), expected.map(address));
}

#[test]
fn two_sources_with_one_address_give_it_once() {
    let mut cache = Cache::default();
    cache.learn(&candidate(Source::Mdns, &["10.0.0.1:1"]), at(0));
    cache.learn(&candidate(Source::Memory, &["10.0.0.1:1", "10.0.0.2:1"]), at(0));
    assert_eq!(cache.addresses(&node(1), at(0)), ["10.0.0.1:1", "10.0.0.2:1"].map(address));
}

#[test]
fn only_what_changed_is_news() {
    let mut cache = Cache::default();
    assert!(cache.learn(&candidate(Source::Mdns, &["10.0.0.1:1"]), at(0)));
    assert!(!cache.learn(&candidate(Source::Mdns, &["10.0.0.1:1"]), at(1)));
    assert!(cache.learn(&candidate(Source::Mdns, &["10.0.0.2:1"]), at(2)));
    assert!(cache.lose(&node(1), Source::Mdns, at(3)));
    assert!(!cache.lose(&node(1), Source::Mdns, at(3)));
    assert!(cache.learn(&candidate(Source::Mdns, &["10.0.0.2:1"]), at(4)));
}

#[test]
fn a_lost_node_is_no_neighbour_but_can_be_dialled_for_the_positive_time() {
    let mut cache = Cache::default();
    cache.learn(&candidate(Source::Mdns, &["10.0.0.1:1"]), at(0));
    cache.lose(&node(1), Source::Mdns, at(10));
    assert!(cache.live(at(10)).is_empty());
    let end = at(10) + Source::Mdns.times().positive;
    assert_eq!(cache.addresses(&node(1), end - at(1)).len(), 1);
    assert!(cache.addresses(&node(1), end).is_empty());
}

#[test]
fn losing_one_source_leaves_the_others_word() {
    let mut cache = Cache::default();
    cache.learn(&candidate(Source::Mdns, &["10.0.0.1:1"]), at(0));
    cache.learn(&candidate(Source::Memory, &["10.0.0.2:1"]), at(0));
    cache.lose(&node(1), Source::Mdns, at(1));
    assert_eq!(cache.live(at(1)).len(), 1);
    assert_eq!(cache.addresses(&node(1), at(1)), ["10.0.0.2:1", "10.0.0.1:1"].map(address));
}

#[test]
fn a_candidate_that_expires_is_reported_once() {
    let mut cache = Cache::default();
    cache.learn(&Candidate { expires_in: Some(at(30)), ..candidate(Source::Memory, &["10.0.0.1:1"]) }, at(0));
    assert!(cache.expire(at(29)).is_empty());
    assert_eq!(cache.expire(at(30)), [(node(1), Source::Memory)]);
    assert!(cache.expire(at(31)).is_empty());
}

#[test]
fn a_silent_address_ranks_last_for_the_negative_time() {
    let mut cache = Cache::default();
    cache.learn(&candidate(Source::Mdns, &["10.0.0.1:1", "10.0.0.2:1"]), at(0));
    cache.note_silent(address("10.0.0.1:1"), Source::Mdns, at(0));
    let swapped = ["10.0.0.2:1", "10.0.0.1:1"].map(address);
    assert_eq!(cache.addresses(&node(1), at(1)), swapped);
    let end = Source::Mdns.times().negative;
    assert_eq!(cache.addresses(&node(1), end), ["10.0.0.1:1", "10.0.0.2:1"].map(address));
}

#[test]
fn a_silent_address_is_given_another_chance_when_it_is_seen_again_or_the_network_changed() {
    let mut cache = Cache::default();
    let both = ["10.0.0.1:1", "10.0.0.2:1"];
    cache.learn(&candidate(Source::Mdns, &both), at(0));
    cache.note_silent(address(both[0]), Source::Mdns, at(0));
    cache.lose(&node(1), Source::Mdns, at(1));
    cache.learn(&candidate(Source::Mdns, &both), at(2));
    assert_eq!(cache.addresses(&node(1), at(2)), both.map(address));
    cache.note_silent(address(both[0]), Source::Mdns, at(3));
    cache.forget_silence();
    assert_eq!(cache.addresses(&node(1), at(3)), both.map(address));
}

#[test]
fn seeds_are_kept_apart_from_nodes_and_expire() {
    let mut cache = Cache::default();
    let seed = Candidate { node: None, ..candidate(Source::Static, &["10.0.0.1:1"]) };
    assert!(cache.learn(&seed, at(0)));
    assert!(!cache.learn(&seed, at(1)));
    assert_eq!(cache.seeds(at(1)), [address("10.0.0.1:1")]);
    assert!(cache.live(at(1)).is_empty());
    assert!(cache.seeds(at(1) + Source::Static.times().positive).is_empty());
}

#[test]
fn a_source_is_asked_again_only_after_its_negative_time() {
    let mut cache = Cache::default();
    assert!(cache.may_ask(Source::Mdns, &node(1), at(0)));
    assert!(!cache.may_ask(Source::Mdns, &node(1), at(1)));
    assert!(cache.may_ask(Source::Static, &node(1), at(1)));
    assert!(cache.may_ask(Source::Mdns, &node(1), Source::Mdns.times().negative));
    cache.learn(&candidate(Source::Mdns, &["10.0.0.1:1"]), at(20));
    assert!(!cache.may_ask(Source::Mdns, &node(1), at(100)));
}

#[test]
fn a_crowd_of_strangers_does_not_push_out_who_is_known() {
    let mut cache = Cache::default();
    cache.learn(&candidate(Source::Mdns, &["10.0.0.1:1"]), at(0));
    for number in 0..u32::try_from(MAX_NODES).unwrap() + 100 {
        let mut id = [9; 32];
        id[..4].copy_from_slice(&number.to_be_bytes());
        cache.learn(
            &Candidate { node: Some(NodeId::from_bytes(id)), ..candidate(Source::Mdns, &["10.0.0.2:1"]) },
            at(1),
        );
    }
    assert_eq!(cache.live(at(1)).len(), MAX_NODES);
    assert_eq!(cache.addresses(&node(1), at(1)), [address("10.0.0.1:1")]);
}
