//! Rules of single properties that no recorded conversation reaches: running qubes, odd chains, spellings.

use tests::Fixture;

const SET_NETVM: &str = "admin.vm.property.Set+netvm";
const SET_DEFAULT_NETVM: &str = "admin.property.Set+default_netvm";
const STOPPED: &str = "QubesVMNotStartedError: Cannot dynamically attach to stopped qube test-net";

#[test]
fn a_running_qube_is_never_attached_to_a_stopped_one() {
    let fixture = Fixture::new();
    let running = fixture.domain("test-vm1", "Running");
    let events = fixture.events_of(|fixture| {
        assert_eq!(fixture.refused(SET_DEFAULT_NETVM, "dom0", "test-net"), STOPPED);
    });
    let expected = [
        " property-pre-set:default_netvm name=default_netvm newvalue=test-net oldvalue=None",
        "test-template property-pre-set:netvm name=netvm newvalue=test-net oldvalue=None",
        "test-vm1 property-pre-set:netvm name=netvm newvalue=test-net oldvalue=None",
    ];
    assert_eq!(events, expected);
    assert_eq!(fixture.ok("admin.property.Get+default_netvm", "dom0", ""), "default=False type=vm ");
    fixture.ok(SET_NETVM, "test-vm1", "");
    drop(running);
    fixture.ok(SET_DEFAULT_NETVM, "dom0", "test-net");
    let _running = fixture.domain("test-vm1", "Running");
    let events = fixture.events_of(|fixture| {
        assert_eq!(fixture.refused("admin.vm.property.Reset+netvm", "test-vm1", ""), STOPPED);
    });
    let expected = [
        "test-vm1 property-pre-reset:netvm name=netvm oldvalue=None",
        "test-vm1 property-pre-set:netvm name=netvm newvalue=test-net oldvalue=None",
    ];
    assert_eq!(events, expected);
}

#[test]
fn a_new_default_netvm_connects_the_running_qubes_that_follow_it() {
    let fixture = Fixture::new();
    let (_client, _netvm) = (fixture.domain("test-vm1", "Running"), fixture.domain("test-net", "Running"));
    let events = fixture.events_of(|fixture| {
        fixture.ok(SET_DEFAULT_NETVM, "dom0", "test-net");
    });
    let expected = [
        "test-vm1 domain-qdb-create",
        "test-net net-domain-connect vm=test-vm1",
        "test-vm1 property-set:netvm name=netvm newvalue=test-net oldvalue=None",
        "test-vm1 property-reset:netvm name=netvm oldvalue=None",
    ];
    assert!(events.windows(4).any(|window| window == expected), "{events:#?}");
}

#[test]
fn a_paused_qube_keeps_in_mind_where_its_interface_is() {
    let fixture = Fixture::new();
    fixture.ok(SET_NETVM, "test-vm1", "test-net");
    let _paused = fixture.domain("test-vm1", "Paused");
    let events = fixture.events_of(|fixture| {
        fixture.ok(SET_NETVM, "test-vm1", "");
    });
    let expected = [
        "test-vm1 property-pre-set:netvm name=netvm newvalue=None oldvalue=test-net",
        "test-vm1 domain-feature-pre-set:deferred-netvm-original feature=deferred-netvm-original value=test-net",
        "test-vm1 domain-feature-set:deferred-netvm-original feature=deferred-netvm-original value=test-net",
        "test-vm1 property-set:netvm name=netvm newvalue=None oldvalue=test-net",
    ];
    assert_eq!(events, expected);
    fixture.ok("admin.vm.property.Reset+netvm", "test-vm1", "");
    assert_eq!(fixture.ok("admin.vm.feature.Get+deferred-netvm-original", "test-vm1", ""), "test-net");
}

#[test]
fn behind_a_qube_without_network_there_is_no_netmask() {
    let fixture = Fixture::new();
    fixture.ok(SET_NETVM, "test-vm1", "test-net");
    let netmask = |fixture: &Fixture| fixture.ok("admin.vm.property.Get+visible_netmask", "test-vm1", "");
    assert_eq!(netmask(&fixture), "default=True type=str 255.255.255.255");
    fixture.ok("admin.vm.property.Reset+provides_network", "test-net", "");
    assert_eq!(netmask(&fixture), "default=True type=str ");
}

#[test]
fn a_label_is_named_by_its_index_in_every_spelling_of_a_number() {
    let fixture = Fixture::new();
    let set = "admin.vm.property.Set+label";
    for number in ["label-4", "label-04", "label-0_4", "4", "04"] {
        fixture.ok(set, "test-vm1", "red");
        fixture.ok(set, "test-vm1", number);
        let shown = fixture.ok("admin.vm.property.Get+label", "test-vm1", "");
        assert_eq!(shown, "default=False type=label green", "{number}");
    }
    for (unknown, told) in [("label-099", "99"), ("label-x", "x"), ("label-", ""), ("label--1", "-1")] {
        let said = format!("QubesLabelNotFoundError: Label does not exist: {told}");
        assert_eq!(fixture.refused(set, "test-vm1", unknown), said);
    }
}
