//! `admin.vm.Pause` and `.Unpause` (spec 40 §4.2).

use common::call::{Call, Content, Granted, Row, World};
use common::event::Event;
use common::failure::{Exception, Failure};
use common::hypervisor::{Domain, PowerState, Reply, Request};
use common::names::QubeName;
use common::root::Root;
use common::store::Store;

use super::lock::{find, insist};
use super::{announce, foresee, network, refused};

/// A way to ask a run's watcher for something that is done when it answers.
pub(super) trait Ask: FnMut(&Request) -> Result<(), Failure> {}

impl<F: FnMut(&Request) -> Result<(), Failure>> Ask for F {}

/// What a watcher's answer means, which is none where the run is over.
pub(super) fn done(answer: Option<Reply>, over: impl FnOnce() -> Failure) -> Result<(), Failure> {
    match answer {
        Some(Reply::Refused(text)) => Err(refused::by_hypervisor(text)),
        Some(_) => Ok(()),
        None => Err(over()),
    }
}

/// Asks a domain's watcher, or the one that takes its place. It is reached only when it is asked, as it is woken by that.
/// No lifecycle lock may be held.
pub(super) fn insisting<'a>(
    store: &'a Store,
    root: &'a Root,
    name: &'a QubeName,
    domain: Domain,
    over: fn(&QubeName) -> Failure,
) -> impl Ask + 'a {
    let mut watcher = None;
    move |request| {
        let answer = insist(store, root, name, &domain.run, &mut watcher, request)?;
        done(answer, || over(name))
    }
}

/// Pauses a qube, with the events that come before and after.
pub(super) fn pause(store: &Store, name: &QubeName, mut ask: impl Ask) -> Result<(), Failure> {
    announce(store, [Event::on(name, "domain-pre-paused")])?;
    ask(&Request::Pause)?;
    announce(store, [Event::on(name, "domain-paused")])
}

/// Lets a qube go on, likewise.
pub(super) fn unpause(store: &Store, root: &Root, name: &QubeName, mut ask: impl Ask) -> Result<(), Failure> {
    announce(store, [Event::on(name, "domain-pre-unpaused")])?;
    ask(&Request::Unpause)?;
    announce(store, [Event::on(name, "domain-unpaused")])?;
    network::follow_deferred(store, root, name, ask);
    Ok(())
}

pub(super) struct Pause;

impl Call for Pause {
    const ROW: Row = Row::write("admin.vm.Pause", "Stops a qube's processors.");
    common::no_input!();

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let (store, root, name) = (world.store(), world.root(), granted.destination());
        refused::unless_local(granted.parties().class, Exception::QubesVMError, "pause")?;
        foresee(&granted, world, "is paused", |_| true, refused::not_running)?;
        let domain = find(store, root, name)?.ok_or_else(|| refused::not_running(name))?;
        pause(store, name, insisting(store, root, name, domain, refused::not_running))?;
        Ok(Content::new())
    }
}

pub(super) struct Unpause;

impl Call for Unpause {
    const ROW: Row = Row::write("admin.vm.Unpause", "Lets a paused qube go on.");
    common::no_input!();

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let (store, root, name) = (world.store(), world.root(), granted.destination());
        refused::unless_local(granted.parties().class, Exception::QubesVMError, "unpause")?;
        let is_paused = |state| state == PowerState::Paused;
        foresee(&granted, world, "goes on", is_paused, refused::not_paused)?;
        let paused = find(store, root, name)?.filter(|domain| domain.state == PowerState::Paused);
        let domain = paused.ok_or_else(|| refused::not_paused(name))?;
        unpause(store, root, name, insisting(store, root, name, domain, refused::not_paused))?;
        Ok(Content::new())
    }
}
