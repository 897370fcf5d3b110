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

/// Fills a kept volume with what another holds, its size included; any other kind begins each start anew and is left
/// alone. The lifecycle locks of both qubes must be held.
///
/// # Errors
/// The drivers', and for a source that is in use without a committed state beside it; the volume is what it was then.
pub fn import_volume(
    root: &Root,
    pools: &Pools,
    volume: &Volume,
    source: &Volume,
) -> Result<(), StorageError> {
    let is_running = is_running(root, source);
    if is_running && source.has_snapshots_disabled() {
        let text = format!("Volume {} must be stopped before importing its data", source.vid);
        return Err(StorageError::Refused(text));
    }
    let pool = pool_of(pools, source)?;
    let from = driver(root, pool)?;
    let source = Source { volume: source, pool, driver: &*from, is_running };
    driver_of(root, pools, volume)?.import_volume(volume, &source)
}

/// The same by one driver: within itself if it can, else by a copy of what the source's driver exports.
pub(super) fn fill<D: PoolDriver + ?Sized>(
    to: &D,
    volume: &Volume,
    source: &Source<'_>,
) -> Result<(), StorageError> {
    if to.import_directly(volume, source.volume, source.pool)? {
        return Ok(());
    }
    let exported = source.driver.export(source.volume, source.is_running)?;
    let imported = copy(to, volume, &exported);
    imported.and(source.driver.export_end(source.volume, &exported))
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

/// Begins an import, fills it from a file or block device and ends it.
fn copy<D: PoolDriver + ?Sized>(driver: &D, volume: &Volume, from: &Path) -> Result<(), StorageError> {
    let source =
        opened::open(from, Purpose::Reading).map_err(StorageError::io("reading the source of a copy"))?;
    let size = files::length(&source).map_err(StorageError::io("reading the source of a copy"))?;
    driver.check_import(volume)?;
    let path = driver.import_begin(volume, size)?;
    let mut progress = Progress::of(size);
    let copied = opened::open(&path, Purpose::Writing)
        .and_then(|target| {
            clone::copy(&source, &target, &mut |done| progress.tell(done))?;
            target.sync_all()?;
            progress.tell(size);
            Ok(())
        })
        .map_err(StorageError::io("copying a volume"));
    match copied.and_then(|()| driver.import_end(volume)) {
        Ok(()) => Ok(()),
        Err(error) => {
            // What stays of it is cleared by the next import.
            let _ = driver.import_abort(volume);
            Err(error)
        }
    }
}
