//! Backups that `qubes-admin backup` has made, which are restored.

use std::path::PathBuf;
use std::process::Output;

use tests::Fixture;
use tests::tool::{command, shown, tool};

use super::system::{VOLUMES, system};
use super::{fresh, image, names, path, said};

/// The system, with a profile for all of its qubes.
fn profiled() -> Fixture {
    let fixture = system();
    std::fs::create_dir_all(fixture.path("/mnt/backups")).unwrap();
    fixture.profile(
        "all",
        &format!(
            "destination_vm: dom0\ndestination_path: /mnt/backups\npassphrase_text: \"{}\"\n\
            include: [tpl, net, work, dvm, alone, disp]\n",
            super::PASSPHRASE
        ),
    );
    fixture
}

fn made(fixture: &Fixture) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(fixture.path("/mnt/backups")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn restored(target: &Fixture, backup: &std::path::Path) -> Output {
    let secret = path(target, "/passphrase");
    tool(target, &["restore", "--passphrase-file", &secret, backup.to_str().unwrap()])
}

#[test]
fn a_backup_that_is_made_is_told_of_before_and_restored_as_it_was() {
    let (system, target) = (profiled(), fresh());
    assert_eq!(said(&tool(&system, &["backup"]), true), "all\n");
    let told = said(&tool(&system, &["backup", "all"]), true);
    assert!(told.contains("             work |           VM |") && told.contains("Total size: |"), "{told}");
    assert!(told.ends_with("the backup all is made\n"), "{told}");
    let [backup] = made(&system).try_into().unwrap();
    let told = said(&restored(&target, &backup), true);
    assert!(told.contains("\nwork: restored\n"), "{told}");
    assert_eq!(names(&target), names(&system));
    for (qube, volume) in VOLUMES {
        assert!(image(&target, qube, volume) == image(&system, qube, volume), "{qube} {volume}");
    }
    for call in ["admin.vm.firewall.Get", "admin.vm.notes.Get"] {
        let told = |fixture: &Fixture| fixture.ok(call, "work", "");
        assert!(!told(&system).is_empty());
        assert_eq!(told(&target), told(&system));
    }
}

#[test]
fn a_terminal_is_shown_how_far_a_backup_is() {
    let system = profiled();
    let told = shown(100, |terminal| command(&system, &["backup", "all"]).stderr(terminal).spawn().unwrap());
    assert!(told.contains("this gives it up: qubes-admin call dom0 admin.backup.Cancel+all"), "{told}");
    let last = told.lines().last().unwrap().rsplit('\r').next().unwrap();
    assert!(last.starts_with("100% [####") && last.contains(" left"), "{told:?}");
    assert_eq!(made(&system).len(), 1);
}

#[test]
fn what_stands_in_the_way_of_a_backup_is_told() {
    let system = profiled();
    let missing = tool(&system, &["backup", "nosuch"]);
    assert!(said(&missing, false).contains("Backup profile does not exist: nosuch"));
    std::fs::remove_dir_all(system.path("/mnt")).unwrap();
    let told = said(&tool(&system, &["backup", "all"]), false);
    assert!(told.contains("Total size: |") && !told.contains("is made"), "{told}");
    std::fs::remove_dir_all(system.path("/etc/qubes/backup")).unwrap();
    assert!(said(&tool(&system, &["backup"]), false).contains("there is no profile"));
}
