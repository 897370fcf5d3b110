//! kill -9 and errors at every system call of every call that changes a volume: its content and old states are those
//! before or those after, nothing acknowledged is lost, and nothing half-made outlives the next call. Every eleventh place
//! is tried, `EVERY=1` for all of them.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

use std::fs::File;
use std::process::Command;

use nix::errno::Errno;
use tests::Fixture;
use tests::stepper::{Trouble, run};
use tests::volumes::{Shown, check_precache, image, images, is_temporary, new, old, shown, stream, system};

/// A changing call: how the world is prepared for it, and what makes it. A token is good once, so that one who has none
/// gets one.
struct Case {
    name: &'static str,
    prepare: fn(&Fixture),
    command: fn(&Fixture) -> Command,
}

fn nothing(_: &Fixture) {}

/// Adds an old state whose content differs from the committed one.
fn one_revision(fixture: &Fixture) {
    fixture.ok("admin.vm.volume.Clear+private", "made", "");
    std::fs::write(image(fixture, "private.img"), new()).unwrap();
    // It is there only where files share their blocks.
    let _ = std::fs::remove_file(image(fixture, "private-precache.img"));
}

fn begun(fixture: &Fixture) {
    fixture.ok("internal.vm.volume.ImportBegin+private", "made", "");
    std::fs::write(image(fixture, "private-import.img"), new()).unwrap();
}

/// A source for clones in a pool of another driver.
fn with_source(fixture: &Fixture) {
    fixture.ok("admin.vm.CreateInPool.AppVM", "dom0", "name=filed label=red pool:private=test");
    std::fs::write(fixture.path("/var/lib/qubes/test/appvms/filed/private.img"), new()).unwrap();
}

fn call(fixture: &Fixture, call: &str, payload: &str) -> Command {
    let request = format!("{call}+private dom0 name made\0{payload}");
    std::fs::write(fixture.path("/request"), request).unwrap();
    let mut command = fixture.command(call);
    command.stdin(File::open(fixture.path("/request")).unwrap());
    command
}

const fn case(name: &'static str, prepare: fn(&Fixture), command: fn(&Fixture) -> Command) -> Case {
    Case { name, prepare, command }
}

const CASES: [Case; 11] = [
    case("Clear", nothing, |fixture| call(fixture, "admin.vm.volume.Clear", "")),
    case("Clear with a revision", one_revision, |fixture| call(fixture, "admin.vm.volume.Clear", "")),
    case("Revert", one_revision, |fixture| call(fixture, "admin.vm.volume.Revert", "1")),
    case("Snapshot", one_revision, |fixture| call(fixture, "admin.vm.volume.Snapshot", "")),
    case("Resize", nothing, |fixture| call(fixture, "admin.vm.volume.Resize", "131072")),
    case("Set.revisions_to_keep", nothing, |fixture| {
        call(fixture, "admin.vm.volume.Set.revisions_to_keep", "3")
    }),
    case("Set.rw", nothing, |fixture| call(fixture, "admin.vm.volume.Set.rw", "False")),
    case("Import", nothing, |fixture| stream(fixture, "admin.vm.volume.Import", "private", &new())),
    case("ImportWithSize", one_revision, |fixture| {
        let payload = [b"70000\n".as_slice(), &old(), &[9; 4464]].concat();
        stream(fixture, "admin.vm.volume.ImportWithSize", "private", &payload)
    }),
    case("ImportEnd", begun, |fixture| call(fixture, "internal.vm.volume.ImportEnd", "ok")),
    case("CloneTo", with_source, |fixture| {
        let token = fixture.ok("admin.vm.volume.CloneFrom+private", "filed", "");
        call(fixture, "admin.vm.volume.CloneTo", &token)
    }),
];

impl Case {
    fn prepared(&self) -> Fixture {
        let fixture = system();
        (self.prepare)(&fixture);
        fixture
    }

    /// What is shown before and after.
    fn worlds(&self) -> (Shown, Shown) {
        let fixture = self.prepared();
        let before = shown(&fixture);
        let answer = (self.command)(&fixture).output().unwrap();
        assert!(answer.stdout.starts_with(b"0\0"), "{}: {answer:?}", self.name);
        let after = shown(&fixture);
        assert!(before != after, "{} changes nothing", self.name);
        (before, after)
    }
}

/// The next import leaves nothing half-made.
fn goes_on(fixture: &Fixture, told: &str) {
    fixture.ok("admin.vm.volume.Set.rw+private", "made", "True");
    fixture.ok("admin.vm.volume.Clear+private", "made", "");
    let left: Vec<String> = images(fixture).into_iter().filter(|name| is_temporary(name)).collect();
    assert_eq!(left, [""; 0], "{told}");
    assert_eq!(fixture.store().check().unwrap(), [], "{told}");
}

/// How far one place of trouble is from the next.
fn stride() -> usize {
    if std::env::var_os("EVERY").is_some() { 1 } else { 11 }
}

fn kill_everywhere(case: &Case) -> usize {
    let (before, after) = case.worlds();
    let prepared = case.prepared();
    let (mut stop, mut kills, mut olds) = (0, 0, 0);
    loop {
        let fixture = prepared.copy();
        let traced = run((case.command)(&fixture), Trouble::Kill(stop));
        let told = format!("{}, killed at stop {stop}", case.name);
        let now = shown(&fixture);
        let is_new = now.is_untidied(&after);
        assert!(now == before || is_new, "{told}: torn\n{now:#?}\n{before:#?}\n{after:#?}");
        assert!(traced.output.is_empty() || is_new, "{told}: an acknowledged change was lost");
        check_precache(&fixture);
        goes_on(&fixture, &told);
        if !traced.met {
            break;
        }
        olds += usize::from(!is_new);
        kills += 1;
        stop += stride();
    }
    println!("{}: {kills} kills, {olds} old, {} new, 0 torn", case.name, kills - olds);
    assert!(olds > 3 && olds < kills, "{}: {olds} of {kills} old", case.name);
    kills
}

#[test]
fn every_change_of_a_volume_survives_kill_at_every_system_call() {
    let kills: usize = CASES.iter().map(kill_everywhere).sum();
    println!("{} changes of volumes killed {kills} times", CASES.len());
}

fn fail_everywhere(case: &Case, errno: Errno) -> usize {
    let (before, after) = case.worlds();
    let prepared = case.prepared();
    let (mut point, mut points, mut ambiguous) = (0, 0, 0);
    loop {
        let fixture = prepared.copy();
        let traced = run((case.command)(&fixture), Trouble::Fail(point, errno as i32));
        if !traced.met {
            break;
        }
        let told = format!("{}, {errno} at call {point}", case.name);
        let now = shown(&fixture);
        let is_new = now.is_untidied(&after);
        assert!(now == before || is_new, "{told}: torn\n{now:#?}\n{before:#?}\n{after:#?}");
        let success = traced.output.starts_with(b"0\0");
        assert!(!success || is_new, "{told}: a false success");
        ambiguous += usize::from(!success && is_new);
        check_precache(&fixture);
        goes_on(&fixture, &told);
        points += 1;
        point += stride();
    }
    println!("{}, {errno}: {points} points, {ambiguous} ambiguous", case.name);
    assert!(points > 2, "{}: only {points} points", case.name);
    assert!(ambiguous <= 2, "{}, {errno}: {ambiguous} ambiguous answers", case.name);
    points
}

#[test]
fn no_error_tears_a_volume_or_lies() {
    let errors = [Errno::EIO, Errno::ENOSPC, Errno::EMFILE, Errno::EACCES];
    let points: usize =
        errors.iter().flat_map(|errno| CASES.iter().map(|case| fail_everywhere(case, *errno))).sum();
    println!("{} changes of volumes failed at {points} points", CASES.len());
}
