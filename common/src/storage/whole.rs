//! All volumes of a qube together: making and removing them.

use super::in_use::Drivers;
use super::{StorageError, driver_of};
use crate::model::{Pools, Qube, Volume};
use crate::root::Root;
use crate::{autostart, files, log};

const HOME_MODE: u32 = 0o775;

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

/// Stops and removes a qube's volumes, its home directory (with all it holds if that is the qube's) and the unit that starts it
/// at boot. A failure is logged and does not keep the others from being tried.
///
/// # Errors
/// The first failure's.
pub(super) fn remove_all(
    root: &Root,
    pools: &Pools,
    qube: &Qube,
    owns_home: bool,
) -> Result<(), StorageError> {
    let has_pool = |volume: &&Volume| pools.find(volume.pool.as_str()).is_some();
    let volumes: Vec<Volume> = qube.volumes.iter().filter(has_pool).cloned().collect();
    let mut drivers = Drivers::new(root, pools);
    drivers.stop_each(&qube.name, &volumes);
    let volumes = volumes.iter().map(|volume| drivers.of(volume)?.remove(volume));
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
