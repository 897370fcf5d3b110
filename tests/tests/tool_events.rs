//! `qubes-admin events` as an operator uses it.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::indexing_slicing, reason = "test code")]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::process::{Child, Command, Stdio};

use tests::{Fixture, executables};

/// A root with the listener's executable installed.
fn installed() -> Fixture {
    let fixture = Fixture::new();
    let rpc = fixture.path("/etc/qubes-rpc");
    std::fs::create_dir_all(&rpc).unwrap();
    symlink(executables::serving("admin.Events"), rpc.join("admin.Events")).unwrap();
    fixture
}

fn command(fixture: &Fixture, arguments: &[&str]) -> Command {
    let mut command = Command::new(executables::executable("qubes-admin"));
    command.env_clear().arg("--root").arg(fixture.path("/")).arg("events").args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A running `qubes-admin events` that is known to listen, and the lines it prints from then on.
fn following(fixture: &Fixture, arguments: &[&str]) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut child = command(fixture, arguments).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| line.unwrap());
    assert!(lines.next().unwrap().contains("connection-established"));
    (child, lines)
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn changes_are_printed_as_they_happen_for_people_and_as_json() {
    let fixture = installed();
    let (people, mut lines) = following(&fixture, &[]);
    let (programs, mut json) = following(&fixture, &["--json"]);
    fixture.ok("admin.vm.tag.Set+t", "test-vm1", "");
    assert_eq!(lines.next().unwrap(), "test-vm1 domain-tag-add:t tag=t");
    assert_eq!(json.next().unwrap(), r#"{"event":"domain-tag-add:t","subject":"test-vm1","tag":"t"}"#);
    end(people);
    end(programs);
}

#[test]
fn a_pattern_picks_events_by_name_and_another_callers_view_is_filtered() {
    let fixture = installed();
    fixture.policy("10-test.policy", "admin.Events * test-net test-vm1 allow\n");
    let (picking, mut picked) = following(&fixture, &["connection-*"]);
    end(picking);
    assert_eq!(picked.next(), None);
    let mut child = command(&fixture, &["domain-feature-set:*"]).spawn().unwrap();
    let mut picked = BufReader::new(child.stdout.take().unwrap()).lines();
    let (filtering, mut filtered) = following(&fixture, &["--as", "test-net"]);
    // The first listener is known to listen once something that it prints has happened.
    let mut number = 0;
    let first = std::thread::scope(|scope| {
        let reading = scope.spawn(|| picked.next().unwrap().unwrap());
        while !reading.is_finished() {
            number += 1;
            fixture.ok("admin.vm.feature.Set+f", "test-net", number.to_string());
        }
        reading.join().unwrap()
    });
    assert!(first.starts_with("test-net domain-feature-set:f feature=f value="), "{first}");
    fixture.ok("admin.vm.tag.Set+t", "test-vm1", "");
    assert_eq!(filtered.next().unwrap(), "test-vm1 domain-tag-add:t tag=t");
    end(child);
    end(filtering);
}

#[test]
fn notifications_go_through_the_desktops_own_program() {
    let fixture = installed();
    let without = command(&fixture, &["--notify"]).output().unwrap();
    assert_eq!(without.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&without.stderr).contains("notify-send is not installed"));
    // A recording stand-in for notify-send.
    let shown = fixture.path("/shown");
    let script = format!("#!/bin/sh\nprintf '%s|' \"$@\" >>'{0}'\necho >>'{0}'\n", shown.display());
    executables::script(&fixture.path("/usr/bin/notify-send"), &script);
    let (child, mut lines) = following(&fixture, &["--notify"]);
    fixture.ok("admin.vm.tag.Set+t", "test-vm1", "");
    lines.next().unwrap();
    let shown = std::fs::read_to_string(shown).unwrap();
    assert_eq!(
        shown.lines().last().unwrap(),
        "--app-name=qubes-admin|--|test-vm1|test-vm1 domain-tag-add:t tag=t|"
    );
    end(child);
}

#[test]
fn a_refusal_is_told_and_ends_with_one() {
    let fixture = installed();
    let output = command(&fixture, &["--as", "nobody"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text, "qubes-admin: QubesVMNotFoundError: No such domain: 'nobody'\n");
}
