//! How a call begins and ends whatever goes on around it: not before its input's end, with one answer or none, its work
//! done although nobody waits for it, and without a word of what was sent.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::{Command, Stdio};

use tests::Fixture;
use tests::executables;
use tests::fixture::readable;

/// Runs a command with a request on its standard input; gives back what it wrote to its standard output.
fn answer(mut command: Command, request: &[u8]) -> Vec<u8> {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(request);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{:?}", output.status);
    output.stdout
}

#[test]
fn a_log_that_takes_no_more_ends_no_call() {
    let fixture = Fixture::new();
    let object = fixture.path("/var/lib/qubes/admin/qubes/test-vm1.json");
    std::fs::write(object, "damaged").unwrap();
    let mut command = fixture.command("admin.vm.property.Get");
    command.stderr(File::options().write(true).open("/dev/full").unwrap());
    let reply = answer(command, b"admin.vm.property.Get+label dom0 name test-vm1\0");
    assert!(reply.starts_with(b"2\0QubesException\0"), "{}", readable(&reply));
}

#[test]
fn a_panic_is_logged_by_its_place_and_answers_nothing() {
    let fixture = Fixture::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_broken-call"));
    command.env_clear().env("QUBES_ADMIN_ROOT", fixture.path("/"));
    command.envs([("QREXEC_REMOTE_DOMAIN", "dom0"), ("QREXEC_REQUESTED_TARGET", "test-vm1")]);
    std::os::unix::process::CommandExt::arg0(&mut command, "admin.test.Break");
    let log = fixture.path("/log");
    command.stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
    assert_eq!(answer(command, b"TaintedToken7319"), b"");
    let told = std::fs::read_to_string(log).unwrap();
    assert!(told.contains("internal error at tests/src/bin/broken-call.rs:"), "{told}");
    assert!(told.contains("\n   0: "), "no backtrace: {told}");
    assert!(!told.contains("TaintedToken7319"), "{told}");
}

#[test]
fn a_closed_log_never_becomes_a_file_of_the_store() {
    let fixture = Fixture::new();
    std::fs::write(fixture.path("/var/lib/qubes/admin/qubes/test-vm1.json"), "damaged").unwrap();
    std::fs::remove_file(fixture.path("/run/qubes/admin/index")).unwrap();
    let list = fixture.path("/admin.vm.List");
    std::os::unix::fs::symlink(executables::serving("admin.vm.List"), &list).unwrap();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "exec \"$0\" 2>&-"]).arg(&list);
    command.env_clear().env("QUBES_ADMIN_ROOT", fixture.path("/")).stdout(Stdio::piped());
    // What is said of the damaged object is said while the store is locked.
    assert!(answer(command, b"admin.vm.List+ dom0 name dom0\0").starts_with(b"0\0dom0 "));
    assert_eq!(std::fs::read(fixture.path("/var/lib/qubes/admin/lock")).unwrap(), b"");
}

const SET: &str = "admin.vm.feature.Set";
const GET: &str = "admin.vm.feature.Get+f";

#[test]
fn nothing_starts_before_the_end_of_the_input() {
    let fixture = Fixture::new();
    let (input, feed) = std::io::pipe().unwrap();
    let mut child = fixture.command(SET).stdin(input).spawn().unwrap();
    let mut feed = feed;
    feed.write_all(b"admin.vm.feature.Set+f dom0 name test-vm1\0whole").unwrap();
    // The other call takes its whole way while this one has all of its request but the end.
    let absent = "QubesFeatureNotFoundError: Feature not set for domain test-vm1: f";
    assert_eq!(fixture.refused(GET, "test-vm1", ""), absent);
    assert!(child.try_wait().unwrap().is_none());
    drop(feed);
    assert_eq!(child.wait_with_output().unwrap().stdout, b"0\0");
    assert_eq!(fixture.ok(GET, "test-vm1", ""), "whole");
}

#[test]
fn a_caller_that_went_away_stops_no_change() {
    let fixture = Fixture::new();
    let mut command = fixture.command(SET);
    let (output, answers) = std::io::pipe().unwrap();
    drop(output);
    command.stdout(answers);
    answer(command, b"admin.vm.feature.Set+f dom0 name test-vm1\0done");
    assert_eq!(fixture.ok(GET, "test-vm1", ""), "done");
}

#[test]
fn at_a_terminal_the_argument_is_typed_and_there_is_no_payload() {
    let fixture = Fixture::new();
    fixture.ok("admin.vm.feature.Set+f", "dom0", "1");
    let terminal = nix::pty::openpty(None, None).unwrap();
    let mut command = fixture.command("admin.vm.feature.Get");
    let output = command.arg("f").stdin(terminal.slave).output().unwrap();
    assert_eq!(readable(&output.stdout), "0·1");
}

#[test]
fn the_root_variable_is_ignored_with_the_rights_of_another() {
    const NOBODY: u32 = 65_534;
    let fixture = Fixture::new();
    let program = fixture.path("/admin-label");
    tests::executables::copy(&tests::executables::executable("admin-label"), &program);
    if chown(&program, Some(NOBODY), Some(NOBODY)).is_err() {
        return; // Only root can give a program away.
    }
    let open_to_all = Command::new("chmod").args(["-R", "a+rwX"]).arg(fixture.path("/")).status();
    assert!(open_to_all.unwrap().success());
    for (mode, is_served) in [(0o755, true), (0o4_755, false)] {
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(mode)).unwrap();
        let mut command = Command::new(&program);
        std::os::unix::process::CommandExt::arg0(&mut command, "admin.label.List");
        command.env_clear().env("QUBES_ADMIN_ROOT", fixture.path("/")).stdout(Stdio::piped());
        let reply = answer(command, b"admin.label.List+ dom0 name dom0\0");
        assert_eq!(reply.starts_with(b"0\0red\n"), is_served, "{}", readable(&reply));
    }
}
