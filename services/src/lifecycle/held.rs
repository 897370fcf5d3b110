//! What other calls do to a run whose lifecycle lock they hold.

use common::failure::Failure;
use common::hypervisor::{Connection, Hypervisor, PowerState, Published, Request};
use common::names::QubeName;
use common::root::Root;
use common::store::Store;

use super::lock::find;
use super::pause::{self, Ask};
use super::refused;

fn watcher(root: &Root, name: &QubeName) -> Result<Connection, Failure> {
    let socket = root.run().join("watchers").join(name.as_str());
    Connection::to(&socket).map_err(|_| refused::not_running(name))
}

/// Asks the watcher of a running qube for something, without a wait for anybody's lock.
///
/// # Errors
/// `QubesVMNotRunningError`, or what the hypervisor says.
pub fn ask(root: &Root, name: &QubeName, request: &Request) -> Result<(), Failure> {
    asking(root, name)?(request)
}

/// Asks one watcher, which is there: another one cannot take its place while the lifecycle lock is held.
fn asking<'a>(root: &'a Root, name: &'a QubeName) -> Result<impl Ask + 'a, Failure> {
    let mut reached = Some(watcher(root, name)?);
    Ok(move |request: &Request| {
        let watcher = reached.take().map_or_else(|| watcher(root, name), Ok)?;
        let answer = watcher.ask(request).map_err(refused::by_hypervisor)?;
        pause::done(answer, || refused::not_running(name))
    })
}

/// Asks the same of another watcher where the qube's was killed. No lifecycle lock may be held.
///
/// # Errors
/// `QubesVMNotRunningError`, or what the hypervisor says.
pub fn ask_run(store: &Store, root: &Root, name: &QubeName, request: &Request) -> Result<(), Failure> {
    let domain = find(store, root, name)?.ok_or_else(|| refused::not_running(name))?;
    pause::insisting(store, root, name, domain, refused::not_running)(request)
}

/// Pauses a qube, with the events of it.
///
/// # Errors
/// `QubesVMNotRunningError`, or what the hypervisor says.
pub fn pause_run(store: &Store, root: &Root, name: &QubeName) -> Result<(), Failure> {
    pause::pause(store, name, asking(root, name)?)
}

/// Lets a paused qube go on, with the events of it; one that runs is left as it is.
///
/// # Errors
/// `QubesVMNotRunningError`, or what the hypervisor says.
pub fn unpause_run(store: &Store, root: &Root, name: &QubeName) -> Result<(), Failure> {
    let state = Published::at(root).domain(name).map(|domain| domain.state);
    match state {
        Some(PowerState::Paused) => pause::unpause(store, root, name, asking(root, name)?),
        Some(_) => Ok(()),
        None => Err(refused::not_running(name)),
    }
}
