//! `internal.SuspendPre` and `internal.SuspendPost` (spec 30 §18.2, §18.3). qrexec is a stand-in that records.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

use tests::Fixture;
use tests::companions::{install, recorded, spoil};
use tests::startable::{of, state, system};

const PRE: &str = "internal.SuspendPre";
const POST: &str = "internal.SuspendPost";
const LIST: &str = "/run/qubes/previously-paused.list";
const TOLD: &str = "domain-cmd-pre-run start_guid=False";

/// A root where `net` runs and has qrexec, `work` runs and has not, `other` is paused, and `test-vm1` is halted.
fn running() -> Fixture {
    let fixture = system();
    install(&fixture);
    fixture.ok("admin.vm.Create.AppVM+test-template", "dom0", "name=other label=red");
    fixture.ok("admin.vm.property.Set+netvm", "other", "");
    fixture.ok("admin.vm.volume.Resize+private", "other", "65536");
    fixture.ok("admin.vm.feature.Set+qrexec", "net", "1");
    for qube in ["net", "work", "other"] {
        fixture.ok("admin.vm.Start", qube, "");
    }
    fixture.ok("admin.vm.Pause", "other", "");
    fixture
}

fn states(fixture: &Fixture) -> [String; 4] {
    ["net", "work", "other", "test-vm1"].map(|qube| state(fixture, qube))
}

fn calls(services: &[&str]) -> Vec<String> {
    services.iter().map(|service| format!("-d net root:QUBESRPC {service} dom0 < \"\"")).collect()
}

#[test]
fn all_sleep_with_the_machine_and_those_that_did_not_before_wake_with_it() {
    let fixture = running();
    let events = fixture.events_of(|fixture| {
        assert_eq!(fixture.ok(PRE, "dom0", ""), "");
        assert_eq!(states(fixture), ["Suspended", "Suspended", "Paused", "Halted"]);
        assert_eq!(std::fs::read_to_string(fixture.path(LIST)).unwrap(), "other");
    });
    assert_eq!(events, of("net", &[TOLD, TOLD]));
    assert_eq!(recorded(&fixture, "qrexec-client"), calls(&["qubes.SuspendPreAll", "qubes.SuspendPre"]));
    let mut events = fixture.events_of(|fixture| {
        assert_eq!(fixture.ok(POST, "dom0", ""), "");
        assert_eq!(states(fixture), ["Running", "Running", "Paused", "Halted"]);
        assert!(!fixture.path(LIST).exists());
    });
    assert_eq!(events.pop().unwrap(), format!("net {TOLD}"), "all are awake by then");
    let mut expected = [of("net", &[TOLD, "domain-resumed"]), of("work", &["domain-resumed"])].concat();
    events.sort();
    expected.sort();
    assert_eq!(events, expected);
    assert_eq!(recorded(&fixture, "qrexec-client"), calls(&["qubes.SuspendPost", "qubes.SuspendPostAll"]));
}

#[test]
fn several_sleepers_are_told_apart_by_their_names() {
    let fixture = running();
    fixture.ok("admin.vm.Suspend", "work", "");
    fixture.ok(PRE, "dom0", "");
    assert_eq!(std::fs::read_to_string(fixture.path(LIST)).unwrap(), "other\nwork");
    std::fs::write(fixture.path(LIST), b"work\n../x\n\xff\n\nnobody\n").unwrap();
    fixture.ok(POST, "dom0", "");
    assert_eq!(states(&fixture), ["Running", "Suspended", "Running", "Halted"]);
    fixture.ok(POST, "dom0", "");
    assert_eq!(states(&fixture), ["Running", "Running", "Running", "Halted"], "without a list all are woken");
}

#[test]
fn one_that_cannot_sleep_is_named_and_the_others_sleep() {
    let fixture = running();
    std::fs::remove_file(fixture.path("/run/qubes/qrexec.net")).unwrap();
    let refused = fixture.refused(PRE, "dom0", "");
    let text = "QubesException: Failed to suspend some qubes: \nDomain 'net': qrexec not connected";
    assert_eq!(refused, text);
    assert_eq!(states(&fixture), ["Transient", "Suspended", "Paused", "Halted"]);
    assert_eq!(recorded(&fixture, "qrexec-client"), calls(&[]));
    fixture.ok(POST, "dom0", "");
    assert_eq!(states(&fixture), ["Transient", "Running", "Paused", "Halted"]);
}

#[test]
fn a_service_that_fails_keeps_nobody_from_sleeping() {
    let fixture = running();
    spoil(&fixture, 3, "qrexec-client");
    fixture.ok(PRE, "dom0", "");
    assert_eq!(states(&fixture), ["Suspended", "Suspended", "Paused", "Halted"]);
    std::fs::remove_file(fixture.path("/usr/bin/qrexec-client")).unwrap();
    fixture.ok(POST, "dom0", "");
    assert_eq!(states(&fixture), ["Running", "Running", "Paused", "Halted"]);
}

#[test]
fn without_a_place_for_the_list_nobody_is_sent_to_sleep() {
    let fixture = running();
    std::fs::create_dir(fixture.path(LIST)).unwrap();
    for call in [PRE, POST] {
        let refused = fixture.refused(call, "dom0", "");
        assert!(refused.starts_with(&format!("QubesException: {LIST} cannot be used: ")), "{refused}");
    }
    assert_eq!(states(&fixture), ["Running", "Running", "Paused", "Halted"]);
}

#[test]
fn only_this_machine_asks_and_in_the_usual_form() {
    let fixture = Fixture::new();
    for call in [PRE, POST] {
        for (call, destination, payload, text) in [
            (call, "test-vm1", "", "expected destination to be AdminVM"),
            (call, "dom0", "x", "unexpected payload"),
            (&format!("{call}+x"), "dom0", "", "unexpected argument"),
        ] {
            assert_eq!(fixture.refused(call, destination, payload), format!("ProtocolError: {text}"));
        }
        assert_eq!(fixture.events_of(|fixture| drop(fixture.ok(call, "dom0", ""))), [""; 0]);
    }
}
