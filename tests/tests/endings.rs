//! How a call ends whatever goes wrong around it: exactly one answer or none, the work done, nothing told that was sent.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};

use tests::Fixture;
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
