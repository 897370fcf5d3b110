//! The sockets of dom0's tools and the gateway that serves them (DESIGN §6, spec 50 §9).
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::process::Command;

use tests::Fixture;
use tests::fixture::readable;
use tests::gateway::{Gateway, command, finish};
use tests::startable::until;
use tests::stepper::{Trouble, run};

const SOCKETS: [&str; 3] = ["qubesd.sock", "qubesd.internal.sock", "qubesd.misc.sock"];
const LABEL: &[u8] = b"admin.vm.property.Get+label dom0 name test-vm1\0";
const INFO: &[u8] = b"internal.GetSystemInfo+ dom0 name dom0\0";
const RED: &str = "0·default=False type=label red";

fn said(gateway: &Gateway, socket: &str, request: &[u8]) -> String {
    readable(&gateway.ask(socket, request))
}

#[test]
fn sockets_are_the_groups_alone_and_each_serves_its_own_calls() {
    let fixture = Fixture::new();
    let gateway = Gateway::of(&fixture);
    for socket in SOCKETS {
        let metadata = std::fs::metadata(gateway.path(socket)).unwrap();
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o660, "{socket}");
    }
    let import = b"internal.vm.volume.ImportBegin+private dom0 name test-vm1\x00x".as_slice();
    let no_such = |method: &str| format!("2·ProtocolError··no such method: '{method}'·");
    for (socket, request, answer) in [
        (SOCKETS[0], LABEL, RED.to_owned()),
        (SOCKETS[1], LABEL, no_such("admin.vm.property.Get")),
        (SOCKETS[2], LABEL, no_such("admin.vm.property.Get")),
        (SOCKETS[0], import, no_such("internal.vm.volume.ImportBegin")),
        (SOCKETS[2], import, no_such("internal.vm.volume.ImportBegin")),
        (SOCKETS[0], b"admin.vm.volume.Import+root dom0 name test-vm1\0", no_such("admin.vm.volume.Import")),
        (SOCKETS[0], b"admin.vm.CreateTemplate+t dom0 name dom0\0", no_such("admin.vm.CreateTemplate")),
        (SOCKETS[0], b"", String::new()),
        (SOCKETS[0], b"admin.vm.List", String::new()),
    ] {
        assert_eq!(said(&gateway, socket, request), answer, "{socket} {}", readable(request));
    }
    assert!(said(&gateway, SOCKETS[1], import).starts_with("2·"));
    assert_ne!(said(&gateway, SOCKETS[1], import), no_such("internal.vm.volume.ImportBegin"));
}

#[test]
fn a_request_has_a_length_that_only_notes_exceed() {
    let fixture = Fixture::new();
    let gateway = Gateway::of(&fixture);
    let with = |header: &str, length: usize| {
        let mut request = format!("{header} dom0 name test-vm1\0").into_bytes();
        request.resize(length, b'x');
        said(&gateway, SOCKETS[0], &request)
    };
    assert_eq!(with("admin.vm.feature.Set+long", 65_536), "0·");
    assert_eq!(with("admin.vm.feature.Set+long", 65_537), "");
    assert_eq!(with("admin.vm.notes.Set", 200_000), "0·");
    assert_eq!(with("admin.vm.notes.Set", 2_000_000), "");
}

#[test]
fn nobody_waits_for_slow_callers_and_open_streams() {
    let fixture = Fixture::new();
    let gateway = Gateway::of(&fixture);
    let silent: Vec<UnixStream> = (0..20).map(|_| gateway.connect(SOCKETS[0])).collect();
    let streams: Vec<UnixStream> = (0..100)
        .map(|_| {
            let mut stream = gateway.connect(SOCKETS[0]);
            stream.write_all(b"admin.Events dom0 name dom0\0").unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            stream
        })
        .collect();
    let established = "1··connection-established··";
    for mut stream in &streams {
        let mut message = vec![0; established.replace('·', "0").len()];
        stream.read_exact(&mut message).unwrap();
        assert_eq!(readable(&message), established);
    }
    for _ in 0..2_000 {
        assert_eq!(said(&gateway, SOCKETS[0], LABEL), RED);
    }
    until("only the open ones are served", || gateway.serving() == silent.len() + streams.len());
    drop((silent, streams));
    until("nobody is served", || gateway.serving() == 0);
}

/// The answer to policy as the call gives it.
fn info(fixture: &Fixture) -> Vec<u8> {
    fixture.call("internal.GetSystemInfo", "dom0", "")
}

#[test]
fn the_kept_answer_to_policy_is_sent_without_a_copy() {
    let fixture = Fixture::new();
    let gateway = Gateway::of(&fixture);
    // Nothing is kept yet.
    let first = gateway.ask(SOCKETS[1], INFO);
    until("what made it has ended", || gateway.serving() == 0);
    let before = gateway.faults_of_ended_copies();
    for _ in 0..20 {
        assert!(gateway.ask(SOCKETS[1], INFO) == first);
    }
    assert_eq!(gateway.faults_of_ended_copies(), before, "there was a copy");
    assert_eq!(said(&gateway, SOCKETS[0], LABEL), RED);
    until("a copy is noticed", || gateway.faults_of_ended_copies() > before);
    assert!(info(&fixture) == first);
}

#[test]
fn an_answer_for_which_a_slow_caller_has_no_room_keeps_nobody_waiting_and_outlives_the_gateway() {
    let fixture = Fixture::with_qubes(2_000);
    let mut gateway = Gateway::of(&fixture);
    let ask = |gateway: &Gateway| {
        let mut slow = gateway.connect(SOCKETS[1]);
        slow.write_all(INFO).unwrap();
        slow.shutdown(std::net::Shutdown::Write).unwrap();
        slow
    };
    let first = finish(ask(&gateway));
    until("what made it has ended", || gateway.serving() == 0);
    let slow: Vec<UnixStream> = (0..8).map(|_| ask(&gateway)).collect();
    until("each is sent the rest by a copy", || gateway.serving() == 8);
    assert_eq!(said(&gateway, SOCKETS[0], LABEL), RED);
    assert!(finish(ask(&gateway)) == first);
    gateway.kill();
    for caller in slow {
        assert!(finish(caller) == first);
    }
    assert!(info(&fixture) == first);
}

#[test]
fn other_requests_at_that_socket_are_calls() {
    let fixture = Fixture::new();
    let gateway = Gateway::of(&fixture);
    let answer = info(&fixture);
    let mut slow = gateway.connect(SOCKETS[1]);
    slow.write_all(&INFO[..20]).unwrap();
    until("the call is served", || gateway.serving() == 1);
    slow.write_all(&INFO[20..]).unwrap();
    assert_eq!(finish(slow), answer);
    assert_eq!(gateway.ask(SOCKETS[1], b"internal.GetSystemInfo dom0 name dom0\0"), answer);
    let with_payload = [INFO, b"x"].concat();
    assert_eq!(said(&gateway, SOCKETS[1], &with_payload), "2·ProtocolError··unexpected payload·");
    assert_eq!(said(&gateway, SOCKETS[1], &INFO[..INFO.len() - 1]), "");
    let no_such = "2·ProtocolError··no such method: 'internal.GetSystemInfo'·";
    for socket in [SOCKETS[0], SOCKETS[2]] {
        assert_eq!(said(&gateway, socket, INFO), no_such);
    }
}

#[test]
fn policy_is_told_of_each_change_at_once_also_of_one_that_was_killed() {
    let fixture = Fixture::new();
    let gateway = Gateway::of(&fixture);
    let told = || gateway.ask(SOCKETS[1], INFO);
    for stop in (0..).step_by(5) {
        let before = told();
        assert_eq!(told(), before);
        std::fs::write(fixture.path("/request"), format!("admin.vm.tag.Set+t{stop} dom0 name test-vm1\0"))
            .unwrap();
        let mut call = fixture.command("admin.vm.tag.Set");
        call.stdin(File::open(fixture.path("/request")).unwrap());
        let traced = run(call, Trouble::Kill(stop));
        let (first, after) = (told(), info(&fixture));
        assert_eq!(first, after, "killed at stop {stop}");
        assert!(traced.met || after != before);
        for state in ["Running", "Paused"] {
            let _domain = fixture.domain("test-vm1", state);
            assert!(readable(&told()).contains(&format!("\"power_state\": \"{state}\"")));
        }
        assert_eq!(told(), after);
        if !traced.met {
            return;
        }
    }
}

#[test]
fn a_killed_gateway_loses_no_call_and_leaves_its_place_to_the_next() {
    let fixture = Fixture::new();
    let mut gateway = Gateway::of(&fixture);
    let mut begun = gateway.connect(SOCKETS[0]);
    begun.write_all(&LABEL[..20]).unwrap();
    until("the call is served", || gateway.serving() == 1);
    gateway.kill();
    begun.write_all(&LABEL[20..]).unwrap();
    // The process that serves the call gives the sockets up as well.
    until("nobody listens", || UnixStream::connect(gateway.path(SOCKETS[0])).is_err());
    let next = Gateway::of(&fixture);
    assert_eq!(said(&next, SOCKETS[0], LABEL), RED);
    assert_eq!(readable(&finish(begun)), RED);
    let second = command(&fixture).arg("--dir").arg(fixture.path("/sockets")).output().unwrap();
    assert!(!second.status.success());
    assert!(String::from_utf8(second.stderr).unwrap().contains("qubesd.sock: address in use"));
    assert_eq!(said(&next, SOCKETS[0], LABEL), RED);
}

#[test]
#[cfg_attr(not(systemd), ignore = "systemd's program for this is not installed")]
fn systemd_starts_it_when_somebody_calls_and_it_ends_when_nobody_does() {
    let fixture = Fixture::new();
    let paths = SOCKETS.map(|socket| fixture.path("/run").join(socket));
    let mut activator = Command::new("/usr/bin/systemd-socket-activate");
    for path in &paths {
        activator.arg("--listen").arg(path);
    }
    let gateway = command(&fixture);
    activator.arg(gateway.get_program()).args(gateway.get_args()).args(["--idle", "1"]);
    let mut process = activator.spawn().unwrap();
    until("it listens", || paths.iter().all(|path| path.exists()));
    let ask = |request: &[u8]| {
        let mut connection = UnixStream::connect(&paths[0]).unwrap();
        connection.write_all(request).unwrap();
        readable(&finish(connection))
    };
    assert_eq!(ask(LABEL), RED);
    assert_eq!(ask(LABEL), RED);
    assert!(process.wait().unwrap().success());
}

#[test]
fn without_sockets_it_says_what_is_missing() {
    let output = command(&Fixture::new()).output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, "qubes-admin: systemd has handed over no sockets; --dir makes some\n");
}

#[test]
fn a_request_that_is_too_long_is_refused_without_waiting_for_its_end() {
    let fixture = Fixture::new();
    let gateway = Gateway::of(&fixture);
    let mut caller = gateway.connect(SOCKETS[0]);
    let request = [b"admin.vm.List+ dom0 name dom0\0".as_slice(), &[b'x'; 70_000]].concat();
    // It may hang up before it has taken all.
    let _ = caller.write_all(&request);
    let mut answer = Vec::new();
    let _ = caller.read_to_end(&mut answer);
    assert!(answer.is_empty(), "{}", readable(&answer));
}
