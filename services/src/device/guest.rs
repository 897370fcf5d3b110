//! What guests write about their devices into their QubesDB. Anything may stand there.

use std::collections::BTreeMap;

use common::log;
use common::names::{Ascii, GuestText, QubeName};
use common::qubesdb::Database;
use common::root::Root;

/// What is known of one device: keys with values.
pub(super) type Record = BTreeMap<String, String>;

/// The records in a folder of a qube's QubesDB by their names. None where the database cannot be read, which is logged.
pub(super) fn records(root: &Root, qube: &QubeName, folder: &str) -> BTreeMap<String, Record> {
    let mut records: BTreeMap<String, Record> = BTreeMap::new();
    for (key, value) in entries(root, qube, folder) {
        if let Some((name, key)) = key.strip_prefix(folder).and_then(|rest| rest.split_once('/')) {
            records.entry(name.to_owned()).or_default().insert(key.to_owned(), value);
        }
    }
    records
}

/// All entries of a qube's QubesDB whose keys begin like that.
pub(super) fn entries(root: &Root, qube: &QubeName, prefix: &str) -> Vec<(String, String)> {
    let read = || match Database::of(root, qube)? {
        Some(mut database) => database.below(prefix),
        None => Ok(Vec::new()),
    };
    let written = read().unwrap_or_else(|error| {
        log::line(&format!("devices of {qube}: {error}"));
        Vec::new()
    });
    let meant = written.iter().filter_map(|(key, value)| {
        let key = key.sanitise::<Ascii>().ok()?;
        Some((String::from(key), value.sanitise::<GuestText>().ok()?.as_str().to_owned()))
    });
    meant.collect()
}
