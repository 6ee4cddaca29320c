//! Rules turned off one at a time, in the simulated nodes only: a checker that lets such a history pass checks nothing.

use super::world::{Faults, World};
use super::{check, seconds};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The rule that is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sabotage {
    /// The mailbox takes an id that it has seen.
    NoDedupe,
    /// A verdict is given before the commit that it speaks of.
    AckBeforeCommit,
    /// The sender takes what it sent for delivered.
    SentIsDelivered,
    /// The sender takes "later" for "delivered".
    LaterIsDelivered,
    /// The receiving end takes a number though one below it is missing or was put off.
    LanesIgnored,
    /// What was shown is gone from the mailbox, acknowledged or not.
    ReadIsGone,
    /// Mail is judged without the roster that it was sent under.
    RosterNotAwaited,
    /// A removed member keeps its links, and what flows over them.
    RemovedStays,
}

/// The trouble in which every one of these rules is needed.
const TROUBLE: Faults =
    Faults { cuts: 0.2, crashes: 0.1, full_disks: 0.1, changes: 0.5, slow_readers: true, ..Faults::NONE };

/// Plays histories with that rule off until the checker objects; says what it said.
fn objection(sabotage: Sabotage) -> String {
    let history = |seed| {
        let mut world = World::sabotaged(seed, 3, TROUBLE, Some(sabotage));
        world.until(seconds(20));
        world.remove(0, 2);
        world.run(seconds(40), seconds(60));
        check::everything_arrived(&world);
        check::the_mesh_is_whole(&world);
    };
    let objection = (0..100).find_map(|seed| catch_unwind(AssertUnwindSafe(|| history(seed))).err());
    let said =
        objection.unwrap_or_else(|| panic!("a hundred histories with {sabotage:?}, and nobody noticed"));
    said.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[track_caller]
fn caught(sabotage: Sabotage, by: &[&str]) {
    let said = objection(sabotage);
    assert!(by.iter().any(|words| said.contains(words)), "{sabotage:?} was caught by chance: {said}");
}

#[test]
fn a_broken_dedupe_is_caught() {
    caught(Sabotage::NoDedupe, &["is twice in its mailbox"]);
}

#[test]
fn a_verdict_before_the_commit_is_caught() {
    caught(Sabotage::AckBeforeCommit, &["was reported delivered and is lost", "was acknowledged and lost"]);
}

#[test]
fn mail_that_is_taken_for_delivered_once_it_is_sent_is_caught() {
    caught(Sabotage::SentIsDelivered, &["was reported delivered and is lost", "was acknowledged and lost"]);
}

#[test]
fn later_that_is_taken_for_delivered_is_caught() {
    caught(Sabotage::LaterIsDelivered, &["was reported delivered and is lost", "was acknowledged and lost"]);
}

#[test]
fn a_broken_lane_is_caught() {
    caught(Sabotage::LanesIgnored, &["overtook"]);
}

#[test]
fn mail_that_is_gone_once_it_is_shown_is_caught() {
    caught(Sabotage::ReadIsGone, &["nobody acknowledged it"]);
}

#[test]
fn mail_that_is_judged_without_its_roster_is_caught() {
    caught(Sabotage::RosterNotAwaited, &["failed without reason"]);
}

#[test]
fn a_removed_member_that_keeps_its_links_is_caught() {
    caught(Sabotage::RemovedStays, &["knows to be removed", "still deals with"]);
}
