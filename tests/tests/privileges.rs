//! Members of one group as callers, as in dom0: modes, groups, umasks, and one user's killed call finished by another.
//! Needs root, to become others.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_macros, reason = "test code")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};

use tests::cases::{CASES, Call};
use tests::fixture::refusal;
use tests::stepper::{Trouble, run};
use tests::users::{GROUP, ONE, OTHER, STRANGER, all_below, share};
use tests::{Fixture, executables};

/// A root that belongs to the group.
fn shared() -> Fixture {
    let fixture = Fixture::new();
    share(&fixture);
    fixture
}

/// Every file of the store is 0660, every directory 2770, all of the group.
fn check_modes(fixture: &Fixture) {
    for folder in ["/var/lib/qubes/admin", "/run/qubes/admin"] {
        for path in all_below(&fixture.path(folder)) {
            let metadata = fs::metadata(&path).unwrap();
            let wanted = if path.is_dir() { 0o42770 } else { 0o100_660 };
            assert_eq!(metadata.mode(), wanted, "mode of {}: {:o}", path.display(), metadata.mode());
            assert_eq!(metadata.gid(), GROUP, "group of {}", path.display());
        }
    }
}

#[test]
#[cfg_attr(not(root), ignore = "needs root to become other users")]
fn two_users_of_the_group_work_in_turn_whatever_their_umask() {
    // Starting at boot is systemd's to arrange, which only root may ask.
    for case in CASES.iter().filter(|case| !case.name().ends_with("autostart")) {
        let fixture = shared();
        let mut users = [ONE, OTHER].into_iter().cycle();
        for call in case.before.iter().chain([&case.call]) {
            users.next().unwrap().ok(&fixture, *call);
            check_modes(&fixture);
        }
        ONE.ok(&fixture, ("admin.vm.notes.Set", "test-vm1", "mine"));
        OTHER.ok(&fixture, ("admin.vm.notes.Set", "test-vm1", "yours"));
        ONE.ok(&fixture, ("admin.vm.feature.Set+f", "test-vm1", "v"));
        OTHER.ok(&fixture, ("admin.vm.feature.Set+f", "test-vm1", "w"));
        check_modes(&fixture);
    }
}

/// Kills one user's call at each of its stops; then the other makes it, then the one again.
fn kill_one_and_let_the_other_go_on(call: Call) -> usize {
    let fixture = shared();
    for stop in 0.. {
        // What is made once and then stays is made anew each time, so that a kill may come right after its making.
        for file in ["locks/test-vm1", "events/00000000000000000001", "index"] {
            let _ = fs::remove_file(fixture.path("/run/qubes/admin").join(file));
        }
        let traced = run(ONE.command(&fixture, call), Trouble::Kill(stop));
        OTHER.ok(&fixture, call);
        ONE.ok(&fixture, call);
        if !traced.met {
            check_modes(&fixture);
            return stop;
        }
    }
    0
}

#[test]
#[cfg_attr(not(root), ignore = "needs root to become other users")]
fn what_one_user_was_killed_at_another_finishes() {
    for call in [
        ("admin.vm.feature.Set+f", "test-vm1", "v"),
        ("admin.property.Set+clockvm", "dom0", "test-vm1"),
        ("admin.vm.notes.Set", "test-vm1", "text"),
    ] {
        println!("{}: killed at {} stops", call.0, kill_one_and_let_the_other_go_on(call));
    }
}

#[test]
#[cfg_attr(not(root), ignore = "needs root to become other users")]
fn a_file_that_may_not_be_read_is_told_and_the_others_are_served() {
    let fixture = shared();
    let file = fixture.path("/var/lib/qubes/admin/qubes/test-vm1.json");
    fs::set_permissions(&file, Permissions::from_mode(0o000)).unwrap();
    fs::remove_file(fixture.path("/run/qubes/admin/index")).unwrap();
    for call in [("admin.vm.feature.Get+f", "test-vm1", ""), ("admin.vm.feature.Set+f", "test-vm1", "v")] {
        let output = ONE.call(&fixture, call);
        let told = "QubesException: The state store cannot be used: Permission denied";
        assert_eq!(refusal(&output.stdout), told);
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(log, "qubes-admin: reading qubes/test-vm1.json: Permission denied (os error 13)\n");
    }
    ONE.ok(&fixture, ("admin.vm.feature.Set+f", "test-net", "v"));
    let list = String::from_utf8(ONE.call(&fixture, ("admin.vm.List", "dom0", "")).stdout).unwrap();
    assert!(list.contains("test-net ") && !list.contains("test-vm1"));
    let mut check = Command::new(executables::executable("qubes-admin"));
    ONE.becomes(&mut check);
    let checked = check.arg("--root").arg(fixture.path("/")).arg("check").stderr(Stdio::null()).output();
    assert!(String::from_utf8(checked.unwrap().stdout).unwrap().contains("qubes/test-vm1.json"));
}

#[test]
#[cfg_attr(not(root), ignore = "needs root to become other users")]
fn someone_outside_the_group_reads_and_changes_nothing() {
    let fixture = shared();
    for call in [
        ("admin.vm.feature.Set+f", "test-vm1", "v"),
        ("admin.vm.List", "dom0", ""),
        ("admin.vm.notes.Set", "test-vm1", "text"),
    ] {
        let output = STRANGER.call(&fixture, call);
        let told = "QubesException: The state store cannot be used: Permission denied";
        assert_eq!(refusal(&output.stdout), told, "{}", call.0);
    }
    assert!(fixture.events().is_empty());
}
