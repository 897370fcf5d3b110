//! `admin.vm.Suspend` and `.Resume` (spec 40 §4.2).

use common::call::{Call, Content, Granted, Received, Row, Values, World};
use common::event::Event;
use common::failure::{Exception, Failure, Refusal};
use common::hypervisor::{PowerState, Reply, Request};

use super::lock::reach;
use super::{announce, pause, refused};

pub(super) struct Suspend;

impl Call for Suspend {
    const ROW: Row =
        Row::write("admin.vm.Suspend", "Sends a qube to sleep, or pauses it if it cannot sleep.");
    type Input = ();

    fn sanitise(_: &Received) -> Result<(), Refusal> {
        Ok(())
    }

    fn facts((): &()) -> Values {
        Values::default()
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let (store, name) = (world.store(), granted.destination());
        refused::unless_local(granted.parties().class, Exception::QubesVMError, "suspend")?;
        let (_, watcher) = reach(store, world.root(), name)?.ok_or_else(|| refused::not_running(name))?;
        match watcher.ask(&Request::Suspend).map_err(refused::by_hypervisor)? {
            Some(Reply::Refused(_)) => pause::pause(store, &watcher, name)?,
            Some(_) => {}
            None => return Err(refused::not_running(name)),
        }
        Ok(Content::new())
    }
}

pub(super) struct Resume;

impl Call for Resume {
    const ROW: Row = Row::write("admin.vm.Resume", "Wakes a sleeping qube, or lets a paused one go on.");
    type Input = ();

    fn sanitise(_: &Received) -> Result<(), Refusal> {
        Ok(())
    }

    fn facts((): &()) -> Values {
        Values::default()
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let (store, name) = (world.store(), granted.destination());
        refused::unless_local(granted.parties().class, Exception::QubesVMError, "resume")?;
        let (domain, watcher) = reach(store, world.root(), name)?.ok_or_else(|| refused::not_paused(name))?;
        match domain.state {
            PowerState::Suspended => {
                pause::ask(&watcher, name, &Request::Resume)?;
                announce(store, [Event::on(name, "domain-resumed")])?;
            }
            PowerState::Paused => pause::unpause(store, &watcher, name)?,
            _ => return Err(refused::not_paused(name)),
        }
        Ok(Content::new())
    }
}
