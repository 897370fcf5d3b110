//! Changes of the store's objects, from comparing their states.

use std::collections::{BTreeMap, BTreeSet};

use common::model::Device;
use common::storage::options::{EPHEMERAL_VOLATILE, REVISIONS_TO_KEEP};
use common::store::{Key, Stamp, Store, Version};
use serde_json::{Value, json};

use super::Change;
use super::item::{Item, Part, Place};
use crate::tool::out::Stop;

/// What calls set of a pool, and of a volume.
const POOL_SETTINGS: [&str; 2] = [REVISIONS_TO_KEEP, EPHEMERAL_VOLATILE];
const VOLUME_SETTINGS: [&str; 3] = [REVISIONS_TO_KEEP, "rw", "ephemeral"];

/// All known changes, oldest first, and what is gone: a removal leaves nothing that could say who made it.
pub(super) fn changes(store: &Store) -> Result<(Vec<Change>, Change), Stop> {
    let view = store.read()?;
    let mut changes: BTreeMap<u64, Change> = BTreeMap::new();
    let mut gone = by(&Stamp::default());
    for key in store.past_and_present()? {
        let mut before: Option<Version> = None;
        for version in store.versions(&key)? {
            // Where the one before is not known any more, neither is the change.
            if before.is_some() || version.stamp.before == 0 {
                let items = differences(&key, before.as_ref(), &version);
                let id = version.stamp.change;
                let change = changes.entry(id).or_insert_with(|| by(&version.stamp));
                change.items.extend(items);
            }
            before = Some(version);
        }
        if let (Some(_), Key::Qube(name)) = (before, &key)
            && !view.exists(name)?
        {
            let before = Some(json!("there"));
            gone.items.push(Item {
                place: Place::Stored(key),
                part: Part::Object,
                before,
                after: None,
                is_edited: false,
            });
        }
    }
    // What was there before changes were numbered.
    changes.remove(&0);
    Ok((changes.into_values().collect(), gone))
}

fn by(stamp: &Stamp) -> Change {
    let id = if stamp.change == 0 { String::new() } else { stamp.change.to_string() };
    let (caller, method) = (stamp.caller.clone(), stamp.method.clone());
    Change { id, time: stamp.time, caller, method, items: Vec::new() }
}

fn differences(key: &Key, before: Option<&Version>, after: &Version) -> Vec<Item> {
    let is_same = before.is_some_and(|before| before.content.get("uuid") == after.content.get("uuid"));
    if !is_same {
        let (before, after) = (before.map(|_| json!("there")), Some(json!("there")));
        return vec![Item {
            place: Place::Stored(key.clone()),
            part: Part::Object,
            before,
            after,
            is_edited: false,
        }];
    }
    let (old, new) =
        (before.map(|before| parts(key, &before.content)).unwrap_or_default(), parts(key, &after.content));
    let all: BTreeSet<&Part> = old.keys().chain(new.keys()).collect();
    let changed = all.into_iter().filter(|part| old.get(part) != new.get(part));
    let item = |part: &Part| Item {
        place: Place::Stored(key.clone()),
        part: part.clone(),
        before: old.get(part).cloned(),
        after: new.get(part).cloned(),
        is_edited: false,
    };
    changed.map(item).collect()
}

/// An object's parts. What the system itself changes, as what volumes hold, is none.
pub(super) fn parts(key: &Key, content: &Value) -> BTreeMap<Part, Value> {
    let list = |field: &str| content.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
    let named = |value: &Value| value.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    match key {
        Key::Labels => list("labels").into_iter().map(|label| (Part::Label(named(&label)), label)).collect(),
        Key::Pools => list("pools").into_iter().flat_map(|pool| pool_parts(named(&pool), pool)).collect(),
        Key::System => properties(content).collect(),
        Key::Qube(_) => {
            let features = list("features").into_iter().filter_map(feature);
            let tags = list("tags").into_iter();
            let tags = tags.filter_map(|tag| Some((Part::Tag(tag.as_str()?.to_owned()), json!(true))));
            let devices = list("devices").into_iter();
            let devices = devices.filter_map(|device| Some((Part::Device(device_name(&device)?), device)));
            let firewall = content.get("firewall").map(|rules| (Part::Firewall, rules.clone()));
            let volumes = list("volumes");
            let volumes = volumes.iter().flat_map(|volume| volume_parts(&named(volume), volume));
            let all = properties(content).chain(features).chain(tags).chain(devices);
            all.chain(firewall).chain(volumes).collect()
        }
    }
}

/// What is set of a pool by itself, and the rest of it.
fn pool_parts(name: String, mut pool: Value) -> Vec<(Part, Value)> {
    let settings = pool.get_mut("settings").and_then(Value::as_array_mut);
    let settings = settings.map(std::mem::take).unwrap_or_default().into_iter().filter_map(pair);
    let (own, rest): (Vec<_>, Vec<_>) =
        settings.partition(|(setting, _)| POOL_SETTINGS.contains(&setting.as_str()));
    if let Some(fixed) = pool.get_mut("settings") {
        *fixed = json!(rest);
    }
    let part = |(setting, value)| (Part::PoolSetting(name.clone(), setting), value);
    let own: Vec<(Part, Value)> = own.into_iter().map(part).collect();
    [vec![(Part::Pool(name), pool)], own].concat()
}

fn volume_parts(name: &str, volume: &Value) -> Vec<(Part, Value)> {
    let part = |setting: &&str| {
        let value = volume.get(*setting)?.clone();
        Some((Part::VolumeSetting(name.to_owned(), (*setting).to_owned()), value))
    };
    VOLUME_SETTINGS.iter().filter_map(part).collect()
}

fn properties(content: &Value) -> impl Iterator<Item = (Part, Value)> {
    let all = content.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    all.into_iter().map(|(name, value)| (Part::Property(name), value))
}

fn feature(feature: Value) -> Option<(Part, Value)> {
    pair(feature).map(|(name, value)| (Part::Feature(name), value))
}

fn pair(pair: Value) -> Option<(String, Value)> {
    let [name, value] = <[Value; 2]>::try_from(pair.as_array()?.clone()).ok()?;
    Some((name.as_str()?.to_owned(), value))
}

fn device_name(device: &Value) -> Option<String> {
    let device: Device = serde_json::from_value(device.clone()).ok()?;
    Some(format!("{} {}", device.class, device.name()))
}
