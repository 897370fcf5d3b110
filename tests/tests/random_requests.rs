//! Random whole requests to every family: one frame or a defined drop each, and a sound system after them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "test code")]

use std::io::Write;
use std::process::{Output, Stdio};

use common::call::{Destination, Family, Presence, Row};
use common::model::Class;
use common::request::from_descriptor;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngSeed, TestError, TestRunner};
use services::property;
use tests::Fixture;
use tests::checks::whole::{answer, check_system, is_header_ascii, is_one_frame, is_stream, may_be_silent};
use tests::fixture::{output_of, readable};

/// Requests to one system before the next begins anew.
const AT_ONCE: usize = 100;

fn runner(cases: u32) -> TestRunner {
    let config = Config {
        cases,
        rng_seed: RngSeed::Fixed(2),
        failure_persistence: None,
        max_shrink_iters: 500,
        ..Config::default()
    };
    TestRunner::new(config)
}

/// A request before it is framed.
#[derive(Debug, Clone)]
struct Parts {
    method: &'static str,
    argument: Vec<u8>,
    source: Vec<u8>,
    destination: Vec<u8>,
    payload: Vec<u8>,
}

impl Parts {
    fn frame(&self) -> Vec<u8> {
        let Self { method, argument, source, destination, payload } = self;
        [method.as_bytes(), b"+", argument, b" ", source, b" name ", destination, b"\0", payload].concat()
    }
}

/// Often one of some words, else any text or bytes.
fn word(words: Vec<&'static str>) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        14 => prop::sample::select(words).prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::string::bytes_regex("[!-~]{0,9}").unwrap(),
        1 => prop::collection::vec(any::<u8>(), 0..9),
    ]
}

const QUBES: [&str; 4] = ["test-vm1", "test-net", "test-template", "dom0"];
const OTHER_QUBES: [&str; 7] = [
    "n1",
    "n2",
    "",
    "..",
    "none",
    "uuid:00000000-0000-4000-8000-000000000002",
    "uuid:00000000-0000-0000-0000-000000000000",
];

fn destination(row: Row) -> impl Strategy<Value = Vec<u8>> {
    let usual = if row.destination == Destination::Dom0 { &QUBES[3..] } else { &QUBES };
    let usual = prop::sample::select(usual).prop_map(|name| name.as_bytes().to_vec());
    prop_oneof![9 => usual, 1 => word([&QUBES[..], &OTHER_QUBES].concat())]
}

/// What arguments name, by the beginning of the method.
const ARGUMENTS: [(&str, &[&str]); 15] = [
    ("admin.backup", &["nosuch", "a/b", "..", "x.conf"]),
    (
        "admin.vm.device",
        &["dom0+sda", "dom0+sda+_", "dom0+_+_", "dom0+00_14.0+0x8086", "nosuch+x", "sda", "dom0"],
    ),
    ("admin.pool.volume", &["test", "varlibqubes", "linux-kernel", "p1", "nosuch"]),
    (
        "admin.pool",
        &["file", "file-reflink", "linux-kernel", "lvm_thin", "zfs", "callback", "test", "p1", "varlibqubes"],
    ),
    ("admin.vm.volume", &["private", "root", "volatile", "kernel", "nosuch"]),
    ("internal.vm.volume", &["private", "root", "nosuch"]),
    ("admin.label", &["red", "new", "l1", "1", "0_9"]),
    (
        "admin.vm.feature",
        &["f", "ipv6", "net.fake-ip", "custom-persist.x", "preload-dispvm", "service.x", "vm-config.y"],
    ),
    ("internal.ExpireFirewall", &["0", "1", "-1", "x"]),
    ("admin.vm.tag", &["t", "u", "created-by-dom0", "created-by-n1", "guivm-dom0", "audiovm-test-net"]),
    ("admin.vm.Create", &["", "", "test-template", "test-vm1", "n1"]),
    ("admin.vm.List", &["", "", "test-vm1", "n1"]),
    ("admin.vmclass", &["", "AppVM"]),
    ("policy.", &["30-user", "x", "Y", "svc", "svc+arg", "", "60-registered-arguments"]),
    ("", &["", "--", "%s"]),
];

fn argument(row: Row) -> impl Strategy<Value = Vec<u8>> {
    let (_, words) = ARGUMENTS.iter().find(|(start, _)| row.name.starts_with(start)).unwrap();
    let mut words = words.to_vec();
    if row.name.contains("property") {
        let of_qubes = Class::ALL.into_iter().flat_map(property::rows_of);
        let rows: Vec<_> = if row.destination == Destination::Dom0 {
            property::global_rows().iter().collect()
        } else {
            of_qubes.collect()
        };
        words = rows.into_iter().map(|row| row.name).collect();
    }
    (presence(row.argument), word(words))
        .prop_map(|(is_there, word)| if is_there { word } else { Vec::new() })
}

/// What payloads look like, by the beginning of the method.
const PAYLOADS: [(&str, &str); 11] = [
    (
        "admin.vm.device",
        "all|required|auto-attach|True|([bump*][0-9a-f*]{6}){0,3}|mode='(required|manual|x)'( _[a-c]{1,2}='[ -~]{0,3}'){0,2}",
    ),
    (
        "admin.pool.volume",
        "appvms/test-(vm1|net)/(private|root|volatile)(\\n(0|1|-1|2097152|True|no|[ -~]{0,9}))?",
    ),
    (
        "admin.pool.Add",
        "name=(p[1-3]|test|..)(\\n(dir_path=/var/lib/qubes/p[12]|revisions_to_keep=[-0-9]|x=y)){0,3}\\n?",
    ),
    ("admin.vm.volume", "(0|1|-1|512|2097152|True|no|[ -~]{0,20})"),
    ("admin.label", "0x[0-9a-fA-F]{6}\\n?"),
    ("admin.vm.feature", "(|1|10\\.0\\.0\\.1|dir:user:user:0755:/a|/a|[ -~]{0,20})"),
    (
        "admin.vm.Create",
        "name=n[1-3] label=(red|new|red|nosuch)( pool=(test|linux-kernel|x|a\\x00b)| pool:root=test){0,1}",
    ),
    (
        "admin.vm.firewall",
        "accept|drop|(action=(accept|drop|x)( (dst4=10\\.0\\.0\\.[0-9]{1,3}|dsthost=[aA1:.]{0,3}|proto=(tcp|icmp)|\
        dstports=[0-9]{1,3}(-[0-9]{1,5})?|icmptype=8|expire=[01]|comment=[a-c =]{0,3})){0,3}\\n){1,3}\\n?",
    ),
    (
        "policy.",
        "(any|new|sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855)(\\n\
        (svc \\* (test-vm1|@anyvm) (test-net|@default) (allow|ask|deny)( target=dom0)?|!include (x|include/x)|\\PC{0,9})){0,3}|\
        (test-vm1|test-net|n1)\\x00(dom0|test-net|@default|@dispvm)(\\x00test-net)?",
    ),
    ("admin.vm.notes", "(\\PC|[\\n\\t\\x00]){0,20}"),
    (
        "",
        "(|1|0|-1|400|True|no|None|test-net|test-vm1|test-template|n1|red|hvm|1\\.0|test|10\\.0\\.0\\.1|fd09::1|\
        00:16:3e:00:00:01|us\\+a\\+|u080650|[ -~]{0,20})",
    ),
];

fn payload(row: Row) -> impl Strategy<Value = Vec<u8>> {
    let (_, pattern) = PAYLOADS.iter().find(|(start, _)| row.name.starts_with(start)).unwrap();
    let usual = prop::string::bytes_regex(pattern).unwrap();
    let bytes = prop_oneof![9 => usual, 1 => prop::collection::vec(any::<u8>(), 0..40)];
    (presence(row.payload), bytes).prop_map(|(is_there, bytes)| if is_there { bytes } else { Vec::new() })
}

/// Whether something is there: nearly always as the row has it.
fn presence(presence: Presence) -> impl Strategy<Value = bool> {
    let is_none = matches!(presence, Presence::No | Presence::Conversation);
    prop::bool::weighted(if is_none { 0.05 } else { 0.95 })
}

fn request(family: &'static Family) -> impl Strategy<Value = Parts> {
    let source = || prop_oneof![9 => Just(b"dom0".to_vec()), 1 => word([&QUBES[..], &OTHER_QUBES].concat())];
    prop::sample::select(family.calls.iter().map(|call| call.row).collect::<Vec<_>>()).prop_flat_map(
        move |row| {
            (argument(row), source(), destination(row), payload(row)).prop_map(
                move |(argument, source, destination, payload)| Parts {
                    method: row.name,
                    argument,
                    source,
                    destination,
                    payload,
                },
            )
        },
    )
}

/// How many requests each family gets; `RANDOM_REQUESTS` asks for more.
fn requests_of_a_family() -> usize {
    std::env::var("RANDOM_REQUESTS").map_or(2_000, |count| count.parse().unwrap())
}

fn bombard(family: &'static Family) {
    let cases = u32::try_from(requests_of_a_family().div_ceil(AT_ONCE)).unwrap();
    let many = prop::collection::vec(request(family), AT_ONCE);
    let result = runner(cases).run(&many, |requests| {
        let fixture = Fixture::new();
        for request in &requests {
            answer(family, &request.frame(), &fixture.root());
        }
        check_system(&fixture);
        Ok(())
    });
    match result {
        Err(TestError::Fail(reason, requests)) => {
            let frames: Vec<String> = requests.iter().map(|request| readable(&request.frame())).collect();
            panic!("{}: {reason}:\n{}", family.name, frames.join("\n"));
        }
        result => assert!(result.is_ok()),
    }
}

#[test]
fn within_one_process() {
    std::thread::scope(|scope| {
        for family in services::FAMILIES {
            scope.spawn(|| bombard(family));
        }
    });
}

#[test]
fn to_real_processes() {
    let fixture = Fixture::new();
    let mut runner = runner(1);
    for number in 0..1_000 {
        let family = services::FAMILIES[number % services::FAMILIES.len()];
        let request = request(family).new_tree(&mut runner).unwrap().current();
        let frame = request.frame();
        let is_frame = number % 2 == 0;
        let output =
            if is_frame { fixture.run(request.method, &frame) } else { by_qrexec(&fixture, &request) };
        let row = row(request.method);
        if !is_frame && row.is_from_guests() {
            // The exit status alone tells how it went.
            assert!(output.stdout.is_empty(), "{}", readable(&frame));
            continue;
        }
        if !is_frame && row.is_plain() {
            // What went wrong is told twice.
            let is_told = !output.stdout.is_empty() && output.stderr.ends_with(&output.stdout);
            assert!(output.status.success() || is_told, "{}: {output:?}", readable(&frame));
            continue;
        }
        // Which streams never began is told by the exit status, too.
        let refused = output.status.code() == Some(1) && !output.stdout.starts_with(b"0\0");
        assert!(
            output.status.success() || (refused && row.payload.is_taken_from_qrexec()),
            "{}",
            readable(&frame)
        );
        let is_answered = is_one_frame(&output.stdout) || is_stream(&output.stdout);
        // A NUL in the argument ends the header before its time.
        let is_malformed = is_frame && from_descriptor(request.method.as_bytes(), &frame).is_err();
        let may_be_dropped = is_malformed || !is_header_ascii(&frame) || may_be_silent(&frame);
        let is_dropped = output.stdout.is_empty() && may_be_dropped;
        assert!(is_answered || is_dropped, "{} got {}", readable(&frame), readable(&output.stdout));
    }
    check_system(&fixture);
}

fn row(method: &str) -> Row {
    let mut calls = services::FAMILIES.iter().flat_map(|family| family.calls);
    calls.find(|call| call.row.name == method).unwrap().row
}

/// The same request as qrexec hands it over.
fn by_qrexec(fixture: &Fixture, request: &Parts) -> Output {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    // The environment holds no NUL, and neither does a header.
    let text = |bytes: &[u8]| OsStr::from_bytes(bytes.split(|byte| *byte == 0).next().unwrap()).to_owned();
    let mut command = fixture.command(request.method);
    command.env("QREXEC_REMOTE_DOMAIN", text(&request.source));
    command
        .env("QREXEC_REQUESTED_TARGET_TYPE", "name")
        .env("QREXEC_REQUESTED_TARGET", text(&request.destination));
    let mut child = command.arg(text(&request.argument)).stdin(Stdio::piped()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(&request.payload);
    output_of(child)
}
