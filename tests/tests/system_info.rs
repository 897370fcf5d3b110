//! `internal.GetSystemInfo` (spec 30 §18.1, 50 §12).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::indexing_slicing, reason = "test code")]

use std::os::unix::fs::PermissionsExt;
use std::time::SystemTime;

use common::model::Value;
use tests::Fixture;
use tests::fixture::readable;

const CALL: &str = "internal.GetSystemInfo";
const KEPT: &str = "/run/qubes/admin/system-info";

fn told(fixture: &Fixture) -> String {
    fixture.ok(CALL, "dom0", "")
}

/// What is told of one qube.
fn about(fixture: &Fixture, qube: &str) -> serde_json::Value {
    let told: serde_json::Value = serde_json::from_str(&told(fixture)).unwrap();
    told["domains"][qube].clone()
}

#[test]
fn all_qubes_are_told_byte_by_byte() {
    let fixture = Fixture::new();
    let own = "\"tags\": [\"audiovm-dom0\", \"guivm-dom0\"]";
    let qube = |name: &str, class: &str, label: &str, number: u16| {
        let (label, color) = label.split_once(' ').unwrap();
        format!(
            "\"{name}\": {{\"internal\": null, {own}, \"type\": \"{class}\", \"template_for_dispvms\": false, \
             \"default_dispvm\": null, \"icon\": \"appvm-{label}\", \"label\": \"{color}\", \"guivm\": \"dom0\", \
             \"relayvm\": null, \"transport_rpc\": null, \"power_state\": \"Halted\", \
             \"uuid\": \"00000000-0000-4000-8000-00000000000{number}\"}}"
        )
    };
    let dom0 = "\"dom0\": {\"internal\": null, \"tags\": [], \"type\": \"AdminVM\", \"template_for_dispvms\": false, \
        \"default_dispvm\": null, \"icon\": \"appvm-black\", \"label\": \"0x000000\", \"guivm\": null, \
        \"relayvm\": null, \"transport_rpc\": null, \"power_state\": \"Running\", \
        \"uuid\": \"00000000-0000-0000-0000-000000000000\"}";
    let qubes = [
        dom0.to_owned(),
        qube("test-net", "AppVM", "red 0xcc0000", 3),
        qube("test-template", "TemplateVM", "black 0x000000", 1),
        qube("test-vm1", "AppVM", "red 0xcc0000", 2),
    ];
    let expected = format!("{{\"domains\": {{{}}}}}", qubes.join(", "));
    assert_eq!(told(&fixture), expected);
    assert_eq!(told(&fixture), expected, "as it was kept");
}

#[test]
fn everything_told_follows_its_change_at_once() {
    let fixture = Fixture::new();
    fixture.ok("admin.vm.Create.RemoteVM", "dom0", "name=far label=blue");
    fixture.ok("admin.vm.property.Set+template_for_dispvms", "test-net", "True");
    fixture.ok("admin.vm.Create.DispVM+test-net", "dom0", "name=disp label=red");
    fixture.ok("admin.label.Create+mine", "dom0", "0x123456");
    let steps = [
        ("admin.vm.feature.Set+internal", "test-vm1", "say \"\\\"", "internal", r#""say \"\\\"""#),
        ("admin.vm.feature.Set+internal", "test-vm1", "", "internal", r#""""#),
        ("admin.vm.feature.Set+internal", "test-vm1", "a,b=c%", "internal", r#""a,b=c%""#),
        ("admin.vm.feature.Remove+internal", "test-vm1", "", "internal", "null"),
        ("admin.vm.tag.Set+a", "test-vm1", "", "tags", r#"["a","audiovm-dom0","guivm-dom0"]"#),
        ("admin.vm.tag.Remove+a", "test-vm1", "", "tags", r#"["audiovm-dom0","guivm-dom0"]"#),
        ("admin.vm.property.Set+template_for_dispvms", "test-vm1", "True", "template_for_dispvms", "true"),
        ("admin.vm.property.Set+default_dispvm", "test-vm1", "test-net", "default_dispvm", r#""test-net""#),
        ("admin.vm.property.Reset+default_dispvm", "test-vm1", "", "default_dispvm", "null"),
        ("admin.property.Set+default_dispvm", "test-vm1", "test-net", "default_dispvm", r#""test-net""#),
        ("admin.vm.property.Set+default_dispvm", "test-vm1", "", "default_dispvm", "null"),
        ("admin.vm.property.Set+default_dispvm", "dom0", "", "default_dispvm", "null"),
        ("admin.vm.property.Reset+default_dispvm", "dom0", "", "default_dispvm", r#""test-net""#),
        ("admin.property.Set+default_dispvm", "disp", "test-vm1", "default_dispvm", r#""test-net""#),
        ("admin.vm.property.Set+label", "test-vm1", "mine", "icon", r#""appvm-mine""#),
        ("admin.vm.property.Set+label", "test-vm1", "mine", "label", r#""0x123456""#),
        ("admin.vm.property.Set+guivm", "test-vm1", "test-net", "guivm", r#""test-net""#),
        ("admin.vm.property.Set+guivm", "test-vm1", "", "guivm", "null"),
        ("admin.vm.property.Reset+guivm", "test-vm1", "", "guivm", r#""dom0""#),
        ("admin.property.Set+default_guivm", "test-vm1", "test-net", "guivm", r#""test-net""#),
        ("admin.vm.property.Set+relayvm", "far", "test-net", "relayvm", r#""test-net""#),
        ("admin.vm.property.Set+transport_rpc", "far", "qubes.Call", "transport_rpc", r#""qubes.Call""#),
        ("admin.vm.property.Reset+transport_rpc", "far", "", "transport_rpc", "null"),
    ];
    for (call, qube, payload, key, expected) in steps {
        let destination = if call.starts_with("admin.property") { "dom0" } else { qube };
        fixture.ok(call, destination, payload);
        assert_eq!(about(&fixture, qube)[key].to_string(), expected, "{call} {payload}");
    }
    let far = about(&fixture, "far");
    let expected = [("type", "RemoteVM"), ("power_state", "Running"), ("icon", "appvm-blue")];
    expected.into_iter().for_each(|(key, value)| assert_eq!(far[key], value));
    assert_eq!((&far["guivm"], &far["default_dispvm"]), (&serde_json::Value::Null, &serde_json::Value::Null));
    fixture.ok("admin.vm.Remove", "far", "");
    assert_eq!(about(&fixture, "far"), serde_json::Value::Null);
}

#[test]
fn states_of_domains_are_those_of_now() {
    let fixture = Fixture::new();
    let state = || about(&fixture, "test-vm1")["power_state"].as_str().unwrap().to_owned();
    assert_eq!(state(), "Halted");
    for told in ["Running", "Paused", "Suspended", "Halting", "Dying", "Crashed", "Running"] {
        let _domain = fixture.domain("test-vm1", told);
        assert_eq!(state(), told);
        assert_eq!(state(), told);
    }
    assert_eq!(state(), "Halted");
    let awaited = r#"{"state": "Running", "domid": 7, "start_time_us": 1, "memory_kib": 4, "cpu_time_ns": 5,
        "needs_agent": true}"#;
    let _domain = fixture.published("test-vm1", awaited);
    assert_eq!(state(), "Transient");
    std::fs::write(fixture.path("/run/qubes/qrexec.test-vm1"), "").unwrap();
    assert_eq!(state(), "Running");
}

#[test]
fn what_is_kept_is_used_while_it_holds_and_made_anew_otherwise() {
    let fixture = Fixture::new();
    let first = told(&fixture);
    let kept = fixture.path(KEPT);
    let written = || std::fs::metadata(&kept).unwrap().modified().unwrap();
    let long_ago = SystemTime::UNIX_EPOCH;
    let age = || std::fs::File::options().write(true).open(&kept).unwrap().set_modified(long_ago).unwrap();
    assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o660);
    age();
    assert_eq!(told(&fixture), first);
    assert_eq!(written(), long_ago, "nothing has changed, so that nothing is made");
    fixture.edit("test-vm1", |qube| drop(qube.properties.insert("vcpus".to_owned(), Value::Int(3))));
    assert_eq!(told(&fixture), first);
    assert!(written() > long_ago, "another generation");
    let whole = std::fs::read(&kept).unwrap();
    for torn in [&whole[..whole.len() - 1], &whole[..30], &[], b"garbage\n{}}", b"\xff\xff"] {
        std::fs::write(&kept, torn).unwrap();
        assert_eq!(told(&fixture), first);
        assert!(std::fs::read(&kept).unwrap() == whole);
    }
}

#[test]
fn without_a_place_to_keep_anything_or_an_index_all_is_told_as_ever() {
    let fixture = Fixture::new();
    let first = told(&fixture);
    let kept = fixture.path(KEPT);
    std::fs::remove_file(&kept).unwrap();
    std::fs::create_dir(&kept).unwrap();
    assert_eq!(told(&fixture), first);
    std::fs::remove_dir(&kept).unwrap();
    std::fs::remove_file(fixture.path("/run/qubes/admin/index")).unwrap();
    assert_eq!(told(&fixture), first);
}

#[test]
fn a_qube_that_cannot_be_read_keeps_no_other_from_being_told() {
    let fixture = Fixture::new();
    told(&fixture);
    std::fs::write(fixture.path("/var/lib/qubes/admin/qubes/test-net.json"), "{").unwrap();
    std::fs::remove_file(fixture.path("/run/qubes/admin/index")).unwrap();
    std::fs::remove_file(fixture.path(KEPT)).unwrap();
    assert_eq!(about(&fixture, "test-net"), serde_json::Value::Null);
    assert_eq!(about(&fixture, "test-vm1")["type"], "AppVM");
    assert!(!fixture.path(KEPT).exists());
}

#[test]
fn only_this_machine_asks_and_in_the_usual_form() {
    let fixture = Fixture::new();
    for (call, destination, payload, text) in [
        (CALL, "test-vm1", "", "expected destination to be AdminVM"),
        (CALL, "dom0", "x", "unexpected payload"),
        ("internal.GetSystemInfo+x", "dom0", "", "unexpected argument"),
    ] {
        assert_eq!(fixture.refused(call, destination, payload), format!("ProtocolError: {text}"));
    }
    let variables = [
        ("QREXEC_REMOTE_DOMAIN", "test-vm1"),
        ("QREXEC_REQUESTED_TARGET_TYPE", "name"),
        ("QREXEC_REQUESTED_TARGET", "dom0"),
    ];
    let reply = readable(&fixture.by_qrexec(CALL, &variables, None));
    assert_eq!(reply, "2·ProtocolError··no such method: 'internal.GetSystemInfo'·");
}

#[test]
fn what_is_kept_goes_with_the_index_whose_generation_it_is_kept_by() {
    let fixture = Fixture::new();
    tests::tool::install(&fixture);
    told(&fixture);
    assert!(fixture.path(KEPT).exists());
    std::fs::write(fixture.path("/var/lib/qubes/admin/qubes/test-vm1.json"), "damage").unwrap();
    tests::tool::tool(&fixture, &["check", "--repair"]);
    assert!(!fixture.path(KEPT).exists());
}
