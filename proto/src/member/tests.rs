//! What a member list promises: everyone who knows the same statements agrees, and nobody gets in by forging them.

use super::list::{MemberError, Statements};
use super::*;
use proptest::prelude::*;

const MESH: MeshId = MeshId([7; 16]);
const NOW: UnixMillis = UnixMillis(1_000);

fn key(number: u8) -> NodeKey {
    NodeKey::from_seed(&[number; 32])
}

fn id(number: u8) -> NodeId {
    key(number).id()
}

fn founded() -> MemberList {
    MemberList::found(MESH, &key(0), "h0", NOW)
}

fn copy_of(list: &MemberList) -> MemberList {
    let mut copy = MemberList::empty(list.mesh(), list.founder());
    copy.merge(&list.statements()).unwrap();
    copy
}

fn standing(list: &MemberList) -> Vec<NodeId> {
    list.members().map(|member| member.node).collect()
}

#[test]
fn a_newcomer_stands_behind_everyone_before_it() {
    let mut list = founded();
    list.introduce(&key(0), id(1), "h1", true, NOW).unwrap();
    list.introduce(&key(1), id(2), "h2", false, NOW).unwrap();
    let seniority: Vec<_> = (0..3).map(|n| list.member(&id(n)).unwrap().seniority()).collect();
    assert!(seniority.is_sorted());
    assert_eq!(list.introduce(&key(2), id(3), "h3", false, NOW), Err(MemberError::NotAllowed));
}

#[test]
fn a_removal_wins_over_an_addition_that_did_not_know_of_it() {
    let mut list = founded();
    list.introduce(&key(0), id(1), "h1", true, NOW).unwrap();
    let mut partitioned = copy_of(&list);
    list.introduce(&key(0), id(2), "h2", false, NOW).unwrap();
    list.remove(&key(0), id(2), true, &[1; 32], NOW).unwrap();
    partitioned.introduce(&key(1), id(2), "h2b", false, NOW).unwrap();
    list.merge(&partitioned.statements()).unwrap();
    assert!(list.member(&id(2)).is_none() && list.is_removed(&id(2)));
}

#[test]
fn a_node_can_be_let_in_anew_by_one_who_knows_of_its_removal() {
    let mut list = founded();
    list.introduce(&key(0), id(2), "h2", false, NOW).unwrap();
    list.remove(&key(0), id(2), true, &[1; 32], NOW).unwrap();
    list.introduce(&key(0), id(2), "h2", false, NOW).unwrap();
    assert!(list.member(&id(2)).is_some() && !list.is_removed(&id(2)));
    list.remove(&key(0), id(2), true, &[2; 32], NOW).unwrap();
    assert!(list.is_removed(&id(2)));
    assert_eq!(list.epoch(), 3);
}

#[test]
fn whom_a_removed_introducer_let_in_stays_only_if_the_removal_keeps_it() {
    let mut list = founded();
    list.introduce(&key(0), id(1), "h1", true, NOW).unwrap();
    list.introduce(&key(1), id(2), "h2", false, NOW).unwrap();
    let mut behind_our_back = copy_of(&list);
    behind_our_back.introduce(&key(1), id(3), "h3", false, NOW).unwrap();
    let mut harsh = copy_of(&list);
    list.remove(&key(0), id(1), true, &[1; 32], NOW).unwrap();
    list.merge(&behind_our_back.statements()).unwrap();
    assert!(list.member(&id(2)).is_some());
    assert!(list.member(&id(3)).is_none(), "let in by a removed node, unknown to who removed it");
    harsh.remove(&key(0), id(1), false, &[1; 32], NOW).unwrap();
    assert!(harsh.member(&id(2)).is_none());
}

#[test]
fn what_a_removed_introducer_signs_afterwards_lets_nobody_in() {
    let mut list = founded();
    list.introduce(&key(0), id(1), "h1", true, NOW).unwrap();
    list.introduce(&key(1), id(2), "h2", false, NOW).unwrap();
    list.remove(&key(0), id(1), true, &[1; 32], NOW).unwrap();
    let mut forged =
        list.statements().entries.into_iter().find(|entry| entry.says.node == id(2)).unwrap().says;
    forged.may_introduce = true;
    let forged = MemberEntry::sign(&MESH, forged, &key(1));
    let own = Membership { node: id(1), term: 2, introducer: id(2), ..forged.says.clone() };
    let own = MemberEntry::sign(&MESH, own, &key(2));
    list.merge(&Statements { entries: vec![forged, own], removals: vec![] }).unwrap();
    assert!(!list.member(&id(2)).unwrap().may_introduce);
    assert!(list.member(&id(1)).is_none());
}

#[test]
fn removed_nodes_cannot_vouch_for_each_other_in_a_circle() {
    let mut list = founded();
    for node in 1..3 {
        list.introduce(&key(0), id(node), &format!("h{node}"), true, NOW).unwrap();
    }
    for node in 1..3 {
        list.remove(&key(0), id(node), true, &[node; 32], NOW).unwrap();
    }
    let circle = |node: u8, by: u8| {
        let says = Membership {
            node: id(node),
            host: format!("h{node}"),
            order: 1,
            term: 2,
            introducer: id(by),
            introducer_term: 2,
            may_introduce: true,
            joined_at: NOW,
        };
        MemberEntry::sign(&MESH, says, &key(by))
    };
    list.merge(&Statements { entries: vec![circle(1, 2), circle(2, 1)], removals: vec![] }).unwrap();
    assert_eq!(standing(&list), [id(0)]);
}

#[test]
fn statements_that_are_forged_altered_or_of_another_mesh_are_ignored() {
    let mut list = founded();
    let mut other = MemberList::found(MeshId([8; 16]), &key(0), "h0", NOW);
    let elsewhere = other.introduce(&key(0), id(1), "h1", true, NOW).unwrap();
    let mut altered = list.introduce(&key(0), id(2), "h2", false, NOW).unwrap();
    altered.says.may_introduce = true;
    let says = Membership { introducer: id(0), node: id(3), ..altered.says.clone() };
    let forged = MemberEntry::sign(&MESH, says.clone(), &key(3));
    let selfmade = MemberEntry::sign(&MESH, Membership { introducer: id(3), ..says }, &key(3));
    let departure =
        Departure { node: id(2), term: 1, epoch: 2, check: [0; 32], by: id(3), at: NOW, keeps: vec![] };
    let removal = Removal::sign(&MESH, departure, &key(3));
    let before = list.digest();
    let changed = list
        .merge(&Statements { entries: vec![elsewhere, altered, forged, selfmade], removals: vec![removal] });
    assert_eq!((changed, list.digest()), (Ok(false), before));
}

#[test]
fn a_node_that_leaves_is_gone_without_a_new_epoch() {
    let mut list = founded();
    list.introduce(&key(0), id(1), "h1", true, NOW).unwrap();
    list.introduce(&key(1), id(2), "h2", true, NOW).unwrap();
    list.leave(&key(1), NOW).unwrap();
    assert_eq!((list.is_removed(&id(1)), list.epoch()), (true, 1));
    assert!(list.member(&id(2)).is_some());
    list.remove(&key(2), id(0), true, &[1; 32], NOW).unwrap();
    assert_eq!(standing(&list), [id(2)], "an introducer may remove a founder whose machine is lost");
}

#[test]
fn two_removals_of_one_epoch_agree_on_one_secret() {
    let mut ours = founded();
    for node in 1..4 {
        ours.introduce(&key(0), id(node), &format!("h{node}"), true, NOW).unwrap();
    }
    let mut theirs = copy_of(&ours);
    ours.remove(&key(0), id(2), true, &[1; 32], NOW).unwrap();
    theirs.remove(&key(1), id(3), true, &[2; 32], NOW).unwrap();
    assert_eq!(theirs.epoch_check(2), Some(Secrets::check(&[2; 32])));
    ours.merge(&theirs.statements()).unwrap();
    theirs.merge(&ours.statements()).unwrap();
    assert_eq!(ours.epoch_check(2), Some(Secrets::check(&[1; 32])), "the longer-standing author's");
    assert_eq!(theirs.epoch_check(2), ours.epoch_check(2));
    assert_eq!(ours.epoch_check(1), None);
}

#[test]
fn where_an_epoch_was_begun_twice_the_author_that_counts_begins_another_and_then_nobody() {
    let mut ours = founded();
    for node in 1..4 {
        ours.introduce(&key(0), id(node), &format!("h{node}"), true, NOW).unwrap();
    }
    let mut theirs = copy_of(&ours);
    ours.remove(&key(0), id(2), true, &[1; 32], NOW).unwrap();
    theirs.remove(&key(1), id(3), true, &[2; 32], NOW).unwrap();
    assert_eq!((ours.renewer(), theirs.renewer()), (None, None));
    theirs.merge(&ours.statements()).unwrap();
    ours.merge(&theirs.statements()).unwrap();
    assert_eq!((ours.renewer(), theirs.renewer()), (Some(id(0)), Some(id(0))));
    assert_eq!(theirs.renew(&key(1), &[9; 32], NOW), Ok(None));
    let stood = standing(&ours);
    assert!(ours.renew(&key(0), &[4; 32], NOW).unwrap().is_some());
    assert_eq!((ours.epoch(), ours.epoch_check(3)), (3, Some(Secrets::check(&[4; 32]))));
    theirs.merge(&ours.statements()).unwrap();
    assert_eq!((standing(&ours), standing(&theirs)), (stood.clone(), stood));
    assert_eq!((ours.renewer(), theirs.renewer(), theirs.epoch()), (None, None, 3));
}

#[test]
fn where_the_authors_of_one_epoch_removed_each_other_the_longest_standing_begins_another() {
    let mut ours = founded();
    for node in 1..4 {
        ours.introduce(&key(0), id(node), &format!("h{node}"), true, NOW).unwrap();
    }
    let mut theirs = copy_of(&ours);
    ours.remove(&key(1), id(2), true, &[1; 32], NOW).unwrap();
    theirs.remove(&key(2), id(1), true, &[2; 32], NOW).unwrap();
    ours.merge(&theirs.statements()).unwrap();
    assert_eq!((standing(&ours), ours.renewer()), (vec![id(0), id(3)], Some(id(0))));
}

#[test]
fn of_two_members_with_one_host_label_the_older_holds_it() {
    let mut ours = founded();
    ours.introduce(&key(0), id(1), "h1", true, NOW).unwrap();
    let mut theirs = copy_of(&ours);
    ours.introduce(&key(0), id(3), "stone", false, NOW).unwrap();
    assert_eq!(ours.introduce(&key(0), id(2), "stone", false, NOW), Err(MemberError::LabelTaken));
    theirs.introduce(&key(1), id(4), "h4", false, NOW).unwrap();
    theirs.introduce(&key(1), id(2), "stone", false, NOW).unwrap();
    ours.merge(&theirs.statements()).unwrap();
    assert_eq!(ours.label_conflict("stone", &id(2)), Some(id(3)));
    assert_eq!(ours.label_conflict("stone", &id(3)), None);
    assert_eq!(ours.label_conflict("nobody", &id(3)), None);
}

#[test]
fn evidence_alone_convinces_a_member_that_has_not_heard() {
    let mut list = founded();
    let old = copy_of(&list);
    list.introduce(&key(0), id(1), "h1", true, NOW).unwrap();
    list.introduce(&key(1), id(2), "h2", true, NOW).unwrap();
    list.introduce(&key(2), id(3), "h3", false, NOW).unwrap();
    let mut convinced = old;
    convinced.merge(&Statements { entries: list.evidence(&id(3)), removals: vec![] }).unwrap();
    assert!(convinced.member(&id(3)).is_some());
}

#[test]
fn host_labels_are_dns_labels() {
    for good in ["a", "stone", "host-01", "0", &"x".repeat(63)] {
        assert!(is_host_label(good), "{good}");
    }
    for bad in ["", "-a", "a-", "A", "a.b", "a_b", "é", "a b", &"x".repeat(64)] {
        assert!(!is_host_label(bad), "{bad}");
    }
}

#[test]
fn the_state_file_survives_json() {
    let mut list = founded();
    list.introduce(&key(0), id(1), "h1", true, NOW).unwrap();
    list.remove(&key(0), id(1), true, &[1; 32], NOW).unwrap();
    let mut secrets = Secrets::new(1, [0; 32]);
    secrets.add(2, [1; 32]);
    let Statements { entries, removals } = list.statements();
    let state = MeshState {
        version: 1,
        mesh: MESH,
        founder: Some(id(0)),
        host: "h0".into(),
        secrets: secrets.clone(),
        entries,
        removals,
        blocked: vec![id(9)],
    };
    let back: MeshState = serde_json::from_str(&serde_json::to_string_pretty(&state).unwrap()).unwrap();
    assert_eq!((back.secrets, back.blocked), (secrets, vec![id(9)]));
    let mut copy = MemberList::empty(back.mesh, back.founder);
    copy.merge(&Statements { entries: back.entries, removals: back.removals }).unwrap();
    assert_eq!(copy.digest(), list.digest());
}

#[test]
fn only_the_latest_secrets_are_kept() {
    let mut secrets = Secrets::default();
    for epoch in 1..=12 {
        assert!(secrets.add(epoch, [u8::try_from(epoch).unwrap(); 32]));
        assert!(!secrets.add(epoch, [u8::try_from(epoch).unwrap(); 32]));
    }
    assert!(!secrets.add(3, [33; 32]), "too old to be of use");
    assert_eq!(secrets.iter().map(|held| held.epoch).collect::<Vec<_>>(), (5..=12).rev().collect::<Vec<_>>());
}

/// One thing that happens at one of the replicas of a mesh.
#[derive(Debug, Clone)]
enum Step {
    Introduce { at: usize, node: u8, may_introduce: bool },
    Remove { at: usize, node: u8, keep: bool },
    Leave { at: usize },
    Hear { at: usize, from: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let at = 0usize..4;
    let node = 0u8..6;
    let step = prop_oneof![
        4 => (at.clone(), node.clone(), any::<bool>()).prop_map(|(at, node, may_introduce)| Step::Introduce { at, node, may_introduce }),
        2 => (at.clone(), node, any::<bool>()).prop_map(|(at, node, keep)| Step::Remove { at, node, keep }),
        1 => at.clone().prop_map(|at| Step::Leave { at }),
        3 => (at.clone(), at).prop_map(|(at, from)| Step::Hear { at, from }),
    ];
    prop::collection::vec(step, 0..24)
}

/// Replica n belongs to node n; each acts on what it has heard.
fn play(steps: &[Step]) -> Vec<MemberList> {
    let mut first = founded();
    for node in 1..4 {
        first.introduce(&key(0), id(node), &format!("h{node}"), true, NOW).unwrap();
    }
    let mut replicas = vec![first; 4];
    for (time, step) in steps.iter().enumerate() {
        let now = UnixMillis(2_000 + time as u64);
        // Not everyone may do everything; what is refused changes nothing.
        match *step {
            Step::Introduce { at, node, may_introduce } => {
                let host = format!("h{node}");
                let _outcome = replicas[at].introduce(&key(at as u8), id(node), &host, may_introduce, now);
            }
            Step::Remove { at, node, keep } => {
                let _outcome = replicas[at].remove(&key(at as u8), id(node), keep, &[time as u8; 32], now);
            }
            Step::Leave { at } => {
                let _outcome = replicas[at].leave(&key(at as u8), now);
            }
            Step::Hear { at, from } => {
                let heard = replicas[from].statements();
                replicas[at].merge(&heard).unwrap();
            }
        }
    }
    replicas
}

fn merged(replicas: &[MemberList], order: &[usize]) -> MemberList {
    let mut all = MemberList::empty(MESH, Some(id(0)));
    for at in order {
        all.merge(&replicas[*at].statements()).unwrap();
    }
    all
}

fn same(a: &MemberList, b: &MemberList) -> bool {
    a.digest() == b.digest() && a.members().eq(b.members()) && a.epoch() == b.epoch()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn lists_merge_to_the_same_whatever_the_order(
        steps in steps(),
        order in Just(vec![0usize, 1, 2, 3]).prop_shuffle(),
    ) {
        let replicas = play(&steps);
        let (one, other) = (merged(&replicas, &[0, 1, 2, 3]), merged(&replicas, &order));
        prop_assert!(same(&one, &other), "commutative");
        let mut again = copy_of(&one);
        prop_assert_eq!(again.merge(&other.statements()), Ok(false), "idempotent");
        let (mut left, right) = (merged(&replicas, &[0, 1]), merged(&replicas, &[2, 3]));
        left.merge(&right.statements()).unwrap();
        prop_assert!(same(&left, &one), "associative");
    }

    #[test]
    fn statements_in_any_order_and_in_any_portions_end_the_same(
        steps in steps(),
        seed in any::<u64>(),
    ) {
        let one = merged(&play(&steps), &[0, 1, 2, 3]);
        let Statements { mut entries, mut removals } = one.statements();
        let spin = |len: usize| if len == 0 { 0 } else { (seed as usize) % len };
        let (at, to) = (spin(entries.len()), spin(removals.len()));
        entries.rotate_left(at);
        removals.rotate_left(to);
        let mut other = MemberList::empty(MESH, Some(id(0)));
        other.merge(&Statements { entries, removals }).unwrap();
        prop_assert!(same(&one, &other));
    }

    #[test]
    fn a_removal_known_to_all_holds_until_a_later_term(steps in steps(), node in 1u8..4) {
        let mut all = merged(&play(&steps), &[0, 1, 2, 3]);
        prop_assume!(all.member(&id(0)).is_some_and(|founder| founder.may_introduce));
        let stale = copy_of(&all);
        all.remove(&key(0), id(node), false, &[99; 32], NOW).unwrap();
        all.merge(&stale.statements()).unwrap();
        prop_assert!(all.member(&id(node)).is_none());
    }
}
