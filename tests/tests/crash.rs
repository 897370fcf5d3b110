//! kill -9 at every system call of every kind of change, and under many writers: nothing torn, nothing acknowledged
//! lost, events exactly once.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "test code"
)]

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::event::Event;
use common::store::{Disk, Follower};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::Fixture;
use tests::cases::{CASES, Case, World};
use tests::numbers::Numbers;
use tests::scenario::{Place, fill, published, shown};
use tests::stepper::{Trouble, run};

/// Kills the call at each of its stops in turn. Gives the number of stops.
fn kill_everywhere(case: &Case) -> usize {
    let (old, new) = case.worlds();
    let mut fixture = case.prepared();
    let (mut stops, mut olds) = (0, 0);
    loop {
        let traced = run(case.command(&fixture), Trouble::Kill(stops));
        let told = format!("{}, killed at stop {stops}", case.name());
        let now = World::of(&fixture);
        assert!(now == old || now == new, "{told}: torn: {now:?}");
        assert!(traced.output.is_empty() || now == new, "{told}: an acknowledged change was lost");
        assert_eq!(fixture.store().check().unwrap(), [], "{told}");
        if now == old {
            // The next try, on what this one left behind, must go as if it had never been.
            olds += 1;
        } else {
            goes_on(case, &fixture, &told);
            fixture = case.prepared();
        }
        if !traced.met {
            break;
        }
        stops += 1;
    }
    println!("{}: {stops} stops, {olds} old, {} new, 0 torn", case.name(), stops - olds);
    assert!(olds > 40 && olds < stops, "{}: {olds} of {stops} old", case.name());
    stops
}

/// Other calls work, and a removed qube leaves nothing to the next of its name.
fn goes_on(case: &Case, fixture: &Fixture, told: &str) {
    fixture.ok("admin.vm.feature.Set+after", "test-vm1", "1");
    assert_eq!(fixture.ok("admin.vm.feature.Get+after", "test-vm1", ""), "1", "{told}");
    if case.name() == "admin.vm.Remove" {
        fixture.ok("admin.vm.Create.AppVM+test-template", "dom0", "name=made label=red");
        assert_eq!(fixture.ok("admin.vm.notes.Get", "made", ""), "", "{told}: notes of a qube that is gone");
    }
}

#[test]
fn every_change_survives_kill_at_every_system_call() {
    let stops = tests::cases::side_by_side(&CASES, kill_everywhere);
    println!("{} kinds of change killed at {} stops", CASES.len(), stops.iter().sum::<usize>());
}

/// A root where a change of several objects is committed and nothing of it applied.
fn waiting() -> Fixture {
    let case = CASES.iter().find(|case| case.name() == "admin.property.Set+clockvm").unwrap();
    let killed_at = |stop| {
        let fixture = case.prepared();
        run(case.command(&fixture), Trouble::Kill(stop));
        fixture.path("/var/lib/qubes/admin/journal/commit.json").exists().then_some(fixture)
    };
    (0..1000).find_map(killed_at).unwrap()
}

fn is_finished(fixture: &Fixture) {
    assert!(fixture.ok("admin.property.Get+clockvm", "dom0", "").ends_with("test-vm1"));
    assert_eq!(fixture.ok("admin.vm.feature.Get+service.clocksync", "test-vm1", ""), "1");
    assert!(fixture.events().iter().any(|event| event.contains("property-set:clockvm")));
    assert_eq!(fixture.store().check().unwrap(), []);
}

#[test]
fn a_waiting_change_is_finished_by_whatever_call_comes_next() {
    for (call, destination) in [
        ("admin.vm.feature.Set+x", "test-net"),
        ("admin.vm.feature.Get+service.clocksync", "test-vm1"),
        ("admin.vm.List", "dom0"),
    ] {
        let fixture = waiting();
        fixture.ok(call, destination, "");
        is_finished(&fixture);
    }
}

#[test]
fn a_waiting_change_is_finished_after_a_reboot_that_took_the_run_time_directory() {
    for call in ["admin.vm.feature.Set+x", "admin.vm.List"] {
        let fixture = waiting();
        std::fs::remove_dir_all(fixture.path("/run/qubes/admin")).unwrap();
        fixture.ok(call, "dom0", "");
        fixture.ok("admin.vm.feature.Set+y", "dom0", "");
        fixture.ok("admin.vm.notes.Set", "test-vm1", "text");
        is_finished(&fixture);
    }
}

#[test]
fn a_record_that_cannot_be_read_is_set_aside_and_named() {
    let fixture = waiting();
    let journal = fixture.path("/var/lib/qubes/admin/journal");
    std::fs::write(journal.join("commit.json"), "{").unwrap();
    fixture.ok("admin.vm.feature.Set+x", "test-net", "");
    assert!(!journal.join("commit.json").exists());
    let problems = fixture.store().check().unwrap();
    assert_eq!(problems[0].text, "journal/commit.damaged is a change that could not be finished");
    assert_eq!(problems.len(), 1);
}

/// The call a writer is in the middle of. It is there only while the process is surely the writer's own.
type Running = Mutex<Option<Pid>>;

/// Makes changes one after the other; gives the acknowledged ones.
fn write(fixture: &Fixture, writer: usize, changes: u32, running: &Running) -> Vec<u32> {
    let mut acknowledged = Vec::new();
    for change in 1..=changes {
        let mut command = fixture.command("admin.vm.feature.Set");
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        *running.lock().unwrap() = Some(Pid::from_raw(i32::try_from(child.id()).unwrap()));
        let request = format!("admin.vm.feature.Set+w{writer} dom0 name test-vm1\0{change}");
        // It may be killed before it has read anything.
        let _ = child.stdin.take().unwrap().write_all(request.as_bytes());
        let mut reply = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut reply).unwrap();
        *running.lock().unwrap() = None;
        child.wait().unwrap();
        if reply == b"0\0" {
            acknowledged.push(change);
        }
    }
    acknowledged
}

/// Kills some writer's call every 50 ms until all are done. Gives the number of kills.
fn kill_now_and_then(running: &[Running], done: &AtomicBool) -> usize {
    let mut numbers = Numbers::of(0);
    let mut kills = 0;
    while !done.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(50));
        let victim = usize::try_from(numbers.next()).unwrap() % running.len();
        if let Some(pid) = *running[victim].lock().unwrap() {
            kill(pid, Signal::SIGKILL).unwrap();
            kills += 1;
        }
    }
    kills
}

const FOLLOWERS: usize = 3;
const END: &str = "domain-feature-set:end";

/// Every event until the one that ends the test, in order, as a follower reads them while they are written.
fn follow(mut follower: Follower) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    loop {
        follower.read(|event| events.push(event)).unwrap();
        if events.last().is_some_and(|event| event.name == END) {
            return events;
        }
        let mut wakes = [PollFd::new(follower.as_fd(), PollFlags::POLLIN)];
        poll(&mut wakes, PollTimeout::NONE).unwrap();
    }
}

/// `CHANGES=1000` for the full size.
#[test]
fn many_writers_lose_and_double_nothing_for_any_follower() {
    let changes = std::env::var("CHANGES").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    let fixture = &Fixture::new();
    let running: Vec<Running> = (0..64).map(|_| Running::default()).collect();
    let done = AtomicBool::new(false);
    let (written, kills, followed) = std::thread::scope(|scope| {
        let followers = [(); FOLLOWERS].map(|()| {
            let follower = Follower::behind(&fixture.store().read().unwrap()).unwrap();
            scope.spawn(move || follow(follower))
        });
        let killer = scope.spawn(|| kill_now_and_then(&running, &done));
        let write = |(writer, running)| scope.spawn(move || write(fixture, writer, changes, running));
        let writers: Vec<_> = running.iter().enumerate().map(write).collect();
        let written: Vec<Vec<u32>> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        done.store(true, Ordering::Relaxed);
        let kills = killer.join().unwrap();
        fixture.ok("admin.vm.feature.Set+end", "test-vm1", "1");
        (written, kills, followers.map(|follower| follower.join().unwrap()))
    });
    assert!(followed.iter().all(|events| *events == followed[0]), "followers disagree");
    for (writer, written) in written.iter().enumerate() {
        let feature = format!("domain-feature-set:w{writer}");
        let events = followed[0].iter().filter(|event| event.name == feature);
        let values: Vec<u32> = events.map(|event| event.detail("value").unwrap().parse().unwrap()).collect();
        assert!(values.is_sorted_by(|left, right| left < right), "doubled or out of order: {values:?}");
        for acknowledged in written {
            assert!(values.contains(acknowledged), "the events of an acknowledged change are missing");
        }
        let now = fixture.ok(&format!("admin.vm.feature.Get+w{writer}"), "test-vm1", "");
        assert_eq!(now, values.last().unwrap().to_string(), "state and events disagree");
    }
    let acknowledged: usize = written.iter().map(Vec::len).sum();
    println!(
        "64 writers, {FOLLOWERS} followers: {} changes tried, {kills} killed, {acknowledged} acknowledged, {} events",
        64 * changes,
        followed[0].len()
    );
    assert!(kills > 0, "nothing was killed");
    assert!(
        acknowledged + kills >= 64 * usize::try_from(changes).unwrap(),
        "a call failed that was not killed"
    );
}

/// Kills a change on a disk that forgets a file at every stop; gives how often the result is wrong.
fn kill_forgetful(forgotten: &str, shape: &str) -> usize {
    let mut wrong = 0;
    for stop in 0.. {
        let place = Place::new();
        let disk = Disk::shared_by_group();
        let store = place.store(disk);
        store.prepare().unwrap();
        fill(&store);
        let mut command = Command::new(env!("CARGO_BIN_EXE_forgetful"));
        command.args([place.state(), place.run()]).args([forgotten, shape]);
        let met = run(command, Trouble::Kill(stop)).met;
        let shown = shown(&store).unwrap();
        let new = ["\"vcpus\": Int(1)", "\"memory\": Int(1)", "stats_interval", "more1"];
        let changed = new.iter().filter(|part| shown.contains(**part)).count();
        let events = published(&disk, &place).len();
        let whole =
            (changed, events) == (0, 0) || changed == if shape == "one" { 1 } else { 3 } && events == 1;
        wrong += usize::from(!whole);
        if !met {
            return wrong;
        }
    }
    wrong
}

#[test]
fn the_harness_notices_a_record_that_is_not_written() {
    for shape in ["one", "several"] {
        assert_eq!(kill_forgetful("nothing", shape), 0, "{shape}");
    }
    let (pending, commit) = (kill_forgetful("pending.json", "one"), kill_forgetful("commit.json", "several"));
    println!("without the pending record {pending} states are wrong, without the journal's {commit}");
    assert!(pending > 0 && commit > 0);
}
