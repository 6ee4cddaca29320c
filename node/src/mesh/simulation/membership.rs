//! Histories of one mesh's membership: removed while off or while the mesh is split, off during an epoch's end, one name
//! at two nodes.

use super::cast::BOB;
use super::world::{Faults, World};
use super::{check, seconds, under_many_seeds};

#[test]
fn one_that_is_removed_while_the_mesh_is_split_gets_nothing_on_either_side_when_it_returns() {
    under_many_seeds(5, |seed| {
        let mut world = World::new(seed, 5, Faults::NONE);
        world.until(seconds(10));
        // The founder and the member to go are on different sides; 2 may remove as well, and 4 is removed on its side.
        world.split(&[2, 3, 4], seconds(40));
        world.until(seconds(20));
        world.remove(0, 4);
        world.remove(2, 1);
        world.until(seconds(50));
        let before = [delivered_at(&world, 1), delivered_at(&world, 4)];
        world.until(seconds(70));
        let removed = [delivered_at(&world, 1), delivered_at(&world, 4)];
        world.run(seconds(80), seconds(60));
        assert_eq!(
            [delivered_at(&world, 1), delivered_at(&world, 4)],
            removed,
            "mail came after the heal ({before:?})"
        );
        check::everything_arrived(&world);
        check::the_mesh_is_whole(&world);
    });
}

#[test]
fn one_that_is_removed_while_it_is_off_gets_nothing_when_it_returns() {
    under_many_seeds(5, |seed| {
        let mut world = World::new(seed, 4, Faults::NONE);
        world.until(seconds(10));
        world.crash(3, 60);
        world.until(seconds(11));
        world.remove(0, 3);
        let before = delivered_at(&world, 3);
        world.run(seconds(90), seconds(60));
        assert_eq!(delivered_at(&world, 3), before, "mail came to a removed member");
        check::everything_arrived(&world);
        check::the_mesh_is_whole(&world);
    });
}

#[test]
fn one_that_was_off_during_a_change_of_epoch_comes_back_without_help() {
    under_many_seeds(5, |seed| {
        let mut world = World::new(seed, 4, Faults::NONE);
        world.until(seconds(10));
        world.freeze(2, seconds(45), true);
        world.crash(1, 50);
        world.remove(0, 3);
        world.run(seconds(90), seconds(60));
        check::everything_arrived(&world);
        check::the_mesh_is_whole(&world);
        assert!(delivered_at(&world, 1) > 0 && delivered_at(&world, 2) > 0);
    });
}

#[test]
fn removals_on_both_sides_of_a_split_end_in_one_epoch_for_all_who_stand() {
    under_many_seeds(5, |seed| {
        let mut world = World::new(seed, 6, Faults { loss: 0.05, ..Faults::NONE });
        world.until(seconds(10));
        world.split(&[2, 3, 4], seconds(50));
        world.until(seconds(15));
        world.remove(0, 1);
        world.remove(2, 3);
        world.run(seconds(70), seconds(60));
        check::everything_arrived(&world);
        check::the_mesh_is_whole(&world);
    });
}

#[test]
fn of_two_who_give_the_same_name_during_a_split_the_older_member_keeps_it() {
    under_many_seeds(5, |seed| {
        let mut world = World::new(seed, 4, Faults::NONE);
        world.until(seconds(10));
        world.split(&[2, 3], seconds(40));
        world.nodes[3].change_roster(BOB);
        world.until(seconds(20));
        world.nodes[1].change_roster(BOB);
        world.run(seconds(60), seconds(60));
        check::everything_arrived(&world);
        check::the_mesh_is_whole(&world);
    });
}

pub(super) fn delivered_at(world: &World, node: usize) -> usize {
    world.nodes[node].store.history.delivered.len()
}
