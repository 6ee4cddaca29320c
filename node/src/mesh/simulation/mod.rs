//! Nodes on a simulated network: virtual time, latency, loss, cuts, splits, crashes, frozen and sleeping machines, clocks
//! that jump, slow and full disks, slow readers, removals. The machines are the real ones (`membership`, `keeper`, `link`,
//! `roster`, the directory); the shell around them, the network and, for most histories, the store are simulated.
//!
//! Everything is drawn from one seed, which every failure names: `AMESH_SEED=n` plays it again, `AMESH_HISTORIES=n` plays
//! more of them. The checker ([`check`]) asserts promises 1, 2, 3 and 7 of DESIGN §1 and the membership's over each
//! whole history; [`sabotage`] shows that it would notice.

mod cast;
mod check;
mod greeting;
mod membership;
mod network;
mod node;
mod real;
mod sabotage;
mod session;
mod store;
mod trouble;
mod world;

use std::time::Duration;
use world::{Faults, World};

/// The seed that was asked for, or the first `count`: the same in every run, so that no run fails by chance.
fn seeds_of(count: u64) -> Vec<u64> {
    let chosen: Option<u64> = std::env::var("AMESH_SEED").ok().and_then(|seed| seed.parse().ok());
    chosen.map_or_else(|| (0..count).collect(), |seed| vec![seed])
}

/// Plays `scenario` under many seeds.
fn under_many_seeds(count: u64, scenario: impl Fn(u64)) {
    for seed in seeds_of(count) {
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| scenario(seed)));
        assert!(played.is_ok(), "failed under AMESH_SEED={seed}");
    }
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// How many histories with every kind of trouble are played.
fn histories(least: u64) -> u64 {
    std::env::var("AMESH_HISTORIES").ok().and_then(|count| count.parse().ok()).unwrap_or(least)
}

#[test]
fn on_a_quiet_network_everything_arrives_once_and_in_order() {
    under_many_seeds(3, |seed| {
        let mut world = World::new(seed, 2, Faults::NONE);
        world.run(seconds(20), seconds(5));
        check::everything_arrived(&world);
        check::the_mesh_is_whole(&world);
        check::nobody_waits_longer_than(&world, seconds(3));
    });
}

#[test]
fn histories_with_every_kind_of_trouble_keep_every_promise() {
    let history = |seed| {
        let nodes = 3 + usize::try_from(seed % 3).unwrap();
        let mut world = World::new(seed, nodes, Faults::ALL);
        world.run(seconds(40), seconds(150));
        check::everything_arrived(&world);
        check::the_mesh_is_whole(&world);
    };
    KEPT.into_iter().for_each(history);
    under_many_seeds(histories(10), history);
}

/// Seeds under which something was found once.
const KEPT: [u64; 4] = [7, 20, 358, 408];

#[test]
fn cuts_and_slow_notice_of_them_lose_repeat_and_reorder_nothing() {
    under_many_seeds(6, |seed| {
        let mut world = World::new(seed, 2, Faults { cuts: 0.3, ..Faults::NONE });
        world.run(seconds(60), seconds(60));
        check::everything_arrived(&world);
    });
}

#[test]
fn crashes_of_either_end_lose_repeat_and_reorder_nothing() {
    under_many_seeds(6, |seed| {
        let mut world = World::new(seed, 2, Faults { crashes: 0.2, cuts: 0.1, ..Faults::NONE });
        world.run(seconds(60), seconds(60));
        check::everything_arrived(&world);
    });
}

#[test]
fn a_mailbox_that_nobody_empties_holds_up_only_its_own_lanes() {
    under_many_seeds(4, |seed| {
        let mut world = World::new(seed, 2, Faults::NONE);
        world.neglect(1, 0);
        world.run(seconds(30), seconds(5));
        check::everything_else_arrived(&world, 1, 0);
        check::nobody_waits_longer_than(&world, seconds(3));
    });
}

#[test]
fn refusals_and_expiries_leave_the_rest_of_their_lane_moving() {
    under_many_seeds(5, |seed| {
        let mut world =
            World::new(seed, 2, Faults { poison: 0.2, short_lives: 0.1, cuts: 0.1, ..Faults::NONE });
        world.run(seconds(40), seconds(60));
        check::everything_arrived(&world);
    });
}

#[test]
fn what_was_sent_during_a_partition_flows_within_fifteen_seconds_of_a_heal_without_any_sign() {
    under_many_seeds(5, |seed| {
        for lasts in [5, 20, 50] {
            let mut world = World::new(seed, 2, Faults::NONE);
            world.until(seconds(5));
            world.part(0, 1, seconds(5 + lasts));
            world.until(seconds(5 + lasts));
            let before = check::delivered(&world);
            world.run(seconds(8 + lasts), seconds(60));
            check::everything_arrived(&world);
            check::flowed_again_within(&world, before, seconds(5 + lasts), seconds(15));
        }
    });
}

#[test]
fn with_a_sign_at_either_end_it_flows_within_two_seconds() {
    under_many_seeds(5, |seed| {
        let mut world = World::new(seed, 2, Faults::NONE);
        world.until(seconds(5));
        world.part(0, 1, seconds(50));
        world.until(seconds(50));
        let before = check::delivered(&world);
        world.notices_its_interfaces(usize::try_from(seed % 2).unwrap());
        world.run(seconds(53), seconds(60));
        check::everything_arrived(&world);
        check::flowed_again_within(&world, before, seconds(50), seconds(2));
    });
}

#[test]
fn the_real_store_keeps_the_same_promises_through_every_kind_of_trouble() {
    under_many_seeds(3, |seed| {
        let mut world = World::on(seed, Faults::ALL, (0..3).map(real::engine).collect(), None);
        world.run(seconds(40), seconds(150));
        check::everything_arrived(&world);
        check::the_mesh_is_whole(&world);
    });
}
