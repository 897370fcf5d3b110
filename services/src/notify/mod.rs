//! `qubes.FeaturesRequest`, `qubes.NotifyTools` and `qubes.NotifyUpdates`: what qubes tell dom0 of themselves (spec 30 §17).

mod agent;
mod boot_modes;
mod guest;
mod said;
mod supported;
mod updates;
mod windows;

use common::call::{Call, Content, Destination, Family, Granted, Row, World, entry};
use common::failure::Failure;
use common::names::QubeName;
use common::root::Root;

use crate::property::Context;

use guest::Guest;
use said::Said;

/// The family.
pub const FAMILY: Family = Family {
    name: "admin-notify",
    calls: &[entry::<FeaturesRequest>(), entry::<NotifyTools>(), entry::<updates::NotifyUpdates>()],
};

struct FeaturesRequest;

impl Call for FeaturesRequest {
    const ROW: Row = Row::write("qubes.FeaturesRequest", "The caller's QubesDB tells what it supports.")
        .from_guests()
        .on(Destination::Dom0);
    common::no_input!();

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        listen(&granted, world, said::requested)
    }
}

struct NotifyTools;

impl Call for NotifyTools {
    const ROW: Row = Row::write("qubes.NotifyTools", "The caller's QubesDB tells what tools it has.")
        .from_guests()
        .on(Destination::Dom0);
    common::no_input!();

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        listen(&granted, world, said::by_tools)
    }
}

/// Reads what the caller says, then takes over of it what it may decide. The store is not locked while a qube is read from.
fn listen<C: Call>(
    granted: &Granted<C>,
    world: &mut World<'_>,
    read: fn(&Root, &QubeName) -> Result<Said, Failure>,
) -> Result<Content, Failure> {
    let (context, name) = (Context::of(world), granted.caller());
    let said = read(world.root(), name)?;
    world.change(granted, |txn| Guest { txn, context, name, said: &said }.follow())?;
    Ok(Content::new())
}
