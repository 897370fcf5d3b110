//! The event log while its segments change: a writer killed at any system call neither loses nor doubles an event for
//! those who follow, and a change that finds no room is finished later.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use common::event::Event;
use common::store::{Follower, LoggedEvent, Store};
use tests::Fixture;
use tests::stepper::{Trouble, run};

fn segments(fixture: &Fixture) -> Vec<PathBuf> {
    let folder = std::fs::read_dir(fixture.path("/run/qubes/admin/events")).unwrap();
    let mut segments: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    segments.sort();
    segments
}

/// Begins the newest segment with a change and lets it grow so large that the next change is its last.
fn fill(fixture: &Fixture) {
    fixture.ok("admin.vm.feature.Set+f", "test-vm1", "before");
    let value = "x".repeat(1 << 20);
    let line =
        format!(r#"{{"g":0,"i":0,"e":{{"subject":null,"name":"filler","details":[["k","{value}"]]}}}}"#);
    let newest = segments(fixture).pop().unwrap();
    writeln!(OpenOptions::new().append(true).open(newest).unwrap(), "\n{line}").unwrap();
}

/// Names and values of the new events that are not fillers.
fn followed(follower: &mut Follower) -> Vec<String> {
    let mut seen = Vec::new();
    follower.read(|event| seen.push(event)).unwrap();
    let ours = seen.into_iter().filter(|event| event.name != "filler");
    ours.map(|event| format!("{}={}", event.name, event.detail("value").unwrap())).collect()
}

#[test]
fn a_kill_at_any_system_call_of_a_change_that_fills_a_segment_loses_and_doubles_nothing() {
    let fixture = Fixture::new();
    fixture.ok("admin.vm.feature.Set+f", "test-vm1", "v0");
    let store = fixture.store();
    let mut follower = Follower::behind(&store.read().unwrap()).unwrap();
    let (mut seen, mut unseen) = (0, 0);
    for stop in 0.. {
        fill(&fixture);
        let before = segments(&fixture);
        let request = fixture.path("/request");
        std::fs::write(&request, format!("admin.vm.feature.Set+f dom0 name test-vm1\0v{}", stop + 1))
            .unwrap();
        let mut command = fixture.command("admin.vm.feature.Set");
        command.stdin(File::open(&request).unwrap());
        let traced = run(command, Trouble::Kill(stop));
        // The next change finishes what was left behind and goes into whatever segment is the newest then.
        fixture.ok("admin.vm.feature.Set+f", "test-vm1", "again");
        let events = followed(&mut follower);
        let of = |value: &str| ["pre-set", "set"].map(|kind| format!("domain-feature-{kind}:f={value}"));
        let own = of(&format!("v{}", stop + 1));
        let without = [of("before"), of("again")].concat();
        let with = [of("before"), own, of("again")].concat();
        if events == with {
            seen += 1;
        } else {
            assert_eq!(events, without, "at stop {stop}");
            assert!(
                traced.output.is_empty(),
                "the events of an acknowledged change were lost at stop {stop}"
            );
            unseen += 1;
        }
        assert_ne!(segments(&fixture), before, "every round begins a segment");
        assert!(segments(&fixture).len() <= 4, "old segments are removed: {:?}", segments(&fixture));
        if !traced.met {
            break;
        }
    }
    println!("full segments: {} points, {seen} seen once, {unseen} never, 0 lost, 0 doubled", seen + unseen);
    assert!(seen > 20 && unseen > 40, "{seen} seen, {unseen} unseen");
}

#[test]
fn a_follower_reads_lines_longer_than_its_buffer_and_whole_lines_only() {
    let fixture = Fixture::new();
    let store = fixture.store();
    fixture.ok("admin.vm.feature.Set+f", "test-vm1", "1");
    let mut follower = Follower::behind(&store.read().unwrap()).unwrap();
    fill(&fixture);
    let newest = segments(&fixture).pop().unwrap();
    let mut log = OpenOptions::new().append(true).open(newest).unwrap();
    write!(log, r#"{{"g":1,"i":0,"e":{{"subject":null,"name":"#).unwrap();
    let names = |follower: &mut Follower| {
        let mut names = Vec::new();
        follower.read(|event| names.push(event.name)).unwrap();
        names
    };
    assert_eq!(names(&mut follower), ["domain-feature-pre-set:f", "domain-feature-set:f", "filler"]);
    assert_eq!(names(&mut follower), Vec::<String>::new());
    writeln!(log, r#""late","details":[]}}}}"#).unwrap();
    assert_eq!(names(&mut follower), ["late"]);
}

/// The generations of all logged events, in order.
fn generations(fixture: &Fixture) -> Vec<u64> {
    let log = fixture.event_log();
    let events = log.lines().filter_map(|line| serde_json::from_str::<LoggedEvent>(line).ok());
    events.map(|logged| logged.generation).collect()
}

#[test]
fn generations_go_on_after_a_lost_index_whatever_the_last_change_was() {
    let fixture = Fixture::new();
    let newest = |fixture: &Fixture| generations(fixture).pop().unwrap();
    fixture.ok("admin.vm.feature.Set+f", "test-vm1", "1");
    let changes: [&dyn Fn(); 3] = [
        // Refused after its pre-event, removed, and of labels: none leaves its number in a qube.
        &|| drop(fixture.refused("admin.vm.Remove", "test-template", "")),
        &|| drop(fixture.ok("admin.vm.Remove", "test-net", "")),
        &|| drop(fixture.ok("admin.label.Create+own", "dom0", "0x123456")),
    ];
    for change in changes {
        change();
        let before = newest(&fixture).max(label_generation(&fixture));
        std::fs::remove_file(fixture.path("/run/qubes/admin/index")).unwrap();
        fixture.ok("admin.vm.feature.Set+f", "test-vm1", before.to_string());
        assert_eq!(newest(&fixture), before + 1);
    }
}

/// The generation in the file of labels.
fn label_generation(fixture: &Fixture) -> u64 {
    let stored = std::fs::read(fixture.path("/var/lib/qubes/admin/labels.json")).unwrap();
    common::store::decode::<serde_json::Value>("labels", &stored).unwrap().0
}

/// A change that consists of one event.
fn publish(fixture: &Fixture, name: &str) {
    publish_by(&fixture.store(), name);
}

fn publish_by(store: &Store, name: &str) {
    let mut txn = store.write().unwrap();
    txn.event(Event::system(name));
    txn.commit().unwrap();
}

/// Names of what a follower reads, until it cannot go on.
fn names(follower: &mut Follower) -> (Vec<String>, bool) {
    let mut names = Vec::new();
    let goes_on = follower.read(|event| names.push(event.name)).is_ok();
    (names, goes_on)
}

#[test]
fn a_writer_goes_on_in_the_segment_that_others_have_begun_since() {
    let fixture = Fixture::new();
    let (first, store) = (fixture.store(), fixture.store());
    let mut follower = Follower::behind(&store.read().unwrap()).unwrap();
    publish_by(&first, "one");
    fill(&fixture);
    publish(&fixture, "other");
    publish_by(&first, "two");
    publish(&fixture, "three");
    publish_by(&first, "four");
    let (names, goes_on) = names(&mut follower);
    let ours = ["one", "other", "two", "three", "four"];
    assert_eq!(names.iter().filter(|name| ours.contains(&name.as_str())).collect::<Vec<_>>(), ours);
    assert!(goes_on);
    assert_eq!(segments(&fixture).len(), 2);
}

#[test]
fn a_log_cut_at_any_byte_yields_no_wrong_event() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let follower = || Follower::behind(&store.read().unwrap()).unwrap();
    let old = ["first", "second", "third"];
    for name in old {
        publish(&fixture, name);
    }
    let segment = segments(&fixture).pop().unwrap();
    let whole = std::fs::read(&segment).unwrap();
    for cut in 0..=whole.len() {
        std::fs::write(&segment, b"").unwrap();
        let mut unread = follower();
        std::fs::write(&segment, &whole).unwrap();
        let mut read = follower();
        OpenOptions::new().write(true).open(&segment).unwrap().set_len(u64::try_from(cut).unwrap()).unwrap();
        let behind = read.read(|event| panic!("{} at {cut}", event.name)).is_err();
        assert_eq!(behind, cut < whole.len(), "who has read more than is left cannot go on, cut at {cut}");
        let mut new = follower();
        publish(&fixture, "after");
        assert_eq!(names(&mut new), (vec!["after".to_owned()], true), "cut at {cut}");
        let (seen, goes_on) = names(&mut unread);
        let expected: Vec<&str> = old.into_iter().chain(["after"]).collect();
        let lost = expected.len() - seen.len();
        if goes_on {
            assert_eq!(seen.last().unwrap(), "after", "cut at {cut}");
            assert!(
                old.starts_with(&seen[..seen.len() - 1].iter().map(String::as_str).collect::<Vec<_>>()),
                "{seen:?} at {cut}"
            );
        } else {
            assert!(
                lost > 0 && expected.starts_with(&seen.iter().map(String::as_str).collect::<Vec<_>>()),
                "{seen:?} at {cut}"
            );
        }
    }
}

#[test]
fn a_follower_of_a_log_that_was_removed_is_told() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let mut follower = Follower::behind(&store.read().unwrap()).unwrap();
    publish(&fixture, "before");
    std::fs::remove_dir_all(fixture.path("/run/qubes/admin/events")).unwrap();
    publish(&fixture, "after");
    assert_eq!(names(&mut follower), (vec!["before".to_owned()], false));
}
