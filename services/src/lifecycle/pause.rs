//! `admin.vm.Pause` and `.Unpause` (spec 40 §4.2).

use common::call::{Call, Content, Granted, Row, World};
use common::event::Event;
use common::failure::{Exception, Failure};
use common::hypervisor::{Connection, PowerState, Reply, Request};
use common::names::QubeName;
use common::root::Root;
use common::store::Store;

use super::lock::reach;
use super::{announce, network, refused};

/// Asks a watcher for something, with the events that come before and after.
pub(super) fn with_events(
    store: &Store,
    watcher: &Connection,
    name: &QubeName,
    request: &Request,
    [before, after]: [&str; 2],
) -> Result<(), Failure> {
    announce(store, [Event::on(name, before)])?;
    ask(watcher, name, request)?;
    announce(store, [Event::on(name, after)])
}

/// Asks a watcher for something that is done when it answers.
pub(super) fn ask(watcher: &Connection, name: &QubeName, request: &Request) -> Result<(), Failure> {
    match watcher.ask(request).map_err(refused::by_hypervisor)? {
        Some(Reply::Refused(text)) => Err(refused::by_hypervisor(text)),
        Some(_) => Ok(()),
        None => Err(refused::not_running(name)),
    }
}

pub(super) fn pause(store: &Store, watcher: &Connection, name: &QubeName) -> Result<(), Failure> {
    with_events(store, watcher, name, &Request::Pause, ["domain-pre-paused", "domain-paused"])
}

pub(super) fn unpause(
    store: &Store,
    root: &Root,
    watcher: &Connection,
    name: &QubeName,
) -> Result<(), Failure> {
    with_events(store, watcher, name, &Request::Unpause, ["domain-pre-unpaused", "domain-unpaused"])?;
    network::follow_deferred(store, root, watcher, name);
    Ok(())
}

pub(super) struct Pause;

impl Call for Pause {
    const ROW: Row = Row::write("admin.vm.Pause", "Stops a qube's processors.");
    common::no_input!();

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let (store, name) = (world.store(), granted.destination());
        refused::unless_local(granted.parties().class, Exception::QubesVMError, "pause")?;
        let (_, watcher) = reach(store, world.root(), name)?.ok_or_else(|| refused::not_running(name))?;
        pause(store, &watcher, name)?;
        Ok(Content::new())
    }
}

pub(super) struct Unpause;

impl Call for Unpause {
    const ROW: Row = Row::write("admin.vm.Unpause", "Lets a paused qube go on.");
    common::no_input!();

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let (store, name) = (world.store(), granted.destination());
        refused::unless_local(granted.parties().class, Exception::QubesVMError, "unpause")?;
        let reached = reach(store, world.root(), name)?;
        let paused = reached.filter(|(domain, _)| domain.state == PowerState::Paused);
        let (_, watcher) = paused.ok_or_else(|| refused::not_paused(name))?;
        unpause(store, world.root(), &watcher, name)?;
        Ok(Content::new())
    }
}
