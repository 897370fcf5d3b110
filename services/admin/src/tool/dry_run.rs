//! `qubes-admin call --dry-run`: who decides on a call, and what it would change.

use std::cell::RefCell;

use common::call::NOT_MADE;
use common::event::Event;
use common::failure::{Failure, Refusal};
use common::permission::{Facts, Judge, Rules};
use common::quota::Quota;
use common::root::Root;
use common::serve;
use common::store::Txn;
use serde_json::{Map, Value};

use super::explain::{self, Explain};
use super::out::Stop;
use super::table;

/// Calls that do nothing but read before their one change of the store, or leave out in a trial what they do. What the others do
/// before it cannot be left out. An asterisk stands for one word.
const KNOWN: [&str; 28] = [
    "admin.label.Create",
    "admin.label.Remove",
    "admin.pool.Remove",
    "admin.pool.Set.ephemeral_volatile",
    "admin.pool.Set.revisions_to_keep",
    "admin.property.Reset",
    "admin.property.Set",
    "admin.vm.Create.*",
    "admin.vm.CreateInPool.*",
    "admin.vm.Remove",
    "admin.vm.device.*.Assign",
    "admin.vm.device.*.Set.assignment",
    "admin.vm.device.*.Set.required",
    "admin.vm.device.*.Unassign",
    "admin.vm.device.denied.Add",
    "admin.vm.device.denied.Remove",
    "admin.vm.feature.Remove",
    "admin.vm.feature.Set",
    "admin.vm.firewall.Flush",
    "admin.vm.firewall.Set",
    "admin.vm.firewall.SetPolicy",
    "admin.vm.property.Reset",
    "admin.vm.property.Set",
    "admin.vm.tag.Remove",
    "admin.vm.tag.Set",
    "admin.vm.volume.Set.ephemeral",
    "admin.vm.volume.Set.revisions_to_keep",
    "admin.vm.volume.Set.rw",
];
/// A property whose setting also changes what starts at boot, before it is stored.
const AUTOSTART: &str = "autostart";

/// Prints what each layer says of a call, then what it would change and announce.
pub(super) fn run(call: &Explain, root: &Root) -> Result<(), Stop> {
    explain::run(call, root)?;
    let (method, argument) = call.method.split_once('+').unwrap_or((&call.method, ""));
    if !KNOWN.iter().any(|known| is_of(known, method)) || argument == AUTOSTART {
        return Err(format!("what {} changes is not known before it is made", call.method).into());
    }
    let (family, request) = explain::request(call)?;
    let trial = Trial { rules: Rules(root), seen: RefCell::default() };
    let ended = serve::judged(family, &request, root, &trial).err();
    let rows: Vec<Vec<String>> = trial.seen.into_inner().into_iter().map(Vec::from).collect();
    table::print(&rows)?;
    match ended {
        Some(failure) if failure != NOT_MADE => Err(failure.into()),
        _ => Ok(()),
    }
}

/// Whether a method is of that form, word by word.
fn is_of(known: &str, method: &str) -> bool {
    let (known, own): (Vec<&str>, Vec<&str>) = (known.split('.').collect(), method.split('.').collect());
    known.len() == own.len() && known.iter().zip(&own).all(|(known, own)| *known == "*" || known == own)
}

/// Grants what the root's own rules grant, and looks at changes in the place of making them.
struct Trial<'a> {
    rules: Rules<'a>,
    /// Lines of two words.
    seen: RefCell<Vec<[String; 2]>>,
}

impl Judge for Trial<'_> {
    fn judge(&self, facts: &Facts<'_>) -> Result<Quota, Refusal> {
        self.rules.judge(facts)
    }

    fn is_trial(&self) -> bool {
        true
    }

    fn only_looks(&self, change: &Txn<'_>) -> bool {
        let mut told = Vec::new();
        match change.edits() {
            Ok(edits) => {
                edits.iter().for_each(|(file, before, after)| differences(file, before, after, &mut told))
            }
            Err(error) => told.push(Failure::from(error).into_text().into_owned()),
        }
        let changes = told.into_iter().map(|text| ["change".to_owned(), text]);
        let events = change.events().iter().map(|event| ["event".to_owned(), in_words(event)]);
        self.seen.borrow_mut().extend(changes.chain(events));
        true
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
            told.extend(old.iter().filter(|it| !new.contains(it)).map(|it| format!("{place}: without {it}")));
            told.extend(new.iter().filter(|it| !old.contains(it)).map(|it| format!("{place}: with {it}")));
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
