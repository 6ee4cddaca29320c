//! What is believed of a roster: exactly what its author signed, by whatever way and in whatever parts it came.

use super::*;
use amesh_proto::key::KeyAlgorithm;
use amesh_proto::node_id::NodeKey;
use amesh_proto::time::UnixMillis;
use proptest::prelude::*;

const MESH: MeshId = MeshId([7; 16]);
const NOW: Duration = Duration::from_secs(100);

fn author() -> NodeKey {
    NodeKey::from_seed(&[1; 32])
}

fn entry(name: u32, changed: u64) -> RosterEntry {
    RosterEntry {
        address: Address::parse(&format!("agent{name:05}@default.aimaestro.local"), &[]).unwrap(),
        key_algorithm: KeyAlgorithm::Ed25519,
        public_key: vec![1; 44],
        alias: None,
        since: UnixMillis(1),
        changed,
        previous_keys: vec![],
        tombstone: None,
        home: None,
    }
}

fn signed(version: u64, entries: Vec<RosterEntry>) -> Verified {
    Verified { head: RosterHead::sign(&author(), MESH, version, &entries), entries }
}

/// A puller that holds `held` pulls from somebody who holds `offered`; gives the last outcome.
fn exchange(held: Option<Verified>, offered: &Verified) -> PartOutcome {
    let mut sync = RosterSync::new(MESH);
    let version = held.as_ref().map_or(0, |held| held.head.says.version);
    let offer = RosterVersion { node: author().id(), version: offered.head.says.version };
    let Some(mut pull) = sync.want(offer, version, NOW) else { return PartOutcome::Nothing };
    for _ in 0..2 {
        let mut last = PartOutcome::Nothing;
        for part in answer(pull, Some(offered.clone())) {
            last = sync.on_part(part, |_| held.clone(), NOW);
        }
        let PartOutcome::Pull(again) = last else { return last };
        pull = again;
    }
    panic!("pulled from the beginning and still asked again");
}

fn installed(outcome: PartOutcome) -> Verified {
    match outcome {
        PartOutcome::Install(verified) => *verified,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_roster_of_many_parts_arrives_whole() {
    let offered = signed(9, (0..1_700).map(|n| entry(n, 1)).collect());
    let pull = RosterPull { node: author().id(), since: 0 };
    let parts = answer(pull, Some(offered.clone()));
    assert_eq!(parts.iter().map(|part| part.entries.len()).collect::<Vec<_>>(), [500, 500, 500, 200]);
    assert!(parts.iter().all(|part| postcard::to_allocvec(part).unwrap().len() < 1 << 20));
    assert_eq!(installed(exchange(None, &offered)), offered);
}

#[test]
fn only_what_changed_is_sent_to_who_holds_an_older_version() {
    let old = signed(5, vec![entry(1, 1), entry(2, 5)]);
    let new = signed(6, vec![entry(1, 1), entry(2, 5), entry(3, 6)]);
    let pull = RosterPull { node: author().id(), since: 5 };
    assert_eq!(answer(pull, Some(new.clone()))[0].entries.len(), 1);
    assert_eq!(installed(exchange(Some(old), &new)), new);
}

#[test]
fn an_entry_that_the_author_forgot_after_ninety_days_is_found_out_and_all_is_pulled() {
    let old = signed(5, vec![entry(1, 1), entry(2, 5)]);
    let new = signed(6, vec![entry(2, 5)]);
    assert_eq!(installed(exchange(Some(old), &new)), new);
}

#[test]
fn a_copy_damaged_here_is_mended_by_pulling_all() {
    let mut damaged = signed(5, vec![entry(1, 1)]);
    damaged.entries[0].alias = Some("not what was signed".into());
    let new = signed(6, vec![entry(1, 1), entry(2, 6)]);
    assert_eq!(installed(exchange(Some(damaged), &new)), new);
}

#[test]
fn nothing_is_pulled_that_is_held_or_on_its_way() {
    let mut sync = RosterSync::new(MESH);
    let offer = RosterVersion { node: author().id(), version: 4 };
    assert_eq!(sync.want(offer, 4, NOW), None);
    assert_eq!(sync.want(offer, 3, NOW), Some(RosterPull { node: author().id(), since: 3 }));
    assert_eq!(sync.want(offer, 3, NOW), None);
    assert!(
        sync.want(offer, 3, NOW + PULL_PATIENCE).is_some(),
        "an answer that never came is asked for again"
    );
}

#[test]
fn a_forged_altered_or_foreign_roster_is_not_believed() {
    let good = signed(6, vec![entry(1, 1), entry(2, 6)]);
    let mut altered = good.clone();
    altered.entries[0].public_key = vec![2; 44];
    assert_eq!(exchange(None, &altered), PartOutcome::Failed(RosterFault::Mismatch));
    let mut left_out = good.clone();
    left_out.entries.pop();
    assert_eq!(exchange(None, &left_out), PartOutcome::Failed(RosterFault::Mismatch));
    let mut renumbered = good.clone();
    renumbered.head.says.version = 7;
    assert_eq!(exchange(None, &renumbered), PartOutcome::Failed(RosterFault::Unsigned));
    let elsewhere = RosterHead::sign(&author(), MeshId([8; 16]), 6, &good.entries);
    let foreign = Verified { head: elsewhere, ..good.clone() };
    assert_eq!(exchange(None, &foreign), PartOutcome::Failed(RosterFault::Unsigned));
    let stranger = RosterHead::sign(&NodeKey::from_seed(&[2; 32]), MESH, 6, &good.entries);
    assert_eq!(
        exchange(None, &Verified { head: stranger, ..good }),
        PartOutcome::Failed(RosterFault::Unsigned)
    );
}

#[test]
fn an_older_roster_never_replaces_a_newer_one() {
    let newer = signed(9, vec![entry(1, 9)]);
    let older = signed(5, vec![entry(1, 1)]);
    let mut sync = RosterSync::new(MESH);
    // A liar advertises a version that it does not hold.
    let pull = sync.want(RosterVersion { node: author().id(), version: 10 }, 9, NOW).unwrap();
    let part = answer(pull, Some(older)).pop().unwrap();
    assert_eq!(sync.on_part(part, |_| Some(newer), NOW), PartOutcome::Failed(RosterFault::Older));
}

#[test]
fn nor_does_it_when_all_had_to_be_pulled() {
    let newer = signed(9, vec![entry(1, 9)]);
    let mut sync = RosterSync::new(MESH);
    sync.want(RosterVersion { node: author().id(), version: 10 }, 9, NOW).unwrap();
    let unfit = RosterPart {
        since: 9,
        ..answer(RosterPull { node: author().id(), since: 0 }, Some(signed(10, vec![]))).remove(0)
    };
    let outcome = sync.on_part(unfit, |_| Some(newer), NOW);
    assert_eq!(outcome, PartOutcome::Pull(RosterPull { node: author().id(), since: 0 }));
    let older = answer(RosterPull { node: author().id(), since: 0 }, Some(signed(5, vec![entry(1, 1)])));
    assert_eq!(sync.on_part(older[0].clone(), |_| None, NOW), PartOutcome::Failed(RosterFault::Older));
}

#[test]
fn parts_that_nobody_asked_for_or_out_of_turn_change_nothing() {
    let offered = signed(9, (0..1_200).map(|n| entry(n, 1)).collect());
    let pull = RosterPull { node: author().id(), since: 0 };
    let parts = answer(pull, Some(offered));
    let mut sync = RosterSync::new(MESH);
    assert_eq!(sync.on_part(parts[0].clone(), |_| None, NOW), PartOutcome::Nothing);
    sync.want(RosterVersion { node: author().id(), version: 9 }, 0, NOW);
    for at in [1, 0, 0, 2, 1] {
        assert_eq!(sync.on_part(parts[at].clone(), |_| None, NOW), PartOutcome::Nothing);
    }
    assert!(matches!(sync.on_part(parts[2].clone(), |_| None, NOW), PartOutcome::Install(_)));
}

#[test]
fn who_does_not_hold_a_roster_says_so() {
    let mut sync = RosterSync::new(MESH);
    let pull = sync.want(RosterVersion { node: author().id(), version: 9 }, 0, NOW).unwrap();
    let part = answer(pull, None).pop().unwrap();
    assert_eq!(sync.on_part(part, |_| None, NOW), PartOutcome::Failed(RosterFault::NotHeld));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_history_of_changes_arrives_by_deltas(changes in prop::collection::vec((0u32..8, any::<bool>()), 1..20)) {
        let (mut entries, mut held) = (BTreeMap::new(), None);
        for (version, (name, gone)) in (1u64..).zip(changes) {
            let mut changed = entry(name, version);
            changed.tombstone = gone.then_some(UnixMillis(version));
            entries.insert(name, changed);
            let offered = signed(version, entries.values().cloned().collect());
            if version % 3 != 0 {
                held = Some(installed(exchange(held, &offered)));
                prop_assert_eq!(held.as_ref(), Some(&offered));
            }
        }
    }
}
