//! The class of devices that only tests have: what every class does, with nothing that a class does itself (spec 30 §2, part 6).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::panic, reason = "test code")]

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use common::root::ROOT_VARIABLE;
use tests::fixture::{output_of, readable};
use tests::startable::system;
use tests::{Fixture, executables};

/// `work` runs, and has two devices itself.
fn running() -> Fixture {
    let fixture = system();
    let folder = fixture.path("/etc/qubes/testclass");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("work"), "1234 0000:0000::t000000\n4321 dead:beef:cafe\n").unwrap();
    fixture.ok("admin.vm.Start", "work", "");
    fixture
}

/// The reply to a call of the class on `work`.
fn call(fixture: &Fixture, call: &str, payload: &str) -> String {
    let method = format!("admin.vm.device.testclass.{}", call.split('+').next().unwrap());
    let mut command = Command::new(executables::executable("admin-testclass"));
    command.arg0(&method).env_clear().env(ROOT_VARIABLE, fixture.path("/"));
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let request = format!("admin.vm.device.testclass.{call} dom0 name work\0{payload}");
    child.stdin.take().unwrap().write_all(request.as_bytes()).unwrap();
    readable(&output_of(child).stdout)
}

fn events_of(fixture: &Fixture, what: &str, payload: &str) -> Vec<String> {
    fixture.events_of(|fixture| assert_eq!(call(fixture, what, payload), "0·", "{what}"))
}

#[test]
fn devices_are_listed_and_no_dom0_has_the_class() {
    let fixture = running();
    let all = call(&fixture, "Available", "");
    assert!(all.contains(
        "1234:0000:0000::t000000 device_id='0000:0000::t000000' port_id='1234' devclass='testclass'"
    ));
    assert_eq!(all.lines().count(), 2, "{all}");
    assert!(call(&fixture, "Available+4321", "").starts_with("0·4321:dead:beef:cafe "));
    assert_eq!(call(&fixture, "Available+other", ""), "0·");
    assert_eq!(fixture.ok("admin.deviceclass.List", "dom0", ""), "block\npci\n");
    let unknown = fixture.refused("admin.vm.device.testclass.Available", "work", "");
    assert_eq!(unknown, "ProtocolError: no such method: 'admin.vm.device.testclass.Available'");
}

#[test]
fn assignments_of_one_port_coexist_and_change_their_mode() {
    let fixture = running();
    for (device, told) in
        [("work+1234+dead", "1234:dead"), ("work+1234+_", "1234:*"), ("work+_+dead", "*:dead")]
    {
        let events = events_of(&fixture, &format!("Assign+{device}"), "mode='auto-attach' _option1='value2'");
        let expected = ["device-pre-assign", "device-assign"]
            .map(|kind| format!("work {kind}:testclass device=work:{told} options={{'option1': 'value2'}}"));
        assert_eq!(events, expected, "{device}");
    }
    let set = |mode: &str| events_of(&fixture, "Set.assignment+work+1234+_", mode);
    assert_eq!(
        set("required").last().unwrap(),
        "work device-assignment-changed:testclass device=work:1234:*"
    );
    assert!(call(&fixture, "Assigned", "").contains(
        "work+1234:* device_id='*' port_id='1234' devclass='testclass' \
        backend_domain='work' mode='required' _option1='value2'"
    ));
    assert_eq!(set("required"), [""; 0], "as it was");
    let unassigned = events_of(&fixture, "Unassign+work+1234+dead", "");
    assert_eq!(unassigned, ["work device-unassign:testclass device=work:1234:dead"]);
    assert!(call(&fixture, "Unassign+work+1234+dead", "").starts_with("2·DeviceNotAssigned·"));
}

#[test]
fn devices_are_attached_until_they_are_detached_or_the_run_ends() {
    let fixture = running();
    let attached = || call(&fixture, "Attached", "");
    let attach = || events_of(&fixture, "Attach+work+1234", "_option1='value2'");
    let expected = ["device-pre-attach", "device-attach"].map(|kind| {
        format!("work {kind}:testclass device=work:1234:0000:0000::t000000 options={{'option1': 'value2'}}")
    });
    assert_eq!(attach(), expected);
    assert!(attached().starts_with("0·work+1234:0000:0000::t000000 "), "{}", attached());
    assert!(call(&fixture, "Attach+work+1234", "").starts_with("2·DeviceAlreadyAttached·"));
    let detached = events_of(&fixture, "Detach+work+1234", "");
    assert_eq!(
        detached,
        ["pre-detach", "detach"].map(|kind| format!("work device-{kind}:testclass port=work:1234"))
    );
    assert_eq!(attached(), "0·");
    assert!(call(&fixture, "Detach+work+1234", "").starts_with("2·DeviceNotAssigned·"));
    attach();
    let events = fixture.events_of(|fixture| drop(fixture.ok("admin.vm.Kill", "work", "")));
    assert_eq!(events.last().unwrap(), "work device-detach:testclass port=work:1234");
    assert_eq!(attached(), "0·");
    assert!(call(&fixture, "Attach+work+1234", "").starts_with("2·QubesVMNotRunningError·"));
}
