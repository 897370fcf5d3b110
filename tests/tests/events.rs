//! Streams of events from outside: who sees what and in which order, callers that go away, logs that are trimmed, cut,
//! or gone (spec 30 §12).
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use tests::Fixture;
use tests::fixture::{readable, refusal};
use tests::listener::{Listener, over_socket};

const SET: &str = "admin.vm.feature.Set";

/// The two events of a feature's first setting, as they go over the wire.
fn set_events(qube: &str, feature: &str, value: &str) -> [String; 2] {
    ["domain-feature-pre-set", "domain-feature-set"]
        .map(|event| format!("1·{qube}·{event}:{feature}·feature·{feature}·value·{value}··"))
}

fn newest_segment(fixture: &Fixture) -> PathBuf {
    let folder = std::fs::read_dir(fixture.path("/run/qubes/admin/events")).unwrap();
    folder.map(|entry| entry.unwrap().path()).max().unwrap()
}

#[test]
fn a_listener_is_established_and_then_sees_every_change_once_and_in_order() {
    let fixture = Fixture::new();
    fixture.ok(&format!("{SET}+before"), "test-vm1", "1");
    let listener = Listener::to_all(&fixture);
    fixture.ok("admin.vm.property.Set+label", "test-vm1", "green");
    fixture.ok("admin.vm.tag.Set+t", "test-net", "");
    fixture.ok("admin.vm.property.Reset+memory", "test-vm1", "");
    fixture.ok(&format!("{SET}+end"), "dom0", "1");
    let expected = [
        "1·test-vm1·property-pre-set:label·name·label·newvalue·green·oldvalue·red··",
        "1·test-vm1·property-reset:icon·name·icon··",
        "1·test-vm1·property-set:label·name·label·newvalue·green·oldvalue·red··",
        "1·test-net·domain-tag-add:t·tag·t··",
        "1·test-vm1·property-pre-reset:memory·name·memory·oldvalue·400··",
        "1·test-vm1·property-pre-del:memory·name·memory·oldvalue·400··",
        "1·test-vm1·property-reset:memory·name·memory·oldvalue·400··",
        "1·test-vm1·property-del:memory·name·memory·oldvalue·400··",
    ];
    assert_eq!(listener.until("domain-feature-pre-set:end"), expected);
}

#[test]
fn a_listener_to_one_qube_sees_that_qube_alone() {
    let fixture = Fixture::new();
    let listener = Listener::to(&fixture, "admin.Events", "dom0", "test-vm1");
    fixture.ok(&format!("{SET}+f"), "test-net", "1");
    fixture.ok("admin.property.Set+stats_interval", "dom0", "5");
    fixture.ok("admin.vm.Create.AppVM+test-template", "dom0", "name=new label=red");
    fixture.ok(&format!("{SET}+f"), "test-vm1", "1");
    let expected = set_events("test-vm1", "f", "1");
    assert_eq!([listener.next().unwrap(), listener.next().unwrap()], expected);
}

#[test]
fn a_refused_change_shows_its_pre_event_alone() {
    let fixture = Fixture::new();
    let listener = Listener::to_all(&fixture);
    fixture.ok("admin.property.Set+default_template", "dom0", "test-template");
    fixture.refused("admin.vm.Remove", "test-template", "");
    fixture.ok(&format!("{SET}+end"), "dom0", "1");
    let seen = listener.until("domain-feature-pre-set:end");
    assert_eq!(seen.last().unwrap(), "1··domain-pre-delete·vm·test-template··");
}

#[test]
fn other_callers_see_what_policy_plainly_allows_event_by_event() {
    let fixture = Fixture::new();
    fixture.policy(
        "10-test.policy",
        "admin.Events +domain-tag-add_t test-net test-vm1 allow\n\
         admin.Events * test-net test-vm1 deny\n\
         admin.Events * test-net test-net ask\n\
         admin.Events +domain-add test-net @tag:created-by-dom0 allow\n\
         admin.Events +property-set_stats_interval test-net dom0 allow\n",
    );
    let listener = Listener::to(&fixture, "admin.Events", "test-net", "dom0");
    fixture.ok("admin.vm.tag.Set+hidden", "test-vm1", "");
    fixture.ok("admin.vm.tag.Set+own", "test-net", "");
    fixture.ok("admin.vm.tag.Set+t", "test-vm1", "");
    fixture.ok("admin.property.Set+stats_interval", "dom0", "5");
    fixture.ok("admin.vm.Create.AppVM+test-template", "dom0", "name=new label=red");
    let expected = [
        "1·test-vm1·domain-tag-add:t·tag·t··",
        "1··property-set:stats_interval·name·stats_interval·newvalue·5·oldvalue·3··",
        "1··domain-add·vm·new··",
    ];
    assert_eq!([(); 3].map(|()| listener.next().unwrap()), expected);
    // Policy is asked for each event: a changed file counts at once.
    fixture.policy("10-test.policy", "admin.Events +domain-tag-add_end test-net test-vm1 allow\n");
    fixture.ok("admin.vm.tag.Set+u", "test-vm1", "");
    fixture.ok("admin.vm.tag.Set+end", "test-vm1", "");
    assert_eq!(listener.next().unwrap(), "1·test-vm1·domain-tag-add:end·tag·end··");
    // A broken one hides all, and its caller sees that something is missing.
    fixture.policy("10-test.policy", "admin.Events * test-net\n");
    fixture.ok("admin.vm.tag.Set+v", "test-vm1", "");
    assert_eq!(listener.next(), None);
}

#[test]
fn a_caller_that_may_see_nothing_is_established_and_then_hears_nothing() {
    let fixture = Fixture::new();
    let listener = Listener::to(&fixture, "admin.Events", "test-vm1", "test-vm1");
    fixture.ok(&format!("{SET}+f"), "test-vm1", "1");
    fixture.policy("10-test.policy", "admin.Events +domain-tag-add_end test-vm1 test-vm1 allow\n");
    fixture.ok("admin.vm.tag.Set+end", "test-vm1", "");
    assert_eq!(listener.next().unwrap(), "1·test-vm1·domain-tag-add:end·tag·end··");
}

#[test]
fn requests_with_argument_or_payload_or_for_nobody_are_refused_without_an_event() {
    let fixture = Fixture::new();
    for method in ["admin.Events", "admin.vm.Stats"] {
        let argument = fixture.refused(&format!("{method}+x"), "dom0", "");
        assert_eq!(argument, "ProtocolError: unexpected argument");
        assert_eq!(fixture.refused(method, "dom0", "x"), "ProtocolError: unexpected payload");
        let nobody = fixture.refused(method, "nobody", "");
        assert_eq!(nobody, "QubesVMNotFoundError: No such domain: 'nobody'");
    }
}

#[test]
fn a_removed_qube_counts_for_policy_until_it_is_gone() {
    let fixture = Fixture::new();
    fixture.policy(
        "10-test.policy",
        "admin.Events * test-net @tag:secret deny\n\
         admin.Events +domain-tag-add_end test-net * allow\n\
         admin.Events +domain-pre-delete test-net @tag:shown allow\n\
         admin.Events +domain-delete test-net test-gone allow\n\
         admin.Events +domain-delete test-net @anyvm allow target=dom0\n",
    );
    for (qube, tag) in [("test-gone", "shown"), ("test-kept", "secret")] {
        fixture.ok("admin.vm.Create.AppVM+test-template", "dom0", format!("name={qube} label=red"));
        fixture.ok(&format!("admin.vm.tag.Set+{tag}"), qube, "");
    }
    let listener = Listener::to(&fixture, "admin.Events", "test-net", "dom0");
    fixture.ok("admin.vm.Remove", "test-gone", "");
    fixture.ok("admin.vm.Remove", "test-kept", "");
    fixture.ok("admin.vm.tag.Set+end", "test-net", "");
    // After removal the name is `@default` to policy: rules for names and tags do not match, those for any qube do.
    let expected = [
        "1··domain-pre-delete·vm·test-gone··",
        "1··domain-delete·vm·test-gone··",
        "1··domain-delete·vm·test-kept··",
    ];
    assert_eq!(listener.until("domain-tag-add:end"), expected);
}

/// Reads up to the first whole message, so that the listener is known to wait.
fn established(output: &mut impl Read) {
    let mut first = [0; 27];
    output.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"1\0\0connection-established\0\0");
}

#[test]
fn a_caller_that_goes_away_ends_the_process_without_any_event() {
    let fixture = Fixture::new();
    // The whole connection closed, as a socket's client leaves.
    let (mut child, mut socket) = over_socket(&fixture);
    established(&mut socket);
    drop(socket);
    assert!(child.wait().unwrap().success());
    // Only the receiving side shut down, as qrexec leaves.
    let (mut child, mut socket) = over_socket(&fixture);
    established(&mut socket);
    socket.shutdown(Shutdown::Read).unwrap();
    assert!(child.wait().unwrap().success());
    // The sending side shut down is how every request ends: the listener stays.
    let (mut child, mut socket) = over_socket(&fixture);
    established(&mut socket);
    socket.shutdown(Shutdown::Write).unwrap();
    fixture.ok(&format!("{SET}+f"), "test-vm1", "1");
    let mut message = [0; 20];
    socket.read_exact(&mut message).unwrap();
    drop(socket);
    assert!(child.wait().unwrap().success());
    // A pipe whose reader is gone.
    let mut command = fixture.command("admin.Events");
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"admin.Events+ dom0 name dom0\0").unwrap();
    let mut pipe = child.stdout.take().unwrap();
    established(&mut pipe);
    drop(pipe);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_caller_that_reads_wakes_nobody() {
    let fixture = Fixture::new();
    let (caller, output) = UnixDatagram::pair().unwrap();
    let mut command = fixture.command("admin.Events");
    let mut child = command.stdin(Stdio::piped()).stdout(OwnedFd::from(output)).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"admin.Events+ dom0 name dom0\0").unwrap();
    let next = || {
        let mut message = [0; 4096];
        let length = caller.recv(&mut message).unwrap();
        readable(&message[..length])
    };
    assert_eq!(next(), "1··connection-established··");
    // Each wake-up for the caller's sake probes with a message of length zero. The one of the beginning:
    assert_eq!(next(), "");
    for _ in 0..3 {
        fixture.ok("admin.vm.tag.Set+t", "test-vm1", "");
        assert_eq!(next(), "1·test-vm1·domain-tag-add:t·tag·t··");
        fixture.ok("admin.vm.tag.Remove+t", "test-vm1", "");
        assert_eq!(next(), "1·test-vm1·domain-tag-delete:t·tag·t··");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A value so large that a few dozen changes fill the event log.
fn large(number: usize) -> String {
    format!("{number:05}{}", "x".repeat(60_000))
}

/// The numbers of the large values that some messages set.
fn numbers(messages: impl Iterator<Item = String>) -> Vec<usize> {
    let sets = messages.filter(|message| message.contains("·domain-feature-set:large·"));
    sets.map(|message| message.split("·value·").nth(1).unwrap()[..5].parse().unwrap()).collect()
}

#[test]
fn a_following_listener_misses_nothing_while_the_log_is_trimmed() {
    let fixture = Fixture::new();
    let listener = Listener::to_all(&fixture);
    for number in 0..60 {
        fixture.ok(&format!("{SET}+large"), "test-vm1", large(number));
    }
    fixture.ok(&format!("{SET}+end"), "dom0", "1");
    let seen = numbers(listener.until("domain-feature-pre-set:end").into_iter());
    assert_eq!(seen, (0..60).collect::<Vec<_>>());
    let segments = std::fs::read_dir(fixture.path("/run/qubes/admin/events")).unwrap();
    let kept: u64 = segments.map(|segment| segment.unwrap().metadata().unwrap().len()).sum();
    assert!(kept < 5 << 20, "the log is trimmed: {kept} bytes");
}

#[test]
fn a_stopped_listener_holds_nobody_up_and_is_told_when_it_fell_behind() {
    let fixture = Fixture::new();
    let listener = Listener::to_all(&fixture);
    listener.signal(Signal::SIGSTOP);
    for number in 0..60 {
        fixture.ok(&format!("{SET}+large"), "test-vm1", large(number));
    }
    listener.signal(Signal::SIGCONT);
    let seen = numbers(std::iter::from_fn(|| listener.next()));
    assert!(seen.len() < 60, "the stream ends instead of skipping");
    assert_eq!(seen, (0..seen.len()).collect::<Vec<_>>(), "what came was complete up to there");
    assert_eq!(listener.log(), "qubes-admin: events were lost before they were read\n");
    Listener::to_all(&fixture);
}

#[test]
fn a_log_cut_inside_a_record_ends_old_streams_and_spoils_nothing_new() {
    let fixture = Fixture::new();
    let old = Listener::to_all(&fixture);
    fixture.ok(&format!("{SET}+f"), "test-vm1", "1");
    assert_eq!([old.next().unwrap(), old.next().unwrap()], set_events("test-vm1", "f", "1"));
    let segment = newest_segment(&fixture);
    let length = segment.metadata().unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&segment).unwrap().set_len(length - 20).unwrap();
    let new = Listener::to_all(&fixture);
    fixture.ok(&format!("{SET}+g"), "test-vm1", "2");
    assert_eq!([new.next().unwrap(), new.next().unwrap()], set_events("test-vm1", "g", "2"));
    assert_eq!(old.next(), None, "a listener that had read more than is left cannot go on");
}

#[test]
fn after_a_boot_emptied_the_run_time_directory_everything_works_again() {
    let fixture = Fixture::new();
    fixture.ok(&format!("{SET}+f"), "test-vm1", "1");
    std::fs::remove_dir_all(fixture.path("/run/qubes/admin")).unwrap();
    let listener = Listener::to_all(&fixture);
    fixture.ok(&format!("{SET}+g"), "test-vm1", "2");
    assert_eq!([listener.next().unwrap(), listener.next().unwrap()], set_events("test-vm1", "g", "2"));
    std::fs::remove_dir_all(fixture.path("/run/qubes/admin")).unwrap();
    fixture.ok(&format!("{SET}+h"), "test-vm1", "3");
    assert_eq!(fixture.ok("admin.vm.feature.List", "test-vm1", ""), "f\ng\nh\n");
}

#[test]
fn past_the_kernels_limits_of_listeners_the_answer_is_a_clear_error() {
    let fixture = Fixture::new();
    for limit in ["instances", "watches"] {
        // A user namespace has limits of its own, so that no other test is disturbed.
        let script = format!("echo 0 > /proc/sys/user/max_inotify_{limit} && exec -a admin.Events \"$0\"");
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "bash", "-c", &script]);
        command.arg(tests::executables::serving("admin.Events"));
        command.env("QUBES_ADMIN_ROOT", fixture.path("/")).stdout(Stdio::piped()).stderr(Stdio::piped());
        let listener = Listener::starting(command, "admin.Events", "dom0", "dom0");
        let text = refusal(&listener.next_bytes().unwrap());
        let expected = format!(
            "QubesException: The state store cannot be used: \
            too many event listeners: fs.inotify.max_user_{limit} limits them"
        );
        assert_eq!(text, expected);
    }
}

#[test]
fn a_caller_that_reads_nothing_holds_nobody_up_and_is_noticed_when_it_goes_away() {
    let fixture = Fixture::new();
    let (mut child, socket) = over_socket(&fixture);
    let reading = Listener::to_all(&fixture);
    for number in 0..20 {
        fixture.ok(&format!("{SET}+large"), "test-vm1", large(number));
    }
    fixture.ok(&format!("{SET}+end"), "dom0", "1");
    let seen = numbers(reading.until("domain-feature-pre-set:end").into_iter());
    assert_eq!(seen, (0..20).collect::<Vec<_>>(), "others hear everything");
    assert!(child.try_wait().unwrap().is_none(), "it waits until it can send");
    socket.shutdown(Shutdown::Read).unwrap();
    assert!(child.wait().unwrap().success());
}
