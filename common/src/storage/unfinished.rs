//! Making and clearing away what a qube has outside the store, so that a kill leaves nothing for ever.
//!
//! Before its first file is touched a record of the qube and its pools is made durable in the store's `unfinished/`.
//! It goes when the files agree with the store again. One that stays tells the next call of that name, and
//! `qubes-admin check --repair`, what to clear. The qube's lifecycle lock must be held by whoever writes or ends one.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::whole::remove_all;
use crate::failure::Failure;
use crate::model::{Pools, Qube};
use crate::names::QubeName;
use crate::root::Root;
use crate::store::{Key, Store, StoreError, decode, encode};

const FOLDER: &str = "unfinished";

/// A qube whose files may be there although it is not in the store, and the pools they lie in.
#[derive(Serialize, Deserialize)]
struct Record {
    qube: Qube,
    pools: Pools,
    /// Whether all that is in the home directory is the qube's: one that was there before its qube may be somebody's.
    owns_home: bool,
}

fn file(name: &QubeName) -> String {
    format!("{FOLDER}/{name}.json")
}

fn path(store: &Store, name: &QubeName) -> PathBuf {
    store.state_directory().join(file(name))
}

/// Records, durably, that the files of a qube are about to be made or cleared away, if its class has any.
///
/// # Errors
/// What the file system says; nothing may be touched then.
pub fn begin(store: &Store, root: &Root, qube: &Qube, pools: &Pools) -> Result<(), StoreError> {
    let (Some(home), vfs) = (qube.home(), store.vfs()) else { return Ok(()) };
    let is_stored = vfs.exists(&store.state_directory().join(Key::Qube(qube.name.clone()).file()));
    let is_stored = is_stored.map_err(StoreError::io("looking for a qube"))?;
    let owns_home = is_stored || !root.lib().join(home).exists();
    let record = encode(0, &Record { qube: qube.clone(), pools: pools.clone(), owns_home })?;
    store
        .put(&path(store, &qube.name), &record, true)
        .and_then(|()| vfs.sync_directory(&store.state_directory().join(FOLDER)))
        .map_err(StoreError::io("recording what is about to be made or cleared away"))
}

/// Makes the files agree with the store: those of a qube that is not there are cleared away.
///
/// # Errors
/// What stands in the way, which is logged too; the record stays then.
pub fn settle(store: &Store, root: &Root, name: &QubeName) -> Result<(), Failure> {
    let reading = StoreError::io("reading what is unfinished");
    let Some(bytes) = store.vfs().read(&path(store, name)).map_err(reading)? else { return Ok(()) };
    let (_, record) = decode::<Record>(&file(name), &bytes)?;
    if !store.read()?.exists(name)? {
        remove_all(root, &record.pools, &record.qube, record.owns_home)?;
    }
    Ok(store.vfs().remove(&path(store, name)).map_err(StoreError::io("ending what was unfinished"))?)
}

/// Names of the qubes that have a record: a call is at work on them, or was killed there.
///
/// # Errors
/// What the file system says.
pub fn all(store: &Store) -> Result<Vec<QubeName>, StoreError> {
    let files = store.vfs().list(&store.state_directory().join(FOLDER));
    let files = files.map_err(StoreError::io("listing what is unfinished"))?;
    Ok(files.iter().filter_map(|file| QubeName::parse(file.strip_suffix(".json")?).ok()).collect())
}

/// Those among them that no call is at work on: it was killed there.
///
/// # Errors
/// What the file system says.
pub fn abandoned(store: &Store) -> Result<Vec<QubeName>, StoreError> {
    Ok(all(store)?.into_iter().filter(|name| !store.is_busy(name)).collect())
}

/// Ends what killed calls left behind, whatever qube it is of.
///
/// # Errors
/// As [`settle`], for the first that stays.
pub fn settle_abandoned(store: &Store, root: &Root) -> Result<(), Failure> {
    abandoned(store)?.iter().try_for_each(|name| {
        let _lifecycle = store.lock_lifecycle(name)?;
        settle(store, root, name)
    })
}
