//! Power loss: every state the disk may be left in recovers to what was acknowledged, or to the change after it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]
#![allow(clippy::disallowed_macros, reason = "totals")]

use tests::scenario::{
    Change, Place, Recovery, apply, change_several, create_one, fill, remove_one, replace_one, shown,
};
use tests::sim::{Plan, SimDisk};

/// The shapes of change, each followed by others that would show what the first left behind.
const SCENARIOS: [(&str, &[Change]); 5] = [
    ("replace one object", &[replace_one, replace_one]),
    ("create one object", &[create_one, replace_one]),
    ("remove one object", &[remove_one, replace_one]),
    ("change several objects", &[change_several, replace_one]),
    ("change several, then remove one of them", &[change_several, remove_one, replace_one]),
];

/// Runs the changes and counts the states after a power loss, and how many of them are wrong.
fn lose_power_everywhere(changes: &[Change], skipped_sync: Option<usize>) -> (usize, usize, bool) {
    let place = Place::new();
    let disk = SimDisk::default();
    let store = place.store(disk.clone());
    fill(&store);
    disk.plan(Plan { skipped_sync, ..Plan::default() });
    let mut acknowledged = vec![shown(&store).unwrap()];
    let mut ends = vec![disk.history().len()];
    for (number, change) in changes.iter().enumerate() {
        apply(&store, *change, i64::try_from(number).unwrap() + 1).unwrap();
        ends.push(disk.history().len());
        acknowledged.push(shown(&store).unwrap());
        ends[number + 1] = disk.history().len();
    }
    let mut recovery = Recovery::new(&place);
    let (mut states, mut wrong) = (0, 0);
    for (moment, state) in disk.history().iter().enumerate() {
        let done = ends.iter().filter(|end| **end <= moment + 1).count().saturating_sub(1);
        for left in state.after_power_loss(&place.state()) {
            states += 1;
            let recovered = recovery.of(left);
            let allowed = &acknowledged[done..(done + 2).min(acknowledged.len())];
            if !recovered.is_some_and(|text| allowed.iter().any(|state| **state == *text)) {
                wrong += 1;
            }
        }
    }
    (states, wrong, disk.was_hit())
}

#[test]
fn every_state_recovers() {
    for (shape, changes) in SCENARIOS {
        let (states, wrong, _) = lose_power_everywhere(changes, None);
        println!("{shape}: {states} states after a power loss, {wrong} wrong");
        assert!(states >= 20, "{shape}: only {states} states tried");
        assert_eq!(wrong, 0, "{shape}");
    }
}

#[test]
fn each_sync_left_out_is_caught() {
    for (shape, changes) in SCENARIOS {
        let mut sync = 0;
        loop {
            let (_, wrong, skipped) = lose_power_everywhere(changes, Some(sync));
            if !skipped {
                break;
            }
            // Each scenario ends with a change of one object, so that no sync before it is without consequence.
            println!("{shape}: without sync {sync}: {wrong} wrong states");
            assert!(wrong > 0, "{shape}: nobody misses sync {sync}");
            sync += 1;
        }
        assert!(sync >= 2, "{shape}: no sync was left out");
    }
}
