//! Storage pools: the driver trait and the drivers (spec 20).

pub mod callback;
mod clone;
mod ephemeral;
mod error;
mod file;
pub mod file_reflink;
pub mod import;
mod in_use;
mod layout;
mod linux_kernel;
mod loop_device;
pub mod lvm_thin;
pub mod options;
mod snapshots;
mod space;
pub mod thin_directory;
mod token;
mod transfer;
pub mod unfinished;
mod usage;
mod whole;
pub mod zfs;

pub use clone::supports_clone;
pub use error::StorageError;
pub use in_use::{Started, check_sources, is_running, start_all, stop_all, stop_halted, verify_all};
pub use layout::{DefaultPool, FindQube, Layout};
pub use snapshots::has_device_mapper;
pub use space::{Capacity, included_in, thin_pool_under};
pub use token::{
    CloneSource, FOLDER as TOKENS, issue as issue_token, look_up as look_up_token, redeem as redeem_token,
};
pub use transfer::{Shortcut, Source, begin_clone, clone_volume, import_stream};
pub use usage::Usage;
pub use whole::{check_new, create_all};

use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use crate::log;
use crate::model::{Pool, Pools, Volume};
use crate::root::Root;

/// An old state of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// What calls name it by, unique in its volume.
    pub id: String,
    /// When it was the volume's state: UTC, `YYYY-MM-DDTHH:MM:SS`, with a fraction where the driver has one.
    pub time: String,
}

/// What a caller asks to change about a volume, where a driver may have limits of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// How many old states are kept, -1 or more.
    RevisionsToKeep(i64),
    /// Whether the domain may write.
    Rw(bool),
    /// Whether it is encrypted with a throw-away key.
    Ephemeral(bool),
}

/// What every driver does, for one pool. A volume is told by its configuration, and what is on disk tells the rest: a
/// driver keeps no state. Sizes are bytes.
///
/// Whoever changes a volume holds the lifecycle lock of its qube. Each change takes effect at one instant, so that a
/// killed call leaves the volume as it was or as it shall be, and what lies about then is cleared by the next change.
/// Every method fails with [`StorageError::Io`] where the system refuses, and does nothing usable then; the other
/// errors are named below. A method without a body of its own answers [`StorageError::Unsupported`].
#[allow(clippy::missing_errors_doc, reason = "told above for all")]
pub trait PoolDriver {
    /// Whether a volume of this kind may lie in the pool at all: [`StorageError::Refused`] if not.
    fn can_hold(&self, volume: &Volume) -> Result<(), StorageError>;

    /// Whether a new volume can be made: it is described in full, and nothing of others lies in its place.
    /// [`StorageError::Refused`] if not.
    fn check_new(&self, _: &Volume) -> Result<(), StorageError> {
        Ok(())
    }

    /// Whether a volume may be changed so; the error's text is the specification's (spec 20 §4.9 to §4.11).
    fn check_setting(&self, _: Setting) -> Result<(), StorageError> {
        Ok(())
    }

    /// Makes a new volume, empty or to be filled at start.
    fn create(&self, volume: &Volume) -> Result<(), StorageError>;

    /// Removes a volume with all that belongs to it; absence is fine.
    fn remove(&self, volume: &Volume) -> Result<(), StorageError>;

    /// Whether all that a start needs is there: [`StorageError::Refused`] names what is missing.
    fn verify(&self, volume: &Volume) -> Result<(), StorageError>;

    /// Makes the volume ready for a domain. A kept one that was not stopped cleanly goes on where it was.
    fn start(&self, volume: &Volume) -> Result<(), StorageError>;

    /// Ends a domain's use: commits what is kept, drops what is not. Harmless for a volume that is not in use.
    fn stop(&self, volume: &Volume) -> Result<(), StorageError>;

    /// What a started volume's domain is given: an image file or a block device. None for a volume without content.
    fn block_device(&self, volume: &Volume) -> Result<Option<PathBuf>, StorageError>;

    /// Name of the mapping by which a volume is encrypted, where the driver has names of its own for them.
    fn mapping(&self, _: &Volume) -> Option<String> {
        None
    }

    /// The `path` line of Info, whether or not such a file exists; none prints as empty.
    fn path(&self, _: &Volume) -> Option<PathBuf> {
        None
    }

    /// The size it has, or shall have where nothing is on disk yet.
    fn size(&self, volume: &Volume) -> Result<u64, StorageError> {
        Ok(volume.size)
    }

    /// The space its own data take; 0 where nothing is on disk yet.
    fn usage(&self, _: &Volume) -> Result<u64, StorageError> {
        Ok(0)
    }

    /// Whether it holds changes that were not committed: a domain uses it, or ended without a stop.
    fn is_dirty(&self, _: &Volume) -> Result<bool, StorageError> {
        Ok(false)
    }

    /// Whether a started snapshot's source was committed anew since. None where the driver cannot tell.
    fn is_outdated(&self, _: &Volume) -> Result<Option<bool>, StorageError> {
        Ok(Some(false))
    }

    /// How many old states of a volume are kept.
    fn revisions_to_keep(&self, volume: &Volume) -> i64 {
        volume.revisions_to_keep
    }

    /// Old states, oldest first.
    fn revisions(&self, _: &Volume) -> Result<Vec<Revision>, StorageError> {
        Ok(Vec::new())
    }

    /// Keeps the committed state as a new revision, prunes to as many as the volume keeps, and gives the new id. The
    /// caller has made sure that the volume is kept, clean and keeps at least one.
    fn snapshot(&self, _: &Volume) -> Result<String, StorageError> {
        Err(StorageError::Unsupported("snapshot"))
    }

    /// Makes a revision, by an id that [`PoolDriver::revisions`] gave, the committed state.
    /// [`StorageError::Refused`] if the volume is dirty.
    fn revert(&self, _: &Volume, _id: &str) -> Result<(), StorageError> {
        Err(StorageError::Unsupported("revert"))
    }

    /// Gives a volume another size, larger or smaller, also while a domain uses it. The caller then stores the size.
    /// [`StorageError::Refused`] for one that is read-only.
    fn resize(&self, _: &Volume, _size: u64) -> Result<(), StorageError> {
        Err(StorageError::Unsupported("resize"))
    }

    /// A file or block device to read the volume's committed state from, until [`PoolDriver::export_end`]. `running`
    /// tells whether a domain uses the volume. [`StorageError::Refused`] for volumes that have no such state now.
    fn export(&self, volume: &Volume, running: bool) -> Result<PathBuf, StorageError>;

    /// Ends an export; harmless for one that has ended.
    fn export_end(&self, _: &Volume, _exported: &Path) -> Result<(), StorageError> {
        Ok(())
    }

    /// Ends exports of a volume that are known to nobody, as those of a killed process whose driver was at work. What someone reads
    /// from stays.
    fn end_lost_exports(&self, _: &Volume) -> Result<(), StorageError> {
        Ok(())
    }

    /// Whether what was exported, once opened, stays what it was, whatever becomes of the volume. Where it does not, no domain
    /// may begin to use the volume meanwhile.
    fn keeps_exports(&self, volume: &Volume) -> bool {
        !volume.has_snapshots_disabled()
    }

    /// Whether the volume can be given new content now. [`StorageError::Refused`] if not.
    fn check_import(&self, _: &Volume) -> Result<(), StorageError> {
        Err(StorageError::Unsupported("import"))
    }

    /// Makes room, all zeros, for new content of `size` bytes, in place of an import that was abandoned. The volume
    /// stays what it is until [`PoolDriver::import_end`]. The caller has made sure of [`PoolDriver::check_import`].
    fn import_begin(&self, _: &Volume, _size: u64) -> Result<PathBuf, StorageError> {
        Err(StorageError::Unsupported("import_begin"))
    }

    /// Gives the room of an import another size, or the next larger one that the driver has; what it holds stays as far as
    /// it fits.
    fn import_resize(&self, _: &Volume, _size: u64) -> Result<(), StorageError> {
        Err(StorageError::Unsupported("import_resize"))
    }

    /// Whether there is room of an import that did not become the volume's content yet.
    fn has_import(&self, _: &Volume) -> Result<bool, StorageError> {
        Ok(false)
    }

    /// Makes the imported content the committed state, and what was one a revision as far as those are kept. One that
    /// was killed here is done again as long as there is [`PoolDriver::has_import`].
    fn import_end(&self, _: &Volume) -> Result<(), StorageError> {
        Err(StorageError::Unsupported("import_end"))
    }

    /// Does what follows when new content became the volume's, as a call that was killed there did not: it changes nothing
    /// of what the volume holds, and may be done any number of times.
    fn tidy(&self, _: &Volume) -> Result<(), StorageError> {
        Ok(())
    }

    /// Forgets an import and what came of it; harmless if there is none.
    fn import_abort(&self, _: &Volume) -> Result<(), StorageError> {
        Err(StorageError::Unsupported("import_abort"))
    }

    /// Makes room that holds what another volume holds, as an import that has all its bytes, and tells whether there is
    /// any: a volume that is not kept needs nothing. The volume stays what it is until [`PoolDriver::clone_end`].
    fn clone_begin(&self, volume: &Volume, source: &Source<'_>) -> Result<bool, StorageError> {
        transfer::fill(self, volume, source)
    }

    /// The same without a copy through the system, where the driver has a way. `pool` is the source's.
    /// [`StorageError::Refused`] where the driver takes nothing from there.
    fn clone_directly(&self, volume: &Volume, _: &Volume, _pool: &Pool) -> Result<Shortcut, StorageError> {
        Ok(if volume.save_on_stop { Shortcut::None } else { Shortcut::NotNeeded })
    }

    /// As [`PoolDriver::import_end`], for a clone of the volume of that identifier.
    fn clone_end(&self, volume: &Volume, _source: &str) -> Result<(), StorageError> {
        self.import_end(volume)
    }

    /// As [`PoolDriver::import_abort`], for a clone.
    fn clone_abort(&self, volume: &Volume) -> Result<(), StorageError> {
        self.import_abort(volume)
    }

    /// Makes a new pool ready for volumes; what was not there before is gone again if that fails. The pool's settings
    /// are complete, those that are not stored included. [`StorageError::Refused`] if it cannot be one.
    fn set_up(&self, pool: &Pool) -> Result<(), StorageError>;

    /// How large the pool is.
    fn capacity(&self) -> Result<Capacity, StorageError>;

    /// Whether there is a volume of that identifier in the pool, also one that no qube has; no where the driver cannot
    /// tell.
    fn holds(&self, _vid: &str) -> Result<bool, StorageError> {
        Ok(false)
    }

    /// Identifiers of all volumes in the pool, where it can tell; none where only the qubes can.
    fn volumes(&self) -> Result<Option<Vec<String>>, StorageError> {
        Ok(None)
    }
}

/// The driver of a pool.
///
/// # Errors
/// [`StorageError::Refused`] for drivers that are not served and for missing settings.
pub fn driver(root: &Root, pool: &Pool) -> Result<Box<dyn PoolDriver>, StorageError> {
    match pool.driver.as_str() {
        callback::DRIVER => Ok(Box::new(callback::Callback::of(root, pool)?)),
        _ => served(root, pool),
    }
}

/// What is kept of a driver: an executable has no more of it.
trait Keep {
    /// That of this driver.
    fn keep(driver: impl PoolDriver + 'static) -> Self;
}

impl Keep for Box<dyn PoolDriver> {
    fn keep(driver: impl PoolDriver + 'static) -> Self {
        Box::new(driver)
    }
}

/// The driver of a pool that does its work itself.
fn served<K: Keep>(root: &Root, pool: &Pool) -> Result<K, StorageError> {
    let directory = || required(pool, "dir_path").map(|path| root.path(&path));
    Ok(match pool.driver.as_str() {
        "file-reflink" => K::keep(file_reflink::FileReflink::at(directory()?)),
        "file" => K::keep(file::File::at(root, directory()?)),
        "linux-kernel" => K::keep(linux_kernel::LinuxKernel::at(directory()?)),
        "lvm_thin" => K::keep(lvm_thin::LvmThin::of(root, pool)?),
        "zfs" => K::keep(zfs::ZfsPool::of(root, pool)?),
        other => return Err(StorageError::Refused(format!("Storage driver {other} is not available"))),
    })
}

/// A setting without which a pool is none.
fn required(pool: &Pool, key: &str) -> Result<String, StorageError> {
    let missing = || format!("missing required driver options: {key} of pool {}", pool.name);
    pool.setting(key).map(str::to_owned).ok_or_else(|| StorageError::Refused(missing()))
}

/// The driver of a volume's pool.
///
/// # Errors
/// As [`driver`], and for a pool that is not there.
pub fn driver_of(root: &Root, pools: &Pools, volume: &Volume) -> Result<Box<dyn PoolDriver>, StorageError> {
    driver(root, pool_of(pools, volume)?)
}

fn pool_of<'p>(pools: &'p Pools, volume: &Volume) -> Result<&'p Pool, StorageError> {
    let pool = pools.find(volume.pool.as_str());
    pool.ok_or_else(|| StorageError::UnknownPool(volume.pool.clone()))
}

/// Whether a volume is encrypted with a throw-away key from its next start on (spec 20 §6.1).
pub fn is_ephemeral(root: &Root, pools: &Pools, volume: &Volume) -> bool {
    let worker = |pool| callback::worker(root, pool).ok();
    pools.find(volume.pool.as_str()).and_then(worker).is_some_and(|pool| volume.is_ephemeral(&pool))
}

/// Logs what could not be tidied up after a change that took effect.
fn log_untidied(volume: &Volume, done: Result<(), impl std::fmt::Display>) {
    if let Err(error) = done {
        log::line(&format!("volume {} is not tidied up: {error}", volume.vid));
    }
}

/// A whole number as programs print it.
fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

/// A time in seconds since the epoch as the drivers write it: UTC, `YYYY-MM-DDTHH:MM:SS` (spec 20 §7).
fn isodate(seconds: u64) -> String {
    const LAST_SECOND_OF_9999: u64 = 253_402_300_799;
    let time = UNIX_EPOCH.checked_add(Duration::from_secs(seconds.min(LAST_SECOND_OF_9999)));
    let text = humantime::format_rfc3339_seconds(time.unwrap_or(UNIX_EPOCH)).to_string();
    text.trim_end_matches('Z').to_owned()
}
