//! The watcher of a domain, over simulated domains: what it publishes, what it does for calls, how domains end, and what
//! is left when it or the one who started it is killed.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

use std::os::fd::OwnedFd;

use common::hypervisor::{Connection, Domain, PowerState, Reply, Request};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::watching::{DEADLINE, Watching, plain, published, until};
use tests::{Fixture, startable};

fn state(fixture: &Fixture) -> Option<PowerState> {
    published(fixture).map(|domain| domain.state)
}

/// The process that stands in for the guest.
fn guest(fixture: &Fixture) -> Pid {
    Pid::from_raw(i32::try_from(published(fixture).unwrap().domid.0).unwrap())
}

/// Files that tell of domains, which are gone with them.
fn traces(fixture: &Fixture) -> Vec<String> {
    let folders =
        ["domains", "watchers", "simulated"].map(|name| fixture.path("/run/qubes/admin").join(name));
    let entries = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_domain_is_made_paused_and_goes_through_all_states() {
    let fixture = Fixture::new();
    let (watching, reply) = Watching::begin(&fixture, &[], &Request::Create(plain("")));
    let domain = published(&fixture).unwrap();
    assert_eq!(reply, Some(Reply::Domain(domain.domid)));
    let Domain { state: first, memory_kib, memory_max_kib, vcpus, start_time_us, .. } = domain;
    assert_eq!((first, memory_kib, memory_max_kib, vcpus), (PowerState::Paused, 409_600, Some(819_200), 3));
    assert!(start_time_us > 1_700_000_000_000_000);
    assert!(watching.is_watched());
    for (request, expected) in [
        (Request::Unpause, PowerState::Running),
        (Request::Keep, PowerState::Running),
        (Request::Pause, PowerState::Paused),
        (Request::Unpause, PowerState::Running),
        (Request::Suspend, PowerState::Suspended),
        (Request::Resume, PowerState::Running),
    ] {
        assert_eq!(watching.connection.ask(&request).unwrap(), Some(Reply::Done), "{request:?}");
        assert_eq!(state(&fixture), Some(expected), "{request:?}");
    }
    let refused = watching.connection.ask(&Request::Create(plain(""))).unwrap();
    assert_eq!(refused, Some(Reply::Refused("there is a domain already".to_owned())));
    assert_eq!(watching.connection.ask(&Request::Shutdown).unwrap(), Some(Reply::Done));
    assert_eq!(watching.ended(), Some(0));
    assert_eq!(traces(&fixture), [""; 0]);
}

#[test]
fn calls_are_served_beside_each_other_and_see_the_end() {
    let fixture = Fixture::new();
    let watching = Watching::running(&fixture, "");
    let calls = [(); 3].map(|()| Watching::another(&fixture));
    for call in calls.iter().rev() {
        assert_eq!(call.ask(&Request::Resume).unwrap(), Some(Reply::Done));
    }
    let [first, second, third] = calls;
    drop(second);
    assert_eq!(first.ask(&Request::Destroy).unwrap(), Some(Reply::Done));
    for call in [&first, &third] {
        assert_eq!(call.receive::<Reply>().unwrap(), None);
    }
    assert_eq!(watching.ended(), Some(0));
    assert_eq!(traces(&fixture), [""; 0]);
}

#[test]
fn nonsense_ends_one_conversation_and_nothing_else() {
    let fixture = Fixture::new();
    let watching = Watching::running(&fixture, "");
    let call = Watching::another(&fixture);
    call.send(&"nonsense").unwrap();
    assert_eq!(call.receive::<Reply>().unwrap(), None);
    assert_eq!(watching.connection.ask(&Request::Destroy).unwrap(), Some(Reply::Done));
    assert_eq!(watching.ended(), Some(0));
}

#[test]
fn a_guest_that_powers_off_or_crashes_is_cleared_away() {
    for signal in [Signal::SIGTERM, Signal::SIGABRT, Signal::SIGKILL] {
        let fixture = Fixture::new();
        let watching = Watching::running(&fixture, "");
        kill(guest(&fixture), signal).unwrap();
        assert_eq!(watching.ended(), Some(0), "{signal}");
        assert_eq!(traces(&fixture), [""; 0], "{signal}");
    }
}

#[test]
fn a_guest_that_ignores_the_request_goes_on_until_it_is_destroyed() {
    let fixture = Fixture::new();
    let watching = Watching::running(&fixture, "quiet simulated.ignores-shutdown");
    assert_eq!(watching.connection.ask(&Request::Shutdown).unwrap(), Some(Reply::Done));
    // What comes after the request is answered by a guest that has seen the request.
    for request in [Request::Suspend, Request::Resume] {
        assert_eq!(watching.connection.ask(&request).unwrap(), Some(Reply::Done));
    }
    assert_eq!(state(&fixture), Some(PowerState::Running));
    assert_eq!(watching.connection.ask(&Request::Destroy).unwrap(), Some(Reply::Done));
    assert_eq!(watching.ended(), Some(0));
}

#[test]
fn a_call_about_the_moment_is_answered_and_let_go() {
    let fixture = Fixture::new();
    let watching = Watching::running(&fixture, "");
    let watcher = Pid::from_raw(i32::try_from(watching.process.id()).unwrap());
    for (request, state) in [
        (Request::Pause, PowerState::Paused),
        (Request::Tell, PowerState::Paused),
        (Request::Unpause, PowerState::Running),
    ] {
        // As all calls have that are not much slower than their watcher, it has asked when it is taken in.
        kill(watcher, Signal::SIGSTOP).unwrap();
        let call = Watching::another(&fixture);
        call.send(&request).unwrap();
        kill(watcher, Signal::SIGCONT).unwrap();
        for is_answer in [true, false] {
            assert!(call.is_heard_within(DEADLINE).unwrap(), "{request:?}");
            assert_eq!(call.receive::<Reply>().unwrap().is_some(), is_answer, "{request:?}");
        }
        assert_eq!(published(&fixture).unwrap().state, state);
    }
    assert!(watching.is_watched());
}

#[test]
fn a_call_is_not_taken_for_the_start_whose_end_somebody_keeps() {
    let fixture = Fixture::new();
    let (ours, theirs) = Connection::pair().unwrap();
    // As `sudo` does, which stands between a call and its watcher.
    let kept = OwnedFd::from(theirs);
    let theirs = kept.try_clone().unwrap();
    let (watching, reply) = Watching::launched(&fixture, &[], ours, theirs, &Request::Begin);
    assert_eq!(reply, Some(Reply::Done));
    let Watching { mut process, connection: start, .. } = watching;
    assert!(matches!(start.ask(&Request::Create(plain(""))).unwrap(), Some(Reply::Domain(_))));
    for request in [Request::Unpause, Request::Keep] {
        assert_eq!(start.ask(&request).unwrap(), Some(Reply::Done));
    }
    // The next call gets the number of the start's connection, once that is closed.
    let first = || std::fs::read_link(format!("/proc/{}/fd/0", process.id())).ok();
    let before = first();
    drop(start);
    startable::until("the start is not let go", || first() != before);
    let (waiting, other) = (Watching::another(&fixture), Watching::another(&fixture));
    for call in [&waiting, &other] {
        assert_eq!(call.ask(&Request::Resume).unwrap(), Some(Reply::Done));
    }
    assert_eq!(other.ask(&Request::Destroy).unwrap(), Some(Reply::Done));
    assert!(waiting.is_heard_within(DEADLINE).unwrap(), "the watcher goes on");
    assert!(process.wait().unwrap().success());
}

#[test]
fn a_domain_that_cannot_be_made_leaves_nothing() {
    let fixture = Fixture::new();
    let (watching, reply) = Watching::begin(&fixture, &[], &Request::Create(plain("simulated.refuses")));
    assert_eq!(reply, Some(Reply::Refused("the domain refuses to be made".to_owned())));
    let fail = Request::Fail("a reason".to_owned());
    assert_eq!(watching.connection.ask(&fail).unwrap(), Some(Reply::Done));
    assert_eq!(watching.ended(), Some(0));
    assert_eq!(fixture.events(), ["test-vm1 domain-start-failed reason=a reason"]);
    assert_eq!(traces(&fixture), [""; 0]);
}

#[test]
fn a_start_that_dies_half_way_leaves_no_domain() {
    for asked in [&[][..], &[Request::Unpause]] {
        let fixture = Fixture::new();
        let (watching, reply) = Watching::begin(&fixture, &[], &Request::Create(plain("")));
        assert!(matches!(reply, Some(Reply::Domain(_))));
        for request in asked {
            assert_eq!(watching.connection.ask(request).unwrap(), Some(Reply::Done));
        }
        let Watching { mut process, connection, .. } = watching;
        drop(connection);
        until(&fixture, |domain| domain.is_none());
        assert!(process.wait().unwrap().success());
        assert_eq!(traces(&fixture), [""; 0], "{asked:?}");
    }
}

#[test]
fn a_domain_outlives_its_watcher_and_another_takes_over() {
    let fixture = Fixture::new();
    let mut first = Watching::running(&fixture, "");
    let before = published(&fixture).unwrap();
    first.process.kill().unwrap();
    first.process.wait().unwrap();
    assert!(!first.is_watched());
    assert_eq!(published(&fixture).as_ref(), Some(&before), "a domain that runs counts as running");
    let (second, reply) = Watching::settle(&fixture);
    assert_eq!(reply, Some(Reply::Domain(before.domid)));
    assert!(second.is_watched());
    let started = published(&fixture).unwrap().start_time_us;
    assert_eq!(started, before.start_time_us);
    // Whoever began the second is gone: it stays.
    let Watching { mut process, connection, .. } = second;
    drop(connection);
    let call = Watching::another(&fixture);
    assert!(matches!(call.ask(&Request::Tell).unwrap(), Some(Reply::Told(_))));
    kill(guest(&fixture), Signal::SIGTERM).unwrap();
    until(&fixture, |domain| domain.is_none());
    assert!(process.wait().unwrap().success());
    assert_eq!(traces(&fixture), [""; 0]);
}

#[test]
fn an_end_that_no_watcher_saw_is_noticed_by_the_next() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let fixture = Fixture::new();
        let mut first = Watching::running(&fixture, "");
        let guest = guest(&fixture);
        first.process.kill().unwrap();
        first.process.wait().unwrap();
        kill(guest, signal).unwrap();
        let (second, reply) = Watching::settle(&fixture);
        // The guest may take its time to end.
        assert!(matches!(reply, Some(Reply::Domain(_) | Reply::Gone)), "{reply:?}");
        assert_eq!(second.ended(), Some(0));
        assert_eq!(traces(&fixture), [""; 0], "{signal}");
        let (third, reply) = Watching::settle(&fixture);
        assert_eq!(reply, Some(Reply::Gone));
        assert_eq!(third.ended(), Some(0));
        let stopped = fixture.events().iter().filter(|event| event.ends_with("domain-stopped")).count();
        assert_eq!(stopped, 1);
    }
}

#[test]
fn a_paused_guest_that_is_killed_from_outside_is_noticed() {
    let fixture = Fixture::new();
    let watching = Watching::running(&fixture, "");
    assert_eq!(watching.connection.ask(&Request::Pause).unwrap(), Some(Reply::Done));
    kill(guest(&fixture), Signal::SIGKILL).unwrap();
    until(&fixture, |domain| domain.is_none());
    assert_eq!(watching.ended(), Some(0));
}

#[test]
fn a_watcher_that_cannot_be_reached_makes_no_domain() {
    let fixture = Fixture::new();
    std::fs::create_dir(fixture.path("/run/qubes/admin/watchers/test-vm1")).unwrap();
    let (ours, reply) = Watching::started(&fixture, &[], &Request::Begin);
    let why = "/run/qubes/admin cannot be written to: Is a directory";
    assert_eq!(reply, Some(Reply::Unable(why.to_owned())));
    assert_eq!(ours.ended(), Some(0));
    assert_eq!(published(&fixture), None);
    assert_eq!(std::fs::read_dir(fixture.path("/run/qubes/admin/simulated")).unwrap().count(), 0);
}
