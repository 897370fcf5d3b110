//! Errors at every file operation of the store, and at every system call of every kind of change: a call that fails has
//! changed nothing or is one of few ambiguous ones; a call that succeeds has changed everything; and the next call works.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "test code"
)]

use tests::cases::{CASES, Case, World, side_by_side};
use tests::scenario::{
    Change, Place, apply, change_several, create_one, fill, remove_one, replace_one, shown,
};
use tests::sim::{Plan, SimDisk};
use tests::stepper::{Trouble, run};

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

/// Lets each system call of a real executable fail in turn. Gives the number of points and of ambiguous answers.
fn fail_everywhere(case: &Case, errno: i32) -> (usize, usize) {
    let (old, new) = case.worlds();
    let (mut points, mut ambiguous) = (0, Vec::new());
    loop {
        // A fresh root each time: what is already made would shift the numbers of the calls after it.
        let fixture = case.prepared();
        let traced = run(case.command(&fixture), Trouble::Fail(points, errno));
        if !traced.met {
            break;
        }
        let told = format!("{}, errno {errno} at call {points}", case.name());
        let now = World::of(&fixture);
        assert!(now.state == old.state || now.state == new.state, "{told}: torn: {now:?}");
        let success = traced.output.starts_with(b"0\0");
        assert!(!success || now == new, "{told}: a false success");
        assert!(now.state == old.state || now.events == new.events, "{told}: events: {:?}", now.events);
        assert_eq!(fixture.store().check().unwrap(), [], "{told}");
        assert_eq!(leftovers(&fixture), [""; 0], "{told}");
        if !success && now.state == new.state {
            ambiguous.push(points);
        }
        let again = case.command(&fixture).output().unwrap().stdout;
        assert!(again.starts_with(b"0\0") || now != old, "{told}: it does not work again");
        points += 1;
    }
    assert!(points > 20, "{}: only {points} points", case.name());
    assert!(ambiguous.len() <= 2, "{}, errno {errno}: ambiguous answers at {ambiguous:?}", case.name());
    (points, ambiguous.len())
}

/// Half-made files in the store's directories.
fn leftovers(fixture: &tests::Fixture) -> Vec<String> {
    let folders = [
        "/var/lib/qubes/admin",
        "/var/lib/qubes/admin/qubes",
        "/var/lib/qubes/admin/journal",
        "/var/lib/qubes/admin/unfinished",
        "/run/qubes/admin",
    ];
    let entries = folders.iter().flat_map(|folder| std::fs::read_dir(fixture.path(folder)).unwrap());
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".new")).collect()
}

#[test]
fn no_error_at_a_system_call_tears_or_lies() {
    let results = side_by_side(&CASES, |case| {
        let results = ERRORS.map(|errno| fail_everywhere(case, errno));
        let points: usize = results.iter().map(|(points, _)| points).sum();
        let ambiguous = results.map(|(_, ambiguous)| ambiguous);
        println!("{}: {points} errors, ambiguous {ambiguous:?}, 0 torn, 0 false success", case.name());
        points
    });
    println!("{} kinds of change, {} errors", CASES.len(), results.iter().sum::<usize>());
}
