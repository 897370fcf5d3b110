//! Whatever calls make of a store, `qubes.xml` carries it unchanged into another one (spec 10 §7).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::indexing_slicing,
    reason = "test code"
)]

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tests::numbers::Numbers;
use tests::{Fixture, executables};

fn tool(fixture: &Fixture, arguments: &[&str]) -> Output {
    let mut command = Command::new(executables::executable("qubes-admin"));
    command.env_clear().arg("--root").arg(fixture.path("/")).args(arguments).stdin(Stdio::null());
    command.output().unwrap()
}

fn exported(fixture: &Fixture) -> String {
    let output = tool(fixture, &["export"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The export of an empty store into which a file was read.
fn carried(xml: &str) -> Result<String, String> {
    let fixture = Fixture::empty();
    let file: PathBuf = fixture.path("/in.xml");
    std::fs::write(&file, xml).unwrap();
    let imported = tool(&fixture, &["import", file.to_str().unwrap()]);
    if !imported.status.success() {
        return Err(String::from_utf8_lossy(&imported.stderr).into_owned());
    }
    Ok(exported(&fixture))
}

fn assert_carried(fixture: &Fixture, history: &str) {
    let xml = exported(fixture);
    let again = carried(&xml).unwrap_or_else(|refusal| panic!("{refusal} after {history}\n{xml}"));
    let differing = xml.lines().zip(again.lines()).find(|(line, other)| line != other);
    assert!(again == xml, "{differing:?} after {history}");
}

#[test]
fn clients_of_a_qube_that_stopped_providing_network_are_carried() {
    let fixture = Fixture::new();
    fixture.ok("admin.vm.property.Set+netvm", "test-vm1", "test-net");
    fixture.ok("admin.vm.property.Reset+provides_network", "test-net", "");
    let xml = exported(&fixture);
    assert!(xml.contains("<property name=\"netvm\" kept=\"True\">test-net</property>"), "{xml}");
    assert_carried(&fixture, "Reset of provides_network");
    // Without our mark, as in a file of someone else, it is refused.
    let refusal = carried(&xml.replace(" kept=\"True\"", "")).unwrap_err();
    assert!(refusal.contains("property 'netvm': The test-net qube does not provide network"), "{refusal}");
}

#[test]
fn a_qube_that_names_itself_for_disposables_and_no_longer_serves_is_carried() {
    let fixture = Fixture::new();
    fixture.ok("admin.vm.property.Set+template_for_dispvms", "test-vm1", "True");
    fixture.ok("admin.vm.property.Set+default_dispvm", "test-vm1", "test-vm1");
    fixture.ok("admin.vm.property.Reset+template_for_dispvms", "test-vm1", "");
    assert_carried(&fixture, "Reset of template_for_dispvms");
}

const QUBES: [&str; 7] = ["dom0", "test-template", "test-vm1", "test-net", "one", "two", "far"];
const OTHERS: [&str; 9] = ["", "None", "dom0", "test-template", "test-vm1", "test-net", "one", "two", "far"];
const SWITCHES: [&str; 2] = ["True", "False"];
const TEXTS: [&str; 8] = ["", "x", " y  z ", "a&b<c>\"'", "50%s", "10", "us++", "default"];

/// Properties with values of which some fit.
const PROPERTIES: [(&str, &[&str]); 36] = [
    ("audiovm", &OTHERS),
    ("autostart", &SWITCHES),
    ("backup_timestamp", &["1", ""]),
    ("bootmode", &TEXTS),
    ("debug", &SWITCHES),
    ("default_dispvm", &OTHERS),
    ("default_user", &TEXTS),
    ("devices_denied", &["u******p000000", ""]),
    ("guivm", &OTHERS),
    ("include_in_backups", &SWITCHES),
    ("installed_by_rpm", &SWITCHES),
    ("ip", &["10.1.2.3"]),
    ("ip6", &["fd09::7"]),
    ("kernel", &["", "1.0"]),
    ("kernelopts", &TEXTS),
    ("keyboard_layout", &["de++", "us+x-y+z:a"]),
    ("label", &["red", "green", "own", "label-3"]),
    ("mac", &["00:16:3E:5e:6c:01"]),
    ("management_dispvm", &OTHERS),
    ("maxmem", &["0", "900"]),
    ("memory", &["450", "800"]),
    ("netvm", &OTHERS),
    ("provides_network", &SWITCHES),
    ("qrexec_timeout", &["1", "100"]),
    ("remote_name", &TEXTS),
    ("relayvm", &OTHERS),
    ("shutdown_timeout", &["2"]),
    ("stubdom_mem", &["5"]),
    ("template", &OTHERS),
    ("template_for_dispvms", &SWITCHES),
    ("transport_rpc", &TEXTS),
    ("vcpus", &["1", "4"]),
    ("virt_mode", &["hvm", "pv", "PVH"]),
    ("appvm_default_bootmode", &TEXTS),
    ("updateable", &SWITCHES),
    ("uuid", &["00000000-0000-4000-8000-000000000009"]),
];

const GLOBALS: [(&str, &[&str]); 17] = [
    ("check_updates_vm", &SWITCHES),
    ("clockvm", &OTHERS),
    ("default_audiovm", &OTHERS),
    ("default_dispvm", &OTHERS),
    ("default_guivm", &OTHERS),
    ("default_kernel", &["", "1.0"]),
    ("default_netvm", &OTHERS),
    ("default_pool", &["test", "varlibqubes"]),
    ("default_pool_private", &["test", "varlibqubes"]),
    ("default_pool_root", &["test"]),
    ("default_pool_volatile", &["test"]),
    ("default_qrexec_timeout", &["7"]),
    ("default_shutdown_timeout", &["8"]),
    ("default_template", &OTHERS),
    ("management_dispvm", &OTHERS),
    ("stats_interval", &["9"]),
    ("updatevm", &OTHERS),
];

const FEATURES: [&str; 6] = ["f", "service.crond", "net.fake-ip", "boot-mode.kernelopts.x", "ipv6", "f.g"];
const TAGS: [&str; 2] = ["some", "other-tag"];

/// One call of any kind, sensible or not.
fn call(numbers: &mut Numbers) -> (String, &'static str, String) {
    let qube = numbers.pick(&QUBES);
    let text = |text: &str| text.to_owned();
    match numbers.next() % 12 {
        0 => {
            let class = numbers.pick(&[
                "AppVM+test-template",
                "TemplateVM",
                "StandaloneVM",
                "RemoteVM",
                "DispVM+one",
            ]);
            let name = numbers.pick(&["one", "two", "far"]);
            (format!("admin.vm.Create.{class}"), "dom0", format!("name={name} label=red"))
        }
        1 => (text("admin.vm.Remove"), numbers.pick(&QUBES[4..]), text("")),
        2 => (format!("admin.vm.feature.Set+{}", numbers.pick(&FEATURES)), qube, text(numbers.pick(&TEXTS))),
        3 => (format!("admin.vm.feature.Remove+{}", numbers.pick(&FEATURES)), qube, text("")),
        4 => (format!("admin.vm.tag.Set+{}", numbers.pick(&TAGS)), qube, text("")),
        5 => (format!("admin.vm.tag.Remove+{}", numbers.pick(&TAGS)), qube, text("")),
        6 => (format!("admin.label.{}+own", numbers.pick(&["Create", "Remove"])), "dom0", text("")),
        7 => {
            let (property, values) = numbers.pick(&GLOBALS);
            (format!("admin.property.Set+{property}"), "dom0", text(numbers.pick(values)))
        }
        8 => (format!("admin.property.Reset+{}", numbers.pick(&GLOBALS).0), "dom0", text("")),
        9 => (format!("admin.vm.property.Reset+{}", numbers.pick(&PROPERTIES).0), qube, text("")),
        _ => {
            let (property, values) = numbers.pick(&PROPERTIES);
            (format!("admin.vm.property.Set+{property}"), qube, text(numbers.pick(values)))
        }
    }
}

#[test]
fn any_sequence_of_calls_leaves_a_store_that_is_carried() {
    let sequences = std::env::var("SEQUENCES").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    for seed in 0..sequences {
        let mut numbers = Numbers::of(seed);
        let fixture = Fixture::new();
        let mut done = 0;
        for number in 0..200 {
            let (call, destination, mut payload) = call(&mut numbers);
            if call == "admin.label.Create+own" {
                payload = "0x123456".to_owned();
            }
            let reply = fixture.call(&call, destination, payload);
            done += usize::from(reply.starts_with(b"0\0"));
            if number % 20 == 19 {
                assert_carried(
                    &fixture,
                    &format!("{number} calls of seed {seed}, the last {call} on {destination}"),
                );
            }
        }
        println!("seed {seed}: {done} of 200 calls accepted");
        assert!(done > 50, "{done}");
    }
}
