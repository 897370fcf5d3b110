//! Imports as the store knows them, so that one that was killed ends as if it had ended itself: its volume has the old
//! content or the new, listeners are told which, exactly once, and nothing half-made stays.
//!
//! An import marks its volume before it makes anything, and takes the mark back in the change that publishes its end.
//! Whoever takes the qube's lifecycle lock and finds a mark knows that its import was killed, and ends it ([`settle_without_drivers`]).
//! Whoever changes anything else in the store tells listeners at least ([`announce_abandoned`]): that needs no driver.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Duration;

use super::{PoolDriver, StorageError, driver_of, options};
use crate::event::Event;
use crate::failure::Failure;
use crate::model::{Import, Qube, Volume};
use crate::names::QubeName;
use crate::root::Root;
use crate::store::{Store, StoreError, Txn};
use crate::{log, run};

/// Folder in `/run` with a file for each qube that takes in bytes, so that nobody has to look for them.
pub const FOLDER: &str = "imports";
/// The program that ends killed imports.
const PROGRAM: &str = "qubes-run";
/// How long that may take.
const DEADLINE: Duration = Duration::from_secs(600);

/// An event of an import.
pub fn event(qube: &QubeName, volume: &Volume, name: &str) -> Event {
    Event::on(qube, name).with("volume", volume.name.as_str())
}

/// Publishes the end of an import.
fn announce_end(txn: &mut Txn<'_>, qube: &QubeName, volume: &Volume, success: bool) {
    let ended = event(qube, volume, "domain-volume-import-end");
    txn.event(ended.with("success", options::text_of(success)));
}

/// Marks a volume, or takes its mark back.
///
/// # Errors
/// What the store says.
pub fn mark(
    txn: &mut Txn<'_>,
    qube: &QubeName,
    volume: &Volume,
    import: Option<Import>,
) -> Result<(), StoreError> {
    edit(txn, qube, volume, |volume| volume.import = import)
}

fn edit(
    txn: &mut Txn<'_>,
    qube: &QubeName,
    volume: &Volume,
    edit: impl FnOnce(&mut Volume),
) -> Result<(), StoreError> {
    txn.edit_qube(qube, |qube| {
        if let Some(volume) = qube.volumes.iter_mut().find(|found| found.name == volume.name) {
            edit(volume);
        }
    })
}

/// Begins an import, or a clone, in the store; an import that was never ended ends here.
///
/// # Errors
/// What the store says.
pub fn begin(txn: &mut Txn<'_>, qube: &QubeName, volume: &Volume, import: Import) -> Result<(), StoreError> {
    if volume.import.as_ref().is_some_and(Import::is_announced) {
        announce_end(txn, qube, volume, false);
    }
    mark(txn, qube, volume, Some(import))
}

/// Takes back an import that could not begin. Listeners may have been told of it even so, by a change that was made and
/// could not be confirmed. Where something it made is still there, a mark stays by which it is cleared away.
///
/// # Errors
/// What the store says.
pub fn cancel(
    txn: &mut Txn<'_>,
    qube: &QubeName,
    volume: &Volume,
    is_forgotten: bool,
) -> Result<(), StoreError> {
    let stored = txn.qube(qube)?;
    let stored = stored.as_ref().and_then(|qube| qube.volume(&volume.name)?.import.as_ref());
    match (stored.is_some_and(Import::is_announced), is_forgotten) {
        (true, true) => end(txn, qube, volume, None),
        (true, false) => abandon(txn, qube, volume),
        (false, true) => mark(txn, qube, volume, None),
        (false, false) => Ok(()),
    }
}

/// Ends an import in the store: with its new size if the volume has new content.
///
/// # Errors
/// What the store says.
pub fn end(
    txn: &mut Txn<'_>,
    qube: &QubeName,
    volume: &Volume,
    imported: Option<u64>,
) -> Result<(), StoreError> {
    edit(txn, qube, volume, |volume| {
        volume.import = None;
        volume.size = imported.unwrap_or(volume.size);
    })?;
    announce_end(txn, qube, volume, imported.is_some());
    Ok(())
}

/// Tells of the end of an import that came to nothing, where what it made is still there: the next one who holds the
/// qube's lifecycle lock clears it away.
///
/// # Errors
/// What the store says.
pub fn abandon(txn: &mut Txn<'_>, qube: &QubeName, volume: &Volume) -> Result<(), StoreError> {
    mark(txn, qube, volume, Some(Import::Abandoned))?;
    announce_end(txn, qube, volume, false);
    Ok(())
}

/// Ends a clone in the store: the volume holds what the one of this identifier held, and is as large.
///
/// # Errors
/// What the store says.
pub fn end_clone(
    txn: &mut Txn<'_>,
    qube: &QubeName,
    volume: &Volume,
    source: &str,
    size: u64,
) -> Result<(), StoreError> {
    edit(txn, qube, volume, |volume| {
        volume.import = None;
        volume.size = size;
    })?;
    let name = volume.name.as_str();
    txn.event(Event::on(qube, "domain-import-volume").with("name", name).with("source", source));
    Ok(())
}

fn note(store: &Store, qube: &QubeName) -> PathBuf {
    store.run_directory().join(FOLDER).join(qube.as_str())
}

/// Notes that a qube takes in bytes; its lifecycle lock must be held for as long. Without the note a killed import is
/// told of later, when somebody takes that lock.
pub fn take_note(store: &Store, qube: &QubeName) {
    if let Err(error) = store.vfs().create(&note(store, qube), b"", false) {
        log::line(&format!("an import into {qube} is not noted: {error}"));
    }
}

/// Drops the note.
pub fn drop_note(store: &Store, qube: &QubeName) {
    let _ = store.vfs().remove(&note(store, qube));
}

/// Has ended what was killed in the middle of an import into a qube's volumes, whose lifecycle lock is held: by a program
/// that has the drivers, so that not everybody needs them who takes that lock. It has the lock as long as it runs.
pub(crate) fn settle_without_drivers(store: &Store, root: &Root, name: &QubeName, held: BorrowedFd<'_>) {
    let qube = store.read_one().and_then(|view| view.qube(name));
    let words = ["imports", name.as_str()];
    let settled = match qube {
        Ok(qube) if !qube.as_ref().is_some_and(|qube| has_abandoned(qube)) => return drop_note(store, name),
        Ok(_) => run::of_ours_holding(root, PROGRAM, &words, held, DEADLINE).map(drop),
        Err(error) => Err(io::Error::other(error.to_string())),
    };
    if let Err(error) = settled {
        log::line(&format!("an import into {name} waits to be ended: {error}"));
    }
}

/// As [`end_clone`], with all that follows for the qube.
pub type EndClone = fn(&mut Txn<'_>, &Qube, &Volume, &str, u64) -> Result<(), Failure>;

/// Ends what was killed in the middle of an import into a qube's volumes; its lifecycle lock must be held. What cannot be
/// ended is logged and left to whoever takes that lock next. `end_clone` ends a clone in the store.
pub fn settle(store: &Store, root: &Root, name: &QubeName, end_clone: EndClone) {
    match settle_all(store, root, name, end_clone) {
        Ok(()) => drop_note(store, name),
        Err(failure) => {
            log::line(&format!("an import into {name} waits to be ended: {}", failure.into_text()));
        }
    }
}

fn settle_all(store: &Store, root: &Root, name: &QubeName, end_clone: EndClone) -> Result<(), Failure> {
    let view = store.read_one()?;
    let Some(qube) = view.qube(name)?.filter(|qube| has_abandoned(qube)) else { return Ok(()) };
    let pools = view.pools()?;
    for volume in &qube.volumes {
        if let Some(import) = volume.import.as_ref().filter(|import| import.is_locked()) {
            let driver = driver_of(root, &pools, volume)?;
            settle_one(store, &*driver, &qube, volume, import, end_clone)?;
        }
    }
    Ok(())
}

/// Whether an import into one of a qube's volumes was killed, if nobody holds its lifecycle lock.
pub fn has_abandoned(qube: &Qube) -> bool {
    qube.volumes.iter().any(|volume| volume.import.as_ref().is_some_and(Import::is_locked))
}

fn settle_one(
    store: &Store,
    driver: &dyn PoolDriver,
    qube: &Qube,
    volume: &Volume,
    import: &Import,
    end_clone: EndClone,
) -> Result<(), Failure> {
    let imported = settle_content(driver, volume, import)?;
    let mut txn = store.write()?;
    match (import, imported) {
        (Import::Cloned(source), Some(size)) => end_clone(&mut txn, qube, volume, source, size)?,
        _ if import.is_announced() => end(&mut txn, &qube.name, volume, imported)?,
        _ => mark(&mut txn, &qube.name, volume, None)?,
    }
    Ok(txn.commit()?)
}

/// Gives a volume the content that was complete, and then tells its size; forgets any other.
fn settle_content(
    driver: &dyn PoolDriver,
    volume: &Volume,
    import: &Import,
) -> Result<Option<u64>, StorageError> {
    match import {
        Import::Ending | Import::Cloned(_) if !driver.has_import(volume)? => driver.tidy(volume)?,
        Import::Ending => driver.import_end(volume)?,
        Import::Cloned(source) => driver.clone_end(volume, source)?,
        Import::Cloning => return driver.clone_abort(volume).map(|()| None),
        _ => return driver.import_abort(volume).map(|()| None),
    }
    driver.size(volume).map(Some)
}

/// Tells listeners of imports that were killed while their bytes came. The store's lock must not be held.
pub(crate) fn announce_abandoned(store: &Store) {
    let noted = store.vfs().list(&store.run_directory().join(FOLDER)).unwrap_or_default();
    for name in noted.iter().filter_map(|name| QubeName::parse(name).ok()) {
        if let Err(error) = announce_one(store, &name) {
            log::line(&format!("an import into {name} waits to be ended: {error}"));
        }
    }
}

fn announce_one(store: &Store, name: &QubeName) -> Result<(), StoreError> {
    let Some(_lifecycle) = store.try_lock_lifecycle(name)? else { return Ok(()) };
    let mut txn = store.write()?;
    let qube = txn.qube(name)?;
    let volumes = qube.iter().flat_map(|qube| &qube.volumes);
    for volume in volumes.filter(|volume| volume.import == Some(Import::Streaming)) {
        abandon(&mut txn, name, volume)?;
    }
    txn.commit()?;
    drop_note(store, name);
    Ok(())
}
