//! The sockets of dom0's tools and the gateway that serves them (DESIGN §6, spec 50 §9).
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::process::Command;

use tests::Fixture;
use tests::fixture::readable;
use tests::gateway::{Gateway, command, finish};
use tests::startable::until;

const SOCKETS: [&str; 3] = ["qubesd.sock", "qubesd.internal.sock", "qubesd.misc.sock"];
const LABEL: &[u8] = b"admin.vm.property.Get+label dom0 name test-vm1\0";
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

#[test]
fn a_killed_gateway_loses_no_call_and_leaves_its_place_to_the_next() {
    let fixture = Fixture::new();
    let mut gateway = Gateway::of(&fixture);
    let mut begun = gateway.connect(SOCKETS[0]);
    begun.write_all(&LABEL[..20]).unwrap();
    until("the call is served", || gateway.serving() == 1);
    gateway.kill();
    begun.write_all(&LABEL[20..]).unwrap();
    // Nobody listens now, also not the process that serves the call.
    assert!(UnixStream::connect(gateway.path(SOCKETS[0])).is_err());
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
