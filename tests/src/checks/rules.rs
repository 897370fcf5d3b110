//! Firewall rules: what is accepted prints and reads back the same, and tells a netvm nothing that is no rule.

use std::time::{Duration, UNIX_EPOCH};

use common::names::{Family, Rule};

pub(super) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(rule) = Rule::parse(text) {
        check_rule(&rule);
    }
    if let Ok(rules) = Rule::parse_all(text) {
        let printed: String = rules.iter().map(|rule| format!("{rule}\n")).collect();
        assert_eq!(Rule::parse_all(&printed), Ok(rules));
    }
}

fn check_rule(rule: &Rule) {
    let printed = rule.to_string();
    assert_eq!(Rule::parse(&printed).as_ref(), Ok(rule));
    assert!(printed.len() <= 3072 && printed.starts_with("action="), "{printed}");
    assert!(printed.bytes().all(|byte| byte == b' ' || byte == b'=' || byte.is_ascii_graphic()), "{printed}");
    let told = [Family::Ip4, Family::Ip6].map(|family| rule.for_netvm(family));
    assert!(told.iter().any(Option::is_some));
    for text in told.into_iter().flatten() {
        let again = Rule::parse(&text).unwrap();
        assert_eq!(again.to_string(), text);
        assert!(again.ends().is_none() && again.accepts() == rule.accepts());
    }
    if let Some(end) = rule.ends() {
        assert!(!rule.holds_at(end) && rule.holds_at(end - Duration::from_nanos(1)));
        assert!(end > UNIX_EPOCH);
    }
}
