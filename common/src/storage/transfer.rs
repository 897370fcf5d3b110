//! Copying one volume's content into another, in whatever pools both lie (spec 20 §6.6).

use std::path::Path;

use super::{PoolDriver, StorageError, clone, driver, driver_of, is_running, pool_of};
use crate::failure::Failure;
use crate::files;
use crate::model::{Pool, Pools, Volume};
use crate::opened::{self, Purpose};
use crate::progress::Progress;
use crate::root::Root;
use crate::upload::{Short, Upload};

/// Room that is made for bytes whose number nobody tells; it is doubled when it is full.
const FIRST_ROOM: u64 = 64 << 20;

/// What a volume is filled from.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub(super) volume: &'a Volume,
    /// Its pool; of a callback pool the one that does the work may stand here.
    pub(super) pool: &'a Pool,
    pub(super) driver: &'a dyn PoolDriver,
    pub(super) is_running: bool,
}

/// Whether a driver has a way of its own to what another volume holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortcut {
    /// There is nothing to do: the volume begins each start anew.
    NotNeeded,
    /// There is room that holds it.
    Taken,
    /// It has none: the content must be copied.
    None,
}

/// Makes room for a kept volume's new content, which is what another holds, and tells whether there is any: any other kind
/// begins each start anew and is left alone. The driver's `clone_end` makes it the volume's, its size included. The
/// lifecycle locks of both qubes must be held.
///
/// # Errors
/// The drivers', and for a source that is in use without a committed state beside it.
pub fn begin_clone(
    root: &Root,
    pools: &Pools,
    volume: &Volume,
    source: &Volume,
) -> Result<bool, StorageError> {
    let is_running = is_running(root, source);
    if is_running && source.has_snapshots_disabled() {
        let text = format!("Volume {} must be stopped before importing its data", source.vid);
        return Err(StorageError::Refused(text));
    }
    let pool = pool_of(pools, source)?;
    let from = driver(root, pool)?;
    let from = Source { volume: source, pool, driver: &*from, is_running };
    driver_of(root, pools, volume)?.clone_begin(volume, &from)
}

/// Fills a volume of a qube that is still being made, likewise. What is left where that fails goes with the qube.
///
/// # Errors
/// As [`begin_clone`].
pub fn clone_volume(
    root: &Root,
    pools: &Pools,
    volume: &Volume,
    source: &Volume,
) -> Result<(), StorageError> {
    match begin_clone(root, pools, volume, source)? {
        true => driver_of(root, pools, volume)?.clone_end(volume, &source.vid),
        false => Ok(()),
    }
}

/// Makes the room by one driver: within itself if it can, else by a copy of what the source's driver exports.
pub(super) fn fill<D: PoolDriver + ?Sized>(
    to: &D,
    volume: &Volume,
    source: &Source<'_>,
) -> Result<bool, StorageError> {
    match to.clone_directly(volume, source.volume, source.pool)? {
        Shortcut::NotNeeded => return Ok(false),
        Shortcut::Taken => return Ok(true),
        Shortcut::None => {}
    }
    let exported = source.driver.export(source.volume, source.is_running)?;
    let copied = copy(to, volume, &exported);
    copied.and(source.driver.export_end(source.volume, &exported)).map(|()| true)
}

/// Fills a volume of a qube that is still being made with all that comes. Gives its size then.
///
/// # Errors
/// The driver's, and `Data import failed: …`.
pub fn import_stream(root: &Root, pools: &Pools, volume: &Volume, upload: &Upload) -> Result<u64, Failure> {
    let driver = driver_of(root, pools, volume)?;
    driver.check_import(volume)?;
    let path = driver.import_begin(volume, FIRST_ROOM)?;
    let room = opened::open(&path, Purpose::Writing).map_err(Short::from)?;
    let size = upload.pour_all(&room, FIRST_ROOM, |size| Ok(driver.import_resize(volume, size)?))?;
    driver.import_resize(volume, size)?;
    driver.import_end(volume)?;
    Ok(driver.size(volume)?)
}

/// Begins an import and fills it from a file or block device.
fn copy<D: PoolDriver + ?Sized>(driver: &D, volume: &Volume, from: &Path) -> Result<(), StorageError> {
    let source =
        opened::open(from, Purpose::Reading).map_err(StorageError::io("reading the source of a copy"))?;
    let size = files::length(&source).map_err(StorageError::io("reading the source of a copy"))?;
    driver.check_import(volume)?;
    let path = driver.import_begin(volume, size)?;
    let mut progress = Progress::of(size);
    let copied = opened::open(&path, Purpose::Writing).and_then(|target| {
        clone::copy(&source, &target, &mut |done| progress.tell(done))?;
        target.sync_all()?;
        progress.tell(size);
        Ok(())
    });
    copied.map_err(StorageError::io("copying a volume"))
}
