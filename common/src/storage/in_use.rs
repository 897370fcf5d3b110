//! All volumes of a qube at the beginning and end of a domain: verified, started, stopped, and marked as in use between
//! (spec 20 §6.5, §8.4).
//!
//! Whoever calls holds the qube's lifecycle lock, not the store's, and gives kernel volumes the identifier of the
//! kernel they have now.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::ephemeral::Mapping;
use super::{PoolDriver, StorageError, driver_of, is_ephemeral};
use crate::failure::Failure;
use crate::hypervisor::{self, Hypervisor};
use crate::model::{Import, Pools, Qube, Value, Volume};
use crate::names::{PoolName, QubeName};
use crate::root::Root;
use crate::store::{Store, StoreError, View};
use crate::{files, log};

const MARKER_MODE: u32 = 0o660;

/// A started volume and what its driver gives the domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The volume.
    pub volume: Volume,
    /// Image file or block device.
    pub path: PathBuf,
}

/// The drivers of a qube's pools, one for each, so that what one has read from its pool serves all volumes there.
pub(super) struct Drivers<'a> {
    root: &'a Root,
    pools: &'a Pools,
    made: BTreeMap<PoolName, Rc<dyn PoolDriver>>,
}

impl<'a> Drivers<'a> {
    pub(super) fn new(root: &'a Root, pools: &'a Pools) -> Self {
        Self { root, pools, made: BTreeMap::new() }
    }

    pub(super) fn of(&mut self, volume: &Volume) -> Result<Rc<dyn PoolDriver>, StorageError> {
        if let Some(driver) = self.made.get(&volume.pool) {
            return Ok(Rc::clone(driver));
        }
        let driver: Rc<dyn PoolDriver> = driver_of(self.root, self.pools, volume)?.into();
        self.made.insert(volume.pool.clone(), Rc::clone(&driver));
        Ok(driver)
    }

    /// Marks a volume of a qube as in use and makes it ready.
    fn start(&mut self, qube: &QubeName, volume: &Volume) -> Result<Option<PathBuf>, StorageError> {
        let driver = self.of(volume)?;
        let mapping = Mapping::of(self.root, &*driver, qube, volume);
        // Many qubes have the same kernel, and start at the same time.
        let marked = files::touch(&marker(self.root, volume), MARKER_MODE);
        marked.map_err(StorageError::io("marking a volume as in use"))?;
        mapping.close()?;
        driver.start(volume)?;
        let device = driver.block_device(volume)?;
        let is_encrypted = is_ephemeral(self.root, self.pools, volume);
        if is_encrypted { device.map(|device| mapping.open(&device)).transpose() } else { Ok(device) }
    }

    /// The mapping goes first, also where volumes are no longer to be encrypted.
    fn stop(&mut self, qube: &QubeName, volume: &Volume) -> Result<(), StorageError> {
        let driver = self.of(volume)?;
        Mapping::of(self.root, &*driver, qube, volume).close()?;
        driver.stop(volume)?;
        files::remove(&marker(self.root, volume)).map_err(StorageError::io("unmarking a volume"))
    }

    /// Stops volumes of a qube; a failure is logged and keeps none of the others from being stopped.
    pub(super) fn stop_each(&mut self, qube: &QubeName, volumes: &[Volume]) {
        for volume in volumes {
            if let Err(error) = self.stop(qube, volume) {
                log::line(&format!("volume {} of pool {} was not stopped: {error}", volume.vid, volume.pool));
            }
        }
    }
}

/// An empty file that says that a domain may use a volume.
fn marker(root: &Root, volume: &Volume) -> PathBuf {
    let name = format!("{}:{}", volume.pool, volume.vid).replace('-', "--").replace('/', "-");
    root.path("/run/qubes").join(format!("volume-running-{name}"))
}

/// Whether a domain may use a volume.
pub fn is_running(root: &Root, volume: &Volume) -> bool {
    marker(root, volume).exists()
}

/// Checks that all is there that a start of a qube's volumes needs. The event `domain-verify-files` is the caller's.
///
/// # Errors
/// [`StorageError::Qube`] for a missing home directory, and for new content that is complete and waits to be a volume's; the
/// first refusing driver's, in definition order.
pub fn verify_all(root: &Root, pools: &Pools, qube: &Qube) -> Result<(), StorageError> {
    let home = qube.home().map(|home| root.lib().join(home));
    if let Some(missing) = home.filter(|home| !home.is_dir()) {
        return Err(StorageError::Qube(format!("VM directory does not exist: {}", missing.display())));
    }
    // A start would clear it away.
    if let Some(waiting) =
        qube.volumes.iter().find(|volume| volume.import.as_ref().is_some_and(Import::is_complete))
    {
        return Err(StorageError::Qube(format!("an import into volume {} waits to be ended", waiting.vid)));
    }
    let mut drivers = Drivers::new(root, pools);
    qube.volumes.iter().try_for_each(|volume| drivers.of(volume)?.verify(volume))
}

/// Checks that no volume of a qube starts from one that a domain is changing at this moment.
///
/// # Errors
/// [`StorageError::Qube`], and what the store says.
pub fn check_sources(root: &Root, view: &View<'_>, qube: &Qube) -> Result<(), Failure> {
    let mut above = template_of(view, qube)?;
    while let Some(template) = above {
        let is_source = |theirs: &&Volume| {
            let starts =
                |ours: &Volume| ours.pool == theirs.pool && ours.source.as_ref() == Some(&theirs.vid);
            theirs.has_snapshots_disabled() && qube.volumes.iter().any(starts)
        };
        let mut sources = template.volumes.iter().filter(is_source);
        if let Some(source) = sources.find(|source| is_running(root, source)) {
            return Err(StorageError::Qube(format!("Volume {} is running", source.vid)).into());
        }
        above = template_of(view, &template)?;
    }
    Ok(())
}

fn template_of(view: &View<'_>, qube: &Qube) -> Result<Option<Rc<Qube>>, StoreError> {
    let template = qube.properties.get("template").and_then(Value::as_text);
    template.map_or(Ok(None), |template| view.qube_named(template))
}

/// Makes all volumes of a qube ready for a domain, in definition order, and tells what it is given. Each is marked as in
/// use before it is touched. If one fails, those that were started are stopped again.
///
/// # Errors
/// The first failing volume's.
pub fn start_all(root: &Root, pools: &Pools, qube: &Qube) -> Result<Vec<Started>, StorageError> {
    let mut drivers = Drivers::new(root, pools);
    let mut started = Vec::new();
    for (before, volume) in qube.volumes.iter().enumerate() {
        match drivers.start(&qube.name, volume) {
            Ok(path) => started.extend(path.map(|path| Started { volume: volume.clone(), path })),
            Err(error) => {
                drivers.stop_each(&qube.name, qube.volumes.get(..=before).unwrap_or_default());
                return Err(error.of(volume));
            }
        }
    }
    Ok(started)
}

/// Ends a domain's use of all volumes of a qube: what is kept is committed, the rest dropped. Harmless for volumes that are
/// not in use. A failure is logged; the other volumes are stopped all the same.
pub fn stop_all(root: &Root, pools: &Pools, qube: &Qube) {
    Drivers::new(root, pools).stop_each(&qube.name, &qube.volumes);
}

/// Stops the volumes of every halted qube: after a boot, what domains left that ended with the host. Volumes that are
/// marked as in use since then are left to whoever marked them. A failure is logged and keeps no other qube waiting.
///
/// # Errors
/// If the qubes cannot be listed.
pub fn stop_halted(root: &Root, store: &Store, hypervisor: &dyn Hypervisor) -> Result<(), StoreError> {
    let names = store.read()?.names()?;
    for name in names.iter().filter(|name| !store.is_busy(name)) {
        if let Err(error) = stop_if_halted(root, store, hypervisor, name) {
            log::line(&format!("volumes of {name} were not stopped: {error}"));
        }
    }
    Ok(())
}

fn stop_if_halted(
    root: &Root,
    store: &Store,
    hypervisor: &dyn Hypervisor,
    name: &QubeName,
) -> Result<(), StoreError> {
    let _lifecycle = store.lock_lifecycle(name)?;
    let view = store.read()?;
    let Some(qube) = view.qube(name)? else { return Ok(()) };
    let pools = view.pools()?;
    drop(view);
    if hypervisor::is_halted(hypervisor, &qube) && !qube.volumes.iter().any(|volume| is_running(root, volume))
    {
        stop_all(root, &pools, &qube);
    }
    Ok(())
}
