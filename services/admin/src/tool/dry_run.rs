//! `qubes-admin call --dry-run`: who decides on a call, and what it would change.

use std::cell::RefCell;
use std::path::Path;

use common::call::NOT_MADE;
use common::event::Event;
use common::failure::{Failure, Refusal};
use common::permission::{Facts, Judge, Rules, Trial};
use common::quota::Quota;
use common::root::Root;
use common::store::Txn;
use serde_json::{Map, Value};

use super::explain::{self, Explain};
use super::out::Stop;
use super::table;

/// Prints what each layer says of a call, then what it would change and announce.
pub(super) fn run(call: &Explain, root: &Root) -> Result<(), Stop> {
    let looking = Looking { rules: Rules(root), seen: RefCell::default() };
    let ended = explain::tell(call, root, Some(&looking))?;
    let mut rows = looking.seen.into_inner();
    let refused = ended.as_ref().err().filter(|failure| **failure != NOT_MADE);
    if refused.is_some() {
        // What listeners hear of a call that is refused.
        rows.retain(|[kind, _]| kind == EVENT);
    } else if rows.is_empty() {
        rows.push([CHANGE, "none"].map(str::to_owned));
    }
    table::print(&rows.into_iter().map(Vec::from).collect::<Vec<_>>())?;
    refused.map_or(Ok(()), |failure| Err(failure.clone().into()))
}

const CHANGE: &str = "change";
const EVENT: &str = "event";

/// Grants what the root's own rules grant, and looks at changes in the place of making them.
struct Looking<'a> {
    rules: Rules<'a>,
    /// Lines, each with what it is about.
    seen: RefCell<Vec<[String; 2]>>,
}

impl Looking<'_> {
    fn tell(&self, kind: &str, told: impl IntoIterator<Item = String>) {
        self.seen.borrow_mut().extend(told.into_iter().map(|text| [kind.to_owned(), text]));
    }
}

impl Judge for Looking<'_> {
    fn judge(&self, facts: &Facts<'_>) -> Result<Quota, Refusal> {
        self.rules.judge(facts)
    }

    fn trial(&self) -> Option<&dyn Trial> {
        Some(self)
    }
}

impl Trial for Looking<'_> {
    fn see(&self, change: &Txn<'_>) {
        let mut told = Vec::new();
        match change.edits() {
            Ok(edits) => {
                edits.iter().for_each(|(file, before, after)| differences(file, before, after, &mut told))
            }
            Err(error) => told.push(Failure::from(error).into_text().into_owned()),
        }
        self.tell("effect", change.foreseen().iter().cloned());
        self.tell(CHANGE, told);
        self.tell(EVENT, change.events().iter().map(in_words));
    }

    fn see_file(&self, path: &Path, before: Option<&[u8]>, after: Option<&[u8]>) {
        let path = path.display().to_string();
        let lines = |content: Option<&[u8]>| {
            let content = String::from_utf8_lossy(content.unwrap_or_default()).into_owned();
            Value::from(content.lines().map(Value::from).collect::<Vec<_>>())
        };
        let mut told = match (before, after) {
            (Some(_), None) => vec![format!("{path}: removed")],
            (None, Some(_)) => vec![format!("{path}: made")],
            _ => Vec::new(),
        };
        differences(&path, &lines(before), &lines(after), &mut told);
        self.tell(CHANGE, told);
    }
}

/// A line for each value that is another after a change: of lists what goes and what comes.
fn differences(place: &str, before: &Value, after: &Value, told: &mut Vec<String>) {
    match (before, after) {
        _ if before == after => {}
        (Value::Null, Value::Object(_)) => differences(place, &Value::Object(Map::new()), after, told),
        (Value::Null, Value::Array(_)) => differences(place, &Value::Array(Vec::new()), after, told),
        (Value::Object(_), Value::Null) => told.push(format!("{place}: removed")),
        (Value::Object(old), Value::Object(new)) => {
            let gone = old.keys().filter(|key| !new.contains_key(*key));
            for key in new.keys().chain(gone) {
                let value = |all: &Map<String, Value>| all.get(key).cloned().unwrap_or_default();
                differences(&format!("{place} {key}"), &value(old), &value(new), told);
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            let gone = old.iter().filter(|it| !new.contains(it)).map(|it| format!("{place}: without {it}"));
            let come = new.iter().filter(|it| !old.contains(it)).map(|it| format!("{place}: with {it}"));
            let mut changed: Vec<String> = gone.chain(come).collect();
            if changed.is_empty() {
                changed.push(format!("{place}: the same in another order or number"));
            }
            told.extend(changed);
        }
        _ => told.push(format!("{place}: {} becomes {}", shown(before), shown(after))),
    }
}

fn shown(value: &Value) -> String {
    if value.is_null() { "nothing".to_owned() } else { value.to_string() }
}

fn in_words(event: &Event) -> String {
    let subject = event.subject.iter().map(|subject| subject.to_string());
    let details = event.details.iter().map(|(key, value)| format!("{key}={value}"));
    subject.chain([event.name.clone()]).chain(details).collect::<Vec<_>>().join(" ")
}
