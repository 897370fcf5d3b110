//! A token in every part of every request: it comes out, is stored or logged only where sanitising accepted it.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use common::audit;
use common::call::{Destination, Presence, Row};
use tests::Fixture;
use tests::fixture::{output_of, readable};

/// Where the token goes, and which of its forms may be echoed there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Part {
    Method,
    Argument,
    Source,
    Kind,
    Destination,
    Payload,
}

/// A request with `{}` in the place of the token.
struct Place {
    part: Part,
    request: String,
    /// Whether the token alone is accepted, and whether it is with a control character beside it.
    accepted: (bool, bool),
}

const NEVER: (bool, bool) = (false, false);
const IF_PLAIN: (bool, bool) = (true, false);
const IF_ASCII: (bool, bool) = (true, true);

/// Payloads of calls that take one: beginning of the method, argument, payload, what is accepted.
const PAYLOADS: [(&str, &str, &str, (bool, bool)); 36] = [
    ("admin.label.Create", "new", "0x{}", NEVER),
    ("admin.property.Set", "check_updates_vm", "{}", IF_ASCII),
    ("admin.property.Set", "default_netvm", "{}", IF_PLAIN),
    ("admin.property.Set", "default_kernel", "{}", IF_PLAIN),
    ("admin.property.Set", "stats_interval", "{}", NEVER),
    ("admin.vm.Create.", "", "name=x label=red pool={}", NEVER),
    ("admin.vm.Create", "", "name={} label=red", IF_PLAIN),
    ("admin.vm.Create", "", "name=x label={}", NEVER),
    ("admin.vm.Create", "", "name=x label=red {}=x", NEVER),
    ("admin.vm.Create", "", "name=x label=red {}", NEVER),
    ("admin.vm.CreateInPool", "", "name=x label=red pool={}", IF_ASCII),
    ("admin.vm.CreateInPool", "", "name=x label=red pool:root={}", IF_ASCII),
    ("admin.vm.CreateInPool", "", "name=x label=red pool:{}=test", NEVER),
    ("admin.vm.device.denied.Add", "", "{}", IF_ASCII),
    ("admin.vm.device.denied.Remove", "", "{}", IF_ASCII),
    ("admin.vm.device.block.Assign", "dom0+sda", "mode='{}'", IF_PLAIN),
    ("admin.vm.device.block.Assign", "dom0+sda", "mode='required' _{}='x'", IF_PLAIN),
    ("admin.vm.device.pci.Set.assignment", "dom0+sda", "{}", NEVER),
    ("admin.vm.device.pci.Set.required", "dom0+sda", "{}", NEVER),
    ("admin.vm.feature.Set", "f", "{}", IF_PLAIN),
    ("admin.vm.firewall.SetPolicy", "", "{}", NEVER),
    ("admin.vm.firewall.Set", "", "action={}", IF_PLAIN),
    ("admin.vm.firewall.Set", "", "action=accept comment={}", IF_PLAIN),
    ("admin.vm.notes.Set", "", "{}", IF_ASCII),
    ("admin.vm.property.Set", "autostart", "{}", IF_ASCII),
    ("admin.vm.property.Set", "label", "{}", IF_PLAIN),
    ("admin.vm.property.Set", "memory", "{}", NEVER),
    ("admin.vm.property.Set", "netvm", "{}", IF_PLAIN),
    ("admin.vm.property.Set", "ip6", "{}", NEVER),
    ("policy.Eval", "svc", "{}\0dom0", IF_PLAIN),
    ("policy.Eval", "svc", "dom0\0{}", IF_PLAIN),
    ("policy.RegisterArgument", "svc", "{}", IF_PLAIN),
    ("policy.Replace", "x", "{}\n", NEVER),
    ("policy.Replace", "x", "any\n# {}", IF_ASCII),
    ("policy.Replace", "x", "any\n{}", NEVER),
    ("qubes.NotifyUpdates", "", "{}", NEVER),
];

/// Arguments without a grammar of their own: what is ASCII is looked up as it is.
const ASCII_ARGUMENTS: [&str; 6] = [
    "admin.backup.",
    "admin.property.",
    "admin.vm.Create",
    "admin.vm.feature.",
    "admin.vm.property.",
    "admin.vmclass.",
];

fn places(row: Row) -> Vec<Place> {
    let method = row.name;
    let destination = if row.destination == Destination::Dom0 { "dom0" } else { "test-vm1" };
    let argument = if row.argument == Presence::Required { "x" } else { "" };
    let usual = PAYLOADS
        .iter()
        .find(|(start, ..)| method.starts_with(start))
        .map_or("", |(_, _, payload, _)| payload);
    let payload = if row.payload == Presence::Required {
        usual.replace("{}", "00ff7f")
    } else {
        usual.replace("{}", "y")
    };
    let in_argument = match row.argument {
        Presence::No => NEVER,
        _ if ASCII_ARGUMENTS.iter().any(|start| method.starts_with(start)) => IF_ASCII,
        _ => IF_PLAIN,
    };
    let place = |part, request, accepted| Place { part, request, accepted };
    let mut places = vec![
        place(Part::Method, format!("{method}{{}}+{argument} dom0 name {destination}\0{payload}"), NEVER),
        place(Part::Kind, format!("{method}+{argument} dom0 {{}} {destination}\0{payload}"), NEVER),
        place(Part::Kind, format!("{method}+{argument} dom0 keyword {{}}\0{payload}"), NEVER),
        place(Part::Argument, format!("{method}+{{}} dom0 name {destination}\0{payload}"), in_argument),
        place(Part::Source, format!("{method}+{argument} {{}} name {destination}\0{payload}"), IF_PLAIN),
        place(Part::Source, format!("{method}+{argument} uuid:{{}} name {destination}\0{payload}"), IF_ASCII),
        place(Part::Destination, format!("{method}+{argument} dom0 name {{}}\0{payload}"), IF_PLAIN),
        place(Part::Destination, format!("{method}+{argument} dom0 name uuid:{{}}\0{payload}"), IF_ASCII),
    ];
    if row.payload == Presence::No {
        places.push(place(
            Part::Payload,
            format!("{method}+{argument} dom0 name {destination}\0{{}}"),
            NEVER,
        ));
    }
    for (_, argument, payload, accepted) in PAYLOADS.iter().filter(|(start, ..)| method.starts_with(start)) {
        places.push(place(
            Part::Payload,
            format!("{method}+{argument} dom0 name {destination}\0{payload}"),
            *accepted,
        ));
    }
    places
}

/// A token of its own for each request: nothing else is spelt like it.
fn token(number: u32) -> String {
    format!("q{:08x}k", number.wrapping_mul(0x9e37_79b1))
}

/// The token alone, beside control characters, and beside bytes that are not even UTF-8; with what of it is accepted.
fn forms(token: &str, (plain, control): (bool, bool)) -> [(Vec<u8>, bool); 5] {
    let token = token.as_bytes();
    [
        (token.to_vec(), plain),
        ([b"\x01", token].concat(), control),
        ([token, b"\x7f"].concat(), control),
        ([b"\xff", token].concat(), false),
        ([token, b"\xff"].concat(), false),
    ]
}

fn run(mut command: Command, request: &[u8]) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(request);
    output_of(child)
}

/// Everywhere a token is seen after a call, in either letter case.
fn seen(token: &str, output: &Output, fixture: &Fixture) -> Vec<String> {
    let holds = |bytes: &[u8]| {
        bytes.to_ascii_lowercase().windows(token.len()).any(|window| window == token.as_bytes())
    };
    let streams = [("reply", &output.stdout), ("log", &output.stderr)];
    let mut places: Vec<String> =
        streams.into_iter().filter(|(_, bytes)| holds(bytes)).map(|(name, _)| name.to_owned()).collect();
    let log = fixture.path(audit::FILE);
    let audited = std::fs::read(&log).ok().map(|content| (log.clone(), content));
    // Each call begins another: they are thousands.
    let _ = std::fs::remove_file(log);
    for (path, content) in fixture.files().into_iter().chain(audited) {
        let name = path.into_os_string().into_encoded_bytes();
        if holds(&name) || holds(&content) {
            places.push(readable(&name));
        }
    }
    places
}

#[test]
fn refused_bytes_appear_nowhere() {
    let fixture = Fixture::new();
    let mut number = 0;
    let mut echoed: BTreeMap<Part, usize> = BTreeMap::new();
    for row in services::FAMILIES.iter().flat_map(|family| family.calls).map(|call| call.row) {
        for place in places(row) {
            for form in 0..5 {
                number += 1;
                let token = token(number);
                let (bytes, accepted) = forms(&token, place.accepted).into_iter().nth(form).unwrap();
                let (before, after) = place.request.split_once("{}").unwrap();
                let request = [before.as_bytes(), &bytes, after.as_bytes()].concat();
                let output = run(fixture.command(row.name), &request);
                let seen = seen(&token, &output, &fixture);
                assert!(accepted || seen.is_empty(), "{} is seen in {seen:?}", readable(&request));
                *echoed.entry(place.part).or_default() += usize::from(!seen.is_empty());
            }
        }
    }
    let parts: Vec<Part> = echoed.into_iter().filter(|(_, count)| *count > 0).map(|(part, _)| part).collect();
    assert_eq!(
        parts,
        [Part::Argument, Part::Source, Part::Destination, Part::Payload],
        "what is accepted is seen"
    );
}

#[test]
fn a_call_that_leaks_would_be_seen() {
    let fixture = Fixture::new();
    for (leak, expected) in [
        ("cat >/dev/null", None),
        ("cat", Some("reply")),
        ("tr a-z A-Z", Some("reply")),
        ("cat >&2", Some("log")),
        ("cat >>\"$QUBES_ADMIN_ROOT/run/qubes/admin/index\"", Some("/run/qubes/admin/index")),
        ("cat >\"$QUBES_ADMIN_ROOT/var/lib/qubes/.new\"", Some("/var/lib/qubes/.new")),
        ("cat >>\"$QUBES_ADMIN_ROOT/var/log/qubes/admin-audit.log\"", Some("/var/log/qubes/admin-audit.log")),
        ("mkdir \"$QUBES_ADMIN_ROOT/etc/$(cat)\"", Some("/etc/qffffffk")),
    ] {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", leak]).env("QUBES_ADMIN_ROOT", fixture.path("/"));
        let token = "qffffffk";
        let output = run(command, token.as_bytes());
        let seen = seen(token, &output, &fixture);
        assert_eq!(seen.is_empty(), expected.is_none(), "{leak}");
        assert!(
            expected.is_none_or(|place| seen.iter().any(|seen| seen.ends_with(place))),
            "{leak}: {seen:?}"
        );
    }
}
