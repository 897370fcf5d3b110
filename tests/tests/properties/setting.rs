//! Which values Set takes and keeps, and what cannot be set (spec 10 §3.3 to §3.7).

use super::{SYSTEM, call, content, feature, get, refused, reset, set, world};
use std::collections::BTreeSet;

/// Holder, property, payload, and type and value as Get shows them afterwards.
const ACCEPTED: &[(&str, &str, &str, &str)] = &[
    ("test-vm1", "autostart", "True", "bool True"),
    ("test-vm1", "autostart", "False", "bool False"),
    ("test-vm1", "backup_timestamp", "1700000000", "int 1700000000"),
    ("test-vm1", "backup_timestamp", "-5", "int -5"),
    ("test-vm1", "debug", "yEs", "bool True"),
    ("test-vm1", "default_user", "a_B-c+d,e.f9", "str a_B-c+d,e.f9"),
    ("test-vm1", "default_user", "", "str "),
    ("test-vm1", "devices_denied", "u0a1***m******b******u0a1***", "str b******m******u0a1***"),
    ("test-vm1", "devices_denied", "*******p012345", "str *******p012345"),
    ("test-vm1", "devices_denied", "", "str "),
    ("test-vm1", "include_in_backups", "0", "bool False"),
    ("test-vm1", "installed_by_rpm", "on", "bool True"),
    ("test-vm1", "installed_by_rpm", "off", "bool False"),
    ("test-vm1", "ip", "10.1.2.3", "str 10.1.2.3"),
    ("test-vm1", "ip6", "FD09:0:0::00A", "str fd09::a"),
    ("test-vm1", "kernel", "1.0", "str 1.0"),
    ("test-vm1", "kernel", "", "str "),
    (
        "test-vm1",
        "keyboard_layout",
        "de+nodeadkeys-1_2+ctrl:nocaps,x-y_z",
        "str de+nodeadkeys-1_2+ctrl:nocaps,x-y_z",
    ),
    ("test-vm1", "keyboard_layout", "fr++", "str fr++"),
    ("test-vm1", "label", "green", "label green"),
    ("test-vm1", "label", "3", "label yellow"),
    ("test-vm1", "label", "label-6", "label blue"),
    ("test-vm1", "mac", "00:16:3E:5E:6C:aB", "str 00:16:3e:5e:6c:ab"),
    ("test-vm1", "maxmem", "0", "int 0"),
    ("test-vm1", "maxmem", "1024000", "int 1024000"),
    ("test-vm1", "memory", "512", "int 512"),
    ("test-vm1", "provides_network", "True", "bool True"),
    ("test-vm1", "qrexec_timeout", "1", "int 1"),
    ("test-vm1", "shutdown_timeout", "1", "int 1"),
    ("test-vm1", "stubdom_mem", "128", "int 128"),
    ("test-vm1", "vcpus", "1", "int 1"),
    ("test-vm1", "virt_mode", "HVM", "str hvm"),
    ("test-vm1", "virt_mode", "pv", "str pv"),
    ("test-vm1", "virt_mode", "Pvh", "str pvh"),
    ("test-vm1", "audiovm", "test-net", "vm test-net"),
    ("test-vm1", "audiovm", "", "vm "),
    ("test-vm1", "bootmode", "any mode", "str any mode"),
    ("test-vm1", "default_dispvm", "test-dvm", "vm test-dvm"),
    ("test-vm1", "default_dispvm", "", "vm "),
    ("test-vm1", "guivm", "test-net", "vm test-net"),
    ("test-vm1", "guivm", "", "vm "),
    ("test-vm1", "kernelopts", "a=b\tc\nd ~", "str a=b\tc\nd ~"),
    ("test-vm1", "kernelopts", "", "str "),
    ("test-vm1", "management_dispvm", "test-dvm", "vm test-dvm"),
    ("test-vm1", "management_dispvm", "", "vm "),
    ("test-vm1", "netvm", "test-net", "vm test-net"),
    ("test-vm1", "netvm", "", "vm "),
    ("test-vm1", "template", "test-other", "vm test-other"),
    ("test-vm1", "template_for_dispvms", "1", "bool True"),
    ("test-template", "appvm_default_bootmode", "any mode", "str any mode"),
    ("test-alone", "template_for_dispvms", "true", "bool True"),
    ("test-disp", "auto_cleanup", "True", "bool True"),
    ("test-disp", "template", "test-dvm", "vm test-dvm"),
    ("dom0", "devices_denied", "b******", "str b******"),
    ("dom0", "include_in_backups", "False", "bool False"),
    ("dom0", "keyboard_layout", "de++", "str de++"),
    ("dom0", "label", "red", "label red"),
    ("dom0", "default_dispvm", "test-dvm", "vm test-dvm"),
    ("test-far", "include_in_backups", "True", "bool True"),
    ("test-far", "label", "8", "label black"),
    ("test-far", "relayvm", "test-net", "vm test-net"),
    ("test-far", "relayvm", "dom0", "vm dom0"),
    ("test-far", "relayvm", "", "vm "),
    ("test-far", "remote_name", "name there", "str name there"),
    ("test-far", "transport_rpc", "qubesair.Relay+x", "str qubesair.Relay+x"),
    (SYSTEM, "check_updates_vm", "False", "bool False"),
    (SYSTEM, "clockvm", "test-net", "vm test-net"),
    (SYSTEM, "clockvm", "", "vm "),
    (SYSTEM, "default_audiovm", "test-net", "vm test-net"),
    (SYSTEM, "default_dispvm", "test-dvm", "vm test-dvm"),
    (SYSTEM, "default_guivm", "test-net", "vm test-net"),
    (SYSTEM, "default_kernel", "1.0", "str 1.0"),
    (SYSTEM, "default_kernel", "", "str "),
    (SYSTEM, "default_netvm", "test-net", "vm test-net"),
    (SYSTEM, "default_pool", "test", "str test"),
    (SYSTEM, "default_pool_kernel", "linux-kernel", "str linux-kernel"),
    (SYSTEM, "default_pool_private", "test", "str test"),
    (SYSTEM, "default_pool_root", "test", "str test"),
    (SYSTEM, "default_pool_volatile", "test", "str test"),
    (SYSTEM, "default_qrexec_timeout", "1", "int 1"),
    (SYSTEM, "default_shutdown_timeout", "1", "int 1"),
    (SYSTEM, "default_template", "test-other", "vm test-other"),
    (SYSTEM, "default_template", "", "vm "),
    (SYSTEM, "management_dispvm", "test-dvm", "vm test-dvm"),
    (SYSTEM, "stats_interval", "1", "int 1"),
    (SYSTEM, "updatevm", "dom0", "vm dom0"),
];

const READ_ONLY: &[(&str, &str)] = &[
    (SYSTEM, "maxmem no_cpus"),
    ("dom0", "icon klass maxmem name qid updateable uuid"),
    ("test-far", "icon klass"),
    (
        "test-vm1",
        "dns gateway gateway6 icon klass start_time stubdom_uuid stubdom_xid updateable visible_gateway \
         visible_gateway6 visible_ip visible_ip6 visible_netmask xid",
    ),
    ("test-disp", "is_preload"),
];

const ONCE: &[(&str, &str)] =
    &[("test-vm1", "name qid uuid"), ("test-disp", "dispid name"), ("test-far", "name qid uuid")];

fn pairs(table: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    table.iter().flat_map(|(holder, names)| names.split(' ').map(|name| (*holder, name))).collect()
}

#[test]
fn each_property_takes_and_keeps_what_its_row_accepts() {
    let fixture = world();
    for (holder, property, payload, shown) in ACCEPTED {
        set(&fixture, holder, property, payload);
        assert_eq!(
            get(&fixture, holder, property),
            format!("default=False type={shown}"),
            "{holder} {property}"
        );
    }
    for holder in [SYSTEM, "dom0", "test-vm1", "test-disp", "test-far"] {
        content(&call(&fixture, "GetAll", holder, "", b""));
    }
}

#[test]
fn no_property_of_any_class_is_left_out_of_these_tables() {
    let fixture = world();
    let known: BTreeSet<&str> = pairs(READ_ONLY)
        .into_iter()
        .chain(pairs(ONCE))
        .chain(ACCEPTED.iter().map(|(holder, property, ..)| (*holder, *property)))
        .map(|(_, property)| property)
        .collect();
    for holder in [SYSTEM, "dom0", "test-template", "test-alone", "test-vm1", "test-disp", "test-far"] {
        let list = content(&call(&fixture, "List", holder, "", b""));
        let missing: Vec<&str> = list.lines().filter(|property| !known.contains(property)).collect();
        assert!(missing.is_empty(), "{holder}: {missing:?}");
    }
}

/// A payload that the property's kind takes.
fn fitting(property: &str) -> &'static str {
    match property {
        "qid" | "dispid" | "maxmem" | "no_cpus" | "xid" | "stubdom_xid" => "5",
        "uuid" => "67e92c87-65a9-4c7f-b2d3-35c459de9eb5",
        "updateable" | "is_preload" => "True",
        _ => "x",
    }
}

#[test]
fn what_is_read_only_cannot_be_set_and_is_reset_without_effect() {
    let fixture = world();
    for (holder, property) in pairs(READ_ONLY) {
        let class = match holder {
            SYSTEM => "Qubes",
            "dom0" => "AdminVM",
            "test-far" => "RemoteVM",
            "test-disp" => "DispVM",
            _ => "AppVM",
        };
        let events = fixture.events_of(|fixture| {
            let text =
                format!("QubesPropertyValueError: property '{property}' on {class} instance cannot be set");
            assert_eq!(refused(fixture, "Set", holder, property, fitting(property).as_bytes()), text);
        });
        assert!(events.is_empty(), "{property}");
        let shown = get(&fixture, holder, property);
        let events = fixture.events_of(|fixture| reset(fixture, holder, property));
        let kinds: Vec<&str> =
            events.iter().map(|event| event.split([' ', ':']).nth(1).unwrap_or_default()).collect();
        assert_eq!(kinds, ["property-pre-reset", "property-pre-del", "property-reset", "property-del"]);
        assert_eq!(get(&fixture, holder, property), shown);
    }
}

#[test]
fn what_is_written_once_stays() {
    let fixture = world();
    for (holder, property) in pairs(ONCE) {
        let events = fixture.events_of(|fixture| {
            let text =
                format!("QubesPropertyValueError: property '{property}' is write-once and already set");
            assert_eq!(refused(fixture, "Set", holder, property, fitting(property).as_bytes()), text);
            assert_eq!(refused(fixture, "Reset", holder, property, b""), text);
        });
        assert!(events.is_empty(), "{property}");
    }
    let text = "QubesValueError: Failed to parse property value as UUID";
    assert_eq!(refused(&fixture, "Set", "test-vm1", "uuid", b"x"), text);
    let text = "QubesValueError: Failed to parse property value as int";
    assert_eq!(refused(&fixture, "Set", "test-vm1", "qid", b"x"), text);
}

#[test]
fn empty_text_stays_empty() {
    let fixture = world();
    for (holder, property) in [
        ("test-vm1", "default_user"),
        ("test-vm1", "bootmode"),
        ("test-template", "appvm_default_bootmode"),
        ("test-far", "transport_rpc"),
        ("test-far", "remote_name"),
    ] {
        set(&fixture, holder, property, "");
        assert_eq!(get(&fixture, holder, property), "default=False type=str ", "{property}");
    }
}

#[test]
fn without_a_default_kernel_everything_else_still_works() {
    let fixture = world();
    reset(&fixture, SYSTEM, "default_kernel");
    for (holder, property) in [(SYSTEM, "default_kernel"), ("test-vm1", "kernel"), ("test-vm1", "kernelopts")]
    {
        assert_eq!(get(&fixture, holder, property), "default=True type=str ", "{property}");
        assert_eq!(content(&call(&fixture, "GetDefault", holder, property, b"")), "", "{property}");
    }
    set(&fixture, "test-vm1", "maxmem", "500");
    feature(&fixture, "test-vm1", "f", "1");
    fixture.ok("admin.vm.Create.AppVM+test-template", "dom0", "name=new label=red");
    let events = fixture.events_of(|fixture| set(fixture, "test-vm1", "kernel", ""));
    let expected = [
        "test-vm1 property-pre-set:kernel name=kernel newvalue=",
        "test-vm1 property-set:kernel name=kernel newvalue=",
    ];
    assert_eq!(events, expected);
}
