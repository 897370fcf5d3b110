//! `qubes-admin history` and `undo`: changes of the configuration, and how one is taken back.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use common::clock;
use common::model::Device;
use common::names::{Pairs, QubeName, Rule};
use common::root::Root;
use common::store::{Key, Stamp, Store, Version};
use serde_json::{Value, json};

use super::out::{self, Stop};
use super::service::Service;
use super::{complete, table};

/// Which changes are told of.
#[derive(Args)]
pub(super) struct History {
    /// Only changes of this qube; dom0 stands for itself and for what concerns the whole system.
    #[arg(value_name = "QUBE", add = complete::qubes())]
    qube: Option<String>,
    /// Print each change as one line of JSON.
    #[arg(long)]
    json: bool,
}

/// Which change is taken back.
#[derive(Args)]
pub(super) struct Undo {
    /// Its number, as history tells it.
    #[arg(value_name = "ID")]
    id: u64,
}

/// A part of an object that is set by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Object,
    Property(String),
    Feature(String),
    Tag(String),
    Device(String),
    Firewall,
    Label(String),
    Pool(String),
}

/// One part that a change made another.
struct Item {
    key: Key,
    part: Part,
    before: Option<Value>,
    after: Option<Value>,
}

/// What was done at once.
struct Change {
    stamp: Stamp,
    items: Vec<Item>,
}

/// Prints the changes that are still known, the newest last.
pub(super) fn run(history: &History, root: &Root) -> Result<(), Stop> {
    let store = Store::at(root);
    let is_asked = |key: &Key| match (&history.qube, key) {
        (None, _) => true,
        (Some(asked), Key::Qube(name)) => asked == name.as_str(),
        (Some(asked), _) => asked == "dom0",
    };
    let mut changes = changes(&store)?;
    for change in &mut changes {
        change.items.retain(|item| is_asked(&item.key));
    }
    changes.retain(|change| !change.items.is_empty());
    if history.json {
        return changes.iter().try_for_each(|change| out::json(&change.to_json()));
    }
    table::print(&changes.iter().flat_map(Change::rows).collect::<Vec<_>>())
}

/// All known changes, oldest first.
fn changes(store: &Store) -> Result<Vec<Change>, Stop> {
    let view = store.read()?;
    let mut changes: BTreeMap<u64, Change> = BTreeMap::new();
    let mut gone = Change::by(Stamp::default());
    for key in store.past_and_present()? {
        let mut before: Option<Version> = None;
        for version in store.versions(&key)? {
            // Where the one before is not known any more, neither is the change.
            if before.is_some() || version.stamp.before == 0 {
                let items = differences(&key, before.as_ref(), &version);
                let id = version.stamp.change;
                let change = changes.entry(id).or_insert_with(|| Change::by(version.stamp.clone()));
                change.items.extend(items);
            }
            before = Some(version);
        }
        if let (Some(_), Key::Qube(name)) = (before, &key)
            && !view.exists(name)?
        {
            let before = Some(json!("there"));
            gone.items.push(Item { key, part: Part::Object, before, after: None });
        }
    }
    // What was there before changes were numbered.
    changes.remove(&0);
    Ok(changes.into_values().chain([gone]).collect())
}

fn differences(key: &Key, before: Option<&Version>, after: &Version) -> Vec<Item> {
    let is_same = before.is_some_and(|before| before.content.get("uuid") == after.content.get("uuid"));
    if !is_same {
        let (before, after) = (before.map(|_| json!("there")), Some(json!("there")));
        return vec![Item { key: key.clone(), part: Part::Object, before, after }];
    }
    let (old, new) =
        (before.map(|before| parts(key, &before.content)).unwrap_or_default(), parts(key, &after.content));
    let all: BTreeSet<&Part> = old.keys().chain(new.keys()).collect();
    let changed = all.into_iter().filter(|part| old.get(part) != new.get(part));
    let item = |part: &Part| Item {
        key: key.clone(),
        part: part.clone(),
        before: old.get(part).cloned(),
        after: new.get(part).cloned(),
    };
    changed.map(item).collect()
}

/// An object's parts. What the system itself changes, as volumes, is none.
fn parts(key: &Key, content: &Value) -> BTreeMap<Part, Value> {
    let list = |field: &str| content.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
    let named = |value: &Value| value.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    match key {
        Key::Labels => list("labels").into_iter().map(|label| (Part::Label(named(&label)), label)).collect(),
        Key::Pools => list("pools").into_iter().map(|pool| (Part::Pool(named(&pool)), pool)).collect(),
        Key::System => properties(content).collect(),
        Key::Qube(_) => {
            let features = list("features").into_iter().filter_map(feature);
            let tags = list("tags").into_iter();
            let tags = tags.filter_map(|tag| Some((Part::Tag(tag.as_str()?.to_owned()), json!(true))));
            let devices = list("devices").into_iter();
            let devices = devices.filter_map(|device| Some((Part::Device(device_name(&device)?), device)));
            let firewall = content.get("firewall").map(|rules| (Part::Firewall, rules.clone()));
            properties(content).chain(features).chain(tags).chain(devices).chain(firewall).collect()
        }
    }
}

fn properties(content: &Value) -> impl Iterator<Item = (Part, Value)> {
    let all = content.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    all.into_iter().map(|(name, value)| (Part::Property(name), value))
}

fn feature(pair: Value) -> Option<(Part, Value)> {
    let [name, value] = <[Value; 2]>::try_from(pair.as_array()?.clone()).ok()?;
    Some((Part::Feature(name.as_str()?.to_owned()), value))
}

fn device_name(device: &Value) -> Option<String> {
    let device: Device = serde_json::from_value(device.clone()).ok()?;
    Some(format!("{} {}", device.class, device.name()))
}

impl Part {
    fn in_words(&self) -> String {
        match self {
            Self::Object => "the qube".to_owned(),
            Self::Property(name) => format!("property {name}"),
            Self::Feature(name) => format!("feature {name}"),
            Self::Tag(name) => format!("tag {name}"),
            Self::Device(name) => format!("device {name}"),
            Self::Firewall => "firewall".to_owned(),
            Self::Label(name) => format!("label {name}"),
            Self::Pool(name) => format!("pool {name}"),
        }
    }
}

impl Change {
    const fn by(stamp: Stamp) -> Self {
        Self { stamp, items: Vec::new() }
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let Stamp { change, time, caller, method, .. } = &self.stamp;
        let known = |text: String| if text.is_empty() || *change == 0 { "-".to_owned() } else { text };
        let [id, time] = [change.to_string(), clock::local(*time)];
        let who = [id, time, caller.clone(), method.clone()].map(known);
        let row = |item: &Item| who.iter().cloned().chain([item.in_words()]).collect();
        self.items.iter().map(row).collect()
    }

    fn to_json(&self) -> Value {
        let Stamp { change, time, caller, method, .. } = &self.stamp;
        let items: Vec<Value> = self.items.iter().map(Item::to_json).collect();
        json!({"id": change, "time": time, "caller": caller, "method": method, "changes": items})
    }
}

impl Item {
    /// The qube that it is part of, as calls are told it.
    fn destination(&self) -> &str {
        match &self.key {
            Key::Qube(name) => name.as_str(),
            Key::System | Key::Labels | Key::Pools => "dom0",
        }
    }

    fn in_words(&self) -> String {
        let place = match &self.key {
            Key::Qube(name) => format!("{name}: "),
            Key::System => "system: ".to_owned(),
            Key::Labels | Key::Pools => String::new(),
        };
        let values =
            [&self.before, &self.after].map(|value| value.as_ref().map_or("nothing".to_owned(), shown));
        let [before, after] = values;
        match (&self.part, &self.before, &self.after) {
            (Part::Object, None, _) => format!("{place}made"),
            (Part::Object, Some(_), Some(_)) => format!("{place}removed and made anew"),
            (Part::Object, Some(_), None) => format!("{place}removed"),
            (Part::Tag(name), None, _) => format!("{place}tag {name} added"),
            (Part::Tag(name), Some(_), _) => format!("{place}tag {name} removed"),
            _ => format!("{place}{} {before} -> {after}", self.part.in_words()),
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "destination": self.destination(),
            "part": self.part.in_words(),
            "before": self.before,
            "after": self.after,
        })
    }

    /// The calls that take it back, each with its payload.
    fn calls(&self) -> Result<Vec<(String, String)>, Stop> {
        let scope = if matches!(self.key, Key::System) { "admin" } else { "admin.vm" };
        let one = |call: String, payload: String| Ok(vec![(call, payload)]);
        match (&self.part, &self.before) {
            (Part::Property(name), Some(value)) => one(format!("{scope}.property.Set+{name}"), plain(value)),
            (Part::Property(name), None) => one(format!("{scope}.property.Reset+{name}"), String::new()),
            (Part::Feature(name), Some(value)) => one(format!("admin.vm.feature.Set+{name}"), plain(value)),
            (Part::Feature(name), None) => one(format!("admin.vm.feature.Remove+{name}"), String::new()),
            (Part::Tag(name), Some(_)) => one(format!("admin.vm.tag.Set+{name}"), String::new()),
            (Part::Tag(name), None) => one(format!("admin.vm.tag.Remove+{name}"), String::new()),
            (Part::Label(name), Some(label)) => one(format!("admin.label.Create+{name}"), color(label)),
            (Part::Label(name), None) => one(format!("admin.label.Remove+{name}"), String::new()),
            (Part::Firewall, rules) => one("admin.vm.firewall.Set".to_owned(), rules_of(rules.as_ref())?),
            (Part::Device(_), _) => self.device_calls(),
            (Part::Object | Part::Pool(_), _) => {
                let text = "cannot be taken back, as what is stored in volumes is made and removed with it";
                Err(format!("{}: {text}", self.in_words()).into())
            }
        }
    }

    /// What there is now is unassigned, and what there was is assigned.
    fn device_calls(&self) -> Result<Vec<(String, String)>, Stop> {
        let mut calls = Vec::new();
        for (verb, device) in [("Unassign", &self.after), ("Assign", &self.before)] {
            let Some(device) = device else { continue };
            let device: Device = serde_json::from_value(device.clone()).map_err(|error| error.to_string())?;
            let call = format!("admin.vm.device.{}.{verb}+{}", device.class, device.name().to_argument());
            let payload = if verb == "Assign" { wish(&device) } else { String::new() };
            calls.push((call, payload));
        }
        Ok(calls)
    }
}

/// What an assignment's payload says.
fn wish(device: &Device) -> String {
    let mut pairs = Pairs::default();
    pairs.tell("mode", device.mode.as_str());
    device.options.iter().for_each(|(key, value)| pairs.tell(&format!("_{key}"), value));
    pairs.to_string()
}

fn rules_of(rules: Option<&Value>) -> Result<String, Stop> {
    let rules: Option<Vec<Rule>> = match rules {
        Some(rules) => serde_json::from_value(rules.clone()).map_err(|error| error.to_string())?,
        None => None,
    };
    let rules = rules.unwrap_or_else(|| vec![Rule::accept()]);
    Ok(rules.iter().map(|rule| format!("{rule}\n")).collect())
}

fn color(label: &Value) -> String {
    label.get("color").map(plain).unwrap_or_default()
}

/// A value as payloads have it.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A value for people.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => format!("'{text}'"),
        other => plain(other),
    }
}

/// Takes a change back by the calls that anybody would make, if all is as it left it.
pub(super) fn undo(undo: &Undo, root: &Root) -> Result<(), Stop> {
    let store = Store::at(root);
    let mut changes = changes(&store)?;
    let at = changes.iter().position(|change| change.stamp.change == undo.id);
    let at = at.ok_or_else(|| format!("there is no change {}, or it is not known any more", undo.id))?;
    let later = changes.split_off(at.saturating_add(1));
    let Some(change) = changes.pop() else { return Ok(()) };
    check_unchanged(&store, &change, &later)?;
    let mut calls = Vec::new();
    for item in &change.items {
        calls.push((item, item.calls()?));
    }
    for (item, calls) in calls {
        // What follows from an earlier one of these calls is done already.
        if present(&store, item)? == item.before {
            continue;
        }
        for (call, payload) in calls {
            Service::find(root, "dom0", item.destination(), &call)?.content(&payload, None)?;
        }
        let back = Item {
            key: item.key.clone(),
            part: item.part.clone(),
            before: item.after.clone(),
            after: item.before.clone(),
        };
        out::line(&back.in_words())?;
    }
    Ok(())
}

/// The value that a part has now.
fn present(store: &Store, item: &Item) -> Result<Option<Value>, Stop> {
    let now = store.versions(&item.key)?.pop();
    Ok(now.and_then(|now| parts(&item.key, &now.content).remove(&item.part)))
}

/// Refuses where something is not as the change left it, and tells what came since.
fn check_unchanged(store: &Store, change: &Change, later: &[Change]) -> Result<(), Stop> {
    for item in change.items.iter().filter(|item| item.part != Part::Object) {
        if let Key::Qube(name) = &item.key {
            check_there(store, name)?;
        }
        if present(store, item)? != item.after {
            let since = later.iter().filter(|later| {
                later.items.iter().any(|other| other.key == item.key && other.part == item.part)
            });
            let since: Vec<String> = since.map(|later| later.stamp.change.to_string()).collect();
            let text = item.in_words();
            return Err(format!("{text}: changed since by {}", since.join(", ")).into());
        }
    }
    Ok(())
}

fn check_there(store: &Store, name: &QubeName) -> Result<(), Stop> {
    if store.read()?.exists(name)? { Ok(()) } else { Err(format!("{name} is not there any more").into()) }
}
