//! `internal.SuspendPre` and `internal.SuspendPost`: all qubes, before the machine sleeps and after (spec 30 §18.2, §18.3).

mod all;
mod list;

use common::call::{Call, Content, Destination, Family, Granted, Row, World, entry};
use common::failure::{Exception, Failure};
use common::hypervisor::PowerState;
use common::log;
use common::names::QubeName;
use common::root::Root;

use crate::power::States;
use crate::preload;
use crate::property::Context;

pub use list::is_there as is_near;

/// The family.
pub const FAMILY: Family =
    Family { name: "admin-suspend", calls: &[entry::<SuspendPre>(), entry::<SuspendPost>()] };

struct SuspendPre;

impl Call for SuspendPre {
    const ROW: Row = Row::write("internal.SuspendPre", "Sends all qubes to sleep, before the machine does.")
        .internal()
        .on(Destination::Dom0);
    common::no_input!();

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let root = world.root();
        // From now on no disposable is made in advance.
        list::write(root, &[])?;
        preload::put_all_away(world.store(), &Context::of(world));
        let states = States::of(world.hypervisor());
        list::write(root, &states.names(is_asleep))?;
        let awake = states.names(is_awake);
        all::tell(&granted, world, &awake, "qubes.SuspendPreAll")?;
        let failed = all::call(root, &awake, "admin.vm.Suspend");
        let is_still_there = |name: &QubeName| world.hypervisor().domain(name).is_some();
        refuse_if_any(failed.into_iter().filter(|(name, _)| is_still_there(name)))
    }
}

/// One that ended by itself meanwhile keeps nobody awake.
fn refuse_if_any(failed: impl Iterator<Item = (QubeName, Failure)>) -> Result<Content, Failure> {
    let said: String = failed.map(|(_, failure)| format!("\n{}", failure.into_text())).collect();
    if said.is_empty() {
        return Ok(Content::new());
    }
    Err(Failure::new(Exception::QubesException, format!("Failed to suspend some qubes: {said}")))
}

struct SuspendPost;

impl Call for SuspendPost {
    const ROW: Row = Row::write(
        "internal.SuspendPost",
        "Wakes the qubes that did not sleep before the machine did, once it is awake.",
    )
    .internal()
    .on(Destination::Dom0);
    common::no_input!();

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let root = world.root();
        let before = list::take(root)?;
        let mut asleep = States::of(world.hypervisor()).names(is_asleep);
        asleep.retain(|name| !before.contains(name));
        for (name, failure) in all::call(root, &asleep, "admin.vm.Resume") {
            log::line(&format!("{name} does not wake: {}", failure.into_text()));
        }
        let awake = States::of(world.hypervisor()).names(is_awake);
        all::tell(&granted, world, &awake, "qubes.SuspendPostAll")?;
        make_in_advance(&granted, world, root)?;
        Ok(Content::new())
    }
}

const fn is_asleep(state: PowerState) -> bool {
    matches!(state, PowerState::Paused | PowerState::Suspended)
}

/// One that is about to end is left to it.
const fn is_awake(state: PowerState) -> bool {
    matches!(state, PowerState::Running | PowerState::Transient)
}

/// Lets those disposables be made again that were put away.
fn make_in_advance(
    granted: &Granted<SuspendPost>,
    world: &mut World<'_>,
    root: &Root,
) -> Result<(), Failure> {
    let templates = world.change(granted, |txn| {
        let templates = preload::wished(txn)?;
        for template in &templates {
            txn.event(preload::start_event(template, "system resumed"));
        }
        Ok(templates)
    })?;
    templates.iter().for_each(|template| preload::start(root, template, std::time::Duration::ZERO));
    Ok(())
}
