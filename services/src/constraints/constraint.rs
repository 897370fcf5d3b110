//! One constraint: whom it is about, which of their calls, and what must hold.

use super::pattern::Pattern;
use super::reader::{Entry, Error, Table, Value};
use super::sets::{KINDS, Kind};
use super::who::Who;
use common::quota::Quota;

/// What a constraint lists, and in which line.
#[derive(Debug)]
pub(super) struct Listed<T> {
    pub(super) line: usize,
    pub(super) all: Vec<T>,
}

/// The values that a key allows.
pub(super) struct Rule {
    pub(super) kind: &'static Kind,
    /// Of which names the values are; all where the key has none.
    pub(super) name: Pattern,
    pub(super) values: Listed<Pattern>,
}

/// A constraint.
#[derive(Default)]
pub(super) struct Constraint {
    pub(super) file: String,
    pub(super) line: usize,
    /// Whom it is about; everyone where that cannot be read.
    callers: Option<Vec<Who>>,
    /// Which calls; all where none are told.
    calls: Option<Vec<Pattern>>,
    pub(super) rules: Vec<Rule>,
    /// The qubes there are for the callers.
    pub(super) qubes: Option<Listed<Who>>,
    /// The events they see.
    pub(super) events: Option<Vec<Pattern>>,
    pub(super) quota: Quota,
    /// What is wrong with it: then it denies whatever it is about.
    pub(super) error: Option<Error>,
}

impl Constraint {
    /// What a table means.
    pub(super) fn of(file: &str, table: Table) -> Self {
        let mut constraint =
            Self { file: file.to_owned(), line: table.line, error: table.error, ..Self::default() };
        for Entry { line, key, value } in table.entries {
            let key: Vec<&str> = key.iter().map(String::as_str).collect();
            if let Err(text) = constraint.take(line, &key, value) {
                constraint.error.get_or_insert(Error { line, text });
            }
        }
        if let (None, Some(text)) = (constraint.error, constraint.what_is_missing()) {
            constraint.error = Some(Error { line: table.line, text });
        }
        constraint
    }

    fn take(&mut self, line: usize, key: &[&str], value: Value) -> Result<(), &'static str> {
        match (key, value) {
            (["callers"], Value::Texts(words)) => self.callers = Some(some(callers(&words)?)?),
            (["calls"], Value::Texts(words)) => self.calls = Some(some(patterns(&words)?)?),
            (["events"], Value::Texts(words)) => self.events = Some(patterns(&words)?),
            (["qubes"], Value::Texts(words)) => self.qubes = Some(Listed { line, all: qubes(&words)? }),
            (["max-qubes"], Value::Number(most)) => self.quota.qubes = most,
            (["max-bytes"], Value::Number(most)) => self.quota.bytes = most,
            ([key], Value::Texts(words)) => self.rule(line, key, None, &words)?,
            ([key, name], Value::Texts(words)) => self.rule(line, key, Some(name), &words)?,
            _ => return Err("an unknown key, or a value of the wrong kind"),
        }
        Ok(())
    }

    fn rule(
        &mut self,
        line: usize,
        key: &str,
        name: Option<&str>,
        words: &[String],
    ) -> Result<(), &'static str> {
        let kind = KINDS.iter().find(|kind| kind.key == key && kind.is_named == name.is_some());
        let kind = kind.ok_or("an unknown key, or a value of the wrong kind")?;
        let name = Pattern::parse(name.unwrap_or_default())?;
        if matches!(&name, Pattern::Exact(name) if !(kind.exists)(name)) {
            return Err("an unknown property");
        }
        self.rules.push(Rule { kind, name, values: Listed { line, all: patterns(words)? } });
        Ok(())
    }

    fn what_is_missing(&self) -> Option<&'static str> {
        let restricts = self.qubes.is_some() || self.events.is_some() || self.quota.is_limited();
        match self.callers {
            None => Some("no callers"),
            Some(_) if self.rules.is_empty() && !restricts => Some("it constrains nothing"),
            Some(_) => None,
        }
    }

    /// Whether it is about a caller.
    pub(super) fn is_about(&self, caller: &common::store::Entry) -> bool {
        self.callers.as_ref().is_none_or(|callers| callers.iter().any(|who| who.is(caller.name(), caller)))
    }

    /// Whether it is about a call.
    pub(super) fn is_about_call(&self, method: &str) -> bool {
        self.calls.as_ref().is_none_or(|calls| calls.iter().any(|call| call.matches(method)))
    }

    /// The calls it names.
    pub(super) fn calls(&self) -> &[Pattern] {
        self.calls.as_deref().unwrap_or_default()
    }

    /// The rule on a value: of all whose name fits the one that tells most of it.
    pub(super) fn rule_on(&self, kind: &Kind, name: &str) -> Option<&Rule> {
        let fitting = self.rules.iter().filter(|rule| rule.kind.key == kind.key && rule.name.matches(name));
        fitting.max_by_key(|rule| rule.name.precision())
    }
}

fn some<T>(all: Vec<T>) -> Result<Vec<T>, &'static str> {
    if all.is_empty() { Err("an empty list stands for nobody") } else { Ok(all) }
}

fn patterns(words: &[String]) -> Result<Vec<Pattern>, &'static str> {
    words.iter().map(|word| Pattern::parse(word)).collect()
}

fn qubes(words: &[String]) -> Result<Vec<Who>, &'static str> {
    words.iter().map(|word| Who::parse(word)).collect()
}

fn callers(words: &[String]) -> Result<Vec<Who>, &'static str> {
    let callers = qubes(words)?;
    let are_callers = callers.iter().all(Who::is_of_callers);
    if are_callers { Ok(callers) } else { Err("callers are told by name, tag or type") }
}
