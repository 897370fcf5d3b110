//! What Set says of values that a kind or a rule of the row refuses (spec 10 §3.3 to §3.7).

use super::{SYSTEM, assign_pci, get, refused, set, world};

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
