//! Changes of files that are configuration: policy's, and qubes' notes.

use std::path::{Path, PathBuf};

use common::model::Qube;
use common::past;
use common::policy::DIRECTORY;
use common::root::Root;
use common::store::Store;
use serde_json::Value;

use super::Change;
use super::item::{Item, Part, Place};
use crate::tool::out::Stop;

/// What policy files' names end in.
const ENDING: &str = ".policy";
const INCLUDED: &str = "include";

/// All known changes of files, of each its oldest first.
pub(super) fn changes(root: &Root, store: &Store) -> Result<Vec<Change>, Stop> {
    let directory = root.path(DIRECTORY);
    let main = |name: &str| name.strip_suffix(ENDING).map(|name| Place::Policy(name.to_owned()));
    let included = |name: &str| Some(Place::Included(name.to_owned()));
    let mut places = with_past(&directory, main)?;
    places.extend(with_past(&directory.join(INCLUDED), included)?);
    let view = store.read()?;
    for name in view.names()? {
        places.extend(view.qube(&name)?.and_then(|qube| notes(root, &qube)));
    }
    let mut changes = Vec::new();
    for (place, path) in places {
        let known = past::changes(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        changes.extend(known.into_iter().map(|change| told(&place, change)));
    }
    Ok(changes)
}

/// The files of a directory with a past.
fn with_past(directory: &Path, place: impl Fn(&str) -> Option<Place>) -> Result<Vec<(Place, PathBuf)>, Stop> {
    let names =
        past::files_with_past(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let found = names.iter().filter_map(|name| Some((place(name)?, directory.join(name))));
    Ok(found.collect())
}

/// Where a qube's notes are.
fn notes(root: &Root, qube: &Qube) -> Option<(Place, PathBuf)> {
    Some((Place::Notes(qube.name.clone()), services::notes::path(root, qube)?))
}

fn told(place: &Place, change: past::Change) -> Change {
    let past::Change { number, time, caller, method, before, after, is_edited } = change;
    let content = |bytes: Option<Vec<u8>>| bytes.map(|bytes| Value::from(String::from_utf8_lossy(&bytes)));
    let (before, after) = (content(before), content(after));
    let item = Item { place: place.clone(), part: Part::Content, before, after, is_edited };
    Change { id: place.id(number), time, caller, method, items: vec![item] }
}

/// What a file holds now.
pub(super) fn present(root: &Root, store: &Store, place: &Place) -> Result<Option<Value>, Stop> {
    let directory = root.path(DIRECTORY);
    let path = match place {
        Place::Policy(name) => Some(directory.join(format!("{name}{ENDING}"))),
        Place::Included(name) => Some(directory.join(INCLUDED).join(name)),
        Place::Notes(name) => store.read()?.qube(name)?.and_then(|qube| services::notes::path(root, &qube)),
        Place::Stored(_) => None,
    };
    let content = path.map_or(Ok(None), |path| common::files::read_if_present(&path));
    let content = content.map_err(|error| error.to_string())?;
    Ok(content.map(|bytes| Value::from(String::from_utf8_lossy(&bytes))))
}
