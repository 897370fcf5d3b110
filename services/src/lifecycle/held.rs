//! What other calls do to a run whose lifecycle lock they hold.

use common::failure::Failure;
use common::hypervisor::{Connection, Hypervisor, PowerState, Published};
use common::names::QubeName;
use common::root::Root;
use common::store::Store;

use super::{pause, refused};

fn watcher(root: &Root, name: &QubeName) -> Result<Connection, Failure> {
    let socket = root.run().join("watchers").join(name.as_str());
    Connection::to(&socket).map_err(|_| refused::not_running(name))
}

/// Pauses a qube, with the events of it.
///
/// # Errors
/// `QubesVMNotRunningError`, or what the hypervisor says.
pub fn pause_run(store: &Store, root: &Root, name: &QubeName) -> Result<(), Failure> {
    pause::pause(store, &watcher(root, name)?, name)
}

/// Lets a paused qube go on, with the events of it; one that runs is left as it is.
///
/// # Errors
/// `QubesVMNotRunningError`, or what the hypervisor says.
pub fn unpause_run(store: &Store, root: &Root, name: &QubeName) -> Result<(), Failure> {
    let state = Published::at(root).domain(name).map(|domain| domain.state);
    match state {
        Some(PowerState::Paused) => pause::unpause(store, &watcher(root, name)?, name),
        Some(_) => Ok(()),
        None => Err(refused::not_running(name)),
    }
}
