//! `admin.pool.Remove` (spec 20 §2.6): the pool is forgotten; what lies in it stays.

use common::call::{Call, Content, Destination, Granted, Presence, Received, Row, Values, World};
use common::event::Event;
use common::failure::{Failure, Refusal};
use common::names::Ascii;
use common::store::{Txn, View};

use super::{find, in_use, pool_in_use};
use crate::input;
use crate::property::{self, Context};

/// Global properties that name a pool, in the order they are looked at.
const DEFAULTS: [&str; 5] = [
    "default_pool",
    "default_pool_kernel",
    "default_pool_private",
    "default_pool_root",
    "default_pool_volatile",
];

pub(super) struct Remove;

impl Call for Remove {
    const ROW: Row = Row::write("admin.pool.Remove", "Forgets a pool that is not in use; its data stay.")
        .global()
        .on(Destination::Dom0)
        .argument(Presence::Required);
    type Input = Ascii;

    fn sanitise(received: &Received) -> Result<Self::Input, Refusal> {
        input::argument(received)
    }

    fn facts(input: &Self::Input) -> Values {
        Values::argument(input.as_str())
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let (context, name) = (Context::of(world), granted.input());
        world.change(&granted, |txn| remove(txn, &context, name))
    }
}

fn remove(txn: &mut Txn<'_>, context: &Context<'_>, name: &Ascii) -> Result<Content, Failure> {
    find(&*txn.pools()?, name)?;
    check_unused(txn, context, name.as_str())?;
    let event = |name_of_event: &str| Event::system(name_of_event).with("pool", name.as_str());
    txn.event(event("pool-pre-delete"));
    txn.edit_pools(|pools| pools.pools.retain(|pool| pool.name.as_str() != name.as_str()))?;
    txn.event(event("pool-delete"));
    Ok(Content::new())
}

/// No volume lies in the pool, and none will by default.
fn check_unused(view: &View<'_>, context: &Context<'_>, name: &str) -> Result<(), Failure> {
    for qube in view.names()? {
        let qube = view.qube(&qube)?;
        if qube.is_some_and(|qube| qube.volumes.iter().any(|volume| volume.pool.as_str() == name)) {
            return Err(pool_in_use(name));
        }
    }
    for property in DEFAULTS {
        let value = property::effective_global(view, context.hypervisor, context.root, property)?;
        if value.is_some_and(|value| value.as_text() == Some(name)) {
            return Err(in_use(&format!("set as {property}")));
        }
    }
    Ok(())
}
