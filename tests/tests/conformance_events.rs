//! The recorded event streams of the reference server: real listeners are open while the recorded actions run once.
//!
//! `conformance/pending.txt` says for a stream which events belong to calls that are not served yet.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_macros,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

use tests::Fixture;
use tests::fixture::readable;
use tests::golden::{self, Case, Drawn, bytes, listed, located, program};
use tests::listener::Listener;

const CASES: &str = include_str!("../conformance/35-events.jsonl");
const PENDING: &str = include_str!("../conformance/pending.txt");
/// A feature of our own that ends each replay, and the policy that lets every listener see it.
const END: &str = "domain-feature-pre-set:recording-ends";
const POLICY: &str = "admin.Events +domain-feature-pre-set_recording-ends vault vault allow\n";

/// The messages of a recorded stream, NUL as `·`.
fn recorded(case: &Case) -> Vec<String> {
    let mut bytes = case.response.as_bytes();
    std::iter::from_fn(|| tests::listener::message(&mut bytes)).map(|message| readable(&message)).collect()
}

/// What domains use is the machine's own: only the keys are compared.
fn comparable(message: &str) -> String {
    if message.contains("·vm-stats·") {
        message.replace(|character: char| character.is_ascii_digit(), "")
    } else {
        message.to_owned()
    }
}

/// What a listener of this case has to see, as far as the calls that cause it are served.
fn expected(case: &Case, pending: Option<&String>) -> Vec<String> {
    let unserved: Vec<&str> = pending.map(|names| names.split(' ').collect()).unwrap_or_default();
    let is_served = |message: &String| {
        let name = message.split('·').nth(2).unwrap();
        !unserved.contains(&name)
    };
    recorded(case).into_iter().skip(1).filter(is_served).collect()
}

fn listener(fixture: &Fixture, case: &Case) -> Listener {
    let request = readable(&case.request(&Drawn::default()));
    let words: Vec<&str> =
        request.trim_end_matches('·').split(['+', ' ']).filter(|word| !word.is_empty()).collect();
    Listener::to(fixture, words[0], words[1], words[3])
}

#[test]
fn every_recorded_stream_is_met_as_far_as_its_calls_are_served() {
    let fixture = golden::system();
    fixture.policy("20-end.policy", POLICY);
    fixture.ok("admin.vm.Start", "vault", "");
    let cases: Vec<Case> = CASES.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect();
    let streams: Vec<&Case> = cases.iter().filter(|case| !case.actions.is_empty()).collect();
    let listeners: Vec<Listener> = streams.iter().map(|case| listener(&fixture, case)).collect();
    for action in &streams[0].actions {
        let action = bytes(&located(action));
        fixture.run(&program(&action), &action);
    }
    for qube in ["vault", "work"] {
        fixture.ok("admin.vm.feature.Set+recording-ends", qube, "");
    }
    let pending = listed(PENDING, 35);
    for (case, listener) in streams.iter().zip(&listeners) {
        let expected = expected(case, pending.get(&case.id));
        let is_stats = program(&case.request(&Drawn::default())) == "admin.vm.Stats";
        let seen = if is_stats {
            expected.iter().map(|_| listener.next().unwrap()).collect()
        } else {
            listener.until(END)
        };
        let compared =
            |messages: &[String]| messages.iter().map(|message| comparable(message)).collect::<Vec<_>>();
        assert_eq!(compared(&seen), compared(&expected), "stream {}", case.id);
    }
    println!("conformance of streams: {} met, {} of them in part", streams.len(), pending.len());
}
