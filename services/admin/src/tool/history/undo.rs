//! `qubes-admin undo`: the calls that take a change back, made if all is as the change left it.

use clap::Args;
use common::model::Device;
use common::names::{Pairs, QubeName, Rule};
use common::root::Root;
use common::store::{Key, Store};
use serde_json::Value;

use super::item::{Item, Part, Place, plain};
use super::{Change, files, stored};
use crate::tool::out::{self, Stop};
use crate::tool::service::Service;

/// Which change is taken back.
#[derive(Args)]
pub(in crate::tool) struct Undo {
    /// What history has in its first column.
    #[arg(value_name = "ID")]
    id: String,
}

/// Takes a change back by the calls that anybody would make, if all is as it left it.
pub(in crate::tool) fn undo(undo: &Undo, root: &Root) -> Result<(), Stop> {
    let mut changes = super::changes(root)?;
    let at = changes.iter().position(|change| !undo.id.is_empty() && change.id == undo.id);
    let at = at.ok_or_else(|| format!("there is no change {}, or it is not known any more", undo.id))?;
    let later = changes.split_off(at.saturating_add(1));
    let Some(change) = changes.pop() else { return Ok(()) };
    check_unchanged(root, &change, &later)?;
    let mut calls = Vec::new();
    for item in &change.items {
        calls.push((item, item.calls()?));
    }
    for (item, calls) in calls {
        // What follows from an earlier one of these calls is done already.
        if present(root, item)? == item.before {
            continue;
        }
        for (call, payload) in calls {
            Service::find(root, "dom0", item.destination(), &call)?.content(&payload, None)?;
        }
        let back = Item {
            place: item.place.clone(),
            is_edited: false,
            part: item.part.clone(),
            before: item.after.clone(),
            after: item.before.clone(),
        };
        out::line(&back.in_words())?;
    }
    Ok(())
}

/// The value that a part has now.
fn present(root: &Root, item: &Item) -> Result<Option<Value>, Stop> {
    let store = Store::at(root);
    let Place::Stored(key) = &item.place else { return files::present(root, &store, &item.place) };
    let now = store.versions(key)?.pop();
    Ok(now.and_then(|now| stored::parts(key, &now.content).remove(&item.part)))
}

/// Refuses where something is not as the change left it, and tells what came since.
fn check_unchanged(root: &Root, change: &Change, later: &[Change]) -> Result<(), Stop> {
    for item in change.items.iter().filter(|item| item.part != Part::Object) {
        if let Place::Stored(Key::Qube(name)) | Place::Notes(name) = &item.place {
            check_there(&Store::at(root), name)?;
        }
        if item.is_edited {
            return Err(item.in_words().into());
        }
        if present(root, item)? != item.after {
            let since = later.iter().filter(|later| {
                later.items.iter().any(|other| other.place == item.place && other.part == item.part)
            });
            let since: Vec<String> = since.map(|later| later.id.clone()).collect();
            let text = item.in_words();
            return Err(format!("{text}: changed since by {}", since.join(", ")).into());
        }
    }
    Ok(())
}

fn check_there(store: &Store, name: &QubeName) -> Result<(), Stop> {
    if store.read()?.exists(name)? { Ok(()) } else { Err(format!("{name} is not there any more").into()) }
}

impl Item {
    /// The calls that take it back, each with its payload.
    fn calls(&self) -> Result<Vec<(String, String)>, Stop> {
        let scope = if self.place == Place::Stored(Key::System) { "admin" } else { "admin.vm" };
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
            (Part::Firewall, rules) => Ok(rules_calls(&rules_of(rules.as_ref())?)),
            (Part::Device(_), _) => self.device_calls(),
            (Part::PoolSetting(name, setting), Some(value)) => {
                one(format!("admin.pool.Set.{setting}+{name}"), plain(value))
            }
            (Part::VolumeSetting(name, setting), Some(value)) => {
                one(format!("admin.vm.volume.Set.{setting}+{name}"), plain(value))
            }
            (Part::PoolSetting(..) | Part::VolumeSetting(..), None) => {
                Err(format!("{}: no call makes it unset again", self.in_words()).into())
            }
            (Part::Content, content) => Ok(self.file_call(content.as_ref()).into_iter().collect()),
            (Part::Object | Part::Pool(_), _) => {
                let text = "cannot be taken back, as what is stored in volumes is made and removed with it";
                Err(format!("{}: {text}", self.in_words()).into())
            }
        }
    }

    /// The content takes the place of whatever there is, which was looked at before.
    fn file_call(&self, content: Option<&Value>) -> Option<(String, String)> {
        let text = content.map(plain);
        let replace = |kind: &str, name: &str| match &text {
            Some(text) => (format!("policy.{kind}Replace+{name}"), format!("any\n{text}")),
            None => (format!("policy.{kind}Remove+{name}"), "any".to_owned()),
        };
        match &self.place {
            Place::Policy(name) => Some(replace("", name)),
            Place::Included(name) => Some(replace("include.", name)),
            Place::Notes(_) => Some(("admin.vm.notes.Set".to_owned(), text.clone().unwrap_or_default())),
            Place::Stored(_) => None,
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
pub(in crate::tool) fn wish(device: &Device) -> String {
    let mut pairs = Pairs::default();
    pairs.tell("mode", device.mode.as_str());
    device.options.iter().for_each(|(key, value)| pairs.tell(&format!("_{key}"), value));
    pairs.to_string()
}

/// The calls that give a qube these rules, each with its payload. One call takes no empty list, which lets nothing through; the
/// next makes that of a single rule which does the same.
pub(in crate::tool) fn rules_calls(rules: &[Rule]) -> Vec<(String, String)> {
    let call = |method: &str, payload: String| (format!("admin.vm.firewall.{method}"), payload);
    match rules {
        [] => vec![call("Set", "action=drop\n".to_owned()), call("SetPolicy", "drop".to_owned())],
        rules => vec![call("Set", rules.iter().map(|rule| format!("{rule}\n")).collect())],
    }
}

fn rules_of(rules: Option<&Value>) -> Result<Vec<Rule>, Stop> {
    let rules: Option<Vec<Rule>> = match rules {
        Some(rules) => serde_json::from_value(rules.clone()).map_err(|error| error.to_string())?,
        None => None,
    };
    Ok(rules.unwrap_or_else(|| vec![Rule::accept()]))
}

fn color(label: &Value) -> String {
    label.get("color").map(plain).unwrap_or_default()
}
