//! What domains are made from: the configuration of each kind of qube against what it has to be (spec 40 §7 to §10).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::indexing_slicing, reason = "test code")]

use std::path::PathBuf;

use common::hypervisor::Published;
use common::model::{Device, Qube, Value as Property};
use common::names::{FeatureName, FeatureValue, VolumeName};
use common::storage::Started;
use serde_json::{Value, json};
use services::domain::config;
use services::property::{Case, Context};
use tests::Fixture;

/// The configuration as JSON, with each path below the root as if that were `/`; or the refusal.
fn configured(fixture: &Fixture, name: &str) -> Result<Value, String> {
    let (root, store) = (fixture.root(), fixture.store());
    let view = store.read().unwrap();
    let qube = view.qube_named(name).unwrap().unwrap();
    let hypervisor = Published::at(&root);
    let context = Context { hypervisor: &hypervisor, root: &root };
    let case = Case { view: &view, context, qube: Some(&qube) };
    let has_device = |name: &str| name != "kernel" || !qube.properties.contains_key("kernel");
    let started = qube.volumes.iter().filter(|volume| has_device(volume.name.as_str()));
    let started: Vec<Started> = started
        .map(|volume| Started {
            volume: volume.clone(),
            path: PathBuf::from(format!("/dev/{}", volume.name)),
        })
        .collect();
    let config = config(&case, &qube, &started).map_err(|failure| failure.into_text().into_owned())?;
    let text = serde_json::to_string(&config).unwrap();
    let below = root.path("/").to_string_lossy().into_owned();
    Ok(serde_json::from_str(&text.replace(&below, "/")).unwrap())
}

fn set(qube: &mut Qube, property: &str, value: impl Into<Setting>) {
    qube.properties.insert(property.to_owned(), value.into().0);
}

struct Setting(Property);

impl From<&str> for Setting {
    fn from(text: &str) -> Self {
        Self(Property::Text(text.to_owned()))
    }
}

impl From<i64> for Setting {
    fn from(number: i64) -> Self {
        Self(Property::Int(number))
    }
}

fn feature(qube: &mut Qube, name: &str, value: &str) {
    qube.set_feature(FeatureName::parse(name).unwrap(), FeatureValue::parse(value).unwrap());
}

fn device(class: &str, id: &str, options: &[(&str, &str)]) -> Device {
    Device {
        class: class.to_owned(),
        backend: "dom0".to_owned(),
        id: id.to_owned(),
        mode: common::names::Mode::Required,
        identity: "*".to_owned(),
        options: options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
    }
}

fn disk(path: &str, target: &str, rw: bool) -> Value {
    json!({"path": path, "target": target, "rw": rw, "cdrom": false, "script": "/etc/xen/scripts/qubes-block"})
}

const UUID: &str = "00000000-0000-4000-8000-000000000002";
const BUILT_IN: &str = "root=/dev/mapper/dmroot ro nomodeset console=hvc0 rd_NO_PLYMOUTH rd.plymouth.enable=0 \
                        plymouth.enable=0 xen_privcmd.unrestricted ";

#[test]
fn a_plain_qube_boots_dom0s_kernel_in_a_pvh_domain() {
    let fixture = Fixture::new();
    let expected = json!({
        "name": "test-vm1", "uuid": UUID, "virt_mode": "pvh",
        "memory_kib": 400 * 1024, "max_memory_kib": 4000 * 1024, "vcpus": 2,
        "cpuid": ["vmx=0", "svm=0", "invtsc=1"],
        "kernel": "/var/lib/qubes/vm-kernels/1.0/vmlinuz",
        "initrd": "/var/lib/qubes/vm-kernels/1.0/initramfs",
        "cmdline": format!("{BUILT_IN}swiotlb=2048"),
        "clock": {"utc": 0}, "e820_host": false,
        "disks": [
            disk("/dev/root", "xvda", true), disk("/dev/private", "xvdb", true),
            disk("/dev/volatile", "xvdc", true), disk("/dev/kernel", "xvdd", false),
        ],
        "nics": [],
    });
    assert_eq!(configured(&fixture, "test-vm1"), Ok(expected));
}

#[test]
fn a_paravirtualised_qube_with_a_kernel_of_its_own_has_a_boot_loader_a_network_and_more_volumes() {
    let fixture = Fixture::new();
    fixture.edit("test-vm1", |qube| {
        for (property, value) in [("virt_mode", "pv"), ("kernel", ""), ("netvm", "test-net")] {
            set(qube, property, value);
        }
        set(qube, "maxmem", 0);
        set(qube, "vcpus", 5);
        for name in ["one", "two"] {
            let mut volume = qube.volumes[1].clone();
            volume.name = VolumeName::parse(name).unwrap();
            qube.volumes.push(volume);
        }
        qube.devices.push(device("block", "sda1", &[("read-only", "true")]));
        qube.devices.push(device("block", "mapper_x", &[("frontend-dev", "xvdl")]));
        qube.devices.push(device("block", "sr0", &[("devtype", "cdrom")]));
    });
    let cdrom = json!({"path": "/dev/sr0", "target": "xvdd", "rw": false, "cdrom": true,
                       "script": "/etc/xen/scripts/qubes-block"});
    let expected = json!({
        "name": "test-vm1", "uuid": UUID, "virt_mode": "pv",
        "memory_kib": 400 * 1024, "max_memory_kib": 400 * 1024, "vcpus": 5,
        "kernel": "/var/lib/qubes/vm-kernels/pvgrub2/vmlinuz",
        "clock": {"utc": 0}, "e820_host": false,
        "disks": [
            disk("/dev/root", "xvda", true), disk("/dev/private", "xvdb", true),
            disk("/dev/volatile", "xvdc", true), disk("/dev/one", "xvde", true), disk("/dev/two", "xvdf", true),
            disk("/dev/sda1", "xvdi", false), disk("/dev/mapper/x", "xvdl", true), cdrom,
        ],
        "nics": [{"mac": "00:16:3e:5e:6c:00", "ip": ["10.137.0.2"], "backend": "test-net",
                  "script": "vif-route-qubes"}],
    });
    assert_eq!(configured(&fixture, "test-vm1"), Ok(expected));
}

#[test]
fn a_fully_virtualised_qube_has_an_emulator_and_devices_of_the_host() {
    let fixture = Fixture::new();
    fixture.edit("test-vm1", |qube| {
        set(qube, "netvm", "test-net");
        set(qube, "stubdom_mem", 160);
        qube.properties.insert("debug".to_owned(), Property::Bool(true));
        for (name, value) in [
            ("audio-model", "ich6"),
            ("qemu-extra-args", "-global  x"),
            ("timezone", "-3600"),
            ("uefi", "1"),
            ("video-model", "cirrus"),
        ] {
            feature(qube, name, value);
        }
        qube.devices.push(device("pci", "00_02.1", &[("permissive", "True")]));
        let manual = Device { mode: common::names::Mode::Manual, ..device("pci", "00_03.0", &[]) };
        qube.devices.push(manual);
    });
    fixture.edit("dom0", |dom0| feature(dom0, "suspend-s0ix", "1"));
    let found = configured(&fixture, "test-vm1").unwrap();
    let expected = json!({
        "virt_mode": "hvm", "memory_kib": 400 * 1024, "max_memory_kib": 400 * 1024,
        "uefi": "/usr/share/edk2/xen/OVMF.fd", "clock": {"utc": -3600}, "e820_host": true,
        "cmdline": format!("{BUILT_IN} qubes_exp_pm_use_suspend=1"),
        "pci": [{"address": {"segment": 0, "bus": 0, "device": 2, "function": 1},
                 "permissive": true, "power_management": true}],
        "emulator": {
            "linux": true,
            "arguments": [
                "-qubes-audio:audiovm_xid=0", "-global", "x", "-trace", "xen_platform_log",
                "-qubes-net:client_ip=10.137.0.2,dns_0=10.139.1.1,dns_1=10.139.1.2,gw=10.137.0.3,\
                 netmask=255.255.255.255",
            ],
            "memory_kib": 160 * 1024,
            "image": ["/usr/libexec/xen/boot/qemu-stubdom-linux-full-kernel",
                      "/usr/libexec/xen/boot/qemu-stubdom-linux-full-rootfs"],
            "video": "cirrus", "sound": "ich6",
        },
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&found[field], value, "{field}");
    }
    assert_eq!((&found["kernel"], &found["initrd"]), (&Value::Null, &Value::Null));
}

/// The command line of `test-vm1` with these features, of which `template:` is the template's.
fn cmdline(features: &[(&str, &str)], prepare: fn(&Fixture)) -> String {
    let fixture = Fixture::new();
    prepare(&fixture);
    for (name, value) in features {
        match name.strip_prefix("template:") {
            Some(name) => fixture.edit("test-template", |qube| feature(qube, name, value)),
            None => fixture.edit("test-vm1", |qube| feature(qube, name, value)),
        }
    }
    configured(&fixture, "test-vm1").unwrap()["cmdline"].as_str().unwrap().to_owned()
}

fn common_options(fixture: &Fixture) {
    let file = fixture.path("/var/lib/qubes/vm-kernels/1.0/default-kernelopts-common.txt");
    std::fs::write(file, "a  nomodeset b \r\n").unwrap();
}

fn a_graphics_card(fixture: &Fixture) {
    common_options(fixture);
    let bus = fixture.path("/sys/bus/pci/devices");
    for (address, file, text) in
        [("0000:00:03.5", "secondary_bus_number", "6\n"), ("0000:07:00.0", "class", "0x030000\n")]
    {
        std::fs::create_dir_all(bus.join(address)).unwrap();
        std::fs::write(bus.join(address).join(file), text).unwrap();
    }
    fixture.edit("test-vm1", |qube| qube.devices.push(device("pci", "00_03.5-01_00.0", &[])));
}

#[test]
fn the_command_line_is_put_together_as_the_features_say() {
    let id = "systemd.machine_id=00000000000040008000000000000002 ";
    for (features, prepare, expected) in [
        (
            &[("template:os", "Linux")][..],
            common_options as fn(&Fixture),
            format!("{id}a  nomodeset b swiotlb=2048"),
        ),
        (&[("no-nomodeset", "1")], common_options, "a  b swiotlb=2048".to_owned()),
        (&[], a_graphics_card, "a  b ".to_owned()),
        (&[("no-nomodeset", "")], a_graphics_card, "a  nomodeset b ".to_owned()),
        (
            &[("template:apparmor", "1"), ("selinux", "1")],
            common_options,
            "a  nomodeset b swiotlb=2048 apparmor=1 security=apparmor".to_owned(),
        ),
        (
            &[("apparmor", "0"), ("selinux", "1")],
            common_options,
            "a  nomodeset b swiotlb=2048 selinux=1 security=selinux".to_owned(),
        ),
        (
            &[("no-default-kernelopts", "1"), ("boot-mode.active", "m"), ("boot-mode.kernelopts.m", "x y")],
            common_options,
            "swiotlb=2048 x y".to_owned(),
        ),
        (
            &[("no-default-kernelopts", "1"), ("boot-mode.active", "m")],
            common_options,
            "swiotlb=2048".to_owned(),
        ),
    ] {
        assert_eq!(cmdline(features, prepare), expected, "{features:?}");
    }
}

#[test]
fn memory_grows_within_its_limit_or_by_hotplug() {
    for (features, mode, memory) in [
        (&[][..], "pvh", (400, 4000, None)),
        (&[("memory-hotplug", "1")], "pvh", (400, 400, Some(4000))),
        (&[("memory-hotplug", "1"), ("qrexec", "1")], "hvm", (400, 400, Some(4000))),
        (&[("memory-hotplug", "")], "pvh", (400, 4000, None)),
        (&[("supported-feature.memory-hotplug", "1")], "pvh", (400, 4000, None)),
    ] {
        let fixture = Fixture::new();
        fixture.edit("test-vm1", |qube| {
            set(qube, "virt_mode", mode);
            features.iter().for_each(|(name, value)| feature(qube, name, value));
        });
        let found = configured(&fixture, "test-vm1").unwrap();
        let mib = |field: &str| found.get(field).map(|value| value.as_u64().unwrap() / 1024);
        let found = (mib("memory_kib"), mib("max_memory_kib"), mib("hotplug_max_kib"));
        assert_eq!(found, (Some(memory.0), Some(memory.1), memory.2), "{features:?}");
    }
    let fixture = Fixture::new();
    std::fs::write(fixture.path("/var/lib/qubes/vm-kernels/1.0/memory-hotplug-supported"), "").unwrap();
    assert_eq!(configured(&fixture, "test-vm1").unwrap()["hotplug_max_kib"], 4000 * 1024);
}

#[test]
fn processors_with_bad_random_numbers_are_known() {
    let fixture = Fixture::new();
    std::fs::create_dir_all(fixture.path("/proc")).unwrap();
    for (model, words) in [(58, 4), (62, 4), (63, 3)] {
        let text = format!("processor\t: 0\ncpu family\t: 6\nmodel\t\t: {model}\nmodel name\t: 62\n");
        std::fs::write(fixture.path("/proc/cpuinfo"), text).unwrap();
        assert_eq!(
            configured(&fixture, "test-vm1").unwrap()["cpuid"].as_array().unwrap().len(),
            words,
            "{model}"
        );
    }
}

#[test]
fn options_of_required_devices_are_those_that_attaching_takes() {
    for (class, id, options, text) in [
        ("block", "sda", ("frontend-dev", "hda"), "Invalid frontend-dev option value: hda"),
        ("block", "sda", ("read-only", "maybe"), "Invalid literal for boolean property: 'maybe'"),
        ("block", "sda", ("devtype", "tape"), "devtype option can only have 'disk' or 'cdrom' value"),
        ("block", "sda", ("colour", "red"), "Unsupported option colour"),
        ("pci", "00_03.5-01_00.0", ("permissive", "1"), "Pci device dom0:00_03.5-01_00.0:* not available"),
    ] {
        let fixture = Fixture::new();
        fixture.edit("test-vm1", |qube| qube.devices.push(device(class, id, &[options])));
        assert_eq!(configured(&fixture, "test-vm1"), Err(text.to_owned()));
    }
}

#[test]
fn a_guest_reports_its_use_of_memory_where_that_is_balanced() {
    let fixture = Fixture::new();
    let reports = |fixture: &Fixture| configured(fixture, "test-vm1").unwrap()["memory_reports"].clone();
    assert_eq!(reports(&fixture), Value::Null);
    std::fs::write(fixture.path("/run/qubes/qmemman.sock"), "").unwrap();
    assert_eq!(reports(&fixture), true);
    fixture.edit("test-vm1", |qube| set(qube, "maxmem", 0));
    assert_eq!(reports(&fixture), Value::Null);
}

#[test]
fn the_administrator_changes_single_fields_of_one_domain() {
    let fixture = Fixture::new();
    let plain = configured(&fixture, "test-vm1").unwrap();
    let folder = fixture.path("/etc/qubes/admin-domains.d");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("test-vm1.json");
    std::fs::write(&file, r#"{"vcpus": 7, "cmdline": "single", "name": "other"}"#).unwrap();
    let changed = configured(&fixture, "test-vm1").unwrap();
    let mut expected = plain;
    expected["vcpus"] = json!(7);
    expected["cmdline"] = json!("single");
    assert_eq!(changed, expected);
    assert_eq!(configured(&fixture, "test-net").unwrap()["vcpus"], 2);
    for bad in ["{", "[]", r#"{"vpus": 7}"#, r#"{"vcpus": "many"}"#] {
        std::fs::write(&file, bad).unwrap();
        let text = "Cannot use /etc/qubes/admin-domains.d/test-vm1.json, see the log for details";
        assert_eq!(configured(&fixture, "test-vm1"), Err(text.to_owned()), "{bad}");
    }
}
