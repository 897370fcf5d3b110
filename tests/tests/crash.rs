//! kill -9 at every system call of real calls, and under many writers: nothing torn, nothing acknowledged lost,
//! events exactly once.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "test code"
)]

use std::fs::File;
use std::io::Write;
use std::process::Stdio;

use tests::Fixture;
use tests::stepper::kill_at;

const GET: &str = "admin.vm.feature.Get+f";

/// The events that carry a value, in order.
fn events_with(fixture: &Fixture, value: &str) -> Vec<String> {
    fixture.events().into_iter().filter(|event| event.contains(&format!(" value={value}"))).collect()
}

#[test]
fn a_change_of_one_object_survives_kill_at_every_system_call() {
    let fixture = Fixture::new();
    fixture.ok("admin.vm.feature.Set+f", "test-vm1", "v0");
    let mut before = "v0".to_owned();
    let (mut old, mut new) = (0, 0);
    for stop in 0.. {
        let value = format!("v{}", stop + 1);
        let request = fixture.path("/request");
        std::fs::write(&request, format!("admin.vm.feature.Set+f dom0 name test-vm1\0{value}")).unwrap();
        let mut command = fixture.command("admin.vm.feature.Set");
        command.stdin(File::open(&request).unwrap());
        let traced = kill_at(command, stop);
        let now = fixture.ok(GET, "test-vm1", "");
        assert!(now == value || now == before, "torn at stop {stop}: {now}");
        assert!(traced.output.is_empty() || now == value, "an acknowledged change was lost at stop {stop}");
        // A locked read finishes what was left behind; then the events are there exactly once, or not at all.
        fixture.ok("admin.vm.List", "dom0", "");
        let events = events_with(&fixture, &value).len();
        assert_eq!(events, if now == value { 2 } else { 0 }, "events at stop {stop}");
        if now == value {
            new += 1
        } else {
            old += 1
        }
        before = now;
        if !traced.killed {
            break;
        }
    }
    println!("one object: {} points, {old} old, {new} new, 0 torn", old + new);
    assert!(old > 40 && new > 10, "{old} old, {new} new");
}

#[test]
fn a_change_of_several_objects_survives_kill_at_every_system_call() {
    let fixture = Fixture::new();
    let holders = ["test-net", "test-vm1"];
    let clock = |fixture: &Fixture| fixture.ok("admin.property.Get+clockvm", "dom0", "");
    let has = |fixture: &Fixture, qube: &str| {
        fixture.call("admin.vm.feature.Get+service.clocksync", qube, "").starts_with(b"0\0")
    };
    fixture.ok("admin.property.Set+clockvm", "dom0", holders[0]);
    let mut holder = 0;
    let (mut old, mut new) = (0, 0);
    for stop in 0.. {
        let wanted = 1 - holder;
        let request = fixture.path("/request");
        std::fs::write(&request, format!("admin.property.Set+clockvm dom0 name dom0\0{}", holders[wanted]))
            .unwrap();
        let mut command = fixture.command("admin.property.Set");
        command.stdin(File::open(&request).unwrap());
        let events_before = fixture.events().len();
        let traced = kill_at(command, stop);
        let now = usize::from(clock(&fixture).ends_with(holders[1]));
        assert!(traced.output.is_empty() || now == wanted, "an acknowledged change was lost at stop {stop}");
        for (number, qube) in holders.iter().enumerate() {
            assert_eq!(has(&fixture, qube), number == now, "torn at stop {stop}");
        }
        let events = fixture.events().len() - events_before;
        assert_eq!(events, if now == holder { 0 } else { 6 }, "events at stop {stop}");
        if now == wanted {
            new += 1
        } else {
            old += 1
        }
        holder = now;
        if !traced.killed {
            break;
        }
    }
    println!("several objects: {} points, {old} old, {new} new, 0 torn", old + new);
    assert!(old > 40 && new > 20, "{old} old, {new} new");
}

/// A small generator of repeatable numbers.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// What one writer knows at the end: the last value acknowledged, and the ones tried after it.
struct Written {
    acknowledged: Vec<u32>,
    tried: Vec<u32>,
}

fn write(fixture: &Fixture, writer: u64, changes: u32) -> Written {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15 ^ (writer + 1));
    let mut written = Written { acknowledged: Vec::new(), tried: Vec::new() };
    for change in 1..=changes {
        let mut command = fixture.command("admin.vm.feature.Set");
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let request = format!("admin.vm.feature.Set+w{writer} dom0 name test-vm1\0{change}");
        child.stdin.take().unwrap().write_all(request.as_bytes()).unwrap();
        if numbers.next().is_multiple_of(8) {
            for _ in 0..numbers.next() % 64 {
                std::thread::yield_now();
            }
            let _ = child.kill();
        }
        let output = child.wait_with_output().unwrap();
        written.tried.push(change);
        if output.stdout == b"0\0" {
            written.acknowledged.push(change);
        }
    }
    written
}

#[test]
fn many_writers_lose_and_double_nothing() {
    let changes = std::env::var("CHANGES").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    let fixture = Fixture::new();
    let fixture = &fixture;
    let written: Vec<Written> = std::thread::scope(|scope| {
        let writers: Vec<_> =
            (0..64).map(|writer| scope.spawn(move || write(fixture, writer, changes))).collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    fixture.ok("admin.vm.List", "dom0", "");
    let events = fixture.events();
    for (writer, written) in written.iter().enumerate() {
        let feature = format!("test-vm1 domain-feature-set:w{writer} ");
        let values: Vec<u32> = events
            .iter()
            .filter(|event| event.starts_with(&feature))
            .map(|event| event.split("value=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap())
            .collect();
        assert!(values.is_sorted_by(|left, right| left < right), "doubled or out of order: {values:?}");
        for acknowledged in &written.acknowledged {
            assert!(values.contains(acknowledged), "the events of an acknowledged change are missing");
        }
        let now = fixture.ok(&format!("admin.vm.feature.Get+w{writer}"), "test-vm1", "");
        assert_eq!(now, values.last().unwrap().to_string(), "state and events disagree");
    }
    let acknowledged: usize = written.iter().map(|written| written.acknowledged.len()).sum();
    println!("64 writers: {} changes tried, {acknowledged} acknowledged", 64 * changes);
}
