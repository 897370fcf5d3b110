//! The recorded conversations of the reference server, replayed through the real executables, byte for byte.
//!
//! `conformance/deviations.txt` lists the cases where a rule of the specification decides against the recording, with
//! the reply or events expected instead; `conformance/pending.txt` those whose calls are not served yet;
//! `conformance/shapes.txt` those with numbers of the machine itself, which are not compared; `conformance/between.txt`
//! what has to be done after a deviation for the cases that follow.
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
use tests::gateway::Gateway;
use tests::golden::{self, Case, Drawn, bytes, in_order, listed, located, masked, program, without_numbers};

/// The recordings, each made from a fresh copy of the same system.
const RECORDINGS: [(u32, &str); 4] = [
    (10, include_str!("../conformance/10-vms.jsonl")),
    (20, include_str!("../conformance/20-storage.jsonl")),
    (30, include_str!("../conformance/30-devices-firewall.jsonl")),
    (40, include_str!("../conformance/40-lifecycle.jsonl")),
];
const DEVIATIONS: &str = include_str!("../conformance/deviations.txt");
const PENDING: &str = include_str!("../conformance/pending.txt");
const BETWEEN: &str = include_str!("../conformance/between.txt");
const SHAPES: &str = include_str!("../conformance/shapes.txt");

/// What one case answered: reply and events.
struct Answer {
    reply: Vec<u8>,
    events: Vec<u8>,
}

/// How requests get to what serves them: by executables, or by a gateway's sockets.
type Way<'a> = Option<&'a Gateway>;

fn ask(fixture: &Fixture, way: Way<'_>, case: &Case, request: &[u8]) -> Vec<u8> {
    match way {
        Some(gateway) => gateway.ask(&case.socket(), request),
        None => fixture.run(&program(request), request).stdout,
    }
}

fn replay(fixture: &Fixture, way: Way<'_>, case: &Case, request: &[u8], seen: &mut usize) -> Answer {
    let reply = ask(fixture, way, case, request);
    let log = fixture.event_log();
    let events = logged_events(&log[*seen..]).iter().flat_map(reply::event).collect();
    *seen = log.len();
    Answer { reply, events }
}

/// How the cases of a recording came out.
#[derive(Default)]
struct Tally {
    met: usize,
    by_rule: usize,
    waiting: usize,
    wrong: Vec<String>,
}

fn is_served(method: &str) -> bool {
    services::FAMILIES.iter().any(|family| family.find(method.as_bytes()).is_some())
}

fn judge(recording: u32, cases: &str, fixture: &Fixture, way: Way<'_>) -> Tally {
    // While this was recorded all that accompanies a domain was there.
    if [30, 40].contains(&recording) {
        tests::companions::install(fixture);
    }
    if recording == 30 {
        std::fs::write(fixture.path("/qubesdb.debian-12"), golden::WRITTEN_BY_TEMPLATE).unwrap();
    }
    let [deviations, pending, shapes, between] =
        [DEVIATIONS, PENDING, SHAPES, BETWEEN].map(|list| listed(list, recording));
    let mut seen = fixture.event_log().len();
    let (mut tally, mut drawn) = (Tally::default(), Drawn::default());
    for line in cases.lines().skip(1) {
        let case: Case = serde_json::from_str(line).unwrap();
        if way.is_none() && case.is_at_a_wrong_socket() {
            continue;
        }
        let request = case.request(&drawn);
        let answer = replay(fixture, way, &case, &request, &mut seen);
        drawn.learn(&case.events, &String::from_utf8_lossy(&answer.events));
        if let Some(request) = between.get(&case.id) {
            let request = format!("{request}\0").into_bytes();
            fixture.run(&program(&request), &request);
            seen = fixture.event_log().len();
        }
        // Qubes with drawn names stand in another order.
        let lists = ["admin.vm.List", "admin.backup.Info"];
        let is_list = recording == 40 && case.method.as_deref().is_some_and(|method| lists.contains(&method));
        let masked = |bytes: &[u8]| {
            let text = if is_list { in_order(&masked(bytes)) } else { masked(bytes) };
            shapes.get(&case.id).map_or(text.clone(), |names| without_numbers(&text, names))
        };
        let recorded = bytes(&drawn.now(&located(&case.response)));
        let recorded_events = bytes(&drawn.now(&located(&case.events)));
        let same_reply = masked(&answer.reply) == masked(&recorded);
        let same_events = answer.events == recorded_events || case.events_stable == Some(false);
        let same = same_reply && same_events;
        let given = format!("{}|{}", masked(&answer.reply), readable(&answer.events));
        let unlike = |expected: &str| {
            let request = readable(&request);
            format!("{recording}:{} {request}\n  expected {expected}\n  given    {given}", case.id)
        };
        let by_rule = |expected: &str| {
            let expected = drawn.now(expected);
            match expected.rsplit_once('|').filter(|_| is_list) {
                Some((reply, events)) => format!("{}|{events}", in_order(reply)),
                None => expected,
            }
        };
        let off = |why: &str| format!("{recording}:{}: no longer {why}, take it off the list", case.id);
        match (deviations.get(&case.id), pending.get(&case.id)) {
            (None, None) if same => tally.met += 1,
            (None, None) => {
                let expected = format!("{}|{}", masked(&recorded), readable(&recorded_events));
                tally.wrong.push(unlike(&expected));
            }
            (None, Some(_)) if is_served(&program(&request)) => tally.wrong.push(off("pending")),
            (None, Some(_)) => tally.waiting += 1,
            (Some(_), _) if same => tally.wrong.push(off("deviates")),
            (Some(rule), _) => match rule.split_once(" => ") {
                Some((_, expected)) if by_rule(expected) == given => tally.by_rule += 1,
                Some((_, expected)) => tally.wrong.push(unlike(&by_rule(expected))),
                None => panic!("the deviation {} has no expected answer", case.id),
            },
        }
    }
    tally
}

#[test]
fn every_recorded_case_is_met_listed_or_pending() {
    let report = std::env::var_os("REPORT").is_some();
    let mut wrong = Vec::new();
    for (recording, cases) in RECORDINGS {
        let tally = judge(recording, cases, &golden::system(), None);
        println!(
            "conformance {recording}: {} equal, {} by rule, {} pending, {} wrong",
            tally.met,
            tally.by_rule,
            tally.waiting,
            tally.wrong.len()
        );
        wrong.extend(tally.wrong);
    }
    if report {
        println!("{}", wrong.join("\n"));
    }
    let first: Vec<&String> = wrong.iter().take(5).collect();
    assert!(wrong.is_empty(), "{} cases differ; the first: {first:#?}", wrong.len());
}

#[test]
fn the_gateway_answers_every_case_like_the_executables() {
    for (recording, cases) in RECORDINGS {
        let fixture = golden::system();
        let gateway = Gateway::of(&fixture);
        let Tally { wrong, .. } = judge(recording, cases, &fixture, Some(&gateway));
        assert!(wrong.is_empty(), "{}: {:#?}", wrong.len(), &wrong[..wrong.len().min(5)]);
    }
}
