//! The console of a qube: its terminal's path on the socket; under qrexec the console itself, for one caller at a time
//! (spec 30 §16).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use common::hypervisor::{Listener, Reply, Request};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use tests::Fixture;
use tests::fixture::{readable, refusal};
use tests::startable::{calling, guest, reply, system};

const CONSOLE: &str = "admin.vm.Console";
const SHOWN: &[u8] = b"net (simulated)\r\n";
/// How long a call may take to come. Far more than it ever takes.
const DEADLINE: Duration = Duration::from_secs(60);

/// The call as qrexec starts it, its input open.
fn joined(fixture: &Fixture, qube: &str) -> Child {
    let mut command = fixture.command(CONSOLE);
    command.env("QREXEC_REMOTE_DOMAIN", "dom0").env("QREXEC_REQUESTED_TARGET", qube);
    command.stdin(Stdio::piped()).spawn().unwrap()
}

fn shown(call: &mut Child, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    call.stdout.as_mut().unwrap().read_exact(&mut bytes).unwrap();
    assert_eq!(readable(&bytes), readable(expected));
}

fn typed(call: &mut Child, bytes: &[u8]) {
    call.stdin.as_mut().unwrap().write_all(bytes).unwrap();
}

/// What a call that ends has shown since, and its exit status.
fn rest(call: Child) -> (Vec<u8>, Option<i32>) {
    let output = call.wait_with_output().unwrap();
    (output.stdout, output.status.code())
}

/// A running qube.
fn running() -> Fixture {
    let fixture = system();
    fixture.ok("admin.vm.Start", "net", "");
    fixture
}

#[test]
fn the_terminal_of_a_running_qube_is_told_and_of_no_other() {
    let fixture = running();
    let told = fixture.ok(CONSOLE, "net", "");
    assert!(told.starts_with("/dev/pts/"), "{told}");
    fixture.ok("admin.vm.Pause", "net", "");
    assert_eq!(fixture.ok(CONSOLE, "net", ""), told);
    fixture.ok("admin.vm.Kill", "net", "");
    for qube in ["net", "test-template"] {
        let text = format!("Domain not running (either powered off or paused): '{qube}'");
        assert_eq!(fixture.refused(CONSOLE, qube, ""), format!("QubesVMNotRunningError: {text}"));
    }
    fixture.ok("admin.vm.Create.RemoteVM", "dom0", "name=far label=red");
    for qube in ["dom0", "far"] {
        assert_eq!(fixture.ok(CONSOLE, qube, ""), "");
    }
}

#[test]
fn it_takes_neither_argument_nor_payload() {
    let fixture = running();
    assert_eq!(fixture.refused("admin.vm.Console+x", "net", ""), "ProtocolError: unexpected argument");
    assert_eq!(fixture.refused(CONSOLE, "net", "x"), "ProtocolError: unexpected payload");
}

#[test]
fn the_caller_talks_with_the_guest_byte_by_byte() {
    let fixture = running();
    let mut call = joined(&fixture, "net");
    shown(&mut call, SHOWN);
    let all: Vec<u8> = (0..=255).collect();
    for bytes in [&b"root\n"[..], &all, b"\x03\x04"] {
        typed(&mut call, bytes);
        shown(&mut call, bytes);
    }
    // A guest that is paused shows nothing, and what is typed meanwhile comes to it later.
    fixture.ok("admin.vm.Pause", "net", "");
    typed(&mut call, b"later");
    fixture.ok("admin.vm.Unpause", "net", "");
    shown(&mut call, b"later");
    fixture.ok("admin.vm.Kill", "net", "");
    assert_eq!(rest(call), (Vec::new(), Some(0)));
}

#[test]
fn the_end_of_the_guest_ends_it() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let fixture = running();
        let mut call = joined(&fixture, "net");
        shown(&mut call, SHOWN);
        kill(guest(&fixture, "net"), signal).unwrap();
        assert_eq!(call.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn what_was_typed_before_the_end_of_the_input_is_answered() {
    let fixture = running();
    let mut call = joined(&fixture, "net");
    typed(&mut call, b"last words");
    drop(call.stdin.take());
    assert_eq!(rest(call), ([SHOWN, b"last words"].concat(), Some(0)));
}

#[test]
fn a_caller_that_goes_away_leaves_the_console_to_others() {
    let fixture = running();
    let mut call = joined(&fixture, "net");
    shown(&mut call, SHOWN);
    drop(call.stdout.take());
    assert_eq!(call.wait().unwrap().code(), Some(0));
    let mut next = joined(&fixture, "net");
    typed(&mut next, b"again");
    shown(&mut next, b"again");
}

#[test]
fn one_caller_has_it_at_a_time() {
    let fixture = running();
    fixture.ok("admin.vm.Start", "work", "");
    let mut first = joined(&fixture, "net");
    shown(&mut first, SHOWN);
    assert_eq!(rest(joined(&fixture, "net")), (Vec::new(), Some(200)));
    // Neither another qube's nor the question for the path is kept back.
    let mut other = joined(&fixture, "work");
    shown(&mut other, b"work (simulated)\r\n");
    assert!(fixture.ok(CONSOLE, "net", "").starts_with("/dev/pts/"));
    first.kill().unwrap();
    first.wait().unwrap();
    let mut next = joined(&fixture, "net");
    typed(&mut next, b"mine");
    shown(&mut next, b"mine");
}

#[test]
fn a_refusal_is_told_in_a_frame_and_by_the_status() {
    let fixture = system();
    for (qube, told) in [
        ("net", "QubesVMNotRunningError: Domain not running (either powered off or paused): 'net'"),
        ("nobody", "QubesVMNotFoundError: No such domain: 'nobody'"),
        ("dom0", "QubesException: The console of dom0 cannot be opened: entity not found"),
    ] {
        let (answer, status) = rest(joined(&fixture, qube));
        assert_eq!((refusal(&answer).as_str(), status), (told, Some(1)));
    }
}

#[test]
fn an_error_of_the_hypervisor_is_told() {
    let fixture = system();
    let _domain = fixture.domain("net", "Running");
    let door = Listener::at(&fixture.path("/run/qubes/admin/watchers/net")).unwrap();
    let call = calling(&fixture, CONSOLE, "net");
    answer(&door, &Reply::Refused("it went wrong".to_owned()));
    assert_eq!(reply(call), "2·QubesException··it went wrong·");
}

/// Answers the next call as the watcher of `net`.
fn answer(door: &Listener, reply: &Reply) {
    let conversation = door.accept_within(DEADLINE).unwrap().unwrap();
    assert_eq!(conversation.receive::<Request>().unwrap(), Some(Request::Console));
    conversation.send(reply).unwrap();
}

/// A terminal as the console daemon makes it: the guest's end, and the path of the other.
fn terminal() -> (File, OwnedFd, PathBuf) {
    let ends = openpty(None, None).unwrap();
    let mut attributes = tcgetattr(&ends.slave).unwrap();
    cfmakeraw(&mut attributes);
    tcsetattr(&ends.slave, SetArg::TCSANOW, &attributes).unwrap();
    let path = nix::unistd::ttyname(&ends.slave).unwrap();
    (File::from(ends.master), ends.slave, path)
}

fn has_room(end: &File) -> bool {
    let mut polled = [PollFd::new(end.as_fd(), PollFlags::POLLOUT)];
    poll(&mut polled, PollTimeout::from(100_u8)).unwrap() > 0
}

#[test]
fn output_that_nobody_reads_keeps_no_input_back() {
    let fixture = system();
    let _domain = fixture.domain("net", "Running");
    let door = Listener::at(&fixture.path("/run/qubes/admin/watchers/net")).unwrap();
    let (mut guest, theirs, path) = terminal();
    let mut call = joined(&fixture, "net");
    answer(&door, &Reply::Console(path));
    let mut written = 0;
    while has_room(&guest) {
        written += guest.write(&[b'o'; 512]).unwrap();
    }
    typed(&mut call, b"still heard");
    let mut heard = [0; 11];
    guest.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"still heard");
    shown(&mut call, &vec![b'o'; written]);
    drop((guest, theirs));
    assert_eq!(rest(call), (Vec::new(), Some(0)));
}
