//! Policy as the specification has it: decisions with the rule that makes them, what cannot be read, and `qubes-admin
//! policy` (spec 50 §13, §14, §19).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::panic, reason = "test code")]

use std::fmt::Write;
use std::path::Path;

use common::policy::{Policy, Proposal};
use tests::Fixture;
use tests::tool::{error, text, tool};

const GROUPS: &str = include_str!("../policy/groups.txt");
const DECISIONS: &str = include_str!("../policy/decisions.txt");

fn put(fixture: &Fixture, path: &str, content: &str) {
    let file = fixture.path(path);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, content).unwrap();
}

/// Sections that begin with a mark: their headings and contents.
fn sections<'t>(text: &'t str, mark: &'t str) -> Vec<(&'t str, String)> {
    let mut found: Vec<(&str, String)> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix(mark), found.last_mut()) {
            (Some(heading), _) => found.push((heading, String::new())),
            (None, Some((_, content))) => writeln!(content, "{line}").unwrap(),
            (None, None) => {}
        }
    }
    found
}

#[test]
fn every_decision_is_the_specification_s_and_names_its_rule() {
    let preamble = DECISIONS.split("\n== ").next().unwrap();
    let (_, qubes) = &sections(preamble, "-- ")[0];
    let mut decisions = 0;
    for (set, content) in sections(DECISIONS, "== ") {
        let fixture = Fixture::empty();
        for (path, content) in sections(&content, "-- ") {
            match path {
                "expect" => {
                    decisions += content.lines().filter(|line| !line.is_empty()).count();
                    put(&fixture, "/table", &format!("{qubes}{content}"));
                }
                path => put(&fixture, path, &content),
            }
        }
        let output = tool(&fixture, &["policy", "test", fixture.path("/table").to_str().unwrap()]);
        assert!(
            output.status.success(),
            "{set}\n{}{}",
            text(&output),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    assert!(decisions >= 300, "{decisions} decisions");
}

/// Files, and what loading them says.
const BROKEN: [(&[(&str, &str)], &str); 42] = [
    (&[("30-a.policy", "svc * mgmt work\n")], "/etc/qubes/policy.d/30-a.policy:1: a rule needs five words"),
    (
        &[("30-a.policy", "\n# x\nsvc * a b allow # not a comment\n")],
        "/etc/qubes/policy.d/30-a.policy:3: parameter without =",
    ),
    (&[("30-a.policy", "svc * a b Allow\n")], "/etc/qubes/policy.d/30-a.policy:1: invalid action"),
    (&[("30-a.policy", "* + a b allow\n")], "/etc/qubes/policy.d/30-a.policy:1: service * needs argument *"),
    (&[("30-a.policy", "svc* * a b allow\n")], "/etc/qubes/policy.d/30-a.policy:1: invalid service"),
    (&[("30-a.policy", "svc arg a b allow\n")], "/etc/qubes/policy.d/30-a.policy:1: invalid argument"),
    (&[("30-a.policy", "svc +a/b a b allow\n")], "/etc/qubes/policy.d/30-a.policy:1: invalid argument"),
    (&[("30-a.policy", "svc * @default b allow\n")], "/etc/qubes/policy.d/30-a.policy:1: invalid source"),
    (&[("30-a.policy", "svc * @dispvm b allow\n")], "/etc/qubes/policy.d/30-a.policy:1: invalid source"),
    (&[("30-a.policy", "svc * @tag: b allow\n")], "/etc/qubes/policy.d/30-a.policy:1: invalid source"),
    (&[("30-a.policy", "svc * a @type: allow\n")], "/etc/qubes/policy.d/30-a.policy:1: invalid target"),
    (
        &[("30-a.policy", "svc * a @dispvm:@type:x allow\n")],
        "/etc/qubes/policy.d/30-a.policy:1: invalid target",
    ),
    (&[("30-a.policy", "svc * a @nosuch allow\n")], "/etc/qubes/policy.d/30-a.policy:1: invalid target"),
    (
        &[("30-a.policy", "svc * a @default allow\n")],
        "/etc/qubes/policy.d/30-a.policy:1: allow for @default needs target=",
    ),
    (&[("30-a.policy", "svc * a b allow target=\n")], "/etc/qubes/policy.d/30-a.policy:1: invalid redirect"),
    (
        &[("30-a.policy", "svc * a b allow target=@anyvm\n")],
        "/etc/qubes/policy.d/30-a.policy:1: invalid redirect",
    ),
    (
        &[("30-a.policy", "svc * a b ask default_target=@dispvm:@tag:x\n")],
        "/etc/qubes/policy.d/30-a.policy:1: invalid redirect",
    ),
    (
        &[("30-a.policy", "svc * a b allow default_target=c\n")],
        "/etc/qubes/policy.d/30-a.policy:1: unknown parameter",
    ),
    (&[("30-a.policy", "svc * a b deny target=c\n")], "/etc/qubes/policy.d/30-a.policy:1: unknown parameter"),
    (
        &[("30-a.policy", "svc * a b allow user=x user=y\n")],
        "/etc/qubes/policy.d/30-a.policy:1: parameter given twice",
    ),
    (
        &[("30-a.policy", "svc * a b allow notify=maybe\n")],
        "/etc/qubes/policy.d/30-a.policy:1: neither yes nor no",
    ),
    (&[("30-a.policy", "!inclood x\n")], "/etc/qubes/policy.d/30-a.policy:1: unknown directive"),
    (&[("30-a.policy", "!include a b\n")], "/etc/qubes/policy.d/30-a.policy:1: unknown directive"),
    (
        &[("30-a.policy", "\n!include none\n")],
        "/etc/qubes/policy.d/30-a.policy:2: /etc/qubes/policy.d/none: entity not found",
    ),
    (
        &[("30-a.policy", "!include-dir none\n")],
        "/etc/qubes/policy.d/30-a.policy:1: /etc/qubes/policy.d/none: entity not found",
    ),
    (
        &[("30-a.policy", "!include-service s * x\n"), ("x", "a b\n")],
        "/etc/qubes/policy.d/x:1: a rule needs three words",
    ),
    (
        &[("30-a.policy", "!include x\n"), ("x", "\nbad\n")],
        "/etc/qubes/policy.d/x:2: a rule needs five words",
    ),
    (
        &[("30-a.policy", "!include x\n"), ("x", "!include x\n")],
        "/etc/qubes/policy.d/x:0: the file includes itself",
    ),
    (
        &[("30-a.policy", "!include-service s * x\n"), ("x", "!include y\n"), ("y", "$include:x\n")],
        "/etc/qubes/policy.d/x:0: the file includes itself",
    ),
    (&[("30-a.policy", "svc * a @tag:@x allow\n")], "/etc/qubes/policy.d/30-a.policy:1: invalid target"),
    (&[("30-a.policy", "svc * @type:@tag:x b allow\n")], "/etc/qubes/policy.d/30-a.policy:1: invalid source"),
    (
        &[("30-a.policy", "svc * a b allow\rsvc * a b Allow\r\n")],
        "/etc/qubes/policy.d/30-a.policy:2: invalid action",
    ),
    (
        &[("30-a.policy", "# x\r\r\n\r\n* * * *\n")],
        "/etc/qubes/policy.d/30-a.policy:4: a rule needs five words",
    ),
    (
        &[("30-a.policy", "svc * a\u{a0}b c allow\n")],
        "/etc/qubes/policy.d/30-a.policy:1: a blank that is neither space nor tab",
    ),
    (
        &[("30-a.policy", "\u{2028}# x\n")],
        "/etc/qubes/policy.d/30-a.policy:1: a blank that is neither space nor tab",
    ),
    (
        &[("30-a.policy", "# a\u{b}\u{a0}comment\n\x0c\n")],
        "/etc/qubes/policy.d/30-a.policy:2: a blank that is neither space nor tab",
    ),
    (
        &[("30-a.policy", "!include-service s * x\n"), ("x", "a b\x1cdeny\n")],
        "/etc/qubes/policy.d/x:1: a blank that is neither space nor tab",
    ),
    (
        &[("30-a.policy", "!include-service s * x\n"), ("x", "!x @anyvm allow\n")],
        "/etc/qubes/policy.d/x:1: unknown directive",
    ),
    (
        &[("30-a.policy", "!include-service s * x\n"), ("x", "!include y z\n"), ("y", "")],
        "/etc/qubes/policy.d/x:1: unknown directive",
    ),
    (
        &[("30-a.policy", "!include-service s * x\n"), ("x", "@include:y\n"), ("y", "")],
        "/etc/qubes/policy.d/x:1: a rule needs three words",
    ),
    (&[("30-Upper.policy", "")], "/etc/qubes/policy.d/30-Upper.policy: illegal file name"),
    (&[("!30.policy", "")], "/etc/qubes/policy.d/!30.policy: illegal file name"),
];

#[test]
fn what_cannot_be_understood_denies_everything_and_names_file_and_line() {
    for (files, expected) in BROKEN {
        let fixture = Fixture::empty();
        for (name, content) in files {
            fixture.policy(name, content);
        }
        assert_eq!(
            Policy::load(&fixture.root())
                .unwrap_err()
                .to_string()
                .replace("No such file or directory (os error 2)", "entity not found"),
            expected
        );
    }
}

#[test]
fn what_is_not_text_or_not_there_denies_everything() {
    let fixture = Fixture::empty();
    std::fs::write(fixture.path("/etc/qubes/policy.d/30-a.policy"), b"# \xff\n").unwrap();
    let told = Policy::load(&fixture.root()).unwrap_err().to_string();
    assert_eq!(told, "/etc/qubes/policy.d/30-a.policy:0: not UTF-8");
    let fixture = Fixture::empty();
    std::fs::remove_dir(fixture.path("/run/qubes/policy.d")).unwrap();
    let told = Policy::load(&fixture.root()).unwrap_err().to_string();
    assert!(told.starts_with("/run/qubes/policy.d: "), "{told}");
}

#[test]
fn files_that_include_each_other_without_end_end_soon() {
    let fixture = Fixture::empty();
    fixture.policy("30-a.policy", "!include i0\n");
    for number in 0..19 {
        let next = format!("!include i{}\n", number + 1);
        fixture.policy(&format!("i{number}"), &next.repeat(4));
    }
    fixture.policy("i19", "");
    let told = Policy::load(&fixture.root()).unwrap_err().to_string();
    assert!(told.ends_with("includes nest too deep"), "{told}");
    fixture.policy("i18", "");
    let told = Policy::load(&fixture.root()).unwrap_err().to_string();
    assert!(told.ends_with("too many files are included"), "{told}");
}

#[test]
fn a_rule_reads_back_from_what_it_is_shown_as() {
    let fixture = Fixture::empty();
    let rules = "* * @anyvm @adminvm deny notify=no\n\
        svc +a work @dispvm:@tag:t ask target=@dispvm default_target=@dispvm:base user=root autostart=no notify=yes\n\
        svc * @type:AppVM @default ask\n";
    fixture.policy("30-a.policy", rules);
    let shown = |policy: Policy| policy.rules().iter().map(|rule| format!("{rule}\n")).collect::<String>();
    assert_eq!(shown(Policy::load(&fixture.root()).unwrap()), rules);
}

#[test]
fn what_is_proposed_counts_as_if_it_were_there() {
    let fixture = Fixture::empty();
    fixture.policy("30-a.policy", "!include include/x\n");
    put(&fixture, "/etc/qubes/policy.d/include/x", "a * b c allow\n");
    let proposal = |name: &str, content: Option<&str>| Proposal {
        path: fixture.path("/etc/qubes/policy.d").join(name),
        content: content.map(|text| text.as_bytes().to_vec()),
    };
    let loaded = |proposals: &[Proposal]| {
        let policy = Policy::load_with(&fixture.root(), proposals);
        policy.map(|policy| policy.rules().len()).map_err(|error| error.to_string())
    };
    assert_eq!(loaded(&[]), Ok(1));
    assert_eq!(loaded(&[proposal("include/x", Some("a * b c allow\nd * e f deny\n"))]), Ok(2));
    assert_eq!(loaded(&[proposal("20-b.policy", Some("a * b c allow\n"))]), Ok(2));
    assert_eq!(loaded(&[proposal("30-a.policy", None)]), Ok(0));
    assert!(
        loaded(&[proposal("include/x", None)])
            .unwrap_err()
            .starts_with("/etc/qubes/policy.d/30-a.policy:1: ")
    );
    std::fs::remove_file(fixture.path("/etc/qubes/policy.d/include/x")).unwrap();
    assert_eq!(loaded(&[proposal("include/x", Some(""))]), Ok(0));
}

#[test]
fn expectations_that_are_not_met_are_told_with_the_rule_that_decided() {
    let fixture = Fixture::new();
    fixture.policy("30-user.policy", "svc * test-vm1 @anyvm allow\nsvc * test-net test-vm1 ask\n");
    let table = "# about the qubes of the store\n\
        svc + test-vm1 test-net allow target=test-net\n\
        svc + test-vm1 test-net deny\n\
        svc + test-vm1 nosuch allow rule=-\n\
        svc + test-net test-vm1 ask candidates=test-vm1,test-net\n\
        svc + test-net dom0 allow target=dom0\n";
    put(&fixture, "/table", table);
    let path = fixture.path("/table");
    let output = tool(&fixture, &["policy", "test", path.to_str().unwrap()]);
    let expected = [
        "3: svc+ from test-vm1 to test-net: expected deny, but result=allow target=test-net rule=/etc/qubes/policy.d/30-user.policy:1",
        "4: svc+ from test-vm1 to nosuch: expected allow, but result=deny reason=neither the caller nor the rule names a target that exists rule=/etc/qubes/policy.d/30-user.policy:1",
        "5: svc+ from test-net to test-vm1: expected candidates=test-vm1,test-net, but result=ask candidates=test-vm1 rule=/etc/qubes/policy.d/30-user.policy:2",
        "6: svc+ from test-net to dom0: expected allow, but result=deny reason=no matching rule found",
    ];
    let lines: String = expected.iter().map(|line| format!("{}:{line}\n", path.display())).collect();
    assert_eq!(text(&output), lines);
    assert_eq!(error(&output), "qubes-admin: 4 of 5 decisions not as expected\n");
}

#[test]
fn a_table_that_says_nothing_is_no_success() {
    let fixture = Fixture::new();
    for (table, told) in [
        ("# nothing\n", " expects nothing"),
        ("svc + a b\n", ":1: an expectation needs five words"),
        ("\nsvc a b c allow\n", ":2: the argument a does not begin with a plus sign"),
        ("svc + a b maybe\n", ":1: maybe is no decision"),
        ("svc + a b allow where=c\n", ":1: where=c says nothing of a decision"),
        ("!qube a\n", ":1: !qube needs a name and a class"),
        ("!qube a Nothing\n", ":1: there is no class Nothing"),
        ("!qube a AppVM tall\n", ":1: tall says nothing of a qube"),
    ] {
        put(&fixture, "/table", table);
        let path = fixture.path("/table");
        let output = tool(&fixture, &["policy", "test", path.to_str().unwrap()]);
        assert_eq!(error(&output), format!("qubes-admin: {}{told}\n", path.display()));
    }
}

#[test]
fn a_proposed_file_is_tested_before_it_is_in_place() {
    let fixture = Fixture::new();
    fixture.policy("30-user.policy", "svc * test-vm1 test-net deny\n");
    put(
        &fixture,
        "/table",
        "svc + test-vm1 test-net allow target=test-net rule=/etc/qubes/policy.d/20-new.policy:1\n",
    );
    put(&fixture, "/proposed/20-new.policy", "svc * test-vm1 test-net allow\n");
    let [table, file, folder] = ["/table", "/proposed/20-new.policy", "/proposed"]
        .map(|path| fixture.path(path).display().to_string());
    assert!(!tool(&fixture, &["policy", "test", &table]).status.success());
    for with in [file, folder] {
        let output = tool(&fixture, &["policy", "test", &table, "--with", &with]);
        assert_eq!(text(&output), "1 decisions as expected\n");
    }
    put(&fixture, "/proposed/20-new.policy", "svc * nobody\n");
    let output =
        tool(&fixture, &["policy", "lint", "--with", &fixture.path("/proposed").display().to_string()]);
    assert_eq!(error(&output), "qubes-admin: /etc/qubes/policy.d/20-new.policy:1: a rule needs five words\n");
}

/// A line of policy, and what the linter says of it; nothing where it is fine.
const LINT: [(&str, &str); 33] = [
    ("svc * test-vm1 test-net allow", ""),
    ("svc * @anyvm @default ask default_target=test-vm1", ""),
    ("svc * @tag:any @dispvm deny", ""),
    (
        "svc * uuid:00000000-0000-4000-8000-000000000009 test-net allow",
        "there is no qube uuid:00000000-0000-4000-8000-000000000009",
    ),
    ("svc * nosuch test-net allow", "there is no qube nosuch"),
    ("svc * test-vm1 nosuch allow", "there is no qube nosuch"),
    ("svc * test-vm1 test-net allow target=nosuch", "there is no qube nosuch"),
    ("svc * test-vm1 test-net ask default_target=nosuch", "there is no qube nosuch"),
    ("svc * a,b test-net allow", "a,b never matches: no qube has such a name"),
    ("svc * uuid:x test-net allow", "uuid:x never matches: no qube has such a name"),
    ("svc * $anyvm test-net allow", "$anyvm is taken as the name of a qube; did you mean @anyvm?"),
    ("svc * anyvm test-net allow", "anyvm is taken as the name of a qube; did you mean @anyvm?"),
    ("svc * $tag:x test-net allow", "$tag:x is taken as the name of a qube; did you mean @tag:x?"),
    (
        "svc * type:AppVM test-net allow",
        "type:AppVM is taken as the name of a qube; did you mean @type:AppVM?",
    ),
    ("svc * test-vm1 dispvm allow", "dispvm is taken as the name of a qube; did you mean @dispvm?"),
    ("svc * @type:Appvm test-net allow", "@type:Appvm never matches: there is no such class"),
    (
        "svc * test-vm1 @type:AdminVM allow",
        "@type:AdminVM does not match a call for @adminvm; @adminvm always does",
    ),
    ("svc * @tag:a.b test-net allow", "@tag:a.b never matches: no tag is written like that"),
    ("svc * @dispvm:test-vm1 test-net deny", "test-vm1 is no template of disposables"),
    (
        "svc * @dispvm:@tag:t test-net deny",
        "@dispvm:@tag:t never matches as a source: a disposable calls under its own name",
    ),
    ("svc * test-vm1 @dispvm:test-net allow", "test-net is no template of disposables"),
    ("svc * test-vm1 dom0 allow user=root", "user= means nothing for dom0"),
    (
        "svc * test-vm1 test-net allow target=dom0 autostart=no",
        "autostart=no means nothing for dom0, which always runs",
    ),
    ("svc * test-vm1 @dispvm allow autostart=no", "autostart=no refuses every new disposable"),
    (
        "svc * test-vm1 test-net ask target=test-net default_target=dom0",
        "default_target= is not used: target= leaves nothing else to choose",
    ),
    ("svc * test-vm1 test-vm1 allow", "never allows anything: no qube calls itself"),
    (
        "admin.vm.List * test-vm1 test-net allow",
        "goes to a service inside the target: without target=dom0 it does not reach dom0",
    ),
    ("admin.vm.List * test-vm1 @anyvm allow target=dom0", ""),
    ("admin.vm.List * test-vm1 @adminvm allow", ""),
    ("admin.vm.list * test-vm1 @adminvm allow", "there is no call admin.vm.list"),
    ("first + test-vm1 test-net deny", "never reached: /etc/qubes/policy.d/10-first.policy:1 decides before"),
    (
        "first * test-vm1 test-net allow",
        "never reached: /etc/qubes/policy.d/10-first.policy:1 decides before",
    ),
    ("first * test-vm1 dom0 allow", ""),
];

#[test]
fn the_linter_warns_of_what_the_engine_takes_silently() {
    let fixture = Fixture::new();
    fixture.policy("10-first.policy", "first * @anyvm @anyvm allow\n");
    for (line, expected) in LINT {
        fixture.policy("30-user.policy", &format!("# of the user\n{line}\n"));
        let output = tool(&fixture, &["policy", "lint"]);
        let told = text(&output);
        if expected.is_empty() {
            assert_eq!(told, "nothing to warn of\n", "{line}");
            continue;
        }
        let expected = format!("/etc/qubes/policy.d/30-user.policy:2: warning: {expected}");
        assert!(told.lines().any(|line| line == expected), "{line}: {told}");
        assert!(error(&output).contains("warning"));
    }
}

#[test]
fn the_linter_warns_of_files_that_are_not_read() {
    let fixture = Fixture::new();
    fixture.policy("README", "how it goes\n");
    fixture.policy("30-user.policy", "!include-service svc * include/used\n");
    fixture.policy("30-user.policy.rpmnew", "");
    // What a change of ours has for a moment.
    fixture.policy(".30-user.policy+1+0", "");
    put(&fixture, "/etc/qubes/policy.d/include/.used+1+0", "");
    fixture.policy("40-hidden.policy", "");
    put(&fixture, "/run/qubes/policy.d/40-hidden.policy", "");
    put(&fixture, "/etc/qubes/policy.d/include/used", "");
    put(&fixture, "/etc/qubes/policy.d/include/forgotten", "");
    let output = tool(&fixture, &["policy", "lint", "--without-qubes"]);
    let expected = "/etc/qubes/policy.d/30-user.policy.rpmnew: warning: not read, as its name does not end in .policy\n\
        /etc/qubes/policy.d/40-hidden.policy: warning: not read: one in /run has the same name\n\
        /etc/qubes/policy.d/include/forgotten: warning: nothing includes this file\n";
    assert_eq!(text(&output), expected);
    assert_eq!(error(&output), "qubes-admin: 3 warnings\n");
}

#[test]
fn the_linter_finds_nothing_in_what_is_installed() {
    let fixture = Fixture::new();
    let installed = concat!(env!("CARGO_MANIFEST_DIR"), "/../rpc-config/policy.d");
    let output = tool(&fixture, &["policy", "lint", "--with", installed]);
    assert_eq!(text(&output), "nothing to warn of\n");
}

#[test]
fn every_example_meets_its_expectations() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("rpc-config");
    let installed = top.join("policy.d").display().to_string();
    let examples: Vec<_> =
        std::fs::read_dir(top.join("examples")).unwrap().map(|it| it.unwrap().path()).collect();
    assert!(examples.len() >= 3);
    for example in examples {
        let fixture = Fixture::new();
        let (table, files) =
            (example.join("expectations").display().to_string(), example.display().to_string());
        let with = ["--with", &files, "--with", &installed];
        let output = tool(&fixture, &[&["policy", "test", &table], &with[..]].concat());
        assert!(output.status.success(), "{}{}", text(&output), String::from_utf8_lossy(&output.stderr));
        // Without it nothing of it is allowed.
        let output = tool(&fixture, &["policy", "test", &table, "--with", &installed]);
        assert!(error(&output).ends_with("decisions not as expected\n"));
        let output = tool(&fixture, &[&["policy", "lint", "--without-qubes"], &with[..]].concat());
        assert_eq!(text(&output), "nothing to warn of\n");
    }
}

#[test]
fn every_call_is_in_the_group_that_administrators_know_it_in() {
    let generated = include_str!("../../rpc-config/policy.d/90-admin-default.policy");
    let mut served = 0;
    for line in GROUPS.lines().filter(|line| !line.starts_with('#')) {
        let (group, calls) = line.split_once(' ').unwrap();
        for call in calls.split(' ') {
            let lines: Vec<&str> =
                generated.lines().filter(|line| line.split(' ').nth(1) == Some(call)).collect();
            let expected = format!("!include-service {call} * include/{group}");
            assert!(lines.is_empty() || lines == [expected.as_str()], "{call}: {lines:?}");
            served += lines.len();
        }
    }
    assert!(served >= 121, "{served} calls");
}
