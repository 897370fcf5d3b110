//! Reading policy files: today's format and the older one of included service files (spec 50 §13.2, §19).

use std::path::{Path, PathBuf};

use super::{Action, PolicyError, Rule, Token, policy_files};
use crate::files;
use crate::root::Root;

/// How deep includes may nest; a file that includes itself is refused like any other error.
const DEPTH: usize = 20;

/// Which rules the lines of a file are: complete ones, or those of one service and argument.
#[derive(Clone)]
enum Lines {
    Complete,
    Of { service: Option<String>, argument: Option<String> },
}

/// What included paths count from: the directory of the top-level file, or the root if they are absolute.
#[derive(Clone, Copy)]
struct Base<'a> {
    root: &'a Root,
    directory: &'a Path,
}

impl Base<'_> {
    fn path(self, included: &str) -> PathBuf {
        if included.starts_with('/') { self.root.path(included) } else { self.directory.join(included) }
    }
}

/// Adds the rules of a top-level file.
pub(super) fn file(root: &Root, path: &Path, rules: &mut Vec<Rule>) -> Result<(), PolicyError> {
    let base = Base { root, directory: path.parent().unwrap_or(path) };
    read(path, base, &Lines::Complete, DEPTH, rules)
}

fn read(
    path: &Path,
    base: Base<'_>,
    lines: &Lines,
    depth: usize,
    rules: &mut Vec<Rule>,
) -> Result<(), PolicyError> {
    let unreadable = |source| PolicyError::Unreadable { path: path.to_path_buf(), source };
    let bytes = files::read(path).map_err(unreadable)?;
    let syntax = |line: usize, text| PolicyError::Syntax { path: path.to_path_buf(), line, text };
    let text = String::from_utf8(bytes).map_err(|_| syntax(0, "not UTF-8"))?;
    let depth = depth.checked_sub(1).ok_or_else(|| syntax(0, "includes nest too deep"))?;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let at = |text| syntax(number.saturating_add(1), text);
        match lines {
            Lines::Complete if line.starts_with('!') => directive(line, base, depth, rules, &at)?,
            Lines::Complete => rules.push(rule(line).map_err(at)?),
            Lines::Of { .. } => old_line(line, base, lines, depth, rules, &at)?,
        }
    }
    Ok(())
}

fn directive(
    line: &str,
    base: Base<'_>,
    depth: usize,
    rules: &mut Vec<Rule>,
    at: &dyn Fn(&'static str) -> PolicyError,
) -> Result<(), PolicyError> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    match words.as_slice() {
        ["!include", path] => read(&base.path(path), base, &Lines::Complete, depth, rules),
        ["!include-dir", path] => {
            let directory = base.path(path);
            for name in policy_files(&directory)? {
                read(&directory.join(name), base, &Lines::Complete, depth, rules)?;
            }
            Ok(())
        }
        ["!include-service", service, argument, path] => {
            let (service, argument) = call(service, argument).map_err(at)?;
            read(&base.path(path), base, &Lines::Of { service, argument }, depth, rules)
        }
        ["!compat-4.0"] => compat(base, rules),
        _ => Err(at("unknown directive")),
    }
}

/// The directory of the 4.0 format, which may be missing.
fn compat(base: Base<'_>, rules: &mut Vec<Rule>) -> Result<(), PolicyError> {
    let directory = base.root.path("/etc/qubes-rpc/policy");
    let base = Base { directory: &directory, ..base };
    let unreadable = |source| PolicyError::Unreadable { path: directory.clone(), source };
    let is_ours = |name: &String| {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._+".contains(&byte);
        let kept = [".rpmsave", ".rpmnew", ".swp"].iter().all(|suffix| !name.ends_with(suffix));
        kept && !name.starts_with('.') && name.bytes().all(legal) && directory.join(name).is_file()
    };
    let mut names: Vec<String> =
        files::list(&directory).map_err(unreadable)?.into_iter().filter(is_ours).collect();
    names.sort_by_key(|name| match name.split_once('+') {
        Some((service, argument)) => (service.to_owned(), false, argument.to_owned()),
        None => (name.clone(), true, String::new()),
    });
    for name in names {
        let (service, argument) = match name.split_once('+') {
            Some((service, argument)) => (service.to_owned(), Some(format!("+{argument}"))),
            None => (name.clone(), None),
        };
        let lines = Lines::Of { service: Some(service.clone()), argument: argument.clone() };
        read(&directory.join(&name), base, &lines, DEPTH, rules)?;
        if argument.is_some() {
            rules.extend([Token::AnyVm, Token::AdminVm].map(|target| Rule {
                service: Some(service.clone()),
                argument: argument.clone(),
                source: Token::AnyVm,
                target,
                action: Action::Deny,
                redirect: None,
                autostart: true,
            }));
        }
    }
    Ok(())
}

/// `SERVICE ARGUMENT SOURCE TARGET ACTION [PARAM…]`.
fn rule(line: &str) -> Result<Rule, &'static str> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [service, argument, source, target, action, parameters @ ..] = words.as_slice() else {
        return Err("a rule needs five words");
    };
    let (service, argument) = call(service, argument)?;
    build(service, argument, source, target, action, parameters)
}

fn build(
    service: Option<String>,
    argument: Option<String>,
    source: &str,
    target: &str,
    action: &str,
    parameters: &[&str],
) -> Result<Rule, &'static str> {
    let source = Token::parse(source, false).ok_or("invalid source")?;
    let target = Token::parse(target, true).ok_or("invalid target")?;
    let action = match action {
        "allow" => Action::Allow,
        "ask" => Action::Ask,
        "deny" => Action::Deny,
        _ => return Err("invalid action"),
    };
    let given = check_parameters(action, parameters)?;
    let value = |key| given.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
    let redirect = value("target").map(str::to_owned);
    if action == Action::Allow && target == Token::Default && redirect.is_none() {
        return Err("allow for @default needs target=");
    }
    let autostart = value("autostart") != Some("no");
    Ok(Rule { service, argument, source, target, action, redirect, autostart })
}

/// Service and argument columns; the star is nothing.
fn call(service: &str, argument: &str) -> Result<(Option<String>, Option<String>), &'static str> {
    let legal = |text: &str, extra: &[u8]| {
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || extra.contains(&byte))
    };
    match (service, argument) {
        ("*", "*") => Ok((None, None)),
        ("*", _) => Err("service * needs argument *"),
        _ if !legal(service, b"-._") => Err("invalid service"),
        (_, "*") => Ok((Some(service.to_owned()), None)),
        _ if argument.starts_with('+') && legal(argument, b"-._+") => {
            Ok((Some(service.to_owned()), Some(argument.to_owned())))
        }
        _ => Err("invalid argument"),
    }
}

/// Checks parameters and gives them back with their values.
fn check_parameters<'a>(
    action: Action,
    parameters: &[&'a str],
) -> Result<Vec<(&'a str, &'a str)>, &'static str> {
    let allowed: &[&str] = match action {
        Action::Allow => &["target", "user", "autostart", "notify"],
        Action::Ask => &["target", "default_target", "user", "autostart", "notify"],
        Action::Deny => &["notify"],
    };
    let mut given = Vec::new();
    for parameter in parameters {
        let (key, value) = parameter.split_once('=').ok_or("parameter without =")?;
        let is_switch = matches!(key, "autostart" | "notify");
        if !allowed.contains(&key) {
            return Err("unknown parameter");
        } else if given.iter().any(|(name, _)| *name == key) {
            return Err("parameter given twice");
        } else if is_switch && !matches!(value, "yes" | "no") {
            return Err("neither yes nor no");
        } else if matches!(key, "target" | "default_target") && !is_redirect(value) {
            return Err("invalid redirect");
        }
        given.push((key, value));
    }
    Ok(given)
}

/// A qube, dom0, or a disposable: what a call may be redirected to.
fn is_redirect(value: &str) -> bool {
    let token = Token::parse(value, true);
    matches!(token, Some(Token::Qube(_) | Token::AdminVm | Token::DispVm | Token::DispVmOf(_)))
}

/// `SOURCE TARGET ACTION[,PARAM…]`, or an include for the same service.
fn old_line(
    line: &str,
    base: Base<'_>,
    lines: &Lines,
    depth: usize,
    rules: &mut Vec<Rule>,
    at: &dyn Fn(&'static str) -> PolicyError,
) -> Result<(), PolicyError> {
    let Lines::Of { service, argument } = lines else { return Ok(()) };
    let line = line.replace('$', "@");
    let included = line.strip_prefix("@include:").or_else(|| line.strip_prefix("!include "));
    if let Some(path) = included {
        return read(&base.path(path.trim()), base, lines, depth, rules);
    }
    let separators = |character: char| character == ',' || character.is_ascii_whitespace();
    let words: Vec<&str> = line.split(separators).filter(|word| !word.is_empty()).collect();
    let [source, target, action, parameters @ ..] = words.as_slice() else {
        return Err(at("a rule needs three words"));
    };
    let rule = build(service.clone(), argument.clone(), source, target, action, parameters).map_err(at)?;
    rules.push(rule);
    Ok(())
}
