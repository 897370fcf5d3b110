//! Questions to policy: `policy.Eval` and its shorter forms.

use super::{call_as, ok, refused, system};
use common::model::{Class, Value};
use common::names::TagName;

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
