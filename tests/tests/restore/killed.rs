//! A restore that is killed leaves qubes that cannot start, tells of them the next time, and how they are removed.

use std::io::Write;
use std::process::{Child, Stdio};

use tests::Fixture;
use tests::startable::until;
use tests::tool::{command, tool};

use super::system::{backed_up, system};
use super::{fresh, names, path, restore, said, written};

const TAG: &str = "backup-restore-in-progress";

/// Begins to restore from a pipe that gives only so much.
fn begun(target: &Fixture, backup: &[u8]) -> Child {
    let mut command = command(target, &["restore", "--passphrase-file", &path(target, "/passphrase"), "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(backup).unwrap();
    child
}

fn in_progress(target: &Fixture) -> Vec<String> {
    let tagged = |name: &String| target.qube(name).tags.iter().any(|tag| tag.as_str() == TAG);
    names(target).into_iter().filter(tagged).collect()
}

#[test]
fn qubes_of_a_killed_restore_cannot_start_and_are_told_of() {
    let (system, target) = (system(), fresh());
    let backup = written(None, &backed_up(&system));
    let all = names(&system);
    // Up to the middle of a volume, which is being imported by then.
    let file = format!("vm{}/root.img.000.enc", system.qube("tpl").qid);
    let at = backup.windows(file.len()).position(|window| window == file.as_bytes()).unwrap();
    let mut child = begun(&target, &backup[..at + 20_000]);
    until("not all qubes are made", || in_progress(&target) == all);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(in_progress(&target), all);
    let refused = target.refused("admin.vm.Start", "alone", "");
    assert_eq!(refused, "QubesVMError: Restore of this domain in progress, cannot start");
    let told = said(&restore(&target, &backup, &[]), false);
    for name in &all {
        let remedy = format!("qubes-admin call {name} admin.vm.Remove");
        assert!(told.contains(&remedy), "{told}");
    }
    assert!(told.contains("skipped: the name is that of a qube whose restore was broken off"), "{told}");
    for name in ["disp", "work", "net", "dvm", "alone", "tpl"] {
        assert!(tool(&target, &["call", name, "admin.vm.Remove"]).status.success(), "{name}");
    }
    let told = said(&restore(&target, &backup, &[]), true);
    assert!(!told.contains("not finished"), "{told}");
    assert_eq!((names(&target), in_progress(&target)), (all, Vec::new()));
    assert!(tool(&target, &["check"]).status.success());
}
