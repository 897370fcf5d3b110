//! The event log while its segments change: a writer killed at any system call neither loses nor doubles an event for
//! those who follow, and a change that finds no room is finished later.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use common::store::Follower;
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
