//! Runs of qubes on the simulated hypervisor, told from outside: starts, ends and all between (spec 40 §1 to §5).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::panic, reason = "test code")]

use std::time::Duration;

use common::hypervisor::{Listener, PowerState, Reply, Request};
use common::model::Device;
use common::names::QubeName;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use tests::startable::{
    STARTED, STOPPED, behave, calling, end, guest, hanging, of, reply, run_of, state, system, traces, until,
    wake, watcher,
};
use tests::{Fixture, executables};

/// How long a call may take to come. Far more than it ever takes.
const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn a_qube_is_started_and_killed_with_all_its_events() {
    let fixture = system();
    let events = fixture.events_of(|fixture| drop(fixture.ok("admin.vm.Start", "net", "")));
    assert_eq!(events, of("net", &STARTED));
    assert_eq!(state(&fixture, "net"), "Running");
    let events = fixture.events_of(|fixture| drop(fixture.ok("admin.vm.Kill", "net", "")));
    assert_eq!(events, of("net", &STOPPED));
    assert_eq!(state(&fixture, "net"), "Halted");
    assert_eq!(traces(&fixture), [""; 0]);
}

#[test]
fn the_netvm_is_started_before_after_what_can_be_checked() {
    let fixture = system();
    let events = fixture.events_of(|fixture| drop(fixture.ok("admin.vm.Start", "work", "")));
    let [before, after] = [&STARTED[..2], &STARTED[2..]].map(|events| of("work", events));
    assert_eq!(events, [before, of("net", &STARTED), after].concat());
    assert!(
        traces(&fixture).iter().any(|trace| trace.contains("volume-running-varlibqubes:appvms-work-root"))
    );
}

/// A call, and what it answers in each state: no domain, running, paused, asleep.
const ANSWERS: [(&str, [&str; 4]); 9] = [
    ("admin.vm.Start", ["ok", "ok", "ok", "ok"]),
    ("admin.vm.Shutdown", [OFF, "ok", NOT_RUNNING, "ok"]),
    ("admin.vm.Shutdown+force", [OFF, "ok", "ok", "ok"]),
    ("admin.vm.Pause", [NOT_RUNNING, "ok", "ok", "ok"]),
    ("admin.vm.Unpause", [NOT_PAUSED, NOT_PAUSED, "ok", NOT_PAUSED]),
    ("admin.vm.Suspend", [NOT_RUNNING, "ok", "ok", "ok"]),
    ("admin.vm.Resume", [NOT_PAUSED, NOT_PAUSED, "ok", "ok"]),
    ("admin.vm.Kill", [OFF, "ok", "ok", "ok"]),
    ("admin.vm.CurrentState", ["ok", "ok", "ok", "ok"]),
];
const OFF: &str = "QubesVMNotStartedError: Domain is powered off: 'net'";
const NOT_RUNNING: &str = "QubesVMNotRunningError: Domain not running (either powered off or paused): 'net'";
const NOT_PAUSED: &str = "QubesVMNotPausedError: Domain is not paused: 'net'";

#[test]
fn each_call_answers_as_the_state_of_the_qube_asks_for() {
    let states: [&[&str]; 4] = [
        &[],
        &["admin.vm.Start"],
        &["admin.vm.Start", "admin.vm.Pause"],
        &["admin.vm.Start", "admin.vm.Suspend"],
    ];
    for (call, answers) in ANSWERS {
        for (before, expected) in states.iter().zip(answers) {
            let fixture = system();
            for step in *before {
                fixture.ok(step, "net", "");
            }
            let answer = match expected {
                "ok" => fixture.call(call, "net", "").starts_with(b"0\0").to_string(),
                _ => fixture.refused(call, "net", ""),
            };
            assert_eq!(answer.replace("true", "ok"), expected, "{call} after {before:?}");
        }
    }
}

#[test]
fn a_start_leaves_a_domain_alone_in_whatever_state_it_is() {
    for state in ["Running", "Transient", "Paused", "Suspended", "Halting", "Dying", "Crashed"] {
        let fixture = system();
        let _domain = fixture.domain("net", state);
        let events = fixture.events_of(|fixture| drop(fixture.ok("admin.vm.Start", "net", "")));
        assert_eq!(events, [""; 0], "{state}");
    }
}

#[test]
fn errors_of_the_hypervisor_are_told() {
    for (call, state) in [
        ("admin.vm.Pause", "Running"),
        ("admin.vm.Unpause", "Paused"),
        ("admin.vm.Suspend", "Running"),
        ("admin.vm.Resume", "Suspended"),
        ("admin.vm.Kill", "Running"),
    ] {
        let fixture = system();
        let _domain = fixture.domain("net", state);
        let door = Listener::at(&fixture.path("/run/qubes/admin/watchers/net")).unwrap();
        let call = calling(&fixture, call, "net");
        let conversation = door.accept_within(DEADLINE).unwrap().unwrap();
        while conversation.receive::<Request>().unwrap().is_some() {
            conversation.send(&Reply::Refused("it went wrong".to_owned())).unwrap();
        }
        assert_eq!(reply(call), "2·QubesException··it went wrong·");
    }
}

#[test]
fn dom0_and_remote_qubes_have_no_runs_here() {
    let fixture = system();
    fixture.ok("admin.vm.Create.RemoteVM", "dom0", "name=far label=red");
    for (call, verb, class) in [
        ("admin.vm.Start", "start", "QubesVMNotHaltedError"),
        ("admin.vm.Shutdown", "shutdown", "QubesVMError"),
        ("admin.vm.Shutdown+force+wait", "shutdown", "QubesVMError"),
        ("admin.vm.Kill", "kill", "QubesVMError"),
        ("admin.vm.Pause", "pause", "QubesVMError"),
        ("admin.vm.Unpause", "unpause", "QubesVMError"),
        ("admin.vm.Suspend", "suspend", "QubesVMError"),
        ("admin.vm.Resume", "resume", "QubesVMError"),
    ] {
        for (qube, whom) in [("dom0", "Dom0 fake domain!"), ("far", "a RemoteVM.")] {
            let expected = format!("{class}: Cannot {verb} {whom}");
            assert_eq!(fixture.refused(call, qube, ""), expected);
        }
    }
}

#[test]
fn shutdown_takes_two_words_in_any_order_and_nothing_else() {
    let fixture = system();
    for bad in ["forcewait", "force+", "+", "+force", "Force", "wait+now", "force++wait"] {
        let refused = fixture.refused(&format!("admin.vm.Shutdown+{bad}"), "net", "");
        assert_eq!(refused, "ProtocolError: Argument must match: force, wait", "{bad}");
    }
    for good in ["", "force", "wait", "wait+force", "force+wait+force"] {
        assert_eq!(fixture.refused(&format!("admin.vm.Shutdown+{good}"), "net", ""), OFF, "{good}");
    }
}

#[test]
fn a_shutdown_that_waits_ends_when_all_is_cleared_away() {
    let fixture = system();
    for (call, force) in [("admin.vm.Shutdown+wait", "False"), ("admin.vm.Shutdown+wait+force", "True")] {
        fixture.ok("admin.vm.Start", "net", "");
        let events = fixture.events_of(|fixture| drop(fixture.ok(call, "net", "")));
        let first = format!("domain-pre-shutdown force={force}");
        assert_eq!(events, [of("net", &[&first]), of("net", &STOPPED)].concat());
        assert_eq!(traces(&fixture), [""; 0]);
    }
}

#[test]
fn a_guest_that_ignores_the_request_is_told_of_when_its_time_is_over() {
    let fixture = system();
    behave(&fixture, "net", "simulated.ignores-shutdown");
    fixture.ok("admin.vm.property.Set+shutdown_timeout", "net", "1");
    fixture.ok("admin.vm.Start", "net", "");
    fixture.ok("admin.vm.Shutdown", "net", "");
    let text = "Domain shutdown timed out: 'net'";
    let events = fixture.events_of(|fixture| {
        assert_eq!(
            fixture.refused("admin.vm.Shutdown+wait", "net", ""),
            format!("QubesVMShutdownTimeoutError: {text}")
        );
    });
    let failed = format!("domain-shutdown-failed reason={text}");
    assert_eq!(events, of("net", &["domain-pre-shutdown force=False", &failed]));
    assert_eq!(state(&fixture, "net"), "Running");
}

#[test]
fn a_qube_that_others_use_is_shut_down_by_force_only() {
    let fixture = system();
    fixture.ok("admin.vm.property.Set+guivm", "work", "net");
    fixture.ok("admin.vm.property.Set+audiovm", "work", "net");
    fixture.ok("admin.vm.Start", "work", "");
    for (property, class, text) in [
        ("netvm", "QubesVMInUseError", "There are other VMs connected to this VM: work"),
        ("guivm", "QubesVMError", "There are running VMs using this VM as GuiVM: work"),
        ("audiovm", "QubesVMInUseError", "There are running VMs using this VM as AudioVM: work"),
    ] {
        let events = fixture.events_of(|fixture| {
            assert_eq!(fixture.refused("admin.vm.Shutdown+wait", "net", ""), format!("{class}: {text}"));
        });
        let failed = format!("domain-shutdown-failed reason={text}");
        assert_eq!(events, of("net", &["domain-pre-shutdown force=False", &failed]));
        fixture.ok(&format!("admin.vm.property.Set+{property}"), "work", "");
    }
    fixture.ok("admin.vm.Shutdown+wait", "net", "");
    fixture.ok("admin.vm.property.Reset+guivm", "work", "");
    fixture.ok("admin.vm.Start", "net", "");
    fixture.ok("admin.vm.property.Set+netvm", "work", "net");
    fixture.ok("admin.vm.Shutdown+wait+force", "net", "");
    assert_eq!((state(&fixture, "net"), state(&fixture, "work")), ("Halted".into(), "Running".into()));
}

#[test]
fn a_paused_qube_is_shut_down_by_force_only() {
    let fixture = system();
    fixture.ok("admin.vm.Start", "net", "");
    fixture.ok("admin.vm.Pause", "net", "");
    let events =
        fixture.events_of(|fixture| assert_eq!(fixture.refused("admin.vm.Shutdown", "net", ""), NOT_RUNNING));
    let (_, text) = NOT_RUNNING.split_once(": ").unwrap();
    let failed = format!("domain-shutdown-failed reason={text}");
    assert_eq!(events, of("net", &["domain-pre-shutdown force=False", &failed]));
    fixture.ok("admin.vm.Shutdown+force+wait", "net", "");
    assert_eq!(traces(&fixture), [""; 0]);
}

#[test]
fn pauses_and_sleeps_are_told() {
    let fixture = system();
    fixture.ok("admin.vm.Start", "net", "");
    let paused = of("net", &["domain-pre-paused", "domain-paused"]);
    let unpaused = of("net", &["domain-pre-unpaused", "domain-unpaused"]);
    for (call, events, after) in [
        ("admin.vm.Pause", paused.clone(), "Paused"),
        ("admin.vm.Pause", paused.clone(), "Paused"),
        ("admin.vm.Unpause", unpaused.clone(), "Running"),
        ("admin.vm.Suspend", Vec::new(), "Suspended"),
        ("admin.vm.Resume", of("net", &["domain-resumed"]), "Running"),
        ("admin.vm.Pause", paused, "Paused"),
        ("admin.vm.Resume", unpaused, "Running"),
    ] {
        assert_eq!(fixture.events_of(|fixture| drop(fixture.ok(call, "net", ""))), events, "{call}");
        assert_eq!(state(&fixture, "net"), after, "{call}");
    }
}

/// A way to make a start of `work` fail: how, what it answers, and how many of a start's events come before.
type Failing = (fn(&Fixture), &'static str, usize);

const FAILING: [Failing; 9] = [
    (
        |fixture| drop(fixture.ok("admin.vm.feature.Set+prohibit-start", "work", "not now")),
        "QubesException: Qube start is prohibited. Rationale: not now",
        0,
    ),
    (
        |fixture| drop(fixture.ok("admin.vm.tag.Set+backup-restore-in-progress", "work", "")),
        "QubesVMError: Restore of this domain in progress, cannot start",
        1,
    ),
    (
        |fixture| {
            fixture.edit("work", |qube| {
                qube.devices.push(Device {
                    class: "pci".to_owned(),
                    backend: "dom0".to_owned(),
                    id: "00_1f.6".to_owned(),
                    mode: common::names::Mode::Required,
                    identity: "0x8086:0x15bc::p020000".to_owned(),
                    options: Vec::new(),
                });
            });
        },
        "QubesException: Pci device dom0:00_1f.6:0x8086:0x15bc::p020000 not available",
        1,
    ),
    (
        |fixture| std::fs::remove_dir_all(fixture.path("/var/lib/qubes/appvms/work")).unwrap(),
        "QubesVMError: VM directory does not exist: ",
        1,
    ),
    (
        |fixture| std::fs::remove_file(fixture.path("/var/lib/qubes/appvms/work/private.img")).unwrap(),
        "StoragePoolException: ",
        1,
    ),
    (
        |fixture| behave(fixture, "net", "simulated.refuses"),
        "QubesException: Start failed: the domain refuses to be made, see \
         /var/log/libvirt/libxl/libxl-driver.log for details",
        2,
    ),
    (
        // A folder stands where the volume is to be made.
        |fixture| {
            std::fs::create_dir_all(fixture.path("/var/lib/qubes/appvms/work/root-dirty.img/x")).unwrap()
        },
        "StoragePoolException: ",
        2,
    ),
    (
        |fixture| {
            std::fs::create_dir_all(fixture.path("/etc/qubes/admin-domains.d")).unwrap();
            std::fs::write(fixture.path("/etc/qubes/admin-domains.d/work.json"), "nonsense").unwrap();
        },
        "QubesException: Cannot use /etc/qubes/admin-domains.d/work.json, see the log for details",
        3,
    ),
    (
        |fixture| behave(fixture, "work", "simulated.refuses"),
        "QubesException: Start failed: the domain refuses to be made, see \
         /var/log/libvirt/libxl/libxl-driver.log for details",
        3,
    ),
];

#[test]
fn a_start_that_fails_at_any_step_leaves_nothing_and_says_why() {
    for (prepare, expected, before) in FAILING {
        let fixture = system();
        prepare(&fixture);
        for _ in 0..2 {
            let events = fixture.events_of(|fixture| {
                let answer = reply(calling(fixture, "admin.vm.Start", "work"));
                let refused = answer.trim_start_matches("2·").replacen("··", ": ", 1);
                assert!(refused.starts_with(expected), "{expected}: {answer}");
            });
            let mut mine: Vec<&str> = events.iter().filter_map(|event| event.strip_prefix("work ")).collect();
            let reason = mine.pop().unwrap().strip_prefix("domain-start-failed reason=").unwrap();
            assert!(
                expected.split_once(": ").unwrap().1.starts_with(reason) || reason.len() > 10,
                "{reason}"
            );
            assert_eq!(mine, STARTED[..before], "{expected}");
            let work: Vec<String> =
                traces(&fixture).into_iter().filter(|trace| trace.contains("work")).collect();
            let made = std::fs::metadata(fixture.path("/var/lib/qubes/appvms/work/root-dirty.img"));
            assert!(work.is_empty() || made.is_ok_and(|about| about.is_dir()), "{expected}: {work:?}");
            assert_eq!(state(&fixture, "work"), "Halted");
        }
    }
}

#[test]
fn an_end_of_its_own_is_handled_once() {
    for signal in [Signal::SIGTERM, Signal::SIGABRT, Signal::SIGKILL] {
        let fixture = system();
        fixture.ok("admin.vm.Start", "net", "");
        let events = fixture.events_of(|fixture| {
            kill(guest(fixture, "net"), signal).unwrap();
            until("the run does not end", || run_of(fixture, "net").is_none());
            // Its events come right behind, in the same change.
            fixture.ok("admin.vm.feature.Set+after", "net", "");
        });
        let after = of(
            "net",
            &[
                "domain-feature-pre-set:after feature=after value=",
                "domain-feature-set:after feature=after value=",
            ],
        );
        assert_eq!(events, [of("net", &STOPPED), after].concat(), "{signal}");
        until("something is left", || traces(&fixture).is_empty());
        fixture.ok("admin.vm.Start", "net", "");
    }
}

#[test]
fn a_killed_watcher_is_replaced_by_the_next_call() {
    for call in ["admin.vm.Pause", "admin.vm.Shutdown+wait", "admin.vm.Kill", "admin.vm.Suspend"] {
        let fixture = system();
        fixture.ok("admin.vm.Start", "net", "");
        let guest = guest(&fixture, "net");
        end(watcher(&fixture, "net"));
        assert_eq!(state(&fixture, "net"), "Running");
        fixture.ok(call, "net", "");
        if run_of(&fixture, "net").is_some() {
            assert_eq!(self::guest(&fixture, "net"), guest);
            fixture.ok("admin.vm.Kill", "net", "");
        }
        let stopped = fixture.events().iter().filter(|event| *event == "net domain-stopped").count();
        assert_eq!((stopped, traces(&fixture)), (1, Vec::new()), "{call}");
    }
}

/// A call, what a qube is brought to before it, and what the call tells and brings it to.
type Interrupted = (&'static str, &'static [&'static str], &'static [&'static str], &'static str);

const INTERRUPTED: [Interrupted; 4] = [
    ("admin.vm.Pause", &[], &["domain-pre-paused", "domain-paused"], "Paused"),
    ("admin.vm.Unpause", &["admin.vm.Pause"], &["domain-pre-unpaused", "domain-unpaused"], "Running"),
    ("admin.vm.Suspend", &[], &[], "Suspended"),
    ("admin.vm.Resume", &["admin.vm.Suspend"], &["domain-resumed"], "Running"),
];

#[test]
fn a_call_whose_watcher_is_killed_before_it_answers_is_finished_by_another() {
    for (call, before, events, after) in INTERRUPTED {
        let fixture = system();
        fixture.ok("admin.vm.Start", "net", "");
        before.iter().for_each(|call| drop(fixture.ok(call, "net", "")));
        let told = fixture.events_of(|fixture| {
            let silent = watcher(fixture, "net");
            kill(silent, Signal::SIGSTOP).unwrap();
            let waiting = calling(fixture, call, "net");
            until("the call asks nobody", || has_caller(fixture, "net"));
            end(silent);
            assert_eq!(reply(waiting), "0·", "{call}");
        });
        assert_eq!(told, of("net", events), "{call}");
        assert_eq!(state(&fixture, "net"), after, "{call}");
        fixture.ok("admin.vm.Kill", "net", "");
        assert_eq!(traces(&fixture), [""; 0], "{call}");
    }
}

/// Whether somebody waits at the door of a qube's watcher that does not open: the system tells of a connection there that
/// nobody has accepted, which has no owner.
fn has_caller(fixture: &Fixture, qube: &str) -> bool {
    let door = fixture.path("/run/qubes/admin/watchers").join(qube);
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap();
    let at_door = sockets.lines().filter(|line| line.ends_with(door.to_str().unwrap()));
    at_door.count() > 1
}

#[test]
fn only_a_guest_that_cannot_sleep_is_paused_instead() {
    let fixture = system();
    behave(&fixture, "net", "simulated.cannot-sleep");
    fixture.ok("admin.vm.Start", "net", "");
    let paused = of("net", &["domain-pre-paused", "domain-paused"]);
    assert_eq!(fixture.events_of(|fixture| drop(fixture.ok("admin.vm.Suspend", "net", ""))), paused);
    assert_eq!(state(&fixture, "net"), "Paused");
    let other = system();
    let _domain = other.domain("net", "Running");
    let door = Listener::at(&other.path("/run/qubes/admin/watchers/net")).unwrap();
    let told = other.events_of(|other| {
        let call = calling(other, "admin.vm.Suspend", "net");
        let conversation = door.accept_within(DEADLINE).unwrap().unwrap();
        assert_eq!(conversation.receive::<Request>().unwrap(), Some(Request::Suspend));
        conversation.send(&Reply::Refused("it went wrong".to_owned())).unwrap();
        assert_eq!(reply(call), "2·QubesException··it went wrong·");
        assert_eq!(conversation.receive::<Request>().unwrap(), None);
    });
    assert_eq!(told, [""; 0]);
}

#[test]
fn an_end_that_no_watcher_saw_is_handled_by_the_next_call() {
    for call in ["admin.vm.Start", "admin.vm.Remove", "admin.vm.volume.Clear+private"] {
        let fixture = system();
        fixture.ok("admin.vm.property.Set+netvm", "work", "");
        fixture.ok("admin.vm.Start", "work", "");
        end(watcher(&fixture, "work"));
        end(guest(&fixture, "work"));
        let events = fixture.events_of(|fixture| drop(fixture.ok(call, "work", "")));
        assert_eq!(events[..5], of("work", &STOPPED), "{call}");
        assert_eq!(events.iter().filter(|event| event.ends_with("domain-stopped")).count(), 1);
    }
}

#[test]
fn of_two_starts_at_once_one_waits_for_the_other() {
    let fixture = system();
    let calls = [(); 4].map(|()| calling(&fixture, "admin.vm.Start", "net"));
    for call in calls {
        assert_eq!(reply(call), "0·");
    }
    let starts = fixture.events().iter().filter(|event| event.starts_with("net domain-start ")).count();
    assert_eq!(starts, 1);
}

#[test]
fn clients_of_one_netvm_that_start_at_once_start_it_once() {
    let fixture = system();
    fixture.ok("admin.vm.Create.AppVM+test-template", "dom0", "name=other label=red");
    fixture.ok("admin.vm.property.Set+netvm", "other", "net");
    let calls = ["work", "other"].map(|qube| calling(&fixture, "admin.vm.Start", qube));
    for call in calls {
        assert_eq!(reply(call), "0·");
    }
    let starts = fixture.events().iter().filter(|event| event.starts_with("net domain-start ")).count();
    assert_eq!(starts, 1);
}

#[test]
fn a_netvm_that_runs_keeps_no_client_waiting() {
    let fixture = system();
    fixture.ok("admin.vm.Start", "net", "");
    let held = fixture.store().lock_lifecycle(&QubeName::parse("net").unwrap()).unwrap();
    let start = calling(&fixture, "admin.vm.Start", "work");
    until("the client runs", || state(&fixture, "work") == "Running");
    assert_eq!(reply(start), "0·");
    drop(held);
    // One that does not run is waited for.
    fixture.ok("admin.vm.Kill", "work", "");
    fixture.ok("admin.vm.Kill", "net", "");
    behave(&fixture, "net", "simulated.hangs");
    let start = calling(&fixture, "admin.vm.Start", "work");
    let hanging = hanging(&fixture);
    assert_eq!(state(&fixture, "work"), "Halted");
    wake(hanging);
    assert_eq!(reply(start), "0·");
    assert_eq!(state(&fixture, "net"), "Running");
}

#[test]
fn a_removal_and_a_start_come_one_after_the_other() {
    let fixture = system();
    behave(&fixture, "net", "simulated.hangs");
    let start = calling(&fixture, "admin.vm.Start", "net");
    let hanging = hanging(&fixture);
    let removal = calling(&fixture, "admin.vm.Remove", "net");
    wake(hanging);
    assert_eq!(reply(start), "0·");
    assert!(reply(removal).starts_with("2·QubesVMNotHaltedError·"));
}

#[test]
fn a_kill_during_a_start_ends_both_and_leaves_nothing() {
    let fixture = system();
    // The netvm of the qube that is killed hangs, so that its own start has not come to its domain.
    behave(&fixture, "net", "simulated.hangs");
    let start = calling(&fixture, "admin.vm.Start", "net");
    let hanging = hanging(&fixture);
    assert_eq!(fixture.refused("admin.vm.Kill", "net", ""), OFF);
    end(hanging);
    assert!(reply(start).starts_with("2·QubesException··Start failed: "));
    assert!(fixture.events().last().unwrap().starts_with("net domain-start-failed reason=Start failed: "));
    assert_eq!(traces(&fixture), [""; 0]);
}

#[test]
fn a_kill_of_a_domain_whose_start_is_not_complete_ends_both() {
    let fixture = system();
    let daemon = fixture.path("/usr/sbin/qubesdb-daemon");
    let gate = fixture.path("/gate");
    nix::unistd::mkfifo(&gate, Mode::S_IRWXU).unwrap();
    executables::script(&daemon, &format!("#!/bin/sh\nread line < {}\n", gate.display()));
    let start = calling(&fixture, "admin.vm.Start", "net");
    let is = |state| run_of(&fixture, "net").is_some_and(|run| run.state == state && run.has_been());
    until("there is no domain", || is(PowerState::Paused));
    let kill = calling(&fixture, "admin.vm.Kill", "net");
    until("the domain goes on", || is(PowerState::Halted));
    std::fs::write(&gate, "\n").unwrap();
    let said = "qubesdb not connected, VM was killed in the meantime";
    assert_eq!(reply(start), format!("2·QubesException··{said}·"));
    assert_eq!(reply(kill), "0·");
    let events = fixture.events();
    let failed = vec![format!("net domain-start-failed reason={said}")];
    assert!(events.ends_with(&[failed, of("net", &STOPPED)].concat()), "{events:?}");
    assert_eq!(traces(&fixture), [""; 0]);
}

#[test]
#[cfg_attr(not(libxl), ignore = "libxl's headers are not installed")]
fn without_a_hypervisor_there_is_no_start_and_nothing_left() {
    let fixture = system();
    std::fs::write(fixture.path("/etc/qubes/admin.json"), r#"{"hypervisor": "libxl"}"#).unwrap();
    for _ in 0..2 {
        let said = fixture.refused("admin.vm.Start", "net", "");
        assert!(
            said.starts_with("QubesException: Start failed: cannot connect to the hypervisor, see "),
            "{said}"
        );
        assert_eq!(traces(&fixture), [""; 0]);
    }
}

#[test]
fn a_caller_that_goes_away_stops_no_start() {
    let fixture = system();
    behave(&fixture, "net", "simulated.hangs");
    let mut start = calling(&fixture, "admin.vm.Start", "net");
    drop(start.stdout.take());
    wake(hanging(&fixture));
    start.wait().unwrap();
    assert_eq!(state(&fixture, "net"), "Running");
}

#[test]
fn reads_and_events_wait_for_no_start() {
    let fixture = system();
    behave(&fixture, "net", "simulated.hangs");
    let listener = tests::listener::Listener::to_all(&fixture);
    let start = calling(&fixture, "admin.vm.Start", "work");
    let hanging = hanging(&fixture);
    // All of this is answered before the guest is woken.
    assert_eq!(listener.next().unwrap(), "1·work·domain-pre-start·start_guid·True·mem_required·None··");
    for (call, qube) in [
        ("admin.vm.property.Get+memory", "work"),
        ("admin.vm.property.GetAll", "net"),
        ("admin.vm.List", "dom0"),
        ("admin.vm.CurrentState", "net"),
        ("admin.vm.volume.Info+private", "work"),
    ] {
        fixture.ok(call, qube, "");
    }
    fixture.ok("admin.vm.feature.Set+during", "work", "1");
    assert!(
        listener.until("domain-feature-set:during").iter().any(|event| event.contains("domain-pre-spawn"))
    );
    assert_eq!((state(&fixture, "net"), state(&fixture, "work")), ("Halted".into(), "Halted".into()));
    wake(hanging);
    assert_eq!(reply(start), "0·");
}

#[test]
fn reads_wait_for_none_of_twenty_starts() {
    let fixture = system();
    let names: Vec<String> = (0..20).map(|number| format!("start{number}")).collect();
    for name in &names {
        fixture.ok("admin.vm.Create.AppVM+test-template", "dom0", format!("name={name} label=red"));
        fixture.ok("admin.vm.volume.Resize+private", name, "65536");
        fixture.ok("admin.vm.property.Set+netvm", name, "");
        behave(&fixture, name, "simulated.hangs");
    }
    let mut starts: Vec<_> = names.iter().map(|name| calling(&fixture, "admin.vm.Start", name)).collect();
    let hanging = || {
        let folder = std::fs::read_dir(fixture.path("/run/qubes/admin/simulated")).into_iter().flatten();
        folder.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect::<Vec<i32>>()
    };
    // Some starts have come far by now, others not.
    let read = || {
        for name in &names {
            fixture.ok("admin.vm.property.Get+memory", name, "");
            fixture.ok("admin.vm.CurrentState", name, "");
        }
        fixture.ok("admin.vm.List", "dom0", "").lines().filter(|line| line.contains("state=Halted")).count()
    };
    assert!(read() >= names.len());
    let mut has_ended = || starts.iter_mut().position(|start| start.try_wait().unwrap().is_some());
    let mut ended = None;
    until("not all starts hang", || {
        ended = has_ended();
        ended.is_some() || hanging().len() == names.len()
    });
    assert_eq!(ended.map(|place| reply(starts.swap_remove(place))), None);
    assert!(read() >= names.len());
    // All of them were answered before the end of any start.
    assert!(starts.iter_mut().all(|start| start.try_wait().unwrap().is_none()));
    for guest in hanging() {
        wake(Pid::from_raw(guest));
    }
    for start in starts {
        assert_eq!(reply(start), "0·");
    }
}

#[test]
fn a_disposable_qube_goes_with_its_run() {
    for failing in [false, true] {
        let fixture = system();
        fixture.ok("admin.vm.property.Set+template_for_dispvms", "work", "True");
        fixture.ok("admin.vm.Create.DispVM+work", "dom0", "name=once label=red");
        fixture.ok("admin.vm.property.Set+netvm", "once", "");
        fixture.ok("admin.vm.property.Set+auto_cleanup", "once", "True");
        let gone = [" domain-pre-delete vm=once".to_owned(), " domain-delete vm=once".to_owned()];
        let events = match failing {
            true => {
                fixture.ok("admin.vm.feature.Set+prohibit-start", "once", "1");
                let text = "Qube start is prohibited. Rationale: 1";
                let events = fixture.events_of(|fixture| {
                    assert_eq!(
                        fixture.refused("admin.vm.Start", "once", ""),
                        format!("QubesException: {text}")
                    );
                });
                assert_eq!(events[0], format!("once domain-start-failed reason={text}"));
                events[1..].to_vec()
            }
            false => {
                fixture.ok("admin.vm.Start", "once", "");
                let events = fixture.events_of(|fixture| drop(fixture.ok("admin.vm.Kill", "once", "")));
                assert_eq!(events[..5], of("once", &STOPPED));
                events[5..].to_vec()
            }
        };
        assert_eq!(events, gone);
        assert!(!fixture.path("/var/lib/qubes/appvms/once").exists());
        assert_eq!(fixture.store().check().unwrap(), []);
    }
}

#[test]
fn a_disposable_qube_whose_template_is_none_any_more_is_not_started() {
    let fixture = system();
    fixture.ok("admin.vm.property.Set+template_for_dispvms", "work", "True");
    fixture.ok("admin.vm.Create.DispVM+work", "dom0", "name=once label=red");
    fixture.edit("work", |qube| drop(qube.properties.remove("template_for_dispvms")));
    let text = "QubesException: template for disposable (work) needs to have template_for_dispvms=True";
    assert_eq!(fixture.refused("admin.vm.Start", "once", ""), text);
}
