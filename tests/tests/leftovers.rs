//! What a creation or removal leaves when it is killed or fails in between: nothing for ever, nothing for others.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use common::names::QubeName;
use common::storage::unfinished;
use tests::stepper::{Trouble, run};
use tests::{Fixture, executables};

const CREATE: &str = "admin.vm.CreateInPool.StandaloneVM";
const PAYLOAD: &str = "name=new label=red pool=test";

/// Where the qube `new` has its files: its home directory, and its images in another pool.
fn folders(fixture: &Fixture) -> [PathBuf; 2] {
    ["/var/lib/qubes/appvms/new", "/var/lib/qubes/test/appvms/new"].map(|folder| fixture.path(folder))
}

fn is_stored(fixture: &Fixture) -> bool {
    fixture.store().read().unwrap().exists(&QubeName::parse("new").unwrap()).unwrap()
}

/// Runs a call up to a stop and kills it there; tells whether it was still running.
fn killed_at(fixture: &Fixture, method: &str, destination: &str, payload: &str, stop: usize) -> bool {
    let request = fixture.path("/request");
    std::fs::write(&request, format!("{method}+ dom0 name {destination}\0{payload}")).unwrap();
    let mut command = fixture.command(method);
    command.stdin(File::open(&request).unwrap());
    run(command, Trouble::Kill(stop)).met
}

/// What `qubes-admin check` says, and whether all is well.
fn check(fixture: &Fixture, repair: &[&str]) -> (bool, String) {
    let mut command = Command::new(executables::executable("qubes-admin"));
    command.env_clear().arg("--root").arg(fixture.path("/")).arg("check").args(repair);
    let output = command.stdin(Stdio::null()).output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

/// Whether something is left to finish, which `qubes-admin check` then reports and, if asked, finishes.
fn is_reported(fixture: &Fixture, repair: bool) -> bool {
    if unfinished::all(&fixture.store()).unwrap().is_empty() {
        return false;
    }
    let (well, said) = check(fixture, &[]);
    assert!(!well && said.contains("making or removing new was not finished"), "{said}");
    if repair {
        let (well, said) = check(fixture, &["--repair"]);
        assert!(well, "{said}");
    }
    true
}

/// The qube is there with all its files, or gone with all of them.
fn assert_whole(fixture: &Fixture, stop: usize) {
    let stored = is_stored(fixture);
    let [home, images] = folders(fixture);
    assert_eq!(home.exists(), stored, "home directory at stop {stop}");
    assert_eq!(images.join("private.img").exists(), stored, "images at stop {stop}");
    assert!(stored || !images.exists(), "image directory at stop {stop}");
}

#[test]
fn a_killed_creation_is_reported_and_cleared_away_by_repair_or_by_the_next_one() {
    let fixture = Fixture::new();
    let (mut reported, mut stop) = (0, 0);
    while killed_at(&fixture, CREATE, "dom0", PAYLOAD, stop) {
        let by_repair = stop % 2 == 0;
        if is_reported(&fixture, by_repair) {
            reported += 1;
            if !by_repair && !is_stored(&fixture) {
                fixture.ok(CREATE, "dom0", "name=new label=red");
                assert!(folders(&fixture)[0].join("root.img").exists());
                assert!(!folders(&fixture)[1].exists(), "an image in another pool stayed at stop {stop}");
                fixture.ok("admin.vm.Remove", "new", "");
            }
        }
        assert_whole(&fixture, stop);
        if is_stored(&fixture) {
            fixture.ok("admin.vm.Remove", "new", "");
            assert_whole(&fixture, stop);
        }
        stop += 1;
    }
    println!("creation: {stop} points, {reported} with something left to finish");
    assert!(reported > 50, "{reported} of {stop}");
    assert!(is_stored(&fixture) && check(&fixture, &[]).0);
}

#[test]
fn a_killed_removal_is_reported_and_finished_by_repair_or_by_the_next_creation() {
    let fixture = Fixture::new();
    let (mut reported, mut stop) = (0, 0);
    loop {
        if !is_stored(&fixture) {
            fixture.ok(CREATE, "dom0", PAYLOAD);
        }
        fixture.ok("admin.vm.notes.Set", "new", "of the old one");
        if !killed_at(&fixture, "admin.vm.Remove", "new", "", stop) {
            break;
        }
        let by_repair = stop % 2 == 0;
        if is_reported(&fixture, by_repair) {
            reported += 1;
            if !by_repair && !is_stored(&fixture) {
                fixture.ok(CREATE, "dom0", PAYLOAD);
                assert_eq!(fixture.ok("admin.vm.notes.Get", "new", ""), "", "at stop {stop}");
            }
        }
        assert_whole(&fixture, stop);
        stop += 1;
    }
    println!("removal: {stop} points, {reported} with something left to finish");
    assert!(reported > 30, "{reported} of {stop}");
    assert!(!is_stored(&fixture) && check(&fixture, &[]).0);
}

#[test]
fn a_failed_creation_clears_its_own_files_and_nobody_elses() {
    let fixture = Fixture::new();
    let home = fixture.path("/var/lib/qubes/appvms/new");
    std::fs::create_dir_all(&home).unwrap();
    std::fs::write(home.join("somebodys"), "").unwrap();
    let pool = fixture.path("/var/lib/qubes/test");
    std::fs::remove_dir(&pool).unwrap();
    std::fs::write(&pool, "not a directory").unwrap();
    let payload = "name=new label=red pool:private=test";
    let said = fixture.refused(CREATE, "dom0", payload);
    assert_eq!(said, "StoragePoolException: making an image: File exists (os error 17)");
    let left = std::fs::read_dir(&home).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(left, ["somebodys"]);
    assert!(unfinished::all(&fixture.store()).unwrap().is_empty());
    std::fs::remove_dir_all(&home).unwrap();
    fixture.refused(CREATE, "dom0", payload);
    assert!(!home.exists());
}
