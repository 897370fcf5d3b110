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
pub(super) fn begun(target: &Fixture, backup: &[u8], options: &[&str]) -> Child {
    let secret = path(target, "/passphrase");
    let mut command = command(target, &[&["restore", "--passphrase-file", &secret, "-"], options].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(backup).unwrap();
    child
}

fn in_progress(target: &Fixture) -> Vec<String> {
    let tagged = |name: &String| target.qube(name).tags.iter().any(|tag| tag.as_str() == TAG);
    names(target).into_iter().filter(tagged).collect()
}

/// Wherever a restore is killed, a qube is whole, or cannot start, or was made at that very moment and is empty.
#[test]
fn a_restore_that_is_killed_anywhere_leaves_nothing_half_made_that_could_start() {
    let (system, target) = (system(), fresh());
    let backup = written(None, &backed_up(&system));
    std::fs::write(target.path("/backup"), &backup).unwrap();
    let all = names(&system);
    let arguments =
        ["restore", "--passphrase-file", &path(&target, "/passphrase"), &path(&target, "/backup")];
    for calls in [1, 2, 9, 20, 30, 36, 40, 44, 50, 60] {
        let before = target.audited().len();
        let mut child =
            command(&target, &arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut ended = false;
        until("it makes no calls", || {
            ended = child.try_wait().unwrap().is_some();
            ended || target.audited().len() >= before + calls
        });
        child.kill().unwrap();
        child.wait().unwrap();
        await_calls(&target);
        let left = in_progress(&target);
        let others: Vec<String> = names(&target).into_iter().filter(|name| !left.contains(name)).collect();
        let is_empty =
            |name: &&String| target.qube(name).tags.len() == 3 && target.qube(name).features.is_empty();
        let unmarked: Vec<&String> = others.iter().filter(is_empty).collect();
        let has_data = |name: &&String| {
            system.qube(name).volumes.iter().filter(|volume| volume.save_on_stop).all(|volume| {
                let volume = volume.name.as_str();
                super::image(&target, name, volume) == super::image(&system, name, volume)
            })
        };
        assert!(
            others.iter().filter(has_data).count() + unmarked.len().min(1) >= others.len(),
            "{calls}: {others:?}"
        );
        assert!(!ended || others == all, "{calls}: {left:?}");
        remove_all(&target);
    }
    said(&restore(&target, &backup, &[]), true);
    assert_eq!(names(&target), all);
    assert!(tool(&target, &["check"]).status.success());
}

/// Waits until the call has ended that the killed tool had begun: nobody ends it.
fn await_calls(target: &Fixture) {
    let root = target.path("/");
    let root = root.to_str().unwrap().trim_end_matches('/').as_bytes();
    let is_ours = |process: std::path::PathBuf| {
        let environment = std::fs::read(process.join("environ")).unwrap_or_default();
        environment.windows(root.len()).any(|window| window == root)
    };
    let processes = || std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    until("a call goes on", || !processes().any(is_ours));
}

/// Removes all qubes, what is based on others first; the imports that they were killed with are forgotten.
fn remove_all(target: &Fixture) {
    for name in ["disp", "work", "net", "dvm", "alone", "tpl"] {
        if names(target).contains(&name.to_owned()) {
            assert!(tool(target, &["call", name, "admin.vm.Remove"]).status.success(), "{name}");
        }
    }
    assert!(names(target).is_empty());
}

#[test]
fn qubes_of_a_killed_restore_cannot_start_and_are_told_of() {
    let (system, target) = (system(), fresh());
    let backup = written(None, &backed_up(&system));
    let all = names(&system);
    // Up to the middle of a volume, which is being imported by then.
    let file = format!("vm{}/root.img.000.enc", system.qube("tpl").qid);
    let at = backup.windows(file.len()).position(|window| window == file.as_bytes()).unwrap();
    let mut child = begun(&target, &backup[..at + 20_000], &[]);
    until("not all qubes are made", || in_progress(&target) == all);
    child.kill().unwrap();
    child.wait().unwrap();
    await_calls(&target);
    assert_eq!(in_progress(&target), all);
    let refused = target.refused("admin.vm.Start", "alone", "");
    assert_eq!(refused, "QubesVMError: Restore of this domain in progress, cannot start");
    let told = said(&restore(&target, &backup, &[]), false);
    for name in &all {
        let remedy = format!("qubes-admin call {name} admin.vm.Remove");
        assert!(told.contains(&remedy), "{told}");
    }
    assert!(told.contains("skipped: the name is that of a qube whose restore was broken off"), "{told}");
    remove_all(&target);
    let told = said(&restore(&target, &backup, &[]), true);
    assert!(!told.contains("not finished"), "{told}");
    assert_eq!((names(&target), in_progress(&target)), (all, Vec::new()));
    assert!(tool(&target, &["check"]).status.success());
}
