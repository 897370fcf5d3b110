//! Two things going wrong one after the other: killed and killed again, killed or failed and then without power.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_macros,
    reason = "test code"
)]

use tests::scenario::{
    Change, Place, Recovery, apply, change_labels, change_several, create_one, events_alone, fill, published,
    remove_one, replace_one, shown,
};
use tests::sim::{Plan, SimDisk, State};

const SHAPES: [(&str, Change); 6] = [
    ("replace one object", replace_one),
    ("create one object", create_one),
    ("remove one object", remove_one),
    ("change several objects", change_several),
    ("change the labels", change_labels),
    ("only events", events_alone),
];

/// A filled store.
fn filled(place: &Place) -> State {
    let disk = SimDisk::default();
    fill(&place.store(disk.clone()));
    disk.state()
}

/// The disk after a change that met `plan`, whether the plan was met, and whether the change was acknowledged.
fn meet(place: &Place, state: &State, change: Change, number: i64, plan: Plan) -> (SimDisk, bool, bool) {
    let disk = SimDisk::of(state.clone());
    disk.plan(plan);
    let acknowledged = apply(&place.store(disk.clone()), change, number).is_ok();
    let hit = disk.was_hit();
    disk.plan(Plan::default());
    (disk, hit, acknowledged)
}

fn kill(at: usize) -> Plan {
    Plan { kill: Some(at), ..Plan::default() }
}

/// What is recorded as committed is there for readers also where the disk has become full meanwhile.
#[test]
fn readers_need_no_room_to_finish_a_change_that_was_killed() {
    let place = Place::new();
    let state = filled(&place);
    for (shape, change) in SHAPES {
        for at in 0.. {
            let (disk, hit, _) = meet(&place, &state, change, 1, kill(at));
            let expected = shown(&place.store(SimDisk::of(disk.state()))).unwrap();
            disk.plan(Plan { is_full: true, ..Plan::default() });
            let full = shown(&place.store(disk.clone()));
            assert!(full.is_ok_and(|shown| shown == expected), "{shape}, killed at {at}");
            if !hit {
                break;
            }
        }
    }
}

/// However far two killed changes came, each has all its events or none, as its state says.
#[test]
fn events_of_killed_changes_come_exactly_once() {
    let place = Place::new();
    let mut pairs = 0;
    // What leaves its generation in no object, or in none that lists are made of.
    for before in [events_alone, remove_one, change_labels] {
        let state = meet(&place, &filled(&place), before, 1, Plan::default()).0.state();
        for (first_shape, first) in [SHAPES[1], SHAPES[3]] {
            for first_kill in 0.. {
                let (disk, first_hit, _) = meet(&place, &state, first, 2, kill(first_kill));
                for second_kill in 0.. {
                    let (disk, second_hit, _) =
                        meet(&place, &disk.state(), replace_one, 3, kill(second_kill));
                    let now = shown(&place.store(disk.clone())).unwrap();
                    let took_effect = now.contains("\"vcpus\": Int(3)");
                    let events = published(&disk, &place);
                    let count = events.iter().filter(|name| *name == "replace:3").count();
                    assert_eq!(
                        count,
                        usize::from(took_effect),
                        "{first_shape} killed at {first_kill}, the next at {second_kill}: {events:?}"
                    );
                    pairs += 1;
                    if !second_hit {
                        break;
                    }
                }
                if !first_hit {
                    break;
                }
            }
        }
    }
    println!("{pairs} pairs of kills");
}

/// Makes a change that meets each plan in turn, then another; loses power at every moment of the latter.
fn then_lose_power(shape: &str, first: Change, plan: impl Fn(usize) -> Plan) -> usize {
    let place = Place::new();
    let state = filled(&place);
    let mut recovery = Recovery::new(&place);
    let old = recovery.of(state.clone()).unwrap();
    let new = shown(&place.store(meet(&place, &state, first, 1, Plan::default()).0)).unwrap();
    let mut states = 0;
    for at in 0.. {
        let (disk, hit, acknowledged) = meet(&place, &state, first, 1, plan(at));
        disk.plan(Plan::default());
        let store = place.store(disk.clone());
        apply(&store, replace_one, 9).unwrap();
        let end = shown(&store).unwrap();
        let done = disk.history().len();
        for (moment, left) in disk.history().iter().enumerate() {
            for left in left.after_power_loss(&place.state()) {
                let recovered = recovery.of(left).unwrap();
                let allowed = *recovered == *end
                    || moment + 1 < done && (*recovered == *new || recovered == old && !acknowledged);
                assert!(allowed, "{shape}: trouble at {at}, power lost at {moment} of {done}: {recovered}");
                states += 1;
            }
        }
        if !hit {
            return states;
        }
    }
    states
}

#[test]
fn a_power_loss_after_a_kill_takes_nothing_acknowledged_and_tears_nothing() {
    for (shape, change) in SHAPES {
        let states = then_lose_power(shape, change, kill);
        println!("{shape}: {states} states after a kill and a power loss");
    }
}

#[test]
fn a_power_loss_after_an_error_takes_nothing_acknowledged_and_tears_nothing() {
    let error = |at| Plan { failure: Some((at, nix::errno::Errno::EIO as i32)), ..Plan::default() };
    for (shape, change) in SHAPES {
        let states = then_lose_power(shape, change, error);
        println!("{shape}: {states} states after an error and a power loss");
    }
}
