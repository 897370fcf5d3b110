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

use common::reply;
use tests::Fixture;
use tests::fixture::{logged_events, readable};
use tests::golden::{self, Case, bytes, listed, masked, program};

const CASES: &str = include_str!("../conformance/10-vms.jsonl");
const DEVIATIONS: &str = include_str!("../conformance/deviations.txt");
const PENDING: &str = include_str!("../conformance/pending.txt");

/// What one case answered: reply and events.
struct Answer {
    reply: Vec<u8>,
    events: Vec<u8>,
}

fn replay(fixture: &Fixture, case: &Case, seen: &mut usize) -> Answer {
    let output = fixture.run(&program(&case.request()), &case.request());
    let log = fixture.event_log();
    let events = logged_events(&log[*seen..]).iter().flat_map(reply::event).collect();
    *seen = log.len();
    Answer { reply: output.stdout, events }
}

#[test]
fn every_recorded_case_is_met_listed_or_pending() {
    let fixture = golden::system();
    let report = std::env::var_os("REPORT").is_some();
    let (deviations, pending) = (listed(DEVIATIONS, 10), listed(PENDING, 10));
    let served = |method: &str| {
        services::FAMILIES.iter().any(|family| family.calls.iter().any(|call| call.row.name == method))
    };
    let mut seen = fixture.event_log().len();
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
            (None, Some(_)) if same && served(&program(&case.request())) => {
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
