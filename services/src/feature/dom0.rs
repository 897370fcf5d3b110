//! dom0's services: files in `/run/qubes-service`, there while the feature is true (spec 10 §8.5).

use std::io;
use std::path::Path;

use common::call::World;
use common::names::QubeName;
use common::{files, log};

/// Brings the file of a service in step with dom0's feature as it is stored now; to be called once a change has
/// committed. A file that cannot be changed is logged alone.
pub fn follow_service(world: &World<'_>, feature: &str) {
    let Some(service) = feature.strip_prefix("service.").filter(|service| !service.contains('/')) else {
        return;
    };
    let stored = world.store().read_one().and_then(|view| view.qube(&QubeName::dom0()));
    let is_on = |dom0: &common::model::Qube| dom0.feature(feature).is_some_and(|value| !value.is_empty());
    let followed = stored.map(|dom0| show(world, service, dom0.is_some_and(|dom0| is_on(&dom0))));
    if !matches!(followed, Ok(Ok(()))) {
        log::line("the file of a dom0 service could not be changed");
    }
}

fn show(world: &World<'_>, service: &str, is_on: bool) -> io::Result<()> {
    let directory = world.root().path("/run/qubes-service");
    let file = directory.join(Path::new(service));
    if !is_on {
        return files::remove(&file);
    }
    files::make_directories(&directory, 0o2775).and_then(|()| files::create(&file, 0o664).map(drop))
}
