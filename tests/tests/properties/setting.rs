//! Which values Set takes and what it says of the others (spec 10 §3.3 to §3.7).

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
fn kinds_read_payloads_in_their_own_grammar() {
    let fixture = world();
    let refused_as = |property: &str, payload: &[u8], text: &str| {
        let events = fixture.events_of(|fixture| {
            let said = refused(fixture, "Set", "test-vm1", property, payload);
            assert_eq!(said, format!("QubesValueError: {text}"), "{property} {payload:?}");
        });
        assert!(events.is_empty(), "{property} {payload:?}");
    };
    for property in ["kernelopts", "memory", "debug", "ip", "ip6", "uuid", "label", "klass"] {
        refused_as(property, b"\xff", "Non-ASCII bytes in property value");
        refused_as(property, "\u{f6}".as_bytes(), "Non-ASCII bytes in property value");
    }
    for property in ["netvm", "template", "guivm"] {
        refused_as(property, b"\xff", "");
    }
    for payload in [&b"\x0b"[..], b"\x0c", b"a\rb", b"\0", b"\x1f", b"\x7f"] {
        refused_as("kernelopts", payload, "Invalid characters in property value");
        refused_as("label", payload, "Invalid characters in property value");
    }
    for payload in ["", "fourty two", "0x10", "1.5", "1__0", "_1", "1_", "--1", "9223372036854775808"] {
        refused_as("memory", payload.as_bytes(), "Failed to parse property value as int");
    }
    for payload in ["", "abcd", "10.0.0.01", "10.0.0", "10.0.0.256", "a.b.c.d", "1111.2222.3333.4444", "::1"]
    {
        refused_as("ip", payload.as_bytes(), "Failed to parse property value as IPv4Address");
    }
    for payload in ["", "fd09", "fd09::1::2", "10.0.0.1", "g::"] {
        refused_as("ip6", payload.as_bytes(), "Failed to parse property value as IPv6Address");
    }
    for (payload, shown) in
        [(" +1_000\n", "1000"), ("0007", "7"), ("\t9223372036854775807 ", "9223372036854775807")]
    {
        set(&fixture, "test-vm1", "memory", payload);
        assert_eq!(get(&fixture, "test-vm1", "memory"), format!("default=False type=int {shown}"));
    }
    for (words, shown) in [(["0", "no", "FALSE", "Off"], "False"), (["1", "YES", "true", "oN"], "True")] {
        for word in words {
            set(&fixture, "test-vm1", "debug", word);
            assert_eq!(get(&fixture, "test-vm1", "debug"), format!("default=False type=bool {shown}"));
        }
    }
}

#[test]
fn values_inside_messages_are_quoted() {
    let fixture = world();
    for (payload, shown) in [
        ("2", "'2'"),
        ("", "''"),
        (" true", "' true'"),
        ("it's", "\"it's\""),
        ("it's \"x\"", "'it\\'s \"x\"'"),
        ("\"x\"", "'\"x\"'"),
        ("\\", "'\\\\'"),
        ("\n\r\t", "'\\n\\r\\t'"),
        ("\x01\x7f", "'\\x01\\x7f'"),
        ("50%s", "'50%%s'"),
    ] {
        let text = format!("QubesValueError: Invalid literal for boolean property: {shown}");
        assert_eq!(refused(&fixture, "Set", "test-vm1", "debug", payload.as_bytes()), text);
    }
}

#[test]
fn names_of_qubes_keep_to_their_grammar_and_name_a_fitting_qube() {
    let fixture = world();
    let long = "a".repeat(32);
    let start = "QubesValueError: VM name cannot start with hyphen, underscore, dot or numbers";
    let illegal = "QubesValueError: VM name contains illegal characters";
    for (payload, text) in [
        ("forbidden-chars/../!", illegal),
        ("../x", start),
        ("1st", start),
        ("-dm", start),
        ("a b", illegal),
        ("x\n", illegal),
        (&long, "QubesValueError: VM name must be shorter than 32 characters"),
        ("none", "QubesValueError: VM name cannot be 'none' nor 'default'"),
        ("default", "QubesValueError: VM name cannot be 'none' nor 'default'"),
        ("Domain-0", "QubesValueError: VM name cannot be 'Domain-0'"),
        ("x-dm", "QubesValueError: VM name cannot end with -dm"),
    ] {
        assert_eq!(refused(&fixture, "Set", "test-vm1", "netvm", payload.as_bytes()), text, "{payload}");
    }
    let longest = "a".repeat(31);
    for (holder, property) in
        [("test-vm1", "netvm"), ("test-vm1", "template"), (SYSTEM, "clockvm"), ("test-far", "relayvm")]
    {
        let said = refused(&fixture, "Set", holder, property, longest.as_bytes());
        let text = format!("QubesPropertyValueError: Can't set {property} to non-existing qube {longest}");
        assert_eq!(said, text);
        let said = refused(&fixture, "Set", holder, property, b"test-far");
        let needed = if property == "template" { "TemplateVM" } else { "LocalVM" };
        let text = format!(
            "QubesPropertyValueError: wrong VM class: domains['test-far'] is of type RemoteVM and not {needed}"
        );
        assert_eq!(said, text);
    }
    for holder in ["test-vm1", "test-disp"] {
        let text = format!("QubesPropertyValueError: Invalid value None for property 'template' of {holder}");
        assert_eq!(refused(&fixture, "Set", holder, "template", b""), text);
    }
    for (holder, property) in [(SYSTEM, "default_template"), ("test-vm1", "template")] {
        let text = "QubesPropertyValueError: wrong VM class: domains['test-net'] is of type AppVM and not TemplateVM";
        assert_eq!(refused(&fixture, "Set", holder, property, b"test-net"), text);
    }
}

const USER: &str = "Username can contain only those characters: \
    abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+,.";
const CODES: &str = "Interface code list should be in the form chhhhhhchhhhhh...,where c is one of \"b\", \"u\", \
    \"m\", \"p\", \"*\" and h is a hexdigit or \"*\".";

/// Holder, property, payload, and the text of a `QubesPropertyValueError` that comes without an event.
const REFUSED: &[(&str, &str, &str, &str)] = &[
    ("test-vm1", "default_user", "a b", USER),
    ("test-vm1", "default_user", "a/b", USER),
    ("test-vm1", "devices_denied", "x******", CODES),
    ("test-vm1", "devices_denied", "u00000A", CODES),
    ("dom0", "devices_denied", "b******b*****g", CODES),
    ("test-vm1", "mac", "", "Invalid MAC address value"),
    ("test-vm1", "mac", "invalid", "Invalid MAC address value"),
    ("test-vm1", "mac", "00:16:3e:5e:6c", "Invalid MAC address value"),
    ("test-vm1", "mac", "00:16:3e:5e:6c:00:00", "Invalid MAC address value"),
    ("test-vm1", "mac", "00:16:3e:5e:6c:0g", "Invalid MAC address value"),
    ("test-vm1", "mac", "00-16-3e-5e-6c-00", "Invalid MAC address value"),
    ("test-vm1", "keyboard_layout", "fr", "invalid number of keyboard layout parameters"),
    ("test-vm1", "keyboard_layout", "fr+++", "invalid number of keyboard layout parameters"),
    ("test-vm1", "keyboard_layout", "", "invalid number of keyboard layout parameters"),
    ("test-vm1", "keyboard_layout", "++", "Invalid keyboard layout provided"),
    ("dom0", "keyboard_layout", "fr123++", "Invalid keyboard layout provided"),
    ("test-vm1", "keyboard_layout", "fr+???+", "Invalid layout variant provided"),
    ("test-vm1", "keyboard_layout", "fr++variant?", "Invalid layout options provided"),
    ("test-vm1", "virt_mode", "", "Invalid virtualization mode, supported values: hvm, pv, pvh"),
    ("test-vm1", "virt_mode", "True", "Invalid virtualization mode, supported values: hvm, pv, pvh"),
    ("test-vm1", "memory", "0", "memory must be positive"),
    ("test-vm1", "memory", "-100", "memory must be positive"),
    ("test-vm1", "maxmem", "-1", "maxmem must be positive or zero"),
    ("test-vm1", "stubdom_mem", "0", "stubdom_mem must be positive"),
    ("test-vm1", "vcpus", "0", "vcpus must be positive"),
    ("test-vm1", "vcpus", "-2", "vcpus must be positive"),
    ("test-vm1", "qrexec_timeout", "0", "qrexec_timeout must be positive"),
    ("test-vm1", "shutdown_timeout", "-2", "shutdown_timeout must be positive"),
    ("test-vm1", "kernel", "a/b", "Kernel name cannot contain '/'"),
    ("test-disp", "template", "test-vm1", "template for disposable must have template_for_dispvms=True"),
    ("test-disp", "template", "test-template", "template for disposable must have template_for_dispvms=True"),
    (SYSTEM, "default_qrexec_timeout", "0", "default_qrexec_timeout must be positive"),
    (SYSTEM, "default_shutdown_timeout", "-1", "default_shutdown_timeout must be positive"),
    (SYSTEM, "stats_interval", "0", "stats_interval must be positive"),
    (SYSTEM, "default_pool", "nope", "No such storage pool"),
    (SYSTEM, "default_pool", "", "No such storage pool"),
    (SYSTEM, "default_pool_kernel", "nope", "No such storage pool"),
    (SYSTEM, "default_pool_private", "nope", "No such storage pool"),
    (SYSTEM, "default_pool_root", "nope", "No such storage pool"),
    (SYSTEM, "default_pool_volatile", "nope", "No such storage pool"),
    (
        "test-vm1",
        "default_dispvm",
        "test-net",
        "Cannot set invalid property to qube 'test-vm1', default_dispvm 'test-net' has template_for_dispvms set to \
         False",
    ),
    (
        "dom0",
        "default_dispvm",
        "test-template",
        "Cannot set invalid property to qube 'dom0', default_dispvm 'test-template' has template_for_dispvms set to \
         False",
    ),
    (
        "test-vm1",
        "management_dispvm",
        "dom0",
        "Cannot set invalid property to qube 'test-vm1', management_dispvm 'dom0' has template_for_dispvms set to \
         False",
    ),
    (
        SYSTEM,
        "default_dispvm",
        "test-net",
        "Cannot set invalid property to system, default_dispvm 'test-net' has template_for_dispvms set to False",
    ),
    (
        SYSTEM,
        "management_dispvm",
        "test-vm1",
        "Cannot set invalid property to system, management_dispvm 'test-vm1' has template_for_dispvms set to False",
    ),
];

#[test]
fn values_against_a_rule_of_the_row_are_refused_without_an_event() {
    let fixture = world();
    let events = fixture.events_of(|fixture| {
        for (holder, property, payload, text) in REFUSED {
            let said = refused(fixture, "Set", holder, property, payload.as_bytes());
            assert_eq!(said, format!("QubesPropertyValueError: {text}"), "{holder} {property} {payload}");
        }
        let long = "x".repeat(513);
        let text = "QubesPropertyValueError: Kernelopts value too long (512 chars max)";
        assert_eq!(refused(fixture, "Set", "test-vm1", "kernelopts", long.as_bytes()), text);
        let text = "QubesValueError: Invalid length of interfaces='b*****' (is 6, expected multiple of 7)";
        assert_eq!(refused(fixture, "Set", "test-vm1", "devices_denied", b"b*****"), text);
    });
    assert!(events.is_empty(), "{events:?}");
    set(&fixture, "test-vm1", "kernelopts", &"x".repeat(512));
}

#[test]
fn a_label_is_found_by_name_or_number_and_never_reset() {
    let fixture = world();
    for (payload, text) in [
        ("nope", "nope"),
        ("9", "9"),
        ("0", "0"),
        ("label-9", "9"),
        ("label-x", "x"),
        ("label-", ""),
        ("", ""),
        ("50%s", "50%%s"),
        ("RED", "RED"),
    ] {
        let text = format!("QubesLabelNotFoundError: Label does not exist: {text}");
        for holder in ["test-vm1", "dom0", "test-far"] {
            assert_eq!(refused(&fixture, "Set", holder, "label", payload.as_bytes()), text, "{payload}");
        }
    }
    for holder in ["test-vm1", "dom0", "test-far"] {
        let events = fixture.events_of(|fixture| {
            let text = "QubesPropertyValueError: property 'label' cannot be reset";
            assert_eq!(refused(fixture, "Reset", holder, "label", b""), text);
        });
        assert!(events.is_empty());
    }
}

#[test]
fn a_kernel_must_be_installed_and_listeners_see_the_attempt() {
    let fixture = world();
    std::fs::create_dir(fixture.path("/var/lib/qubes/vm-kernels/half")).unwrap();
    for (holder, property, subject) in [("test-vm1", "kernel", "test-vm1"), (SYSTEM, "default_kernel", "")] {
        for (payload, text) in [
            ("2.0", "Kernel '2.0' not installed"),
            ("half", "Kernel 'half' not properly installed: missing 'vmlinuz' file"),
        ] {
            let events = fixture.events_of(|fixture| {
                let said = refused(fixture, "Set", holder, property, payload.as_bytes());
                assert_eq!(said, format!("QubesPropertyValueError: {text}"));
            });
            let pre = format!(
                "{subject} property-pre-set:{property} name={property} newvalue={payload} oldvalue=1.0"
            );
            assert_eq!(events, [pre]);
        }
    }
    let said = refused(&fixture, "Set", SYSTEM, "default_kernel", b"a/b");
    assert_eq!(said, "QubesPropertyValueError: Kernel 'a/b' not installed");
}

#[test]
fn a_pci_device_rules_pvh_out() {
    let fixture = world();
    assign_pci(&fixture, "test-vm1");
    let text = "QubesPropertyValueError: pvh mode can't be set if pci devices are assigned";
    assert_eq!(refused(&fixture, "Set", "test-vm1", "virt_mode", b"pvh"), text);
    set(&fixture, "test-vm1", "virt_mode", "pv");
}

/// Assigns a PCI device of dom0 as the store keeps it.
pub(super) fn assign_pci(fixture: &tests::Fixture, qube: &str) {
    let text = str::to_owned;
    fixture.edit(qube, |qube| {
        qube.devices.push(common::model::Device {
            class: text("pci"),
            backend: text("dom0"),
            id: text("00_14.0"),
            mode: text("required"),
            identity: text("*"),
            options: Vec::new(),
        });
    });
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
