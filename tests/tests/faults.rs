//! Errors at every file operation: a call that fails has changed nothing or is one of few ambiguous ones; a call that
//! succeeds has changed everything; and the next call works.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::disallowed_macros,
    reason = "test code"
)]

use tests::scenario::{
    Change, Place, apply, change_several, create_one, fill, remove_one, replace_one, shown,
};
use tests::sim::{Plan, SimDisk};

const SHAPES: [(&str, Change); 4] = [
    ("replace one object", replace_one),
    ("create one object", create_one),
    ("remove one object", remove_one),
    ("change several objects", change_several),
];

const ERRORS: [i32; 5] = [
    nix::errno::Errno::EIO as i32,
    nix::errno::Errno::ENOSPC as i32,
    nix::errno::Errno::EINTR as i32,
    nix::errno::Errno::EMFILE as i32,
    nix::errno::Errno::EACCES as i32,
];

/// What a change that met an error came to.
#[derive(PartialEq)]
enum Outcome {
    NotReached,
    Fine,
    Ambiguous,
}

fn meet(change: Change, at: usize, errno: i32) -> Outcome {
    let place = Place::new();
    let disk = SimDisk::default();
    let store = place.store(disk.clone());
    fill(&store);
    let old = shown(&store).unwrap();
    let expected = {
        let twin = SimDisk::of(disk.state());
        let store = place.store(twin);
        apply(&store, change, 1).unwrap();
        shown(&store).unwrap()
    };
    disk.plan(Plan { failure: Some((at, errno)), ..Plan::default() });
    let answer = apply(&store, change, 1);
    if !disk.was_hit() {
        return Outcome::NotReached;
    }
    disk.plan(Plan::default());
    let left = shown(&store).unwrap();
    assert!(left == old || left == expected, "torn after an error at operation {at}");
    assert!(answer.is_err() || left == expected, "a false success after an error at operation {at}");
    apply(&store, replace_one, 2).unwrap();
    if answer.is_err() && left == expected { Outcome::Ambiguous } else { Outcome::Fine }
}

#[test]
fn no_error_tears_or_lies() {
    for (shape, change) in SHAPES {
        for errno in ERRORS {
            let mut ambiguous = 0;
            let mut points = 0;
            loop {
                match meet(change, points, errno) {
                    Outcome::NotReached => break,
                    Outcome::Ambiguous => ambiguous += 1,
                    Outcome::Fine => {}
                }
                points += 1;
            }
            println!("{shape}, errno {errno}: {points} points, {ambiguous} ambiguous");
            assert!(points >= 8, "{shape}: only {points} points");
            assert!(ambiguous <= 2, "{shape}: {ambiguous} ambiguous answers");
        }
    }
}
