//! What every class of devices does.

use std::rc::Rc;

use common::call::no_such_domain;
use common::failure::Failure;
use common::files;
use common::model::{Class, Qube};
use common::names::{ANY, DeviceName, QubeName};
use common::root::Root;
use common::store::View;

use super::exposed::{Attached, Exposed};
use super::work::{Plan, Work};
use crate::property::Case;

/// One class of devices. Nothing here asks for a lock; what a guest shows of itself is read while it runs.
pub(super) trait DeviceClass: Sync {
    /// Its name.
    fn name(&self) -> &'static str;

    /// The Python package of dom0 whose part this class is; none for those that are always there.
    fn part(&self) -> Option<&'static str> {
        None
    }

    /// Where guests write about its devices in their QubesDB.
    fn folder(&self) -> Option<&'static str> {
        None
    }

    /// The devices that the case's qube has for others now.
    ///
    /// # Errors
    /// What the store says.
    fn exposed(&self, case: &Case<'_>, backend: &Qube) -> Result<Vec<Exposed>, Failure>;

    /// Adds what the machine's lists of names know about devices.
    fn describe(&self, _root: &Root, _devices: &mut [Exposed]) {}

    /// The devices that the case's qube uses now.
    ///
    /// # Errors
    /// What the store says.
    fn attached(&self, case: &Case<'_>, frontend: &Qube) -> Result<Vec<Attached>, Failure>;

    /// Whether a qube may get its devices, and lose them, at any time.
    fn is_hot(&self) -> bool {
        true
    }

    /// What it takes to let the case's qube, which has a domain, use a device that it does not use yet.
    ///
    /// # Errors
    /// Why it may not be used, or not in that way.
    fn plan(
        &self,
        case: &Case<'_>,
        frontend: &Qube,
        device: &Exposed,
        options: &[(String, String)],
    ) -> Result<Plan, Failure>;

    /// What it takes to take it away again.
    ///
    /// # Errors
    /// Why it has to stay.
    fn undoing(&self, case: &Case<'_>, frontend: &Qube, attached: &Attached) -> Result<Work, Failure>;

    /// Whether a device can be called that at all.
    fn can_be(&self, _device: &DeviceName) -> bool {
        true
    }
}

/// Where Python's packages are, below a folder of each version.
const PACKAGES: (&str, &str) = ("/usr/lib", "site-packages");

/// Whether the part of dom0 is installed that a class belongs to.
pub(super) fn is_served(class: &dyn DeviceClass, root: &Root) -> bool {
    let Some(part) = class.part() else { return true };
    let folder = root.path(PACKAGES.0);
    let versions = files::list(&folder).unwrap_or_default();
    let has = |version: &String| files::exists(&folder.join(version).join(PACKAGES.1).join(part));
    versions.iter().any(|version| version.starts_with("python3") && has(version))
}

/// Whether devices of a qube can be looked at: it is dom0, or runs here.
pub(super) fn is_running(case: &Case<'_>, qube: &Qube) -> bool {
    let runs = || case.context.hypervisor.domain(&qube.name).is_some();
    qube.class == Class::AdminVM || (qube.class.is_local() && runs())
}

/// dom0 and all qubes that run.
///
/// # Errors
/// What the store says.
pub(super) fn running(case: &Case<'_>) -> Result<Vec<Rc<Qube>>, Failure> {
    let names = case.context.hypervisor.running();
    let parsed = names.iter().filter_map(|name| QubeName::parse(name).ok());
    let mut qubes = Vec::new();
    for name in std::iter::once(QubeName::dom0()).chain(parsed) {
        qubes.extend(case.view.qube(&name)?.filter(|qube| is_running(case, qube)));
    }
    Ok(qubes)
}

/// The qube that a device names as its backend; none where any may be.
///
/// # Errors
/// `QubesVMNotFoundError`, or what the store says.
pub(super) fn backend(view: &View<'_>, device: &DeviceName) -> Result<Option<Rc<Qube>>, Failure> {
    if device.backend == ANY {
        return Ok(None);
    }
    view.qube_named(&device.backend)?.map(Some).ok_or_else(|| no_such_domain(&device.backend))
}

/// The device of a class that is plugged into a port now.
///
/// # Errors
/// What the store says.
pub(super) fn at_port(
    class: &dyn DeviceClass,
    case: &Case<'_>,
    backend: &Qube,
    port: &str,
) -> Result<Option<Exposed>, Failure> {
    let case = case.at(backend);
    Ok(class.exposed(&case, backend)?.into_iter().find(|device| device.port == port))
}
