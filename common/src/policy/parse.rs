//! Reading policy files in today's format (spec 50 §13.2).

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::source::Source;
use super::{Action, Origin, PolicyError, Rule, Token, base_of, old};

/// How deep includes may nest.
const DEPTH: usize = 20;
/// How many files may be included in all: so many that nobody meets it but files that include each other many times over.
const INCLUDES: usize = 10_000;

/// What words are separated by.
const BLANKS: [char; 2] = [' ', '\t'];

/// Service and argument columns; none stands for all.
pub(super) type Columns = (Option<String>, Option<String>);

/// Adds the rules of a top-level file.
pub(super) fn file(source: &mut Source<'_>, path: &Path, rules: &mut Vec<Rule>) -> Result<(), PolicyError> {
    let mut reader = Reader::new(source, base_of(path), rules);
    reader.read(path, &complete)
}

/// Reads a file as one that is included.
pub(super) fn included(source: &mut Source<'_>, base: &Path, path: &Path) -> Result<(), PolicyError> {
    Reader::new(source, base, &mut Vec::new()).read(path, &complete)
}

/// What reads one line that is neither empty nor a comment.
pub(super) type ReadLine<'f> = dyn Fn(&mut Reader<'_, '_>, &str, &Origin) -> Result<(), PolicyError> + 'f;

/// Reads a top-level file and what it includes.
pub(super) struct Reader<'a, 's> {
    source: &'a mut Source<'s>,
    /// What included paths count from.
    base: &'a Path,
    rules: &'a mut Vec<Rule>,
    /// The files being read, each included by the one before.
    open: Vec<PathBuf>,
    /// How many files may still be read.
    left: usize,
}

impl<'a, 's> Reader<'a, 's> {
    pub(super) fn new(source: &'a mut Source<'s>, base: &'a Path, rules: &'a mut Vec<Rule>) -> Self {
        Self { source, base, rules, open: Vec::new(), left: INCLUDES }
    }

    /// Reads a file line by line.
    pub(super) fn read(&mut self, path: &Path, line: &ReadLine<'_>) -> Result<(), PolicyError> {
        let shown = self.source.shown(path);
        self.enter(path).map_err(|text| syntax(&Origin::new(&shown, 0), text))?;
        let bytes = self.source.read(path)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| syntax(&Origin::new(&shown, 0), "not UTF-8"))?;
        for (number, content) in lines(text).enumerate() {
            let content = content.trim_matches(BLANKS);
            if !content.is_empty() && !content.starts_with('#') {
                let at = Origin::new(&shown, number.saturating_add(1));
                if content.contains(is_odd_blank) {
                    return Err(syntax(&at, "a blank that is neither space nor tab"));
                }
                line(self, content, &at)?;
            }
        }
        self.open.pop();
        Ok(())
    }

    fn enter(&mut self, path: &Path) -> Result<(), &'static str> {
        self.left = self.left.checked_sub(1).ok_or("too many files are included")?;
        if self.open.iter().any(|open| open == path) {
            return Err("the file includes itself");
        } else if self.open.len() >= DEPTH {
            return Err("includes nest too deep");
        }
        self.open.push(path.to_owned());
        Ok(())
    }

    /// Reads a file that a line includes, which is an error of the line where there is none.
    pub(super) fn include(
        &mut self,
        path: &str,
        line: &ReadLine<'_>,
        at: &Origin,
    ) -> Result<(), PolicyError> {
        let path = self.path(path);
        self.read(&path, line).map_err(|error| included_at(at, error))
    }

    fn path(&self, included: &str) -> PathBuf {
        if included.starts_with('/') { self.source.root.path(included) } else { self.base.join(included) }
    }

    fn include_directory(&mut self, path: &str, at: &Origin) -> Result<(), PolicyError> {
        let directory = self.path(path);
        let names = self.source.policy_files(&directory).map_err(|error| included_at(at, error))?;
        for name in names {
            self.read(&directory.join(name), &complete)?;
        }
        Ok(())
    }

    pub(super) fn add(&mut self, rule: Rule) {
        self.rules.push(rule);
    }
}

/// The lines of a file, which end as they do for the engine: a carriage return alone ends one, too.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

/// Whether words end there for the engine, though nobody need see it.
fn is_odd_blank(character: char) -> bool {
    !BLANKS.contains(&character) && (character.is_whitespace() || matches!(character, '\x1c'..='\x1f'))
}

/// What is wrong inside an included file is told there; what is wrong with including it, at the line that does.
fn included_at(at: &Origin, error: PolicyError) -> PolicyError {
    match error {
        PolicyError::Unreadable { .. } => {
            PolicyError::Included { path: at.file().into(), line: at.line(), cause: Box::new(error) }
        }
        other => other,
    }
}

pub(super) fn syntax(at: &Origin, text: &'static str) -> PolicyError {
    PolicyError::Syntax { path: at.file().into(), line: at.line(), text }
}

/// A line of today's format.
fn complete(reader: &mut Reader<'_, '_>, line: &str, at: &Origin) -> Result<(), PolicyError> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    match words.as_slice() {
        ["!include", path] => reader.include(path, &complete, at),
        ["!include-dir", path] => reader.include_directory(path, at),
        ["!include-service", service, argument, path] => {
            let columns = columns(service, argument).map_err(|text| syntax(at, text))?;
            reader.include(path, &old::lines_of(&columns), at)
        }
        ["!compat-4.0"] => old::compat(reader.source, reader.rules),
        [directive, ..] if directive.starts_with('!') => Err(syntax(at, "unknown directive")),
        words => {
            reader.add(rule(words, at).map_err(|text| syntax(at, text))?);
            Ok(())
        }
    }
}

/// `SERVICE ARGUMENT SOURCE TARGET ACTION [PARAM…]`.
fn rule(words: &[&str], at: &Origin) -> Result<Rule, &'static str> {
    let [service, argument, rest @ ..] = words else { return Err("a rule needs five words") };
    let columns = columns(service, argument)?;
    build(&columns, rest, at)?.ok_or("a rule needs five words")
}

/// The rule of `SOURCE TARGET ACTION [PARAM…]`; nothing where a word is missing.
pub(super) fn build(
    (service, argument): &Columns,
    words: &[&str],
    at: &Origin,
) -> Result<Option<Rule>, &'static str> {
    let [source, target, action, parameters @ ..] = words else { return Ok(None) };
    let source = Token::parse(source, false).ok_or("invalid source")?;
    let target = Token::parse(target, true).ok_or("invalid target")?;
    let action = Action::parse(action).ok_or("invalid action")?;
    let given = check_parameters(action, parameters)?;
    let value = |key| given.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
    let text = |key| value(key).map(str::to_owned);
    if action == Action::Allow && target == Token::Default && value("target").is_none() {
        return Err("allow for @default needs target=");
    }
    Ok(Some(Rule {
        origin: at.clone(),
        service: service.clone(),
        argument: argument.clone(),
        source,
        target,
        action,
        redirect: text("target"),
        default_target: text("default_target"),
        user: text("user"),
        autostart: value("autostart") != Some("no"),
        notify: value("notify").map(|value| value == "yes"),
    }))
}

/// Service and argument columns; the star is nothing.
fn columns(service: &str, argument: &str) -> Result<Columns, &'static str> {
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
    let mut given: Vec<(&str, &str)> = Vec::new();
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

/// The one rule that a file implies as a whole.
pub(super) fn implied(file: &Rc<str>, columns: &Columns, target: Token) -> Rule {
    let (service, argument) = columns.clone();
    Rule {
        origin: Origin::new(file, 0),
        service,
        argument,
        source: Token::AnyVm,
        target,
        action: Action::Deny,
        redirect: None,
        default_target: None,
        user: None,
        autostart: true,
        notify: None,
    }
}
