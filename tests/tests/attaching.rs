//! Devices of running qubes: attached, detached, refused, and free again when somebody ends (spec 30 §2.6, §2.7, §4 to §7).
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "test code"
)]

use serde_json::{Value, json};
use tests::companions::{install, recorded, show, spoil};
use tests::golden;
use tests::startable::{behave, end, run_of, system, watcher};
use tests::stepped::{from_file, stops};
use tests::stepper::{Trouble, run};
use tests::{Fixture, executables};

const ATTACH: &str = "admin.vm.device.block.Attach+";
const DETACH: &str = "admin.vm.device.block.Detach+";
const ATTACHED: &str = "admin.vm.device.block.Attached";

/// A machine with devices, on which `work` runs.
fn running() -> Fixture {
    let fixture = system();
    golden::devices(&fixture);
    fixture.ok("admin.vm.Start", "work", "");
    fixture
}

fn on(call: &str, device: &str) -> String {
    format!("{call}{device}")
}

/// What the simulated domain of `work` has got, in its own words.
fn devices(fixture: &Fixture) -> Value {
    let domid = run_of(fixture, "work").unwrap().domid.0;
    let file = fixture.path("/run/qubes/admin/simulated").join(format!("{domid}.devices"));
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

fn targets(fixture: &Fixture) -> Vec<String> {
    let devices = devices(fixture);
    let disks = devices["disks"].as_array().unwrap().iter();
    disks
        .map(|disk| disk["target"].as_str().unwrap().to_owned())
        .filter(|target| target > &"xvde".to_owned())
        .collect()
}

#[test]
fn a_disk_is_there_from_attach_to_detach() {
    let fixture = running();
    let events =
        fixture.events_of(|fixture| drop(fixture.ok(&on(ATTACH, "dom0+sda"), "work", "_devtype='disk'")));
    assert_eq!(
        events,
        [
            "work device-pre-attach:block device=dom0:sda::None options={'devtype': 'disk'}",
            "work device-attach:block device=dom0:sda::None options={'devtype': 'disk', 'read-only': 'no', \
             'frontend-dev': 'xvdi'}",
        ]
    );
    fixture.ok(&on(ATTACH, "dom0+sr0+:0"), "work", "mode='auto-attach'");
    fixture.ok(&on(ATTACH, "dom0+_+:None:1"), "work", "_read-only='1' _frontend-dev='xvdl'");
    assert_eq!(targets(&fixture), ["xvdi", "xvdj", "xvdl"]);
    let script = "/etc/xen/scripts/qubes-block";
    let disk = |path: &str, target: &str, rw: bool| json!({"path": path, "target": target, "rw": rw, "cdrom": false, "script": script});
    let expected =
        [disk("/dev/sda", "xvdi", true), disk("/dev/sr0", "xvdj", false), disk("/dev/sda1", "xvdl", false)];
    let found = devices(&fixture);
    assert_eq!(found["disks"].as_array().unwrap()[4..], expected);
    assert!(fixture.qube("work").devices.is_empty(), "nothing is assigned");
    let events = fixture.events_of(|fixture| drop(fixture.ok(&on(DETACH, "dom0+sda+whatever"), "work", "")));
    assert_eq!(
        events,
        ["work device-pre-detach:block port=dom0:sda", "work device-detach:block port=dom0:sda"]
    );
    assert_eq!(targets(&fixture), ["xvdj", "xvdl"]);
    assert_eq!(
        fixture.refused(&on(ATTACH, "dom0+sda"), "work", ""),
        "ProtocolError: Cannot attach ambiguous block device.",
        "a partition of it is in use"
    );
    fixture.ok(&on(DETACH, "dom0+sda1"), "work", "");
    fixture.ok(&on(ATTACH, "dom0+sda"), "work", "");
    assert_eq!(targets(&fixture), ["xvdj", "xvdi"]);
}

#[test]
fn what_cannot_be_attached_is_refused_and_changes_nothing() {
    let fixture = running();
    fixture.ok(&on(ATTACH, "dom0+sda"), "work", "");
    let before = devices(&fixture);
    let halted = "QubesVMNotRunningError: VM not running, cannot attach device, do you mean `assign`?";
    let ambiguous = "ProtocolError: Cannot attach ambiguous block device.";
    let value = |text: &str| format!("QubesValueError: {text}");
    let events = fixture.events_of(|fixture| {
        for (device, qube, payload, refusal) in [
            ("dom0+sda", "test-vm1", "", halted.to_owned()),
            ("dom0+nodev", "test-vm1", "", halted.to_owned()),
            ("dom0+nodev", "work", "", ambiguous.to_owned()),
            ("dom0+_", "work", "", ambiguous.to_owned()),
            ("_+sda1", "work", "", ambiguous.to_owned()),
            ("dom0+sda1+:other", "work", "", ambiguous.to_owned()),
            ("test-vm1+sda", "work", "", ambiguous.to_owned()),
            ("nosuch+sda", "work", "", "QubesVMNotFoundError: No such domain: 'nosuch'".to_owned()),
            (
                "dom0+sda",
                "work",
                "",
                "DeviceAlreadyAttached: 'device dom0:sda::None of class block already attached to work'"
                    .to_owned(),
            ),
            (
                "dom0+sda",
                "net",
                "",
                "DeviceAlreadyAttached: 'Device dom0:sda::None already attached to work'".to_owned(),
            ),
            ("dom0+sda1", "work", "_frontend-dev='hda'", value("Invalid frontend-dev option value: hda")),
            ("dom0+sda1", "work", "_frontend-dev='xvdi'", value("Invalid frontend-dev option value: xvdi")),
            ("dom0+sda1", "work", "_frontend-dev='xvda'", value("Invalid frontend-dev option value: xvda")),
            (
                "dom0+sda1",
                "work",
                "_read-only='maybe'",
                value("Invalid literal for boolean property: 'maybe'"),
            ),
            (
                "dom0+sda1",
                "work",
                "_devtype='floppy'",
                value("devtype option can only have 'disk' or 'cdrom' value"),
            ),
            ("dom0+sda1", "work", "_other='x'", value("Unsupported option other")),
            ("dom0+sr0", "work", "_read-only='no'", value("This device can be attached only read-only")),
            ("dom0+sda1", "dom0", "", "QubesException: Can't attach block device to dom0".to_owned()),
            (
                "dom0+sda1",
                "work",
                "devclass='pci'",
                "ProtocolError: Got pci device when expected block.".to_owned(),
            ),
        ] {
            assert_eq!(fixture.refused(&on(ATTACH, device), qube, payload), refusal, "{device} {payload}");
        }
        for (device, refusal) in [
            ("dom0+sda1", "DeviceNotAssigned: 'block device sda1 not attached to work'"),
            ("net+sda", "DeviceNotAssigned: 'block device sda not attached to work'"),
            ("dom0+_", "DeviceNotAssigned: 'block device * not attached to work'"),
            ("nosuch+sda", "QubesVMNotFoundError: No such domain: 'nosuch'"),
        ] {
            assert_eq!(fixture.refused(&on(DETACH, device), "work", ""), refusal, "{device}");
        }
    });
    assert_eq!(events, [""; 0]);
    assert_eq!(devices(&fixture), before);
    fixture.ok("admin.vm.Create.RemoteVM", "dom0", "name=far label=red");
    for call in [ATTACH, DETACH] {
        let refused = fixture.refused(&on(call, "dom0+sda"), "far", "");
        assert_eq!(refused, "QubesException: This qube doesn't support devices");
        let refused = fixture.refused(&on(call, "nosuch+sda"), "far", "");
        assert_eq!(refused, "QubesVMNotFoundError: No such domain: 'nosuch'");
    }
}

#[test]
fn a_domain_that_refuses_a_device_stays_as_it_is() {
    let fixture = system();
    golden::devices(&fixture);
    behave(&fixture, "work", "simulated.refuses-devices");
    fixture.ok("admin.vm.Start", "work", "");
    let before = devices(&fixture);
    let events = fixture.events_of(|fixture| {
        let refused = fixture.refused(&on(ATTACH, "dom0+sda"), "work", "");
        assert_eq!(refused, "QubesException: the domain refuses the device");
    });
    assert_eq!(events, ["work device-pre-attach:block device=dom0:sda::None options={}"]);
    assert_eq!(devices(&fixture), before);
    assert_eq!(fixture.ok(ATTACHED, "work", ""), "");
    let run = run_of(&fixture, "work").unwrap().devices();
    assert_eq!((run.disks.len(), run.halfway), (4, None));
}

#[test]
fn what_a_killed_watcher_was_attaching_is_taken_away() {
    let fixture = running();
    fixture.ok(&on(ATTACH, "dom0+sda"), "work", "");
    for is_told in [false, true] {
        fixture.ok(&on(ATTACH, "dom0+sda1"), "work", "");
        end(watcher(&fixture, "work"));
        // As it stood while that watcher was at work on the second disk.
        let file = fixture.path("/run/qubes/admin/domains/work");
        let mut run: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let mut told: Value = serde_json::from_str(run["devices"].as_str().unwrap()).unwrap();
        let disks = told["disks"].as_array_mut().unwrap();
        let disk = if is_told { disks.last().cloned().unwrap() } else { disks.pop().unwrap() };
        told["halfway"] = json!({ "disk": disk });
        run["devices"] = json!(told.to_string());
        std::fs::write(&file, run.to_string()).unwrap();
        fixture.ok("admin.vm.Pause", "work", "");
        fixture.ok("admin.vm.Unpause", "work", "");
        assert_eq!(targets(&fixture), ["xvdi"]);
        assert_eq!(run_of(&fixture, "work").unwrap().devices().halfway, None);
        assert!(fixture.ok(ATTACHED, "work", "").starts_with("dom0+sda::None "));
    }
}

#[test]
fn a_required_device_stays_and_others_go() {
    let fixture = system();
    golden::devices(&fixture);
    let assign = "admin.vm.device.block.Assign+dom0+sda1";
    fixture.ok(assign, "work", "mode='required' _read-only='on' _frontend-dev='xvdm'");
    fixture.ok("admin.vm.device.block.Assign+dom0+_+:0", "work", "mode='required'");
    fixture.ok("admin.vm.device.block.Assign+dom0+sr0", "work", "mode='required' _frontend-dev='xvdn'");
    fixture.ok("admin.vm.Start", "work", "");
    assert_eq!(targets(&fixture), ["xvdm", "xvdn"], "each once, as the most specific assignment says");
    assert!(devices(&fixture)["disks"].as_array().unwrap()[4..].iter().all(|disk| disk["rw"] == false));
    assert_eq!(
        fixture.refused(&on(DETACH, "dom0+sda1"), "work", ""),
        "QubesVMNotHaltedError: Can not detach a required device from a non halted qube. You need to unassign device \
         first."
    );
    fixture.ok("admin.vm.device.block.Unassign+dom0+sda1", "work", "");
    fixture.ok(&on(DETACH, "dom0+sda1"), "work", "");
    assert_eq!(targets(&fixture), ["xvdn"]);
    let events = fixture.events_of(|fixture| drop(fixture.ok("admin.vm.Kill", "work", "")));
    assert_eq!(
        events[events.len() - 2..],
        ["work domain-shutdown", "work device-detach:block port=dom0:sr0"]
    );
    std::fs::remove_file(fixture.path("/sys/class/block/sr0")).unwrap();
    assert_eq!(
        fixture.refused("admin.vm.Start", "work", ""),
        "QubesException: Block device dom0:*::0 not available"
    );
}

#[test]
fn denied_kinds_cannot_be_attached_in_any_way() {
    let fixture = running();
    fixture.ok("admin.vm.device.denied.Add", "work", "b******");
    let unknown = "PermissionDenied: Could not load interfaces to verify against denied list";
    let banned = "PermissionDenied: Device exposes a banned interface: Block Storage";
    for (device, payload, refusal) in [
        ("dom0+sda", "", unknown),
        ("dom0+_+:None", "", unknown),
        ("dom0+sda+:other", "", unknown),
        ("dom0+nodev+:None", "", unknown),
        ("_+sda+:None", "", unknown),
        ("dom0+sda+:None", "", banned),
        ("dom0+sda+:None", "mode='auto-attach'", banned),
        ("dom0+sda+:None", "mode='required'", banned),
        ("dom0+sda", "device_id=':None'", banned),
        ("dom0+sda+:None", "persistent=yes", banned),
    ] {
        assert_eq!(fixture.refused(&on(ATTACH, device), "work", payload), refusal, "{device} {payload}");
    }
    assert!(fixture.qube("work").devices.is_empty());
    fixture.ok("admin.vm.device.denied.Add", "work", "p0c03**");
    let pci = "admin.vm.device.pci.Attach+dom0+00_14.0+0x8086+0x8cb1++p0c0330";
    let refused = fixture.refused(pci, "work", "");
    assert_eq!(refused, "PermissionDenied: Device exposes a banned interface: USB controller");
    fixture.ok("admin.vm.device.denied.Remove", "work", "b******");
    fixture.ok(&on(ATTACH, "dom0+sda+:None"), "work", "");
}

#[test]
fn devices_that_tell_no_interfaces_are_denied_where_some_kinds_are() {
    let fixture = system();
    for folder in ["/usr/lib/python3.11/site-packages/qubesusbproxy", "/etc/qubes-rpc/policy"] {
        std::fs::create_dir_all(fixture.path(folder)).unwrap();
    }
    install(&fixture);
    fixture.ok("admin.vm.Start", "work", "");
    let attach = |codes: &str| format!("admin.vm.device.usb.Attach+net+2-1+0951+1666+c+{codes}");
    let tell = |interfaces: Option<&str>| {
        let desc = ("/qubes-usb-devices/2-1/desc", "0951:1666 a b c");
        let told = interfaces.map(|codes| ("/qubes-usb-devices/2-1/interfaces", codes));
        show(&fixture, "net", &[desc].into_iter().chain(told).collect::<Vec<_>>());
    };
    let unknown = "PermissionDenied: Could not load interfaces to verify against denied list";
    for denied in ["*******", "u******", "b******"] {
        fixture.ok("admin.vm.device.denied.Add", "work", denied);
        for interfaces in [None, Some(""), Some("::"), Some(":0806:"), Some(":gggggg:")] {
            tell(interfaces);
            assert_eq!(fixture.refused(&attach(""), "work", ""), unknown, "{denied} {interfaces:?}");
        }
        fixture.ok("admin.vm.device.denied.Remove", "work", denied);
    }
    fixture.ok("admin.vm.device.denied.Add", "work", "u03****");
    tell(Some(":080650:"));
    fixture.ok(&attach("u080650"), "work", "");
    fixture.ok("admin.vm.device.denied.Remove", "work", "u03****");
    tell(None);
    fixture.ok(&attach(""), "work", "");
}

#[test]
fn a_required_device_that_is_gone_once_the_netvm_runs_stops_the_start() {
    let fixture = system();
    golden::devices(&fixture);
    install(&fixture);
    fixture.ok("admin.vm.device.block.Assign+dom0+sda1+:None:1", "work", "mode='required'");
    let (daemon, disk) = (fixture.path("/usr/sbin/qubesdb-daemon"), fixture.path("/sys/class/block/sda1"));
    // Which program it stands in for, and where the root is, it knows by its path.
    let aside = fixture.path("/usr/aside/qubesdb-daemon");
    std::fs::create_dir(fixture.path("/usr/aside")).unwrap();
    std::fs::rename(&daemon, &aside).unwrap();
    let script = format!("#!/bin/sh\nrm -f {}\nexec {} \"$@\"\n", disk.display(), aside.display());
    executables::script(&daemon, &script);
    assert_eq!(
        fixture.refused("admin.vm.Start", "work", ""),
        "QubesException: Block device dom0:sda1::None:1 not available"
    );
    assert!(!disk.exists() && run_of(&fixture, "net").is_some(), "the netvm was started");
    assert!(run_of(&fixture, "work").is_none());
}

#[test]
fn the_oldest_form_of_attach_may_assign_too() {
    let fixture = running();
    fixture.ok(&on(ATTACH, "dom0+sda"), "work", "read-only=yes frontend-dev=xvdk persistent=yes");
    assert_eq!(targets(&fixture), ["xvdk"]);
    assert_eq!(
        fixture.ok("admin.vm.device.block.Assigned", "work", ""),
        "dom0+sda:* device_id='*' port_id='sda' devclass='block' backend_domain='dom0' mode='auto-attach' \
        _read-only='yes' _frontend-dev='xvdk'\n"
    );
    fixture.ok(&on(ATTACH, "dom0+sda1"), "work", "persistent=no");
    fixture.ok(&on(ATTACH, "dom0+sda1"), "test-vm1", "persistent=True");
    assert_eq!(fixture.qube("work").devices.len() + fixture.qube("test-vm1").devices.len(), 2);
    fixture.ok("admin.vm.device.pci.Attach+dom0+00_19.0", "test-vm1", "persistent=on");
    assert_eq!(fixture.qube("test-vm1").devices[1].mode.as_str(), "required");
    for (payload, refusal) in [
        ("persistent=x", "Invalid literal for boolean property: 'x'"),
        ("garbage", "DeviceAssignment.__init__() got an unexpected keyword argument 'garbage'"),
        ("a b=c", "DeviceAssignment.__init__() got an unexpected keyword argument 'a'"),
    ] {
        let refused = fixture.refused(&on(ATTACH, "dom0+sr0"), "work", payload);
        assert_eq!(refused, format!("ProtocolError: {refusal}"), "{payload}");
    }
    // Whoever may only attach may not assign in this way.
    fixture.policy("10.policy", "admin.vm.device.block.Attach * test-net @anyvm allow target=dom0\n");
    let call = on(ATTACH, "dom0+sr0");
    let refused = tests::fixture::refusal(&fixture.call_as("test-net", &call, "work", "persistent=yes"));
    assert_eq!(refused, "PermissionDenied: Policy does not allow to assign devices");
    fixture.policy("10.policy", "admin.vm.device.block.Assign * test-net @anyvm allow\n");
    assert_eq!(fixture.call_as("test-net", &call, "work", "persistent=yes"), b"0\0");
}

#[test]
fn devices_of_the_host_are_plugged_into_running_qubes() {
    let fixture = running();
    let attach = "admin.vm.device.pci.Attach+dom0+00_19.0";
    let refused = fixture.refused(attach, "work", "");
    assert_eq!(refused, "QubesException: Can't attach PCI device to VM in pvh mode");
    assert_eq!(fixture.refused(attach, "dom0", ""), "QubesException: Can't attach PCI device to dom0");
    fixture.ok("admin.vm.Kill", "work", "");
    fixture.ok("admin.vm.property.Set+virt_mode", "work", "hvm");
    fixture.ok("admin.vm.property.Set+virt_mode", "net", "hvm");
    fixture.ok("admin.vm.Start", "work", "");
    fixture.ok(attach, "work", "_permissive='yes'");
    assert_eq!(
        devices(&fixture)["pci"],
        json!([{"address": {"segment": 0, "bus": 0, "device": 25, "function": 0}, "permissive": true,
                "power_management": false}])
    );
    assert_eq!(
        fixture.refused(attach, "net", ""),
        "DeviceAlreadyAttached: 'Device dom0:00_19.0:0x8086:0x15bc::p020000 already attached to work'"
    );
    fixture.ok("admin.vm.device.pci.Detach+dom0+00_19.0", "work", "");
    assert_eq!(devices(&fixture)["pci"], json!([]));
}

#[test]
fn the_end_of_the_one_that_has_a_device_takes_it_from_the_one_that_uses_it() {
    let fixture = system();
    install(&fixture);
    fixture.ok("admin.vm.Start", "work", "");
    show(&fixture, "net", &[("/qubes-block-devices/sdb/mode", "w")]);
    fixture.ok(&on(ATTACH, "net+sdb"), "work", "");
    assert_eq!(devices(&fixture)["disks"][4]["backend"], "net");
    let events = fixture.events_of(|fixture| drop(fixture.ok("admin.vm.Kill", "net", "")));
    let told = ["work device-detach:block port=net:sdb", "net device-removed:block port=net:sdb"];
    assert_eq!(events[events.len() - 2..], told);
    assert_eq!(targets(&fixture), [""; 0]);
    let events = fixture.events_of(|fixture| drop(fixture.ok("admin.vm.Kill", "work", "")));
    assert!(!events.iter().any(|event| event.contains("device-")), "told once: {events:?}");
}

#[test]
fn usb_devices_are_attached_by_services_of_both_qubes() {
    let fixture = system();
    for folder in ["/usr/lib/python3.11/site-packages/qubesusbproxy", "/etc/qubes-rpc/policy"] {
        std::fs::create_dir_all(fixture.path(folder)).unwrap();
    }
    install(&fixture);
    fixture.ok("admin.vm.Start", "work", "");
    let usb = |connected: &str| {
        let desc = ("/qubes-usb-devices/2-1/desc", "0951:1666 a b c");
        show(&fixture, "net", &[desc, ("/qubes-usb-devices/2-1/connected-to", connected)]);
    };
    usb("");
    recorded(&fixture, "qrexec-client");
    let attach = "admin.vm.device.usb.Attach+net+2-1";
    fixture.ok(attach, "work", "");
    let said = recorded(&fixture, "qrexec-client");
    assert_eq!(said, ["-d work root:QUBESRPC qubes.USBAttach dom0 < \"net 2-1\\n\""]);
    assert!(!fixture.path("/etc/qubes-rpc/policy/qubes.USB+2-1").exists(), "the rule is gone again");
    assert_eq!(
        fixture.refused(attach, "work", "_o='x'"),
        "QubesException: USB device attach does not support user options"
    );
    spoil(&fixture, 127, "qrexec-client");
    let refused = fixture.refused(attach, "work", "");
    assert_eq!(refused, "USBProxyNotInstalled: qubes-usb-proxy not installed in the VM");
    spoil(&fixture, 1, "qrexec-client");
    let refused = fixture.refused(attach, "work", "");
    assert_eq!(refused, "QubesUSBException: Device attach failed:  told to _fail");
    let client = fixture.path("/usr/bin/qrexec-client");
    let stand_in = std::fs::read_link(&client).unwrap();
    std::fs::remove_file(&client).unwrap();
    executables::script(
        &client,
        "#!/bin/sh\nprintf 'one\\ntwo\\n'\nprintf 'bad\\nqubes-admin: forged\\n' >&2\nexit 1\n",
    );
    let refused = fixture.refused(attach, "work", "");
    assert_eq!(refused, "QubesUSBException: Device attach failed: one_two_ bad_qubes-admin: forged");
    std::fs::remove_file(&client).unwrap();
    std::os::unix::fs::symlink(stand_in, &client).unwrap();
    usb("work");
    assert_eq!(
        fixture.refused(attach, "test-net", ""),
        "QubesVMNotRunningError: VM not running, cannot attach device, do you mean `assign`?"
    );
    assert_eq!(
        fixture.refused(attach, "net", ""),
        "DeviceAlreadyAttached: 'Device net:2-1:0951:1666:c: already attached to work'"
    );
    recorded(&fixture, "qrexec-client");
    fixture.ok("admin.vm.device.usb.Detach+net+2-1", "work", "");
    assert_eq!(
        recorded(&fixture, "qrexec-client"),
        ["-d net root:QUBESRPC qubes.USBDetach dom0 < \"2-1\\n\""]
    );
}

#[test]
fn the_microphone_and_cameras_are_handed_over_by_those_who_have_them() {
    let fixture = system();
    for part in ["qubesguidaemon", "qvc"] {
        std::fs::create_dir_all(fixture.path("/usr/lib/python3.11/site-packages").join(part)).unwrap();
    }
    install(&fixture);
    fixture.ok("admin.vm.property.Set+audiovm", "work", "test-net");
    fixture.ok("admin.vm.Start", "work", "");
    let attach = "admin.vm.device.mic.Attach+dom0+mic";
    let refused = fixture.refused(attach, "work", "");
    assert_eq!(refused, "QubesVMNotRunningError: Audio VM test-net isn't running");
    fixture.ok("admin.vm.property.Set+audiovm", "work", "net");
    recorded(&fixture, "qubesdb.net");
    assert_eq!(
        fixture.refused(attach, "work", "_o='x'"),
        "QubesException: Microphone assignment does not support user options"
    );
    fixture.ok(attach, "work", "");
    assert_eq!(recorded(&fixture, "qubesdb.net"), ["/audio-input-config/work = \"1\""]);
    fixture.ok("admin.vm.feature.Set+supported-rpc.qubes.AudioInputEnable", "net", "1");
    recorded(&fixture, "qrexec-client");
    fixture.ok(attach, "work", "");
    let said = recorded(&fixture, "qrexec-client");
    assert_eq!(said, ["-d net root:QUBESRPC qubes.AudioInputEnable+work dom0 < \"\""]);
    spoil(&fixture, 1, "qrexec-client");
    assert_eq!(
        fixture.refused(attach, "work", ""),
        "QubesVMError: Failed to attach audio input from net to work: pulseaudio agent not running"
    );
    show(&fixture, "net", &[("/webcam-devices/video0/parent", "")]);
    let camera = "admin.vm.device.webcam.Attach+net+video0";
    assert_eq!(
        fixture.refused(camera, "work", ""),
        "QVCNotInstalled: qubes-video-companion not installed in the VM"
    );
    fixture.ok("admin.vm.feature.Set+supported-rpc.qvc.WebcamAttach", "work", "1");
    for (payload, refusal) in [
        ("_format='0x1x1'", "QubesException: Invalid format value"),
        ("_format='640x480'", "QubesException: Invalid format value"),
        ("_other='1'", "QubesException: Unsupported option: 'other'"),
    ] {
        assert_eq!(fixture.refused(camera, "work", payload), refusal, "{payload}");
    }
    recorded(&fixture, "qrexec-client");
    fixture.ok(camera, "work", "_format='640x480x30'");
    let said = recorded(&fixture, "qrexec-client");
    assert_eq!(said, ["-d work root:QUBESRPC qvc.WebcamAttach dom0 < \"net video0+640+480+30\\n\""]);
}

/// Puts a client of qrexec in place that notes the rules of policy that hold while a service runs.
fn note_rules(fixture: &Fixture) {
    let client = fixture.path("/usr/bin/qrexec-client");
    let root = fixture.path("");
    let script = format!(
        "#!/bin/sh\ncd {0}\ngrep -r . run/qubes/policy.d etc/qubes-rpc/policy >rules\n",
        root.display()
    );
    executables::script(&client, &script);
}

#[test]
fn a_rule_of_policy_holds_while_a_service_attaches_and_no_longer() {
    let fixture = system();
    for part in ["qubesusbproxy", "qvc"] {
        std::fs::create_dir_all(fixture.path("/usr/lib/python3.11/site-packages").join(part)).unwrap();
    }
    install(&fixture);
    // A file of policy with capitals in its name would deny everything to everybody.
    fixture.ok("admin.vm.Create.AppVM+test-template", "dom0", "name=Cam label=red");
    fixture.ok("admin.vm.volume.Resize+private", "Cam", "65536");
    fixture.ok("admin.vm.Start", "net", "");
    fixture.ok("admin.vm.Start", "Cam", "");
    fixture.ok("admin.vm.feature.Set+supported-rpc.qvc.WebcamAttach", "Cam", "1");
    let desc = ("/qubes-usb-devices/2-1/desc", "0951:1666 a b c");
    show(&fixture, "net", &[desc, ("/webcam-devices/video0/parent", "")]);
    note_rules(&fixture);
    let rules = || std::fs::read_to_string(fixture.path("/rules")).unwrap();
    let file = fixture.path("/etc/qubes-rpc/policy/qubes.USB+2-1");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let (own, other) = ("Cam net allow,user=root\n", "work other allow\n");
    // One that a killed call has left goes as well.
    for (before, after) in [("", None), (own, None), (other, Some(other))] {
        std::fs::write(&file, before).unwrap();
        fixture.ok("admin.vm.device.usb.Attach+net+2-1", "Cam", "");
        let held: Vec<String> = [own.trim_end()]
            .into_iter()
            .chain(after.map(str::trim_end))
            .map(|rule| format!("etc/qubes-rpc/policy/qubes.USB+2-1:{rule}"))
            .collect();
        assert_eq!(rules().lines().collect::<Vec<_>>(), held);
        assert_eq!(std::fs::read_to_string(&file).ok().as_deref(), after);
    }
    std::fs::remove_file(&file).unwrap();
    fixture.ok("admin.vm.device.webcam.Attach+net+video0", "Cam", "");
    let uuid = |name: &str| fixture.qube(name).uuid.to_string();
    let (cam, net) = (uuid("Cam"), uuid("net"));
    let held =
        format!("run/qubes/policy.d/10-qvc-{cam}.policy:qvc.Webcam +video0 uuid:{cam} uuid:{net} allow\n");
    assert_eq!(rules(), held);
    assert_eq!(std::fs::read_dir(fixture.path("/run/qubes/policy.d")).unwrap().count(), 0);
}

/// How often each of these was told of since then.
fn counts<const N: usize>(fixture: &Fixture, before: usize, kinds: [&str; N]) -> [usize; N] {
    let events = fixture.events().split_off(before);
    kinds.map(|kind| events.iter().filter(|event| event.starts_with(&format!("work {kind}"))).count())
}

const ATTACHES: &str = "device-attach:block device=dom0:sda:";
const DETACHES: &str = "device-detach:block port=dom0:sda";

#[test]
fn what_a_killed_call_attached_or_detached_is_told_of_once() {
    let fixture = running();
    let mut kills = 0;
    for stop in stops() {
        let place = format!("killed at stop {stop}");
        let has_it = || fixture.ok(ATTACHED, "work", "").contains("dom0+sda:");
        // Whoever needs the run next.
        let next = || {
            fixture.ok(&on(ATTACH, "dom0+sr0"), "work", "");
            fixture.ok(&on(DETACH, "dom0+sr0"), "work", "");
        };
        let before = fixture.events().len();
        let attach = run(from_file(&fixture, &on(ATTACH, "dom0+sda"), "work"), Trouble::Kill(stop));
        next();
        assert!(has_it() || attach.output.is_empty(), "{place}: attached, and is not");
        assert_eq!(counts(&fixture, before, [ATTACHES, DETACHES]), [usize::from(has_it()), 0], "{place}");
        if !has_it() {
            fixture.ok(&on(ATTACH, "dom0+sda"), "work", "");
        }
        let before = fixture.events().len();
        let detach = run(from_file(&fixture, &on(DETACH, "dom0+sda"), "work"), Trouble::Kill(stop));
        next();
        assert!(!has_it() || detach.output.is_empty(), "{place}: detached, and is not");
        assert_eq!(counts(&fixture, before, [ATTACHES, DETACHES]), [0, usize::from(!has_it())], "{place}");
        if has_it() {
            fixture.ok(&on(DETACH, "dom0+sda"), "work", "");
        }
        assert!(!fixture.path("/run/qubes/admin/attaching/work").exists(), "{place}");
        kills += usize::from(attach.met) + usize::from(detach.met);
        if !attach.met && !detach.met {
            println!("Attach and Detach of a disk: {kills} kills, 0 torn");
            assert!(stop > 100, "{stop}");
            return;
        }
    }
}

#[test]
fn the_end_of_a_run_ends_what_killed_calls_attached() {
    let fixture = running();
    let mut told = 0;
    for stop in stops() {
        let before = fixture.events().len();
        let attach = run(from_file(&fixture, &on(ATTACH, "dom0+sda"), "work"), Trouble::Kill(stop));
        fixture.ok("admin.vm.Kill", "work", "");
        fixture.ok("admin.vm.Start", "work", "");
        let [attached, detached] = counts(&fixture, before, [ATTACHES, DETACHES]);
        assert_eq!(attached, detached, "killed at stop {stop}");
        told += attached;
        if !attach.met {
            println!("Attach, then the end of the run: up to stop {stop}, 0 torn");
            assert!(told > 1 && attached == 1, "{told}");
            return;
        }
    }
}

#[test]
fn a_killed_call_leaves_no_rule_of_policy() {
    let fixture = system();
    for folder in ["/usr/lib/python3.11/site-packages/qubesusbproxy", "/etc/qubes-rpc/policy"] {
        std::fs::create_dir_all(fixture.path(folder)).unwrap();
    }
    golden::devices(&fixture);
    install(&fixture);
    fixture.ok("admin.vm.Start", "work", "");
    show(&fixture, "net", &[("/qubes-usb-devices/2-1/desc", "0951:1666 a b c")]);
    let rule = fixture.path("/etc/qubes-rpc/policy/qubes.USB+2-1");
    let mut left = 0;
    for stop in stops() {
        let traced =
            run(from_file(&fixture, "admin.vm.device.usb.Attach+net+2-1", "work"), Trouble::Kill(stop));
        left += usize::from(rule.exists());
        if stop % 2 == 0 {
            fixture.ok(&on(ATTACH, "dom0+sda"), "work", "");
            fixture.ok(&on(DETACH, "dom0+sda"), "work", "");
        } else {
            fixture.ok("admin.vm.Kill", "work", "");
            fixture.ok("admin.vm.Start", "work", "");
        }
        assert!(!rule.exists(), "killed at stop {stop}");
        if !traced.met {
            println!("Attach by a service: up to stop {stop}, no rule left");
            assert!(left > 0);
            return;
        }
    }
}

#[test]
fn what_a_killed_call_left_is_settled_before_anything_else_is_done() {
    let fixture = system();
    for folder in ["/usr/lib/python3.11/site-packages/qubesusbproxy", "/etc/qubes-rpc/policy"] {
        std::fs::create_dir_all(fixture.path(folder)).unwrap();
    }
    golden::devices(&fixture);
    install(&fixture);
    fixture.ok("admin.vm.Start", "work", "");
    let desc = ("/qubes-usb-devices/2-1/desc", "0951:1666 a b c");
    show(&fixture, "net", &[desc]);
    let rule = fixture.path("/etc/qubes-rpc/policy/qubes.USB+2-1");
    let kill =
        |stop| run(from_file(&fixture, "admin.vm.device.usb.Attach+net+2-1", "work"), Trouble::Kill(stop));
    let mut stops = stops();
    while !rule.exists() {
        assert!(kill(stops.next().unwrap()).met, "never killed while the rule held");
    }
    // The device was attached, and the rule cannot be taken away for now.
    show(&fixture, "net", &[desc, ("/qubes-usb-devices/2-1/connected-to", "work")]);
    std::fs::remove_file(&rule).unwrap();
    std::fs::create_dir(&rule).unwrap();
    let of_work = |mut events: Vec<String>| {
        events.retain(|event| event.starts_with("work "));
        events
    };
    let events = fixture.events_of(|fixture| {
        for (call, device) in [(ATTACH, "dom0+sda"), (ATTACH, "dom0+sr0")] {
            let refused = fixture.refused(&on(call, device), "work", "");
            assert!(refused.starts_with("QubesException: a rule of policy: "), "{refused}");
        }
        let refused = fixture.refused("admin.vm.device.usb.Detach+net+2-1", "work", "");
        assert!(refused.starts_with("QubesException: a rule of policy: "), "{refused}");
    });
    assert_eq!(of_work(events), [""; 0]);
    std::fs::remove_dir(&rule).unwrap();
    std::fs::write(&rule, "work net allow,user=root\nother net allow\n").unwrap();
    let events = fixture.events_of(|fixture| drop(fixture.ok(&on(ATTACH, "dom0+sda"), "work", "")));
    assert_eq!(
        of_work(events)[..2],
        [
            "work device-attach:usb device=net:2-1:0951:1666:c: options={}",
            "work device-pre-attach:block device=dom0:sda::None options={}"
        ]
    );
    assert_eq!(std::fs::read_to_string(&rule).unwrap(), "other net allow\n");
}

#[test]
fn ends_are_told_of_the_devices_that_services_gave() {
    let fixture = system();
    std::fs::create_dir_all(fixture.path("/usr/lib/python3.11/site-packages/qubesusbproxy")).unwrap();
    std::fs::create_dir_all(fixture.path("/etc/qubes-rpc/policy")).unwrap();
    install(&fixture);
    let usb = [("/qubes-usb-devices/2-1/desc", "0951:1666 a b c")];
    let attach = || {
        fixture.ok("admin.vm.Start", "work", "");
        show(&fixture, "net", &usb);
        fixture.ok("admin.vm.device.usb.Attach+net+2-1", "work", "");
    };
    attach();
    let events = fixture.events_of(|fixture| drop(fixture.ok("admin.vm.Kill", "work", "")));
    assert_eq!(events[events.len() - 2..], ["work domain-shutdown", "work device-detach:usb port=net:2-1"]);
    attach();
    fixture.ok("admin.vm.property.Set+netvm", "work", "");
    let events = fixture.events_of(|fixture| drop(fixture.ok("admin.vm.Kill", "net", "")));
    let told = ["work device-detach:usb port=net:2-1", "net device-removed:usb port=net:2-1"];
    assert_eq!(events[events.len() - 2..], told);
    let events = fixture.events_of(|fixture| drop(fixture.ok("admin.vm.Kill", "work", "")));
    assert!(!events.iter().any(|event| event.contains("device-")), "told once: {events:?}");
}

#[test]
fn a_guest_lets_go_of_a_device_of_the_host_before_it_is_taken() {
    let fixture = system();
    golden::devices(&fixture);
    install(&fixture);
    fixture.ok("admin.vm.property.Set+virt_mode", "work", "hvm");
    fixture.ok("admin.vm.feature.Set+qrexec", "work", "1");
    fixture.ok("admin.vm.Start", "work", "");
    let xl = fixture.path("/usr/sbin/xl");
    let (attach, detach) =
        ("admin.vm.device.pci.Attach+dom0+00_19.0", "admin.vm.device.pci.Detach+dom0+00_19.0");
    for (listed, said) in [
        ("Vdev Device\n04.0 0000:00:14.0\n05.0 0000:00:19.0\n", &["05.0"][..]),
        ("Vdev Device\n04.0 0000:00:14.0\n", &[]),
        ("$(reboot) 0000:00:19.0\n", &[]),
    ] {
        let script = format!("#!/bin/sh\necho \"$@\" >> '{}.said'\nprintf '{listed}'\n", xl.display());
        executables::script(&xl, &script);
        fixture.ok(attach, "work", "");
        recorded(&fixture, "qrexec-client");
        fixture.ok(detach, "work", "");
        let line =
            |place: &&str| format!("-d work root:QUBESRPC qubes.DetachPciDevice dom0 < \"00:{place}\"");
        assert_eq!(
            recorded(&fixture, "qrexec-client"),
            said.iter().map(line).collect::<Vec<_>>(),
            "{listed}"
        );
        assert_eq!(devices(&fixture)["pci"], json!([]));
    }
    let domid = run_of(&fixture, "work").unwrap().domid.0;
    let asked = std::fs::read_to_string(fixture.path("/usr/sbin/xl.said")).unwrap();
    assert!(asked.lines().all(|line| line == format!("pci-list {domid}")), "{asked}");
    executables::script(&xl, "#!/bin/sh\necho 05.0 0000:00:19.0\n");
    fixture.ok(attach, "work", "");
    spoil(&fixture, 1, "qrexec-client");
    let refused = fixture.refused(detach, "work", "");
    assert!(refused.starts_with("QubesException: The qube does not let go of the PCI device: "), "{refused}");
    assert_eq!(devices(&fixture)["pci"].as_array().unwrap().len(), 1);
}
