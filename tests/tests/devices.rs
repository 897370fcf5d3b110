//! `admin.deviceclass.List` and `admin.vm.device.*`: which devices there are, and which qubes shall use them (spec 30 §1 to
//! §4, §7).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::indexing_slicing, reason = "test code")]

use tests::Fixture;
use tests::companions::{database, entries};
use tests::golden;
use tests::stepped::from_file;

const ASSIGN: &str = "admin.vm.device.block.Assign+";
const UNASSIGN: &str = "admin.vm.device.block.Unassign+";
const ASSIGNED: &str = "admin.vm.device.block.Assigned";
const AVAILABLE: &str = "admin.vm.device.block.Available";
const SET: &str = "admin.vm.device.block.Set.assignment+";

/// A call of class `block` with a device as its argument.
fn on(call: &str, device: &str) -> String {
    format!("{call}{device}")
}

/// Puts the part of dom0 there that a class belongs to.
fn with_part(fixture: &Fixture, part: &str) {
    std::fs::create_dir_all(fixture.path("/usr/lib/python3.11/site-packages").join(part)).unwrap();
}

#[test]
fn classes_are_there_with_the_part_that_they_belong_to() {
    let fixture = Fixture::new();
    assert_eq!(fixture.ok("admin.deviceclass.List", "dom0", ""), "block\npci\n");
    assert_eq!(fixture.ok("admin.deviceclass.List+pci", "dom0", ""), "pci\n");
    assert_eq!(
        fixture.refused("admin.deviceclass.List+usb", "dom0", ""),
        "PermissionDenied: Argument not in 'device classes'"
    );
    let call = "admin.vm.device.usb.Assign+dom0+1-1";
    let unknown = "ProtocolError: no such method: 'admin.vm.device.usb.Assign'";
    assert_eq!(fixture.refused(call, "test-vm1", "mode='required'"), unknown);
    for part in ["qubesusbproxy", "qubesguidaemon", "qvc"] {
        with_part(&fixture, part);
    }
    assert_eq!(fixture.ok("admin.deviceclass.List", "dom0", ""), "block\nmic\npci\nusb\nwebcam\n");
    assert_eq!(fixture.ok(call, "test-vm1", "mode='required'"), "");
    assert_eq!(
        fixture.refused("admin.vm.device.testclass.Available", "test-vm1", ""),
        "ProtocolError: no such method: 'admin.vm.device.testclass.Available'"
    );
}

#[test]
fn arguments_name_devices_in_many_ways() {
    for (class, argument, device) in [
        ("block", "dom0+sda", "dom0:sda:*"),
        ("block", "dom0+sda+", "dom0:sda:*"),
        ("block", "dom0+sda+_", "dom0:sda:*"),
        ("block", "dom0+sda+*", "dom0:sda:*"),
        ("block", "dom0+_", "dom0:*:*"),
        ("block", "dom0+*+*", "dom0:*:*"),
        ("block", "_+sda+dead", "*:sda:dead"),
        ("block", "dom0+sda1+_______", "dom0:sda1:?******"),
        ("block", "dom0+sda1+______", "dom0:sda1:______"),
        ("block", "dom0+", "dom0::*"),
        ("block", "dom0++_______", "dom0::?******"),
        ("block", "dom0+it's+x", "dom0:it's:x"),
        ("pci", "dom0+00_14.0+0x8086+0x8cb1++p0c0330", "dom0:00_14.0:0x8086:0x8cb1::p0c0330"),
        ("pci", "dom0+00_14.0+0x8086:0x8cb1::p0c0330", "dom0:00_14.0:0x8086:0x8cb1::p0c0330"),
        ("pci", "dom0+sda", "dom0:sda:*"),
        ("pci", "test-net+0001_c0_03.5-00_00.0+dead", "test-net:0001_c0_03.5-00_00.0:dead"),
    ] {
        let fixture = Fixture::new();
        let call = format!("admin.vm.device.{class}.Assign+{argument}");
        let events = fixture.events_of(|fixture| drop(fixture.ok(&call, "test-vm1", "mode='required'")));
        let told = |kind: &str| format!("test-vm1 {kind}:{class} device={device} options={{}}");
        assert_eq!(events, [told("device-pre-assign"), told("device-assign")], "{argument}");
        let assigned = fixture.ok(&format!("admin.vm.device.{class}.Assigned"), "test-vm1", "");
        let key = device.replacen(':', "+", 1);
        assert!(assigned.starts_with(&format!("{key} ")), "{argument}: {assigned}");
        let call = format!("admin.vm.device.{class}.Unassign+{argument}");
        assert_eq!(fixture.ok(&call, "test-vm1", ""), "", "{argument}");
    }
}

#[test]
fn what_names_no_device_is_refused_before_anything_is_looked_up() {
    const STRANGE: &str = "ProtocolError: a device has invalid characters or is too long";
    let fixture = Fixture::new();
    let long = "x".repeat(1100);
    for (argument, refusal) in [
        ("dom0+a\nb", STRANGE),
        ("dom0+sda+x\n", STRANGE),
        ("dom0+sda=", STRANGE),
        (&format!("dom0+{long}"), STRANGE),
        (&format!("dom0+sda+{long}"), STRANGE),
        ("nosuch+sda", "QubesVMNotFoundError: No such domain: 'nosuch'"),
        ("../x+sda", "QubesVMNotFoundError: No such domain: '../x'"),
    ] {
        for (call, payload) in [(ASSIGN, "mode='required'"), (UNASSIGN, ""), (SET, "required")] {
            assert_eq!(fixture.refused(&on(call, argument), "test-vm1", payload), refusal, "{argument}");
        }
    }
    for argument in ["dom0", "nosuch"] {
        for (call, payload) in [(ASSIGN, "mode='required'"), (UNASSIGN, ""), (SET, "required")] {
            fixture.dropped(&on(call, argument), "test-vm1", payload);
        }
    }
    for argument in ["dom0+sda+0x8086+0x8cb1++p0c0330", "test-vm1+sda1+bad", "dom0++bad", "dom0+sda+_______"]
    {
        for (call, payload) in
            [("Assign", "mode='required'"), ("Unassign", ""), ("Attach", ""), ("Detach", "")]
        {
            fixture.dropped(&format!("admin.vm.device.pci.{call}+{argument}"), "test-vm1", payload);
        }
    }
    assert!(fixture.qube("test-vm1").devices.is_empty());
}

#[test]
fn assignments_say_what_they_are_about_and_how() {
    let cannot = |what: &str| format!("ProtocolError: {what}");
    let unexpected = |key: &str| {
        cannot(&format!("DeviceAssignment.__init__() got an unexpected keyword argument '{key}'"))
    };
    let fixture = Fixture::new();
    let events = fixture.events_of(|fixture| {
        for (payload, refusal) in [
            ("", cannot("expected payload")),
            ("x='1'", unexpected("x")),
            ("garbage", unexpected("garbage")),
            ("mode=required", cannot("Invalid chars in property name: {'='}")),
            ("persistent=yes", cannot("Invalid chars in property name: {'='}")),
            ("mo de='required'", cannot("Invalid chars in property name: {' '}")),
            ("mode='bogus'", cannot("'bogus' is not a valid AssignmentMode")),
            ("mode='it\\'s'", cannot("\"it's\" is not a valid AssignmentMode")),
            ("mode='manual'", cannot("Only auto-attachable devices can be assigned.")),
            ("_read-only='yes'", cannot("Only auto-attachable devices can be assigned.")),
            ("_='x' mode='required'", cannot("Empty option name")),
            ("='x'", cannot("Empty property name")),
            ("_o='\0' mode='required'", cannot("Invalid chars in property value: {'\\x00'}")),
            ("_o='a\nb' mode='required'", cannot("Invalid chars in property value: {'\\n'}")),
            ("_o='x=' mode='required'", cannot("A property value has no end")),
            ("mode='required' _o='x='", cannot("A property value has no end")),
            (
                "backend_domain='other' mode='required'",
                cannot("Got device exposed by otherwhen expected devices from dom0."),
            ),
            ("port_id='sdb' mode='required'", cannot("Got device from port: sdb when expected port: sda.")),
            ("devclass='pci' mode='required'", cannot("Got pci device when expected block.")),
            ("device_id='a b' mode='required'", cannot("Unrecognized device identity 'a b' expected '*'")),
            ("backend_domain='x' y='1' mode='bogus'", unexpected("y")),
        ] {
            let refused = fixture.refused(&on(ASSIGN, "dom0+sda+_"), "test-vm1", payload);
            assert_eq!(refused, refusal, "{payload:?}");
        }
        let undecoded = fixture.call(&on(ASSIGN, "dom0+sda+_"), "test-vm1", b"mode='requ\xc3\xa9red'");
        let text = "'ascii' codec can't decode byte 0xc3 in position 10: ordinal not in range(128)";
        assert_eq!(tests::fixture::refusal(&undecoded), cannot(text));
        let other = fixture.refused(&on(ASSIGN, "dom0+sda+dead"), "test-vm1", "device_id='beef'");
        assert_eq!(other, cannot("Unrecognized device identity 'beef' expected 'dead'"));
    });
    assert_eq!(events, [""; 0], "a refused Assign is told to nobody");
    assert!(fixture.qube("test-vm1").devices.is_empty());
}

#[test]
fn what_is_assigned_is_told_as_it_was_asked_for() {
    let fixture = Fixture::new();
    for (argument, payload, line) in [
        (
            "dom0+sda+_",
            " mode='required' _read-only='yes' _x='it\\'s' _read-only='no' frontend_domain='nobody' ",
            "dom0+sda:* device_id='*' port_id='sda' devclass='block' backend_domain='dom0' mode='required' \
            _read-only='no' _x='it\\'s'",
        ),
        (
            "dom0+sdb+_",
            "device_id='dead:beef' mode='ask-to-attach'",
            "dom0+sdb:dead:beef device_id='dead:beef' port_id='sdb' devclass='block' backend_domain='dom0' \
            mode='ask-to-attach'",
        ),
        (
            "dom0+sdc",
            "required='no' attach_automatically='yes'",
            "dom0+sdc:* device_id='*' port_id='sdc' devclass='block' backend_domain='dom0' mode='auto-attach'",
        ),
        (
            "_+sdd",
            "required='yes' attach_automatically='yes'",
            "*+sdd:* device_id='*' port_id='sdd' devclass='block' backend_domain='*' mode='required'",
        ),
    ] {
        fixture.ok(&on(ASSIGN, argument), "test-vm1", payload);
        let port = argument.split('+').take(2).collect::<Vec<_>>().join("+").replace('_', "*");
        assert_eq!(fixture.ok(&format!("{ASSIGNED}+{port}"), "test-vm1", ""), format!("{line}\n"));
    }
    let keys = |list: String| -> Vec<String> {
        list.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    let listed = keys(fixture.ok(ASSIGNED, "test-vm1", ""));
    assert_eq!(listed, ["*+sdd:*", "dom0+sda:*", "dom0+sdb:dead:beef", "dom0+sdc:*"]);
    assert_eq!(
        fixture.ok("admin.vm.device.block.List", "test-vm1", ""),
        "*+sdd persistent=yes\ndom0+sda read-only=no x=it's persistent=yes\ndom0+sdb persistent=yes\n\
        dom0+sdc persistent=yes\n"
    );
    assert_eq!(fixture.ok("admin.vm.device.pci.Assigned", "test-vm1", ""), "");
    assert_eq!(fixture.ok(&format!("{ASSIGNED}+nosuch+sda"), "test-vm1", ""), "");
    fixture.dropped(&format!("{ASSIGNED}+nonsense"), "test-vm1", "");
}

#[test]
fn several_assignments_may_be_about_one_port() {
    let fixture = Fixture::new();
    for argument in ["dom0+sda+dead", "dom0+sda+_", "_+_+dead", "dom0+_+dead"] {
        fixture.ok(&on(ASSIGN, argument), "test-vm1", "mode='auto-attach'");
        let again = fixture.refused(&on(ASSIGN, argument), "test-vm1", "mode='manual'");
        assert!(again.contains("already assigned to test-vm1'"), "{again}");
    }
    let refused = fixture.refused(&format!("{ASSIGNED}+dom0+sda"), "test-vm1", "");
    assert_eq!(refused, "DeviceNotFound: ");
    let events = fixture.events_of(|fixture| drop(fixture.ok(&on(UNASSIGN, "dom0+sda"), "test-vm1", "")));
    assert_eq!(events, ["test-vm1 device-unassign:block device=dom0:sda:*"]);
    assert_eq!(
        fixture.refused(&on(UNASSIGN, "dom0+sda"), "test-vm1", ""),
        "DeviceNotAssigned: 'block device dom0:sda:* not assigned to test-vm1'"
    );
    assert_eq!(fixture.qube("test-vm1").devices.len(), 3);
}

#[test]
fn the_mode_of_an_assignment_changes_alone() {
    let fixture = Fixture::new();
    fixture.ok(&on(ASSIGN, "dom0+sda"), "test-vm1", "mode='required' _o='x'");
    let set = |payload: &str| {
        fixture.events_of(|fixture| drop(fixture.ok(&on(SET, "dom0+sda"), "test-vm1", payload)))
    };
    let changed = [
        "test-vm1 device-pre-assign:block device=dom0:sda:* options={'o': 'x'}",
        "test-vm1 device-assignment-changed:block device=dom0:sda:*",
    ];
    assert_eq!(set("auto-attach"), changed);
    assert_eq!(set("auto-attach"), [""; 0], "the mode that it has already");
    assert_eq!(set("ask-to-attach"), changed);
    let required = "admin.vm.device.block.Set.required+dom0+sda";
    for (payload, mode) in [("True", "required"), ("False", "auto-attach")] {
        fixture.ok(required, "test-vm1", payload);
        let listed = fixture.ok(ASSIGNED, "test-vm1", "");
        assert!(listed.contains(&format!("mode='{mode}' _o='x'")), "{listed}");
    }
    let invalid = "QubesUnrecognizedDeviceAssignmentMode: Invalid assignment mode";
    for payload in ["manual", "bogus", "required ", "True", "REQUIRED", "requ\0ired"] {
        assert_eq!(fixture.refused(&on(SET, "nosuch+sda"), "test-vm1", payload), invalid, "{payload:?}");
    }
    assert_eq!(fixture.refused(required, "test-vm1", "required"), invalid);
    assert_eq!(
        fixture.refused(&on(SET, "dom0+sdb"), "test-vm1", "required"),
        "QubesValueError: Device dom0:sdb:* not assigned to test-vm1"
    );
}

#[test]
fn a_remote_qube_has_no_devices() {
    let fixture = Fixture::new();
    fixture.ok("admin.vm.Create.RemoteVM", "dom0", "name=far label=red");
    for list in ["Available", "Assigned", "Attached", "List"] {
        assert_eq!(fixture.ok(&format!("admin.vm.device.block.{list}"), "far", ""), "", "{list}");
    }
    let refused = "QubesException: This qube doesn't support devices";
    for (call, payload) in [(ASSIGN, "mode='required'"), (UNASSIGN, ""), (SET, "required")] {
        assert_eq!(fixture.refused(&on(call, "dom0+sda"), "far", payload), refused, "{call}");
        assert!(fixture.refused(&on(call, "nosuch+sda"), "far", payload).starts_with("QubesVMNotFound"));
    }
    let wrong_port = "admin.vm.device.pci.Assign+dom0+sda+bad";
    fixture.dropped(wrong_port, "far", "mode='required'");
    for (call, payload) in [("List", ""), ("Add", "u08****"), ("Remove", "all")] {
        fixture.dropped(&format!("admin.vm.device.denied.{call}"), "far", payload);
    }
}

#[test]
fn the_provider_of_an_assigned_device_stays() {
    let fixture = Fixture::new();
    fixture.ok(&on(ASSIGN, "test-vm1+sda"), "test-net", "mode='auto-attach'");
    let refused = fixture.refused("admin.vm.Remove", "test-vm1", "");
    assert_eq!(refused, "QubesVMInUseError: VM has devices assigned to other VMs: test-vm1:sda");
    fixture.ok(&on(UNASSIGN, "test-vm1+sda"), "test-net", "");
    fixture.ok("admin.vm.Remove", "test-vm1", "");
    let refused = fixture.refused(&on(ASSIGN, "test-vm1+sda"), "test-net", "mode='auto-attach'");
    assert_eq!(refused, "QubesVMNotFoundError: No such domain: 'test-vm1'");
}

#[test]
fn kinds_of_devices_are_denied_and_allowed_again() {
    let fixture = Fixture::new();
    let list = || fixture.ok("admin.vm.device.denied.List", "test-vm1", "");
    let add = |payload: &str| fixture.ok("admin.vm.device.denied.Add", "test-vm1", payload);
    let remove = |payload: &str| fixture.ok("admin.vm.device.denied.Remove", "test-vm1", payload);
    add("p012345b******p53**2*");
    add("uabcdefm******");
    assert_eq!(list(), "b******\nm******\np012345\np53**2*\nuabcdef");
    add("");
    add("b******");
    remove("u000000");
    remove("u000000b******");
    remove("");
    assert_eq!(list(), "m******\np012345\np53**2*\nuabcdef");
    for call in ["Add", "Remove"] {
        let refused =
            |payload: &str| fixture.refused(&format!("admin.vm.device.denied.{call}"), "test-vm1", payload);
        assert_eq!(refused("u08****u08****"), "ProtocolError: Duplicated device interfaces in payload.");
        assert_eq!(
            refused("it's"),
            "QubesValueError: Invalid length of interfaces=\"it's\" (is 4, expected multiple of 7)"
        );
        let call = format!("admin.vm.device.denied.{call}");
        let refused = tests::fixture::refusal(&fixture.call(&call, "test-vm1", b"u08***\xc3\xa9"));
        assert_eq!(refused, "ProtocolError: Device interface contains non-ASCII characters");
    }
    let events = fixture.events_of(|fixture| {
        for bad in ["zzzzzzz", "B******", "u08***\n", "u08***g"] {
            let refused = fixture.refused("admin.vm.device.denied.Add", "test-vm1", bad);
            assert!(refused.starts_with("QubesPropertyValueError: Interface code list should"), "{bad:?}");
        }
        assert!(fixture.refused("admin.vm.device.denied.Add", "test-vm1", "all").contains("(is 3,"));
    });
    assert_eq!(events, [""; 0]);
    remove("all");
    assert_eq!(list(), "");
    assert_eq!(fixture.ok("admin.vm.property.Get+devices_denied", "test-vm1", ""), "default=False type=str ");
}

#[test]
fn dom0_shows_what_it_does_not_use_itself() {
    let fixture = Fixture::new();
    golden::devices(&fixture);
    let keys = || -> Vec<String> {
        let list = fixture.ok(AVAILABLE, "dom0", "");
        list.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    assert_eq!(keys(), ["sda1::None:1", "sda::None", "sr0::0"]);
    let put = |path: &str, text: &str| {
        let path = fixture.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    put("/sys/class/block/sr0/size", "0\n");
    assert_eq!(keys(), ["sda1::None:1", "sda::None"], "an empty drive");
    put("/proc/self/mountinfo", "26 1 8:1 / /boot rw - ext4 /dev/sda1 rw\n");
    assert_eq!(keys(), [""; 0], "a mounted partition, and the disk that it is on");
    put("/proc/self/mountinfo", "");
    put("/proc/swaps", "Filename Type Size Used Priority\n/dev/sda1 partition 1 0 -2\n");
    assert_eq!(keys(), [""; 0], "swapped to");
    put("/proc/swaps", "");
    put("/sys/class/block/sda1/holders/dm-0/dev", "253:0");
    assert_eq!(keys(), [""; 0], "a part of another device");
    for (name, file, text) in [
        ("dm-0", "dm/name", "luks-home\n"),
        ("dm-1", "dm/name", "snapshot-1:2\n"),
        ("dm-2", "dm/name", "origin-1:2\n"),
        ("loop0", "loop/backing_file", "/home/user/disk.img\n"),
        ("loop1", "loop/backing_file", "/var/lib/qubes/appvms/work/private.img\n"),
        ("loop2", "size", "0\n"),
        ("xvda", "size", "8\n"),
        ("zram0", "size", "8\n"),
        ("UPPER", "size", "8\n"),
    ] {
        put(&format!("/sys/class/block/{name}/size"), "8\n");
        put(&format!("/sys/class/block/{name}/{file}"), text);
    }
    put("/var/lib/qubes/.qubes-exclude-block-devices", "");
    assert_eq!(keys(), ["dm-0::0", "loop0::0"]);
    put("/proc/self/mountinfo", "26 1 0:24 / / rw shared:1 - btrfs /dev/mapper/luks-home rw\n");
    assert_eq!(keys(), ["loop0::0"], "mounted, under a number that is no device's");
    put("/proc/self/mountinfo", "26 1 0:24 / / rw - btrfs /dev/sdx rw\n");
    put("/sys/fs/btrfs/01/devices/dm-0/size", "8\n");
    assert_eq!(keys(), ["loop0::0"], "another device of a file system");
    std::fs::remove_dir_all(fixture.path("/sys/fs/btrfs")).unwrap();
    put("/dev/dm-0", "");
    std::fs::create_dir(fixture.path("/dev/disk")).unwrap();
    std::os::unix::fs::symlink("../dm-0", fixture.path("/dev/disk/root")).unwrap();
    put("/proc/self/mountinfo", "26 1 0:24 / / rw - btrfs /dev/disk/root rw\n");
    assert_eq!(keys(), ["loop0::0"], "mounted by a link");
    put("/proc/self/mountinfo", "");
    let told = fixture.ok(&format!("{AVAILABLE}+loop0"), "dom0", "");
    assert!(told.contains(" serial='/home/user/disk.img' interfaces='b******'\n"), "{told}");
}

#[test]
fn volumes_of_qubes_are_nobodys_devices() {
    let fixture = Fixture::new();
    std::fs::create_dir_all(fixture.path("/images")).unwrap();
    fixture.ok("admin.pool.Add+file-reflink", "dom0", "name=more\ndir_path=/images\nsetup_check=no\n");
    for (name, file, text) in [
        ("dm-0", "dm/uuid", "CRYPT-LUKS2-0123-home\n"),
        ("dm-1", "dm/uuid", "LVM-abcdef\n"),
        ("loop0", "loop/backing_file", "/home/user/disk.img\n"),
        ("loop1", "loop/backing_file", "/images/appvms/work/private.img\n"),
        ("loop2", "loop/backing_file", "/images/appvms/work/private.img (deleted)\n"),
        ("zd16", "size", "8\n"),
    ] {
        for (file, text) in [("size", "8\n"), (file, text)] {
            let path = fixture.path(&format!("/sys/class/block/{name}/{file}"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }
    let list = fixture.ok(AVAILABLE, "dom0", "");
    let ports: Vec<&str> = list.lines().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(ports, ["dm-0", "loop0"]);
}

#[test]
fn disks_with_a_partition_that_a_qube_has_are_not_free() {
    let fixture = Fixture::new();
    golden::devices(&fixture);
    let ports = || -> Vec<String> {
        let list = fixture.ok(AVAILABLE, "dom0", "");
        list.lines().map(|line| line.split(':').next().unwrap().to_owned()).collect()
    };
    let mapping = fixture.path("/sys/class/block/dm-0/dm/name");
    std::fs::create_dir_all(mapping.parent().unwrap()).unwrap();
    std::fs::write(mapping, "luks-home\n").unwrap();
    std::fs::write(fixture.path("/sys/class/block/dm-0/size"), "8\n").unwrap();
    assert_eq!(ports(), ["dm-0", "sda1", "sda", "sr0"]);
    for (disk, free) in [
        ("/dev/sda1", &["dm-0", "sda1", "sr0"][..]),
        ("/dev/sda", &["dm-0", "sda1", "sda", "sr0"]),
        ("/dev/mapper/luks-home", &["sda1", "sda", "sr0"]),
    ] {
        let devices = format!(r#"{{"disks": [{{"path": "{disk}", "target": "xvdi", "rw": true}}]}}"#);
        let domain = serde_json::json!({
            "state": "Running", "domid": 7, "start_time_us": 1, "memory_kib": 1, "cpu_time_ns": 5,
            "devices": devices,
        });
        let _domain = fixture.published("test-vm1", &domain.to_string());
        assert_eq!(ports(), free, "{disk}");
    }
}

#[test]
fn devices_behind_bridges_are_named_by_the_way_to_them() {
    let fixture = Fixture::new();
    let bridge = fixture.path("/sys/devices/pci0000:c0/0000:c0:03.5");
    let device = bridge.join("0000:c6:00.0");
    std::fs::create_dir_all(&device).unwrap();
    std::fs::write(bridge.join("secondary_bus_number"), "198\n").unwrap();
    for (folder, class) in [(&bridge, "0x060400\n"), (&device, "0x010802\n")] {
        for (file, text) in [("vendor", "0x1234\n"), ("device", "0xABCD\n"), ("class", class)] {
            std::fs::write(folder.join(file), text).unwrap();
        }
    }
    let bus = fixture.path("/sys/bus/pci/devices");
    std::fs::create_dir_all(bus.join("10000:00:00.0")).unwrap();
    let link = |name: &str, to: &str| {
        std::os::unix::fs::symlink(format!("../../../devices/pci0000:c0/{to}"), bus.join(name)).unwrap();
    };
    link("0000:c0:03.5", "0000:c0:03.5");
    link("0000:c6:00.0", "0000:c0:03.5/0000:c6:00.0");
    assert_eq!(
        fixture.ok("admin.vm.device.pci.Available", "dom0", ""),
        "c0_03.5-00_00.0:0x1234:0xabcd::p010802 device_id='0x1234:0xabcd::p010802' port_id='c0_03.5-00_00.0' \
        devclass='pci' backend_domain='dom0' interfaces='p010802' _sbdf='0000:c6:00.0'\n\
        c0_03.5:0x1234:0xabcd::p060400 device_id='0x1234:0xabcd::p060400' port_id='c0_03.5' devclass='pci' \
        backend_domain='dom0' interfaces='p060400' _sbdf='0000:c0:03.5'\n"
    );
    assert_eq!(fixture.ok("admin.vm.device.pci.Available", "test-vm1", ""), "");
}

#[test]
fn guests_show_their_disks_in_their_qubesdb() {
    let fixture = Fixture::new();
    let _domain = fixture.domain("test-net", "Running");
    let told: [(&str, &[u8]); 15] = [
        ("/qubes-block-devices", b""),
        ("/qubes-block-devices/sda", b""),
        ("/qubes-block-devices/sda/desc", b"Evil_ (it's<>a='b' \xc3\xa9\x1b[31m)"),
        ("/qubes-block-devices/sda/mode", b"w"),
        ("/qubes-block-devices/sda/size", b"1024000"),
        ("/qubes-block-devices/sda/parent", b"1-1.1:1.0"),
        ("/qubes-block-devices/sda1/mode", b"x"),
        ("/qubes-block-devices/sda1/parent", b"sda"),
        ("/qubes-block-devices/a/parent", b"b"),
        ("/qubes-block-devices/b/parent", b"a"),
        ("/qubes-block-devices/UP/mode", b"w"),
        ("/qubes-block-devices/a b/mode", b"w"),
        ("/qubes-block-devices/mapper_x/mode", b"w"),
        ("/qubes-block-devices/n'ame/mode", b"w"),
        ("/qubes-block-devices/far-too-long-a-name/mode", b"w"),
    ];
    database(&fixture, "test-net", entries(&told));
    let list = fixture.ok(AVAILABLE, "test-net", "");
    let keys: Vec<&str> = list.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(keys[2..], ["sda1:0000:0000::?******:1.0:1", "sda:0000:0000::?******:1.0"]);
    assert_eq!(
        list.lines().last().unwrap(),
        "sda:0000:0000::?******:1.0 device_id='0000:0000::?******:1.0' port_id='sda' devclass='block' \
        backend_domain='test-net' manufacturer='sub-device of test-net:1-1.1' name='it s  a= b    31m' \
        serial='Evil' interfaces='b******' parent_port_id='1-1.1' parent_devclass='usb'"
    );
    assert_eq!(fixture.ok(AVAILABLE, "test-vm1", ""), "", "one that does not run shows nothing");
    let mut request = from_file(&fixture, AVAILABLE, "test-net");
    let logged = String::from_utf8(request.output().unwrap().stderr).unwrap();
    assert_eq!(
        logged,
        "qubes-admin: test-net: 5 block devices with a name that contains unsafe characters\n\
        qubes-admin: test-net: 1 block devices with an invalid mode\n"
    );
}

#[test]
fn a_qubesdb_that_answers_nonsense_shows_no_devices_and_holds_nobody_up() {
    let fixture = Fixture::new();
    let _domain = fixture.domain("test-net", "Running");
    assert_eq!(fixture.ok(AVAILABLE, "test-net", ""), "", "no database");
    let good = entries(&[("/qubes-block-devices/sda/mode", b"w")]);
    let with = |place: usize, byte: u8| {
        let mut answer = good.clone();
        answer[place] = byte;
        answer
    };
    let endless: Vec<u8> = good[..73].repeat(5000);
    for (what, answer) in [
        ("closed", Vec::new()),
        ("cut off in a head", good[..40].to_vec()),
        ("cut off in a value", good[..72].to_vec()),
        ("without an end", good[..73].to_vec()),
        ("another message", with(0, 9)),
        ("a length that cannot be", with(71, 0xff)),
        ("more than anybody has", endless),
    ] {
        database(&fixture, "test-net", answer);
        assert_eq!(fixture.ok(AVAILABLE, "test-net", ""), "", "{what}");
    }
    database(&fixture, "test-net", good);
    assert!(fixture.ok(AVAILABLE, "test-net", "").starts_with("sda::None "));
}

#[test]
fn what_a_running_qube_has_is_told_as_attached() {
    let fixture = Fixture::new();
    golden::devices(&fixture);
    let disk = |path: &str, target: &str, rw: bool, rest: &str| {
        format!(r#"{{"path": "{path}", "target": "{target}", "rw": {rw}{rest}}}"#)
    };
    let disks = [
        disk("/dev/own/root", "xvda", true, ""),
        disk("/dev/own/modules", "xvdd", false, ""),
        disk("/dev/sda", "xvdi", true, ""),
        disk("/dev/sr0", "xvdj", false, r#", "cdrom": true"#),
        disk("/dev/sdz", "xvdk", false, r#", "backend": "test-net""#),
    ];
    let pci = r#"{"address": {"segment": 0, "bus": 0, "device": 20, "function": 0}}"#;
    let devices = format!(r#"{{"disks": [{}], "pci": [{pci}]}}"#, disks.join(", "));
    let domain = serde_json::json!({
        "state": "Running", "domid": 7, "start_time_us": 1, "memory_kib": 1, "cpu_time_ns": 5, "devices": devices,
    });
    let _domain = fixture.published("test-vm1", &domain.to_string());
    let rest = |backend: &str| {
        format!("devclass='block' backend_domain='{backend}' mode='manual' frontend_domain='test-vm1'")
    };
    assert_eq!(
        fixture.ok("admin.vm.device.block.Attached", "test-vm1", ""),
        format!(
            "dom0+sda::None device_id=':None' port_id='sda' {} _read-only='no' _frontend-dev='xvdi'\n\
            dom0+sr0::0 device_id=':0' port_id='sr0' {} _read-only='yes' _frontend-dev='xvdj' _devtype='cdrom'\n\
            test-net+sdz:0000:0000::?****** device_id='0000:0000::?******' port_id='sdz' {} _read-only='yes' \
            _frontend-dev='xvdk'\n",
            rest("dom0"),
            rest("dom0"),
            rest("test-net")
        )
    );
    let available = fixture.ok(&format!("{AVAILABLE}+sda"), "dom0", "");
    assert!(available.contains(" attachment='test-vm1' interfaces="), "{available}");
    fixture.ok(&on(ASSIGN, "dom0+sda++None"), "test-vm1", "mode='required' _read-only='yes'");
    let attached = fixture.ok("admin.vm.device.block.Attached+dom0+sda", "test-vm1", "");
    assert!(
        attached.ends_with("mode='required' frontend_domain='test-vm1' _read-only='yes'\n"),
        "{attached}"
    );
    assert_eq!(
        fixture.ok("admin.vm.device.block.List", "test-vm1", ""),
        "dom0+sda read-only=yes persistent=yes\ndom0+sr0 read-only=yes frontend-dev=xvdj devtype=cdrom\n\
        test-net+sdz read-only=yes frontend-dev=xvdk\n"
    );
    let attached = fixture.ok("admin.vm.device.pci.Attached", "test-vm1", "");
    assert!(attached.starts_with("dom0+00_14.0:0x8086:0x8cb1::p0c0330 "), "{attached}");
}

#[test]
fn usb_devices_cameras_and_the_microphone_are_told_by_those_who_have_them() {
    let fixture = Fixture::new();
    for part in ["qubesusbproxy", "qubesguidaemon", "qvc"] {
        with_part(&fixture, part);
    }
    std::fs::create_dir_all(fixture.path("/usr/share/hwdata")).unwrap();
    std::fs::write(fixture.path("/usr/share/hwdata/usb.ids"), "0951  Kingston\n\t1666  DataTraveler\n")
        .unwrap();
    let _domains = [fixture.domain("test-net", "Running"), fixture.domain("test-vm1", "Running")];
    database(
        &fixture,
        "test-net",
        entries(&[
            ("/qubes-usb-devices/2-1_3/desc", b"0951:1666 King\\x20ston Data\\x1btraveler 408D"),
            ("/qubes-usb-devices/2-1_3/interfaces", b":080650:"),
            ("/qubes-usb-devices/2-1_3/connected-to", b"test-vm1"),
            ("/qubes-usb-devices/2-1_4/desc", b"no such form"),
            ("/qubes-usb-devices/../desc", b"0951:1666 a b c"),
            ("/webcam-devices/video0/parent", b"usb:2-1.3"),
            ("/webcam-devices/video0/formats/0", b"640x480x30"),
            ("/webcam-devices/video0/formats/1", b"320x240x30"),
            ("/audio-input-config/test-vm1", b"1"),
        ]),
    );
    assert_eq!(
        fixture.ok("admin.vm.device.usb.Available", "test-net", ""),
        "2-1.3:0951:1666:408D:u080650 device_id='0951:1666:408D:u080650' port_id='2-1.3' devclass='usb' \
        backend_domain='test-net' vendor='Kingston' product='DataTraveler' manufacturer='King ston' \
        name='Data_traveler' serial='408D' attachment='test-vm1' interfaces='u080650'\n\
        2-1.4:0000:0000:: device_id='0000:0000::' port_id='2-1.4' devclass='usb' backend_domain='test-net' \
        name='no_such_form' interfaces='?******'\n"
    );
    let attached = fixture.ok("admin.vm.device.usb.Attached", "test-vm1", "");
    assert!(attached.starts_with("test-net+2-1.3:0951:1666:408D:u080650 device_id="), "{attached}");
    assert!(attached.ends_with(" mode='manual' frontend_domain='test-vm1'\n"), "{attached}");
    let camera = fixture.ok("admin.vm.device.webcam.Available", "test-net", "");
    assert!(camera.starts_with("video0:0951:1666:408D:u080650 "), "{camera}");
    assert!(
        camera.ends_with(
            " interfaces='u0e0200' parent_port_id='2-1.3' parent_devclass='usb' _formats='640x480x30 320x240x30'\n"
        ),
        "{camera}"
    );
    assert_eq!(
        fixture.ok("admin.vm.device.mic.Available", "dom0", ""),
        "mic:dom0:mic::m000000 device_id='dom0:mic::m000000' port_id='mic' devclass='mic' backend_domain='dom0' \
        product='microphone' interfaces='m000000'\n"
    );
    assert_eq!(fixture.ok("admin.vm.device.mic.Attached", "test-vm1", ""), "", "dom0 plays its sound");
    fixture.ok("admin.vm.property.Set+audiovm", "test-vm1", "test-net");
    let attached = fixture.ok("admin.vm.device.mic.Attached", "test-vm1", "");
    assert!(attached.starts_with("dom0+mic:dom0:mic::m000000 "), "{attached}");
}
