//! dom0's services: files in `/run/qubes-service`, there while the feature is true (spec 10 §8.5). A boot empties `/run`.

use std::io;
use std::path::PathBuf;

use common::call::World;
use common::model::Qube;
use common::names::QubeName;
use common::root::Root;
use common::{files, log};

/// Brings the file of a service in step with dom0's feature as it is stored now; to be called once a change has
/// committed. A file that cannot be changed is logged alone.
pub fn follow_service(world: &World<'_>, feature: &str) {
    let Some(service) = service(feature) else { return };
    let stored = world.store().read_one().and_then(|view| view.qube(&QubeName::dom0()));
    let is_on = |dom0: &Qube| dom0.feature(feature).is_some_and(is_true);
    let followed = stored.map(|dom0| show(world.root(), service, dom0.is_some_and(|dom0| is_on(&dom0))));
    if !matches!(followed, Ok(Ok(()))) {
        log::line("the file of a dom0 service could not be changed");
    }
}

/// dom0's services whose file is not there, or is and should not be.
pub fn astray_services<'q>(root: &Root, dom0: &'q Qube) -> Vec<&'q str> {
    let features = dom0.features.iter().filter_map(|(name, value)| Some((service(name.as_str())?, value)));
    let astray = features.filter(|(service, value)| file(root, service).exists() != is_true(value.as_str()));
    astray.map(|(service, _)| service).collect()
}

/// Brings the files of all dom0's services in step with its features.
///
/// # Errors
/// What the system says.
pub fn restore_services(root: &Root, dom0: &Qube) -> io::Result<()> {
    for service in astray_services(root, dom0) {
        show(root, service, !file(root, service).exists())?;
    }
    Ok(())
}

/// The service a feature switches.
fn service(feature: &str) -> Option<&str> {
    feature.strip_prefix("service.").filter(|service| !service.contains('/'))
}

/// Whether a feature's value counts as true.
fn is_true(value: &str) -> bool {
    !value.is_empty()
}

fn file(root: &Root, service: &str) -> PathBuf {
    root.path("/run/qubes-service").join(service)
}

fn show(root: &Root, service: &str, is_on: bool) -> io::Result<()> {
    let file = file(root, service);
    if !is_on {
        return files::remove(&file);
    }
    let directory = root.path("/run/qubes-service");
    files::make_directories(&directory, 0o2775).and_then(|()| files::create(&file, 0o664).map(drop))
}
