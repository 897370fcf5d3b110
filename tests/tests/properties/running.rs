//! What a running domain forbids, and what listeners see of a network changed under it (spec 10 §3.5).

use super::{SYSTEM, feature, get, refused, reset, set, world};

const CONNECTED: [&str; 2] = ["test-vm1 domain-qdb-create", "test-net net-domain-connect vm=test-vm1"];

#[test]
fn a_running_qube_connects_only_to_a_running_one() {
    let fixture = world();
    let _client = fixture.domain("test-vm1", "Running");
    let events = fixture.events_of(|fixture| {
        let text = "QubesVMNotStartedError: Cannot dynamically attach to stopped qube test-net";
        assert_eq!(refused(fixture, "Set", "test-vm1", "netvm", b"test-net"), text);
    });
    let pre = "test-vm1 property-pre-set:netvm name=netvm newvalue=test-net oldvalue=None";
    assert_eq!(events, [pre]);
    let _provider = fixture.domain("test-net", "Running");
    let events = fixture.events_of(|fixture| set(fixture, "test-vm1", "netvm", "test-net"));
    let done = "test-vm1 property-set:netvm name=netvm newvalue=test-net oldvalue=None";
    assert_eq!(events, [pre, CONNECTED[0], CONNECTED[1], done]);
    let events = fixture.events_of(|fixture| set(fixture, "test-vm1", "netvm", ""));
    let expected = [
        "test-vm1 property-pre-set:netvm name=netvm newvalue=None oldvalue=test-net",
        "test-vm1 property-set:netvm name=netvm newvalue=None oldvalue=test-net",
    ];
    assert_eq!(events, expected);
}

#[test]
fn a_running_qube_returns_only_to_a_running_default() {
    let fixture = world();
    set(&fixture, "test-vm1", "netvm", "");
    set(&fixture, SYSTEM, "default_netvm", "test-net");
    let _client = fixture.domain("test-vm1", "Running");
    let events = fixture.events_of(|fixture| {
        let text = "QubesVMNotStartedError: Cannot dynamically attach to stopped qube test-net";
        assert_eq!(refused(fixture, "Reset", "test-vm1", "netvm", b""), text);
    });
    let before = [
        "test-vm1 property-pre-reset:netvm name=netvm oldvalue=None",
        "test-vm1 property-pre-set:netvm name=netvm newvalue=test-net oldvalue=None",
    ];
    assert_eq!(events, before);
    let _provider = fixture.domain("test-net", "Running");
    let events = fixture.events_of(|fixture| reset(fixture, "test-vm1", "netvm"));
    let after = [
        "test-vm1 property-pre-del:netvm name=netvm oldvalue=None",
        CONNECTED[0],
        CONNECTED[1],
        "test-vm1 property-set:netvm name=netvm newvalue=test-net oldvalue=None",
        "test-vm1 property-reset:netvm name=netvm oldvalue=None",
        "test-vm1 property-del:netvm name=netvm oldvalue=None",
    ];
    assert_eq!(events, [&before[..], &after].concat());
}

#[test]
fn a_running_qube_follows_only_to_a_running_default() {
    let fixture = world();
    let _client = fixture.domain("test-vm1", "Running");
    let events = fixture.events_of(|fixture| {
        let text = "QubesVMNotStartedError: Cannot dynamically attach to stopped qube test-net";
        assert_eq!(refused(fixture, "Set", SYSTEM, "default_netvm", b"test-net"), text);
    });
    assert_eq!(
        events[0],
        " property-pre-set:default_netvm name=default_netvm newvalue=test-net oldvalue=None"
    );
    let last = "test-vm1 property-pre-set:netvm name=netvm newvalue=test-net oldvalue=None";
    assert_eq!(events.last().unwrap(), last);
    let _provider = fixture.domain("test-net", "Running");
    let events = fixture.events_of(|fixture| set(fixture, SYSTEM, "default_netvm", "test-net"));
    let from = events.iter().position(|event| event == CONNECTED[0]).unwrap();
    let expected = [
        CONNECTED[0],
        CONNECTED[1],
        "test-vm1 property-set:netvm name=netvm newvalue=test-net oldvalue=None",
        "test-vm1 property-reset:netvm name=netvm oldvalue=None",
    ];
    assert_eq!(events[from..from + 4], expected);
}

#[test]
fn memory_of_a_running_qube_is_limited_anew_only_with_hotplug() {
    let fixture = world();
    let _domain = fixture.domain("test-vm1", "Running");
    let refusal = "QubesVMNotHaltedError: Can't change maxmem of VM test-vm1, because it isn't Halted and memory \
        hotplug is forbidden";
    let forbidden = || assert_eq!(refused(&fixture, "Set", "test-vm1", "maxmem", b"500"), refusal);
    let events = fixture.events_of(|_| forbidden());
    assert_eq!(events, ["test-vm1 property-pre-set:maxmem name=maxmem newvalue=500 oldvalue=4000"]);
    set(&fixture, "test-vm1", "maxmem", "4000");
    let mark = fixture.path("/var/lib/qubes/vm-kernels/1.0/memory-hotplug-supported");
    std::fs::write(&mark, "").unwrap();
    set(&fixture, "test-vm1", "maxmem", "501");
    set(&fixture, "test-vm1", "virt_mode", "hvm");
    forbidden();
    set(&fixture, "test-vm1", "virt_mode", "pvh");
    feature(&fixture, "test-template", "memory-hotplug", "");
    forbidden();
    feature(&fixture, "test-vm1", "memory-hotplug", "1");
    set(&fixture, "test-vm1", "maxmem", "502");
    fixture.ok("admin.vm.feature.Remove+memory-hotplug", "test-vm1", "");
    fixture.ok("admin.vm.feature.Remove+memory-hotplug", "test-template", "");
    set(&fixture, "test-vm1", "kernel", "");
    forbidden();
    feature(&fixture, "test-template", "supported-feature.memory-hotplug", "1");
    set(&fixture, "test-vm1", "maxmem", "503");
}

#[test]
fn the_template_of_a_running_qube_stays() {
    let fixture = world();
    let running = "QubesVMNotHaltedError: Cannot change template while qube is running";
    let domain = fixture.domain("test-vm1", "Paused");
    let events = fixture.events_of(|fixture| {
        assert_eq!(refused(fixture, "Set", "test-vm1", "template", b"test-other"), running);
    });
    let pre = "test-vm1 property-pre-set:template name=template newvalue=test-other oldvalue=test-template";
    assert_eq!(events, [pre]);
    drop(domain);
    set(&fixture, "test-vm1", "template", "test-other");
    let _disposable = fixture.domain("test-disp", "Running");
    assert_eq!(refused(&fixture, "Set", "test-disp", "template", b"test-dvm"), running);
    let used = "QubesVMInUseError: Cannot change template while there are running disposables based on this \
        disposable template";
    assert_eq!(refused(&fixture, "Set", "test-dvm", "template", b"test-other"), used);
    super::templates::preload(&fixture, "test-dvm", "test-disp");
    set(&fixture, "test-dvm", "template", "test-other");
}

#[test]
fn everything_else_may_change_under_a_running_domain() {
    let fixture = world();
    let _domain = fixture.domain("test-vm1", "Running");
    for (property, value) in [
        ("autostart", "True"),
        ("debug", "True"),
        ("kernel", ""),
        ("label", "blue"),
        ("memory", "500"),
        ("provides_network", "True"),
        ("template_for_dispvms", "True"),
        ("vcpus", "3"),
        ("virt_mode", "hvm"),
    ] {
        set(&fixture, "test-vm1", property, value);
    }
    assert_eq!(get(&fixture, "test-vm1", "xid"), "default=True type=int 7");
    assert_eq!(get(&fixture, "test-vm1", "start_time"), "default=True type=str 1700000000.0");
    assert_eq!(get(&fixture, "test-vm1", "stubdom_xid"), "default=True type=int -1");
}
