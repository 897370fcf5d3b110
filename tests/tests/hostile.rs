//! Hostile requests: malformed, oversize, tainted; damaged stores; and what qrexec may hand over.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

use std::io::Write;
use std::path::Path;
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

/// Every file below a folder.
fn files(folder: &Path) -> Vec<Vec<u8>> {
    let mut contents = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        contents.push(entry.file_name().into_encoded_bytes());
        if entry.file_type().unwrap().is_dir() {
            contents.extend(files(&entry.path()));
        } else if entry.metadata().unwrap().len() < 1 << 20 {
            contents.push(std::fs::read(entry.path()).unwrap());
        }
    }
    contents
}

#[test]
fn refused_bytes_appear_nowhere() {
    const TOKEN: &[u8] = b"TaintedToken7319";
    let fixture = Fixture::new();
    let holds = |bytes: &[u8]| bytes.windows(TOKEN.len()).any(|window| window == TOKEN);
    let tainted: Vec<u8> = [b"\x01\xff", TOKEN, b"\x01\xff"].concat();
    let mut served = 0;
    for family in services::FAMILIES {
        for call in family.calls {
            let method = call.row.name;
            for (argument, source, destination, payload) in [
                (&b""[..], &b"dom0"[..], &b"dom0"[..], &tainted[..]),
                (b"", b"dom0", b"test-vm1", &tainted),
                (b"name", b"dom0", b"test-vm1", &tainted),
                (&tainted, b"dom0", b"dom0", b""),
                (b"", &tainted, b"dom0", b""),
                (b"", b"dom0", &tainted, b""),
            ] {
                let parts: [&[u8]; 9] =
                    [method.as_bytes(), b"+", argument, b" ", source, b" name ", destination, b"\0", payload];
                let output = fixture.run(method, &parts.concat());
                let is_notes = method == "admin.vm.notes.Set";
                assert!(!holds(&output.stdout) && !holds(&output.stderr), "{method}");
                assert!(
                    is_notes
                        || output.stdout.is_empty()
                        || output.stdout.starts_with(b"2\0")
                        || payload.is_empty()
                );
                served += 1;
            }
        }
    }
    assert!(served > 200);
    assert!(!files(&fixture.path("/")).iter().any(|content| holds(content)), "refused bytes were stored");
}

#[test]
fn random_requests_get_one_frame_or_none() {
    let fixture = Fixture::new();
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let methods: Vec<&str> =
        services::FAMILIES.iter().flat_map(|family| family.calls).map(|call| call.row.name).collect();
    let words: [&[u8]; 14] = [
        b"dom0",
        b"test-vm1",
        b"test-template",
        b"+",
        b" ",
        b"name",
        b"\0",
        b"label",
        b"red",
        b"name=x label=red",
        b"uuid:00000000-0000-4000-8000-000000000002",
        b"%s",
        b"\xff",
        b"../x",
    ];
    for _ in 0..1_000 {
        let method = methods[usize::try_from(next()).unwrap() % methods.len()];
        let mut request = format!("{method}+").into_bytes();
        if next().is_multiple_of(2) {
            request.extend_from_slice(b"label dom0 name test-vm1\0");
        }
        for _ in 0..next() % 8 {
            request.extend_from_slice(words[usize::try_from(next()).unwrap() % words.len()]);
        }
        let output = fixture.run(method, &request);
        assert!(output.status.success(), "{}", readable(&request));
        let reply = output.stdout;
        let well_formed = match reply.get(..2) {
            None => reply.is_empty(),
            Some(b"0\0") => true,
            Some(b"2\0") => reply.iter().filter(|byte| **byte == 0).count() == 4 && reply.ends_with(b"\0"),
            Some(_) => false,
        };
        assert!(well_formed, "{} got {}", readable(&request), readable(&reply));
    }
}
