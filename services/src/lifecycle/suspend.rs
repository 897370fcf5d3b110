//! `admin.vm.Suspend` and `.Resume` (spec 40 §4.2).

use std::time::Duration;

use common::call::{Call, Content, Granted, Row, World, no_such_domain};
use common::event::Event;
use common::failure::{Exception, Failure};
use common::hypervisor::{PowerState, Reply, Request};
use common::log;
use common::names::QubeName;

use super::lock::{find, insist};
use super::{announce, foresee, pause, refused};
use crate::companion::{qrexec, service};
use crate::property::{Case, Context};

/// How long a guest may take to get ready for sleep, or to get up.
const DEADLINE: Duration = Duration::from_secs(60);

pub(super) struct Suspend;

impl Call for Suspend {
    const ROW: Row =
        Row::write("admin.vm.Suspend", "Sends a qube to sleep, or pauses it if it cannot sleep.");
    common::no_input!();

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let (store, root, name) = (world.store(), world.root(), granted.destination());
        refused::unless_local(granted.parties().class, Exception::QubesVMError, "suspend")?;
        let words = "is sent to sleep, or paused if it cannot sleep";
        foresee(&granted, world, words, |_| true, refused::not_running)?;
        let domain = find(store, root, name)?.ok_or_else(|| refused::not_running(name))?;
        prepare(world, name)?;
        match insist(store, root, name, &domain.run, &mut None, &Request::Suspend)? {
            Some(Reply::CannotSleep) => {
                let ask = pause::insisting(store, root, name, domain, refused::not_running);
                pause::pause(store, name, ask)?;
            }
            answer => pause::done(answer, || refused::not_running(name))?,
        }
        Ok(Content::new())
    }
}

/// Tells the guest that it is about to sleep.
fn prepare(world: &World<'_>, name: &QubeName) -> Result<(), Failure> {
    in_guest(world, name, "qubes.SuspendPre")
}

/// Runs a service in a guest that has qrexec. That it fails, or takes too long, keeps nobody from going on.
fn in_guest(world: &World<'_>, name: &QubeName, service: &str) -> Result<(), Failure> {
    if !can_be_told(world, name)? {
        return Ok(());
    }
    announce(world.store(), [Event::on(name, "domain-cmd-pre-run").with("start_guid", "False")])?;
    let said = match service::run(world.root(), name, "root", service, "", DEADLINE) {
        Ok(outcome) if outcome.is_success() => return Ok(()),
        Ok(outcome) => outcome.status(),
        Err(error) => error.to_string(),
    };
    log::line(&format!("{service} in {name}: {said}"));
    Ok(())
}

/// Whether a guest has qrexec, which must be connected then.
fn can_be_told(world: &World<'_>, name: &QubeName) -> Result<bool, Failure> {
    let (view, context) = (world.store().read()?, Context::of(world));
    let qube = view.qube(name)?.ok_or_else(|| no_such_domain(name.as_str()))?;
    if !qrexec::is_needed(&Case { view: &view, context, qube: Some(&qube) })? {
        return Ok(false);
    }
    service::check(&context, &qube).map(|()| true)
}

pub(super) struct Resume;

impl Call for Resume {
    const ROW: Row = Row::write("admin.vm.Resume", "Wakes a sleeping qube, or lets a paused one go on.");
    common::no_input!();

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let (store, root, name) = (world.store(), world.root(), granted.destination());
        refused::unless_local(granted.parties().class, Exception::QubesVMError, "resume")?;
        let is_asleep = |state| matches!(state, PowerState::Suspended | PowerState::Paused);
        foresee(&granted, world, "wakes and goes on", is_asleep, refused::not_paused)?;
        let domain = find(store, root, name)?.ok_or_else(|| refused::not_paused(name))?;
        let state = domain.state;
        let mut ask = pause::insisting(store, root, name, domain, refused::not_paused);
        match state {
            PowerState::Suspended => {
                ask(&Request::Resume)?;
                if let Err(failure) = in_guest(world, name, "qubes.SuspendPost") {
                    log::line(&format!("{name} is awake, but was not told: {}", failure.into_text()));
                }
                announce(store, [Event::on(name, "domain-resumed")])?;
            }
            PowerState::Paused => pause::unpause(store, root, name, ask)?,
            _ => return Err(refused::not_paused(name)),
        }
        Ok(Content::new())
    }
}
