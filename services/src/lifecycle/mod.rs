//! `admin.vm.Start`, `.Shutdown`, `.Kill`, `.Pause`, `.Unpause`, `.Suspend`, `.Resume` and `.Console`: a qube's runs (spec 40
//! §1 to §5, 30 §16).
//!
//! A run begins with the first thing that a start makes and ends when all of that is cleared away. It is published for
//! that long by its watcher (`services/domain`), which makes, watches and ends the domain and has the end handled. What a
//! killed watcher leaves is handled by another one, which the next call starts that takes the qube's lifecycle lock.

mod companions;
mod console;
mod finish;
mod held;
mod lock;
mod network;
mod pause;
mod program;
mod refused;
mod shutdown;
mod start;
mod steps;
mod suspend;
mod volumes;

use common::call::{Call, Family, Granted, World, entry};
use common::event::Event;
use common::failure::Failure;
use common::hypervisor::PowerState;
use common::names::QubeName;
use common::store::Store;

pub use held::{ask as ask_held, ask_run, pause_run, unpause_run};
pub use lock::lock;
pub use program::program;
pub use start::{Start, start};

/// The family that starts qubes, which alone holds what volumes are started with and domains are made from.
pub const STARTING: Family = Family { name: "admin-vm-start", calls: &[entry::<start::StartCall>()] };

/// The family of all else on runs.
pub const FAMILY: Family = Family {
    name: "admin-vm-lifecycle",
    calls: &[
        entry::<shutdown::Shutdown>(),
        entry::<shutdown::Kill>(),
        entry::<pause::Pause>(),
        entry::<pause::Unpause>(),
        entry::<suspend::Suspend>(),
        entry::<suspend::Resume>(),
        entry::<console::Console>(),
    ],
};

/// Publishes events that go with no change of the stored state.
///
/// # Errors
/// What the store says.
pub fn announce(store: &Store, events: impl IntoIterator<Item = Event>) -> Result<(), Failure> {
    let mut txn = store.write()?;
    events.into_iter().for_each(|event| txn.event(event));
    Ok(txn.commit()?)
}

/// Tells what becomes of a qube's domain, if that is in a state for it.
fn foresee<C: Call>(
    granted: &Granted<C>,
    world: &mut World<'_>,
    words: &str,
    fits: fn(PowerState) -> bool,
    otherwise: fn(&QubeName) -> Failure,
) -> Result<(), Failure> {
    let name = granted.destination();
    let look = |world: &World<'_>| {
        let domain = world.hypervisor().domain(name).filter(|domain| fits(domain.state));
        domain.map(|_| format!("{name} {words}")).ok_or_else(|| otherwise(name))
    };
    world.foresee(granted, look, |_| Ok(()))
}

/// What becomes different with each domain of a qube.
fn changed_numbers(name: &QubeName) -> [Event; 3] {
    ["xid", "stubdom_xid", "start_time"]
        .map(|property| Event::on(name, format!("property-reset:{property}")).with("name", property))
}
