//! Devices that qubes get by themselves: at their start, when a device appears, and when somebody says so (spec 30 §5).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::indexing_slicing, reason = "test code")]

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};
use tests::Fixture;
use tests::companions::{install, show};
use tests::golden;
use tests::startable::{ended, next, system, until};
use tests::tool;

const ASSIGN: &str = "admin.vm.device.block.Assign+";

fn assign(fixture: &Fixture, device: &str, qube: &str, payload: &str) {
    fixture.ok(&format!("{ASSIGN}{device}"), qube, payload);
}

/// Ports of the disks that a qube uses, in the order of lists.
fn attached(fixture: &Fixture, qube: &str) -> Vec<String> {
    let list = fixture.ok("admin.vm.device.block.Attached", qube, "");
    list.lines().map(|line| line.split(':').next().unwrap().to_owned()).collect()
}

/// Events about devices since so many, but for assignments.
fn told(fixture: &Fixture, before: usize) -> Vec<String> {
    let mut events = fixture.events().split_off(before);
    events.retain(|event| event.contains(" device-") && !event.contains("assign"));
    events
}

/// A stand-in for the service that asks on dom0's screen: gives each question this answer, and tells of it.
fn agent(fixture: &Fixture, answer: &'static str) -> Receiver<Value> {
    let socket = fixture.path("/run/qubes/device-agent.GUI");
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(socket).unwrap();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        while let Ok((mut connection, _)) = listener.accept() {
            let mut question = String::new();
            connection.read_to_string(&mut question).unwrap();
            let question = question.strip_prefix("device-agent.GUI dom0\0").unwrap();
            sender.send(serde_json::from_str(question).unwrap()).unwrap();
            connection.write_all(answer.as_bytes()).unwrap();
        }
    });
    receiver
}

#[test]
fn a_start_is_followed_by_the_devices_that_are_assigned() {
    let fixture = system();
    golden::devices(&fixture);
    assign(&fixture, "dom0+_+:None:1", "work", "mode='auto-attach' _frontend-dev='xvdx'");
    assign(&fixture, "dom0+sda1", "work", "mode='auto-attach' _frontend-dev='xvdy'");
    assign(&fixture, "dom0+sda1+:None:1", "work", "mode='auto-attach' _frontend-dev='xvdz' _read-only='yes'");
    assign(&fixture, "dom0+sda+:other", "work", "mode='auto-attach'");
    assign(&fixture, "dom0+gone", "work", "mode='auto-attach'");
    assign(&fixture, "dom0+sr0", "work", "mode='ask-to-attach'");
    let before = fixture.events().len();
    fixture.ok("admin.vm.Start", "work", "");
    until("nothing is attached", || told(&fixture, before).len() >= 2);
    assert_eq!(
        told(&fixture, before),
        [
            "work device-pre-attach:block device=dom0:sda1::None:1 options={'frontend-dev': 'xvdz', 'read-only': 'yes'}",
            "work device-attach:block device=dom0:sda1::None:1 options={'frontend-dev': 'xvdz', 'read-only': 'yes'}",
        ],
        "once, as the most specific assignment says; nobody was there to ask"
    );
    assert_eq!(attached(&fixture, "work"), ["dom0+sda1"]);
}

#[test]
fn whoever_is_asked_decides() {
    for (answer, is_attached) in [("allow:work", true), ("allow:net", false), ("deny", false), ("", false)] {
        let fixture = system();
        golden::devices(&fixture);
        let questions = agent(&fixture, answer);
        assign(&fixture, "dom0+sda", "work", "mode='ask-to-attach'");
        // Attached after the question about the other was answered.
        assign(&fixture, "dom0+_+:None:1", "work", "mode='auto-attach'");
        fixture.ok("admin.vm.Start", "work", "");
        until("nothing is attached", || attached(&fixture, "work").contains(&"dom0+sda1".to_owned()));
        assert_eq!(
            questions.try_recv().unwrap(),
            json!({
                "source": "dom0", "device_name": "Block Storage: hosted by dom0 DATA", "argument": "sda",
                "targets": ["work"], "default_target": "work", "icons": {"work": "appvm-red"},
            })
        );
        assert_eq!(attached(&fixture, "work").contains(&"dom0+sda".to_owned()), is_attached, "{answer}");
    }
}

#[test]
fn a_device_that_appears_is_told_of_and_goes_to_the_one_that_waits_for_it() {
    let fixture = system();
    install(&fixture);
    assign(&fixture, "net+sdb", "work", "mode='auto-attach'");
    fixture.ok("admin.vm.Start", "work", "");
    ended(&fixture, "admin-vm-auto-attach", "internal.AttachDevices");
    let before = fixture.events().len();
    show(&fixture, "net", &[("/qubes-block-devices/sda/mode", "w"), ("/qubes-block-devices/sdb/mode", "w")]);
    until("nothing is attached", || told(&fixture, before).len() >= 5);
    assert_eq!(
        told(&fixture, before),
        [
            "net device-list-change:block",
            "net device-added:block device=net:sda::None",
            "net device-added:block device=net:sdb::None",
            "work device-pre-attach:block device=net:sdb::None options={}",
            "work device-attach:block device=net:sdb::None options={'read-only': 'no', 'frontend-dev': 'xvdi'}",
        ]
    );
    assert_eq!(attached(&fixture, "work"), ["net+sdb"]);
    let before = fixture.events().len();
    show(&fixture, "net", &[("/qubes-block-devices/sda/mode", "r")]);
    until("nothing is gone", || told(&fixture, before).len() >= 3);
    assert_eq!(
        told(&fixture, before),
        [
            "net device-list-change:block",
            "work device-detach:block port=net:sdb",
            "net device-removed:block port=net:sdb",
        ]
    );
    assert_eq!(attached(&fixture, "work"), [""; 0]);
}

#[test]
fn of_several_that_wait_for_a_device_the_user_names_one() {
    for (answer, holder) in [("allow:test-vm1", "nobody"), ("allow:work", "work"), ("allow:other", "other")] {
        let fixture = system();
        install(&fixture);
        fixture.ok("admin.vm.Create.AppVM+test-template", "dom0", "name=other label=red");
        fixture.ok("admin.vm.volume.Resize+private", "other", "65536");
        fixture.ok("admin.vm.property.Set+netvm", "other", "net");
        let questions = agent(&fixture, answer);
        assign(&fixture, "net+sdb", "work", "mode='ask-to-attach'");
        assign(&fixture, "net+_+:None", "other", "mode='auto-attach'");
        assign(&fixture, "net+sdc", "work", "mode='auto-attach' _read-only='yes'");
        for qube in ["work", "other"] {
            fixture.ok("admin.vm.Start", qube, "");
        }
        // Later they would take what appears as theirs from the start.
        ended(&fixture, "admin-vm-auto-attach", "internal.AttachDevices");
        let devices = [("/qubes-block-devices/sdb/mode", "w"), ("/qubes-block-devices/sdc1/mode", "w")];
        show(&fixture, "net", &devices);
        let question = next(&questions);
        assert_eq!(
            (&question["targets"], &question["default_target"]),
            (&json!(["other", "work"]), &json!(""))
        );
        // What comes next waits until that is done.
        show(&fixture, "net", &[devices[0], devices[1], ("/qubes-block-devices/sdc/parent", "sdc1")]);
        until("the next device is left", || attached(&fixture, "work").contains(&"net+sdc".to_owned()));
        for qube in ["work", "other"] {
            let has = attached(&fixture, qube).contains(&"net+sdb".to_owned());
            assert_eq!(has, qube == holder, "{answer}: {qube}");
        }
        assert!(questions.try_recv().is_err(), "asked once");
    }
}

#[test]
fn what_others_attach_or_detach_is_told_of() {
    let fixture = system();
    std::fs::create_dir_all(fixture.path("/usr/lib/python3.11/site-packages/qubesusbproxy")).unwrap();
    install(&fixture);
    fixture.ok("admin.vm.Start", "work", "");
    let usb = |connected: &str| {
        let desc = ("/qubes-usb-devices/2-1/desc", "0951:1666 a b c");
        show(&fixture, "net", &[desc, ("/qubes-usb-devices/2-1/connected-to", connected)]);
    };
    let mut before = fixture.events().len();
    let attached = "work device-attach:usb device=net:2-1:0951:1666:c: options={}";
    for (connected, events) in [
        ("", vec!["net device-added:usb device=net:2-1:0951:1666:c:"]),
        ("work", vec![attached]),
        ("nobody", vec!["work device-detach:usb port=net:2-1"]),
        ("test-net", vec![]),
        ("work", vec![attached]),
        ("", vec!["work device-detach:usb port=net:2-1"]),
    ] {
        usb(connected);
        let whole = || [vec!["net device-list-change:usb"], events.clone()].concat();
        until("nothing is told", || told(&fixture, before).len() >= whole().len());
        assert_eq!(told(&fixture, before), whole(), "{connected}");
        before = fixture.events().len();
    }
}

#[test]
fn disks_of_dom0_that_come_or_go_are_told_of_and_go_to_the_one_that_waits() {
    let fixture = system();
    golden::devices(&fixture);
    tool::install(&fixture);
    let look = || {
        let before = fixture.events().len();
        let output = tool::tool(&fixture, &["look-for-devices"]);
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        told(&fixture, before)
    };
    assert_eq!(look().len(), 4, "all are new after a boot");
    assert_eq!(look(), [""; 0]);
    let folder = fixture.path("/sys/class/block");
    std::fs::rename(folder.join("sr0"), fixture.path("/sr0")).unwrap();
    assert_eq!(look(), ["dom0 device-list-change:block", "dom0 device-removed:block port=dom0:sr0"]);
    assign(&fixture, "dom0+sr0", "work", "mode='auto-attach'");
    fixture.ok("admin.vm.Start", "work", "");
    ended(&fixture, "admin-vm-auto-attach", "internal.AttachDevices");
    std::fs::rename(fixture.path("/sr0"), folder.join("sr0")).unwrap();
    assert_eq!(
        look(),
        [
            "dom0 device-list-change:block",
            "dom0 device-added:block device=dom0:sr0::0",
            "work device-pre-attach:block device=dom0:sr0::0 options={}",
            "work device-attach:block device=dom0:sr0::0 options={'read-only': 'yes', 'frontend-dev': 'xvdi'}",
        ]
    );
    assert_eq!(look(), [""; 0]);
    std::fs::remove_file(folder.join("sr0")).unwrap();
    assert_eq!(
        look(),
        [
            "dom0 device-list-change:block",
            "work device-detach:block port=dom0:sr0",
            "dom0 device-removed:block port=dom0:sr0",
        ]
    );
    assert_eq!(attached(&fixture, "work"), [""; 0]);
}
