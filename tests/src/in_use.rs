//! Storage of a whole qube, as the start and stop of its domain use it.

use std::rc::Rc;

use common::failure::Failure;
use common::hypervisor::Published;
use common::model::{Pools, Qube};
use common::storage::{self, Started, is_running};
use services::property::Context;
use services::volume::with_volumes_named;

use crate::Fixture;

/// A qube as a start takes it.
pub fn qube(fixture: &Fixture, name: &str) -> (Qube, Rc<Pools>) {
    let (root, store) = (fixture.root(), fixture.store());
    let view = store.read().unwrap();
    let qube = view.qube_named(name).unwrap().unwrap();
    let hypervisor = Published::at(&root);
    with_volumes_named(&view, &Context { hypervisor: &hypervisor, root: &root }, &qube).unwrap()
}

pub fn verify(fixture: &Fixture, name: &str) -> Result<(), String> {
    let (qube, pools) = qube(fixture, name);
    storage::verify_all(&fixture.root(), &pools, &qube).map_err(|error| text(error.into()))
}

pub fn start_all(fixture: &Fixture, name: &str) -> Result<Vec<Started>, String> {
    let (qube, pools) = qube(fixture, name);
    storage::start_all(&fixture.root(), &pools, &qube).map_err(|error| text(error.into()))
}

pub fn stop_all(fixture: &Fixture, name: &str) {
    let (qube, pools) = qube(fixture, name);
    storage::stop_all(&fixture.root(), &pools, &qube);
}

/// `Class: text` of a failure.
pub fn text(failure: Failure) -> String {
    match failure {
        Failure::Exception { exception, message, .. } => format!("{}: {message}", exception.class()),
        Failure::Dropped(_) => "dropped".to_owned(),
    }
}

/// Names of the volumes of a qube that are marked as in use.
pub fn marked(fixture: &Fixture, name: &str) -> Vec<String> {
    let (qube, _) = qube(fixture, name);
    let in_use = qube.volumes.iter().filter(|volume| is_running(&fixture.root(), volume));
    in_use.map(|volume| volume.name.to_string()).collect()
}
