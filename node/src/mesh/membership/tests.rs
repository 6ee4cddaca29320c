//! The opening of links, and what members make of each other's news.

use super::*;
use amesh_proto::ticket::Token;
use amesh_proto::wire::{Hello, Proof};

const MESH: MeshId = MeshId([7; 16]);
const NOW: UnixMillis = UnixMillis(1_000);
const EXPORTER: [u8; 32] = [5; 32];
const ABOUT: About = About { roster_version: 1, generation: 1, boot: 1, clock: NOW };

fn key(number: u8) -> NodeKey {
    NodeKey::from_seed(&[number; 32])
}

fn id(number: u8) -> NodeId {
    key(number).id()
}

fn founder() -> Membership {
    Membership::found(key(0), "h0", MESH, [1; 32], NOW)
}

fn ticket(from: &Membership) -> Ticket {
    Ticket {
        mesh: from.mesh(),
        inviter: from.id(),
        addresses: vec![],
        token: Token([0; 24]),
        expires_at: NOW,
    }
}

fn join(inviter: &mut Membership, number: u8) -> Membership {
    let host = format!("h{number}");
    let (grant, changed) = inviter.admit(id(number), &host, true, NOW).unwrap();
    assert_eq!((changed.persist, &changed.added[..]), (true, &[id(number)][..]));
    Membership::joined(key(number), &host, &ticket(inviter), grant).unwrap()
}

/// Opens a link from `dialer` to `listener` and lets both act on what they are first told.
fn open(dialer: &mut Membership, listener: &mut Membership) -> Result<(), RefuseReason> {
    let hello = dialer.hello(&listener.id(), &EXPORTER);
    let (ack, proven) = listener.on_hello(&hello, &dialer.id(), &EXPORTER, ABOUT)?;
    let by_dialer = dialer.on_hello_ack(ack, &listener.id(), &EXPORTER, ABOUT)?;
    let mut frames = by_dialer.send.into_iter();
    let Some(Frame::Greeting(greeting)) = frames.next() else { panic!("the greeting comes first") };
    let by_listener = listener.on_greeting(*greeting, &dialer.id(), proven)?;
    hear(listener, frames);
    hear(dialer, by_listener.send);
    Ok(())
}

fn hear(member: &mut Membership, frames: impl IntoIterator<Item = Frame>) -> Changed {
    let mut last = Changed::default();
    for frame in frames {
        last = match frame {
            Frame::Members(statements) => member.on_members(&statements).unwrap(),
            Frame::Secret(secret) => member.on_secret(&secret),
            other => panic!("{other:?}"),
        };
    }
    last
}

#[test]
fn two_members_admit_each_other() {
    let mut a = founder();
    let mut b = join(&mut a, 1);
    assert_eq!(open(&mut a, &mut b), Ok(()));
    assert_eq!(open(&mut b, &mut a), Ok(()));
}

#[test]
fn members_that_agree_have_nothing_to_tell_each_other() {
    let mut a = founder();
    let b = join(&mut a, 1);
    let (ack, _) = b.on_hello(&a.hello(&b.id(), &EXPORTER), &a.id(), &EXPORTER, ABOUT).unwrap();
    assert_eq!(a.on_hello_ack(ack, &b.id(), &EXPORTER, ABOUT).unwrap().send.len(), 1, "only its greeting");
}

#[test]
fn a_stranger_without_the_secret_is_refused_and_told_nothing() {
    let listener = founder();
    let mut stranger = Membership::found(key(9), "h9", MESH, [2; 32], NOW);
    assert_eq!(open(&mut stranger, &mut founder()), Err(RefuseReason::NoProof));
    let none = Hello { versions: VERSIONS, proofs: vec![] };
    let refused = listener.on_hello(&none, &id(9), &EXPORTER, ABOUT).unwrap_err();
    assert_eq!(refused.code(), amesh_proto::wire::RefuseCode::Refused);
}

#[test]
fn an_impostor_listener_cannot_answer_a_true_member() {
    let mut a = founder();
    let b = join(&mut a, 1);
    let hello = a.hello(&b.id(), &EXPORTER);
    let (ack, _) = b.on_hello(&hello, &a.id(), &EXPORTER, ABOUT).unwrap();
    // The dialer's own proof, handed back as the listener's.
    let reflected = HelloAckWith::proof(ack.clone(), hello.proofs[0].clone());
    assert_eq!(a.on_hello_ack(reflected, &b.id(), &EXPORTER, ABOUT).unwrap_err(), RefuseReason::NoProof);
    // A true answer, on another connection or from another node.
    assert_eq!(a.on_hello_ack(ack.clone(), &b.id(), &[6; 32], ABOUT).unwrap_err(), RefuseReason::NoProof);
    assert_eq!(a.on_hello_ack(ack, &id(8), &EXPORTER, ABOUT).unwrap_err(), RefuseReason::NoProof);
}

struct HelloAckWith;
impl HelloAckWith {
    fn proof(ack: amesh_proto::wire::HelloAck, proof: Proof) -> amesh_proto::wire::HelloAck {
        amesh_proto::wire::HelloAck { proof, ..ack }
    }
}

#[test]
fn a_hello_replayed_on_another_connection_or_by_another_node_is_refused() {
    let mut a = founder();
    let b = join(&mut a, 1);
    let hello = b.hello(&a.id(), &EXPORTER);
    assert!(a.on_hello(&hello, &b.id(), &EXPORTER, ABOUT).is_ok());
    assert_eq!(a.on_hello(&hello, &b.id(), &[6; 32], ABOUT).unwrap_err(), RefuseReason::NoProof);
    assert_eq!(a.on_hello(&hello, &id(8), &EXPORTER, ABOUT).unwrap_err(), RefuseReason::NoProof);
    assert_eq!(b.on_hello(&hello, &b.id(), &EXPORTER, ABOUT).unwrap_err(), RefuseReason::OwnKey);
}

#[test]
fn the_secret_alone_does_not_make_a_member() {
    let mut a = founder();
    let mut thief = Membership::found(key(9), "h9", MESH, [1; 32], NOW);
    assert_eq!(open(&mut thief, &mut a), Err(RefuseReason::Unlisted), "it does not list the founder either");
    let hello = thief.hello(&a.id(), &EXPORTER);
    let (_, proven) = a.on_hello(&hello, &thief.id(), &EXPORTER, ABOUT).unwrap();
    let greeting = thief_greeting(&thief, &a);
    assert_eq!(a.on_greeting(greeting, &thief.id(), proven).unwrap_err(), RefuseReason::Unlisted);
}

fn thief_greeting(thief: &Membership, a: &Membership) -> amesh_proto::wire::Greeting {
    // What it would say of itself: a list that it founded.
    let (ack, _) = thief.on_hello(&a.hello(&thief.id(), &EXPORTER), &a.id(), &EXPORTER, ABOUT).unwrap();
    ack.greeting
}

#[test]
fn two_newcomers_that_have_not_heard_of_each_other_admit_each_other_by_evidence() {
    let mut a = founder();
    let mut b = join(&mut a, 1);
    let mut c = join(&mut a, 2);
    assert!(!b.admits(&c.id()));
    assert_eq!(open(&mut b, &mut c), Ok(()));
    assert!(b.admits(&c.id()) && c.admits(&b.id()));
}

#[test]
fn a_removed_node_is_refused_by_everyone_who_has_heard() {
    let mut a = founder();
    let mut b = join(&mut a, 1);
    let mut c = join(&mut a, 2);
    let changed = a.remove(c.id(), true, [2; 32], NOW).unwrap();
    assert_eq!((changed.persist, &changed.removed[..]), (true, &[c.id()][..]));
    assert_eq!(open(&mut c, &mut a), Err(RefuseReason::Removed));
    hear(&mut b, changed.tell);
    assert_eq!(open(&mut c, &mut b), Err(RefuseReason::Removed));
    assert_eq!(open(&mut b, &mut c), Err(RefuseReason::Removed), "nor is it dialled with success");
    assert_eq!(open(&mut a, &mut b), Ok(()));
}

#[test]
fn a_member_that_slept_through_a_removal_is_admitted_and_given_the_new_secret() {
    let mut a = founder();
    let mut b = join(&mut a, 1);
    let c = join(&mut a, 2);
    a.remove(c.id(), true, [2; 32], NOW).unwrap();
    for dial in [true, false] {
        let mut sleeper = Membership::restore(key(1), b.state()).unwrap();
        let outcome = if dial { open(&mut sleeper, &mut a) } else { open(&mut a, &mut sleeper) };
        assert_eq!(outcome, Ok(()));
        assert_eq!(sleeper.secrets.newest(), 2);
        assert!(sleeper.list.is_removed(&c.id()));
    }
    assert_eq!(open(&mut a, &mut b), Ok(()));
}

#[test]
fn a_node_let_in_anew_is_admitted_by_one_who_only_heard_of_its_removal() {
    let mut a = founder();
    let mut b = join(&mut a, 1);
    let _ = join(&mut a, 2);
    let removed = a.remove(id(2), true, [2; 32], NOW).unwrap();
    hear(&mut b, removed.tell);
    let mut again = join(&mut a, 2);
    assert!(!b.admits(&again.id()));
    assert_eq!(open(&mut again, &mut b), Ok(()));
    assert_eq!(open(&mut b, &mut again), Ok(()));
}

#[test]
fn a_secret_that_no_removal_commits_to_is_not_believed() {
    let mut a = founder();
    let mut b = join(&mut a, 1);
    let planted = SecretFrame(EpochSecret { epoch: 2, secret: [66; 32] });
    assert_eq!(b.on_secret(&planted), Changed::default());
    let removal = a.remove(id(5), true, [2; 32], NOW);
    assert_eq!(removal, Err(MemberError::NoSuchMember));
    let _ = join(&mut a, 2);
    let removed = a.remove(id(2), true, [2; 32], NOW).unwrap();
    hear(&mut b, removed.tell);
    assert_eq!(b.on_secret(&planted), Changed::default());
    assert_eq!(b.secrets.newest(), 2);
    assert_eq!(b.current().map(|held| held.secret), Some([2; 32]));
}

#[test]
fn removals_on_both_sides_of_a_partition_end_with_one_secret() {
    let mut a = founder();
    let mut b = join(&mut a, 1);
    let (c, d) = (join(&mut a, 2), join(&mut a, 3));
    open(&mut a, &mut b).unwrap();
    a.remove(c.id(), true, [2; 32], NOW).unwrap();
    b.remove(d.id(), true, [3; 32], NOW).unwrap();
    assert_eq!(open(&mut b, &mut a), Ok(()));
    assert_eq!(a.current(), b.current());
    assert!(a.list.is_removed(&d.id()) && b.list.is_removed(&c.id()));
    assert_eq!(open(&mut a, &mut b), Ok(()));
}

#[test]
fn after_removals_on_both_sides_of_a_partition_no_removed_member_knows_the_secret_in_force() {
    let mut a = founder();
    let mut b = join(&mut a, 1);
    let (mut c, mut d) = (join(&mut a, 2), join(&mut a, 3));
    for other in [&mut b, &mut c, &mut d] {
        open(&mut a, other).unwrap();
    }
    // c is on the side of a and gets its secret, d that of b; each is removed by the other side.
    let ours = a.remove(d.id(), true, [2; 32], NOW).unwrap();
    hear(&mut c, ours.tell);
    let theirs = b.remove(c.id(), true, [3; 32], NOW).unwrap();
    hear(&mut d, theirs.tell);
    assert_eq!(open(&mut b, &mut a), Ok(()));
    assert_eq!(b.renew([5; 32], NOW), None, "the older author does it");
    let renewed = a.renew([4; 32], NOW).unwrap();
    assert!(renewed.persist && renewed.removed.is_empty() && renewed.added.is_empty());
    let told = hear(&mut b, renewed.tell);
    assert!(told.persist);
    for member in [&a, &b] {
        assert_eq!(member.current().map(|held| held.secret), Some([4; 32]));
    }
    for removed in [&c, &d] {
        assert!(removed.secrets.iter().all(|held| held.secret != [4; 32]));
    }
    assert_eq!((a.renew([6; 32], NOW), b.renew([6; 32], NOW)), (None, None));
}

#[test]
fn news_travel_round_a_mesh_and_come_to_rest() {
    let mut a = founder();
    let mut members: Vec<Membership> = (1..5).map(|number| join(&mut a, number)).collect();
    members.insert(0, a);
    let changed = members[0].remove(id(4), true, [2; 32], NOW).unwrap();
    let mut mail: Vec<(usize, Frame)> = changed.tell.into_iter().map(|frame| (1, frame)).collect();
    let mut told = 0;
    while let Some((to, frame)) = mail.pop() {
        told += 1;
        let changed = hear(&mut members[to], [frame]);
        for other in (0..4).filter(|other| *other != to) {
            mail.extend(changed.tell.iter().map(|frame| (other, frame.clone())));
        }
    }
    assert!(told < 60, "{told} frames");
    let digests: Vec<_> = members[..4].iter().map(|member| member.list.digest()).collect();
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a_node_notices_that_it_was_removed() {
    let mut a = founder();
    let mut b = join(&mut a, 1);
    let removed = a.remove(b.id(), true, [2; 32], NOW).unwrap();
    let Some(Frame::Members(statements)) = removed.tell.into_iter().next() else {
        panic!("members come first")
    };
    assert!(b.on_members(&statements).unwrap().out);
}

#[test]
fn a_blocked_node_stays_a_member_elsewhere() {
    let mut a = founder();
    let mut b = join(&mut a, 1);
    assert!(a.block(b.id(), true));
    assert!(!a.admits(&b.id()) && a.list.member(&b.id()).is_some());
    assert_eq!(open(&mut b, &mut a), Err(RefuseReason::Blocked));
    assert_eq!(open(&mut a, &mut b), Err(RefuseReason::Blocked));
    let mut a = Membership::restore(key(0), a.state()).unwrap();
    assert!(!a.admits(&b.id()), "also after a restart");
    assert!(a.block(b.id(), false));
    assert_eq!(open(&mut b, &mut a), Ok(()));
}

#[test]
fn a_node_that_leaves_is_refused_and_the_rest_goes_on() {
    let mut a = founder();
    let mut b = join(&mut a, 1);
    let mut c = join(&mut a, 2);
    let changed = b.leave(NOW).unwrap();
    assert!(changed.out);
    hear(&mut a, changed.tell.clone());
    hear(&mut c, changed.tell);
    assert_eq!(open(&mut b, &mut a), Err(RefuseReason::Removed));
    assert_eq!(open(&mut c, &mut a), Ok(()));
}

#[test]
fn who_knows_the_secret_of_an_open_mesh_is_in() {
    let mut a = Membership::open(key(0), "h0", [1; 32], NOW);
    let mut b = Membership::open(key(1), "h1", [1; 32], NOW);
    let mut other = Membership::open(key(2), "h2", [2; 32], NOW);
    assert_eq!(open(&mut a, &mut b), Ok(()));
    assert!(a.admits(&b.id()) && b.admits(&a.id()));
    assert_eq!(open(&mut other, &mut a), Err(RefuseReason::NoProof));
    a.remove(b.id(), true, [3; 32], NOW).unwrap();
    assert_eq!(open(&mut b, &mut a), Err(RefuseReason::Removed));
    let mut late = Membership::open(key(3), "h3", [1; 32], NOW);
    assert_eq!(
        open(&mut late, &mut a),
        Err(RefuseReason::Unlisted),
        "the first secret is not in force any more"
    );
}

#[test]
fn a_request_is_judged_before_its_ticket_is_spent() {
    let mut a = founder();
    let _ = join(&mut a, 1);
    let request = |host: &str| JoinRequest {
        versions: VERSIONS,
        mesh: MESH,
        token: Token([0; 24]),
        host: host.into(),
        agents: vec![],
    };
    assert_eq!(a.judge_request(&request("h2"), &id(2)), Ok(()));
    assert_eq!(a.judge_request(&request("h1"), &id(1)), Ok(()), "again, by the same node");
    assert_eq!(a.judge_request(&request("h1"), &id(2)), Err(JoinRefuseCode::LabelTaken));
    assert_eq!(a.judge_request(&request("No Label"), &id(2)), Err(JoinRefuseCode::BadLabel));
    let elsewhere = JoinRequest { mesh: MeshId([0; 16]), ..request("h2") };
    assert_eq!(a.judge_request(&elsewhere, &id(2)), Err(JoinRefuseCode::OtherMesh));
    let newer = JoinRequest { versions: (9, 12), ..request("h2") };
    assert_eq!(a.judge_request(&newer, &id(2)), Err(JoinRefuseCode::Version));
    let (grant, _) = a.admit(id(3), "h3", false, NOW).unwrap();
    let plain = Membership::joined(key(3), "h3", &ticket(&a), grant).unwrap();
    assert_eq!(plain.judge_request(&request("h2"), &id(2)), Err(JoinRefuseCode::NotAllowed));
}

#[test]
fn a_grant_is_believed_only_if_it_says_what_the_ticket_said() {
    let mut a = founder();
    let (grant, _) = a.admit(id(1), "h1", false, NOW).unwrap();
    let again = a.admit(id(1), "h1", false, NOW).unwrap();
    assert_eq!((&again.0, again.1), (&grant, Changed::default()), "the spend is repeatable");
    let other = Ticket { mesh: MeshId([0; 16]), ..ticket(&a) };
    let refused = Membership::joined(key(1), "h1", &other, grant.clone()).unwrap_err();
    assert_eq!(refused, GrantError::OtherMesh);
    let refused = Membership::joined(key(2), "h2", &ticket(&a), grant.clone()).unwrap_err();
    assert_eq!(refused, GrantError::NotListed);
    let liar = Ticket { inviter: id(8), ..ticket(&a) };
    assert_eq!(Membership::joined(key(1), "h1", &liar, grant).unwrap_err(), GrantError::NotListed);
}
