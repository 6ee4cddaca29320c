//! Nodes on a simulated network: virtual time, cuts, partitions, crashes, slow and full disks, slow readers. Everything
//! is drawn from one seed, which every failure names; `AMESH_SEED=n` plays it again.
//!
//! The checker ([`check`]) asserts promises 1, 2, 7 and 8 of DESIGN §1 over the whole history.

mod check;
mod node;
mod real;
mod store;
mod world;

use std::time::Duration;
use world::{Faults, World};

/// Plays `scenario` under many seeds.
fn under_many_seeds(count: u64, scenario: impl Fn(u64) + std::panic::RefUnwindSafe) {
    let chosen: Option<u64> = std::env::var("AMESH_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = chosen.map_or_else(|| (0..count).chain([rand::random()]).collect(), |seed| vec![seed]);
    for seed in seeds {
        if std::panic::catch_unwind(|| scenario(seed)).is_err() {
            panic!("failed under AMESH_SEED={seed}");
        }
    }
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn on_a_quiet_network_everything_arrives_once_and_in_order() {
    under_many_seeds(5, |seed| {
        let mut world = World::new(seed, 2, Faults::NONE);
        world.run(seconds(20), seconds(5));
        check::everything_arrived(&world);
        check::nobody_waits_longer_than(&world, seconds(3));
    });
}

#[test]
fn cuts_and_slow_notice_of_them_lose_repeat_and_reorder_nothing() {
    under_many_seeds(25, |seed| {
        let mut world = World::new(seed, 2, Faults { cuts: 0.3, ..Faults::NONE });
        world.run(seconds(60), seconds(60));
        check::everything_arrived(&world);
    });
}

#[test]
fn crashes_of_either_end_lose_repeat_and_reorder_nothing() {
    under_many_seeds(25, |seed| {
        let mut world = World::new(seed, 2, Faults { crashes: 0.2, cuts: 0.1, ..Faults::NONE });
        world.run(seconds(60), seconds(60));
        check::everything_arrived(&world);
    });
}

#[test]
fn three_nodes_with_every_kind_of_trouble_lose_repeat_and_reorder_nothing() {
    under_many_seeds(25, |seed| {
        let mut world = World::new(seed, 3, Faults::ALL);
        world.run(seconds(90), seconds(180));
        check::everything_arrived(&world);
    });
}

#[test]
fn a_mailbox_that_nobody_empties_holds_up_only_its_own_lanes() {
    under_many_seeds(10, |seed| {
        let mut world = World::new(seed, 2, Faults::NONE);
        world.neglect(1, 0);
        world.run(seconds(30), seconds(5));
        check::everything_else_arrived(&world, 1, 0);
        check::nobody_waits_longer_than(&world, seconds(3));
    });
}

#[test]
fn refusals_and_expiries_leave_the_rest_of_their_lane_moving() {
    under_many_seeds(15, |seed| {
        let mut world =
            World::new(seed, 2, Faults { poison: 0.2, short_lives: 0.1, cuts: 0.1, ..Faults::NONE });
        world.run(seconds(40), seconds(60));
        check::everything_arrived(&world);
    });
}

#[test]
fn what_was_sent_during_a_partition_arrives_in_order_as_soon_as_it_heals() {
    under_many_seeds(10, |seed| {
        let mut world = World::new(seed, 2, Faults::NONE);
        world.until(seconds(5));
        world.part(0, 1, seconds(30));
        world.until(seconds(30));
        let before = check::delivered(&world);
        world.run(seconds(33), seconds(60));
        check::everything_arrived(&world);
        check::flowed_again_within(&world, before, seconds(30), seconds(2));
    });
}

#[test]
fn the_real_store_keeps_the_same_promises_through_every_kind_of_trouble() {
    under_many_seeds(6, |seed| {
        let mut world = World::on(seed, Faults::ALL, (0..3).map(real::engine).collect());
        world.run(seconds(40), seconds(150));
        check::everything_arrived(&world);
    });
}
