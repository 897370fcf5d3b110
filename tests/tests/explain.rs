//! `qubes-admin explain`: every layer that decides on a call tells what it says; `qubes-admin call --dry-run`: also what the
//! call would change. Neither makes it.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

use std::io::Write;
use std::process::Stdio;

use tests::tool::{command, error, install, text, tool};
use tests::{Fixture, startable};

const FOLDER: &str = "/etc/qubes/admin-constraints.d";

/// `test-vm1` may ask for properties of all and for lists, and is held to some values and qubes.
fn system() -> Fixture {
    let fixture = Fixture::new();
    fixture.policy(
        "30-all.policy",
        "admin.vm.property.Set * test-vm1 @anyvm allow target=dom0\nadmin.vm.feature.Set * test-vm1 @anyvm ask\n\
        admin.vm.tag.Set * test-vm1 @anyvm allow target=dom0\nadmin.vm.Create.AppVM * test-vm1 dom0 allow\n",
    );
    std::fs::create_dir_all(fixture.path(FOLDER)).unwrap();
    std::fs::write(
        fixture.path(FOLDER).join("50.toml"),
        "[[constraint]]\ncallers = [\"test-vm1\"]\nproperty.memory = [\"..4000\"]\nqubes = [\"test-net\", \
        \"test-template\"]\n\n[[constraint]]\ncallers = [\"test-vm1\"]\nmax-qubes = 3\n",
    )
    .unwrap();
    fixture
}

/// What is printed, with one space between columns, and whether the call is granted.
fn explained(fixture: &Fixture, words: &[&str]) -> (Vec<String>, bool) {
    let before = fixture.files();
    let output = tool(fixture, &[&["explain"], words].concat());
    assert_eq!(fixture.files(), before, "something was done");
    let lines =
        text(&output).lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    if !output.status.success() {
        assert_eq!(error(&output), "qubes-admin: the call is not granted\n");
    }
    (lines, output.status.success())
}

#[test]
fn each_layer_tells_what_it_says() {
    let fixture = system();
    let policy = "policy allowed by /etc/qubes/policy.d/30-all.policy:1; it goes to dom0";
    let (request, rules) = ("request well-formed", "built-in rules none is against it");
    let set = "admin.vm.property.Set+memory";
    let within = "constraints none is against it within the quota of 3 qubes";
    for (words, expected, granted) in [
        (&["test-vm1", set, "test-net", "400"][..], &[policy, request, rules, within][..], true),
        (
            &["test-vm1", set, "test-net", "4001"],
            &[
                policy,
                request,
                rules,
                "constraints denied by /etc/qubes/admin-constraints.d/50.toml:3: this value of property memory is not \
                among those allowed",
            ],
            false,
        ),
        (
            &["test-vm1", "admin.vm.property.Set+netvm", "test-net", "nobody"],
            &[
                policy,
                request,
                rules,
                "constraints denied by /etc/qubes/admin-constraints.d/50.toml:4: the qube nobody is none of those listed",
            ],
            false,
        ),
        (
            &["test-vm1", set, "test-vm1", "400"],
            &[
                policy,
                "constraints denied by /etc/qubes/admin-constraints.d/50.toml:4: for test-vm1 there is no test-vm1",
            ],
            false,
        ),
        (
            &["test-vm1", set, "test-net", "many"],
            &[policy, "request refused: Failed to parse property value as int"],
            false,
        ),
        (
            &["test-vm1", "admin.vm.tag.Set+created-by-x", "test-net"],
            &[
                "policy allowed by /etc/qubes/policy.d/30-all.policy:3; it goes to dom0",
                request,
                "built-in rules denied: changing this tag is prohibited by qubes.ext.admin.AdminExtension",
                within,
            ],
            false,
        ),
        (
            &["test-net", set, "test-vm1", "4001"],
            &["policy denied: no matching rule found", request, rules, "constraints none is about test-net"],
            false,
        ),
        (
            &["dom0", set, "test-vm1", "4001"],
            &["policy not asked: dom0 is the caller", request, rules, "constraints none is about dom0"],
            true,
        ),
        (
            &["dom0", "admin.vm.volume.ImportWithSize+private", "test-vm1"],
            &["policy not asked: dom0 is the caller", request, rules, "constraints none is about dom0"],
            true,
        ),
    ] {
        let (lines, is_granted) = explained(&fixture, words);
        let is_as_expected = lines.iter().zip(expected).all(|(line, expected)| line.starts_with(expected));
        assert!(is_as_expected && lines.len() == expected.len(), "{words:?}: {lines:#?}");
        assert_eq!(is_granted, granted, "{words:?}");
    }
}

#[test]
fn what_cannot_be_explained_is_told() {
    let fixture = system();
    let refused = |words: &[&str]| error(&tool(&fixture, &[&["explain"], words].concat()));
    assert_eq!(refused(&["nobody", "admin.vm.List", "dom0"]), "qubes-admin: there is no qube nobody\n");
    assert_eq!(refused(&["dom0", "admin.vm.Lists", "dom0"]), "qubes-admin: no such method: admin.vm.Lists\n");
    assert_eq!(
        refused(&["dom0", "internal.GetSystemInfo", "dom0"]),
        "qubes-admin: no such method: internal.GetSystemInfo\n"
    );
    std::fs::write(fixture.path("/etc/qubes/policy.d/31.policy"), "nonsense\n").unwrap();
    let (lines, granted) = explained(&fixture, &["test-vm1", "admin.vm.List", "dom0"]);
    assert!(lines.first().unwrap().starts_with("policy denies everything: "), "{lines:?}");
    assert!(!granted);
    assert_eq!(
        explained(&fixture, &["dom0", "admin.vm.List", "nobody"]).0.last().unwrap(),
        "request refused: No such domain: 'nobody'"
    );
}

/// The lines that a dry run prints behind those of the layers, and how it ends.
fn tried(
    fixture: &Fixture,
    caller: &str,
    destination: &str,
    call: &str,
    payload: &str,
) -> (Vec<String>, String) {
    let before = fixture.files();
    let mut child = command(fixture, &["call", "--dry-run", "--as", caller, destination, call])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(payload.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(fixture.files(), before, "something was done");
    let lines =
        text(&output).lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    (lines, String::from_utf8(output.stderr).unwrap())
}

/// How events are told by a dry run, as the log has them.
fn told(events: &[String]) -> Vec<String> {
    events.iter().map(|event| format!("event {}", event.trim())).collect()
}

#[test]
fn a_dry_run_tells_what_the_call_then_does() {
    let fixture = Fixture::new();
    install(&fixture);
    for (destination, call, payload, changes) in [
        ("test-vm1", "admin.vm.property.Set+memory", "300", &["properties memory: nothing becomes 300"][..]),
        ("test-vm1", "admin.vm.property.Set+memory", "301", &["properties memory: 300 becomes 301"]),
        ("test-vm1", "admin.vm.property.Reset+memory", "", &["properties memory: 301 becomes nothing"]),
        ("test-vm1", "admin.vm.feature.Set+f", "1", &["features: with [\"f\",\"1\"]"]),
        ("test-vm1", "admin.vm.feature.Remove+f", "", &["features: without [\"f\",\"1\"]"]),
        ("test-vm1", "admin.vm.tag.Set+t", "", &["tags: with \"t\""]),
        ("test-vm1", "admin.vm.tag.Remove+t", "", &["tags: without \"t\""]),
    ] {
        let (lines, errors) = tried(&fixture, "dom0", destination, call, payload);
        assert_eq!(errors, "", "{call}");
        let events = fixture.events_of(|fixture| drop(fixture.ok(call, destination, payload)));
        let changes = changes.iter().map(|change| format!("change qubes/{destination}.json {change}"));
        let expected: Vec<String> = changes.chain(told(&events)).collect();
        assert_eq!(lines.get(4..).unwrap(), expected, "{call}");
    }
}

#[test]
fn a_dry_run_tells_of_qubes_volumes_and_assignments_as_they_would_be() {
    let fixture = startable::system();
    install(&fixture);
    let assign = "admin.vm.device.block.Assign+dom0+sda";
    let create = "admin.vm.Create.AppVM+test-template";
    let new = [
        "change qubes/new.json class: nothing becomes \"AppVM\"",
        "change qubes/new.json properties label: nothing becomes \"blue\"",
        "change qubes/new.json properties template: nothing becomes \"test-template\"",
        "change qubes/new.json tags: with \"created-by-dom0\"",
    ];
    for (destination, call, payload, changes) in [
        ("dom0", create, "name=new label=blue", &new[..]),
        ("new", assign, "mode='required'", &["change qubes/new.json devices: with "]),
        ("new", "admin.vm.device.block.Set.assignment+dom0+sda", "auto-attach", &new[..0]),
        ("new", "admin.vm.device.block.Unassign+dom0+sda", "", &["change qubes/new.json devices: without "]),
        (
            "new",
            "admin.vm.volume.Set.revisions_to_keep+private",
            "4",
            &["change qubes/new.json volumes: with "],
        ),
        ("new", "admin.vm.Remove", "", &["change qubes/new.json: removed"]),
    ] {
        let (lines, errors) = tried(&fixture, "dom0", destination, call, payload);
        assert_eq!(errors, "", "{call}");
        for change in changes {
            assert!(lines.iter().any(|line| line.starts_with(change)), "{call}: {change}: {lines:#?}");
        }
        let events = fixture.events_of(|fixture| drop(fixture.ok(call, destination, payload)));
        let told_events: Vec<&String> = lines.iter().filter(|line| line.starts_with("event ")).collect();
        assert_eq!(told_events, told(&events).iter().collect::<Vec<_>>(), "{call}");
    }
    let refused =
        |destination: &str, call: &str, payload: &str| tried(&fixture, "dom0", destination, call, payload).1;
    let exists = "qubes-admin: Qube already exists: work\n";
    assert_eq!(refused("dom0", create, "name=work label=red"), exists);
    assert!(refused("dom0", create, "name=new label=nosuch").starts_with("qubes-admin: "));
    let in_pool = "admin.vm.CreateInPool.AppVM+test-template";
    assert!(
        refused("dom0", in_pool, "name=new label=red pool=nosuch").contains("Unknown storage pool nosuch")
    );
    assert!(refused("net", "admin.vm.Remove", "").contains("Domain is in use: 'net'"));
}

#[test]
fn a_dry_run_tells_refusals_and_leaves_alone_what_it_cannot_tell() {
    let fixture = system();
    install(&fixture);
    let (lines, errors) = tried(&fixture, "dom0", "test-vm1", "admin.vm.property.Set+netvm", "test-template");
    assert!(errors.starts_with("qubes-admin: "), "{errors}");
    assert!(!lines.iter().any(|line| line.starts_with("change")), "{lines:?}");
    for call in ["admin.vm.Start", "admin.vm.property.Set+autostart", "admin.vm.volume.Resize+private"] {
        let payload = if call.contains("autostart") { "True" } else { "9000000000" };
        let (_, errors) = tried(&fixture, "dom0", "test-vm1", call, payload);
        assert_eq!(errors, format!("qubes-admin: what {call} changes is not known before it is made\n"));
    }
    let (lines, errors) = tried(&fixture, "test-vm1", "test-net", "admin.vm.property.Set+memory", "4001");
    assert_eq!(errors, "qubes-admin: the call is not granted\n");
    assert!(lines.last().unwrap().starts_with("constraints denied by "), "{lines:?}");
}
