//! `qubes-admin start`, `shutdown`, `autostart`, `shutdown-all`, `suspend-all`, `resume-all` and `clean-up`, on simulated
//! domains.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "test code")]

use tests::Fixture;
use tests::startable::{behave, state, system, traces};
use tests::tool::{install, tool};

/// Exit status and what was said.
fn outcome(fixture: &Fixture, arguments: &[&str]) -> (Option<i32>, String) {
    let output = tool(fixture, arguments);
    assert!(output.stdout.is_empty());
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// A root where `work`, its netvm `net` and `alone` can be started.
fn prepared() -> Fixture {
    let fixture = system();
    install(&fixture);
    fixture.ok("admin.vm.Create.AppVM+test-template", "dom0", "name=alone label=red");
    fixture.ok("admin.vm.volume.Resize+private", "alone", "65536");
    fixture.ok("admin.vm.property.Set+netvm", "alone", "");
    fixture
}

fn states(fixture: &Fixture) -> [String; 3] {
    ["net", "work", "alone"].map(|name| state(fixture, name))
}

#[test]
fn qubes_are_started_and_shut_down_by_name_and_a_failure_stops_nobody_else() {
    let fixture = prepared();
    fixture.ok("admin.vm.feature.Set+prohibit-start", "work", "not today");
    let (status, said) = outcome(&fixture, &["start", "nobody", "work", "alone"]);
    assert_eq!(status, Some(1));
    let expected = "qubes-admin: nobody: QubesVMNotFoundError: No such domain: 'nobody'\n\
        qubes-admin: work: QubesException: Qube start is prohibited. Rationale: not today\n\
        qubes-admin: 2 qubes failed\n";
    assert_eq!(said, expected);
    assert_eq!(states(&fixture), ["Halted", "Halted", "Running"]);
    assert_eq!(outcome(&fixture, &["start", "alone"]), (Some(0), String::new()));
    assert_eq!(outcome(&fixture, &["shutdown", "--wait", "alone"]), (Some(0), String::new()));
    assert_eq!(states(&fixture), ["Halted", "Halted", "Halted"]);
    let (status, said) = outcome(&fixture, &["shutdown", "alone"]);
    assert!(status == Some(1) && said.contains("QubesVMNotStartedError"), "{said}");
}

#[test]
fn a_qube_that_others_need_is_shut_down_by_force_alone() {
    let fixture = prepared();
    outcome(&fixture, &["start", "work"]);
    let (status, said) = outcome(&fixture, &["shutdown", "--wait", "net"]);
    assert!(status == Some(1) && said.contains("There are other VMs connected"), "{said}");
    assert_eq!(outcome(&fixture, &["shutdown", "--force", "--wait", "net"]), (Some(0), String::new()));
    assert_eq!(states(&fixture), ["Halted", "Running", "Halted"]);
}

#[test]
fn those_whose_autostart_is_on_start_with_their_netvms() {
    let fixture = prepared();
    fixture.ok("admin.vm.property.Set+autostart", "work", "True");
    assert_eq!(outcome(&fixture, &["autostart"]), (Some(0), String::new()));
    assert_eq!(states(&fixture), ["Running", "Running", "Halted"]);
    fixture.ok("admin.vm.property.Set+autostart", "alone", "True");
    fixture.ok("admin.vm.feature.Set+prohibit-start", "alone", "no");
    assert_eq!(outcome(&fixture, &["autostart"]).0, Some(1));
}

/// Where an event stands among others.
fn place(events: &[String], event: &str) -> usize {
    events.iter().position(|known| known.starts_with(event)).unwrap_or_else(|| panic!("{event}: {events:?}"))
}

#[test]
fn all_are_shut_down_clients_before_those_that_serve_them() {
    let fixture = prepared();
    outcome(&fixture, &["start", "work", "alone"]);
    fixture.ok("admin.vm.Pause", "alone", "");
    let events = fixture.events_of(|fixture| {
        assert_eq!(outcome(fixture, &["shutdown-all"]), (Some(0), String::new()));
    });
    assert_eq!(states(&fixture), ["Halted", "Halted", "Halted"]);
    assert!(place(&events, "work domain-shutdown") < place(&events, "net domain-pre-shutdown"));
    assert!(place(&events, "alone domain-shutdown") < place(&events, "net domain-pre-shutdown"));
    assert_eq!(traces(&fixture), [""; 0]);
    assert_eq!(outcome(&fixture, &["shutdown-all"]), (Some(0), String::new()));
}

#[test]
fn who_takes_too_long_is_killed_which_is_told() {
    let fixture = prepared();
    behave(&fixture, "work", "simulated.ignores-shutdown");
    fixture.ok("admin.vm.property.Set+shutdown_timeout", "work", "1");
    for (arguments, why) in [
        (&["shutdown-all"][..], "QubesVMShutdownTimeoutError: Domain shutdown timed out: 'work'"),
        (&["shutdown-all", "--timeout", "0"][..], "it takes too long"),
    ] {
        outcome(&fixture, &["start", "work"]);
        let (status, said) = outcome(&fixture, arguments);
        assert_eq!((status, states(&fixture)), (Some(0), ["Halted"; 3].map(str::to_owned)));
        assert!(said.contains(&format!("qubes-admin: work is killed: {why}\n")), "{said}");
        assert_eq!(traces(&fixture), [""; 0]);
    }
}

#[test]
fn disposables_of_an_earlier_boot_go_and_no_others() {
    let fixture = prepared();
    fixture.ok("admin.vm.property.Set+template_for_dispvms", "alone", "True");
    let [left, running] = [(); 2].map(|()| fixture.ok("admin.vm.CreateDisposable", "alone", ""));
    fixture.ok("admin.vm.Create.DispVM+alone", "dom0", "name=named label=red");
    fixture.ok("admin.vm.Start", &running, "");
    assert_eq!(outcome(&fixture, &["clean-up"]), (Some(0), String::new()));
    let listed = fixture.ok("admin.vm.List", "dom0", "");
    assert!(!listed.contains(&left) && listed.contains(&running) && listed.contains("named"), "{listed}");
}

#[test]
fn all_sleep_and_wake_with_the_machine() {
    let fixture = prepared();
    outcome(&fixture, &["start", "work", "alone"]);
    fixture.ok("admin.vm.Pause", "alone", "");

    assert_eq!(outcome(&fixture, &["suspend-all"]), (Some(0), String::new()));
    assert_eq!(states(&fixture), ["Suspended", "Suspended", "Paused"]);
    assert_eq!(outcome(&fixture, &["resume-all"]), (Some(0), String::new()));
    assert_eq!(states(&fixture), ["Running", "Running", "Paused"]);
    std::fs::create_dir(fixture.path("/run/qubes/previously-paused.list")).unwrap();
    let (status, said) = outcome(&fixture, &["suspend-all"]);
    assert!(status == Some(1) && said.contains("previously-paused.list cannot be used"), "{said}");
}
