//! `qubes-admin explain`: every layer that decides on a call tells what it says. It does not make the call.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

use tests::Fixture;
use tests::tool::{error, text, tool};

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
