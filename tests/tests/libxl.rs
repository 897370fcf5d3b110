//! The watcher over libxl: the fields of the library that each domain is made from, what is asked of the library, and
//! what comes of each of its failures. Only what needs Xen itself is replaced; see `src/fakes/libxl.c`.
#![cfg_attr(not(libxl), allow(dead_code, unused_imports, reason = "ignored without libxl's headers"))]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::indexing_slicing, reason = "test code")]

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use common::hypervisor::{
    DomainConfig, Domid, GuestMemory, Hypervisor, PowerState, Published, Reply, Request, Stubdom,
};
use common::names::QubeName;
use serde_json::{Value, json};
use tests::Fixture;
use tests::fixture::uuid;
use tests::preloaded::Preloaded;
use tests::watching::{Watching, plain, published, until};

/// The library that stands in front of the real one, compiled once.
fn fake() -> PathBuf {
    static FAKE: OnceLock<Preloaded> = OnceLock::new();
    FAKE.get_or_init(|| Preloaded::compiled("libxl.c", &["-lxenlight", "-lxenstore"])).path()
}

/// A root whose hypervisor is the stand-in.
struct Xen {
    fixture: Fixture,
    folder: tempfile::TempDir,
}

impl Xen {
    fn new() -> Self {
        let (fixture, folder) = (Fixture::new(), tests::scratch());
        std::fs::write(fixture.path("/etc/qubes/admin.json"), r#"{"hypervisor": "libxl"}"#).unwrap();
        Self { fixture, folder }
    }

    /// Makes something happen: a file of the stand-in.
    fn tell(&self, name: &str, content: &str) {
        let temporary = self.folder.path().join("new");
        std::fs::write(&temporary, content).unwrap();
        std::fs::rename(temporary, self.folder.path().join(name)).unwrap();
    }

    /// A watcher that begins a run, and its answer to a request then.
    fn begin(&self, request: &Request) -> (Watching, Option<Reply>) {
        let (watching, reply) = self.started(&Request::Begin);
        if reply != Some(Reply::Done) {
            return (watching, reply);
        }
        let reply = watching.connection.ask(request).unwrap();
        (watching, reply)
    }

    /// A watcher in place of one that was killed.
    fn settle(&self) -> (Watching, Option<Reply>) {
        let left =
            r#"{"state": "Running", "domid": 5, "start_time_us": 1, "memory_kib": 1, "cpu_time_ns": 1}"#;
        std::fs::write(self.fixture.path("/run/qubes/admin/domains/test-vm1"), left).unwrap();
        self.started(&Request::Settle(None))
    }

    fn started(&self, request: &Request) -> (Watching, Option<Reply>) {
        let folder = self.folder.path().to_str().unwrap();
        let fake = fake();
        let variables = [("LD_PRELOAD", fake.to_str().unwrap()), ("FAKE_LIBXL", folder)];
        Watching::started(&self.fixture, &variables, request)
    }

    fn running(&self) -> Watching {
        let (watching, reply) = self.begin(&Request::Create(plain("")));
        assert_eq!(reply, Some(Reply::Domain(Domid(5))));
        for request in [Request::Unpause, Request::Keep] {
            assert_eq!(watching.connection.ask(&request).unwrap(), Some(Reply::Done));
        }
        watching
    }

    fn calls(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("calls"))
            .unwrap()
            .replace('\n', " ")
            .trim_end()
            .to_owned()
    }

    fn until_called(&self, calls: &str) {
        self.until(|called| called == calls);
    }

    fn until(&self, is_wanted: impl Fn(&str) -> bool) {
        let begun = Instant::now();
        while !is_wanted(&self.calls()) {
            assert!(begun.elapsed() < Duration::from_secs(60), "{}", self.calls());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The library's fields of a domain made from these of ours.
    fn fields(&self, changes: Value) -> Value {
        let mut fields = serde_json::to_value(plain("words")).unwrap();
        fields.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let config: DomainConfig = serde_json::from_value(fields).unwrap();
        let (watching, reply) = self.begin(&Request::Create(Box::new(config)));
        assert_eq!(reply, Some(Reply::Domain(Domid(5))));
        drop(watching);
        serde_json::from_slice(&std::fs::read(self.folder.path().join("config.json")).unwrap()).unwrap()
    }
}

/// Leaves out of the library's fields what is empty.
fn filled(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().map(|(name, value)| (name.clone(), filled(value)));
            Value::Object(kept.filter(|(_, value)| *value != json!({}) && *value != json!([])).collect())
        }
        Value::Array(values) => Value::Array(values.iter().map(filled).collect()),
        other => other.clone(),
    }
}

fn disk(path: &str, target: &str) -> Value {
    json!({"path": path, "target": target, "rw": true, "script": "/etc/xen/scripts/qubes-block"})
}

#[test]
#[cfg_attr(not(libxl), ignore = "libxl's headers are not installed")]
fn every_field_of_a_pvh_domain_is_where_the_library_has_it() {
    let found = Xen::new().fields(json!({
        "cpuid": ["vmx=0", "invtsc=1"], "kernel": "/k/vmlinuz", "initrd": "/k/initramfs",
        "disks": [disk("/dev/root", "xvda"), {"path": "/i.iso", "target": "xvdd", "rw": false, "cdrom": true,
                                              "backend": "test-net"}],
        "nics": [{"mac": "00:16:3e:5e:6c:0f", "ip": ["10.137.0.2", "fd09::2"], "backend": "test-net",
                  "script": "vif-route-qubes"}],
        "pci": [{"address": {"segment": 1, "bus": 2, "device": 3, "function": 4}, "permissive": true,
                 "power_management": true}],
    }));
    let expected = json!({
        "c_info": {"type": "pvh", "name": "test-vm1", "uuid": "00000000-0000-4000-8000-000000000002",
                   "driver_domain": "True"},
        "b_info": {
            "max_vcpus": 3, "avail_vcpus": [0, 1, 2], "tsc_mode": "native",
            "max_memkb": 819_200, "target_memkb": 409_600,
            "localtime": "False", "disable_migrate": "True",
            "cpuid": {"cpuid": [
                {"leaf": 1, "ecx": "xxxxxxxxxxxxxxxxxxxxxxxxxx0xxxxx"},
                {"leaf": 2_147_483_655_u64, "edx": "xxxxxxxxxxxxxxxxxxxxxxx1xxxxxxxx"},
            ]},
            "kernel": "/k/vmlinuz", "ramdisk": "/k/initramfs", "cmdline": "words",
            "acpi": "True", "apic": "True", "nested_hvm": "False",
        },
        "disks": [
            {"pdev_path": "/dev/root", "vdev": "xvda", "backend": "phy", "format": "raw",
             "script": "/etc/xen/scripts/qubes-block", "readwrite": 1},
            {"backend_domname": "test-net", "pdev_path": "/i.iso", "vdev": "xvdd", "backend": "phy", "format": "raw",
             "removable": 1, "is_cdrom": 1},
        ],
        "nics": [{"backend_domname": "test-net", "mac": "00:16:3e:5e:6c:0f", "ip": "10.137.0.2 fd09::2",
                  "script": "vif-route-qubes", "nictype": "vif"}],
        "pcidevs": [{"func": 4, "dev": 3, "bus": 2, "domain": 1, "power_mgmt": true, "permissive": true,
                     "seize": true}],
    });
    assert_eq!(filled(&found), expected);
}

#[test]
#[cfg_attr(not(libxl), ignore = "libxl's headers are not installed")]
fn a_paravirtualised_domain_has_no_processor_features_and_sees_the_hosts_memory() {
    let found = Xen::new().fields(json!({"virt_mode": "pv", "e820_host": true}));
    let info = filled(&found)["b_info"].clone();
    let expected = json!({
        "max_vcpus": 3, "avail_vcpus": [0, 1, 2], "tsc_mode": "native", "max_memkb": 819_200,
        "target_memkb": 409_600, "localtime": "False", "cmdline": "words", "type.pv": {"e820_host": "True"},
    });
    assert_eq!(info, expected);
}

#[test]
#[cfg_attr(not(libxl), ignore = "libxl's headers are not installed")]
fn a_fully_virtualised_domain_has_firmware_and_an_emulator_in_a_domain_of_its_own() {
    let emulator = json!({
        "linux": true, "arguments": ["-one", "two"], "memory_kib": 163_840, "image": ["/s/kernel", "/s/rootfs"],
        "video": "cirrus", "sound": "ich6",
    });
    let nics =
        json!([{"mac": "00:16:3e:5e:6c:00", "ip": ["10.137.0.2"], "backend": "test-net", "script": "s"}]);
    let found = Xen::new().fields(json!({
        "virt_mode": "hvm", "uefi": "/OVMF.fd", "clock": {"utc": 3600}, "emulator": emulator, "nics": nics,
    }));
    let found = filled(&found);
    let info = &found["b_info"];
    for (field, expected) in [
        ("device_model_version", json!("qemu_xen")),
        ("device_model_stubdomain", json!("True")),
        ("stubdomain_memkb", json!(163_840)),
        ("stubdomain_kernel", json!("/s/kernel")),
        ("stubdomain_ramdisk", json!("/s/rootfs")),
        ("extra", json!(["-one", "two"])),
        ("rtc_timeoffset", json!(3600)),
        ("tsc_mode", Value::Null),
    ] {
        assert_eq!(info[field], expected, "{field}");
    }
    let expected = json!({
        "bios": "ovmf", "pae": "True", "viridian": "True", "system_firmware": "/OVMF.fd", "vga": {"kind": "cirrus"},
        "vnc": {"enable": "False"}, "sdl": {"enable": "False"}, "boot": "dc", "usb": "True", "soundhw": "ich6",
        "usbdevice_list": ["tablet"],
    });
    assert_eq!(info["type.hvm"], expected);
    assert_eq!(found["nics"][0]["nictype"], "vif_ioemu");
}

#[test]
#[cfg_attr(not(libxl), ignore = "libxl's headers are not installed")]
fn an_older_emulator_and_plain_firmware_are_said_too() {
    let emulator = json!({"linux": false, "arguments": [], "video": "vga"});
    let found = Xen::new().fields(json!({"virt_mode": "hvm", "clock": "localtime", "emulator": emulator}));
    let info = &found["b_info"];
    assert_eq!(info["device_model_version"], "qemu_xen_traditional");
    assert_eq!((&info["localtime"], &info["stubdomain_memkb"]), (&json!("True"), &Value::Null));
    assert_eq!(
        (&info["type.hvm"]["bios"], &info["type.hvm"]["vga"]["kind"]),
        (&json!("seabios"), &json!("std"))
    );
}

#[test]
#[cfg_attr(not(libxl), ignore = "libxl's headers are not installed")]
fn what_the_library_does_not_take_is_told_before_a_domain_is_made() {
    for (changes, what) in [
        (json!({"cpuid": ["no such=thing"]}), "processor feature"),
        (json!({"cmdline": "one\0two"}), "text"),
        (json!({"nics": [{"mac": "nonsense", "ip": [], "backend": "b", "script": "s"}]}), "hardware address"),
        (
            json!({"emulator": {"linux": true, "arguments": [], "video": "fog"}, "virt_mode": "hvm"}),
            "video model",
        ),
    ] {
        let xen = Xen::new();
        let mut fields = serde_json::to_value(plain("")).unwrap();
        fields.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let request = Request::Create(Box::new(serde_json::from_value(fields).unwrap()));
        let (watching, reply) = xen.begin(&request);
        let text = format!("the hypervisor's library does not take this {what}");
        assert_eq!(reply, Some(Reply::Refused(text)));
        assert_eq!(watching.abandoned(), Some(0));
        assert_eq!(xen.calls(), "ctx_alloc");
    }
}

#[test]
#[cfg_attr(not(libxl), ignore = "libxl's headers are not installed")]
fn a_domains_whole_life_is_asked_of_the_library() {
    let xen = Xen::new();
    let watching = xen.running();
    let domain = published(&xen.fixture).unwrap();
    assert_eq!((domain.state, domain.cpu_time_ns, domain.vcpus), (PowerState::Running, 77, 3));
    for request in [Request::Pause, Request::Unpause, Request::Shutdown, Request::Suspend] {
        assert_eq!(watching.connection.ask(&request).unwrap(), Some(Reply::Done), "{request:?}");
    }
    let console = watching.connection.ask(&Request::Console).unwrap();
    assert_eq!(console, Some(Reply::Console(PathBuf::from("/dev/pts/9"))));
    assert_eq!(watching.connection.ask(&Request::Destroy).unwrap(), Some(Reply::Done));
    assert_eq!(watching.ended(), Some(0));
    let expected = "ctx_alloc create watch unpause pause unpause shutdown suspend console destroy";
    assert_eq!(xen.calls(), expected);
    assert_eq!(published(&xen.fixture), None);
}

#[test]
#[cfg_attr(not(libxl), ignore = "libxl's headers are not installed")]
fn a_machine_without_an_iommu_is_told_where_it_is_the_reason() {
    for (mode, machine, expected) in [
        ("hvm", Some(""), Reply::NoIommu),
        ("hvm", None, Reply::Refused("create went wrong".to_owned())),
        ("pvh", Some(""), Reply::Refused("create went wrong".to_owned())),
    ] {
        let xen = Xen::new();
        xen.tell("fails", "create");
        machine.iter().for_each(|content| xen.tell("no-iommu", content));
        let mut config = serde_json::to_value(plain("")).unwrap();
        config["virt_mode"] = json!(mode);
        config["pci"] = json!([{"address": {"segment": 0, "bus": 2, "device": 3, "function": 4}}]);
        let request = Request::Create(serde_json::from_value(config).unwrap());
        assert_eq!(xen.begin(&request).1, Some(expected), "{mode} {machine:?}");
    }
}

#[test]
#[cfg_attr(not(libxl), ignore = "libxl's headers are not installed")]
fn an_interface_takes_the_place_of_those_before() {
    let xen = Xen::new();
    let watching = xen.running();
    xen.tell("nics", "2");
    let nic = json!({"mac": "00:16:3e:5e:6c:0f", "ip": ["10.137.0.2", "fd09::2"], "backend": "test-net",
                     "script": "vif-route-qubes"});
    let connect = Request::Connect(serde_json::from_value(nic).unwrap());
    assert_eq!(watching.connection.ask(&connect).unwrap(), Some(Reply::Done));
    let found: Value =
        serde_json::from_slice(&std::fs::read(xen.folder.path().join("nic.json")).unwrap()).unwrap();
    let expected = json!({"mac": "00:16:3e:5e:6c:0f", "ip": "10.137.0.2 fd09::2", "backend_domname": "test-net",
                          "script": "vif-route-qubes", "nictype": "vif"});
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(found[field], *value, "{field}");
    }
    assert_eq!(watching.connection.ask(&Request::Disconnect).unwrap(), Some(Reply::Done));
    let expected = "ctx_alloc create watch unpause nic_list nic_remove nic_remove nic_list nic_add nic_list nic_remove nic_list";
    assert_eq!(xen.calls(), expected);
    xen.tell("fails", "nic_add");
    let refused = Reply::Refused("nic_add went wrong".to_owned());
    assert_eq!(watching.connection.ask(&connect).unwrap(), Some(refused));
}

#[test]
#[cfg_attr(not(libxl), ignore = "libxl's headers are not installed")]
fn a_netvm_that_does_not_let_go_loses_the_interface_by_force() {
    let xen = Xen::new();
    let watching = xen.running();
    xen.tell("nics", "1");
    xen.tell("fails", "nic_remove nic_destroy");
    let refused = Reply::Refused("nic_destroy went wrong".to_owned());
    assert_eq!(watching.connection.ask(&Request::Disconnect).unwrap(), Some(refused));
    xen.tell("fails", "nic_remove");
    assert_eq!(watching.connection.ask(&Request::Disconnect).unwrap(), Some(Reply::Done));
    let tried = "nic_list nic_remove nic_destroy nic_list";
    assert_eq!(xen.calls(), format!("ctx_alloc create watch unpause {tried} {tried}"));
}

#[test]
#[cfg_attr(not(libxl), ignore = "libxl's headers are not installed")]
fn a_running_domain_gets_and_loses_devices() {
    let xen = Xen::new();
    let watching = xen.running();
    let ask = |word: &str, device: &Value| {
        let request: Request = serde_json::from_value(json!({ word: device })).unwrap();
        watching.connection.ask(&request).unwrap()
    };
    let recorded = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(xen.folder.path().join(name)).unwrap()).unwrap()
    };
    let disk = json!({"disk": {"path": "/dev/sda", "target": "xvdi", "rw": false, "cdrom": true,
                               "backend": "sys-usb", "script": "/etc/xen/scripts/qubes-block"}});
    assert_eq!(ask("attach", &disk), Some(Reply::Done));
    let expected = json!({"pdev_path": "/dev/sda", "vdev": "xvdi", "backend": "phy", "format": "raw",
                          "is_cdrom": 1, "removable": 1, "backend_domname": "sys-usb",
                          "script": "/etc/xen/scripts/qubes-block"});
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(recorded("disk.json")[field], *value, "{field}");
    }
    let pci =
        json!({"pci": {"address": {"segment": 1, "bus": 2, "device": 3, "function": 4}, "permissive": true}});
    assert_eq!(ask("attach", &pci), Some(Reply::Done));
    let expected = json!({"domain": 1, "bus": 2, "dev": 3, "func": 4, "permissive": true, "seize": true});
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(recorded("pci.json")[field], *value, "{field}");
    }
    let told = published(&xen.fixture).unwrap().devices();
    assert_eq!((told.disks.len(), told.pci.len(), told.halfway), (1, 1, None));
    for (device, failing) in [(&pci, "pci_add"), (&disk, "disk_add")] {
        assert_eq!(ask("detach", device), Some(Reply::Done));
        xen.tell("fails", failing);
        assert_eq!(ask("attach", device), Some(Reply::Refused(format!("{failing} went wrong"))));
        xen.tell("fails", "");
    }
    assert_eq!(recorded("removed.json")["vdev"], "xvdi");
    let told = published(&xen.fixture).unwrap().devices();
    assert_eq!((told.disks.len(), told.pci.len(), told.halfway), (0, 0, None), "what failed left nothing");
    assert_eq!(
        xen.calls(),
        "ctx_alloc create watch unpause disk_add pci_add pci_remove pci_add pci_remove vdev_to_disk disk_remove \
        disk_add vdev_to_disk disk_remove"
    );
    assert_eq!(ask("attach", &disk), Some(Reply::Done));
    xen.tell("fails", "disk_remove");
    assert_eq!(ask("detach", &disk), Some(Reply::Refused("disk_remove went wrong".to_owned())));
    assert_eq!(published(&xen.fixture).unwrap().devices().disks.len(), 1, "what stays is told of");
}

#[test]
#[cfg_attr(not(libxl), ignore = "libxl's headers are not installed")]
fn a_guest_that_stops_of_its_own_is_destroyed_and_one_that_sleeps_is_not() {
    for reason in ["0", "1", "3"] {
        let xen = Xen::new();
        let watching = xen.running();
        xen.tell("shutdown", reason);
        assert_eq!(watching.ended(), Some(0));
        assert_eq!(xen.calls(), "ctx_alloc create watch unpause destroy", "{reason}");
    }
    let xen = Xen::new();
    let watching = xen.running();
    xen.tell("shutdown", "2");
    until(&xen.fixture, |domain| domain.is_some_and(|domain| domain.state == PowerState::Suspended));
    std::fs::remove_file(xen.folder.path().join("shutdown")).unwrap();
    assert_eq!(watching.connection.ask(&Request::Resume).unwrap(), Some(Reply::Done));
    assert_eq!(published(&xen.fixture).unwrap().state, PowerState::Running);
    // From here on only the library can tell of its end.
    xen.until_called("ctx_alloc create watch unpause resume watch");
    xen.tell("shutdown", "0");
    assert_eq!(watching.ended(), Some(0));
    assert!(xen.calls().ends_with("watch destroy"));
}

#[test]
#[cfg_attr(not(libxl), ignore = "libxl's headers are not installed")]
fn a_domain_that_cannot_be_destroyed_is_tried_again_but_not_without_a_pause() {
    let xen = Xen::new();
    let watching = xen.running();
    xen.tell("fails", "destroy");
    xen.tell("shutdown", "0");
    xen.until(|called| called.ends_with("destroy"));
    xen.tell("fails", "");
    assert_eq!(watching.ended(), Some(0));
    // A machine that keeps us waiting may let it try some more times; without a pause there are thousands.
    let tries = xen.calls().matches("destroy").count();
    assert!((2..20).contains(&tries), "{tries}");
}

#[test]
#[cfg_attr(not(libxl), ignore = "libxl's headers are not installed")]
fn a_domain_that_someone_else_destroys_is_noticed() {
    let xen = Xen::new();
    let watching = xen.running();
    xen.tell("gone", "");
    assert_eq!(watching.ended(), Some(0));
    assert_eq!(published(&xen.fixture), None);
}

#[test]
#[cfg_attr(not(libxl), ignore = "libxl's headers are not installed")]
fn a_domain_that_nobody_can_tell_of_runs_on_until_it_is_known_to_be_gone() {
    for (end, last) in [("gone", "info"), ("shutdown", "destroy")] {
        let xen = Xen::new();
        let watching = xen.running();
        xen.tell("fails", "info");
        assert_eq!(watching.connection.ask(&Request::Unpause).unwrap(), Some(Reply::Done));
        // It is asked about again of its own accord, also after an end that is heard of.
        xen.until(|called| called.matches("info").count() > 1);
        xen.tell(end, "0");
        let asked = xen.calls().matches("info").count();
        xen.until(|called| called.matches("info").count() > asked);
        assert_eq!(published(&xen.fixture).unwrap().state, PowerState::Running, "{end}");
        xen.tell("fails", "");
        assert_eq!(watching.ended(), Some(0));
        assert_eq!(published(&xen.fixture), None);
        assert!(xen.calls().ends_with(last), "{}", xen.calls());
        // Without a pause there are thousands.
        let tries = xen.calls().matches("info").count();
        assert!((3..20).contains(&tries), "{tries}");
    }
}

#[test]
#[cfg_attr(not(libxl), ignore = "libxl's headers are not installed")]
fn an_end_that_is_heard_of_while_nobody_can_tell_is_no_end_yet() {
    let xen = Xen::new();
    let watching = xen.running();
    xen.tell("fails", "info");
    xen.tell("shutdown", "0");
    xen.until(|called| called.matches("info").count() > 1);
    assert_eq!(published(&xen.fixture).unwrap().state, PowerState::Running);
    xen.tell("fails", "");
    assert_eq!(watching.ended(), Some(0));
    assert!(xen.calls().ends_with("info destroy"), "{}", xen.calls());
}

#[test]
#[cfg_attr(not(libxl), ignore = "libxl's headers are not installed")]
fn a_run_is_taken_over_only_where_its_domain_can_be_asked_about() {
    for failing in ["list", "info", "stubdom_info"] {
        let xen = Xen::new();
        xen.tell("there", "");
        xen.tell("stubdom", "6");
        xen.tell("fails", failing);
        let (watching, reply) = xen.settle();
        assert_eq!(reply, Some(Reply::Refused(format!("{failing} went wrong"))));
        assert_eq!(watching.ended(), Some(0));
        assert_eq!(published(&xen.fixture).unwrap().state, PowerState::Running, "{failing}");
        xen.tell("fails", "");
        let (watching, reply) = xen.settle();
        assert_eq!(reply, Some(Reply::Domain(Domid(5))));
        xen.tell("gone", "");
        assert_eq!(watching.ended(), Some(0));
    }
    let xen = Xen::new();
    let watching = xen.running();
    xen.tell("fails", "info");
    let refused = Some(Reply::Refused("info went wrong".to_owned()));
    assert_eq!(watching.connection.ask(&Request::Pause).unwrap(), refused, "it may be paused already");
}

#[test]
#[cfg_attr(not(libxl), ignore = "libxl's headers are not installed")]
fn a_failure_without_words_is_not_told_in_those_of_another() {
    let xen = Xen::new();
    let watching = xen.running();
    xen.tell("fails", "pause");
    let refused = |text: &str| Some(Reply::Refused(text.to_owned()));
    assert_eq!(watching.connection.ask(&Request::Pause).unwrap(), refused("pause went wrong"));
    xen.tell("cannot-sleep", "-3");
    assert_eq!(watching.connection.ask(&Request::Suspend).unwrap(), refused("error -3"));
    xen.tell("nics", "1");
    xen.tell("stays", "");
    let left = refused("network interfaces are left: 1");
    assert_eq!(watching.connection.ask(&Request::Disconnect).unwrap(), left);
}

#[test]
#[cfg_attr(not(libxl), ignore = "libxl's headers are not installed")]
fn a_domain_is_found_by_its_uuid_but_not_while_it_goes() {
    let xen = Xen::new();
    xen.tell("there", "");
    let (watching, reply) = xen.settle();
    assert_eq!(reply, Some(Reply::Domain(Domid(5))));
    xen.tell("gone", "");
    assert_eq!(watching.ended(), Some(0));
    for (number, gone) in [(3, false), (2, true)] {
        let xen = Xen::new();
        xen.fixture.edit("test-vm1", |qube| qube.uuid = uuid(number));
        xen.tell("there", "");
        if gone {
            xen.tell("gone", "");
        }
        assert_eq!(xen.settle().1, Some(Reply::Gone));
    }
}

#[test]
#[cfg_attr(not(libxl), ignore = "libxl's headers are not installed")]
fn each_failure_of_the_library_is_told_in_its_own_words() {
    for (failing, text) in
        [("ctx_alloc", "cannot connect to the hypervisor"), ("create", "create went wrong")]
    {
        let xen = Xen::new();
        xen.tell("fails", failing);
        let (watching, reply) = xen.begin(&Request::Create(plain("")));
        assert_eq!(reply, Some(Reply::Refused(text.to_owned())));
        assert_eq!(watching.abandoned(), Some(0));
        assert_eq!(published(&xen.fixture), None, "{failing}");
    }
    for (failing, request) in [
        ("unpause", Request::Unpause),
        ("pause", Request::Pause),
        ("suspend", Request::Suspend),
        ("resume", Request::Resume),
        ("destroy", Request::Destroy),
        ("console", Request::Console),
    ] {
        let xen = Xen::new();
        let watching = xen.running();
        xen.tell("fails", failing);
        let reply = watching.connection.ask(&request).unwrap();
        assert_eq!(reply, Some(Reply::Refused(format!("{failing} went wrong"))));
        assert_eq!(published(&xen.fixture).unwrap().state, PowerState::Running, "{failing}");
        std::fs::remove_file(xen.folder.path().join("fails")).unwrap();
        xen.tell("gone", "");
        assert_eq!(watching.ended(), Some(0));
    }
}

#[test]
#[cfg_attr(not(libxl), ignore = "libxl's headers are not installed")]
fn a_guest_that_cannot_sleep_is_told_from_one_that_something_went_wrong_with() {
    let (not_implemented, no_answer, no_drivers, other) = ("-4", "-8", "-10", "-3");
    for (error, expected) in [
        (not_implemented, Reply::CannotSleep),
        (no_answer, Reply::CannotSleep),
        (no_drivers, Reply::CannotSleep),
        (other, Reply::Refused("error -3".to_owned())),
    ] {
        let xen = Xen::new();
        let watching = xen.running();
        xen.tell("cannot-sleep", error);
        assert_eq!(watching.connection.ask(&Request::Suspend).unwrap(), Some(expected), "{error}");
        assert_eq!(watching.connection.ask(&Request::Destroy).unwrap(), Some(Reply::Done));
        assert_eq!(watching.ended(), Some(0));
    }
}

#[test]
#[cfg_attr(not(libxl), ignore = "libxl's headers are not installed")]
fn a_domain_that_is_paused_twice_goes_on_when_it_is_unpaused_once() {
    let xen = Xen::new();
    let watching = xen.running();
    for request in [Request::Pause, Request::Pause, Request::Unpause, Request::Destroy] {
        assert_eq!(watching.connection.ask(&request).unwrap(), Some(Reply::Done), "{request:?}");
    }
    assert_eq!(watching.ended(), Some(0));
    assert_eq!(xen.calls(), "ctx_alloc create watch unpause pause unpause destroy");
}

#[test]
#[cfg_attr(not(libxl), ignore = "libxl's headers are not installed")]
fn a_guest_without_drivers_gets_its_power_button_pressed() {
    let xen = Xen::new();
    let watching = xen.running();
    xen.tell("fails", "shutdown");
    assert_eq!(watching.connection.ask(&Request::Shutdown).unwrap(), Some(Reply::Done));
    assert!(xen.calls().ends_with("shutdown trigger power"));
    xen.tell("gone", "");
    assert_eq!(watching.ended(), Some(0));
}

#[test]
#[cfg_attr(not(libxl), ignore = "libxl's headers are not installed")]
fn a_domain_that_nobody_tells_of_makes_room_for_the_next() {
    let xen = Xen::new();
    xen.tell("there", "");
    let watching = xen.running();
    assert_eq!(xen.calls(), "ctx_alloc destroy create watch unpause");
    assert_eq!(watching.connection.ask(&Request::Destroy).unwrap(), Some(Reply::Done));
    assert_eq!(watching.ended(), Some(0));
}

#[test]
#[cfg_attr(not(libxl), ignore = "libxl's headers are not installed")]
fn the_domain_that_emulates_devices_is_published_with_the_one_it_serves() {
    let xen = Xen::new();
    xen.tell("stubdom", "6");
    let watching = xen.running();
    let stubdom = Stubdom {
        domid: Domid(6),
        uuid: "00000000-0000-4000-8000-000000000099".to_owned(),
        cpu_time_ns: 88,
        vcpus: 2,
    };
    assert_eq!(published(&xen.fixture).unwrap().stubdom, Some(stubdom));
    assert_eq!(watching.connection.ask(&Request::Destroy).unwrap(), Some(Reply::Done));
    assert_eq!(watching.ended(), Some(0));
}

/// A plain configuration whose memory is balanced.
fn balanced(hotplug_max_kib: Option<u64>) -> Request {
    Request::Create(Box::new(DomainConfig { memory_reports: true, hotplug_max_kib, ..*plain("") }))
}

#[test]
#[cfg_attr(not(libxl), ignore = "libxl's headers are not installed")]
fn a_guest_whose_memory_is_balanced_has_room_for_its_reports() {
    let reports = "/local/domain/5/memory/meminfo= owner:5 /local/domain/5/memory/swapinfo= owner:5";
    for (hotplug, more) in [(None, ""), (Some(4_096), " /local/domain/5/memory/hotplug-max=4096")] {
        let xen = Xen::new();
        let (watching, reply) = xen.begin(&balanced(hotplug));
        assert_eq!(reply, Some(Reply::Domain(Domid(5))));
        assert!(xen.calls().starts_with(&format!("ctx_alloc create {reports}{more}")), "{}", xen.calls());
        assert_eq!(watching.abandoned(), Some(0));
    }
    for failing in ["xs_open", "/local/domain/5/memory/swapinfo=", "owner:5"] {
        let xen = Xen::new();
        xen.tell("fails", failing);
        let (watching, reply) = xen.begin(&balanced(None));
        assert_eq!(reply, Some(Reply::Refused("cannot write to XenStore".to_owned())), "{failing}");
        assert_eq!(watching.abandoned(), Some(0));
        assert!(xen.calls().ends_with(" destroy"), "{}", xen.calls());
        assert_eq!(published(&xen.fixture), None);
    }
}

#[test]
#[cfg_attr(not(libxl), ignore = "libxl's headers are not installed")]
fn figures_are_those_of_the_moment_they_are_asked_for() {
    let xen = Xen::new();
    let watching = xen.running();
    let state = || xen.fixture.ok("admin.vm.CurrentState", "test-vm1", "");
    assert!(state().contains(" cputime=77 "), "{}", state());
    xen.tell("cpu", "5000");
    assert!(state().contains(" cputime=5000 "), "{}", state());
    let now = || Published::at(&xen.fixture.root()).domain_now(&QubeName::parse("test-vm1").unwrap());
    assert_eq!(now().unwrap().guest_memory, None);
    let reported = |meminfo: &str, swapinfo: &str| {
        xen.tell("meminfo", meminfo);
        xen.tell("swapinfo", swapinfo);
        now().unwrap().guest_memory
    };
    let memory = |used_kib, swap_used_kib| Some(GuestMemory { used_kib, swap_used_kib });
    assert_eq!(reported("2048", "16"), memory(2048, Some(16)));
    assert_eq!(reported("2048", ""), memory(2048, None));
    for bad in ["", "-1", "2048 ", "0x10", "99999999999999999999", "MemTotal: 1 kB"] {
        assert_eq!(reported(bad, "16"), None, "{bad}");
    }
    assert_eq!(watching.connection.ask(&Request::Destroy).unwrap(), Some(Reply::Done));
    assert_eq!(watching.ended(), Some(0));
}
