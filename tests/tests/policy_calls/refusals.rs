//! What is refused, and what a change may not do to the policy.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::{DIRECTORY, UNKNOWN, call_as, ok, path, refused, system};
use common::policy::Policy;
use tests::Fixture;

/// Call, payload, and what it is refused with.
const REFUSED: [(&str, &str, &str); 48] = [
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
        "policy.Replace+30-user",
        "new\n# x\r* * * * Allow\n",
        "1 PolicyAdminSyntaxException Policy change validation failed: /etc/qubes/policy.d/30-user.policy:2: invalid action",
    ),
    (
        "policy.Replace+30-user",
        "new\nsvc * a @tag:@x allow\n",
        "1 PolicyAdminSyntaxException Policy change validation failed: /etc/qubes/policy.d/30-user.policy:1: invalid target",
    ),
    (
        "policy.Replace+30-user",
        "new\nsvc * a b\u{a0}c allow\n",
        "1 PolicyAdminSyntaxException Policy change validation failed: /etc/qubes/policy.d/30-user.policy:1: a blank that is neither space nor tab",
    ),
    (
        "policy.include.Replace+alone",
        "new\n!x @anyvm allow\n",
        "1 PolicyAdminSyntaxException Policy change validation failed: /etc/qubes/policy.d/include/alone:1: unknown directive",
    ),
    (
        "policy.include.Replace+alone",
        "new\na b allow\r@include:x\n",
        "1 PolicyAdminSyntaxException Policy change validation failed: /etc/qubes/policy.d/include/alone:1: invalid argument",
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
    // Its own, too, which no policy gives it.
    fixture.policy("10-access.policy", "* * * @adminvm allow\n");
    let output = call_as(&fixture, "dom0", "policy.Replace+05-first", "new\n* * * * deny\n");
    assert_eq!((output.status.code(), output.stdout), (Some(0), Vec::new()));
    let output = call_as(&fixture, "dom0", "policy.Remove+10-access", "any");
    assert_eq!((output.status.code(), output.stdout), (Some(0), Vec::new()));
}
