//! A qube's volumes at the beginning and end of a run. What handles them is in `qubes-run` alone, which a start runs with
//! its lifecycle lock: a start that is killed leaves the lock to it until it is done, and what it made ready to the watcher.

use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use common::call::no_such_domain;
use common::failure::{Exception, Failure};
use common::hypervisor::Published;
use common::model::{Pools, Qube};
use common::names::QubeName;
use common::root::Root;
use common::storage::{self, Started};
use common::store::{Store, View};
use common::{reply, run};

use super::program::PROGRAM;
use super::start::Start;
use crate::property::Context;
use crate::volume;

/// How long it may take: where blocks cannot be shared, a start copies whole volumes.
const DEADLINE: Duration = Duration::from_secs(3600);

/// Has it checked that all is there that the volumes of a start need.
pub(super) fn verify(start: &Start<'_>) -> Result<(), Failure> {
    run_for(start, "verify").map(drop)
}

/// Has all volumes made ready for the domain, and gives what it is to get.
pub(super) fn make_ready(start: &Start<'_>) -> Result<Vec<Started>, Failure> {
    serde_json::from_slice(&run_for(start, "start")?).map_err(|error| Failure::dropped(error.to_string()))
}

fn run_for(start: &Start<'_>, what: &str) -> Result<Vec<u8>, Failure> {
    let words = [what, start.name.as_str()];
    let done = run::of_ours_holding(start.context.root, PROGRAM, &words, start.held.as_fd(), DEADLINE);
    let done = done.map_err(|error| {
        Failure::new(Exception::QubesException, format!("Volumes of {}: {error}", start.name))
    })?;
    reply::content(done.output()).map(<[u8]>::to_vec)
}

/// What `qubes-run verify` does.
pub(super) fn verified(store: &Store, root: &Root, name: &QubeName) -> Result<Vec<u8>, Failure> {
    let (qube, pools) = found(&store.read()?, root, name)?.ok_or_else(|| no_such_domain(name.as_str()))?;
    storage::verify_all(root, &pools, &qube)?;
    Ok(Vec::new())
}

/// What `qubes-run start` does, and the answer with what was started.
pub(super) fn started(store: &Store, root: &Root, name: &QubeName) -> Result<Vec<u8>, Failure> {
    let view = store.read()?;
    let (qube, pools) = found(&view, root, name)?.ok_or_else(|| no_such_domain(name.as_str()))?;
    storage::check_sources(root, &view, &qube)?;
    drop(view);
    let started = storage::start_all(root, &pools, &qube)?;
    serde_json::to_vec(&started).map_err(|error| Failure::dropped(error.to_string()))
}

/// Ends a run's use of the volumes; of a qube that is gone there are none.
pub(super) fn stop(store: &Store, root: &Root, name: &QubeName) -> Result<(), Failure> {
    let found = found(&store.read()?, root, name)?;
    if let Some((qube, pools)) = found {
        storage::stop_all(root, &pools, &qube);
    }
    Ok(())
}

fn found(view: &View<'_>, root: &Root, name: &QubeName) -> Result<Option<(Qube, Rc<Pools>)>, Failure> {
    let hypervisor = Published::at(root);
    let context = Context { hypervisor: &hypervisor, root };
    view.qube(name)?.map(|qube| volume::with_volumes_named(view, &context, &qube)).transpose()
}
