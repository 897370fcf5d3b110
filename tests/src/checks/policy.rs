//! Policy files and decisions: layout does not matter, a refusing first rule wins, nothing is allowed without rules.

use std::cell::OnceCell;
use std::path::Path;

use common::model::Class;
use common::names::{Endpoints, PolicyName, PolicyText, RegisteredArgument, ServiceCall, ServiceName};
use common::policy::{self, Action, Policy, Question, Reason, Rule, SystemInfo, Verdict};
use common::root::Root;
use common::untrusted::Untrusted;

use super::names::{accepted, is_path_component, is_word};

/// The bytes are up to three files: a complete one, one to include, and one of the 4.0 format.
pub(super) const FILES: [&str; 3] =
    ["etc/qubes/policy.d/30-main.policy", "etc/qubes/policy.d/include/more", "etc/qubes-rpc/policy/svc+arg"];
const SEPARATOR: char = '\x1c';

thread_local! {
    static FOLDER: OnceCell<tempfile::TempDir> = const { OnceCell::new() };
}

pub(super) fn check(bytes: &[u8]) {
    check_words(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if leads_outside(text) {
        return;
    }
    FOLDER.with(|folder| {
        let folder = folder.get_or_init(new_folder).path();
        let files: Vec<&str> = text.split(SEPARATOR).collect();
        let Some(policy) = load(folder, &files) else { return };
        let laid_out: Vec<String> = files.iter().map(|file| in_another_layout(file)).collect();
        let laid_out: Vec<&str> = laid_out.iter().map(String::as_str).collect();
        assert_eq!(shown(&load(folder, &laid_out).unwrap()), shown(&policy));
        check_decisions(folder, &files, &policy);
    });
}

/// What calls on policy are given: names are safe, and all else reads back.
fn check_words(bytes: &[u8]) {
    assert!(accepted(bytes, PolicyName::as_str).is_none_or(|name| is_path_component(&name)));
    for word in [accepted(bytes, ServiceName::as_str), accepted(bytes, RegisteredArgument::as_str)] {
        assert!(word.is_none_or(|word| is_word(&word)));
    }
    let untrusted = |bytes: &[u8]| Untrusted::new(bytes.to_vec());
    if let Ok(call) = untrusted(bytes).sanitise::<ServiceCall>() {
        let text = format!("{}{}", call.service, call.argument);
        assert_eq!(untrusted(text.as_bytes()).sanitise(), Ok(call));
    }
    if let Ok(ends) = untrusted(bytes).sanitise::<Endpoints>() {
        let words = [Some(&ends.source), Some(&ends.target), ends.relay.as_ref()];
        let words: Vec<&str> = words.into_iter().flatten().map(String::as_str).collect();
        assert_eq!(words.join("\0").as_bytes(), bytes);
    }
    if let Ok(PolicyText { token, content }) = untrusted(bytes).sanitise() {
        let line = &bytes[..bytes.len() - content.len() - 1];
        assert!(bytes.ends_with(&content) && !line.contains(&b'\n'));
        assert_eq!(untrusted(line).sanitise(), Ok(token));
    }
}

pub(super) fn new_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["run/qubes/policy.d", "etc/qubes/policy.d/include", "etc/qubes-rpc/policy"] {
        std::fs::create_dir_all(folder.path().join(name)).unwrap();
    }
    folder
}

/// Includes are the administrator's and may name any file; here they stay in the folder.
fn leads_outside(text: &str) -> bool {
    let mut words = text.split(|character: char| character.is_whitespace() || character == ':');
    words.any(|word| word.starts_with('/') || word.contains(".."))
}

fn load(folder: &Path, files: &[&str]) -> Option<Policy> {
    for (index, path) in FILES.into_iter().enumerate() {
        std::fs::write(folder.join(path), files.get(index).unwrap_or(&"")).unwrap();
    }
    Policy::load(&Root::at(folder)).ok()
}

/// The rules, wherever they stand.
fn shown(policy: &Policy) -> Vec<String> {
    policy.rules().iter().map(ToString::to_string).collect()
}

/// The same lines with other white space, comments and empty lines.
fn in_another_layout(file: &str) -> String {
    let mut text = String::from("# first\n\n");
    for line in file.split(['\n', '\r']) {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        text.push_str(&format!("\t {} \n  # again\n\n", words.join("  ")));
    }
    text
}

fn check_decisions(folder: &Path, files: &[&str], policy: &Policy) {
    let denied = format!("* * * * deny\n{}", files.first().unwrap_or(&""));
    let mut all = files.to_vec();
    all[0] = &denied;
    let denying = load(folder, &all).unwrap();
    policy::lint(policy, Some(&Three));
    for service in ["admin.vm.List", "svc", "other"] {
        for argument in ["+", "+arg"] {
            for source in ["work", "dom0", "uuid:2", "nosuch"] {
                for target in ["work", "dom0", "@default", "@dispvm", "@dispvm:base", "@adminvm", "", "@x"] {
                    let question = Question { service, argument, source, target, relay: None };
                    check_decision(policy, &question);
                    assert!(!denying.may_allow(&Three, &question));
                }
            }
        }
    }
}

/// Only a rule allows or asks, one that does so, and nobody is sent back to itself; a refusal has its reason.
fn check_decision(policy: &Policy, question: &Question<'_>) {
    let decision = policy.decide(&Three, question);
    let action = decision.rule.map(Rule::action);
    match decision.verdict {
        Verdict::Allow(place) => {
            assert_eq!(action, Some(Action::Allow));
            assert!(place.target != question.source && !place.target.is_empty());
        }
        Verdict::Ask { candidates, default } => {
            assert_eq!(action, Some(Action::Ask));
            assert!(!candidates.is_empty() && !candidates.iter().any(|target| target == question.source));
            assert!(default.is_none_or(|target| candidates.contains(&target)));
        }
        Verdict::Deny(reason) => {
            assert_eq!(action == Some(Action::Deny), reason == Reason::Rule);
            assert!(!reason.to_string().is_empty());
        }
    }
}

/// A system of dom0, `work` with the tag `t` and UUID 2, and `base`, a template of disposables.
pub(super) struct Three;

impl SystemInfo for Three {
    fn names(&self) -> Vec<String> {
        ["dom0", "base", "work"].map(str::to_owned).to_vec()
    }

    fn class(&self, name: &str) -> Option<Class> {
        match name {
            "dom0" => Some(Class::AdminVM),
            "work" | "base" => Some(Class::AppVM),
            _ => None,
        }
    }

    fn has_tag(&self, name: &str, tag: &str) -> bool {
        name == "work" && tag == "t"
    }

    fn is_template_for_dispvms(&self, name: &str) -> bool {
        name == "base"
    }

    fn default_dispvm(&self, name: &str) -> Option<String> {
        (name == "work").then(|| "base".to_owned())
    }

    fn name_of_uuid(&self, uuid: &str) -> Option<String> {
        (uuid == "2").then(|| "work".to_owned())
    }

    fn is_running(&self, name: &str) -> bool {
        name == "work"
    }

    fn is_internal(&self, _: &str) -> bool {
        false
    }

    fn guivm(&self, name: &str) -> Option<String> {
        (name == "work").then(|| "dom0".to_owned())
    }

    fn relayvm(&self, _: &str) -> Option<String> {
        None
    }

    fn transport_rpc(&self, _: &str) -> Option<String> {
        None
    }
}
