//! Every event of the specification's tables that a call of today causes, seen by a real listener (spec 30 §13, §14).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::collections::BTreeSet;

use tests::Fixture;
use tests::companions::{database, entries};
use tests::listener::Listener;

/// Properties whose reset is announced although nobody reset them.
const DERIVED: [&str; 20] = [
    "bootmode",
    "default_dispvm",
    "default_user",
    "gateway",
    "gateway6",
    "icon",
    "kernel",
    "kernelopts",
    "keyboard_layout",
    "management_dispvm",
    "maxmem",
    "memory",
    "netvm",
    "qrexec_timeout",
    "shutdown_timeout",
    "vcpus",
    "visible_gateway",
    "visible_gateway6",
    "visible_ip",
    "visible_ip6",
];

/// The names of one row of the tables: a family's with `:` at the end.
const NAMES: [&str; 25] = [
    "device-assign:",
    "device-assignment-changed:",
    "device-pre-assign:",
    "device-unassign:",
    "domain-add",
    "domain-create-on-disk",
    "domain-delete",
    "domain-feature-delete:",
    "domain-feature-pre-delete:",
    "domain-feature-pre-set:",
    "domain-feature-set:",
    "domain-pre-delete",
    "domain-qdb-create",
    "domain-tag-add:",
    "domain-tag-delete:",
    "features-request",
    "firewall-changed",
    "net-domain-connect",
    "property-del:",
    "property-pre-del:",
    "property-pre-reset:",
    "property-pre-set:",
    "property-reset:",
    "property-set:",
    "template-postinstall",
];

/// One call after another, whose events and derived events make up the tables.
const CALLS: [(&str, &str, &str); 44] = [
    ("admin.vm.Create.AppVM+test-template", "dom0", "name=base label=red"),
    ("admin.vm.Create.AppVM+test-template", "dom0", "name=client label=red"),
    ("admin.vm.Create.RemoteVM", "dom0", "name=far label=red"),
    ("admin.vm.firewall.Set", "client", "action=drop"),
    ("admin.vm.device.block.Assign+dom0+sda+_", "client", "mode='required'"),
    ("admin.vm.device.block.Set.assignment+dom0+sda+_", "client", "auto-attach"),
    ("admin.vm.device.block.Unassign+dom0+sda+_", "client", ""),
    ("admin.vm.property.Set+template_for_dispvms", "base", "True"),
    ("admin.vm.property.Set+label", "client", "blue"),
    ("admin.vm.property.Set+memory", "test-template", "500"),
    ("admin.vm.property.Set+maxmem", "test-template", "600"),
    ("admin.vm.property.Set+vcpus", "test-template", "3"),
    ("admin.vm.property.Set+kernel", "test-template", ""),
    ("admin.vm.property.Set+kernelopts", "test-template", "quiet"),
    ("admin.vm.property.Set+default_user", "test-template", "someone"),
    ("admin.vm.property.Set+qrexec_timeout", "test-template", "61"),
    ("admin.vm.property.Set+shutdown_timeout", "test-template", "62"),
    ("admin.vm.property.Set+management_dispvm", "test-template", "base"),
    ("admin.vm.feature.Set+boot-mode.kernelopts.mode", "test-template", "x"),
    ("admin.vm.property.Set+appvm_default_bootmode", "test-template", "mode"),
    ("admin.vm.property.Set+netvm", "client", "test-net"),
    ("admin.vm.property.Set+ip", "test-net", "10.0.0.1"),
    ("admin.vm.feature.Set+ipv6", "test-net", "1"),
    ("admin.vm.property.Set+ip6", "test-net", "fd09::1"),
    ("admin.vm.property.Set+ip6", "client", "fd09::2"),
    ("admin.vm.property.Set+ip", "client", "10.0.0.2"),
    ("admin.property.Set+default_netvm", "dom0", "test-net"),
    ("admin.property.Set+default_dispvm", "dom0", "base"),
    ("admin.property.Set+default_guivm", "dom0", "base"),
    ("admin.property.Reset+default_guivm", "dom0", ""),
    ("admin.property.Set+default_audiovm", "dom0", "base"),
    ("admin.vm.property.Set+keyboard_layout", "dom0", "de++"),
    ("admin.vm.property.Set+guivm", "client", "base"),
    ("admin.vm.property.Set+audiovm", "client", "base"),
    ("admin.vm.property.Set+relayvm", "far", "base"),
    ("admin.vm.property.Set+template_for_dispvms", "client", "True"),
    ("admin.vm.property.Reset+template_for_dispvms", "client", ""),
    ("admin.vm.property.Set+provides_network", "client", "True"),
    ("admin.vm.feature.Set+net.fake-ip", "client", "10.0.0.3"),
    ("admin.vm.feature.Remove+net.fake-ip", "client", ""),
    ("admin.vm.tag.Set+tag", "client", ""),
    ("admin.vm.tag.Remove+tag", "client", ""),
    ("admin.vm.Remove", "client", ""),
    ("admin.vm.Remove", "far", ""),
];

#[test]
fn every_event_of_a_served_call_reaches_a_listener_under_its_name() {
    let fixture = Fixture::new();
    let listener = Listener::to_all(&fixture);
    for (call, destination, payload) in CALLS {
        fixture.ok(call, destination, payload);
    }
    let _domains = [fixture.domain("test-vm1", "Running"), fixture.domain("test-net", "Running")];
    fixture.ok("admin.vm.property.Set+netvm", "test-vm1", "");
    fixture.ok("admin.vm.property.Reset+netvm", "test-vm1", "");
    database(&fixture, "test-template", entries(&[("/qubes-tools/qrexec", b"1")]));
    assert_eq!(fixture.call_as("test-template", "qubes.NotifyTools", "dom0", ""), b"0\0");
    fixture.ok("admin.vm.feature.Set+end", "dom0", "");
    let messages = listener.until("domain-feature-pre-set:end");
    let seen: BTreeSet<&str> = messages.iter().map(|message| message.split('·').nth(2).unwrap()).collect();
    let kinds: BTreeSet<&str> = seen.iter().map(|name| name.split_inclusive(':').next().unwrap()).collect();
    assert_eq!(kinds, NAMES.into_iter().collect());
    let tags = ["created-by-dom0", "guivm-base", "audiovm-base", "relayvm-base"];
    let expected = [("property-reset", &DERIVED[..]), ("domain-tag-add", &tags)];
    for (kind, names) in expected {
        let missing: Vec<_> =
            names.iter().filter(|name| !seen.contains(format!("{kind}:{name}").as_str())).collect();
        assert!(missing.is_empty(), "no {kind} of {missing:?}");
    }
}
