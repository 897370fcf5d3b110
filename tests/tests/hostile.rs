//! Hostile requests: malformed and oversize; damaged stores; and what qrexec may hand over.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

use std::io::Write;
use std::process::Stdio;

use tests::Fixture;
use tests::fixture::{readable, refusal};

/// Every way in which whoever calls can lose the answer, with the rule that keeps it so; anything else is answered.
/// (A panic, which no caller can cause, is in `endings.rs`.)
const DROPS: [(&str, &str, &[u8]); 17] = [
    ("10 §1.1: no NUL", "admin.vm.List", b""),
    ("10 §1.1: no NUL", "admin.vm.List", b"admin.vm.List"),
    ("10 §1.1: no NUL", "admin.vm.List", b"admin.vm.List+ dom0 name dom0"),
    ("10 §1.1: fewer than three spaces", "admin.vm.List", b"\0"),
    ("10 §1.1: fewer than three spaces", "admin.vm.List", b"admin.vm.List\0"),
    ("10 §1.1: fewer than three spaces", "admin.vm.List", b"admin.vm.List+ dom0 dom0\0"),
    ("10 §1.1: destination type", "admin.vm.List", b"admin.vm.List+ dom0 bogus dom0\0"),
    ("10 §1.1: destination type", "admin.vm.List", b"admin.vm.List+ dom0  dom0\0"),
    ("10 §1.1: destination type", "admin.vm.List", b"admin.vm.List+ dom0 keyword default\0"),
    ("10 §1.1: destination type", "admin.vm.List", b"admin.vm.List+ dom0 keyword dispvm\0"),
    ("10 H2: non-ASCII source", "admin.vm.List", b"admin.vm.List+ d\xc3\xb6m name dom0\0"),
    ("10 H2: non-ASCII destination", "admin.vm.List", b"admin.vm.List+ dom0 name \xff\0"),
    ("10 H2: non-ASCII argument", "admin.vm.tag.Get", b"admin.vm.tag.Get+\xff dom0 name dom0\0"),
    ("10 H2: non-ASCII argument", "admin.nosuch", b"admin.nosuch+\xff dom0 name dom0\0"),
    ("10 H2: non-ASCII argument before payload", "admin.vm.List", b"admin.vm.List+\xff dom0 name dom0\0x"),
    ("another method than the executable's", "admin.vm.List", b"admin.label.List+ dom0 name dom0\0"),
    ("another method than the executable's", "admin.vm.List", b"+ dom0 name dom0\0"),
];

const TYPE: &str = "QREXEC_REQUESTED_TARGET_TYPE";
const NAME: &str = "QREXEC_REQUESTED_TARGET";
const KEYWORD: &str = "QREXEC_REQUESTED_TARGET_KEYWORD";

/// Names and values of environment variables.
type Variables = &'static [(&'static str, &'static str)];

/// The same for what qrexec hands over: the caller, and the variables that tell the destination.
const DROPS_UNDER_QREXEC: [(&str, &str, Variables); 6] = [
    ("50 §4.2: no target, and not from dom0", "test-vm1", &[]),
    ("50 §4.2: no target, and not from dom0", "test-vm1", &[(TYPE, "")]),
    ("50 §4.2: a name that is not there", "dom0", &[(TYPE, "name")]),
    ("60 §2: a keyword but adminvm", "dom0", &[(TYPE, "keyword"), (KEYWORD, "default")]),
    ("60 §2: a keyword but adminvm", "dom0", &[(TYPE, "keyword"), (KEYWORD, "dispvm:test-vm1")]),
    ("10 §1.1: destination type", "dom0", &[(TYPE, "bogus"), (NAME, "dom0")]),
];

#[test]
fn only_the_listed_requests_get_no_byte() {
    let fixture = Fixture::new();
    for (rule, method, request) in DROPS {
        let output = fixture.run(method, request);
        assert!(output.stdout.is_empty() && output.status.success(), "{rule}: {}", readable(request));
    }
    for (rule, source, target) in DROPS_UNDER_QREXEC {
        let variables = [&[("QREXEC_REMOTE_DOMAIN", source)], target].concat();
        assert!(fixture.by_qrexec("admin.vm.List", &variables, None).is_empty(), "{rule}: {target:?}");
    }
}

#[test]
fn a_request_that_is_too_long_is_refused_before_its_end() {
    let fixture = Fixture::new();
    let mut request = b"admin.vm.feature.Set+f dom0 name test-vm1\0".to_vec();
    request.resize(65_536, b'v');
    assert_eq!(fixture.run("admin.vm.feature.Set", &request).stdout, b"0\0");
    let mut child = fixture.command("admin.vm.feature.Set").stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&request).unwrap();
    let mut taken = request.len();
    while stdin.write_all(&[b'v'; 4_096]).is_ok() {
        taken += 4_096;
        assert!(taken < 200_000, "it is still being read");
    }
    assert!(child.wait_with_output().unwrap().stdout.is_empty());
}

#[test]
fn a_request_that_cannot_be_read_is_told() {
    let fixture = Fixture::new();
    let mut command = fixture.command("admin.vm.List");
    let output = command.stdin(std::fs::File::open(fixture.path("/")).unwrap()).output().unwrap();
    assert_eq!(refusal(&output.stdout), "QubesException: The request cannot be read: is a directory");
}

#[test]
fn shape_is_checked_in_the_order_of_the_table() {
    let fixture = Fixture::new();
    for (call, destination, payload, said) in [
        ("admin.vmclass.List+AppVM", "test-vm1", "payload", "unexpected payload"),
        ("admin.vmclass.List", "test-vm1", "", "expected destination to be AdminVM"),
        ("admin.property.GetAll+x", "test-vm1", "", "unexpected argument"),
        ("admin.label.Create", "test-vm1", "", "expected payload"),
        ("admin.vm.property.Get", "test-vm1", "x", "unexpected payload"),
        ("admin.vm.property.Get", "test-vm1", "", "expected an argument"),
        ("admin.vm.notes.Get", "dom0", "", "expected destination to not be AdminVM"),
        ("admin.nosuch", "test-vm1", "x", "no such method: 'admin.nosuch'"),
    ] {
        assert_eq!(fixture.refused(call, destination, payload), format!("ProtocolError: {said}"), "{call}");
    }
    assert_eq!(
        fixture.refused("admin.nosuch", "nosuch", ""),
        "QubesVMNotFoundError: No such domain: 'nosuch'"
    );
}

#[test]
fn a_nul_that_a_message_echoes_does_not_end_it() {
    let fixture = Fixture::new();
    let said = fixture.refused("admin.vm.CreateInPool.AppVM", "dom0", b"name=new label=red pool=a\0b");
    assert_eq!(said, "QubesException: Unknown storage pool a\\x00b");
}

#[test]
fn requests_come_from_argv_and_environment_under_qrexec() {
    let fixture = Fixture::new();
    let name = [
        ("QREXEC_REMOTE_DOMAIN", "dom0"),
        ("QREXEC_REQUESTED_TARGET_TYPE", "name"),
        ("QREXEC_REQUESTED_TARGET", "test-vm1"),
        ("QREXEC_SERVICE_ARGUMENT", "label"),
    ];
    let label = b"0\0default=False type=label red";
    assert_eq!(fixture.by_qrexec("admin.vm.property.Get", &name, Some("label")), label);
    assert_eq!(fixture.by_qrexec("admin.vm.property.Get", &name[..3], Some("label")), label);
    let two = [("QREXEC_REMOTE_DOMAIN", "dom0"), ("QREXEC_REQUESTED_TARGET", "test-vm1")];
    assert_eq!(fixture.by_qrexec("admin.vm.property.Get", &two, Some("label")), label);
    let keyword = |word| {
        [
            ("QREXEC_REMOTE_DOMAIN", "test-vm1"),
            ("QREXEC_REQUESTED_TARGET_TYPE", "keyword"),
            ("QREXEC_REQUESTED_TARGET_KEYWORD", word),
        ]
    };
    assert!(fixture.by_qrexec("admin.label.List", &keyword("adminvm"), None).starts_with(b"0\0red\n"));
    assert!(fixture.by_qrexec("admin.label.List", &keyword("default"), None).is_empty());
    let no_target = [("QREXEC_REMOTE_DOMAIN", "dom0"), ("QREXEC_REQUESTED_TARGET_TYPE", "")];
    assert!(fixture.by_qrexec("admin.label.List", &no_target, None).starts_with(b"0\0"));
    let foreign = [("QREXEC_REMOTE_DOMAIN", "test-vm1"), ("QREXEC_REQUESTED_TARGET_TYPE", "")];
    assert!(fixture.by_qrexec("admin.label.List", &foreign, None).is_empty());
    assert_eq!(
        refusal(&fixture.by_qrexec("admin.vm.property.Get", &name[..3], Some("--help"))),
        "QubesNoSuchPropertyError: Invalid property '--help' of test-vm1"
    );
}

#[test]
fn the_root_variable_is_ignored_after_sudo() {
    let fixture = Fixture::new();
    let mut command = fixture.command("admin.label.List");
    let variables = [("QREXEC_REMOTE_DOMAIN", "dom0"), ("SUDO_UID", "1000")];
    let output = command.envs(variables).stdin(Stdio::null()).output().unwrap();
    assert!(!output.stdout.starts_with(b"0\0red"), "{}", readable(&output.stdout));
}
