//! Starts, ends and watchers that are killed: the next calls find a whole run or none, finish what is left, and listeners
//! hear of every run once. Every 29th place is tried, `EVERY=1` for all of them.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "test code"
)]

use tests::Fixture;
use tests::fixture::{readable, refusal};
use tests::startable::{STARTED, STOPPED, state, system, traces};
use tests::stepped::{Stepped, from_file};
use tests::stepper::{Trouble, run};

/// Kills on one system; looking at all that it ever told would take ever longer.
const KILLS: usize = 40;
const OFF: &str = "QubesVMNotStartedError: Domain is powered off: 'net'";
const INTERRUPTED: &str = "domain-start-failed reason=The start was interrupted";
/// What of a start is told before there may be a domain, and once there is one.
const WITHOUT_DOMAIN: usize = 3;

fn stride() -> usize {
    if std::env::var_os("EVERY").is_some() { 1 } else { 29 }
}

/// How one run was told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// From its start to its end.
    Whole,
    /// As a start that failed, and if it had a domain, as the end of that.
    Interrupted,
}

/// Takes the events of one run off the beginning; they must be all that belongs to one.
fn one_run(events: &mut &[String], place: &str) -> Told {
    let all = *events;
    let begun = STARTED.iter().zip(all).take_while(|(expected, event)| *expected == event).count();
    let mut rest = &all[begun..];
    let has_failed = rest.first().is_some_and(|event| event.starts_with("domain-start-failed reason="));
    rest = &rest[usize::from(has_failed)..];
    let ends =
        rest.len() >= STOPPED.len() && rest.iter().zip(STOPPED).all(|(event, expected)| event == expected);
    *events = &rest[if ends { STOPPED.len() } else { 0 }..];
    assert!(has_failed || begun == STARTED.len() && ends, "{place}: half a run is told: {all:#?}");
    assert!(ends || begun <= WITHOUT_DOMAIN, "{place}: a domain without an end: {all:#?}");
    assert!(!ends || begun >= WITHOUT_DOMAIN, "{place}: an end without a domain: {all:#?}");
    if has_failed { Told::Interrupted } else { Told::Whole }
}

/// The runs that listeners heard of, but for wishes to shut down.
fn runs(fixture: &Fixture, before: usize, place: &str) -> Vec<Told> {
    let events = fixture.events().split_off(before);
    let mine = events.iter().map(|event| event.strip_prefix("net ").unwrap().to_owned());
    let told: Vec<String> = mine.filter(|event| !event.starts_with("domain-pre-shutdown ")).collect();
    let mut rest = told.as_slice();
    let mut runs = Vec::new();
    while !rest.is_empty() {
        runs.push(one_run(&mut rest, place));
    }
    runs
}

/// The answer of a call that ends a run, which may be over already: whether it was not.
fn has_ended(reply: &[u8], place: &str) -> bool {
    if reply == b"0\0" {
        return true;
    }
    assert_eq!(refusal(reply), OFF, "{place}");
    false
}

/// Nothing is left of any run, and the store is sound.
fn is_clean(fixture: &Fixture, place: &str) {
    assert_eq!(traces(fixture), [""; 0], "{place}");
    assert_eq!(state(fixture, "net"), "Halted", "{place}");
    assert_eq!(fixture.store().check().unwrap(), [], "{place}");
}

/// Kills a call at its stops, most times on the system that the last one left: it must be as new. Gives the number of kills.
fn kill_everywhere(method: &str, come_by: impl Fn(&Fixture, usize, bool, &str)) -> usize {
    let mut fixture = system();
    let (mut stop, mut kills) = (0, 0);
    loop {
        let place = format!("{method}, killed at stop {stop}");
        if kills % KILLS == KILLS - 1 {
            fixture = system();
        }
        if method != "admin.vm.Start" {
            fixture.ok("admin.vm.Start", "net", "");
        }
        let before = fixture.events().len();
        let traced = run(from_file(&fixture, method, "net"), Trouble::Kill(stop));
        assert!(traced.output.is_empty() || traced.output == b"0\0", "{}", readable(&traced.output));
        come_by(&fixture, before, !traced.output.is_empty(), &place);
        is_clean(&fixture, &place);
        if !traced.met {
            println!("{method}: {kills} kills, 0 torn");
            return kills;
        }
        kills += 1;
        stop += stride();
    }
}

#[test]
fn a_killed_start_is_told_as_failed_and_leaves_a_qube_that_starts() {
    let kills = kill_everywhere("admin.vm.Start", |fixture, before, is_acknowledged, place| {
        // Whoever comes next may want either.
        if before % 2 == 1 {
            has_ended(&fixture.call("admin.vm.Kill", "net", ""), place);
        }
        fixture.ok("admin.vm.Start", "net", "");
        assert_eq!(state(fixture, "net"), "Running", "{place}");
        fixture.ok("admin.vm.Kill", "net", "");
        let runs = runs(fixture, before, place);
        assert_eq!(runs.last(), Some(&Told::Whole), "{place}");
        assert!(runs.len() <= 2, "{place}: {runs:?}");
        assert!(!is_acknowledged || !runs.contains(&Told::Interrupted), "{place}: {runs:?}");
        let told = fixture.events().split_off(before);
        let failed: Vec<_> = told.iter().filter(|event| event.contains("domain-start-failed")).collect();
        assert!(failed.iter().all(|event| event.ends_with(INTERRUPTED)), "{place}: {failed:?}");
    });
    assert!(kills > 10, "{kills}");
}

#[test]
fn a_killed_end_is_finished_by_whoever_comes_next() {
    for method in
        ["admin.vm.Kill", "admin.vm.Shutdown", "admin.vm.Shutdown+wait", "admin.vm.Shutdown+wait+force"]
    {
        let kills = kill_everywhere(method, |fixture, before, is_acknowledged, place| {
            let has_ended = has_ended(&fixture.call("admin.vm.Kill", "net", ""), place);
            assert!(!is_acknowledged || !has_ended || method == "admin.vm.Shutdown", "{place}: it goes on");
            // Waits for whoever handles the end.
            fixture.ok("admin.vm.Start", "net", "");
            fixture.ok("admin.vm.Kill", "net", "");
            let mut told = fixture.events().split_off(before);
            told.retain(|event| !event.contains(" domain-pre-shutdown "));
            let whole = STOPPED.iter().chain(&STARTED).chain(&STOPPED);
            assert_eq!(told, whole.map(|event| format!("net {event}")).collect::<Vec<_>>(), "{place}");
        });
        assert!(kills > 2, "{method}: {kills}");
    }
}

#[test]
fn a_watcher_that_is_killed_anywhere_costs_no_run_its_end() {
    let (stepped, mut fixture) = (Stepped::new(), system());
    let (mut stop, mut failed) = (0, 0);
    for kills in 0.. {
        let place = format!("the watcher killed at stop {stop}");
        if kills % KILLS == KILLS - 1 {
            fixture = system();
        }
        stepped.kill_next(stop);
        let before = fixture.events().len();
        let started = stepped.call(&fixture, "admin.vm.Start", "net") == b"0\0";
        let end = ["admin.vm.Kill", "admin.vm.Shutdown+wait"][kills % 2];
        let has_ended = has_ended(&stepped.call(&fixture, end, "net"), &place);
        assert_eq!(has_ended, started, "{place}: a run is lost, or one that failed goes on");
        assert_eq!(fixture.call("admin.vm.Start", "net", ""), b"0\0", "{place}");
        fixture.ok("admin.vm.Kill", "net", "");
        let first = if started { Told::Whole } else { Told::Interrupted };
        let runs = runs(&fixture, before, &place);
        let is_untold = !started && runs == [Told::Whole];
        assert!(runs == [first, Told::Whole] || is_untold, "{place}: {runs:?}");
        is_clean(&fixture, &place);
        failed += usize::from(!started);
        if !stepped.was_killed() {
            println!("a watcher: {kills} kills, {failed} starts failed by them, 0 torn");
            assert!(kills > 10 && failed > 3 && failed < kills, "{kills} kills, {failed} failed");
            return;
        }
        stop += stride();
    }
}
