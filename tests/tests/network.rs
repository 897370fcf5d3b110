//! Network interfaces of running qubes: they go with their netvms, come back with them, and follow the property `netvm`
//! (spec 40 §3 step 28, §5; spec 10 §3.5).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

use common::hypervisor::Nic;
use tests::Fixture;
use tests::startable::{behave, end, guest, state, system, traces, until, watcher};

/// The interfaces of a running qube's domain.
fn nics(fixture: &Fixture, qube: &str) -> Vec<Nic> {
    let name = format!("{}.nics", guest(fixture, qube));
    serde_json::from_slice(&std::fs::read(fixture.path("/run/qubes/admin/simulated").join(name)).unwrap())
        .unwrap()
}

fn backends(fixture: &Fixture, qube: &str) -> Vec<String> {
    nics(fixture, qube).iter().map(|nic| nic.backend.to_string()).collect()
}

/// A root where `work` runs, and its netvm.
fn connected() -> Fixture {
    let fixture = system();
    fixture.ok("admin.vm.Start", "work", "");
    assert_eq!(backends(&fixture, "work"), ["net"]);
    fixture
}

/// Another netvm, which runs.
fn add_netvm(fixture: &Fixture) {
    fixture.ok("admin.vm.Create.AppVM+test-template", "dom0", "name=other label=red");
    fixture.ok("admin.vm.volume.Resize+private", "other", "65536");
    fixture.ok("admin.vm.property.Set+provides_network", "other", "True");
    fixture.ok("admin.vm.property.Set+netvm", "other", "");
    fixture.ok("admin.vm.Start", "other", "");
}

#[test]
fn clients_are_disconnected_when_their_netvm_ends_and_connected_when_it_starts() {
    let fixture = connected();
    let before = nics(&fixture, "work");
    let ends: [fn(&Fixture); 3] = [
        |fixture| drop(fixture.ok("admin.vm.Kill", "net", "")),
        |fixture| drop(fixture.ok("admin.vm.Shutdown+force+wait", "net", "")),
        |fixture| end(guest(fixture, "net")),
    ];
    for end in ends {
        end(&fixture);
        until("the client stays connected", || nics(&fixture, "work").is_empty());
        until("the netvm's end is not handled", || state(&fixture, "net") == "Halted");
        assert_eq!(state(&fixture, "work"), "Running");
        fixture.ok("admin.vm.Start", "net", "");
        assert_eq!(nics(&fixture, "work"), before);
    }
}

#[test]
fn a_paused_client_is_disconnected_and_connected_as_others_are() {
    let fixture = connected();
    fixture.ok("admin.vm.Pause", "work", "");
    fixture.ok("admin.vm.Kill", "net", "");
    assert!(nics(&fixture, "work").is_empty());
    fixture.ok("admin.vm.Start", "net", "");
    assert_eq!(backends(&fixture, "work"), ["net"]);
    assert_eq!(state(&fixture, "work"), "Paused");
}

#[test]
fn only_clients_are_touched() {
    let fixture = connected();
    add_netvm(&fixture);
    fixture.ok("admin.vm.Kill", "other", "");
    assert_eq!(backends(&fixture, "work"), ["net"]);
    fixture.ok("admin.vm.Kill", "work", "");
    fixture.ok("admin.vm.Kill", "net", "");
    assert_eq!(traces(&fixture), [""; 0]);
}

#[test]
fn a_start_that_fails_disconnects_nobody() {
    let fixture = connected();
    add_netvm(&fixture);
    fixture.ok("admin.vm.Kill", "other", "");
    behave(&fixture, "other", "simulated.refuses");
    fixture.refused("admin.vm.Start", "other", "");
    assert_eq!(backends(&fixture, "work"), ["net"]);
}

#[test]
fn a_running_qube_is_moved_when_its_netvm_is_another_one() {
    let fixture = connected();
    add_netvm(&fixture);
    let set = |netvm: &str| drop(fixture.ok("admin.vm.property.Set+netvm", "work", netvm));
    set("other");
    assert_eq!(backends(&fixture, "work"), ["other"]);
    set("");
    assert!(nics(&fixture, "work").is_empty());
    set("net");
    assert_eq!(backends(&fixture, "work"), ["net"]);
    fixture.ok("admin.property.Set+default_netvm", "dom0", "other");
    assert_eq!(backends(&fixture, "work"), ["net"]);
    fixture.ok("admin.vm.property.Reset+netvm", "work", "");
    assert_eq!(backends(&fixture, "work"), ["other"]);
    fixture.ok("admin.property.Set+default_netvm", "dom0", "net");
    assert_eq!(backends(&fixture, "work"), ["net"]);
    fixture.ok("admin.property.Set+default_netvm", "dom0", "");
    assert!(nics(&fixture, "work").is_empty());
}

#[test]
fn a_qube_whose_watcher_was_killed_is_cut_off_all_the_same() {
    let fixture = connected();
    end(watcher(&fixture, "work"));
    fixture.ok("admin.vm.property.Set+netvm", "work", "");
    assert!(nics(&fixture, "work").is_empty());
    assert_eq!(state(&fixture, "work"), "Running");
}

#[test]
fn a_paused_qube_is_moved_when_it_goes_on() {
    let fixture = connected();
    add_netvm(&fixture);
    for (netvm, expected) in [("other", &["other"][..]), ("", &[])] {
        fixture.ok("admin.vm.Pause", "work", "");
        let before = backends(&fixture, "work");
        fixture.ok("admin.vm.property.Set+netvm", "work", netvm);
        assert_eq!(backends(&fixture, "work"), before);
        fixture.ok("admin.vm.Unpause", "work", "");
        assert_eq!(backends(&fixture, "work"), expected);
        assert!(fixture.qube("work").feature("deferred-netvm-original").is_none());
    }
}
