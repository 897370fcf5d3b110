//! Removal in full: what holds a qube back and what does not (spec 10 §2.8).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

use common::hypervisor::{self, Published};
use common::model::Device;
use common::names::{FeatureName, FeatureValue};
use tests::Fixture;

const IN_USE: &str =
    "QubesVMInUseError: Domain is in use: 'target';  see 'journalctl -u qubesd -e' in dom0 for details";

/// The fixture with an AppVM `target` that can serve as anything.
fn world() -> Fixture {
    let fixture = Fixture::new();
    fixture.ok("admin.vm.Create.AppVM+test-template", "dom0", "name=target label=red");
    for property in ["template_for_dispvms", "provides_network"] {
        fixture.ok(&format!("admin.vm.property.Set+{property}"), "target", "True");
    }
    fixture
}

#[test]
fn a_reference_of_the_system_or_of_another_qube_holds_it() {
    for (call, destination) in [
        ("admin.property.Set+clockvm", "dom0"),
        ("admin.property.Set+default_audiovm", "dom0"),
        ("admin.property.Set+default_dispvm", "dom0"),
        ("admin.property.Set+default_guivm", "dom0"),
        ("admin.property.Set+management_dispvm", "dom0"),
        ("admin.property.Set+updatevm", "dom0"),
        ("admin.vm.property.Set+default_dispvm", "dom0"),
        ("admin.vm.property.Set+default_dispvm", "test-vm1"),
        ("admin.vm.property.Set+management_dispvm", "test-vm1"),
        ("admin.vm.property.Set+guivm", "test-vm1"),
        ("admin.vm.property.Set+audiovm", "test-vm1"),
        ("admin.vm.property.Set+netvm", "test-vm1"),
        ("admin.vm.property.Set+relayvm", "far"),
    ] {
        let fixture = world();
        fixture.ok("admin.vm.Create.RemoteVM", "dom0", "name=far label=red");
        fixture.ok(call, destination, "target");
        let before = fixture.stored();
        let events = fixture.events_of(|fixture| {
            assert_eq!(fixture.refused("admin.vm.Remove", "target", ""), IN_USE, "{call} {destination}");
        });
        assert_eq!(events, [" domain-pre-delete vm=target"]);
        assert!(fixture.stored() == before && fixture.path("/var/lib/qubes/appvms/target").exists());
        fixture.ok(&call.replace(".Set+", ".Reset+"), destination, "");
        fixture.ok("admin.vm.Remove", "target", "");
    }
}

#[test]
fn its_own_references_and_those_by_default_do_not_hold_it() {
    let fixture = world();
    fixture.ok("admin.vm.property.Set+default_dispvm", "target", "target");
    fixture.ok("admin.vm.property.Set+guivm", "target", "target");
    fixture.ok("admin.vm.Remove", "target", "");
    let log = fixture.refused("admin.vm.Remove", "test-template", "");
    assert!(log.starts_with("QubesVMInUseError: Domain is in use: 'test-template';"), "{log}");
}

#[test]
fn a_device_assigned_elsewhere_holds_it() {
    let fixture = world();
    fixture.edit("test-vm1", |qube| {
        for id in ["sda", "sdb"] {
            qube.devices.push(Device {
                class: "block".to_owned(),
                backend: "target".to_owned(),
                id: id.to_owned(),
                mode: common::names::Mode::Required,
                identity: "*".to_owned(),
                options: Vec::new(),
            });
        }
    });
    let events = fixture.events_of(|fixture| {
        let text = "QubesVMInUseError: VM has devices assigned to other VMs: target:sda, target:sdb";
        assert_eq!(fixture.refused("admin.vm.Remove", "target", ""), text);
    });
    assert_eq!(events, [" domain-pre-delete vm=target"]);
}

#[test]
fn disposables_made_in_advance_do_not_hold_their_template() {
    let fixture = world();
    fixture.ok("admin.vm.Create.DispVM+target", "dom0", "name=thrown label=red");
    fixture.ok("admin.vm.property.Set+default_dispvm", "thrown", "target");
    assert_eq!(fixture.refused("admin.vm.Remove", "target", ""), IN_USE);
    fixture.edit("target", |qube| {
        let name = FeatureName::parse("preload-dispvm").unwrap();
        qube.set_feature(name, FeatureValue::parse("thrown").unwrap());
    });
    fixture.ok("admin.vm.property.Set+netvm", "thrown", "target");
    assert_eq!(fixture.refused("admin.vm.Remove", "target", ""), IN_USE);
    fixture.ok("admin.vm.property.Reset+netvm", "thrown", "");
    fixture.ok("admin.vm.Remove", "target", "");
}

#[test]
fn refusals_before_the_event_come_in_order() {
    let fixture = world();
    let _domain = fixture.domain("target", "Paused");
    let said = || fixture.refused("admin.vm.Remove", "target", "");
    assert_eq!(said(), "QubesVMNotHaltedError: Domain is not powered off: 'target'");
    fixture.ok("admin.vm.property.Set+installed_by_rpm", "target", "True");
    assert_eq!(said(), "QubesVMInUseError: VM installed by package manager: target");
    let events = fixture.events_of(|_| drop(said()));
    assert!(events.is_empty());
}

#[test]
fn a_qube_that_nobody_can_tell_of_is_not_taken_for_halted() {
    let fixture = world();
    let running = fixture.path("/run/qubes/admin/domains/target");
    let halted = || hypervisor::is_halted(&Published::at(&fixture.root()), &fixture.qube("target"));
    assert!(halted());
    // Nobody can open it, root neither.
    std::os::unix::fs::symlink("target", &running).unwrap();
    assert!(!halted(), "also where it is looked at under its lock");
    let before = fixture.stored();
    for (call, payload) in [
        ("admin.vm.Remove", ""),
        ("admin.vm.Start", ""),
        ("admin.vm.Kill", ""),
        ("admin.vm.volume.Resize+private", "8192"),
        ("admin.vm.volume.Clear+private", ""),
        ("admin.vm.volume.Revert+private", "1"),
    ] {
        let refused = fixture.refused(call, "target", payload);
        assert!(refused.starts_with("QubesException: The state store cannot be used: "), "{call}: {refused}");
    }
    assert!(fixture.stored() == before && fixture.path("/var/lib/qubes/appvms/target").exists());
    std::fs::remove_file(running).unwrap();
    fixture.ok("admin.vm.Remove", "target", "");
}

#[test]
fn a_remote_qube_goes_without_a_trace() {
    let fixture = world();
    fixture.ok("admin.vm.Create.RemoteVM", "dom0", "name=far label=red");
    let events = fixture.events_of(|fixture| assert_eq!(fixture.ok("admin.vm.Remove", "far", ""), ""));
    assert_eq!(events, [" domain-pre-delete vm=far", " domain-delete vm=far"]);
    assert_eq!(fixture.refused("admin.vm.List", "far", ""), "QubesVMNotFoundError: No such domain: 'far'");
}

#[test]
fn the_number_of_a_removed_disposable_rests() {
    let fixture = world();
    fixture.ok("admin.vm.Create.DispVM+target", "dom0", "name=thrown label=red");
    let shown = fixture.ok("admin.vm.property.Get+dispid", "thrown", "");
    let dispid = shown.strip_prefix("default=False type=int ").unwrap().parse::<u16>().unwrap();
    fixture.ok("admin.vm.Remove", "thrown", "");
    let store = fixture.store();
    let view = store.read().unwrap();
    assert!(view.system().unwrap().blocked_dispids.contains_key(&dispid));
}
