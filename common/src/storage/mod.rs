//! Storage pools: the driver trait, the drivers, and making and removing a qube's volumes together (spec 20).

mod clone;
mod file;
mod file_reflink;
mod layout;
mod linux_kernel;
pub mod unfinished;

pub use clone::supports_clone;
pub use layout::{DefaultPool, FindQube, Layout};

use std::io;
use std::path::{Path, PathBuf};

use crate::failure::{Exception, Failure};
use crate::model::{Pool, Pools, Qube, Volume};
use crate::root::Root;
use crate::{autostart, files, log};

const HOME_MODE: u32 = 0o775;

/// Why a driver refused or failed. The text is the client's.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A rule of the driver.
    #[error("{0}")]
    Refused(String),
    /// The system refused a file operation.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// The cause.
        source: io::Error,
    },
}

impl StorageError {
    /// Names what was being done when the system refused.
    pub fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        Self::new(Exception::StoragePoolException, error.to_string())
    }
}

/// What every driver does. Volumes are told by their configuration; a driver keeps no state of its own.
pub trait PoolDriver {
    /// Whether a volume of this kind may lie in the pool at all.
    ///
    /// # Errors
    /// [`StorageError::Refused`].
    fn can_hold(&self, volume: &Volume) -> Result<(), StorageError>;

    /// Whether a new volume can be made: it is described in full, and nothing of others lies in its place.
    ///
    /// # Errors
    /// [`StorageError::Refused`].
    fn check_new(&self, _: &Volume) -> Result<(), StorageError> {
        Ok(())
    }

    /// Makes a new volume, empty or to be filled at start.
    ///
    /// # Errors
    /// [`StorageError`]; nothing usable is left then.
    fn create(&self, volume: &Volume) -> Result<(), StorageError>;

    /// Removes a volume with all its images; absence is fine.
    ///
    /// # Errors
    /// [`StorageError`].
    fn remove(&self, volume: &Volume) -> Result<(), StorageError>;

    /// A file to read the volume's committed state from. `running` tells whether a domain uses the volume.
    ///
    /// # Errors
    /// [`StorageError::Refused`] for volumes that have no such state now.
    fn export(&self, volume: &Volume, running: bool) -> Result<PathBuf, StorageError>;

    /// Replaces what a kept volume holds with what a file holds, its size included; the old state is kept as the
    /// driver keeps those.
    ///
    /// # Errors
    /// [`StorageError`]; the volume holds what it held then.
    fn import(&self, volume: &Volume, from: &Path) -> Result<(), StorageError>;
}

/// The driver of a pool.
///
/// # Errors
/// [`StorageError::Refused`] for drivers that are not served and for missing settings.
pub fn driver(root: &Root, pool: &Pool) -> Result<Box<dyn PoolDriver>, StorageError> {
    let directory = || -> Result<PathBuf, StorageError> {
        let setting = pool.setting("dir_path");
        let text = format!("missing required driver options: dir_path of pool {}", pool.name);
        setting.map(|path| root.path(path)).ok_or(StorageError::Refused(text))
    };
    match pool.driver.as_str() {
        "file-reflink" => Ok(Box::new(file_reflink::FileReflink::at(directory()?))),
        "file" => Ok(Box::new(file::File::at(directory()?))),
        "linux-kernel" => Ok(Box::new(linux_kernel::LinuxKernel)),
        other => Err(StorageError::Refused(format!("Storage driver {other} is not available"))),
    }
}

fn driver_of(root: &Root, pools: &Pools, volume: &Volume) -> Result<Box<dyn PoolDriver>, StorageError> {
    let pool = pools.find(volume.pool.as_str());
    let unknown = || StorageError::Refused(format!("Unknown storage pool {}", volume.pool));
    driver(root, pool.ok_or_else(unknown)?)
}

/// Checks that all volumes of a qube can be made, before anything is.
///
/// # Errors
/// The first refusing driver's, in definition order.
pub fn check_new(root: &Root, pools: &Pools, qube: &Qube) -> Result<(), StorageError> {
    qube.volumes.iter().try_for_each(|volume| driver_of(root, pools, volume)?.check_new(volume))
}

/// Makes a qube's home directory and all its volumes. [`unfinished::begin`] comes first.
///
/// # Errors
/// The first failing volume's, in definition order; what was made until then is there.
pub fn create_all(root: &Root, pools: &Pools, qube: &Qube) -> Result<(), StorageError> {
    let Some(home) = qube.home() else { return Ok(()) };
    files::make_directories(&root.lib().join(home), HOME_MODE)
        .map_err(StorageError::io("making the home directory"))?;
    qube.volumes.iter().try_for_each(|volume| driver_of(root, pools, volume)?.create(volume))
}

/// Fills a kept volume with what another holds, in whatever pools both lie; any other kind begins each start anew
/// and is left alone (spec 20 §6.6). The lifecycle lock of the source's qube must be held.
///
/// # Errors
/// The drivers', and for a source that is in use without a committed state beside it.
pub fn import_volume(
    root: &Root,
    pools: &Pools,
    volume: &Volume,
    source: &Volume,
) -> Result<(), StorageError> {
    if !volume.save_on_stop {
        return Ok(());
    }
    let running = is_running(root, source);
    if running && source.has_snapshots_disabled() {
        let text = format!("Volume {} must be stopped before importing its data", source.vid);
        return Err(StorageError::Refused(text));
    }
    let from = driver_of(root, pools, source)?.export(source, running)?;
    driver_of(root, pools, volume)?.import(volume, &from)
}

/// Whether a domain uses a volume: a marker file tells (spec 20 §6.5).
fn is_running(root: &Root, volume: &Volume) -> bool {
    let name = format!("{}:{}", volume.pool, volume.vid).replace('-', "--").replace('/', "-");
    root.path("/run/qubes").join(format!("volume-running-{name}")).exists()
}

/// Removes a qube's volumes, its home directory (with all it holds if that is the qube's) and the unit that starts it
/// at boot. A failure is logged and does not keep the others from being tried.
///
/// # Errors
/// The first failure's.
fn remove_all(root: &Root, pools: &Pools, qube: &Qube, owns_home: bool) -> Result<(), StorageError> {
    let volumes = qube.volumes.iter().filter(|volume| pools.find(volume.pool.as_str()).is_some());
    let volumes =
        volumes.map(|volume| driver_of(root, pools, volume).and_then(|driver| driver.remove(volume)));
    let mut done = Ok(());
    for removed in volumes.chain([remove_home(root, qube, owns_home), remove_unit(root, qube)]) {
        if let Err(error) = &removed {
            log::line(&format!("something of {} was not removed: {error}", qube.name));
        }
        done = done.and(removed);
    }
    done
}

fn remove_home(root: &Root, qube: &Qube, owns_home: bool) -> Result<(), StorageError> {
    let Some(home) = qube.home().map(|home| root.lib().join(home)) else { return Ok(()) };
    if owns_home {
        return files::remove_tree(&home).map_err(StorageError::io("removing the home directory"));
    }
    // Fails while something else is there, which is as it should be.
    let _ = files::remove_directory(&home);
    Ok(())
}

fn remove_unit(root: &Root, qube: &Qube) -> Result<(), StorageError> {
    match autostart::disable(root, &qube.name) {
        true => Ok(()),
        false => Err(StorageError::Refused("the unit that starts it at boot stays enabled".to_owned())),
    }
}
