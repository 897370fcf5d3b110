//! The policy's files: listed, read, replaced, removed, registered in.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use super::{DIRECTORY, EMPTY, command, ok, path, put, refused, system};
use common::policy::Policy;
use tests::tool::{install, text, tool};

#[test]
fn files_are_listed_read_replaced_and_removed() {
    let fixture = system();
    put(&fixture, "README", "");
    put(&fixture, ".hidden.policy", "");
    put(&fixture, "include/.used.new", "");
    assert_eq!(ok(&fixture, "policy.List", ""), ".hidden\n10-access\n");
    assert_eq!(ok(&fixture, "policy.include.List", ""), "used\n");
    assert_eq!(ok(&fixture, "policy.include.Get+used", ""), format!("{EMPTY}\n"));

    assert_eq!(ok(&fixture, "policy.Replace+30-user", "new\nsvc * a b allow\n"), "");
    let read = ok(&fixture, "policy.Get+30-user", "");
    let (token, content) = read.split_once('\n').unwrap();
    assert_eq!(content, "svc * a b allow\n");
    assert_eq!(ok(&fixture, "policy.Replace+30-user", format!("{token}\n")), "");
    assert_eq!(ok(&fixture, "policy.Get+30-user", ""), format!("{EMPTY}\n"));
    assert_eq!(ok(&fixture, "policy.Replace+30-user", "any\n# mine\n"), "");
    assert_eq!(ok(&fixture, "policy.Remove+30-user", "any"), "");
    assert_eq!(ok(&fixture, "policy.List", ""), ".hidden\n10-access\n");

    assert_eq!(ok(&fixture, "policy.include.Replace+More", "new\nsvc * a b allow\n"), "");
    assert_eq!(ok(&fixture, "policy.include.List", ""), "More\nused\n");
    let read = ok(&fixture, "policy.include.Get+More", "");
    assert_eq!(ok(&fixture, "policy.include.Remove+More", read.lines().next().unwrap()), "");
    assert_eq!(ok(&fixture, "policy.include.List", ""), "used\n");
}

#[test]
fn new_files_belong_to_the_group_of_their_directory_and_may_be_read() {
    let fixture = system();
    ok(&fixture, "policy.Replace+30-user", "new\n");
    let about = std::fs::metadata(path(&fixture, "30-user.policy")).unwrap();
    assert_eq!(about.permissions().mode() & 0o7777, 0o664);
    assert_eq!(about.gid(), std::fs::metadata(fixture.path(DIRECTORY)).unwrap().gid());
}

#[test]
fn whoever_changes_a_file_that_another_has_changed_is_told() {
    let fixture = system();
    put(&fixture, "include/used", "");
    let start = |number: usize| {
        let payload = format!("{EMPTY}\n# {number}\n");
        let mut command = command(&fixture, "test-vm1", "dom0", "policy.include.Replace+used", b"");
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(payload.as_bytes()).unwrap();
        child
    };
    let running: Vec<_> = (0..16).map(start).collect();
    let outputs = running.into_iter().map(|child| child.wait_with_output().unwrap());
    let (done, told): (Vec<Output>, Vec<Output>) = outputs.partition(|output| output.status.success());
    assert_eq!(done.len(), 1);
    for output in told {
        assert_eq!(output.stdout, b"PolicyAdminTokenException The policy file has changed");
    }
}

#[test]
fn readers_always_have_a_policy_while_files_come_and_go() {
    let fixture = system();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                ok(&fixture, "policy.Replace+30-user", "new\nsvc * a b allow\n");
                ok(&fixture, "policy.Remove+30-user", "any");
            }
        });
        for _ in 0..500 {
            let rules = Policy::load(&fixture.root()).map(|policy| policy.rules().len());
            assert!(rules.is_ok_and(|rules| (1..=2).contains(&rules)));
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn files_with_rules_for_a_service_are_told_in_order() {
    let fixture = system();
    fixture.policy("20-other.policy", "other * a b deny\n");
    fixture.policy("30-user.policy", "svc * a b deny\n!include include/used\nsvc * b c deny\n");
    put(&fixture, "include/used", "svc + c d deny\n");
    std::fs::write(fixture.path("/run/qubes/policy.d/15-run.policy"), "svc * x y deny\n").unwrap();
    let expected =
        "10-access\n/etc/qubes/policy.d/include/used\n/run/qubes/policy.d/15-run.policy\n30-user\n";
    assert_eq!(ok(&fixture, "policy.GetFiles+svc", ""), expected);
}

#[test]
fn an_argument_is_registered_once_for_the_qube_that_was_asked_for() {
    let fixture = system();
    let register = |call: &str, target: &str, payload: &str| {
        let output = command(&fixture, "test-net", target, call, payload.as_bytes()).output().unwrap();
        format!("{:?} {}", output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(register("policy.RegisterArgument+svc", "test-vm1", "a.b"), "0 ");
    let again = "1 PolicyAdminProtocolException There is a rule for this argument already";
    assert_eq!(register("policy.RegisterArgument+svc", "test-vm1", "a.b"), again);
    assert_eq!(register("policy.RegisterArgument+svc", "test-vm1", "c"), "0 ");
    let file = std::fs::read_to_string(path(&fixture, "60-registered-arguments.policy")).unwrap();
    assert_eq!(file, "svc +a.b test-vm1 test-net allow\nsvc +c test-vm1 test-net allow\n");
    for (call, target, payload, expected) in [
        ("policy.RegisterArgument+svc", "test-vm1", "", "1 PolicyAdminProtocolException Expected payload"),
        (
            "policy.RegisterArgument+svc",
            "test-vm1",
            "a b",
            "1 PolicyAdminProtocolException An argument is 1 to 64 letters, digits, -, . and _",
        ),
        (
            "policy.RegisterArgument+svc",
            "test-vm1",
            "a\n",
            "1 PolicyAdminProtocolException An argument is 1 to 64 letters, digits, -, . and _",
        ),
        (
            "policy.RegisterArgument",
            "test-vm1",
            "a",
            "1 PolicyAdminProtocolException Service cannot be empty.",
        ),
        (
            "policy.RegisterArgument+*",
            "test-vm1",
            "a",
            "1 PolicyAdminProtocolException Invalid characters in the service",
        ),
        (
            "policy.RegisterArgument+svc",
            "dom0",
            "a",
            "1 PolicyAdminProtocolException Expected destination to not be AdminVM",
        ),
    ] {
        assert_eq!(register(call, target, payload), expected);
    }
    assert_eq!(
        register("policy.RegisterArgument+svc", "test-vm1", &"a".repeat(65)),
        "1 PolicyAdminProtocolException An argument is 1 to 64 letters, digits, -, . and _"
    );
    assert_eq!(std::fs::read_to_string(path(&fixture, "60-registered-arguments.policy")).unwrap(), file);
    fixture.policy("30-user.policy", "svc +known a b deny\n");
    assert_eq!(register("policy.RegisterArgument+svc", "test-vm1", "known"), again);
}

#[test]
fn who_did_what_is_in_a_log() {
    let fixture = system();
    ok(&fixture, "policy.Replace+30-user", "new\n");
    refused(&fixture, "policy.Replace+30-user", "new\n");
    ok(&fixture, "policy.Remove+30-user", "any");
    let log = std::fs::read_to_string(fixture.path("/var/log/qubes/policy-admin.log")).unwrap();
    let untimed: Vec<&str> = log.lines().map(|line| &line["2026-01-01 00:00:00 ".len()..]).collect();
    let expected = [
        "policy.Replace+30-user test-vm1: done",
        "policy.Replace+30-user test-vm1: There is such a policy file already",
        "policy.Remove+30-user test-vm1: done",
    ];
    assert_eq!(untimed, expected);
}

#[test]
fn the_operator_s_tool_makes_the_calls_too() {
    let fixture = system();
    install(&fixture);
    assert_eq!(text(&tool(&fixture, &["call", "dom0", "policy.List"])), "10-access\n");
    // dom0's own tool names no target.
    let variables = [("QREXEC_REMOTE_DOMAIN", "dom0"), ("QREXEC_REQUESTED_TARGET_TYPE", "")];
    assert_eq!(fixture.by_qrexec("policy.List", &variables, None), b"10-access\n");
    let output = tool(&fixture, &["call", "dom0", "policy.Get+none"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(told, "qubes-admin: PolicyAdminFileNotFoundException: There is no such policy file\n");
}
