//! What the engine takes silently although it means nothing, or not what its author thought.

use std::fmt;

use super::{Action, Origin, Policy, Rule, SystemInfo, Token};
use crate::model::Class;
use crate::names::{QubeName, QubeUuid, TagName};

/// Something to look at again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The rule.
    pub origin: Origin,
    /// What is the matter with it.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: warning: {}", self.origin, self.text)
    }
}

/// Looks at every rule. Which qubes there are is looked at where that is known.
pub fn lint(policy: &Policy, system: Option<&dyn SystemInfo>) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (number, rule) in policy.rules.iter().enumerate() {
        let earlier = policy.rules.get(..number).unwrap_or_default();
        let texts = about_columns(rule, system)
            .into_iter()
            .chain(about_parameters(rule, system))
            .chain(about_effect(rule))
            .chain(covered(rule, earlier));
        warnings.extend(texts.map(|text| Warning { origin: rule.origin.clone(), text }));
    }
    warnings
}

/// An earlier rule that leaves this one nothing. What a file implies as a whole is nobody's mistake.
fn covered(rule: &Rule, earlier: &[Rule]) -> Option<String> {
    let covers = |whole: &Option<String>, part: &Option<String>| whole.is_none() || whole == part;
    let hides = |first: &&Rule| {
        covers(&first.service, &rule.service)
            && covers(&first.argument, &rule.argument)
            && first.source.covers(&rule.source)
            && first.target.covers(&rule.target)
    };
    let first = earlier.iter().find(hides).filter(|_| rule.origin.line() != 0)?;
    Some(format!("never reached: {} decides before", first.origin))
}

fn about_columns(rule: &Rule, system: Option<&dyn SystemInfo>) -> Vec<String> {
    let mut texts: Vec<String> =
        [&rule.source, &rule.target].into_iter().filter_map(|token| about_token(token, system)).collect();
    if matches!(rule.source, Token::DispVmOf(_) | Token::DispVmTagged(_)) {
        texts.push(format!(
            "{} never matches as a source: a disposable calls under its own name",
            rule.source
        ));
    }
    texts
}

fn about_token(token: &Token, system: Option<&dyn SystemInfo>) -> Option<String> {
    match token {
        Token::Qube(name) => about_name(name, system),
        Token::DispVmOf(base) => about_name(base, system).or_else(|| {
            let is_base = system?.is_template_for_dispvms(&super::token::canonical(system?, base));
            (!is_base).then(|| format!("{base} is no template of disposables"))
        }),
        Token::Class(class) => match Class::parse(class) {
            None => Some(format!("{token} never matches: there is no such class")),
            Some(Class::AdminVM) => {
                Some(format!("{token} does not match a call for @adminvm; @adminvm always does"))
            }
            Some(_) => None,
        },
        Token::Tag(tag) | Token::DispVmTagged(tag) => {
            TagName::parse(tag).err().map(|_| format!("{token} never matches: no tag is written like that"))
        }
        _ => None,
    }
}

/// Words that mean something with `@` before them.
const KEYWORDS: [&str; 4] = ["adminvm", "anyvm", "default", "dispvm"];

fn about_name(name: &str, system: Option<&dyn SystemInfo>) -> Option<String> {
    let bare = name.trim_start_matches('$');
    let keyword = bare.split(':').next().unwrap_or_default();
    let is_keyword =
        KEYWORDS.contains(&bare) || ["dispvm", "tag", "type"].contains(&keyword) && bare != keyword;
    if is_keyword {
        return Some(format!("{name} is taken as the name of a qube; did you mean @{bare}?"));
    }
    let is_possible = match name.strip_prefix("uuid:") {
        Some(uuid) => QubeUuid::parse(uuid).is_ok(),
        None => QubeName::parse(name).is_ok(),
    };
    if !is_possible {
        return Some(format!("{name} never matches: no qube has such a name"));
    }
    let system = system?;
    let is_known = match name.strip_prefix("uuid:") {
        Some(uuid) => system.name_of_uuid(uuid).is_some(),
        None => system.class(name).is_some(),
    };
    (!is_known).then(|| format!("there is no qube {name}"))
}

fn about_parameters(rule: &Rule, system: Option<&dyn SystemInfo>) -> Vec<String> {
    let redirect = rule.redirect.as_deref().and_then(|word| Token::parse(word, true));
    let offered = rule.default_target.as_deref().and_then(|word| Token::parse(word, true));
    let mut texts: Vec<String> =
        redirect.iter().chain(&offered).filter_map(|token| about_token(token, system)).collect();
    let place = redirect.as_ref().unwrap_or(&rule.target);
    let is_disposable = matches!(place, Token::DispVm | Token::DispVmOf(_) | Token::DispVmTagged(_));
    if *place == Token::AdminVm && rule.user.is_some() {
        texts.push("user= means nothing for dom0".to_owned());
    }
    if *place == Token::AdminVm && !rule.autostart {
        texts.push("autostart=no means nothing for dom0, which always runs".to_owned());
    }
    if is_disposable && !rule.autostart {
        texts.push("autostart=no refuses every new disposable".to_owned());
    }
    if redirect.is_some() && offered.is_some() && redirect != offered {
        texts.push("default_target= is not used: target= leaves nothing else to choose".to_owned());
    }
    texts
}

/// Rules that allow what can never be, or what was not meant.
fn about_effect(rule: &Rule) -> Option<String> {
    if rule.action == Action::Deny || rule.redirect.is_some() {
        return None;
    }
    let is_loopback =
        matches!((&rule.source, &rule.target), (Token::Qube(from), Token::Qube(to)) if from == to);
    let is_for_dom0 = rule.service().is_some_and(|service| service.starts_with("admin."));
    if is_loopback {
        Some("never allows anything: no qube calls itself".to_owned())
    } else if is_for_dom0 && rule.target != Token::AdminVm {
        Some("goes to a service inside the target: without target=dom0 it does not reach dom0".to_owned())
    } else {
        None
    }
}
