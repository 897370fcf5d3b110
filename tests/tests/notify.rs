//! `qubes.FeaturesRequest`, `qubes.NotifyTools` and `qubes.NotifyUpdates` (spec 10 §8.2, §8.8, §8.9, 30 §17).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::indexing_slicing, reason = "test code")]

use std::io::Write;
use std::process::Stdio;

use common::hypervisor::Published;
use common::model::Value;
use common::names::{FeatureName, FeatureValue};
use common::policy::{IndexedSystem, Policy};
use tests::Fixture;
use tests::companions::{database, entries};
use tests::fixture::{readable, refusal};
use tests::startable;

const REQUEST: &str = "qubes.FeaturesRequest";
const TOOLS: &str = "qubes.NotifyTools";
const UPDATES: &str = "qubes.NotifyUpdates";
const TEMPLATE: &str = "test-template";

/// Has a qube write entries below a folder of its QubesDB.
fn write(fixture: &Fixture, qube: &str, folder: &str, written: &[(&str, &str)]) {
    let keys: Vec<String> = written.iter().map(|(name, _)| format!("{folder}{name}")).collect();
    let values = written.iter().map(|(_, value)| value.as_bytes());
    let written: Vec<(&str, &[u8])> = keys.iter().map(String::as_str).zip(values).collect();
    database(fixture, qube, entries(&written));
}

/// The reply to a qube that tells something.
fn tell(fixture: &Fixture, call: &str, qube: &str) -> String {
    readable(&fixture.call_as(qube, call, "dom0", ""))
}

/// The events of a qube that asks for features.
fn asks(fixture: &Fixture, qube: &str, written: &[(&str, &str)]) -> Vec<String> {
    write(fixture, qube, "/features-request/", written);
    fixture.events_of(|fixture| assert_eq!(tell(fixture, REQUEST, qube), "0·"))
}

fn set(fixture: &Fixture, qube: &str, features: &[(&str, &str)]) {
    fixture.edit(qube, |qube| {
        for (name, value) in features {
            qube.set_feature(FeatureName::parse(name).unwrap(), FeatureValue::parse(value).unwrap());
        }
    });
}

/// A qube's features, each as `name=value`.
fn features(fixture: &Fixture, qube: &str) -> Vec<String> {
    fixture.qube(qube).features.iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn has_set(qube: &str, feature: &str, value: &str, old: Option<&str>) -> [String; 2] {
    let old = old.map(|old| format!(" oldvalue={old}")).unwrap_or_default();
    ["pre-set", "set"]
        .map(|kind| format!("{qube} domain-feature-{kind}:{feature} feature={feature} value={value}{old}"))
}

fn has_removed(qube: &str, feature: &str) -> [String; 2] {
    ["pre-delete", "delete"].map(|kind| format!("{qube} domain-feature-{kind}:{feature} feature={feature}"))
}

fn requested(qube: &str, map: &str) -> [String; 1] {
    [format!("{qube} features-request untrusted_features={map}")]
}

#[test]
fn what_a_template_asks_for_is_taken_over_and_told_in_order() {
    let fixture = Fixture::new();
    let before = [
        ("qrexec", "1"),
        ("gui", "1"),
        ("os", "Linux"),
        ("os-distribution", "debian"),
        ("os-version", "12"),
        ("supported-service.meminfo-writer", "1"),
    ];
    set(&fixture, TEMPLATE, &before);
    let events = asks(
        &fixture,
        TEMPLATE,
        &[
            ("supported-service.cups", "1"),
            ("os", "Linux"),
            ("bogus", "with spaces"),
            ("gui", "0"),
            ("os-distribution", "debian"),
            ("os-version", "12"),
            ("qrexec", "1"),
            ("qubes-agent-version", "4.3"),
            ("supported-feature.vmexec", "1"),
            ("supported-rpc.qubes.Filecopy", "1"),
        ],
    );
    let map = "{'bogus': 'with spaces', 'gui': '0', 'os': 'Linux', 'os-distribution': 'debian', 'os-version': '12', \
        'qrexec': '1', 'qubes-agent-version': '4.3', 'supported-feature.vmexec': '1', \
        'supported-rpc.qubes.Filecopy': '1', 'supported-service.cups': '1'}";
    let expected: Vec<String> = [
        &has_set(TEMPLATE, "os", "Linux", Some("Linux"))[..],
        &has_set(TEMPLATE, "supported-service.cups", "1", None),
        &has_removed(TEMPLATE, "supported-service.meminfo-writer"),
        &has_set(TEMPLATE, "supported-feature.vmexec", "1", None),
        &has_set(TEMPLATE, "supported-rpc.qubes.Filecopy", "1", None),
        &requested(TEMPLATE, map),
        &has_set(TEMPLATE, "os-distribution", "debian", Some("debian")),
        &has_set(TEMPLATE, "os-version", "12", Some("12")),
        &has_set(TEMPLATE, "qubes-agent-version", "4.3", None),
    ]
    .concat();
    assert_eq!(events, expected);
    assert_eq!(
        features(&fixture, TEMPLATE),
        [
            "qrexec=1",
            "gui=1",
            "os=Linux",
            "os-distribution=debian",
            "os-version=12",
            "supported-service.cups=1",
            "supported-feature.vmexec=1",
            "supported-rpc.qubes.Filecopy=1",
            "qubes-agent-version=4.3",
        ]
    );
}

#[test]
fn tools_are_heard_of_in_their_order_and_finish_a_new_template() {
    let fixture = Fixture::new();
    let said = [
        ("version", "1"),
        ("os", "Linux"),
        ("default-user", "user"),
        ("gui-emulated", ""),
        ("gui", "1"),
        ("qrexec", "1"),
    ];
    write(&fixture, TEMPLATE, "/qubes-tools/", &said);
    let events = fixture.events_of(|fixture| assert_eq!(tell(fixture, TOOLS, TEMPLATE), "0·"));
    let map = "{'qrexec': '1', 'gui': '1', 'default-user': 'user', 'os': 'Linux'}";
    let expected: Vec<String> = [
        &has_set(TEMPLATE, "os", "Linux", None)[..],
        &requested(TEMPLATE, map),
        &has_set(TEMPLATE, "qrexec", "1", None),
        &has_set(TEMPLATE, "gui", "1", None),
        &[format!("{TEMPLATE} template-postinstall")],
    ]
    .concat();
    assert_eq!(events, expected);
    let again = fixture.events_of(|fixture| assert_eq!(tell(fixture, TOOLS, TEMPLATE), "0·"));
    let expected = [&has_set(TEMPLATE, "os", "Linux", Some("Linux"))[..], &requested(TEMPLATE, map)].concat();
    assert_eq!(again, expected);
}

#[test]
fn each_feature_is_taken_over_in_its_own_form_only() {
    let fixture = Fixture::new();
    for (said, value, stored) in [
        ("os", "Windows", Some("Windows")),
        ("os", "windows", None),
        ("os", "", None),
        ("os-distribution", "void_linux, of a kind", Some("void_linux, of a kind")),
        ("os-distribution", "", None),
        ("os-distribution-like", "rhel fedora", Some("rhel fedora")),
        ("os-version", "12.4-1", Some("12.4-1")),
        ("os-version", ".1", None),
        ("os-version", "-1", None),
        ("os-version", "1a", None),
        ("os-version", "", None),
        ("os-eol", "2024-02-29", Some("2024-02-29")),
        ("os-eol", "2000-02-29", Some("2000-02-29")),
        ("os-eol", "1900-02-29", None),
        ("os-eol", "2023-02-29", None),
        ("os-eol", "2023-04-31", None),
        ("os-eol", "2023-13-01", None),
        ("os-eol", "2023-00-01", None),
        ("os-eol", "2023-01-00", None),
        ("os-eol", "0000-01-01", None),
        ("os-eol", "2023-1-1", None),
        ("os-eol", "2023-01-01-01", None),
        ("os-eol", "soon", None),
        ("qubes-agent-version", "4.3", Some("4.3")),
        ("qubes-agent-version", "123.456", Some("123.456")),
        ("qubes-agent-version", "1234.1", None),
        ("qubes-agent-version", "4", None),
        ("qubes-agent-version", "4.", None),
        ("qubes-agent-version", "4.3.1", None),
        ("qrexec", "1", Some("1")),
        ("qrexec", "0", Some("")),
        ("qrexec", "2", None),
        ("gui", "0", Some("")),
        ("gui-emulated", "1", Some("1")),
        ("qubes-firewall", "1", Some("1")),
        ("vmexec", "0", Some("")),
        ("vmexec", "yes", None),
        ("anon-timezone", "1", Some("1")),
        ("anon-timezone", "0", None),
        ("default-user", "user", None),
        ("netvm", "1", None),
        ("internal", "1", None),
        ("preload-dispvm", "1", None),
        ("service.x", "1", None),
        ("supported-service.a/b", "1", None),
        ("supported-rpc.a+b", "1", None),
        ("supported-rpc.a", "0", None),
    ] {
        fixture.edit(TEMPLATE, |qube| qube.features.clear());
        let events = asks(&fixture, TEMPLATE, &[(said, value)]);
        let map = format!("{{'{said}': '{value}'}}");
        assert!(events.contains(&requested(TEMPLATE, &map)[0]), "{said}={value}");
        let stored: Vec<String> = stored.into_iter().map(|stored| format!("{said}={stored}")).collect();
        assert_eq!(features(&fixture, TEMPLATE), stored, "{said}={value}");
    }
}

#[test]
fn a_switch_that_is_set_stays_unless_it_is_the_qubes_own() {
    let fixture = Fixture::new();
    let own = [("qubes-firewall", "1"), ("vmexec", ""), ("anon-timezone", "1")];
    let switches = [("qrexec", ""), ("gui", "1"), ("gui-emulated", "")];
    set(&fixture, TEMPLATE, &switches);
    set(&fixture, TEMPLATE, &own);
    let said = ["qrexec", "gui", "gui-emulated", "qubes-firewall", "vmexec", "anon-timezone"]
        .map(|name| (name, "0"));
    asks(&fixture, TEMPLATE, &said);
    let expected = ["qrexec=", "gui=1", "gui-emulated=", "qubes-firewall=", "vmexec=", "anon-timezone=1"];
    assert_eq!(features(&fixture, TEMPLATE), expected);
}

#[test]
fn what_is_supported_takes_the_place_of_what_was() {
    let fixture = Fixture::new();
    for kind in ["service", "feature", "rpc"] {
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| format!("supported-{kind}.{name}"));
        fixture.edit(TEMPLATE, |qube| qube.features.clear());
        set(&fixture, TEMPLATE, &[(&a, "1"), (&b, "1"), (&c, "")]);
        assert_eq!(asks(&fixture, TEMPLATE, &[(&a, "0")]).len(), 1, "one that says nothing keeps all");
        let events = asks(&fixture, TEMPLATE, &[(&d, "1"), (&c, "1"), (&b, "1"), (&a, "0")]);
        let map = format!("{{'{a}': '0', '{b}': '1', '{c}': '1', '{d}': '1'}}");
        let expected: Vec<String> = [
            &has_set(TEMPLATE, &c, "1", Some(""))[..],
            &has_set(TEMPLATE, &d, "1", None),
            &has_removed(TEMPLATE, &a),
            &requested(TEMPLATE, &map),
        ]
        .concat();
        assert_eq!(events, expected);
    }
}

#[test]
fn apparmor_goes_with_its_service() {
    let fixture = Fixture::new();
    let service = "supported-service.apparmor";
    asks(&fixture, TEMPLATE, &[(service, "1")]);
    assert_eq!(features(&fixture, TEMPLATE), ["supported-service.apparmor=1", "apparmor=1"]);
    asks(&fixture, TEMPLATE, &[("supported-service.cups", "1")]);
    assert_eq!(features(&fixture, TEMPLATE), ["supported-service.cups=1"]);
    set(&fixture, TEMPLATE, &[("apparmor", "")]);
    asks(&fixture, TEMPLATE, &[(service, "1")]);
    assert_eq!(features(&fixture, TEMPLATE), ["apparmor=", "supported-service.apparmor=1"]);
}

#[test]
fn a_qube_with_a_template_decides_on_its_calls_alone() {
    let fixture = Fixture::new();
    let rpc = "supported-rpc.qubes.Filecopy";
    let said = [
        ("os", "Linux"),
        ("qrexec", "1"),
        ("supported-feature.x", "1"),
        ("supported-service.x", "1"),
        (rpc, "1"),
    ];
    let events = asks(&fixture, "test-vm1", &said);
    let map = "{'os': 'Linux', 'qrexec': '1', 'supported-feature.x': '1', 'supported-rpc.qubes.Filecopy': '1', \
        'supported-service.x': '1'}";
    let expected = [&has_set("test-vm1", rpc, "1", None)[..], &requested("test-vm1", map)].concat();
    assert_eq!(events, expected);
    assert_eq!(features(&fixture, TEMPLATE), [""; 0]);
}

#[test]
fn windows_gets_what_it_needs_where_nobody_has_set_it() {
    let fixture = Fixture::new();
    set(&fixture, TEMPLATE, &[("audio-model", "none")]);
    asks(&fixture, TEMPLATE, &[("os", "Windows"), ("qrexec", "1")]);
    assert_eq!(
        features(&fixture, TEMPLATE),
        [
            "audio-model=none",
            "os=Windows",
            "rpc-clipboard=1",
            "stubdom-qrexec=1",
            "timezone=localtime",
            "no-monitor-layout=1",
            "qrexec=1",
        ]
    );
    let qube = fixture.qube(TEMPLATE);
    assert_eq!(qube.properties.get("maxmem"), Some(&Value::Int(0)));
    assert_eq!(qube.properties.get("qrexec_timeout"), Some(&Value::Int(6000)));
}

#[test]
fn the_memory_of_windows_that_runs_stays_and_all_else_is_taken_over() {
    let fixture = Fixture::new();
    let _running = fixture.domain(TEMPLATE, "Running");
    asks(&fixture, TEMPLATE, &[("os", "Windows"), ("qrexec", "1")]);
    let qube = fixture.qube(TEMPLATE);
    assert_eq!(qube.properties.get("maxmem"), None);
    assert_eq!(qube.properties.get("qrexec_timeout"), Some(&Value::Int(6000)));
    assert_eq!(qube.feature("timezone"), Some("localtime"));
    let without_agent = asks(&fixture, TEMPLATE, &[("os", "Windows"), ("qrexec", "0")]);
    let expected = [
        &has_set(TEMPLATE, "os", "Windows", Some("Windows"))[..],
        &requested(TEMPLATE, "{'os': 'Windows', 'qrexec': '0'}"),
    ];
    assert_eq!(without_agent, expected.concat());
}

#[test]
fn boot_modes_take_the_place_of_older_ones() {
    let fixture = Fixture::new();
    let events = asks(
        &fixture,
        TEMPLATE,
        &[
            ("boot-mode.active", "safe"),
            ("boot-mode.appvm-default", "default"),
            ("boot-mode.default-user.default", "never"),
            ("boot-mode.default-user.safe", "root"),
            ("boot-mode.kernelopts.default", "never"),
            ("boot-mode.kernelopts.safe", "single nomodeset"),
            ("boot-mode.kernelopts.a.b", "never"),
            ("boot-mode.name.default", "Usual"),
            ("boot-mode.name.safe", "Safe mode"),
            ("boot-mode.name.unknown", "never"),
            ("boot-mode.standalone-default", "unknown"),
        ],
    );
    let modes = [
        "boot-mode.default-user.safe=root",
        "boot-mode.kernelopts.safe=single nomodeset",
        "boot-mode.name.default=Usual",
        "boot-mode.name.safe=Safe mode",
    ];
    let expected = [&modes[..], &["boot-mode.active=safe", "boot-mode.appvm-default=default"]].concat();
    assert_eq!(features(&fixture, TEMPLATE), expected);
    let reset = format!("{TEMPLATE} property-reset:bootmode name=bootmode");
    assert_eq!(events.iter().position(|event| *event == reset), Some(events.len() - 4), "{events:#?}");

    asks(&fixture, TEMPLATE, &[("boot-mode.kernelopts.other", "x"), ("boot-mode.active", "other")]);
    let expected =
        ["boot-mode.active=other", "boot-mode.appvm-default=default", "boot-mode.kernelopts.other=x"];
    assert_eq!(features(&fixture, TEMPLATE), expected);
}

#[test]
fn unsound_boot_modes_change_nothing() {
    let fixture = Fixture::new();
    set(&fixture, TEMPLATE, &[("boot-mode.kernelopts.old", "x")]);
    let same_names = [
        ("boot-mode.kernelopts.a", "1"),
        ("boot-mode.kernelopts.b", "2"),
        ("boot-mode.name.a", "same"),
        ("boot-mode.name.b", "same"),
    ];
    let same_users = same_names.map(|(name, value)| (name.replace("name", "default-user"), value));
    let same_users = same_users.each_ref().map(|(name, value)| (name.as_str(), *value));
    let many: Vec<String> = (0..65).map(|number| format!("boot-mode.kernelopts.m{number}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "x")).collect();
    let orphans = [("boot-mode.name.a", "A"), ("boot-mode.default-user.a", "u")];
    for said in [&same_names[..], &same_users, &many, &orphans, &[]] {
        assert_eq!(asks(&fixture, TEMPLATE, said).len(), 1);
        assert_eq!(features(&fixture, TEMPLATE), ["boot-mode.kernelopts.old=x"]);
    }
    assert!(asks(&fixture, TEMPLATE, &many[..64]).len() > 64);
    set(&fixture, "test-vm1", &[("boot-mode.kernelopts.old", "x")]);
    assert_eq!(asks(&fixture, "test-vm1", &[("boot-mode.active", "old")]).len(), 1);
}

#[test]
fn strange_names_are_shown_as_text_and_never_stored() {
    let fixture = Fixture::new();
    let events =
        asks(&fixture, TEMPLATE, &[("supported-rpc.it's", "1"), ("supported-rpc.\"\\", "1"), ("", "x")]);
    let map = "{'supported-rpc.\"\\\\': '1', \"supported-rpc.it's\": '1'}";
    assert_eq!(events, requested(TEMPLATE, map));
    assert_eq!(asks(&fixture, TEMPLATE, &[]), requested(TEMPLATE, "{}"));
    assert_eq!(features(&fixture, TEMPLATE), [""; 0]);
}

const SAFE: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// A database's answer that begins well and has this as its second head.
fn spoilt(number: u8, length: u32) -> Vec<u8> {
    let mut answer = entries(&[("/features-request/os", b"Linux")]);
    answer.truncate(72 + 5);
    answer.push(number);
    answer.resize(72 + 5 + 68, b'x');
    answer.extend_from_slice(&length.to_ne_bytes());
    answer
}

#[test]
fn hostile_databases_change_nothing() {
    const DROPPED: &str = "no answer";
    let fixture = Fixture::new();
    let outside = format!("ProtocolError: Value outside safe set: {SAFE}-.,_= ");
    let unreadable = format!("QubesException: The QubesDB of {TEMPLATE} cannot be read");
    let key = |key: &str, value: &[u8]| entries(&[("/features-request/os", b"Linux"), (key, value)]);
    let many = |count: usize, value: &[u8]| {
        let keys: Vec<String> = (0..count).map(|number| format!("/features-request/f{number}")).collect();
        entries(&keys.iter().map(|key| (key.as_str(), value)).collect::<Vec<_>>())
    };
    let bad: Vec<(Vec<u8>, &str)> = vec![
        (key("/features-request/x", b"$"), &outside),
        (key("/features-request/x", b"a\nb"), &outside),
        (key("/features-request/x", b"a\0b"), &outside),
        (key("/features-request/x", b"\x1b[0m"), &outside),
        (key("/features-request/x", b"\xff"), DROPPED),
        (key("/features-request/\u{e9}", b"1"), "ProtocolError: non-ASCII characters"),
        (key("/features-request/a b", b"1"), "ProtocolError: Name outside safe set"),
        (key("/features-request/a\n", b"1"), "ProtocolError: Name outside safe set"),
        (many(1025, b"1"), "ProtocolError: Too many features requested"),
        (many(30, &[b'x'; 3000]), "ProtocolError: Too many features requested"),
        (many(5000, b"1"), &unreadable),
        (spoilt(11, 3073), &unreadable),
        (spoilt(11, u32::MAX), &unreadable),
        (spoilt(9, 0), &unreadable),
        (spoilt(11, 5), &unreadable),
        (Vec::new(), &unreadable),
    ];
    let before = fixture.stored();
    let events = fixture.events_of(|fixture| {
        for (answer, expected) in bad {
            database(fixture, TEMPLATE, answer);
            let reply = fixture.call_as(TEMPLATE, REQUEST, "dom0", "");
            let answer = if reply.is_empty() { DROPPED.to_owned() } else { refusal(&reply) };
            assert_eq!(answer, *expected);
        }
    });
    assert_eq!(events, [""; 0]);
    assert!(fixture.stored() == before);
}

#[test]
fn bad_tools_change_nothing_and_others_do_not_matter() {
    let fixture = Fixture::new();
    let outside = format!("ProtocolError: Value outside safe set: {SAFE}");
    write(&fixture, TEMPLATE, "/qubes-tools/", &[("os", "\u{e9}")]);
    assert_eq!(readable(&fixture.call_as(TEMPLATE, TOOLS, "dom0", "")), "");
    let events = fixture.events_of(|fixture| {
        for bad in ["invalid value", "1-", "\u{1}"] {
            for name in ["qrexec", "gui", "gui-emulated", "default-user", "os"] {
                write(fixture, TEMPLATE, "/qubes-tools/", &[("version", "1"), (name, bad)]);
                let refused = refusal(&fixture.call_as(TEMPLATE, TOOLS, "dom0", ""));
                assert_eq!(refused, outside, "{name}={bad}");
            }
        }
    });
    assert_eq!(events, [""; 0]);
    write(&fixture, TEMPLATE, "/qubes-tools/", &[("qrexec", "0"), ("else", "in valid"), ("b\u{e9}", "1")]);
    let events = fixture.events_of(|fixture| assert_eq!(tell(fixture, TOOLS, TEMPLATE), "0·"));
    assert_eq!(events[..1], requested(TEMPLATE, "{'qrexec': '0'}"));
}

#[test]
fn who_does_not_run_has_nothing_to_say() {
    let fixture = Fixture::new();
    let events = fixture.events_of(|fixture| {
        for call in [REQUEST, TOOLS] {
            for qube in [TEMPLATE, "test-vm1", "dom0"] {
                assert_eq!(readable(&fixture.call_as(qube, call, "dom0", "")), "", "{qube}");
            }
        }
    });
    assert_eq!(events, [""; 0]);
}

#[test]
fn only_dom0_is_told_and_in_the_usual_form() {
    let fixture = Fixture::new();
    for (call, destination, payload, text) in [
        (REQUEST, "test-vm1", "", "expected destination to be AdminVM"),
        (TOOLS, "test-vm1", "", "expected destination to be AdminVM"),
        (UPDATES, "test-vm1", "1", "expected destination to be AdminVM"),
        (REQUEST, "dom0", "x", "unexpected payload"),
        (TOOLS, "dom0", "x", "unexpected payload"),
        (UPDATES, "dom0", "", "expected payload"),
        ("qubes.FeaturesRequest+x", "dom0", "", "unexpected argument"),
        ("qubes.NotifyTools+x", "dom0", "", "unexpected argument"),
        ("qubes.NotifyUpdates+x", "dom0", "1", "unexpected argument"),
    ] {
        let refused = refusal(&fixture.call_as("test-vm1", call, destination, payload));
        assert_eq!(refused, format!("ProtocolError: {text}"), "{call}");
    }
}

/// The reply to a qube that has found updates.
fn found(fixture: &Fixture, qube: &str, payload: impl AsRef<[u8]>) -> String {
    readable(&fixture.call_as(qube, UPDATES, "dom0", payload))
}

/// Events with times of day as `(now)`.
fn timeless(events: &[String]) -> Vec<String> {
    let is_time = |text: &str| {
        let shape: String =
            text.chars().map(|character| if character.is_ascii_digit() { '0' } else { character }).collect();
        shape == "0000-00-00 00:00:00"
    };
    let now = |event: &String| {
        let (before, value) = event.split_once(" value=").unwrap();
        let (value, old) =
            value.split_once(" oldvalue=").map_or((value, None), |(value, old)| (value, Some(old)));
        let shown = |value: &str| if is_time(value) { "(now)".to_owned() } else { value.to_owned() };
        let old = old.map(|old| format!(" oldvalue={}", shown(old))).unwrap_or_default();
        format!("{before} value={}{old}", shown(value))
    };
    events.iter().map(now).collect()
}

#[test]
fn a_qube_that_is_updated_on_its_own_has_its_flag_and_times() {
    let fixture = Fixture::new();
    let mut old: [Option<&str>; 3] = [None; 3];
    let now = Some("(now)");
    for (count, flag, is_updated) in [
        ("0\n", "", false),
        (" 12 ", "1", false),
        ("00001", "1", false),
        ("000", "", true),
        ("1", "1", false),
        ("0", "", true),
    ] {
        let events = fixture.events_of(|fixture| assert_eq!(found(fixture, TEMPLATE, count), "0·"));
        let [updated, available, checked] = [
            has_set(TEMPLATE, "last-update", "(now)", old[0]),
            has_set(TEMPLATE, "updates-available", flag, old[1]),
            has_set(TEMPLATE, "last-updates-check", "(now)", old[2]),
        ];
        let updated = if is_updated { &updated[..] } else { &[] };
        assert_eq!(timeless(&events), [updated, &available, &checked].concat(), "{count:?}");
        old = [if is_updated { now } else { old[0] }, Some(flag), now];
    }
    assert_eq!(found(&fixture, "dom0", "3"), "0·");
    assert_eq!(fixture.ok("admin.vm.feature.Get+updates-available", "dom0", ""), "1");
}

#[test]
fn a_count_is_digits() {
    let fixture = Fixture::new();
    let many = "9".repeat(60_000);
    assert_eq!(found(&fixture, TEMPLATE, many), "0·");
    let events = fixture.events_of(|fixture| {
        for bad in
            [&b"no updates"[..], b" ", b"-1", b"+1", b"1 2", b"1.0", b"0x1", b"1\0", b"\xd9\xa1", b"\xff"]
        {
            let text = "2·ProtocolError··Update count is not a digit·";
            assert_eq!(found(fixture, TEMPLATE, bad), text);
        }
    });
    assert_eq!(events, [""; 0]);
}

#[test]
fn updates_that_a_based_qube_finds_are_its_halted_templates() {
    let fixture = Fixture::new();
    assert_eq!(fixture.events_of(|fixture| assert_eq!(found(fixture, "test-vm1", "0"), "0·")), [""; 0]);
    {
        let _running = fixture.domain(TEMPLATE, "Paused");
        assert_eq!(fixture.events_of(|fixture| assert_eq!(found(fixture, "test-vm1", "1"), "0·")), [""; 0]);
    }
    let expected = |old: [Option<&str>; 2]| {
        let [flag, time] = old;
        let flag = has_set(TEMPLATE, "updates-available", "1", flag);
        [flag, has_set(TEMPLATE, "last-updates-check", "(now)", time)].concat()
    };
    let events = fixture.events_of(|fixture| assert_eq!(found(fixture, "test-vm1", "2\n"), "0·"));
    assert_eq!(timeless(&events), expected([None; 2]));
    fixture.ok("admin.vm.property.Set+template_for_dispvms", "test-vm1", "True");
    fixture.ok("admin.vm.Create.DispVM+test-vm1", "dom0", "name=disp label=red");
    let events = fixture.events_of(|fixture| assert_eq!(found(fixture, "disp", "1"), "0·"));
    assert_eq!(timeless(&events), expected([Some("1"), Some("(now)")]));
    fixture.ok("admin.vm.Create.RemoteVM", "dom0", "name=far label=red");
    assert_eq!(found(&fixture, "far", "1"), "0·");
}

#[test]
fn a_qube_with_an_older_state_of_its_template_is_not_believed() {
    let fixture = startable::system();
    fixture.ok("admin.vm.Start", "work", "");
    for call in ["admin.vm.Start", "admin.vm.Shutdown+wait"] {
        fixture.ok(call, TEMPLATE, "");
    }
    assert!(fixture.ok("admin.vm.volume.Info+root", "work", "").contains("is_outdated=True"));
    assert_eq!(fixture.events_of(|fixture| assert_eq!(found(fixture, "work", "1"), "0·")), [""; 0]);
    fixture.ok("admin.vm.Kill", "work", "");
    assert_eq!(fixture.events_of(|fixture| assert_eq!(found(fixture, "work", "1"), "0·")).len(), 4);
}

#[test]
fn under_qrexec_the_exit_status_tells_all() {
    let fixture = Fixture::new();
    for (call, qube, payload, status) in [
        (UPDATES, TEMPLATE, "1", 0),
        (UPDATES, TEMPLATE, "x", 1),
        (UPDATES, "gone", "1", 1),
        (REQUEST, TEMPLATE, "", 1),
        (TOOLS, TEMPLATE, "", 1),
    ] {
        let mut command = fixture.command(call);
        command.stdin(Stdio::piped()).env("QREXEC_REMOTE_DOMAIN", qube);
        command.env("QREXEC_REQUESTED_TARGET_TYPE", "name").env("QREXEC_REQUESTED_TARGET", "dom0");
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(payload.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), readable(&output.stdout)), (Some(status), String::new()), "{call}");
    }
    assert_eq!(fixture.ok("admin.vm.feature.Get+updates-available", TEMPLATE, ""), "1");
}

#[test]
fn policy_lets_every_qube_tell_and_none_do_anything_else() {
    let fixture = Fixture::new();
    let policy = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../rpc-config/policy.d");
    let copied =
        std::process::Command::new("cp").arg("-r").arg(policy).arg(fixture.path("/etc/qubes")).status();
    assert!(copied.unwrap().success());
    let (store, root) = (fixture.store(), fixture.root());
    let (view, hypervisor) = (store.read().unwrap(), Published::at(&root));
    let system = IndexedSystem::of(&view, &hypervisor).unwrap();
    let policy = Policy::load(&root).unwrap();
    for (service, is_allowed) in [
        (REQUEST, true),
        (TOOLS, true),
        (UPDATES, true),
        ("admin.vm.List", false),
        ("internal.SuspendPre", false),
    ] {
        for qube in ["test-vm1", TEMPLATE] {
            let allows = policy.is_plainly_allowed(&system, service, "+", qube, "dom0");
            assert_eq!(allows, is_allowed, "{service} from {qube}");
            assert!(
                !policy.is_plainly_allowed(&system, service, "+", qube, "test-net"),
                "{service} from {qube}"
            );
        }
    }
}
