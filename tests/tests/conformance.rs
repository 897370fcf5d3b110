//! The recorded conversations of the reference server, replayed through the real executables, byte for byte.
//!
//! `conformance/deviations.txt` lists the cases where a rule of the specification decides against the recording, with
//! the reply or events expected instead; `conformance/pending.txt` those whose calls are not served yet.
//! `REPORT=1` prints every difference.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

use std::collections::BTreeMap;
use std::process::Command;

use common::reply;
use common::store::LoggedEvent;
use serde::Deserialize;
use tests::fixture::readable;
use tests::{Fixture, executables};

const CASES: &str = include_str!("../conformance/10-vms.jsonl");
const STORE: &str = include_str!("../conformance/initial.qubes.xml");
const FILES: &str = include_str!("../conformance/files.txt");
const DEVIATIONS: &str = include_str!("../conformance/deviations.txt");
const PENDING: &str = include_str!("../conformance/pending.txt");
const POLICY: &str = "admin.vm.List * work dom0 allow\nadmin.vm.List * work work allow\n\
    admin.vm.List * work sys-net allow\nadmin.Events * work work allow\n";

#[derive(Deserialize)]
struct Case {
    id: u32,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    dest: Option<String>,
    #[serde(default)]
    src: Option<String>,
    #[serde(default)]
    arg: Option<String>,
    #[serde(default)]
    payload: Option<String>,
    #[serde(default)]
    raw: Option<String>,
    response: String,
    events: String,
    #[serde(default)]
    events_stable: Option<bool>,
}

/// Bytes from latin-1 text.
fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|character| u8::try_from(u32::from(character)).unwrap()).collect()
}

impl Case {
    fn request(&self) -> Vec<u8> {
        match &self.raw {
            Some(raw) => bytes(raw),
            None => {
                let part = |text: &Option<String>| bytes(text.as_deref().unwrap_or_default());
                let header: [&[u8]; 9] = [
                    &part(&self.method),
                    b"+",
                    &part(&self.arg),
                    b" ",
                    &part(&self.src),
                    b" name ",
                    &part(&self.dest),
                    b"\0",
                    &part(&self.payload),
                ];
                header.concat()
            }
        }
    }

    /// The name the executable is started under: the request's own method.
    fn program(&self) -> String {
        let request = self.request();
        let end = request.iter().position(|byte| b"+ \0".contains(byte)).unwrap_or(request.len());
        String::from_utf8_lossy(&request[..end]).into_owned()
    }
}

fn system() -> Fixture {
    let fixture = Fixture::empty();
    fixture.policy("10-recording.policy", POLICY);
    let base = fixture.path("/var/lib/qubes");
    for kernel in ["6.12.59-1.fc37", "6.6.48-1.fc37"] {
        let folder = base.join("vm-kernels").join(kernel);
        std::fs::create_dir_all(&folder).unwrap();
        for file in ["vmlinuz", "initramfs", "modules.img"] {
            std::fs::write(folder.join(file), [0; 4096]).unwrap();
        }
    }
    std::fs::remove_dir_all(base.join("vm-kernels/1.0")).unwrap();
    std::fs::create_dir_all(base.join("pool-file")).unwrap();
    for line in FILES.lines().filter(|line| line.starts_with("appvms") || line.starts_with("vm-templates")) {
        let mut words = line.split(' ');
        let (path, size) = (base.join(words.next().unwrap()), words.next().unwrap().parse().unwrap());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::File::create(path).unwrap().set_len(size).unwrap();
    }
    let file = fixture.path("/initial.xml");
    std::fs::write(&file, STORE.replace("@BASE@", "/var/lib/qubes")).unwrap();
    let root = fixture.path("/");
    let imported = Command::new(executables::executable("qubes-admin"))
        .arg("--root")
        .arg(root)
        .arg("import")
        .arg(file)
        .output();
    assert!(imported.unwrap().status.success());
    fixture
}

/// What one case answered: reply and events.
struct Answer {
    reply: Vec<u8>,
    events: Vec<u8>,
}

fn replay(fixture: &Fixture, case: &Case, seen: &mut usize) -> Answer {
    let output = fixture.run(&case.program(), &case.request());
    let log = std::fs::read(fixture.path("/run/qubes/admin/events")).unwrap_or_default();
    let new = &log[*seen..];
    *seen = log.len();
    let events = new.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let rendered =
        events.map(|line| reply::event(&serde_json::from_slice::<LoggedEvent>(line).unwrap().event));
    Answer { reply: output.stdout, events: rendered.flatten().collect() }
}

/// Ids of a list: `12`, `12-15`, each with what stands behind it.
fn listed(text: &str) -> BTreeMap<u32, String> {
    let mut ids = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (range, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        for id in first.parse::<u32>().unwrap()..=last.parse().unwrap() {
            assert!(ids.insert(id, rest.to_owned()).is_none(), "{id} is listed twice");
        }
    }
    ids
}

/// Whether a character belongs to a random value.
type Belongs = fn(char) -> bool;

/// What is drawn at random when qubes are made, and where it stands.
const RANDOM: [(&str, Belongs); 4] = [
    ("uuid=", |character| character.is_ascii_hexdigit() || character == '-'),
    ("uuid default=False type=str ", |character| character.is_ascii_hexdigit() || character == '-'),
    ("dispid default=False type=int ", |character| character.is_ascii_digit()),
    (" 10.138.", |character| character.is_ascii_digit() || character == '.'),
];

/// Readable bytes in which random values are masked; known UUIDs stay.
fn masked(bytes: &[u8]) -> String {
    let mut text = readable(bytes).replace('\n', "⏎");
    for (before, belongs) in RANDOM {
        let mut out = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find(before) {
            let (kept, value) = rest.split_at(at + before.len());
            let end = value.find(|character| !belongs(character)).unwrap_or(value.len());
            let known = before.starts_with("uuid")
                && (STORE.contains(&value[..end]) || value.starts_with("00000000-"));
            out.push_str(kept);
            out.push_str(if known { &value[..end] } else { "(random)" });
            rest = &value[end..];
        }
        out.push_str(rest);
        text = out;
    }
    text
}

#[test]
fn every_recorded_case_is_met_listed_or_pending() {
    let fixture = system();
    let report = std::env::var_os("REPORT").is_some();
    let (deviations, pending) = (listed(DEVIATIONS), listed(PENDING));
    let served = |method: &str| {
        services::FAMILIES.iter().any(|family| family.calls.iter().any(|call| call.row.name == method))
    };
    let mut seen = std::fs::read(fixture.path("/run/qubes/admin/events")).unwrap_or_default().len();
    let (mut met, mut by_rule, mut waiting) = (0, 0, 0);
    let mut wrong = Vec::new();
    for line in CASES.lines().skip(1) {
        let case: Case = serde_json::from_str(line).unwrap();
        let answer = replay(&fixture, &case, &mut seen);
        let base = "/var/lib/qubes";
        let recorded = bytes(&case.response.replace("@BASE@", base));
        let recorded_events = bytes(&case.events.replace("@BASE@", base));
        let same_reply = masked(&answer.reply) == masked(&recorded);
        let same_events = answer.events == recorded_events || case.events_stable == Some(false);
        let same = same_reply && same_events;
        let given = format!("{}|{}", masked(&answer.reply), readable(&answer.events));
        let unlike = |expected: &str| {
            format!("{} {}\n  expected {expected}\n  given    {given}", case.id, readable(&case.request()))
        };
        match (deviations.get(&case.id), pending.get(&case.id)) {
            (None, None) if same => met += 1,
            (None, None) => {
                wrong.push(unlike(&format!("{}|{}", masked(&recorded), readable(&recorded_events))))
            }
            (None, Some(_)) if same && served(&case.program()) => {
                wrong.push(format!("{}: no longer pending, take it off the list", case.id));
            }
            (None, Some(_)) => waiting += 1,
            (Some(_), _) if same => {
                wrong.push(format!("{}: no longer deviates, take it off the list", case.id))
            }
            (Some(rule), _) => match rule.split_once(" => ") {
                Some((_, expected)) if expected == given => by_rule += 1,
                Some((_, expected)) => wrong.push(unlike(expected)),
                None => panic!("the deviation {} has no expected answer", case.id),
            },
        }
    }
    println!("conformance: {met} equal, {by_rule} by rule, {waiting} pending, {} wrong", wrong.len());
    if report {
        println!("{}", wrong.join("\n"));
    }
    let first: Vec<&String> = wrong.iter().take(5).collect();
    assert!(wrong.is_empty(), "{} cases differ; the first: {first:#?}", wrong.len());
}
