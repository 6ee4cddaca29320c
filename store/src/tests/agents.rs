//! Agents, their API keys, and the node's own roster.

use super::*;
use amesh_proto::roster::RosterEntry;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn face(store: &Store, name: &str) -> Option<RosterEntry> {
    store.own_roster().unwrap().entries.into_iter().find(|entry| entry.address == address(name))
}

#[test]
fn a_registered_agent_is_found_every_way_and_shown_in_the_roster() {
    let (store, _disk) = memory();
    let before = store.own_roster().unwrap().version;
    let alice = register(&store, "alice");
    let record = store.agent(alice).unwrap().unwrap();
    assert_eq!(store.agent_by_address(&address("alice")).unwrap(), Some(record.clone()));
    assert_eq!(store.agent_by_key_hash(&key_hash("alice"), NOW).unwrap(), Some(record.clone()));
    assert_eq!(store.all_agents().unwrap(), [record]);
    let roster = store.own_roster().unwrap();
    assert!(roster.version > before);
    assert_eq!(roster.entries[0].public_key, b"key of alice");
    assert_eq!(roster.entries[0].changed, roster.version);
}

#[test]
fn a_name_is_given_once() {
    let (store, _disk) = memory();
    let alice = register(&store, "alice");
    let second = NewAgent { api_key_hash: key_hash("thief"), ..new_agent("alice") };
    let taken = store.register_agent(second).wait().unwrap();
    assert!(matches!(taken, RegisterOutcome::NameTaken(record) if record.no == alice));
    assert_eq!(store.agent_by_key_hash(&key_hash("thief"), NOW).unwrap(), None);
}

#[test]
fn rotating_an_api_key_gives_the_old_one_a_last_day() {
    let (store, _disk) = memory();
    let alice = register(&store, "alice");
    store.add_api_key(alice, key_hash("second"), Some(NOW.plus(DAY))).wait().unwrap();
    let opens = |name, at| store.agent_by_key_hash(&key_hash(name), at).unwrap().is_some();
    assert!(opens("alice", NOW) && opens("second", NOW));
    assert!(!opens("alice", NOW.plus(DAY)) && opens("second", NOW.plus(DAY)));
    assert_eq!(store.revoke_api_keys(alice).wait().unwrap(), 2);
    assert!(!opens("second", NOW));
}

#[test]
fn a_replaced_api_key_replaces_nothing_and_rotating_all_day_leaves_few_keys() {
    let (store, _disk) = memory();
    let (alice, bob) = (register(&store, "alice"), register(&store, "bob"));
    let rotate = |agent, old: &str, new: &str, at| {
        store.rotate_api_key(agent, key_hash(old), key_hash(new), at).wait().unwrap()
    };
    assert!(!rotate(bob, "alice", "stolen", NOW.plus(DAY)), "another agent's key");
    assert!(rotate(alice, "alice", "0", NOW.plus(DAY)));
    assert!(!rotate(alice, "alice", "late", NOW.plus(DAY)));
    for n in 0..20 {
        let until = NOW.plus(DAY).plus(Duration::from_secs(n));
        assert!(rotate(alice, &n.to_string(), &(n + 1).to_string(), until));
    }
    let opens = |name: &str| store.agent_by_key_hash(&key_hash(name), NOW).unwrap().is_some();
    assert!(opens("20") && opens("19") && !opens("5") && opens("bob"));
    assert_eq!(store.revoke_api_keys(alice).wait().unwrap(), 9);
}

#[test]
fn a_rotated_key_stays_in_the_roster_as_retired() {
    let (store, _disk) = memory();
    let alice = register(&store, "alice");
    let later = NOW.plus(HOUR);
    let new_key = |old: &str, key: &str, old_is_compromised| NewKey {
        replaces: old.into(),
        key_algorithm: KeyAlgorithm::Ed25519,
        public_key_der: key.into(),
        old_is_compromised,
    };
    store.rotate_agent_key(alice, new_key("key of alice", "second", false), later).wait().unwrap();
    let stale = store.rotate_agent_key(alice, new_key("key of alice", "thief", false), later).wait().unwrap();
    assert_eq!(stale, None, "that key is not alice's any more");
    store.rotate_agent_key(alice, new_key("second", "third", true), later.plus(HOUR)).wait().unwrap();
    let entry = face(&store, "alice").unwrap();
    assert_eq!((entry.public_key.as_slice(), entry.since), (b"third".as_slice(), later.plus(HOUR)));
    let retired: Vec<_> = entry
        .previous_keys
        .iter()
        .map(|key| (key.public_key.as_slice(), key.until, key.compromised))
        .collect();
    let want: [(&[u8], _, _); 2] = [(b"second", later.plus(HOUR), true), (b"key of alice", later, false)];
    assert_eq!(retired, want);
}

#[test]
fn what_others_cannot_see_changes_no_roster() {
    let (store, _disk) = memory();
    let alice = register(&store, "alice");
    let version = || store.own_roster().unwrap().version;
    let before = version();
    let private = AgentChange { metadata: Some("{}".into()), ..AgentChange::default() };
    store.update_agent(alice, private, NOW).wait().unwrap();
    assert_eq!(version(), before);
    let public = AgentChange { alias: Some(Some("Al".into())), ..AgentChange::default() };
    let record = store.update_agent(alice, public, NOW).wait().unwrap();
    assert_eq!((record.alias.as_deref(), record.metadata.as_deref()), (Some("Al"), Some("{}")));
    assert!(version() > before);
}

#[test]
fn an_agent_that_leaves_leaves_a_tombstone_and_nothing_else() {
    let (store, _disk) = memory();
    let (alice, bob) = (register(&store, "alice"), register(&store, "bob"));
    committed(&store, local(mail("alice", "bob", 1), alice, bob));
    committed(&store, local(mail("bob", "alice", 2), bob, alice));
    let gone = store.deregister_agent(bob, NOW).wait().unwrap();
    assert_eq!(gone, Deregistered { mail: 1 });
    assert_eq!(store.agent_by_key_hash(&key_hash("bob"), NOW).unwrap(), None);
    assert_eq!(store.agent_by_address(&address("bob")).unwrap(), None);
    assert_eq!(ids(&store, bob), []);
    assert_eq!(store.pending_count(bob), 0);
    assert_eq!(face(&store, "bob").unwrap().tombstone, Some(NOW));
    let status = store.message_status(alice, &id(1)).unwrap().unwrap();
    assert!(matches!(status.state, MessageState::Failed { code, .. } if code == "recipient_gone"));
    assert_eq!(ids(&store, alice), [id(2)], "what it sent stays sent");
    let error = store.deregister_agent(bob, NOW).wait().unwrap_err();
    assert_eq!(error, StoreError::NoSuchAgent);
    assert_whole(&store);
}

#[test]
fn a_left_name_is_withheld_from_strangers_for_thirty_days() {
    let (store, _disk) = memory();
    let bob = register(&store, "bob");
    store.deregister_agent(bob, NOW).wait().unwrap();
    let stranger = |now| NewAgent { public_key_der: b"other".to_vec(), now, ..new_agent("bob") };
    let until = NOW.plus(30 * DAY);
    let refused = store.register_agent(stranger(NOW.plus(29 * DAY))).wait().unwrap();
    assert_eq!(refused, RegisterOutcome::Withheld { until, same_key: false });
    let unproven = store.register_agent(new_agent("bob")).wait().unwrap();
    assert_eq!(unproven, RegisterOutcome::Withheld { until, same_key: true });
    let proven = NewAgent { may_return: true, ..new_agent("bob") };
    let RegisterOutcome::Returned(again) = store.register_agent(proven).wait().unwrap() else {
        panic!("bob may come back")
    };
    let again = again.no;
    assert_ne!(again, bob, "numbers are never given twice");
    assert_eq!(face(&store, "bob").unwrap().tombstone, None);
    store.deregister_agent(again, NOW).wait().unwrap();
    let taken = store.register_agent(stranger(until)).wait().unwrap();
    assert!(matches!(taken, RegisterOutcome::Registered(_)));
}

#[test]
fn a_renamed_agent_keeps_its_mail_its_keys_and_its_number_and_leaves_a_tombstone() {
    let (store, _disk) = memory();
    let (alice, bob) = (register(&store, "alice"), register(&store, "bob"));
    committed(&store, local(mail("alice", "bob", 1), alice, bob));
    let rename = |name: &str| store.rename_agent(bob, address(name), name.to_owned(), NOW).wait().unwrap();
    assert_eq!(rename("alice"), RenameOutcome::NameTaken);
    let RenameOutcome::Renamed(record) = rename("robert") else { panic!("nobody has that name") };
    assert_eq!((record.no, record.address), (bob, address("robert")));
    assert_eq!(ids(&store, bob), [id(1)]);
    assert_eq!(store.agent_by_key_hash(&key_hash("bob"), NOW).unwrap().unwrap().address, address("robert"));
    assert_eq!(store.agent_by_address(&address("bob")).unwrap(), None);
    assert_eq!(face(&store, "bob").unwrap().tombstone, Some(NOW));
    assert_eq!(face(&store, "robert").unwrap().tombstone, None);
    assert!(matches!(rename("bob"), RenameOutcome::Renamed(_)), "back to the name it left itself");
    store.deregister_agent(alice, NOW).wait().unwrap();
    assert!(matches!(rename("alice"), RenameOutcome::Withheld { .. }));
    assert_whole(&store);
}

#[test]
fn an_invite_code_lets_in_as_many_as_it_says_and_an_owner_as_many_as_it_may() {
    let (store, _disk) = memory();
    let code = InviteCode { tenant: "default".into(), left: 1, expires_at: NOW.plus(HOUR) };
    assert!(store.add_invite_code([9; 32], code, NOW).wait().unwrap());
    let enter = |name: &str, admission, now| {
        let new = NewAgent { admission, now, api_key_hash: key_hash(name), ..new_agent(name) };
        store.register_agent(new).wait().unwrap()
    };
    let (by_code, bad) = (Admission::Code([9; 32]), RegisterOutcome::NotAdmitted(NotAdmitted::Code));
    assert_eq!(enter("late", by_code, NOW.plus(HOUR)), bad);
    assert!(matches!(enter("first", by_code, NOW), RegisterOutcome::Registered(_)));
    assert_eq!(enter("second", by_code, NOW), bad, "it is spent");
    let by_owner = Admission::Owner([7; 16]);
    let gone = RegisterOutcome::NotAdmitted(NotAdmitted::Owner);
    assert_eq!(enter("third", by_owner, NOW), gone);
    let owner = OwnerRecord {
        id: [7; 16],
        tenant: "default".into(),
        agent_limit: 1,
        active: true,
        user_key: [1; 32],
        session: [2; 32],
        added_at: NOW,
    };
    assert!(store.put_owner(owner.clone()).wait().unwrap());
    let RegisterOutcome::Registered(record) = enter("third", by_owner, NOW) else { panic!("there is room") };
    assert_eq!(record.owner, Some([7; 16]));
    let full = RegisterOutcome::NotAdmitted(NotAdmitted::Limit(1));
    assert_eq!(enter("fourth", by_owner, NOW), full);
    store.put_owner(OwnerRecord { active: false, ..owner }).wait().unwrap();
    assert_eq!(enter("fourth", by_owner, NOW), gone);
    assert_eq!(
        (store.remove_owner([7; 16]).wait(), store.remove_owner([7; 16]).wait()),
        (Ok(true), Ok(false))
    );
    assert_whole(&store);
}
