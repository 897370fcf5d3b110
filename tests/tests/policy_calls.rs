//! `policy.*`: the policy's files read and changed, and its decisions told, as qrexec starts the calls (spec 50 §15.2, §17).
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code"
)]

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use common::model::{Class, Value};
use common::names::TagName;
use common::policy::Policy;
use tests::Fixture;
use tests::stepper::{Trouble, run};
use tests::tool::{install, text, tool};

const DIRECTORY: &str = "/etc/qubes/policy.d";
const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const UNKNOWN: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// A system whose policy lets `test-vm1` do everything with it.
fn system() -> Fixture {
    let fixture = Fixture::new();
    std::fs::create_dir_all(fixture.path(DIRECTORY).join("include")).unwrap();
    fixture.policy("10-access.policy", "* * test-vm1 @adminvm allow\n!include include/used\n");
    put(&fixture, "include/used", "");
    fixture
}

fn put(fixture: &Fixture, name: &str, content: &str) {
    std::fs::write(path(fixture, name), content).unwrap();
}

fn path(fixture: &Fixture, name: &str) -> PathBuf {
    fixture.path(DIRECTORY).join(name)
}

/// A call as qrexec starts it, with its payload in a file.
fn command(fixture: &Fixture, caller: &str, target: &str, call: &str, payload: &[u8]) -> Command {
    std::fs::write(fixture.path("/request"), payload).unwrap();
    let (method, argument) = call.split_once('+').unwrap_or((call, ""));
    let mut command = fixture.command(method);
    command.env("QREXEC_REMOTE_DOMAIN", caller).env("QREXEC_SERVICE_ARGUMENT", argument);
    command.env("QREXEC_REQUESTED_TARGET_TYPE", "name").env("QREXEC_REQUESTED_TARGET", target);
    command.stdin(File::open(fixture.path("/request")).unwrap());
    command
}

fn call_as(fixture: &Fixture, caller: &str, call: &str, payload: impl AsRef<[u8]>) -> Output {
    command(fixture, caller, "dom0", call, payload.as_ref()).output().unwrap()
}

fn ok(fixture: &Fixture, call: &str, payload: impl AsRef<[u8]>) -> String {
    let output = call_as(fixture, "test-vm1", call, payload);
    assert_eq!(output.status.code(), Some(0), "{call}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Exit status and text of a refusal, which stands on both outputs.
fn refused(fixture: &Fixture, call: &str, payload: impl AsRef<[u8]>) -> String {
    let output = call_as(fixture, "test-vm1", call, payload);
    assert!(!output.stdout.is_empty() && output.stderr.ends_with(&output.stdout), "{call}: {output:?}");
    format!("{} {}", output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

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

/// Call, payload, and what it is refused with.
const REFUSED: [(&str, &str, &str); 43] = [
    ("policy.List+x", "", "1 PolicyAdminProtocolException Unexpected argument"),
    ("policy.List", "x", "1 PolicyAdminProtocolException Unexpected payload"),
    ("policy.Get+used", "x", "1 PolicyAdminProtocolException Unexpected payload"),
    (
        "policy.Get",
        "",
        "1 PolicyAdminInvalidFileNameException A policy file's name is up to 240 letters, digits, _ and -",
    ),
    (
        "policy.Get+a.b",
        "",
        "1 PolicyAdminInvalidFileNameException A policy file's name is up to 240 letters, digits, _ and -",
    ),
    (
        "policy.Get+a+b",
        "",
        "1 PolicyAdminInvalidFileNameException A policy file's name is up to 240 letters, digits, _ and -",
    ),
    (
        "policy.Get+../x",
        "",
        "1 PolicyAdminInvalidFileNameException A policy file's name is up to 240 letters, digits, _ and -",
    ),
    ("policy.Get+30-user", "", "1 PolicyAdminFileNotFoundException There is no such policy file"),
    ("policy.include.Get+10-access", "", "1 PolicyAdminFileNotFoundException There is no such policy file"),
    (
        "policy.Get+outside",
        "",
        "1 PolicyAdminInvalidFilePathException The policy file is a link that leads elsewhere",
    ),
    (
        "policy.Replace+outside",
        "any\n",
        "1 PolicyAdminInvalidFilePathException The policy file is a link that leads elsewhere",
    ),
    (
        "policy.Remove+outside",
        "any",
        "1 PolicyAdminInvalidFilePathException The policy file is a link that leads elsewhere",
    ),
    (
        "policy.Replace+a.b",
        "new\n",
        "1 PolicyAdminInvalidFileNameException A policy file's name is up to 240 letters, digits, _ and -",
    ),
    (
        "policy.Replace+30-User",
        "new\n",
        "1 PolicyAdminInvalidFileNameException A policy file with a capital letter in its name would have every call denied",
    ),
    (
        "policy.Replace+30-user",
        "",
        "1 PolicyAdminProtocolException Payload needs to include first line with token",
    ),
    (
        "policy.Replace+30-user",
        "new",
        "1 PolicyAdminProtocolException Payload needs to include first line with token",
    ),
    ("policy.Replace+30-user", "\n", "1 PolicyAdminProtocolException Unrecognized token"),
    ("policy.Replace+30-user", "sha256:0\n", "1 PolicyAdminProtocolException Unrecognized token"),
    ("policy.Replace+30-user", "any \n", "1 PolicyAdminProtocolException Unrecognized token"),
    ("policy.Replace+10-access", "new\n", "1 PolicyAdminTokenException There is such a policy file already"),
    (
        "policy.Replace+30-user",
        concat!("sha256:", "0000000000000000000000000000000000000000000000000000000000000000", "\n"),
        "1 PolicyAdminTokenException The policy file is gone",
    ),
    (
        "policy.include.Replace+used",
        concat!("sha256:", "0000000000000000000000000000000000000000000000000000000000000000", "\n"),
        "1 PolicyAdminTokenException The policy file has changed",
    ),
    (
        "policy.Replace+30-user",
        "new\nsvc * a b\n",
        "1 PolicyAdminSyntaxException Policy change validation failed: /etc/qubes/policy.d/30-user.policy:1: a rule needs five words",
    ),
    (
        "policy.Replace+30-user",
        "new\n\n!include include/none\n",
        "1 PolicyAdminSyntaxException Policy change validation failed: /etc/qubes/policy.d/30-user.policy:2: /etc/qubes/policy.d/include/none: entity not found",
    ),
    (
        "policy.Replace+30-user",
        "new\n!include 30-user.policy\n",
        "1 PolicyAdminSyntaxException Policy change validation failed: /etc/qubes/policy.d/30-user.policy:0: the file includes itself",
    ),
    (
        "policy.include.Replace+used",
        "any\nbad\n",
        "1 PolicyAdminSyntaxException Policy change validation failed: /etc/qubes/policy.d/include/used:1: a rule needs five words",
    ),
    (
        "policy.include.Replace+used",
        "any\n!include include/used\n",
        "1 PolicyAdminSyntaxException Policy change validation failed: /etc/qubes/policy.d/include/used:0: the file includes itself",
    ),
    (
        "policy.include.Replace+alone",
        "new\nbad\n",
        "1 PolicyAdminSyntaxException Policy change validation failed: /etc/qubes/policy.d/include/alone:1: a rule needs five words",
    ),
    (
        "policy.include.Remove+used",
        "any",
        "1 PolicyAdminSyntaxException Policy change validation failed: /etc/qubes/policy.d/10-access.policy:2: /etc/qubes/policy.d/include/used: entity not found",
    ),
    ("policy.Remove+30-user", "any", "1 PolicyAdminFileNotFoundException There is no such policy file"),
    ("policy.Remove+30-user", UNKNOWN, "1 PolicyAdminTokenException The policy file is gone"),
    ("policy.Remove+10-access", UNKNOWN, "1 PolicyAdminTokenException The policy file has changed"),
    ("policy.Remove+10-access", "any\n", "1 PolicyAdminProtocolException Unrecognized token"),
    ("policy.Remove+10-access", "", "1 PolicyAdminProtocolException Unrecognized token"),
    (
        "policy.Remove+10-access",
        "any",
        "1 PolicyAdminProtocolException You could not take the change back: it ends your right to make it",
    ),
    (
        "policy.Replace+10-access",
        "any\n!include include/used\n",
        "1 PolicyAdminProtocolException You could not take the change back: it ends your right to make it",
    ),
    (
        "policy.Replace+05-first",
        "new\n* * @anyvm @adminvm deny\n",
        "1 PolicyAdminProtocolException You could not take the change back: it ends your right to make it",
    ),
    ("policy.GetFiles", "", "1 PolicyAdminProtocolException Service cannot be empty."),
    ("policy.GetFiles+a+b", "", "1 PolicyAdminProtocolException Invalid characters in the service"),
    (
        "policy.Eval+svc",
        "test-vm1",
        "1 PolicyAdminProtocolException Expected SOURCE NUL TARGET, or SOURCE NUL TARGET NUL RELAY",
    ),
    (
        "policy.Eval+svc",
        "test-vm1\0\0",
        "1 PolicyAdminProtocolException Expected SOURCE NUL TARGET, or SOURCE NUL TARGET NUL RELAY",
    ),
    (
        "policy.Eval+svc",
        "a\0b\0c\0d",
        "1 PolicyAdminProtocolException Expected SOURCE NUL TARGET, or SOURCE NUL TARGET NUL RELAY",
    ),
    ("policy.Eval", "test-vm1\0dom0", "1 PolicyAdminProtocolException Service cannot be empty."),
];

#[test]
fn refusals_are_told_on_both_outputs_and_change_nothing() {
    let fixture = system();
    std::fs::write(fixture.path("/elsewhere"), "").unwrap();
    symlink(fixture.path("/elsewhere"), path(&fixture, "outside.policy")).unwrap();
    let before = policy_files(&fixture);
    for (call, payload, expected) in REFUSED {
        let told = refused(&fixture, call, payload)
            .replace("No such file or directory (os error 2)", "entity not found");
        assert_eq!(told, expected, "{call}");
        assert_eq!(policy_files(&fixture), before, "{call}");
    }
}

/// All files of the policy with their content.
fn policy_files(fixture: &Fixture) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = fixture.path(DIRECTORY);
    fixture.files().into_iter().filter(|(path, _)| path.starts_with(&directory)).collect()
}

#[test]
fn content_must_be_text_and_have_an_end() {
    let fixture = system();
    let told = refused(&fixture, "policy.Replace+30-user", b"new\n# \xff\n");
    let expected = "1 PolicyAdminSyntaxException Policy change validation failed: /etc/qubes/policy.d/30-user.policy:0: not UTF-8";
    assert_eq!(told, expected);
    let large = format!("new\n{}", "# a line of sixteen\n".repeat(40_000));
    assert_eq!(ok(&fixture, "policy.Replace+30-user", large), "");
    let larger = format!("any\n{}", "# a line of sixteen\n".repeat(60_000));
    let told = refused(&fixture, "policy.Replace+30-user", larger);
    assert_eq!(told, "1 PolicyAdminProtocolException Invalid request: request too long");
}

#[test]
fn a_file_that_nothing_includes_must_be_good_in_one_of_the_formats() {
    let fixture = system();
    ok(&fixture, "policy.include.Replace+new-format", "new\nsvc * a b allow\n");
    ok(&fixture, "policy.include.Replace+old-format", "new\n$anyvm,$anyvm,deny\n");
    let told = refused(&fixture, "policy.include.Replace+neither", "new\nsvc * a b allow\na b deny\n");
    assert!(told.ends_with("/include/neither:2: invalid argument"), "{told}");
}

#[test]
fn a_broken_policy_can_be_mended() {
    let fixture = system();
    fixture.policy("40-Broken.policy", "nonsense\n");
    fixture.policy("50-broken.policy", "nonsense\n");
    let told = refused(&fixture, "policy.Replace+30-user", "new\n");
    assert!(told.ends_with("/40-Broken.policy: illegal file name"), "{told}");
    assert!(
        refused(&fixture, "policy.GetFiles+svc", "")
            .starts_with("1 PolicyAdminSyntaxException The policy cannot be read: ")
    );
    let told = refused(&fixture, "policy.Remove+40-Broken", "any");
    assert!(told.ends_with("/50-broken.policy:1: a rule needs five words"), "{told}");
    std::fs::remove_file(path(&fixture, "40-Broken.policy")).unwrap();
    assert_eq!(ok(&fixture, "policy.Replace+50-broken", "any\n# mended\n"), "");
    fixture.policy("40-Broken.policy", "nonsense\n");
    assert_eq!(ok(&fixture, "policy.Remove+40-Broken", "any"), "");
    assert!(Policy::load(&fixture.root()).is_ok());
}

#[test]
fn dom0_may_end_anyones_rights() {
    let fixture = system();
    let output = call_as(&fixture, "dom0", "policy.Remove+10-access", "any");
    assert_eq!((output.status.code(), output.stdout), (Some(0), Vec::new()));
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
fn a_decision_is_told_with_its_rule() {
    let fixture = system();
    fixture.edit("test-template", |qube| {
        qube.class = Class::RemoteVM;
        qube.properties.insert("relayvm".to_owned(), Value::Text("test-net".to_owned()));
        qube.properties.insert("transport_rpc".to_owned(), Value::Text("qubes.Relay".to_owned()));
    });
    fixture.policy(
        "30-user.policy",
        "svc * test-vm1 test-net allow user=root\nsvc * test-vm1 dom0 deny\nsvc * test-net @anyvm ask default_target=test-vm1\n\
        svc * test-template test-vm1 allow\nsvc * test-vm1 test-template allow\n",
    );
    let rule = "/etc/qubes/policy.d/30-user.policy";
    for (call, payload, expected) in [
        ("svc", "test-vm1\0test-net", format!("result=allow\ntarget=test-net\nuser=root\nrule={rule}:1\n")),
        (
            "svc+arg",
            "test-vm1\0test-net",
            format!("result=allow\ntarget=test-net\nuser=root\nrule={rule}:1\n"),
        ),
        (
            "svc",
            "uuid:00000000-0000-4000-8000-000000000002\0test-net",
            format!("result=allow\ntarget=test-net\nuser=root\nrule={rule}:1\n"),
        ),
        (
            "svc+",
            "test-net\0@default",
            format!(
                "result=ask\ncandidates=test-template,test-vm1\ndefault_target=test-vm1\nrule={rule}:3\n"
            ),
        ),
        ("svc", "test-vm1\0nosuch", "result=deny\nreason=no matching rule found\n".to_owned()),
        ("svc", "nosuch\0test-net", "result=deny\nreason=no matching rule found\n".to_owned()),
        ("svc", "test-vm1\0@tag:x", "result=deny\nreason=no such word may be asked for\n".to_owned()),
        (
            "svc",
            "test-template\0test-vm1\0test-net",
            format!("result=allow\ntarget=test-vm1\nrule={rule}:4\n"),
        ),
        (
            "svc",
            "test-template\0test-vm1\0test-vm1",
            "result=deny\nreason=the caller does not speak for that source\n".to_owned(),
        ),
        (
            "svc+x",
            "test-vm1\0test-template",
            format!(
                "result=allow\ntarget=test-template\nrelay=test-net\nservice=qubes.Relay+test-template+svc+x\nrule={rule}:5\n"
            ),
        ),
        (
            "other",
            "test-vm1\0dom0",
            "result=allow\ntarget=dom0\nrule=/etc/qubes/policy.d/10-access.policy:1\n".to_owned(),
        ),
    ] {
        assert_eq!(ok(&fixture, &format!("policy.Eval+{call}"), payload), expected, "{call} {payload:?}");
    }
    fixture.policy("30-user.policy", "nonsense\n");
    let told = refused(&fixture, "policy.Eval+svc", "test-vm1\0test-net");
    let expected =
        format!("1 PolicyAdminSyntaxException The policy cannot be read: {rule}:1: a rule needs five words");
    assert_eq!(told, expected);
}

#[test]
fn a_question_is_answered_in_a_word_and_nonsense_not_at_all() {
    let fixture = system();
    fixture.policy("30-user.policy", "svc * test-vm1 test-net allow\nask * test-vm1 test-net ask\n");
    for (call, payload, expected) in [
        ("svc", &b"test-vm1\0test-net"[..], "result=allow\n"),
        ("svc+a+b", b"test-vm1\0test-net", "result=allow\n"),
        ("svc", b"test-net\0test-vm1", "result=deny\n"),
        ("ask", b"test-vm1\0test-net", "result=allow\n"),
        ("ask", b"test-vm1\0@default", "result=deny\n"),
        ("svc", b"nosuch\0test-net", "result=deny\n"),
        ("svc", b"test-vm1", ""),
        ("svc", b"test-vm1\0", ""),
        ("svc", b"test-vm1\0test-net\0test-net", ""),
        ("svc", b"test vm1\0test-net", ""),
        ("svc", b"test-vm1\0\xff", ""),
        ("s c", b"test-vm1\0test-net", ""),
        ("", b"test-vm1\0test-net", ""),
    ] {
        assert_eq!(ok(&fixture, &format!("policy.EvalSimple+{call}"), payload), expected, "{call}");
        assert_eq!(ok(&fixture, &format!("policy.EvalGUI+{call}"), payload), "", "{call}");
    }
    for qube in ["test-vm1", "test-net"] {
        assert_eq!(ok(&fixture, "policy.EvalGUI+svc", "test-vm1\0test-net"), "");
        fixture.edit(qube, |qube| {
            qube.tags.insert(TagName::parse("guivm-test-vm1").unwrap());
        });
    }
    assert_eq!(ok(&fixture, "policy.EvalGUI+svc", "test-vm1\0test-net"), "result=allow\n");
    assert_eq!(ok(&fixture, "policy.EvalGUI+svc", "test-vm1\0dom0"), "");
    fixture.policy("30-user.policy", "nonsense\n");
    assert_eq!(ok(&fixture, "policy.EvalSimple+svc", "test-vm1\0test-net"), "result=deny\n");
}

#[test]
fn the_log_tells_why_a_question_is_denied() {
    let fixture = system();
    fixture.policy("30-user.policy", "svc * test-vm1 test-net deny\n");
    let told = |payload: &str| {
        let output = call_as(&fixture, "test-vm1", "policy.EvalSimple+svc", payload);
        assert_eq!(output.stdout, b"result=deny\n");
        String::from_utf8(output.stderr).unwrap()
    };
    let rule = "/etc/qubes/policy.d/30-user.policy:1";
    assert_eq!(
        told("test-vm1\0test-net"),
        format!(
            "qubes-admin: svc+ from test-vm1 to test-net: result=deny reason=denied by rule rule={rule}\n"
        )
    );
    assert_eq!(
        told("nobody\0test-net"),
        "qubes-admin: svc+ from nobody to test-net: result=deny reason=no matching rule found\n"
    );
    fixture.policy("30-user.policy", "nonsense\n");
    let expected = format!("qubes-admin: policy denies everything: {rule}: a rule needs five words\n");
    assert_eq!(told("test-vm1\0test-net"), expected);
}

#[test]
fn lists_are_empty_without_policy_and_the_log_tells_why() {
    let fixture = system();
    fixture.policy("30-user.policy", "nonsense\n");
    let output = fixture.run("admin.vm.List", b"admin.vm.List+ test-vm1 name dom0\0");
    assert_eq!(output.stdout, b"0\0");
    let told = String::from_utf8(output.stderr).unwrap();
    let rule = "/etc/qubes/policy.d/30-user.policy:1";
    assert_eq!(told, format!("qubes-admin: policy denies everything: {rule}: a rule needs five words\n"));
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

/// Calls that change policy, and how many rules there are before and after.
const CHANGES: [(&str, &str, &str, usize, usize); 5] = [
    ("policy.Replace+30-user", "dom0", "new\nsvc * a b allow\n", 2, 3),
    ("policy.Replace+20-there", "dom0", "any\nsvc * a b allow\nsvc * b c allow\n", 2, 3),
    ("policy.Remove+20-there", "dom0", "any", 2, 1),
    ("policy.include.Replace+used", "dom0", "any\nsvc * a b allow\n", 2, 3),
    ("policy.RegisterArgument+svc", "test-net", "x", 2, 3),
];

#[test]
fn a_change_that_is_killed_anywhere_has_happened_or_not_and_the_policy_is_whole() {
    for (call, target, payload, old, new) in CHANGES {
        let fixture = system();
        let (mut stops, mut olds) = (0, 0);
        loop {
            let _ = std::fs::remove_file(path(&fixture, "30-user.policy"));
            let _ = std::fs::remove_file(path(&fixture, "60-registered-arguments.policy"));
            put(&fixture, "20-there.policy", "other * a b deny\n");
            put(&fixture, "include/used", "");
            let command = command(&fixture, "test-vm1", target, call, payload.as_bytes());
            let met = run(command, Trouble::Kill(stops)).met;
            let rules = Policy::load(&fixture.root()).unwrap().rules().len();
            assert!(rules == old || rules == new, "{call}, killed at stop {stops}: {rules} rules");
            olds += usize::from(rules == old);
            if !met {
                assert_eq!(rules, new, "{call}");
                break;
            }
            stops += 1;
        }
        assert!(olds > 40 && olds < stops, "{call}: {olds} of {stops} old");
        let again = command(&fixture, "test-vm1", target, call, payload.as_bytes()).output().unwrap();
        let is_refused = ["policy.Replace+30-user", "policy.Remove+20-there", "policy.RegisterArgument+svc"]
            .contains(&call);
        assert_eq!(again.status.code(), Some(i32::from(is_refused)), "{call}");
    }
}

#[test]
fn a_system_call_that_fails_changes_nothing_or_everything() {
    for (call, target, payload, old, new) in CHANGES {
        for errno in [libc::EIO, libc::ENOSPC] {
            let fixture = system();
            let (mut number, mut ambiguous) = (0, 0);
            loop {
                let _ = std::fs::remove_file(path(&fixture, "30-user.policy"));
                let _ = std::fs::remove_file(path(&fixture, "60-registered-arguments.policy"));
                put(&fixture, "20-there.policy", "other * a b deny\n");
                put(&fixture, "include/used", "");
                let command = command(&fixture, "test-vm1", target, call, payload.as_bytes());
                let traced = run(command, Trouble::Fail(number, errno));
                let rules = Policy::load(&fixture.root()).unwrap().rules().len();
                assert!(rules == old || rules == new, "{call}, call {number} failed: {rules} rules");
                ambiguous += usize::from(!traced.output.is_empty() && rules == new);
                assert!(
                    !traced.output.is_empty() || rules == new,
                    "{call}, call {number} failed: no success"
                );
                if !traced.met {
                    break;
                }
                number += 1;
            }
            assert!(
                number > 20 && ambiguous <= 2,
                "{call}: {ambiguous} of {number} told as failed, but done"
            );
        }
    }
}
