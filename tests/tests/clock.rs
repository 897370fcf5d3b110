//! dom0's clock is set back while qubes run: starts, waits and ends go by a clock that nobody sets.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

use std::fs::File;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::hypervisor::{Reply, Request};
use tests::Fixture;
use tests::fixture::readable;
use tests::preloaded::Preloaded;
use tests::startable::{STARTED, STOPPED, behave, end, of, run_of, state, system, traces, watcher};
use tests::watching::{Watching, plain, published};

const HOUR: Duration = Duration::from_secs(3600);

fn clock() -> Preloaded {
    Preloaded::compiled("clock.c", &[])
}

/// The reply to a call for which time goes back whenever it looks.
fn called(fixture: &Fixture, clock: &Preloaded, call: &str) -> String {
    let request = fixture.path("/request");
    std::fs::write(&request, format!("{call} dom0 name net\0")).unwrap();
    let mut command = fixture.command(call.split('+').next().unwrap());
    command.env("LD_PRELOAD", clock.path()).stdin(File::open(request).unwrap());
    readable(&command.output().unwrap().stdout)
}

#[test]
fn calls_for_which_time_goes_back_wait_no_longer_and_no_shorter() {
    let (fixture, clock) = (system(), clock());
    behave(&fixture, "net", "simulated.ignores-shutdown");
    fixture.ok("admin.vm.property.Set+shutdown_timeout", "net", "1");
    let before = fixture.events().len();
    for (call, expected) in [
        ("admin.vm.Start", "Running"),
        ("admin.vm.Pause", "Paused"),
        ("admin.vm.Unpause", "Running"),
        ("admin.vm.Suspend", "Suspended"),
        ("admin.vm.Resume", "Running"),
    ] {
        assert_eq!(called(&fixture, &clock, call), "0·", "{call}");
        assert_eq!(state(&fixture, "net"), expected, "{call}");
    }
    let timed_out = "2·QubesVMShutdownTimeoutError··Domain shutdown timed out: 'net'·";
    assert_eq!(called(&fixture, &clock, "admin.vm.Shutdown+wait"), timed_out);
    assert_eq!(state(&fixture, "net"), "Running");
    assert_eq!(called(&fixture, &clock, "admin.vm.Kill"), "0·");
    assert_eq!(traces(&fixture), [""; 0]);
    let told = fixture.events().split_off(before);
    assert!(told.starts_with(&of("net", &STARTED)), "{told:?}");
    assert!(told.ends_with(&of("net", &STOPPED)), "{told:?}");
}

#[test]
fn a_watcher_for_which_time_goes_back_sees_its_domain_end() {
    let (fixture, clock) = (Fixture::new(), clock());
    let preload = clock.path();
    let variables = [("LD_PRELOAD", preload.to_str().unwrap())];
    let (watching, reply) = Watching::begin(&fixture, &variables, &Request::Create(plain("")));
    assert!(matches!(reply, Some(Reply::Domain(_))), "{reply:?}");
    let started = Duration::from_micros(published(&fixture).unwrap().start_time_us);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    assert!(started + HOUR <= now, "the stand-in is not in use");
    for request in [Request::Unpause, Request::Keep, Request::Suspend, Request::Resume, Request::Shutdown] {
        assert_eq!(watching.connection.ask(&request).unwrap(), Some(Reply::Done), "{request:?}");
    }
    assert_eq!(watching.ended(), Some(0));
    assert_eq!(published(&fixture), None);
}

#[test]
fn a_run_that_lies_in_the_future_is_watched_ended_and_followed_by_another() {
    let fixture = system();
    fixture.ok("admin.vm.Start", "net", "");
    let later = SystemTime::now() + 24 * HOUR;
    for path in fixture.files().into_keys().filter(|path| path.is_file()) {
        File::options().write(true).open(path).unwrap().set_modified(later).unwrap();
    }
    end(watcher(&fixture, "net"));
    let first = run_of(&fixture, "net").unwrap();
    for (call, expected) in [("admin.vm.Pause", "Paused"), ("admin.vm.Unpause", "Running")] {
        fixture.ok(call, "net", "");
        assert_eq!(state(&fixture, "net"), expected, "{call}");
    }
    assert_eq!(run_of(&fixture, "net").unwrap().run, first.run);
    let events = fixture.events_of(|fixture| drop(fixture.ok("admin.vm.Shutdown+wait", "net", "")));
    assert_eq!(events, [of("net", &["domain-pre-shutdown force=False"]), of("net", &STOPPED)].concat());
    assert_eq!(traces(&fixture), [""; 0]);
    let events = fixture.events_of(|fixture| drop(fixture.ok("admin.vm.Start", "net", "")));
    assert_eq!(events, of("net", &STARTED));
    fixture.ok("admin.vm.Kill", "net", "");
    assert_eq!(traces(&fixture), [""; 0]);
}
