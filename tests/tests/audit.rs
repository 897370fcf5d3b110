//! The audit log: a line for each call that writes and for each that is refused, and `qubes-admin log`.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::indexing_slicing, reason = "test code")]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;

use common::audit::{FIELDS, FILE, JOURNAL, MESSAGE_ID, TO_FILE};
use tests::{Fixture, executables, tool};

const SET: &str = "admin.vm.feature.Set";

/// The values of each line, without its time.
fn lines(fixture: &Fixture) -> Vec<String> {
    let values = |line: &String| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["time"].as_u64().unwrap() > 1_700_000_000);
        FIELDS.map(|field| line[field].as_str().unwrap().to_owned()).join(" ")
    };
    fixture.audited().iter().map(values).collect()
}

fn system() -> Fixture {
    let fixture = Fixture::new();
    let folder = fixture.path("/etc/qubes/admin-constraints.d");
    std::fs::create_dir_all(&folder).unwrap();
    let text = "[[constraint]]\ncallers = [\"test-net\"]\ndeny = [\"admin.vm.tag.*\"]\n";
    std::fs::write(folder.join("10.toml"), text).unwrap();
    fixture
}

#[test]
fn what_writes_leaves_a_line_and_what_reads_does_not() {
    let fixture = Fixture::new();
    fixture.ok("admin.vm.feature.Set+f", "test-vm1", "secret");
    fixture.ok("admin.vm.feature.Get+f", "test-vm1", "");
    fixture.refused("admin.vm.feature.Get+g", "test-vm1", "");
    fixture.refused("admin.vm.feature.Remove+g", "test-vm1", "");
    fixture.ok("admin.vm.List", "dom0", "");
    let expected = [
        "dom0 admin.vm.feature.Set test-vm1 f ok ",
        "dom0 admin.vm.feature.Remove test-vm1 g QubesFeatureNotFoundError ",
    ];
    assert_eq!(lines(&fixture), expected);
    let mode = std::fs::metadata(fixture.path(FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
}

#[test]
fn what_is_refused_leaves_a_line_that_says_by_which_layer() {
    let fixture = system();
    let cases = [
        (
            "dom0",
            "admin.vm.feature.Set+preload-dispvm",
            "test-vm1",
            "",
            "preload-dispvm PermissionDenied rules",
        ),
        ("test-net", "admin.vm.tag.Set+t", "test-vm1", "", "t PermissionDenied constraints"),
        ("test-net", "admin.vm.tag.Get+t", "test-vm1", "", "t PermissionDenied constraints"),
        ("dom0", "admin.vm.tag.Get+a b", "test-vm1", "", " dropped request"),
        ("dom0", "admin.vm.tag.List", "test-vm1", "payload", " ProtocolError request"),
        ("dom0", "admin.vmclass.List", "test-vm1", "", " ProtocolError request"),
        ("dom0", "admin.vmclass.List+none", "dom0", "", "none PermissionDenied action"),
        ("absent", "admin.vm.tag.List", "test-vm1", "", " QubesVMNotFoundError request"),
        ("dom0", "admin.vm.tag.List", "absent", "", " QubesVMNotFoundError request"),
    ];
    for (caller, call, destination, payload, _) in cases {
        fixture.call_as(caller, call, destination, payload);
    }
    let told = lines(&fixture);
    for ((caller, call, destination, _, rest), told) in cases.iter().zip(&told) {
        let method = call.split('+').next().unwrap();
        if *rest == " dropped request" {
            // The space in it makes the argument a caller.
            assert!(told.starts_with(&format!(" {method} ")), "{told}");
        } else {
            assert_eq!(*told, format!("{caller} {method} {destination} {rest}"));
        }
    }
    assert_eq!(told.len(), cases.len());
}

#[test]
fn a_request_that_is_none_is_told_of_without_its_bytes() {
    let fixture = Fixture::new();
    fixture.run(SET, b"nonsense");
    fixture.run(SET, b"admin.vm.feature.Set+f \xff name test-vm1\0x");
    assert_eq!(
        lines(&fixture),
        [format!(" {SET}   dropped request"), format!(" {SET} test-vm1  dropped request")]
    );
}

#[test]
fn the_journal_gets_each_line_as_fields_and_the_file_only_where_that_is_wished_for() {
    let fixture = Fixture::new();
    let socket = fixture.path(JOURNAL);
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    let journal = UnixDatagram::bind(&socket).unwrap();
    fixture.ok("admin.vm.feature.Set+f", "test-vm1", "1");
    let mut entry = vec![0; 4096];
    let length = journal.recv(&mut entry).unwrap();
    let entry = String::from_utf8(entry[..length].to_vec()).unwrap();
    assert_eq!(
        entry,
        format!(
            "MESSAGE=dom0 calls {SET}+f on test-vm1: ok\nMESSAGE_ID={MESSAGE_ID}\nPRIORITY=5\n\
             SYSLOG_IDENTIFIER=qubes-admin\nQUBES_ADMIN_CALLER=dom0\nQUBES_ADMIN_METHOD={SET}\n\
             QUBES_ADMIN_DESTINATION=test-vm1\nQUBES_ADMIN_ARGUMENT=f\nQUBES_ADMIN_OUTCOME=ok\n\
             QUBES_ADMIN_REFUSED_BY=\n"
        )
    );
    assert!(!fixture.path(FILE).exists());
    std::fs::write(fixture.path(TO_FILE), "").unwrap();
    fixture.ok("admin.vm.feature.Set+f", "test-vm1", "2");
    assert_eq!(lines(&fixture).len(), 1);
    journal.set_nonblocking(true).unwrap();
    assert!(journal.recv(&mut [0; 8]).is_err(), "both got the line");
}

#[test]
fn where_no_log_can_be_written_the_call_goes_on_and_says_so() {
    let fixture = Fixture::new();
    std::fs::remove_dir_all(fixture.path("/var/log/qubes")).unwrap();
    let output = fixture.run(SET, b"admin.vm.feature.Set+f dom0 name test-vm1\x001");
    assert_eq!(output.stdout, b"0\0");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.starts_with("qubes-admin: audit: dom0 calls admin.vm.feature.Set+f on test-vm1: ok: "),
        "{told}"
    );
}

/// A journal that prints these lines, and what it was asked for.
fn journalctl(fixture: &Fixture, lines: &str) {
    let asked = fixture.path("/asked");
    let script = format!("#!/bin/sh\necho \"$@\" >>{}\ncat <<'END'\n{lines}\nEND\n", asked.display());
    executables::script(&fixture.path("/usr/bin/journalctl"), &script);
}

#[test]
fn the_log_is_told_from_both_sources_and_filtered() {
    let fixture = system();
    fixture.ok("admin.vm.feature.Set+f", "test-vm1", "1");
    fixture.call_as("test-net", "admin.vm.tag.Set+t", "test-vm1", "");
    journalctl(
        &fixture,
        "{\"__REALTIME_TIMESTAMP\":\"5000000\",\"QUBES_ADMIN_CALLER\":\"old\\u001b[31m\",\"QUBES_ADMIN_METHOD\":\"m\",\
         \"QUBES_ADMIN_DESTINATION\":\"dom0\",\"QUBES_ADMIN_OUTCOME\":\"ok\"}\nno line of ours",
    );
    let all = tool::text(&tool::tool(&fixture, &["log"]));
    let rows: Vec<&str> = all.lines().collect();
    assert_eq!(rows.len(), 3, "{all}");
    assert!(rows[0].starts_with("1970-01-01 ") && rows[0].contains("old\\u{1b}[31m"), "{all}");
    assert!(rows[1].ends_with("admin.vm.feature.Set+f  ok"), "{all}");
    assert!(rows[2].ends_with("admin.vm.tag.Set+t      PermissionDenied by constraints"), "{all}");
    let count = |arguments: &[&str]| tool::text(&tool::tool(&fixture, arguments)).lines().count();
    assert_eq!(count(&["log", "--refused"]), 1);
    assert_eq!(count(&["log", "--caller", "dom0"]), 1);
    assert_eq!(count(&["log", "--qube", "test-vm1"]), 2);
    assert_eq!(count(&["log", "--since", "1h", "--qube", "dom0"]), 0);
    let json = tool::text(&tool::tool(&fixture, &["log", "--json", "--refused"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["caller"], &json["refused_by"]), (&"test-net".into(), &"constraints".into()));
    let asked = std::fs::read_to_string(fixture.path("/asked")).unwrap();
    assert!(
        asked.starts_with(&format!("--quiet --no-pager --output=json MESSAGE_ID={MESSAGE_ID}\n")),
        "{asked}"
    );
    assert!(asked.contains(" --since=@"), "{asked}");
}

#[test]
fn the_file_before_the_last_rotation_is_told_too_and_new_lines_are_followed_across_one() {
    let fixture = Fixture::new();
    fixture.ok("admin.vm.tag.Set+first", "test-vm1", "");
    let rotated = fixture.path(&format!("{FILE}.1"));
    std::fs::rename(fixture.path(FILE), &rotated).unwrap();
    fixture.ok("admin.vm.tag.Set+second", "test-vm1", "");
    let mut child = tool::command(&fixture, &["log", "--follow"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut next_ends_with = |end: &str| {
        let line = told.next().unwrap();
        assert!(line.ends_with(end), "{line}");
    };
    next_ends_with("admin.vm.tag.Set+first   ok");
    next_ends_with("admin.vm.tag.Set+second  ok");
    fixture.ok("admin.vm.tag.Set+third", "test-vm1", "");
    next_ends_with("admin.vm.tag.Set+third  ok");
    std::fs::rename(fixture.path(FILE), &rotated).unwrap();
    fixture.ok("admin.vm.tag.Set+fourth", "test-vm1", "");
    next_ends_with("admin.vm.tag.Set+fourth  ok");
    child.kill().unwrap();
    child.wait().unwrap();
}
