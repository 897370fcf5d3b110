//! The administrator's constraints (docs/constraints.md): what callers may set, have and see, beyond what policy says.

mod constraint;
mod pattern;
mod program;
pub mod reader;
mod sets;
mod who;

pub use program::program;

use std::os::unix::ffi::OsStrExt;

use common::constraint::{FOLDER, counts};
use common::event::Event;
use common::files;
use common::permission::Facts;
use common::quota::Quota;
use common::root::Root;
use common::store::{Entry, Index, StoreError, View};

use constraint::{Constraint, Listed, Rule};
use pattern::Pattern;
use sets::POLICY;
use who::Who;

/// A call as constraints see it: sanitised values only.
pub struct Ask<'a> {
    /// The method.
    pub method: &'a str,
    /// Whether it concerns the whole system.
    pub is_global: bool,
    /// The qube it is about.
    pub destination: &'a str,
    /// The argument.
    pub argument: &'a str,
    /// Further values by name.
    pub values: Vec<(&'a str, &'a str)>,
}

impl<'a> Ask<'a> {
    /// The call that stage 2 decides on.
    pub fn of(facts: &Facts<'a>) -> Self {
        Self {
            method: facts.row.name,
            is_global: facts.row.is_global(),
            destination: facts.parties.destination.as_str(),
            argument: &facts.values.argument,
            values: facts.values.values.iter().map(|(name, value)| (*name, value.as_str())).collect(),
        }
    }

    fn value(&self, name: &str) -> &'a str {
        self.values.iter().find(|(known, _)| *known == name).map(|(_, value)| *value).unwrap_or_default()
    }
}

/// What is to be said of a constraint: why it denies a call, or what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// File and line.
    pub place: String,
    /// What.
    pub text: String,
}

/// All constraints, in the order of files and lines.
pub struct Constraints {
    all: Vec<Constraint>,
}

/// Calls that may be about any qube's volumes.
const BY_POOL: &str = "admin.pool.volume.";

impl Constraints {
    /// Reads all files. One that cannot be read is about everyone and denies everything.
    pub fn load(root: &Root) -> Self {
        let folder = root.path(FOLDER);
        let unreadable = |path: &std::path::Path| {
            let table = reader::broken(0, "it cannot be read");
            Constraint::of(&root.without(path).display().to_string(), table)
        };
        let Ok(names) = files::entries(&folder) else { return Self { all: vec![unreadable(&folder)] } };
        let mut all = Vec::new();
        for path in names.iter().filter(|name| counts(name.as_bytes())).map(|name| folder.join(name)) {
            match files::read(&path) {
                Ok(bytes) => all.extend(meaning(&root.without(&path).display().to_string(), &bytes)),
                Err(_) => all.push(unreadable(&path)),
            }
        }
        Self { all }
    }

    /// What one file says.
    pub fn of(file: &str, bytes: &[u8]) -> Self {
        Self { all: meaning(file, bytes).collect() }
    }

    /// What is wrong with the files, given all methods there are.
    pub fn problems(&self, methods: &[&str]) -> Vec<Reason> {
        let mut problems = Vec::new();
        for constraint in &self.all {
            if let Some(error) = constraint.error {
                problems.push(reason(
                    constraint,
                    error.line,
                    format!("{}; it denies all that it is about", error.text),
                ));
            }
            let is_known = |call: &&Pattern| methods.iter().any(|method| call.matches(method));
            if !constraint.calls().iter().all(|call| is_known(&call)) {
                problems.push(reason(
                    constraint,
                    constraint.line,
                    "it names a call that there is not".to_owned(),
                ));
            }
        }
        problems
    }

    /// Whether any is about a caller.
    pub fn are_about(&self, caller: &Entry) -> bool {
        self.all.iter().any(|constraint| constraint.is_about(caller))
    }

    /// Those that are about a caller's call.
    fn on(&self, caller: &Entry, method: &str) -> impl Iterator<Item = &Constraint> {
        self.all.iter().filter(move |it| it.is_about(caller) && it.is_about_call(method))
    }

    /// Why a qube is not there for a caller's call, if it is not.
    pub fn hides(&self, caller: &Entry, method: &str, qube: &Entry) -> Option<Reason> {
        let lists =
            self.on(caller, method).filter_map(|constraint| Some((constraint, constraint.qubes.as_ref()?)));
        let (constraint, qubes) = lists.into_iter().find(|(_, qubes)| !is_among(qubes, caller, qube))?;
        Some(reason(constraint, qubes.line, format!("for {} there is no {}", caller.name(), qube.name())))
    }

    /// Whether a qube is there for a caller's call.
    pub fn shows(&self, caller: &Entry, method: &str, qube: &Entry) -> bool {
        self.hides(caller, method, qube).is_none()
    }

    /// Whether a caller sees an event. One that names a qube which is not there for the caller is not seen, nor is any
    /// where something is wrong.
    pub fn show_event(&self, caller: &Entry, event: &Event, qubes: &Index) -> bool {
        const METHOD: &str = "admin.Events";
        let is_named = |constraint: &Constraint| {
            let events = constraint.events.as_ref();
            constraint.error.is_none()
                && events.is_none_or(|all| all.iter().any(|it| it.matches(&event.name)))
        };
        let is_seen = |name: &str| {
            let known = qubes.entry(name).filter(|_| name != "dom0");
            known.is_none_or(|qube| self.shows(caller, METHOD, qube))
        };
        let subject = event.subject.as_ref().map(|subject| subject.as_str());
        let details = event.details.iter().flat_map(|(_, value)| words(value));
        self.on(caller, METHOD).all(is_named) && subject.into_iter().chain(details).all(is_seen)
    }

    /// Decides on a call.
    ///
    /// # Errors
    /// Why it is denied.
    pub fn judge(&self, caller: &Entry, ask: &Ask<'_>, view: &View<'_>) -> Result<Quota, Reason> {
        let mut quota = Quota::default();
        for constraint in self.on(caller, ask.method) {
            if let Some(error) = constraint.error {
                return Err(reason(constraint, error.line, format!("it is broken: {}", error.text)));
            }
            if let Some(qubes) = &constraint.qubes {
                check_policy_files(constraint, qubes.line, ask)?;
                let refused = check_qubes(qubes, caller, ask, view).map_err(|error| error.to_string());
                refused
                    .unwrap_or_else(Some)
                    .map_or(Ok(()), |text| Err(reason(constraint, qubes.line, text)))?;
            }
            check_values(constraint, ask, view)?;
            quota = quota.and(constraint.quota);
        }
        Ok(quota)
    }
}

fn meaning(file: &str, bytes: &[u8]) -> impl Iterator<Item = Constraint> {
    reader::read(bytes).into_iter().map(move |table| Constraint::of(file, table))
}

fn reason(constraint: &Constraint, line: usize, text: String) -> Reason {
    Reason { place: format!("{}:{line}", constraint.file), text }
}

/// Policy files tell of all qubes and decide on all of them: whoever has only some gets those that the constraint allows.
fn check_policy_files(constraint: &Constraint, line: usize, ask: &Ask<'_>) -> Result<(), Reason> {
    let mut files = (POLICY.of)(ask).into_iter();
    if files.all(|(name, _)| constraint.rule_on(&POLICY, name).is_some()) {
        return Ok(());
    }
    let text = "policy files tell of all qubes, and it allows none of this kind";
    Err(reason(constraint, line, text.to_owned()))
}

fn is_among(qubes: &Listed<Who>, caller: &Entry, qube: &Entry) -> bool {
    qubes.all.iter().any(|who| who.is(caller.name(), qube))
}

/// The words of a value that may be names of qubes.
fn words(value: &str) -> impl Iterator<Item = &str> {
    value
        .split(|it: char| !(it.is_ascii_alphanumeric() || "_.-".contains(it)))
        .filter(|word| !word.is_empty())
}

/// What keeps a call from being one on qubes that are there for the caller alone.
fn check_qubes(
    qubes: &Listed<Who>,
    caller: &Entry,
    ask: &Ask<'_>,
    view: &View<'_>,
) -> Result<Option<String>, StoreError> {
    if ask.method.starts_with(BY_POOL) {
        return Ok(Some("volumes told by their pool may be any qube's".to_owned()));
    }
    let is_there = |name: &str| -> Result<bool, StoreError> {
        let known = view.qube_named(name)?.map(|qube| Entry::of(&qube));
        Ok(known.is_some_and(|qube| is_among(qubes, caller, &qube)))
    };
    let is_of_all = ask.destination == "dom0" && ask.is_global;
    let destination = [ask.destination].into_iter().filter(|_| !is_of_all);
    for name in destination.chain(sets::named(ask)) {
        if !is_there(&canonical(name, view)?)? {
            return Ok(Some(format!("the qube {name} is none of those listed")));
        }
    }
    Ok(None)
}

/// The name that goes with a `uuid:…`.
fn canonical(text: &str, view: &View<'_>) -> Result<String, StoreError> {
    let Some(uuid) = text.strip_prefix("uuid:") else { return Ok(text.to_owned()) };
    let index = view.listed()?;
    let found = index.entries().iter().find(|entry| entry.uuid() == uuid);
    Ok(found.map_or(text, |entry| entry.name()).to_owned())
}

fn check_values(constraint: &Constraint, ask: &Ask<'_>, view: &View<'_>) -> Result<(), Reason> {
    for kind in &sets::KINDS {
        for (name, value) in (kind.of)(ask) {
            let Some(rule) = constraint.rule_on(kind, name) else { continue };
            let allowed = canonical(value, view).is_ok_and(|value| allows(rule, &value));
            if !allowed {
                let separator = if name.is_empty() { "" } else { " " };
                let text = format!("this value of {}{separator}{name} is not among those allowed", kind.key);
                return Err(reason(constraint, rule.values.line, text));
            }
        }
    }
    Ok(())
}

fn allows(rule: &Rule, value: &str) -> bool {
    rule.values.all.iter().any(|pattern| pattern.matches(value))
}
