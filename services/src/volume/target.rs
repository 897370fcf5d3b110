//! The volume a call is about: found on its qube, with the driver of its pool.

use std::rc::Rc;

use common::call::{Call, Granted, World, no_such_domain};
use common::failure::{Exception, Failure, Refusal};
use common::hypervisor;
use common::model::{Pools, Qube, Value, Volume};
use common::names::{Ascii, QubeName};
use common::quote::quote;
use common::root::Root;
use common::storage::{self, PoolDriver, StorageError};
use common::store::{LifecycleGuard, Txn, View};

use crate::lifecycle;
use crate::property::{self, Context};

/// A volume with all that an operation on it needs.
pub(super) struct Target {
    pub(super) qube: Rc<Qube>,
    pub(super) volume: Volume,
    pub(super) pools: Rc<Pools>,
    pub(super) driver: Box<dyn PoolDriver>,
}

/// A qube; `No such domain: …` if it went away.
pub(super) fn qube(view: &View<'_>, name: &QubeName) -> Result<Rc<Qube>, Failure> {
    view.qube(name)?.ok_or_else(|| no_such_domain(name.as_str()))
}

/// `Argument not in '<qube> volumes'`.
fn unknown(qube: &QubeName) -> Failure {
    Refusal::denied(format!("Argument not in {}", quote(&format!("{qube} volumes")))).into()
}

/// A volume of a qube with the identifier it has now: a kernel volume's follows the qube's kernel.
pub(super) fn as_named(
    view: &View<'_>,
    context: &Context<'_>,
    pools: &Pools,
    qube: &Qube,
    mut volume: Volume,
) -> Result<Volume, Failure> {
    if pools.find(volume.pool.as_str()).is_some_and(|pool| pool.driver == "linux-kernel") {
        let kernel = property::effective(view, context.hypervisor, context.root, qube, "kernel")?;
        volume.vid = kernel.as_ref().map(Value::to_text).unwrap_or_default();
    }
    Ok(volume)
}

/// A qube whose volumes have the identifiers they have now, with all pools: what storage is started and stopped by.
///
/// # Errors
/// What the store says.
pub fn with_volumes_named(
    view: &View<'_>,
    context: &Context<'_>,
    qube: &Qube,
) -> Result<(Qube, Rc<Pools>), Failure> {
    let pools = view.pools()?;
    let named = qube.volumes.iter().map(|volume| as_named(view, context, &pools, qube, volume.clone()));
    let volumes = named.collect::<Result<_, _>>()?;
    Ok((Qube { volumes, ..qube.clone() }, pools))
}

/// Whether a volume shows an older state than its source has now. Asks its driver, so no lock may be held; one that does
/// not tell has no older state.
pub fn is_outdated(root: &Root, pools: &Pools, volume: &Volume) -> bool {
    let driver = storage::driver_of(root, pools, volume);
    driver.is_ok_and(|driver| matches!(driver.is_outdated(volume), Ok(Some(true))))
}

impl Target {
    /// Finds a volume of a qube.
    pub(super) fn find(
        view: &View<'_>,
        context: &Context<'_>,
        name: &QubeName,
        volume: &Ascii,
    ) -> Result<Self, Failure> {
        let qube = qube(view, name)?;
        let found = qube.volumes.iter().find(|found| found.name.as_str() == volume.as_str());
        let volume = found.cloned().ok_or_else(|| unknown(name))?;
        let pools = view.pools()?;
        let volume = as_named(view, context, &pools, &qube, volume)?;
        let driver = storage::driver_of(context.root, &pools, &volume)?;
        Ok(Self { qube, volume, pools, driver })
    }

    /// The same for a call that only reads.
    pub(super) fn seen<C: Call>(
        granted: &Granted<C>,
        world: &World<'_>,
        volume: &Ascii,
    ) -> Result<Self, Failure> {
        Self::find(world.view(), &Context::of(world), granted.destination(), volume)
    }

    /// The same as it is once its qube's lifecycle lock is held: nobody else changes it until that is given back. A call
    /// that is only looked at needs none.
    pub(super) fn locked<C: Call>(
        granted: &Granted<C>,
        world: &World<'_>,
        volume: &Ascii,
    ) -> Result<(Option<LifecycleGuard>, Self), Failure> {
        let lock = || lifecycle::lock(world.store(), world.root(), granted.destination());
        let lifecycle = world.in_earnest(lock)?;
        let view = world.store().read()?;
        let target = Self::find(&view, &Context::of(world), granted.destination(), volume)?;
        Ok((lifecycle, target))
    }

    /// `Domain is not powered off: …` unless the qube is halted.
    pub(super) fn check_halted(&self, context: &Context<'_>) -> Result<(), Failure> {
        check_halted(context, &self.qube)
    }

    /// Whether a domain of the qube may use the volume.
    pub(super) fn is_running(&self, context: &Context<'_>) -> bool {
        !hypervisor::is_halted(context.hypervisor, &self.qube)
    }

    /// Refuses content that makes the volume larger, where the caller's bytes are limited.
    pub(super) fn check_growth<C: Call>(
        &self,
        granted: &Granted<C>,
        size: impl FnOnce() -> Result<u64, StorageError>,
    ) -> Result<(), Failure> {
        if !granted.quota().limits_bytes() {
            return Ok(());
        }
        Ok(granted.check_growth(self.driver.size(&self.volume)?, size()?)?)
    }

    /// Changes the volume's configuration.
    pub(super) fn edit(&self, txn: &mut Txn<'_>, edit: impl FnOnce(&mut Volume)) -> Result<(), Failure> {
        let name = &self.volume.name;
        txn.edit_qube(&self.qube.name, |qube| {
            if let Some(volume) = qube.volumes.iter_mut().find(|volume| volume.name == *name) {
                edit(volume);
            }
        })?;
        Ok(())
    }
}

/// `Domain is not powered off: …` unless a qube is halted.
pub(super) fn check_halted(context: &Context<'_>, qube: &Qube) -> Result<(), Failure> {
    if hypervisor::is_halted(context.hypervisor, qube) {
        return Ok(());
    }
    let text = format!("Domain is not powered off: {}", quote(qube.name.as_str()));
    Err(Failure::new(Exception::QubesVMNotHaltedError, text))
}
